/**
 * The conformance suite of `SessionBackend`: what every storage must do, as data for the test runner of your choice.
 *
 * **When to use**
 *
 * Use to prove a backend of your own. It needs nothing but the backend's Layer.
 *
 * **Details**
 *
 * - A case is a name and an effect that fails, saying what was expected and what was found, where the backend breaks the
 *   port's contract. `[R69]` and the like number the requirements of this library that a case stands for.
 * - Each case works on namespaces and ids of its own, made at random, and takes its records away again. So cases may run
 *   at once, and suites may share a store. Sweeps see all namespaces; they work on records of the year 1970.
 * - `cases` hold for every backend. `collectingCases` are for those where `deleteExpired` is what removes expired
 *   records, and not, say, the TTL of a key.
 * - No case sleeps: they run with a live clock and with `TestClock` alike.
 *
 * **Example** (Running the suite with vitest)
 *
 * ```ts no-run
 * import { layer } from "@effect/vitest"
 * import { SessionBackend } from "effect-sessions"
 * import { SessionBackendTest } from "effect-sessions/testing"
 *
 * layer(SessionBackend.layerMemory(), { excludeTestServices: true })("memory", (it) => {
 *   for (const { effect, name } of SessionBackendTest.cases) it.effect(name, () => effect)
 * })
 * ```
 *
 * **Example** (Running the suite with node:test)
 *
 * ```ts no-run
 * import { ManagedRuntime } from "effect"
 * import { SessionBackend } from "effect-sessions"
 * import { SessionBackendTest } from "effect-sessions/testing"
 * import { after, test } from "node:test"
 *
 * const runtime = ManagedRuntime.make(SessionBackend.layerMemory())
 * after(() => runtime.dispose())
 * for (const { effect, name } of SessionBackendTest.cases) test(name, () => runtime.runPromise(effect))
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import {
  SessionBackend,
  type SessionBackendError,
  type SessionPatch,
  type SessionRecord,
  type UpdateResult
} from "../SessionBackend.ts"

/**
 * A case the backend did not pass.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConformanceError extends Data.TaggedError("ConformanceError")<{
  /** What was expected, and what was found. */
  readonly message: string
}> {}

/**
 * One thing every backend must do.
 *
 * @category models
 * @since 0.1.0
 */
export interface Case {
  readonly name: string
  readonly effect: Effect.Effect<void, ConformanceError | SessionBackendError, SessionBackend>
}

// -----------------------------------------------------------------------------
// assertions
// -----------------------------------------------------------------------------

const show = (value: unknown): string => {
  const text = JSON.stringify(value) ?? String(value)
  return text.length <= 120 ? text : `${text.slice(0, 120)}… (${text.length} characters)`
}

const check = (condition: boolean, message: string): Effect.Effect<void, ConformanceError> =>
  condition ? Effect.void : Effect.fail(new ConformanceError({ message }))

const equal = <A>(found: A, expected: A, what: string): Effect.Effect<void, ConformanceError> =>
  check(found === expected, `${what}: expected ${show(expected)}, found ${show(found)}`)

const sameIds = (
  found: ReadonlyArray<string>,
  expected: ReadonlyArray<SessionRecord>,
  what: string
): Effect.Effect<void, ConformanceError> => equal(found.toSorted().join(" "), ids(expected).toSorted().join(" "), what)

const sameRecord = (found: SessionRecord, expected: SessionRecord, what: string) => {
  // A record has no keys but those of its type.
  const keys = Object.keys(expected) as ReadonlyArray<keyof SessionRecord>
  return Effect.forEach(keys, (key) => equal(found[key], expected[key], `${what}: ${key}`), { discard: true })
}

// -----------------------------------------------------------------------------
// what a case works with
// -----------------------------------------------------------------------------

interface Fixture {
  readonly backend: SessionBackend["Service"]
  readonly namespace: string
  /** A record of the case's namespace with an id of its own, logged in, valid for the next hour. */
  readonly record: (changes?: Partial<SessionRecord>) => SessionRecord
  readonly create: (
    changes?: Partial<SessionRecord>
  ) => Effect.Effect<SessionRecord, ConformanceError | SessionBackendError>
}

/** The cases' principal. */
const alice = "alice"

const minute = 60_000

const random = (bytes: number): string => Base64Url.encode(globalThis.crypto.getRandomValues(new Uint8Array(bytes)))

const ids = (records: ReadonlyArray<SessionRecord>): ReadonlyArray<string> => records.map((record) => record.id)

const range = (length: number): ReadonlyArray<number> => Array.from({ length }, (_, i) => i)

const together = { concurrency: "unbounded" } as const

