/**
 * What many ask for one by one, fetched together.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { guardedly } from "./guardedly.ts"

interface Asked<K, A, E> {
  readonly key: K
  /** Nothing once nobody listens any more. */
  answer: ((exit: Exit.Exit<A, E>) => void) | undefined
}

/**
 * Makes a function that asks for one thing, is answered later, and answers itself with how to say that nobody listens any
 * more: what hangs holds nobody's memory then.
 *
 * As long as few are waited for, each is fetched at once, on its own. From then on, those of one turn of the event loop
 * are fetched together, `most.keys` at most; and no more than `most.fetches` are under way: whoever comes then waits for
 * one of them to end. `fetchAll` answers in the order of the keys.
 *
 * @internal
 */
export const make = <K, A, E>(options: {
  readonly fetchOne: (key: K) => Effect.Effect<A, E>
  readonly fetchAll: (keys: ReadonlyArray<K>) => Effect.Effect<ReadonlyArray<A>, E>
  readonly fork: <B, E2>(effect: Effect.Effect<B, E2>) => Fiber.Fiber<B, E2>
  readonly few: number
  readonly most: { readonly keys: number; readonly fetches: number }
}): ((key: K, answer: (exit: Exit.Exit<A, E>) => void) => () => void) => {
  const { fetchAll, fetchOne, few, fork, most } = options
  let waiting: Array<Asked<K, A, E>> = []
  /** How many have given up since the last look; most of them stand in `waiting` if that is long. */
  let given = 0
  let fetches = 0
  let keys = 0
  /** Whether those who wait are sent for at the end of this turn. */
  let isDue = false

  const tidy = (): void => {
    waiting = waiting.filter(({ answer }) => answer !== undefined)
    given = 0
  }

  const ended = (count: number): void => {
    fetches--
    keys -= count
  }

  const sendOne = (one: Asked<K, A, E>): void => {
    fetches++
    keys++
    fork(Effect.suspend(() => fetchOne(one.key))).addObserver((exit) => {
      ended(1)
      guardedly(() => one.answer?.(exit))
      if (waiting.length > 0 && !isDue) send()
    })
  }

  const send = (): void => {
    tidy()
    while (waiting.length > 0 && fetches < most.fetches) {
      const asked = waiting.splice(0, most.keys)
      if (asked.length === 1) {
        sendOne(asked[0]!)
        continue
      }
      fetches++
      keys += asked.length
      fork(Effect.suspend(() => fetchAll(asked.map(({ key }) => key)))).addObserver((exit) => {
        ended(asked.length)
        asked.forEach((one, i) => {
          // `fetchAll` has answered as many as there were keys.
          const own = Exit.isSuccess(exit) ? Exit.succeed(exit.value[i] as A) : Exit.failCause(exit.cause)
          guardedly(() => one.answer?.(own))
        })
        if (waiting.length > 0 && !isDue) send()
      })
    }
  }

  const atEndOfTurn = Effect.flatMap(Effect.yieldNow, () =>
    Effect.sync(() => {
      isDue = false
      send()
    })
  )

  return (key, answer) => {
    const one: Asked<K, A, E> = { key, answer }
    if (keys < few) sendOne(one)
    else {
      waiting.push(one)
      if (fetches < most.fetches) {
        if (waiting.length >= most.keys) send()
        else if (!isDue) {
          isDue = true
          fork(atEndOfTurn)
        }
      }
    }
    return () => {
      if (one.answer === undefined) return
      one.answer = undefined
      // While nothing comes back, they would pile up.
      if (++given > most.keys && given > waiting.length / 2) tidy()
    }
  }
}
