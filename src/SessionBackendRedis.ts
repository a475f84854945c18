/**
 * The storage port over Redis, through the `Redis` service of `effect/persistence`.
 *
 * **When to use**
 *
 * Use over one Redis with replicas to fail over to, through `NodeRedis` of `@effect/platform-node` or, where Sentinel says
 * which is the primary, `NodeRedisSentinel`; and over a Redis Cluster through `NodeRedisCluster`.
 *
 * **Details**
 *
 * - `<prefix>:s:<namespace>:<id>` is a string with a session, `<prefix>:p:<namespace>:<principal>` a sorted set with when
 *   each session of a principal was created, and its id. Namespace and principal are base64url.
 * - A read is one `GETEX`. An update and a touch are one Lua script each. Creating or deleting a principal's session takes
 *   two commands, an anonymous one takes one. Each command and each script has one key, so in a Cluster it does not matter
 *   where a key is. A server that does not know a script is sent its text.
 * - `scan` is `SCAN` with the pattern of a namespace, about 100 keys of the server a call, whosever they are. In a Cluster it
 *   goes over all masters: a `Redis` service of your own over a Cluster has to do so, as `NodeRedisCluster` does.
 * - Every key has a time-to-live, up to the nearer deadline plus `ttlSlack`; it is extended, never shortened. Redis
 *   removes what has expired, so `deleteExpired` does nothing.
 * - `create` writes the record, then the index entry; a delete removes the record, then the entry. A failure in between
 *   leaves a record whose token was given to no client, or an entry without a record. A create looks at a few entries of a
 *   long index, after it has answered, and drops those without a record, as a walk does; so an index stays about as long
 *   as its principal has sessions.
 * - An error reply that says "not now" (`READONLY`, `LOADING`, `MOVED`, `TRYAGAIN`, `CLUSTERDOWN`) is retried once after
 *   50 ms, except in `create`.
 * - Only a primary is believed. Reads are by a command that a replica refuses with `READONLY`, and no script of a replica
 *   answers that a record is gone. The connection to a replica is given up by `QUIT`, once a second at most, so that the
 *   client makes one to whatever its address leads to by then. Until that is a primary, every operation fails.
 * - A failure's `cause` has the `code` that Redis, the driver or the system gives.
 * - It needs Redis 6.2 or later and is tested on Redis 7. Its user needs these rights:
 *   `~<prefix>:* +evalsha +eval +exists +get +getex +set +getrange +setrange +del +pttl +pexpire +time +zadd +zcard
 *   +zrandmember +zrange +zrem`, and `+info` for the check of the eviction policy. `scan`, an administrator's, needs `+scan`.
 * - `ended` needs more rights: `&<prefix>:ended +publish +subscribe +unsubscribe`. The scripts that end a session, or give
 *   it another secret, say so on that channel; the layer has one subscription, while a caller waits. Without these rights
 *   everything works, and what another process ends is noticed by the manager's next look; where a caller waits, it is
 *   logged once. A subscription that has heard nothing for 15 seconds sends itself a message, and fails if that does not
 *   come back: so one on a frozen server is noticed.
 * - The layer fails over a server of a Cluster whose client does not send each command to the right server. A Redis that
 *   does not answer delays the layer's checks by one second at most.
 *
 * **Gotchas**
 *
 * - `maxmemory-policy` must be `noeviction`. Any other may evict the index of a live session, which `revokeAll` then
 *   misses; the layer logs a warning. A full Redis refuses new sessions, updates and touches, and goes on reading and
 *   deleting.
 * - What a crash or a failover of Redis undoes includes log-outs: a session revoked in that time is valid again until its
 *   deadline. With `appendfsync always` a crash undoes nothing that was acknowledged, with `everysec` about a second, with
 *   snapshots all since the last. A failover undoes what the replica had not received: with `min-replicas-to-write 1` and
 *   `min-replicas-max-lag 1` what was acknowledged in the two seconds after the link went silent, and writes fail while no
 *   replica follows. Set `replica-serve-stale-data no` too. Never read from replicas.
 * - A failover may lose the index entry of a session that was created just before, and keep the session: in a Cluster the
 *   two are on different shards. `revokeAll` and `list` do not find it then; a log-out by its token or its id ends it.
 * - A write that pauses for a planned failover (`FAILOVER`, `CLUSTER FAILOVER`) pauses reads too: they count as writes.
 * - What `scan` promises holds for one server as long as it runs. Where Redis is restarted, or fails over, during a walk, or
 *   a Cluster moves slots, a walk may miss sessions: walk again.
 * - `QUIT`, sent by `Redis.send`, is expected to close the connection, and the client to make it anew. node-redis does so;
 *   for ioredis it is the end of the client, so that a `Redis` service of your own has to reconnect instead.
 * - Use the client settings of the example: by default node-redis queues writes while it is offline and sends them once
 *   it is back, long after they were reported as failed.
 * - A write in progress when Redis freezes was reported as `"unknown"` and may still be carried out when it thaws. It does
 *   no harm: `update` and `touch` are conditional, and the token of a new session was given to no client.
 * - node-redis counts its own writes as activity, so under steady traffic `socketTimeout` does not notice a lost peer:
 *   until the operating system closes the connection, requests fail at their deadline.
 *
 * **Example** (Storing sessions in Redis)
 *
 * ```ts
 * import { NodeRedis } from "@effect/platform-node"
 * import { Layer } from "effect"
 * import { SessionBackendRedis } from "effect-sessions"
 *
 * const RedisLive = NodeRedis.layer({
 *   url: "redis://localhost:6379",
 *   // A command issued while offline fails at once, and is not sent later.
 *   disableOfflineQueue: true,
 *   // While Redis is frozen, the queue of commands does not grow without bound.
 *   commandsQueueMaxLength: 10_000,
 *   // Sessions have a deadline of their own. The client's ends when a command is sent, and costs more than the command.
 *   commandOptions: { timeout: 0 },
 *   // A quiet connection is pinged, and closed after five seconds without an answer.
 *   pingInterval: 2000,
 *   socket: {
 *     connectTimeout: 1000,
 *     socketTimeout: 5000,
 *     // The default stops for good after a socket timeout. This one also waits for a Redis that is not up yet.
 *     reconnectStrategy: (retries) => Math.min(50 * 2 ** retries, 1000)
 *   }
 * })
 *
 * export const SessionsLive = SessionBackendRedis.layerWith({ prefix: "shop" }).pipe(Layer.provide(RedisLive))
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 */

