/**
 * Session definitions, and the session a handler holds.
 *
 * A definition is a class made with `Service`: an identifier, a schema for the data, and optionally who is logged in
 * and how its verifier refuses. The class is itself the service of the request's session. Its frontend, backend and
 * verifier belong to its identifier, so one application may have several definitions.
 *
 * **Example** (Defining a session)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Session } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String }),
 *   principal: (data) => data.username
 * }) {}
 *
 * // In a handler: the request's session, read when it is first asked for.
 * const greeting = Effect.gen(function*() {
 *   const session = yield* UserSession
 *   const { data } = yield* session.get
 *   return `hello ${data.username}`
 * })
 * ```
 *
 * @since 0.1.0
 */
import type * as Brand from "effect/Brand"
import * as Context from "effect/Context"
import type * as Digest from "effect/crypto/Digest"
import type * as Mac from "effect/crypto/Mac"
import type * as SecureRandom from "effect/crypto/SecureRandom"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { idPattern } from "./internal/token/format.ts"
import type { SessionBackend } from "./SessionBackend.ts"
import {
  SessionConflict,
  SessionCrossOrigin,
  SessionInvalid,
  SessionMissing,
  SessionRefused,
  SessionUnavailable
} from "./SessionError.ts"
import type { SessionStale } from "./SessionError.ts"
import type { SessionFrontend } from "./SessionFrontend.ts"
import type { SessionKeys } from "./SessionKeys.ts"

/**
 * The public id of a session: 22 characters of base64url, stable over rotation. It names a session, in a list of
 * devices for example; it does not authenticate a request.
 *
 * @category models
 * @since 0.1.0
 */
export type SessionId = string & Brand.Brand<"effect-sessions/SessionId">

/**
 * Schema of a `SessionId`, for the path of a "sign this device out" route.
 *
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
 * @category models
 * @since 0.1.0
 */
export interface Session<A> extends SessionInfo<A> {
  readonly token: Redacted.Redacted<string>
}

/**
 * Options of one session, where it differs from the layer's.
 *
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
 * @category utility types
 * @since 0.1.0
 */
// The library never names the encoded side of an error, and `unknown` would not infer.
// oxlint-disable-next-line typescript/no-explicit-any
export type Tagged = Schema.Codec<{ readonly _tag: string }, any>

/**
 * The errors a definition's verifier may refuse with.
 *
 * @category utility types
 * @since 0.1.0
 */
export type Refusal<R extends ReadonlyArray<Tagged>> = R[number]["Type"]

/**
 * The errors that answer 401.
 *
 * @category utility types
 * @since 0.1.0
 */
export type Unauthenticated = SessionMissing | SessionInvalid

/**
 * An effect that reads the request's session.
 *
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
 * @category utility types
 * @since 0.1.0
 */
export type Changed<B, R extends ReadonlyArray<Tagged>> = Effect.Effect<
  B,
  Unauthenticated | Refusal<R> | SessionConflict | SessionUnavailable
>

/**
 * The request's session, as `yield* UserSession` gives it.
 *
 * **Details**
 *
 * - Lazy: the session is read when the handler first asks for it, once for the request. What `create` or a change answers
 *   is what `get` answers from then on; `destroy` and `revokeAll` make it fail with `SessionMissing`.
 * - Writes go to the backend when they are called, so the handler sees their failure and the response cannot promise what
 *   was not stored. A client that disconnects does not interrupt them, and each has a deadline.
 * - Concurrent changes of one request run one after the other, in the order in which they began.
 * - `create`, `reauthenticate` and `rotate` set the cookie, `destroy` and `revokeAll` remove it, even if the handler then
 *   fails. Once the response's headers are made, `create`, `reauthenticate` and `rotate` die before they touch the store,
 *   and so does the first read of the session if a shared cache may keep the response.
 *
 * @category models
 * @since 0.1.0
 */
