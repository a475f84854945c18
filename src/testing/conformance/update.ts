/**
 * Conformance cases of `update`.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type Case, check, ConformanceError, equal, makeCase, random, range, together } from "./fixture.ts"
import { expectGone, expectListed, expectStale, expectStored, expectUpdated, races, stored, update } from "./records.ts"

/** @internal */
export const cases: ReadonlyArray<Case> = [
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
