/** Those who wait for the end of a session, and time that passes for them in small steps. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { wordOf } from "./outcome.ts"
import * as Exit from "effect/Exit"

/** Lets all run that can run without time. */
export const settle = Effect.promise(async () => {
  for (let i = 0; i < 5; i++) await new Promise<void>((resolve) => void setImmediate(resolve))
})

/** Lets so many seconds pass, a second at a time. */
export const pass = Effect.fnUntraced(function* (seconds: number) {
  for (let second = 0; second < seconds; second++) {
    yield* TestClock.adjust("1 second")
    yield* settle
  }
})

export interface Waiting {
  /** Why the session has ended, in words, once they have been told. */
  readonly told: () => string | undefined
  readonly leave: Effect.Effect<void>
}

/** Begins to wait, and lets the first look take place. */
export const waitFor = Effect.fnUntraced(function* <E, R>(ended: Effect.Effect<E, never, R>) {
  const fiber = yield* Effect.forkChild(ended, { startImmediately: true })
  yield* settle
  const waiting: Waiting = {
    told: () => {
      const exit = fiber.pollUnsafe()
      return exit === undefined ? undefined : wordOf(Exit.isSuccess(exit) ? Exit.fail(exit.value) : exit)
    },
    leave: Fiber.interrupt(fiber)
  }
  return waiting
})
