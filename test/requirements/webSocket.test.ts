/** A WebSocket is opened by a request, which is guarded like any other, over a real server. */
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, Schema } from "effect"
import { HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "effect/http"
import { Session, SessionMiddleware } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import { createServer } from "node:http"
import { connect } from "node:net"

class UserSession extends Session.Service<UserSession>()("test/WebSocket", {
  data: Schema.Struct({ username: Schema.String }),
  principal: (data) => data.username
}) {}

/** How many handlers began to talk. */
const opened = { count: 0 }

const Socket = HttpRouter.add(
  "GET",
  "/socket",
  Effect.gen(function* () {
    const { data } = yield* UserSession.Verified
    const request = yield* HttpServerRequest.HttpServerRequest
    const socket = yield* request.upgrade
    // Acquiring the reader completes the handshake.
    yield* socket.reader
    opened.count++
    yield* (yield* socket.writer).write(`hello ${data.username}`)
    return HttpServerResponse.empty()
  }).pipe(Effect.scoped)
).pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer))

/** Sends a handshake as a browser does, and answers the refusal's head, or all up to the handler's greeting. */
const handshake = (port: number, path: string, headers: Record<string, string>): Effect.Effect<string> =>
  Effect.callback<string>((resume) => {
    let text = ""
    const lines = [
      `GET ${path} HTTP/1.1`,
      `Host: 127.0.0.1:${port}`,
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
      `Origin: http://127.0.0.1:${port}`,
      ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
    ]
    const socket = connect({ port, host: "127.0.0.1" }, () => socket.write(`${lines.join("\r\n")}\r\n\r\n`))
    const done = () => resume(Effect.succeed(text))
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1")
      if (text.startsWith("HTTP/1.1 101 ") ? text.includes("hello") : text.includes("\r\n\r\n")) socket.destroy()
    })
    socket.on("close", done)
    socket.on("error", done)
    return Effect.sync(() => socket.destroy())
  })

describe("a WebSocket", () => {
  it.live("[R88b] opens for a live session alone, whose token came where a frontend looks for it", () =>
    Effect.gen(function* () {
      const context = yield* Layer.build(
        HttpRouter.serve(Socket, { disableLogger: true, disableListenLog: true }).pipe(
          Layer.provideMerge(
            Layer.merge(
              SessionTest.layer(UserSession),
              NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1", gracefulShutdownTimeout: 0 })
            )
          )
        )
      )
      const { address } = Context.get(context, HttpServer.HttpServer)
      if (address._tag !== "InetAddressV4") throw new Error(`listening on ${address._tag}`)
      const { port } = address
      const manager = Context.get(context, UserSession.Manager)
      const session = yield* manager.create({ username: "ada" })
      const token = Redacted.value(session.token)
      const cookie = `__Host-session=${token}`

      const open = yield* handshake(port, "/socket", { Cookie: cookie })
      assert.match(open, /^HTTP\/1\.1 101 /)
      assert.include(open, "hello ada")
      assert.strictEqual(opened.count, 1)

      const refused: ReadonlyArray<readonly [string, Record<string, string>]> = [
        ["/socket", {}],
        [`/socket?__Host-session=${token}&token=${token}`, {}],
        ["/socket", { "Sec-WebSocket-Protocol": token }],
        ["/socket", { "Sec-WebSocket-Protocol": `bearer, ${token}` }],
        ["/socket", { Authorization: `Bearer ${token}` }],
        ["/socket", { Cookie: `${cookie}x` }]
      ]
      for (const [path, headers] of refused) {
        const answer = yield* handshake(port, path, headers)
        assert.match(answer, /^HTTP\/1\.1 401 /, JSON.stringify(Object.keys(headers)))
        assert.notInclude(answer, token)
      }

      yield* manager.destroy(session.token)
      assert.match(yield* handshake(port, "/socket", { Cookie: cookie }), /^HTTP\/1\.1 401 /)
      const brief = yield* manager.create({ username: "ada" }, { idleTimeout: "1 milli" })
      yield* Effect.sleep("5 millis")
      const expired = { Cookie: `__Host-session=${Redacted.value(brief.token)}` }
      assert.match(yield* handshake(port, "/socket", expired), /^HTTP\/1\.1 401 /)
      assert.strictEqual(opened.count, 1)
    })
  )
})
