/** How those who wait for the end of a session look at it: together, after each hint, and without hints. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Effect, Exit, Queue, Redacted, Scope } from "effect"
import { TestClock } from "effect/testing"
import { SessionBackendError } from "../../src/SessionBackend.ts"
import type { EndedHint } from "../../src/SessionBackend.ts"
import { ahead } from "../support/aheadClock.ts"
import { capturing, silent } from "../support/logs.ts"
import { managerOn } from "../support/onManager.ts"
import { outcome } from "../support/outcome.ts"
import type * as Stack from "../support/stack.ts"
import { ada, UserSession } from "../support/userSession.ts"
import { pass, settle, waitFor } from "../support/waiting.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

type Subscription = NonNullable<Stack.Backend["ended"]>

/** A backend whose subscription is the test's, and a manager on it. */
const make = Effect.fnUntraced(function* (ended?: (memory: Stack.Backend) => Subscription | undefined) {
  const backend = WatchedBackend.make(
    ended === undefined ? {} : { replace: (memory) => ({ ended: ended(memory) }) as Partial<Stack.Backend> }
  )
  const manager = yield* managerOn(backend)
  const session = yield* manager.create(ada)
  backend.calls.length = 0
  return { backend, manager, session }
})

/** Deletes a record past everybody, so that no hint is sent but by a subscription of the memory's own. */
const deletion = (backend: WatchedBackend.WatchedBackend, id: string) => backend.service.delete(UserSession.key, id)

/** The clock at hand, and how often it was asked for the time of day: by each who waits whenever they wake. */
const countingClock = Clock.clockWith((clock) => {
  const count = { asked: 0 }
  const counting: Clock.Clock = {
    ...clock,
    currentTimeMillisUnsafe: () => {
      count.asked++
      return clock.currentTimeMillisUnsafe()
    }
  }
  return Effect.succeed({ clock: counting, count })
})

const broken = new SessionBackendError({ operation: "ended", outcome: "notApplied", cause: new Error("reset") })

