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
 * While nothing is under way, a thing is fetched at once, on its own. Otherwise there are many who ask, and those of one
 * turn of the event loop are fetched together, `most.keys` at most. No more than `most.fetches` are under way; whoever
 * comes then waits for one of them to end. `fetch` answers in the order of the keys.
 *
 * @internal
 */
export const make = <K, A, E>(options: {
  readonly fetch: (keys: ReadonlyArray<K>) => Effect.Effect<ReadonlyArray<A>, E>
  readonly fork: <B, E2>(effect: Effect.Effect<B, E2>) => Fiber.Fiber<B, E2>
  readonly most: { readonly keys: number; readonly fetches: number }
}): ((key: K, answer: (exit: Exit.Exit<A, E>) => void) => () => void) => {
  const { fetch, fork, most } = options
  let waiting: Array<Asked<K, A, E>> = []
  /** How many have given up since the last look; most of them stand in `waiting` if that is long. */
  let given = 0
  let underWay = 0
  /** Whether those who wait are sent for at the end of this turn. */
  let isDue = false

  const tidy = (): void => {
    waiting = waiting.filter(({ answer }) => answer !== undefined)
    given = 0
  }

  const send = (): void => {
    tidy()
    while (waiting.length > 0 && underWay < most.fetches) {
      const asked = waiting.splice(0, most.keys)
      underWay++
      fork(Effect.suspend(() => fetch(asked.map(({ key }) => key)))).addObserver((exit) => {
        underWay--
        asked.forEach((one, i) => {
          // `fetch` has answered as many as there were keys.
          const own = Exit.isSuccess(exit) ? Exit.succeed(exit.value[i] as A) : Exit.failCause(exit.cause)
          guardedly(() => one.answer?.(own))
        })
        if (!isDue) send()
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
    waiting.push(one)
    if (underWay < most.fetches) {
      if (underWay === 0 || waiting.length >= most.keys) send()
      else if (!isDue) {
        isDue = true
        fork(atEndOfTurn)
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
