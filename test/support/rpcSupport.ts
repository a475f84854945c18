/** What the tests of RPC share: groups, a server that listens with them on several routes, and clients of these. */
import { NodeWS } from "@effect/platform-node"
import { Context, Effect, Layer, Redacted, Ref, Schema, Stream } from "effect"
import type { Duration } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
import { Rpc, RpcClient, RpcGroup, RpcMiddleware, RpcSerialization, RpcServer, RpcTest } from "effect/rpc"
import * as Socket from "effect/socket/Socket"
import { Session, SessionError, SessionFrontend, SessionMiddleware, SessionRpc } from "effect-sessions"
import * as Server from "./server.ts"
import * as Stage from "./stage.ts"
import { user, UserSession } from "./userSession.ts"

export class Visitor extends RpcMiddleware.Service<Visitor, { provides: UserSession }>()("test/Rpc/Visitor", {
  error: SessionError.SessionCrossOrigin
}) {}

export class Authenticated extends RpcMiddleware.Service<
  Authenticated,
  { provides: Session.Provided<typeof UserSession> }
>()("test/Rpc/Authenticated", { error: Schema.Union(Session.errors(UserSession)) }) {}

/** What handlers may fail with that use the session. */
const error = Schema.Union(Session.errors(UserSession))

export class Auth extends RpcGroup.make(
  Rpc.make("LogIn", { payload: { name: Schema.String }, success: Schema.String, error }),
  Rpc.make("LogInByToken", { payload: { name: Schema.String }, success: Schema.String, error }),
  Rpc.make("LogOut", { error }),
  Rpc.make("Who", { success: Schema.String, error })
).middleware(Visitor) {}

export class Account extends RpcGroup.make(
  Rpc.make("WhoAmI", { success: Schema.String }),
  Rpc.make("Count", { success: Schema.Int, error }),
  Rpc.make("Rotate", { success: Schema.String, error }),
  Rpc.make("Seen", { success: Schema.Number }),
  Rpc.make("LogOutAndWait", { success: Schema.String, error }),
  Rpc.make("Uninterruptible", { success: Schema.Int, stream: true }),
  Rpc.make("Ticks", { payload: { every: Schema.Int }, success: Schema.Int, stream: true })
).middleware(Authenticated) {}

/** Without a middleware. */
export class Plain extends RpcGroup.make(
  Rpc.make("Plain", { success: Schema.String }),
  Rpc.make("Wait", { payload: { millis: Schema.Number }, success: Schema.String })
) {}

export class All extends Auth.merge(Account, Plain) {}

/** How many handlers of `Ticks` run, and how many have been interrupted. */
export class Running extends Context.Service<
  Running,
  { readonly now: Ref.Ref<number>; readonly interrupted: Ref.Ref<number> }
>()("test/Rpc/Running") {
  static readonly layer = Layer.effect(
    Running,
    Effect.gen(function* () {
      return { now: yield* Ref.make(0), interrupted: yield* Ref.make(0) }
    })
  )
}

export const Handlers = All.toLayer(
  Effect.gen(function* () {
    const { interrupted, now } = yield* Running
    return All.of({
      LogIn: Effect.fnUntraced(function* ({ name }) {
        return (yield* (yield* UserSession).create(user(name))).id
      }),
      LogInByToken: Effect.fnUntraced(function* ({ name }) {
        const session = yield* (yield* UserSession).create(user(name), { cookie: "none" })
        return Redacted.value(session.token)
      }),
      LogOut: Effect.fnUntraced(function* () {
        yield* (yield* UserSession).destroy
      }),
      Who: Effect.fnUntraced(function* () {
        return (yield* (yield* UserSession).get).data.username ?? "-"
      }),
      WhoAmI: () => Effect.map(UserSession.Verified, ({ data }) => data.username ?? "-"),
      Count: Effect.fnUntraced(function* () {
        const { data } = yield* (yield* UserSession).update((data) => ({ ...data, count: data.count + 1 }))
        return data.count
      }),
      Rotate: Effect.fnUntraced(function* () {
        return Redacted.value((yield* (yield* UserSession).rotate).token)
      }),
      Seen: () => Effect.map(UserSession.Verified, ({ lastSeenAt }) => lastSeenAt.epochMilliseconds),
      LogOutAndWait: Effect.fnUntraced(function* () {
        yield* (yield* UserSession).destroy
        yield* Effect.sleep("200 millis")
        return "to the end"
      }),
      Uninterruptible: () =>
        Rpc.uninterruptible(
          Stream.make(1, 2, 3).pipe(Stream.mapEffect((n) => Effect.delay(Effect.succeed(n), "100 millis")))
        ),
      Plain: () => Effect.succeed("plain"),
      Wait: ({ millis }) => Effect.delay(Effect.succeed("waited"), millis),
      Ticks: ({ every }) =>
        Stream.range(1, 1_000_000).pipe(
          Stream.mapEffect((n) => Effect.delay(Effect.succeed(n), n === 1 ? 0 : every)),
          Stream.onStart(Ref.update(now, (n) => n + 1)),
          Stream.onExit((exit) =>
            Effect.andThen(
              Ref.update(now, (n) => n - 1),
              exit._tag === "Failure" ? Ref.update(interrupted, (n) => n + 1) : Effect.void
            )
          )
        )
    })
  })
)