describe("looks at a session", () => {
  it.effect("are made for all who wait for it together, one each 20 to 30 seconds", () =>
    Effect.gen(function* () {
      const { backend, manager, session } = yield* make()
      const all = yield* Effect.forEach(Array.from({ length: 50 }), () => waitFor(manager.ended(session)))
      backend.calls.length = 0
      for (let minute = 0; minute < 10; minute++) yield* pass(60)
      assert.isAtLeast(backend.count("read"), 600 / 31)
      assert.isAtMost(backend.count("read"), 600 / 19)
      backend.calls.length = 0
      yield* manager.destroy(session.token)
      yield* settle
      assert.strictEqual(backend.count("read"), 1)
      assert.deepStrictEqual([...new Set(all.map(({ told }) => told()))], ["SessionInvalid NotFound"])
    })
  )

  it.effect("that bring no news cost nothing to those who wait already", () =>
    Effect.gen(function* () {
      const { backend, manager, session } = yield* make()
      const { clock, count } = yield* countingClock
      const counted = Effect.provideService(manager.ended(session), Clock.Clock, clock)
      const waiting = yield* Effect.forEach(Array.from({ length: 20 }), () => waitFor(counted))
      count.asked = 0
      for (let i = 0; i < 20; i++) yield* (yield* waitFor(manager.ended(session))).leave
      assert.deepStrictEqual([backend.count("read"), count.asked], [40, 0])
      yield* manager.destroy(session.token)
      yield* settle
      assert.deepStrictEqual([...new Set(waiting.map(({ told }) => told()))], ["SessionInvalid NotFound"])
    })
  )

  it.effect("are two at most where many begin to wait during one", () =>
    Effect.gen(function* () {
      const { backend, manager, session } = yield* make()
      const held: Array<() => void> = []
      backend.wire = (operation, run) =>
        operation === "read"
          ? Effect.andThen(
              Effect.callback<void>((resume) => void held.push(() => resume(Effect.void))),
              run
            )
          : run
      for (let i = 0; i < 20; i++) yield* waitFor(manager.ended(session))
      assert.strictEqual(held.length, 1)
      held.shift()!()
      yield* settle
      held.shift()!()
      yield* settle
      assert.deepStrictEqual([held.length, backend.count("read")], [0, 2])
    })
  )

  it.effect("of those who began together are spread", () =>
    Effect.gen(function* () {
      const { backend, manager } = yield* make()
      for (let i = 0; i < 90; i++) yield* waitFor(manager.ended(yield* manager.create(ada)))
      const times: Array<number> = []
      yield* pass(19)
      for (let second = 0; second < 12; second++) {
        backend.calls.length = 0
        yield* pass(1)
        times.push(backend.count("read"))
      }
      assert.strictEqual(
        times.reduce((a, b) => a + b),
        90
      )
      assert.isAtMost(Math.max(...times), 30, times.join())
    })
  )

  it.effect("end with those who wait: one who is interrupted leaves nothing behind", () =>
    Effect.gen(function* () {
      const { backend, manager, session } = yield* make()
      const first = yield* waitFor(manager.ended(session))
      const second = yield* waitFor(manager.ended(session))
      yield* first.leave
      backend.calls.length = 0
      yield* pass(31)
      assert.strictEqual(backend.count("read"), 1)
      yield* second.leave
      backend.calls.length = 0
      yield* pass(300)
      yield* manager.destroy(session.token)
      yield* settle
      assert.deepStrictEqual(backend.operations, ["delete"])
    })
  )

  it.effect("that are under way are interrupted when the last who waits leaves", () =>
    Effect.gen(function* () {
      const { backend, manager, session } = yield* make()
      const calls = { open: 0 }
      backend.wire = (operation, run) =>
        operation === "read"
          ? Effect.acquireUseRelease(
              Effect.sync(() => calls.open++),
              () => Effect.never,
              () => Effect.sync(() => calls.open--)
            )
          : run
      const first = yield* waitFor(manager.ended(session))
      const second = yield* waitFor(manager.ended(session))
      yield* first.leave
      yield* settle
      assert.strictEqual(calls.open, 1)
      yield* second.leave
      yield* settle
      assert.strictEqual(calls.open, 0)
    })
  )

  it.effect("go on for the others where the one who began it leaves", () =>
    Effect.gen(function* () {
      const { backend, manager, session } = yield* make()
      const first = yield* waitFor(manager.ended(session))
      const second = yield* waitFor(manager.ended(session))
      let go = () => {}
      backend.wire = (operation, run) =>
        operation === "read"
          ? Effect.tap(run, () => Effect.callback<void>((resume) => void (go = () => resume(Effect.void))))
          : run
      yield* manager.destroy(session.token)
      yield* settle
      yield* first.leave
      go()
      yield* settle
      assert.deepStrictEqual([first.told(), second.told()], ["interrupted", "SessionInvalid NotFound"])
    })
  )

  it.effect("that never come, since the request that began one is gone, are made by another", () =>
    Effect.gen(function* () {
      const { backend, manager, session } = yield* make(() => undefined)
      const clock = yield* Clock.clockWith(Effect.succeed)
      // As on Workers: no timer of that request goes off any more.
      const stopped = Effect.provideService(Clock.Clock, { ...clock, sleep: () => Effect.never })
      backend.wire = (operation, run) => (operation === "read" ? Effect.never : run)
      yield* waitFor(stopped(manager.ended(session)))
      const { told } = yield* waitFor(manager.ended(session))
      backend.wire = (_, run) => run
      yield* deletion(backend, session.id)
      yield* pass(4)
      assert.strictEqual(told(), "SessionInvalid NotFound")
    })
  )

  it.effect("count for nobody who came after they had begun", () =>
    Effect.gen(function* () {
      const { backend, manager, session } = yield* make(() => undefined)
      let go = () => {}
      backend.wire = (operation, run) =>
        operation === "read"
          ? Effect.tap(run, () => Effect.callback<void>((resume) => void (go = () => resume(Effect.void))))
          : run
      const old = yield* waitFor(manager.ended(session))
      backend.wire = (_, run) => run
      // The look has read the record from before the rotation, and of one who comes now the line is another.
      const rotated = yield* manager.rotate(session)
      const fresh = yield* waitFor(manager.ended(rotated))
      go()
      yield* settle
      yield* pass(10)
      assert.deepStrictEqual([old.told(), fresh.told()], ["SessionInvalid NotFound", undefined])
    })
  )
})

