/** The deadline of a backend call, and the one sleeper that keeps it for all. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Result } from "effect"
import type { Duration } from "effect"
import { TestClock } from "effect/testing"
import { spawnSync } from "node:child_process"
import { bounded, boundedAnswer } from "../src/internal/bounded.ts"

const late = () => Exit.fail("late")

/** How an effect ends within so many milliseconds, and after how many of the test's clock. */
const timed = <A>(effect: Effect.Effect<A, string>, millis: number) =>
  Effect.gen(function* () {
    const began = yield* Clock.currentTimeMillis
    const result = yield* Effect.result(bounded(effect, millis, late))
    const outcome = Result.isFailure(result) ? result.failure : result.success
    return { outcome, after: (yield* Clock.currentTimeMillis) - began }
  })

/** The clock that is there, and how often a sleep was begun by it and how many of them still last. */
const countingClock = Effect.map(Clock.Clock, (clock) => {
  const counts = { begun: 0, lasting: 0 }
  const counted: Clock.Clock = {
    currentTimeMillis: clock.currentTimeMillis,
    currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe(),
    currentTimeNanos: clock.currentTimeNanos,
    currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
    monotonicTimeNanos: clock.monotonicTimeNanos,
    monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
    sleep: (duration: Duration.Duration) =>
      Effect.suspend(() => {
        counts.begun++
        counts.lasting++
        return Effect.ensuring(
          clock.sleep(duration),
          Effect.sync(() => {
            counts.lasting--
          })
        )
      })
  }
  return { counted, counts }
})

describe("boundedAnswer", () => {
  it.effect("answers what it is answered, at once or later, and is late at its deadline and deaf from then on", () =>
    Effect.gen(function* () {
      const { counted, counts } = yield* countingClock
      let givenUp = 0
      const giveUp = () => {
        givenUp++
      }
      const within = (ask: (answer: (effect: Effect.Effect<number, string>) => void) => unknown) =>
        Effect.forkChild(
          Effect.provideService(
            Effect.result(
              boundedAnswer(
                (answer: Parameters<typeof ask>[0]) => {
                  ask(answer)
                  return giveUp
                },
                1000,
                late
              )
            ),
            Clock.Clock,
            counted
          ),
          // So that it has asked when this goes on.
          { startImmediately: true }
        )
      assert.deepStrictEqual(yield* Fiber.join(yield* within((answer) => answer(Effect.succeed(1)))), Result.succeed(1))
      assert.strictEqual(counts.lasting, 0)

      const asked: Array<(effect: Effect.Effect<number, string>) => void> = []
      const [first, second, third] = [
        yield* within((answer) => asked.push(answer)),
        yield* within((answer) => asked.push(answer)),
        yield* within((answer) => asked.push(answer))
      ]
      yield* TestClock.adjust(999)
      asked[0]!(Effect.fail("no"))
      assert.deepStrictEqual(yield* Fiber.join(first!), Result.fail("no"))
      assert.isUndefined(third!.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* Fiber.join(third!), Result.fail("late"))
      asked[2]!(Effect.succeed(3))
      assert.deepStrictEqual(yield* Fiber.join(second!), Result.fail("late"))
      assert.strictEqual(counts.lasting, 0)
      assert.strictEqual(givenUp, 2)

      const gone = yield* within((answer) => asked.push(answer))
      assert.strictEqual(counts.lasting, 1)
      yield* Fiber.interrupt(gone)
      assert.strictEqual(counts.lasting, 0)
      asked[3]!(Effect.succeed(4))
      assert.strictEqual(givenUp, 3)
    })
  )

  it.live("[R79] by the live clock", () =>
    Effect.gen(function* () {
      const hanging = [boundedAnswer<never, string>(() => () => {}, 30, late), bounded(Effect.never, 40, late)]
      const results = yield* Effect.forEach(hanging, Effect.result, { concurrency: "unbounded" })
      assert.deepStrictEqual(results, [Result.fail("late"), Result.fail("late")])
      // A timer that runs on from there is early for whoever waits next, and goes on.
      assert.strictEqual(yield* bounded(Effect.as(Effect.sleep(50), "done"), 5000, late), "done")
      const again = yield* Effect.result(bounded(Effect.never, 20, late))
      assert.deepStrictEqual(again, Result.fail("late"))
      // Longer than a timer can be.
      assert.strictEqual(yield* bounded(Effect.as(Effect.sleep(20), "done"), 2 ** 32, late), "done")
    })
  )

  /** Runs it in a process of its own; how it ended, and after how many seconds. */
  const inProcess = (code: string) => {
    const imports = `import { Effect } from "effect"; import { bounded } from "./src/internal/bounded.ts";`
    const began = process.hrtime()
    const { status, stderr, stdout } = spawnSync(
      process.execPath,
      ["--input-type=module-typescript", "-e", imports + code],
      { cwd: new URL("..", import.meta.url), encoding: "utf8" }
    )
    return { ended: [status, stdout.trim(), stderr], seconds: process.hrtime(began)[0] }
  }

  it("the live clock's timer holds no process back that waits for nothing", () => {
    const { ended, seconds } = inProcess(`
      for (let i = 0; i < 3; i++) await Effect.runPromise(bounded(Effect.sleep(1), 60_000, () => Effect.die("late")))
      console.log("done")`)
    assert.deepStrictEqual(ended, [0, "done", ""])
    // Far from the minute that the timer would last.
    assert.isBelow(seconds, 30)
  })

  it("[R79] a process that waits for nothing else is still told that it is late", () => {
    const { ended } = inProcess(`
      // Leaves a timer that is early for what comes next.
      await Effect.runPromise(bounded(Effect.sleep(1), 1000, () => Effect.die("late")))
      const hanging = bounded(Effect.never, 1200, () => Effect.succeed("late"))
      console.log(await Effect.runPromise(hanging), await Effect.runPromise(hanging))`)
    assert.deepStrictEqual(ended, [0, "late late", ""])
  })

  it.live("a timer that was taken away, as fake timers are, is made good by the next call", () =>
    Effect.gen(function* () {
      const real = globalThis.setTimeout
      // Started for a deadline that comes before all others, and never over.
      globalThis.setTimeout = (() => ({ unref() {}, ref() {} })) as unknown as typeof setTimeout
      yield* bounded(Effect.yieldNow, 10, late)
      globalThis.setTimeout = real
      yield* Effect.sleep(50)
      assert.deepStrictEqual(yield* Effect.result(bounded(Effect.never, 30, late)), Result.fail("late"))
    })
  )
})

