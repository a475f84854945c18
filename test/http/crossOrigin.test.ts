import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { SessionFrontend, SessionMiddleware } from "effect-sessions"
import type { SessionError } from "effect-sessions"
import * as Http2 from "node:http2"
import { originProblem } from "../../src/internal/frontend/origins.ts"
import * as Client from "../support/client.ts"
import { listen, raw } from "../support/server.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import { ada, UserSession } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

const Routes = Layer.mergeAll(
  HttpRouter.add(
    "*",
    "/login",
    Effect.gen(function* () {
      const created = yield* (yield* UserSession).create(ada)
      return HttpServerResponse.text(created.id)
    })
  ),
  HttpRouter.add("*", "/open", Effect.as(UserSession, HttpServerResponse.text("handled")))
).pipe(
  Layer.provide(SessionMiddleware.router(UserSession).layer),
  Layer.merge(
    HttpRouter.add("*", "/guarded", Effect.as(UserSession.Verified, HttpServerResponse.text("handled"))).pipe(
      Layer.provide(SessionMiddleware.routerRequired(UserSession).layer)
    )
  )
)

const start = Effect.fnUntraced(function* (
  frontend: Layer.Layer<
    SessionFrontend.SessionFrontend,
    SessionError.SessionConfigError
  > = SessionFrontend.layerCookie()
) {
  const backend = WatchedBackend.make()
  const send = yield* Client.serve(
    Routes.pipe(Layer.provide(Stack.http(UserSession, { backend: backend.layer, frontend })))
  )
  return { backend, send }
})

const safe = ["GET", "HEAD", "OPTIONS"]
const unsafe = ["POST", "PUT", "PATCH", "DELETE"]
const sites = ["same-origin", "none", "same-site", "cross-site", "junk", "Same-Origin", "same-origin, none", undefined]
const origins = [
  "https://app.test",
  "https://APP.test",
  "https://app.test:443",
  "null",
  "https://app.test.evil.com",
  "https://evil-app.test",
  "https://sub.app.test",
  "http://app.test",
  "https://app.test:8443",
  "https://app.test/",
  "https://app.test@evil.com",
  "ftp://app.test",
  "app.test",
  undefined
]
const own = new Set(["https://app.test", "https://APP.test", "https://app.test:443"])

/** The rule, as the requirement words it. */
const isAllowed = (method: string, site: string | undefined, origin: string | undefined): boolean => {
  if (safe.includes(method)) return true
  if (site !== undefined) return site === "same-origin" || site === "none"
  return origin === undefined || own.has(origin)
}

const headersOf = (site: string | undefined, origin: string | undefined, more?: Record<string, string>) => ({
  host: "app.test",
  ...(site === undefined ? undefined : { "sec-fetch-site": site }),
  ...(origin === undefined ? undefined : { origin }),
  ...more
})

