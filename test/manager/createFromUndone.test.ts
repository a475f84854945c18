/** `createFrom` that fails: nothing is made, and the old session is as it was. And seals, which a crash may leave. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import { SessionBackend, SessionBackendError, type SessionRecord } from "../../src/SessionBackend.ts"
import { adaWith, failing, onManager, seal, visitor } from "../support/onManager.ts"
import { silent } from "../support/logs.ts"
import { outcome } from "../support/outcome.ts"
import { recordOf, stored } from "../support/records.ts"
import * as Stack from "../support/stack.ts"
import { ada, addWord, UserSession } from "../support/userSession.ts"
import type { Manager } from "../support/userSession.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

const rotating = { rotateEvery: "5 minutes" } as const

/** A visitor with two words, whose token has been rotated on schedule, and the token before that stands in its grace. */
const rotatedVisitor = Effect.fnUntraced(function* (manager: Manager) {
  const made = yield* manager.create(visitor, { client: { label: "phone" } })
  const [, first] = yield* manager.modify(made, addWord("eggs"))
  yield* TestClock.adjust("10 minutes")
  const second = yield* manager.resolve(first.token, { rotate: true })
  assert.notStrictEqual(Redacted.value(second.token), Redacted.value(first.token))
  return { first, second: yield* manager.resolve(second.token) }
})

/** A record but for what a put-back may change. */
const essenceOf = (record: SessionRecord) => {
  const { idleExpiresAt: _, lastSeenAt: __, version: ___, ...rest } = record
  return rest
}

