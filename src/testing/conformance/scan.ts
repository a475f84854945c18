/**
 * Conformance cases of `scan`.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import { check, equal, ids, sameIds, sameRecord, show } from "./expect.ts"
import { type Case, later, makeCase, range } from "./fixture.ts"

/** @internal */
export const cases: ReadonlyArray<Case> = [
  makeCase("scan answers every record of its namespace, with or without a principal, and no other", function* (store) {
    const { namespace } = store
    // Names that a pattern, a prefix or a comparison without case would mistake for this one.
    const elsewhere = [`${namespace}/fence`, `${namespace}:`, namespace.slice(0, -1), namespace.toUpperCase(), "*", "?"]
    const records = [
      ...(yield* Effect.forEach(range(5), () => store.create())),
      yield* store.create({ principal: "bob" }),
      yield* store.create({ principal: undefined })
    ]
    const others = yield* Effect.forEach(elsewhere, (namespace) => store.create({ namespace }))
    const found = yield* store.scanAll()
    yield* sameIds(found, records, "ids found")
    for (const record of found)
      yield* sameRecord(
        record,
        records.find(({ id }) => id === record.id)!,
        "a record found"
      )
    for (const other of others) {
      // Others of "*" and "?" may be in the store.
      const found = (yield* store.scanAll({ in: other.namespace })).filter(({ id }) => id === other.id)
      yield* sameIds(found, [other], `ids found in ${show(other.namespace)}`)
    }
  }),
  makeCase("scan of a namespace without records answers none, and comes to an end", function* (store) {
    yield* store.create()
    yield* sameIds(yield* store.scanAll({ in: `${store.namespace}/none` }), [], "ids found")
  }),
  makeCase("scan shows a record as the last update and touch left it", function* (store) {
    const record = yield* store.create()
    yield* store.update(record, { data: `"new"` })
    yield* store.touch(record)
    const found = yield* store.scanAll()
    yield* sameIds(found, [record], "ids found")
    for (const one of found) {
      yield* sameRecord(one, { ...later(record), version: 2, data: `"new"` }, "the record found")
    }
  }),
  makeCase("scan in pages of any size, which hold no more, answers every record", function* (store) {
    const records = yield* Effect.forEach(range(12), () => store.create(), { concurrency: 4 })
    for (const limit of [1, 5, 6, 12, 13, 1000]) {
      yield* sameIds(yield* store.scanAll({ limit }), records, `ids found in pages of ${limit}`)
    }
  }),
  makeCase(
    "a record that is there during the whole walk is found, whatever comes and goes between its pages",
    function* (store) {
      const all = yield* Effect.forEach(range(60), () => store.create(), { concurrency: 4 })
      const staying = all.filter((_, i) => i % 3 === 0)
      const leaving = all.filter((_, i) => i % 3 !== 0)
      /** A walk with changes after its first page. Those of one kind: what comes could make up for what goes. */
      const walkWhile = (changes: NonNullable<Parameters<typeof store.scanAll>[1]>) => {
        let isFirst = true
        const once = Effect.suspend(() => {
          if (!isFirst) return Effect.void
          isFirst = false
          return changes
        })
        // In a page this long some leave, whatever the order: one walk of 66 million has a page of which none does.
        return Effect.flatMap(store.scanAll({ limit: 13 }, once), (records) => {
          const found = new Set(ids(records))
          const stayed = staying.filter(({ id }) => found.has(id))
          return sameIds(stayed, staying, "records that stayed")
        })
      }
      yield* walkWhile(Effect.forEach(leaving, (record) => store.delete(record), { concurrency: 4, discard: true }))
      yield* walkWhile(Effect.forEach(range(40), () => store.create(), { concurrency: 4, discard: true }))
      const after = new Set(ids(yield* store.scanAll()))
      yield* check(!leaving.some(({ id }) => after.has(id)), "a record that was deleted is found")
      yield* equal(after.size, 60, "records found afterwards")
    }
  ),
  makeCase("two walks at once are not in each other's way", function* (store) {
    const records = yield* Effect.forEach(range(9), () => store.create(), { concurrency: 4 })
    let other: ReadonlyArray<string> = []
    const found = yield* store.scanAll(
      { limit: 2 },
      Effect.map(store.scanAll({ limit: 4 }), (found) => void (other = ids(found)))
    )
    yield* sameIds(found, records, "ids of the one")
    yield* equal(other.toSorted().join(" "), ids(records).toSorted().join(" "), "ids of the other")
  })
]
