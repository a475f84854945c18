/**
 * The memory backend's store: frozen records in maps, an index by principal, and a heap of deadlines.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { SessionBackend, SessionBackendError, SessionRecord, UpdateResult } from "../SessionBackend.ts"

interface Entry {
  /** Grows from entry to entry. */
  readonly number: number
  record: SessionRecord
  bytes: number
  /** Set once the entry has left the maps; the heap drops it when it comes by. */
  gone: boolean
}

/** When a record may be collected. Never moves back, so a stale key in the heap is only ever too early. */
const deadline = (record: SessionRecord): number => Math.min(record.idleExpiresAt, record.absoluteExpiresAt)

/** A rough size: two bytes a character, and what the objects around them take. */
const sizeOf = (record: SessionRecord): number =>
  600 + 2 * (record.data.length + record.extension.length + (record.principal?.length ?? 0))

interface Due {
  readonly at: number
  readonly entry: Entry
}

/** A binary heap, earliest first. */
class Deadlines {
  private heap: Array<Due> = []

  get size(): number {
    return this.heap.length
  }

  get first(): Due | undefined {
    return this.heap[0]
  }

  push(due: Due): void {
    const heap = this.heap
    let i = heap.push(due) - 1
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (heap[parent]!.at <= due.at) break
      heap[i] = heap[parent]!
      i = parent
    }
    heap[i] = due
  }

  pop(): void {
    const heap = this.heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && heap[child + 1]!.at < heap[child]!.at) child++
      if (heap[child]!.at >= last.at) break
      heap[i] = heap[child]!
      i = child
    }
    heap[i] = last
  }

  /** Drops what has gone, so that logins and logouts in quick turn do not pile up. */
  compact(): void {
    const kept = this.heap.filter((due) => !due.entry.gone)
    this.heap = []
    for (const due of kept) this.push(due)
  }
}

/** How many expired records one write collects, so that none takes long. */
const collectedPerWrite = 64

/** How many principals without a session are kept in the index at most. */
const maxVacant = 1024

