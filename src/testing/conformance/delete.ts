/**
 * Conformance cases of `delete`.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import type { SessionRecord } from "../../SessionBackend.ts"
import { alice, type Case, check, equal, makeCase, range, together } from "./fixture.ts"
import { expectGone, expectListed, expectNoRevival, expectStored, races, touch, update } from "./records.ts"

/** @internal */
export const cases: ReadonlyArray<Case> = [
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
      yield* equal(yield* remove(owned, "bob"), false, "for another principal")
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
