/**
 * A `Redis` service over a Redis Cluster, with node-redis (`createCluster`).
 *
 * **When to use**
 *
 * Use with `SessionBackendRedis` on a Redis Cluster.
 *
 * **Details**
 *
 * - A command goes to the master of its key, and follows `MOVED` and `ASK`. Replicas are never read. `SCRIPT` goes to
 *   every master and succeeds if one has carried it out; `SCAN` walks over all masters, with cursors of its own; other
 *   commands without a key go to any master, and `QUIT` to none.
 * - Once a second (`pingInterval`) each master is asked for a sign of life. Where one gives none within a second, and the
 *   others say that the Cluster has other masters by now, the client connects to these: so a frozen master is noticed
 *   too, whose connection is not closed. Where it gives none twice, commands for its keys fail at once; those for others
 *   go on.
 * - No command is kept to be sent later: one fails at once while its master is not connected, and one whose caller has
 *   given up is not sent.
 * - The settings are those that sessions need, as in the example of `SessionBackendRedis`; yours come first. Those of
 *   every connection (credentials, TLS) belong in `defaults`.
 * - The layer fails with a `RedisError` if no node can be asked for the Cluster's topology within five seconds. With
 *   `startupTimeout` it goes on trying. It is built even if a shard has no master just now.
 * - A subscription is renewed on another node when its own is lost. What was published meanwhile is missed, and a message
 *   just then may come twice. `reserve` opens a client of its own, whose connections no other caller shares.
 * - Errors of the connections are logged as warnings, by their code alone. Scope closing waits a second for the commands
 *   under way.
 *
 * **Gotchas**
 *
 * - It needs `redis` (node-redis) 5.12.1 or later, a peer dependency, and is not part of the package's main entry point.
 * - A command with several keys is for one slot: Redis answers `CROSSSLOT` otherwise. `DBSIZE`, `FLUSHALL` and the like
 *   see one master, not the Cluster.
 * - `cluster-require-full-coverage no` is what keeps the other shards at work while one has no master: by default Redis
 *   then answers `CLUSTERDOWN` for all keys.
 * - What a failover can undo includes log-outs. `CLUSTER FAILOVER` undoes nothing; a master that dies takes with it what
 *   its replica had not received, and `CLUSTER FAILOVER TAKEOVER` all that the replica lacks.
 *
 * **Example** (Keeping sessions in a Cluster)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { SessionBackendRedis } from "effect-sessions"
 * import * as NodeRedisCluster from "effect-sessions/NodeRedisCluster"
 *
 * export const SessionsLive = SessionBackendRedis.layer.pipe(
 *   Layer.provide(
 *     NodeRedisCluster.layer({
 *       rootNodes: [{ url: "redis://10.0.0.1:6379" }, { url: "redis://10.0.0.2:6379" }],
 *       // For every connection, those to nodes that are discovered included.
 *       defaults: { username: "sessions", password: process.env["REDIS_PASSWORD"]! }
 *     })
 *   )
 * )
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 */

import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redis from "effect/persistence/Redis"
import type * as Scope from "effect/Scope"
import { createCluster } from "redis"
import { keyOf, slotOf } from "./internal/redisClient/keys.ts"
import { scan } from "./internal/redisClient/scan.ts"
import * as Service from "./internal/redisClient/service.ts"

/**
 * Options of the Cluster client: those of node-redis, except reading from replicas, and those of `reserve`.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export type NodeRedisClusterOptions = Omit<Parameters<typeof createCluster>[0], "useReplicas" | "minimizeConnections"> &
  Redis.PoolOptions & {
    /**
     * How often each master is asked for a sign of life.
     *
     * @default "1 second"
     */
    readonly pingInterval?: Duration.Input | undefined
    /**
     * How long the layer goes on trying to connect, once a second, before it fails.
     *
     * @default not at all, it fails at the first failure
     */
    readonly startupTimeout?: Duration.Input | undefined
  }

