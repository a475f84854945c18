import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as SessionBackend from "../../src/SessionBackend.ts"
import * as SessionSweeper from "../../src/SessionSweeper.ts"
import { capturing } from "../support/logs.ts"
import { outcome } from "../support/outcome.ts"
import { record } from "../support/records.ts"
import * as Stack from "../support/stack.ts"
import { ada, UserSession } from "../support/userSession.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

const dead = (i: number) => record({ namespace: "sweep", id: `dead${i}`, idleTimeout: 1000, idleExpiresAt: 1000 })
const alive = record({ namespace: "sweep", id: "alive", idleExpiresAt: 86_400_000 })

describe("layerSweeper", () => {
  const sweeping = (watched: WatchedBackend.WatchedBackend) =>
    SessionSweeper.layer({ batch: 10 }).pipe(Layer.provideMerge(watched.layer))
  const sweeps = (watched: WatchedBackend.WatchedBackend) => watched.count("deleteExpired")

  it.effect("[R83] deletes what has expired, batch after batch, and stops with its scope", () => {
    const watched = WatchedBackend.make()
    return Effect.gen(function* () {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(sweeping(watched), scope)
      const backend = yield* Effect.provideContext(SessionBackend.SessionBackend, context)
      yield* TestClock.adjust(1)
      const before = sweeps(watched)
      assert.strictEqual(before, 1)
      for (let i = 0; i < 25; i++) yield* backend.create(dead(i))
      yield* backend.create(alive)
      yield* TestClock.adjust("20 minutes")
      for (let i = 0; i < 25; i++) assert.isTrue(Option.isNone(yield* backend.read("sweep", `dead${i}`)))
      assert.isTrue(Option.isSome(yield* backend.read("sweep", "alive")))
      // 10, 10 and 5 in one round, and at least one round more.
      assert.isAtLeast(sweeps(watched), before + 3)
      yield* Scope.close(scope, Exit.void)
      const after = sweeps(watched)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(sweeps(watched), after)
    })
  })

  it.effect("[R83] on a server whose clock is five minutes ahead it ends nobody's session", () =>
    Effect.gen(function* () {
      const watched = WatchedBackend.make()
      const sessions = yield* Effect.provide(
        UserSession.Manager,
        Stack.manager(UserSession, { backend: watched.layer, idleTimeout: "30 minutes" })
      )
      const session = yield* sessions.create(ada)
      yield* TestClock.adjust("26 minutes")
      const ahead = yield* TestClock.make()
      yield* ahead.setTime(Duration.toMillis("31 minutes"))
      yield* Effect.provideService(Layer.build(sweeping(watched)), Clock.Clock, ahead)
      yield* ahead.adjust("30 seconds")
      assert.isAtLeast(sweeps(watched), 1)
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "ok")
    })
  )

  const failures: Record<string, WatchedBackend.Wire> = {
    "that fail": (operation) => WatchedBackend.failure(operation, "unknown"),
    "that die": () => Effect.die(new Error("marked")),
    "that throw": () => {
      throw new Error("marked")
    },
    "that never answer": () => Effect.never
  }
  for (const [name, failing] of Object.entries(failures)) {
    it.effect(`[R83] goes on after rounds ${name}, and says so in the log`, () => {
      const watched = WatchedBackend.make()
      const lines: Array<string> = []
      watched.wire = failing
      return Effect.gen(function* () {
        yield* Layer.build(sweeping(watched))
        for (let minute = 0; minute < 30; minute++) yield* TestClock.adjust("1 minute")
        assert.isAtLeast(sweeps(watched), 4)
        assert.match(lines.join("\n"), /sweeping expired sessions failed/)
        assert.notMatch(lines.join("\n"), /marked/)
        watched.wire = (_, run) => run
        const before = sweeps(watched)
        for (let minute = 0; minute < 30; minute++) yield* TestClock.adjust("1 minute")
        assert.isAtLeast(sweeps(watched), before + 4)
      }).pipe(Effect.provide(capturing(lines)))
    })
  }
})

describe("sweep", () => {
  const expired = Effect.fnUntraced(function* ({ service }: WatchedBackend.WatchedBackend, count: number) {
    yield* service.create(alive)
    for (let i = 0; i < count; i++) yield* service.create(dead(i))
    yield* TestClock.adjust("20 minutes")
  })

  it.effect("[R83] deletes what has expired, batch after batch, counts it, and ends", () =>
    Effect.gen(function* () {
      const watched = WatchedBackend.make()
      yield* expired(watched, 25)
      const sweep = Effect.provide(SessionSweeper.sweep({ batch: 10 }), watched.layer)
      assert.strictEqual(yield* sweep, 25)
      assert.strictEqual(watched.count("deleteExpired"), 3)
      assert.deepStrictEqual(
        (yield* watched.records).map(({ id }) => id),
        ["alive"]
      )
      assert.strictEqual(yield* sweep, 0)
    })
  )

  it.effect("[R83] fails with the failure of a batch, and with a store that never answers", () =>
    Effect.gen(function* () {
      const watched = WatchedBackend.make()
      yield* expired(watched, 15)
      const sweep = Effect.flip(Effect.provide(SessionSweeper.sweep({ batch: 10 }), watched.layer))
      watched.wire = (operation, run) =>
        watched.count("deleteExpired") === 1 ? run : WatchedBackend.failure(operation, "unknown")
      assert.strictEqual((yield* sweep)._tag, "SessionBackendError")
      // What the batch before it deleted is deleted.
      assert.lengthOf(yield* watched.records, 6)
      watched.wire = () => Effect.never
      const late = yield* Effect.forkChild(sweep)
      yield* TestClock.adjust("31 seconds")
      assert.strictEqual((yield* Fiber.join(late))._tag, "SessionBackendError")
    })
  )

  it.effect("refuses a batch that is none", () =>
    Effect.gen(function* () {
      for (const batch of [0, 1.5, SessionBackend.maxBatch + 1, Number.NaN]) {
        const error = yield* Effect.flip(Effect.provide(SessionSweeper.sweep({ batch }), WatchedBackend.make().layer))
        assert.include(error.message, "SessionSweeper.sweep")
      }
    })
  )
})
