/**
 * What the conformance cases do with the records of a backend, and expect of them.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { SessionBackendError, SessionPatch, SessionRecord, UpdateResult } from "../../SessionBackend.ts"
import { alice, check, ConformanceError, equal, type Fixture, minute, random, range, together } from "./fixture.ts"

/** @internal */
export const sameIds = (
  found: ReadonlyArray<string>,
  expected: ReadonlyArray<SessionRecord>,
  what: string
): Effect.Effect<void, ConformanceError> => equal(found.toSorted().join(" "), ids(expected).toSorted().join(" "), what)

/** @internal */
export const sameRecord = (found: SessionRecord, expected: SessionRecord, what: string) => {
  // A record has no keys but those of its type, which `Object.keys` does not know.
  const keys = Object.keys(expected) as ReadonlyArray<keyof SessionRecord>
  return Effect.forEach(keys, (key) => equal(found[key], expected[key], `${what}: ${key}`), { discard: true })
}

/** @internal */
export const ids = (records: ReadonlyArray<SessionRecord>): ReadonlyArray<string> => records.map((record) => record.id)

/** @internal */
export const stored = ({ backend }: Fixture, { id, namespace }: SessionRecord) =>
  Effect.suspend(() => backend.read(namespace, id))

/** @internal */
export const expectStored = (fixture: Fixture, expected: SessionRecord, what: string) =>
  Effect.flatMap(stored(fixture, expected), (found) =>
    Option.isSome(found)
      ? sameRecord(found.value, expected, what)
      : Effect.fail(new ConformanceError({ message: `${what}: expected a record, read answers none` }))
  )

/** @internal */
export const expectGone = (fixture: Fixture, record: SessionRecord, what: string) =>
  Effect.flatMap(stored(fixture, record), (found) =>
    check(Option.isNone(found), `${what}: expected no record, read answers one`)
  )

/**
 * Lists all records of a principal, page by page.
 *
 * @internal
 */
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

/** @internal */
export const expectListed = (
  fixture: Fixture,
  expected: ReadonlyArray<SessionRecord>,
  what: string,
  options?: { readonly in?: string; readonly principal?: string }
) => Effect.flatMap(walk(fixture, options), (found) => sameIds(ids(found), expected, `${what}: ids listed`))

/** @internal */
export const patch = (record: SessionRecord, changes?: Partial<SessionPatch>): SessionPatch => ({
  lastSeenAt: record.lastSeenAt,
  idleExpiresAt: record.idleExpiresAt,
  ...changes
})

/** @internal */
export const update = ({ backend }: Fixture, record: SessionRecord, changes?: Partial<SessionPatch>) =>
  backend.update(record.namespace, record.id, record.version, patch(record, changes))

/** @internal */
export const touch = ({ backend }: Fixture, record: SessionRecord, by = minute) =>
  backend.touch(record.namespace, record.id, {
    lastSeenAt: record.lastSeenAt + by,
    idleExpiresAt: record.idleExpiresAt + by
  })

/** @internal */
export const expectUpdated = (result: UpdateResult, expected: SessionRecord, what: string) =>
  result._tag === "updated"
    ? sameRecord(result.record, expected, what)
    : Effect.fail(new ConformanceError({ message: `${what}: expected "updated", found "${result._tag}"` }))

/** @internal */
export const expectStale = (result: UpdateResult, expected: SessionRecord, what: string) =>
  result._tag === "stale"
    ? sameRecord(result.record, expected, what)
    : Effect.fail(new ConformanceError({ message: `${what}: expected "stale", found "${result._tag}"` }))

/**
 * Runs a race several times, with the operations starting in either order.
 *
 * @internal
 */
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

/**
 * Expects that no write that arrives late brings a deleted record back.
 *
 * @internal
 */
export const expectNoRevival = (fixture: Fixture, record: SessionRecord, after: string) =>
  Effect.gen(function* () {
    yield* expectGone(fixture, record, after)
    yield* equal(yield* touch(fixture, record), "gone", `touch ${after}`)
    yield* equal((yield* update(fixture, record, { data: `"late"` }))._tag, "gone", `update ${after}`)
    yield* equal((yield* update(fixture, record, { secretHash: random(32) }))._tag, "gone", `rotation ${after}`)
    yield* expectGone(fixture, record, `late writes ${after}`)
  })
