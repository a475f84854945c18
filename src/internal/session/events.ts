/**
 * What happens to sessions, as an application is told of it.
 *
 * @internal
 */
import type * as Option from "effect/Option"
import type { Operation } from "../../SessionBackend.ts"
import type { SessionCrossOrigin, SessionStale } from "../../SessionError.ts"
import type { Refusal, SessionId, SessionInfo, Tagged, Unauthenticated } from "./models.ts"

/**
 * Why a session has ended:
 *
 * - `"logout"`: by its own token
 * - `"revoked"`: by its id, or with all of its principal's
 * - `"replaced"`: a log-in, or `reauthenticate`, made another in its place
 * - `"limit"`: a log-in made one more than `maxPerPrincipal` allows
 * - `"reused"`: a stolen copy of its token was used
 * - `"expired"`: its idle or absolute deadline has passed
 * - `"undone"`: the log-in that made it failed afterwards, and nobody has had its token
 *
 * @category models
 * @since 0.1.0
 */
export type EndedWhy = "logout" | "revoked" | "replaced" | "limit" | "reused" | "expired" | "undone"

/**
 * Something that has happened to a definition's sessions. None has a token.
 *
 * - `Created`, `Rotated`, `Changed`: with the session as it is now
 * - `Ended`: once for each session, by whom it was noticed. A store that deletes expired sessions by itself notices none
 * - `Refused`: a token, or a request, that was answered with an error, with that error
 * - `Failed`: a call of the store that failed; the answer is `SessionUnavailable`
 *
 * A read that succeeds is no event.
 *
 * @category models
 * @since 0.1.0
 */
export type SessionEvent<A, R extends ReadonlyArray<Tagged>> =
  | { readonly _tag: "Created" | "Rotated" | "Changed"; readonly session: SessionInfo<A> }
  | {
      readonly _tag: "Ended"
      readonly why: EndedWhy
      readonly id: SessionId
      readonly principal: Option.Option<string>
    }
  | { readonly _tag: "Refused"; readonly error: Unauthenticated | Refusal<R> | SessionStale | SessionCrossOrigin }
  | { readonly _tag: "Failed"; readonly operation: Operation; readonly outcome: "notApplied" | "unknown" }
