/** An application as a web handler, behind the server that the runtime itself has: `Deno.serve`, `Bun.serve`, `node:http`. */
import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted, Schedule, Schema, Stream } from "effect"
import type { Scope } from "effect"
import { HttpRouter, HttpServer, HttpServerResponse } from "effect/http"
import {
  Session,
  SessionBackendMemory,
  SessionFrontend,
  SessionKeys,
  SessionMiddleware,
  SessionVerifier
} from "effect-sessions"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { Readable } from "node:stream"
import { raw } from "../support/server.ts"

type Handler = (request: Request) => Promise<Response>
interface Listening {
  readonly port: number
  readonly close: () => Promise<unknown>
}

const host = "127.0.0.1"

/** Node has no server for web handlers of its own: this is what adapters do. */
const nodeServe = (handler: Handler) =>
  new Promise<Listening>((resolve) => {
    const server = createServer((incoming, outgoing) => {
      const headers = new Headers()
      for (let i = 0; i < incoming.rawHeaders.length; i += 2) {
        headers.append(incoming.rawHeaders[i]!, incoming.rawHeaders[i + 1]!)
      }
      const request = new Request(`http://${host}${incoming.url}`, { method: incoming.method!, headers })
      void handler(request).then((response) => {
        outgoing.writeHead(response.status, [...response.headers].flat())
        if (response.body === null) outgoing.end()
        // Two types of one thing: the web's stream, of the DOM and of Node.
        else Readable.fromWeb(response.body as never).pipe(outgoing)
      })
    }).listen(0, host, () =>
      resolve({
        // Listening on a port number, not on a path.
        port: (server.address() as AddressInfo).port,
        close: async () => void server.close().closeAllConnections()
      })
    )
  })

const serve = async (handler: Handler): Promise<Listening> => {
  const { Bun, Deno } = globalThis as {
    readonly Bun?: {
      readonly serve: (options: object) => { readonly port: number; readonly stop: (closes: boolean) => Promise<void> }
    }
    readonly Deno?: {
      readonly serve: (
        options: object,
        handler: Handler
      ) => { readonly addr: { readonly port: number }; readonly shutdown: () => Promise<void> }
    }
  }
  if (Bun !== undefined) {
    const server = Bun.serve({ port: 0, hostname: host, fetch: handler })
    return { port: server.port, close: () => server.stop(true) }
  }
  if (Deno !== undefined) {
    const server = Deno.serve({ port: 0, hostname: host, onListen: () => undefined }, handler)
    return { port: server.addr.port, close: server.shutdown }
  }
  return nodeServe(handler)
}

class UserSession extends Session.Service<UserSession>()("test/OwnServer", {
  data: Schema.Struct({ username: Schema.String }),
  principal: ({ username }) => username
}) {}

const UserParams = HttpRouter.schemaPathParams(Schema.Struct({ username: Schema.String }))

const Routes = Layer.mergeAll(
  HttpRouter.add(
    "POST",
    "/login/:username",
    Effect.gen(function* () {
      yield* (yield* UserSession).create(yield* UserParams)
      return HttpServerResponse.empty()
    })
  ),
  HttpRouter.add(
    "POST",
    "/logout",
    Effect.gen(function* () {
      yield* (yield* UserSession).destroy
      return HttpServerResponse.empty()
    })
  ),
  HttpRouter.add(
    "GET",
    "/whoami",
    Effect.gen(function* () {
      return HttpServerResponse.text((yield* (yield* UserSession).get).data.username)
    })
  ),
  HttpRouter.add(
    "GET",
    "/feed",
    Effect.gen(function* () {
      const session = yield* UserSession
      yield* session.get
      const ticks = Stream.fromSchedule(Schedule.spaced("20 millis")).pipe(Stream.map((n) => `data: ${n}\n\n`))
      const body = ticks.pipe(Stream.interruptWhen(session.ended), Stream.encodeText)
      return HttpServerResponse.stream(body, { contentType: "text/event-stream" })
    })
  )
).pipe(
  Layer.provide(SessionMiddleware.router(UserSession).layer),
  Layer.provide(SessionMiddleware.layer(UserSession)),
  Layer.provide([
    SessionFrontend.layerCookie(),
    SessionBackendMemory.layer,
    SessionVerifier.layerExists(UserSession),
    SessionKeys.layer(Redacted.make("Zq3vT8kLw1yXc5RbNh7UdJ2mPs9EaGf4oKiVtHxQ6zM="))
  ]),
  Layer.provide([NodeCrypto.layer, HttpServer.layerServices])
)

