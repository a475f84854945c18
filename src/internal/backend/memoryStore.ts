/**
 * The store of the memory backend: frozen records in a map, an index by principal, and a heap of deadlines.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import { clockSlack, type SessionBackend, SessionBackendError } from "../../SessionBackend.ts"
import type { DeletedRecord, EndedHint, SessionPatch, SessionRecord, UpdateResult } from "../../SessionBackend.ts"
import { DeadlineHeap, nowhere } from "./deadlineHeap.ts"
import * as Ring from "./ring.ts"

/** A session. Its links are to the other sessions of its principal, or to those that have none. */
class Entry {
  /** Grows from entry to entry. */
  readonly number: number
  record: SessionRecord
  older: this = this
  newer: this = this
  /** In the heap; `nowhere` once the session is deleted. */
  place = nowhere

  constructor(number: number, record: SessionRecord) {
    this.number = number
    this.record = record
  }
}

interface Namespace {
  readonly byId: Map<string, Entry>
  /** The newest session of each principal. */
  readonly byPrincipal: Map<string, Entry | undefined>
  /**
   * Principals that have been without a session since they came here. They leave the index many at a time: a `Map` in which
   * one key is set and deleted repeatedly gets slow, because it keeps the deleted slots until it grows.
   */
  readonly vacant: Set<string>
}

const newestFirst = (a: Entry, b: Entry): number => b.record.createdAt - a.record.createdAt || b.number - a.number

const expiresAt = (record: SessionRecord): number => Math.min(record.idleExpiresAt, record.absoluteExpiresAt)

/** An estimate: two bytes for each character, and the objects around them. */
const sizeOf = (record: SessionRecord): number =>
  600 + 2 * (record.data.length + record.extension.length + (record.principal?.length ?? 0))

/** How many expired sessions a write deletes, and how many deadlines it examines, at most. */
const collectedPerWrite = 64
const examinedPerWrite = 4 * collectedPerWrite

/** How many hints wait in a subscription's queue at most: further ones are lost. */
const maxHints = 10_000

/** How many principals without a session stay in the index of a namespace at most. */
const maxVacant = 1024

const slack = Duration.toMillis(clockSlack)

/** What of a record may change. */
type Changing = Pick<
  SessionRecord,
  "secretHash" | "version" | "data" | "dataVersion" | "extension" | "lastSeenAt" | "idleExpiresAt"
>

/**
 * A copy of a text. V8 keeps a substring as a view of the text it was cut from, an id's of its padded base64, a
 * principal's of a URL, which `maxBytes` would not count.
 */
const copyOf = (text: string): string => JSON.parse(JSON.stringify(text)) as string // a text is read back as one

/**
 * A record of its own, frozen. Each field is named: V8 keeps the fields of a copy made by spreading in a second object,
 * depending on how the first was made.
 */
const frozen = (record: SessionRecord, changing: Changing): SessionRecord =>
  Object.freeze({
    namespace: record.namespace,
    id: record.id,
    secretHash: changing.secretHash,
    version: changing.version,
    principal: record.principal,
    data: changing.data,
    dataVersion: changing.dataVersion,
    extension: changing.extension,
    createdAt: record.createdAt,
    authenticatedAt: record.authenticatedAt,
    lastSeenAt: changing.lastSeenAt,
    idleTimeout: record.idleTimeout,
    idleExpiresAt: changing.idleExpiresAt,
    absoluteExpiresAt: record.absoluteExpiresAt,
    persistent: record.persistent
  })

const timesOf = (stored: SessionRecord, given: Pick<SessionPatch, "lastSeenAt" | "idleExpiresAt">) =>
  stored.lastSeenAt > given.lastSeenAt + slack
    ? { lastSeenAt: given.lastSeenAt, idleExpiresAt: given.idleExpiresAt }
    : {
        lastSeenAt: Math.max(stored.lastSeenAt, given.lastSeenAt),
        idleExpiresAt: Math.max(stored.idleExpiresAt, given.idleExpiresAt)
      }

const full = (operation: "create" | "update") =>
  Effect.fail(new SessionBackendError({ operation, outcome: "notApplied", cause: { _tag: "MemoryBackendFull" } }))

const noCursor = Effect.fail(
  new SessionBackendError({ operation: "scan", outcome: "notApplied", cause: { _tag: "CursorOfNoScan" } })
)

const absent = Exit.succeed(Option.none<SessionRecord>())

