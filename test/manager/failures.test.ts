import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import * as SessionBackend from "../../src/SessionBackend.ts"
import { everyCall } from "../support/everyCall.ts"
import { capturing, silent } from "../support/logs.ts"
import { outcome } from "../support/outcome.ts"
import { UserSession, ada, addWord } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

describe("a backend that fails", () => {
  const silentOnes: Record<string, Effect.Effect<never>> = {
    "never answers": Effect.never,
    "never answers and cannot be interrupted": Effect.uninterruptible(Effect.never)
  }
  for (const [way, hang] of Object.entries(silentOnes)) {
    for (const [name, call] of Object.entries(everyCall)) {
      it.effect(`[R79] ${name} on a backend that ${way} ends with the deadline`, () => {
        const watched = WatchedBackend.make()
        return Effect.gen(function* () {
          const sessions = yield* UserSession.Manager
          const { token } = yield* sessions.create(ada)
          watched.wire = () => hang
          const fiber = yield* Effect.forkChild(outcome(call(sessions, token)))
          // It deletes even where the fence cannot be read.
          if (name === "revokeAll") yield* TestClock.adjust(1000)
          yield* TestClock.adjust(999)
          assert.isUndefined(fiber.pollUnsafe())
          yield* TestClock.adjust(1)
          // A rotation is tried once more, for a quarter of the deadline.
          yield* TestClock.adjust(250)
          assert.isDefined(fiber.pollUnsafe())
          assert.strictEqual(
            yield* Fiber.join(fiber),
            `SessionUnavailable ${["resolve", "modify", "rotate", "scan", "list"].includes(name) ? "notApplied" : "unknown"}`
          )
        }).pipe(Effect.provide([Stack.manager(UserSession, { backend: watched.layer }), silent]))
      })
    }
  }

  it.effect("[R79] a rotation whose writes get no answer ends after a deadline and a quarter, outcome unknown", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const { token } = yield* sessions.create(ada)
      const fiber = yield* Effect.forkChild(outcome(sessions.rotate(token)))
      yield* TestClock.adjust(1249)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(fiber), "SessionUnavailable unknown")
    }).pipe(
      Effect.provide([
        Stack.manager(UserSession, {
          backend: WatchedBackend.make({ replace: () => ({ update: () => Effect.never }) }).layer
        }),
        silent
      ])
    )
  )

  it.effect("[R79] the deadline is configurable", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(outcome((yield* UserSession.Manager).list("ada")))
      yield* TestClock.adjust(99)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(fiber), "SessionUnavailable notApplied")
    }).pipe(
      Effect.provide([
        Stack.manager(UserSession, {
          backendTimeout: "100 millis",
          backend: WatchedBackend.make({ replace: () => ({ listByPrincipal: () => Effect.never }) }).layer
        }),
        silent
      ])
    )
  )

  it.effect("updates that wait for their turn behind one that hangs give up after the deadline", () => {
    const stuck = Deferred.makeUnsafe<void>()
    let first = true
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      const ahead = yield* Effect.forkChild(outcome(sessions.modify(session, addWord("a"))))
      yield* TestClock.adjust(500)
      const behind = yield* Effect.forkChild(outcome(sessions.modify(session, addWord("b"))))
      yield* TestClock.adjust(500)
      assert.strictEqual(yield* Fiber.join(ahead), "SessionUnavailable unknown")
      assert.strictEqual(yield* Fiber.join(behind), "ok")
      assert.deepStrictEqual((yield* sessions.resolve(session.token)).data.words, ["b"])
    }).pipe(
      Effect.provide([
        Stack.manager(UserSession, {
          backend: WatchedBackend.make({
            replace: (memory) => ({
              update: (...args) => {
                if (!first) return memory.update(...args)
                first = false
                return Effect.andThen(Deferred.await(stuck), memory.update(...args))
              }
            })
          }).layer
        }),
        silent
      ])
    )
  })

  it.effect(
    "[R78] a backend that throws where it should answer an effect is unavailable, and a touch goes on after",
    () => {
      let throwing = ""
      const touches: Array<string> = []
      return Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        const { token } = yield* sessions.create(ada)
        throwing = "read"
        assert.strictEqual(yield* outcome(sessions.resolve(token)), "SessionUnavailable notApplied")
        throwing = "touch"
        yield* TestClock.adjust("2 minutes")
        assert.strictEqual(yield* outcome(sessions.resolve(token)), "ok")
        throwing = ""
        assert.strictEqual(yield* outcome(sessions.resolve(token)), "ok")
        assert.deepStrictEqual(touches, ["touch"])
        throwing = "delete"
        assert.strictEqual(yield* outcome(sessions.destroy(token)), "SessionUnavailable unknown")
      }).pipe(
        Effect.provide([
          Stack.manager(UserSession, {
            // Without the wrapper of the other tests, in which a call is made when its effect runs.
            backend: Layer.succeed(
              SessionBackend.SessionBackend,
              WatchedBackend.mapOperations(Stack.memory(), (operation, ask) => {
                if (throwing === operation) throw new Error("thrown")
                if (operation === "touch") touches.push("touch")
                return ask()
              })
            )
          }),
          silent
        ])
      )
    }
  )

  it.effect("updates that are written together are late together, and hold no later one up", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      const fibers: Array<Fiber.Fiber<string>> = []
      for (const word of ["a", "b", "c", "d"]) {
        fibers.push(yield* Effect.forkChild(outcome(sessions.modify(session.token, addWord(word)))))
      }
      yield* TestClock.adjust("5 seconds")
      const words: Array<string> = []
      for (const fiber of fibers) words.push(yield* Fiber.join(fiber))
      // A write takes 700 ms. The second is for the other three, at 700, and has too little left of their 1,250.
      assert.deepStrictEqual(words, ["ok", ...Array.from({ length: 3 }, () => "SessionUnavailable unknown")])
      const late = yield* Effect.forkChild(outcome(sessions.modify(session.token, addWord("e"))))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(late), "ok")
      assert.deepStrictEqual((yield* sessions.resolve(session.token)).data.words, ["a", "e"])
    }).pipe(
      Effect.provide([
        Stack.manager(UserSession, {
          backend: WatchedBackend.make({
            replace: (memory) => ({
              update: (...args) => Effect.delay(memory.update(...args), 700)
            })
          }).layer
        }),
        silent
      ])
    )
  )

  it.effect("is logged by operation and outcome, without the driver's message", () => {
    const lines: Array<string> = []
    const cause = Object.assign(new Error("SELECT * FROM sessions WHERE id = 'marked'"), {
      code: "ECONNRESET",
      cause: { _tag: "marked by a message", message: "marked" }
    })
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      yield* outcome(sessions.list("ada"))
      const text = lines.join("\n")
      for (const part of ["listByPrincipal", "notApplied", "ECONNRESET", UserSession.key, "WARN"]) {
        assert.include(text.toLowerCase(), part.toLowerCase())
      }
      assert.notInclude(text, "marked")
      assert.notInclude(text, "SELECT")
      assert.notInclude(text, "ada")
    }).pipe(
      Effect.provide([
        Stack.manager(UserSession, {
          backend: WatchedBackend.make({
            replace: () => ({
              listByPrincipal: () => WatchedBackend.failure("listByPrincipal", "unknown", cause)
            })
          }).layer
        }),
        capturing(lines)
      ])
    )
  })
})
