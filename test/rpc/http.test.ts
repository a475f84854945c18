/** RPC over HTTP, on a real server, with real clients. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Rpc from "../support/rpcSupport.ts"
import * as Stage from "../support/stage.ts"
import { ada } from "../support/userSession.ts"

for (const [name, serialization] of Object.entries(Rpc.serializations)) {
  describe(`over HTTP, as ${name}`, () => {
    it.live("a log-in sets the cookie, which says who calls, until the log-out takes it off", () =>
      Effect.gen(function* () {
        const server = yield* Rpc.serve({ serialization })
        const stranger = yield* Rpc.overHttp(server)
        assert.strictEqual((yield* Effect.flip(stranger.client.WhoAmI()))._tag, "SessionMissing")
        assert.deepStrictEqual(stranger.exchanges[0]?.setCookie, [])

        yield* stranger.client.LogIn({ name: "ada" })
        const [, login] = stranger.exchanges
        assert.strictEqual(login?.setCookie.length, 1)
        assert.match(login!.setCookie[0]!, /^__Host-session=v1\./)
        assert.strictEqual(login!.headers["cache-control"], "no-store")
        assert.strictEqual(login!.headers["vary"], "Cookie")

        const user = yield* Rpc.overHttp(server, { cookie: login!.setCookie[0]! })
        assert.strictEqual(yield* user.client.WhoAmI(), "ada")
        assert.strictEqual(yield* user.client.Count(), 1)
        assert.strictEqual(yield* user.client.Count(), 2)
        assert.deepStrictEqual(
          user.exchanges.flatMap(({ setCookie }) => setCookie),
          []
        )

        yield* user.client.LogOut()
        assert.deepStrictEqual(user.exchanges.at(-1)?.setCookie, ["__Host-session="])
        const gone = yield* Effect.flip(user.client.WhoAmI())
        assert.deepStrictEqual(
          [gone._tag, gone._tag === "SessionInvalid" && gone.reason],
          ["SessionInvalid", "NotFound"]
        )
        assert.deepStrictEqual(yield* server.backend.records, [])
      })
    )
  })
}

describe("over HTTP", () => {
  it.live("smoke: socket", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve()
      const session = yield* server.login(ada)
      const client = yield* Rpc.overSocket(server, { cookie: Stage.cookieOf(session) })
      assert.strictEqual(yield* client.WhoAmI(), "ada")
      assert.strictEqual(yield* client.WhoAmI(), "ada")
      yield* client.LogOut()
      const gone = yield* Effect.flip(client.WhoAmI())
      assert.deepStrictEqual([gone._tag, gone._tag === "SessionInvalid" && gone.reason], ["SessionInvalid", "NotFound"])
    })
  )
})
