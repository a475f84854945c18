/** RPC over HTTP, on a real server, with real clients. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Redacted } from "effect"
import { RpcClient } from "effect/rpc"
import { SessionBackend, SessionError, SessionFrontend, SessionVerifier } from "effect-sessions"
import * as Rpc from "../support/rpcSupport.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve, UserSession } from "../support/userSession.ts"

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
  it.live("the calls of one request share its session, which is read once", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve()
      const session = yield* server.login(ada)
      const { client, exchanges } = yield* Rpc.overHttp(
        server,
        { cookie: Stage.cookieOf(session) },
        { batch: { window: "50 millis" } }
      )
      const three = yield* Effect.all([client.WhoAmI(), client.WhoAmI(), client.Who()], { concurrency: "unbounded" })
      assert.deepStrictEqual(three, ["ada", "ada", "ada"])
      assert.strictEqual(exchanges.length, 1)
      assert.strictEqual(server.backend.count("read"), 1)
    })
  )

  it.live("a log-in among them sets the cookie while the response has not begun, and dies once it has", () =>
    Effect.gen(function* () {
      for (const [serialization, isLate] of [
        [Rpc.serializations.json, false],
        [Rpc.serializations.ndjson, true]
      ] as const) {
        const server = yield* Rpc.serve({ serialization, concurrency: 1 })
        const session = yield* server.login(ada)
        const { client, exchanges } = yield* Rpc.overHttp(
          server,
          { cookie: Stage.cookieOf(session) },
          { batch: { window: "50 millis" } }
        )
        // One after the other: the response begins with the first answer, if it is a stream of them.
        const calls = [client.Plain(), client.Wait({ millis: 100 }), client.LogIn({ name: "eve" }), client.WhoAmI()]
        const [, , late, after] = yield* Effect.all(calls.map(Effect.exit), { concurrency: "unbounded" })
        assert.strictEqual(exchanges.length, 1)
        if (isLate) {
          assert.isTrue(Exit.isFailure(late!) && Cause.hasDies(late.cause))
          assert.match(String(late), /create was called in a call of RPC whose answer carries no token/)
          assert.strictEqual(server.backend.count("create"), 0)
          assert.deepStrictEqual(exchanges[0]?.setCookie, [])
        } else {
          assert.isTrue(Exit.isSuccess(late!))
          assert.deepStrictEqual(after, Exit.succeed("eve"))
          assert.strictEqual(exchanges[0]?.setCookie.length, 1)
        }
      }
    })
  )

  it.live("without the route's middleware calls are guarded, and a log-in dies before it touches the store", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve()
      const session = yield* server.login(ada)
      const { client, exchanges } = yield* Rpc.overHttp(server, { cookie: Stage.cookieOf(session) }, { path: "/bare" })
      assert.strictEqual(yield* client.WhoAmI(), "ada")
      server.backend.calls.length = 0
      const exit = yield* Effect.exit(client.LogIn({ name: "eve" }))
      assert.match(String(exit), /Over HTTP, give the route SessionMiddleware\.router/)
      assert.deepStrictEqual(server.backend.operations, [])
      assert.deepStrictEqual(
        exchanges.flatMap(({ setCookie }) => setCookie),
        []
      )
    })
  )

  it.live("a token of a header frontend goes back in that header, unless it came in a message", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve({ parts: { frontend: SessionFrontend.layerHeader({ name: "X-Session" }) } })
      const session = yield* server.login(ada)
      const header = { "x-session": Redacted.value(session.token) }
      const stranger = yield* Rpc.overHttp(server)
      const inMessage = yield* Effect.exit(RpcClient.withHeaders(stranger.client.Rotate(), header))
      assert.match(String(inMessage), /rotate was called in a call of RPC whose answer carries no token/)
      assert.isUndefined(stranger.exchanges[0]?.headers["x-session"])

      const holder = yield* Rpc.overHttp(server, header)
      const token = yield* holder.client.Rotate()
      assert.strictEqual(holder.exchanges[0]?.headers["x-session"], token)
      assert.strictEqual(yield* RpcClient.withHeaders(stranger.client.WhoAmI(), { "x-session": token }), "ada")
    })
  )

  it.live("a store that is down is SessionUnavailable, and a verifier's refusal is its own error", () =>
    Effect.gen(function* () {
      const verifier = SessionVerifier.layer(
        UserSession,
        Effect.succeed(({ data }) =>
          data.username === "eve" ? Effect.fail(new SessionError.SessionRefused({ message: "banned" })) : Effect.void
        )
      )
      const server = yield* Rpc.serve({ parts: { verifier } })
      const cookieOf = (data: typeof ada) =>
        Effect.map(server.login(data), (session) => ({ cookie: Stage.cookieOf(session) }))
      const headers = yield* cookieOf(ada)
      const banned = yield* cookieOf(eve)
      for (const client of [(yield* Rpc.overHttp(server, banned)).client, yield* Rpc.overSocket(server, banned)]) {
        const refused = yield* Effect.flip(client.WhoAmI())
        assert.deepStrictEqual([refused._tag, refused.message], ["SessionRefused", "banned"])
      }
      server.backend.wire = (operation) =>
        Effect.fail(new SessionBackend.SessionBackendError({ operation, outcome: "notApplied", cause: "down" }))
      for (const client of [(yield* Rpc.overHttp(server, headers)).client, yield* Rpc.overSocket(server, headers)]) {
        assert.strictEqual((yield* Effect.flip(client.WhoAmI()))._tag, "SessionUnavailable")
      }
    })
  )
})
