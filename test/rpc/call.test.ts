/** Which session a call has: its request's, or one of its own; and who is asked how often. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Schema } from "effect"
import { HttpServerResponse } from "effect/http"
import { Rpc, RpcGroup, RpcMiddleware, RpcSerialization, RpcServer, RpcTest } from "effect/rpc"
import { Session, SessionError, SessionMiddleware, SessionRpc } from "effect-sessions"
import * as Events from "../support/events.ts"
import * as Kit from "../support/rpcSupport.ts"
import * as Stack from "../support/stack.ts"
import * as Stage from "../support/stage.ts"
import { ada, UserSession } from "../support/userSession.ts"

const text = (name: Effect.Effect<string, { readonly _tag: string }>) =>
  Effect.match(name, { onFailure: ({ _tag }) => _tag, onSuccess: (name) => name })

describe("a call", () => {
  it.live("shares the session of a request, and never that of a handshake, on whatever server", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const running = yield* Layer.build(Kit.Running.layer)
      const handlers = Kit.Handlers.pipe(
        Layer.provideMerge(SessionRpc.layer(Kit.Authenticated, UserSession)),
        Layer.provide([Layer.succeedContext(stage.context), Layer.succeedContext(running)])
      )
      const context = yield* Layer.build(handlers)
      // A web server's request: nothing but its header says that it opens a socket.
      const send = yield* stage.open(
        Effect.gen(function* () {
          const client = yield* Effect.provideContext(RpcTest.makeClient(Kit.Account), context)
          const first = yield* text(client.WhoAmI())
          yield* Effect.orDie(stage.manager.revokeAll("ada"))
          const second = yield* text(client.WhoAmI())
          return HttpServerResponse.text(`${first} ${second}`)
        })
      )
      for (const [upgrade, expected] of [
        [undefined, "ada ada"],
        ["websocket", "ada SessionInvalid"],
        ["h2c, WebSocket", "ada SessionInvalid"]
      ] as const) {
        const session = yield* stage.login(ada)
        const headers = upgrade === undefined ? undefined : { upgrade }
        const answer = yield* send("GET", "/", { cookie: Stage.cookieOf(session), headers })
        assert.strictEqual(answer.text, expected, upgrade)
      }
    })
  )

  it.live("with several middlewares has one session, which is read once", () => {
    class Second extends RpcMiddleware.Service<Second, { provides: Session.Provided<typeof UserSession> }>()(
      "test/Rpc/Second",
      { error: Schema.Union(Session.errors(UserSession)) }
    ) {}
    class Outside extends RpcMiddleware.Service<Outside>()("test/Rpc/Outside") {}
    class Group extends RpcGroup.make(Rpc.make("Twice", { success: Schema.Boolean }))
      .middleware(Second)
      .middleware(Kit.Authenticated)
      .middleware(Kit.Visitor)
      .middleware(Outside) {}
    const leaked: Array<boolean> = []
    return Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const live = Layer.mergeAll(
        Group.toLayer({
          Twice: () =>
            Effect.map(Effect.all([UserSession, UserSession.Verified]), ([, verified]) => verified.id === session.id)
        }),
        SessionRpc.layer(Second, UserSession),
        Layer.succeed(Outside, (handler) =>
          Effect.tap(handler, () =>
            Effect.map(
              Effect.all([Effect.serviceOption(UserSession), Effect.serviceOption(UserSession.Verified)]),
              (found) => leaked.push(found.some((one) => Option.isSome<unknown>(one)))
            )
          )
        ),
        SessionRpc.layer(Kit.Authenticated, UserSession),
        SessionRpc.layerOptional(Kit.Visitor, UserSession) as Layer.Layer<
          Kit.Visitor,
          never,
          Session.Bound<UserSession>
        >
      ).pipe(Layer.provide(Layer.succeedContext(stage.context)))
      const context = yield* Layer.build(live)
      // No route has made a session.
      const send = yield* stage.app(
        Effect.gen(function* () {
          const client = yield* Effect.provideContext(RpcTest.makeClient(Group), context)
          return HttpServerResponse.text(String(yield* Effect.orDie(client.Twice())))
        })
      )
      for (const headers of [undefined, { upgrade: "websocket" }]) {
        stage.backend.calls.length = 0
        assert.strictEqual((yield* send("GET", "/", { cookie: Stage.cookieOf(session), headers })).text, "true")
        assert.strictEqual(stage.backend.count("read"), 1)
      }
      assert.deepStrictEqual(leaked, [false, false])
    })
  })

  it.live("keeps the sessions of two definitions apart", () => {
    class AdminSession extends Session.Service<AdminSession>()("test/Rpc/AdminSession", {
      data: Schema.Struct({ admin: Schema.String })
    }) {}
    class Admin extends RpcMiddleware.Service<Admin, { provides: Session.Provided<typeof AdminSession> }>()(
      "test/Rpc/Admin",
      { error: Schema.Union(Session.errors(AdminSession)) }
    ) {}
    class Group extends RpcGroup.make(Rpc.make("Both", { success: Schema.String }))
      .middleware(Admin)
      .middleware(Kit.Authenticated) {}
    return Effect.gen(function* () {
      const context = yield* Layer.build(
        Layer.mergeAll(Stack.http(UserSession), Stack.http(AdminSession, { frontend: Kit.adminFrontend }))
      )
      const user = yield* Effect.provideContext(UserSession.Manager, context)
      const admin = yield* Effect.provideContext(AdminSession.Manager, context)
      const live = Layer.mergeAll(
        Group.toLayer({
          Both: () =>
            Effect.map(
              Effect.all([UserSession.Verified, AdminSession.Verified]),
              ([user, admin]) => `${user.data.username} ${admin.data.admin}`
            )
        }),
        SessionRpc.layer(Kit.Authenticated, UserSession),
        SessionRpc.layer(Admin, AdminSession)
      ).pipe(Layer.provide(Layer.succeedContext(context)))
      const client = yield* Effect.provideContext(RpcTest.makeClient(Group), yield* Layer.build(live))
      const stage = yield* Stage.make()
      const send = yield* stage.app(Effect.map(text(client.Both()), (name) => HttpServerResponse.text(name)))
      const cookies = [
        Stage.cookieOf(yield* user.create(ada)),
        `__Host-admin=${Kit.tokenOf(yield* admin.create({ admin: "root" }))}`
      ]
      assert.strictEqual((yield* send("GET", "/", { cookie: cookies.join("; ") })).text, "ada root")
      for (const cookie of cookies) {
        assert.strictEqual((yield* send("GET", "/", { cookie })).text, "SessionMissing")
      }
    })
  })

  it.live("is as fresh as its middleware asks, or refused with SessionStale", () => {
    class Sudo extends RpcMiddleware.Service<Sudo, { provides: Session.Provided<typeof UserSession> }>()(
      "test/Rpc/Sudo",
      { error: Schema.Union([...Session.errors(UserSession), SessionError.SessionStale]) }
    ) {}
    class Group extends RpcGroup.make(Rpc.make("Delete")).middleware(Sudo) {}
    return Effect.gen(function* () {
      const stage = yield* Stage.make()
      const httpEffect = yield* RpcServer.toHttpEffect(Group).pipe(
        Effect.provide(
          Layer.mergeAll(
            Group.toLayer({ Delete: () => Effect.void }),
            SessionRpc.layer(Sudo, UserSession, { fresh: { within: "5 minutes", methods: ["otp"] } }),
            RpcSerialization.layerNdjson
          ).pipe(Layer.provide(Layer.succeedContext(stage.context)))
        )
      )
      // Not through a router.
      const send = yield* stage.app(SessionMiddleware.make(UserSession)(httpEffect))
      const body = `${JSON.stringify({ _tag: "Request", id: "1", tag: "Delete", payload: null, headers: [] })}\n`
      const [stale, fresh] = [yield* stage.login(ada), yield* stage.login(ada, { methods: ["otp"] })]
      assert.include((yield* send("POST", "/", { cookie: Stage.cookieOf(stale), body })).text, `"maxAge":300`)
      const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(fresh), body })
      assert.include(answer.text, `"Success"`)
      assert.strictEqual(answer.headers.get("vary"), "Cookie")
    })
  })

  it.live("that is refused is told of once, as any request is", () =>
    Effect.gen(function* () {
      const told = Events.make()
      const server = yield* Kit.serve({ parts: { onEvent: told.onEvent } })
      const session = yield* server.login(ada)
      const cookie = Stage.cookieOf(session)
      const calls = {
        http: yield* Kit.overHttp(server).pipe(Effect.map(({ client }) => client)),
        socket: yield* Kit.overSocket(server),
        ended: yield* Kit.overSocket(server, { cookie }),
        evil: yield* Kit.overSocket(server, { cookie, origin: "https://evil.example" }, "/ws/bare")
      }
      yield* calls.ended.WhoAmI()
      yield* server.manager.destroy(session.token)
      told.taken()
      const refusals: Record<string, ReadonlyArray<string>> = {}
      for (const [name, client] of Object.entries(calls)) {
        yield* Effect.flip(client.WhoAmI())
        refusals[name] = told.taken()
      }
      assert.deepStrictEqual(refusals, {
        http: ["Refused SessionMissing"],
        socket: ["Refused SessionMissing"],
        ended: ["Refused SessionInvalid NotFound"],
        evil: ["Refused SessionCrossOrigin"]
      })
    })
  )
})
