/**
 * A `Redis` service that follows a master through Sentinel, over node-redis (`createSentinel`).
 *
 * **When to use**
 *
 * Use with `SessionBackendRedis` where Sentinel watches a master and its replicas. Without Sentinel, `NodeRedis` of
 * `@effect/platform-node` behind a proxy that knows the master does as well; the guide to Redis failover has both.
 *
 * **Details**
 *
 * - It asks the Sentinels where the master is when the layer is built, when one of them says that this has changed, when
 *   the master answers `READONLY`, and every second (`scanInterval`). Reads go to the master, too.
 * - A command fails at once while there is no connection to a master. It is not kept to be sent later, one whose
 *   caller has given up is not sent, and one that has lost its connection is not sent again.
 * - The settings are those that sessions need, as in the example of `SessionBackendRedis`; yours come first.
 * - The layer fails with a `RedisError` if no master can be reached, after five seconds at most. With `startupTimeout` it
 *   goes on trying.
 * - A subscription is moved to the new master. What was published meanwhile is missed. `reserve` opens a client of its
 *   own, with its own connections to Sentinel and master.
 * - Errors of the connections are logged as warnings, by their code alone. Scope closing waits a second for the commands
 *   under way.
 *
 * **Gotchas**
 *
 * - It needs `redis` (node-redis) 5.12.1 or later, a peer dependency, and is not part of the package's main entry point.
 * - `min-replicas-to-write 1` is what saves log-outs: without it, those that no replica had received are undone by the
 *   failover.
 * - The Sentinels must know the nodes under addresses that this process can reach (`nodeAddressMap` translates them).
 *
 * **Example** (Keeping sessions behind Sentinel)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { SessionBackendRedis } from "effect-sessions"
 * import * as NodeRedisSentinel from "effect-sessions/NodeRedisSentinel"
 *
 * export const SessionsLive = SessionBackendRedis.layer.pipe(
 *   Layer.provide(
 *     NodeRedisSentinel.layer({
 *       name: "sessions",
 *       sentinelRootNodes: [
 *         { host: "10.0.0.1", port: 26_379 },
 *         { host: "10.0.0.2", port: 26_379 },
 *         { host: "10.0.0.3", port: 26_379 }
 *       ]
 *     })
 *   )
 * )
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 */

import * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redis from "effect/persistence/Redis"
import type * as Scope from "effect/Scope"
import { createSentinel } from "redis"
import * as Service from "./internal/redisClient/service.ts"

/**
 * Options of the Sentinel client: those of node-redis, except reading from replicas and sending a
 * command again, and those of `reserve`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export type NodeRedisSentinelOptions = Omit<
  Parameters<typeof createSentinel>[0],
  "replicaPoolSize" | "maxCommandRediscovers"
> &
  Redis.PoolOptions & {
    /**
     * How long the layer goes on trying to connect, once a second, before it fails.
     *
     * @default not at all, it fails at the first failure
     */
    readonly startupTimeout?: Duration.Input | undefined
  }

/**
 * Connects to the master that the Sentinels name, until the scope is closed.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: NodeRedisSentinelOptions
): Effect.Effect<Redis.Redis["Service"], Redis.RedisError, Scope.Scope> =>
  Effect.gen(function* () {
    const log = yield* Service.errorLog("NodeRedisSentinel")
    const opening = Service.open(() => makeClient(options, log))
    const client = yield* Service.openScoped(opening, options.startupTimeout)
    return yield* Service.makeService(client, opening, options)
  })

/**
 * Layer that connects to the master that the Sentinels name, and provides it as `Redis`.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: NodeRedisSentinelOptions): Layer.Layer<Redis.Redis, Redis.RedisError> =>
  Layer.effect(Redis.Redis, make(options))

/**
 * As `layer`, with options from `Config`.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<NodeRedisSentinelOptions>
): Layer.Layer<Redis.Redis, Redis.RedisError | Config.ConfigError> =>
  Layer.effect(Redis.Redis, Effect.flatMap(Config.unwrap(options), make))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** A Sentinel carries next to nothing, so that a frozen one is noticed sooner than a master. */
const sentinelSettings = { ...Service.nodeRedisSettings, pingInterval: 500 }
const sentinelSocket = { ...Service.nodeRedisSocket, socketTimeout: 2000 }

const makeClient = (options: NodeRedisSentinelOptions, log: (error: unknown) => void): Service.Client => {
  const { nodeClientOptions, sentinelClientOptions } = options
  const sentinel = createSentinel({
    scanInterval: 1000,
    ...options,
    replicaPoolSize: 0,
    // It would send a command again whose connection was lost, and which may have been carried out: an update would find
    // its own change, take it for another's, and apply itself to that. Where the master is, the next scan asks again.
    maxCommandRediscovers: 0,
    passthroughClientErrorEvents: true,
    commandOptions: { timeout: 0, ...options.commandOptions },
    nodeClientOptions: {
      ...Service.nodeRedisSettings,
      ...nodeClientOptions,
      socket: { ...Service.nodeRedisSocket, ...nodeClientOptions?.socket }
    },
    sentinelClientOptions: {
      ...sentinelSettings,
      ...sentinelClientOptions,
      socket: { ...sentinelSocket, ...sentinelClientOptions?.socket }
    }
  })
  sentinel.on("error", log)
  return {
    connect: () => sentinel.connect(),
    send: (abortSignal, command, args) =>
      // While no master is connected, node-redis would ask the Sentinels without a pause, and keep the command.
      sentinel.isReady && sentinel.getMasterNode() !== undefined
        ? sentinel.sendCommand(false, [command, ...args], { abortSignal })
        : Service.offline(),
    subscribe: (channel, listener) => sentinel.subscribe(channel, listener),
    // Its type is for listeners of buffers, too, which a listener of strings need not be.
    unsubscribe: (channel, listener) =>
      sentinel.unsubscribe(channel, listener as Parameters<typeof sentinel.unsubscribe>[1]),
    close: () => sentinel.close(),
    destroy: () => {
      sentinel.destroy().catch(log)
    }
  }
}