import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redis from "effect/persistence/Redis"
import type * as Scope from "effect/Scope"
import * as RedisKeys from "./internal/backend/redisKeys.ts"
import { codeOf } from "./internal/backend/redisOutcome.ts"
import * as RedisStore from "./internal/backend/redisStore.ts"
import * as Registry from "./internal/registry.ts"
import { clockSlack, SessionBackend } from "./SessionBackend.ts"
import { SessionConfigError } from "./SessionError.ts"

/**
 * Options of the Redis backend.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface SessionBackendRedisOptions {
  /**
   * What every key begins with: 1 to 64 bytes, no braces, quotes, white space, control characters or `* ? [ ] \`.
   *
   * @default "effect-sessions"
   */
  readonly prefix?: string | undefined
  /**
   * How long Redis keeps a session beyond its deadline, for servers whose clocks are behind: finite, and not negative.
   *
   * @default `SessionBackend.clockSlack`, 10 minutes
   */
  readonly ttlSlack?: Duration.Input | undefined
}

/**
 * Makes a store in Redis. Fails with a `SessionConfigError` that lists every problem of the options, and if it is over one
 * server of a Cluster.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: SessionBackendRedisOptions = {}
): Effect.Effect<SessionBackend["Service"], SessionConfigError, Redis.Redis | Scope.Scope> =>
  Effect.suspend(() => {
    const prefix = options.prefix ?? defaultPrefix
    const ttlSlack = Option.filter(
      Duration.fromInput(options.ttlSlack ?? clockSlack),
      (slack) => Duration.isFinite(slack) && !Duration.isNegative(slack)
    )
    const problems = [
      ...RedisKeys.prefixProblems(prefix),
      ...(Option.isNone(ttlSlack) ? ["ttlSlack: has to be a finite duration, not a negative one"] : [])
    ]
    return Option.isNone(ttlSlack) || problems.length > 0
      ? new SessionConfigError({ layers: ["SessionBackendRedis.layerWith"], problems })
      : under(prefix, ttlSlack.value)
  })

/**
 * Layer that stores sessions in Redis with the given options: `make`.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerWith = (
  options: SessionBackendRedisOptions = {}
): Layer.Layer<SessionBackend, SessionConfigError, Redis.Redis> => Registry.effect(SessionBackend, make(options))

/**
 * Layer that stores sessions in Redis, with options from configuration: `layerWith`.
 *
 * @stability experimental
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<SessionBackendRedisOptions>
): Layer.Layer<SessionBackend, SessionConfigError | Config.ConfigError, Redis.Redis> =>
  Registry.effect(SessionBackend, Effect.flatMap(Config.unwrap(options), make))

/**
 * Layer that stores sessions in Redis, with keys that begin with `effect-sessions`: `layerWith` without options.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<SessionBackend, SessionConfigError, Redis.Redis> = layerWith()

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const defaultPrefix = "effect-sessions"

/** How long the checks of a server may delay the layer. */
const checkMillis = 1000

