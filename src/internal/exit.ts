/**
 * Outcomes that are known without running anything.
 *
 * @internal
 */
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

/** Whether an effect's outcome is known already, as that of an `Exit` is. */
export const isExit = <A, E, R>(effect: Effect.Effect<A, E, R>): effect is Exit.Exit<A, E> => Exit.isExit(effect)

/**
 * The failure with this error, made once and returned many times. The error's stack is its name and message alone: the
 * place where the module was loaded would mislead.
 */
export const failure = <E extends Error>(error: E): Exit.Exit<never, E> => {
  Object.defineProperty(error, "stack", { value: `${error.name}: ${error.message}`, configurable: true })
  return Exit.fail(error)
}
