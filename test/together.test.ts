/** Reads that are asked for one by one, and fetched together. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit } from "effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Together from "../src/internal/together.ts"

setFlagsFromString("--expose-gc")
const gc = runInNewContext("gc") as () => void

/** What was fetched, each fetch answered when the test says so. */
const stage = (keys = 64, most = 64, few = 1) => {
  let forks = 0
  const fetches: Array<{ readonly keys: ReadonlyArray<number>; readonly done: Deferred.Deferred<void, string> }> = []
  const fetch = (keys: ReadonlyArray<number>) => {
    if (keys.includes(13)) throw new Error("thirteen")
    const done = Deferred.makeUnsafe<void, string>()
    fetches.push({ keys, done })
    return Deferred.await(done)
  }
  const ask = Together.make({
    fetchOne: (key: number) => Effect.as(fetch([key]), key * 2),
    fetchAll: (keys) =>
      Effect.as(
        fetch(keys),
        keys.map((key) => key * 2)
      ),
    few,
    fork: (effect) => {
      forks++
      return Effect.runFork(effect)
    },
    most: { keys, fetches: most }
  })
  const answers = new Map<number, Exit.Exit<number, string>>()
  return {
    fetches,
    answers,
    forks: () => forks,
    ask: (key: number) => ask(key, (exit) => answers.set(key, exit)),
    askThen: ask,
    end: (index: number, exit: Exit.Exit<void, string> = Exit.void) => Deferred.doneUnsafe(fetches[index]!.done, exit)
  }
}

/** Until everything that was put off to a later turn of the event loop has been done. */
const turn = Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 5)))

const keysOf = ({ fetches }: ReturnType<typeof stage>) => fetches.map(({ keys }) => keys)