describe("hints", () => {
  it.effect("during a look cause one more", () =>
    Effect.gen(function* () {
      const { backend, manager, session } = yield* make()
      let isDeleted = false
      backend.wire = (operation, run) =>
        operation !== "read" || isDeleted
          ? run
          : Effect.tap(run, () => {
              // Between the read and its answer.
              isDeleted = true
              return Effect.andThen(deletion(backend, session.id), settle)
            })
      const { told } = yield* waitFor(manager.ended(session))
      yield* settle
      assert.strictEqual(backend.count("read"), 2)
      assert.strictEqual(told(), "SessionInvalid NotFound")
    })
  )

  it.effect("during a look wake those who wait once, however many they are", () =>
    Effect.gen(function* () {
      const queues: Array<Queue.Queue<EndedHint, SessionBackendError>> = []
      const { backend, manager, session } = yield* make(() =>
        Effect.tap(Queue.unbounded<EndedHint, SessionBackendError>(), (queue) => Effect.sync(() => queues.push(queue)))
      )
      const { clock, count } = yield* countingClock
      const counted = Effect.provideService(manager.ended(session), Clock.Clock, clock)
      const waiting = yield* Effect.forEach(Array.from({ length: 20 }), () => waitFor(counted))
      let resume = () => {}
      backend.wire = (operation, run) =>
        operation === "read"
          ? Effect.andThen(
              Effect.callback<void>((done) => {
                resume = () => done(Effect.void)
              }),
              run
            )
          : run
      count.asked = 0
      for (let i = 0; i < 100; i++) {
        Queue.offerUnsafe(queues[0]!, { namespace: UserSession.key, id: session.id })
        yield* settle
      }
      assert.isAtMost(count.asked, 100)
      yield* deletion(backend, session.id)
      for (let i = 0; i < 2; i++) {
        resume()
        yield* settle
      }
      assert.deepStrictEqual([...new Set(waiting.map(({ told }) => told()))], ["SessionInvalid NotFound"])
    })
  )

  it.effect("are asked for before the first look, so that no end falls in between", () =>
    Effect.gen(function* () {
      const order: Array<string> = []
      const created = { id: "" }
      const { backend, manager, session } = yield* make((memory) =>
        // As over a network: it takes some time.
        Effect.tap(Effect.andThen(settle, memory.ended!), () => {
          order.push("subscribed")
          return memory.delete(UserSession.key, created.id)
        })
      )
      created.id = session.id
      backend.wire = (operation, run) => {
        order.push(operation)
        return run
      }
      const { told } = yield* waitFor(manager.ended(session))
      yield* settle
      assert.deepStrictEqual([order, told()], [["subscribed", "read"], "SessionInvalid NotFound"])
    })
  )

  it.effect("need not be waited for any longer once they are subscribed to, or are not to be had", () =>
    Effect.gen(function* () {
      for (const fails of [false, true]) {
        const { backend, manager, session } = yield* make((memory) =>
          Effect.andThen(settle, fails ? Effect.fail(broken) : memory.ended!)
        )
        yield* deletion(backend, session.id)
        const { told } = yield* waitFor(manager.ended(session))
        yield* settle
        // No time has passed.
        assert.strictEqual(told(), "SessionInvalid NotFound")
      }
    }).pipe(Effect.provide(silent))
  )

  it.effect("of other sessions and namespaces cause no look, and hints in any number one look each", () =>
    Effect.gen(function* () {
      const queues: Array<Queue.Queue<EndedHint, SessionBackendError>> = []
      const { backend, manager, session } = yield* make(() =>
        Effect.tap(Queue.unbounded<EndedHint, SessionBackendError>(), (queue) => Effect.sync(() => queues.push(queue)))
      )
      const { told } = yield* waitFor(manager.ended(session))
      backend.calls.length = 0
      const [queue] = queues
      Queue.offerUnsafe(queue!, { namespace: `${UserSession.key}/fence`, id: session.id })
      Queue.offerUnsafe(queue!, { namespace: UserSession.key, id: "another" })
      yield* settle
      assert.strictEqual(backend.count("read"), 0)
      for (let i = 0; i < 1000; i++) Queue.offerUnsafe(queue!, { namespace: UserSession.key, id: session.id })
      yield* settle
      assert.isAtMost(backend.count("read"), 2)
      assert.isUndefined(told())
    })
  )

  it.effect("come by one subscription, which is given back a minute or two after the last has left", () =>
    Effect.gen(function* () {
      const open = { now: 0, ever: 0 }
      const { manager, session } = yield* make((memory) =>
        Effect.andThen(
          Effect.acquireRelease(
            Effect.sync(() => {
              open.now++
              open.ever++
            }),
            () => Effect.sync(() => open.now--)
          ),
          memory.ended!
        )
      )
      yield* manager.resolve(session.token)
      assert.deepStrictEqual(open, { now: 0, ever: 0 })
      const all = yield* Effect.forEach(Array.from({ length: 10 }), () => waitFor(manager.ended(session)))
      yield* pass(300)
      assert.deepStrictEqual(open, { now: 1, ever: 1 })
      for (const { leave } of all) yield* leave
      yield* pass(59)
      const last = yield* waitFor(manager.ended(session))
      yield* last.leave
      yield* pass(59)
      assert.deepStrictEqual(open, { now: 1, ever: 1 })
      yield* pass(70)
      assert.deepStrictEqual(open, { now: 0, ever: 1 })
      const { told } = yield* waitFor(manager.ended(session))
      assert.deepStrictEqual(open, { now: 1, ever: 2 })
      yield* manager.destroy(session.token)
      yield* settle
      assert.strictEqual(told(), "SessionInvalid NotFound")
    })
  )

  it.effect("are given up with the manager's scope, even where the store hangs", () =>
    Effect.gen(function* () {
      const isOpen = { now: false }
      const backend = WatchedBackend.make({
        replace: (memory) => ({
          ended: Effect.andThen(
            Effect.acquireRelease(
              Effect.sync(() => (isOpen.now = true)),
              () =>
                Effect.andThen(
                  Effect.sync(() => (isOpen.now = false)),
                  Effect.never
                )
            ),
            memory.ended!
          )
        })
      })
      const scope = yield* Scope.make()
      const manager = yield* Scope.provide(managerOn(backend), scope)
      yield* waitFor(manager.ended(yield* manager.create(ada)))
      assert.isTrue(isOpen.now)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* pass(2)
      assert.isFalse(isOpen.now)
      assert.isDefined(closing.pollUnsafe())
    })
  )
})

