/**
 * One at a time for each key.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

/** Who has the turn, and who waits for it, in order. */
interface Lane {
  readonly waiting: Array<() => void>
}

/**
 * Makes a function that runs the effects given for one key one after the other, and those of different keys side by
 * side. Whoever has not had a turn after so many milliseconds gets `late` instead. The effect starts uninterruptible.
 * Keeps nothing for a key that nobody uses.
 *
 * @internal
 */
export const make = () => {
  const lanes = new Map<string, Lane>()

  /** Waits for the turn, at most so long, and takes it if it has come meanwhile. Answers whether it is ours. */
  const wait = (key: string, millis: number): Effect.Effect<boolean> =>
    Effect.withFiber((fiber) =>
      Effect.callback<boolean>((resume) => {
        // Looked up here, in one step with queueing: the fiber may have yielded to whoever had the turn.
        const lane = lanes.get(key)
        if (lane === undefined) {
          lanes.set(key, { waiting: [] })
          return resume(Effect.succeed(true))
        }
        const go = () => {
          timer.interruptUnsafe()
          resume(Effect.succeed(true))
        }
        lane.waiting.push(go)
        const timer = Effect.runForkWith(fiber.context)(Effect.sleep(millis))
        timer.addObserver((exit) => {
          if (Exit.isFailure(exit)) return
          lane.waiting.splice(lane.waiting.indexOf(go), 1)
          resume(Effect.succeed(false))
        })
      })
    )

  const next = (key: string): void => {
    const go = lanes.get(key)!.waiting.shift()
    if (go === undefined) lanes.delete(key)
    else go()
  }

  return <A, E>(
    key: string,
    millis: number,
    effect: Effect.Effect<A, E>,
    late: Exit.Exit<A, E>
  ): Effect.Effect<A, E> => {
    const inTurn = Effect.onExitPrimitive(effect, () => {
      next(key)
      return undefined
    })
    return Effect.uninterruptible(
      Effect.suspend(() => {
        if (lanes.has(key)) return Effect.flatMap(wait(key, millis), (ours) => (ours ? inTurn : late))
        lanes.set(key, { waiting: [] })
        return inTurn
      })
    )
  }
}
