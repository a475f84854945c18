/**
 * A conformance case, and the store it works with.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Option from "effect/Option"
import { maxBatch, SessionBackend } from "../../SessionBackend.ts"
import type {
  DeletedBatch,
  DeletedRecord,
  SessionBackendError,
  SessionPatch,
  SessionRecord
} from "../../SessionBackend.ts"
import { check, ConformanceError, equal, expectResult, sameIds, sameRecord } from "./expect.ts"

/**
 * A case that every backend must pass.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Case {
  readonly name: string
  readonly effect: Effect.Effect<void, ConformanceError | SessionBackendError, SessionBackend>
}

/** The principal of a record that is given no other. @internal */
export const alice = "alice"

/** @internal */
export const minute = 60_000

/** @internal */
export const random = (bytes: number): string =>
  Base64Url.encode(globalThis.crypto.getRandomValues(new Uint8Array(bytes)))

/** @internal */
export const range = (length: number): ReadonlyArray<number> => Array.from({ length }, (_, i) => i)

/** @internal */
export const together = { concurrency: "unbounded" } as const

type Changes = Partial<Pick<SessionRecord, keyof SessionPatch>>
type Times = Pick<SessionRecord, "idleExpiresAt" | "lastSeenAt">

/** The record with both of its times moved. @internal */
export const later = (record: SessionRecord, by = minute): SessionRecord => ({
  ...record,
  lastSeenAt: record.lastSeenAt + by,
  idleExpiresAt: record.idleExpiresAt + by
})

/** A patch that leaves both times where the record has them, unless `changes` moves them. @internal */
export const patch = (record: SessionRecord, changes?: Partial<SessionPatch>): SessionPatch => ({
  lastSeenAt: record.lastSeenAt,
  idleExpiresAt: record.idleExpiresAt,
  ...changes
})

/** Functions that run two effects at once. Every second one starts the right effect first. @internal */
export const races = (rounds: number) =>
  range(rounds).map(
    (round) =>
      <A, B, E>(left: Effect.Effect<A, E>, right: Effect.Effect<B, E>): Effect.Effect<readonly [A, B], E> =>
        round % 2 === 0
          ? Effect.all([left, right], together)
          : Effect.map(Effect.all([right, left], together), ([right, left]) => [left, right] as const)
  )

/** Calls for a batch until there is no more, and answers what was deleted. @internal */
export const repeated = <E>(what: string, batch: Effect.Effect<DeletedBatch, E>) =>
  Effect.gen(function* () {
    const deleted: Array<DeletedRecord> = []
    for (let calls = 0; calls < 1000; calls++) {
      const answer = yield* batch
      deleted.push(...answer.deleted)
      if (!answer.more) return deleted
    }
    return yield* new ConformanceError({ message: `${what}: there was still more after 1000 calls` })
  })

