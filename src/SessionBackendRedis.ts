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
import * as Digest from "effect/crypto/Digest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redis from "effect/persistence/Redis"
import type * as Scope from "effect/Scope"
import * as RedisCommands from "./internal/backend/redisCommands.ts"
import * as RedisKeys from "./internal/backend/redisKeys.ts"
import { afterWrite, codeOf, failure } from "./internal/backend/redisOutcome.ts"
import * as RedisRecord from "./internal/backend/redisRecord.ts"
import * as Scripts from "./internal/backend/redisScripts.ts"
import * as SharedHints from "./internal/backend/sharedHints.ts"
import * as Registry from "./internal/registry.ts"
import { clockSlack, SessionBackend, SessionBackendError } from "./SessionBackend.ts"
import type { DeletedRecord, Operation, SessionRecord } from "./SessionBackend.ts"
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

/** How many index entries one call looks at. More would hold the event loop too long. */
const batch = 100

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

  const keys = RedisKeys.make(prefix)
  const slack = Duration.toMillis(ttlSlack)
  const prepare = RedisCommands.prepare(redis)
  const [createRecord, updateRecord, touchRecord, removeRecord, addEntry, relay] = yield* Effect.provide(
    Effect.all([
      prepare(Scripts.create),
      prepare(Scripts.update),
      prepare(Scripts.touch),
      prepare(Scripts.remove),
      prepare(Scripts.addEntry),
      prepare(Scripts.relay)
    ]),
    Digest.layerWebCrypto
  )
  const { attempt, drop, entries: readEntries, fail, get, keys: scanKeys, once } = RedisCommands.make(redis, relay)

  const hints = yield* SharedHints.make(sourceOfHints(redis, RedisKeys.channel(prefix)))

  /** The records of entries, asked for in flight together, as `get` answers them. */
  const readRecords = (namespace: string, entries: ReadonlyArray<string>) =>
    Effect.all(
      entries.map((entry) => get(keys.record(namespace, RedisKeys.idOfEntry(entry)))),
      { concurrency: "unbounded" }
    )

  /**
   * Drops the entries, of some, whose records are gone. A record is written before its entry, so an entry without one is
   * left over, not ahead; and an id is made for one session, so none will be written again. Whether it succeeds does not
   * matter: another create, or a walk, will find what is left.
   */
  const tidy = (namespace: string, index: string, entries: ReadonlyArray<string>) =>
    Effect.ignore(
      Effect.flatMap(readRecords(namespace, entries), (texts) =>
        drop(
          index,
          entries.filter((_, i) => texts[i] === null)
        )
      )
    )

  return {
    create: (record) => {
      const { id, namespace, principal } = record
      if (!RedisRecord.areStorable(principal, record.extension, record.data)) return notStorable("create")
      const key = keys.record(namespace, id)
      // Redis takes no time-to-live of 0.
      const untilEnd = Math.max(1, Math.max(0, record.absoluteExpiresAt - record.createdAt) + slack)
      const ttl = Math.min(Math.max(1, Math.max(0, record.idleExpiresAt - record.createdAt) + slack), untilEnd)
      const times = [ttl, untilEnd].map(RedisRecord.wholeMillis)
      return Effect.flatMap(
        once("create", createRecord(key, ...times, RedisRecord.toText(record))),
        (end): Effect.Effect<"created" | "exists", SessionBackendError> => {
          if (end === null) return Effect.succeed("exists")
          if (principal === undefined) return Effect.succeed("created")
          const index = keys.index(namespace, principal)
          return Effect.matchEffect(addEntry(index, end, RedisKeys.entry(record)), {
            onSuccess: (some) =>
              Effect.as(
                some.length === 0 ? Effect.void : Effect.forkDetach(tidy(namespace, index, some)),
                "created" as const
              ),
            // Once the record is deleted again nothing was created, even if the entry still arrives.
            onFailure: (error) =>
              Effect.flatMap(Effect.result(attempt("create", removeRecord(key))), ({ _tag }) =>
                fail("create", error, _tag === "Success" ? "notApplied" : "unknown")
              )
          })
        }
      )
    },

    read: (namespace, id) =>
      Effect.flatMap(attempt("read", get(keys.record(namespace, id))), (text) =>
        text === undefined ? notProven : Effect.succeed(RedisRecord.fromText(namespace, id, text))
      ),

    update: (namespace, id, expectedVersion, patch) => {
      if (!RedisRecord.areStorable(patch.extension, patch.data)) return notStorable("update")
      const script = updateRecord(
        keys.record(namespace, id),
        String(expectedVersion),
        String(expectedVersion + 1),
        RedisRecord.timeText(patch.lastSeenAt),
        RedisRecord.timeText(patch.idleExpiresAt),
        String(slack),
        patch.secretHash ?? "",
        patch.dataVersion === undefined ? "" : String(patch.dataVersion),
        ...(patch.data === undefined ? [] : ["data", patch.data]),
        ...(patch.extension === undefined ? [] : ["extension", patch.extension])
      )
      return Effect.map(attempt("update", script), (reply) => {
        if (reply === null) return { _tag: "gone" }
        const record = RedisRecord.fromText(namespace, id, reply[1])
        if (Option.isNone(record)) return { _tag: "gone" }
        return { _tag: reply[0] === 1 ? "updated" : "stale", record: record.value }
      })
    },

    touch: (namespace, id, { idleExpiresAt, lastSeenAt }) => {
      const [seen, idle] = [RedisRecord.timeText(lastSeenAt), RedisRecord.timeText(idleExpiresAt)]
      const script = touchRecord(keys.record(namespace, id), seen, idle, String(slack))
      return Effect.map(attempt("touch", script), (reply) =>
        reply === null ? "gone" : reply === 1 ? "touched" : "unchanged"
      )
    },

    delete: (namespace, id, options) => {
      const owner = options?.principal === undefined ? [] : [options.principal]
      return Effect.flatMap(attempt("delete", removeRecord(keys.record(namespace, id), ...owner)), (head) => {
        if (head === null) return Effect.succeed(false)
        const record = Option.getOrUndefined(RedisRecord.fromHead(namespace, id, head))
        if (record?.principal === undefined) return Effect.succeed(true)
        // If that fails, `tidy` or a walk drops it.
        return Effect.as(Effect.ignore(drop(keys.index(namespace, record.principal), [RedisKeys.entry(record)])), true)
      })
    },

    deleteByPrincipal: Effect.fnUntraced(function* (namespace, principal, { except, limit }) {
      const operation = "deleteByPrincipal"
      const index = keys.index(namespace, principal)
      const most = Math.min(limit, batch)
      // One more for the entry that stays: every call drops the others it has read, so a loop of calls comes to an end.
      const count = except === undefined ? most : most + 1
      const page = yield* attempt(operation, readEntries(index, undefined, count, false))
      const entries = page.filter((entry) => RedisKeys.idOfEntry(entry) !== except).slice(0, most)
      // Every record is tried, even if the deletion of another fails, so that a failed call revokes what it can.
      const results = yield* Effect.all(
        entries.map((entry) =>
          Effect.result(attempt(operation, removeRecord(keys.record(namespace, RedisKeys.idOfEntry(entry)), principal)))
        ),
        { concurrency: 10 }
      )
      const deleted: Array<DeletedRecord> = []
      const done: Array<string> = []
      let failed: SessionBackendError | undefined
      for (const [i, result] of results.entries()) {
        if (result._tag === "Failure") {
          if (failed?.outcome !== "unknown") failed = result.failure
          continue
        }
        // Where there was none of this principal, the entry was left over.
        done.push(entries[i]!)
        if (result.success !== null) deleted.push({ namespace, id: RedisKeys.idOfEntry(entries[i]!), principal })
      }
      const more = page.length === count && entries.length > 0
      const dropped = yield* Effect.result(attempt(operation, drop(index, done)))
      // Entries that stay would be read by the next call again, and so by one after the other without end.
      if (dropped._tag === "Failure" && more) failed ??= dropped.failure
      if (failed !== undefined) return yield* deleted.length === 0 ? failed : afterWrite(failed)
      return { deleted, more }
    }),

    listByPrincipal: Effect.fnUntraced(function* (namespace, principal, { after, limit }) {
      const operation = "listByPrincipal"
      const index = keys.index(namespace, principal)
      const count = Math.min(limit, batch)
      const page = yield* attempt(operation, readEntries(index, after, count, true))
      const texts = yield* attempt(operation, readRecords(namespace, page))
      const records: Array<SessionRecord> = []
      const left: Array<string> = []
      for (const [i, entry] of page.entries()) {
        const record = Option.getOrUndefined(RedisRecord.fromText(namespace, RedisKeys.idOfEntry(entry), texts[i]))
        if (record?.principal === principal) records.push(record)
        else if (texts[i] === null || record !== undefined) left.push(entry)
      }
      yield* Effect.ignore(drop(index, left))
      return page.length < count ? { records } : { records, next: page.at(-1) }
    }),

    scan: Effect.fnUntraced(function* (namespace, { after, limit }) {
      const operation = "scan"
      const beginning = keys.records(namespace)
      // One `SCAN` may find more than the page may hold: the cursor is that of Redis, and what was found beside.
      let [cursor = "0", ...found] = after === undefined ? [] : after.split(" ")
      if (found.length === 0) {
        const [next, page] = yield* attempt(operation, scanKeys(beginning, cursor, batch))
        cursor = next
        found = [...new Set(page)].map((key) => key.slice(beginning.length))
      }
      const parts = found.slice(0, limit)
      const left = found.slice(limit)
      const texts = yield* attempt(
        operation,
        Effect.all(
          parts.map((part) => get(beginning + part)),
          { concurrency: "unbounded" }
        )
      )
      const records = parts.flatMap((part, i) =>
        Option.toArray(RedisRecord.fromText(namespace, RedisKeys.idOfPart(part), texts[i]))
      )
      return left.length === 0 && cursor === "0" ? { records } : { records, next: [cursor, ...left].join(" ") }
    }),

    deleteExpired: () => Effect.succeed({ deleted: [], more: false }),
    ended: hints.subscribe
  }
})