const makeCase = (
  name: string,
  body: (fixture: Fixture) => Effect.Effect<void, ConformanceError | SessionBackendError>
): Case => ({
  name,
  effect: Effect.gen(function* () {
    const backend = yield* SessionBackend
    // A day ahead, out of reach of what sweeps here and elsewhere.
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

const stored = ({ backend }: Fixture, { id, namespace }: SessionRecord) => backend.read(namespace, id)

const expectStored = (fixture: Fixture, expected: SessionRecord, what: string) =>
  Effect.flatMap(stored(fixture, expected), (found) =>
    Option.isSome(found)
      ? sameRecord(found.value, expected, what)
      : Effect.fail(new ConformanceError({ message: `${what}: expected a record, read answers none` }))
  )

const expectGone = (fixture: Fixture, record: SessionRecord, what: string) =>
  Effect.flatMap(stored(fixture, record), (found) =>
    check(Option.isNone(found), `${what}: expected no record, read answers one`)
  )

/** All records of a principal, page by page. */
const walk = (
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

const expectListed = (
  fixture: Fixture,
  expected: ReadonlyArray<SessionRecord>,
  what: string,
  options?: { readonly in?: string; readonly principal?: string }
) => Effect.flatMap(walk(fixture, options), (found) => sameIds(ids(found), expected, `${what}: ids listed`))

const patch = (record: SessionRecord, changes?: Partial<SessionPatch>): SessionPatch => ({
  lastSeenAt: record.lastSeenAt,
  idleExpiresAt: record.idleExpiresAt,
  ...changes
})

const update = ({ backend }: Fixture, record: SessionRecord, changes?: Partial<SessionPatch>) =>
  backend.update(record.namespace, record.id, record.version, patch(record, changes))

const touch = ({ backend }: Fixture, record: SessionRecord, by = minute) =>
  backend.touch(record.namespace, record.id, {
    lastSeenAt: record.lastSeenAt + by,
    idleExpiresAt: record.idleExpiresAt + by
  })

const expectUpdated = (result: UpdateResult, expected: SessionRecord, what: string) =>
  result._tag === "updated"
    ? sameRecord(result.record, expected, what)
    : Effect.fail(new ConformanceError({ message: `${what}: expected "updated", found "${result._tag}"` }))

const expectStale = (result: UpdateResult, expected: SessionRecord, what: string) =>
  result._tag === "stale"
    ? sameRecord(result.record, expected, what)
    : Effect.fail(new ConformanceError({ message: `${what}: expected "stale", found "${result._tag}"` }))

/** Runs a race again and again, with the contenders starting in either order. */
const races = <A>(
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

// -----------------------------------------------------------------------------
// create and read
// -----------------------------------------------------------------------------

/** JSON texts that a store may not normalise, cut, re-encode or take for something else. */
const oddTexts: ReadonlyArray<string> = [
  "",
  "null",
  `""`,
  `{"b":1,"a":2,"b":3,  "n":12345678901234567890,"f":1.50,"e":1e400}`,
  ` {"spaced" : true} \n`,
  `{"__proto__":{"admin":true},"constructor":{"prototype":{"admin":true}}}`,
  `"nul escaped \\u0000, lone surrogates escaped \\ud800 \\udc00"`,
  `"astral 😀 𝒳, combining e\u0301 and \u00e9, right to left \u202e, separators \u2028\u2029, BOM \ufeff, U+FFFF \uffff"`,
  `"quotes ' '' \\" \` and \\\\ back, $1 ? :name @p %s {0} -- /* ; DROP TABLE x"`,
  `"line\\r\\n, controls \\u0001\\u001f, delete \u007f"`
]

const sixtyFourKiB = JSON.stringify("x".repeat(64 * 1024 - 2))
const sixtyFourKiBOfEmoji = JSON.stringify("😀".repeat(16 * 1024 - 1) + "xx")

const creating: ReadonlyArray<Case> = [
  makeCase("create stores a record whole, and read answers it", (fixture) =>
    Effect.gen(function* () {
      const first = yield* fixture.create()
      const second = yield* fixture.create({ principal: undefined, persistent: false, extension: `{"grace":1}` })
      yield* expectStored(fixture, first, "a record with a principal")
      yield* expectStored(fixture, second, "a record without one")
    })
  ),
  makeCase("read answers none for an id that was never stored", (fixture) =>
    Effect.gen(function* () {
      yield* fixture.create()
      yield* expectGone(fixture, fixture.record(), "an id never stored")
    })
  ),
  makeCase("[R5] create never replaces a record", (fixture) =>
    Effect.gen(function* () {
      const first = yield* fixture.create()
      const verdict = yield* fixture.backend.create(
        fixture.record({ id: first.id, data: `"another"`, principal: "bob" })
      )
      yield* equal(verdict, "exists", "create of an id in use")
      yield* expectStored(fixture, first, "the record that was there first")
    })
  ),
  makeCase("[R5] a create that was refused leaves no trace in the listing", (fixture) =>
    Effect.gen(function* () {
      const first = yield* fixture.create()
      yield* fixture.backend.create(fixture.record({ id: first.id, principal: "bob" }))
      yield* expectListed(fixture, [], "of the one refused", { principal: "bob" })
      yield* equal(
        yield* fixture.backend.deleteByPrincipal(fixture.namespace, "bob"),
        0,
        "deleteByPrincipal of the one refused"
      )
      yield* expectStored(fixture, first, "the record that was there first")
      yield* expectListed(fixture, [first], "of the one who was there first")
    })
  ),
  makeCase("[R5] of 100 concurrent creates of one id exactly one succeeds", (fixture) =>
    Effect.gen(function* () {
      const id = fixture.record().id
      const candidates = range(100).map((i) => fixture.record({ id, data: String(i), principal: `p${i % 5}` }))
      const verdicts = yield* Effect.forEach(candidates, fixture.backend.create, together)
      const winners = candidates.filter((_, i) => verdicts[i] === "created")
      yield* equal(winners.length, 1, `creates that answered "created"`)
      yield* expectStored(fixture, winners[0]!, "the record stored is the winner's")
      for (const i of range(5)) {
        const principal = `p${i}`
        yield* expectListed(
          fixture,
          winners.filter((w) => w.principal === principal),
          principal,
          { principal }
        )
      }
    })
  ),
  makeCase("[R65] data and extension come back as they were, character by character", (fixture) =>
    Effect.forEach(
      oddTexts,
      (text) =>
        Effect.gen(function* () {
          const record = yield* fixture.create({ data: text, extension: text })
          yield* expectStored(fixture, record, "after create")
          const next = text + " "
          const result = yield* update(fixture, record, { data: next, extension: next })
          const expected = { ...record, version: 2, data: next, extension: next }
          yield* expectUpdated(result, expected, "after update")
          yield* expectStored(fixture, expected, "after update")
        }),
      { discard: true }
    )
  ),
  makeCase("[R66] data may be 64 KiB, of one-byte or of four-byte characters", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create({ data: sixtyFourKiB })
      yield* expectStored(fixture, record, "after create")
      yield* update(fixture, record, { data: sixtyFourKiBOfEmoji })
      yield* expectStored(fixture, { ...record, version: 2, data: sixtyFourKiBOfEmoji }, "after update")
      yield* expectListed(fixture, [record], "the listing")
    })
  ),
  makeCase("numbers far beyond 32 bits come back exactly", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create({
        dataVersion: 1_000_000,
        idleTimeout: 34_560_000_001,
        absoluteExpiresAt: 8_639_999_999_999_999
      })
      yield* expectStored(fixture, record, "after create")
      const last = 8_639_999_999_999_997
      yield* equal(
        yield* fixture.backend.touch(record.namespace, record.id, { lastSeenAt: last, idleExpiresAt: last + 1 }),
        "touched",
        "touch"
      )
      yield* expectStored(fixture, { ...record, lastSeenAt: last, idleExpiresAt: last + 1 }, "after touch")
    })
  ),
  makeCase("an id may be used again after its record was deleted, and starts afresh", (fixture) =>
    Effect.gen(function* () {
      const first = yield* fixture.create()
      yield* update(fixture, first, { data: `"old"` })
      yield* fixture.backend.delete(first.namespace, first.id)
      const second = fixture.record({ id: first.id, principal: "bob" })
      yield* equal(yield* fixture.backend.create(second), "created", "create after delete")
      yield* expectStored(fixture, second, "the second record")
      yield* expectListed(fixture, [], "the first one's principal")
      yield* expectListed(fixture, [second], "the second one's principal", { principal: "bob" })
    })
  )
]

// -----------------------------------------------------------------------------
// update
// -----------------------------------------------------------------------------

const updating: ReadonlyArray<Case> = [
  makeCase(
    "update at the expected version applies the patch, adds one to the version and answers the record",
    (fixture) =>
      Effect.gen(function* () {
        const record = yield* fixture.create()
        const changes = {
          secretHash: random(32),
          data: `{"name":"Bob"}`,
          dataVersion: 2,
          extension: `{"x":1}`,
          lastSeenAt: record.lastSeenAt + 1,
          idleExpiresAt: record.idleExpiresAt + 1
        }
        const expected = { ...record, ...changes, version: 2 }
        yield* expectUpdated(yield* update(fixture, record, changes), expected, "the answer")
        yield* expectStored(fixture, expected, "the record")
      })
  ),
  makeCase("[R43] update leaves what the patch does not name, and never moves what must stay", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create()
      const once = { ...record, version: 2, data: `"a"` }
      yield* expectUpdated(yield* update(fixture, record, { data: once.data }), once, "data alone")
      const twice = { ...once, version: 3, secretHash: random(32) }
      yield* expectUpdated(yield* update(fixture, once, { secretHash: twice.secretHash }), twice, "secretHash alone")
      const thrice = { ...twice, version: 4 }
      yield* expectUpdated(yield* update(fixture, twice), thrice, "nothing but the times")
      yield* expectStored(fixture, thrice, "the record")
    })
  ),
  makeCase("an empty text and a zero in a patch are values, not absent", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create()
      const expected = { ...record, version: 2, data: "", extension: "", dataVersion: 0 }
      yield* expectUpdated(
        yield* update(fixture, record, { data: "", extension: "", dataVersion: 0 }),
        expected,
        "the answer"
      )
      yield* expectStored(fixture, expected, "the record")
    })
  ),
  makeCase("update moves lastSeenAt and idleExpiresAt only forward, each by itself", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create()
      const { idleExpiresAt, lastSeenAt } = record
      const first = yield* update(fixture, record, { lastSeenAt: lastSeenAt - 1, idleExpiresAt: idleExpiresAt - 1 })
      yield* expectUpdated(first, { ...record, version: 2 }, "both earlier")
      const again = { ...record, version: 2 }
      const second = yield* update(fixture, again, { lastSeenAt: lastSeenAt + 1, idleExpiresAt: idleExpiresAt - 1 })
      yield* expectUpdated(second, { ...record, version: 3, lastSeenAt: lastSeenAt + 1 }, "one later, one earlier")
    })
  ),
  makeCase("[R70] update at another version changes nothing and answers the record as stale", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create()
      yield* update(fixture, record, { data: `"second"` })
      const current = { ...record, version: 2, data: `"second"` }
      yield* expectStale(yield* update(fixture, record, { data: `"late"` }), current, "an older version")
      yield* expectStale(
        yield* update(fixture, { ...record, version: 3 }, { data: `"early"` }),
        current,
        "a newer version"
      )
      yield* expectStored(fixture, current, "the record")
    })
  ),
  makeCase("[R71] update of a record that is not there answers gone and stores nothing", (fixture) =>
    Effect.gen(function* () {
      const record = fixture.record()
      yield* equal((yield* update(fixture, record, { data: `"x"` }))._tag, "gone", "update")
      yield* expectGone(fixture, record, "after update")
      yield* expectListed(fixture, [], "after update")
    })
  ),
  makeCase("[R70] of 20 concurrent updates from one version exactly one succeeds", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create()
      const results = yield* Effect.forEach(range(20), (i) => update(fixture, record, { data: String(i) }), together)
      const won = range(20).filter((i) => results[i]!._tag === "updated")
      yield* equal(won.length, 1, `updates that answered "updated"`)
      const expected = { ...record, version: 2, data: String(won[0]) }
      yield* expectStored(fixture, expected, "the record is the winner's")
      yield* Effect.forEach(
        results.filter((result) => result._tag !== "updated"),
        (result) => expectStale(result, expected, "a loser's answer"),
        { discard: true }
      )
    })
  ),
  makeCase("[R70] 50 concurrent writers that try again on stale keep all 50 updates", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create({ data: "[]" })
      const append = (writer: number) =>
        Effect.gen(function* () {
          let current = record
          for (let attempt = 0; attempt < 1000; attempt++) {
            const data = JSON.stringify([...JSON.parse(current.data), writer])
            const result = yield* update(fixture, current, { data })
            if (result._tag === "updated") return
            yield* check(result._tag === "stale", `update answered "${result._tag}" for a record that is there`)
            if (result._tag === "stale") current = result.record
          }
          return yield* new ConformanceError({ message: "a writer got nowhere in 1000 attempts" })
        })
      yield* Effect.forEach(range(50), append, together)
      const found = Option.getOrThrow(yield* stored(fixture, record))
      yield* equal(new Set(JSON.parse(found.data)).size, 50, "updates kept")
      yield* equal(found.version, 51, "version")
    })
  ),
  makeCase("[R70] of a rotation and an update from one version one succeeds, and the other sees it", (fixture) =>
    races(20, (run) =>
      Effect.gen(function* () {
        const record = yield* fixture.create()
        const rotated = { ...record, version: 2, secretHash: random(32) }
        const changed = { ...record, version: 2, data: `"changed"` }
        const [rotation, change] = yield* run(
          update(fixture, record, { secretHash: rotated.secretHash }),
          update(fixture, record, { data: changed.data })
        )
        const winner = rotation._tag === "updated" ? rotated : changed
        yield* expectUpdated(winner === rotated ? rotation : change, winner, "the winner's answer")
        yield* expectStale(winner === rotated ? change : rotation, winner, "the loser's answer")
        yield* expectStored(fixture, winner, "the record")
      })
    )
  )
]