export const make = (limits: {
  readonly maxSessions: number
  readonly maxBytes: number
}): SessionBackend["Service"] => {
  const namespaces = new Map<string, Namespace>()
  /** The newest session without a principal. */
  let anonymous: Entry | undefined
  const deadlines = new DeadlineHeap<Entry>()
  const subscriptions = new Set<Queue.Queue<EndedHint, SessionBackendError>>()
  let created = 0
  let sessions = 0
  let bytes = 0

  const namespaceOf = (name: string): Namespace => {
    let namespace = namespaces.get(name)
    if (namespace === undefined) {
      namespaces.set(name, (namespace = { byId: new Map(), byPrincipal: new Map(), vacant: new Set() }))
    }
    return namespace
  }

  const find = (namespace: string, id: string): Entry | undefined => namespaces.get(namespace)?.byId.get(id)

  const sessionsOf = (namespace: string, principal: string): ReadonlyArray<Entry> =>
    Ring.toArray(namespaces.get(namespace)?.byPrincipal.get(principal)).sort(newestFirst)

  /** Says that a record is gone, or has another secret. */
  const hint = ({ id, namespace }: SessionRecord): void => {
    for (const queue of subscriptions) Queue.offerUnsafe(queue, { namespace, id })
  }

  const replace = (entry: Entry, record: SessionRecord): void => {
    entry.record = record
    // A deadline that has moved forward is corrected when its former time comes.
    const deadline = expiresAt(record)
    if (deadline < deadlines.deadlineOf(entry)) deadlines.schedule(entry, deadline)
  }

  const vacate = ({ byPrincipal, vacant }: Namespace, principal: string): void => {
    vacant.add(principal)
    if (vacant.size <= maxVacant) return
    for (const name of vacant) if (byPrincipal.get(name) === undefined) byPrincipal.delete(name)
    vacant.clear()
  }

  const remove = (entry: Entry): void => {
    const { record } = entry
    const { id, principal } = record
    const namespace = namespaceOf(record.namespace)
    namespace.byId.delete(id)
    if (principal === undefined) anonymous = Ring.remove(anonymous, entry)
    else {
      const newest = namespace.byPrincipal.get(principal)
      const left = Ring.remove(newest, entry)
      if (left !== newest) namespace.byPrincipal.set(principal, left)
      if (left === undefined) vacate(namespace, principal)
    }
    deadlines.remove(entry)
    sessions--
    bytes -= sizeOf(record)
    hint(record)
  }

  const collect = (before: number, limit: number, examine: number): ReadonlyArray<DeletedRecord> => {
    const collected: Array<DeletedRecord> = []
    for (let examined = 0; collected.length < limit && examined < examine; examined++) {
      const entry = deadlines.first
      if (entry === undefined || deadlines.earliest > before) break
      const deadline = expiresAt(entry.record)
      if (deadline > before) deadlines.schedule(entry, deadline)
      else {
        const { id, namespace, principal } = entry.record
        remove(entry)
        collected.push({ namespace, id, principal })
      }
    }
    return collected
  }

  /** Makes room for more sessions and bytes if it can: expired sessions go first, then the oldest anonymous ones. */
  const makeRoom = (moreSessions: number, moreBytes: number, now: number, keep: Entry | undefined): boolean => {
    const isFull = () => sessions + moreSessions > limits.maxSessions || bytes + moreBytes > limits.maxBytes
    collect(now, collectedPerWrite, examinedPerWrite)
    while (isFull() && deadlines.earliest <= now) collect(now, collectedPerWrite, examinedPerWrite)
    while (isFull()) {
      const oldest = anonymous?.newer
      const evicted = oldest === keep ? oldest?.newer : oldest
      if (evicted === undefined || evicted === keep) break
      remove(evicted)
    }
    return !isFull()
  }

  return {
    create: (given) =>
      Effect.suspend(() => {
        const id = copyOf(given.id)
        const principal = given.principal === undefined ? undefined : copyOf(given.principal)
        const record = frozen({ ...given, id, principal }, given)
        const { byId, byPrincipal } = namespaceOf(record.namespace)
        if (byId.has(id)) return Effect.succeed("exists" as const)
        const size = sizeOf(record)
        if (!makeRoom(1, size, record.createdAt, undefined)) return full("create")
        const entry = new Entry(++created, record)
        byId.set(id, entry)
        if (principal === undefined) {
          Ring.add(anonymous, entry)
          anonymous = entry
        } else {
          Ring.add(byPrincipal.get(principal), entry)
          byPrincipal.set(principal, entry)
        }
        sessions++
        bytes += size
        deadlines.schedule(entry, expiresAt(record))
        return Effect.succeed("created" as const)
      }),

    // Looked up when called, as the port allows: an `Effect.sync` would cost more than the look-up.
    read: (namespace, id) => {
      const entry = find(namespace, id)
      return entry === undefined ? absent : Exit.succeed(Option.some(entry.record))
    },

    update: (namespace, id, expectedVersion, patch) =>
      Effect.suspend((): Effect.Effect<UpdateResult, SessionBackendError> => {
        const entry = find(namespace, id)
        if (entry === undefined) return Effect.succeed({ _tag: "gone" })
        const stored = entry.record
        if (stored.version !== expectedVersion) return Effect.succeed({ _tag: "stale", record: stored })
        const { idleExpiresAt, lastSeenAt } = timesOf(stored, patch)
        const record = frozen(stored, {
          secretHash: patch.secretHash ?? stored.secretHash,
          version: stored.version + 1,
          data: patch.data ?? stored.data,
          dataVersion: patch.dataVersion ?? stored.dataVersion,
          extension: patch.extension ?? stored.extension,
          lastSeenAt,
          idleExpiresAt
        })
        const growth = sizeOf(record) - sizeOf(stored)
        if (growth > 0 && !makeRoom(0, growth, patch.lastSeenAt, entry)) return full("update")
        // Making room may have deleted this session, if its deadline had passed.
        if (entry.place === nowhere) return Effect.succeed({ _tag: "gone" })
        bytes += growth
        replace(entry, record)
        if (record.secretHash !== stored.secretHash) hint(record)
        return Effect.succeed({ _tag: "updated", record })
      }),

    touch: (namespace, id, seen) =>
      Effect.sync(() => {
        const entry = find(namespace, id)
        if (entry === undefined) return "gone"
        const stored = entry.record
        const { idleExpiresAt, lastSeenAt } = timesOf(stored, seen)
        if (lastSeenAt === stored.lastSeenAt) return "unchanged"
        const { data, dataVersion, extension, secretHash, version } = stored
        const changing = { secretHash, version, data, dataVersion, extension, lastSeenAt, idleExpiresAt }
        replace(entry, frozen(stored, changing))
        return "touched"
      }),

    delete: (namespace, id, options) =>
      Effect.sync(() => {
        const entry = find(namespace, id)
        if (entry === undefined) return false
        if (options?.principal !== undefined && entry.record.principal !== options.principal) return false
        remove(entry)
        return true
      }),

    deleteByPrincipal: (namespace, principal, { except, limit }) =>
      Effect.sync(() => {
        const deleted: Array<DeletedRecord> = []
        for (const entry of sessionsOf(namespace, principal)) {
          const { id } = entry.record
          if (id === except) continue
          if (deleted.length === limit) return { deleted, more: true }
          remove(entry)
          deleted.push({ namespace, id, principal })
        }
        return { deleted, more: false }
      }),

    listByPrincipal: (namespace, principal, { after, limit }) =>
      Effect.sync(() => {
        const sessions = sessionsOf(namespace, principal)
        const [createdAt = 0, number = 0] = after?.split(" ").map(Number) ?? []
        const rest =
          after === undefined
            ? sessions
            : sessions.filter(
                (entry) =>
                  entry.record.createdAt < createdAt || (entry.record.createdAt === createdAt && entry.number < number)
              )
        const page = rest.slice(0, limit)
        const last = page.at(-1)
        return {
          records: page.map(({ record }) => record),
          next: last !== undefined && rest.length > limit ? `${last.record.createdAt} ${last.number}` : undefined
        }
      }),

    scan: (namespace, { after, limit }) =>
      Effect.suspend(() => {
        const last = after === undefined ? 0 : Number(after)
        if (!Number.isSafeInteger(last)) return noCursor
        const records: Array<SessionRecord> = []
        // In the order in which they were created, and so by number. Those before the page are passed over: 100,000 of them
        // take half a millisecond.
        let next: string | undefined
        for (const { number, record } of namespaces.get(namespace)?.byId.values() ?? []) {
          if (number <= last) continue
          if (records.length === limit) return Effect.succeed({ records, next })
          records.push(record)
          next = String(number)
        }
        return Effect.succeed({ records })
      }),

    ended: Effect.acquireRelease(
      Effect.map(Queue.dropping<EndedHint, SessionBackendError>(maxHints), (queue) => {
        subscriptions.add(queue)
        return queue
      }),
      (queue) => {
        subscriptions.delete(queue)
        return Queue.shutdown(queue)
      }
    ),

    deleteExpired: ({ limit, now }) =>
      Effect.sync(() => {
        const deleted = collect(now - slack, limit, Infinity)
        return { deleted, more: deleted.length === limit }
      })
  }
}
