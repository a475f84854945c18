/**
 * Layers of middlewares of RPC whose calls carry a session.
 *
 * @internal
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as RpcMiddleware from "effect/rpc/RpcMiddleware"
import type { Bound, Definition, Fresh, Tagged } from "../Session.ts"
import type { SessionConfigError } from "../SessionError.ts"
import * as SessionMiddleware from "../SessionMiddleware.ts"
import * as SessionRpc from "../SessionRpc.ts"
import { layerLoggedIn, type LoggedInOptions } from "./stack.ts"

type Call = Parameters<RpcMiddleware.Any>[1]

/**
 * Gives each call a request of its own, whose response carries what the call issues: `RpcTest` has no HTTP. A call that
 * comes over HTTP has its request.
 */
const asRequests = <Id, S, Self, A, R extends ReadonlyArray<Tagged>>(
  middleware: Context.Key<Id, S>,
  session: Definition<Self, A, R>,
  implementation: Layer.Layer<Id, SessionConfigError, Bound<Self> | HttpRouter.Request<"Requires", Self>>,
  client: Layer.Layer<Bound<Self>>
): Layer.Layer<Id> =>
  Layer.effect(
    middleware,
    Effect.gen(function* () {
      const context = yield* Effect.context<Id | Bound<Self>>()
      const route = SessionMiddleware.make(session)
      // `S`, abstract here, is the function that every `RpcMiddleware.Service` has for its service.
      const run = Context.get(context, middleware) as RpcMiddleware.Any
      const wrapped: RpcMiddleware.Any = (handler, call: Call) =>
        Effect.gen(function* () {
          const request = yield* Effect.serviceOption(HttpServerRequest.HttpServerRequest)
          let answer: Exit.Exit<RpcMiddleware.SuccessValue, unknown> | undefined
          yield* Effect.map(Effect.exit(run(handler, call)), (exit) => {
            answer = exit
            return HttpServerResponse.empty()
          }).pipe(
            route,
            Effect.provideService(
              HttpServerRequest.HttpServerRequest,
              Option.getOrElse(request, () =>
                HttpServerRequest.fromWeb(new Request("http://localhost", { method: "POST" }))
              )
            ),
            Effect.updateContext((caller: Context.Context<never>) => Context.merge(context, caller))
          )
          return yield* answer!
        })
      return wrapped as S
    })
    // The route that `layerOptional` asks for is made with each call.
  ).pipe(
    Layer.provide(implementation as Layer.Layer<Id, SessionConfigError, Bound<Self>>),
    Layer.provide(client),
    Layer.orDie
  )

/**
 * Layer of a middleware of RPC that requires a session, whose calls carry a session of this data: for `RpcTest`. A
 * middleware with errors of its own has its `onFailure` here, as in `SessionRpc.layer`.
 *
 * **Details**
 *
 * The calls are those of one client, as with `layerLoggedIn`, on a stack of the layer's own.
 *
 * **Example** (Testing handlers without a socket)
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Rpc, RpcGroup, RpcMiddleware, RpcTest } from "effect/rpc"
 * import { Session } from "effect-sessions"
 * import { SessionTest } from "effect-sessions/testing"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String })
 * }) {}
 *
 * class Authenticated extends RpcMiddleware.Service<Authenticated, {
 *   provides: Session.Provided<typeof UserSession>
 * }>()("app/Rpc/Authenticated", { error: Schema.Union(Session.errors(UserSession)) }) {}
 *
 * class Account extends RpcGroup.make(Rpc.make("WhoAmI", { success: Schema.String })).middleware(Authenticated) {}
 *
 * const AccountLive = Account.toLayer({
 *   WhoAmI: () => Effect.map(UserSession.Verified, ({ data }) => data.username)
 * })
 *
 * const program = Effect.gen(function*() {
 *   const client = yield* RpcTest.makeClient(Account)
 *   return yield* client.WhoAmI()
 * }).pipe(
 *   Effect.provide([AccountLive, SessionTest.layerRpc(Authenticated, UserSession, { username: "ada" })]),
 *   Effect.scoped
 * )
 *
 * console.assert((await Effect.runPromise(program)) === "ada")
 * ```
 *
 * @stability experimental
 * @category layers
 * @since 0.1.0
 */
export const layerRpc: {
  <Id extends RpcMiddleware.AnyId, S, Self, A, R extends ReadonlyArray<Tagged>>(
    middleware: Context.Key<Id, S>,
    session: Definition<Self, A, R> & SessionRpc.Guards<Id, Self, never>,
    data: A,
    options: LoggedInOptions<Self> & SessionRpc.OwnErrorOptions<Id, R>
  ): Layer.Layer<Id>
  <
    Id extends RpcMiddleware.AnyId,
    S,
    Self,
    A,
    R extends ReadonlyArray<Tagged>,
    G extends Fresh | undefined = undefined
  >(
    middleware: Context.Key<Id, S>,
    session: Definition<Self, A, R> & SessionRpc.Guards<Id, Self, SessionRpc.Failures<R, G>>,
    data: A,
    options?: LoggedInOptions<Self> & SessionRpc.GuardOptions<G>
  ): Layer.Layer<Id>
} = <Id extends RpcMiddleware.AnyId, S, Self, A, R extends ReadonlyArray<Tagged>>(
  middleware: Context.Key<Id, S>,
  session: Definition<Self, A, R> & SessionRpc.Guards<Id, Self, never>,
  data: A,
  options?: LoggedInOptions<Self> & (SessionRpc.OwnErrorOptions<Id, R> | SessionRpc.GuardOptions<Fresh | undefined>)
): Layer.Layer<Id> =>
  asRequests<Id, S, Self, A, R>(
    middleware,
    session,
    // Of the two forms of `SessionRpc.layer` this one's caller has chosen one.
    SessionRpc.layer<Id, S, Self, A, R>(
      middleware,
      session,
      options as LoggedInOptions<Self> & SessionRpc.OwnErrorOptions<Id, R>
    ),
    layerLoggedIn<Self, A, R>(session, data, options)
  )

/**
 * Layer of a middleware of RPC that is open to all. Its client has a session of this data, or is anonymous without `data`.
 * What a call creates, the next call carries.
 *
 * @stability experimental
 * @category layers
 * @since 0.1.0
 */
export const layerRpcOptional = <Id extends RpcMiddleware.AnyId, S, Self, A, R extends ReadonlyArray<Tagged>>(
  middleware: Context.Key<Id, S>,
  session: Definition<Self, A, R> & SessionRpc.Opens<Id, Self>,
  data?: A,
  options?: LoggedInOptions<Self>
): Layer.Layer<Id> =>
  asRequests<Id, S, Self, A, R>(
    middleware,
    session,
    SessionRpc.layerOptional(middleware, session),
    layerLoggedIn<Self, A, R>(session, data, options)
  )
