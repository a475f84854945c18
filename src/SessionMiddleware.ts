/**
 * Sessions for HTTP apps: as an `HttpMiddleware` around any app, and as a middleware of `HttpRouter` routes.
 *
 * Each comes in two forms. The open one gives the request's session to every route; the required one lets only verified
 * sessions through, and gives its routes `UserSession.Verified` besides.
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
import { type App, bindIn, type GuardError, guarded, open } from "./internal/http/route.ts"
import * as Registry from "./internal/registry.ts"
import type { Bound, Core, Definition, LayerOptions, Tagged, VerifiedOf, VerifierOf } from "./Session.ts"
import type { SessionConfigError, SessionCrossOrigin } from "./SessionError.ts"
import { SessionFrontend } from "./SessionFrontend.ts"
import * as SessionManager from "./SessionManager.ts"

export type {
  /**
   * Why a guard turned a request away.
   *
   * @category utility types
   * @since 0.1.0
   */
  GuardError
} from "./internal/http/route.ts"

/**
 * Layer that binds a definition to its frontend, backend, verifier and keys. It provides what the middlewares ask for,
 * and the definition's manager.
 *
 * **Details**
 *
 * Each definition gets its own parts by plain `Layer.provide`, so several live in one application. Fails with a
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
 * Lets only verified sessions through to an app, and gives it the request's session and the verified one.
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
 * A refused request fails with a `GuardError`, which answers with its own status where nothing else handles it. With
 * `onFailure` the app answers itself: a redirect to the log-in page, a page of HTML. Headers of the session are set on
 * that answer too.
 *
 * **Example** (Sending strangers to the log-in page)
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
    // What the router tracks in types of its own is said in ours: it provides, fails and needs just this.
  ) as unknown as Middleware<Self | VerifiedOf<Self>, E, Bound<Self>>
