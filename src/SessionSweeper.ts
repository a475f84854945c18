/**
 * Deletes expired sessions from stores that do not do so themselves.
 *
 * @stability unstable
 * @since 0.1.0
 */

import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { describeCause } from "./internal/describeCause.ts"
import { withDeadline } from "./internal/manager/deadline.ts"
import { rested } from "./internal/manager/rest.ts"
import * as Registry from "./internal/registry.ts"
import { maxBatch, SessionBackend, SessionBackendError } from "./SessionBackend.ts"
import { SessionConfigError } from "./SessionError.ts"

/**
 * Options of the sweeper.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface SessionSweeperOptions {
  /**
   * The pause between two rounds, above zero. Expired sessions take space until then, and are refused all the same.
   *
   * @default 5 minutes
   */
  readonly interval?: Duration.Input | undefined
  /** How many records one batch deletes at most: 1 to `SessionBackend.maxBatch`. @default 1000 */
  readonly batch?: number | undefined
}

/**
 * Starts a sweeper, as `layer` does, which stops with the scope. `onEvent` of a manager is told as by `sweep`.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: SessionSweeperOptions = {}
): Effect.Effect<void, SessionConfigError, SessionBackend | Scope.Scope> =>
  Effect.provide(start(options), Registry.layer)

/**
 * Layer that deletes expired records from the backend at intervals, for as long as the application runs.
 *
 * **When to use**
 *
 * Use with SQL backends, in one process or in all of them. The memory and Redis backends delete expired sessions
 * themselves.
 *
 * **Details**
 *
 * Each round deletes batches until nothing is left to delete, and lets other work go on between two of them. What
 * expired less than `SessionBackend.clockSlack` ago stays: a server whose clock is ahead ends no live session. A round
 * that fails is logged; the next one starts as usual. The pause between rounds is jittered, so that many processes do not
 * sweep at once. Fails with a `SessionConfigError` on options that are none.
 *
 * `onEvent` of the managers whose layers are built with this one is told of the sessions that a batch has deleted: `Ended`,
 * why `"expired"`.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: SessionSweeperOptions = {}): Layer.Layer<never, SessionConfigError, SessionBackend> =>
  Registry.effectDiscard(start(options))

/**
 * Layer of the sweeper with options from configuration: `layer`.
 *
 * @stability experimental
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<SessionSweeperOptions>
): Layer.Layer<never, SessionConfigError | Config.ConfigError, SessionBackend> =>
  Registry.effectDiscard(Effect.flatMap(Config.unwrap(options), start))

/**
 * Deletes the expired records once, and answers how many it has deleted: for a job that something else starts, such as a
 * cron trigger of Cloudflare Workers, where no timer outlives the request that set it.
 *
 * **Details**
 *
 * It is one round of `layer`. Fails with the failure of a batch: what the batches before it deleted is deleted. Fails with
 * a `SessionConfigError` on a `batch` that is none.
 *
 * **Gotchas**
 *
 * - `onEvent` of a manager is told where its layer is provided beside this effect's backend, by the same `Effect.provide`.
 *
 * **Example** (Sweeping from a cron trigger)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SessionBackendSql, SessionSweeper } from "effect-sessions"
 * import * as D1Client from "effect-sessions/D1Client"
 *
 * interface Env {
 *   readonly DB: D1Client.D1Database
 * }
 *
 * const Backend = SessionBackendSql.layerStorage()
 *
 * export const scheduled = (_event: unknown, env: Env) =>
 *   SessionSweeper.sweep().pipe(Effect.provide(Backend), Effect.provide(D1Client.layer({ db: env.DB })), Effect.runPromise)
 * ```
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const sweep = (
  options: Pick<SessionSweeperOptions, "batch"> = {}
): Effect.Effect<number, SessionBackendError | SessionConfigError, SessionBackend> =>
  Effect.gen(function* () {
    const limit = yield* batchOf("sweep", options, [])
    return yield* roundOf(yield* SessionBackend, yield* Registry.Registry, limit)
  }).pipe(Effect.provide(Registry.layer))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** How many records a batch deletes at most. Fails with all that is wrong with the options. */
const batchOf = (
  name: string,
  { batch = maxBatch }: SessionSweeperOptions,
  others: ReadonlyArray<string>
): Effect.Effect<number, SessionConfigError> => {
  const isBatch = Number.isSafeInteger(batch) && batch >= 1 && batch <= maxBatch
  const problems = [...(isBatch ? [] : [`batch must be a whole number from 1 to ${maxBatch}`]), ...others]
  return problems.length > 0
    ? Effect.fail(new SessionConfigError({ layers: [`SessionSweeper.${name}`], problems }))
    : Effect.succeed(batch)
}

/** Sweeps at intervals, until the scope closes. */
const start = Effect.fnUntraced(function* (options: SessionSweeperOptions) {
  const { interval = "5 minutes" } = options
  const isInterval = Option.exists(Duration.fromInput(interval), Duration.isPositive)
  const limit = yield* batchOf("layer", options, isInterval ? [] : ["interval must be a duration above zero"])
  const round = roundOf(yield* SessionBackend, yield* Registry.Registry, limit).pipe(
    Effect.catchCause((cause) =>
      Effect.logWarning("sweeping expired sessions failed").pipe(
        Effect.annotateLogs({ cause: describeCause(Cause.squash(cause)) })
      )
    )
  )
  yield* round.pipe(Effect.repeat(Schedule.jittered(Schedule.spaced(interval))), Effect.forkScoped)
})

/** How long a batch may take, in milliseconds. */
const batchTimeout = 30_000

const timedOut = () =>
  Exit.fail(new SessionBackendError({ operation: "deleteExpired", outcome: "unknown", cause: { _tag: "TimedOut" } }))

/** Deletes batch after batch, until nothing is left to delete. */
const roundOf = (
  backend: SessionBackend["Service"],
  registry: Registry.Registry["Service"],
  limit: number
): Effect.Effect<number, SessionBackendError> => {
  const batch = Effect.flatMap(Clock.currentTimeMillis, (now) =>
    withDeadline(backend.deleteExpired({ now, limit }), batchTimeout, timedOut)
  )
  return Effect.gen(function* () {
    const tell = registry.sweep()
    for (let deleted = 0; ;) {
      // What is deleted is told of, though the application stops meanwhile.
      const answer = yield* Effect.uninterruptibleMask((restore) => rested(restore(batch), restore, tell))
      deleted += answer.deleted.length
      if (!answer.more) return deleted
    }
  })
}
