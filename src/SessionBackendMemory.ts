/**
 * The storage port over this process's memory.
 *
 * **When to use**
 *
 * Use for development, for tests, and for a single process whose sessions may end when it does.
 *
 * **Details**
 *
 * - When the store is full, expired sessions are deleted first, then the oldest without a principal. A session of a
 *   logged-in user is never deleted to make room: when only such sessions are left, `create` fails, and the request is
 *   answered 503.
 * - Writes delete expired sessions, a few at a time. There is no timer.
 * - It pushes: who waits for the end of a session (`ended`) is told at once.
 * - With `NODE_ENV=production` the layer logs a warning; on Deno only if the environment may be read (`--allow-env`).
 *
 * **Gotchas**
 *
 * - `layer` is built once in an application, so everything it is provided to shares one store. Use
 *   `Layer.fresh(SessionBackendMemory.layer)` for another.
 *
 * @stability unstable
 * @since 0.1.0
 */

import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as MemoryStore from "./internal/backend/memoryStore.ts"
import * as Registry from "./internal/registry.ts"
import { SessionBackend } from "./SessionBackend.ts"
import { SessionConfigError } from "./SessionError.ts"

/**
 * The bounds of the memory backend.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface SessionBackendMemoryOptions {
  /**
   * How many sessions it holds at most: a whole number from 1.
   *
   * @default 100_000
   */
  readonly maxSessions?: number | undefined
  /**
   * How many bytes the sessions take at most, estimated from the length of their texts: a whole number from 1.
   *
   * @default 268_435_456 (256 MiB)
   */
  readonly maxBytes?: number | undefined
}

/**
 * Makes a store in memory, within the given bounds. Fails with a `SessionConfigError` that lists every problem of the
 * options.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: SessionBackendMemoryOptions = {}
): Effect.Effect<SessionBackend["Service"], SessionConfigError> =>
  Effect.suspend(() => {
    const { maxBytes = defaults.maxBytes, maxSessions = defaults.maxSessions } = options
    const limits = { maxSessions, maxBytes }
    const problems = Object.entries(limits).flatMap(([name, value]) =>
      Number.isSafeInteger(value) && value >= 1
        ? []
        : [`SessionBackendMemory.layerWith: ${name} must be a whole number from 1 up`]
    )
    return problems.length > 0 ? new SessionConfigError({ layers: ["SessionBackendMemory"], problems }) : within(limits)
  })

/**
 * Layer that keeps sessions in memory, within the given bounds: `make`.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerWith = (options: SessionBackendMemoryOptions = {}): Layer.Layer<SessionBackend, SessionConfigError> =>
  Registry.effect(SessionBackend, make(options))

/**
 * Layer that keeps sessions in memory, with bounds from configuration: `layerWith`.
 *
 * @stability experimental
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<SessionBackendMemoryOptions>
): Layer.Layer<SessionBackend, SessionConfigError | Config.ConfigError> =>
  Registry.effect(SessionBackend, Effect.flatMap(Config.unwrap(options), make))

/**
 * Layer that keeps up to 100,000 sessions and 256 MiB in memory.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<SessionBackend> = Layer.effect(
  SessionBackend,
  Effect.suspend(() => within(defaults))
)

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const defaults = { maxSessions: 100_000, maxBytes: 256 * 1024 * 1024 }

const within = (limits: typeof defaults): Effect.Effect<SessionBackend["Service"]> =>
  Effect.gen(function* () {
    // Deno dies where the environment may not be read. A warning that is missing is no reason not to start.
    const environment = yield* Effect.exit(Config.String("NODE_ENV"))
    if (Exit.isSuccess(environment) && environment.value === "production") {
      yield* Effect.logWarning(
        "effect-sessions: SessionBackendMemory in production: a restart ends every session, and other processes know " +
          "none of them"
      )
    }
    return MemoryStore.make(limits)
  })
