/**
 * Conformance cases of `create` and `read`.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import { type Case, equal, makeCase, range, together } from "./fixture.ts"
import { expectGone, expectListed, expectStored, expectUpdated, update } from "./records.ts"

/** JSON texts that a store may not normalise, truncate, re-encode or interpret. */
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

/** @internal */
export const cases: ReadonlyArray<Case> = [
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
