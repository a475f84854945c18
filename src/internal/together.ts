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
  readonly answer: (exit: Exit.Exit<A, E>) => void
}

/**
 * Makes a function that asks for one thing and is answered later. While nothing is under way, it is fetched at once, on
 * its own. Otherwise there are many who ask, and those of one turn of the event loop are fetched together, so many at
 * most. `fetch` answers in the order of the keys.
 *
 * @internal
 */
export const make = <K, A, E>(options: {
  readonly fetch: (keys: ReadonlyArray<K>) => Effect.Effect<ReadonlyArray<A>, E>
  readonly fork: <B, E2>(effect: Effect.Effect<B, E2>) => Fiber.Fiber<B, E2>
  readonly most: number
}): ((key: K, answer: (exit: Exit.Exit<A, E>) => void) => void) => {
  let waiting: Array<Asked<K, A, E>> = []
  let underWay = 0

  const send = (): void => {
    if (waiting.length === 0) return
    const asked = waiting
    waiting = []
    underWay++
    const fetching = options.fork(Effect.suspend(() => options.fetch(asked.map(({ key }) => key))))
    fetching.addObserver((exit) => {
      underWay--
      asked.forEach(({ answer }, i) => {
        // `fetch` has answered as many as there were keys.
        const own = Exit.isSuccess(exit) ? Exit.succeed(exit.value[i] as A) : Exit.failCause(exit.cause)
        guardedly(() => answer(own))
      })
    })
  }

  return (key, answer) => {
    waiting.push({ key, answer })
    if (underWay === 0 || waiting.length >= options.most) send()
    else if (waiting.length === 1) options.fork(Effect.flatMap(Effect.yieldNow, () => Effect.sync(send)))
  }
}
