/**
 * The sessions the manager answers: the public snapshot, with the record it was made from, which the next
 * compare-and-set starts from.
 *
 * @internal
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Duration from "effect/Duration"
import type { ClientInfo, Factor, Session, SessionId, SessionInfo } from "../../Session.ts"
import type { SessionRecord } from "../../SessionBackend.ts"
import type { Shown } from "./deadlines.ts"
import { clientOf, factorsOf, parse } from "./extension.ts"

const noFactors: ReadonlyArray<Factor> = []
const noClient: ClientInfo = {}

/**
 * A session is read again and again, its times seldom change, and a `DateTime` is dear to make: the last ones made are
 * kept, one for each remainder. A prime, for which hours and days have different ones.
 */
const made: Array<DateTime.Utc | undefined> = Array.from({ length: 1021 }, () => undefined)

const dateTime = (millis: number): DateTime.Utc => {
  const place = millis % made.length
  const last = made[place]
  return last?.epochMilliseconds === millis ? last : (made[place] = DateTime.makeUnsafe(millis))
}

const recordKey = "~effect-sessions/LiveSession/record"

export class LiveSession<A> implements Session<A> {
  readonly id: SessionId
  readonly data: A
  readonly principal: Option.Option<string>
  readonly createdAt: DateTime.Utc
  readonly authenticatedAt: DateTime.Utc
  readonly factors: ReadonlyArray<Factor>
  readonly lastSeenAt: DateTime.Utc
  readonly idleTimeout: Duration.Duration
  readonly absoluteExpiresAt: DateTime.Utc
  readonly expiresAt: DateTime.Utc
  readonly persistent: boolean
  readonly client: ClientInfo
  readonly version: number
  readonly token: Redacted.Redacted<string>
  /** Private: printing or spreading a session does not show it. */
  readonly #record: SessionRecord

  constructor(record: SessionRecord, data: A, shown: Shown, token: Redacted.Redacted<string>) {
    const { absoluteExpiresAt, expiresAt, idleTimeout } = shown
    // The store answers the id that `randomClaims` made.
    this.id = record.id as SessionId
    this.data = data
    this.principal = record.principal === undefined ? Option.none() : Option.some(record.principal)
    this.createdAt = dateTime(record.createdAt)
    this.authenticatedAt = dateTime(record.authenticatedAt)
    this.lastSeenAt = dateTime(record.lastSeenAt)
    this.idleTimeout = idleTimeout
    this.absoluteExpiresAt = dateTime(absoluteExpiresAt)
    this.expiresAt = dateTime(expiresAt)
    this.persistent = record.persistent
    if (record.extension === "") {
      this.factors = noFactors
      this.client = noClient
    } else {
      const extension = parse(record)
      this.factors = factorsOf(extension).map(([method, at]) => ({ method, at: dateTime(at) }))
      this.client = clientOf(extension)
    }
    this.version = record.version
    this.token = token
    this.#record = record
  }

  [recordKey](): SessionRecord {
    return this.#record
  }

  /** Whether a manager made the session, be it one of another copy of this library. */
  static is<A>(session: Session<A>): session is LiveSession<A> {
    // A method, which no JSON has: what a client sends is none, whatever its keys.
    return typeof (session as Partial<LiveSession<A>>)[recordKey] === "function"
  }

  /** The record a session was made from. */
  static record(session: LiveSession<unknown>): SessionRecord {
    return session[recordKey]()
  }
}

/** What may be shown of a session. */
export const withoutToken = <A>(session: LiveSession<A>): SessionInfo<A> => {
  const { token: _, ...info } = session
  return info
}

/** For sessions that are changed or shown without their token. */
export const noToken = Redacted.make("")

/** What may be shown of a record whose token is not at hand. */
export const infoOf = <A>(record: SessionRecord, data: A, shown: Shown): SessionInfo<A> => {
  return withoutToken(new LiveSession(record, data, shown, noToken))
}
