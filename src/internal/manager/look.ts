/**
 * Looking at a session: whether a token opens it, and what the look itself writes.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { SessionRecord } from "../../SessionBackend.ts"
import { SessionInvalid } from "../../SessionError.ts"
import type { SessionUnavailable } from "../../SessionError.ts"
import { failure } from "../exit.ts"
import * as Token from "../token/token.ts"
import { LiveSession } from "./liveSession.ts"
import type { Parts } from "./parts.ts"
import * as Rotation from "./rotation.ts"

export const expired = failure(new SessionInvalid({ reason: "Expired" }))
export const notFound = failure(new SessionInvalid({ reason: "NotFound" }))
const reused = failure(new SessionInvalid({ reason: "Reused" }))
const undecodable = failure(new SessionInvalid({ reason: "Data" }))

/** What a look may do to the session. */
export interface Look {
  readonly touch: boolean
  readonly rotate: boolean
  /** What the token means has been written, or another request was faster to write. */
  readonly isAgain?: boolean
}

export const noTouch: Look = { touch: false, rotate: false }

const again: Look = { ...noTouch, isAgain: true }

export const make = <A, E>(
  { data, deadlines, namespace, randomly, sha256, snapshot, storage, times, tokens }: Parts<A>,
  verified: (session: LiveSession<A>) => Effect.Effect<LiveSession<A>, E | SessionUnavailable>
) => {
  type Readable = Effect.Effect<LiveSession<A>, SessionInvalid>
  type Accepted = Effect.Effect<LiveSession<A>, SessionInvalid | E | SessionUnavailable>

  /** The sessions that are being touched, or whose token is being rotated. */
  const touching = new Set<string>()

  /** Checks deadlines and data of a record. */
  const readable = (record: SessionRecord, token: Redacted.Redacted<string>, now: number): Readable => {
    if (now >= deadlines.expiryOf(record, now)) return expired
    const decoded = data.decode(record)
    if (Result.isSuccess(decoded)) return Exit.succeed(snapshot(record, decoded.success, token, now))
    return Effect.logWarning("stored session data does not decode").pipe(
      Effect.annotateLogs({ namespace, id: record.id, dataVersion: record.dataVersion, problem: decoded.failure }),
      Effect.andThen(undecodable)
    )
  }

  /** Checks deadlines, data and verifier of a record that is known to be the token's. */
  const admit = (record: SessionRecord, token: Redacted.Redacted<string>, now: number): Accepted =>
    Effect.flatMapEager(readable(record, token, now), verified)

  /**
   * Runs a write that a look at a session brings about. One at a time serves all requests of a session: each of them has
   * read it. If it fails, that costs the session some idle time, or puts a rotation off, and the request nothing.
   */
  const aside = <B>(
    session: LiveSession<A>,
    write: Effect.Effect<B, SessionUnavailable>,
    then: (written: B) => Accepted
  ): Accepted => {
    const { id } = session
    if (touching.has(id)) return Exit.succeed(session)
    return Effect.uninterruptible(
      Effect.suspend(() => {
        touching.add(id)
        return Effect.onExit(Effect.option(write), () => Effect.sync(() => touching.delete(id)))
      })
    ).pipe(Effect.flatMap((written) => (Option.isNone(written) ? Exit.succeed(session) : then(written.value))))
  }

  const touched = (session: LiveSession<A>, now: number): Accepted => {
    const record = LiveSession.record(session)
    const seen = deadlines.seenAt(record, now)
    return aside(session, storage.touch(record.id, seen), (result) =>
      result === "gone" ? notFound : Exit.succeed(snapshot({ ...record, ...seen }, session.data, session.token, now))
    )
  }

  /** Whether the token with this hash opens the record of its id, and what the look itself writes. */
  const opened = (
    record: SessionRecord,
    hash: string,
    token: Redacted.Redacted<string>,
    now: number,
    { isAgain = false, rotate, touch }: Look
  ): Accepted => {
    const verdict = Rotation.judge(record, hash, now, times.rotation, rotate)
    if (verdict._tag === "unknown") return notFound
    if (verdict._tag === "reused") return Effect.andThen(storage.delete(record.id), reused)
    const session = admit(record, token, now)
    if (isAgain) return session
    const { rotated, seen } = verdict
    if (rotated !== undefined || seen !== undefined) {
      return Effect.flatMap(session, (session) => written(session, hash, { rotated, seen }, touch, now))
    }
    return touch && deadlines.isTouchDue(record, now)
      ? Effect.flatMap(session, (session) => touched(session, now))
      : session
  }

  /** Writes that a token has arrived, or puts another in its place. */
  const written = (
    session: LiveSession<A>,
    hash: string,
    { rotated, seen }: Rotation.Writes,
    touch: boolean,
    now: number
  ): Accepted => {
    const record = LiveSession.record(session)
    const { idleExpiresAt, lastSeenAt } = touch ? deadlines.seenAt(record, now) : record
    const update = (patch: { readonly secretHash?: string; readonly extension: string }) =>
      storage.updateAside(record.id, record.version, { ...patch, idleExpiresAt, lastSeenAt })
    const write = Effect.gen(function* () {
      if (rotated === undefined) return { result: yield* update({ extension: seen! }), token: session.token }
      const secret = yield* randomly(Token.randomSecret)
      const secretHash = yield* sha256(secret)
      const result = yield* update({ secretHash, extension: rotated(secretHash) })
      return { result, token: yield* tokens.issue({ id: record.id, secret }) }
    })
    return aside(session, write, ({ result, token }) => {
      if (result._tag === "gone") return notFound
      return result._tag === "updated"
        ? Exit.succeed(snapshot(result.record, session.data, token, now))
        : // Another request was faster: the token is judged by what that one has made of the record.
          opened(result.record, hash, session.token, now, again)
    })
  }

  const load = (token: Redacted.Redacted<string>, look: Look): Accepted =>
    Clock.clockWith((clock) =>
      Effect.flatMapEager(tokens.check(token), ({ id, secret }) =>
        Effect.flatMapEager(sha256(secret), (hash) =>
          Effect.flatMapEager(storage.read(id), (found): Accepted =>
            found._tag === "None" ? notFound : opened(found.value, hash, token, clock.currentTimeMillisUnsafe(), look)
          )
        )
      )
    )

  return { admit, readable, opened, load }
}
