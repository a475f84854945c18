import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import * as Session from "../../src/Session.ts"
import * as SessionBackend from "../../src/SessionBackend.ts"
import { SessionDataError } from "../../src/SessionError.ts"
import { silent } from "../support/logs.ts"
import { wordOf, outcome, defectOf } from "../support/outcome.ts"
import { stored } from "../support/records.ts"
import { UserData, UserSession, ada, nobody, addWord } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

describe("modify and replace", () => {
  it.effect("the same reference back writes nothing", () => {
    const watched = WatchedBackend.make()
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      const [answer, same] = yield* sessions.modify(session.token, (data) => [42, data])
      assert.strictEqual(answer, 42)
      assert.strictEqual(same.version, 1)
      assert.strictEqual(watched.count("update"), 0)
    }).pipe(Effect.provide(Stack.manager(UserSession, { backend: watched.layer })))
  })

  it.effect("a session at hand saves the read; a copy of it is read again", () => {
    const watched = WatchedBackend.make()
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      watched.calls.length = 0
      yield* sessions.modify(session, addWord("a"))
      assert.strictEqual(watched.count("read"), 0)
      yield* sessions.modify({ ...session }, addWord("b"))
      assert.strictEqual(watched.count("read"), 1)
      assert.deepStrictEqual((yield* sessions.resolve(session.token)).data.words, ["a", "b"])
    }).pipe(Effect.provide(Stack.manager(UserSession, { backend: watched.layer })))
  })

  it.effect("[R70] replace on a snapshot that is no longer the newest is a conflict, and the newest stays", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const old = yield* sessions.create(ada)
      const [, newer] = yield* sessions.modify(old.token, addWord("kept"))
      assert.strictEqual(yield* outcome(sessions.replace(old, ada)), "SessionConflict")
      assert.strictEqual(yield* outcome(sessions.replace({ ...old }, ada)), "SessionConflict")
      assert.deepStrictEqual((yield* sessions.resolve(old.token)).data.words, ["kept"])
      assert.strictEqual((yield* sessions.replace(newer, ada)).version, 3)
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("[R71] a write to a session that has ended is reported, and stores nothing", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      yield* sessions.destroy(session.token)
      assert.strictEqual(yield* outcome(sessions.modify(session, addWord("x"))), "SessionInvalid NotFound")
      assert.strictEqual(yield* outcome(sessions.modify(session.token, addWord("x"))), "SessionInvalid NotFound")
      assert.strictEqual(yield* outcome(sessions.replace(session, ada)), "SessionInvalid NotFound")
      assert.strictEqual(yield* outcome(sessions.rotate(session)), "SessionInvalid NotFound")
      assert.isTrue(Option.isNone(yield* stored(UserSession, session.id)))
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("a change of the principal is a defect, and stores nothing", () => {
    const watched = WatchedBackend.make()
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      const visitor = yield* sessions.create(nobody)
      for (const attempt of [
        Effect.asVoid(sessions.modify(session.token, (data) => [0, { ...data, username: "eve" }])),
        Effect.asVoid(sessions.modify(session.token, (data) => [0, { ...data, username: "" }])),
        Effect.asVoid(sessions.modify(visitor.token, (data) => [0, { ...data, username: "ada" }])),
        Effect.asVoid(sessions.replace(session, { ...ada, username: "eve" }))
      ]) {
        assert.instanceOf(defectOf(yield* Effect.exit(attempt)), SessionDataError)
      }
      assert.strictEqual(watched.count("update"), 0)
    }).pipe(Effect.provide(Stack.manager(UserSession, { backend: watched.layer })))
  })

  it.effect("a function that throws is a defect, leaves the session as it was, and the next one goes through", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      const exit = yield* Effect.exit(
        sessions.modify(session.token, () => {
          throw new Error("f")
        })
      )
      assert.strictEqual((defectOf(exit) as Error).message, "f")
      const [, next] = yield* sessions.modify(session.token, addWord("x"))
      assert.strictEqual(next.version, 2)
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("after an unknown outcome f is not applied again", () => {
    let applied = 0
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      const exit = yield* outcome(
        sessions.modify(session.token, (data) => {
          applied++
          return addWord("once")(data)
        })
      )
      assert.strictEqual(exit, "SessionUnavailable unknown")
      assert.strictEqual(applied, 1)
      assert.deepStrictEqual((yield* sessions.resolve(session.token)).data.words, ["once"])
    }).pipe(
      Effect.provide([
        Stack.manager(UserSession, {
          backend: WatchedBackend.make({
            replace: (memory) => ({
              update: (...args) => Effect.andThen(memory.update(...args), WatchedBackend.failure("update", "unknown"))
            })
          }).layer
        }),
        silent
      ])
    )
  })

  it.effect("an update that only ever meets newer versions ends in a conflict, within a second or so", () => {
    let version = 1
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      const fiber = yield* Effect.forkChild(outcome(sessions.modify(session.token, addWord("x"))))
      for (let i = 0; i < 130 && fiber.pollUnsafe() === undefined; i++) yield* TestClock.adjust(10)
      assert.strictEqual(wordOf(fiber.pollUnsafe() ?? Exit.void), "ok")
      assert.strictEqual(yield* Fiber.join(fiber), "SessionConflict")
      assert.isAbove(version, 5)
    }).pipe(
      Effect.provide(
        Stack.manager(UserSession, {
          backend: WatchedBackend.make({
            replace: (memory) => ({
              update: (namespace, id) =>
                Effect.map(memory.read(namespace, id), (found) => ({
                  _tag: "stale",
                  record: { ...Option.getOrThrow(found), version: ++version }
                }))
            })
          }).layer
        })
      )
    )
  })

  it.effect("an update that meets a rotation on its way is refused", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      const rotated = yield* sessions.rotate(session.token)
      assert.strictEqual(yield* outcome(sessions.modify(session, addWord("x"))), "SessionInvalid NotFound")
      assert.strictEqual(yield* outcome(sessions.replace(session, ada)), "SessionInvalid NotFound")
      assert.strictEqual(yield* outcome(sessions.rotate(session)), "SessionInvalid NotFound")
      assert.deepStrictEqual((yield* sessions.resolve(rotated.token)).data, ada)
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect(
    "[R70] 50 changes of one session at once take a few updates, and each begins with what the one before it left",
    () => {
      const watched = WatchedBackend.make()
      watched.wire = (_, run) => Effect.delay(run, 1)
      return Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        const fiber = yield* Effect.forkChild(
          Effect.gen(function* () {
            const session = yield* sessions.create(ada)
            yield* Effect.forEach(
              Array.from({ length: 50 }, (_, i) => `word ${i}`),
              (word, i) => (i === 25 ? Effect.void : sessions.modify(session, addWord(word))),
              { concurrency: "unbounded", discard: true }
            )
            return yield* sessions.rotate(session)
          })
        )
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* Fiber.join(fiber)).data.words.length, 49)
        // The first, those that waited meanwhile, in one or two, and the rotation.
        assert.isAtMost(watched.count("update"), 5)
      }).pipe(Effect.provide(Stack.manager(UserSession, { backend: watched.layer, backendTimeout: "10 seconds" })))
    }
  )

  it.effect("[R68] data of a newer version is read, and not updated", () => {
    class Older extends Session.Service<Older>()("test/UserSession", {
      data: UserData,
      principal: (data) => data.username,
      dataVersion: 3
    }) {}
    class Newer extends Session.Service<Newer>()("test/UserSession", {
      data: Schema.Struct({ ...UserData.fields, added: Schema.optionalKey(Schema.String) }),
      principal: (data) => data.username,
      dataVersion: 4
    }) {}
    return Effect.gen(function* () {
      const backend = Layer.succeed(SessionBackend.SessionBackend, yield* SessionBackend.SessionBackend)
      const sessions = yield* Newer.Manager
      const session = yield* sessions.create({ ...ada, added: "kept" })
      yield* Effect.gen(function* () {
        const older = yield* Older.Manager
        const seen = yield* older.resolve(session.token)
        assert.deepStrictEqual(seen.data, ada)
        assert.strictEqual(yield* outcome(older.modify(session.token, addWord("x"))), "SessionConflict")
        assert.strictEqual(yield* outcome(older.replace(seen, ada)), "SessionConflict")
        assert.strictEqual(yield* outcome(older.modify(session.token, (data) => [0, data])), "ok")
        // The other way is open: what an older server made, a newer one updates.
        const old = yield* older.create(ada)
        assert.strictEqual(yield* outcome(sessions.modify(old.token, (data) => [0, { ...data, added: "new" }])), "ok")
      }).pipe(Effect.provide(Stack.manager(Older, { backend }), { local: true }))
      assert.strictEqual((yield* sessions.resolve(session.token)).data.added, "kept")
    }).pipe(Effect.provide(Stack.manager(Newer)))
  })
})