describe("cross-origin protection", () => {
  it.effect(
    "[R59] [R88a] a WebSocket asked for from another origin's page is refused, though it begins with a GET",
    () =>
      Effect.gen(function* () {
        const { send } = yield* start()
        const { cookie } = yield* send("POST", "/login")
        const upgrade = (origin: string) =>
          send("GET", "/guarded", { cookie, headers: { upgrade: "websocket", host: "app.test", origin } })
        assert.strictEqual((yield* upgrade("https://evil.example")).status, 403)
        assert.strictEqual((yield* upgrade("null")).status, 403)
        assert.strictEqual((yield* upgrade("https://app.test")).status, 200)
      })
  )

  it.effect("[R59] every method x Sec-Fetch-Site x Origin, on open and guarded routes", () =>
    Effect.gen(function* () {
      const { backend, send } = yield* start()
      const { cookie } = yield* send("POST", "/login")
      let refused = 0
      for (const path of ["/open", "/guarded"]) {
        for (const method of [...safe, ...unsafe]) {
          for (const site of sites) {
            for (const origin of origins) {
              backend.calls.length = 0
              const answer = yield* send(method, path, { cookie, headers: headersOf(site, origin) })
              const row = `${method} ${path} Sec-Fetch-Site: ${site} Origin: ${origin}`
              if (isAllowed(method, site, origin)) assert.strictEqual(answer.status, 200, row)
              else {
                refused++
                assert.strictEqual(answer.status, 403, row)
                assert.deepStrictEqual(JSON.parse(answer.text), { _tag: "SessionCrossOrigin" }, row)
                // Refused before the session is looked at, and the browser stays logged in.
                assert.deepStrictEqual([backend.operations, answer.setCookie], [[], []], row)
                assert.strictEqual(answer.headers.get("vary"), "Cookie", row)
              }
            }
          }
        }
      }
      assert.strictEqual(refused, 2 * 4 * (5 * 14 + 10))
    })
  )

  it.effect("[R59] log-in is protected as well: nobody is logged in by another's page", () =>
    Effect.gen(function* () {
      const { backend, send } = yield* start()
      const answer = yield* send("POST", "/login", { headers: headersOf("cross-site", "https://evil.test") })
      assert.deepStrictEqual([answer.status, answer.setCookie, backend.operations], [403, [], []])
      assert.strictEqual((yield* send("POST", "/login", { headers: headersOf("same-origin", undefined) })).status, 200)
    })
  )

  it.effect("[R59] trusted origins may send unsafe requests, and only they", () =>
    Effect.gen(function* () {
      const { send } = yield* start(
        SessionFrontend.layerCookie({ trustedOrigins: ["https://www.app.test", "https://partner.test:8443"] })
      )
      const status = (site: string | undefined, origin: string) =>
        Effect.map(send("POST", "/open", { headers: headersOf(site, origin) }), (answer) => answer.status)
      assert.strictEqual(yield* status("same-site", "https://www.app.test"), 200)
      assert.strictEqual(yield* status("cross-site", "https://PARTNER.test:8443"), 200)
      assert.strictEqual(yield* status(undefined, "https://partner.test:8443"), 200)
      assert.strictEqual(yield* status("cross-site", "https://partner.test"), 403)
      assert.strictEqual(yield* status("same-site", "https://www.app.test.evil.com"), 403)
      assert.strictEqual(yield* status("cross-site", "http://www.app.test"), 403)
    })
  )

  it.effect("[R59] without Secure, http is the app's own scheme too; with it, on this machine alone", () =>
    Effect.gen(function* () {
      const plain = yield* start(SessionFrontend.layerCookie({ secure: false }))
      const secure = yield* start()
      const status = (send: Client.Send, host: string, origin: string) =>
        Effect.map(
          send("POST", "/open", { headers: headersOf(undefined, origin, { host }) }),
          (answer) => answer.status
        )
      assert.strictEqual(yield* status(plain.send, "app.test:3000", "http://app.test:3000"), 200)
      assert.strictEqual(yield* status(plain.send, "app.test", "http://app.test:80"), 200)
      assert.strictEqual(yield* status(plain.send, "app.test:3000", "http://app.test:3001"), 403)
      assert.strictEqual(yield* status(secure.send, "app.test:3000", "http://app.test:3000"), 403)
      for (const host of ["localhost:3000", "shop.localhost:3000", "127.0.0.1:3000", "[::1]:3000"]) {
        assert.strictEqual(yield* status(secure.send, host, `http://${host}`), 200, host)
      }
      for (const host of ["localhost.evil.com", "127.0.0.1.evil.com", "notlocalhost:3000"]) {
        assert.strictEqual(yield* status(secure.send, host, `http://${host}`), 403, host)
      }
    })
  )

  it.effect("[R59] requests that carry their token in a header, and none in a cookie, are exempt", () =>
    Effect.gen(function* () {
      const { backend, send } = yield* start(
        SessionFrontend.layerFirst([SessionFrontend.layerCookie(), SessionFrontend.layerBearer()])
      )
      const { cookie } = yield* send("POST", "/login")
      const authorization = `Bearer ${cookie.split("=")[1]}`
      const evil = headersOf("cross-site", "https://evil.test")
      const post = (path: string, options: Client.RequestOptions) => send("POST", path, options)
      assert.strictEqual((yield* post("/guarded", { headers: { ...evil, authorization } })).status, 200)
      // The same with the cookie beside it, with the cookie alone, and with nothing.
      assert.strictEqual((yield* post("/guarded", { cookie, headers: { ...evil, authorization } })).status, 403)
      assert.strictEqual((yield* post("/guarded", { cookie, headers: evil })).status, 403)
      assert.strictEqual((yield* post("/open", { headers: evil })).status, 403)
      assert.strictEqual((yield* post("/open", { headers: { ...evil, authorization: "Basic eA==" } })).status, 403)
      // A log-in under cover of a made-up header ends in no cookie.
      backend.calls.length = 0
      const login = yield* post("/login", { headers: { ...evil, authorization: "Bearer made-up" } })
      assert.deepStrictEqual([login.status, login.setCookie], [200, []])
    })
  )

  it.effect("[R59] a frontend of headers alone needs no protection", () =>
    Effect.gen(function* () {
      for (const frontend of [SessionFrontend.layerBearer(), SessionFrontend.layerHeader({ name: "x-session" })]) {
        const { send } = yield* start(frontend)
        const answer = yield* send("POST", "/open", { headers: headersOf("cross-site", "https://evil.test") })
        assert.strictEqual(answer.status, 200)
      }
    })
  )

  it.effect(
    "[R59] without Host the request's URL says the host; with it, Host does, and no forwarded header ever",
    () =>
      Effect.gen(function* () {
        const { send } = yield* start()
        const status = (url: string, headers: Record<string, string>) =>
          Effect.map(send("POST", url, { headers }), (answer) => answer.status)
        // As SvelteKit's own `fetch` calls a handler in process.
        for (const origin of own) assert.strictEqual(yield* status("/open", { origin }), 200, origin)
        assert.strictEqual(yield* status("https://APP.test:8443/open", { origin: "https://app.test:8443" }), 200)
        assert.strictEqual(yield* status("http://localhost:3000/open", { origin: "http://localhost:3000" }), 200)
        for (const origin of origins) {
          const expected = origin === undefined || own.has(origin) ? 200 : 403
          assert.strictEqual(yield* status("/open", origin === undefined ? {} : { origin }), expected, origin)
        }
        assert.strictEqual(yield* status("/open", { origin: "https://app.test", host: "other.test" }), 403)
        assert.strictEqual(yield* status("/open", { origin: "https://other.test", host: "other.test" }), 200)
        for (const forwarded of [
          { "x-forwarded-host": "evil.test", "x-forwarded-proto": "https" },
          { forwarded: "host=evil.test;proto=https" }
        ]) {
          assert.strictEqual(yield* status("/open", { origin: "https://evil.test", ...forwarded }), 403)
          assert.strictEqual(
            yield* status("/open", { origin: "https://evil.test", host: "app.test", ...forwarded }),
            403
          )
        }
      })
  )

  it.effect(
    "[R59] a host and an origin are one whatever their case, with or without the scheme's port, and nothing else",
    () =>
      Effect.gen(function* () {
        const { send } = yield* start()
        for (const [host, origin, expected] of [
          ["app.test:443", "https://app.test", 200],
          ["APP.test:8443", "https://app.test:8443", 200],
          ["app.test", "https://app.test:8443", 403],
          ["app.test:80", "https://app.test", 403],
          ["app.test:443", "http://app.test", 403],
          ["app.test.", "https://app.test.", 200],
          ["app.test.", "https://app.test", 403],
          ["[2001:DB8::1]:8443", "https://[2001:db8::1]:8443", 200],
          ["[2001:db8::1]:443", "https://[2001:db8::1]", 200],
          ["[2001:db8::1]", "https://[2001:db8::1]:8443", 403],
          ["[2001:db8::443]", "https://[2001:db8::]", 403]
        ] as const) {
          const answer = yield* send("POST", "/open", { headers: { host, origin } })
          assert.strictEqual(answer.status, expected, `Host: ${host} Origin: ${origin}`)
        }
      })
  )

  it.live("[R59] over HTTP/2 the host is :authority", () =>
    Effect.gen(function* () {
      const port = yield* listen(Routes.pipe(Layer.provide(Stack.http(UserSession)), Layer.orDie), () =>
        Http2.createServer()
      )
      const session = Http2.connect(`http://127.0.0.1:${port}`)
      yield* Effect.addFinalizer(() => Effect.sync(() => session.destroy()))
      const status = (origin: string) =>
        Effect.callback<unknown>((resume) => {
          session
            .request({ ":method": "POST", ":path": "/open", ":authority": "App.test:8443", origin })
            .on("response", (headers) => resume(Effect.succeed(headers[":status"])))
            .resume()
            .end()
        })
      assert.strictEqual(yield* status("https://app.test:8443"), 200)
      assert.strictEqual(yield* status("https://app.test"), 403)
      assert.strictEqual(yield* status("https://127.0.0.1:8443"), 403)
    })
  )

  it.live("[R59] a request to a real server that names no host is refused", () =>
    Effect.gen(function* () {
      const port = yield* listen(Routes.pipe(Layer.provide(Stack.http(UserSession)), Layer.orDie))
      const status = (head: string) =>
        Effect.map(
          raw(port, Buffer.from(`${head}Connection: close\r\nContent-Length: 0\r\n\r\n`)),
          (answer) => answer.split(" ")[1]
        )
      assert.strictEqual(yield* status(`POST /open HTTP/1.0\r\nOrigin: http://localhost\r\n`), "403")
      assert.strictEqual(yield* status(`POST /open HTTP/1.1\r\nHost: \r\nOrigin: http://localhost\r\n`), "403")
      assert.strictEqual(yield* status(`POST /open HTTP/1.1\r\nHost: a.test\r\nOrigin: https://a.test\r\n`), "200")
    })
  )

  it.effect("[R59] app shells and extensions are trusted where they are named, and only then", () =>
    Effect.gen(function* () {
      const trustedOrigins = [
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "app://.",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "moz-extension://0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
      ]
      const { send } = yield* start(SessionFrontend.layerCookie({ trustedOrigins }))
      const untrusting = yield* start()
      for (const origin of trustedOrigins) {
        for (const site of ["cross-site", undefined]) {
          const options = { headers: headersOf(site, origin) }
          assert.strictEqual((yield* send("POST", "/open", options)).status, 200, origin)
          assert.strictEqual((yield* untrusting.send("POST", "/open", options)).status, 403, origin)
        }
      }
      for (const origin of ["capacitor://localhost.evil.test", "ionic://localhost:1", "app://app.test", "null"]) {
        assert.strictEqual((yield* send("POST", "/open", { headers: headersOf("cross-site", origin) })).status, 403)
      }
    })
  )

  it.effect('[R59] "null" is trusted by no frontend: every sandboxed frame sends it', () =>
    Effect.gen(function* () {
      const careless = Layer.effect(
        SessionFrontend.SessionFrontend,
        Effect.map(SessionFrontend.SessionFrontend, (frontend) => ({
          ...frontend,
          origins: { secure: true, trusted: ["null", "https://www.app.test"] }
        }))
      ).pipe(Layer.provide(SessionFrontend.layerCookie()))
      const { send } = yield* start(careless)
      const status = (origin: string) =>
        Effect.map(send("POST", "/open", { headers: headersOf("cross-site", origin) }), (answer) => answer.status)
      assert.deepStrictEqual([yield* status("https://www.app.test"), yield* status("null")], [200, 403])
    })
  )

  it.live("[R59] the app's own page over plain http is refused, and the log says once what to change", () => {
    const lines: Array<string> = []
    return Effect.gen(function* () {
      const port = yield* listen(Routes.pipe(Layer.provide(Stack.http(UserSession)), Layer.orDie))
      const post = (host: string, origin: string) =>
        Effect.map(
          raw(
            port,
            Buffer.from(
              `POST /open HTTP/1.1\r\nHost: ${host}\r\nOrigin: ${origin}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`
            )
          ),
          (answer) => answer.split(" ")[1]
        )
      const said = () => lines.filter((line) => line.includes("secure: false"))
      // Others are refused without a word.
      for (const origin of ["https://evil.test", "http://evil.test", "null", "http://192.168.1.5:3001"]) {
        assert.strictEqual(yield* post("192.168.1.5:3000", origin), "403")
      }
      assert.strictEqual(yield* post("localhost:3000", "http://localhost:3000"), "200")
      assert.deepStrictEqual(said(), [])
      for (let i = 0; i < 5; i++) assert.strictEqual(yield* post("192.168.1.5:3000", "http://192.168.1.5:3000"), "403")
      assert.strictEqual(said().length, 1)
      assert.match(said()[0]!, /WARN.*namespace=test\/UserSession/i)
      assert.notInclude(said()[0], "192.168")
    }).pipe(Effect.provide(Logger.layer([Logger.map(Logger.formatLogFmt, (line) => void lines.push(line))])))
  })
})

