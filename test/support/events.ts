/** A handler that keeps what it is told, in short. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Session from "../../src/Session.ts"
import type { Data, UserSession } from "./userSession.ts"

export type Event = Session.SessionEvent<Data, (typeof UserSession)["refused"]>

/** `Created ada`, `Ended logout ada`, `Refused SessionInvalid NotFound`, `Failed read notApplied`. */
export const textOf = (event: Event): string => {
  switch (event._tag) {
    case "Created":
    case "Rotated":
    case "Changed":
      return `${event._tag} ${Option.getOrElse(event.session.principal, () => "-")}`
    case "Ended":
      return `Ended ${event.why} ${Option.getOrElse(event.principal, () => "-")}`
    case "Refused": {
      const { error } = event
      return `Refused ${error._tag}${error._tag === "SessionInvalid" ? ` ${error.reason}` : ""}`
    }
    case "Failed":
      return `Failed ${event.operation} ${event.outcome}`
  }
}

export const make = () => {
  const events: Array<Event> = []
  return {
    events,
    onEvent: (event: Event): Effect.Effect<void> =>
      Effect.sync(() => {
        events.push(event)
      }),
    /** What was told since the last call. */
    taken: (): ReadonlyArray<string> => events.splice(0).map(textOf),
    /** The ids of sessions whose end was told, and why. */
    ended: (): ReadonlyArray<readonly [id: string, why: string]> =>
      events.flatMap((event) => (event._tag === "Ended" ? [[event.id, event.why] as const] : []))
  }
}
