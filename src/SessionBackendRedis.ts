/**
 * The storage port over Redis, through the `Redis` service of `effect/persistence`.
 *
 * **Details**
 *
 * | key | type | holds |
 * | --- | --- | --- |
 * | `<prefix>:s:<namespace>:<id>` | string | a session: all its short values, its extension, its data, with a NUL between |
 * | `<prefix>:p:<namespace>:<principal>` | sorted set | a principal's sessions: for each, when it ends and its id |
 *
 * - Namespace and principal are base64url in keys, and so is an id of any other shape than the library's own.
 * - A read is one command, and under load one for many: while sixteen are under way, those that are asked for in one turn
 *   of the event loop go together. An update and a touch are one command each, a Lua script that decides and writes
 *   in one step.
 *   Creating a principal's session takes two, deleting it two; an anonymous one takes one.
 * - Every key has a time-to-live, up to the nearer deadline plus `ttlSlack`; it is extended, never cut. Redis removes
 *   what has run out, so `deleteExpired` has nothing to do and answers 0. It decides nothing: a session is valid by its
 *   deadlines, whatever Redis still holds.
 * - Record and index are never touched in one script, so their order is the law: `create` writes the record, then the
 *   entry, and only then answers; a delete takes the record, then the entry. Whatever fails in between leaves a record
 *   whose token nobody got, or an entry without a record, which is dropped when met.
 * - An error reply that says "not now" (`READONLY`, `LOADING`, `MOVED`, `TRYAGAIN`, `CLUSTERDOWN`, `NOSCRIPT`) is
 *   retried once after 50 ms, except in `create`.
 * - It needs Redis 5 or later and is tested on Redis 7. A user with these rights will do:
 *   `~<prefix>:* +evalsha +script|load +exists +get +mget +set +getrange +setrange +del +pttl +pexpire +time +zadd +zrem
 *   +zrangebylex +zremrangebylex`, and `+info` for the check of the eviction policy.
 *
 * **Gotchas**
 *
 * - `maxmemory-policy` has to be `noeviction`. Any other may evict the index of a live session, which `revokeAll` then
 *   misses; the layer logs a warning. A full Redis refuses new sessions, updates and touches, and goes on reading and
 *   revoking.
 * - What a crash may undo is up to Redis: with `appendfsync always` nothing that was acknowledged, with `everysec`
 *   about a second, with snapshots all since the last. A failover loses what the replica had not received. A session
 *   that was revoked in that time is back until its deadline. Never read from replicas.
 * - It is for one Redis, with replicas to fail over to, not for a Cluster: the client of `NodeRedis` speaks to none.
 * - Connect with the settings of the example: the client's defaults queue writes while it is offline and send them once
 *   it is back, long after they were reported as failed.
 * - A write that is already on its way when Redis freezes may still be carried out when it thaws, with any settings; it
 *   was reported as `"unknown"`. It does no harm: an update or a touch changes only a record that is still there, the
 *   update only at the version it expected, a delete is what was asked for, and a new session's token was never given
 *   out.
 * - node-redis counts its own writes as activity, so under steady traffic `socketTimeout` does not notice a peer that
 *   has silently gone: until the system gives the connection up, requests fail at their deadline.
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
 *   // While Redis is frozen, commands do not pile up without end.
 *   commandsQueueMaxLength: 10_000,
 *   // The client's timer for a command ends when it is sent, and costs more than the command. Sessions have their own.
 *   commandOptions: { timeout: 0 },
 *   // A quiet connection is asked for a sign of life, and given up after five seconds without one.
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
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redis from "effect/persistence/Redis"
import * as Scripts from "./internal/redisScripts.ts"
import { type Operation, SessionBackend, SessionBackendError, type SessionRecord } from "./SessionBackend.ts"
import { SessionConfigError } from "./SessionError.ts"

/**
 * What `layerWith` takes.
 *
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
   * How long Redis keeps a session beyond its deadline. It makes up for clocks that differ between servers: one that is
   * behind still finds the session until its own deadline.
   *
   * @default "10 minutes"
   */
  readonly ttlSlack?: Duration.Input | undefined
}

