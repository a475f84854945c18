/**
 * A deadline for one call, which holds even where the call cannot be interrupted.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"

const liveClock = /* @__PURE__ */ Context.get(/* @__PURE__ */ Context.empty(), Clock.Clock)

/** A longer delay makes `setTimeout` fire at once. */
const maxDelay = 2 ** 31 - 1

/**
 * Calls `f` once after `millis` of the fiber's clock, and answers how to cancel it. Under the live clock that is a bare
 * `setTimeout`, a third of the cost of a fiber that sleeps.
 */
export const after = (fiber: Fiber.Fiber<unknown, unknown>, millis: number, f: () => void): (() => void) => {
  if (fiber.getRef(Clock.Clock) === liveClock) {
    const timer = setTimeout(f, Math.min(millis, maxDelay))
    return () => clearTimeout(timer)
  }
  const sleeping = Effect.runForkWith(fiber.context)(Effect.sleep(millis))
  sleeping.addObserver((exit) => {
    if (Exit.isSuccess(exit)) f()
  })
  return () => sleeping.interruptUnsafe()
}

/**
 * Runs an effect for at most `millis`, then answers `late` and interrupts the effect without waiting for it: a driver
 * that hangs in an uninterruptible region delays no request. The deadline holds in an uninterruptible caller too. The
 * timer is the call's own: one that requests share is lost on Workers, where it belongs to the request that started it.
 */
export const withDeadline = <A, E>(
  effect: Effect.Effect<A, E>,
  millis: number,
  late: () => Exit.Exit<A, E>
): Effect.Effect<A, E> =>
  Effect.withFiber((fiber) =>
    Effect.callback<A, E>((resume) => {
      const call = Effect.runForkWith(fiber.context)(effect)
      const answer = call.pollUnsafe()
      if (answer !== undefined) return resume(answer)
      const stop = after(fiber, millis, () => {
        // In this order: an interruptible call ends at once, and its exit would be the answer.
        resume(late())
        call.interruptUnsafe()
      })
      call.addObserver((exit) => {
        stop()
        resume(exit)
      })
      return Effect.sync(() => {
        stop()
        call.interruptUnsafe()
      })
    })
  )

/** How long a log-in that failed waits for the deletion of the session it made, in milliseconds. */
const undoTimeout = 250

/** Takes back what was made. It goes on where it takes long, and its failure is not the caller's. */
export const undo = (deletion: Effect.Effect<unknown, unknown>): Effect.Effect<void> =>
  withDeadline(Effect.ignore(deletion), undoTimeout, () => Exit.void)