describe("without hints", () => {
  it.effect("from a backend that has none, an end is found within 30 seconds", () =>
    Effect.gen(function* () {
      const { backend, manager, session } = yield* make(() => undefined)
      const { told } = yield* waitFor(manager.ended(session))
      assert.strictEqual(backend.count("read"), 1)
      yield* deletion(backend, session.id)
      yield* pass(19)
      assert.isUndefined(told())
      yield* pass(12)
      assert.strictEqual(told(), "SessionInvalid NotFound")
    })
  )

  it.effect("an end is found within 30 seconds where the time of day is set back, or put forward", () =>
    Effect.gen(function* () {
      for (const jump of [-3600, -20, 20]) {
        const { backend, manager, session } = yield* make(() => undefined)
        const by = { millis: 0 }
        const waiting = yield* waitFor(ahead(by)(manager.ended(session)))
        yield* pass(1)
        by.millis = jump * 1000
        yield* deletion(backend, session.id)
        yield* pass(30)
        assert.strictEqual(waiting.told(), "SessionInvalid NotFound", `${jump} s`)
      }
    })
  )

  it.effect("after the subscription was lost an end is found within 30 seconds, and there are hints again", () =>
    Effect.gen(function* () {
      const losses: Record<string, (queue: Queue.Queue<EndedHint, SessionBackendError>) => unknown> = {
        failed: (queue) => Queue.failCauseUnsafe(queue, Cause.fail(broken)),
        died: (queue) => Queue.failCauseUnsafe(queue, Cause.die(new Error("secret of a driver"))),
        "shut down": (queue) => Queue.shutdownUnsafe(queue)
      }
      for (const [how, lose] of Object.entries(losses)) {
        const lines: Array<string> = []
        yield* Effect.gen(function* () {
          const queues: Array<Queue.Queue<EndedHint, SessionBackendError>> = []
          let isDown = false
          const { backend, manager, session } = yield* make(() =>
            Effect.suspend(() =>
              isDown
                ? Effect.fail(broken)
                : Effect.tap(Queue.unbounded<EndedHint, SessionBackendError>(), (queue) =>
                    Effect.sync(() => queues.push(queue))
                  )
            )
          )
          const { told } = yield* waitFor(manager.ended(session))
          const another = yield* manager.create(ada)
          const other = yield* waitFor(manager.ended(another))
          isDown = true
          lose(queues[0]!)
          yield* deletion(backend, session.id)
          yield* pass(31)
          assert.deepStrictEqual([told(), other.told()], ["SessionInvalid NotFound", undefined], how)
          isDown = false
          yield* pass(6)
          assert.strictEqual(queues.length, 2, how)
          yield* deletion(backend, another.id)
          yield* settle
          assert.isUndefined(other.told())
          Queue.offerUnsafe(queues[1]!, { namespace: UserSession.key, id: another.id })
          yield* settle
          assert.strictEqual(other.told(), "SessionInvalid NotFound", how)
          // After a time in which it stood it is asked for at once.
          yield* pass(20)
          lose(queues[1]!)
          yield* pass(1)
          assert.strictEqual(queues.length, 3, how)
        }).pipe(Effect.provide(capturing(lines)))
        const logged = lines.filter((line) => line.startsWith("timestamp=") && line.includes("operation=ended"))
        assert.strictEqual(logged.length, 2, how)
        assert.notInclude(lines.join(), "secret of a driver")
      }
    })
  )

  it.effect("where it cannot subscribe it looks all the same, and tries again with rests", () =>
    Effect.gen(function* () {
      const rows: Record<string, readonly [Subscription, seconds: number, least: number, most: number]> = {
        fails: [Effect.fail(broken), 0, 12, 40],
        dies: [Effect.die(new Error("a driver")), 0, 12, 40],
        hangs: [Effect.never, 2, 4, 8],
        "hangs, and cannot be interrupted": [Effect.uninterruptible(Effect.never), 2, 4, 8]
      }
      for (const [how, [ended, seconds, least, most]] of Object.entries(rows)) {
        const tries: Array<number> = []
        const { backend, manager, session } = yield* make(() =>
          Effect.flatMap(Clock.currentTimeMillis, (now) => {
            tries.push(now)
            return ended
          })
        )
        yield* deletion(backend, session.id)
        const gone = yield* waitFor(manager.ended(session))
        yield* pass(seconds)
        assert.strictEqual(gone.told(), "SessionInvalid NotFound", how)
        const { told } = yield* waitFor(manager.ended(yield* manager.create(ada)))
        yield* pass(60)
        assert.isUndefined(told())
        assert.isAtLeast(tries.length, least, how)
        assert.isAtMost(tries.length, most, how)
        // Processes that lost it together do not come back together.
        assert.strictEqual(new Set(tries.map((now, i) => now - tries[i - 1]!)).size, tries.length, how)
      }
    }).pipe(Effect.provide(silent))
  )
})

