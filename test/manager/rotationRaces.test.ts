/** Scheduled rotations beside other requests, and over a store that fails. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { managerOn } from "../support/onManager.ts"
import { outcome } from "../support/outcome.ts"
import { recordOf } from "../support/records.ts"
import {
  begin,
  every,
  grace,
  isSame,
  notFound,
  reused,
  rotate,
  rotatedOnce,
  Rotating,
  times
} from "../support/rotating.ts"
import type { Live } from "../support/rotating.ts"
import { ada, addWord, UserSession } from "../support/userSession.ts"
import type { Manager } from "../support/userSession.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

describe("a race with a scheduled rotation", () => {
  /** Runs something once, between what a look reads and what it writes. */
  const meanwhile = (watched: WatchedBackend.WatchedBackend, act: Effect.Effect<unknown, unknown>) => {
    let isFirst = true
    watched.wire = (operation, run) => {
      if (operation !== "update" || !isFirst) return run
      isFirst = false
      return Effect.andThen(Effect.ignore(act), run)
    }
  }
  const raced = Effect.fnUntraced(function* (watched: WatchedBackend.WatchedBackend) {
    const begun = yield* begin
    yield* TestClock.adjust(every)
    return { ...begun, other: yield* managerOn(watched, times) }
  })

  it.effect("[R55] its loser is let in with the token it came with, which stands as long", () => {
    const watched = WatchedBackend.make()
    return Effect.gen(function* () {
      const { first, look, other, word } = yield* raced(watched)
      let won: Live | undefined
      meanwhile(
        watched,
        Effect.map(other.resolve(first.token, rotate), (session) => (won = session))
      )
      assert.isTrue(isSame(yield* look(first), first))
      assert.isFalse(isSame(won!, first))
      assert.deepStrictEqual([yield* word(won!), yield* word(first)], ["ok", "ok"])
    }).pipe(Effect.provide(Rotating({ backend: watched.layer })))
  })

  it.effect("[R55] of a hundred requests at once in one process one writes, and gets a new token", () => {
    const watched = WatchedBackend.make()
    return Effect.gen(function* () {
      const { first, look } = yield* begin
      yield* TestClock.adjust(every)
      watched.wire = (_, run) => Effect.andThen(Effect.yieldNow, run)
      const all = yield* Effect.all(
        Array.from({ length: 100 }, () => look(first)),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(all.filter((session) => !isSame(session, first)).length, 1)
      assert.strictEqual(watched.count("update"), 1)
    }).pipe(Effect.provide(Rotating({ backend: watched.layer })))
  })

  it.effect("[R55] an update, or the new token's arrival, in between costs neither the request nor the token", () => {
    const watched = WatchedBackend.make()
    return Effect.gen(function* () {
      const { first, look, other, sessions, word } = yield* raced(watched)
      meanwhile(watched, other.modify(first.token, addWord("x")))
      const looked = yield* look(first)
      assert.isTrue(isSame(looked, first))
      assert.deepStrictEqual(looked.data.words, ["x"])
      const second = yield* look(first)
      assert.isFalse(isSame(second, first))
      meanwhile(watched, other.resolve(second.token))
      assert.strictEqual(yield* word(second), "ok")
      // An update of the session at hand goes on over the rotation: the line is the same.
      const [, changed] = yield* sessions.modify(first, addWord("y"))
      assert.deepStrictEqual(changed.data.words, ["x", "y"])
    }).pipe(Effect.provide(Rotating({ backend: watched.layer })))
  })

  it.effect("[R55] a session at hand is changed over any number of scheduled rotations, and over no other", () =>
    Effect.gen(function* () {
      const { first, look, second, sessions } = yield* rotatedOnce
      yield* look(second)
      yield* TestClock.adjust(every)
      const third = yield* look(second)
      assert.isFalse(isSame(third, second))
      // Only a token that arrives is judged.
      yield* look(third)
      yield* TestClock.adjust(grace)
      for (const held of [first, second, third]) {
        assert.strictEqual(yield* outcome(sessions.modify(held, addWord("x"))), "ok")
      }
      assert.strictEqual((yield* look(third)).data.words.length, 3)
      yield* sessions.rotate(third)
      for (const held of [first, second, third]) {
        assert.strictEqual(yield* outcome(sessions.modify(held, addWord("y"))), notFound)
      }
    }).pipe(Effect.provide(Rotating()))
  )

  const others: Record<string, (manager: Manager, session: Live) => Effect.Effect<unknown, unknown>> = {
    "a log-out": (manager, session) => manager.destroy(session.token),
    "a plain rotation": (manager, session) => manager.rotate(session.token),
    "a log-in in its place": (manager, session) => manager.createFrom(session.token, () => ada)
  }
  for (const [name, act] of Object.entries(others)) {
    it.effect(`[R55] [R69] ${name} in between refuses the request`, () => {
      const watched = WatchedBackend.make()
      return Effect.gen(function* () {
        const { first, other, word } = yield* raced(watched)
        meanwhile(watched, act(other, first))
        assert.strictEqual(yield* word(first), notFound)
      }).pipe(Effect.provide(Rotating({ backend: watched.layer })))
    })
  }
})