export type Serialization = Layer.Layer<RpcSerialization.RpcSerialization>

export const serializations = {
  json: RpcSerialization.layerJson,
  ndjson: RpcSerialization.layerNdjson,
  binary: RpcSerialization.layerSchemaBinary()
} satisfies Record<string, Serialization>

/** The same group on five routes: with the middleware of the route, and without. */
export const serve = Effect.fnUntraced(function* (options?: {
  readonly serialization?: Serialization
  readonly parts?: Parameters<typeof Stage.make>[0]
  readonly route?: SessionMiddleware.RouteOptions
  /** How many calls of one server run at once. */
  readonly concurrency?: number
  readonly guard?: { readonly touch?: boolean; readonly trustedOrigins?: ReadonlyArray<string> }
}) {
  const stage = yield* Stage.make(options?.parts)
  const running = yield* Layer.build(Running.layer)
  const router = SessionMiddleware.router(UserSession, options?.route).layer
  const at = (path: `/${string}`, protocol: "http" | "websocket") =>
    RpcServer.layerHttp({ group: All, path, protocol, concurrency: options?.concurrency ?? "unbounded" })
  const routes = Layer.mergeAll(
    at("/rpc", "http").pipe(Layer.provide(router)),
    at("/bare", "http"),
    at("/ws", "websocket").pipe(Layer.provide(router)),
    at("/ws/bare", "websocket"),
    at("/ws/guarded", "websocket").pipe(
      Layer.provide(SessionMiddleware.routerRequired(UserSession, options?.route).layer)
    )
  ).pipe(
    Layer.provide(Handlers),
    Layer.provide([
      SessionRpc.layer(Authenticated, UserSession, options?.guard),
      SessionRpc.layerOptional(Visitor, UserSession, options?.guard).pipe(Layer.provide(router))
    ]),
    Layer.provide(options?.serialization ?? RpcSerialization.layerNdjson),
    Layer.provide(Layer.succeedContext(stage.context)),
    Layer.provide(Layer.succeedContext(running))
  )
  const port = yield* Server.listen(routes)
  return { ...stage, port, running: Context.get(running, Running), serialization: options?.serialization }
})

export type Served = Effect.Success<ReturnType<typeof serve>>
export type Headers = Record<string, string>
/** What the client sent and what came back, over HTTP. */
export interface Exchange {
  readonly status: number
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly setCookie: ReadonlyArray<string>
}

/** A client over HTTP, whose requests have these headers. It keeps no cookie; `exchanges` has what came back. */
export const overHttp = Effect.fnUntraced(function* (
  { port, serialization }: Pick<Served, "port" | "serialization">,
  headers: Headers = {},
  options?: { readonly path?: string; readonly batch?: { readonly window: Duration.Input } }
) {
  const exchanges: Array<Exchange> = []
  const protocol = RpcClient.layerProtocolHttp({
    url: `http://127.0.0.1:${port}${options?.path ?? "/rpc"}`,
    ...(options?.batch === undefined ? undefined : { batch: options.batch }),
    transformClient: (client) =>
      client.pipe(
        HttpClient.mapRequest(HttpClientRequest.setHeaders(headers)),
        HttpClient.tap((response) =>
          Effect.sync(() => {
            exchanges.push({
              status: response.status,
              headers: response.headers,
              setCookie: Object.entries(response.cookies.cookies).map(([, cookie]) => `${cookie.name}=${cookie.value}`)
            })
          })
        )
      )
  }).pipe(Layer.provide([FetchHttpClient.layer, serialization ?? RpcSerialization.layerNdjson]))
  const context = yield* Layer.build(protocol)
  const client = yield* Effect.provideContext(RpcClient.make(All), context)
  return { client, exchanges }
})

/** A client over a WebSocket, which sends no pings: a test may let time pass. Its handshake has these headers. */
export const overSocket = Effect.fnUntraced(function* (
  { port, serialization }: Pick<Served, "port" | "serialization">,
  headers: Headers = {},
  path = "/ws"
) {
  const protocol = RpcClient.layerProtocolSocket({ pingInterval: "100 days" }).pipe(
    Layer.provide(Socket.layerWebSocket(`ws://127.0.0.1:${port}${path}`, { headers })),
    Layer.provide([NodeWS.layerWebSocketConstructor, serialization ?? RpcSerialization.layerNdjson])
  )
  const context = yield* Layer.build(protocol)
  return yield* Effect.provideContext(RpcClient.make(All), context)
})

/** A client without HTTP, whose calls reach the handlers in this process. */
export const inProcess = Effect.fnUntraced(function* ({ context, running }: Pick<Served, "context" | "running">) {
  const live = Layer.mergeAll(
    Handlers.pipe(Layer.provide(Layer.succeed(Running, running))),
    SessionRpc.layer(Authenticated, UserSession),
    // There is no route.
    SessionRpc.layerOptional(Visitor, UserSession) as Layer.Layer<Visitor, never, Session.Bound<UserSession>>
  ).pipe(Layer.provide(Layer.succeedContext(context)), Layer.orDie)
  return yield* Effect.provideContext(RpcTest.makeClient(All), yield* Layer.build(live))
})

export const adminFrontend = SessionFrontend.layerCookie({ name: "__Host-admin" })

export const tokenOf = ({ token }: { readonly token: Redacted.Redacted<string> }): string => Redacted.value(token)
