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
 * - Headers are set after the handler's own, on success, failure and defect alike.
 * - Several of these on one route share one session of the request.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Layer from "effect/Layer"
import { bindIn } from "./internal/http/binding.ts"
import { type App, type GuardError, guarded, open } from "./internal/http/route.ts"
import * as Registry from "./internal/registry.ts"
import type { Bound, Core, Definition, LayerOptions, Tagged, VerifiedOf, VerifierOf } from "./Session.ts"
import type { SessionConfigError, SessionCrossOrigin } from "./SessionError.ts"
import { SessionFrontend } from "./SessionFrontend.ts"
import * as SessionManager from "./SessionManager.ts"

export type {
  /**
   * The errors a guard refuses a request with.
   *
   * @category utility types
   * @since 0.1.0
   */
  GuardError
} from "./internal/http/route.ts"

/**
 * Layer that binds a definition to its frontend, backend, verifier and keys, for the middlewares below. It provides the
 * definition's manager too.
 *
 * **Details**
 *
 * `Layer.provide` gives each definition its own parts, so one application may have several. Fails with a
 * `SessionConfigError` on timeouts that contradict each other, and where another definition of the application has the
 * same identifier or cookie name.
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
 * @category layers
 * @since 0.1.0
 */
export const layer = <Self, A, R extends ReadonlyArray<Tagged>>(
  session: Definition<Self, A, R>,
  options?: LayerOptions
): Layer.Layer<Bound<Self>, SessionConfigError, SessionFrontend | VerifierOf<Self> | Core> =>
  Layer.merge(
    SessionManager.layer(session, options),
    Layer.effect(
      session.Frontend,
      Effect.gen(function* () {
        const frontend = yield* SessionFrontend
        const registry = yield* Registry.Registry
        const taken = yield* registry.claim(
          session,
          frontend.security.flatMap((scheme) =>
            scheme._tag === "ApiKey" && scheme.in === "cookie"
              ? [
                  [
                    `cookie ${scheme.key}`,
                    (other) =>
                      `the cookie "${scheme.key}" serves ${other} already; give ${session.key} another: SessionFrontend.layerCookie({ name })`
                  ] as const
                ]
              : []
          )
        )
        yield* registry.check(session.key, taken)
        return frontend
      })
    ).pipe(Layer.provide(Registry.layer))
  )

/**
 * Gives an app the request's session.
 *
 * @category middleware
 * @since 0.1.0
 */
export const make =
  <Self, A, R extends ReadonlyArray<Tagged>>(session: Definition<Self, A, R>) =>
  <E, RA>(app: App<E, RA>): App<E | SessionCrossOrigin, Exclude<RA, Self> | Bound<Self> | HttpServerRequest> =>
    Effect.contextWith((context: Context.Context<Bound<Self>>) => open(bindIn(session, context), app))

/**
 * Gives an app the request's session and the verified one, and fails with a `GuardError` where there is none.
 *
 * @category middleware
 * @since 0.1.0
 */
export const required =
  <Self, A, R extends ReadonlyArray<Tagged>>(session: Definition<Self, A, R>) =>
  <E, RA>(
    app: App<E, RA>
  ): App<E | GuardError<R>, Exclude<RA, Self | VerifiedOf<Self>> | Bound<Self> | HttpServerRequest> =>
    Effect.contextWith((context: Context.Context<Bound<Self>>) =>
      guarded(bindIn(session, context), app, Effect.fail<GuardError<R>>)
    )

type Middleware<Provides, E, R> = HttpRouter.Middleware<{
  provides: Provides
  handles: never
  error: E
  requires: never
  layerError: never
  layerRequires: R
}>

/**
 * Router middleware that gives every route the request's session.
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
 * @category middleware
 * @since 0.1.0
 */
export const router = <Self, A, R extends ReadonlyArray<Tagged>>(
  session: Definition<Self, A, R>
): Middleware<Self, SessionCrossOrigin, Bound<Self>> =>
  HttpRouter.middleware<{ provides: Self }>()(
    Effect.map(Effect.context<Bound<Self>>(), (context) => {
      const bound = bindIn(session, context)
      return (app) => open(bound, app)
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
 * @category middleware
 * @since 0.1.0
 */
export const routerRequired: {
  <Self, A, R extends ReadonlyArray<Tagged>>(
    session: Definition<Self, A, R>
  ): Middleware<Self | VerifiedOf<Self>, GuardError<R>, Bound<Self>>
  <Self, A, R extends ReadonlyArray<Tagged>, E>(
    session: Definition<Self, A, R>,
    options: {
      readonly onFailure: (error: GuardError<R>, request: HttpServerRequest) => App<E, never>
    }
  ): Middleware<Self | VerifiedOf<Self>, E, Bound<Self>>
} = <Self, A, R extends ReadonlyArray<Tagged>, E>(
  session: Definition<Self, A, R>,
  options?: {
    readonly onFailure: (error: GuardError<R>, request: HttpServerRequest) => App<E, never>
  }
): Middleware<Self | VerifiedOf<Self>, E, Bound<Self>> =>
  HttpRouter.middleware<{ provides: Self | VerifiedOf<Self> }>()(
    Effect.map(Effect.context<Bound<Self>>(), (context) => {
      const bound = bindIn(session, context)
      const onFailure = options?.onFailure ?? Effect.fail
      return <E2, RA>(app: App<E2, RA>) => guarded(bound, app, onFailure)
    })
    // The router computes the same from types of its own, which stay unresolved for an abstract `Self`.
  ) as unknown as Middleware<Self | VerifiedOf<Self>, E, Bound<Self>>
