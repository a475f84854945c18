/**
 * A `Redis` service over ioredis.
 *
 * **When to use**
 *
 * Use with `SessionBackendRedis` in an application that has ioredis already. `layer` opens a client with settings for
 * sessions; `layerFromClient` takes one that is there, a `Cluster` of ioredis too.
 *
 * **Details**
 *
 * - The settings of `layer` are those that sessions need: nothing is kept to be sent later, neither while Redis is away
 *   (`enableOfflineQueue: false`) nor after a connection was lost (`maxRetriesPerRequest: 0`); at most 10,000 commands
 *   are under way; a connection is tried for a second, and for ever again; one that does not answer for five seconds is
 *   closed; a `READONLY` answer closes it too. Yours come first. With `sentinels` and `name` it follows a master through
 *   Sentinel.
 * - Over a `Cluster`, `SCAN` walks over all masters, with cursors of its own.
 * - A quiet connection is asked for a sign of life every two seconds.
 * - The layer fails with a `RedisError` if Redis cannot be reached within five seconds. With `startupTimeout` it goes on
 *   trying.
 * - Subscriptions and `reserve` use connections of their own, duplicates of the client. A subscription is renewed after an
 *   interruption; what was published meanwhile is missed.
 * - Errors of the connections are logged as warnings, by their code alone. Scope closing waits a second for the commands
 *   under way.
 *
 * **Gotchas**
 *
 * - It needs `ioredis` 5.4.1 or later, a peer dependency, and is not part of the package's main entry point.
 * - The client of `layerFromClient` keeps its settings, and is yours to close. With ioredis's own defaults it sends commands
 *   once Redis is back, long after they were reported as failed, and again where it may have carried them out, so that an
 *   update applies twice: give it those of the example.
 *
 * **Example** (Keeping sessions in Redis with ioredis)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { SessionBackendRedis } from "effect-sessions"
 * import * as IoRedis from "effect-sessions/IoRedis"
 *
 * export const SessionsLive = SessionBackendRedis.layer.pipe(
 *   Layer.provide(IoRedis.layer({ host: "localhost", port: 6379 }))
 * )
 * ```
 *
 * **Example** (Using a client that is there)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { SessionBackendRedis } from "effect-sessions"
 * import * as IoRedis from "effect-sessions/IoRedis"
 * import { Cluster } from "ioredis"
 *
 * const cluster = new Cluster([{ host: "localhost", port: 7000 }], {
 *   lazyConnect: true,
 *   enableOfflineQueue: false,
 *   // A command that has lost its connection may have been carried out, so it is not sent again.
 *   retryDelayOnFailover: 0,
 *   redisOptions: { autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0, socketTimeout: 5000 }
 * })
 *
 * export const SessionsLive = SessionBackendRedis.layer.pipe(Layer.provide(IoRedis.layerFromClient(cluster)))
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
import { Cluster, Redis as IoRedisClient, type RedisOptions } from "ioredis"
import { scan } from "./internal/redisClient/scan.ts"
import * as Service from "./internal/redisClient/service.ts"

/**
 * Options of the client: those of ioredis, and those of `reserve`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export type IoRedisOptions = Omit<RedisOptions, "replyMapping" | "lazyConnect"> &
  Redis.PoolOptions & {
    /**
     * How long the layer goes on trying to connect, once a second, before it fails.
     *
     * @default not at all, it fails at the first failure
     */
    readonly startupTimeout?: Duration.Input | undefined
  }

/**
 * Opens a client with settings for sessions, which is closed with the scope.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const make = ({
  acquireTimeout,
  idleTimeout,
  maxConnections,
  minConnections,
  startupTimeout,
  ...options
}: IoRedisOptions = {}): Effect.Effect<Redis.Redis["Service"], Redis.RedisError, Scope.Scope> =>
  Effect.gen(function* () {
    const log = yield* Service.errorLog("IoRedis")
    const opening = Service.open(() =>
      makeClient(new IoRedisClient({ ...settings, ...options, replyMapping: "legacy", lazyConnect: true }), log)
    )
    const client = yield* Service.openScoped(opening, startupTimeout)
    yield* keepAlive(client)
    return yield* Service.makeService(client, opening, { acquireTimeout, idleTimeout, maxConnections, minConnections })
  })

/**
 * Makes the service from a client that is there. It is connected if it is not yet, and not closed.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const fromClient = (
  client: IoRedisClient | Cluster,
  pool: Redis.PoolOptions = {}
): Effect.Effect<Redis.Redis["Service"], Redis.RedisError, Scope.Scope> =>
  Effect.gen(function* () {
    const log = yield* Service.errorLog("IoRedis")
    const shared = yield* Effect.acquireRelease(
      Effect.sync(() => makeClient(client, log)),
      ({ release }) => Effect.sync(release)
    )
    yield* Service.connect(shared)
    yield* keepAlive(shared)
    return yield* Service.makeService(
      shared,
      Service.open(() => makeClient(duplicate(client), log)),
      pool
    )
  })

/**
 * Layer that opens a client with settings for sessions, and provides it as `Redis`.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: IoRedisOptions): Layer.Layer<Redis.Redis, Redis.RedisError> =>
  Layer.effect(Redis.Redis, make(options))

/**
 * As `layer`, with options from `Config`.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<IoRedisOptions>
): Layer.Layer<Redis.Redis, Redis.RedisError | Config.ConfigError> =>
  Layer.effect(Redis.Redis, Effect.flatMap(Config.unwrap(options), make))

/**
 * Layer that provides a client that is there as `Redis`.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerFromClient = (
  client: IoRedisClient | Cluster,
  pool?: Redis.PoolOptions
): Layer.Layer<Redis.Redis, Redis.RedisError> => Layer.effect(Redis.Redis, fromClient(client, pool))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const settings = {
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  connectTimeout: 1000,
  socketTimeout: 5000,
  retryStrategy: Service.reconnectDelay,
  reconnectOnError: (error: Error) => error.message.startsWith("READONLY ")
} satisfies RedisOptions

/** How many commands may be under way: ioredis itself sets no bound. */
const maxUnderWay = 10_000

