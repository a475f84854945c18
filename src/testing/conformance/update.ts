/**
 * Conformance cases of `update` and `touch`.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { clockSlack } from "../../SessionBackend.ts"
import { check, ConformanceError, equal, expectResult } from "./expect.ts"
import { type Case, later, makeCase, minute, races, random, range, type Store, together } from "./fixture.ts"

const slack = Duration.toMillis(clockSlack)
const year = 365 * 24 * 60 * minute

/** Creates a record whose `lastSeenAt` is ahead of the present. `times` are those to which it must be set back. */
const createAhead = (store: Store, ahead: number) => {
  const { absoluteExpiresAt, lastSeenAt: now } = store.record()
  const times = { lastSeenAt: now, idleExpiresAt: now + 30 * minute }
  const changes = {
    lastSeenAt: now + ahead,
    idleExpiresAt: now + ahead + 60 * minute,
    absoluteExpiresAt: absoluteExpiresAt + year
  }
  return Effect.map(store.create(changes), (record) => ({ record, times, what: `${ahead} ms ahead` }))
}

/** @internal */
export const cases: ReadonlyArray<Case> = [
  makeCase(
    "update at the expected version applies the patch, adds one to the version and answers the record",
    function* (store) {
      const record = yield* store.create()
      const { idleExpiresAt, lastSeenAt } = later(record, 1)
      const changes = { secretHash: random(32), data: `{"name":"Bob"}`, dataVersion: 2, extension: `{"x":1}` }
      yield* store.expectUpdate(record, { ...changes, lastSeenAt, idleExpiresAt }, "every field of a patch")
    }
  ),
  makeCase("[R43] update leaves what the patch does not name, and never moves what must stay", function* (store) {
    const record = yield* store.create()
    const once = yield* store.expectUpdate(record, { data: `"a"` }, "data alone")
    const twice = yield* store.expectUpdate(once, { secretHash: random(32) }, "secretHash alone")
    yield* store.expectUpdate(twice, {}, "nothing but the times")
  }),
  makeCase("an empty text and a zero in a patch are values, not absent", function* (store) {
    yield* store.expectUpdate(yield* store.create(), { data: "", extension: "", dataVersion: 0 }, "update")
  }),
  makeCase("update moves lastSeenAt and idleExpiresAt only forward, each by itself", function* (store) {
    const record = yield* store.create()
    const { idleExpiresAt, lastSeenAt } = record
    const earlier = { lastSeenAt: lastSeenAt - 1, idleExpiresAt: idleExpiresAt - 1 }
    const second = yield* store.expectUpdate(record, earlier, "both earlier", { ...record, version: 2 })
    const third = { ...second, version: 3, lastSeenAt: lastSeenAt + 1 }
    const changes = { ...earlier, lastSeenAt: third.lastSeenAt }
    yield* store.expectUpdate(second, changes, "one later, one earlier", third)
  }),
  makeCase("[R70] update at another version changes nothing and answers the record as stale", function* (store) {
    const record = yield* store.create()
    const current = yield* store.expectUpdate(record, { data: `"second"` }, "update at the expected version")
    for (const version of [1, 3]) {
      const result = yield* store.update({ ...record, version }, { data: `"other"` })
      yield* expectResult(result, "stale", current, `at version ${version} instead of 2`)
    }
    yield* store.expectStored(current, "the record")
  }),
  makeCase("[R71] update of a record that is not there answers gone and stores nothing", function* (store) {
    const record = store.record()
    yield* equal((yield* store.update(record, { data: `"x"` }))._tag, "gone", "update")
    yield* store.expectGone(record, "after update")
    yield* store.expectListed([], "after update")
  }),
  makeCase("[R70] of 20 concurrent updates from one version exactly one succeeds", function* (store) {
    const record = yield* store.create()
    const results = yield* Effect.forEach(range(20), (i) => store.update(record, { data: String(i) }), together)
    const won = range(20).filter((i) => results[i]!._tag === "updated")
    yield* equal(won.length, 1, `updates that answered "updated"`)
    const expected = { ...record, version: 2, data: String(won[0]) }
    yield* store.expectStored(expected, "the record is the winner's")
    for (const result of results) {
      if (result._tag !== "updated") yield* expectResult(result, "stale", expected, "a loser's answer")
    }
  }),
  makeCase("[R70] 50 concurrent writers that try again on stale keep all 50 updates", function* (store) {
    const record = yield* store.create({ data: "[]" })
    const append = (writer: number) =>
      Effect.gen(function* () {
        let current = record
        for (let attempt = 0; attempt < 1000; attempt++) {
          const data = JSON.stringify([...JSON.parse(current.data), writer])
          const result = yield* store.update(current, { data })
          if (result._tag === "updated") return
          if (result._tag === "gone") return yield* check(false, `update answered "gone" for a record that is there`)
          current = result.record
        }
        return yield* new ConformanceError({ message: "a writer got nowhere in 1000 attempts" })
      })
    yield* Effect.forEach(range(50), append, together)
    const found = Option.getOrThrow(yield* store.read(record))
    yield* equal(new Set(JSON.parse(found.data)).size, 50, "updates kept")
    yield* equal(found.version, 51, "version")
  }),
  makeCase("[R70] of a rotation and an update from one version one succeeds, and the other sees it", function* (store) {
    for (const run of races(20)) {
      const record = yield* store.create()
      const rotated = { ...record, version: 2, secretHash: random(32) }
      const changed = { ...record, version: 2, data: `"changed"` }
      const [rotation, change] = yield* run(
        store.update(record, { secretHash: rotated.secretHash }),
        store.update(record, { data: changed.data })
      )
      const winner = rotation._tag === "updated" ? rotated : changed
      yield* expectResult(winner === rotated ? rotation : change, "updated", winner, "the winner's answer")
      yield* expectResult(winner === rotated ? change : rotation, "stale", winner, "the loser's answer")
      yield* store.expectStored(winner, "the record")
    }
  }),

  makeCase("[R84c] touch moves lastSeenAt and idleExpiresAt forward and leaves all else alone", function* (store) {
    const record = yield* store.create()
    yield* equal(yield* store.touch(record, later(record, 1)), "touched", "touch a millisecond later")
    yield* store.expectStored(later(record, 1), "after touch")
  }),
  makeCase(
    "touch answers unchanged, and changes nothing, unless lastSeenAt is later than the one stored",
    function* (store) {
      const record = yield* store.create()
      for (const by of [0, -1]) {
        const times = { ...later(record), lastSeenAt: record.lastSeenAt + by }
        yield* equal(yield* store.touch(record, times), "unchanged", `touch by ${by} ms`)
      }
      yield* store.expectStored(record, "after touch")
    }
  ),
  makeCase("touch never moves idleExpiresAt backwards", function* (store) {
    const record = yield* store.create()
    const lastSeenAt = record.lastSeenAt + 1
    const verdict = yield* store.touch(record, { lastSeenAt, idleExpiresAt: record.idleExpiresAt - 1 })
    yield* equal(verdict, "touched", "touch")
    yield* store.expectStored({ ...record, lastSeenAt }, "after touch")
  }),
  makeCase("[R71] touch of a record that is not there answers gone and stores nothing", function* (store) {
    const record = store.record()
    yield* equal(yield* store.touch(record), "gone", "touch")
    yield* store.expectGone(record, "after touch")
    yield* store.expectListed([], "after touch")
  }),
  makeCase("[R84c] touch does not make an update stale, nor does an update undo a touch", function* (store) {
    const record = yield* store.create()
    yield* store.touch(record)
    const expected = { ...later(record), version: 2, data: `"x"` }
    yield* store.expectUpdate(record, { data: `"x"` }, "update after touch", expected)
  }),
  makeCase("[R84c] a touch and an update at the same time are both kept", function* (store) {
    for (const run of races(20)) {
      const record = yield* store.create()
      yield* run(store.touch(record), store.update(record, { data: `"x"` }))
      yield* store.expectStored({ ...later(record), version: 2, data: `"x"` }, "after both")
    }
  }),
  makeCase("concurrent touches end at the latest of them", function* (store) {
    const record = yield* store.create()
    const touch = (by: number) => store.touch(record, later(record, by))
    yield* Effect.forEach([3, 9, 1, 7, 10, 2, 8, 4, 6, 5], touch, together)
    yield* store.expectStored(later(record, 10), "after all")
  }),

  makeCase("touch sets both times back where lastSeenAt is more than clockSlack ahead", function* (store) {
    for (const ahead of [slack + 1, year]) {
      const { record, times, what } = yield* createAhead(store, ahead)
      yield* equal(yield* store.touch(record, times), "touched", what)
      yield* store.expectStored({ ...record, ...times }, what)
      yield* equal(yield* store.touch(record, times), "unchanged", "the same again")
    }
  }),
  makeCase("touch leaves both times where lastSeenAt is ahead by clockSlack at most", function* (store) {
    for (const ahead of [1, slack - 1, slack]) {
      const { record, times, what } = yield* createAhead(store, ahead)
      yield* equal(yield* store.touch(record, times), "unchanged", what)
      yield* store.expectStored(record, what)
    }
  }),
  makeCase(
    "update sets both times back where lastSeenAt is more than clockSlack ahead, with all it changes",
    function* (store) {
      for (const ahead of [slack + 1, year]) {
        const { record, times, what } = yield* createAhead(store, ahead)
        yield* store.expectUpdate(record, { ...times, data: `"changed"`, secretHash: random(32) }, what)
      }
    }
  ),
  makeCase("update leaves both times where lastSeenAt is ahead by clockSlack at most", function* (store) {
    for (const ahead of [1, slack - 1, slack]) {
      const { record, times, what } = yield* createAhead(store, ahead)
      yield* store.expectUpdate(record, times, what, { ...record, version: 2 })
    }
  }),
  makeCase("a session that was set back can be touched like any other, and by several at once", function* (store) {
    const { record, times } = yield* createAhead(store, year)
    const present = { ...record, ...times }
    const touch = (by: number) => store.touch(record, later(present, by))
    yield* Effect.forEach([3, 1, 5, 2, 4], touch, together)
    yield* store.expectStored(later(present, 5), "after touches at once")
    yield* equal(yield* touch(minute), "touched", "a later touch")
  })
]
