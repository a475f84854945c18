/**
 * Conformance cases of expired records and `deleteExpired`.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import type { SessionRecord } from "../../SessionBackend.ts"
import { check, equal, show } from "./expect.ts"
import { type Body, type Case, makeCase, minute, races, range, type Store } from "./fixture.ts"

const sweeps = Semaphore.makeUnsafe(1)

/** The time of the sweeps: early in 1970, before the deadlines of all other records in the store. */
const era = 1000

/** The times of a record that a sweep at `era` must delete. */
const expired = {
  createdAt: era - 500,
  authenticatedAt: era - 500,
  lastSeenAt: era - 500,
  idleTimeout: 100,
  idleExpiresAt: era - 400,
  absoluteExpiresAt: era - 300
}

/** The times of a record that this sweep must leave. If a case leaves one behind, a sweep of the application deletes it. */
const alive = { ...expired, idleExpiresAt: era + 1, absoluteExpiresAt: era + minute }

/**
 * A case with sweeps. A sweep deletes the records of every case, so these cases run one at a time. Another suite may sweep
 * the same store, so a case fails only if it fails three times.
 */
const makeSweepingCase = (name: string, body: Body): Case => {
  const { effect } = makeCase(name, body)
  return { name, effect: sweeps.withPermit(Effect.retry(effect, { times: 2 })) }
}

const sweep = ({ backend }: Store, limit = 1000) => backend.deleteExpired({ before: era, limit })

/** Whether the store deletes expired records by its own clock, and its sweep does nothing. */
const keepsExpired = (store: Store, probe: SessionRecord, count: number) =>
  Effect.map(store.read(probe), (found) => count === 0 && Option.isSome(found))

/** @internal */
export const cases: ReadonlyArray<Case> = [
  makeSweepingCase("[R44] read, update, touch and create go by the record, not by its deadlines", function* (store) {
    // In the past for every clock, even for a TestClock at zero.
    const past = { createdAt: 0, authenticatedAt: 0, lastSeenAt: 0, idleExpiresAt: 0, absoluteExpiresAt: 0 }
    const record = yield* store.create(past)
    yield* store.expectStored(record, "read of an expired record")
    yield* equal(yield* store.backend.create({ ...record, data: `"x"` }), "exists", "create over an expired record")
    const touched = { ...record, lastSeenAt: 1, idleExpiresAt: 1 }
    yield* equal(yield* store.touch(record, touched), "touched", "touch of an expired record")
    yield* store.expectUpdate(touched, { data: `"y"` }, "update of an expired record")
  }),
  makeSweepingCase(
    "[R42] deleteExpired takes a deadline at its very millisecond, and none after it",
    function* (store) {
      const probe = yield* store.create(expired)
      const idle = yield* store.create({ ...alive, idleExpiresAt: era })
      const absolute = yield* store.create({ ...alive, idleExpiresAt: era + minute, absoluteExpiresAt: era })
      const later = yield* store.create(alive)
      const laterAbsolute = yield* store.create({ ...alive, idleExpiresAt: era + minute, absoluteExpiresAt: era + 1 })
      const count = yield* sweep(store)
      yield* store.expectStored(later, "idle deadline a millisecond later")
      yield* store.expectStored(laterAbsolute, "absolute deadline a millisecond later")
      if (yield* keepsExpired(store, probe, count)) return
      yield* store.expectGone(probe, "expired long ago")
      yield* store.expectGone(idle, "idle deadline at this millisecond")
      yield* store.expectGone(absolute, "absolute deadline at this millisecond")
    }
  ),
  makeSweepingCase("deleteExpired takes at most as many as it is told, and says how many", function* (store) {
    const records = yield* Effect.forEach(range(5), () => store.create(expired))
    const counts: Array<number> = []
    for (const _ of range(4)) counts.push(yield* sweep(store, 2))
    yield* check(Math.max(...counts) <= 2, `sweeps of at most 2 answered ${show(counts)}`)
    if (yield* keepsExpired(store, records[0]!, counts[0]!)) return
    yield* equal(show(counts), show([2, 2, 1, 0]), "counts of sweeps of at most 2")
  }),
  makeSweepingCase(
    "[R69] what is swept leaves no ghost, neither in the listing nor for late writes",
    function* (store) {
      const record = yield* store.create(expired)
      const other = yield* store.create(alive)
      const count = yield* sweep(store)
      if (yield* keepsExpired(store, record, count)) return
      yield* store.expectNoRevival(record, "after deleteExpired")
      yield* store.expectListed([other], "after deleteExpired")
      const again = yield* store.create(alive)
      yield* store.expectListed([other, again], "after the principal logged in again")
      yield* equal(yield* store.revoke(), 2, "records deleted at the end")
    }
  ),
  makeSweepingCase("a record that was touched or updated in time is not swept", function* (store) {
    const long = { ...expired, absoluteExpiresAt: era + minute }
    const touched = yield* store.create(long)
    const updated = yield* store.create(long)
    const times = { lastSeenAt: era, idleExpiresAt: era + 100 }
    yield* store.touch(touched, times)
    yield* store.update(updated, times)
    yield* sweep(store)
    yield* store.expectStored({ ...touched, ...times }, "the record touched")
    yield* store.expectStored({ ...updated, ...times, version: 2 }, "the record updated")
  }),
  makeSweepingCase("a record whose times were set back is swept at its new deadline", function* (store) {
    const probe = yield* store.create(expired)
    const day = era + 24 * 60 * minute
    const ahead = { ...expired, lastSeenAt: day, idleExpiresAt: day, absoluteExpiresAt: day }
    const touched = yield* store.create(ahead)
    const updated = yield* store.create(ahead)
    const live = yield* store.create(ahead)
    yield* store.touch(touched, { lastSeenAt: era - 1, idleExpiresAt: era })
    yield* store.update(updated, { lastSeenAt: era - 1, idleExpiresAt: era })
    yield* store.touch(live, { lastSeenAt: era - 1, idleExpiresAt: era + 1 })
    const count = yield* sweep(store)
    yield* store.expectStored({ ...live, lastSeenAt: era - 1, idleExpiresAt: era + 1 }, "a later deadline")
    if (yield* keepsExpired(store, probe, count)) return
    yield* store.expectGone(touched, "set back by touch")
    yield* store.expectGone(updated, "set back by update")
  }),
  makeSweepingCase(
    "deleteExpired against touch: a record that was touched stays, the other is gone",
    function* (store) {
      for (const run of races(30)) {
        const record = yield* store.create({ ...expired, absoluteExpiresAt: era + minute })
        const times = { lastSeenAt: era, idleExpiresAt: era + 100 }
        const [verdict] = yield* run(store.touch(record, times), sweep(store))
        if (verdict === "touched") yield* store.expectStored({ ...record, ...times }, "the record touched")
        else yield* store.expectGone(record, `the record whose touch answered "${verdict}"`)
        yield* store.delete(record)
      }
    }
  )
]

/** @internal */
export const collectingCases: ReadonlyArray<Case> = [
  makeSweepingCase(
    "deleteExpired removes expired records of every namespace, with or without a principal",
    function* (store) {
      const records = [
        yield* store.create(expired),
        yield* store.create({ ...expired, principal: undefined }),
        yield* store.create({ ...expired, namespace: `${store.namespace}/2` })
      ]
      yield* equal(yield* sweep(store), 3, "the count")
      for (const record of records) yield* store.expectGone(record, "an expired record")
    }
  )
]
