/**
 * The sessions the manager answers: the public snapshot, with the record it was made from, which the next
 * compare-and-set starts from.
 *
 * @internal
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { Session, SessionId, SessionInfo } from "../../Session.ts"
import type { SessionRecord } from "../../SessionBackend.ts"

export class LiveSession<A> implements Session<A> {
  readonly id: SessionId
  readonly data: A
  readonly principal: Option.Option<string>
  readonly createdAt: DateTime.Utc
  readonly authenticatedAt: DateTime.Utc
  readonly lastSeenAt: DateTime.Utc
  readonly expiresAt: DateTime.Utc
  readonly version: number
  readonly token: Redacted.Redacted<string>
  /** Private: printing or spreading a session does not show it. */
  readonly #record: SessionRecord

  constructor(record: SessionRecord, data: A, expiresAt: number, token: Redacted.Redacted<string>) {
    // The store answers the id that `randomClaims` made.
    this.id = record.id as SessionId
    this.data = data
    this.principal = record.principal === undefined ? Option.none() : Option.some(record.principal)
    this.createdAt = DateTime.makeUnsafe(record.createdAt)
    // Equal times share one object: a session is read on every request, and a `DateTime` is dear to make.
    this.authenticatedAt =
      record.authenticatedAt === record.createdAt ? this.createdAt : DateTime.makeUnsafe(record.authenticatedAt)
    this.lastSeenAt = record.lastSeenAt === record.createdAt ? this.createdAt : DateTime.makeUnsafe(record.lastSeenAt)
    this.expiresAt = DateTime.makeUnsafe(expiresAt)
    this.version = record.version
    this.token = token
    this.#record = record
  }

  /** Whether the manager made the session. */
  static is<A>(session: Session<A>): session is LiveSession<A> {
    return #record in session
  }

  /** The record a session was made from. */
  static record(session: LiveSession<unknown>): SessionRecord {
    return session.#record
  }
}

const noToken = Redacted.make("")

/** What may be shown of a record whose token is not at hand. */
export const infoOf = <A>(record: SessionRecord, data: A, expiresAt: number): SessionInfo<A> => {
  const { token: _, ...info } = new LiveSession(record, data, expiresAt, noToken)
  return info
}
