/**
 * Conformance cases of `delete`, `listByPrincipal` and `deleteByPrincipal`.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { SessionBackendError, SessionRecord } from "../../SessionBackend.ts"
import { check, equal, ids, sameIds, sameRecord, show } from "./expect.ts"
import { alice, type Case, later, makeCase, races, range, type Store, together } from "./fixture.ts"

/** Principals that a store must not mistake for one another, nor interpret as a pattern or part of a key. */
const oddPrincipals: ReadonlyArray<string> = [
  // Letter case, spaces, normal forms.
  ["a", "A", "a ", " a", "\u00e9", "e\u0301", "😀"],
  // Patterns, separators, quotes, escapes.
  ["*", "?", "%", "_", "[a-z]", "a:b", "a/b", "{a}", "${a}", "../a", "a'b", `a"b`, "a`b", "a\\b", "a\r\nb", "\u0001"],
  ["'; DROP TABLE sessions; --", "__proto__", "constructor", "null", "undefined", "0", "1e3"],
  // As long as a principal may be.
  ["x".repeat(256), "x".repeat(255) + "y", "é".repeat(128)]
].flat()

/** A case of a write and a delete at the same time. `impossible` is the answer that the write must not give. */
const makeDeleteRaceCase = (
  name: string,
  impossible: "unchanged" | "stale",
  write: (store: Store, record: SessionRecord) => Effect.Effect<string, SessionBackendError>
): Case =>
  makeCase(name, function* (store) {
    for (const run of races(30)) {
      const record = yield* store.create()
      const [answer, deleted] = yield* run(write(store, record), store.delete(record))
      yield* equal(deleted, true, "delete")
      yield* check(answer !== impossible, `the write answered "${impossible}"`)
      yield* store.expectGone(record, "after both")
      yield* store.expectListed([], "after both")
    }
  })

/** Records of one principal, the latest created first, made in another order. */
const newestFirst = (store: Store, count: number) =>
  Effect.gen(function* () {
    const { createdAt } = store.record()
    const ages = range(count).toSorted((a, b) => (a % 2) - (b % 2) || a - b)
    const records = yield* Effect.forEach(ages, (age) => store.create({ createdAt: createdAt - age * 1000 }))
    return records.toSorted((a, b) => b.createdAt - a.createdAt)
  })

