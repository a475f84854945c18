/** New tokens on a schedule, through the manager: what is written, who is let in, and what ends the token before. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import * as Extension from "../../src/internal/manager/extension.ts"
import * as SessionBackend from "../../src/SessionBackend.ts"
import { outcome } from "../support/outcome.ts"
import { recordOf, stored } from "../support/records.ts"
import { requestWith } from "../support/request.ts"
import { begin, every, grace, isSame, notFound, reused, rotatedOnce, Rotating } from "../support/rotating.ts"
import type { Live } from "../support/rotating.ts"
import { ada, UserSession } from "../support/userSession.ts"
import type { Manager } from "../support/userSession.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

const rotationIn = (id: string) => Effect.map(recordOf(UserSession, id), (record) => Extension.rotationOf(record))

describe("a scheduled rotation", () => {
  it.effect("[R55] [R43] comes when it is due, keeps the id and the data, and moves no absolute deadline", () =>
    Effect.gen(function* () {
      const { first, look, sessions } = yield* begin
      const before = yield* recordOf(UserSession, first.id)
      yield* TestClock.adjust(every - 1)
      assert.isTrue(isSame(yield* look(first), first))
      yield* TestClock.adjust(1)
      // The manager's own look, without being asked to.
      assert.isTrue(isSame(yield* sessions.resolve(first.token), first))
      const second = yield* look(first)
      assert.isFalse(isSame(second, first))
      assert.deepStrictEqual([second.id, second.data, second.version], [first.id, first.data, 2])
      const after = yield* recordOf(UserSession, first.id)
      for (const name of ["absoluteExpiresAt", "createdAt", "authenticatedAt", "idleTimeout", "persistent"] as const) {
        assert.strictEqual(after[name], before[name], name)
      }
      // It is a touch too.
      assert.deepStrictEqual([after.lastSeenAt, after.idleExpiresAt], [every, every + 3_600_000])
      assert.strictEqual(second.expiresAt.epochMilliseconds, after.idleExpiresAt)
    }).pipe(Effect.provide(Rotating()))
  )

  it.effect("[R43] ends no later for a hundred rotations", () =>
    Effect.gen(function* () {
      const { first, look } = yield* begin
      let session = first
      let tokens = 1
      for (let minutes = 0; minutes < 24 * 60 - 1; minutes++) {
        yield* TestClock.adjust("1 minute")
        const next = yield* look(session)
        if (!isSame(next, session)) tokens++
        session = next
      }
      assert.isAtLeast(tokens, 100)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* outcome(look(session)), "SessionInvalid Expired")
    }).pipe(Effect.provide(Rotating()))
  )

  it.effect("[R55] rule 1: the new token's arrival is written once, whoever asks, and nothing else", () =>
    Effect.gen(function* () {
      const { second, sessions } = yield* rotatedOnce
      yield* TestClock.adjust(7)
      for (let i = 0; i < 3; i++) assert.isTrue(isSame(yield* sessions.resolve(second.token), second))
      const { extension, version } = yield* recordOf(UserSession, second.id)
      assert.strictEqual(version, 3)
      assert.strictEqual(Extension.parse({ extension }).rotation?.seenAt, every + 7)
    }).pipe(Effect.provide(Rotating()))
  )

  it.effect("[R55] rules 3 and 4: the old token stands until the new one is seen, and then for the grace", () =>
    Effect.gen(function* () {
      const { first, look, second, word } = yield* rotatedOnce
      yield* TestClock.adjust(every - 1)
      assert.isTrue(isSame(yield* look(first), first))
      yield* look(second)
      yield* TestClock.adjust(grace - 1)
      assert.isTrue(isSame(yield* look(first), first))
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* word(first), reused)
      assert.isTrue(Option.isNone(yield* stored(UserSession, first.id)))
      assert.deepStrictEqual([yield* word(first), yield* word(second)], [notFound, notFound])
    }).pipe(Effect.provide(Rotating()))
  )

  it.effect("[R55] rule 3: a new token that never comes is replaced after as long again, and the old one stands", () =>
    Effect.gen(function* () {
      const { first, look, second, word } = yield* rotatedOnce
      for (let lost = 0; lost < 3; lost++) {
        yield* TestClock.adjust(every)
        assert.isFalse(isSame(yield* look(first), first))
      }
      // The lost one is older than the old one now, in a sense: it ends nothing.
      assert.strictEqual(yield* word(second), notFound)
      assert.strictEqual(yield* word(first), "ok")
      assert.strictEqual((yield* rotationIn(first.id))?.seenAt, undefined)
    }).pipe(Effect.provide(Rotating()))
  )

  it.effect("[R55] rule 5: a token from before the old one opens nothing and ends nothing", () =>
    Effect.gen(function* () {
      const { first, look, second, word } = yield* rotatedOnce
      yield* look(second)
      yield* TestClock.adjust(every)
      const third = yield* look(second)
      assert.isFalse(isSame(third, second))
      assert.strictEqual(yield* word(first), notFound)
      assert.deepStrictEqual([yield* word(second), yield* word(third)], ["ok", "ok"])
    }).pipe(Effect.provide(Rotating()))
  )

  it.effect("[R55] is put off while the grace runs, and by looks that may not rotate", () =>
    Effect.gen(function* () {
      const { first, look, second, sessions } = yield* rotatedOnce
      // The new token comes when the next one is due.
      yield* TestClock.adjust(every)
      assert.isTrue(isSame(yield* look(second), second))
      yield* TestClock.adjust(grace - 1)
      assert.isTrue(isSame(yield* look(second), second))
      assert.isTrue(isSame(yield* look(first), first))
      yield* TestClock.adjust(1)
      assert.isTrue(isSame(yield* sessions.resolve(second.token), second))
      assert.isFalse(isSame(yield* look(second), second))
    }).pipe(Effect.provide(Rotating()))
  )

  it.effect("[R55] touch: false may rotate, and keeps no session alive by it", () =>
    Effect.gen(function* () {
      const { first, sessions } = yield* begin
      const idle = (yield* recordOf(UserSession, first.id)).idleExpiresAt
      yield* TestClock.adjust(every)
      const second = yield* sessions.resolve(first.token, { touch: false, rotate: true })
      assert.isFalse(isSame(second, first))
      yield* sessions.resolve(second.token, { touch: false })
      const record = yield* recordOf(UserSession, first.id)
      assert.deepStrictEqual([record.version, record.lastSeenAt, record.idleExpiresAt], [3, 0, idle])
      yield* TestClock.adjust(idle - every)
      assert.strictEqual(yield* outcome(sessions.resolve(second.token)), "SessionInvalid Expired")
    }).pipe(Effect.provide(Rotating()))
  )

  it.effect("[R55] the end of a stolen copy is told even of a session that has expired meanwhile", () =>
    Effect.gen(function* () {
      const { first, look, second, word } = yield* rotatedOnce
      yield* look(second)
      yield* TestClock.adjust("2 hours")
      assert.strictEqual(yield* word(first), reused)
      assert.isTrue(Option.isNone(yield* stored(UserSession, first.id)))
    }).pipe(Effect.provide(Rotating()))
  )

  it.effect("[R55] a copy whose session cannot be ended now is not let in, and not forgotten", () => {
    const watched = WatchedBackend.make()
    return Effect.gen(function* () {
      const { first, look, second, word } = yield* rotatedOnce
      yield* look(second)
      yield* TestClock.adjust(grace)
      watched.wire = (operation, run) => (operation === "delete" ? WatchedBackend.failure(operation) : run)
      assert.strictEqual(yield* word(first), "SessionUnavailable notApplied")
      watched.wire = (_, run) => run
      assert.strictEqual(yield* word(first), reused)
      assert.strictEqual(yield* word(second), notFound)
    }).pipe(Effect.provide(Rotating({ backend: watched.layer })))
  })
})

describe("what ends the token before", () => {
  /** Each answers the session that stands afterwards. */
  const endings: Record<string, (manager: Manager, second: Live, first: Live) => Effect.Effect<Live, unknown>> = {
    "a rotation with the new token": (manager, second) => manager.rotate(second.token),
    "a rotation with the old token": (manager, _, first) => manager.rotate(first.token),
    "a rotation of a session at hand": (manager, _, first) => manager.rotate(first),
    "reauthenticate with the old token": (manager, _, first) => manager.reauthenticate(first.token),
    "a log-in in its place": (manager, second) => manager.createFrom(second.token, () => ada),
    revokeOthers: (manager, second) =>
      Effect.gen(function* () {
        const request = requestWith(manager, second.token)
        yield* request.revokeOthers
        return yield* request.get
      }),
    "revokeOthers with the old token": (manager, _, first) =>
      Effect.gen(function* () {
        const request = requestWith(manager, first.token)
        yield* request.revokeOthers
        return yield* request.get
      })
  }
  for (const [name, end] of Object.entries(endings)) {
    it.effect(`[R55] ${name} leaves neither of the two tokens, and calls neither theft`, () =>
      Effect.gen(function* () {
        const { first, second, sessions, word } = yield* rotatedOnce
        yield* sessions.resolve(second.token)
        const last = yield* end(sessions, second, first)
        for (const later of [0, grace, every]) {
          yield* TestClock.adjust(later)
          assert.deepStrictEqual([yield* word(first), yield* word(second)], [notFound, notFound])
          assert.strictEqual(yield* outcome(sessions.resolve(last.token)), "ok")
        }
      }).pipe(Effect.provide(Rotating()))
    )
  }

  it.effect("[R55] so does the rotation of a server that knows no schedule: it leaves the extension as it is", () =>
    Effect.gen(function* () {
      const { first, look, second, word } = yield* rotatedOnce
      yield* look(second)
      const { extension, ...record } = yield* recordOf(UserSession, first.id)
      const backend = yield* SessionBackend.SessionBackend
      const { idleExpiresAt, lastSeenAt, version } = record
      yield* backend.update(UserSession.key, first.id, version, {
        secretHash: "S".repeat(43),
        lastSeenAt,
        idleExpiresAt
      })
      assert.strictEqual((yield* recordOf(UserSession, first.id)).extension, extension)
      yield* TestClock.adjust(grace)
      assert.deepStrictEqual([yield* word(first), yield* word(second)], [notFound, notFound])
      assert.isTrue(Option.isSome(yield* stored(UserSession, first.id)))
    }).pipe(Effect.provide(Rotating()))
  )

  it.effect("[R55] a log-in that fails puts both tokens back", () =>
    Effect.gen(function* () {
      const { first, second, sessions, word } = yield* rotatedOnce
      const failing = sessions.createFrom(first, () => {
        throw new Error("boom")
      })
      assert.strictEqual(yield* outcome(failing), "died")
      assert.deepStrictEqual([yield* word(first), yield* word(second)], ["ok", "ok"])
      yield* TestClock.adjust(grace)
      assert.strictEqual(yield* word(first), reused)
    }).pipe(Effect.provide(Rotating()))
  )

  it.effect("[R56] a log-out with any token of the session ends it, older ones too", () =>
    Effect.gen(function* () {
      for (const pick of [0, 1, 2]) {
        const { first, look, second, sessions, word } = yield* rotatedOnce
        yield* look(second)
        yield* TestClock.adjust(every)
        const third = yield* look(second)
        yield* sessions.destroy([first, second, third][pick]!.token)
        assert.strictEqual(yield* word(third), notFound)
        assert.isTrue(Option.isNone(yield* stored(UserSession, first.id)))
      }
    }).pipe(Effect.provide(Rotating()))
  )
})
