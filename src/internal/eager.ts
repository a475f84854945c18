/**
 * Going on at once where an effect's outcome is known already, as `Effect.flatMapEager` does.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"

/**
 * Whether the outcome is known: the effect is an `Exit`.
 *
 * @internal
 */
export const isKnown = <A, E, R>(effect: Effect.Effect<A, E, R>): effect is Exit.Exit<A, E> => Exit.isExit(effect)

/**
 * `Effect.matchEffect`, eagerly.
 *
 * @internal
 */
export const matchEager = <A, E, B, E2, R2, C, E3, R3>(
  effect: Effect.Effect<A, E>,
  onFailure: (error: E) => Effect.Effect<B, E2, R2>,
  onSuccess: (value: A) => Effect.Effect<C, E3, R3>
): Effect.Effect<B | C, E2 | E3, R2 | R3> => {
  if (isKnown(effect)) {
    if (Exit.isSuccess(effect)) return onSuccess(effect.value)
    const error = Exit.findErrorOption(effect)
    if (Option.isSome(error)) return onFailure(error.value)
  }
  return Effect.matchEffect(effect, { onFailure, onSuccess })
}
