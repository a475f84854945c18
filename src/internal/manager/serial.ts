/**
 * One at a time for each key, where the one whose turn it is may do the jobs of those that wait.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { after } from "./deadline.ts"

/** One that waits. */
export interface Waiting<J> {
  readonly job: J
  /** Whether another does its job just now: if it gives up, the job may be done all the same. */
  isTaken: boolean
  readonly wake: () => void
}

/** Those that wait for one key, in the order in which they came. */
export interface Queue<J, V> {
  readonly waiting: Set<Waiting<J>>
  /** What one turn hands on to the next. */
  newest: V | undefined
  /** How many turns there were. */
  turns: number
  /** Whether a turn is under way. It is not where the one who was woken for it does not come. */
  isBusy: boolean
}

/**
 * Runs turns of one key one after the other, in the order in which they began, and of different keys concurrently. A turn
 * answers its own job, and may answer those of others, which then need no turn; what it took and did not answer waits on.
 *
 * One whose job is not taken within `millis` fails with `notApplied`: it has no turn, and its job is not done. One whose
 * job is taken waits a quarter longer, and fails with `unknown`.
 */
export const make = <J, V, E>(
  millis: number,
  late: { readonly notApplied: Effect.Effect<never, E>; readonly unknown: Effect.Effect<never, E> }
) => {
  const queues = new Map<string, Queue<J, V>>()

  return <A>(
    key: string,
    jobOf: (answer: (answer: Effect.Effect<A, E>) => void) => J,
    turn: (job: J, queue: Queue<J, V>) => Effect.Effect<void>
  ): Effect.Effect<A, E> =>
    Effect.uninterruptible(
      Effect.withFiber((fiber) => {
        const standing = queues.get(key)
        const queue = standing ?? { waiting: new Set(), newest: undefined, turns: 0, isBusy: false }
        const close = () => {
          if (queues.get(key) === queue) queues.delete(key)
        }
        let answer: Effect.Effect<A, E> | undefined
        let wake = () => {}
        const job = jobOf((given) => {
          answer = given
          queue.waiting.delete(one)
          wake()
        })
        const one: Waiting<J> = { job, isTaken: false, wake: () => wake() }

        const answered = (): Effect.Effect<A, E> => answer ?? Exit.die(new Error("a turn without an answer"))
        const takeTurn = () => {
          const taken = Effect.onExitPrimitive(
            Effect.suspend(() => {
              queue.isBusy = true
              return turn(job, queue)
            }),
            () => {
              queue.turns++
              queue.isBusy = false
              for (const other of queue.waiting) other.isTaken = false
              const [next] = queue.waiting
              if (next === undefined) close()
              else {
                queue.waiting.delete(next)
                next.wake()
              }
              return undefined
            }
          )
          return Effect.flatMap(taken, answered)
        }

        if (standing === undefined) {
          queues.set(key, queue)
          return takeTurn()
        }
        // A waiting request awaits a promise: on Workers one request must not wake another.
        const { promise: news, resolve } = Promise.withResolvers<void>()
        wake = resolve
        queue.waiting.add(one)
        const before = queue.turns
        const woken = Effect.callback<void, E>((resume) => {
          const giveUp = () => {
            // It was woken just now.
            if (!queue.waiting.delete(one)) return
            // On Workers a cancelled request never ends, nor begins its turn: neither must lock the key.
            if (queue.turns === before || !queue.isBusy) close()
            resume(one.isTaken ? late.unknown : late.notApplied)
          }
          let stop = after(fiber, millis, () => {
            if (one.isTaken) stop = after(fiber, millis / 4, giveUp)
            else giveUp()
          })
          void news.then(() => {
            stop()
            resume(Effect.void)
          })
        })
        return Effect.flatMap(woken, () => answer ?? takeTurn())
      })
    )
}
