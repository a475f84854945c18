/**
 * The sessions the manager answers: the public snapshot, with the record it was made from at hand for the next
 * compare-and-set, and out of sight of whatever prints or spreads the snapshot.
 *
 * @internal
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { Session, SessionId, SessionInfo } from "../Session.ts"
import type { SessionRecord } from "../SessionBackend.ts"
import { redact } from "./tokenText.ts"

/** @internal */
export class LiveSession<A> implements Session<A> {
  readonly id: SessionId
  readonly data: A
  readonly principal: Option.Option<string>
  readonly createdAt: DateTime.Utc
  readonly authenticatedAt: DateTime.Utc
  readonly lastSeenAt: DateTime.Utc
  readonly expiresAt: DateTime.Utc
  readonly version: number
  declare readonly token: Redacted.Redacted<string>
  readonly #record: SessionRecord
  readonly #text: string
  #token: Redacted.Redacted<string> | undefined = undefined

  constructor(record: SessionRecord, data: A, expiresAt: number, token: string) {
    // An id in a record was made by `randomId`.
    this.id = record.id as SessionId
    this.data = data
    this.principal = record.principal === undefined ? Option.none() : Option.some(record.principal)
    this.createdAt = DateTime.makeUnsafe(record.createdAt)
    // One object for one time: making these is dear, and a session is read on every request.
    this.authenticatedAt =
      record.authenticatedAt === record.createdAt ? this.createdAt : DateTime.makeUnsafe(record.authenticatedAt)
    this.lastSeenAt = record.lastSeenAt === record.createdAt ? this.createdAt : DateTime.makeUnsafe(record.lastSeenAt)
    this.expiresAt = DateTime.makeUnsafe(expiresAt)
    this.version = record.version
    this.#record = record
    this.#text = token
    Object.defineProperty(this, "token", LiveSession.#tokenProperty)
  }

  /** A property of each session's own, so that a copy has it too; but the `Redacted` is only made for who asks. */
  static readonly #tokenProperty: PropertyDescriptor = {
    enumerable: true,
    configurable: true,
    get(this: LiveSession<unknown>) {
      return (this.#token ??= redact(this.#text))
    }
  }

  /** The token's text. */
  static text(session: Session<unknown>): string {
    return session instanceof LiveSession ? session.#text : Redacted.value(session.token)
  }

  /** The record behind a session, if the manager made it. */
  static record(session: Session<unknown>): SessionRecord | undefined {
    return session instanceof LiveSession ? session.#record : undefined
  }
}

/** @internal */
export const infoOf = <A>({
  authenticatedAt,
  createdAt,
  data,
  expiresAt,
  id,
  lastSeenAt,
  principal,
  version
}: Session<A>): SessionInfo<A> => ({
  id,
  data,
  principal,
  createdAt,
  authenticatedAt,
  lastSeenAt,
  expiresAt,
  version
})
