/** `revokeAll` of very many sessions: batch by batch, each with a deadline of its own, with other work in between. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { maxBatch } from "../../src/SessionBackend.ts"
import { outcome } from "../support/outcome.ts"
import { requestWith } from "../support/request.ts"
import * as Stack from "../support/stack.ts"
import { ada, eve, UserSession } from "../support/userSession.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

const count = 3 * maxBatch + 1

/** Runs a test on a manager with 3,001 sessions of ada, of which the first and the last are given, and one of eve. */
const withMany = <A, E>(
  test: (watched: WatchedBackend.WatchedBackend) => Effect.Effect<A, E, typeof UserSession.Manager.Identifier>
) => {
  const watched = WatchedBackend.make()
  return Effect.gen(function* () {
    const sessions = yield* UserSession.Manager
    for (let i = 0; i < count; i++) yield* sessions.create(ada)
    watched.calls.length = 0
    return yield* test(watched)
  }).pipe(Effect.provide(Stack.manager(UserSession, { backend: watched.layer, maxPerPrincipal: false })))
}

describe("revokeAll of 3,001 sessions", () => {
  it.effect("[R49] ends every one of them, 1,000 at most a call, and nobody else's", () =>
    withMany((watched) =>
      Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        const theirs = yield* sessions.create(eve)
        assert.strictEqual(yield* sessions.revokeAll("ada"), count)
        assert.strictEqual((yield* watched.records).length, 1)
        assert.strictEqual(yield* outcome(sessions.resolve(theirs.token)), "ok")
        const calls = watched.calls.filter(({ operation }) => operation === "deleteByPrincipal")
        assert.deepStrictEqual(
          calls.map(({ args }) => args[2]),
          Array.from({ length: 4 }, () => ({ limit: maxBatch, except: undefined }))
        )
      })
    )
  )

  it.effect("[R49] ends the newest, which may be a thief's, in the first call", () =>
    withMany((watched) =>
      Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        yield* TestClock.adjust(1)
        const thief = yield* sessions.create(ada)
        watched.wire = (operation, run) =>
          watched.count("deleteByPrincipal") < 2 ? run : WatchedBackend.failure(operation, "notApplied")
        yield* Effect.exit(sessions.revokeAll("ada"))
        watched.wire = (_, run) => run
        assert.strictEqual(yield* outcome(sessions.resolve(thief.token)), "SessionInvalid NotFound")
      })
    )
  )

  it.effect("[R79] has a deadline for each call, and rests as long as the last one took", () =>
    withMany((watched) =>
      Effect.gen(function* () {
        watched.wire = (_, run) => Effect.delay(run, 900)
        const fiber = yield* Effect.forkChild((yield* UserSession.Manager).revokeAll("ada"))
        // The fence is read and written. Then four calls, and between two of them a rest as long.
        for (let i = 0; i < 2 + 7; i++) {
          assert.isUndefined(fiber.pollUnsafe())
          yield* TestClock.adjust(900)
          for (let turn = 0; turn < 10; turn++) yield* Effect.yieldNow
        }
        assert.strictEqual(yield* Fiber.join(fiber), count)
      })
    )
  )

  it.effect("[R79] ends at the deadline of the call that hangs, as unknown, and keeps what is done", () =>
    withMany((watched) =>
      Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        watched.wire = (_, run) => (watched.count("deleteByPrincipal") < 3 ? run : Effect.never)
        const fiber = yield* Effect.forkChild(outcome(sessions.revokeAll("ada")))
        while (watched.count("deleteByPrincipal") < 3) yield* Effect.yieldNow
        yield* TestClock.adjust(999)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* Fiber.join(fiber), "SessionUnavailable unknown")
        assert.strictEqual((yield* watched.records).length, count - 2 * maxBatch)
        watched.wire = (_, run) => run
        assert.strictEqual(yield* sessions.revokeAll("ada"), count - 2 * maxBatch)
      })
    )
  )

  it.effect("is unknown after a call that deleted something, though the next one certainly did nothing", () =>
    withMany((watched) =>
      Effect.gen(function* () {
        const { revokeAll } = yield* UserSession.Manager
        watched.wire = (operation) => WatchedBackend.failure(operation, "notApplied")
        assert.strictEqual(yield* outcome(revokeAll("ada")), "SessionUnavailable notApplied")
        watched.calls.length = 0
        watched.wire = (operation, run) =>
          watched.count("deleteByPrincipal") < 2 ? run : WatchedBackend.failure(operation, "notApplied")
        assert.strictEqual(yield* outcome(revokeAll("ada")), "SessionUnavailable unknown")
      })
    )
  )

  it.effect("[R75] ends soon when interrupted, after the call that is under way, and keeps what is done", () =>
    withMany((watched) =>
      Effect.gen(function* () {
        const { revokeAll } = yield* UserSession.Manager
        const [isUnderWay, goOn] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        watched.wire = (_, run) =>
          watched.count("deleteByPrincipal") < 2
            ? run
            : Effect.andThen(Deferred.succeed(isUnderWay, undefined), Effect.andThen(Deferred.await(goOn), run))
        const fiber = yield* Effect.forkChild(revokeAll("ada"))
        yield* Deferred.await(isUnderWay)
        const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber))
        yield* Effect.yieldNow
        yield* Deferred.succeed(goOn, undefined)
        yield* Fiber.join(interrupting)
        assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
        assert.strictEqual(watched.count("deleteByPrincipal"), 2)
        assert.strictEqual((yield* watched.records).length, count - 2 * maxBatch)
      })
    )
  )

  it.effect("lets the event loop turn between two calls, even on a store that answers at once", () =>
    withMany((watched) =>
      Effect.gen(function* () {
        const { revokeAll } = yield* UserSession.Manager
        let turns = 0
        let isOver = false
        const turn = () => {
          turns++
          if (!isOver) setImmediate(turn)
        }
        const seen: Array<number> = []
        watched.wire = (_, run) => {
          seen.push(turns)
          return run
        }
        // The fiber's own turn ends after some thousand operations: after those of the sessions it is a new one.
        yield* Effect.yieldNow
        setImmediate(turn)
        yield* revokeAll("ada")
        isOver = true
        assert.strictEqual(new Set(seen).size, 4, `turns of the event loop at each call: ${seen.join(", ")}`)
      })
    )
  )

  it.effect("a request's own session is the last to go: one that fails on the way can be sent again", () =>
    withMany((watched) =>
      Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        yield* TestClock.adjust(1)
        const own = yield* sessions.create(ada)
        // The store's failure is tried again at once, and so it fails twice.
        watched.wire = (operation, run) =>
          operation === "deleteByPrincipal" && [3, 4].includes(watched.count(operation))
            ? WatchedBackend.failure(operation, "notApplied")
            : run
        assert.strictEqual(yield* outcome(requestWith(sessions, own.token).revokeAll), "SessionUnavailable unknown")
        assert.strictEqual(yield* outcome(sessions.resolve(own.token)), "ok")
        assert.strictEqual(yield* requestWith(sessions, own.token).revokeAll, count + 1 - 2 * maxBatch)
        assert.strictEqual((yield* watched.records).length, 0)
      })
    )
  )
})