/** The messages on the channel that the scripts publish on. */
const sourceOfHints = (
  redis: Redis.Redis["Service"],
  channel: string
): SharedHints.Source<Redis.RedisMessage, Redis.RedisError> => {
  let isWarned = false
  const warn = (right: string) =>
    Effect.suspend(() => {
      if (isWarned) return Effect.void
      isWarned = true
      return Effect.logWarning(
        `The user of Redis has no right to ${right} on ${channel}: sessions that are ended reach other processes late`
      )
    })
  const isRefused = (error: Redis.RedisError) => codeOf(error) === "NOPERM"
  return {
    open: redis.subscribe(channel),
    // No key has an empty part.
    probe: Effect.catchIf(Effect.as(redis.send("PUBLISH", channel, ":"), true), isRefused, () =>
      Effect.as(warn("publish"), false)
    ),
    parse: ({ message }) => RedisKeys.hintsOf(message),
    failure: (error) =>
      Effect.as(isRefused(error) ? warn("subscribe") : Effect.void, failure("ended", error, "notApplied"))
  }
}

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

/** A primary that takes no writes may be cut off: what it does not know is not therefore gone. */
const notProven = Effect.fail(
  new SessionBackendError({ operation: "read", outcome: "notApplied", cause: { _tag: "PrimaryTakesNoWrites" } })
)

const notStorable = (operation: Operation): Effect.Effect<never, SessionBackendError> =>
  Effect.fail(new SessionBackendError({ operation, outcome: "notApplied", cause: new Error("a NUL in the record") }))