/**
 * Layer that stores sessions in Redis, with a prefix or a slack of one's own. Fails with everything that is wrong with
 * the options.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerWith = (
  options: SessionBackendRedisOptions = {}
): Layer.Layer<SessionBackend, SessionConfigError, Redis.Redis> => {
  const prefix = options.prefix ?? defaults.prefix
  const slack = Option.filter(
    Duration.fromInput(options.ttlSlack ?? defaults.ttlSlack),
    (slack) => Duration.isFinite(slack) && !Duration.isNegative(slack)
  )
  const problems = prefixProblems(prefix)
  if (Option.isNone(slack)) problems.push("ttlSlack: has to be a finite duration, not a negative one")
  return Option.isNone(slack) || problems.length > 0
    ? Layer.effect(SessionBackend, Effect.fail(new SessionConfigError({ problems })))
    : Layer.effect(SessionBackend, make(prefix, Duration.toMillis(slack.value)))
}

/**
 * Layer that stores sessions in Redis under the prefix `effect-sessions`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<SessionBackend, never, Redis.Redis> = Layer.suspend(() =>
  Layer.effect(SessionBackend, make(defaults.prefix, Duration.toMillis(defaults.ttlSlack)))
)

// --- internal

const defaults = { prefix: "effect-sessions", ttlSlack: Duration.minutes(10) }

const prefixProblems = (prefix: string): Array<string> => {
  const problems: Array<string> = []
  const bytes = new TextEncoder().encode(prefix).length
  if (bytes === 0 || bytes > 64) problems.push(`prefix: has to be 1 to 64 bytes long, not ${bytes}`)
  if (/[{}]/.test(prefix)) problems.push("prefix: no braces, Redis Cluster reads them as a hash tag")
  if (/["'`]/.test(prefix)) problems.push("prefix: no quotes")
  if (/[\s\p{C}]/u.test(prefix)) problems.push("prefix: no white space and no control or invisible characters")
  if (/[*?[\]\\]/.test(prefix)) problems.push("prefix: none of * ? [ ] \\, they mean something in key patterns")
  return problems
}

/** How many index entries a walk takes at a time. */
const batch = 100

/** About 126 000 years: what an endless deadline becomes, well within what Redis and Lua count exactly. */
const longest = 4e15

