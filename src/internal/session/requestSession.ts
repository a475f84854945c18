/**
 * The request's session, as a handler has it.
 *
 * @internal
 */
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { SessionConflict, SessionInvalid, SessionStale, SessionUnavailable } from "../../SessionError.ts"
import type {
  Changed,
  ClientInfo,
  CreateOptions,
  Fresh,
  Loaded,
  Refusal,
  Session,
  SessionId,
  SessionInfo,
  Tagged,
  Unauthenticated
} from "./models.ts"

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
 * @stability unstable
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
  /**
   * Answers why, as soon as this session no longer stands: ended in any process, expired, or refused by the verifier.
   * `Stream.interruptWhen(session.ended)` closes a feed, `Effect.raceFirst(talk, session.ended)` a socket.
   */
  readonly ended: Effect.Effect<Unauthenticated | Refusal<R>>
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
