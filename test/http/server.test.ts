/** Over a real server: what reaches it byte by byte, and what it answers. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect } from "effect"
import { SessionFrontend } from "effect-sessions"
import * as Http2 from "node:http2"
import * as Browser from "../support/browser.ts"
import { rawGet, startServer } from "../support/httpSupport.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

describe("over a real server", () => {
  it.live("a browser logs in, is known, logs out and is not", () =>
    Effect.gen(function* () {
      const { port, send } = yield* startServer()
      const browser = Browser.make(send, `http://localhost:${port}`)
      const status = (method: string, path: string) =>
        Effect.map(browser.visit(method, path), (answer) => answer.status)
      assert.strictEqual(yield* status("GET", "/whoami"), 401)
      const login = yield* browser.visit("POST", "/login", {
        headers: { origin: `http://localhost:${port}`, host: `localhost:${port}` }
      })
      assert.deepStrictEqual([login.status, login.setCookie.length], [204, 1])
      assert.strictEqual(login.headers.get("cache-control"), "no-store")
      const whoami = yield* browser.visit("GET", "/whoami")
      assert.deepStrictEqual([whoami.status, whoami.text, whoami.headers.get("vary")], [200, "ada", "Cookie"])
      const captured = browser.jar.header(new URL(`http://localhost:${port}/`), yield* Clock.currentTimeMillis)
      assert.strictEqual(yield* status("POST", "/logout"), 204)
      assert.strictEqual(browser.jar.header(new URL(`http://localhost:${port}/`), yield* Clock.currentTimeMillis), "")
      assert.strictEqual(yield* status("GET", "/whoami"), 401)
      assert.strictEqual((yield* send("GET", "/whoami", { cookie: captured })).status, 401)
      assert.strictEqual((yield* send("POST", "/logout", { cookie: captured })).status, 204)
      const forged = yield* send("POST", "/login", { headers: { origin: "https://evil.test" } })
      assert.deepStrictEqual([forged.status, forged.setCookie], [403, []])
    })
  )

  it.live("[R26] no byte before, in or after the name lets another cookie stand in for the real one", () =>
    Effect.gen(function* () {
      const { port, send } = yield* startServer()
      const good = (yield* send("POST", "/login")).cookie
      const evil = (yield* send("POST", "/login/eve")).cookie
      const [name, evilToken] = [evil.slice(0, evil.indexOf("=")), evil.slice(evil.indexOf("=") + 1)]
      const blanks: Array<Buffer> = [0x00, 0x0b, 0x0c, 0x1c, 0x7f, 0x80, 0x85, 0xa0, 0xff].map((byte) =>
        Buffer.from([byte])
      )
      const codes = [0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff]
      for (let code = 0x2000; code <= 0x200b; code++) codes.push(code)
      for (const code of codes) blanks.push(Buffer.from(String.fromCharCode(code)))
      let served = 0
      for (const blank of blanks) {
        const text = (before: string, after: string) => Buffer.concat([Buffer.from(before), blank, Buffer.from(after)])
        for (const header of [
          text("", `${evil}; ${good}`),
          text(`${good}; `, evil),
          text(`a=b;`, `${evil}; ${good}`),
          text(name, `=${evilToken}; ${good}`),
          text(`${good}; ${name}`, `=${evilToken}`),
          text(`${evil}`, `; ${good}`)
        ]) {
          const answer = yield* rawGet(port, "/whoami", [header])
          const row = `${blank.toString("hex")} ${header.toString("latin1")}`
          // Control characters are refused by Node's own parser, before any of our code.
          if (blank.length === 1 && (blank[0]! < 0x20 || blank[0] === 0x7f)) {
            if (answer.status === 400) continue
          }
          assert.deepStrictEqual([answer.status, answer.body], [200, "ada"], row)
          served++
        }
      }
      assert.isAtLeast(served, 6 * 25)
      // SP and HTAB are trimmed, so both are read, and two are Ambiguous.
      for (const blank of [" ", "\t", " \t "]) {
        const answer = yield* rawGet(port, "/whoami", [Buffer.from(`a=b;${blank}${evil}${blank};${good}`)])
        assert.deepStrictEqual(
          [answer.status, JSON.parse(answer.body)],
          [401, { _tag: "SessionInvalid", reason: "Ambiguous" }]
        )
      }
    })
  )

  it.live("[R27] [R28] nameless, quoted and encoded cookies are not ours", () =>
    Effect.gen(function* () {
      const { backend, port, send } = yield* startServer()
      const cookie = (yield* send("POST", "/login")).cookie
      const token = cookie.slice(cookie.indexOf("=") + 1)
      backend.calls.length = 0
      for (const header of [
        `=${cookie}`,
        `==${cookie}`,
        "__Host-session",
        `__Host-session="${token}"`,
        `%5F_Host-session=${token}`,
        `__Host-session%3D${token}`,
        `$Version=1, ${cookie}`,
        `a="x, ${cookie}, b="`
      ]) {
        assert.strictEqual((yield* rawGet(port, "/whoami", [Buffer.from(header)])).status, 401, header)
      }
      assert.deepStrictEqual(backend.operations, [])
      // Between a cookie with an open quote and one that closes it, the real one is still itself.
      const sandwich = yield* rawGet(port, "/whoami", [Buffer.from(`$Version=1; a="x; ${cookie}; b="`)])
      assert.deepStrictEqual([sandwich.status, sandwich.body], [200, "ada"])
    })
  )

  it.live("[R30] several Cookie lines of HTTP/1.1 are one header, in whatever line the cookie is", () =>
    Effect.gen(function* () {
      const { port, send } = yield* startServer()
      const { cookie } = yield* send("POST", "/login")
      const lines = ["a=b", "c=d; e=f", "g=h"]
      for (let at = 0; at <= lines.length; at++) {
        const answer = yield* rawGet(
          port,
          "/whoami",
          lines.toSpliced(at, 0, cookie).map((line) => Buffer.from(line))
        )
        assert.deepStrictEqual([answer.status, answer.body], [200, "ada"])
      }
      const comma = yield* rawGet(port, "/whoami", [Buffer.from(`a=b, ${cookie}`)])
      assert.strictEqual(comma.status, 401)
      const evil = (yield* send("POST", "/login/eve")).cookie
      const two = yield* rawGet(port, "/whoami", [Buffer.from(cookie), Buffer.from(evil)])
      assert.strictEqual((JSON.parse(two.body) as { reason: string }).reason, "Ambiguous")
    })
  )

  it.live("[R30] HTTP/2 splits cookies into crumbs, and is served the same", () =>
    Effect.gen(function* () {
      const { port } = yield* startServer(undefined, () => Http2.createServer())
      const session = yield* Effect.acquireRelease(
        Effect.sync(() => Http2.connect(`http://127.0.0.1:${port}`)),
        (session) => Effect.sync(() => session.destroy())
      )
      const request = (method: string, path: string, headers: Http2.OutgoingHttpHeaders = {}) =>
        Effect.callback<{ readonly headers: Http2.IncomingHttpHeaders; readonly text: string }>((resume) => {
          const stream = session.request({ ":method": method, ":path": path, ...headers })
          let received: Http2.IncomingHttpHeaders = {}
          const chunks: Array<Buffer> = []
          stream.on("response", (headers) => (received = headers))
          stream.on("data", (chunk: Buffer) => chunks.push(chunk))
          stream.on("end", () => resume(Effect.succeed({ headers: received, text: Buffer.concat(chunks).toString() })))
          stream.on("error", (error) => resume(Effect.die(error)))
          stream.end()
        })
      const login = yield* request("POST", "/login", { origin: `https://127.0.0.1:${port}` })
      assert.strictEqual(Number(login.headers[":status"]), 204)
      assert.strictEqual(login.headers["set-cookie"]?.length, 1)
      const cookie = login.headers["set-cookie"]![0]!.split(";")[0]!
      for (const crumbs of [[cookie], ["a=b", cookie], [cookie, "a=b", "c=d"], ["a=b", cookie, "c=d"]]) {
        const answer = yield* request("GET", "/whoami", { cookie: crumbs })
        assert.deepStrictEqual([Number(answer.headers[":status"]), answer.text], [200, "ada"])
        assert.strictEqual(answer.headers["vary"], "Cookie")
      }
      const stranger = yield* request("GET", "/whoami", { cookie: ["a=b", "c=d"] })
      assert.strictEqual(Number(stranger.headers[":status"]), 401)
      // The origin check goes by what HTTP/2 has in place of Host.
      const evil = yield* request("POST", "/login", { origin: "https://evil.test" })
      assert.deepStrictEqual([Number(evil.headers[":status"]), evil.headers["set-cookie"]], [403, undefined])
    })
  )

  it.live("[R78] with a backend that never answers, guarded and open routes say 503 within the deadline", () =>
    Effect.gen(function* () {
      const { backend, send } = yield* startServer()
      const { cookie } = yield* send("POST", "/login")
      backend.wire = () => Effect.never
      const asked = [
        ["GET", "/whoami"],
        ["GET", "/open"],
        ["POST", "/count"],
        ["POST", "/login"],
        ["POST", "/logout"]
      ] as const
      const answers = yield* Effect.forEach(asked, ([method, path]) => Effect.timed(send(method, path, { cookie })), {
        concurrency: "unbounded"
      })
      for (const [i, [took, answer]] of answers.entries()) {
        const row = asked[i]!.join(" ")
        assert.deepStrictEqual([answer.status, answer.headers.get("retry-after")], [503, "1"], row)
        assert.deepStrictEqual(JSON.parse(answer.text)._tag, "SessionUnavailable", row)
        assert.deepStrictEqual(answer.setCookie, [], row)
        // One second of our own; the rest is this machine's.
        assert.isBelow(Duration.toMillis(took), 5000, row)
      }
      backend.wire = (operation) => WatchedBackend.failure(operation)
      assert.strictEqual((yield* send("GET", "/open", { cookie })).status, 503)
      // Strangers cost the backend nothing, and are served.
      assert.strictEqual((yield* send("GET", "/open")).status, 204)
      backend.wire = (_, call) => call
      assert.strictEqual((yield* send("GET", "/whoami", { cookie })).status, 200)
    })
  )

  it.live("[R38] a proxy's headers change nothing about the cookie", () =>
    Effect.gen(function* () {
      const { send } = yield* startServer({ frontend: SessionFrontend.layerCookie() })
      for (const headers of [{}, { "x-forwarded-proto": "http" }, { "x-forwarded-proto": "https" }]) {
        const { setCookie } = yield* send("POST", "/login", { headers })
        assert.match(setCookie.join(), /; Path=\/; HttpOnly; Secure; SameSite=Lax$/)
      }
    })
  )

  it.live("a request that names no route, or a wrong one, is the router's to answer", () =>
    Effect.gen(function* () {
      const { backend, send } = yield* startServer()
      assert.strictEqual((yield* send("GET", "/nowhere")).status, 404)
      assert.strictEqual((yield* send("GET", "/login")).status, 404)
      assert.deepStrictEqual(backend.operations, [])
    })
  )
})