// -----------------------------------------------------------------------------
// touch
// -----------------------------------------------------------------------------

const touching: ReadonlyArray<Case> = [
  makeCase("[R84c] touch moves lastSeenAt and idleExpiresAt forward and leaves all else alone", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create()
      yield* equal(yield* touch(fixture, record, 1), "touched", "touch a millisecond later")
      const touched = { ...record, lastSeenAt: record.lastSeenAt + 1, idleExpiresAt: record.idleExpiresAt + 1 }
      yield* expectStored(fixture, touched, "after touch")
    })
  ),
  makeCase("touch answers unchanged, and changes nothing, unless lastSeenAt is later than the one stored", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create()
      for (const by of [0, -1]) {
        const verdict = yield* fixture.backend.touch(record.namespace, record.id, {
          lastSeenAt: record.lastSeenAt + by,
          idleExpiresAt: record.idleExpiresAt + minute
        })
        yield* equal(verdict, "unchanged", `touch by ${by} ms`)
      }
      yield* expectStored(fixture, record, "after touch")
    })
  ),
  makeCase("touch never moves idleExpiresAt backwards", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create()
      const lastSeenAt = record.lastSeenAt + 1
      const verdict = yield* fixture.backend.touch(record.namespace, record.id, {
        lastSeenAt,
        idleExpiresAt: record.idleExpiresAt - 1
      })
      yield* equal(verdict, "touched", "touch")
      yield* expectStored(fixture, { ...record, lastSeenAt }, "after touch")
    })
  ),
  makeCase("[R71] touch of a record that is not there answers gone and stores nothing", (fixture) =>
    Effect.gen(function* () {
      const record = fixture.record()
      yield* equal(yield* touch(fixture, record), "gone", "touch")
      yield* expectGone(fixture, record, "after touch")
      yield* expectListed(fixture, [], "after touch")
    })
  ),
  makeCase("[R84c] touch does not make an update stale, nor does an update undo a touch", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create()
      yield* touch(fixture, record)
      const result = yield* update(fixture, record, { data: `"x"` })
      const expected = {
        ...record,
        version: 2,
        data: `"x"`,
        lastSeenAt: record.lastSeenAt + minute,
        idleExpiresAt: record.idleExpiresAt + minute
      }
      yield* expectUpdated(result, expected, "update after touch")
    })
  ),
  makeCase("[R84c] a touch and an update at the same time are both kept", (fixture) =>
    races(20, (run) =>
      Effect.gen(function* () {
        const record = yield* fixture.create()
        yield* run(touch(fixture, record), update(fixture, record, { data: `"x"` }))
        const expected = {
          ...record,
          version: 2,
          data: `"x"`,
          lastSeenAt: record.lastSeenAt + minute,
          idleExpiresAt: record.idleExpiresAt + minute
        }
        yield* expectStored(fixture, expected, "after both")
      })
    )
  ),
  makeCase("concurrent touches end at the latest of them", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create()
      yield* Effect.forEach([3, 9, 1, 7, 10, 2, 8, 4, 6, 5], (by) => touch(fixture, record, by), together)
      const expected = { ...record, lastSeenAt: record.lastSeenAt + 10, idleExpiresAt: record.idleExpiresAt + 10 }
      yield* expectStored(fixture, expected, "after all")
    })
  )
]

