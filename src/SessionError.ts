/**
 * The errors of this library, tagged.
 *
 * Each carries its HTTP status twice: for `HttpApi` as the `httpApiStatus` of its schema, and for a plain router as an
 * `HttpServerRespondable`, so that an error that no handler catches answers with its status and its JSON encoding. None
 * holds a token, a key or session data.
 *
 * | error | status | when |
 * | --- | --- | --- |
 * | `SessionMissing` | 401 | the request carries no token, or its session has no user where a guard asks for one |
 * | `SessionInvalid` | 401 | its token is not valid; `reason` says why |
 * | `SessionStale` | 401 | the user proved who they are too long ago for this |
 * | `SessionRefused` | 403 | the verifier refused the session |
 * | `SessionCrossOrigin` | 403 | an unsafe method from another origin |
 * | `SessionConflict` | 409 | the session kept changing under an update, or changed since it was read |
 * | `SessionUnavailable` | 503 | the backend failed, or did not answer in time |
 * | `SessionConfigError` | - | a Layer could not be built |
 * | `SessionDataError` | - | a defect: the handler stored data that a session cannot hold |
 *
 * @stability unstable
 * @since 0.1.0
 */

import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Schema from "effect/Schema"

const respond = (status: number, body: unknown, headers: Record<string, string> = {}) =>
  Effect.succeed(HttpServerResponse.jsonUnsafe(body, { status, headers }))

// Responses are immutable, so those that are always the same are made once.
const responses = {
  SessionMissing: respond(401, { _tag: "SessionMissing" }),
  SessionCrossOrigin: respond(403, { _tag: "SessionCrossOrigin" }),
  SessionConflict: respond(409, { _tag: "SessionConflict" })
}

