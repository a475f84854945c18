/**
 * Conformance cases of `create` and `read`, of namespaces, and of the objects that caller and backend share.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { SessionRecord } from "../../SessionBackend.ts"
import { equal, ids, sameRecord, show } from "./expect.ts"
import { type Case, makeCase, patch, range, together } from "./fixture.ts"

/** Texts that a store must not normalise, truncate, re-encode or interpret. */
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
  makeCase("create stores a record whole, and read answers it", function* (store) {
    const first = yield* store.create()
    const second = yield* store.create({ principal: undefined, persistent: false, extension: `{"grace":1}` })
    yield* store.expectStored(first, "a record with a principal")
    yield* store.expectStored(second, "a record without one")
  }),
  makeCase("read answers none for an id that was never stored", function* (store) {
    yield* store.create()
    yield* store.expectGone(store.record(), "an id never stored")
  }),
  makeCase("[R5] create never replaces a record", function* (store) {
    const first = yield* store.create()
    const second = store.record({ id: first.id, data: `"another"`, principal: "bob" })
    yield* equal(yield* store.backend.create(second), "exists", "create of an id in use")
    yield* store.expectStored(first, "the record that was there first")
  }),
  makeCase("[R5] a create that was refused leaves no trace in the listing", function* (store) {
    const first = yield* store.create()
    yield* store.backend.create(store.record({ id: first.id, principal: "bob" }))
    yield* store.expectListed([], "of the one refused", { principal: "bob" })
    yield* equal(yield* store.revoke("bob"), 0, "deleteByPrincipal of the one refused")
    yield* store.expectStored(first, "the record that was there first")
    yield* store.expectListed([first], "of the one who was there first")
  }),
  makeCase("[R5] of 100 concurrent creates of one id exactly one succeeds", function* (store) {
    const id = store.record().id
    const candidates = range(100).map((i) => store.record({ id, data: String(i), principal: `p${i % 5}` }))
    const verdicts = yield* Effect.forEach(candidates, store.backend.create, together)
    const winners = candidates.filter((_, i) => verdicts[i] === "created")
    yield* equal(winners.length, 1, `creates that answered "created"`)
    yield* store.expectStored(winners[0]!, "the record stored is the winner's")
    for (const principal of range(5).map((i) => `p${i}`)) {
      const expected = winners.filter((winner) => winner.principal === principal)
      yield* store.expectListed(expected, principal, { principal })
    }
  }),
  makeCase("[R65] data and extension come back as they were, character by character", function* (store) {
    for (const text of oddTexts) {
      const record = yield* store.create({ data: text, extension: text })
      yield* store.expectStored(record, "after create")
      yield* store.expectUpdate(record, { data: text + " ", extension: text + " " }, "after update")
    }
  }),
  makeCase("[R66] data may be 64 KiB, of one-byte or of four-byte characters", function* (store) {
    const record = yield* store.create({ data: sixtyFourKiB })
    yield* store.expectStored(record, "after create")
    yield* store.expectUpdate(record, { data: sixtyFourKiBOfEmoji }, "after update")
    yield* store.expectListed([record], "the listing")
  }),
  makeCase("numbers far beyond 32 bits come back exactly", function* (store) {
    const numbers = { dataVersion: 1_000_000, idleTimeout: 34_560_000_001, absoluteExpiresAt: 8_639_999_999_999_999 }
    const record = yield* store.create(numbers)
    yield* store.expectStored(record, "after create")
    const times = { lastSeenAt: 8_639_999_999_999_997, idleExpiresAt: 8_639_999_999_999_998 }
    yield* equal(yield* store.touch(record, times), "touched", "touch")
    yield* store.expectStored({ ...record, ...times }, "after touch")
  }),
  makeCase("an id may be used again after its record was deleted, and starts afresh", function* (store) {
    const first = yield* store.create()
    yield* store.update(first, { data: `"old"` })
    yield* store.delete(first)
    const second = yield* store.create({ id: first.id, principal: "bob" })
    yield* store.expectStored(second, "the second record")
    yield* store.expectListed([], "the first one's principal")
    yield* store.expectListed([second], "the second one's principal", { principal: "bob" })
  }),
  makeCase("one id in two namespaces is two records", function* (store) {
    const here = yield* store.create()
    const there = yield* store.create({ id: here.id, namespace: `${store.namespace}/2`, data: `"there"` })
    yield* store.expectStored(here, "here")
    yield* store.expectStored(there, "there")
    yield* store.update(here, { data: `"changed"` })
    yield* store.touch(here)
    yield* store.expectStored(there, "there, after update and touch here")
    yield* store.delete(here)
    yield* store.expectStored(there, "there, after delete here")
    yield* store.expectGone(here, "here, after delete here")
  }),
  makeCase("one principal in two namespaces is two principals", function* (store) {
    const there = `${store.namespace}/2`
    const mine = yield* store.create()
    const theirs = yield* store.create({ namespace: there })
    yield* store.expectListed([mine], "here")
    yield* store.expectListed([theirs], "there", { in: there })
    yield* equal(yield* store.revoke(), 1, "deleted here")
    yield* store.expectStored(theirs, "there")
    yield* store.expectListed([theirs], "there, after deleteByPrincipal here", { in: there })
  }),
  makeCase("[R67] namespace and principal never run into one another", function* (store) {
    for (const separator of [":", "/", "|", "-", ".", "\u0001", "::", `","`]) {
      const long = `${store.namespace}${separator}a`
      const one = yield* store.create({ namespace: long, principal: "b" })
      const two = yield* store.create({ id: one.id, principal: `a${separator}b` })
      const what = `separator ${show(separator)}`
      yield* store.expectListed([one], what, { in: long, principal: "b" })
      yield* store.expectListed([two], what, { principal: `a${separator}b` })
      const { deleted } = yield* store.backend.deleteByPrincipal(long, "b", { limit: 10 })
      yield* equal(ids(deleted).join(), one.id, `${what}: deleted`)
      yield* store.expectStored(two, what)
    }
  }),
  makeCase("a principal with the name of a session's id is not that session", function* (store) {
    const session = yield* store.create()
    const named = yield* store.create({ principal: session.id })
    yield* store.expectStored(session, "the session")
    yield* store.expectListed([named], "the principal", { principal: session.id })
    yield* equal(yield* store.revoke(session.id), 1, "records deleted")
    yield* store.expectStored(session, "the session afterwards")
  }),
  makeCase("[R67] odd namespaces are namespaces like any other", function* (store) {
    const odd = ["*", "__proto__", "a b", "'; --", `"`, "{x}", "é😀", "../", "\\", "%_?[a]"]
    const records = yield* Effect.forEach(odd, (name) => store.create({ namespace: `${store.namespace}${name}` }))
    for (const record of records) {
      yield* store.expectStored(record, `namespace ${show(record.namespace)}`)
      yield* store.expectListed([record], `namespace ${show(record.namespace)}`, { in: record.namespace })
    }
  }),
  makeCase(
    "[R8] what the caller does to a record or patch after handing it over changes nothing stored",
    function* (store) {
      const given = store.record()
      const record = { ...given }
      yield* store.backend.create(given)
      Reflect.set(given, "data", `"tampered"`)
      yield* store.expectStored(record, "after the record given to create was changed")
      const changes = patch(record, { data: `"patched"` })
      yield* store.backend.update(record.namespace, record.id, 1, changes)
      Reflect.set(changes, "data", `"tampered"`)
      yield* store.expectStored({ ...record, version: 2, data: `"patched"` }, "after the patch given was changed")
    }
  ),
  makeCase("[R8] what the caller does to an answer changes nothing stored", function* (store) {
    const record = yield* store.create()
    const tamper = (answered: SessionRecord) => {
      for (const key of ["data", "secretHash", "principal", "idleExpiresAt"]) Reflect.set(answered, key, "tampered")
    }
    tamper(Option.getOrThrow(yield* store.read(record)))
    yield* store.expectStored(record, "after the answer of read was changed")
    for (const listed of yield* store.walk()) tamper(listed)
    yield* store.expectStored(record, "after an answer of listByPrincipal was changed")
    for (const what of ["the answer of update", "a stale answer"]) {
      const result = yield* store.update(record)
      if (result._tag !== "gone") tamper(result.record)
      yield* store.expectStored({ ...record, version: 2 }, `after ${what} was changed`)
    }
  }),
  makeCase("[R8] a backend does not change what it is given", function* (store) {
    const record = Object.freeze(store.record())
    const before = { ...record }
    const changes = Object.freeze(patch(record, { data: `"x"` }))
    yield* store.backend.create(record)
    yield* store.backend.update(record.namespace, record.id, 1, changes)
    yield* store.touch(record)
    yield* sameRecord(record, before, "the record given")
    yield* equal(Object.keys(changes).length, 3, "fields of the patch given")
  })
]
