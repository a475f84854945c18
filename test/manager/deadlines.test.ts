import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import * as SessionBackend from "../../src/SessionBackend.ts"
import { SessionDataError } from "../../src/SessionError.ts"
import { wordOf, outcome, defectOf } from "../support/outcome.ts"
import { stored, recordOf } from "../support/records.ts"
import { UserSession, ada, addWord } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

describe("deadlines", () => {
  it.effect("[R42] an idle session lives to the millisecond before its deadline, and not at it", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const [a, b] = [yield* sessions.create(ada), yield* sessions.create(ada)]
      yield* TestClock.adjust(3_600_000 - 1)
      assert.strictEqual(yield* outcome(sessions.resolve(a.token)), "ok")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* outcome(sessions.resolve(b.token)), "SessionInvalid Expired")
      assert.strictEqual(yield* outcome(sessions.resolve(a.token)), "ok")
      assert.strictEqual((yield* sessions.list("ada")).length, 1)
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("[R43] activity, updates and rotation never move the absolute deadline", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      let session = yield* sessions.create(ada)
      const { absoluteExpiresAt } = yield* recordOf(UserSession, session.id)
      for (let minute = 1; minute < 24 * 60; minute++) {
        yield* TestClock.adjust("1 minute")
        session = yield* sessions.resolve(session.token)
        if (minute % 60 === 0) [, session] = yield* sessions.modify(session.token, addWord("x"))
        if (minute === 23 * 60) session = yield* sessions.rotate(session.token)
      }
      assert.strictEqual((yield* recordOf(UserSession, session.id)).absoluteExpiresAt, absoluteExpiresAt)
      yield* TestClock.adjust(60_000 - 1)
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "ok")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "SessionInvalid Expired")
      assert.strictEqual(yield* outcome(sessions.modify(session, addWord("y"))), "SessionInvalid Expired")
      assert.strictEqual(yield* outcome(sessions.replace(session, ada)), "SessionInvalid Expired")
      assert.strictEqual(yield* outcome(sessions.rotate(session)), "SessionInvalid Expired")
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("[R18] [R44] a record past its deadline is refused though the store still answers it", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      yield* TestClock.adjust("25 hours")
      assert.isTrue(Option.isSome(yield* stored(UserSession, session.id)))
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "SessionInvalid Expired")
      assert.isTrue(Option.isSome(yield* stored(UserSession, session.id)))
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("a session's own timeouts hold where they are shorter, and are cut where they are longer", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const short = yield* sessions.create(ada, { idleTimeout: "5 minutes", absoluteTimeout: "8 minutes" })
      const long = yield* sessions.create(ada, { idleTimeout: "9 hours", absoluteTimeout: "90 days" })
      assert.deepInclude(yield* recordOf(UserSession, short.id), {
        idleTimeout: 300_000,
        idleExpiresAt: 300_000,
        absoluteExpiresAt: 480_000
      })
      assert.deepInclude(yield* recordOf(UserSession, long.id), {
        idleTimeout: 3_600_000,
        idleExpiresAt: 3_600_000,
        absoluteExpiresAt: 86_400_000
      })
      yield* TestClock.adjust("4 minutes")
      const seen = yield* sessions.resolve(short.token)
      // The touch pushes as far as the absolute deadline, and no further.
      assert.strictEqual(seen.expiresAt.epochMilliseconds, 480_000)
      yield* TestClock.adjust("4 minutes")
      assert.strictEqual(yield* outcome(sessions.resolve(short.token)), "SessionInvalid Expired")
      assert.strictEqual(yield* outcome(sessions.resolve(long.token)), "ok")
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  for (const given of [0, -1, NaN, Infinity, "soon"]) {
    it.effect(`a session's own timeout of ${given} is a defect or cut, and never for ever`, () =>
      Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        // As plain JavaScript would call it.
        const exit = yield* Effect.exit(sessions.create(ada, { idleTimeout: given as number }))
        if (given === Infinity) assert.strictEqual(wordOf(exit), "ok")
        else assert.instanceOf(defectOf(exit), SessionDataError)
        for (const info of yield* sessions.list("ada")) {
          assert.isAtMost(info.expiresAt.epochMilliseconds, 3_600_000)
        }
      }).pipe(Effect.provide(Stack.manager(UserSession)))
    )
  }

  it.effect("lowering the configured timeouts binds the sessions there are", () =>
    Effect.gen(function* () {
      const backend = Layer.succeed(SessionBackend.SessionBackend, yield* SessionBackend.SessionBackend)
      const sessions = yield* UserSession.Manager
      const [a, b] = [yield* sessions.create(ada), yield* sessions.create(ada)]
      yield* Effect.gen(function* () {
        const lowered = yield* UserSession.Manager
        yield* TestClock.adjust("10 minutes")
        assert.strictEqual(yield* outcome(lowered.resolve(a.token)), "SessionInvalid Expired")
        assert.strictEqual((yield* lowered.list("ada")).length, 0)
        assert.strictEqual(yield* outcome(lowered.modify(a.token, addWord("x"))), "SessionInvalid Expired")
      }).pipe(Effect.provide(Stack.manager(UserSession, { backend, idleTimeout: "10 minutes" })))
      // And not for longer than they are configured so: the record keeps what it was made with.
      assert.strictEqual(yield* outcome(sessions.resolve(a.token)), "ok")
      yield* Effect.gen(function* () {
        const lowered = yield* UserSession.Manager
        yield* TestClock.adjust("45 minutes")
        assert.strictEqual(yield* outcome(lowered.resolve(b.token)), "SessionInvalid Expired")
      }).pipe(
        Effect.provide(
          Stack.manager(UserSession, { backend, idleTimeout: "50 minutes", absoluteTimeout: "50 minutes" })
        )
      )
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("the absolute deadline holds though the stored idle deadline is later", () =>
    Effect.gen(function* () {
      const backend = yield* SessionBackend.SessionBackend
      const sessions = yield* UserSession.Manager
      const made = yield* sessions.create(ada)
      const session = yield* sessions.resolve(made.token)
      // As another writer of the store might leave it.
      const record = yield* recordOf(UserSession, made.id)
      yield* backend.delete(UserSession.key, made.id)
      yield* backend.create({ ...record, absoluteExpiresAt: 600_000 })
      yield* TestClock.adjust(600_000 - 1)
      const seen = yield* sessions.resolve(made.token)
      assert.strictEqual(seen.expiresAt.epochMilliseconds, 600_000)
      assert.strictEqual((yield* sessions.list("ada")).length, 1)
      yield* TestClock.adjust(1)
      for (const attempt of [
        Effect.asVoid(sessions.resolve(made.token)),
        Effect.asVoid(sessions.modify(made.token, addWord("x"))),
        Effect.asVoid(sessions.rotate(made.token)),
        Effect.asVoid(sessions.replace({ ...session }, ada))
      ]) {
        assert.strictEqual(yield* outcome(attempt), "SessionInvalid Expired")
      }
      assert.strictEqual((yield* sessions.list("ada")).length, 0)
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("a lowered absolute timeout alone ends the sessions there are, however busy they are", () =>
    Effect.gen(function* () {
      const backend = Layer.succeed(SessionBackend.SessionBackend, yield* SessionBackend.SessionBackend)
      const sessions = yield* UserSession.Manager
      const busy = yield* sessions.create(ada)
      for (let minute = 0; minute < 119; minute++) {
        yield* TestClock.adjust("1 minute")
        yield* sessions.resolve(busy.token)
      }
      yield* Effect.gen(function* () {
        const lowered = yield* UserSession.Manager
        yield* TestClock.adjust(60_000 - 1)
        const seen = yield* lowered.resolve(busy.token)
        assert.strictEqual(seen.expiresAt.epochMilliseconds, 7_200_000)
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* outcome(lowered.resolve(busy.token)), "SessionInvalid Expired")
        assert.strictEqual(yield* outcome(lowered.modify(busy.token, addWord("x"))), "SessionInvalid Expired")
        assert.strictEqual((yield* lowered.list("ada")).length, 0)
      }).pipe(Effect.provide(Stack.manager(UserSession, { backend, absoluteTimeout: "2 hours" })))
      assert.strictEqual(yield* outcome(sessions.resolve(busy.token)), "ok")
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )
})