export interface RequestSession<A, R extends ReadonlyArray<Tagged>> {
  /** The session, or why there is none. */
  readonly get: Loaded<Session<A>, R>
  /** The session, if there is a valid one. Fails only when the backend does. */
  readonly option: Effect.Effect<Option.Option<Session<A>>, SessionUnavailable>
  /**
   * Makes a new session and revokes those whose tokens the request carried, as a log-in must, against session fixation.
   * If the revocation fails, the new session is deleted again and `create` fails.
   *
   * A function makes the data from those that the visitor had, and no update of these that was answered is lost. If
   * another request has logged them in since this one read its session, it fails with `NotFound` and makes nothing.
   *
   * Fails with `Superseded` if the user's sessions were ended after this request began.
   */
  readonly create: {
    (
      data: (before: Option.Option<A>) => A,
      options?: CreateOptions
    ): Effect.Effect<Session<A>, SessionInvalid | SessionConflict | SessionUnavailable>
    (data: A, options?: CreateOptions): Effect.Effect<Session<A>, SessionInvalid | SessionUnavailable>
  }
  /**
   * Says that the user has proved again who they are: makes a session with a new id and token in place of this one, with
   * the same data, client, kind of cookie and timeouts, which start anew.
   */
  readonly reauthenticate: (options?: {
    readonly methods?: ReadonlyArray<string> | undefined
  }) => Changed<Session<A>, R>
  /**
   * The session, if the user has proved who they are lately; fails with `SessionStale` if not, and with `SessionMissing`
   * where the definition has a principal and the session none.
   */
  readonly fresh: (
    options: Fresh
  ) => Effect.Effect<Session<A>, Unauthenticated | Refusal<R> | SessionStale | SessionUnavailable>
  /** Changes what a list of devices shows of this client: the fields given, and removes those given as `undefined`. */
  readonly describe: (client: ClientInfo) => Changed<Session<A>, R>
  /**
   * Changes the data. On a conflict the session is read again and `f` runs again, on a copy of its own each time. Data
   * that encode as before write nothing.
   */
  readonly update: (f: (data: A) => A) => Changed<Session<A>, R>
  /** As `update`, where `f` answers a result beside the new data. */
  readonly modify: <B>(f: (data: A) => readonly [B, A]) => Changed<B, R>
  /** Replaces the data; fails with `SessionConflict` if they have changed since this request read them. */
  readonly replace: (data: A) => Changed<Session<A>, R>
  /** Gives the session a new token; the old one is invalid when this returns. */
  readonly rotate: Changed<Session<A>, R>
  /**
   * Ends every session whose token the request carries, the first four at most. They have ended when it returns; a
   * second call does nothing.
   */
  readonly destroy: Effect.Effect<void, SessionUnavailable>
  /** The principal's live sessions, this one marked. Of one whose data do not decode, `data` is `undefined`. */
  readonly list: Loaded<ReadonlyArray<SessionInfo<A | undefined> & { readonly current: boolean }>, R>
  /** Ends one session of the same principal; `false` if they have none of this id. */
  readonly revoke: (id: SessionId) => Loaded<boolean, R>
  /**
   * Ends all other sessions of the principal, log-ins that are under way too, and rotates this one's token, of which a
   * thief may hold a copy.
   */
  readonly revokeOthers: Changed<number, R>
  /** Ends all sessions of the principal, this one too, and log-ins that are under way, but for those of this request. */
  readonly revokeAll: Loaded<number, R>
}

/**
 * A definition's verifier.
 *
 * **Gotchas**
 *
 * A verifier accepts a session by succeeding with `undefined`. Any other value refuses it, so that a check that answers
 * `false` accepts nothing.
 *
 * @category models
 * @since 0.1.0
 */
export interface Verifier<A, R extends ReadonlyArray<Tagged>> {
  readonly verify: (session: Session<A>) => Effect.Effect<void, Refusal<R> | SessionUnavailable>
}

