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
 * Runs a batch, tells of it and, if more follow, rests as long as the batch took: half of the time is left to others.
 * `restore` makes the rest interruptible where the batches are not.
 */
export const rested = <E>(
  batch: Effect.Effect<DeletedBatch, E>,
  restore: (rest: Effect.Effect<void>) => Effect.Effect<void> = identity,
  tell?: (deleted: DeletedBatch["deleted"]) => Effect.Effect<void>
): Effect.Effect<DeletedBatch, E> =>
  Effect.gen(function* () {
    const began = yield* Clock.currentTimeMillis
    const answer = yield* batch
    // A store in this process may take no time that is measured.
    const took = Math.max(0, (yield* Clock.currentTimeMillis) - began)
    if (tell !== undefined) yield* tell(answer.deleted)
    if (answer.more) yield* restore(Effect.andThen(Effect.yieldNow, Effect.sleep(took)))
    return answer
  })