const make = (prefix: string, slack: number): Effect.Effect<SessionBackend["Service"], never, Redis.Redis> =>
  Effect.gen(function* () {
    const redis = yield* Redis.Redis
    yield* warnOfEviction(redis)

    const createRecord = redis.eval(Scripts.create)
    const updateRecord = redis.eval(Scripts.update)
    const touchRecord = redis.eval(Scripts.touch)
    const removeRecord = redis.eval(Scripts.remove)
    const addEntry = redis.eval(Scripts.addEntry)

    // Namespaces are few, they are names of session definitions; encoding one costs more than the rest of a read.
    const namespaces = new Map<string, string>()
    const encodeNamespace = (namespace: string): string => {
      let encoded = namespaces.get(namespace)
      if (encoded === undefined) namespaces.set(namespace, (encoded = Base64Url.encode(namespace)))
      return encoded
    }
    const recordKey = (namespace: string, id: string) => `${prefix}:s:${encodeNamespace(namespace)}:${encodeId(id)}`
    const indexKey = (namespace: string, principal: string) =>
      `${prefix}:p:${encodeNamespace(namespace)}:${Base64Url.encode(principal)}`

    interface Name {
      readonly namespace: string
      readonly id: string
    }

    const readOne = ({ id, namespace }: Name) =>
      attemptThen("read", redis.send<string | null>("GET", recordKey(namespace, id)), (text) =>
        toRecord(namespace, id, text)
      )

    /** What there is of each record, in order. */
    const readAll = (operation: Operation, names: ReadonlyArray<Name>) =>
      attemptThen(
        operation,
        redis.send<ReadonlyArray<string | null>>("MGET", ...names.map(({ id, namespace }) => recordKey(namespace, id))),
        (texts) => names.map(({ id, namespace }, i) => toRecord(namespace, id, texts[i] ?? null))
      )

    /** The principal's entries after the given one, at most `count`. */
    const entries = (operation: Operation, index: string, after: string | undefined, count: number) =>
      attempt(
        operation,
        redis.send<ReadonlyArray<string>>(
          "ZRANGEBYLEX",
          index,
          after === undefined ? "-" : `(${after}`,
          "+",
          "LIMIT",
          "0",
          String(count)
        )
      )

    /** Takes entries out of an index. A failure is of no account: their records are gone, they go when met. */
    const dropEntries = (index: string, dropped: ReadonlyArray<string>) =>
      dropped.length === 0 ? Effect.void : Effect.ignore(redis.send("ZREM", index, ...dropped))

    return SessionBackend.of({
      create: (record) => {
        const { namespace, id, principal } = record
        if (!areStorable(principal, record.extension, record.data)) return notStorable("create")
        const key = recordKey(namespace, id)
        const life = Math.max(0, record.absoluteExpiresAt - record.createdAt) + slack
        const ttl = Math.min(Math.max(0, record.idleExpiresAt - record.createdAt) + slack, life)
        const created = createRecord(key, whole(ttl), whole(life), textOf(record)).pipe(
          Effect.mapError((error) => failure("create", error))
        )
        if (principal === undefined) return Effect.map(created, (end) => (end === null ? "exists" : "created"))
        return Effect.flatMap(created, (end) =>
          end === null
            ? Effect.succeed("exists")
            : addEntry(indexKey(namespace, principal), end, id).pipe(
                Effect.as("created" as const),
                Effect.catch((error) =>
                  // Taken back, the session was never created, even if the entry should still arrive: it is an entry
                  // without a record then.
                  attempt("create", removeRecord(key)).pipe(
                    Effect.matchEffect({
                      onSuccess: () => Effect.fail(failure("create", error, "notApplied")),
                      onFailure: () => Effect.fail(failure("create", error, "unknown"))
                    })
                  )
                )
              )
        )
      },

      read: (namespace, id) => readOne({ namespace, id }),

      update: (namespace, id, expectedVersion, patch) => {
        if (!areStorable(patch.extension, patch.data)) return notStorable("update")
        return attempt(
          "update",
          updateRecord(
            recordKey(namespace, id),
            String(expectedVersion),
            String(expectedVersion + 1),
            time(patch.lastSeenAt),
            time(patch.idleExpiresAt),
            String(slack),
            patch.secretHash ?? "",
            patch.dataVersion === undefined ? "" : String(patch.dataVersion),
            ...(patch.data === undefined ? [] : ["data", patch.data]),
            ...(patch.extension === undefined ? [] : ["extension", patch.extension])
          )
        ).pipe(
          Effect.map((reply) => {
            const record = reply === null ? Option.none() : toRecord(namespace, id, reply[1])
            return reply === null || Option.isNone(record)
              ? { _tag: "gone" }
              : { _tag: reply[0] === 1 ? "updated" : "stale", record: record.value }
          })
        )
      },

      touch: (namespace, id, { lastSeenAt, idleExpiresAt }) =>
        attempt(
          "touch",
          touchRecord(recordKey(namespace, id), time(lastSeenAt), time(idleExpiresAt), String(slack))
        ).pipe(Effect.map((reply) => (reply === null ? "gone" : reply === 1 ? "touched" : "unchanged"))),

      delete: (namespace, id, options) =>
        attempt(
          "delete",
          removeRecord(recordKey(namespace, id), ...(options?.principal === undefined ? [] : [options.principal]))
        ).pipe(
          Effect.flatMap((head) => {
            if (head === null) return Effect.succeed(false)
            const [end, principal] = endAndPrincipal(head)
            return principal === ""
              ? Effect.succeed(true)
              : Effect.as(dropEntries(indexKey(namespace, principal), [`${end}${id}`]), true)
          })
        ),

      deleteByPrincipal: Effect.fnUntraced(function* (namespace, principal, options) {
        const operation = "deleteByPrincipal"
        const index = indexKey(namespace, principal)
        let deleted = 0
        let after: string | undefined
        for (;;) {
          const page = yield* Effect.mapError(entries(operation, index, after, batch), (error) =>
            deleted === 0 ? error : asUnknown(error)
          )
          const met = page.filter((entry) => idOf(entry) !== options?.except)
          // All are tried, whatever becomes of one: a revocation that fails should still have revoked what it could.
          const results = yield* Effect.forEach(
            met,
            (entry) => Effect.result(attempt(operation, removeRecord(recordKey(namespace, idOf(entry)), principal))),
            { concurrency: "unbounded" }
          )
          let failed: SessionBackendError | undefined
          for (const result of results) {
            if (result._tag === "Success") deleted += result.success === null ? 0 : 1
            else if (failed?.outcome !== "unknown") failed = result.failure
          }
          if (failed !== undefined) return yield* deleted === 0 ? failed : asUnknown(failed)
          yield* dropEntries(index, met)
          if (page.length < batch) return deleted
          after = page[page.length - 1]
        }
      }),

      listByPrincipal: Effect.fnUntraced(function* (namespace, principal, { limit, after }) {
        const operation = "listByPrincipal"
        const index = indexKey(namespace, principal)
        const records: Array<SessionRecord> = []
        let next = after
        while (records.length < limit) {
          const count = Math.min(limit - records.length, batch)
          const page = yield* entries(operation, index, next, count)
          const found =
            page.length === 0
              ? []
              : yield* readAll(
                  operation,
                  page.map((entry) => ({ namespace, id: idOf(entry) }))
                )
          records.push(...found.flatMap(Option.toArray))
          // An entry implies that its record was there: the record is written first. So these are gone, not under way.
          yield* dropEntries(
            index,
            page.filter((_, i) => Option.isNone(found[i]!))
          )
          if (page.length < count) return { records }
          next = page[page.length - 1]
        }
        return { records, next }
      }),

      deleteExpired: () => Effect.succeed(0)
    })
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
    // Some servers forbid INFO. The check is a courtesy.
    Effect.ignore
  )

/** The shape of the library's own ids. Any other is encoded, with a mark that sets it apart. */
const plainId = /^[A-Za-z0-9_-]{22}$/

const encodeId = (id: string): string => (plainId.test(id) ? id : `~${Base64Url.encode(id)}`)

const idOf = (entry: string): string => entry.slice(Scripts.endLength)

const whole = (millis: number): string => String(Math.ceil(Math.min(millis, longest)))

/** Where it has its place in a record. */
const time = (millis: number): string => {
  const text = String(millis)
  return (text.length > Scripts.timeLength || text.includes("e") ? whole(millis) : text).padStart(Scripts.timeLength)
}

/** Neither JSON nor a principal has a NUL in it. With one, a record would be read as another. */
const areStorable = (...texts: ReadonlyArray<string | undefined>): boolean =>
  !texts.some((text) => text?.includes(Scripts.separator))

const notStorable = (operation: Operation): Effect.Effect<never, SessionBackendError> =>
  Effect.fail(new SessionBackendError({ operation, outcome: "notApplied", cause: new Error("a NUL in the record") }))

/** A record without its end, which Redis puts before it. */
const textOf = (record: SessionRecord): string => {
  const head = [
    time(record.lastSeenAt),
    time(record.idleExpiresAt),
    time(record.absoluteExpiresAt),
    record.version,
    record.dataVersion,
    record.secretHash,
    record.createdAt,
    record.authenticatedAt,
    record.idleTimeout,
    record.persistent ? 1 : 0,
    record.principal ?? ""
  ]
  return [head.join(":"), record.extension, record.data].join(Scripts.separator)
}

/** Reads the fields of a head one after the other, without taking it apart first. */
class Fields {
  readonly #text: string
  readonly #end: number
  #at = 0

  constructor(text: string, end: number) {
    this.#text = text
    this.#end = end
  }

  #next(): number {
    const stop = this.#text.indexOf(":", this.#at)
    return stop === -1 || stop > this.#end ? this.#end : stop
  }

  text(): string {
    const stop = this.#next()
    const text = this.#text.slice(this.#at, stop)
    this.#at = stop + 1
    return text
  }

  /** Not a number, if it is none; a number that is not there is none. */
  number(): number {
    const stop = this.#next()
    const start = this.#at
    this.#at = stop + 1
    let at = start
    let number = 0
    while (this.#text.charCodeAt(at) === 0x20) at++
    if (at >= stop) return NaN
    for (; at < stop; at++) {
      const digit = this.#text.charCodeAt(at) - 0x30
      // A fraction, or no end at all.
      if (digit < 0 || digit > 9) return Number(this.#text.slice(start, stop))
      number = number * 10 + digit
    }
    return number
  }

  /** What is left, which may hold colons. */
  rest(): string | undefined {
    return this.#at <= this.#end ? this.#text.slice(this.#at, this.#end) : undefined
  }
}

const endAndPrincipal = (head: string): readonly [end: string, principal: string] => {
  const split = head.split(":")
  return [split[0]!, split.slice(Scripts.parts - 1).join(":")]
}

/**
 * None, too, for a record that some other hand has left incomplete or illegible: nobody is let in by half a record, nor
 * by a deadline that is not a number.
 */
const toRecord = (namespace: string, id: string, text: string | null): Option.Option<SessionRecord> => {
  if (text === null) return Option.none()
  const headEnd = text.indexOf(Scripts.separator)
  const extensionEnd = text.indexOf(Scripts.separator, headEnd + 1)
  if (headEnd === -1 || extensionEnd === -1) return Option.none()
  const fields = new Fields(text, headEnd)
  fields.text()
  const lastSeenAt = fields.number()
  const idleExpiresAt = fields.number()
  const absoluteExpiresAt = fields.number()
  const version = fields.number()
  const dataVersion = fields.number()
  const secretHash = fields.text()
  const createdAt = fields.number()
  const authenticatedAt = fields.number()
  const idleTimeout = fields.number()
  const persistent = fields.text()
  const principal = fields.rest()
  const numbers = lastSeenAt + idleExpiresAt + absoluteExpiresAt + version + dataVersion
  if (principal === undefined || !(numbers + createdAt + authenticatedAt + idleTimeout >= 0)) return Option.none()
  return Option.some({
    namespace,
    id,
    secretHash,
    version,
    principal: principal === "" ? undefined : principal,
    data: text.slice(extensionEnd + 1),
    dataVersion,
    extension: text.slice(headEnd + 1, extensionEnd),
    createdAt,
    authenticatedAt,
    lastSeenAt,
    idleTimeout,
    idleExpiresAt,
    absoluteExpiresAt,
    persistent: persistent === "1"
  })
}

/** Replies that refuse a command before any of it was done, and what node-redis says of one that it did not send. */
const isRefusal = (text: string): boolean =>
  isTransient(text) ||
  /^(?:OOM|NOAUTH|MASTERDOWN|ASK|BUSY|MISCONF|NOREPLICAS) /.test(text) ||
  /^The (?:client is (?:offline|closed)|queue is full)$/.test(text)

const isTransient = (text: string): boolean => /^(?:READONLY|LOADING|MOVED|TRYAGAIN|CLUSTERDOWN|NOSCRIPT) /.test(text)

/** One try, and one more where Redis says "not now". */
const attemptThen = <A, B>(
  operation: Operation,
  command: Effect.Effect<A, Redis.RedisError>,
  onReply: (reply: A) => B
): Effect.Effect<B, SessionBackendError> =>
  Effect.matchEffect(command, {
    onSuccess: (reply) => Effect.succeed(onReply(reply)),
    onFailure: (error) =>
      isTransient(messageOf(error))
        ? Effect.delay(command, "50 millis").pipe(
            Effect.map(onReply),
            Effect.mapError((error) => failure(operation, error))
          )
        : Effect.fail(failure(operation, error))
  })

const attempt = <A>(operation: Operation, command: Effect.Effect<A, Redis.RedisError>) =>
  attemptThen(operation, command, identity<A>)

const messageOf = ({ cause }: Redis.RedisError): string =>
  cause instanceof Error
    ? cause.message || ("code" in cause ? String(cause.code) : cause.constructor.name)
    : typeof cause === "string"
      ? cause
      : "unknown failure"

/**
 * The cause is a new error with the text alone: a driver may keep the command on its own, and so keys and data, and
 * Redis itself repeats the arguments of a command it does not know.
 */
const failure = (
  operation: Operation,
  error: Redis.RedisError,
  outcome: "notApplied" | "unknown" = isRefusal(messageOf(error)) ? "notApplied" : "unknown"
): SessionBackendError =>
  new SessionBackendError({
    operation,
    outcome,
    cause: new Error(messageOf(error).replace(/, with args beginning with: .*$/s, ""))
  })

const asUnknown = (error: SessionBackendError): SessionBackendError =>
  new SessionBackendError({ operation: error.operation, outcome: "unknown", cause: error.cause })
