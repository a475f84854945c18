/**
 * The session and what is said of it.
 *
 * @internal
 */
import type * as Brand from "effect/Brand"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { SessionConflict, SessionInvalid, SessionMissing, SessionUnavailable } from "../../SessionError.ts"
import { idPattern } from "../token/format.ts"

/**
 * The public id of a session: 22 characters of base64url, stable over rotation. It names a session, in a list of
 * devices for example; it does not authenticate a request.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type SessionId = string & Brand.Brand<"effect-sessions/SessionId">

/**
 * Schema of a `SessionId`, for the path of a "sign this device out" route.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export const SessionId: Schema.Codec<SessionId, string> = Schema.String.check(Schema.isPattern(idPattern)).pipe(
  Schema.brand("effect-sessions/SessionId")
)

/**
 * What a list of devices shows of a client. The application gives it; nothing is ever compared with it. Of each text the
 * first 512 characters are kept.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface ClientInfo {
  /** A name that the user gives to the device, for example. */
  readonly label?: string | undefined
  readonly address?: string | undefined
  readonly userAgent?: string | undefined
}

/**
 * How and when the user proved who they are.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Factor {
  /** By the names of RFC 8176: `"pwd"`, `"otp"`, `"hwk"`. */
  readonly method: string
  readonly at: DateTime.Utc
}

/**
 * A session without its token, as its owner may see it.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface SessionInfo<A> {
  readonly id: SessionId
  readonly data: A
  readonly principal: Option.Option<string>
  readonly createdAt: DateTime.Utc
  /** When the user last proved who they are. */
  readonly authenticatedAt: DateTime.Utc
  /** The methods by which they did, each with the time when it was last passed. */
  readonly factors: ReadonlyArray<Factor>
  readonly lastSeenAt: DateTime.Utc
  readonly idleTimeout: Duration.Duration
  readonly absoluteExpiresAt: DateTime.Utc
  /** The earlier of the idle and the absolute deadline, if nothing more happens. */
  readonly expiresAt: DateTime.Utc
  /** Whether the cookie is kept when the browser is closed. */
  readonly persistent: boolean
  readonly client: ClientInfo
  /** Grows with each change of the data, the client or the token. */
  readonly version: number
}

/**
 * A snapshot of an accepted session, with its token.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Session<A> extends SessionInfo<A> {
  readonly token: Redacted.Redacted<string>
}

/**
 * Options of one session, where it differs from the layer's.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface CreateOptions {
  /** At most the layer's: a longer one is cut to it. */
  readonly idleTimeout?: Duration.Input | undefined
  /** At most the layer's: a longer one is cut to it. */
  readonly absoluteTimeout?: Duration.Input | undefined
  /**
   * - `"persistent"`: the cookie's `Max-Age` reaches to the absolute deadline
   * - `"browser"`: it lasts until the browser closes
   * - `"none"`: no cookie; the handler hands out `session.token` itself
   *
   * @default "persistent"
   */
  readonly cookie?: "persistent" | "browser" | "none" | undefined
  /** The methods by which the user has proved who they are, by the names of RFC 8176: at most 16. */
  readonly methods?: ReadonlyArray<string> | undefined
  /** When they did, if that was earlier: an identity provider's `auth_time`. @default now */
  readonly authenticatedAt?: DateTime.Utc | undefined
  /** @default what `client` of `SessionMiddleware.layer` says of the request */
  readonly client?: ClientInfo | undefined
  /**
   * When this log-in began: if the user's sessions were ended since, it fails. A `bigint` is in nanoseconds, as
   * `Clock.currentTimeNanos` gives them.
   *
   * @default when the request did; now, for the manager
   */
  readonly began?: DateTime.Utc | bigint | undefined
}

/**
 * How lately the user must have proved who they are.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface Fresh {
  readonly within: Duration.Input
  /** Each of these must have been passed within the time. @default any */
  readonly methods?: ReadonlyArray<string> | undefined
}

/**
 * The schema of an error a verifier may refuse with: any `Schema.TaggedError`.
 *
 * @stability unstable
 * @category utility types
 * @since 0.1.0
 */
// The library never names the encoded side of an error, and `unknown` would not infer.
// oxlint-disable-next-line typescript/no-explicit-any
export type Tagged = Schema.Codec<{ readonly _tag: string }, any>

/**
 * The errors a definition's verifier may refuse with.
 *
 * @stability unstable
 * @category utility types
 * @since 0.1.0
 */
export type Refusal<R extends ReadonlyArray<Tagged>> = R[number]["Type"]

/**
 * The errors that answer 401.
 *
 * @stability unstable
 * @category utility types
 * @since 0.1.0
 */
export type Unauthenticated = SessionMissing | SessionInvalid

/**
 * An effect that reads the request's session.
 *
 * @stability unstable
 * @category utility types
 * @since 0.1.0
 */
export type Loaded<B, R extends ReadonlyArray<Tagged>> = Effect.Effect<
  B,
  Unauthenticated | Refusal<R> | SessionUnavailable
>

/**
 * An effect that changes the request's session.
 *
 * @stability unstable
 * @category utility types
 * @since 0.1.0
 */
export type Changed<B, R extends ReadonlyArray<Tagged>> = Effect.Effect<
  B,
  Unauthenticated | Refusal<R> | SessionConflict | SessionUnavailable
>
