/**
 * Conformance cases of namespaces, and of what is given and answered.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { SessionRecord } from "../../SessionBackend.ts"
import { alice, type Case, equal, makeCase, show } from "./fixture.ts"
import { expectGone, expectListed, expectStored, patch, sameRecord, stored, touch, update, walk } from "./records.ts"

/** @internal */
export const cases: ReadonlyArray<Case> = [
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
