/** RPC over a WebSocket, on a real server: who calls, and what no response can carry. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Redacted } from "effect"
import { RpcClient } from "effect/rpc"
import { TestClock } from "effect/testing"
import { SessionFrontend } from "effect-sessions"
import * as Rpc from "../support/rpcSupport.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve } from "../support/userSession.ts"

const routes = ["/ws", "/ws/bare", "/ws/guarded"] as const
const cookieAndBearer = SessionFrontend.layerFirst([SessionFrontend.layerCookie(), SessionFrontend.layerBearer()])
const reasonOf = (error: { readonly _tag: string; readonly reason?: unknown }) => [error._tag, error.reason]

for (const [name, serialization] of Object.entries(Rpc.serializations)) {
  describe(`over a WebSocket, as ${name}`, () => {
    it.live("each call is guarded anew, by the handshake's cookie", () =>
      Effect.gen(function* () {
        const server = yield* Rpc.serve({ serialization })
        for (const path of routes) {
          const session = yield* server.login(ada)
          const client = yield* Rpc.overSocket(server, { cookie: Stage.cookieOf(session) }, path)
          assert.deepStrictEqual([yield* client.WhoAmI(), yield* client.Count(), yield* client.Count()], ["ada", 1, 2])
          assert.isAbove(server.backend.count("read"), 2, path)
          yield* server.manager.destroy(session.token)
          assert.deepStrictEqual(reasonOf(yield* Effect.flip(client.WhoAmI())), ["SessionInvalid", "NotFound"], path)
          assert.deepStrictEqual(reasonOf(yield* Effect.flip(client.Who())), ["SessionInvalid", "NotFound"], path)
        }
      })
    )
  })
}

describe("over a WebSocket", () => {
  it.live("a log-out ends the session for the calls after it", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve()
      for (const path of routes) {
        const session = yield* server.login(ada)
        const client = yield* Rpc.overSocket(server, { cookie: Stage.cookieOf(session) }, path)
        yield* client.LogOut()
        assert.deepStrictEqual(reasonOf(yield* Effect.flip(client.WhoAmI())), ["SessionInvalid", "NotFound"], path)
      }
      assert.deepStrictEqual(yield* server.backend.records, [])
    })
  )

  it.live("a guarded route opens for a live session alone", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve()
      const refused = yield* Effect.flip((yield* Rpc.overSocket(server, {}, "/ws/guarded")).WhoAmI())
      assert.strictEqual(refused._tag, "RpcClientError")
      // The others open, and refuse the call.
      for (const path of ["/ws", "/ws/bare"]) {
        const client = yield* Rpc.overSocket(server, {}, path)
        assert.strictEqual((yield* Effect.flip(client.WhoAmI()))._tag, "SessionMissing", path)
      }
    })
  )

  it.live("what would need a response dies before it touches the store, and says what to do", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve()
      for (const path of routes) {
        const session = yield* server.login(ada)
        const client = yield* Rpc.overSocket(server, { cookie: Stage.cookieOf(session) }, path)
        for (const [operation, call] of [
          ["create", client.LogIn({ name: "eve" })],
          ["rotate", client.Rotate()]
        ] as const) {
          server.backend.calls.length = 0
          const exit = yield* Effect.exit(call)
          assert.isTrue(exit._tag === "Failure" && Cause.hasDies(exit.cause), operation)
          assert.match(
            String(exit),
            new RegExp(
              `${operation} was called in a call of RPC whose answer carries no token\\..* over a socket, log in`
            )
          )
          assert.deepStrictEqual(
            server.backend.operations.filter((name) => name !== "read" && name !== "touch"),
            [],
            `${path} ${operation}`
          )
        }
        const again = yield* Rpc.overSocket(server, { cookie: Stage.cookieOf(session) }, path)
        assert.strictEqual(yield* again.WhoAmI(), "ada")
      }
    })
  )

  it.live("a token that the handler answers logs in: the next calls carry it in their message", () =>
    Effect.gen(function* () {
      for (const frontend of [SessionFrontend.layerBearer(), cookieAndBearer]) {
        const server = yield* Rpc.serve({ parts: { frontend } })
        const client = yield* Rpc.overSocket(server, {}, "/ws")
        const authorization = `Bearer ${yield* client.LogInByToken({ name: "eve" })}`
        const asEve = RpcClient.withHeaders({ authorization })
        assert.strictEqual(yield* asEve(client.WhoAmI()), "eve")
        assert.strictEqual((yield* Effect.flip(client.WhoAmI()))._tag, "SessionMissing")
        // So does a plain rotation: the client holds its token itself.
        const rotated = `Bearer ${yield* asEve(client.Rotate())}`
        assert.deepStrictEqual(reasonOf(yield* Effect.flip(asEve(client.WhoAmI()))), ["SessionInvalid", "NotFound"])
        assert.strictEqual(yield* RpcClient.withHeaders(client.WhoAmI(), { authorization: rotated }), "eve")
      }
    })
  )

  it.live("with a bearer frontend alone, create needs no option: no response would carry the token", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve({ parts: { frontend: SessionFrontend.layerBearer() } })
      const client = yield* Rpc.overSocket(server)
      yield* client.LogIn({ name: "ada" })
      assert.strictEqual((yield* server.backend.records).length, 1)
    })
  )

  it.effect("no token is rotated on a schedule, which over HTTP it is", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve({ parts: { rotateEvery: "5 minutes" } })
      const session = yield* server.login(ada)
      const headers = { cookie: Stage.cookieOf(session) }
      const sockets = yield* Effect.forEach(routes, (path) => Rpc.overSocket(server, headers, path))
      // They are open once they have answered.
      for (const client of sockets) assert.strictEqual(yield* client.Plain(), "plain")
      yield* TestClock.adjust("10 minutes")
      for (const client of sockets) assert.strictEqual(yield* client.WhoAmI(), "ada")
      assert.strictEqual(server.backend.count("update"), 0)

      const bare = yield* Rpc.overHttp(server, headers, { path: "/bare" })
      assert.strictEqual(yield* bare.client.WhoAmI(), "ada")
      assert.strictEqual(server.backend.count("update"), 0)

      const http = yield* Rpc.overHttp(server, headers)
      assert.strictEqual(yield* http.client.WhoAmI(), "ada")
      const [cookie = "", ...others] = http.exchanges[0]?.setCookie ?? []
      assert.deepStrictEqual(others, [])
      assert.match(cookie, /^__Host-session=v1\./)
      assert.notInclude(cookie, Redacted.value(session.token))
    })
  )

  it.live("touch: false looks without keeping the session alive", () =>
    Effect.gen(function* () {
      for (const touch of [true, false]) {
        const server = yield* Rpc.serve({ guard: { touch }, parts: { touchInterval: "20 millis" } })
        const session = yield* server.login(ada)
        const client = yield* Rpc.overSocket(server, { cookie: Stage.cookieOf(session) })
        yield* Effect.sleep("300 millis")
        yield* client.WhoAmI()
        assert.strictEqual(server.backend.count("touch") > 0, touch)
      }
    })
  )
})

describe("what a message carries", () => {
  it.live("a token in a frontend's header counts, before that of the HTTP request; a cookie never does", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve({ parts: { frontend: cookieAndBearer } })
      const [a, e] = [yield* server.login(ada), yield* server.login(eve)]
      const bearer = (session: typeof a) => ({ authorization: `Bearer ${Redacted.value(session.token)}` })
      const cookie = (session: typeof a) => ({ cookie: Stage.cookieOf(session) })
      const who = (client: Effect.Success<ReturnType<typeof Rpc.overSocket>>, message: Rpc.Headers) =>
        Effect.match(RpcClient.withHeaders(client.WhoAmI(), message), {
          onFailure: (error) => (error._tag === "SessionInvalid" ? error.reason : error._tag),
          onSuccess: (name) => name
        })
      for (const path of ["/ws", "/ws/bare", "/rpc", "/bare"]) {
        const connect = (headers: Rpc.Headers) =>
          path.startsWith("/ws")
            ? Rpc.overSocket(server, headers, path)
            : Effect.map(Rpc.overHttp(server, headers, { path }), ({ client }) => client)
        const stranger = yield* connect({})
        assert.strictEqual(yield* who(stranger, bearer(a)), "ada", path)
        assert.strictEqual(yield* who(stranger, cookie(a)), "SessionMissing", path)
        const holder = yield* connect(bearer(a))
        assert.strictEqual(yield* who(holder, {}), "ada", path)
        assert.strictEqual(yield* who(holder, bearer(e)), "eve", path)
        assert.strictEqual(yield* who(holder, cookie(e)), "ada", path)
        const browser = yield* connect(cookie(a))
        assert.strictEqual(yield* who(browser, cookie(e)), "ada", path)
        // As with one request that has both.
        assert.strictEqual(yield* who(browser, bearer(a)), "ada", path)
        assert.strictEqual(yield* who(browser, bearer(e)), "Ambiguous", path)
        assert.strictEqual(yield* who(browser, { authorization: "Bearer x" }), "Malformed", path)
      }
    })
  )

  it.live("without HTTP such a header is the only place for a token", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve({ parts: { frontend: cookieAndBearer } })
      const session = yield* server.login(ada)
      const client = yield* Rpc.inProcess(server)
      const token = Redacted.value(session.token)
      assert.strictEqual((yield* Effect.flip(client.WhoAmI()))._tag, "SessionMissing")
      assert.strictEqual(yield* RpcClient.withHeaders(client.WhoAmI(), { authorization: `Bearer ${token}` }), "ada")
      const withCookie = RpcClient.withHeaders(client.WhoAmI(), { cookie: Stage.cookieOf(session) })
      assert.strictEqual((yield* Effect.flip(withCookie))._tag, "SessionMissing")
    })
  )

  it.live("what is no text is no token", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve({ parts: { frontend: SessionFrontend.layerHeader({ name: "X-Session" }) } })
      for (const value of [7, true, ["x"], { length: 1 }, null]) {
        const request = { _tag: "Request", id: "1", tag: "WhoAmI", payload: null, headers: [["x-session", value]] }
        const answer = yield* Effect.promise(() =>
          fetch(`http://127.0.0.1:${server.port}/rpc`, { method: "POST", body: `${JSON.stringify(request)}\n` }).then(
            (response) => response.text()
          )
        )
        assert.include(answer, "SessionMissing", JSON.stringify(value))
      }
    })
  )
})
