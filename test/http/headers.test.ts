/** What the session adds to a response, and what it leaves alone. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { HttpEffect, HttpServerResponse } from "effect/http"
import { SessionMiddleware } from "effect-sessions"
import { TestClock } from "effect/testing"
import { text, whoami } from "../support/httpSupport.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve, UserSession } from "../support/userSession.ts"

describe("the response", () => {
  it.effect("is the handler's in all but its headers and cookies, and the handler's own stays as it was", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const { token } = yield* stage.login(ada)
      const given = HttpServerResponse.text("body", {
        status: 202,
        statusText: "Kept",
        headers: { "x-own": "1" }
      }).pipe(HttpServerResponse.setCookieUnsafe("own", "2", { path: "/" }))
      const before = { ...given, headers: { ...given.headers } }
      let sent: HttpServerResponse.HttpServerResponse | undefined
      const guarded = SessionMiddleware.required(UserSession)(Effect.succeed(given))
      const app = yield* stage.app(
        Effect.tap(guarded, () =>
          HttpEffect.appendPreResponseHandler((_, response) => Effect.sync(() => (sent = response)))
        )
      )
      const answer = yield* app("GET", "/", { cookie: Stage.cookieOf({ token }) })
      assert.deepStrictEqual([answer.status, answer.text, answer.setCookie], [202, "body", ["own=2; Path=/"]])
      assert.deepStrictEqual({ ...given, headers: { ...given.headers } }, before)
      assert.isTrue(HttpServerResponse.isHttpServerResponse(sent) && sent !== given)
      // Whatever fields Effect gives a response, it has them all.
      assert.sameMembers(Object.keys(sent!), Object.keys(given))
      assert.deepStrictEqual({ ...sent!, headers: {} }, { ...given, headers: {} })
      assert.deepStrictEqual(
        { ...sent!.headers },
        {
          ...given.headers,
          "cache-control": "no-store",
          vary: "Cookie"
        }
      )
    })
  )
})

describe("cookies of a response", () => {
  it.effect("[R25] one Set-Cookie for all that happened, the last state of it", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const handler = (last: "logout" | "login" | "rotate") =>
        Effect.gen(function* () {
          const handle = yield* UserSession
          yield* handle.rotate
          yield* handle.create(eve)
          yield* handle.rotate
          if (last !== "rotate") yield* handle.destroy
          if (last === "login") yield* handle.create(ada)
          return text("x")
        })
      yield* TestClock.adjust("10 minutes")
      const rotated = yield* (yield* stage.open(handler("rotate")))("POST", "/", { cookie: Stage.cookieOf(session) })
      assert.strictEqual(rotated.setCookie.length, 1)
      const me = yield* stage.open(whoami)
      assert.strictEqual((yield* me("GET", "/", { cookie: rotated.cookie })).text, "eve")
      const out = yield* (yield* stage.open(handler("logout")))("POST", "/", { cookie: rotated.cookie })
      assert.strictEqual(out.setCookie.length, 1)
      assert.match(out.setCookie[0]!, /^__Host-session=; Max-Age=0;/)
      assert.deepStrictEqual(yield* stage.backend.records, [])
      const again = yield* stage.login(ada)
      const back = yield* (yield* stage.open(handler("login")))("POST", "/", { cookie: Stage.cookieOf(again) })
      assert.strictEqual(back.setCookie.length, 1)
      assert.strictEqual((yield* me("GET", "/", { cookie: back.cookie })).text, "ada")
    })
  )
})
