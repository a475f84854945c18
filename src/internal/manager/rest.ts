/**
 * Rests between batches.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import type { DeletedBatch } from "../../SessionBackend.ts"

/**
 * Runs a batch and, if more follow, rests as long as it took: half of the time is left to others. `restore` makes the rest
 * interruptible where the batches are not.
 */
export const rested = <E>(
  batch: Effect.Effect<DeletedBatch, E>,
  restore: (rest: Effect.Effect<void>) => Effect.Effect<void> = identity
): Effect.Effect<DeletedBatch, E> =>
  Effect.gen(function* () {
    const began = yield* Clock.currentTimeMillis
    const answer = yield* batch
    if (!answer.more) return answer
    // A store in this process may take no time that is measured.
    const took = (yield* Clock.currentTimeMillis) - began
    yield* restore(Effect.andThen(Effect.yieldNow, Effect.sleep(Math.max(0, took))))
    return answer
  })
