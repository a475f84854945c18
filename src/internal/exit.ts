/**
 * Failures that are made once and returned many times.
 *
 * @internal
 */
import * as Exit from "effect/Exit"

/** The error's stack is its name and message alone: the place where the module was loaded would mislead. */
export const failure = <E extends Error>(error: E): Exit.Exit<never, E> => {
  Object.defineProperty(error, "stack", { value: `${error.name}: ${error.message}`, configurable: true })
  return Exit.fail(error)
}
