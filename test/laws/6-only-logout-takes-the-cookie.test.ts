/**
 * Law 6: only `destroy` and `revokeAll` take the cookie off. A 401 does not: a request that lost a race must not log
 * the browser out.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, Redacted } from "effect"
import { SessionError, SessionFrontend, SessionVerifier } from "effect-sessions"
import { TestClock } from "effect/testing"
import type * as Client from "../support/client.ts"
import { empty, isLive, verified } from "../support/httpSupport.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve, UserSession } from "../support/userSession.ts"

describe("law 6: who takes the cookie off", () => {
  it.effect("law 6: only destroy and revokeAll do, a 401 does not", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make({
        verifier: SessionVerifier.layerPredicate(
          UserSession,
          ({ data }) => Effect.succeed(data.count < 100),
          () => new SessionError.SessionRefused({ message: "over" })
        )
      })
      const dead = yield* stage.login(ada)
      yield* stage.manager.destroy(dead.token)
      const stale = yield* stage.login(ada)
      yield* stage.manager.rotate(stale.token)
      const refused = yield* stage.login({ ...ada, count: 100 }).pipe(Effect.option)
      const guarded = yield* stage.guarded(verified)
      const open = yield* stage.open(Effect.flatMap(UserSession, (session) => Effect.as(session.option, empty)))
      const cookies = [
        "__Host-session=junk",
        Stage.cookieOf(dead),
        Stage.cookieOf(stale),
        Stage.cookieOf(Option.getOrThrow(refused)),
        `${Stage.cookieOf(yield* stage.login(ada))}; ${Stage.cookieOf(yield* stage.login(eve))}`
      ]
      for (const cookie of cookies) {
        const answer = yield* guarded("GET", "/", { cookie })
        assert.isTrue(answer.status === 401 || answer.status === 403, cookie)
        assert.deepStrictEqual(answer.setCookie, [])
        assert.deepStrictEqual((yield* open("GET", "/", { cookie })).setCookie, [])
      }
      yield* TestClock.adjust("25 hours")
      const expired = yield* guarded("GET", "/", { cookie: Stage.cookieOf(yield* stage.login(ada)) })
      assert.strictEqual(expired.status, 200)
    })
  )

  it.effect("law 6: destroy takes it off, when the request carried a token of ours, live or not", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const logout = yield* stage.open(Effect.flatMap(UserSession, (session) => Effect.as(session.destroy, empty)))
      const everywhere = yield* stage.open(
        Effect.flatMap(UserSession, (session) => Effect.as(session.revokeAll, empty))
      )
      const isDeletion = (answer: Client.Answer) =>
        answer.setCookie.length === 1 && answer.setCookie[0]!.startsWith("__Host-session=; Max-Age=0; Path=/;")
      const session = yield* stage.login(ada)
      const first = yield* logout("POST", "/", { cookie: Stage.cookieOf(session) })
      const second = yield* logout("POST", "/", { cookie: Stage.cookieOf(session) })
      for (const answer of [first, second]) assert.deepStrictEqual([answer.status, isDeletion(answer)], [204, true])
      const forged = yield* logout("POST", "/", { cookie: "__Host-session=junk" })
      const none = yield* logout("POST", "/")
      for (const answer of [forged, none]) assert.deepStrictEqual([answer.status, answer.setCookie], [204, []])
      const one = yield* stage.login(ada)
      const two = yield* stage.login(ada)
      assert.isTrue(isDeletion(yield* everywhere("POST", "/", { cookie: Stage.cookieOf(one) })))
      assert.isFalse(yield* isLive(stage, two.token))
    })
  )

  it.effect("law 6: a log-out is answered the way the token came that is ours, whatever came beside it", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make({
        frontend: SessionFrontend.layerFirst([
          SessionFrontend.layerCookie(),
          SessionFrontend.layerHeader({ name: "x-session" })
        ])
      })
      const logout = yield* stage.open(Effect.flatMap(UserSession, (session) => Effect.as(session.destroy, empty)))
      const { token } = yield* stage.login(ada)
      const headers = { "x-session": Redacted.value(token) }
      const answer = yield* logout("POST", "/", { cookie: "__Host-session=junk", headers })
      assert.deepStrictEqual([answer.status, answer.setCookie], [204, []])
      assert.isFalse(yield* isLive(stage, token))
      const session = yield* stage.login(ada)
      const junk = { "x-session": "junk" }
      const byCookie = yield* logout("POST", "/", { cookie: Stage.cookieOf(session), headers: junk })
      assert.deepStrictEqual([byCookie.status, byCookie.setCookie.length], [204, 1])
    })
  )
})
