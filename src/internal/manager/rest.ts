/**
 * Rests between batches.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { DeletedBatch } from "../../SessionBackend.ts"

/** Runs a batch and, if more follow, rests as long as it took: half of the time is left to others. */
export const rested = <E>(batch: Effect.Effect<DeletedBatch, E>): Effect.Effect<DeletedBatch, E> =>
  Effect.gen(function* () {
    const began = yield* Clock.currentTimeMillis
    const answer = yield* batch
    if (!answer.more) return answer
    // A store in this process may take no time that is measured.
    yield* Effect.yieldNow
    yield* Effect.sleep(Math.max(0, (yield* Clock.currentTimeMillis) - began))
    return answer
  })
