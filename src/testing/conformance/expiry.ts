/**
 * Conformance cases of expired records and `deleteExpired`.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import type { SessionRecord } from "../../SessionBackend.ts"
import { alice, type Case, check, equal, type Fixture, makeCase, minute, range, show } from "./fixture.ts"
import {
  expectGone,
  expectListed,
  expectNoRevival,
  expectStored,
  expectUpdated,
  races,
  stored,
  touch,
  update
} from "./records.ts"

const sweeps = Semaphore.makeUnsafe(1)

/** The time of the sweeps: early in 1970, before the deadlines of all other records in the store. */
const era = 1000

const day = 24 * 60 * minute

/** The times of a record that a sweep at `era` must delete. */
const expired = {
  createdAt: era - 500,
  authenticatedAt: era - 500,
  lastSeenAt: era - 500,
  idleTimeout: 100,
  idleExpiresAt: era - 400,
  absoluteExpiresAt: era - 300
}

/** The times of a record that it must leave. Should one stay behind, a sweep of the application deletes it. */
const alive = { ...expired, idleExpiresAt: era + 1, absoluteExpiresAt: era + minute }

/**
 * A case with sweeps. A sweep deletes the records of every case, so these cases run one at a time; and since another suite
 * may sweep the same store, a failure counts only if the case fails again.
 */
const makeSweepingCase = (name: string, body: Parameters<typeof makeCase>[1]): Case => {
  const { effect } = makeCase(name, body)
  return { name, effect: sweeps.withPermit(Effect.retry(effect, { times: 2 })) }
}

const sweep = ({ backend }: Fixture, limit = 1000, before = era) => backend.deleteExpired({ before, limit })

/** Whether the store removes expired records by its own clock, so that a sweep does nothing. */
const keepsExpired = (fixture: Fixture, probe: SessionRecord, count: number) =>
  Effect.map(stored(fixture, probe), (found) => count === 0 && Option.isSome(found))

