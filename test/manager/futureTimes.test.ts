/** Times in the future: a clock that was ahead wrote them, and no session lives longer for it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { outcome } from "../support/outcome.ts"
import { recordOf } from "../support/records.ts"
import * as Stack from "../support/stack.ts"
import { ada, addWord, UserSession } from "../support/userSession.ts"

const minute = 60_000
const hour = 60 * minute
const year = 365 * 24 * hour

/** Runs the effect with the clock so far ahead, and puts it back. */
const ahead = <A, E, R>(millis: number, effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    yield* TestClock.setTime(millis)
    const answer = yield* effect
    yield* TestClock.setTime(0)
    return answer
  })

describe("a clock that was ahead", () => {
  it.effect("[R18] [R43] a session made a year ahead is expired once the clock is right, and never lives", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* ahead(year, sessions.create(ada))
      for (const time of [0, minute, hour, 24 * hour, year / 2, year - 11 * minute]) {
        yield* TestClock.setTime(time)
        assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "SessionInvalid Expired", `at ${time}`)
        assert.strictEqual(yield* outcome(sessions.modify(session, addWord("x"))), "SessionInvalid Expired")
        assert.deepStrictEqual(yield* sessions.list("ada"), [])
      }
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("[R42] [R43] a session made by a server ten minutes ahead lives as long as any other", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* ahead(10 * minute, sessions.create(ada, { absoluteTimeout: "2 hours" }))
      const seen = yield* sessions.resolve(session.token)
      // Seen now, as far as this server knows, and so idle from now on.
      assert.strictEqual(seen.expiresAt.epochMilliseconds, hour)
      yield* TestClock.setTime(hour - 1)
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "ok")
      yield* TestClock.setTime(2 * hour - 2)
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "ok")
      yield* TestClock.setTime(2 * hour + 10 * minute)
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "SessionInvalid Expired")
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect(
    "[R42] a touch made while the clock was hours ahead is taken back by the next, and does not keep it alive",
    () =>
      Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        const { id, token } = yield* sessions.create(ada)
        // Idle for an hour at most, so it is touched on the way.
        for (const time of [0.9, 1.8, 2.7, 3.6, 4.5]) yield* ahead(time * hour, sessions.resolve(token))
        assert.strictEqual((yield* recordOf(UserSession, id)).lastSeenAt, 4.5 * hour)
        const seen = yield* sessions.resolve(token)
        assert.strictEqual(seen.expiresAt.epochMilliseconds, hour)
        assert.strictEqual((yield* recordOf(UserSession, id)).lastSeenAt, 0)
        yield* TestClock.setTime(hour)
        assert.strictEqual(yield* outcome(sessions.resolve(token)), "SessionInvalid Expired")
      }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("[R84c] a server a little behind does not try to touch on every request", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const { id, token } = yield* ahead(5 * minute, sessions.create(ada))
      for (let i = 0; i < 10; i++) yield* sessions.resolve(token)
      assert.strictEqual((yield* recordOf(UserSession, id)).lastSeenAt, 5 * minute)
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )
})
