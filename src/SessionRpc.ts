/**
 * Sessions for RPC: implements the middlewares that a group of RPCs declares.
 *
 * A group declares a middleware, made with `effect/rpc` alone, that provides the session and names its errors, which the
 * client then has typed. The server implements it with `layer`, or with `layerOptional` where calls are open to all.
 *
 * **Details**
 *
 * - Over HTTP, give the RPC server's route `SessionMiddleware.router`: it checks where requests come from, and puts the
 *   cookie on the response. Its calls then share the request's session.
 * - Over a socket each call is guarded anew: one after a log-out is refused. Where the route has a middleware, the
 *   handshake is checked like any other request; otherwise its origin is checked with each call.
 * - A stream ends with the session of its call, with the error that says why.
 * - A message may carry the token in the header that a header or bearer frontend reads. All else that is asked of a
 *   request is asked of the HTTP request: a page's script can put any header into a message, so neither its `cookie` nor
 *   its `origin` counts. Without HTTP, in a worker or over TCP, such a header is the only place for a token.
 *
 * **Gotchas**
 *
 * The answer of a call over a socket sets no cookie, nor that of one whose message carries the token. There `create`,
 * `rotate`, `reauthenticate` and `revokeOthers` die before they touch the store, and no token is rotated on a schedule.
 * Log in by a request of HTTP; or let the handler answer `session.token`, with a bearer frontend or
 * `create(data, { cookie: "none" })`. A middleware that provides `Session.VerifiedOf` alone leaves its handlers nothing
 * to create with.
 *
 * **Example** (A group for users who are logged in)
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Rpc, RpcGroup, RpcMiddleware, RpcSerialization, RpcServer } from "effect/rpc"
 * import { Session, SessionMiddleware, SessionRpc } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String }),
 *   principal: (data) => data.username
 * }) {}
 *
 * // Shared with the client.
 * class Authenticated extends RpcMiddleware.Service<Authenticated, {
 *   provides: Session.Provided<typeof UserSession>
 * }>()("app/Rpc/Authenticated", { error: Schema.Union(Session.errors(UserSession)) }) {}
 *
 * class Account extends RpcGroup.make(Rpc.make("WhoAmI", { success: Schema.String })).middleware(Authenticated) {}
 *
 * // The server's.
 * const AccountLive = Account.toLayer({
 *   WhoAmI: () => Effect.map(UserSession.Verified, ({ data }) => data.username)
 * })
 *
 * const RpcLive = RpcServer.layerHttp({ group: Account, path: "/rpc", protocol: "http" }).pipe(
 *   Layer.provide([AccountLive, SessionRpc.layer(Authenticated, UserSession), RpcSerialization.layerNdjson]),
 *   Layer.provide(SessionMiddleware.router(UserSession).layer)
 * )
 * ```
 *
 * @stability experimental
 * @since 0.1.0
 */

import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as HttpRouter from "effect/http/HttpRouter"
import * as Layer from "effect/Layer"
import type * as RpcMiddleware from "effect/rpc/RpcMiddleware"
import * as RpcSchema from "effect/rpc/RpcSchema"
import { bindIn } from "./internal/http/binding.ts"
import { withCall } from "./internal/http/call.ts"
import {
  type Enter,
  entering,
  type GuardError,
  guarding,
  problemsOf,
  type Route,
  routeOf,
  type RouteOptions
} from "./internal/http/route.ts"
import type { Bound, Definition, Errors, Fresh, Tagged, VerifiedOf } from "./Session.ts"
import { SessionConfigError } from "./SessionError.ts"
import type { SessionCrossOrigin, SessionStale } from "./SessionError.ts"

export type {
  /**
   * The errors a guard refuses a call with. One that asks for a fresh session fails with `SessionStale` besides.
   *
   * @stability experimental
   * @category utility types
   * @since 0.1.0
   */
  GuardError
} from "./internal/http/route.ts"

/**
 * What the middleware of a guard has to declare: `Session.errors`, and `SessionStale` where its layer asks for a fresh
 * session.
 *
 * @stability experimental
 * @category utility types
 * @since 0.1.0
 */
export type Failures<R extends ReadonlyArray<Tagged>, G> =
  | Errors<R>[number]["Type"]
  | ([G] extends [undefined] ? never : SessionStale)

