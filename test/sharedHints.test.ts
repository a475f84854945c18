/** One subscription of a store for all who subscribe to a backend, under a clock that the test moves. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Queue, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as SharedHints from "../src/internal/backend/sharedHints.ts"
import { settle } from "./support/waiting.ts"

/** A store whose messages come back at once, unless it is told otherwise. */
const store = () => {
  const queues: Array<Queue.Queue<string, string>> = []
  const state = { opened: 0, closed: 0, probes: 0, mayPublish: true, isDeaf: false, hangs: false }
  const source: SharedHints.Source<string, string> = {
    open: Effect.acquireRelease(
      Effect.suspend(() => {
        state.opened++
        if (state.hangs) return Effect.never
        return Effect.tap(Queue.unbounded<string, string>(), (queue) => Effect.sync(() => void queues.push(queue)))
      }),
      () => Effect.sync(() => void state.closed++)
    ),
    probe: Effect.sync(() => {
      if (!state.mayPublish) return false
      state.probes++
      if (!state.isDeaf) for (const queue of queues) Queue.offerUnsafe(queue, "")
      return true
    }),
    parse: (message) => (message === "" ? [] : [{ namespace: "n", id: message }]),
    failure: (error) => Effect.succeed(SharedHints.failed(error))
  }
  const publish = (message: string) => {
    for (const queue of queues) Queue.offerUnsafe(queue, message)
  }
  return { source, state, queues, publish }
}

describe("one subscription for all", () => {
  it.effect("opens with the first, closes after the last, and opens anew", () =>
    Effect.gen(function* () {
      const { source, state } = store()
      const { subscribe } = yield* SharedHints.make(source)
      yield* settle
      assert.strictEqual(state.opened, 0)
      for (const times of [1, 2]) {
        yield* Effect.scoped(Effect.all([subscribe, subscribe, subscribe], { concurrency: 3 }))
        yield* settle
        assert.deepStrictEqual([state.opened, state.closed], [times, times])
      }
    })
  )

  it.effect("closes with the layer, and fails the queues that are left", () =>
    Effect.gen(function* () {
      const { source, state } = store()
      const outer = yield* Effect.scope
      const left = yield* Effect.scoped(
        Effect.flatMap(SharedHints.make(source), ({ subscribe }) => Scope.provide(subscribe, outer))
      )
      assert.strictEqual(state.closed, 1)
      assert.strictEqual((yield* Effect.flip(Queue.take(left))).operation, "ended")
    })
  )

  it.effect("a subscriber that takes nothing loses the oldest, and holds up nobody", () =>
    Effect.gen(function* () {
      const { publish, source } = store()
      const { subscribe } = yield* SharedHints.make(source)
      const [idle, busy] = [yield* subscribe, yield* subscribe]
      for (let i = 0; i < 3000; i++) {
        publish(String(i))
        assert.strictEqual((yield* Queue.take(busy)).id, String(i))
      }
      const kept = yield* Queue.takeAll(idle)
      assert.lengthOf(kept, 1024)
      assert.strictEqual(kept.at(-1)?.id, "2999")
    })
  )

  it.effect("asks after 15 seconds of silence whether it stands, and not while others are heard", () =>
    Effect.gen(function* () {
      const { publish, source, state } = store()
      const { subscribe } = yield* SharedHints.make(source)
      const hints = yield* subscribe
      const before = state.probes
      for (let i = 0; i < 10; i++) {
        yield* TestClock.adjust("10 seconds")
        publish("a")
        yield* Queue.take(hints)
      }
      assert.strictEqual(state.probes, before)
      yield* TestClock.adjust("16 seconds")
      assert.strictEqual(state.probes, before + 1)
      // It has been heard.
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(state.probes, before + 1)
      publish("b")
      assert.strictEqual((yield* Queue.take(hints)).id, "b")
    })
  )

  it.effect("fails every queue where it does not hear itself, and the next subscribes anew", () =>
    Effect.gen(function* () {
      const { publish, source, state } = store()
      const { subscribe } = yield* SharedHints.make(source)
      const queues = [yield* subscribe, yield* subscribe]
      state.isDeaf = true
      yield* TestClock.adjust("19 seconds")
      for (const queue of queues) assert.strictEqual((yield* Effect.flip(Queue.take(queue))).operation, "ended")
      const refused = yield* Effect.forkChild(Effect.flip(Effect.scoped(subscribe)))
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual((yield* Fiber.join(refused)).cause, { _tag: "SubscriptionTimeout" })
      state.isDeaf = false
      const again = yield* subscribe
      publish("a")
      assert.strictEqual((yield* Queue.take(again)).id, "a")
      assert.strictEqual(state.opened - state.closed, 1)
    })
  )

  it.effect("without the right to publish it stands unasked", () =>
    Effect.gen(function* () {
      const { publish, source, state } = store()
      state.mayPublish = false
      const { subscribe } = yield* SharedHints.make(source)
      const hints = yield* subscribe
      yield* TestClock.adjust("1 hour")
      publish("a")
      assert.strictEqual((yield* Queue.take(hints)).id, "a")
      assert.strictEqual(state.opened, 1)
    })
  )

  it.effect("no subscriber waits for one that hangs, nor do more than three hang at once", () =>
    Effect.gen(function* () {
      const { source, state } = store()
      state.hangs = true
      const { subscribe } = yield* SharedHints.make(source)
      for (let i = 0; i < 20; i++) {
        const refused = yield* Effect.forkChild(Effect.exit(Effect.scoped(subscribe)))
        yield* TestClock.adjust("3 seconds")
        assert.isTrue(Exit.isFailure(yield* Fiber.join(refused)))
      }
      assert.strictEqual(state.opened, 3)
    })
  )

  it.effect("a defect of the client fails the queues", () =>
    Effect.gen(function* () {
      const { queues, source } = store()
      const { subscribe } = yield* SharedHints.make({
        ...source,
        parse: (message) => {
          if (message === "boom") throw new Error("boom")
          return []
        }
      })
      const hints = yield* subscribe
      Queue.offerUnsafe(queues[0]!, "boom")
      assert.strictEqual((yield* Effect.flip(Queue.take(hints))).operation, "ended")
    })
  )
})
