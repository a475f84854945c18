/**
 * The Redis backend: the operations of the port, over keys that begin with a prefix.
 *
 * @internal
 */
import * as Digest from "effect/crypto/Digest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Redis from "effect/persistence/Redis"
import type * as Scope from "effect/Scope"
import { SessionBackendError } from "../../SessionBackend.ts"
import type { DeletedRecord, Operation, SessionBackend, SessionRecord } from "../../SessionBackend.ts"
import * as RedisCommands from "./redisCommands.ts"
import * as RedisKeys from "./redisKeys.ts"
import { afterWrite, codeOf, failure } from "./redisOutcome.ts"
import * as RedisRecord from "./redisRecord.ts"
import * as Scripts from "./redisScripts.ts"
import * as SharedHints from "./sharedHints.ts"

/** How many index entries one call looks at. More would hold the event loop too long. */
const batch = 100

export const make = Effect.fnUntraced(function* (
  redis: Redis.Redis["Service"],
  prefix: string,
  ttlSlack: Duration.Duration
): Effect.fn.Return<SessionBackend["Service"], never, Scope.Scope> {
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

    listByPrincipal: Effect.fnUntraced(function* (namespace, principal, { after, limit, moreThan = -1 }) {
      const operation = "listByPrincipal"
      const index = keys.index(namespace, principal)
      const count = Math.min(limit, batch)
      const page = yield* attempt(operation, readEntries(index, after, count, true))
      // The page is the whole index.
      if (after === undefined && page.length < count && page.length <= moreThan) return { records: [] }
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

/** A primary that takes no writes may be cut off: what it does not know is not therefore gone. */
const notProven = Effect.fail(
  new SessionBackendError({ operation: "read", outcome: "notApplied", cause: { _tag: "PrimaryTakesNoWrites" } })
)

const notStorable = (operation: Operation): Effect.Effect<never, SessionBackendError> =>
  Effect.fail(new SessionBackendError({ operation, outcome: "notApplied", cause: new Error("a NUL in the record") }))
