/**
 * Sessions for HTTP apps: as an `HttpMiddleware` around any app, and as a middleware of `HttpRouter` routes.
 *
 * Each has two forms. The open one gives every route the request's session; the required one answers requests without a
 * verified session itself, and gives its routes `UserSession.Verified` too.
 *
 * **Details**
 *
 * - Unsafe methods from another origin are refused on all of these routes, log-in included (`SessionCrossOrigin`).
 * - Every response gets `Vary`; one that depends on a session, or sets its cookie, gets `Cache-Control: no-store`.
 * - A log-out that takes the cookie off sends `Clear-Site-Data`, for pages that the browser has fetched ahead.
 * - Headers are set after the handler's own, on success, failure and defect alike.
 * - Several of these on one route share one session of the request.
 *
 * @stability unstable
 * @since 0.1.0
 */

import type * as Config from "effect/Config"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as Layer from "effect/Layer"
import { bindIn, bound, type HttpOptions, refused, sharedOf, siteDataProblems } from "./internal/http/binding.ts"
import { chooseSession, extractFrom } from "./internal/http/credentials.ts"
import {
  type App,
  type GuardError,
  guarded,
  open,
  problemsOf,
  type Route,
  routeOf,
  type RouteOptions
} from "./internal/http/route.ts"
import * as Registry from "./internal/registry.ts"
import { configured } from "./internal/session/configured.ts"
import type {
  Bound,
  ConfigOptions,
  Core,
  Definition,
  Fresh,
  FrontendOf,
  Refusal,
  Session,
  Tagged,
  Unauthenticated,
  VerifiedOf,
  VerifierOf
} from "./Session.ts"
import { SessionConfigError } from "./SessionError.ts"
import type { SessionCrossOrigin, SessionInvalid, SessionStale, SessionUnavailable } from "./SessionError.ts"
import { SessionFrontend } from "./SessionFrontend.ts"
import * as SessionManager from "./SessionManager.ts"

export type {
  /**
   * The options of a definition's sessions, and what is to be done with its requests.
   *
   * @stability unstable
   * @category options
   * @since 0.1.0
   */
  HttpOptions
} from "./internal/http/binding.ts"
export type {
  /**
   * The errors a guard refuses a request with. One that asks for a fresh session fails with `SessionStale` besides.
   *
   * @stability unstable
   * @category utility types
   * @since 0.1.0
   */
  GuardError,
  /**
   * What routes may have for themselves.
   *
   * @stability unstable
   * @category options
   * @since 0.1.0
   */
  RouteOptions
} from "./internal/http/route.ts"