/**
 * The manager of a definition's sessions, without HTTP.
 *
 * `modify` and `rotate` take a token, or a session that the manager answered before, which saves a read: the first
 * compare-and-set uses the record that the session was read from.
 *
 * @category models
 * @since 0.1.0
 */
export interface SessionManager<A, R extends ReadonlyArray<Tagged>> {
  /**
   * Makes a session with a fresh id and secret, and ends the principal's sessions over `maxPerPrincipal`. Fails with
   * `Superseded`, and leaves no session, if the principal's sessions were ended after `began`.
   */
  readonly create: (
    data: A,
    options?: CreateOptions & {
      /** Tokens of sessions that the caller ends next, which `maxPerPrincipal` does not count. */
      readonly replaces?: ReadonlyArray<Redacted.Redacted<string>> | undefined
    }
  ) => Effect.Effect<Session<A>, SessionInvalid | SessionUnavailable>
  /**
   * Makes a session in place of another, with data made from its own, and no update of these that was answered is lost:
   * from before `f` runs no token opens the old session. Of a token that opens none, `f` gets nothing.
   *
   * If the old session, or its token, is gone since it was read, or another log-in is making one in its place, it fails
   * with `NotFound` and makes nothing.
   */
  readonly createFrom: (
    before: Redacted.Redacted<string> | Session<A>,
    f: (before: Option.Option<A>) => A,
    options?: CreateOptions
  ) => Effect.Effect<Session<A>, SessionInvalid | SessionConflict | SessionUnavailable>
  /**
   * Says that the user has proved again who they are: makes a session in place of this one, with the same data, client,
   * kind of cookie and timeouts, which start anew.
   */
  readonly reauthenticate: (
    session: Redacted.Redacted<string> | Session<A>,
    options?: Pick<CreateOptions, "methods" | "began">
  ) => Effect.Effect<Session<A>, SessionInvalid | Refusal<R> | SessionConflict | SessionUnavailable>
  /**
   * Reads the session of a token: checks token, secret and deadlines, decodes, verifies, and touches it when due.
   *
   * With `touch: false` the look does not keep the session alive. With `rotate: true` a scheduled rotation may take place:
   * the session then has another token than the one given, and the caller must hand it to the client. `arrived` is when the
   * token came, if that was not now: in nanoseconds, as `Clock.currentTimeNanos` gives them.
   */
  readonly resolve: (
    token: Redacted.Redacted<string>,
    options?: {
      readonly touch?: boolean | undefined
      readonly rotate?: boolean | undefined
      readonly arrived?: bigint | undefined
    }
  ) => Effect.Effect<Session<A>, SessionInvalid | Refusal<R> | SessionUnavailable>
  /** The session of an id, if it lives, as its owner may see it. */
  readonly get: (id: SessionId) => Effect.Effect<Option.Option<SessionInfo<A | undefined>>, SessionUnavailable>
  /** Changes what a list of devices shows of the client: the fields given, and removes those given as `undefined`. */
  readonly describe: (
    session: Redacted.Redacted<string> | Session<A>,
    client: ClientInfo
  ) => Effect.Effect<Session<A>, SessionInvalid | Refusal<R> | SessionConflict | SessionUnavailable>
  /**
   * Changes the data of all of a principal's live sessions, as `modify` does, but whether or not the verifier accepts
   * them: to take a role away. Answers in how many sessions `f` has been applied; those whose data do not decode are left.
   *
   * **Gotchas**
   *
   * A session that is made meanwhile may have the old data. Store first what new sessions are made from.
   */
  readonly modifyAll: (
    principal: string,
    f: (data: A) => A
  ) => Effect.Effect<number, SessionConflict | SessionUnavailable>
  /**
   * Changes the data by a function, which runs again on a conflict, on a copy of its own each time. Data that encode as
   * before write nothing.
   */
  readonly modify: <B>(
    token: Redacted.Redacted<string> | Session<A>,
    f: (data: A) => readonly [B, A]
  ) => Effect.Effect<readonly [B, Session<A>], SessionInvalid | Refusal<R> | SessionConflict | SessionUnavailable>
  /** Replaces the data of a snapshot, or fails with `SessionConflict` if the session has changed since. */
  readonly replace: (
    session: Session<A>,
    data: A
  ) => Effect.Effect<Session<A>, SessionInvalid | Refusal<R> | SessionConflict | SessionUnavailable>
  /** Gives the session a new secret and token. The id stays. */
  readonly rotate: (
    token: Redacted.Redacted<string> | Session<A>
  ) => Effect.Effect<Session<A>, SessionInvalid | Refusal<R> | SessionConflict | SessionUnavailable>
  /**
   * Ends the session of a token, even of one that was rotated since. Answers whether the token was issued for this
   * definition; any other token ends nothing.
   */
  readonly destroy: (token: Redacted.Redacted<string>) => Effect.Effect<boolean, SessionUnavailable>
  /** A principal's live sessions, newest first, at most 1,000. Of one whose data do not decode, `data` is `undefined`. */
  readonly list: (principal: string) => Effect.Effect<ReadonlyArray<SessionInfo<A | undefined>>, SessionUnavailable>
  /** Ends a session by its id, if it is its owner's. */
  readonly revoke: (id: SessionId, owner: { readonly principal: string }) => Effect.Effect<boolean, SessionUnavailable>
  /** Ends a session by its id, whatever its principal: for an administrator. */
  readonly revokeAny: (id: SessionId) => Effect.Effect<boolean, SessionUnavailable>
  /**
   * Ends all of a principal's sessions, except one, the newest first. Answers how many. Log-ins of the principal that
   * began before and are still under way fail with `Superseded`.
   *
   * However many there are, each call of the store has its own deadline, and other work goes on in between. If it fails or
   * is interrupted, those it has ended by then stay ended.
   */
  readonly revokeAll: (
    principal: string,
    options?: {
      readonly except?: SessionId | undefined
      /** Log-ins that began before this fail. @default now */
      readonly before?: DateTime.Utc | bigint | undefined
    }
  ) => Effect.Effect<number, SessionUnavailable>
}

