/** What the scripts of this folder measure with: sessions, and how long their requests take beside something large. */
import * as Effect from "effect/Effect"
import { randomBytes } from "node:crypto"
import {
  maxBatch,
  type SessionBackend,
  type SessionBackendError,
  type SessionRecord
} from "../../src/SessionBackend.ts"

export const record = (changes: Partial<SessionRecord> = {}): SessionRecord => ({
  namespace: "scale",
  id: randomBytes(16).toString("base64url"),
  secretHash: "s".repeat(43),
  version: 1,
  principal: `user-${Math.floor(Math.random() * 1e6)}`,
  data: JSON.stringify({ text: "x".repeat(150) }),
  dataVersion: 1,
  extension: "{}",
  createdAt: Date.now(),
  authenticatedAt: Date.now(),
  lastSeenAt: Date.now(),
  idleTimeout: 1_800_000,
  idleExpiresAt: Date.now() + 1_800_000,
  absoluteExpiresAt: Date.now() + 43_200_000,
  persistent: true,
  ...changes
})

export const percentile = (times: ReadonlyArray<number>, p: number): number =>
  times.toSorted((a, b) => a - b)[Math.max(0, Math.ceil((times.length * p) / 100) - 1)] ?? NaN

/** Requests of other users while something large goes on: read, read and touch, read and update, one after another. */
export const others = (backend: SessionBackend["Service"], ids: ReadonlyArray<string>, callers: number) => {
  const times: Array<number> = []
  const state = { isRunning: true, failures: 0 }
  const caller = Effect.gen(function* () {
    for (let n = 0; state.isRunning; n++) {
      const id = ids[Math.floor(Math.random() * ids.length)]!
      const now = Date.now()
      const seen = { lastSeenAt: now, idleExpiresAt: now + 1_800_000 }
      const began = performance.now()
      const request: Effect.Effect<unknown, SessionBackendError> =
        n % 3 === 0
          ? backend.read("scale", id)
          : n % 3 === 1
            ? backend.touch("scale", id, seen)
            : Effect.flatMap(backend.read("scale", id), (found) =>
                found._tag === "None"
                  ? Effect.void
                  : backend.update("scale", id, found.value.version, { ...seen, data: "{}" })
              )
      yield* Effect.catch(request, () => Effect.sync(() => state.failures++))
      times.push(performance.now() - began)
      yield* Effect.sleep(Math.random() * 20)
    }
  })
  return {
    run: Effect.all(
      Array.from({ length: callers }, () => caller),
      { concurrency: "unbounded", discard: true }
    ),
    stop: () => {
      state.isRunning = false
      return {
        requests: times.length,
        failures: state.failures,
        p50: percentile(times, 50),
        p99: percentile(times, 99)
      }
    }
  }
}

export const round = (value: number): number => Math.round(value * 10) / 10

export const timed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<readonly [A, number], E, R> =>
  Effect.suspend(() => {
    const began = performance.now()
    return Effect.map(effect, (value) => [value, performance.now() - began] as const)
  })

/** Sweeps until there is no more, notes how long each batch took, and answers how many sessions were deleted. */
export const sweepAll = Effect.fnUntraced(function* (backend: SessionBackend["Service"], times: Array<number>) {
  for (let swept = 0; ;) {
    const [{ deleted, more }, millis] = yield* timed(backend.deleteExpired({ now: Date.now(), limit: maxBatch }))
    times.push(millis)
    swept += deleted.length
    if (!more) return swept
    // As the sweeper rests.
    yield* Effect.sleep(millis)
  }
})