describe("together", () => {
  it.live("fetches at once what is asked for alone, and what comes meanwhile together, a turn later", () =>
    Effect.gen(function* () {
      const s = stage()
      s.ask(1)
      assert.deepStrictEqual(keysOf(s), [[1]])
      for (const key of [2, 3, 4]) s.ask(key)
      assert.deepStrictEqual(keysOf(s), [[1]])
      yield* turn
      assert.deepStrictEqual(keysOf(s), [[1], [2, 3, 4]])
      // One for each fetch, and one to wait for the turn.
      assert.strictEqual(s.forks(), 3)
      s.ask(5)
      yield* turn
      assert.deepStrictEqual(keysOf(s), [[1], [2, 3, 4], [5]])
      assert.strictEqual(s.answers.size, 0)
      // In whatever order they come back, each is answered its own.
      s.end(1)
      yield* turn
      assert.deepStrictEqual(
        [...s.answers],
        [2, 3, 4].map((key) => [key, Exit.succeed(key * 2)] as const)
      )
      s.end(0)
      s.end(2)
      yield* turn
      assert.deepStrictEqual(s.answers.get(1), Exit.succeed(2))
      assert.deepStrictEqual(s.answers.get(5), Exit.succeed(10))
      // Nothing is under way any more.
      s.ask(6)
      assert.deepStrictEqual(keysOf(s).at(-1), [6])
    })
  )

  it.live("few are fetched each on its own", () =>
    Effect.gen(function* () {
      const s = stage(64, 64, 3)
      for (const key of [1, 2, 3, 4, 5]) s.ask(key)
      assert.deepStrictEqual(keysOf(s), [[1], [2], [3]])
      yield* turn
      assert.deepStrictEqual(keysOf(s), [[1], [2], [3], [4, 5]])
      // Those that were fetched together count each.
      for (const index of [0, 1, 2]) s.end(index)
      yield* turn
      s.ask(6)
      s.ask(7)
      s.ask(8)
      assert.deepStrictEqual(keysOf(s).slice(4), [[6]])
      yield* turn
      assert.deepStrictEqual(keysOf(s).slice(4), [[6], [7, 8]])
      for (const index of [3, 4, 5]) s.end(index)
      yield* turn
      s.ask(9)
      assert.deepStrictEqual(keysOf(s).slice(6), [[9]])
      assert.strictEqual(s.answers.size, 8)
    })
  )

  it.live("fetches so many at most at a time", () =>
    Effect.gen(function* () {
      const s = stage(3)
      for (let key = 20; key < 29; key++) s.ask(key)
      yield* turn
      assert.deepStrictEqual(keysOf(s), [[20], [21, 22, 23], [24, 25, 26], [27, 28]])
    })
  )

  it.live("has so many fetches under way at most; whoever comes then waits for one to end", () =>
    Effect.gen(function* () {
      const s = stage(2, 2)
      for (const key of [1, 2, 3, 4, 5, 6, 7]) s.ask(key)
      yield* turn
      assert.deepStrictEqual(keysOf(s), [[1], [2, 3]])
      s.end(0, Exit.fail("gone"))
      yield* turn
      assert.deepStrictEqual(keysOf(s), [[1], [2, 3], [4, 5]])
      s.end(1)
      s.end(2)
      yield* turn
      s.end(3)
      yield* turn
      assert.deepStrictEqual(keysOf(s), [[1], [2, 3], [4, 5], [6, 7]])
      assert.deepStrictEqual([...s.answers.keys()], [1, 2, 3, 4, 5, 6, 7])
    })
  )

  it.live("whoever has given up is not fetched for, nor answered, nor kept", () =>
    Effect.gen(function* () {
      const s = stage(4, 1)
      const kept = new Array<WeakRef<object>>()
      /** Asks on behalf of something that is seen to go. */
      const askFor = (key: number) => {
        const big = { key }
        kept.push(new WeakRef(big))
        return s.askThen(key, (exit) => {
          s.answers.set(big.key, exit)
        })
      }
      const first = askFor(1)
      const giveUps = Array.from({ length: 100 }, (_, i) => askFor(20 + i))
      first()
      for (const [i, giveUp] of giveUps.entries()) if (i !== 50) giveUp()
      giveUps.length = 0
      yield* turn
      gc()
      yield* turn
      gc()
      // Of those that stand in the queue a few may be left until there are more of them.
      assert.isBelow(kept.filter((ref) => ref.deref() !== undefined).length, 10)
      s.end(0)
      yield* turn
      s.end(1)
      yield* turn
      assert.deepStrictEqual(keysOf(s), [[1], [70]])
      assert.deepStrictEqual([...s.answers.keys()], [70])
    })
  )

  it.live("while nothing comes back, those who have given up do not pile up", () =>
    Effect.gen(function* () {
      const ask = Together.make<object, never, never>({
        fetchOne: () => Effect.never,
        fetchAll: () => Effect.never,
        few: 1,
        fork: Effect.runFork,
        most: { keys: 4, fetches: 1 }
      })
      const kept: Array<WeakRef<object>> = []
      for (let i = 0; i < 1000; i++) {
        const key = {}
        kept.push(new WeakRef(key))
        ask(key, () => {})()
      }
      yield* turn
      gc()
      assert.isBelow(kept.filter((ref) => ref.deref() !== undefined).length, 20)
    })
  )

  it.live("a failure and a defect are those of all who asked together, and of nobody else", () =>
    Effect.gen(function* () {
      const s = stage()
      for (const key of [1, 2, 3]) s.ask(key)
      yield* turn
      s.ask(4)
      s.ask(13)
      yield* turn
      assert.isTrue(Exit.hasDies(s.answers.get(4)!))
      assert.isTrue(Exit.hasDies(s.answers.get(13)!))
      s.end(1, Exit.fail("gone"))
      s.end(0)
      yield* turn
      assert.deepStrictEqual(s.answers.get(1), Exit.succeed(2))
      assert.deepStrictEqual([s.answers.get(2), s.answers.get(3)], [Exit.fail("gone"), Exit.fail("gone")])
      s.ask(5)
      s.end(2)
      yield* turn
      assert.deepStrictEqual(s.answers.get(5), Exit.succeed(10))
    })
  )

  it.live("one who throws when answered keeps nobody else waiting", () =>
    Effect.gen(function* () {
      const thrown: Array<unknown> = []
      const listeners = process.listeners("uncaughtException")
      process.removeAllListeners("uncaughtException")
      process.on("uncaughtException", (error) => thrown.push(error.message))
      const s = stage()
      s.ask(1)
      s.askThen(2, () => {
        throw new Error("of its own")
      })
      s.ask(3)
      yield* turn
      s.end(1)
      yield* turn
      process.removeAllListeners("uncaughtException")
      for (const listener of listeners) process.on("uncaughtException", listener)
      assert.deepStrictEqual(s.answers.get(3), Exit.succeed(6))
      assert.deepStrictEqual(thrown, ["of its own"])
    })
  )
})
