/** The deadline of a backend call. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Result } from "effect"
import type { Duration } from "effect"
import { TestClock } from "effect/testing"
import { withDeadline } from "../../src/internal/manager/deadline.ts"

const late = () => Exit.fail("late")

/** How an effect ends within so many milliseconds, and after how many of the test's clock. */
const timed = <A>(effect: Effect.Effect<A, string>, millis: number) =>
  Effect.gen(function* () {
    const began = yield* Clock.currentTimeMillis
    const result = yield* Effect.result(withDeadline(effect, millis, late))
    const outcome = Result.isFailure(result) ? result.failure : result.success
    return { outcome, after: (yield* Clock.currentTimeMillis) - began }
  })

/** The clock that is there, and how many sleeps by it last. */
const countingClock = Effect.map(Clock.Clock, (clock) => {
  const counts = { lasting: 0 }
  const counted: Clock.Clock = Object.assign(Object.create(clock) as Clock.Clock, {
    sleep: (duration: Duration.Duration) =>
      Effect.suspend(() => {
        counts.lasting++
        return Effect.ensuring(
          clock.sleep(duration),
          Effect.sync(() => {
            counts.lasting--
          })
        )
      })
  })
  return { counted, counts }
})

describe("withDeadline", () => {
  it.effect("answers what the effect answers: at once, in time, and its failure", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* timed(Effect.succeed(1), 1000), { outcome: 1, after: 0 })
      const inTime = yield* Effect.forkChild(timed(Effect.as(Effect.sleep(999), 2), 1000))
      const failing = yield* Effect.forkChild(timed(Effect.andThen(Effect.sleep(5), Effect.fail("no")), 1000))
      yield* TestClock.adjust(2000)
      assert.deepStrictEqual(yield* Fiber.join(inTime), { outcome: 2, after: 999 })
      assert.deepStrictEqual(yield* Fiber.join(failing), { outcome: "no", after: 5 })
    })
  )

  it.effect("[R79] answers late at its own deadline, in whatever order the calls came", () =>
    Effect.gen(function* () {
      const limits = [1000, 250, 700, 1000, 1]
      const fibers = yield* Effect.forEach(limits, (millis) => Effect.forkChild(timed(Effect.never, millis)))
      yield* TestClock.adjust(300)
      const later = yield* Effect.forEach([100, 5000], (millis) => Effect.forkChild(timed(Effect.never, millis)))
      yield* TestClock.adjust(10_000)
      for (const [i, fiber] of [...fibers, ...later].entries()) {
        assert.deepStrictEqual(yield* Fiber.join(fiber), { outcome: "late", after: [...limits, 100, 5000][i] })
      }
    })
  )

  it.effect("[R79] holds where neither the effect nor the caller can be interrupted", () =>
    Effect.gen(function* () {
      const hanging = Effect.uninterruptible(Effect.never)
      const fiber = yield* Effect.forkChild(Effect.uninterruptible(timed(hanging, 1000)))
      yield* TestClock.adjust(1000)
      assert.deepStrictEqual(yield* Fiber.join(fiber), { outcome: "late", after: 1000 })
    })
  )

  it.effect("interrupts what is late, and what the caller gave up", () =>
    Effect.gen(function* () {
      const interrupted: Array<string> = []
      const noted = (name: string) => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted.push(name)))
      const slow = yield* Effect.forkChild(timed(noted("slow"), 1000))
      const given = yield* Effect.forkChild(timed(noted("given up"), 1000))
      yield* Effect.yieldNow
      yield* Fiber.interrupt(given)
      assert.deepStrictEqual(interrupted, ["given up"])
      yield* TestClock.adjust(1000)
      assert.strictEqual((yield* Fiber.join(slow)).outcome, "late")
      assert.deepStrictEqual(interrupted, ["given up", "slow"])
    })
  )

  it.effect("leaves no sleep behind, however the call ends", () =>
    Effect.gen(function* () {
      const { counted, counts } = yield* countingClock
      const fork = (effect: Effect.Effect<unknown, string>) =>
        Effect.forkChild(Effect.provideService(timed(effect, 1000), Clock.Clock, counted))
      yield* Fiber.join(yield* fork(Effect.void))
      assert.strictEqual(counts.lasting, 0)
      const fibers = [yield* fork(Effect.never), yield* fork(Effect.never), yield* fork(Effect.sleep(10))]
      yield* Effect.yieldNow
      assert.strictEqual(counts.lasting, 4)
      yield* Fiber.interrupt(fibers[0]!)
      yield* TestClock.adjust(1000)
      yield* Effect.forEach(fibers.slice(1), Fiber.join)
      assert.strictEqual(counts.lasting, 0)
    })
  )

  it.live("[R79] goes by the live clock, for longer than a timer can last", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* Effect.result(withDeadline(Effect.never, 20, late)), Result.fail("late"))
      assert.strictEqual(yield* withDeadline(Effect.as(Effect.sleep(20), "done"), 2 ** 32, late), "done")
    })
  )
})