/**
 * Identifies a definition's verified session in `R`.
 *
 * @category utility types
 * @since 0.1.0
 */
export interface VerifiedOf<Self> {
  readonly "~effect-sessions/Session/Verified": Self
}

/**
 * Identifies a definition's verifier in `R`.
 *
 * @category utility types
 * @since 0.1.0
 */
export interface VerifierOf<Self> {
  readonly "~effect-sessions/Session/Verifier": Self
}

/**
 * Identifies a definition's manager in `R`.
 *
 * @category utility types
 * @since 0.1.0
 */
export interface ManagerOf<Self> {
  readonly "~effect-sessions/Session/Manager": Self
}

/**
 * Identifies a definition's frontend in `R`.
 *
 * @category utility types
 * @since 0.1.0
 */
export interface FrontendOf<Self> {
  readonly "~effect-sessions/Session/Frontend": Self
}

/**
 * What `SessionMiddleware.layer` provides and the middlewares ask for: this definition's manager and its frontend.
 *
 * @category utility types
 * @since 0.1.0
 */
export type Bound<Self> = ManagerOf<Self> | FrontendOf<Self>

/**
 * The services that every manager needs.
 *
 * @category utility types
 * @since 0.1.0
 */
export type Core = SessionBackend | SessionKeys | Mac.Mac | Digest.Digest | SecureRandom.SecureRandom

/**
 * How long a definition's sessions live, how many of them a principal may have, and how long a backend call may take.
 *
 * @category options
 * @since 0.1.0
 */
