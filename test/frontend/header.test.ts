/** Tokens in a header, and a frontend of the definition's own. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { SessionFrontend } from "effect-sessions"
import { build, cookiesOf, empty, found, headersOf, issued, problemsOf } from "../support/httpSupport.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import { UserSession } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

describe("SessionFrontend.layerHeader and layerBearer", () => {
  it.effect("[R40] bearer: the scheme in any case, one space, one token", () =>
    Effect.gen(function* () {
      const frontend = yield* build(SessionFrontend.layerBearer())
      const rows: ReadonlyArray<readonly [string, unknown]> = [
        ["Bearer x", ["header:x"]],
        ["bearer x", ["header:x"]],
        ["BEARER x", ["header:x"]],
        ["Basic eA==", "SessionMissing"],
        ["", "SessionMissing"],
        ["Bearerx", "SessionMissing"],
        // What is not one token is passed on whole, to be told that it is malformed.
        ["Bearer  x", ["header:Bearer  x"]],
        ["Bearer x y", ["header:Bearer x y"]],
        ["Bearer x, Bearer y", ["header:Bearer x, Bearer y"]],
        ["Bearer", "SessionMissing"],
        ["Bearer x\u00a0", ["header:Bearer x\u00a0"]]
      ]
      for (const [authorization, expected] of rows) {
        assert.deepStrictEqual(yield* found(frontend, { authorization }), expected, authorization)
      }
      assert.strictEqual(yield* found(frontend, {}), "SessionMissing")
      const huge = yield* found(frontend, { authorization: `Bearer ${"x".repeat(100_000)}` })
      assert.strictEqual(huge[0]?.length, 100_007)
    })
  )

  it.effect("bearer attaches nothing, a header frontend echoes its header", () =>
    Effect.gen(function* () {
      const bearer = yield* build(SessionFrontend.layerBearer())
      assert.strictEqual(bearer.attach(empty, issued()), empty)
      assert.strictEqual(bearer.detach(empty, "header"), empty)
      const header = yield* build(SessionFrontend.layerHeader({ name: "X-Session" }))
      assert.deepStrictEqual(yield* found(header, { "x-session": "t" }), ["header:t"])
      assert.strictEqual(headersOf(header.attach(empty, issued())).get("x-session"), "TOKEN")
      assert.strictEqual(header.attach(empty, issued({ via: "cookie" })), empty)
      assert.deepStrictEqual(cookiesOf(header.attach(empty, issued())), [])
    })
  )

  it.effect("[R31] a header's name is a token, and none with a meaning of its own", () =>
    Effect.gen(function* () {
      for (const name of ["", "a b", "x\r\ny", "x:y", "é", "Cookie", "set-cookie", "Authorization", "HOST"]) {
        assert.match((yield* problemsOf(SessionFrontend.layerHeader({ name }))).join(), /must be an HTTP token/, name)
      }
    })
  )
})

describe("what the frontend's schema says", () => {
  it.effect("a definition's own frontend is what its layer was given", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const context = yield* Layer.build(
        Stack.http(UserSession, {
          backend: backend.layer,
          frontend: SessionFrontend.layerHeader({ name: "x-session" })
        })
      )
      const frontend = Context.get(context, UserSession.Frontend)
      assert.deepStrictEqual(yield* found(frontend, { "x-session": "t", cookie: "__Host-session=c" }), ["header:t"])
    })
  )
})
