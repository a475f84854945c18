/**
 * One at a time for each key.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import { after } from "./deadline.ts"

/**
 * Runs the effects given for one key one after the other, in the order in which they began, and those of different keys
 * side by side. An effect that has not had its turn after `millis` fails with `late`, without having begun.
 *
 * Each is given what the one before it handed on, and may hand something on itself.
 *
 * @internal
 */
export type Serial<V> = <A, E>(
  key: string,
  millis: number,
  late: Exit.Exit<A, E>,
  f: (received: V | undefined, handOn: (value: V) => void) => Effect.Effect<A, E>
) => Effect.Effect<A, E>

/**
 * A request that waits awaits a promise: its own event loop wakes it, and not the request that had the turn before,
 * which on Workers may not.
 *
 * @internal
 */
export const make = <V>(): Serial<V> => {
  /** For each key in use, what the last in its queue will hand on when it and all before it have ended. */
  const tails = new Map<string, Promise<V | undefined>>()

  /** Waits for the turn. Answers what was handed on, or nothing if the turn did not come in time. */
  const wait = (
    turn: Promise<V | undefined>,
    millis: number
  ): Effect.Effect<{ readonly received: V | undefined } | undefined> =>
    Effect.withFiber((fiber) =>
      Effect.callback((resume) => {
        const stop = after(fiber, millis, () => resume(Effect.undefined))
        void turn.then((received) => {
          stop()
          resume(Effect.succeed({ received }))
        })
      })
    )

  return (key, millis, late, f) =>
    Effect.uninterruptible(
      Effect.suspend(() => {
        const before = tails.get(key)
        const { promise: ended, resolve: end } = Promise.withResolvers<void>()
        let newest: V | undefined
        const handOn = (value: V) => {
          newest = value
        }
        const tail = Promise.all([before, ended]).then(([received]) => newest ?? received)
        tails.set(key, tail)
        void tail.then(() => {
          if (tails.get(key) === tail) tails.delete(key)
        })
        const run =
          before === undefined
            ? f(undefined, handOn)
            : Effect.flatMap(wait(before, millis), (turn) => (turn === undefined ? late : f(turn.received, handOn)))
        return Effect.onExitPrimitive(run, () => {
          end()
          return undefined
        })
      })
    )
}