/**
 * Layer that binds a definition to its frontend, backend, verifier and keys, for the middlewares below. It provides the
 * definition's manager too.
 *
 * **Details**
 *
 * `Layer.provide` gives each definition its own parts, so one application may have several. Fails with a
 * `SessionConfigError` on options that are not valid or contradict each other, where another definition of the
 * application has the same identifier or cookie name, and where another layer of this definition has other options:
 * those of the manager as `SessionManager.layer` says, the others where both serve one cookie. `client` and `adopt` are
 * compared by identity: keep them in constants.
 *
 * **Example** (A session in a cookie, kept in memory)
 *
 * ```ts
 * import { NodeCrypto } from "@effect/platform-node"
 * import { Config, Layer, Schema } from "effect"
 * import {
 *   Session,
 *   SessionBackendMemory,
 *   SessionFrontend,
 *   SessionKeys,
 *   SessionMiddleware,
 *   SessionVerifier
 * } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String }),
 *   principal: (data) => data.username
 * }) {}
 *
 * const UserSessionLive = SessionMiddleware.layer(UserSession, { idleTimeout: "30 minutes" }).pipe(
 *   Layer.provide([
 *     SessionFrontend.layerCookie(),
 *     SessionBackendMemory.layer,
 *     SessionVerifier.layerExists(UserSession)
 *   ]),
 *   Layer.provide(SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))),
 *   Layer.provide(NodeCrypto.layer)
 * )
 * ```
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = <Self, A, R extends ReadonlyArray<Tagged>, RX = never>(
  session: Definition<Self, A, R>,
  options: HttpOptions<NoInfer<A>, NoInfer<R>, RX> = {}
): Layer.Layer<Bound<Self>, SessionConfigError, SessionFrontend | VerifierOf<Self> | Core | RX> => {
  const live = Layer.merge(
    SessionManager.layer(session, options),
    Layer.effect(
      session.Frontend,
      Effect.gen(function* () {
        const frontend = yield* SessionFrontend
        const context = yield* Effect.context<RX>()
        const registry = yield* Registry.Registry
        const taken = yield* registry.claim(
          session,
          frontend.security.flatMap((scheme) =>
            scheme._tag === "ApiKey" && scheme.in === "cookie"
              ? {
                  name: `cookie ${scheme.key}`,
                  taken: (other: string) =>
                    other === session.key
                      ? Registry.twins(other)
                      : `the cookie "${scheme.key}" serves ${other} already; give ${session.key} another: SessionFrontend.layerCookie({ name })`,
                  settings: sharedOf(options),
                  differ: (differences: string) =>
                    `two layers of ${session.key} serve the cookie "${scheme.key}" and differ: ${differences}. Give them the same options, or use one layer for both`
                }
              : []
          )
        )
        const canIssue = frontend.security.some(({ _tag }) => _tag === "ApiKey")
        const adoption =
          options.adopt === undefined || canIssue
            ? []
            : ["adopt needs a frontend that puts a token on a response: a cookie, or a header other than Authorization"]
        yield* registry.check(session.key, [...taken, ...siteDataProblems(options), ...adoption])
        return bound(frontend, options, context, session.key)
      })
      // `Layer.effect` takes `Scope` out of the requirements, which the compiler cannot do for an abstract `RX`.
    ).pipe(Layer.provide(Registry.layer)) as Layer.Layer<FrontendOf<Self>, SessionConfigError, SessionFrontend | RX>
  )
  return Registry.numbered(live)
}

/**
 * Layer that binds a definition, with options from configuration: `layer`. The functions (`onEvent`, `client`, `adopt`) are
 * given as they are.
 *
 * **Example** (Timeouts from the environment)
 *
 * ```ts
 * import { Config, Option, Schema } from "effect"
 * import { Session, SessionMiddleware } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String })
 * }) {}
 *
 * const UserSessionLive = SessionMiddleware.layerConfig(UserSession, {
 *   idleTimeout: Config.Duration("SESSION_IDLE_TIMEOUT").pipe(Config.withDefault("30 minutes")),
 *   absoluteTimeout: Config.Duration("SESSION_ABSOLUTE_TIMEOUT").pipe(Config.withDefault("12 hours")),
 *   client: (request) => ({ userAgent: request.headers["user-agent"] })
 * })
 * ```
 *
 * @stability experimental
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = <Self, A, R extends ReadonlyArray<Tagged>, RX = never>(
  session: Definition<Self, A, R>,
  options: ConfigOptions<HttpOptions<NoInfer<A>, NoInfer<R>, RX>>
): Layer.Layer<
  Bound<Self>,
  SessionConfigError | Config.ConfigError,
  SessionFrontend | VerifierOf<Self> | Core | RX
> => {
  const read = configured<HttpOptions<A, R, RX>>(options)
  const live = Layer.unwrap(Effect.map(read, (options) => layer<Self, A, R, RX>(session, options)))
  return Registry.numbered(live)
}

/**
 * The options of a route, once they are found right. A route has no error of its own to fail with where it is built, and
 * what is wrong is in the program's text: a defect.
 */
const checked = (
  middleware: string,
  session: { readonly key: string },
  options: (RouteOptions & { readonly fresh?: Fresh | undefined }) | undefined
): Route => {
  const route = routeOf(options)
  const problems = problemsOf(route)
  if (problems.length > 0) {
    throw new SessionConfigError({ layers: [`SessionMiddleware.${middleware}(${session.key})`], problems })
  }
  return route
}

/**
 * Gives an app the request's session. Throws a `SessionConfigError` on options that are not valid.
 *
 * @stability unstable
 * @category middleware
 * @since 0.1.0
 */
export const make = <Self, A, R extends ReadonlyArray<Tagged>>(
  session: Definition<Self, A, R>,
  options?: RouteOptions
): (<E, RA>(
  app: App<E, RA>
) => App<E | SessionCrossOrigin, Exclude<RA, Self> | Bound<Self> | HttpServerRequest.HttpServerRequest>) => {
  const route = checked("make", session, options)
  return (app) =>
    Effect.contextWith((context: Context.Context<Bound<Self>>) => open(bindIn(session, context), app, route))
}

