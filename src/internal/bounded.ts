/**
 * A deadline that holds even where the effect cannot be interrupted.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

/**
 * Runs an effect for at most so many milliseconds, then answers `late` at once and interrupts what still runs without
 * waiting for it: a driver that hangs in an uninterruptible region holds nobody up. The caller may be uninterruptible
 * itself; the deadline holds all the same.
 *
 * @internal
 */
export const bounded = <A, E>(
  effect: Effect.Effect<A, E>,
  millis: number,
  late: Exit.Exit<A, E>
): Effect.Effect<A, E> =>
  Effect.withFiber((parent) =>
    Effect.callback<A, E>((resume) => {
      const run = Effect.runForkWith(parent.context)
      const running = run(effect)
      const early = running.pollUnsafe()
      if (early !== undefined) return resume(early)
      const timer = run(Effect.sleep(millis))
      timer.addObserver((exit) => {
        if (Exit.isFailure(exit)) return
        // In this order: what can be interrupted ends at once, and would be heard first.
        resume(late)
        running.interruptUnsafe()
      })
      running.addObserver((exit) => {
        timer.interruptUnsafe()
        resume(exit)
      })
      return Effect.sync(() => {
        timer.interruptUnsafe()
        running.interruptUnsafe()
      })
    })
  )
