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
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Handle from "./internal/requestHandle.ts"
import type { Bound, Definition, Refusal, Tagged, Unauthenticated, VerifiedOf } from "./Session.ts"
import type { SessionCrossOrigin, SessionUnavailable } from "./SessionError.ts"

type App<E, R> = Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>

/**
 * Why a guard turned a request away.
 *
 * @category utility types
 * @since 0.1.0
 */
export type GuardError<R extends ReadonlyArray<Tagged>> =
  | Unauthenticated
  | Refusal<R>
  | SessionCrossOrigin
  | SessionUnavailable

/**
 * Gives an app the request's session.
 *
 * @category middleware
 * @since 0.1.0
 */
export const make =
  <Self, A, R extends ReadonlyArray<Tagged>>(session: Definition<Self, A, R>) =>
  <E, RA>(app: App<E, RA>): App<E | SessionCrossOrigin, Exclude<RA, Self> | Bound<Self> | HttpServerRequest> =>
    Effect.contextWith((context: Context.Context<Bound<Self>>) =>
      Handle.open(session, Context.get(context, session.Manager), Context.get(context, session.Frontend), app)
    )

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
      Handle.guarded(
        session,
        Context.get(context, session.Manager),
        Context.get(context, session.Frontend),
        app,
        Effect.fail<GuardError<R>>
      )
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
    Effect.gen(function* () {
      const manager = yield* session.Manager
      const frontend = yield* session.Frontend
      return (app) => Handle.open(session, manager, frontend, app)
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
    Effect.gen(function* () {
      const manager = yield* session.Manager
      const frontend = yield* session.Frontend
      const onFailure = options?.onFailure ?? Effect.fail
      return <E2, RA>(app: App<E2, RA>) => Handle.guarded(session, manager, frontend, app, onFailure)
    })
    // What the router tracks in types of its own is said in ours: it provides, fails and needs just this.
  ) as unknown as Middleware<Self | VerifiedOf<Self>, E, Bound<Self>>
