/**
 * What the conformance cases are made of: assertions, and the records of a case.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Option from "effect/Option"
import { SessionBackend } from "../../SessionBackend.ts"
import type { SessionBackendError, SessionPatch, SessionRecord, UpdateResult } from "../../SessionBackend.ts"

/**
 * A case that the backend did not pass.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConformanceError extends Data.TaggedError("ConformanceError")<{
  /** What was expected, and what was found. */
  readonly message: string
}> {}

/**
 * A case that every backend must pass.
 *
 * @category models
 * @since 0.1.0
 */
export interface Case {
  readonly name: string
  readonly effect: Effect.Effect<void, ConformanceError | SessionBackendError, SessionBackend>
}

export const show = (value: unknown): string => {
  const text = JSON.stringify(value) ?? String(value)
  return text.length <= 120 ? text : `${text.slice(0, 120)}… (${text.length} characters)`
}

export const check = (condition: boolean, message: string): Effect.Effect<void, ConformanceError> =>
  condition ? Effect.void : Effect.fail(new ConformanceError({ message }))

export const equal = <A>(found: A, expected: A, what: string): Effect.Effect<void, ConformanceError> =>
  check(found === expected, `${what}: expected ${show(expected)}, found ${show(found)}`)

export const sameIds = (
  found: ReadonlyArray<string>,
  expected: ReadonlyArray<SessionRecord>,
  what: string
): Effect.Effect<void, ConformanceError> => equal(found.toSorted().join(" "), ids(expected).toSorted().join(" "), what)

export const sameRecord = (found: SessionRecord, expected: SessionRecord, what: string) => {
  // A record has no keys but those of its type, which `Object.keys` does not know.
  const keys = Object.keys(expected) as ReadonlyArray<keyof SessionRecord>
  return Effect.forEach(keys, (key) => equal(found[key], expected[key], `${what}: ${key}`), { discard: true })
}

export interface Fixture {
  readonly backend: SessionBackend["Service"]
  readonly namespace: string
  /** A record in the namespace of the case, with a new id and a principal, valid for an hour. */
  readonly record: (changes?: Partial<SessionRecord>) => SessionRecord
  readonly create: (
    changes?: Partial<SessionRecord>
  ) => Effect.Effect<SessionRecord, ConformanceError | SessionBackendError>
}

/** The principal of records that are not given another. */
export const alice = "alice"

export const minute = 60_000

export const random = (bytes: number): string =>
  Base64Url.encode(globalThis.crypto.getRandomValues(new Uint8Array(bytes)))

export const ids = (records: ReadonlyArray<SessionRecord>): ReadonlyArray<string> => records.map((record) => record.id)

export const range = (length: number): ReadonlyArray<number> => Array.from({ length }, (_, i) => i)

export const together = { concurrency: "unbounded" } as const

export const makeCase = (
  name: string,
  body: (fixture: Fixture) => Effect.Effect<void, ConformanceError | SessionBackendError>
): Case => ({
  name,
  effect: Effect.gen(function* () {
    const backend = yield* SessionBackend
    // A day ahead, so that no sweep of this suite or an application deletes the records.
    const now = (yield* Clock.currentTimeMillis) + 24 * 60 * minute
    const namespace = `conformance/${random(16)}`
    const made: Array<SessionRecord> = []
    const record: Fixture["record"] = (changes) => {
      const record: SessionRecord = {
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
      made.push(record)
      return record
    }
    const create: Fixture["create"] = (changes) => {
      const fresh = record(changes)
      return Effect.as(
        Effect.flatMap(backend.create(fresh), (verdict) => equal(verdict, "created", "create of a fresh id")),
        fresh
      )
    }
    const cleanUp = Effect.forEach(made, ({ id, namespace }) => backend.delete(namespace, id), {
      concurrency: 8,
      discard: true
    })
    yield* Effect.ensuring(
      body({ backend, namespace, record, create }),
      Effect.suspend(() => Effect.ignore(cleanUp))
    )
  })
})

export const stored = ({ backend }: Fixture, { id, namespace }: SessionRecord) =>
  Effect.suspend(() => backend.read(namespace, id))

export const expectStored = (fixture: Fixture, expected: SessionRecord, what: string) =>
  Effect.flatMap(stored(fixture, expected), (found) =>
    Option.isSome(found)
      ? sameRecord(found.value, expected, what)
      : Effect.fail(new ConformanceError({ message: `${what}: expected a record, read answers none` }))
  )

export const expectGone = (fixture: Fixture, record: SessionRecord, what: string) =>
  Effect.flatMap(stored(fixture, record), (found) =>
    check(Option.isNone(found), `${what}: expected no record, read answers one`)
  )

/** Lists all records of a principal, page by page. */
export const walk = (
  { backend, namespace }: Fixture,
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

export const expectListed = (
  fixture: Fixture,
  expected: ReadonlyArray<SessionRecord>,
  what: string,
  options?: { readonly in?: string; readonly principal?: string }
) => Effect.flatMap(walk(fixture, options), (found) => sameIds(ids(found), expected, `${what}: ids listed`))

export const patch = (record: SessionRecord, changes?: Partial<SessionPatch>): SessionPatch => ({
  lastSeenAt: record.lastSeenAt,
  idleExpiresAt: record.idleExpiresAt,
  ...changes
})

export const update = ({ backend }: Fixture, record: SessionRecord, changes?: Partial<SessionPatch>) =>
  backend.update(record.namespace, record.id, record.version, patch(record, changes))

export const touch = ({ backend }: Fixture, record: SessionRecord, by = minute) =>
  backend.touch(record.namespace, record.id, {
    lastSeenAt: record.lastSeenAt + by,
    idleExpiresAt: record.idleExpiresAt + by
  })

export const expectUpdated = (result: UpdateResult, expected: SessionRecord, what: string) =>
  result._tag === "updated"
    ? sameRecord(result.record, expected, what)
    : Effect.fail(new ConformanceError({ message: `${what}: expected "updated", found "${result._tag}"` }))

export const expectStale = (result: UpdateResult, expected: SessionRecord, what: string) =>
  result._tag === "stale"
    ? sameRecord(result.record, expected, what)
    : Effect.fail(new ConformanceError({ message: `${what}: expected "stale", found "${result._tag}"` }))

/** Runs a race several times, with the operations starting in either order. */
export const races = <A>(
  rounds: number,
  race: (
    run: <B, C, E>(left: Effect.Effect<B, E>, right: Effect.Effect<C, E>) => Effect.Effect<readonly [B, C], E>
  ) => Effect.Effect<A, ConformanceError | SessionBackendError>
) =>
  Effect.forEach(
    range(rounds),
    (round) =>
      race((left, right) =>
        round % 2 === 0
          ? Effect.all([left, right], together)
          : Effect.map(Effect.all([right, left], together), ([right, left]) => [left, right] as const)
      ),
    { discard: true }
  )

/** Expects that no write that arrives late brings a deleted record back. */
export const expectNoRevival = (fixture: Fixture, record: SessionRecord, after: string) =>
  Effect.gen(function* () {
    yield* expectGone(fixture, record, after)
    yield* equal(yield* touch(fixture, record), "gone", `touch ${after}`)
    yield* equal((yield* update(fixture, record, { data: `"late"` }))._tag, "gone", `update ${after}`)
    yield* equal((yield* update(fixture, record, { secretHash: random(32) }))._tag, "gone", `rotation ${after}`)
    yield* expectGone(fixture, record, `late writes ${after}`)
  })