describe("trusted origins", () => {
  it("are origins as browsers and app shells send them", () => {
    for (const origin of [
      "https://app.example.com",
      "http://localhost:5173",
      "HTTPS://App.Example.com",
      "https://[::1]:8443",
      "capacitor://localhost",
      "tauri://localhost",
      "app://-",
      "app://bundle:3000",
      "vscode-webview://0abcd",
      "safari-web-extension://0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0"
    ]) {
      assert.deepStrictEqual(originProblem(origin), [], origin)
    }
  })

  it("are nothing else, and the refusal says what an origin looks like, without a password", () => {
    for (const origin of [
      "",
      "null",
      "*",
      "app.example.com",
      "https:",
      "https://",
      "capacitor:",
      "capacitor://",
      "capacitor:localhost",
      "https://app.example.com/",
      "https://app.example.com/path",
      "https://app.example.com?q",
      "https://app.example.com#f",
      "https://app.example.com:443",
      " https://app.example.com",
      "https://*.example.com",
      "https://user:hunter2@app.example.com",
      "capacitor://user:hunter2@localhost",
      "capacitor://localhost/",
      "capacitor://localhost/path",
      "capacitor://localhost?q",
      "capacitor://localhost#f",
      "app://*",
      "app://a b",
      "ws://app.example.com",
      "ftp://app.example.com",
      "file://",
      "file://localhost",
      "javascript://localhost",
      "data://localhost",
      "about://blank",
      "blob:https://app.example.com"
    ]) {
      const problems = originProblem(origin)
      assert.strictEqual(problems.length, 1, origin)
      assert.match(problems[0]!, /must be an origin.*https:\/\/app\.example\.com.*capacitor:\/\/localhost/, origin)
      assert.notInclude(problems[0], "hunter2")
    }
  })
})
