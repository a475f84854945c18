/**
 * Law 8: `create` makes a fresh id and secret and revokes what the request carried, or fails and leaves no new session.
 * `revokeOthers` rotates this session's own secret too; `revoke` touches only sessions of the same principal.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Session } from "effect-sessions"
import { isLive, reasonOf, tagOf, text, whoami } from "../support/httpSupport.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve, nobody, UserSession } from "../support/userSession.ts"

describe("law 8: create", () => {
  it.effect("law 8: [R46] log-in makes a new session, and ends the one an attacker planted", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const planted = yield* stage.login(nobody)
      const login = yield* stage.open(
        Effect.flatMap(UserSession, (session) => Effect.map(session.create(ada), ({ id }) => text(id)))
      )
      const victim = yield* login("POST", "/", { cookie: Stage.cookieOf(planted) })
      assert.notStrictEqual(victim.text, planted.id)
      assert.notStrictEqual(victim.cookie, Stage.cookieOf(planted))
      const me = yield* stage.open(whoami)
      assert.strictEqual((yield* me("GET", "/", { cookie: victim.cookie })).text, "ada")
      const attacker = yield* me("GET", "/", { cookie: Stage.cookieOf(planted) })
      assert.deepStrictEqual([attacker.status, reasonOf(attacker)], [401, "NotFound"])
      assert.strictEqual((yield* stage.backend.records).length, 1)
    })
  )

  it.effect("law 8: every session the request carried ends, and every call makes a new one", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const [one, two] = [yield* stage.login(ada), yield* stage.login(eve)]
      const login = yield* stage.open(
        Effect.gen(function* () {
          const handle = yield* UserSession
          const first = yield* handle.create(ada)
          const second = yield* handle.create(ada)
          assert.notStrictEqual(first.id, second.id)
          return text(second.id)
        })
      )
      const answer = yield* login("POST", "/", {
        cookie: `${Stage.cookieOf(one)}; ${Stage.cookieOf(two)}; __Host-session=junk`
      })
      assert.deepStrictEqual(
        (yield* stage.backend.records).map(({ id }) => id as string),
        [answer.text]
      )
      assert.strictEqual(answer.setCookie.length, 1)
      assert.include(answer.cookie, answer.text)
    })
  )

  it.effect("law 8: if the old session cannot be ended, the new one is deleted and create fails", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const old = yield* stage.login(ada)
      stage.backend.wire = (operation, call) =>
        // The old one cannot be deleted: neither the first time nor on the retry.
        operation === "delete" && stage.backend.operations.filter((made) => made === "delete").length <= 1
          ? WatchedBackend.failure(operation)
          : call
      const login = yield* stage.open(
        Effect.flatMap(UserSession, (session) => Effect.as(session.create(eve), text("welcome eve")))
      )
      // One failure is made good by the retry.
      assert.strictEqual((yield* login("POST", "/", { cookie: Stage.cookieOf(old) })).status, 200)
      const last = yield* stage.login(ada)
      const rest = (yield* stage.backend.records).map(({ id }) => id)
      let deletes = 0
      stage.backend.wire = (operation, call) =>
        operation === "delete" && deletes++ < 2 ? WatchedBackend.failure(operation) : call
      const answer = yield* login("POST", "/", { cookie: Stage.cookieOf(last) })
      assert.deepStrictEqual([answer.status, tagOf(answer)], [503, "SessionUnavailable"])
      assert.deepStrictEqual(answer.setCookie, [])
      assert.notInclude(answer.text, "eve")
      assert.deepStrictEqual(
        (yield* stage.backend.records).map(({ id }) => id),
        rest
      )
      assert.isTrue(yield* isLive(stage, last.token))
    })
  )

  it.effect("law 8: revokeOthers rotates this session's own token as well", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const [mine, other, eves] = [yield* stage.login(ada), yield* stage.login(ada), yield* stage.login(eve)]
      const send = yield* stage.open(
        Effect.flatMap(UserSession, (session) => Effect.map(session.revokeOthers, (n) => text(`${n}`)))
      )
      const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(mine) })
      assert.strictEqual(answer.text, "1")
      const me = yield* stage.open(whoami)
      assert.strictEqual((yield* me("GET", "/", { cookie: answer.cookie })).text, "ada")
      // The copy a thief may hold.
      assert.isFalse(yield* isLive(stage, mine.token))
      assert.isFalse(yield* isLive(stage, other.token))
      assert.isTrue(yield* isLive(stage, eves.token))
    })
  )

  it.effect("law 8: revoke touches only sessions of the same principal", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const [mine, other, eves] = [yield* stage.login(ada), yield* stage.login(ada), yield* stage.login(eve)]
      const revoke = (id: Session.SessionId) =>
        Effect.flatMap(
          stage.open(Effect.flatMap(UserSession, (session) => Effect.map(session.revoke(id), (yes) => text(`${yes}`)))),
          (send) => send("POST", "/", { cookie: Stage.cookieOf(mine) })
        )
      assert.strictEqual((yield* revoke(eves.id)).text, "false")
      assert.isTrue(yield* isLive(stage, eves.token))
      assert.strictEqual((yield* revoke(other.id)).text, "true")
      assert.isFalse(yield* isLive(stage, other.token))
      const own = yield* revoke(mine.id)
      assert.strictEqual(own.text, "true")
      assert.isFalse(yield* isLive(stage, mine.token))
    })
  )
})
