/** How an effect ended, said in one word. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"

/** An error's tag and reason, `died`, `interrupted` or `ok`. */
export const wordOf = (exit: Exit.Exit<unknown, unknown>): string => {
  if (Exit.isSuccess(exit)) return "ok"
  const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
  if (typeof error === "object" && error !== null && "_tag" in error) {
    const detail = "reason" in error ? error.reason : "outcome" in error ? error.outcome : undefined
    return detail === undefined ? String(error._tag) : `${String(error._tag)} ${String(detail)}`
  }
  return Cause.hasInterrupts(exit.cause) && !Cause.hasDies(exit.cause) ? "interrupted" : "died"
}

export const outcome = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<string, never, R> =>
  Effect.map(Effect.exit(effect), wordOf)

/** What it died of, if it died. */
export const defectOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
  Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isDieReason)?.defect : undefined