/**
 * Connects to the masters of a Cluster, until the scope is closed.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: NodeRedisClusterOptions
): Effect.Effect<Redis.Redis["Service"], Redis.RedisError, Scope.Scope> =>
  Effect.gen(function* () {
    const log = yield* Service.errorLog("NodeRedisCluster")
    const opening = Service.open(() => makeClient(options, log))
    const client = yield* Service.openScoped(
      Effect.map(opening, (first) => makeFollower(first, opening, log)),
      options.startupTimeout
    )
    yield* Effect.sleep(options.pingInterval ?? "1 second").pipe(
      Effect.andThen(client.watch),
      Effect.forever,
      Effect.forkScoped
    )
    return yield* Service.makeService(client, opening, options)
  })

/**
 * Layer that connects to the masters of a Cluster, and provides it as `Redis`.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: NodeRedisClusterOptions): Layer.Layer<Redis.Redis, Redis.RedisError> =>
  Layer.effect(Redis.Redis, make(options))

/**
 * As `layer`, with options from `Config`.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<NodeRedisClusterOptions>
): Layer.Layer<Redis.Redis, Redis.RedisError | Config.ConfigError> =>
  Layer.effect(Redis.Redis, Effect.flatMap(Config.unwrap(options), make))

// -----------------------------------------------------------------------------
// One client of node-redis
// -----------------------------------------------------------------------------

type Cluster = ReturnType<typeof createCluster>
type Master = Cluster["masters"][number]

interface ClusterClient extends Service.Client {
  readonly cluster: Cluster
  /** The addresses of masters that gave no sign of life when they were asked last, and of those that did so twice. */
  suspects: ReadonlySet<string>
  silent: ReadonlySet<string>
}

/** How long one master may take for what is not a request's: a sign of life, the topology, a script to load. */
const limit = 1000

const sendTo = (
  cluster: Cluster,
  master: Master,
  args: ReadonlyArray<string>,
  abortSignal: AbortSignal
): Promise<unknown> => cluster.nodeClient(master).then((client) => client.sendCommand([...args], { abortSignal }))

/** Waits for a promise, though not longer than the limit. */
const inTime = <A>(promise: Promise<A>, what: string): Promise<A> => {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error(`${what} took too long`)), limit)
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

const makeClient = (options: NodeRedisClusterOptions, log: (error: unknown) => void): ClusterClient => {
  const cluster: Cluster = createCluster({
    ...options,
    useReplicas: false,
    // A node is connected when it is first used: discovering a Cluster does not wait for a master that is down.
    minimizeConnections: true,
    commandOptions: { timeout: 0, ...options.commandOptions },
    defaults: {
      ...Service.nodeRedisSettings,
      ...options.defaults,
      socket: { ...Service.nodeRedisSocket, ...options.defaults?.socket }
    }
  })
  cluster.on("error", log).on("node-error", log)

  /** The masters that gave a sign of life, or all if none did. */
  const liveMasters = (): ReadonlyArray<Master> => {
    const live = cluster.masters.filter(({ address }) => !client.silent.has(address))
    return live.length === 0 ? cluster.masters : live
  }
  const connections = () => [
    ...cluster.masters.flatMap(({ client }) => client ?? []),
    ...(cluster.pubSubNode === undefined ? [] : [cluster.pubSubNode.client])
  ]
  let turn = 0
  let closing: ReturnType<typeof connections> = []

  const client: ClusterClient = {
    cluster,
    suspects: new Set(),
    silent: new Set(),
    connect: async () => {
      await cluster.connect()
      // So that the first requests need not wait. What cannot be connected is the watch's to notice.
      const connected = cluster.masters.map((master) => cluster.nodeClient(master))
      await inTime(Promise.allSettled(connected), "connecting to every master").catch(log)
    },
    send: async (abortSignal, command, args) => {
      // It would end a connection that is as good as any other: who is the master of what is not for one reply to say.
      if (command.toUpperCase() === "QUIT") return "OK"
      const key = keyOf(command, args)
      if (key !== undefined) {
        // The slot is worked out only if it matters: node-redis does it again.
        const isSilent = client.silent.size > 0 && client.silent.has(cluster.slots[slotOf(key)]?.master.address ?? "")
        return isSilent ? Service.offline() : cluster.sendCommand(key, false, [command, ...args], { abortSignal })
      }
      if (command.toUpperCase() === "SCAN") {
        const masterOf = (slot: number): Master | undefined => cluster.slots[slot]?.master
        return scan(
          {
            nameOf: (slot) => masterOf(slot)?.id,
            send: (slot, command) => {
              const master = masterOf(slot)
              return master === undefined || client.silent.has(master.address)
                ? Service.offline()
                : sendTo(cluster, master, command, abortSignal)
            }
          },
          args
        )
      }
      const masters = liveMasters()
      if (masters.length === 0) return Service.offline()
      if (command.toUpperCase() !== "SCRIPT") {
        return sendTo(cluster, masters[turn++ % masters.length]!, [command, ...args], abortSignal)
      }
      // A master that missed it answers NOSCRIPT, and gets it then.
      const replies = await Promise.allSettled(
        masters.map((master) => inTime(sendTo(cluster, master, [command, ...args], abortSignal), "SCRIPT"))
      )
      const reply = replies.find(({ status }) => status === "fulfilled") ?? replies[0]!
      if (reply.status === "rejected") throw reply.reason
      return reply.value
    },
    subscribe: (channel, listener) => cluster.subscribe(channel, listener),
    // Its type is for listeners of buffers, too, which a listener of strings need not be.
    unsubscribe: (channel, listener) =>
      cluster.unsubscribe(channel, listener as Parameters<typeof cluster.unsubscribe>[1]),
    close: () => {
      // It forgets its connections as it begins to close them, and those to a frozen master do not end by themselves.
      closing = connections()
      return cluster.close()
    },
    destroy: () => {
      for (const connection of [...closing, ...connections()]) {
        // One that has ended throws.
        try {
          connection.destroy()
        } catch {}
      }
      // Older versions of node-redis throw here, too, once the connections have ended.
      try {
        if (cluster.isOpen) cluster.destroy()
      } catch {}
    }
  }
  return client
}

