/**
 * The one loop by which a session changes: a compare-and-set on the version of its record, retried on the record that
 * was found instead.
 *
 * Changes of one session wait for each other within a process, and those that wait are written together: the one whose
 * turn it is makes them all, each on the draft that the one before it left, and one write stores the last draft, or none.
 * So a process needs few writes, however many requests it has, and processes are seldom in each other's way. Each turn
 * hands the newest record to the next, which would otherwise begin with the version it read on its arrival.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type * as Redacted from "effect/Redacted"
import type { SessionPatch, SessionRecord } from "../../SessionBackend.ts"
import { SessionConflict, SessionUnavailable } from "../../SessionError.ts"
import type { SessionInvalid } from "../../SessionError.ts"
import { failure } from "../exit.ts"
import { withDeadline } from "./deadline.ts"
import { lineOf } from "./extension.ts"
import type { Events, OwnEvent } from "./events.ts"
import { LiveSession, noToken, withoutToken } from "./liveSession.ts"
import { expired, isInvalid, notFound } from "./look.ts"
import * as Span from "../session/span.ts"
import * as Serial from "./serial.ts"
import type { Parts } from "./parts.ts"
import { unavailable } from "./storage.ts"

/** What to write, and what stands in the session afterwards. */
export interface Write<A> {
  readonly patch: Pick<SessionPatch, "data" | "dataVersion" | "extension" | "secretHash">
  readonly data: A
  readonly token: Redacted.Redacted<string>
}

/** With others that wait, on its own, or on its own and on no other data than those of the session given. */
export type Company = "together" | "alone" | "once"

/** Answers what to write for the session as it is, or nothing, and an answer for the caller. */
export type Change<A, B, E> = (session: LiveSession<A>) => Effect.Effect<readonly [answer: B, Write<A> | undefined], E>

export interface Terms<A, E> {
  /** All that is checked of a newer record before it is changed, once it is known to be the session that was given. */
  readonly admit: (record: SessionRecord, given: LiveSession<A>, now: number) => Effect.Effect<LiveSession<A>, E>
  /** @default "together" */
  readonly company?: Company
  /** The session is whatever has its id. By default its secret must be the one that was given, or come from it on schedule. */
  readonly byId?: boolean
}

export const conflict = failure(new SessionConflict())
const unknown = new SessionUnavailable({ outcome: "unknown" })

/** How many changes are written together at most. */
const maxTogether = 64

/** How long a change is retried on newer versions, in milliseconds: no longer than a call may take. */
const maxContention = 1000

/** Full jitter: anything up to 100 milliseconds, growing with the rounds. */
const pause = (round: number): Effect.Effect<void> =>
  Effect.flatMap(Random.next, (fraction) => Effect.sleep(Math.floor(fraction * Math.min(100, 5 * 2 ** round))))

const tooSlow = () => Exit.succeed(undefined)

/** A change that waits for its turn, or is made in another's. */
interface Job<A, E> {
  readonly given: LiveSession<A>
  readonly terms: Terms<A, E>
  /** Answers what to write, and how to answer the caller once that is stored. */
  readonly change: (
    session: LiveSession<A>
  ) => Effect.Effect<readonly [Write<A> | undefined, succeed: (session: LiveSession<A>) => void], E>
  readonly fail: (exit: Exit.Exit<never, E>) => void
}

/** Whether a newer record is still the session that a job was given. */
const isGiven = <A, E>({ given, terms }: Job<A, E>, record: SessionRecord): boolean =>
  terms.byId === true || lineOf(record) === lineOf(LiveSession.record(given))

const isUnavailable = (error: unknown): error is SessionUnavailable => Predicate.isTagged(error, "SessionUnavailable")

/** Names a call that failed on the current span, too: it was another's, whose span has it. */
const failedElsewhere = <E>(failure: Effect.Effect<never, E>): Effect.Effect<never, E> =>
  Effect.tapError(failure, (error) => (isUnavailable(error) ? Span.failed("update", error.outcome) : Effect.void))

const late = {
  notApplied: failedElsewhere(unavailable.notApplied),
  unknown: failedElsewhere(unavailable.unknown)
}

