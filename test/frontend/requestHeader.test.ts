/** One header of a request, taken from Node's own where they are the request's. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Headers, HttpMiddleware, HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { connect as connectHttp2, createServer as createHttp2Server } from "node:http2"
import { requestHeader } from "../../src/internal/frontend/requestHeader.ts"
import { listen, raw } from "../support/server.ts"

const names = ["cookie", "authorization", "x-token", "upgrade", "host", "absent"]

/** Answers with headers by `requestHeader`, by Effect, and whether asking has had them all turned into Effect's. */
const echoOf = (names: ReadonlyArray<string>) =>
  Effect.map(HttpServerRequest.HttpServerRequest, (request) => {
    const one = names.map((name) => requestHeader(request, name) ?? null)
    const untouched = (request as { readonly headersOverride?: unknown }).headersOverride === undefined
    return HttpServerResponse.jsonUnsafe({ one, all: names.map((name) => request.headers[name] ?? null), untouched })
  })
const echo = echoOf(names)

/** Gives the request other headers, as a middleware of the user's may. */
const replaced = HttpMiddleware.make((app) =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
    Effect.provideService(
      app,
      HttpServerRequest.HttpServerRequest,
      request.modify({ headers: Headers.set(Headers.remove(request.headers, "authorization"), "cookie", "mine") })
    )
  )
)

const other = Headers.fromInput({ cookie: "mine" })

/** Runs the app with a request made of the request, not by `modify`. */
const made = (make: (request: HttpServerRequest.HttpServerRequest) => HttpServerRequest.HttpServerRequest) =>
  HttpMiddleware.make((app) =>
    Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
      Effect.provideService(app, HttpServerRequest.HttpServerRequest, make(request))
    )
  )

const Routes = Layer.mergeAll(
  HttpRouter.add("GET", "/plain", echo),
  HttpRouter.add("GET", "/strange", echoOf(["constructor", "__proto__", "hasOwnProperty"])),
  HttpRouter.add("GET", "/replaced", replaced(echo)),
  HttpRouter.add("GET", "/made", made((request) => Object.create(request, { headers: { value: other } }))(echo)),
  HttpRouter.add(
    "GET",
    "/derived",
    made((request) => Object.create(Object.create(request, { headers: { value: other } })))(echo)
  ),
  HttpRouter.add(
    "GET",
    "/defined",
    made((request) => Object.defineProperty(request, "headers", { value: other }))(echo)
  ),
  HttpRouter.add(
    "GET",
    "/read",
    Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
      assert.isString(request.headers["host"])
      return echo
    })
  )
)

interface Echo {
  readonly one: ReadonlyArray<string | null>
  readonly all: ReadonlyArray<string | null>
  readonly untouched: boolean
}

const get = (port: number, target: string, ...lines: ReadonlyArray<string>) =>
  Effect.map(
    raw(
      port,
      Buffer.from(`GET ${target} HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n${lines.join("")}\r\n`, "latin1")
    ),
    (answer) => JSON.parse(answer.slice(answer.indexOf("\r\n\r\n") + 4)) as Echo
  )

const sent = [
  "Cookie: a=1\r\n",
  "cookie: b=2\r\n",
  "Authorization: Bearer t\r\n",
  "X-Token: one\r\n",
  "x-token: two\r\n"
]

describe("requestHeader", () => {
  it.live("is what Effect says of the header, without turning them all into Effect's", () =>
    Effect.gen(function* () {
      const port = yield* listen(Routes)
      for (const lines of [sent, []]) {
        const { all, one, untouched } = yield* get(port, "/plain", ...lines)
        assert.deepStrictEqual(one, all)
        // Where this fails after an update of `@effect/platform-node`, headers are read the long way: right, and slower.
        assert.isTrue(untouched)
      }
    })
  )

  it.live("[R33] has no header that only an object has", () =>
    Effect.gen(function* () {
      const port = yield* listen(Routes)
      const none = yield* get(port, "/strange")
      assert.deepStrictEqual(none.one, [null, null, null])
      const { all, one } = yield* get(port, "/strange", "constructor: x\r\n", "hasOwnProperty: z\r\n")
      assert.deepStrictEqual(one, ["x", null, null])
      assert.deepStrictEqual(one, all)
    })
  )

  it.live("is the new one where a middleware has replaced the headers, and gone where it has taken it away", () =>
    Effect.gen(function* () {
      const port = yield* listen(Routes)
      const { all, one } = yield* get(port, "/replaced", ...sent)
      assert.deepStrictEqual(one.slice(0, 3), ["mine", null, "one, two"])
      assert.deepStrictEqual(one, all)
      for (const path of ["/made", "/derived", "/defined"]) {
        const { all, one } = yield* get(port, path, ...sent)
        assert.deepStrictEqual(one.slice(0, 3), ["mine", null, null], path)
        assert.deepStrictEqual(one, all, path)
      }
    })
  )

  it.live("is the same after the headers were read, and where the target names another host", () =>
    Effect.gen(function* () {
      const port = yield* listen(Routes)
      const read = yield* get(port, "/read", ...sent)
      assert.deepStrictEqual(read.one, read.all)
      const absolute = yield* get(port, "http://other.test/plain", ...sent)
      assert.strictEqual(absolute.one[4], "other.test")
      assert.deepStrictEqual(absolute.one, absolute.all)
    })
  )

  it.live("is Effect's over HTTP/2", () =>
    Effect.gen(function* () {
      const port = yield* listen(Routes, createHttp2Server)
      const { all, one } = yield* Effect.callback<Echo>((resume) => {
        const session = connectHttp2(`http://127.0.0.1:${port}`)
        const stream = session.request({ ":path": "/plain", cookie: ["a=1", "b=2"], authorization: "Bearer t" })
        let body = ""
        stream.setEncoding("utf8").on("data", (chunk: string) => (body += chunk))
        stream.on("end", () => {
          session.close()
          resume(Effect.succeed(JSON.parse(body) as Echo))
        })
      })
      assert.deepStrictEqual(one.slice(0, 2), ["a=1; b=2", "Bearer t"])
      assert.deepStrictEqual(one, all)
    })
  )

  it("is Effect's in a web handler", () => {
    const request = HttpServerRequest.fromWeb(
      new Request("https://app.test/", { headers: { cookie: "a=1", authorization: "Bearer t" } })
    )
    for (const name of names) assert.strictEqual(requestHeader(request, name), request.headers[name])
    assert.strictEqual(requestHeader(request, "cookie"), "a=1")
  })
})