// -----------------------------------------------------------------------------
// The client of the Cluster as it is now
// -----------------------------------------------------------------------------

/** Whether a master gives a sign of life in time. No request waits for its connection: it may be as long in coming. */
const isAlive = ({ cluster }: ClusterClient, master: Master): Effect.Effect<boolean> =>
  Effect.gen(function* () {
    while (master.client !== undefined && !master.client.isReady) yield* Effect.sleep("50 millis")
    yield* Effect.tryPromise((signal) => sendTo(cluster, master, ["PING"], signal))
    return true
  }).pipe(Effect.timeoutOption(limit), Effect.match({ onFailure: () => false, onSuccess: Option.isSome }))

/** First slot, last slot, the master, and its replicas. */
type SlotRange = readonly [number, number, readonly [host: string, port: number, id: string]]

/** The ids of the Cluster's masters, as one of them knows them. */
const idsOfMasters = ({ cluster }: ClusterClient, witness: Master): Effect.Effect<ReadonlySet<string>, unknown> =>
  Effect.tryPromise((signal) => sendTo(cluster, witness, ["CLUSTER", "SLOTS"], signal)).pipe(
    Effect.timeout(limit),
    // What else it were, comparing it would tell: an id that is missing is one that has changed.
    Effect.map((reply) => new Set((reply as ReadonlyArray<SlotRange>).map(([, , [, , id]]) => id)))
  )

/** A client that connects anew when a master is silent and the Cluster has another in its place. */
const makeFollower = (
  first: ClusterClient,
  opening: Effect.Effect<ClusterClient, Redis.RedisError>,
  log: (error: unknown) => void
) => {
  let current = first
  const subscriptions = new Map<(message: string) => void, string>()

  const subscribeAll = (client: ClusterClient) =>
    Effect.tryPromise(() =>
      inTime(
        Promise.all(Array.from(subscriptions, ([listener, channel]) => client.subscribe(channel, listener))),
        "SUBSCRIBE"
      )
    )

  const replace = Effect.uninterruptibleMask((restore) =>
    restore(opening).pipe(
      Effect.tap((next) => Effect.onError(restore(subscribeAll(next)), () => Effect.sync(next.destroy))),
      Effect.flatMap((next) => {
        const previous = current
        current = next
        // A master that wakes up may still take itself for one: what it answers to a write is not to be believed any more.
        for (const { address, client } of previous.cluster.masters) {
          if (previous.suspects.has(address) && client?.isOpen === true) client.destroy()
        }
        return Service.close(previous)
      })
    )
  )

  const watch = Effect.gen(function* () {
    const client = current
    const { masters, pubSubNode } = client.cluster
    const live = yield* Effect.filter(masters, (master) => isAlive(client, master), { concurrency: "unbounded" })
    const suspects = masters.filter((master) => !live.includes(master)).map(({ address }) => address)
    // Once may be this process's own fault, busy with something else: commands are refused after the second time.
    client.silent = new Set(suspects.filter((address) => client.suspects.has(address)))
    client.suspects = new Set(suspects)
    if (suspects.length === 0) return
    const witness = live[0]
    const isMoved =
      witness === undefined
        ? client.silent.size > 0
        : client.silent.has(pubSubNode?.address ?? "") ||
          (yield* Effect.map(idsOfMasters(client, witness), (ids) => masters.some(({ id }) => !ids.has(id))))
    if (isMoved) yield* replace
  }).pipe(Effect.catchCause((cause) => Effect.sync(() => log(Cause.squash(cause)))))

  return {
    watch,
    connect: () => current.connect(),
    send: (signal, command, args) => current.send(signal, command, args),
    subscribe: (channel, listener) => {
      subscriptions.set(listener, channel)
      return current.subscribe(channel, listener)
    },
    unsubscribe: (channel, listener) => {
      subscriptions.delete(listener)
      return current.unsubscribe(channel, listener)
    },
    close: () => current.close(),
    destroy: () => current.destroy()
  } satisfies Service.Client & { readonly watch: Effect.Effect<void> }
}