// -----------------------------------------------------------------------------
// delete
// -----------------------------------------------------------------------------

/** Every way a write that was under way can arrive late. */
const expectNoRevival = (fixture: Fixture, record: SessionRecord, after: string) =>
  Effect.gen(function* () {
    yield* expectGone(fixture, record, after)
    yield* equal(yield* touch(fixture, record), "gone", `touch ${after}`)
    yield* equal((yield* update(fixture, record, { data: `"late"` }))._tag, "gone", `update ${after}`)
    yield* equal((yield* update(fixture, record, { secretHash: random(32) }))._tag, "gone", `rotation ${after}`)
    yield* expectGone(fixture, record, `late writes ${after}`)
  })

const deleting: ReadonlyArray<Case> = [
  makeCase("[R47] delete removes the record, and says whether it was this call that did", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create()
      const other = yield* fixture.create()
      yield* equal(yield* fixture.backend.delete(record.namespace, record.id), true, "the first delete")
      yield* expectGone(fixture, record, "after delete")
      yield* equal(yield* fixture.backend.delete(record.namespace, record.id), false, "the second delete")
      yield* expectStored(fixture, other, "another record")
      yield* expectListed(fixture, [other], "after delete")
    })
  ),
  makeCase("delete for a principal removes only a record of theirs", (fixture) =>
    Effect.gen(function* () {
      const owned = yield* fixture.create()
      const anonymous = yield* fixture.create({ principal: undefined })
      const remove = ({ id, namespace }: SessionRecord, principal: string) =>
        fixture.backend.delete(namespace, id, { principal })
      yield* equal(yield* remove(owned, "bob"), false, "for somebody else")
      yield* equal(yield* remove(owned, "Alice"), false, "for a name in other letters")
      yield* expectStored(fixture, owned, "a record of another principal")
      yield* equal(yield* remove(anonymous, alice), false, "of a record without a principal")
      yield* expectStored(fixture, anonymous, "a record without a principal")
      yield* equal(yield* remove(owned, alice), true, "for its principal")
      yield* expectGone(fixture, owned, "after delete for its principal")
    })
  ),
  makeCase("of 20 concurrent deletes exactly one answers true", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create()
      const answers = yield* Effect.forEach(
        range(20),
        () => fixture.backend.delete(record.namespace, record.id),
        together
      )
      yield* equal(answers.filter((deleted) => deleted).length, 1, "deletes that answered true")
    })
  ),
  makeCase("[R69] late writes after delete never bring a record back", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create()
      yield* fixture.backend.delete(record.namespace, record.id)
      yield* expectNoRevival(fixture, record, "after delete")
      yield* expectListed(fixture, [], "after late writes")
    })
  ),
  makeCase("[R69] touch against delete: when both have answered, the record is gone", (fixture) =>
    races(30, (run) =>
      Effect.gen(function* () {
        const record = yield* fixture.create()
        const [verdict, deleted] = yield* run(
          touch(fixture, record),
          fixture.backend.delete(record.namespace, record.id)
        )
        yield* equal(deleted, true, "delete")
        yield* check(verdict !== "unchanged", `touch answered "unchanged"`)
        yield* expectGone(fixture, record, "after both")
        yield* expectListed(fixture, [], "after both")
      })
    )
  ),
  makeCase("[R69] update against delete: when both have answered, the record is gone", (fixture) =>
    races(30, (run) =>
      Effect.gen(function* () {
        const record = yield* fixture.create()
        const [result, deleted] = yield* run(
          update(fixture, record, { data: `"late"` }),
          fixture.backend.delete(record.namespace, record.id)
        )
        yield* equal(deleted, true, "delete")
        yield* check(result._tag !== "stale", `update answered "stale"`)
        yield* expectGone(fixture, record, "after both")
        yield* expectListed(fixture, [], "after both")
      })
    )
  )
]