describe("createFrom that fails", () => {
  it.effect(
    "[R46] whichever call fails, nothing is made, and the old tokens open the old data, in their rotation",
    () =>
      onManager(rotating, (manager, watched) =>
        Effect.gen(function* () {
          const { first, second } = yield* rotatedVisitor(manager)
          const { id } = second
          const before = essenceOf(yield* recordOf(UserSession, id))
          const failures: Record<string, Parameters<typeof failing>[1]> = {
            read: (operation) => operation === "read",
            seal: (operation) => operation === "update",
            create: (operation) => operation === "create",
            fence: (operation, [namespace]) => operation === "read" && namespace !== UserSession.key
          }
          for (const [name, which] of Object.entries(failures)) {
            for (const how of ["notApplied", "unknown"] as const) {
              const ended = yield* failing(watched, which, outcome(manager.createFrom(second.token, adaWith)), how)
              assert.match(ended, /^SessionUnavailable/, name)
              assert.deepStrictEqual((yield* watched.records).map(essenceOf), [before], `${name} ${how}`)
              for (const { token } of [second, first]) {
                assert.deepStrictEqual((yield* manager.resolve(token)).data.words, ["milk", "eggs"], name)
              }
            }
          }
          // A rotation goes on from where it was: now the token before the present one is a stolen copy.
          yield* TestClock.adjust("1 minute")
          assert.strictEqual(yield* outcome(manager.resolve(first.token)), "SessionInvalid Reused")
        })
      )
  )

  it.effect("[R46] so with an f that throws, data that cannot be stored, and a fence that refuses", () =>
    onManager(rotating, (manager, watched) =>
      Effect.gen(function* () {
        const { second } = yield* rotatedVisitor(manager)
        const before = essenceOf(yield* recordOf(UserSession, second.id))
        yield* manager.revokeAll("ada")
        const endings = [
          yield* outcome(
            manager.createFrom(second, () => {
              throw new Error("boom")
            })
          ),
          yield* outcome(manager.createFrom(second, () => ({ ...ada, words: [1 as unknown as string] }))),
          yield* outcome(manager.createFrom(second, adaWith, { methods: ["no method"] })),
          yield* outcome(manager.createFrom(second, adaWith, { began: 5n * 10n ** 11n }))
        ]
        assert.deepStrictEqual(endings, ["died", "died", "died", "SessionInvalid Superseded"])
        assert.deepStrictEqual((yield* watched.records).map(essenceOf), [before])
        assert.deepStrictEqual((yield* manager.resolve(second.token)).data.words, ["milk", "eggs"])
      })
    )
  )

  it.effect("[R46] a seal whose reply was lost is recognized, and so is the put-back", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const before = yield* manager.create(visitor)
        /** Loses the reply of the n-th update. */
        const losing = (nth: number, canCreate: boolean) => {
          let updates = 0
          watched.wire = (operation, run) => {
            const lost = WatchedBackend.failure(operation, "unknown")
            if (operation === "update" && ++updates === nth) return Effect.andThen(run, lost)
            return operation === "create" && !canCreate ? lost : run
          }
        }
        losing(2, false)
        assert.strictEqual(yield* outcome(manager.createFrom(before, adaWith)), "SessionUnavailable unknown")
        watched.wire = (_, run) => run
        assert.strictEqual(yield* outcome(manager.resolve(before.token)), "ok")
        // A put-back that fails is tried once more.
        let updates = 0
        watched.wire = (operation, run) =>
          operation === "create" || (operation === "update" && ++updates === 2)
            ? WatchedBackend.failure(operation, "notApplied")
            : run
        const held = yield* manager.resolve(before.token)
        assert.strictEqual(yield* outcome(manager.createFrom(held, adaWith)), "SessionUnavailable notApplied")
        watched.wire = (_, run) => run
        assert.strictEqual(yield* outcome(manager.resolve(before.token)), "ok")
        losing(1, true)
        assert.strictEqual(yield* outcome(manager.createFrom(before.token, adaWith)), "ok")
        watched.wire = (_, run) => run
        assert.strictEqual((yield* watched.records).length, 1)
      })
    )
  )

  it.effect(
    "[R46] a seal of which both replies were lost, and one in an outage, are taken off once the store answers",
    () =>
      onManager({}, (manager, watched) =>
        Effect.gen(function* () {
          const before = yield* manager.create(visitor)
          /** Fails while `isDown` says so of a call. */
          const during = Effect.fnUntraced(function* (
            outcomeOf: "notApplied" | "unknown",
            isDown: (nth: number) => boolean
          ) {
            let calls = 0
            watched.wire = (operation, run) =>
              isDown(++calls)
                ? Effect.andThen(
                    outcomeOf === "unknown" ? Effect.asVoid(run) : Effect.void,
                    WatchedBackend.failure(operation, outcomeOf)
                  )
                : run
            const login = yield* Effect.forkChild(outcome(manager.createFrom(before, adaWith)))
            yield* TestClock.adjust("10 seconds")
            return yield* Fiber.join(login)
          })
          assert.strictEqual(yield* during("unknown", (nth) => nth <= 2), "SessionUnavailable unknown")
          assert.strictEqual(yield* outcome(manager.resolve(before.token)), "ok")
          // The seal is applied, and then every call for two seconds is refused.
          const ends = (yield* Clock.currentTimeMillis) + 2000
          const clock = yield* Clock.Clock
          const isDown = (nth: number) => nth > 1 && clock.currentTimeMillisUnsafe() < ends
          assert.strictEqual(yield* during("notApplied", isDown), "SessionUnavailable notApplied")
          watched.wire = (_, run) => run
          assert.deepStrictEqual((yield* manager.resolve(before.token)).data, visitor)
        })
      )
  )

  it.effect("[R46] after an outage of a minute, too, the session stands again", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        for (const wire of [
          () => Effect.never,
          (operation) => WatchedBackend.failure(operation)
        ] satisfies ReadonlyArray<WatchedBackend.Wire>) {
          const before = yield* manager.create(visitor)
          const login = manager.createFrom(before, () => {
            watched.wire = wire
            return ada
          })
          const logging = yield* Effect.forkChild(outcome(login))
          yield* TestClock.adjust("1 minute")
          watched.wire = (_, run) => run
          yield* TestClock.adjust("10 seconds")
          assert.match(yield* Fiber.join(logging), /^SessionUnavailable/)
          assert.deepStrictEqual((yield* manager.resolve(before.token)).data, visitor)
        }
      })
    )
  )

  it.effect("[R46] the store is asked anew for each try, by one whose failure is at hand when it is asked, too", () =>
    Effect.gen(function* () {
      let isDown = false
      const refused = Effect.fail(new SessionBackendError({ operation: "read", outcome: "notApplied", cause: "open" }))
      // As a circuit breaker answers, which needs no effect to run.
      const breaker = WatchedBackend.mapOperations(Stack.memory(), (_, ask) => (isDown ? refused : ask()))
      const backend = Layer.succeed(SessionBackend, breaker)
      yield* Effect.gen(function* () {
        const manager = yield* UserSession.Manager
        const before = yield* manager.create(visitor)
        const login = manager.createFrom(before, () => {
          isDown = true
          return ada
        })
        const logging = yield* Effect.forkChild(outcome(login))
        yield* TestClock.adjust("1 second")
        isDown = false
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(logging), "SessionUnavailable notApplied")
        assert.deepStrictEqual((yield* manager.resolve(before.token)).data, visitor)
      }).pipe(Effect.provide([Stack.manager(UserSession, { backend }), silent]))
    })
  )

  it.effect("[R46] an old record that cannot be deleted is left sealed: nothing opens it, nothing shows it", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const before = yield* manager.create(ada)
        const create = manager.createFrom(before, adaWith)
        const created = yield* failing(watched, (operation) => operation === "delete", create)
        assert.strictEqual((yield* watched.records).length, 2)
        assert.strictEqual(yield* outcome(manager.resolve(before.token)), "SessionInvalid NotFound")
        assert.deepStrictEqual(
          (yield* manager.list("ada")).map(({ id }) => id),
          [created.id]
        )
      })
    )
  )
})