/** Asks for a sign of life. Its answer does not matter: where none comes, `socketTimeout` closes the connection. */
const keepAlive = ({ ping }: IoClient): Effect.Effect<unknown, never, Scope.Scope> =>
  Effect.sync(ping).pipe(Effect.andThen(Effect.sleep("2 seconds")), Effect.forever, Effect.forkScoped)

interface IoClient extends Service.Client {
  readonly ping: () => void
  /** Takes its listeners off the client of ioredis, and ends the connection for subscriptions. */
  readonly release: () => void
}

const duplicate = (client: IoRedisClient | Cluster): IoRedisClient | Cluster =>
  client instanceof Cluster ? client.duplicate([], { lazyConnect: true }) : client.duplicate({ lazyConnect: true })

/** Each master has a part of the keys. It is named by its address. */
const scanCluster = (cluster: Cluster, args: ReadonlyArray<string>): Promise<unknown> =>
  scan(
    {
      nameOf: (slot) => cluster.slots[slot]?.[0],
      send: (slot, [command, ...args]) =>
        cluster
          .nodes("master")
          .find(({ options: { host, port } }) => `${host}:${port}` === cluster.slots[slot]?.[0])
          ?.call(command!, ...args) ?? Service.offline()
    },
    args
  )

const makeClient = (client: IoRedisClient | Cluster, log: (error: unknown) => void): IoClient => {
  let lastError: unknown
  const onError = (error: unknown) => {
    lastError = error
    log(error)
  }
  client.on("error", onError)

  let underWay = 0
  const done = () => {
    underWay--
  }

  /**
   * A connection for subscriptions, opened with the first and closed after the last: a caller who subscribes anew, since it
   * hears nothing, is not to get the one to a frozen server again.
   */
  let subscriber: IoRedisClient | Cluster | undefined
  const listeners = new Map<string, Set<(message: string) => void>>()
  const onMessage = (channel: string, message: string) => {
    for (const listener of listeners.get(channel) ?? []) listener(message)
  }
  const subscribing = () => {
    if (subscriber !== undefined) return subscriber
    // A subscription waits for its connection; its caller does not wait for ever.
    subscriber =
      client instanceof Cluster
        ? client.duplicate([], { enableOfflineQueue: true, lazyConnect: false })
        : client.duplicate({ enableOfflineQueue: true, maxRetriesPerRequest: null })
    return subscriber.on("error", log).on("message", onMessage)
  }
  const endSubscriber = (which: IoRedisClient | Cluster | undefined) => {
    which?.off("message", onMessage)
    which?.disconnect()
  }
  const release = () => {
    client.off("error", onError)
    endSubscriber(subscriber)
  }

  return {
    connect: () =>
      new Promise<unknown>((resolve, reject) => {
        if (client.status === "ready") return resolve(undefined)
        if (client.status === "wait") return client.connect().then(resolve, (error) => reject(lastError ?? error))
        client.once("ready", resolve).once("error", reject).once("end", reject)
      }),
    send: (_signal, command, args) => {
      if (client.status !== "ready") return Service.offline()
      // ioredis takes a QUIT as the end of the client; to any other it is the end of a connection, and it opens a new one.
      if (command.toUpperCase() === "QUIT") {
        if (client instanceof IoRedisClient) client.disconnect(true)
        return Promise.resolve("OK")
      }
      if (underWay >= maxUnderWay) return Promise.reject(new Error("The queue is full"))
      underWay++
      const reply =
        client instanceof Cluster && command.toUpperCase() === "SCAN"
          ? scanCluster(client, args)
          : client.call(command, ...args)
      reply.then(done, done)
      return reply.catch((error) =>
        String(error.message).endsWith("enableOfflineQueue options is false")
          ? Service.offline()
          : Promise.reject(error)
      )
    },
    subscribe: (channel, listener) => {
      const own = listeners.get(channel)
      if (own !== undefined) return Promise.resolve(own.add(listener))
      listeners.set(channel, new Set([listener]))
      return subscribing().subscribe(channel)
    },
    unsubscribe: async (channel, listener) => {
      const own = listeners.get(channel)
      if (own === undefined || !own.delete(listener) || own.size > 0) return
      listeners.delete(channel)
      const connection = subscriber
      if (connection === undefined || listeners.size > 0) return connection?.unsubscribe(channel)
      subscriber = undefined
      const timer = setTimeout(endSubscriber, 1000, connection)
      await connection.unsubscribe(channel).finally(() => {
        clearTimeout(timer)
        endSubscriber(connection)
      })
    },
    ping: () => {
      for (const connection of new Set([client, subscriber])) {
        if (connection?.status === "ready") connection.ping().catch(() => {})
      }
    },
    close: () => client.quit(),
    destroy: () => {
      release()
      // What is still said of it is of no interest, and yet an error without a listener would be printed.
      client.on("error", () => {}).disconnect()
    },
    release
  }
}
