/**
 * The store of the memory backend: frozen records in maps, an index by principal, and a heap of deadlines.
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
import { type Deadline, DeadlineHeap } from "./deadlineHeap.ts"

interface Entry {
  /** Grows from entry to entry. */
  readonly number: number
  record: SessionRecord
  bytes: number
  /** Its current deadline in the heap, which may also hold older ones; `undefined` once the session is deleted. */
  deadline: Deadline<Entry> | undefined
}

interface Namespace {
  readonly byId: Map<string, Entry>
  readonly byPrincipal: Map<string, Map<string, Entry>>
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

/** How many principals without a session stay in the index at most. */
const maxVacant = 1024

const slack = Duration.toMillis(clockSlack)

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

export const make = (limits: {
  readonly maxSessions: number
  readonly maxBytes: number
}): SessionBackend["Service"] => {
  const namespaces = new Map<string, Namespace>()
  /**
   * Principals without a session, with a function that removes them from the index. Many are removed at a time: a `Map` in
   * which one key is set and deleted repeatedly gets slow, because it keeps the deleted slots until it grows.
   */
  const vacant = new Map<Map<string, Entry>, () => void>()
  /** Sessions without a principal, oldest first. */
  const anonymous = new Set<Entry>()
  const deadlines = new DeadlineHeap<Entry>()
  const subscriptions = new Set<Queue.Queue<EndedHint, SessionBackendError>>()
  let created = 0
  let sessions = 0
  let bytes = 0

  const namespaceOf = (name: string): Namespace => {
    let namespace = namespaces.get(name)
    if (namespace === undefined) namespaces.set(name, (namespace = { byId: new Map(), byPrincipal: new Map() }))
    return namespace
  }

  const find = (namespace: string, id: string): Entry | undefined => namespaces.get(namespace)?.byId.get(id)

  const sessionsOf = (namespace: string, principal: string): ReadonlyArray<Entry> =>
    [...(namespaces.get(namespace)?.byPrincipal.get(principal)?.values() ?? [])].toReversed().sort(newestFirst)

  /** Says that a record is gone, or has another secret. */
  const hint = ({ id, namespace }: SessionRecord): void => {
    for (const queue of subscriptions) Queue.offerUnsafe(queue, { namespace, id })
  }

  /** Drops deadlines that are out of date, so that the heap stays in proportion to the sessions. */
  const compact = (): void => {
    if (deadlines.size > 2 * sessions + 1024) deadlines.retain((deadline) => deadline.value.deadline === deadline)
  }

  const schedule = (entry: Entry): void => {
    entry.deadline = { at: expiresAt(entry.record), value: entry }
    deadlines.push(entry.deadline)
    compact()
  }

  const replace = (entry: Entry, record: SessionRecord): void => {
    entry.record = record
    // A deadline that has moved forward is corrected when its former time comes.
    if (entry.deadline !== undefined && expiresAt(record) < entry.deadline.at) schedule(entry)
  }

  const vacate = (sessions: Map<string, Entry>, removeFromIndex: () => void): void => {
    vacant.set(sessions, removeFromIndex)
    if (vacant.size <= maxVacant) return
    for (const [sessions, removeFromIndex] of vacant) if (sessions.size === 0) removeFromIndex()
    vacant.clear()
  }

  const remove = (entry: Entry): void => {
    const { id, namespace, principal } = entry.record
    const { byId, byPrincipal } = namespaceOf(namespace)
    byId.delete(id)
    if (principal === undefined) anonymous.delete(entry)
    else {
      const sessions = byPrincipal.get(principal)
      sessions?.delete(id)
      if (sessions?.size === 0) vacate(sessions, () => byPrincipal.delete(principal))
    }
    entry.deadline = undefined
    // The heap still refers to the entry; its large texts are freed now.
    entry.record = { ...entry.record, data: "", extension: "" }
    sessions--
    bytes -= entry.bytes
    compact()
    hint(entry.record)
  }

  const collect = (before: number, limit: number, examine: number): ReadonlyArray<DeletedRecord> => {
    const collected: Array<DeletedRecord> = []
    for (let examined = 0; collected.length < limit && examined < examine; examined++) {
      const first = deadlines.first
      if (first === undefined || first.at > before) break
      deadlines.pop()
      const entry = first.value
      if (entry.deadline !== first) continue
      if (expiresAt(entry.record) > before) schedule(entry)
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
    while (isFull() && (deadlines.first?.at ?? Infinity) <= now) collect(now, collectedPerWrite, examinedPerWrite)
    for (const oldest of anonymous) {
      if (!isFull()) break
      if (oldest !== keep) remove(oldest)
    }
    return !isFull()
  }

  return {
    create: (given) =>
      Effect.suspend(() => {
        const record = Object.freeze({ ...given })
        const { byId, byPrincipal } = namespaceOf(record.namespace)
        if (byId.has(record.id)) return Effect.succeed("exists" as const)
        const entry: Entry = { number: ++created, record, bytes: sizeOf(record), deadline: undefined }
        if (!makeRoom(1, entry.bytes, record.createdAt, undefined)) return full("create")
        byId.set(record.id, entry)
        if (record.principal === undefined) anonymous.add(entry)
        else {
          const sessions = byPrincipal.get(record.principal)
          if (sessions === undefined) byPrincipal.set(record.principal, new Map([[record.id, entry]]))
          else sessions.set(record.id, entry)
        }
        sessions++
        bytes += entry.bytes
        schedule(entry)
        return Effect.succeed("created" as const)
      }),

    // Looked up when called, as the port allows: an `Effect.sync` would cost more than the look-up.
    read: (namespace, id) =>
      Exit.succeed(Option.map(Option.fromUndefinedOr(find(namespace, id)), (entry) => entry.record)),

    update: (namespace, id, expectedVersion, patch) =>
      Effect.suspend((): Effect.Effect<UpdateResult, SessionBackendError> => {
        const entry = find(namespace, id)
        if (entry === undefined) return Effect.succeed({ _tag: "gone" })
        const stored = entry.record
        if (stored.version !== expectedVersion) return Effect.succeed({ _tag: "stale", record: stored })
        const record = Object.freeze({
          ...stored,
          secretHash: patch.secretHash ?? stored.secretHash,
          data: patch.data ?? stored.data,
          dataVersion: patch.dataVersion ?? stored.dataVersion,
          extension: patch.extension ?? stored.extension,
          version: stored.version + 1,
          ...timesOf(stored, patch)
        })
        const size = sizeOf(record)
        const growth = size - entry.bytes
        if (growth > 0 && !makeRoom(0, growth, patch.lastSeenAt, entry)) return full("update")
        // Making room may have deleted this session, if its deadline had passed.
        if (entry.deadline === undefined) return Effect.succeed({ _tag: "gone" })
        entry.bytes = size
        bytes += growth
        replace(entry, record)
        if (record.secretHash !== stored.secretHash) hint(record)
        return Effect.succeed({ _tag: "updated", record })
      }),

    touch: (namespace, id, seen) =>
      Effect.sync(() => {
        const entry = find(namespace, id)
        if (entry === undefined) return "gone"
        const times = timesOf(entry.record, seen)
        if (times.lastSeenAt === entry.record.lastSeenAt) return "unchanged"
        replace(entry, Object.freeze({ ...entry.record, ...times }))
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