describe("a sealed record", () => {
  /** Ada's session, sealed now by a process that then crashed. */
  const sealed = Effect.fnUntraced(function* (manager: Manager) {
    const session = yield* manager.create(ada)
    yield* seal(session.id)
    return session
  })

  it.effect("[R46] is another log-in's for 10 seconds, and then as if it were not there", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const session = yield* sealed(manager)
        const create = Effect.suspend(() => outcome(manager.createFrom(session.token, adaWith)))
        let ran = 0
        assert.strictEqual(
          yield* outcome(manager.createFrom(session.token, () => (ran++, ada))),
          "SessionInvalid NotFound"
        )
        assert.strictEqual(ran, 0)
        yield* TestClock.adjust(9999)
        assert.strictEqual(yield* create, "SessionInvalid NotFound")
        assert.strictEqual((yield* watched.records).length, 1)
        yield* TestClock.adjust(1)
        assert.deepStrictEqual((yield* manager.createFrom(session.token, adaWith)).data.words, ["nothing"])
        // With data that are given, a log-in asks nothing of it.
        assert.strictEqual(yield* outcome(manager.create(ada)), "ok")
      })
    )
  )

  it.effect("[R46] that a clock ahead has written locks nobody out for longer", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        yield* TestClock.adjust("1 minute")
        const session = yield* sealed(manager)
        yield* TestClock.setTime(40_000)
        assert.strictEqual(yield* outcome(manager.createFrom(session.token, adaWith)), "ok")
      })
    )
  )

  it.effect("[R46] opens for no token, and is hidden from get, list and modifyAll; log-out and revocation end it", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const session = yield* sealed(manager)
        const changes: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          manager.resolve(session.token),
          manager.modify(session, addWord("x")),
          manager.modify(session.token, addWord("x")),
          manager.rotate(session),
          manager.reauthenticate(session),
          manager.describe(session, { label: "x" }),
          manager.replace(session, ada),
          manager.createFrom(session, adaWith)
        ]
        for (const change of changes) assert.strictEqual(yield* outcome(change), "SessionInvalid NotFound")
        assert.strictEqual((yield* manager.get(session.id))._tag, "None")
        assert.deepStrictEqual(yield* manager.list("ada"), [])
        const record = yield* recordOf(UserSession, session.id)
        assert.strictEqual(yield* manager.modifyAll("ada", (data) => ({ ...data, count: 9 })), 0)
        assert.deepStrictEqual(yield* recordOf(UserSession, session.id), record)
        yield* manager.destroy(session.token)
        assert.strictEqual((yield* stored(UserSession, session.id))._tag, "None")
        yield* sealed(manager)
        assert.strictEqual(yield* manager.revokeAll("ada"), 1)
      })
    )
  )

  it.effect("[R46] [R51] does not count for the limit", () =>
    onManager({ maxPerPrincipal: 2 }, (manager) =>
      Effect.gen(function* () {
        const phone = yield* manager.create(ada)
        yield* TestClock.adjust(1)
        yield* sealed(manager)
        yield* TestClock.adjust(1)
        yield* manager.create(ada)
        assert.strictEqual(yield* outcome(manager.resolve(phone.token)), "ok")
      })
    )
  )

  it.effect("[R46] a second seal on one that is being replaced fails, and the first goes through", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const before = yield* manager.create(visitor)
        // The first is held up after its seal.
        watched.wire = (operation, run) => (operation === "create" ? Effect.delay(run, 500) : run)
        const first = yield* Effect.forkChild(manager.createFrom(before.token, adaWith))
        while (watched.count("create") < 2) yield* Effect.yieldNow
        for (const source of [before, before.token]) {
          assert.strictEqual(yield* outcome(manager.createFrom(source, adaWith)), "SessionInvalid NotFound")
        }
        yield* TestClock.adjust(500)
        assert.deepStrictEqual((yield* Fiber.join(first)).data.words, ["milk"])
        assert.strictEqual((yield* watched.records).length, 1)
      })
    )
  )
})