export type CompareAndSet<A, E> = <B>(
  given: LiveSession<A>,
  change: Change<A, B, SessionInvalid | E | SessionConflict | SessionUnavailable>,
  terms: Terms<A, SessionInvalid | E | SessionConflict | SessionUnavailable>
) => Effect.Effect<readonly [B, LiveSession<A>], SessionInvalid | E | SessionConflict | SessionUnavailable>

export const make = <A, E>({
  data: { decode },
  // Records of a newer data version are read, and not written over.
  dataVersion,
  deadlines,
  events,
  snapshot,
  storage,
  times: { backend: timeout }
}: Parts<A>): CompareAndSet<A, E> => {
  type Failure = SessionInvalid | E | SessionConflict | SessionUnavailable
  const inTurn = Serial.make<Job<A, Failure>, SessionRecord, Failure>(timeout, late)

  /**
   * Makes a job's change of a draft, which is checked like any other record. It is answered once the draft is stored, with
   * a refusal too: that may be the draft's fault.
   */
  const change = (
    job: Job<A, Failure>,
    draft: SessionRecord,
    now: () => number,
    admitted: Effect.Effect<LiveSession<A>, Failure> = isGiven(job, draft)
      ? Effect.suspend(() => job.terms.admit(draft, job.given, now()))
      : notFound
  ) => {
    const failing = (exit: Exit.Exit<never, Failure>) => ({ job, patch: undefined, answer: () => job.fail(exit) })
    return Effect.matchCauseEager(
      Effect.flatMapEager(admitted, (session) =>
        Effect.mapEager(job.change(session), ([written, succeed]) => {
          const { data, patch, token } = written ?? { data: session.data, patch: undefined, token: session.token }
          if (patch?.data !== undefined && draft.dataVersion > dataVersion) return failing(conflict)
          const answer = (stored: SessionRecord) => {
            // If another has written since, the data at hand are no longer the newest.
            const { data: text = draft.data, dataVersion: version = draft.dataVersion } = patch ?? {}
            const isNewest = stored.data === text && stored.dataVersion === version
            const newest = isNewest ? data : Result.getOrElse(decode(stored), () => data)
            succeed(snapshot(stored, newest, token, now()))
          }
          return { job, patch, answer }
        })
      ),
      { onFailure: (cause) => failing(Exit.failCause(cause)), onSuccess: identity }
    )
  }

  /** One event for one write, of however many changes. */
  const changed = (record: SessionRecord, now: number, news: Array<OwnEvent<A>>): void => {
    const decoded = decode(record)
    // It was decoded before it was changed.
    if (Result.isFailure(decoded)) return
    news.push({ _tag: "Changed", session: withoutToken(snapshot(record, decoded.success, noToken, now)) })
  }

  /** Says that a session has expired, if it has: the record that was given may have been touched since. */
  const notice = (id: string, now: () => number, ended: Events<unknown>["ended"]): Effect.Effect<unknown> =>
    Effect.ignore(
      Effect.flatMap(
        Effect.suspend(() => storage.read(id)),
        (found) =>
          Option.isSome(found) && now() >= deadlines.expiryOf(found.value, now())
            ? ended([found.value], "expired")
            : Effect.void
      )
    )

  const turn = Effect.fnUntraced(function* (
    job: Job<A, Failure>,
    queue: Serial.Queue<Job<A, Failure>, SessionRecord>,
    now: () => number,
    arrived: number,
    /** What is to be told once the turn is over: those that wait for theirs do not wait for a handler. */
    news: Array<OwnEvent<A>>
  ) {
    const { given } = job
    const { company = "together" } = job.terms
    /** Several calls, or one that has waited for its turn, take little longer in all than one call may. */
    const left = (at: number) => Math.min(timeout, Math.max(timeout / 8, 1.25 * timeout - (at - arrived)))

    /** Writes, and writes again where the reply was lost and our own new hash would show that it was applied. */
    const write = (record: SessionRecord, patch: Write<A>["patch"]) => {
      const attempt = () => {
        const at = now()
        return storage.update(
          record.id,
          record.version,
          { ...patch, ...deadlines.seenAt(record, at) },
          left(at),
          events && ((operation, outcome) => Effect.sync(() => news.push({ _tag: "Failed", operation, outcome })))
        )
      }
      return patch.secretHash === undefined
        ? attempt()
        : Effect.catchIf(
            attempt(),
            ({ outcome }) => outcome === "unknown",
            // The first may have been applied, however the second fails.
            () => Effect.mapError(attempt(), () => unknown)
          )
    }

    const held = LiveSession.record(given)
    let record = queue.newest !== undefined && queue.newest.version > held.version ? queue.newest : held
    for (let round = 0; ; round++) {
      const isOver =
        (company === "once" && (record.data !== held.data || record.dataVersion !== held.dataVersion)) ||
        (round > 1 && now() - arrived >= Math.min(timeout, maxContention))
      if (isOver && record !== held && isGiven(job, record)) return job.fail(conflict)
      if (round > 1) yield* pause(round)

      const at = now()
      // A verifier that hangs must not keep the turn.
      const own =
        record === held
          ? yield* change(job, record, now, at < deadlines.expiryOf(record, at) ? Exit.succeed(given) : expired)
          : yield* withDeadline(change(job, record, now), left(at), tooSlow)
      if (own === undefined) return job.fail(unavailable.notApplied)
      const all = [own]
      let { patch } = own
      let until: number | undefined
      // Those that give up meanwhile are no longer among those that wait, and those that come are.
      for (const one of company === "together" ? queue.waiting : []) {
        until ??= now() + left(now()) / 4
        if ((one.job.terms.company ?? "together") !== "together" || all.length === maxTogether || now() > until) break
        one.isTaken = true
        const { data = record.data, dataVersion = record.dataVersion } = patch ?? {}
        const draft = patch === undefined ? record : { ...record, data, dataVersion, version: record.version + 1 }
        const next = yield* withDeadline(change(one.job, draft, now), left(now()) / 8, tooSlow)
        // One that is slow keeps its place, for a turn of its own.
        one.isTaken = next !== undefined
        if (next !== undefined) all.push(next)
        patch = next?.patch ?? patch
      }
      if (patch === undefined) return all.forEach((one) => one.answer(record))

      const exit = yield* Effect.exit(write(record, patch))
      if (Exit.isFailure(exit)) {
        const failed = exit.cause.reasons.every(Cause.isFailReason) ? Exit.failCause(exit.cause) : unavailable.unknown
        return all.forEach((one) => one.job.fail(failed))
      }
      const result = exit.value
      if (result._tag === "gone") return all.forEach((one) => one.job.fail(notFound))
      queue.newest = result.record
      if (result._tag === "updated" || result.record.secretHash === patch.secretHash) {
        // Another secret is for the one to tell who has asked for it.
        if (events !== undefined && patch.secretHash === undefined) changed(result.record, now(), news)
        return all.forEach((one) => one.answer(result.record))
      }
      record = result.record
    }
  })

  return <B>(given: LiveSession<A>, change: Change<A, B, Failure>, terms: Terms<A, Failure>) =>
    Clock.clockWith((clock) => {
      const now = () => clock.currentTimeMillisUnsafe()
      const arrived = now()
      const news: Array<OwnEvent<A>> = []
      let hadTurn = false
      const answered = inTurn<readonly [B, LiveSession<A>]>(
        given.id,
        (answer) => ({
          given,
          terms,
          change: (session) =>
            Effect.mapEager(change(session), ([result, written]) => [
              written,
              (session) => answer(Exit.succeed([result, session]))
            ]),
          fail: (exit) => answer(hadTurn ? exit : failedElsewhere(exit))
        }),
        (job, queue) => {
          hadTurn = true
          return turn(job, queue, now, arrived, news)
        }
      )
      if (events === undefined) return answered
      return Effect.uninterruptible(
        Effect.onExit(answered, (exit) => {
          const told = Effect.forEach(news, events.tell, { discard: true })
          return isInvalid(exit, "Expired") ? Effect.andThen(told, notice(given.id, now, events.ended)) : told
        })
      )
    })
}
