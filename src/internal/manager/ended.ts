/**
 * Waiting for the end of a session.
 *
 * Who waits looks at the session when it begins, at intervals, at the session's expiry, and when the backend hints at its
 * end; all who wait for one session share each look. Each is a fiber with a timer of its own and nothing runs beside them,
 * so that interrupting it is all there is to clean up.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import type { Refusal, Session, SessionManager, Tagged } from "../../Session.ts"
import type { SessionRecord } from "../../SessionBackend.ts"
import { SessionInvalid } from "../../SessionError.ts"
import { describeCause } from "../describeCause.ts"
import { errorOf } from "../exit.ts"
import { timingSafeEqual } from "../token/tokenCrypto.ts"
import { after, withDeadline } from "./deadline.ts"
import { isSealedNow, lineOf, rotationOf } from "./extension.ts"
import * as Hints from "./hints.ts"
import { LiveSession } from "./liveSession.ts"
import type { Looks } from "./look.ts"
import type { Parts } from "./parts.ts"

/** How often a session is looked at, in milliseconds, by a fifth more or less. */
const interval = 25_000

/** How soon it is looked at again while another log-in may be about to replace it, in milliseconds. */
const sealedInterval = 1000

/** How long until the next look: each time another, so that those who began together do not look together. */
const untilNextLook = (random: Random.Random): number => Math.floor(interval * (0.8 + 0.4 * random.nextDoubleUnsafe()))

/** Sleeps as long as between two looks. */
export const betweenLooks: Effect.Effect<void> = Effect.withFiber((fiber) =>
  Effect.sleep(untilNextLook(fiber.getRef(Random.Random)))
)

/** Milliseconds of a clock that is never set: what was to be done soon is not put off where the time of day is set back. */
const elapsed = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe() / 1_000_000n)

/** What a look has seen. `undefined` where the store or the verifier failed: that says nothing of the session. */
type Seen<E> =
  | { readonly _tag: "gone" }
  | { readonly _tag: "there"; readonly record: SessionRecord; readonly line: string; readonly why: E | undefined }
  | undefined

interface Waiter {
  readonly token: Redacted.Redacted<string>
  /** What of the record stays the same as long as the session stands. */
  line: string | undefined
  /** The hash of the token, by which the line is found, of a copy that the manager did not make. */
  readonly hash: string | undefined
  /** The last look that is known to this one, or began before it came and does not count for it. */
  judged: number
  /** When it wants the next look, at the latest, by `elapsed`. */
  next: number
  expiresAt: number
  absoluteExpiresAt: number
  /** How long it waits for the subscription before it looks, by `elapsed`. */
  readonly hintsUntil: number
  /** Whether it sleeps until the look that is under way has ended. */
  isWatching: boolean
  wake: () => void
}

/** A look that is under way. */
interface Looking {
  /** Past that, by `elapsed`, it says nothing. On Workers the request that looks may be gone. */
  readonly until: number
  stop: () => void
}

/** A session that some wait for. */
interface Entry<E> {
  readonly id: string
  readonly waiters: Set<Waiter>
  /** How many looks have begun. */
  begun: number
  /** Which look must be made: none, where it has begun. A hint asks for the next one to begin, also during a look. */
  wanted: number
  looking: Looking | undefined
  /** The last look that has ended, and when, by `elapsed`. */
  last: { readonly number: number; readonly seen: Seen<E>; readonly at: number }
}

const notFound = new SessionInvalid({ reason: "NotFound" })
const expired = new SessionInvalid({ reason: "Expired" })
const timedOut = { _tag: "TimedOut" }
const nothing = { number: 0, seen: undefined, at: 0 }

