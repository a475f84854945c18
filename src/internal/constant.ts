/**
 * Errors made once and failed with many times.
 *
 * @internal
 */
import * as Exit from "effect/Exit"

/**
 * The failure with this error. An error that stands for many failures has no place of its own in the code, so its stack
 * is its name and message alone; printing the place where the module was loaded would mislead.
 *
 * @internal
 */
export const failure = <E extends Error>(error: E): Exit.Exit<never, E> => {
  Object.defineProperty(error, "stack", { value: `${error.name}: ${error.message}`, configurable: true })
  return Exit.fail(error)
}
