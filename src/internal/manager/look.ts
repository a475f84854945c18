/**
 * Looking at a session: whether a token opens it, and what the look itself writes.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { Session } from "../../Session.ts"
import type { SessionRecord } from "../../SessionBackend.ts"
import { SessionInvalid } from "../../SessionError.ts"
import type { SessionUnavailable } from "../../SessionError.ts"
import { errorOf, failure } from "../exit.ts"
import * as Token from "../token/token.ts"
import { sealOf } from "./extension.ts"
import { LiveSession, withoutToken } from "./liveSession.ts"
import type { Parts } from "./parts.ts"
import * as Rotation from "./rotation.ts"

export const expired = failure(new SessionInvalid({ reason: "Expired" }))
export const notFound = failure(new SessionInvalid({ reason: "NotFound" }))
const reused = failure(new SessionInvalid({ reason: "Reused" }))
const undecodable = failure(new SessionInvalid({ reason: "Data" }))

/** Whether a token, or a session, was refused for this reason. */
export const isInvalid = (exit: Exit.Exit<unknown, unknown>, reason: SessionInvalid["reason"]): boolean => {
  const error = Exit.isFailure(exit) ? errorOf(exit.cause) : undefined
  return Predicate.isTagged(error, "SessionInvalid") && (error as SessionInvalid).reason === reason
}

/** What a look may do to the session. */
export interface Look {
  readonly touch: boolean
  readonly rotate: boolean
  /** When the token arrived, in milliseconds, if that was not now. */
  readonly arrived?: number | undefined
  /** What the token means has been written, or another request was faster to write. */
  readonly isAgain?: boolean
}

export const noTouch: Look = { touch: false, rotate: false }

const again: Look = { ...noTouch, isAgain: true }

export type Looks<A, E> = ReturnType<typeof make<A, E>>

export const make = <A, E>(
  { data, deadlines, end, events, namespace, random, sha256, snapshot, storage, times, tokens }: Parts<A>,
  verified: (session: LiveSession<A>) => Effect.Effect<LiveSession<A>, E | SessionUnavailable>
) => {
  type Readable = Effect.Effect<LiveSession<A>, SessionInvalid>
  type Accepted = Effect.Effect<LiveSession<A>, SessionInvalid | E | SessionUnavailable>

  /** A shorter deadline for what a look writes: the request should not wait for it. */
  const writeTimeout = times.backend / 4

  /** The sessions that a look is writing to just now. */
  const writing = new Set<string>()

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
    if (writing.has(id)) return Exit.succeed(session)
    return Effect.uninterruptible(
      Effect.suspend(() => {
        writing.add(id)
        return Effect.onExit(Effect.option(write), () => Effect.sync(() => writing.delete(id)))
      })
    ).pipe(Effect.flatMap((written) => (Option.isNone(written) ? Exit.succeed(session) : then(written.value))))
  }

  const touched = (session: LiveSession<A>, now: number): Accepted => {
    const record = LiveSession.record(session)
    const seen = deadlines.seenAt(record, now)
    return aside(session, storage.touch(record.id, seen, writeTimeout), (result) =>
      result === "gone" ? notFound : Exit.succeed(snapshot({ ...record, ...seen }, session.data, session.token, now))
    )
  }

  /** A copy of the token was stolen: the session ends, for its owner too. */
  const endStolen = (record: SessionRecord): Accepted =>
    end(record.id, "reused", { known: record }).pipe(
      Effect.andThen(
        Effect.annotateLogs(
          Effect.logWarning("a token was used after its time: a stolen copy. The session has ended"),
          {
            namespace,
            id: record.id
          }
        )
      ),
      Effect.andThen(reused)
    )

  /** Whether the token with this hash opens the record of its id, and what the look itself writes. */
  const opened = (
    record: SessionRecord,
    hash: string,
    token: Redacted.Redacted<string>,
    now: number,
    { arrived = now, isAgain = false, rotate, touch }: Look
  ): Accepted => {
    const verdict = Rotation.judge(record, hash, { now, arrived: Math.min(arrived, now) }, times.rotation, rotate)
    if (verdict._tag === "unknown") return notFound
    if (verdict._tag === "reused") return endStolen(record)
    if (events !== undefined && now >= deadlines.expiryOf(record, now)) {
      return Effect.andThen(events.ended([record], "expired"), expired)
    }
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
    const { data } = session
    const record = LiveSession.record(session)
    const { idleExpiresAt, lastSeenAt } = touch ? deadlines.seenAt(record, now) : record
    const update = (patch: { readonly secretHash?: string; readonly extension: string }) =>
      storage.update(record.id, record.version, { ...patch, idleExpiresAt, lastSeenAt }, writeTimeout)
    const write = Effect.gen(function* () {
      if (rotated === undefined) return { result: yield* update({ extension: seen! }), token: session.token }
      const secret = yield* Token.randomSecret(random)
      const secretHash = yield* sha256(secret)
      const result = yield* update({ secretHash, extension: rotated(secretHash) })
      const token = yield* tokens.issue({ id: record.id, secret })
      if (events !== undefined && result._tag === "updated") {
        const session = withoutToken(snapshot(result.record, data, token, now))
        yield* events.tell({ _tag: "Rotated", session })
      }
      return { result, token }
    })
    return aside(session, write, ({ result, token }) => {
      if (result._tag === "gone") return notFound
      return result._tag === "updated"
        ? Exit.succeed(snapshot(result.record, data, token, now))
        : // Another request was faster: the token is judged by what that one has made of the record.
          opened(result.record, hash, session.token, now, again)
    })
  }

  /** `telling` wraps what may be refused, not a session that is there already. */
  const load = (token: Redacted.Redacted<string>, look: Look, telling?: (session: Accepted) => Accepted): Accepted =>
    Clock.clockWith((clock) => {
      const session = Effect.flatMapEager(tokens.check(token), ({ id, secret }) =>
        Effect.flatMapEager(sha256(secret), (hash) =>
          Effect.flatMapEager(storage.read(id), (found): Accepted =>
            found._tag === "None" ? notFound : opened(found.value, hash, token, clock.currentTimeMillisUnsafe(), look)
          )
        )
      )
      return telling === undefined || (Exit.isExit(session) && Exit.isSuccess(session)) ? session : telling(session)
    })

  return {
    admit,
    readable,
    opened,
    load,
    /** The session to change: what the caller holds already, or read now. */
    held: (source: Redacted.Redacted<string> | Session<A>): Accepted => {
      if (Redacted.isRedacted(source)) return load(source, noTouch)
      return LiveSession.is(source) ? Exit.succeed(source) : load(source.token, noTouch)
    },
    /** The check of a newer record for a change that asks no verifier. */
    withoutVerifier: (record: SessionRecord, { token }: LiveSession<A>, now: number): Readable =>
      sealOf(record) === undefined ? readable(record, token, now) : notFound
  }
}
