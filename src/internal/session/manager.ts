/**
 * The manager of a definition's sessions, its verifier and its options.
 *
 * @internal
 */
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type { SessionConflict, SessionInvalid, SessionUnavailable } from "../../SessionError.ts"
import type { SessionEvent } from "./events.ts"
import type {
  ClientInfo,
  CreateOptions,
  Refusal,
  Session,
  SessionId,
  SessionInfo,
  Tagged,
  Unauthenticated
} from "./models.ts"

/**
 * A page of a definition's sessions. Where there may be more, `next` is the cursor to pass as `after`.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface SessionInfoPage<A> {
  /** Of one whose data do not decode, `data` is `undefined`. */
  readonly sessions: ReadonlyArray<SessionInfo<A | undefined>>
  readonly next?: string | undefined
}

/**
 * A definition's verifier.
 *
 * **Gotchas**
 *
 * A verifier accepts a session by succeeding with `undefined`. Any other value refuses it, so that a check that answers
 * `false` accepts nothing.
 *
 * @stability unstable
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
 * @stability unstable
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
   * Makes a session of another library's session, once: all who ask with the same `from`, which is the old session's id, get
   * the one that the first has made, with the same token. Once that has ended, or has got another token, it fails with
   * `NotFound`, for as long as a browser may send the old cookie; and so it does for another principal. Without
   * `authenticatedAt` it is no proof of who the user is. An empty `from` is a defect.
   */
  readonly adopt: (
    from: string,
    data: A,
    options?: CreateOptions
  ) => Effect.Effect<Session<A>, SessionInvalid | Refusal<R> | SessionUnavailable>
  /**
   * Ends what `adopt` has made, or will make, of another library's session: for a log-out there. Answers whether there was
   * one to end.
   */
  readonly disown: (
    from: string,
    options?: { readonly except?: SessionId | undefined }
  ) => Effect.Effect<boolean, SessionUnavailable>
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
  readonly destroy: (
    token: Redacted.Redacted<string>,
    options?: {
      /** What the event says of it. @default "logout" */
      readonly why?: "logout" | "replaced" | "undone" | undefined
    }
  ) => Effect.Effect<boolean, SessionUnavailable>
  /**
   * Answers why, as soon as this session no longer stands: ended in any process, expired, or refused by the verifier. For
   * streams and sockets that are to end with it.
   *
   * It looks at the session when it begins, every 25 seconds or so, and when the backend says that the session may have
   * ended. A look keeps no session alive. A store or a verifier that fails ends nothing; the absolute deadline does.
   */
  readonly ended: (session: Session<A>) => Effect.Effect<Unauthenticated | Refusal<R>>
  /**
   * A page of all live sessions of the definition, for an administrator: in an order of the store's own, in Redis perhaps
   * one of them twice. A page may hold none, and have a `next`. One that is there during the whole walk is in a page of it.
   *
   * A `limit` that is out of bounds is a defect. A cursor that is none of the store's is a `SessionUnavailable`, or the
   * begin of a walk.
   */
  readonly scan: (options?: {
    /** How many records the page looks at: 1 to 1,000. @default 250 */
    readonly limit?: number | undefined
    readonly after?: string | undefined
  }) => Effect.Effect<SessionInfoPage<A>, SessionUnavailable>
  /** A principal's live sessions, newest first, at most 1,000. Of one whose data do not decode, `data` is `undefined`. */
  readonly list: (principal: string) => Effect.Effect<ReadonlyArray<SessionInfo<A | undefined>>, SessionUnavailable>
  /** Ends a session by its id, if it is its owner's. */
  readonly revoke: (id: SessionId, owner: { readonly principal: string }) => Effect.Effect<boolean, SessionUnavailable>
  /**
   * Ends a session by its id, whatever its principal: for an administrator. Answers whether it was this call that ended it:
   * of several at once, in any process, one is told so, or none where a reply of the store is lost.
   */
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
 * How long a definition's sessions live, how many of them a principal may have, and how long a backend call may take.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface LayerOptions {
  /**
   * How long a session lives without a request: not longer than `absoluteTimeout`.
   *
   * @default 1 hour (NIST SP 800-63B-4, AAL2)
   */
  readonly idleTimeout?: Duration.Input | undefined
  /**
   * How long a session lives at most: up to 400 days, as a cookie does (RFC 6265bis 5.5).
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
   * @default 100 (ASVS 7.1.2 asks for a limit; sessions that a user forgot lock no user out)
   */
  readonly maxPerPrincipal?: number | false | undefined
  /**
   * Gives a session a new token this often, where the response of a request can carry it: 5 minutes at least, and shorter
   * than `absoluteTimeout`. All servers must know of rotation before one does it.
   *
   * @default never
   */
  readonly rotateEvery?: Duration.Input | undefined
  /**
   * How long the token before a scheduled rotation stands beside the new one, once the new one has been seen: 5 minutes
   * at most. After that it is taken for a stolen copy, and ends the session. It means nothing without `rotateEvery`.
   *
   * @default 30 seconds
   */
  readonly rotationGrace?: Duration.Input | undefined
}

/**
 * The options of a definition's manager.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface ManagerOptions<A, R extends ReadonlyArray<Tagged>, RX = never> extends LayerOptions {
  /**
   * Is told what happens to sessions, after the store has answered and before the caller is. It changes no answer: if it
   * dies, or takes longer than `backendTimeout`, that is logged. It has the services of the caller besides its own.
   *
   * It may use the manager, and what it does is told of too. It must not wait for the request's own session, which waits
   * for it. Of sessions that end in one batch it is told 16 at a time; if it takes more than ten times `backendTimeout` for
   * them, or hangs for all of them, that is logged, and it is told of no more of that `revokeAll` or sweep.
   *
   * With a handler, `destroy` and `revokeAny` read the session first: once it is deleted the store does not know whose it was.
   *
   * @default nothing is told
   */
  readonly onEvent?: ((event: SessionEvent<A, R>) => Effect.Effect<void, never, RX>) | undefined
  /**
   * What the current span says of an accepted session, by the names of OpenTelemetry: its id, its principal. Why a request
   * is refused, and which call of the store failed, the span says always: `session.refused`, `session.backend.operation`
   * and `session.backend.outcome`.
   *
   * @default nothing
   */
  readonly spanAttributes?: ReadonlyArray<"session.id" | "user.id"> | undefined
}
