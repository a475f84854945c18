/**
 * Conformance cases of expired records and `deleteExpired`.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import { clockSlack, maxBatch } from "../../SessionBackend.ts"
import type { DeletedRecord, SessionRecord } from "../../SessionBackend.ts"
import { check, equal, ids, sameIds, show } from "./expect.ts"
import { type Body, type Case, makeCase, minute, races, range, repeated, type Store } from "./fixture.ts"

const sweeps = Semaphore.makeUnsafe(1)

/** The time of the sweeps: early in 1970, before the deadlines of all other records in the store. */
const era = 120 * minute

/** A deadline that a sweep at `era` must take, and the earliest that it must leave. */
const overdue = era - 30 * minute
const spared = era - Duration.toMillis(clockSlack) + 1

/** The times of a record that a sweep at `era` must delete. */
const expired = {
  createdAt: era - 60 * minute,
  authenticatedAt: era - 60 * minute,
  lastSeenAt: era - 60 * minute,
  idleTimeout: 20 * minute,
  idleExpiresAt: era - 40 * minute,
  absoluteExpiresAt: era - 35 * minute
}

/** The times of a record that this sweep must leave. If a case leaves one behind, a sweep of the application deletes it. */
const alive = { ...expired, idleExpiresAt: spared, absoluteExpiresAt: era + minute }

/**
 * A case with sweeps. A sweep deletes the records of every case, so these cases run one at a time. Another suite may sweep
 * the same store, so a case fails only if it fails three times.
 */
const makeSweepingCase = (name: string, body: Body): Case => {
  const { effect } = makeCase(name, body)
  return { name, effect: sweeps.withPermit(Effect.retry(effect, { times: 2 })) }
}

const sweepBatch = ({ backend }: Store, limit: number) =>
  Effect.tap(backend.deleteExpired({ now: era, limit }), ({ deleted }) =>
    check(deleted.length <= limit, `deleteExpired of at most ${limit} answered ${deleted.length} records`)
  )

/** Sweeps until there is no more, and answers what was deleted. */
const sweep = (store: Store, limit = maxBatch) => repeated("deleteExpired", sweepBatch(store, limit))

/** Whether the store deletes expired records by its own clock, and its sweep does nothing. */
const keepsExpired = (store: Store, probe: SessionRecord, swept: ReadonlyArray<DeletedRecord>) =>
  Effect.map(store.read(probe), (found) => swept.length === 0 && Option.isSome(found))

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
  makeSweepingCase("scan answers expired records, which only a deletion takes away", function* (store) {
    const records = [yield* store.create(expired), yield* store.create({ ...expired, principal: undefined })]
    yield* sameIds(yield* store.scanAll(), records, "ids found")
  }),
  makeSweepingCase(
    "[R42] deleteExpired takes what is overdue, and nothing that a clock may be wrong about",
    function* (store) {
      const probe = yield* store.create(expired)
      const idle = yield* store.create({ ...alive, idleExpiresAt: overdue })
      const absolute = yield* store.create({ ...alive, idleExpiresAt: era + minute, absoluteExpiresAt: overdue })
      const recent = yield* store.create(alive)
      const recentAbsolute = yield* store.create({ ...alive, idleExpiresAt: era + minute, absoluteExpiresAt: spared })
      const swept = yield* sweep(store)
      yield* store.expectStored(recent, "idle deadline a millisecond within the slack")
      yield* store.expectStored(recentAbsolute, "absolute deadline a millisecond within the slack")
      if (yield* keepsExpired(store, probe, swept)) return
      yield* store.expectGone(probe, "expired long ago")
      yield* store.expectGone(idle, "idle deadline half an hour ago")
      yield* store.expectGone(absolute, "absolute deadline half an hour ago")
    }
  ),
  makeSweepingCase("deleteExpired takes at most as many as it is told, and says which, to the last", function* (store) {
    const records = yield* Effect.forEach(range(5), () => store.create(expired))
    const swept = yield* sweep(store, 2)
    if (yield* keepsExpired(store, records[0]!, swept)) return
    for (const record of records) yield* store.expectGone(record, "an expired record")
    const mine = ids(records)
    yield* sameIds(
      swept.filter(({ id }) => mine.includes(id)),
      records,
      "ids answered"
    )
  }),
  makeSweepingCase("deleteExpired comes to an end beside many that it must leave", function* (store) {
    const records = yield* Effect.forEach(range(12), () => store.create(alive))
    const touched = yield* store.create({ ...expired, absoluteExpiresAt: era + 60 * minute })
    const times = { lastSeenAt: era, idleExpiresAt: era + 20 * minute }
    yield* store.touch(touched, times)
    yield* sweep(store, 3)
    for (const record of records) yield* store.expectStored(record, "a record within the slack")
    yield* store.expectStored({ ...touched, ...times }, "a record that was touched")
  }),
  makeSweepingCase(
    "[R69] what is swept leaves no ghost, neither in the listing nor for late writes",
    function* (store) {
      const record = yield* store.create(expired)
      const other = yield* store.create(alive)
      const swept = yield* sweep(store)
      if (yield* keepsExpired(store, record, swept)) return
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
    yield* store.touch(touched, { lastSeenAt: overdue - 1, idleExpiresAt: overdue })
    yield* store.update(updated, { lastSeenAt: overdue - 1, idleExpiresAt: overdue })
    yield* store.touch(live, { lastSeenAt: overdue - 1, idleExpiresAt: spared })
    const swept = yield* sweep(store)
    yield* store.expectStored({ ...live, lastSeenAt: overdue - 1, idleExpiresAt: spared }, "a later deadline")
    if (yield* keepsExpired(store, probe, swept)) return
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
      const swept = yield* sweep(store, 2)
      for (const { id, namespace, principal } of records) {
        const answered = swept.find((deleted) => deleted.id === id)
        const what = "what was answered of an expired record"
        yield* equal(show([answered?.namespace, answered?.principal]), show([namespace, principal]), what)
      }
      for (const record of records) yield* store.expectGone(record, "an expired record")
    }
  )
]
