import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import type * as SessionBackend from "../../src/SessionBackend.ts"
import { capturing, silent } from "../support/logs.ts"
import { wordOf, outcome } from "../support/outcome.ts"
import { recordOf } from "../support/records.ts"
import { UserSession, ada } from "../support/userSession.ts"
import { makeWorld } from "../support/world.ts"
import * as Stack from "../support/stack.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

describe("touch", () => {
  it.effect("[R84c] happens at most once an interval, and leaves version and data alone", () => {
    const watched = WatchedBackend.make()
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      for (let second = 0; second < 600; second++) {
        const seen = yield* sessions.resolve(session.token)
        assert.strictEqual(seen.version, 1)
        yield* TestClock.adjust("1 second")
      }
      assert.strictEqual(watched.count("touch"), 9)
      assert.strictEqual(watched.count("update"), 0)
      assert.strictEqual((yield* recordOf(UserSession, session.id)).lastSeenAt, 540_000)
    }).pipe(Effect.provide(Stack.manager(UserSession, { backend: watched.layer })))
  })

  it.effect("has an interval of its own, or a tenth of a short idle timeout", () => {
    const watched = WatchedBackend.make()
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      yield* TestClock.adjust(9_999)
      yield* sessions.resolve(session.token)
      assert.strictEqual(watched.count("touch"), 0)
      yield* TestClock.adjust(1)
      yield* sessions.resolve(session.token)
      assert.strictEqual(watched.count("touch"), 1)
    }).pipe(Effect.provide(Stack.manager(UserSession, { backend: watched.layer, idleTimeout: "100 seconds" })))
  })

  it.effect("comes in time for a session with a shorter idle timeout than the interval", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada, { idleTimeout: "10 minutes" })
      for (let i = 0; i < 10; i++) {
        yield* TestClock.adjust("4 minutes")
        assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "ok")
      }
    }).pipe(Effect.provide(Stack.manager(UserSession, { touchInterval: "30 minutes" })))
  )

  const broken = (touch: SessionBackend.SessionBackend["Service"]["touch"]) =>
    Stack.manager(UserSession, { backend: WatchedBackend.make({ replace: () => ({ touch }) }).layer })

  it.effect("that fails costs the request nothing", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const sessions = yield* UserSession.Manager
      const { token } = yield* sessions.create(ada)
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(yield* outcome(sessions.resolve(token).pipe(Effect.provide(capturing(lines)))), "ok")
      assert.match(lines.join(), /touch/)
    }).pipe(Effect.provide(broken(() => WatchedBackend.failure("touch", "unknown"))))
  )

  it.effect("that finds the record gone refuses the request", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const { token } = yield* sessions.create(ada)
      assert.strictEqual(yield* outcome(sessions.resolve(token)), "ok")
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(yield* outcome(sessions.resolve(token)), "SessionInvalid NotFound")
    }).pipe(Effect.provide(broken(() => Effect.succeed("gone"))))
  )

  it.effect("that never answers holds a request up for a quarter of the deadline", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const { token } = yield* sessions.create(ada)
      yield* TestClock.adjust("2 minutes")
      const fiber = yield* Effect.forkChild(outcome(sessions.resolve(token)))
      yield* TestClock.adjust(249)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(fiber), "ok")
    }).pipe(
      Effect.provide([
        Stack.manager(UserSession, {
          backend: WatchedBackend.make({ replace: () => ({ touch: () => Effect.never }) }).layer
        }),
        silent
      ])
    )
  )

  it("[R84c] 1,000 requests of one session at once touch it once in a process", async () => {
    const world = await makeWorld()
    const manager = await world.process()
    world.time.now += 120_000
    const fibers = Array.from({ length: 1000 }, (_, i) =>
      world.fork(`r${i}`, manager.resolve(world.session.token), "shared")
    )
    let touches = 0
    while (fibers.some((fiber) => fiber.pollUnsafe() === undefined)) {
      if (world.parked.length === 0) await new Promise<void>((resolve) => setImmediate(resolve))
      // All go on together: every request has read before any has touched.
      for (const waiting of world.parked.splice(0)) {
        if (waiting.at.startsWith("touch") && waiting.footprint !== undefined) touches++
        waiting.go()
      }
    }
    assert.isTrue(fibers.every((fiber) => wordOf(fiber.pollUnsafe()!) === "ok"))
    assert.strictEqual(touches, 1)
  })
})