/**
 * What `layer` requires of a middleware: it provides `Session.Provided`, or `Session.VerifiedOf` alone, and declares the
 * errors `E`. For any other the type is a sentence that says so, which the compiler prints.
 *
 * @stability experimental
 * @category utility types
 * @since 0.1.0
 */
export type Guards<Id, Self, E> =
  VerifiedOf<Self> extends RpcMiddleware.Provides<Id>
    ? [RpcMiddleware.Provides<Id>] extends [Self | VerifiedOf<Self>]
      ? [E] extends [RpcMiddleware.Error<Id>]
        ? unknown
        : "the middleware must declare error: Schema.Union(Session.errors(...)) of this session, and SessionStale where fresh is asked for; or give its layer onFailure, for errors of its own"
      : "the middleware must provide nothing but Session.Provided of this session"
    : "the middleware must provide Session.Provided of this session; for the session alone use layerOptional"

/**
 * What `layerOptional` requires of a middleware: it provides the session alone, and declares `SessionCrossOrigin`.
 *
 * @stability experimental
 * @category utility types
 * @since 0.1.0
 */
export type Opens<Id, Self> = [RpcMiddleware.Provides<Id>] extends [Self]
  ? [SessionCrossOrigin] extends [RpcMiddleware.Error<Id>]
    ? unknown
    : "the middleware must declare error: SessionError.SessionCrossOrigin"
  : "the middleware must provide the session alone"

/**
 * What the calls of a guard may have for themselves.
 *
 * @stability experimental
 * @category options
 * @since 0.1.0
 */
export interface GuardOptions<G> extends RouteOptions {
  /**
   * How fresh a session must be. The middleware then declares `SessionStale` besides `Session.errors`; without it the
   * compiler asks for `onFailure`.
   *
   * @default any age will do
   */
  readonly fresh?: G
  readonly onFailure?: undefined
}

/**
 * The same for a middleware that declares errors of its own.
 *
 * @stability experimental
 * @category options
 * @since 0.1.0
 */
export interface OwnErrorOptions<Id, R extends ReadonlyArray<Tagged>> extends RouteOptions {
  /**
   * How fresh a session must be.
   *
   * @default any age will do
   */
  readonly fresh?: Fresh | undefined
  /**
   * Maps what the guard refuses a call with, and what ends a stream with its session, to the errors that the middleware
   * declares. What a handler fails with is not mapped.
   */
  readonly onFailure: (error: GuardError<R> | SessionStale) => Effect.Effect<never, RpcMiddleware.Error<Id>>
}

type Handled = Effect.Effect<RpcMiddleware.SuccessValue, unknown, unknown>
type Call = Parameters<RpcMiddleware.Any>[1]

const implement = <Id, S, Self, A, R extends ReadonlyArray<Tagged>>(
  middleware: Context.Key<Id, S>,
  session: Definition<Self, A, R>,
  options: (RouteOptions & { readonly fresh?: Fresh | undefined }) | undefined,
  enter: (route: Route, handler: Handled, call: Call) => Enter<Self, A, R, RpcMiddleware.SuccessValue, unknown, unknown>
): Layer.Layer<Id, SessionConfigError, Bound<Self>> =>
  Layer.effect(
    middleware,
    Effect.gen(function* () {
      const route = routeOf(options)
      const binding = bindIn(session, yield* Effect.context<Bound<Self>>())
      const problems = problemsOf(route).map((problem) => `${middleware.key}: ${problem}`)
      if (problems.length > 0) return yield* new SessionConfigError({ problems })
      // `S`, abstract here, is the function that every `RpcMiddleware.Service` has for its service.
      return ((handler: Handled, call: Call) => withCall(binding, route, call, enter(route, handler, call))) as S
    })
  )

/**
 * Interrupts a handler, unless it is uninterruptible, and waits for it; then fails, however long that takes. By itself a
 * race would interrupt any.
 */
const until = (handler: Handled, ended: Effect.Effect<Effect.Effect<never, unknown>>): Handled =>
  Effect.flatten(
    Effect.uninterruptibleMask((restore) =>
      restore(Effect.raceFirst(Effect.uninterruptible(restore(Effect.map(handler, Effect.succeed))), ended))
    )
  )

/**
 * Layer of a middleware for calls that require a verified session: it provides the request's session and
 * `UserSession.Verified`, and declares `Session.errors(UserSession)`, or the errors of `onFailure`.
 *
 * A stream fails with why its session ended, as soon as that has, and its handler is interrupted; one that is
 * `Rpc.uninterruptible` fails at its end. A call that answers once goes on: it may be the one that logs out.
 *
 * Fails with a `SessionConfigError` on options that are not valid.
 *
 * @stability experimental
 * @category layers
 * @since 0.1.0
 */