/**
 * The request carries no token, or its session has no principal and the guard of a definition with one asks for it.
 * Answers 401.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export class SessionMissing extends Schema.TaggedError<SessionMissing>()("SessionMissing", {}, { httpApiStatus: 401 }) {
  override readonly [ErrorReporter.ignore] = true
  override get message(): string {
    return "no session"
  }
  [HttpServerRespondable.symbol](): Effect.Effect<HttpServerResponse.HttpServerResponse> {
    return responses.SessionMissing
  }
}

/**
 * Why a token was not accepted. It is a word, in code and on the wire, and so none for `Effect.catchReason`; `catchIf`
 * catches one of them.
 *
 * - `Malformed`: it is not written as a token
 * - `Signature`: it was not signed for this session definition, or with a key that was retired
 * - `NotFound`: its session is gone, or was rotated to another token
 * - `Expired`: the idle or the absolute timeout has passed
 * - `Data`: the stored data does not decode by the definition's schema
 * - `Ambiguous`: the request carries tokens of two different sessions, or too many
 * - `Superseded`: this log-in began before the user's sessions were ended
 * - `Reused`: the token was replaced by a scheduled rotation, and came after its time: a stolen copy. The session has ended
 *
 * **Example** (Catching one reason)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SessionError } from "effect-sessions"
 *
 * const expired: Effect.Effect<string, SessionError.SessionInvalid> = Effect.fail(
 *   new SessionError.SessionInvalid({ reason: "Expired" })
 * )
 *
 * const program = expired.pipe(
 *   Effect.catchIf(({ reason }) => reason === "Expired", () => Effect.succeed("log in again"))
 * )
 *
 * console.assert(Effect.runSync(program) === "log in again")
 * ```
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export const Reason: Schema.Literals<
  readonly ["Malformed", "Signature", "NotFound", "Expired", "Data", "Ambiguous", "Superseded", "Reused"]
> = Schema.Literals(["Malformed", "Signature", "NotFound", "Expired", "Data", "Ambiguous", "Superseded", "Reused"])

const invalid = (reason: string) => respond(401, { _tag: "SessionInvalid", reason })
const invalidResponses = {
  Malformed: invalid("Malformed"),
  Signature: invalid("Signature"),
  NotFound: invalid("NotFound"),
  Expired: invalid("Expired"),
  Data: invalid("Data"),
  Ambiguous: invalid("Ambiguous"),
  Superseded: invalid("Superseded"),
  Reused: invalid("Reused")
}

/**
 * The request carries a token that is not valid. Answers 401.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export class SessionInvalid extends Schema.TaggedError<SessionInvalid>()(
  "SessionInvalid",
  { reason: Reason },
  { httpApiStatus: 401 }
) {
  override readonly [ErrorReporter.ignore] = true
  override get message(): string {
    return `invalid session: ${this.reason}`
  }
  [HttpServerRespondable.symbol](): Effect.Effect<HttpServerResponse.HttpServerResponse> {
    return invalidResponses[this.reason]
  }
}

/**
 * The session stands, but the user proved who they are too long ago for this. Answers 401, with the challenge of RFC 9470.
 *
 * `maxAge` is the time in seconds within which they must have done so, `methods` by which methods, where any are asked for.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export class SessionStale extends Schema.TaggedError<SessionStale>()(
  "SessionStale",
  { maxAge: Schema.Number, methods: Schema.Array(Schema.String) },
  { httpApiStatus: 401 }
) {
  override readonly [ErrorReporter.ignore] = true
  override get message(): string {
    return "the user must prove again who they are"
  }
  [HttpServerRespondable.symbol](): Effect.Effect<HttpServerResponse.HttpServerResponse> {
    return respond(401, { _tag: this._tag, maxAge: this.maxAge, methods: this.methods })
  }
}

/**
 * The verifier of a definition without errors of its own refused the session. Answers 403. The message is sent to the
 * client.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export class SessionRefused extends Schema.TaggedError<SessionRefused>()(
  "SessionRefused",
  { message: Schema.String },
  { httpApiStatus: 403 }
) {
  [HttpServerRespondable.symbol](): Effect.Effect<HttpServerResponse.HttpServerResponse> {
    return respond(403, { _tag: this._tag, message: this.message })
  }
  override readonly [ErrorReporter.ignore] = true
}

/**
 * An unsafe method was sent from another origin's page, as Fetch Metadata or `Origin` tell. Answers 403.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export class SessionCrossOrigin extends Schema.TaggedError<SessionCrossOrigin>()(
  "SessionCrossOrigin",
  {},
  { httpApiStatus: 403 }
) {
  override readonly [ErrorReporter.ignore] = true
  override get message(): string {
    return "cross-origin request refused: its Origin is not the Host it was sent to, or Sec-Fetch-Site says so. A proxy must pass Host on (docs/proxies.md); trusted origins are named in SessionFrontend.layerCookie({ trustedOrigins })"
  }
  [HttpServerRespondable.symbol](): Effect.Effect<HttpServerResponse.HttpServerResponse> {
    return responses.SessionCrossOrigin
  }
}

/**
 * An update kept finding newer versions of the session, or `replace` was called on an old one. Nothing was stored.
 * Answers 409.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export class SessionConflict extends Schema.TaggedError<SessionConflict>()(
  "SessionConflict",
  {},
  { httpApiStatus: 409 }
) {
  override readonly [ErrorReporter.ignore] = true
  override get message(): string {
    return "the session was changed by another request"
  }
  [HttpServerRespondable.symbol](): Effect.Effect<HttpServerResponse.HttpServerResponse> {
    return responses.SessionConflict
  }
}

/**
 * The backend failed or did not answer within its deadline. Answers 503 with `Retry-After: 1`.
 *
 * `outcome` says what is known of a write: `"notApplied"`, nothing was stored; `"unknown"`, it may have been, or may
 * still be. The cause is in the log, never in the error.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export class SessionUnavailable extends Schema.TaggedError<SessionUnavailable>()(
  "SessionUnavailable",
  { outcome: Schema.Literals(["notApplied", "unknown"]) },
  { httpApiStatus: 503 }
) {
  override get message(): string {
    return "the session store is unavailable"
  }
  [HttpServerRespondable.symbol](): Effect.Effect<HttpServerResponse.HttpServerResponse> {
    return respond(503, { _tag: this._tag, outcome: this.outcome }, { "retry-after": "1" })
  }
}

/**
 * A session Layer could not be built. `problems` lists what is wrong with it and with those built beside it: the rule
 * that is broken and what to change, never a secret. `layers` names them; layers that need one of these are not checked.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export class SessionConfigError extends Schema.TaggedError<SessionConfigError>()("SessionConfigError", {
  problems: Schema.Array(Schema.String),
  layers: Schema.optionalKey(Schema.Array(Schema.String))
}) {
  override get message(): string {
    const of = this.layers === undefined ? "" : ` of ${this.layers.join(", ")}`
    return `session configuration${of}:\n${this.problems.map((problem) => `  - ${problem}`).join("\n")}`
  }
}

/**
 * The defect a write dies with when its data cannot be stored: data that the schema refuses, that encode to something
 * other than plain JSON, are over 64 KiB or nested deeper than 32 levels; a principal that is empty, too long, or not the
 * one the session was made for. It names the rule and the path, never the value.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export class SessionDataError extends Data.TaggedError("SessionDataError")<{ readonly problem: string }> {
  override get message(): string {
    return `session data: ${this.problem}`
  }
}
