/** Taking turns. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import * as Serial from "../../src/internal/manager/serial.ts"

const late = Exit.fail("late")

/** A turn that lasts so many milliseconds, and writes down when it began. */
const turn = (run: Serial.Serial<number>, key: string, name: string, log: Array<string>, millis = 10) =>
  run(key, 1000, late, () =>
    Effect.gen(function* () {
      log.push(`${name} ${yield* Clock.currentTimeMillis}`)
      yield* Effect.sleep(millis)
    })
  )

describe("serial", () => {
  it.effect("[R70] runs what has one key one after the other, in order, and other keys beside it", () =>
    Effect.gen(function* () {
      const run = Serial.make<number>()
      const log: Array<string> = []
      const fibers = yield* Effect.forEach(["a1", "a2", "b1", "a3"], (name) =>
        Effect.forkChild(turn(run, name[0]!, name, log), { startImmediately: true })
      )
      for (let i = 0; i < 4; i++) yield* TestClock.adjust(10)
      yield* Effect.forEach(fibers, Fiber.join)
      assert.deepStrictEqual(log, ["a1 0", "b1 0", "a2 10", "a3 20"])
    })
  )

  it.effect("hands on the newest value, past a turn that handed on nothing", () =>
    Effect.gen(function* () {
      const run = Serial.make<number>()
      const received: Array<number | undefined> = []
      const step = (handsOn: number | undefined) =>
        run("a", 1000, late, (value, handOn) =>
          Effect.sync(() => {
            received.push(value)
            if (handsOn !== undefined) handOn(handsOn)
          }).pipe(Effect.delay(1))
        )
      const fibers = yield* Effect.forEach([1, undefined, 3, 4], (value) =>
        Effect.forkChild(step(value), { startImmediately: true })
      )
      for (let i = 0; i < 4; i++) yield* TestClock.adjust(1)
      yield* Effect.forEach(fibers, Fiber.join)
      assert.deepStrictEqual(received, [undefined, 1, 1, 3])
      // Nothing is kept once all have ended.
      yield* Effect.yieldNow
      yield* Effect.all([step(5), TestClock.adjust(1)], { concurrency: 2 })
      assert.strictEqual(received[4], undefined)
    })
  )

  it.effect("[R79] fails late where the turn does not come in time, and gives its place up", () =>
    Effect.gen(function* () {
      const run = Serial.make<number>()
      const log: Array<string> = []
      const fork = (name: string, millis?: number) =>
        Effect.forkChild(Effect.exit(turn(run, "a", name, log, millis)), { startImmediately: true })
      yield* fork("long", 1500)
      const tooLate = yield* fork("late")
      yield* TestClock.adjust(800)
      const next = yield* fork("next")
      yield* TestClock.adjust(200)
      assert.deepStrictEqual(tooLate.pollUnsafe(), Exit.succeed(late))
      yield* TestClock.adjust(500)
      yield* TestClock.adjust(10)
      assert.isTrue(Exit.isSuccess(yield* Fiber.join(next)))
      assert.deepStrictEqual(log, ["long 0", "next 1500"])
    })
  )

  it.effect("[R70] a turn that fails or dies ends like any other", () =>
    Effect.gen(function* () {
      const run = Serial.make<number>()
      const done = Deferred.makeUnsafe<void>()
      const failing = yield* Effect.forkChild(
        run("a", 1000, late, () => Effect.andThen(Deferred.await(done), Effect.die("defect"))),
        { startImmediately: true }
      )
      const next = yield* Effect.forkChild(
        run("a", 1000, late, () => Effect.succeed("ran")),
        { startImmediately: true }
      )
      Deferred.doneUnsafe(done, Exit.void)
      assert.isTrue(Exit.hasDies(yield* Fiber.await(failing)))
      assert.strictEqual(yield* Fiber.join(next), "ran")
    })
  )

  it.live("[R70] a fiber that yields on the way to the queue does not wait for a turn that has ended", () =>
    Effect.gen(function* () {
      // A fiber yields after 2,048 steps: here at each place on its way, one after the other.
      for (let steps = 2030; steps < 2060; steps++) {
        const run = Serial.make<number>()
        const done = Deferred.makeUnsafe<void>()
        const first = Effect.runFork(run("a", 1000, late, () => Deferred.await(done)))
        let left = steps
        const loop = (): Effect.Effect<string, string> =>
          left-- > 0 ? Effect.suspend(loop) : run("a", 1000, late, () => Effect.succeed("ran"))
        const second = Effect.runFork(Effect.suspend(loop))
        Deferred.doneUnsafe(done, Exit.void)
        assert.strictEqual(yield* Fiber.join(second), "ran", `${steps} steps`)
        yield* Fiber.join(first)
        // And the turn is free again.
        assert.strictEqual(yield* run("a", 1000, late, () => Effect.succeed("ran")), "ran")
      }
    })
  )
})