/** @internal */
export const cases: ReadonlyArray<Case> = [
  makeSweepingCase("[R44] read, update, touch and create go by the record, not by its deadlines", (fixture) =>
    Effect.gen(function* () {
      // In the past for every clock, TestClock at zero included.
      const past = { createdAt: 0, authenticatedAt: 0, lastSeenAt: 0, idleExpiresAt: 0, absoluteExpiresAt: 0 }
      const record = yield* fixture.create(past)
      yield* expectStored(fixture, record, "read of an expired record")
      yield* equal(yield* fixture.backend.create({ ...record, data: `"x"` }), "exists", "create over an expired record")
      yield* equal(yield* touch(fixture, record, 1), "touched", "touch of an expired record")
      const touched = { ...record, lastSeenAt: 1, idleExpiresAt: 1 }
      yield* expectUpdated(
        yield* update(fixture, touched, { data: `"y"` }),
        { ...touched, version: 2, data: `"y"` },
        "update of an expired record"
      )
    })
  ),
  makeSweepingCase("[R42] deleteExpired takes a deadline at its very millisecond, and none after it", (fixture) =>
    Effect.gen(function* () {
      const probe = yield* fixture.create(expired)
      const idle = yield* fixture.create({ ...alive, idleExpiresAt: era })
      const absolute = yield* fixture.create({ ...alive, idleExpiresAt: era + minute, absoluteExpiresAt: era })
      const later = yield* fixture.create(alive)
      const laterAbsolute = yield* fixture.create({
        ...alive,
        idleExpiresAt: era + minute,
        absoluteExpiresAt: era + 1
      })
      const count = yield* sweep(fixture)
      yield* expectStored(fixture, later, "idle deadline a millisecond later")
      yield* expectStored(fixture, laterAbsolute, "absolute deadline a millisecond later")
      if (yield* keepsExpired(fixture, probe, count)) return
      yield* expectGone(fixture, probe, "expired long ago")
      yield* expectGone(fixture, idle, "idle deadline at this millisecond")
      yield* expectGone(fixture, absolute, "absolute deadline at this millisecond")
    })
  ),
  makeSweepingCase("deleteExpired takes at most as many as it is told, and says how many", (fixture) =>
    Effect.gen(function* () {
      const records = yield* Effect.forEach(range(5), () => fixture.create(expired))
      const counts: Array<number> = []
      for (const _ of range(4)) counts.push(yield* sweep(fixture, 2))
      yield* check(
        counts.every((count) => count <= 2),
        `sweeps of at most 2 answered ${show(counts)}`
      )
      if (yield* keepsExpired(fixture, records[0]!, counts[0]!)) return
      yield* equal(show(counts), show([2, 2, 1, 0]), "counts of sweeps of at most 2")
    })
  ),
  makeSweepingCase("[R69] what is swept leaves no ghost, neither in the listing nor for late writes", (fixture) =>
    Effect.gen(function* () {
      const record = yield* fixture.create(expired)
      const other = yield* fixture.create(alive)
      const count = yield* sweep(fixture)
      if (yield* keepsExpired(fixture, record, count)) return
      yield* expectNoRevival(fixture, record, "after deleteExpired")
      yield* expectListed(fixture, [other], "after deleteExpired")
      const again = yield* fixture.create(alive)
      yield* expectListed(fixture, [other, again], "after the principal logged in again")
      yield* equal(yield* fixture.backend.deleteByPrincipal(fixture.namespace, alice), 2, "records deleted at the end")
    })
  ),
  makeSweepingCase("a record that was touched or updated in time is not swept", (fixture) =>
    Effect.gen(function* () {
      const long = { ...expired, absoluteExpiresAt: era + minute }
      const touched = yield* fixture.create(long)
      const updated = yield* fixture.create(long)
      const times = { lastSeenAt: era, idleExpiresAt: era + 100 }
      yield* fixture.backend.touch(touched.namespace, touched.id, times)
      yield* update(fixture, updated, times)
      yield* sweep(fixture)
      yield* expectStored(fixture, { ...touched, ...times }, "the record touched")
      yield* expectStored(fixture, { ...updated, ...times, version: 2 }, "the record updated")
    })
  ),
  makeSweepingCase("a record whose times were set back is swept at its new deadline", (fixture) =>
    Effect.gen(function* () {
      const probe = yield* fixture.create(expired)
      const ahead = { ...expired, lastSeenAt: era + day, idleExpiresAt: era + day, absoluteExpiresAt: era + day }
      const touched = yield* fixture.create(ahead)
      const updated = yield* fixture.create(ahead)
      const live = yield* fixture.create(ahead)
      yield* fixture.backend.touch(touched.namespace, touched.id, { lastSeenAt: era - 1, idleExpiresAt: era })
      yield* update(fixture, updated, { lastSeenAt: era - 1, idleExpiresAt: era })
      yield* fixture.backend.touch(live.namespace, live.id, { lastSeenAt: era - 1, idleExpiresAt: era + 1 })
      const count = yield* sweep(fixture)
      yield* expectStored(fixture, { ...live, lastSeenAt: era - 1, idleExpiresAt: era + 1 }, "a later deadline")
      if (yield* keepsExpired(fixture, probe, count)) return
      yield* expectGone(fixture, touched, "set back by touch")
      yield* expectGone(fixture, updated, "set back by update")
    })
  ),
  makeSweepingCase("deleteExpired against touch: a record that was touched stays, the other is gone", (fixture) =>
    races(30, (run) =>
      Effect.gen(function* () {
        const record = yield* fixture.create({ ...expired, absoluteExpiresAt: era + minute })
        const times = { lastSeenAt: era, idleExpiresAt: era + 100 }
        const [verdict] = yield* run(fixture.backend.touch(record.namespace, record.id, times), sweep(fixture))
        if (verdict === "touched") yield* expectStored(fixture, { ...record, ...times }, "the record touched")
        else yield* expectGone(fixture, record, `the record whose touch answered "${verdict}"`)
        yield* fixture.backend.delete(record.namespace, record.id)
      })
    )
  )
]

/** @internal */
export const collectingCases: ReadonlyArray<Case> = [
  makeSweepingCase("deleteExpired removes expired records of every namespace, with or without a principal", (fixture) =>
    Effect.gen(function* () {
      const records = [
        yield* fixture.create(expired),
        yield* fixture.create({ ...expired, principal: undefined }),
        yield* fixture.create({ ...expired, namespace: `${fixture.namespace}/2` })
      ]
      yield* equal(yield* sweep(fixture), 3, "the count")
      for (const record of records) yield* expectGone(fixture, record, "an expired record")
    })
  )
]
