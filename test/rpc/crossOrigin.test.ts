/** Calls from another site's page: a WebSocket that it opens, a request that it posts, and what it writes into messages. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { RpcClient } from "effect/rpc"
import { SessionFrontend } from "effect-sessions"
import * as Rpc from "../support/rpcSupport.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve } from "../support/userSession.ts"

const frontend = SessionFrontend.layerFirst([SessionFrontend.layerCookie(), SessionFrontend.layerBearer()])
const evil = { origin: "https://evil.example", "sec-fetch-site": "cross-site" }

const setup = Effect.fnUntraced(function* (options?: Parameters<typeof Rpc.serve>[0]) {
  const server = yield* Rpc.serve({ ...options, parts: { frontend } })
  const own = `http://127.0.0.1:${server.port}`
  const [a, e] = [yield* server.login(ada), yield* server.login(eve)]
  const bearer = (session: typeof a) => ({ authorization: `Bearer ${Redacted.value(session.token)}` })
  /** What a page's script may put into its messages. */
  const messages: ReadonlyArray<Rpc.Headers> = [
    {},
    { origin: own },
    { origin: own, host: `127.0.0.1:${server.port}`, "sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate" },
    { upgrade: "" },
    { cookie: Stage.cookieOf(e), origin: own, "sec-fetch-site": "none" },
    { cookie: "", authorization: "Bearer x" },
    { cookie: "", ...bearer(e) },
    { ...bearer(e), origin: own, "sec-fetch-site": "same-origin" },
    { host: "evil.example", ":authority": "evil.example" }
  ]
  return { server, own, a, e, bearer, messages, cookie: { cookie: Stage.cookieOf(a) } }
})

type Client = Effect.Success<ReturnType<typeof Rpc.overSocket>>
const tagOf = (call: Effect.Effect<unknown, { readonly _tag: string }>) =>
  Effect.match(call, { onFailure: ({ _tag }) => _tag, onSuccess: () => "answered" })

describe("another site's page", () => {
  it.live("calls nothing over a WebSocket that it opened, whatever its messages say", () =>
    Effect.gen(function* () {
      const { cookie, messages, server } = yield* setup()
      server.backend.calls.length = 0
      for (const handshake of [evil, { origin: evil.origin }, { ...evil, ...cookie }, { origin: "null", ...cookie }]) {
        const client = yield* Rpc.overSocket(server, handshake, "/ws/bare")
        for (const message of messages) {
          for (const call of [client.WhoAmI(), client.Who(), client.LogInByToken({ name: "mallory" })]) {
            const tag = yield* tagOf(RpcClient.withHeaders(call, message))
            assert.strictEqual(tag, "SessionCrossOrigin", JSON.stringify([handshake, message]))
          }
        }
      }
      assert.deepStrictEqual(server.backend.operations, [])
    })
  )

  it.live("does not even open one where the route has a middleware", () =>
    Effect.gen(function* () {
      const { cookie, server } = yield* setup()
      for (const path of ["/ws", "/ws/guarded"]) {
        const client = yield* Rpc.overSocket(server, { ...evil, ...cookie }, path)
        assert.strictEqual(yield* tagOf(client.WhoAmI()), "RpcClientError", path)
      }
    })
  )

  it.live("calls nothing by a request that it posts, whatever its messages say", () =>
    Effect.gen(function* () {
      const { cookie, messages, server } = yield* setup()
      server.backend.calls.length = 0
      for (const headers of [evil, { ...evil, ...cookie }]) {
        const { client } = yield* Rpc.overHttp(server, headers, { path: "/bare" })
        const routed = yield* Rpc.overHttp(server, headers)
        for (const message of messages) {
          const about = JSON.stringify([headers, message])
          assert.strictEqual(yield* tagOf(RpcClient.withHeaders(client.WhoAmI(), message)), "SessionCrossOrigin", about)
          assert.strictEqual(
            yield* tagOf(RpcClient.withHeaders(routed.client.LogIn({ name: "mallory" }), message)),
            "RpcClientError",
            about
          )
        }
        assert.isTrue(routed.exchanges.every(({ setCookie, status }) => status === 403 && setCookie.length === 0))
      }
      assert.deepStrictEqual(server.backend.operations, [])
    })
  )
})

describe("the app's own page", () => {
  const works = (client: Client) => Effect.map(client.WhoAmI(), (name) => assert.strictEqual(name, "ada"))

  it.live("calls over a WebSocket and by requests, and so does a trusted one", () =>
    Effect.gen(function* () {
      const { cookie, own, server } = yield* setup({ guard: { trustedOrigins: ["https://app.test"] } })
      for (const origin of [own, "https://app.test"]) {
        yield* works(yield* Rpc.overSocket(server, { ...cookie, origin }, "/ws/bare"))
        yield* works((yield* Rpc.overHttp(server, { ...cookie, origin }, { path: "/bare" })).client)
      }
      const trusted = yield* Rpc.overSocket(server, { ...cookie, origin: "https://app.test" })
      assert.strictEqual(yield* tagOf(trusted.WhoAmI()), "RpcClientError")
    })
  )

  it.live("where the route trusts an origin, its calls are not asked again", () =>
    Effect.gen(function* () {
      const { cookie, server } = yield* setup({ route: { trustedOrigins: ["https://app.test"] } })
      const headers = { ...cookie, origin: "https://app.test" }
      for (const path of ["/ws", "/ws/guarded"]) yield* works(yield* Rpc.overSocket(server, headers, path))
      yield* works((yield* Rpc.overHttp(server, headers)).client)
      const bare = yield* Rpc.overSocket(server, headers, "/ws/bare")
      assert.strictEqual(yield* tagOf(bare.WhoAmI()), "SessionCrossOrigin")
    })
  )

  it.live("a client that sends its token in a header of the request itself is no page's doing", () =>
    Effect.gen(function* () {
      const { a, bearer, server } = yield* setup()
      for (const path of ["/ws", "/ws/bare", "/ws/guarded"]) {
        yield* works(yield* Rpc.overSocket(server, { ...bearer(a), origin: evil.origin }, path))
      }
    })
  )
})