/**
 * What a guard asks of a session besides: with `fresh`, that the user proved lately who they are.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface FreshRouteOptions extends RouteOptions {
  /** Requests whose session is not as fresh as this fail with `SessionStale`. */
  readonly fresh: Fresh
}

/** Without `fresh`: its absence is seen by the compiler, so that `E` has no `SessionStale`. */
interface AnyAgeRouteOptions extends RouteOptions {
  readonly fresh?: undefined
}

type Guarding<Self, E2> = <E, RA>(
  app: App<E, RA>
) => App<E | E2, Exclude<RA, Self | VerifiedOf<Self>> | Bound<Self> | HttpServerRequest.HttpServerRequest>

/**
 * Gives an app the request's session and the verified one, and fails with a `GuardError` where there is none. Throws a
 * `SessionConfigError` on options that are not valid.
 *
 * @stability unstable
 * @category middleware
 * @since 0.1.0
 */
export const required: {
  <Self, A, R extends ReadonlyArray<Tagged>>(
    session: Definition<Self, A, R>,
    options: FreshRouteOptions
  ): Guarding<Self, GuardError<R> | SessionStale>
  <Self, A, R extends ReadonlyArray<Tagged>>(
    session: Definition<Self, A, R>,
    options?: AnyAgeRouteOptions
  ): Guarding<Self, GuardError<R>>
} = <Self, A, R extends ReadonlyArray<Tagged>>(
  session: Definition<Self, A, R>,
  options?: FreshRouteOptions | AnyAgeRouteOptions
) => {
  const route = checked("required", session, options)
  // A route without `fresh` does not fail with `SessionStale`, and only such a route goes without it in `E`.
  const onFailure = Effect.fail as (error: GuardError<R> | SessionStale) => App<GuardError<R>, never>
  return <E, RA>(app: App<E, RA>) =>
    Effect.contextWith((context: Context.Context<Bound<Self>>) =>
      guarded(bindIn(session, context), app, onFailure, route)
    )
}

/**
 * The session of a web `Request`, where no router of ours answers: in a page of Next or SvelteKit. As with `get`, it may
 * be a visitor's, with no user: look at its `principal`.
 *
 * **Gotchas**
 *
 * It only reads. No response of ours carries a token, so none is rotated on a schedule and no session adopted, and the
 * origin of the request is not checked: let an action that changes something go through a route.
 *
 * **Example** (Who asks for this page)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Session, SessionMiddleware } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String }),
 *   principal: (data) => data.username
 * }) {}
 *
 * const title = (request: Request) =>
 *   SessionMiddleware.fromRequest(UserSession, request).pipe(
 *     Effect.map(({ data }) => `hello ${data.username}`),
 *     Effect.catchTag(["SessionMissing", "SessionInvalid"], () => Effect.succeed("hello"))
 *   )
 * ```
 *
 * @stability unstable
 * @category accessors
 * @since 0.1.0
 */
export const fromRequest = <Self, A, R extends ReadonlyArray<Tagged>>(
  session: Definition<Self, A, R>,
  request: Request
): Effect.Effect<Session<A>, Unauthenticated | Refusal<R> | SessionUnavailable, Bound<Self>> =>
  Effect.contextWith((context: Context.Context<Bound<Self>>) => {
    const { frontend, manager } = bindIn(session, context)
    const onRefused = (error: SessionInvalid) => refused(frontend, error)
    return Effect.flatMap(extractFrom(frontend, HttpServerRequest.fromWeb(request), onRefused), (credentials) =>
      Effect.map(
        chooseSession<A, R>(credentials, (token) => manager.resolve(token), onRefused),
        ([session]) => session
      )
    )
  })

type Middleware<Provides, E, R> = HttpRouter.Middleware<{
  provides: Provides
  handles: never
  error: E
  requires: never
  layerError: never
  layerRequires: R
}>

/**
 * Router middleware that gives every route the request's session. Options that are not valid are a defect, a
 * `SessionConfigError`, when its layer is built.
 *
 * **Example** (Logging in)
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { HttpRouter, HttpServerResponse } from "effect/http"
 * import { Session, SessionMiddleware } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String }),
 *   principal: (data) => data.username
 * }) {}
 *
 * const Login = HttpRouter.add("POST", "/login", Effect.gen(function*() {
 *   const session = yield* UserSession
 *   yield* session.create({ username: "ada" })
 *   return HttpServerResponse.empty()
 * })).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))
 * ```
 *
 * @stability unstable
 * @category middleware
 * @since 0.1.0
 */