export interface LayerOptions {
  /**
   * How long a session lives without a request.
   *
   * @default 1 hour (NIST SP 800-63B-4, AAL2)
   */
  readonly idleTimeout?: Duration.Input | undefined
  /**
   * How long a session lives at most.
   *
   * @default 24 hours (NIST SP 800-63B-4, AAL2)
   */
  readonly absoluteTimeout?: Duration.Input | undefined
  /**
   * The least time between two writes of "last seen". At most half the idle timeout: otherwise a session in use could
   * end between two writes.
   *
   * @default 1 minute, or a tenth of the idle timeout if that is shorter
   */
  readonly touchInterval?: Duration.Input | undefined
  /**
   * How long a backend call may take. One operation on a session takes a quarter more at most; a log-in, `revokeOthers`
   * and `revokeAll` make several calls one after the other.
   *
   * @default 1 second
   */
  readonly backendTimeout?: Duration.Input | undefined
  /**
   * How many sessions a principal may have, 1 to 1,000, or `false` for any number. A log-in that makes one more ends the
   * one that was seen least recently.
   *
   * @default 100
   */
  readonly maxPerPrincipal?: number | false | undefined
  /**
   * Gives a session a new token this often, where the response of a request can carry it: 5 minutes at least. All servers
   * must know of rotation before one does it.
   *
   * @default never
   */
  readonly rotateEvery?: Duration.Input | undefined
  /**
   * How long the token before a scheduled rotation stands beside the new one, once the new one has been seen: 5 minutes
   * at most. After that it is taken for a stolen copy, and ends the session.
   *
   * @default 30 seconds
   */
  readonly rotationGrace?: Duration.Input | undefined
}

/**
 * What a `Clear-Site-Data` header may name.
 *
 * @category models
 * @since 0.1.0
 */
export type SiteData =
  | "cache"
  | "clientHints"
  | "cookies"
  | "executionContexts"
  | "prefetchCache"
  | "prerenderCache"
  | "storage"
  | "*"

/**
 * A frontend bound to a definition, with what `SessionMiddleware.layer` was told of its requests.
 *
 * @category models
 * @since 0.1.0
 */
export interface BoundFrontend<A> extends AnyFrontend {
  /** What a list of devices shows of a request's client. */
  readonly client?: ((request: HttpServerRequest) => ClientInfo) | undefined
  /** The session of another library that a request carries, which becomes one of ours. */
  readonly adopt?:
    | ((request: HttpServerRequest) => Effect.Effect<Option.Option<Adopted<A>>, SessionUnavailable>)
    | undefined
  /** What a log-out takes from the browser besides its cookie. */
  readonly clearSiteData?: ReadonlyArray<SiteData> | false | undefined
}

// An interface cannot extend an indexed type by itself.
type AnyFrontend = SessionFrontend["Service"]

/**
 * What the session of another library becomes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Adopted<A> {
  readonly data: A
  /** Without `authenticatedAt` the user counts as one who has not proved who they are: no `fresh` lets them through. */
  readonly options?: CreateOptions | undefined
}

/**
 * A shape that data once had, and how they get the next one.
 *
 * @category models
 * @since 0.1.0
 */
export interface OlderVersion {
  readonly schema: Schema.Decoder<unknown>
  /** Takes what `schema` decodes: `versions` and `to` see to that. */
  readonly up: (before: never) => unknown
}

/**
 * The shapes that a definition's data have had, made with `versions`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Versions<A> {
  /** The number of the newest version. */
  readonly version: number
  /** The schema of the newest version. */
  // As `data` of a definition.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly schema: Schema.Codec<A, any>
  /** Those before it, one number each, the oldest first. */
  readonly older: ReadonlyArray<OlderVersion>
  /**
   * Adds a version: its schema, and how the data of the version before are brought up to it. Where the schema has mutable
   * arrays, write the type that `up` answers.
   */
  // `const`: without it a literal in what `up` answers is inferred as any string, and a tuple as an array.
  readonly to: <S extends Schema.Codec<unknown, unknown>, const B extends S["Type"]>(
    next: S,
    up: (before: A) => B
  ) => Versions<S["Type"]>
}

const versionsOf = <A, I>(
  schema: Schema.Codec<A, I>,
  version: number,
  older: ReadonlyArray<OlderVersion>
): Versions<A> => ({
  version,
  schema,
  older,
  to: (next, up) => versionsOf(next, version + 1, [...older, { schema, up }])
})

