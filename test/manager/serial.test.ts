/** Taking turns, and being taken along in another's. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import * as Serial from "../../src/internal/manager/serial.ts"

interface Job {
  readonly name: string
  readonly answer: (exit: Exit.Exit<string, string>) => void
}

type Run = ReturnType<typeof Serial.make<Job, number, string>>
type Line = Serial.Queue<Job, number>

const make = () =>
  Serial.make<Job, number, string>(1000, { notApplied: Exit.fail("late"), unknown: Exit.fail("unknown") })

/** A turn that does `f`, and answers its own job. */
const enter = (run: Run, name: string, f: (line: Line) => Effect.Effect<unknown> = () => Effect.void, key = "a") =>
  run<string>(
    key,
    (answer) => ({ name, answer }),
    (job, line) => Effect.map(f(line), () => job.answer(Exit.succeed(name)))
  )

const fork = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(Effect.exit(effect), { startImmediately: true })

/** Writes down when a turn began, and lasts so many milliseconds. */
const logging = (log: Array<string>, name: string, millis = 10) =>
  Effect.gen(function* () {
    log.push(`${name} ${yield* Clock.currentTimeMillis}`)
    yield* Effect.sleep(millis)
  })

/** Takes all that wait, for so many milliseconds, and answers them. */
const takingAll = (line: Line, millis: number) =>
  Effect.gen(function* () {
    const taken = [...line.waiting]
    for (const one of taken) one.isTaken = true
    yield* Effect.sleep(millis)
    for (const { job } of taken) job.answer(Exit.succeed(`${job.name} by another`))
  })