describe("a copy of a session, which the manager did not make", () => {
  it.effect("is found by its token, and waited for like any other", () =>
    Effect.gen(function* () {
      const { backend, manager, session } = yield* make()
      const copy = { ...session }
      const { told } = yield* waitFor(manager.ended(copy))
      yield* pass(61)
      assert.deepStrictEqual([told(), [...new Set(backend.operations)]], [undefined, ["read"]])
      const rotated = yield* manager.rotate(session)
      yield* settle
      assert.strictEqual(told(), "SessionInvalid NotFound")
      const after = yield* waitFor(manager.ended({ ...rotated }))
      const before = yield* waitFor(manager.ended(copy))
      assert.deepStrictEqual([after.told(), before.told()], [undefined, "SessionInvalid NotFound"])
    })
  )

  it.effect("with a token that a scheduled rotation has replaced is no stolen copy of it", () =>
    Effect.gen(function* () {
      const manager = yield* managerOn(WatchedBackend.make(), { rotateEvery: "5 minutes" })
      const session = yield* manager.create(ada)
      yield* TestClock.adjust("6 minutes")
      const rotated = yield* manager.resolve(session.token, { rotate: true })
      yield* manager.resolve(rotated.token)
      yield* TestClock.adjust("2 minutes")
      const { told } = yield* waitFor(manager.ended({ ...session }))
      yield* pass(31)
      assert.isUndefined(told())
      assert.strictEqual(yield* outcome(manager.resolve(rotated.token)), "ok")
      yield* manager.destroy(rotated.token)
      yield* settle
      assert.strictEqual(told(), "SessionInvalid NotFound")
    })
  )

  it.effect("with a token of another kind ends at once", () =>
    Effect.gen(function* () {
      const { manager, session } = yield* make()
      const { told } = yield* waitFor(manager.ended({ ...session, token: Redacted.make("x") }))
      assert.strictEqual(told(), "SessionInvalid Malformed")
    })
  )
})
