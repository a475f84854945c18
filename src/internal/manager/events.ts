/**
 * Tells an application what happens to its sessions. Without a handler there are no `Events`, and no call pays for them.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Cause from "effect/Cause"
import * as Option from "effect/Option"
import type { EndedWhy, ManagerOptions, SessionEvent, SessionId, Tagged } from "../../Session.ts"
import type { SessionRecord } from "../../SessionBackend.ts"
import { describeCause } from "../describeCause.ts"
import { withDeadline } from "./deadline.ts"

/** How many of a batch's events the handler gets at once. */
const maxAtOnce = 16

/** How long the events of a batch may take in all, in deadlines of one event. */
const maxBatchDeadlines = 10

/** How many ended sessions are remembered. */
const maxRemembered = 10_000

export type Ended = Pick<SessionRecord, "id" | "principal">

/** Waits for the handler, for a deadline at most. Never fails, and is not interrupted. */
export type Tell<A, R extends ReadonlyArray<Tagged>> = (event: SessionEvent<A, R>) => Effect.Effect<void>

/** What does not depend on the errors of a verifier. */
export type OwnEvent<A> = Exclude<SessionEvent<A, readonly []>, { readonly _tag: "Refused" }>

export interface Events<Event> {
  readonly tell: (event: Event) => Effect.Effect<void>
  /** Says that sessions have ended, but for those of which that was said. */
  readonly ended: (sessions: ReadonlyArray<Ended>, why: EndedWhy) => Effect.Effect<void>
  /** The same for one batch after the other: if the handler takes too long for one, nothing more is told. */
  readonly endedInBatches: (why: EndedWhy) => (sessions: ReadonlyArray<Ended>) => Effect.Effect<void>
}

type OnEvent<A, R extends ReadonlyArray<Tagged>, RX> = NonNullable<ManagerOptions<A, R, RX>["onEvent"]>

/** A handler with the context of its layer, of which the caller's is the newer part, bounded, and without failures. */
export const tellOf =
  <A, R extends ReadonlyArray<Tagged>, RX>(
    onEvent: OnEvent<A, R, RX>,
    context: Context.Context<RX>,
    namespace: string,
    millis: number
  ): Tell<A, R> =>
  (event) => {
    const handled = Effect.updateContext(
      Effect.suspend(() => onEvent(event)),
      (caller: Context.Context<never>) => Context.merge(context, caller)
    )
    return Effect.uninterruptible(
      Effect.catchCause(
        withDeadline<unknown, unknown>(handled, millis, () => Exit.fail({ _tag: "TimedOut" })),
        (cause) =>
          Effect.annotateLogs(Effect.logWarning("onEvent failed"), {
            namespace,
            event: event._tag,
            cause: Cause.hasInterruptsOnly(cause) ? "Interrupted" : describeCause(Cause.squash(cause))
          })
      )
    ) as Effect.Effect<void>
  }

export const make = <A, R extends ReadonlyArray<Tagged>>(
  tell: Tell<A, R>,
  namespace: string,
  millis: number
): Events<SessionEvent<A, R>> => {
  /** The sessions whose end was told, the latest last: a record may be noticed again until it is swept. */
  const told = new Set<string>()

  const isNews = ({ id }: Ended): boolean => {
    if (told.has(id)) return false
    if (told.size === maxRemembered) for (const oldest of told) if (told.delete(oldest)) break
    told.add(id)
    return true
  }

  /** Tells of some at once. Answers whether the handler took too long: what is left is left out, and so is what follows. */
  const isTooSlow = (events: ReadonlyArray<SessionEvent<A, R>>): Effect.Effect<boolean> =>
    Clock.clockWith((clock) => {
      const began = clock.currentTimeMillisUnsafe()
      let left = events.length
      const all = Effect.forEach(
        events,
        (event) =>
          Effect.map(tell(event), () => {
            left--
          }),
        { concurrency: maxAtOnce, discard: true }
      )
      /** Whether each took nearly as long as it may: where a store's batches are small, those of a walk take minutes. */
      const isStuck = () =>
        clock.currentTimeMillisUnsafe() - began >= 0.9 * millis * Math.ceil(events.length / maxAtOnce)
      return Effect.uninterruptible(
        Effect.suspend(() => withDeadline(all, maxBatchDeadlines * millis, () => Exit.void))
      ).pipe(
        Effect.andThen(
          Effect.suspend(() => {
            if (left === 0 && !isStuck()) return Effect.succeed(false)
            const warning = Effect.annotateLogs(
              Effect.logWarning("onEvent is too slow: it may not be told of all sessions that have ended"),
              { namespace, left }
            )
            // Of one that was late there is a line already.
            return Effect.as(events.length === 1 ? Effect.void : warning, true)
          })
        )
      )
    })

  const endedInBatches: Events<never>["endedInBatches"] = (why) => {
    let isSlow = false
    return (sessions) =>
      Effect.suspend(() => {
        const news = isSlow ? [] : sessions.filter(isNews)
        if (news.length === 0) return Effect.void
        const events = news.map(({ id, principal }) => ({
          _tag: "Ended" as const,
          why,
          // The store answers the id that the manager made.
          id: id as SessionId,
          principal: Option.fromUndefinedOr(principal)
        }))
        return Effect.map(isTooSlow(events), (slow) => {
          isSlow = slow
        })
      })
  }

  return { tell, endedInBatches, ended: (sessions, why) => endedInBatches(why)(sessions) }
}
