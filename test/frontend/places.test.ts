/** The places a token may come from, and what several of them decide. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { SessionFrontend } from "effect-sessions"
import * as Client from "../support/client.ts"
import { Routes, start, tokenOf } from "../support/httpSupport.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import { UserSession } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

describe("the places a token may come from", () => {
  it.effect("[R34] never the URL, the body, the path or the referrer", () =>
    Effect.gen(function* () {
      const { backend, send } = yield* start()
      const token = tokenOf((yield* send("POST", "/login")).cookie)
      backend.calls.length = 0
      const pair = `__Host-session=${token}`
      const rows: ReadonlyArray<readonly [string, string, Client.RequestOptions]> = [
        ["GET", `/whoami?${pair}`, {}],
        ["GET", `/whoami?token=${token}`, {}],
        ["GET", `/whoami?session=${token}#${pair}`, {}],
        ["GET", "/whoami", { headers: { referer: `https://app.test/?${pair}` } }],
        ["GET", "/whoami", { headers: { authorization: `Bearer ${token}` } }],
        ["GET", "/whoami", { headers: { "x-session": token, "set-cookie": pair, cookie2: pair } }],
        ["POST", "/whoami", { body: pair, headers: { "content-type": "application/x-www-form-urlencoded" } }],
        ["POST", "/whoami", { body: JSON.stringify({ "__Host-session": token }) }]
      ]
      for (const [method, path, options] of rows) {
        const answer = yield* send(method, path, options)
        assert.deepStrictEqual([answer.status, answer.text], [401, `{"_tag":"SessionMissing"}`], `${method} ${path}`)
      }
      const path = yield* send("GET", `/whoami;${pair}/whoami`)
      assert.notStrictEqual(path.status, 200)
      assert.deepStrictEqual(backend.operations, [])
    })
  )

  it.effect("[R33] a session is found beside cookies named after members of Object.prototype", () =>
    Effect.gen(function* () {
      const { send } = yield* start()
      const { cookie } = yield* send("POST", "/login")
      const hostile = "__proto__=x; constructor=x; hasOwnProperty=x"
      for (const header of [`${hostile}; ${cookie}`, `${cookie}; ${hostile}`]) {
        assert.strictEqual((yield* send("GET", "/whoami", { cookie: header })).text, "ada")
      }
      for (const name of ["__proto__", "constructor", "hasOwnProperty"]) {
        const own = yield* start({ frontend: SessionFrontend.layerCookie({ name }) })
        const login = yield* own.send("POST", "/login")
        assert.strictEqual((yield* own.send("GET", "/whoami", { cookie: login.cookie })).text, "ada", name)
        assert.strictEqual((yield* own.send("GET", "/whoami")).status, 401, name)
      }
      assert.isUndefined(({} as Record<string, unknown>)["x"])
    })
  )

  it.effect("[R30] a comma separates no cookies", () =>
    Effect.gen(function* () {
      const { send } = yield* start()
      const { cookie } = yield* send("POST", "/login")
      assert.strictEqual((yield* send("GET", "/whoami", { cookie: `a=b, ${cookie}` })).status, 401)
      assert.strictEqual((yield* send("GET", "/whoami", { cookie: `a=b,${cookie}` })).status, 401)
    })
  )

  it.effect("[R30] several Cookie headers of a web Request are one", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const app = yield* Client.appOf(Routes.pipe(Layer.provide(Stack.http(UserSession, { backend: backend.layer }))))
      const handler = yield* Client.webHandler(app)
      const { cookie } = yield* Client.sender(handler)("POST", "/login")
      const headers = new globalThis.Headers()
      for (const line of ["a=b", cookie, "c=d"]) headers.append("cookie", line)
      const answer = yield* Effect.promise(() => handler(new Request("https://app.test/whoami", { headers })))
      assert.strictEqual(answer.status, 200)
    })
  )

  it.effect("[R37] no cookie, an empty one and an empty header are the same: nothing to look up", () =>
    Effect.gen(function* () {
      const { backend, send } = yield* start({
        frontend: SessionFrontend.layerFirst([
          SessionFrontend.layerCookie(),
          SessionFrontend.layerHeader({ name: "x-session" })
        ])
      })
      for (const options of [
        {},
        { cookie: "__Host-session=" },
        { cookie: "__Host-session=; a=b" },
        { headers: { "x-session": "" } },
        { cookie: "__Host-session=", headers: { "x-session": "" } }
      ]) {
        const answer = yield* send("GET", "/whoami", options)
        assert.deepStrictEqual([answer.status, answer.text], [401, `{"_tag":"SessionMissing"}`])
      }
      assert.deepStrictEqual(backend.operations, [])
    })
  )

  it.effect("[R29] of several cookies one distinct session may stand, whatever their order", () =>
    Effect.gen(function* () {
      const { send } = yield* start()
      const login = Effect.map(send("POST", "/login"), ({ cookie }) => tokenOf(cookie))
      const [a, b] = [yield* login, yield* login]
      // Signed, and gone: what an attacker's own log-out leaves.
      const dead = yield* login
      yield* send("POST", "/logout", { cookie: `__Host-session=${dead}` })
      const rows: ReadonlyArray<readonly [tokens: ReadonlyArray<string>, answer: string]> = [
        [[a], "ada"],
        [[a, a], "ada"],
        [[a, a, a, a], "ada"],
        [["junk", a], "ada"],
        [[a, "junk"], "ada"],
        [[dead, a], "ada"],
        [[a, dead, "junk", dead], "ada"],
        [["junk", "junk", "junk", a], "ada"],
        [[a, b], "Ambiguous"],
        [[b, a], "Ambiguous"],
        [["junk", a, dead, b], "Ambiguous"],
        [["junk", dead], "Malformed"],
        [[dead, "junk"], "NotFound"],
        [["junk", "junk", "junk", "junk", a], "Ambiguous"],
        [[a, a, a, a, a], "Ambiguous"]
      ]
      for (const [tokens, expected] of rows) {
        const cookie = tokens.map((token) => `__Host-session=${token}`).join("; ")
        const answer = yield* send("GET", "/whoami", { cookie })
        assert.strictEqual(
          answer.status === 200 ? answer.text : (JSON.parse(answer.text) as { reason: string }).reason,
          expected,
          rows.findIndex(([row]) => row === tokens).toString()
        )
        assert.deepStrictEqual(answer.setCookie, [])
      }
    })
  )
})