export const router = <Self, A, R extends ReadonlyArray<Tagged>>(
  session: Definition<Self, A, R>,
  options?: RouteOptions
): Middleware<Self, SessionCrossOrigin, Bound<Self>> =>
  HttpRouter.middleware<{ provides: Self }>()(
    Effect.map(Effect.context<Bound<Self>>(), (context) => {
      const binding = bindIn(session, context)
      const route = checked("router", session, options)
      return (app) => open(binding, app, route)
    })
  ) as Middleware<Self, SessionCrossOrigin, Bound<Self>>

/**
 * Router middleware that lets only verified sessions through.
 *
 * **Details**
 *
 * A refused request fails with a `GuardError`, which answers with its own status if the app does not handle it.
 * `onFailure` answers instead: with a redirect to the log-in page, or an HTML page. The session's headers are set on that
 * answer too.
 *
 * With `fresh` a session whose user proved too long ago who they are is refused with `SessionStale`, a 401 with the
 * challenge of RFC 9470. Options that are not valid are a defect, a `SessionConfigError`, when its layer is built.
 *
 * **Example** (Redirecting to the log-in page)
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { HttpRouter, HttpServerResponse } from "effect/http"
 * import { Session, SessionMiddleware } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String }),
 *   principal: (data) => data.username
 * }) {}
 *
 * const Page = HttpRouter.add(
 *   "GET",
 *   "/",
 *   Effect.map(UserSession.Verified, ({ data }) => HttpServerResponse.text(data.username))
 * ).pipe(
 *   Layer.provide(
 *     SessionMiddleware.routerRequired(UserSession, {
 *       onFailure: () => Effect.succeed(HttpServerResponse.redirect("/login"))
 *     }).layer
 *   )
 * )
 * ```
 *
 * @stability unstable
 * @category middleware
 * @since 0.1.0
 */
export const routerRequired: {
  <Self, A, R extends ReadonlyArray<Tagged>, E>(
    session: Definition<Self, A, R>,
    options: AnyAgeRouteOptions & {
      readonly onFailure: (error: GuardError<R>, request: HttpServerRequest.HttpServerRequest) => App<E, never>
    }
  ): Middleware<Self | VerifiedOf<Self>, E, Bound<Self>>
  <Self, A, R extends ReadonlyArray<Tagged>, E>(
    session: Definition<Self, A, R>,
    options: FreshRouteOptions & {
      readonly onFailure: (
        error: GuardError<R> | SessionStale,
        request: HttpServerRequest.HttpServerRequest
      ) => App<E, never>
    }
  ): Middleware<Self | VerifiedOf<Self>, E, Bound<Self>>
  <Self, A, R extends ReadonlyArray<Tagged>>(
    session: Definition<Self, A, R>,
    options?: AnyAgeRouteOptions & { readonly onFailure?: undefined }
  ): Middleware<Self | VerifiedOf<Self>, GuardError<R>, Bound<Self>>
  <Self, A, R extends ReadonlyArray<Tagged>>(
    session: Definition<Self, A, R>,
    options: FreshRouteOptions & { readonly onFailure?: undefined }
  ): Middleware<Self | VerifiedOf<Self>, GuardError<R> | SessionStale, Bound<Self>>
} = <Self, A, R extends ReadonlyArray<Tagged>, E>(
  session: Definition<Self, A, R>,
  options?: (FreshRouteOptions | AnyAgeRouteOptions) & {
    readonly onFailure?: ((error: never, request: HttpServerRequest.HttpServerRequest) => App<E, never>) | undefined
  }
): Middleware<Self | VerifiedOf<Self>, E, Bound<Self>> =>
  HttpRouter.middleware<{ provides: Self | VerifiedOf<Self> }>()(
    Effect.map(Effect.context<Bound<Self>>(), (context) => {
      const binding = bindIn(session, context)
      const route = checked("routerRequired", session, options)
      // Each of the forms takes what its route may fail with: `SessionStale` only with `fresh`.
      const onFailure = (options?.onFailure ?? Effect.fail) as (
        error: GuardError<R> | SessionStale,
        request: HttpServerRequest.HttpServerRequest
      ) => App<E, never>
      return <E2, RA>(app: App<E2, RA>) => guarded(binding, app, onFailure, route)
    })
    // The router computes the same from types of its own, which stay unresolved for an abstract `Self`.
  ) as unknown as Middleware<Self | VerifiedOf<Self>, E, Bound<Self>>