/** The operations and expectations of a case, and `made`: its records, to be deleted at the end. @internal */
export const makeStore = (backend: SessionBackend["Service"], now: number) => {
  const namespace = `conformance/${random(16)}`
  const made: Array<SessionRecord> = []

  /** A record in the namespace of the case, with a new id and a principal, valid for an hour. */
  const record = (changes?: Partial<SessionRecord>): SessionRecord => {
    const fresh: SessionRecord = {
      namespace,
      id: random(16),
      secretHash: random(32),
      version: 1,
      principal: alice,
      data: `{"name":"Alice"}`,
      dataVersion: 1,
      extension: "{}",
      createdAt: now,
      authenticatedAt: now,
      lastSeenAt: now,
      idleTimeout: 60 * minute,
      idleExpiresAt: now + 60 * minute,
      absoluteExpiresAt: now + 12 * 60 * minute,
      persistent: true,
      ...changes
    }
    made.push(fresh)
    return fresh
  }

  const create = (changes?: Partial<SessionRecord>) =>
    Effect.gen(function* () {
      const fresh = record(changes)
      yield* equal(yield* backend.create(fresh), "created", "create of a fresh id")
      return fresh
    })

  const read = ({ id, namespace }: SessionRecord) => Effect.suspend(() => backend.read(namespace, id))

  const update = (record: SessionRecord, changes?: Partial<SessionPatch>) =>
    backend.update(record.namespace, record.id, record.version, patch(record, changes))

  const touch = (record: SessionRecord, { idleExpiresAt, lastSeenAt }: Times = later(record)) =>
    backend.touch(record.namespace, record.id, { lastSeenAt, idleExpiresAt })

  const remove = ({ id, namespace }: SessionRecord, principal?: string) =>
    backend.delete(namespace, id, principal === undefined ? undefined : { principal })

  /** One call of `deleteByPrincipal`, in the namespace of the case. */
  const revokeBatch = (limit: number, principal = alice, except?: string) =>
    Effect.tap(backend.deleteByPrincipal(namespace, principal, { limit, except }), ({ deleted }) =>
      check(deleted.length <= limit, `deleteByPrincipal of at most ${limit} answered ${deleted.length} records`)
    )

  /** Calls `deleteByPrincipal` until there is no more, and answers what was deleted. */
  const revokeAll = (principal = alice, except?: string, limit = maxBatch) =>
    repeated("deleteByPrincipal", revokeBatch(limit, principal, except))

  /** As `revokeAll`, and answers how many. */
  const revoke = (principal = alice, except?: string) =>
    Effect.map(revokeAll(principal, except), ({ length }) => length)

  /** Lists all records of a principal, page by page. */
  const walk = (
    options?: { readonly in?: string; readonly principal?: string; readonly limit?: number },
    betweenPages: Effect.Effect<void, ConformanceError | SessionBackendError> = Effect.void
  ) =>
    Effect.gen(function* () {
      const limit = options?.limit ?? 100
      const found: Array<SessionRecord> = []
      let after: string | undefined
      for (let pages = 0; pages < 1000; pages++) {
        const page = yield* backend.listByPrincipal(options?.in ?? namespace, options?.principal ?? alice, {
          limit,
          after
        })
        yield* check(page.records.length <= limit, `a page of at most ${limit} holds ${page.records.length} records`)
        found.push(...page.records)
        if (page.next === undefined) return found
        after = page.next
        yield* betweenPages
      }
      return yield* new ConformanceError({ message: "listByPrincipal: the walk did not end after 1000 pages" })
    })

  /** Walks over all records of a namespace, and answers each once. */
  const scanAll = (
    options?: { readonly in?: string; readonly limit?: number },
    betweenPages: Effect.Effect<void, ConformanceError | SessionBackendError> = Effect.void
  ) =>
    Effect.gen(function* () {
      const limit = options?.limit ?? 100
      const found = new Map<string, SessionRecord>()
      let after: string | undefined
      // A store that is shared with others may answer many pages that hold none.
      for (let pages = 0; pages < 100_000; pages++) {
        const page = yield* backend.scan(options?.in ?? namespace, { limit, after })
        yield* check(page.records.length <= limit, `a page of at most ${limit} holds ${page.records.length} records`)
        for (const record of page.records) found.set(record.id, record)
        if (page.next === undefined) return [...found.values()]
        after = page.next
        yield* betweenPages
      }
      return yield* new ConformanceError({ message: "scan: the walk did not end after 100,000 pages" })
    })

  const expectStored = (expected: SessionRecord, what: string) =>
    Effect.flatMap(read(expected), (found) =>
      Option.isSome(found)
        ? sameRecord(found.value, expected, what)
        : check(false, `${what}: expected a record, read answers none`)
    )

  const expectGone = (record: SessionRecord, what: string) =>
    Effect.flatMap(read(record), (found) =>
      check(Option.isNone(found), `${what}: expected no record, read answers one`)
    )

  const expectListed = (
    expected: ReadonlyArray<SessionRecord>,
    what: string,
    options?: { readonly in?: string; readonly principal?: string }
  ) => Effect.flatMap(walk(options), (found) => sameIds(found, expected, `${what}: ids listed`))

  /** Updates the record, and expects the result both in the answer and in the store. */
  const expectUpdate = (
    record: SessionRecord,
    changes: Changes,
    what: string,
    expected: SessionRecord = { ...record, ...changes, version: record.version + 1 }
  ) =>
    Effect.gen(function* () {
      yield* expectResult(yield* update(record, changes), "updated", expected, `${what}: the answer`)
      yield* expectStored(expected, `${what}: the record`)
      return expected
    })

  /** Expects that no late write brings a deleted record back. */
  const expectNoRevival = (record: SessionRecord, after: string) =>
    Effect.gen(function* () {
      yield* expectGone(record, after)
      yield* equal(yield* touch(record), "gone", `touch ${after}`)
      yield* equal((yield* update(record, { data: `"late"` }))._tag, "gone", `update ${after}`)
      yield* equal((yield* update(record, { secretHash: random(32) }))._tag, "gone", `rotation ${after}`)
      yield* expectGone(record, `late writes ${after}`)
    })

  return {
    backend,
    namespace,
    made,
    record,
    create,
    read,
    update,
    touch,
    delete: remove,
    revokeBatch,
    revokeAll,
    revoke,
    walk,
    scanAll,
    expectStored,
    expectGone,
    expectListed,
    expectUpdate,
    expectNoRevival
  }
}

/** @internal */
export type Store = ReturnType<typeof makeStore>

/** @internal */
export type Body = (
  store: Store
) => Generator<Effect.Effect<unknown, ConformanceError | SessionBackendError>, void, never>

/** A case whose records are deleted at its end. @internal */
export const makeCase = (name: string, body: Body): Case => ({
  name,
  effect: Effect.gen(function* () {
    // A day ahead, so that no sweep of this suite or an application deletes the records.
    const now = (yield* Clock.currentTimeMillis) + 24 * 60 * minute
    const store = makeStore(yield* SessionBackend, now)
    const cleanUp = Effect.suspend(() =>
      Effect.forEach(store.made, (record) => store.delete(record), { concurrency: 8, discard: true })
    )
    yield* Effect.ensuring(
      Effect.gen(() => body(store)),
      Effect.ignore(cleanUp)
    )
  })
})
