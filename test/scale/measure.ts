/** What the scripts of this folder measure with: how long the event loop stood still, and how long others waited. */
import * as Effect from "effect/Effect"
import type { SessionBackend, SessionBackendError, SessionRecord } from "../../src/SessionBackend.ts"
import { processorWait } from "../support/processes.ts"

export const record = (changes: Partial<SessionRecord> = {}): SessionRecord => ({
  namespace: "scale",
  id: randomId(),
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

export const randomId = (): string =>
  Buffer.from(globalThis.crypto.getRandomValues(new Uint8Array(16))).toString("base64url")

/**
 * The longest times in which the event loop did nothing else. What this process waited for a processor, which others
 * used, is taken off: it is the machine's and not ours.
 */
export const watchLoop = () => {
  const blocks: Array<number> = []
  let last = performance.now()
  let waited = processorWait()
  let isRunning = true
  const tick = () => {
    const now = performance.now()
    const wait = processorWait()
    blocks.push(Math.max(0, now - last - (wait - waited)))
    last = performance.now()
    waited = wait
    if (isRunning) setTimeout(tick, 1)
  }
  setTimeout(tick, 1)
  return {
    stop: () => {
      isRunning = false
      tick()
      return { block: Math.max(...blocks), over50: blocks.filter((block) => block > 50).length }
    }
  }
}

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
