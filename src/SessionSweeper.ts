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
import { withDeadline } from "./internal/manager/deadline.ts"
import { rested } from "./internal/manager/rest.ts"
import * as Registry from "./internal/registry.ts"
import { describeCause } from "./internal/describeCause.ts"
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

/** How long a batch may take, in milliseconds. */
const batchTimeout = 30_000

const timedOut = () =>
  Exit.fail(new SessionBackendError({ operation: "deleteExpired", outcome: "unknown", cause: { _tag: "TimedOut" } }))

type Tell = ReturnType<Registry.Registry["Service"]["sweep"]>

const start = Effect.fnUntraced(function* (
  { batch: limit = maxBatch, interval = "5 minutes" }: SessionSweeperOptions,
  beginSweep: () => Tell
) {
  const problems: Array<string> = []
  if (!(Number.isSafeInteger(limit) && limit >= 1 && limit <= maxBatch)) {
    problems.push(`batch must be a whole number from 1 to ${maxBatch}`)
  }
  if (!Option.exists(Duration.fromInput(interval), Duration.isPositive)) {
    problems.push("interval must be a duration above zero")
  }
  if (problems.length > 0) return yield* new SessionConfigError({ layers: ["SessionSweeper.layer"], problems })
  const backend = yield* SessionBackend
  const batch = Effect.flatMap(Clock.currentTimeMillis, (now) =>
    withDeadline(backend.deleteExpired({ now, limit }), batchTimeout, timedOut)
  )
  const batches = Effect.suspend(() => {
    const tell = beginSweep()
    // What is deleted is told of, though the application stops meanwhile.
    const told = Effect.uninterruptibleMask((restore) => rested(restore(batch), restore, tell))
    return Effect.repeat(told, { while: ({ more }) => more })
  })
  const round = batches.pipe(
    Effect.catchCause((cause) =>
      Effect.logWarning("sweeping expired sessions failed").pipe(
        Effect.annotateLogs({ cause: describeCause(Cause.squash(cause)) })
      )
    )
  )
  yield* round.pipe(Effect.repeat(Schedule.jittered(Schedule.spaced(interval))), Effect.forkScoped)
})

/**
 * Starts a sweeper, as `layer` does, which stops with the scope. No `onEvent` is told of what it deletes: that takes a
 * layer. Fails with a `SessionConfigError` on options that are none.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: SessionSweeperOptions = {}
): Effect.Effect<void, SessionConfigError, SessionBackend | Scope.Scope> => start(options, () => () => Effect.void)

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
  Registry.effectDiscard(telling(options))

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
  Registry.effectDiscard(Effect.flatMap(Config.unwrap(options), telling))

/** Of what it deletes, the managers whose layers are built with this one are told. */
const telling = (options: SessionSweeperOptions) =>
  Effect.flatMap(Registry.Registry, ({ sweep }) => start(options, sweep))
