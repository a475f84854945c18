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
 * - `"undone"`: the log-in that made it failed afterwards, and no client has had its token
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type EndedWhy = "logout" | "revoked" | "replaced" | "limit" | "reused" | "expired" | "undone"

/**
 * Something that has happened to a definition's sessions. None has a token.
 *
 * - `Created`: a log-in is complete, also one by `reauthenticate` or `adopt`
 * - `Rotated`: it has another token; `Changed`: other data, or another `client`. Several changes that were written together
 *   are one event. All three have the session as it is now
 * - `Ended`: said by the call that ended it, or by the one that notices that it has expired
 * - `Refused`: a token that was answered with an error, or a request that was refused without one, with that error. Of a
 *   request with several tokens, each that is refused
 * - `Failed`: a call of the store that failed
 *
 * A read that succeeds is no event, nor is a touch, and a route that is open to all refuses no request for lack of a token.
 *
 * **Details**
 *
 * - An expired session is told of when a request brings it, when a caller waits for its end, or when a sweep deletes it. A
 *   store that deletes by itself, as Redis and the memory backend do, notices none. If a call ends it before any other has
 *   noticed, the event says that call's `why`.
 * - `Ended` comes once for each session in a process, which remembers the last 10,000. Another process may say it again of
 *   one that expired, or where the reply of a deletion was lost.
 * - `principal` is `None` too where the store could not be read before the deletion.
 * - Of what one batch of `revokeAll` deleted, and its reply was lost, nothing is told but `Failed`, and so of any write
 *   whose reply was lost.
 * - A log-in that fails before it is complete tells nothing of its session; if the user's sessions are ended just then, that
 *   `Ended` may come without a `Created`.
 *
 * @stability unstable
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