export const layer: {
  <
    Id extends RpcMiddleware.AnyId,
    S,
    Self,
    A,
    R extends ReadonlyArray<Tagged>,
    G extends Fresh | undefined = undefined
  >(
    middleware: Context.Key<Id, S>,
    session: Definition<Self, A, R> & Guards<Id, Self, Failures<R, G>>,
    options?: GuardOptions<G>
  ): Layer.Layer<Id, SessionConfigError, Bound<Self>>
  <Id extends RpcMiddleware.AnyId, S, Self, A, R extends ReadonlyArray<Tagged>>(
    middleware: Context.Key<Id, S>,
    session: Definition<Self, A, R> & Guards<Id, Self, never>,
    options: OwnErrorOptions<Id, R>
  ): Layer.Layer<Id, SessionConfigError, Bound<Self>>
} = <Id extends RpcMiddleware.AnyId, S, Self, A, R extends ReadonlyArray<Tagged>>(
  middleware: Context.Key<Id, S>,
  session: Definition<Self, A, R>,
  options?: GuardOptions<Fresh | undefined> | OwnErrorOptions<Id, R>
): Layer.Layer<Id, SessionConfigError, Bound<Self>> => {
  const onFailure: (error: GuardError<R> | SessionStale) => Effect.Effect<never, unknown> =
    options?.onFailure ?? Effect.fail
  return implement(middleware, session, options, (route, handler, call) =>
    guarding(
      session,
      RpcSchema.isStreamSchema(call.rpc.successSchema)
        ? ({ ended }) => until(handler, Effect.map(ended, onFailure))
        : () => handler,
      onFailure,
      route
    )
  )
}

/**
 * Layer of a middleware for calls open to all: it provides the request's session, and declares `SessionCrossOrigin`. An RPC
 * that uses the session declares what that may fail with as its own `error`: for `create`, `SessionInvalid` and
 * `SessionUnavailable`.
 *
 * It asks for `SessionMiddleware.router` of this session, which has to be on the route of the RPC server: without it no
 * answer carries a cookie.
 *
 * Fails with a `SessionConfigError` on options that are not valid.
 *
 * **Example** (Logging in)
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Rpc, RpcGroup, RpcMiddleware, RpcSerialization, RpcServer } from "effect/rpc"
 * import { Session, SessionError, SessionMiddleware, SessionRpc } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String }),
 *   principal: (data) => data.username
 * }) {}
 *
 * class Visitor extends RpcMiddleware.Service<Visitor, { provides: UserSession }>()("app/Rpc/Visitor", {
 *   error: SessionError.SessionCrossOrigin
 * }) {}
 *
 * class Auth extends RpcGroup.make(
 *   Rpc.make("LogIn", {
 *     payload: { name: Schema.String },
 *     error: Schema.Union([SessionError.SessionInvalid, SessionError.SessionUnavailable])
 *   })
 * ).middleware(Visitor) {}
 *
 * const AuthLive = Auth.toLayer({
 *   LogIn: Effect.fn(function*({ name }) {
 *     // Once the password is checked.
 *     yield* (yield* UserSession).create({ username: name })
 *   })
 * })
 *
 * const RpcLive = RpcServer.layerHttp({ group: Auth, path: "/rpc", protocol: "http" }).pipe(
 *   Layer.provide([AuthLive, SessionRpc.layerOptional(Visitor, UserSession), RpcSerialization.layerNdjson]),
 *   Layer.provide(SessionMiddleware.router(UserSession).layer)
 * )
 * ```
 *
 * @stability experimental
 * @category layers
 * @since 0.1.0
 */
export const layerOptional = <Id extends RpcMiddleware.AnyId, S, Self, A, R extends ReadonlyArray<Tagged>>(
  middleware: Context.Key<Id, S>,
  session: Definition<Self, A, R> & Opens<Id, Self>,
  options?: RouteOptions
): Layer.Layer<Id, SessionConfigError, Bound<Self> | HttpRouter.Request<"Requires", Self>> =>
  implement(middleware, session, options, (route, handler) =>
    entering<Self, A, R, RpcMiddleware.SuccessValue, unknown, unknown>(session, handler, route)
  )