// -----------------------------------------------------------------------------
// by principal
// -----------------------------------------------------------------------------

/** Principals that a store may not confuse with one another, or take for a pattern or a key. */
const oddPrincipals: ReadonlyArray<string> = [
  "a",
  "A",
  "a ",
  " a",
  "\u00e9",
  "e\u0301",
  "😀",
  "*",
  "?",
  "%",
  "_",
  "[a-z]",
  "a:b",
  "a/b",
  "{a}",
  "a'b",
  `a"b`,
  "a`b",
  "a\\b",
  "'; DROP TABLE sessions; --",
  "${a}",
  "a\r\nb",
  "\u0001",
  "../a",
  "__proto__",
  "constructor",
  "null",
  "undefined",
  "0",
  "1e3",
  "x".repeat(256),
  "x".repeat(255) + "y",
  "é".repeat(128)
]

const byPrincipal: ReadonlyArray<Case> = [
  makeCase("listByPrincipal answers a principal's records whole, and nobody else's", (fixture) =>
    Effect.gen(function* () {
      const first = yield* fixture.create()
      const second = yield* fixture.create({ data: `"second"`, persistent: false })
      yield* fixture.create({ principal: "bob" })
      yield* fixture.create({ principal: undefined })
      const found = yield* walk(fixture)
      yield* sameIds(ids(found), [first, second], "ids listed")
      for (const record of found) {
        yield* sameRecord(record, record.id === first.id ? first : second, "a record listed")
      }
      yield* expectListed(fixture, [], "a principal without records", { principal: "carol" })
    })
  ),
  makeCase("listByPrincipal shows a record as the last update and touch left it", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create()
      yield* update(fixture, record, { data: `"new"` })
      yield* touch(fixture, record)
      const expected = {
        ...record,
        version: 2,
        data: `"new"`,
        lastSeenAt: record.lastSeenAt + minute,
        idleExpiresAt: record.idleExpiresAt + minute
      }
      for (const found of yield* walk(fixture)) yield* sameRecord(found, expected, "the record listed")
      yield* expectListed(fixture, [record], "after update and touch")
    })
  ),
  makeCase("a walk in pages of any size answers every record exactly once, always in the same order", (fixture) =>
    Effect.gen(function* () {
      const records = yield* Effect.forEach(range(12), () => fixture.create())
      const order = ids(yield* walk(fixture)).join(" ")
      for (const limit of [1, 5, 6, 12, 13]) {
        const found = yield* walk(fixture, { limit })
        yield* sameIds(ids(found), records, `ids listed in pages of ${limit}`)
        yield* equal(ids(found).join(" "), order, `order in pages of ${limit}`)
      }
    })
  ),
  makeCase("a walk skips and repeats nothing when records come and go between its pages", (fixture) =>
    Effect.gen(function* () {
      yield* Effect.forEach(range(20), () => fixture.create(), { discard: true })
      const all = yield* walk(fixture)
      // Behind, at and ahead of the cursor while the walk is at its first page of five.
      const leaving = [all[0]!, all[1]!, all[4]!, all[5]!, all[12]!]
      const staying = all.filter((record) => !leaving.includes(record))
      const comings = Effect.forEach(range(3), () => fixture.create(), { discard: true })
      const goings = Effect.forEach(leaving, ({ id, namespace }) => fixture.backend.delete(namespace, id), {
        discard: true
      })
      const found = ids(yield* walk(fixture, { limit: 5 }, Effect.andThen(goings, comings)))
      yield* equal(new Set(found).size, found.length, "ids answered, without repetitions")
      yield* sameIds(
        found.filter((id) => staying.some((record) => record.id === id)),
        staying,
        "records that stayed"
      )
    })
  ),
  makeCase(
    "[R49] deleteByPrincipal removes all records of the principal, counts them, and leaves all others",
    (fixture) =>
      Effect.gen(function* () {
        const theirs = yield* Effect.forEach(range(7), () => fixture.create())
        const bob = yield* fixture.create({ principal: "bob" })
        const anonymous = yield* fixture.create({ principal: undefined })
        yield* equal(yield* fixture.backend.deleteByPrincipal(fixture.namespace, alice), 7, "the first count")
        for (const record of theirs) yield* expectGone(fixture, record, "a record of the principal")
        yield* expectListed(fixture, [], "the principal's listing")
        yield* expectStored(fixture, bob, "another principal's record")
        yield* expectStored(fixture, anonymous, "a record without principal")
        yield* equal(yield* fixture.backend.deleteByPrincipal(fixture.namespace, alice), 0, "the second count")
      })
  ),
  makeCase("[R49] deleteByPrincipal spares the one id excepted", (fixture) =>
    Effect.gen(function* () {
      const kept = yield* fixture.create()
      const bob = yield* fixture.create({ principal: "bob" })
      const others = yield* Effect.forEach(range(3), () => fixture.create())
      const revoke = (except: string) => fixture.backend.deleteByPrincipal(fixture.namespace, alice, { except })
      yield* equal(yield* revoke(kept.id), 3, "the count")
      for (const record of others) yield* expectGone(fixture, record, "a record not excepted")
      yield* expectStored(fixture, kept, "the record excepted")
      yield* expectListed(fixture, [kept], "the listing")
      yield* equal(yield* revoke(bob.id), 1, "the count with somebody else's id excepted")
      yield* expectGone(fixture, kept, "the record no longer excepted")
      yield* expectStored(fixture, bob, "somebody else's record")
    })
  ),
  makeCase("[R67] no two principals are taken for one another, and none for a pattern", (fixture) =>
    Effect.gen(function* () {
      const records = yield* Effect.forEach(oddPrincipals, (principal) => fixture.create({ principal }), {
        concurrency: 4
      })
      for (const record of records) yield* expectStored(fixture, record, "after create")
      for (const [i, principal] of oddPrincipals.entries()) {
        const what = `principal ${show(principal)}`
        yield* expectListed(fixture, [records[i]!], what, { principal })
        yield* equal(yield* fixture.backend.deleteByPrincipal(fixture.namespace, principal), 1, `${what}: deleted`)
        yield* expectListed(fixture, [], what, { principal })
      }
    })
  ),
  makeCase("[R69] late writes after deleteByPrincipal never bring a record back", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create()
      yield* fixture.backend.deleteByPrincipal(fixture.namespace, alice)
      yield* expectNoRevival(fixture, record, "after deleteByPrincipal")
      yield* expectListed(fixture, [], "after late writes")
    })
  ),
  makeCase("a principal whose records were deleted can log in again", (fixture) =>
    Effect.gen(function* () {
      const first = yield* fixture.create()
      yield* fixture.backend.delete(first.namespace, first.id)
      const second = yield* fixture.create()
      yield* expectListed(fixture, [second], "after delete and create")
      yield* equal(yield* fixture.backend.deleteByPrincipal(fixture.namespace, alice), 1, "records deleted in between")
      const third = yield* fixture.create()
      yield* expectListed(fixture, [third], "after deleteByPrincipal and create")
      yield* equal(yield* fixture.backend.deleteByPrincipal(fixture.namespace, alice), 1, "records deleted at the end")
    })
  ),
  makeCase(
    "[R69] deleteByPrincipal against update and touch: when all have answered, the records are gone",
    (fixture) =>
      races(15, (run) =>
        Effect.gen(function* () {
          const records = yield* Effect.forEach(range(3), () => fixture.create())
          const writes = Effect.forEach(
            records,
            (record) => Effect.all([touch(fixture, record), update(fixture, record, { data: `"late"` })], together),
            together
          )
          const [, count] = yield* run(writes, fixture.backend.deleteByPrincipal(fixture.namespace, alice))
          yield* equal(count, 3, "records deleted")
          for (const record of records) yield* expectGone(fixture, record, "after all")
          yield* expectListed(fixture, [], "after all")
        })
      )
  ),
  makeCase("[R73] deleteByPrincipal against create: the new record is deleted, or it is there and listed", (fixture) =>
    races(15, (run) =>
      Effect.gen(function* () {
        const old = yield* Effect.forEach(range(3), () => fixture.create())
        const fresh = fixture.record()
        const [verdict, count] = yield* run(
          fixture.backend.create(fresh),
          fixture.backend.deleteByPrincipal(fixture.namespace, alice)
        )
        yield* equal(verdict, "created", "create")
        for (const record of old) yield* expectGone(fixture, record, "a record from before")
        const survived = Option.isSome(yield* stored(fixture, fresh))
        yield* equal(count, survived ? 3 : 4, "records deleted")
        yield* expectListed(fixture, survived ? [fresh] : [], "after both")
        yield* equal(
          yield* fixture.backend.deleteByPrincipal(fixture.namespace, alice),
          survived ? 1 : 0,
          "records deleted by a second call"
        )
        yield* expectGone(fixture, fresh, "after a second call")
      })
    )
  ),
  makeCase("concurrent deleteByPrincipal count every record once", (fixture) =>
    Effect.gen(function* () {
      yield* Effect.forEach(range(20), () => fixture.create(), { concurrency: 4, discard: true })
      const counts = yield* Effect.forEach(
        range(4),
        () => fixture.backend.deleteByPrincipal(fixture.namespace, alice),
        together
      )
      yield* equal(
        counts.reduce((sum, count) => sum + count, 0),
        20,
        "sum of the counts"
      )
    })
  )
]

