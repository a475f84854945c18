/**
 * How long the event loop is blocked by a pool whose every acquire fails. `node docs/upstream/effect-pool.ts`
 *
 * It is given the modules, so that `measure.ts` can try it on a changed copy too.
 */
import * as Effect_ from "effect/Effect"
import * as Pool_ from "effect/Pool"

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

export const experiment = async (Effect: typeof Effect_, Pool: typeof Pool_, borrowers: number) => {
  let acquires = 0
  let queued = 0
  const acquire = Effect.andThen(
    Effect.sleep("5 millis"),
    Effect.suspend(() => Effect.fail(`refused ${++acquires}`))
  )
  const began = performance.now()
  const used = process.cpuUsage()
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
  const { system, user } = process.cpuUsage(used)
  return { acquires, queued, answered, closed: since(), blocked: stop(), cpu: Math.round((user + system) / 1000) }
}

if (import.meta.main) {
  for (const borrowers of [10, 100, 250, 500]) console.log(borrowers, await experiment(Effect_, Pool_, borrowers))
}
