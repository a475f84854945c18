/**
 * Conformance cases of `listByPrincipal` and `deleteByPrincipal`.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { alice, type Case, equal, makeCase, minute, range, show, together } from "./fixture.ts"
import {
  expectGone,
  expectListed,
  expectNoRevival,
  expectStored,
  ids,
  races,
  sameIds,
  sameRecord,
  stored,
  touch,
  update,
  walk
} from "./records.ts"

/** Principals that a store may not mistake for one another, nor interpret as a pattern or part of a key. */
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

/** @internal */
export const cases: ReadonlyArray<Case> = [
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
      yield* equal(yield* revoke(bob.id), 1, "the count with another principal's id excepted")
      yield* expectGone(fixture, kept, "the record no longer excepted")
      yield* expectStored(fixture, bob, "another principal's record")
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
