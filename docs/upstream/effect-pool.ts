/** How long the event loop is blocked by a pool whose every acquire fails. `node docs/upstream/effect-pool.ts` */
import { Effect, Pool } from "effect"

/** The longest time, in milliseconds, that a timer of 5 ms came late. */
const watch = () => {
  let blocked = 0
  let last = performance.now()
  const timer = setInterval(() => {
    blocked = Math.max(blocked, performance.now() - last - 5)
    last = performance.now()
  }, 5)
  return () => {
    clearInterval(timer)
    return Math.round(Math.max(blocked, performance.now() - last - 5))
  }
}

const experiment = async (borrowers: number) => {
  let acquires = 0
  let queued = 0
  const acquire = Effect.andThen(
    Effect.sleep("5 millis"),
    Effect.suspend(() => Effect.fail(`refused ${++acquires}`))
  )
  const began = performance.now()
  const since = () => Math.round(performance.now() - began)
  const stop = watch()
  const answered = await Effect.gen(function* () {
    const pool = yield* Pool.makeWithTTL({ acquire, min: 0, max: 10, timeToLive: "1 minute" })
    // Not public: the queue of resizes.
    const { waiters } = pool.state.resizeSemaphore as unknown as { readonly waiters: ReadonlySet<unknown> }
    const borrow = Effect.exit(
      Effect.timeout(
        Pool.use(pool, () => Effect.void),
        "1 second"
      )
    )
    const count = Effect.sync(() => (queued = Math.max(queued, waiters.size)))
    yield* Effect.forEach(Array.from({ length: borrowers }), () => Effect.andThen(borrow, count), {
      concurrency: "unbounded"
    })
    return since()
  }).pipe(Effect.scoped, Effect.runPromise)
  console.log(`${borrowers} borrowers, ${acquires} acquires, ${queued} queued resizes:`)
  console.log(`  all answered after ${answered} ms, the pool closed after ${since()} ms, longest block ${stop()} ms`)
}

for (const borrowers of [10, 100, 250, 500]) await experiment(borrowers)