const start: Effect.Effect<string, never, Scope.Scope> = Effect.gen(function* () {
  const { dispose, handler } = HttpRouter.toWebHandler(Routes, { disableLogger: true })
  yield* Effect.addFinalizer(() => Effect.promise(dispose))
  const server = yield* Effect.acquireRelease(
    Effect.promise(() => serve((request) => handler(request))),
    ({ close }) => Effect.promise(close)
  )
  return `http://${host}:${server.port}`
})

const send = (url: string, method = "GET", cookie = "") =>
  Effect.promise(async () => {
    const response = await fetch(url, { method, headers: cookie === "" ? {} : { cookie } })
    const set = response.headers.getSetCookie()[0] ?? ""
    return { status: response.status, text: await response.text(), set, cookie: set.split(";")[0]! }
  })

const withLines = (url: string, lines: ReadonlyArray<string>) =>
  Effect.map(
    raw(
      Number(new URL(url).port),
      Buffer.from(
        `GET /whoami HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n` +
          lines.map((line) => `Cookie: ${line}\r\n`).join("") +
          "\r\n"
      )
    ),
    (answer) => ({ status: Number(answer.slice(9, 12)), text: answer })
  )

describe("the runtime's own server", () => {
  it.live("logs in, says who you are, and logs out for good", () =>
    Effect.gen(function* () {
      const url = yield* start
      assert.strictEqual((yield* send(`${url}/whoami`)).status, 401)
      const { cookie, set } = yield* send(`${url}/login/ada`, "POST")
      assert.match(set, /^__Host-session=v1\.[\w.-]+; Max-Age=86400; Path=\/; HttpOnly; Secure; SameSite=Lax$/)
      assert.deepInclude(yield* send(`${url}/whoami`, "GET", cookie), { status: 200, text: "ada" })
      assert.match((yield* send(`${url}/logout`, "POST", cookie)).set, /^__Host-session=; Max-Age=0; /)
      assert.strictEqual((yield* send(`${url}/whoami`, "GET", cookie)).status, 401)
    })
  )

  it.live("[R30] takes several Cookie lines for one header, in whatever line the cookie is", () =>
    Effect.gen(function* () {
      const url = yield* start
      const { cookie } = yield* send(`${url}/login/ada`, "POST")
      const others = ["a=b", "c=d; e=f", "g=h"]
      for (let at = 0; at <= others.length; at++) {
        assert.strictEqual((yield* withLines(url, others.toSpliced(at, 0, cookie))).status, 200, `line ${at}`)
      }
      assert.strictEqual((yield* withLines(url, [`a=b, ${cookie}`])).status, 401)
      const eve = (yield* send(`${url}/login/eve`, "POST")).cookie
      for (const lines of [
        [cookie, eve],
        [eve, "a=b", cookie]
      ]) {
        const answer = yield* withLines(url, lines)
        assert.strictEqual(answer.status, 401)
        assert.include(answer.text, "Ambiguous")
      }
    })
  )

  it.live("[R88c] ends an open stream when its session ends", () =>
    Effect.gen(function* () {
      const url = yield* start
      const { cookie } = yield* send(`${url}/login/ada`, "POST")
      const response = yield* Effect.promise(() => fetch(`${url}/feed`, { headers: { cookie } }))
      const reader = response.body!.getReader()
      const first = yield* Effect.promise(() => reader.read())
      assert.isFalse(first.done)
      yield* send(`${url}/logout`, "POST", cookie)
      const rest = Effect.promise(async () => {
        while (!(await reader.read()).done);
      })
      yield* Effect.timeout(rest, "20 seconds")
    })
  )
})
