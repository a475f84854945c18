/**
 * Failures: made once and returned many times, and what they failed with.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"

/** The error's stack is its name and message alone: the place where the module was loaded would mislead. */
export const failure = <E extends Error>(error: E): Exit.Exit<never, E> => {
  Object.defineProperty(error, "stack", { value: `${error.name}: ${error.message}`, configurable: true })
  return Exit.fail(error)
}

/** What is asked for; of one who throws instead of answering, a defect. */
export const answerOf = <A, E>(ask: () => Effect.Effect<A, E>): Effect.Effect<A, E> => {
  try {
    return ask()
  } catch (defect) {
    return Exit.die(defect)
  }
}

/** What an effect failed with, if it did not die and was not interrupted. */
export const errorOf = <E>(cause: Cause.Cause<E>): E | undefined => Option.getOrUndefined(Cause.findErrorOption(cause))