describe("the timer behind it", () => {
  it.effect("is started anew for a nearer deadline alone, and once more for what is left", () =>
    Effect.gen(function* () {
      const { counted, counts } = yield* countingClock
      const wait = (millis: number) =>
        Effect.forkChild(
          Effect.provideService(Effect.result(bounded(Effect.never, millis, late)), Clock.Clock, counted),
          { startImmediately: true }
        )
      const fibers = [yield* wait(1000), yield* wait(500), yield* wait(800), yield* wait(2000)]
      assert.deepStrictEqual(counts, { begun: 2, lasting: 1 })
      yield* TestClock.adjust(3000)
      // One each for 800, 1000 and 2000.
      assert.deepStrictEqual(counts, { begun: 5, lasting: 0 })
      for (const fiber of fibers) assert.deepStrictEqual(yield* Fiber.join(fiber), Result.fail("late"))
    })
  )

  it.effect("should it fail, the next to wait starts another, for those before as well", () =>
    Effect.gen(function* () {
      const { counted } = yield* countingClock
      let begun = 0
      const failing: Clock.Clock = {
        ...counted,
        sleep: (duration) => (++begun === 1 ? Effect.die("no sleep") : counted.sleep(duration))
      }
      const wait = Effect.forkChild(
        Effect.provideService(Effect.result(bounded(Effect.never, 1000, late)), Clock.Clock, failing),
        { startImmediately: true }
      )
      const fibers = [yield* wait, yield* wait]
      yield* TestClock.adjust(1000)
      assert.strictEqual(begun, 2)
      for (const fiber of fibers) assert.deepStrictEqual(yield* Fiber.join(fiber), Result.fail("late"))
    })
  )

  it.effect("whoever comes and goes in whatever order, once or twice, each is late at its time and none is left", () =>
    Effect.gen(function* () {
      const { counted, counts } = yield* countingClock
      let state = 7
      const random = (below: number) => (state = (state * 48_271) % 2_147_483_647) % below
      const began = yield* Clock.currentTimeMillis
      const asked: Array<(effect: Effect.Effect<string, string>) => void> = []
      const fibers: Array<readonly [fiber: Fiber.Fiber<unknown>, due: number]> = []
      for (let round = 0; round < 300; round++) {
        for (let n = random(4); n > 0; n--) {
          const millis = 1 + random(400)
          const due = (yield* Clock.currentTimeMillis) + millis
          const fiber = yield* Effect.forkChild(
            Effect.result(
              boundedAnswer<string, string>(
                (answer) => {
                  asked.push(answer)
                  return () => {}
                },
                millis,
                late
              )
            ).pipe(
              Effect.flatMap((result) => Effect.map(Clock.currentTimeMillis, (now) => ({ result, now }))),
              Effect.provideService(Clock.Clock, counted)
            ),
            { startImmediately: true }
          )
          fibers.push([fiber, due])
        }
        // Some answer, and some of those not for the first time, or too late.
        for (let n = random(40); n > 0 && asked.length > 0; n--) asked[random(asked.length)]!(Effect.succeed("answer"))
        yield* TestClock.adjust(random(60))
      }
      yield* TestClock.adjust(1000)
      assert.strictEqual(counts.lasting, 0)
      let late_ = 0
      for (const [fiber, due] of fibers) {
        const { now, result } = (yield* Fiber.join(fiber)) as { readonly result: unknown; readonly now: number }
        if (Result.isResult(result) && Result.isSuccess(result)) assert.isBelow(now, due + 1)
        else {
          late_++
          assert.strictEqual(now, due)
        }
      }
      assert.isAbove(late_, 100)
      assert.isAbove(fibers.length - late_, 50)
      assert.isAbove((yield* Clock.currentTimeMillis) - began, 5000)
    })
  )
})

