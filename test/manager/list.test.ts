import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import { outcome } from "../support/outcome.ts"
import { recordOf } from "../support/records.ts"
import { UserSession, ada, eve } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

describe("list and revoke", () => {
  it.effect("[R52] [R85b] a list holds no token, and none of its fields opens a session", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      yield* sessions.create(eve)
      const [info, ...others] = yield* sessions.list("ada")
      assert.strictEqual(others.length, 0)
      assert.notProperty(info!, "token")
      assert.strictEqual(info!.id, session.id)
      const text = JSON.stringify(info)
      const record = yield* recordOf(UserSession, session.id)
      for (const secret of [...Redacted.value(session.token).split(".").slice(3), record.secretHash]) {
        assert.notInclude(text, secret)
      }
      for (const value of Object.values(info!)) {
        assert.match(
          yield* outcome(sessions.resolve(Redacted.make(String(value)))),
          /^SessionInvalid (Malformed|Signature)$/
        )
      }
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("lists newest first, over several pages, at most 1,000, without the expired", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      yield* sessions.create(ada, { idleTimeout: 500 })
      for (let i = 0; i < 1200; i++) {
        yield* TestClock.adjust(1)
        yield* sessions.create(ada)
      }
      const infos = yield* sessions.list("ada")
      assert.strictEqual(infos.length, 1000)
      const times = infos.map((info) => info.createdAt.epochMilliseconds)
      assert.deepStrictEqual(
        times,
        times.toSorted((a, b) => b - a)
      )
      assert.strictEqual(new Set(infos.map((info) => info.id)).size, 1000)
    }).pipe(Effect.provide(Stack.manager(UserSession, { maxPerPrincipal: false })))
  )

  it.effect("revoke ends a session of its owner alone, revokeAny anybody's, revokeAll all but one", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const [a, b, c] = [yield* sessions.create(ada), yield* sessions.create(ada), yield* sessions.create(ada)]
      const theirs = yield* sessions.create(eve)
      assert.isFalse(yield* sessions.revoke(a.id, { principal: "eve" }))
      assert.isTrue(yield* sessions.revoke(a.id, { principal: "ada" }))
      assert.isFalse(yield* sessions.revoke(a.id, { principal: "ada" }))
      assert.strictEqual(yield* sessions.revokeAll("ada", { except: b.id }), 1)
      assert.strictEqual(yield* outcome(sessions.resolve(b.token)), "ok")
      assert.strictEqual(yield* outcome(sessions.resolve(c.token)), "SessionInvalid NotFound")
      assert.isTrue(yield* sessions.revokeAny(theirs.id))
      assert.isFalse(yield* sessions.revokeAny(theirs.id))
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("[R52] replace and revoke keep to the owner, whatever is put beside the token", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const mine = yield* sessions.create(ada)
      const theirs = yield* sessions.create(eve)
      yield* sessions.replace({ ...mine, id: theirs.id }, { ...ada, words: ["mine"] })
      assert.deepStrictEqual((yield* sessions.resolve(theirs.token)).data, eve)
      // As JavaScript may call it.
      assert.isFalse(yield* sessions.revoke(theirs.id, { principal: undefined as unknown as string }))
      assert.strictEqual(yield* outcome(sessions.resolve(theirs.token)), "ok")
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )
})
