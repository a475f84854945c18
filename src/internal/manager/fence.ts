/**
 * The fence of a principal: the time before which no log-in of theirs may have begun. A call that ends all of a principal's
 * sessions raises it before; a log-in looks at it afterwards. So one of the two sees the other.
 *
 * It is a record like any other, in a namespace of its own, with the time as its data, in microseconds: in the
 * milliseconds of `DateTime` a log-in and a revocation would often be at once. It only grows.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { SessionRecord } from "../../SessionBackend.ts"
import { SessionInvalid } from "../../SessionError.ts"
import type { SessionUnavailable } from "../../SessionError.ts"
import { failure } from "../exit.ts"
import type { Storage } from "./storage.ts"

export const namespaceOf = (namespace: string): string => `${namespace}/fence`

const superseded = failure(new SessionInvalid({ reason: "Superseded" }))

const minute = 60_000_000

/** How long a fence is kept, and a log-in may take, in microseconds. */
const maxLogin = 15 * minute

/** A day, in milliseconds: Redis keeps the index of a principal's fences as long. A fence that is raised longer is made anew. */
const absoluteTimeout = 24 * 60 * 60 * 1000

/** A hash of no known text: no token opens a fence. */
export const noHash = "A".repeat(43)

const maxRounds = 16

/** Of a `DateTime`, which has whole milliseconds, the last microsecond counts. */
const microsOf = (time: DateTime.Utc | bigint): number =>
  typeof time === "bigint" ? Number(time / 1000n) : time.epochMilliseconds * 1000 + 999

const now: Effect.Effect<number> = Effect.map(Clock.currentTimeNanos, microsOf)

export const timeOf = (given: DateTime.Utc | bigint | undefined): Effect.Effect<number> =>
  given === undefined ? now : Effect.succeed(microsOf(given))

const timeIn = (record: SessionRecord): number => {
  const time = Number(record.data)
  return Number.isFinite(time) ? time : 0
}

/** A fence this far ahead was set by a clock that jumped: it must not lock users out. */
const isSane = (time: number, at: number): boolean => time - at <= minute

export type Fence = ReturnType<typeof make>

export const make = (options: {
  /** In the fence's namespace. */
  readonly storage: Storage
  readonly namespace: string
  readonly timeout: number
  readonly sha256: (text: string) => Effect.Effect<string>
}) => {
  const namespace = namespaceOf(options.namespace)
  const { storage } = options
  const idOf = (principal: string) => Effect.mapEager(options.sha256(principal), (hash) => hash.slice(0, 22))

  return {
    /** Says that no session of the principal may be made by a log-in that began before `time`. */
    raise: Effect.fnUntraced(function* (principal: string, time: number) {
      const id = yield* idOf(principal)
      let found = yield* storage.read(id)
      for (let round = 0; round < maxRounds; round++) {
        const at = yield* now
        const lastSeenAt = Math.floor(at / 1000)
        const seen = { lastSeenAt, idleExpiresAt: lastSeenAt + maxLogin / 1000 }
        if (Option.isNone(found)) {
          const created = yield* storage.create({
            ...seen,
            namespace,
            id,
            secretHash: noHash,
            version: 1,
            principal,
            data: String(time),
            dataVersion: 1,
            extension: "",
            createdAt: lastSeenAt,
            authenticatedAt: lastSeenAt,
            idleTimeout: maxLogin / 1000,
            absoluteExpiresAt: lastSeenAt + absoluteTimeout,
            persistent: false
          })
          if (created === "created") return
          found = yield* storage.read(id)
          continue
        }
        // It would end before its time. A log-in not seen for lack of it is found by the deletion that follows.
        if (found.value.absoluteExpiresAt - lastSeenAt < (2 * maxLogin) / 1000) {
          yield* storage.delete(id)
          found = Option.none()
          continue
        }
        const stored = timeIn(found.value)
        if (stored >= time && isSane(stored, at)) return
        const result = yield* storage.update(id, found.value.version, { data: String(time), ...seen }, options.timeout)
        if (result._tag === "updated") return
        found = result._tag === "gone" ? Option.none() : Option.some(result.record)
      }
      return yield* storage.failed("update", "unknown", { _tag: "FenceContended" })
    }),

    /** Fails if a log-in that began at `began` comes too late. */
    check: (
      principal: string,
      began: number,
      clock: Clock.Clock
    ): Effect.Effect<void, SessionInvalid | SessionUnavailable> => {
      const at = microsOf(clock.currentTimeNanosUnsafe())
      if (at - began > maxLogin) return superseded
      return Effect.flatMapEager(idOf(principal), (id) =>
        Effect.flatMapEager(storage.read(id), (found) => {
          const time = Option.isSome(found) ? timeIn(found.value) : 0
          return began < time && isSane(time, at) ? superseded : Exit.void
        })
      )
    }
  }
}