/**
 * Data that change their shape while users are logged in: the first version's schema, and for each later one its schema
 * and a function that brings the data of the version before up to it. It is the `data` of a definition.
 *
 * **Details**
 *
 * - A record is decoded by the schema of the version under which it was written, and brought up on each read. The next
 *   change of its data writes it in the newest version; a read writes nothing.
 * - What a function answers is checked by the schema of its version, and must be data that can be stored. If it is not, if
 *   the function throws, or if the record is older than the first version, the session is refused as one whose data do
 *   not decode: `SessionInvalid` with the reason `"Data"`, and a log line that names the step.
 * - `version` is the first version's number, 1 by default: a whole number from 1. A definition that had `dataVersion: 4`
 *   and one schema goes on with `version: 4`.
 *
 * **Gotchas**
 *
 * - A server that does not know of a version yet reads its data only if its own schema decodes them, and answers its
 *   changes with `SessionConflict`. For a deploy in which both versions run, let the new schema keep the fields that
 *   the old one needs, and drop them in a later version; otherwise the old servers answer 401 to sessions that the new
 *   ones have changed.
 * - The functions must not change who the user is: a session's principal never changes, and one whose data say another
 *   cannot be changed.
 * - Change no schema of a version that is out. The first one is needed until the absolute timeout has passed since the last
 *   server that wrote it stopped; from then on the chain may begin with `versions(V2, { version: 2 })`.
 *
 * **Example** (Splitting a name in two)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Session } from "effect-sessions"
 *
 * const V1 = Schema.Struct({ id: Schema.String, name: Schema.String })
 * const V2 = Schema.Struct({ id: Schema.String, first: Schema.String, last: Schema.String })
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Session.versions(V1).to(V2, ({ id, name }) => {
 *     const [first = "", ...rest] = name.split(" ")
 *     return { id, first, last: rest.join(" ") }
 *   }),
 *   principal: (data) => data.id
 * }) {}
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const versions = <A, I>(
  first: Schema.Codec<A, I>,
  options?: {
    /** @default 1 */
    readonly version?: number | undefined
  }
): Versions<A> => versionsOf(first, options?.version ?? 1, [])

/**
 * A session definition, made with `Service`: the service of the request's session, with the keys of the services that
 * belong to it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Definition<Self, A, R extends ReadonlyArray<Tagged>> extends Context.Service<
  Self,
  RequestSession<A, R>
> {
  // The library never names the encoded side of the schema, and `unknown` would not infer.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly data: Schema.Codec<A, any>
  readonly dataVersion: number
  /** The versions of data that have changed their shape; `data` and `dataVersion` are of the newest. */
  readonly versions: Versions<A> | undefined
  readonly refused: R
  readonly principal: ((data: A) => string | undefined) | undefined
  /** The session a guard has verified. Cannot fail; a snapshot of when the guard ran. */
  readonly Verified: Context.Service<VerifiedOf<Self>, Session<A>>
  readonly Verifier: Context.Service<VerifierOf<Self>, Verifier<A, R>>
  readonly Manager: Context.Service<ManagerOf<Self>, SessionManager<A, R>>
  readonly Frontend: Context.Service<FrontendOf<Self>, BoundFrontend<A>>
}

/**
 * The class that `Service` returns. Its key, the identifier, is the namespace of its records and the audience of its
 * tokens.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServiceClass<Self, Id extends string, A, R extends ReadonlyArray<Tagged>>
  extends
    Context.ServiceClass<Self, Id, RequestSession<A, R>>,
    Omit<Definition<Self, A, R>, keyof Context.Service<Self, RequestSession<A, R>>> {}

type Refused<X> =
  X extends ReadonlyArray<Tagged> ? X : X extends Tagged ? readonly [X] : readonly [typeof SessionRefused]

/**
 * What a guard of this session provides: the request's session, and the verified one.
 *
 * @category utility types
 * @since 0.1.0
 */
