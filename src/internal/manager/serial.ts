/**
 * One at a time for each key.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import { after } from "./deadline.ts"

/**
 * Runs effects of one key one after the other, in the order in which they began, and of different keys concurrently. An
 * effect whose turn does not come within `millis` fails with `late` and does not run. Each receives what the one before
 * it handed on, and may hand something on itself.
 */
export type Serial<V> = <A, E, E2>(
  key: string,
  millis: number,
  late: Exit.Exit<never, E2>,
  f: (received: V | undefined, handOn: (value: V) => void) => Effect.Effect<A, E>
) => Effect.Effect<A, E | E2>

/** A waiting request awaits a promise: on Workers one request must not wake another. */
export const make = <V>(): Serial<V> => {
  /** For each key in use, what the last in its queue will hand on once it and all before it have ended. */
  const tails = new Map<string, Promise<V | undefined>>()

  return (key, millis, late, f) =>
    Effect.uninterruptible(
      Effect.suspend(() => {
        const before = tails.get(key)
        const { promise: ended, resolve: end } = Promise.withResolvers<void>()
        let newest: V | undefined
        const run = (received: V | undefined) =>
          f(received, (value) => {
            newest = value
          })
        const tail = Promise.all([before, ended]).then(([received]) => newest ?? received)
        tails.set(key, tail)
        void tail.then(() => {
          if (tails.get(key) === tail) tails.delete(key)
        })
        return Effect.onExitPrimitive(
          before === undefined
            ? Effect.suspend(() => run(undefined))
            : Effect.flatMap(waitFor(before, millis, late), run),
          () => {
            end()
            return undefined
          }
        )
      })
    )
}

/** Answers what the promise does, or `late` if that takes too long. */
const waitFor = <V, E>(turn: Promise<V>, millis: number, late: Exit.Exit<never, E>): Effect.Effect<V, E> =>
  Effect.withFiber((fiber) =>
    Effect.callback((resume) => {
      const stop = after(fiber, millis, () => resume(late))
      void turn.then((value) => {
        stop()
        resume(Effect.succeed(value))
      })
    })
  )
