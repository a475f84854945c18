/**
 * Metrics of sessions: an `onEvent` handler that counts what happens to them, with Effect's `Metric`.
 *
 * | counter | counts | labels |
 * | --- | --- | --- |
 * | `sessions_created` | sessions | none |
 * | `sessions_ended` | sessions | `why`: the seven of `EndedWhy` |
 * | `sessions_refused` | tokens and requests | `reason`: the eight of `SessionError.Reason`, or the tag of another error |
 * | `session_backend_failures` | calls of the store | `operation`: the port's; `outcome`: `notApplied` or `unknown` |
 *
 * **Details**
 *
 * All only grow. No label has an id, a principal or a text that a client sent, so that there are at most as many series
 * as the table says: the tags of a definition's own errors are those of its `refused`.
 *
 * A program reads a counter with its labels:
 * `Metric.value(Metric.withAttributes(SessionMetrics.sessionsEnded, { why: "reused" }))`.
 *
 * How many sessions there are is not among them: a store that deletes expired sessions by itself tells no manager of it, so
 * created less ended would only grow.
 *
 * **Example** (Counting, and keeping an audit log too)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Session, SessionManager, SessionMetrics } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String }),
 *   principal: (data) => data.username
 * }) {}
 *
 * const Counted = SessionManager.layer(UserSession, { onEvent: SessionMetrics.record })
 *
 * const audit = (event: { readonly _tag: string }) => Effect.logInfo(event._tag)
 * const Audited = SessionManager.layer(UserSession, {
 *   onEvent: (event) => Effect.andThen(SessionMetrics.record(event), audit(event))
 * })
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 */

import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import { refusedWhy } from "./internal/session/refusedWhy.ts"
import type { SessionEvent, Tagged } from "./Session.ts"

/**
 * Counts sessions that were made: by a log-in, for a visitor, in place of another, or of another library's.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export const sessionsCreated: Metric.Counter<number> = Metric.counter("sessions_created", {
  description: "Sessions that were made",
  incremental: true
})

/**
 * Counts sessions that were noticed to have ended, by `why`. A store that deletes expired sessions by itself notices none
 * of those.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export const sessionsEnded: Metric.Counter<number> = Metric.counter("sessions_ended", {
  description: "Sessions that have ended, by why",
  incremental: true
})

/**
 * Counts tokens and requests that were answered with an error, by `reason`: that of a `SessionInvalid`, the tag of any
 * other error.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export const sessionsRefused: Metric.Counter<number> = Metric.counter("sessions_refused", {
  description: "Tokens and requests that were refused, by reason",
  incremental: true
})

/**
 * Counts calls of the store that failed or were late, by `operation` and `outcome`.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export const backendFailures: Metric.Counter<number> = Metric.counter("session_backend_failures", {
  description: "Calls of the session store that failed, by operation and outcome",
  incremental: true
})

const count = (counter: Metric.Counter<number>, labels: Record<string, string>): Effect.Effect<void> =>
  Metric.update(Metric.withAttributes(counter, labels), 1)

/**
 * Counts an event. Any definition takes it as its `onEvent`.
 *
 * **Details**
 *
 * Where several definitions are to be told apart, give the counters of each a label of your own, by Effect's
 * `Metric.CurrentMetricAttributes`:
 *
 * **Example** (A label for a definition)
 *
 * ```ts
 * import { Effect, Metric, Schema } from "effect"
 * import { Session, SessionManager, SessionMetrics } from "effect-sessions"
 *
 * class AdminSession extends Session.Service<AdminSession>()("app/AdminSession", {
 *   data: Schema.Struct({ email: Schema.String })
 * }) {}
 *
 * const Counted = SessionManager.layer(AdminSession, {
 *   onEvent: (event) =>
 *     Effect.provideService(SessionMetrics.record(event), Metric.CurrentMetricAttributes, { session: "admin" })
 * })
 * ```
 *
 * @stability unstable
 * @category combinators
 * @since 0.1.0
 */
export const record = (event: SessionEvent<unknown, ReadonlyArray<Tagged>>): Effect.Effect<void> => {
  switch (event._tag) {
    case "Created":
      return Metric.update(sessionsCreated, 1)
    case "Ended":
      return count(sessionsEnded, { why: event.why })
    case "Refused":
      return count(sessionsRefused, { reason: refusedWhy(event.error) })
    case "Failed":
      return count(backendFailures, { operation: event.operation, outcome: event.outcome })
    default:
      return Effect.void
  }
}
