/** A server that answers every request with one small JSON text, for `measure.ts`. `VARIANT` says what it is made of. */
import type * as EffectModule from "effect/Effect"
import type * as LayerModule from "effect/Layer"
import type * as ServerModule from "effect/http/HttpServer"
import type * as RequestModule from "effect/http/HttpServerRequest"
import type * as ResponseModule from "effect/http/HttpServerResponse"
import type * as NodeModule from "@effect/platform-node/NodeHttpServer"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { load } from "./patched.ts"

const variant = process.env["VARIANT"] ?? "plain"
const text = JSON.stringify({ username: "ada" })
const used = () => {
  const { system, user } = process.cpuUsage()
  return JSON.stringify({ cpuMicros: user + system })
}

// Connections are idle while the other servers have their turns.
const server = createServer({ keepAliveTimeout: 120_000 })
server.on("listening", () => console.log(`PORT=${(server.address() as AddressInfo).port}`))
process.stdin.on("end", () => process.exit()).resume()

if (variant === "plain" || variant === "strict") {
  server.on("request", (request, response) => {
    const body = request.url === "/used" ? used() : text
    response.strictContentLength = variant === "strict"
    response.writeHead(200, { "content-type": "application/json", "content-length": String(Buffer.byteLength(body)) })
    response.end(body)
  })
  server.listen(0, "127.0.0.1")
} else {
  const which = variant === "changed" ? "changed" : "today"
  const [Effect, Layer, HttpServer, HttpServerRequest, HttpServerResponse, NodeHttpServer] = await Promise.all([
    load<typeof EffectModule>("effect/Effect", which),
    load<typeof LayerModule>("effect/Layer", which),
    load<typeof ServerModule>("effect/http/HttpServer", which),
    load<typeof RequestModule>("effect/http/HttpServerRequest", which),
    load<typeof ResponseModule>("effect/http/HttpServerResponse", which),
    load<typeof NodeModule>("@effect/platform-node/NodeHttpServer", which)
  ])
  const app = Effect.map(HttpServerRequest.HttpServerRequest, (request) =>
    HttpServerResponse.text(request.url === "/used" ? used() : text, { contentType: "application/json" })
  )
  HttpServer.serve(app).pipe(
    Layer.provide(NodeHttpServer.layer(() => server, { port: 0, host: "127.0.0.1" })),
    Layer.launch,
    Effect.runPromise
  )
}
