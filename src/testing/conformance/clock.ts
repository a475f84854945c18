/**
 * Conformance cases of records whose times were stored by a process whose clock was wrong.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { clockSlack } from "../../SessionBackend.ts"
import { type Case, equal, type Fixture, makeCase, minute, random, together } from "./fixture.ts"
import { expectStored, expectUpdated, update } from "./records.ts"

const slack = Duration.toMillis(clockSlack)
const year = 365 * 24 * 60 * minute

/** Creates a record whose `lastSeenAt` is ahead of the present, and answers it with the times as they should be now. */
const createAhead = (fixture: Fixture, ahead: number) => {
  const { absoluteExpiresAt, lastSeenAt: now } = fixture.record()
  const times = { lastSeenAt: now, idleExpiresAt: now + 30 * minute }
  return Effect.map(
    fixture.create({
      lastSeenAt: now + ahead,
      idleExpiresAt: now + ahead + 60 * minute,
      absoluteExpiresAt: absoluteExpiresAt + year
    }),
    (record) => ({ record, times })
  )
}

/** @internal */
export const cases: ReadonlyArray<Case> = [
  makeCase("touch sets both times back where lastSeenAt is more than clockSlack ahead", (fixture) =>
    Effect.forEach(
      [slack + 1, year],
      (ahead) =>
        Effect.gen(function* () {
          const { record, times } = yield* createAhead(fixture, ahead)
          yield* equal(yield* fixture.backend.touch(record.namespace, record.id, times), "touched", `${ahead} ms ahead`)
          yield* expectStored(fixture, { ...record, ...times }, `${ahead} ms ahead`)
          yield* equal(yield* fixture.backend.touch(record.namespace, record.id, times), "unchanged", "the same again")
        }),
      { discard: true }
    )
  ),
  makeCase("touch leaves both times where lastSeenAt is ahead by clockSlack at most", (fixture) =>
    Effect.forEach(
      [1, slack - 1, slack],
      (ahead) =>
        Effect.gen(function* () {
          const { record, times } = yield* createAhead(fixture, ahead)
          yield* equal(
            yield* fixture.backend.touch(record.namespace, record.id, times),
            "unchanged",
            `${ahead} ms ahead`
          )
          yield* expectStored(fixture, record, `${ahead} ms ahead`)
        }),
      { discard: true }
    )
  ),
  makeCase(
    "update sets both times back where lastSeenAt is more than clockSlack ahead, with all it changes",
    (fixture) =>
      Effect.forEach(
        [slack + 1, year],
        (ahead) =>
          Effect.gen(function* () {
            const { record, times } = yield* createAhead(fixture, ahead)
            const changes = { ...times, data: `"changed"`, secretHash: random(32) }
            const expected = { ...record, ...changes, version: 2 }
            yield* expectUpdated(yield* update(fixture, record, changes), expected, `${ahead} ms ahead`)
            yield* expectStored(fixture, expected, `${ahead} ms ahead`)
          }),
        { discard: true }
      )
  ),
  makeCase("update leaves both times where lastSeenAt is ahead by clockSlack at most", (fixture) =>
    Effect.forEach(
      [1, slack - 1, slack],
      (ahead) =>
        Effect.gen(function* () {
          const { record, times } = yield* createAhead(fixture, ahead)
          yield* expectUpdated(yield* update(fixture, record, times), { ...record, version: 2 }, `${ahead} ms ahead`)
        }),
      { discard: true }
    )
  ),
  makeCase("a session that was set back can be touched like any other, and by several at once", (fixture) =>
    Effect.gen(function* () {
      const { record, times } = yield* createAhead(fixture, year)
      const touchAt = (by: number) =>
        fixture.backend.touch(record.namespace, record.id, {
          lastSeenAt: times.lastSeenAt + by,
          idleExpiresAt: times.idleExpiresAt + by
        })
      yield* Effect.forEach([3, 1, 5, 2, 4], touchAt, together)
      const latest = { ...record, lastSeenAt: times.lastSeenAt + 5, idleExpiresAt: times.idleExpiresAt + 5 }
      yield* expectStored(fixture, latest, "after touches at once")
      yield* equal(yield* touchAt(minute), "touched", "a later touch")
    })
  )
]