// -----------------------------------------------------------------------------
// namespaces and arguments
// -----------------------------------------------------------------------------

const apart: ReadonlyArray<Case> = [
  makeCase("one id in two namespaces is two records", (fixture) =>
    Effect.gen(function* () {
      const here = yield* fixture.create()
      const there = yield* fixture.create({ id: here.id, namespace: `${fixture.namespace}/2`, data: `"there"` })
      yield* expectStored(fixture, here, "here")
      yield* expectStored(fixture, there, "there")
      yield* update(fixture, here, { data: `"changed"` })
      yield* touch(fixture, here)
      yield* expectStored(fixture, there, "there, after update and touch here")
      yield* fixture.backend.delete(here.namespace, here.id)
      yield* expectStored(fixture, there, "there, after delete here")
      yield* expectGone(fixture, here, "here, after delete here")
    })
  ),
  makeCase("one principal in two namespaces is two principals", (fixture) =>
    Effect.gen(function* () {
      const there = `${fixture.namespace}/2`
      const mine = yield* fixture.create()
      const theirs = yield* fixture.create({ namespace: there })
      yield* expectListed(fixture, [mine], "here")
      yield* expectListed(fixture, [theirs], "there", { in: there })
      yield* equal(yield* fixture.backend.deleteByPrincipal(fixture.namespace, alice), 1, "deleted here")
      yield* expectStored(fixture, theirs, "there")
      yield* expectListed(fixture, [theirs], "there, after deleteByPrincipal here", { in: there })
    })
  ),
  makeCase("[R67] namespace and principal never run into one another", (fixture) =>
    Effect.gen(function* () {
      for (const separator of [":", "/", "|", "-", ".", "\u0001", "::", `","`]) {
        const long = `${fixture.namespace}${separator}a`
        const one = yield* fixture.create({ namespace: long, principal: "b" })
        const two = yield* fixture.create({ id: one.id, principal: `a${separator}b` })
        const what = `separator ${show(separator)}`
        yield* expectListed(fixture, [one], what, { in: long, principal: "b" })
        yield* expectListed(fixture, [two], what, { principal: `a${separator}b` })
        yield* equal(yield* fixture.backend.deleteByPrincipal(long, "b"), 1, `${what}: deleted`)
        yield* expectStored(fixture, two, what)
      }
    })
  ),
  makeCase("a principal with the name of a session's id is not that session", (fixture) =>
    Effect.gen(function* () {
      const session = yield* fixture.create()
      const named = yield* fixture.create({ principal: session.id })
      yield* expectStored(fixture, session, "the session")
      yield* expectListed(fixture, [named], "the principal", { principal: session.id })
      yield* equal(yield* fixture.backend.deleteByPrincipal(fixture.namespace, session.id), 1, "records deleted")
      yield* expectStored(fixture, session, "the session afterwards")
    })
  ),
  makeCase("[R67] odd namespaces are namespaces like any other", (fixture) =>
    Effect.gen(function* () {
      const odd = ["*", "__proto__", "a b", "'; --", `"`, "{x}", "é😀", "../", "\\", "%_?[a]"]
      const records = yield* Effect.forEach(odd, (name) => fixture.create({ namespace: `${fixture.namespace}${name}` }))
      for (const record of records) {
        yield* expectStored(fixture, record, `namespace ${show(record.namespace)}`)
        yield* expectListed(fixture, [record], `namespace ${show(record.namespace)}`, { in: record.namespace })
      }
    })
  ),
  makeCase("[R8] what the caller does to a record or patch after handing it over changes nothing stored", (fixture) =>
    Effect.gen(function* () {
      const given = fixture.record()
      const record = { ...given }
      yield* fixture.backend.create(given)
      Reflect.set(given, "data", `"tampered"`)
      yield* expectStored(fixture, record, "after the record given to create was changed")
      const changes = patch(record, { data: `"patched"` })
      yield* fixture.backend.update(record.namespace, record.id, 1, changes)
      Reflect.set(changes, "data", `"tampered"`)
      yield* expectStored(fixture, { ...record, version: 2, data: `"patched"` }, "after the patch given was changed")
    })
  ),
  makeCase("[R8] what the caller does to an answer changes nothing stored", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create()
      const tamper = (answered: SessionRecord) => {
        for (const key of ["data", "secretHash", "principal", "idleExpiresAt"]) Reflect.set(answered, key, "tampered")
      }
      tamper(Option.getOrThrow(yield* stored(fixture, record)))
      yield* expectStored(fixture, record, "after the answer of read was changed")
      for (const listed of yield* walk(fixture)) tamper(listed)
      yield* expectStored(fixture, record, "after an answer of listByPrincipal was changed")
      const updated = yield* update(fixture, record)
      if (updated._tag !== "gone") tamper(updated.record)
      yield* expectStored(fixture, { ...record, version: 2 }, "after the answer of update was changed")
      const stale = yield* update(fixture, record)
      if (stale._tag !== "gone") tamper(stale.record)
      yield* expectStored(fixture, { ...record, version: 2 }, "after a stale answer was changed")
    })
  ),
  makeCase("[R8] a backend does not change what it is given", (fixture) =>
    Effect.gen(function* () {
      const record = Object.freeze(fixture.record())
      const before = { ...record }
      const changes = Object.freeze(patch(record, { data: `"x"` }))
      yield* fixture.backend.create(record)
      yield* fixture.backend.update(record.namespace, record.id, 1, changes)
      yield* touch(fixture, record)
      yield* sameRecord(record, before, "the record given")
      yield* equal(Object.keys(changes).length, 3, "fields of the patch given")
    })
  )
]

