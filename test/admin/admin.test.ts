/** `SessionAdmin` over a manager in memory. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as SessionAdmin from "../../src/SessionAdmin.ts"
import type * as SessionBackend from "../../src/SessionBackend.ts"
import { failing, onManager } from "../support/onManager.ts"
import { outcome } from "../support/outcome.ts"
import { ada, eve, nobody, user, UserSession } from "../support/userSession.ts"

const adminOf = SessionAdmin.make(UserSession)

const ids = (infos: ReadonlyArray<{ readonly id: string }>) => infos.map(({ id }) => id)

describe("counting and looking", () => {
  it.effect("goes through all live sessions, a page at a time", () =>
    onManager({ maxPerPrincipal: false }, (manager, watched) =>
      Effect.gen(function* () {
        const admin = yield* adminOf
        assert.strictEqual(yield* admin.count(), 0)
        assert.deepStrictEqual(yield* Stream.runCollect(admin.stream()), [])
        const sessions = yield* Effect.forEach(Array.from({ length: 600 }), (_, i) =>
          manager.create(i % 3 === 0 ? nobody : i % 3 === 1 ? ada : eve)
        )
        watched.calls.length = 0
        assert.strictEqual(yield* admin.count(), 600)
        assert.sameMembers(ids(yield* Stream.runCollect(admin.stream())), ids(sessions))
        assert.deepStrictEqual(
          watched.operations,
          Array.from({ length: 6 }, () => "scan")
        )
        assert.strictEqual(yield* admin.count({ principal: "ada" }), 200)
        const ofAda = yield* Stream.runCollect(admin.stream({ principal: "ada" }))
        assert.isTrue(ofAda.every(({ principal }) => Option.contains(principal, "ada")))
        assert.strictEqual(ofAda.length, 200)
        assert.deepStrictEqual(
          Option.map(yield* admin.get(sessions[1]!.id), ({ data }) => data),
          Option.some(ada)
        )
      })
    )
  )

  it.effect("reads the next page once the one before it is used up, and no page that nobody asks for", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const admin = yield* adminOf
        yield* Effect.forEach(Array.from({ length: 600 }), () => manager.create(nobody))
        watched.calls.length = 0
        const some = yield* Stream.runCollect(Stream.take(admin.stream(), 10))
        assert.lengthOf(some, 10)
        assert.deepStrictEqual(watched.operations, ["scan"])
        let seen = 0
        const scans: Array<number> = []
        yield* Stream.runForEach(admin.stream(), () =>
          Effect.sync(() => {
            seen++
            if (seen % 250 === 1) scans.push(watched.count("scan"))
          })
        )
        assert.deepStrictEqual(scans, [2, 3, 4])
      })
    )
  )

  it.effect("tells how many there were so far, and waits for who is told", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const admin = yield* adminOf
        yield* Effect.forEach(Array.from({ length: 300 }), () => manager.create(nobody))
        const told: Array<number> = []
        yield* admin.count({ onProgress: (count) => Effect.sync(() => void told.push(count)) })
        assert.deepStrictEqual(told, [250, 300])
      })
    )
  )
})

describe("ending", () => {
  it.effect("ends one, a principal's, and answers how many", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const admin = yield* adminOf
        const session = yield* manager.create(nobody)
        assert.isTrue(yield* admin.revoke(session.id))
        assert.isFalse(yield* admin.revoke(session.id))
        yield* manager.create(ada)
        const kept = yield* manager.create(eve)
        const late = manager.create(ada, { began: yield* nowNanos })
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* admin.revokePrincipal("ada"), 1)
        assert.strictEqual(yield* outcome(late), "SessionInvalid Superseded")
        assert.deepStrictEqual(ids(yield* Stream.runCollect(admin.stream())), [kept.id])
      })
    )
  )

  it.effect("ends all: users by their name, so that log-ins under way fail, and the others by their ids", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const admin = yield* adminOf
        yield* Effect.forEach(Array.from({ length: 300 }), (_, i) => manager.create(user(`user${i % 100}`)))
        yield* Effect.forEach(Array.from({ length: 30 }), () => manager.create(nobody))
        const late = manager.create(user("user7"), { began: yield* nowNanos })
        yield* TestClock.adjust(1)
        const told: Array<number> = []
        assert.strictEqual(
          yield* admin.revokeAll({ onProgress: (count) => Effect.sync(() => void told.push(count)) }),
          330
        )
        assert.deepStrictEqual(yield* watched.records, [])
        assert.strictEqual(yield* outcome(late), "SessionInvalid Superseded")
        assert.strictEqual(told.at(-1), 330)
        assert.deepStrictEqual(
          told,
          told.toSorted((a, b) => a - b)
        )
        assert.strictEqual(yield* admin.revokeAll(), 0)
      })
    )
  )

  it.effect("walks again over what is older than the call, and leaves who has logged in since", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const admin = yield* adminOf
        yield* manager.create(ada)
        const hidden = yield* manager.create(nobody)
        yield* TestClock.adjust(1000)
        let scans = 0
        let isIn = false
        // A walk that misses one, as where a server takes another's place; and somebody who logs in after the first.
        watched.wire = (operation, run) =>
          operation !== "scan"
            ? run
            : Effect.gen(function* () {
                const page = (yield* run) as unknown as SessionBackend.SessionPage
                const first = ++scans === 1
                if (scans === 2 && !isIn) {
                  isIn = true
                  // Less than the deadline of the call it is in.
                  yield* TestClock.adjust(500)
                  yield* Effect.orDie(manager.create(ada))
                }
                const records = page.records.filter(({ id }) => !first || id !== hidden.id)
                return { ...page, records } as never
              })
        assert.strictEqual(yield* admin.revokeAll(), 2)
        assert.strictEqual(scans, 3)
        assert.deepStrictEqual(
          (yield* watched.records).map(({ principal }) => principal),
          ["ada"]
        )
      })
    )
  )

  it.effect("ends by its id what the store does not find by its principal", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const admin = yield* adminOf
        yield* manager.create(ada)
        yield* manager.create(ada)
        yield* TestClock.adjust(1)
        // As Redis whose index was evicted.
        watched.wire = (operation, run) =>
          operation === "deleteByPrincipal" ? (Effect.succeed({ deleted: [], more: false }) as never) : run
        assert.strictEqual(yield* admin.revokeAll(), 2)
        assert.deepStrictEqual(yield* watched.records, [])
      })
    )
  )

  for (const refused of [["create"], ["create", "deleteByPrincipal"]]) {
    it.effect(`ends all, and fails at the end, where the store refuses ${refused.join(" and ")}`, () =>
      onManager({}, (manager, watched) =>
        Effect.gen(function* () {
          const admin = yield* adminOf
          yield* Effect.forEach([ada, ada, eve, nobody], (data) => manager.create(data))
          const revoking = Effect.flip(admin.revokeAll())
          const error = yield* failing(watched, (operation) => refused.includes(operation), revoking)
          assert.strictEqual(error.outcome, "unknown")
          assert.deepStrictEqual(yield* watched.records, [])
        })
      )
    )
  }

  it.effect("stops at the first that the store ends in no way", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const admin = yield* adminOf
        yield* Effect.forEach(Array.from({ length: 100 }), (_, i) => manager.create(user(`user${i}`)))
        watched.calls.length = 0
        yield* failing(
          watched,
          (operation) => operation !== "scan" && operation !== "read",
          Effect.flip(admin.revokeAll())
        )
        assert.isBelow(watched.count("deleteByPrincipal"), 50)
        assert.lengthOf(yield* watched.records, 100)
      })
    )
  )

  it.effect("what it has ended before the store fails stays ended, and the error says that something was", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const admin = yield* adminOf
        yield* Effect.forEach(Array.from({ length: 300 }), () => manager.create(nobody))
        const cut = (scans: number) => {
          let seen = 0
          return failing(watched, (operation) => operation === "scan" && ++seen > scans, Effect.flip(admin.revokeAll()))
        }
        assert.strictEqual((yield* cut(0)).outcome, "notApplied")
        assert.lengthOf(yield* watched.records, 300)
        assert.strictEqual((yield* cut(1)).outcome, "unknown")
        assert.lengthOf(yield* watched.records, 50)
        assert.strictEqual(yield* admin.revokeAll(), 50)
      })
    )
  )

  it.effect("each call of the store has its deadline, and the walk as many as it takes", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const admin = yield* adminOf
        yield* Effect.forEach(Array.from({ length: 600 }), () => manager.create(nobody))
        watched.wire = (operation, run) => (operation === "scan" ? Effect.delay(run, 900) : run)
        const counting = yield* Effect.forkChild(admin.count())
        for (let i = 0; i < 3; i++) yield* TestClock.adjust(900)
        const { value } = counting.pollUnsafe() as unknown as { readonly value: number }
        assert.strictEqual(value, 600)
        watched.wire = (operation, run) => (operation === "scan" ? Effect.never : run)
        const hanging = yield* Effect.forkChild(outcome(admin.count()))
        yield* TestClock.adjust(1000)
        assert.isDefined(hanging.pollUnsafe())
      })
    )
  )
})

describe("whoever wraps the manager", () => {
  it.effect("is asked for everything", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        yield* manager.create(ada)
        yield* manager.create(nobody)
        const asked: Array<string> = []
        const wrapped = new Proxy(manager, {
          get: (target, name: keyof typeof manager) => {
            asked.push(name)
            return target[name]
          }
        })
        const admin = yield* Effect.provideService(adminOf, UserSession.Manager, wrapped)
        yield* admin.count()
        yield* admin.count({ principal: "ada" })
        yield* admin.revokeAll()
        assert.deepStrictEqual(asked, ["scan", "list", "scan", "revokeAll", "revokeAny", "scan"])
      })
    )
  )
})

const nowNanos = Effect.clockWith((clock) => clock.currentTimeNanos)
