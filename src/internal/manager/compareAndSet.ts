/**
 * The one loop by which a session changes: a compare-and-set on the version of its record, retried on the record that
 * was found instead.
 *
 * Changes of one session wait for each other within a process, and each hands the record it wrote to the next, which
 * would otherwise begin with the version it read on its arrival and lose the first try.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type * as Redacted from "effect/Redacted"
import type { SessionPatch, SessionRecord, UpdateResult } from "../../SessionBackend.ts"
import { SessionConflict, SessionInvalid, SessionUnavailable } from "../../SessionError.ts"
import { failure } from "../exit.ts"
import { withDeadline } from "./deadline.ts"
import type { Deadlines } from "./deadlines.ts"
import { LiveSession } from "./liveSession.ts"
import * as Serial from "./serial.ts"
import { type Storage, unavailable } from "./storage.ts"

/** What to write, and what stands in the session afterwards. */
export interface Write<A> {
  readonly patch: Pick<SessionPatch, "data" | "dataVersion" | "secretHash">
  readonly data: A
  readonly token: Redacted.Redacted<string>
}

/** Answers what to write for the session as it is, or nothing, and an answer for the caller. */
export type Change<A, B> = (session: LiveSession<A>) => Effect.Effect<readonly [answer: B, Write<A> | undefined]>

export const conflict = failure(new SessionConflict())
export const expired = failure(new SessionInvalid({ reason: "Expired" }))
export const notFound = failure(new SessionInvalid({ reason: "NotFound" }))
const unknown = new SessionUnavailable({ outcome: "unknown" })

/** How long a change is retried on newer versions, in milliseconds: no longer than a call may take. */
const maxContention = 1000

/** Full jitter: anything up to 100 milliseconds, growing with the rounds. */
const pause = (round: number): Effect.Effect<void> =>
  Effect.flatMap(Random.next, (fraction) => Effect.sleep(Math.floor(fraction * Math.min(100, 5 * 2 ** round))))

export const make = <A, E>(options: {
  readonly storage: Storage
  readonly deadlines: Deadlines
  readonly timeout: number
  /** Records of a newer data version are read, and not written over. */
  readonly dataVersion: number
  /** All that is checked of a record whose secret is known to be the token's. */
  readonly admit: (
    record: SessionRecord,
    token: Redacted.Redacted<string>,
    now: number
  ) => Effect.Effect<LiveSession<A>, SessionInvalid | E | SessionUnavailable>
  readonly decode: (data: string) => Result.Result<A, string>
  readonly snapshot: (record: SessionRecord, data: A, token: Redacted.Redacted<string>, now: number) => LiveSession<A>
}) => {
  const { admit, dataVersion, deadlines, decode, snapshot, storage, timeout } = options
  const oneAtATime = Serial.make<SessionRecord>()

  type Changed<B> = Effect.Effect<
    readonly [B, LiveSession<A>],
    SessionInvalid | E | SessionConflict | SessionUnavailable
  >

  /** With `once`, any version but that of the session given is a conflict. */
  return <B>(given: LiveSession<A>, change: Change<A, B>, once = false): Changed<B> =>
    Clock.clockWith((clock) => {
      const now = () => clock.currentTimeMillisUnsafe()
      const arrived = now()
      /** Several calls, or one that has waited for its turn, take little longer in all than one call may. */
      const left = (at: number) => Math.min(timeout, Math.max(timeout / 8, 1.25 * timeout - (at - arrived)))

      /** Writes, and writes again where the reply was lost and our own new hash would show that it was applied. */
      const write = (record: SessionRecord, patch: Write<A>["patch"], at: number) => {
        const attempt = (at: number): Effect.Effect<UpdateResult, SessionUnavailable> =>
          storage.update(record.id, record.version, { ...patch, ...deadlines.seenAt(record, at) }, left(at))
        return patch.secretHash === undefined
          ? attempt(at)
          : Effect.catchIf(
              attempt(at),
              ({ outcome }) => outcome === "unknown",
              // The first may have been applied, however the second fails.
              () =>
                Effect.mapError(
                  Effect.suspend(() => attempt(now())),
                  () => unknown
                )
            )
      }

      return oneAtATime(given.id, timeout, unavailable.notApplied, (received, handOn) => {
        /** Retries on a newer record, checked like any other. A verifier that hangs must not keep the turn. */
        const retry = (session: LiveSession<A>, newer: SessionRecord, round: number): Changed<B> => {
          if (newer.secretHash !== LiveSession.record(session).secretHash) return notFound
          if (once || (round > 1 && now() - arrived >= Math.min(timeout, maxContention))) return conflict
          return Effect.andThen(
            round > 1 ? pause(round) : Effect.void,
            Effect.suspend(() => {
              const at = now()
              return withDeadline(admit(newer, session.token, at), left(at), () => unavailable.notApplied)
            })
          ).pipe(Effect.flatMap((session) => attempt(session, round)))
        }

        const attempt = (session: LiveSession<A>, round: number): Changed<B> => {
          const record = LiveSession.record(session)
          const at = now()
          if (at >= deadlines.expiryOf(record, at)) return expired
          return Effect.flatMapEager(change(session), ([answer, written]): Changed<B> => {
            if (written === undefined) return Exit.succeed([answer, session])
            const { data, patch, token } = written
            if (patch.data !== undefined && record.dataVersion > dataVersion) return conflict
            return Effect.flatMap(write(record, patch, at), (result): Changed<B> => {
              if (result._tag === "gone") return notFound
              const isApplied = result._tag === "updated" || result.record.secretHash === patch.secretHash
              if (!isApplied) return retry(session, result.record, round + 1)
              handOn(result.record)
              // If another process has written since, the data at hand are no longer the newest.
              const isNewest = result.record.version === record.version + 1
              const newest = isNewest ? data : Result.getOrElse(decode(result.record.data), () => data)
              return Exit.succeed([answer, snapshot(result.record, newest, token, at)])
            })
          })
        }

        return received !== undefined && received.version > given.version
          ? retry(given, received, 0)
          : Effect.suspend(() => attempt(given, 0))
      })
    })
}
