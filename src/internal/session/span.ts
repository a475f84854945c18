/**
 * What the current span says of sessions: why something was refused and which call of the store failed, always; whose
 * session was accepted, where asked. docs/operating.md lists the attributes.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Operation } from "../../SessionBackend.ts"
import type { SessionInfo } from "./models.ts"
import { refusedWhy } from "./refusedWhy.ts"

/** Says why a token or a request is refused. A store that failed has refused nothing. */
export const refused = (error: { readonly _tag: string }): Effect.Effect<void> =>
  error._tag === "SessionUnavailable" ? Effect.void : Effect.annotateCurrentSpan("session.refused", refusedWhy(error))

/** Says which call of the store failed. Of several it is the last. */
export const failed = (operation: Operation, outcome: "notApplied" | "unknown"): Effect.Effect<void> =>
  Effect.annotateCurrentSpan({ "session.backend.operation": operation, "session.backend.outcome": outcome })

const accepted = {
  "session.id": ({ id }: SessionInfo<unknown>) => id,
  "user.id": ({ principal }: SessionInfo<unknown>) => Option.getOrUndefined(principal)
}

/** What may be said of an accepted session. */
export type Name = keyof typeof accepted

export const problemsOf = (names: ReadonlyArray<string>): ReadonlyArray<string> =>
  names.flatMap((name) =>
    Object.hasOwn(accepted, name)
      ? []
      : [`spanAttributes ${JSON.stringify(name.slice(0, 64))} must be one of ${Object.keys(accepted).join(", ")}`]
  )

/** Says of accepted sessions what is asked for. Without any name, the effect as it is. */
export const accepting =
  (names: ReadonlyArray<Name>) =>
  <S extends SessionInfo<unknown>, E>(session: Effect.Effect<S, E>): Effect.Effect<S, E> =>
    names.length === 0
      ? session
      : Effect.tap(session, (session) => {
          const values = names.map((name) => [name, accepted[name](session)] as const)
          return Effect.annotateCurrentSpan(Object.fromEntries(values.filter(([, value]) => value !== undefined)))
        })