// -----------------------------------------------------------------------------
// expiry
// -----------------------------------------------------------------------------

const sweeps = Semaphore.makeUnsafe(1)

/** The time sweeps take for now: early in 1970, before any deadline of a record that is not theirs. */
const era = 1000

/** Deadlines for a record that a sweep at `era` must take away. */
const expired = {
  createdAt: era - 500,
  authenticatedAt: era - 500,
  lastSeenAt: era - 500,
  idleTimeout: 100,
  idleExpiresAt: era - 400,
  absoluteExpiresAt: era - 300
}

/** Deadlines for a record that it must leave, and later sweeps by the application will find. */
const alive = { ...expired, idleExpiresAt: era + 1, absoluteExpiresAt: era + minute }

/**
 * A sweep takes the records of every case, so these run one at a time. And since another suite on the same store may
 * sweep in the midst of one, a failure counts only if it comes back.
 */
const makeSweepingCase = (name: string, body: Parameters<typeof makeCase>[1]): Case => {
  const { effect } = makeCase(name, body)
  return { name, effect: sweeps.withPermit(Effect.retry(effect, { times: 2 })) }
}

const sweep = ({ backend }: Fixture, limit = 1000, before = era) => backend.deleteExpired({ before, limit })

/** Whether the store leaves expired records to a clock of its own, so that a sweep has nothing to take away. */
const keepsExpired = (fixture: Fixture, probe: SessionRecord, count: number) =>
  Effect.map(stored(fixture, probe), (found) => count === 0 && Option.isSome(found))

