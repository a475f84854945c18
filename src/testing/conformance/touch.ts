/**
 * Conformance cases of `touch`.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import { type Case, equal, makeCase, minute, together } from "./fixture.ts"
import { expectGone, expectListed, expectStored, expectUpdated, races, touch, update } from "./records.ts"

/** @internal */
export const cases: ReadonlyArray<Case> = [
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