const under = Effect.fnUntraced(function* (
  prefix: string,
  ttlSlack: Duration.Duration
): Effect.fn.Return<SessionBackend["Service"], SessionConfigError, Redis.Redis | Scope.Scope> {
  const redis = yield* Redis.Redis
  yield* Effect.timeoutOption(
    Effect.all([warnOfEviction(redis), refuseCluster(redis, prefix)], { concurrency: 2, discard: true }),
    checkMillis
  )
  return yield* RedisStore.make(redis, prefix, ttlSlack)
})

const warnOfEviction = (redis: Redis.Redis["Service"]): Effect.Effect<void> =>
  redis.send("INFO", "memory").pipe(
    Effect.flatMap((info) => {
      const policy = /^maxmemory_policy:(\S+)/m.exec(String(info))?.[1]
      return policy === undefined || policy === "noeviction"
        ? Effect.void
        : Effect.logWarning(
            `Redis has maxmemory-policy ${policy}: it may evict live sessions, and the index by which they are ` +
              "revoked. Set it to noeviction."
          )
    }),
    // Some servers forbid INFO; sessions work without it.
    Effect.ignore
  )

/** How many keys are tried: with two servers of equal size, one answers for all of them once in 2^32 times. */
const probes = 32

/** A server of a Cluster refuses the keys of the others, unless the client sends each to its own. */
const refuseCluster = (redis: Redis.Redis["Service"], prefix: string): Effect.Effect<void, SessionConfigError> =>
  Effect.forEach(
    Array.from({ length: probes }, (_, i) => `${prefix}:probe:${i}`),
    (key) =>
      Effect.catch(redis.send("GETEX", key), (error) =>
        codeOf(error) === "MOVED"
          ? Effect.fail(
              new SessionConfigError({
                layers: ["SessionBackendRedis"],
                problems: [
                  "Redis: this is one server of a Cluster, which has only a part of the keys. Use a client that sends " +
                    "each command to the right one: `NodeRedisCluster`, or `IoRedis.layerFromClient` with a `Cluster`"
                ]
              })
            )
          : Effect.void
      ),
    { concurrency: "unbounded", discard: true }
  )