const expiring: ReadonlyArray<Case> = [
  makeSweepingCase("[R44] read, update, touch and create go by the record, not by its deadlines", (fixture) =>
    Effect.gen(function* () {
      // Long past on any clock, TestClock at zero included.
      const past = { createdAt: 0, authenticatedAt: 0, lastSeenAt: 0, idleExpiresAt: 0, absoluteExpiresAt: 0 }
      const record = yield* fixture.create(past)
      yield* expectStored(fixture, record, "read of an expired record")
      yield* equal(yield* fixture.backend.create({ ...record, data: `"x"` }), "exists", "create over an expired record")
      yield* equal(yield* touch(fixture, record, 1), "touched", "touch of an expired record")
      const touched = { ...record, lastSeenAt: 1, idleExpiresAt: 1 }
      yield* expectUpdated(
        yield* update(fixture, touched, { data: `"y"` }),
        { ...touched, version: 2, data: `"y"` },
        "update of an expired record"
      )
    })
  ),
  makeSweepingCase("[R42] deleteExpired takes a deadline at its very millisecond, and none after it", (fixture) =>
    Effect.gen(function* () {
      const probe = yield* fixture.create(expired)
      const idle = yield* fixture.create({ ...alive, idleExpiresAt: era })
      const absolute = yield* fixture.create({ ...alive, idleExpiresAt: era + minute, absoluteExpiresAt: era })
      const later = yield* fixture.create(alive)
      const laterAbsolute = yield* fixture.create({
        ...alive,
        idleExpiresAt: era + minute,
        absoluteExpiresAt: era + 1
      })
      const count = yield* sweep(fixture)
      yield* expectStored(fixture, later, "idle deadline a millisecond later")
      yield* expectStored(fixture, laterAbsolute, "absolute deadline a millisecond later")
      if (yield* keepsExpired(fixture, probe, count)) return
      yield* expectGone(fixture, probe, "expired long ago")
      yield* expectGone(fixture, idle, "idle deadline at this millisecond")
      yield* expectGone(fixture, absolute, "absolute deadline at this millisecond")
    })
  ),
  makeSweepingCase("deleteExpired takes at most as many as it is told, and says how many", (fixture) =>
    Effect.gen(function* () {
      const records = yield* Effect.forEach(range(5), () => fixture.create(expired))
      const counts: Array<number> = []
      for (const _ of range(4)) counts.push(yield* sweep(fixture, 2))
      yield* check(
        counts.every((count) => count <= 2),
        `sweeps of at most 2 answered ${show(counts)}`
      )
      if (yield* keepsExpired(fixture, records[0]!, counts[0]!)) return
      yield* equal(show(counts), show([2, 2, 1, 0]), "counts of sweeps of at most 2")
    })
  ),
  makeSweepingCase("[R69] what is swept leaves no ghost, neither in the listing nor for late writes", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create(expired)
      const other = yield* fixture.create(alive)
      const count = yield* sweep(fixture)
      if (yield* keepsExpired(fixture, record, count)) return
      yield* expectNoRevival(fixture, record, "after deleteExpired")
      yield* expectListed(fixture, [other], "after deleteExpired")
      const again = yield* fixture.create(alive)
      yield* expectListed(fixture, [other, again], "after the principal logged in again")
      yield* equal(yield* fixture.backend.deleteByPrincipal(fixture.namespace, alice), 2, "records deleted at the end")
    })
  ),
  makeSweepingCase("a record that was touched or updated in time is not swept", (fixture) =>
    Effect.gen(function* () {
      const long = { ...expired, absoluteExpiresAt: era + minute }
      const touched = yield* fixture.create(long)
      const updated = yield* fixture.create(long)
      const times = { lastSeenAt: era, idleExpiresAt: era + 100 }
      yield* fixture.backend.touch(touched.namespace, touched.id, times)
      yield* update(fixture, updated, times)
      yield* sweep(fixture)
      yield* expectStored(fixture, { ...touched, ...times }, "the record touched")
      yield* expectStored(fixture, { ...updated, ...times, version: 2 }, "the record updated")
    })
  ),
  makeSweepingCase("deleteExpired against touch: a record that was touched stays, the other is gone", (fixture) =>
    races(30, (run) =>
      Effect.gen(function* () {
        const record = yield* fixture.create({ ...expired, absoluteExpiresAt: era + minute })
        const times = { lastSeenAt: era, idleExpiresAt: era + 100 }
        const [verdict] = yield* run(fixture.backend.touch(record.namespace, record.id, times), sweep(fixture))
        if (verdict === "touched") yield* expectStored(fixture, { ...record, ...times }, "the record touched")
        else yield* expectGone(fixture, record, `the record whose touch answered "${verdict}"`)
        yield* fixture.backend.delete(record.namespace, record.id)
      })
    )
  )
]

/**
 * The cases every backend must pass.
 *
 * @category testing
 * @since 0.1.0
 */
export const cases: ReadonlyArray<Case> = [
  ...creating,
  ...updating,
  ...touching,
  ...deleting,
  ...byPrincipal,
  ...apart,
  ...expiring
]

/**
 * The cases a backend must pass beside `cases` if nothing but `deleteExpired` removes its expired records.
 *
 * @category testing
 * @since 0.1.0
 */
export const collectingCases: ReadonlyArray<Case> = [
  makeSweepingCase("deleteExpired removes expired records of every namespace, with or without a principal", (fixture) =>
    Effect.gen(function* () {
      const records = [
        yield* fixture.create(expired),
        yield* fixture.create({ ...expired, principal: undefined }),
        yield* fixture.create({ ...expired, namespace: `${fixture.namespace}/2` })
      ]
      yield* equal(yield* sweep(fixture), 3, "the count")
      for (const record of records) yield* expectGone(fixture, record, "an expired record")
    })
  )
]