export const make = Effect.fnUntraced(function* <A, R extends ReadonlyArray<Tagged>>(
  parts: Parts<A>,
  { admit }: Looks<A, Refusal<R>>
): Effect.fn.Return<SessionManager<A, R>["ended"], never, Scope.Scope> {
  type Refused = SessionInvalid | Refusal<R>
  const { deadlines, events, namespace, sha256, storage, times, tokens } = parts
  /** A read and the verifier, each of which has that long, and a margin. */
  const lookTimeout = 2.25 * times.backend
  const entries = new Map<string, Entry<Refused>>()
  let isVerifierFailing = false
  let isStoreFailing = false

  // -------------------------------------------------------------------------------------------------------------------
  // The look
  // -------------------------------------------------------------------------------------------------------------------

  const isOf = (waiter: Waiter, record: SessionRecord, line: string): boolean => {
    const { hash } = waiter
    if (waiter.line === undefined && hash !== undefined) {
      const previous = rotationOf(record)?.previous
      const opens =
        timingSafeEqual(hash, record.secretHash) || (previous !== undefined && timingSafeEqual(hash, previous))
      if (opens) waiter.line = line
    }
    return waiter.line === line
  }

  /** Whether a session that is there is accepted, or why not; nothing where that is not known. */
  const verdict = (
    record: SessionRecord,
    token: Redacted.Redacted<string>
  ): Effect.Effect<{ readonly why: Refused | undefined } | undefined> =>
    Effect.matchCauseEffect(
      Clock.clockWith((clock) =>
        withDeadline(admit(record, token, clock.currentTimeMillisUnsafe()), times.backend, () => Exit.die(timedOut))
      ),
      {
        onSuccess: () => {
          isVerifierFailing = false
          return Effect.succeed({ why: undefined })
        },
        onFailure: (cause) => {
          const error = errorOf(cause)
          if (error?._tag === "SessionUnavailable") return Effect.undefined
          if (error !== undefined) {
            isVerifierFailing = false
            return Effect.succeed({ why: error as Refused })
          }
          if (isVerifierFailing) return Effect.undefined
          // Once, and not for each session that is waited for.
          isVerifierFailing = true
          return Effect.logError("the verifier died, or is late, where a caller waits for the end of a session").pipe(
            Effect.annotateLogs({ namespace, cause: describeCause(Cause.squash(cause)) }),
            Effect.andThen(Effect.undefined)
          )
        }
      }
    )

  /** Of a store that is down one look says so, and not thousands: in the log, and to the handler. */
  const read = (id: string) =>
    Effect.suspend(() =>
      isStoreFailing
        ? Effect.provideService(
            storage.read(id, () => Effect.void),
            References.MinimumLogLevel,
            "None"
          )
        : storage.read(id)
    )

  const look = (entry: Entry<Refused>): Effect.Effect<Seen<Refused>> =>
    Effect.matchEffect(read(entry.id), {
      onFailure: () => {
        isStoreFailing = true
        return Effect.undefined
      },
      onSuccess: (found): Effect.Effect<Seen<Refused>> => {
        isStoreFailing = false
        if (Option.isNone(found)) return Effect.succeed({ _tag: "gone" })
        const record = found.value
        const line = lineOf(record)
        const standing = [...entry.waiters].find((waiter) => isOf(waiter, record, line))
        if (standing === undefined) return Effect.succeed({ _tag: "there", record, line, why: undefined })
        return Effect.map(
          verdict(record, standing.token),
          (verdict) => verdict && { _tag: "there", record, line, why: verdict.why }
        )
      }
    })

  /** Whether a look brings no news to one who waits: it stands as it did, or nothing is known. */
  const isNoNews = (waiter: Waiter, seen: Seen<Refused>): boolean =>
    seen === undefined || (seen._tag === "there" && seen.why === undefined && isOf(waiter, seen.record, seen.line))

  const finish = (entry: Entry<Refused>, looking: Looking, seen: Seen<Refused>, at: number) => {
    // It was given up, and another may be under way.
    if (entry.looking !== looking) return
    entry.looking = undefined
    entry.last = { number: entry.begun, seen, at }
    // The others learn of it once they wake by themselves: one who comes costs nothing to the thousands who wait already.
    for (const waiter of entry.waiters) if (waiter.isWatching || !isNoNews(waiter, seen)) waiter.wake()
  }

  /** Looks in a fiber of its own: who began it may leave, and the others still want to know. */
  const begin = (entry: Entry<Refused>, fiber: Fiber.Fiber<unknown, unknown>, clock: Clock.Clock) => {
    const looking: Looking = { until: elapsed(clock) + lookTimeout, stop: () => {} }
    entry.begun++
    entry.looking = looking
    const call = Effect.runForkWith(fiber.context)(look(entry))
    looking.stop = () => call.interruptUnsafe()
    call.addObserver((exit) => finish(entry, looking, Exit.isSuccess(exit) ? exit.value : undefined, elapsed(clock)))
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Waiting
  // -------------------------------------------------------------------------------------------------------------------

  const hinted = (id: string) => {
    const entry = entries.get(id)
    // A look that has yet to begin serves this hint too.
    if (entry === undefined || entry.wanted > entry.begun) return
    entry.wanted = entry.begun + 1
    for (const waiter of entry.waiters) waiter.wake()
  }

  const hints = yield* Hints.make(parts, {
    hinted,
    opened: () => {
      for (const { waiters } of entries.values()) for (const waiter of waiters) waiter.wake()
    },
    isWaiting: () => entries.size > 0
  })

  /** What a look means to one who waits: why its session has ended, or when to look again. */
  const judge = (
    waiter: Waiter,
    { at, seen }: Entry<Refused>["last"],
    now: number,
    mark: number,
    random: Random.Random
  ): Refused | undefined => {
    waiter.next = at + untilNextLook(random)
    if (seen === undefined) {
      if (now < waiter.expiresAt) waiter.next = Math.min(waiter.next, mark + waiter.expiresAt - now)
      return undefined
    }
    if (seen._tag === "gone") return notFound
    const { line, record, why } = seen
    if (isOf(waiter, record, line)) {
      if (why !== undefined) return why
      const { absoluteExpiresAt, expiresAt } = deadlines.shown(record, now)
      waiter.absoluteExpiresAt = absoluteExpiresAt
      waiter.expiresAt = expiresAt
      // If that has passed since the look, the next one says so.
      waiter.next = Math.min(waiter.next, mark + Math.max(expiresAt - now, 1))
      return undefined
    }
    // The log-in that has sealed it may fail, and takes the seal off again.
    if (!isSealedNow(record, now)) return notFound
    waiter.next = mark + sealedInterval
    return undefined
  }

  /** Why the session has ended, or for how long there is nothing to do. */
  const plan = (entry: Entry<Refused>, waiter: Waiter, fiber: Fiber.Fiber<unknown, unknown>): Refused | number => {
    const clock = fiber.getRef(Clock.Clock)
    for (;;) {
      const now = clock.currentTimeMillisUnsafe()
      const mark = elapsed(clock)
      const { last, looking } = entry
      waiter.isWatching = false
      if (last.number > waiter.judged) {
        waiter.judged = last.number
        const why = judge(waiter, last, now, mark, fiber.getRef(Random.Random))
        if (why !== undefined) return why
      }
      if (now >= waiter.absoluteExpiresAt) return expired
      // A millisecond at least, also until a time between two of them.
      const until = (time: number) => Math.max(1, Math.ceil(Math.min(time - mark, waiter.absoluteExpiresAt - now)))
      // First the subscription, then the look: what ends in between is in neither otherwise.
      if (mark < waiter.hintsUntil && hints.isOpening()) return until(waiter.hintsUntil)
      if (looking !== undefined) {
        if (mark < looking.until) {
          waiter.isWatching = true
          return until(looking.until)
        }
        looking.stop()
        finish(entry, looking, undefined, mark)
        continue
      }
      if (mark >= waiter.next) entry.wanted = Math.max(entry.wanted, waiter.judged + 1)
      if (entry.wanted <= entry.begun) return until(waiter.next)
      begin(entry, fiber, clock)
    }
  }

  /** Does what there is to do, and sleeps until there may be more. Answers why the session has ended, if it has. */
  const step = (entry: Entry<Refused>, waiter: Waiter): Effect.Effect<Refused | undefined> =>
    Effect.withFiber((fiber) =>
      Effect.callback((resume) => {
        const planned = plan(entry, waiter, fiber)
        if (typeof planned !== "number") return resume(Effect.succeed(planned))
        // A promise: on Workers one request must not wake another.
        const { promise, resolve } = Promise.withResolvers<void>()
        waiter.wake = resolve
        const stop = after(fiber, planned, resolve)
        void promise.then(() => {
          stop()
          resume(Effect.undefined)
        })
        return Effect.sync(stop)
      })
    )

  const steps = (entry: Entry<Refused>, waiter: Waiter): Effect.Effect<Refused> =>
    Effect.flatMap(step(entry, waiter), (why) => (why === undefined ? steps(entry, waiter) : Effect.succeed(why)))

  const entryOf = (id: string): Entry<Refused> => {
    let entry = entries.get(id)
    if (entry === undefined) {
      entry = { id, waiters: new Set(), begun: 0, wanted: 0, looking: undefined, last: nothing }
      entries.set(id, entry)
    }
    return entry
  }

  const leave = (waiter: Waiter, entry: Entry<Refused>) => {
    entry.waiters.delete(waiter)
    if (entry.waiters.size > 0) return
    entries.delete(entry.id)
    entry.looking?.stop()
  }

  const wait = (
    id: string,
    { absoluteExpiresAt, expiresAt, principal, token }: Session<A>,
    known: Pick<Waiter, "line" | "hash">
  ): Effect.Effect<Refused> =>
    Effect.suspend(() => {
      let left = () => {}
      const waited = Clock.clockWith((clock) => {
        const mark = elapsed(clock)
        const entry = entryOf(id)
        const waiter: Waiter = {
          ...known,
          token,
          judged: entry.begun,
          next: mark,
          expiresAt: expiresAt.epochMilliseconds,
          absoluteExpiresAt: absoluteExpiresAt.epochMilliseconds,
          hintsUntil: mark + times.backend,
          isWatching: false,
          wake: () => {}
        }
        entry.waiters.add(waiter)
        left = () => leave(waiter, entry)
        hints.open()
        return steps(entry, waiter)
      })
      const ended = Effect.onExitPrimitive(waited, () => {
        left()
        return undefined
      })
      if (events === undefined) return ended
      return Effect.tap(ended, (why) =>
        why._tag === "SessionInvalid" && (why as SessionInvalid).reason === "Expired"
          ? events.ended([{ id, principal: Option.getOrUndefined(principal) }], "expired")
          : Effect.void
      )
    })

  return (session) =>
    Effect.suspend(() => {
      if (LiveSession.is(session)) {
        const record = LiveSession.record(session)
        return wait(record.id, session, { line: lineOf(record), hash: undefined })
      }
      // A copy, by a wrapper of the manager: its token says which session it is.
      return Effect.matchEffect(tokens.check(session.token), {
        onFailure: (error): Effect.Effect<Refused> => Effect.succeed(error),
        onSuccess: ({ id, secret }) =>
          Effect.flatMap(sha256(secret), (hash) => wait(id, session, { line: undefined, hash }))
      })
    })
})
