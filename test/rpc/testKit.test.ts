/** `RpcTest` with a session: handlers without a socket, in one line. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Ref, Schema, Stream } from "effect"
import { Rpc, RpcGroup, RpcMiddleware, RpcTest } from "effect/rpc"
import type { Session } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import { Account, Auth, Authenticated, Handlers, Running, Visitor } from "../support/rpcSupport.ts"
import { ada, UserSession } from "../support/userSession.ts"

const Live = Layer.provideMerge(Handlers, Running.layer)

describe("RpcTest", () => {
  it.effect("calls carry a session of these data", () =>
    Effect.gen(function* () {
      const client = yield* RpcTest.makeClient(Account)
      assert.strictEqual(yield* client.WhoAmI(), "ada")
      assert.strictEqual(yield* client.Count(), 1)
      // The calls are those of one client, which takes the new token.
      yield* client.Rotate()
      assert.strictEqual(yield* client.Count(), 2)
    }).pipe(Effect.provide([Live, SessionTest.layerRpc(Authenticated, UserSession, ada)]))
  )

  it.effect("a client that starts anonymous logs in and out", () =>
    Effect.gen(function* () {
      const client = yield* RpcTest.makeClient(Auth)
      assert.strictEqual((yield* Effect.flip(client.Who()))._tag, "SessionMissing")
      yield* client.LogIn({ name: "ada" })
      assert.strictEqual(yield* client.Who(), "ada")
      yield* client.LogOut()
      assert.strictEqual((yield* Effect.flip(client.Who()))._tag, "SessionMissing")
    }).pipe(Effect.provide([Live, SessionTest.layerRpcOptional(Visitor, UserSession)]))
  )

  it.effect("a stream runs, and its handler ends with it", () =>
    Effect.gen(function* () {
      const client = yield* RpcTest.makeClient(Account)
      const running = yield* Running
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(client.Ticks({ every: 0 }), 3)), [1, 2, 3])
      yield* Effect.yieldNow
      assert.strictEqual(yield* Ref.get(running.now), 0)
    }).pipe(Effect.provide([Live, SessionTest.layerRpc(Authenticated, UserSession, ada)]))
  )

  it.effect("a middleware with errors of its own maps what it refuses with", () => {
    class Denied extends Schema.TaggedError<Denied>()("Denied", { because: Schema.String }) {}
    class Own extends RpcMiddleware.Service<Own, { provides: Session.Provided<typeof UserSession> }>()("test/Rpc/Own", {
      error: Denied
    }) {}
    class Group extends RpcGroup.make(Rpc.make("WhoAmI", { success: Schema.String })).middleware(Own) {}
    return Effect.gen(function* () {
      const client = yield* RpcTest.makeClient(Group)
      const denied = yield* Effect.flip(client.WhoAmI())
      assert.deepStrictEqual(denied, new Denied({ because: "SessionStale" }))
    }).pipe(
      Effect.provide([
        Group.toLayer({ WhoAmI: () => Effect.map(UserSession.Verified, ({ data }) => data.username ?? "-") }),
        SessionTest.layerRpc(Own, UserSession, ada, {
          login: { methods: ["pwd"] },
          fresh: { within: "5 minutes", methods: ["otp"] },
          onFailure: (error) => Effect.fail(new Denied({ because: error._tag }))
        })
      ])
    )
  })

  it.effect("options that are not valid are a defect, as in every layer of the test kit", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(
        Layer.build(SessionTest.layerRpc(Authenticated, UserSession, ada, { trustedOrigins: ["app.test"] }))
      )
      assert.match(String(exit), /test\/Rpc\/Authenticated: .*app\.test/)
    })
  )
})