describe("a store that fails at a scheduled rotation", () => {
  const failures: ReadonlyArray<readonly [string, "notApplied" | "unknown", boolean]> = [
    ["refuses its write", "notApplied", false],
    ["has not carried it out, and does not say so", "unknown", false],
    ["has carried it out, and does not say so", "unknown", true]
  ]
  for (const [name, said, isApplied] of failures) {
    it.effect(`[R55] ${name}: the request is let in with the token it has, which stands`, () => {
      const watched = WatchedBackend.make()
      return Effect.gen(function* () {
        const { first, look, word } = yield* begin
        yield* TestClock.adjust(every)
        watched.wire = (operation, run) =>
          operation === "update"
            ? Effect.andThen(isApplied ? Effect.ignore(run) : Effect.void, WatchedBackend.failure(operation, said))
            : run
        assert.isTrue(isSame(yield* look(first), first))
        assert.strictEqual(watched.count("update"), 1)
        watched.wire = (_, run) => run
        assert.strictEqual((yield* recordOf(UserSession, first.id)).version, isApplied ? 2 : 1)
        // Nobody has the token that was lost, if one was made.
        yield* TestClock.adjust(every)
        const next = yield* look(first)
        assert.deepStrictEqual([yield* word(next), yield* word(first)], ["ok", "ok"])
        yield* TestClock.adjust(grace)
        assert.deepStrictEqual([yield* word(next), yield* word(first)], ["ok", reused])
      }).pipe(Effect.provide(Rotating({ backend: watched.layer })))
    })
  }

  it.effect("[R55] hangs: it holds the request up for a quarter of the deadline", () => {
    const watched = WatchedBackend.make()
    return Effect.gen(function* () {
      const { first, look } = yield* begin
      yield* TestClock.adjust(every)
      watched.wire = (operation, run) => (operation === "update" ? Effect.never : run)
      const fiber = yield* Effect.forkChild(look(first))
      yield* TestClock.adjust(249)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.isTrue(isSame(yield* Fiber.join(fiber), first))
    }).pipe(Effect.provide(Rotating({ backend: watched.layer })))
  })

  it.effect("[R55] fails to write that the new token was seen: the old one is no stolen copy yet", () => {
    const watched = WatchedBackend.make()
    return Effect.gen(function* () {
      const { first, second, word } = yield* rotatedOnce
      watched.wire = (operation, run) => (operation === "update" ? WatchedBackend.failure(operation) : run)
      assert.strictEqual(yield* word(second), "ok")
      watched.wire = (_, run) => run
      yield* TestClock.adjust(grace)
      assert.deepStrictEqual([yield* word(first), yield* word(second)], ["ok", "ok"])
      yield* TestClock.adjust(grace)
      assert.strictEqual(yield* word(first), reused)
    }).pipe(Effect.provide(Rotating({ backend: watched.layer })))
  })
})