export type Provided<S> =
  // Only `Self` is taken out; the other parameters may be anything.
  // oxlint-disable-next-line typescript/no-explicit-any
  S extends Definition<infer Self, any, any> ? Self | VerifiedOf<Self> : never

/**
 * Defines a session.
 *
 * **Details**
 *
 * - `data`: a schema without services, which encodes to plain JSON; it is decoded on every read. Under `Schema.Any` a
 *   `Date`, a `Map`, an instance of a class, a function, a bigint or `NaN` is a `SessionDataError`, and a property that is
 *   `undefined` is left out. A schema such as `Schema.Date` encodes its values.
 * - `principal`: the user who is logged in, from the data: 1 to 256 bytes. With it a guard refuses anonymous sessions;
 *   without it `list` and the `revoke` operations fail with `SessionMissing`.
 * - `refused`: the verifier's own error or errors, `Schema.TaggedError`s with an `httpApiStatus`; `SessionRefused`
 *   without.
 * - `dataVersion`: raise it when a change of the schema would make an older server, still running, write back data
 *   with fields lost: it then reads such sessions but fails to update them (`SessionConflict`). A whole number from 1,
 *   which is the default. `Session.versions` gives each shape of the data its own, for data that the newest schema alone
 *   does not decode.
 *
 * @category constructors
 * @since 0.1.0
 */
export const Service =
  <Self>() =>
  <const Id extends string, A, I, const X extends Tagged | ReadonlyArray<Tagged> | undefined = undefined>(
    id: Id,
    options: {
      readonly refused?: X
      readonly principal?: ((data: A) => string | undefined) | undefined
    } & (
      | { readonly data: Schema.Codec<A, I>; readonly dataVersion?: number | undefined }
      | { readonly data: Versions<A>; readonly dataVersion?: undefined }
    )
  ): ServiceClass<Self, Id, A, Refused<X>> => {
    type R = Refused<X>
    const { data, dataVersion = 1, refused } = options
    const versions = Schema.isSchema(data) ? undefined : data
    class Class extends Context.Service<Self, RequestSession<A, R>>()(id) {
      static readonly data = Schema.isSchema(data) ? data : data.schema
      static readonly dataVersion = versions?.version ?? dataVersion
      static readonly versions = versions
      // The same distinction as `Refused` makes for types.
      static readonly refused = (refused === undefined
        ? [SessionRefused]
        : Array.isArray(refused)
          ? refused
          : [refused]) as ReadonlyArray<Tagged> as R
      static readonly principal = options.principal
      static readonly Verified = Context.Service<VerifiedOf<Self>, Session<A>>(`${id}/Verified`)
      static readonly Verifier = Context.Service<VerifierOf<Self>, Verifier<A, R>>(`${id}/Verifier`)
      static readonly Manager = Context.Service<ManagerOf<Self>, SessionManager<A, R>>(`${id}/Manager`)
      static readonly Frontend = Context.Service<FrontendOf<Self>, BoundFrontend<A>>(`${id}/Frontend`)
    }
    return Class
  }

/**
 * The type of `errors`.
 *
 * @category utility types
 * @since 0.1.0
 */
export type Errors<R extends ReadonlyArray<Tagged>> = readonly [
  typeof SessionMissing,
  typeof SessionInvalid,
  ...R,
  typeof SessionCrossOrigin,
  typeof SessionConflict,
  typeof SessionUnavailable
]

/**
 * All errors a guarded route can answer with, for the `error` of an `HttpApiMiddleware`.
 *
 * @category accessors
 * @since 0.1.0
 */
export const errors = <Self, A, R extends ReadonlyArray<Tagged>>(session: Definition<Self, A, R>): Errors<R> => [
  SessionMissing,
  SessionInvalid,
  ...session.refused,
  SessionCrossOrigin,
  SessionConflict,
  SessionUnavailable
]