/** @internal */
export const make = (limits: {
  readonly maxSessions: number
  readonly maxBytes: number
  /** The error of an operation for which there is no room. */
  readonly full: (operation: "create" | "update") => SessionBackendError
}): SessionBackend["Service"] => {
  const namespaces = new Map<string, { byId: Map<string, Entry>; byPrincipal: Map<string, Map<string, Entry>> }>()
  /**
   * Principals whose last session has gone; some have a new one by now. They leave the index many at a time: a map in which
   * one key comes and goes keeps a trace of each time until it grows, and looks through them all to find that key.
   */
  const vacant = new Map<Map<string, Entry>, () => void>()
  /** In which nobody is logged in, oldest first. */
  const anonymous = new Set<Entry>()
  const deadlines = new Deadlines()
  let created = 0
  let sessions = 0
  let bytes = 0

  const spaceOf = (namespace: string) => {
    let space = namespaces.get(namespace)
    if (space === undefined) {
      space = { byId: new Map(), byPrincipal: new Map() }
      namespaces.set(namespace, space)
    }
    return space
  }

  const find = (namespace: string, id: string): Option.Option<SessionRecord> => {
    const entry = namespaces.get(namespace)?.byId.get(id)
    return entry === undefined ? Option.none() : Option.some(entry.record)
  }

  const vacate = (own: Map<string, Entry>, leave: () => void): void => {
    vacant.set(own, leave)
    if (vacant.size <= maxVacant) return
    for (const [own, leave] of vacant) if (own.size === 0) leave()
    vacant.clear()
  }

  const remove = (entry: Entry): void => {
    const { id, namespace, principal } = entry.record
    const space = spaceOf(namespace)
    space.byId.delete(id)
    if (principal === undefined) anonymous.delete(entry)
    else {
      const own = space.byPrincipal.get(principal)
      own?.delete(id)
      if (own?.size === 0) vacate(own, () => space.byPrincipal.delete(principal))
    }
    entry.gone = true
    // The heap holds the entry for some time yet; what takes room in it goes now.
    entry.record = { ...entry.record, data: "", extension: "" }
    sessions--
    bytes -= entry.bytes
    if (deadlines.size > 2 * sessions + 1024) deadlines.compact()
  }

  const collect = (before: number, limit: number): number => {
    let collected = 0
    // Re-filed entries count too, so that one call stays short whatever the heap holds.
    for (let met = 0; collected < limit && met < limit * 4; met++) {
      const due = deadlines.first
      if (due === undefined || due.at > before) break
      deadlines.pop()
      if (due.entry.gone) continue
      const at = deadline(due.entry.record)
      if (at > before) deadlines.push({ at, entry: due.entry })
      else {
        remove(due.entry)
        collected++
      }
    }
    return collected
  }

  /** Makes room for `extra` bytes and `more` sessions, or answers that there is none. */
  const makeRoom = (more: number, extra: number, now: number, keep: Entry | undefined): boolean => {
    collect(now, collectedPerWrite)
    const full = () => sessions + more > limits.maxSessions || bytes + extra > limits.maxBytes
    // On to the last that has expired, though a call may meet none but sessions that were touched since.
    while (full() && (deadlines.first?.at ?? Infinity) <= now) collect(now, collectedPerWrite)
    for (const oldest of anonymous) {
      if (!full()) break
      if (oldest !== keep) remove(oldest)
    }
    return !full()
  }

  return {
    create: (given) =>
      Effect.suspend(() => {
        const record = Object.freeze({ ...given })
        const space = spaceOf(record.namespace)
        if (space.byId.has(record.id)) return Effect.succeed("exists" as const)
        const entry: Entry = { number: ++created, record, bytes: sizeOf(record), gone: false }
        if (!makeRoom(1, entry.bytes, record.createdAt, undefined)) return Effect.fail(limits.full("create"))
        space.byId.set(record.id, entry)
        if (record.principal === undefined) anonymous.add(entry)
        else {
          const own = space.byPrincipal.get(record.principal)
          if (own === undefined) space.byPrincipal.set(record.principal, new Map([[record.id, entry]]))
          else own.set(record.id, entry)
        }
        deadlines.push({ at: deadline(record), entry })
        sessions++
        bytes += entry.bytes
        return Effect.succeed("created" as const)
      }),
    read: (namespace, id) => Exit.succeed(find(namespace, id)),
    update: (namespace, id, expectedVersion, patch) =>
      Effect.suspend((): Effect.Effect<UpdateResult, SessionBackendError> => {
        const entry = namespaces.get(namespace)?.byId.get(id)
        if (entry === undefined) return Effect.succeed({ _tag: "gone" })
        const old = entry.record
        if (old.version !== expectedVersion) return Effect.succeed({ _tag: "stale", record: old })
        const record = Object.freeze({
          ...old,
          secretHash: patch.secretHash ?? old.secretHash,
          data: patch.data ?? old.data,
          dataVersion: patch.dataVersion ?? old.dataVersion,
          extension: patch.extension ?? old.extension,
          lastSeenAt: Math.max(old.lastSeenAt, patch.lastSeenAt),
          idleExpiresAt: Math.max(old.idleExpiresAt, patch.idleExpiresAt),
          version: old.version + 1
        })
        const size = sizeOf(record)
        const extra = size - entry.bytes
        if (extra > 0 && !makeRoom(0, extra, patch.lastSeenAt, entry)) return Effect.fail(limits.full("update"))
        // Making room may have collected this very record, its deadline having passed.
        if (entry.gone) return Effect.succeed({ _tag: "gone" })
        entry.record = record
        entry.bytes = size
        bytes += extra
        return Effect.succeed({ _tag: "updated", record })
      }),
    touch: (namespace, id, seen) =>
      Effect.sync(() => {
        const entry = namespaces.get(namespace)?.byId.get(id)
        if (entry === undefined) return "gone"
        const old = entry.record
        if (old.lastSeenAt >= seen.lastSeenAt) return "unchanged"
        entry.record = Object.freeze({
          ...old,
          lastSeenAt: seen.lastSeenAt,
          idleExpiresAt: Math.max(old.idleExpiresAt, seen.idleExpiresAt)
        })
        return "touched"
      }),
    delete: (namespace, id, options) =>
      Effect.sync(() => {
        const entry = namespaces.get(namespace)?.byId.get(id)
        if (entry === undefined) return false
        if (options?.principal !== undefined && entry.record.principal !== options.principal) return false
        remove(entry)
        return true
      }),
    deleteByPrincipal: (namespace, principal, options) =>
      Effect.sync(() => {
        const own = namespaces.get(namespace)?.byPrincipal.get(principal)
        if (own === undefined) return 0
        let deleted = 0
        for (const entry of own.values()) {
          if (entry.record.id === options?.except) continue
          remove(entry)
          deleted++
        }
        return deleted
      }),
    listByPrincipal: (namespace, principal, { after, limit }) =>
      Effect.sync(() => {
        const own = namespaces.get(namespace)?.byPrincipal.get(principal)
        const records: Array<SessionRecord> = []
        // A map keeps the order in which its entries came, and each has a number that grows with it.
        const last = after === undefined ? 0 : Number(after)
        let next = last
        for (const entry of own?.values() ?? []) {
          if (entry.number <= last) continue
          if (records.length === limit) return { records, next: String(next) }
          records.push(entry.record)
          next = entry.number
        }
        return { records }
      }),
    deleteExpired: ({ before, limit }) => Effect.sync(() => collect(before, limit))
  }
}