/** @internal */
export const cases: ReadonlyArray<Case> = [
  makeCase("[R47] delete removes the record, and says whether it was this call that did", function* (store) {
    const record = yield* store.create()
    const other = yield* store.create()
    yield* equal(yield* store.delete(record), true, "the first delete")
    yield* store.expectGone(record, "after delete")
    yield* equal(yield* store.delete(record), false, "the second delete")
    yield* store.expectStored(other, "another record")
    yield* store.expectListed([other], "after delete")
  }),
  makeCase("delete for a principal removes only a record of theirs", function* (store) {
    const owned = yield* store.create()
    const anonymous = yield* store.create({ principal: undefined })
    yield* equal(yield* store.delete(owned, "bob"), false, "for another principal")
    yield* equal(yield* store.delete(owned, "Alice"), false, "for a name in other letters")
    yield* store.expectStored(owned, "a record of another principal")
    yield* equal(yield* store.delete(anonymous, alice), false, "of a record without a principal")
    yield* store.expectStored(anonymous, "a record without a principal")
    yield* equal(yield* store.delete(owned, alice), true, "for its principal")
    yield* store.expectGone(owned, "after delete for its principal")
  }),
  makeCase("of 20 concurrent deletes exactly one answers true", function* (store) {
    const record = yield* store.create()
    const answers = yield* Effect.forEach(range(20), () => store.delete(record), together)
    yield* equal(answers.filter((deleted) => deleted).length, 1, "deletes that answered true")
  }),
  makeCase("[R69] late writes after delete never bring a record back", function* (store) {
    const record = yield* store.create()
    yield* store.delete(record)
    yield* store.expectNoRevival(record, "after delete")
    yield* store.expectListed([], "after late writes")
  }),
  makeDeleteRaceCase(
    "[R69] touch against delete: when both have answered, the record is gone",
    "unchanged",
    (store, record) => store.touch(record)
  ),
  makeDeleteRaceCase(
    "[R69] update against delete: when both have answered, the record is gone",
    "stale",
    (store, record) => Effect.map(store.update(record, { data: `"late"` }), ({ _tag }) => _tag)
  ),

  makeCase("listByPrincipal answers a principal's records whole, and no other's", function* (store) {
    const first = yield* store.create()
    const second = yield* store.create({ data: `"second"`, persistent: false })
    yield* store.create({ principal: "bob" })
    yield* store.create({ principal: undefined })
    const found = yield* store.walk()
    yield* sameIds(found, [first, second], "ids listed")
    for (const record of found) {
      yield* sameRecord(record, record.id === first.id ? first : second, "a record listed")
    }
    yield* store.expectListed([], "a principal without records", { principal: "carol" })
  }),
  makeCase("listByPrincipal answers all records of a principal who has more than is asked about", function* (store) {
    const records = yield* Effect.forEach(range(3), () => store.create())
    const asked = (moreThan: number) =>
      store.backend.listByPrincipal(records[0]!.namespace, records[0]!.principal!, { limit: 10, moreThan })
    yield* sameIds((yield* asked(2)).records, records, "ids listed of three, asked for more than two")
    const { next, records: found } = yield* asked(3)
    yield* check(next === undefined, "a page of three, asked for more than three, has no next")
    yield* check([0, 3].includes(found.length), `a page of three, asked for more than three, holds ${found.length}`)
    const first = yield* store.backend.listByPrincipal(records[0]!.namespace, records[0]!.principal!, {
      limit: 2,
      moreThan: 2
    })
    const isWhole = first.next !== undefined || first.records.length > 0
    yield* check(isWhole, "a page as long as its limit does not say that there are no more")
  }),
  makeCase("listByPrincipal shows a record as the last update and touch left it", function* (store) {
    const record = yield* store.create()
    yield* store.update(record, { data: `"new"` })
    yield* store.touch(record)
    const expected = { ...later(record), version: 2, data: `"new"` }
    for (const found of yield* store.walk()) yield* sameRecord(found, expected, "the record listed")
    yield* store.expectListed([record], "after update and touch")
  }),
  makeCase(
    "a walk in pages of any size answers every record exactly once, always in the same order",
    function* (store) {
      const records = yield* Effect.forEach(range(12), () => store.create())
      const order = ids(yield* store.walk()).join(" ")
      for (const limit of [1, 5, 6, 12, 13]) {
        const found = yield* store.walk({ limit })
        yield* sameIds(found, records, `ids listed in pages of ${limit}`)
        yield* equal(ids(found).join(" "), order, `order in pages of ${limit}`)
      }
    }
  ),
  makeCase("a walk answers the latest created first, whatever was touched or updated since", function* (store) {
    const records = yield* newestFirst(store, 6)
    yield* store.touch(records[4]!)
    yield* store.update(records[2]!, { data: `"new"` })
    for (const limit of [2, 6]) {
      yield* equal(ids(yield* store.walk({ limit })).join(), ids(records).join(), `order in pages of ${limit}`)
    }
  }),
  makeCase("a walk skips and repeats nothing when records come and go between its pages", function* (store) {
    yield* Effect.forEach(range(20), () => store.create(), { discard: true })
    const all = yield* store.walk()
    // Before, at and after the cursor when the walk has read its first page of five.
    const leaving = [all[0]!, all[1]!, all[4]!, all[5]!, all[12]!]
    const staying = all.filter((record) => !leaving.includes(record))
    const comings = Effect.forEach(range(3), () => store.create(), { discard: true })
    const goings = Effect.forEach(leaving, (record) => store.delete(record), { discard: true })
    const found = yield* store.walk({ limit: 5 }, Effect.andThen(goings, comings))
    yield* equal(new Set(ids(found)).size, found.length, "ids answered, without repetitions")
    const stayed = found.filter(({ id }) => ids(staying).includes(id))
    yield* sameIds(stayed, staying, "records that stayed")
  }),
  makeCase(
    "[R49] deleteByPrincipal removes all records of the principal, counts them, and leaves all others",
    function* (store) {
      const theirs = yield* Effect.forEach(range(7), () => store.create())
      const bob = yield* store.create({ principal: "bob" })
      const anonymous = yield* store.create({ principal: undefined })
      yield* equal(yield* store.revoke(), 7, "the first count")
      for (const record of theirs) yield* store.expectGone(record, "a record of the principal")
      yield* store.expectListed([], "the principal's listing")
      yield* store.expectStored(bob, "another principal's record")
      yield* store.expectStored(anonymous, "a record without principal")
      yield* equal(yield* store.revoke(), 0, "the second count")
    }
  ),
  makeCase("[R49] deleteByPrincipal spares the one id excepted", function* (store) {
    const kept = yield* store.create()
    const bob = yield* store.create({ principal: "bob" })
    const others = yield* Effect.forEach(range(3), () => store.create())
    yield* equal(yield* store.revoke(alice, kept.id), 3, "the count")
    for (const record of others) yield* store.expectGone(record, "a record not excepted")
    yield* store.expectStored(kept, "the record excepted")
    yield* store.expectListed([kept], "the listing")
    yield* equal(yield* store.revoke(alice, bob.id), 1, "the count with another principal's id excepted")
    yield* store.expectGone(kept, "the record no longer excepted")
    yield* store.expectStored(bob, "another principal's record")
  }),
  makeCase("[R49] deleteByPrincipal answers what it deleted: namespace, id and principal", function* (store) {
    const record = yield* store.create()
    const { deleted, more } = yield* store.revokeBatch(10)
    yield* equal(
      show(deleted.map(({ id, namespace, principal }) => [namespace, id, principal])),
      show([[store.namespace, record.id, alice]]),
      "the answer"
    )
    yield* equal(more, false, "more")
  }),
  makeCase("[R49] deleteByPrincipal in batches deletes the latest created first, to the last", function* (store) {
    const records = yield* newestFirst(store, 7)
    let left = records
    for (let calls = 0; calls < 100; calls++) {
      const { deleted, more } = yield* store.revokeBatch(3)
      yield* sameIds(deleted, left.slice(0, deleted.length), "a batch, beside the newest that were left")
      left = left.slice(deleted.length)
      yield* store.expectListed(left, "after a batch")
      if (!more) break
    }
    yield* equal(left.length, 0, "records left when there was no more")
  }),
  makeCase("[R49] deleteByPrincipal in batches comes to an end beside the one id excepted", function* (store) {
    const records = yield* newestFirst(store, 5)
    for (const kept of [records[0]!, records[4]!]) {
      for (const limit of [1, 2]) {
        const others = records.filter((record) => record !== kept)
        yield* sameIds(yield* store.revokeAll(alice, kept.id, limit), others, `deleted, ${limit} at a time`)
        yield* store.expectListed([kept], "the listing")
        // To begin anew.
        for (const record of others) yield* store.backend.create(record)
      }
    }
  }),
  makeCase("[R67] no two principals are taken for one another, and none for a pattern", function* (store) {
    const create = (principal: string) => store.create({ principal })
    const records = yield* Effect.forEach(oddPrincipals, create, { concurrency: 4 })
    for (const record of records) yield* store.expectStored(record, "after create")
    for (const [i, principal] of oddPrincipals.entries()) {
      const what = `principal ${show(principal)}`
      yield* store.expectListed([records[i]!], what, { principal })
      yield* equal(yield* store.revoke(principal), 1, `${what}: deleted`)
      yield* store.expectListed([], what, { principal })
    }
  }),
  makeCase("[R69] late writes after deleteByPrincipal never bring a record back", function* (store) {
    const record = yield* store.create()
    yield* store.revoke()
    yield* store.expectNoRevival(record, "after deleteByPrincipal")
    yield* store.expectListed([], "after late writes")
  }),
  makeCase("a principal whose records were deleted can log in again", function* (store) {
    yield* store.delete(yield* store.create())
    const second = yield* store.create()
    yield* store.expectListed([second], "after delete and create")
    yield* equal(yield* store.revoke(), 1, "records deleted in between")
    const third = yield* store.create()
    yield* store.expectListed([third], "after deleteByPrincipal and create")
    yield* equal(yield* store.revoke(), 1, "records deleted at the end")
  }),
  makeCase(
    "[R69] deleteByPrincipal against update and touch: when all have answered, the records are gone",
    function* (store) {
      for (const run of races(15)) {
        const records = yield* Effect.forEach(range(3), () => store.create())
        const write = (record: SessionRecord) =>
          Effect.all([store.touch(record), store.update(record, { data: `"late"` })], together)
        const [, count] = yield* run(Effect.forEach(records, write, together), store.revoke())
        yield* equal(count, 3, "records deleted")
        for (const record of records) yield* store.expectGone(record, "after all")
        yield* store.expectListed([], "after all")
      }
    }
  ),
  makeCase(
    "[R73] deleteByPrincipal against create: the new record is deleted, or it is there and listed",
    function* (store) {
      for (const run of races(15)) {
        const old = yield* Effect.forEach(range(3), () => store.create())
        const fresh = store.record()
        const [verdict, count] = yield* run(store.backend.create(fresh), store.revoke())
        yield* equal(verdict, "created", "create")
        for (const record of old) yield* store.expectGone(record, "a record from before")
        const survived = Option.isSome(yield* store.read(fresh))
        yield* equal(count, survived ? 3 : 4, "records deleted")
        yield* store.expectListed(survived ? [fresh] : [], "after both")
        yield* equal(yield* store.revoke(), survived ? 1 : 0, "records deleted by a second call")
        yield* store.expectGone(fresh, "after a second call")
      }
    }
  ),
  makeCase("concurrent deleteByPrincipal count every record once", function* (store) {
    yield* Effect.forEach(range(20), () => store.create(), { concurrency: 4, discard: true })
    const counts = yield* Effect.forEach(range(4), () => store.revoke(), together)
    const sum = counts.reduce((sum, count) => sum + count, 0)
    yield* equal(sum, 20, "sum of the counts")
  })
]
