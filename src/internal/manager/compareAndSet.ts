/**
 * The one loop by which a session changes: a compare-and-set on the version of its record, tried again on the record
 * that was found instead.
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
import type * as Redacted from "effect/Redacted"
import type { Session } from "../../Session.ts"
import type { SessionPatch, SessionRecord, UpdateResult } from "../../SessionBackend.ts"
import { SessionConflict, SessionInvalid, SessionUnavailable } from "../../SessionError.ts"
import { failure } from "../exit.ts"
import type { Deadlines } from "./deadlines.ts"
import * as Serial from "./serial.ts"
import { type Storage, unavailable } from "./storage.ts"

/** An accepted session, with the record it was made from. */
export interface Held<A> {
  readonly session: Session<A>
  readonly record: SessionRecord
}

/** What to write, and what stands in the session afterwards. */
export interface Write<A> {
  readonly patch: Pick<SessionPatch, "data" | "dataVersion" | "secretHash">
  readonly data: A
  readonly token: Redacted.Redacted<string>
}

/** @internal */
export const conflict = failure(new SessionConflict())
/** @internal */
export const expired = failure(new SessionInvalid({ reason: "Expired" }))
/** @internal */
export const notFound = failure(new SessionInvalid({ reason: "NotFound" }))

/** How long a change goes on meeting newer versions, in milliseconds. */
const contentionLimit = 1000

/** Full jitter: anything up to 100 milliseconds, growing with the rounds. */
const pause = (round: number): Effect.Effect<void> =>
  Effect.flatMap(Random.next, (fraction) => Effect.sleep(Math.floor(fraction * Math.min(100, 5 * 2 ** round))))

/** @internal */
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
  ) => Effect.Effect<Session<A>, SessionInvalid | E | SessionUnavailable>
  readonly snapshot: (record: SessionRecord, data: A, token: Redacted.Redacted<string>, now: number) => Session<A>
}) => {
  const { admit, dataVersion, deadlines, snapshot, storage, timeout } = options
  const oneAtATime = Serial.make<SessionRecord>()

  /** A change of several calls, or one that has waited for its turn, takes little longer in all than one call. */
  const remaining = (arrived: number, now: number): number => Math.max(timeout / 8, 1.25 * timeout - (now - arrived))

  /**
   * Changes a held session. `next` answers what to write for the session as it is then, or nothing. With `once`, any
   * version but the one held is a conflict.
   */
  return <B>(
    held: Held<A>,
    next: (held: Held<A>) => Effect.Effect<readonly [B, Write<A> | undefined]>,
    once = false
  ): Effect.Effect<readonly [B, Session<A>], SessionInvalid | E | SessionConflict | SessionUnavailable> =>
    Clock.clockWith((clock) => {
      type Changed = Effect.Effect<readonly [B, Session<A>], SessionInvalid | E | SessionConflict | SessionUnavailable>
      const arrived = clock.currentTimeMillisUnsafe()

      /** Sets, and sets again where the answer was lost and our own new hash would show that it was carried out. */
      const set = (record: SessionRecord, patch: Write<A>["patch"], now: number) => {
        const once = (now: number): Effect.Effect<UpdateResult, SessionUnavailable> =>
          storage.update(
            record.id,
            record.version,
            { ...patch, ...deadlines.seenAt(record, now) },
            remaining(arrived, now)
          )
        return patch.secretHash === undefined
          ? once(now)
          : Effect.catchIf(
              once(now),
              ({ outcome }) => outcome === "unknown",
              // The first may have been carried out, however the second fails.
              () =>
                Effect.mapError(
                  Effect.suspend(() => once(clock.currentTimeMillisUnsafe())),
                  () => lost
                )
            )
      }

      return oneAtATime<readonly [B, Session<A>], SessionInvalid | E | SessionConflict | SessionUnavailable>(
        held.record.id,
        timeout,
        unavailable.notApplied,
        (received, handOn) => {
          const began = clock.currentTimeMillisUnsafe()

          /** Goes on with a newer record, checked like any other. Nothing is written yet, so it may be interrupted. */
          const goOn = ({ record, session }: Held<A>, newer: SessionRecord, round: number): Changed => {
            if (newer.secretHash !== record.secretHash) return notFound
            if (once) return conflict
            const now = clock.currentTimeMillisUnsafe()
            if (round > 1 && now - began >= contentionLimit) return conflict
            return Effect.interruptible(
              Effect.andThen(
                round > 1 ? pause(round) : Effect.void,
                Effect.suspend(() => admit(newer, session.token, clock.currentTimeMillisUnsafe()))
              )
            ).pipe(Effect.flatMap((session) => attempt({ record: newer, session }, round)))
          }

          const attempt = (held: Held<A>, round: number): Changed => {
            const { record, session } = held
            const now = clock.currentTimeMillisUnsafe()
            if (now >= deadlines.expiryOf(record, now)) return expired
            return Effect.flatMapEager(next(held), ([answer, write]): Changed => {
              if (write === undefined) return Exit.succeed([answer, session])
              const { data, patch, token } = write
              if (patch.data !== undefined && record.dataVersion > dataVersion) return conflict
              return Effect.flatMap(set(record, patch, now), (result): Changed => {
                if (result._tag === "gone") return notFound
                const isDone = result._tag === "updated" || result.record.secretHash === patch.secretHash
                if (!isDone) return goOn(held, result.record, round + 1)
                handOn(result.record)
                // If others wrote since it was carried out, what is at hand is no longer the newest.
                return Effect.map(
                  result.record.version === record.version + 1
                    ? Exit.succeed(snapshot(result.record, data, token, now))
                    : admit(result.record, token, now),
                  (changed) => [answer, changed] as const
                )
              })
            })
          }

          return received !== undefined && received.version > held.record.version
            ? goOn(held, received, 0)
            : Effect.suspend(() => attempt(held, 0))
        }
      )
    })
}

const lost = new SessionUnavailable({ outcome: "unknown" })
