/**
 * A manager's subscription to what its backend says of records that may have ended: one, as long as a caller waits for an
 * end, and a little longer.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import { type EndedHint, SessionBackendError } from "../../SessionBackend.ts"
import { withDeadline } from "./deadline.ts"
import type { Parts } from "./parts.ts"

/** How long the subscription stays when no caller waits any more, in milliseconds: that long, or twice. */
const idleTime = 60_000

/** How long one try to subscribe may take, in milliseconds: a connection is opened for it. */
const tryTimeout = 10_000

/** The rest before the next try, in milliseconds: it doubles from try to try. */
const minRest = 100
const maxRest = 5000

export interface Hints {
  /** Subscribes, unless that is done or under way. */
  readonly open: () => void
  /** Whether the first try is under way: soon there will be hints, or it is known that there are none. */
  readonly isOpening: () => boolean
}

interface Listener {
  readonly hinted: (id: string) => void
  /** The first try is over. */
  readonly opened: () => void
  /** Whether a caller waits for an end. */
  readonly isWaiting: () => boolean
}

/** None come from a backend that cannot push. */
const none: Hints = { open: () => {}, isOpening: () => false }

export const make = (
  { namespace, storage, times }: Pick<Parts<unknown>, "namespace" | "storage" | "times">,
  { hinted, isWaiting, opened }: Listener
): Effect.Effect<Hints, never, Scope.Scope> =>
  Effect.contextWith((context: Context.Context<Scope.Scope>) => {
    const subscribe = storage.ended
    if (subscribe === undefined) return Effect.succeed(none)
    const scope = Context.get(context, Scope.Scope)
    let state: "none" | "opening" | "open" | "lost" = "none"
    let running: Fiber.Fiber<unknown> | undefined
    /** Whether a caller has asked for it since it was last looked whether one waits. */
    let isUsed = false

    const become = (next: "open" | "lost") => {
      const wasOpening = state === "opening"
      state = next
      if (wasOpening) opened()
    }

    const subscribed = (own: Scope.Scope) =>
      withDeadline(Scope.provide(subscribe, own), tryTimeout, () =>
        Exit.fail(new SessionBackendError({ operation: "ended", outcome: "notApplied", cause: { _tag: "TimedOut" } }))
      )

    const listen = (queue: Queue.Dequeue<EndedHint, SessionBackendError>) =>
      Effect.forever(
        Effect.map(Queue.takeAll(queue), (hints) => {
          for (const hint of hints) if (hint.namespace === namespace) hinted(hint.id)
        })
      )

    /** Subscribes, and listens until the subscription is lost. */
    const once = Effect.acquireUseRelease(
      Scope.make(),
      (own) =>
        Effect.flatMap(subscribed(own), (queue) => {
          become("open")
          return listen(queue)
        }),
      // What takes leave of a store that is gone may hang.
      (own, exit) => withDeadline(Scope.close(own, exit), times.backend, () => Exit.void)
    )

    /** What was ended meanwhile is found by those who wait, each of whom looks within the interval. */
    const again = Effect.gen(function* () {
      for (let tries = 0; ; tries++) {
        const began = yield* Clock.currentTimeMillis
        const exit = yield* Effect.exit(once)
        // One line for each loss, and none for the tries that follow it.
        if (state !== "lost") {
          become("lost")
          yield* Effect.ignore(storage.failed("ended", "notApplied", causeOf(exit)))
        }
        if ((yield* Clock.currentTimeMillis) - began > tryTimeout + maxRest) tries = 0
        const rest = Math.min(maxRest, minRest * 2 ** tries)
        yield* Effect.sleep(rest * (0.5 + 0.5 * (yield* Random.next)))
      }
    })

    const untilIdle = Effect.gen(function* () {
      do {
        isUsed = false
        yield* Effect.sleep(idleTime)
      } while (isUsed || isWaiting())
      // A caller who comes from now on subscribes anew.
      running = undefined
      state = "none"
    })

    const open = () => {
      isUsed = true
      if (running !== undefined) return
      state = "opening"
      const fiber = Effect.runForkWith(context)(Effect.raceFirst(again, untilIdle))
      running = fiber
      fiber.addObserver(() => {
        if (running !== fiber) return
        running = undefined
        become("lost")
      })
      Fiber.runIn(fiber, scope)
    }

    return Effect.succeed({ open, isOpening: () => state === "opening" })
  })

const causeOf = (exit: Exit.Exit<never, SessionBackendError>): unknown => {
  if (Exit.isSuccess(exit)) return undefined
  const error = Cause.squash(exit.cause)
  return error instanceof SessionBackendError ? error.cause : error
}