describe("serial", () => {
  it.effect("[R70] runs what has one key one after the other, in order, and other keys beside it", () =>
    Effect.gen(function* () {
      const run = make()
      const log: Array<string> = []
      const fibers = yield* Effect.forEach(["a1", "a2", "b1", "a3"], (name) =>
        fork(enter(run, name, () => logging(log, name), name[0]))
      )
      for (let i = 0; i < 4; i++) yield* TestClock.adjust(10)
      yield* Effect.forEach(fibers, Fiber.join)
      assert.deepStrictEqual(log, ["a1 0", "b1 0", "a2 10", "a3 20"])
    })
  )

  it.effect("hands on the newest value, past a turn that handed on nothing", () =>
    Effect.gen(function* () {
      const run = make()
      const received: Array<number | undefined> = []
      const step = (handsOn: number | undefined) =>
        enter(run, "step", (line) =>
          Effect.sync(() => {
            received.push(line.newest)
            if (handsOn !== undefined) line.newest = handsOn
          }).pipe(Effect.delay(1))
        )
      const fibers = yield* Effect.forEach([1, undefined, 3, 4], (value) => fork(step(value)))
      for (let i = 0; i < 4; i++) yield* TestClock.adjust(1)
      yield* Effect.forEach(fibers, Fiber.join)
      assert.deepStrictEqual(received, [undefined, 1, 1, 3])
      // Nothing is kept once all have ended.
      yield* Effect.all([step(5), TestClock.adjust(1)], { concurrency: 2 })
      assert.strictEqual(received[4], undefined)
    })
  )

  it.effect("[R79] fails late where the turn does not come in time, and gives its place up", () =>
    Effect.gen(function* () {
      const run = make()
      const log: Array<string> = []
      yield* fork(enter(run, "long", () => logging(log, "long", 1500)))
      const tooLate = yield* fork(enter(run, "late", () => logging(log, "late")))
      yield* TestClock.adjust(800)
      const next = yield* fork(enter(run, "next", () => logging(log, "next")))
      yield* TestClock.adjust(200)
      assert.deepStrictEqual(tooLate.pollUnsafe(), Exit.succeed(Exit.fail("late")))
      // Nor does a turn that never ends lock the key: on Workers a cancelled request does not.
      const other = yield* fork(enter(run, "other", () => logging(log, "other")))
      yield* TestClock.adjust(500)
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(yield* Fiber.join(next), Exit.succeed("next"))
      assert.deepStrictEqual(yield* Fiber.join(other), Exit.succeed("other"))
      assert.deepStrictEqual(log, ["long 0", "other 1000", "next 1500"])
    })
  )

  it.effect(
    "[R79] one that is woken for its turn and does not come, as a request that Workers have cancelled, locks no key",
    () =>
      Effect.gen(function* () {
        const run = make()
        yield* fork(enter(run, "first", () => Effect.sleep(300)))
        const { withResolvers } = Promise
        let come = () => {}
        Promise.withResolvers = <T>() => {
          const news = withResolvers.call<PromiseConstructor, [], PromiseWithResolvers<T>>(Promise)
          // A wait is for nothing but that it is over.
          come = news.resolve as () => void
          return { ...news, resolve: () => {} }
        }
        const lost = yield* Effect.ensuring(
          fork(enter(run, "lost")),
          Effect.sync(() => (Promise.withResolvers = withResolvers))
        )
        const late = yield* fork(enter(run, "late"))
        yield* TestClock.adjust(300)
        yield* TestClock.adjust(700)
        assert.deepStrictEqual(late.pollUnsafe(), Exit.succeed(Exit.fail("late")))
        assert.isUndefined(lost.pollUnsafe())
        assert.deepStrictEqual((yield* fork(enter(run, "next"))).pollUnsafe(), Exit.succeed(Exit.succeed("next")))
        come()
        yield* Fiber.join(lost)
      })
  )

  it.effect("[R70] those that were taken are answered, and have no turn; the others have theirs", () =>
    Effect.gen(function* () {
      const run = make()
      const log: Array<string> = []
      const first = yield* fork(enter(run, "first", (line) => Effect.andThen(Effect.sleep(10), takingAll(line, 10))))
      const joined = yield* fork(enter(run, "joined", () => logging(log, "joined")))
      yield* TestClock.adjust(15)
      const next = yield* fork(enter(run, "next", () => logging(log, "next")))
      yield* TestClock.adjust(15)
      const exits = yield* Effect.forEach([first, joined, next], Fiber.join)
      assert.deepStrictEqual(exits, ["first", "joined by another", "next"].map(Exit.succeed))
      assert.deepStrictEqual(log, ["next 20"])
    })
  )

  it.effect("[R79] one that was taken has a quarter more time, and is then told that the outcome is unknown", () =>
    Effect.gen(function* () {
      const run = make()
      yield* fork(enter(run, "first", (line) => Effect.andThen(Effect.sleep(10), takingAll(line, 5000))))
      const joined = yield* fork(enter(run, "joined"))
      yield* TestClock.adjust(10)
      yield* TestClock.adjust(1239)
      assert.isUndefined(joined.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(joined.pollUnsafe(), Exit.succeed(Exit.fail("unknown")))
      yield* TestClock.adjust(5000)
      assert.deepStrictEqual(yield* enter(run, "later"), "later")
    })
  )

  it.effect("[R70] a turn that dies ends like any other, and those that it took have their own", () =>
    Effect.gen(function* () {
      const run = make()
      const done = Deferred.makeUnsafe<void>()
      const failing = yield* fork(
        enter(run, "failing", (line) =>
          Effect.andThen(Deferred.await(done), () => {
            for (const one of line.waiting) one.isTaken = true
            return Effect.die("defect")
          })
        )
      )
      const next = yield* fork(enter(run, "next", () => Effect.sleep(990)))
      const last = yield* fork(enter(run, "last"))
      yield* TestClock.adjust(500)
      Deferred.doneUnsafe(done, Exit.void)
      assert.isTrue(Exit.hasDies(yield* Effect.flatten(Fiber.join(failing).pipe(Effect.map(Effect.exit)))))
      yield* TestClock.adjust(500)
      // It is no longer taken, so it was not applied.
      assert.deepStrictEqual(last.pollUnsafe(), Exit.succeed(Exit.fail("late")))
      yield* TestClock.adjust(500)
      assert.deepStrictEqual(yield* Fiber.join(next), Exit.succeed("next"))
    })
  )

  it.effect("[R70] a turn that throws when it is asked for keeps nobody from the next", () =>
    Effect.gen(function* () {
      const run = make()
      const thrown = yield* Effect.exit(
        enter(run, "throwing", () => {
          throw new Error("thrown")
        })
      )
      assert.isTrue(Exit.hasDies(thrown))
      const next = yield* fork(enter(run, "next"))
      yield* TestClock.adjust(2000)
      assert.deepStrictEqual(yield* Fiber.join(next), Exit.succeed("next"))
    })
  )

  it.effect("a turn that does not answer its own job is a defect, and not a request that hangs", () =>
    Effect.gen(function* () {
      const run = make()
      const exit = yield* Effect.exit(
        run<string>(
          "a",
          (answer) => ({ name: "a", answer }),
          () => Effect.void
        )
      )
      assert.isTrue(Exit.hasDies(exit))
    })
  )

  it.live("[R70] a fiber that yields on the way to the queue does not wait for a turn that has ended", () =>
    Effect.gen(function* () {
      // A fiber yields after 2,048 steps: here at each place on its way, one after the other.
      for (let steps = 2030; steps < 2060; steps++) {
        const run = make()
        const done = Deferred.makeUnsafe<void>()
        const first = Effect.runFork(enter(run, "first", () => Deferred.await(done)))
        let left = steps
        const loop = (): Effect.Effect<string, string> => (left-- > 0 ? Effect.suspend(loop) : enter(run, "ran"))
        const second = Effect.runFork(Effect.suspend(loop))
        Deferred.doneUnsafe(done, Exit.void)
        assert.strictEqual(yield* Fiber.join(second), "ran", `${steps} steps`)
        yield* Fiber.join(first)
        // And the turn is free again.
        assert.strictEqual(yield* enter(run, "again"), "again")
      }
    })
  )
})