describe("bounded", () => {
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

  it.effect("[R79] answers late at its own deadline, whoever waits besides, and in whatever order they came", () =>
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

  it.effect("whoever was late may wait again from there", () =>
    Effect.gen(function* () {
      const again = Effect.andThen(timed(Effect.never, 100), timed(Effect.never, 50))
      const fibers = [yield* Effect.forkChild(again), yield* Effect.forkChild(timed(Effect.never, 1000))]
      yield* TestClock.adjust(2000)
      assert.deepStrictEqual(yield* Fiber.join(fibers[0]!), { outcome: "late", after: 50 })
      assert.deepStrictEqual(yield* Fiber.join(fibers[1]!), { outcome: "late", after: 1000 })
    })
  )

  it.effect("sleeps once for all who wait, and not at all when nobody does", () =>
    Effect.gen(function* () {
      const { counted, counts } = yield* countingClock
      const waiting = yield* Effect.forEach(Array.from({ length: 50 }), () =>
        Effect.forkChild(Effect.provideService(timed(Effect.as(Effect.sleep(10), "done"), 1000), Clock.Clock, counted))
      )
      yield* Effect.yieldNow
      // Fifty of their own, and one for all deadlines.
      assert.deepStrictEqual(counts, { begun: 51, lasting: 51 })
      yield* TestClock.adjust(10)
      for (const fiber of waiting) assert.strictEqual((yield* Fiber.join(fiber)).outcome, "done")
      assert.deepStrictEqual(counts, { begun: 51, lasting: 0 })
    })
  )

  it.effect("[R79] whoever throws when told that it is late keeps nobody else waiting", () =>
    Effect.gen(function* () {
      const thrown: Array<unknown> = []
      const listeners = process.listeners("uncaughtException")
      process.removeAllListeners("uncaughtException")
      process.on("uncaughtException", (error) => thrown.push(error.message))
      const context = yield* Effect.context<never>()
      const throwing = Effect.runForkWith(context)(Effect.exit(bounded(Effect.never, 50, late)))
      throwing.addObserver(() => {
        throw new Error("an observer's own")
      })
      const others = yield* Effect.forEach([50, 80, 200], (millis) => Effect.forkChild(timed(Effect.never, millis)))
      yield* TestClock.adjust(100)
      const later = yield* Effect.forkChild(timed(Effect.never, 100))
      yield* TestClock.adjust(500)
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      process.removeAllListeners("uncaughtException")
      for (const listener of listeners) process.on("uncaughtException", listener)
      assert.deepStrictEqual(thrown, ["an observer's own"])
      const outcomes: Array<unknown> = []
      for (const fiber of [...others, later]) outcomes.push((yield* Fiber.join(fiber)).after)
      assert.deepStrictEqual(outcomes, [50, 80, 200, 100])
    })
  )

  it.effect("what was slept for has come, though the clock be a little behind", () =>
    Effect.gen(function* () {
      const { counted } = yield* countingClock
      // Its sleeps are over one nanosecond before its time says so.
      const early: Clock.Clock = {
        ...counted,
        monotonicTimeNanosUnsafe: () => {
          const now = counted.monotonicTimeNanosUnsafe()
          return now === BigInt(0) ? now : now - BigInt(1)
        }
      }
      const fiber = yield* Effect.forkChild(
        Effect.result(bounded(Effect.never, 1000, late)).pipe(Effect.provideService(Clock.Clock, early))
      )
      yield* TestClock.adjust(1000)
      assert.isDefined(fiber.pollUnsafe())
    })
  )

  it.effect("goes by the monotonic clock: one that is set back holds nobody up", () =>
    Effect.gen(function* () {
      const { counted } = yield* countingClock
      const set = { ...counted, currentTimeMillisUnsafe: () => -3_600_000 }
      const fiber = yield* Effect.forkChild(
        Effect.result(bounded(Effect.never, 1000, late)).pipe(Effect.provideService(Clock.Clock, set))
      )
      yield* TestClock.adjust(999)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.isDefined(fiber.pollUnsafe())
    })
  )
})
