import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import type * as SessionBackend from "../../src/SessionBackend.ts"
import { silent } from "../support/logs.ts"
import { outcome } from "../support/outcome.ts"
import { stored, recordOf } from "../support/records.ts"
import { UserSession, ada, addWord } from "../support/userSession.ts"
import type { Manager } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

describe("rotate and destroy", () => {
  it.effect("[R85b] the old token is dead, id and absolute deadline stay", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada, { absoluteTimeout: "2 hours" })
      yield* TestClock.adjust("10 minutes")
      const rotated = yield* sessions.rotate(session.token)
      assert.strictEqual(rotated.id, session.id)
      assert.strictEqual(rotated.version, 2)
      assert.deepStrictEqual(rotated.authenticatedAt, session.authenticatedAt)
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "SessionInvalid NotFound")
      assert.strictEqual((yield* sessions.resolve(rotated.token)).id, session.id)
      assert.strictEqual((yield* recordOf(UserSession, session.id)).absoluteExpiresAt, 7_200_000)
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  /** A backend whose first update is carried out or not, and whose answer is lost. */
  const unknownOnce = (
    isApplied: boolean,
    meanwhile: (
      backend: Stack.Backend,
      id: string
    ) => Effect.Effect<unknown, SessionBackend.SessionBackendError> = () => Effect.void
  ) => {
    const memory = Stack.memory()
    const watched = WatchedBackend.over(memory)
    watched.wire = (operation, run, args) => {
      if (operation !== "update" || watched.count("update") > 1) return run
      return (isApplied ? Effect.asVoid(run) : Effect.void).pipe(
        Effect.andThen(meanwhile(memory, args[1] as string)),
        Effect.andThen(WatchedBackend.failure("update", "unknown"))
      )
    }
    return { watched, layer: Layer.merge(Stack.manager(UserSession, { backend: watched.layer }), silent) }
  }
  for (const isApplied of [true, false]) {
    it.effect(
      `an unknown outcome, ${isApplied ? "" : "not "}carried out, is settled by the same compare-and-set`,
      () => {
        const { layer, watched } = unknownOnce(isApplied)
        return Effect.gen(function* () {
          const sessions = yield* UserSession.Manager
          const session = yield* sessions.create(ada)
          const rotated = yield* sessions.rotate(session.token)
          const updates = watched.calls.filter(({ operation }) => operation === "update")
          assert.strictEqual(updates.length, 2)
          assert.deepStrictEqual(updates[0]!.args, updates[1]!.args)
          assert.strictEqual(rotated.version, 2)
          assert.strictEqual(yield* outcome(sessions.resolve(rotated.token)), "ok")
          assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "SessionInvalid NotFound")
          assert.strictEqual(yield* outcome(sessions.modify(rotated, addWord("x"))), "ok")
        }).pipe(Effect.provide(layer))
      }
    )
  }

  it.effect("[R70] an update between an unknown rotation and its retry is not lost by the next one", () => {
    const { layer } = unknownOnce(true, (memory, id) =>
      Effect.flatMap(memory.read(UserSession.key, id), (found) => {
        const record = Option.getOrThrow(found)
        return memory.update(UserSession.key, id, record.version, {
          data: JSON.stringify({ ...ada, words: ["between"] }),
          lastSeenAt: record.lastSeenAt,
          idleExpiresAt: record.idleExpiresAt
        })
      })
    )
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      const rotated = yield* sessions.rotate(session.token)
      assert.deepStrictEqual(rotated.data.words, ["between"])
      const [, updated] = yield* sessions.modify(rotated, addWord("after"))
      assert.deepStrictEqual(updated.data.words, ["between", "after"])
    }).pipe(Effect.provide(layer))
  })

  const attempts: Record<
    string,
    readonly [
      SessionBackend.Operation,
      (manager: Manager, token: Redacted.Redacted<string>) => Effect.Effect<unknown, unknown>
    ]
  > = {
    "a rotation": ["update", (manager, token) => manager.rotate(token)],
    "a delete": ["delete", (manager, token) => manager.destroy(token)],
    "a delete of all": ["deleteByPrincipal", (manager) => manager.revokeAll("ada")]
  }
  for (const [name, [operation, act]] of Object.entries(attempts)) {
    it.effect(`an outcome unknown once and not applied then is unknown: for ${name}`, () => {
      const watched = WatchedBackend.make()
      return Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        const session = yield* sessions.create(ada)
        watched.wire = (called, run) =>
          called !== operation
            ? run
            : WatchedBackend.failure(called, watched.count(called) === 1 ? "unknown" : "notApplied")
        assert.strictEqual(yield* outcome(act(sessions, session.token)), "SessionUnavailable unknown")
        assert.strictEqual(watched.count(operation), 2)
      }).pipe(Effect.provide([Stack.manager(UserSession, { backend: watched.layer }), silent]))
    })
  }

  it.effect("an outcome unknown twice is unavailable", () => {
    const watched = WatchedBackend.make()
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      watched.wire = (operation, run) => (operation === "update" ? WatchedBackend.failure(operation, "unknown") : run)
      assert.strictEqual(yield* outcome(sessions.rotate(session.token)), "SessionUnavailable unknown")
      assert.strictEqual(watched.count("update"), 2)
    }).pipe(Effect.provide([Stack.manager(UserSession, { backend: watched.layer }), silent]))
  })

  it.effect("[R56] destroy with a token from before a rotation ends the session", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      const rotated = yield* sessions.rotate(session.token)
      yield* sessions.destroy(session.token)
      assert.strictEqual(yield* outcome(sessions.resolve(rotated.token)), "SessionInvalid NotFound")
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("[R47] [R48] destroy is done when it returns, again is fine, and the token stays dead", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      yield* sessions.destroy(session.token)
      yield* sessions.destroy(session.token)
      for (const later of [0, 1, 3_600_000]) {
        yield* TestClock.adjust(later)
        assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "SessionInvalid NotFound")
      }
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("a delete that fails once is tried again, and one that goes on failing is unavailable", () => {
    const watched = WatchedBackend.make()
    let failures = 1
    watched.wire = (operation, run) =>
      operation === "delete" && failures-- > 0 ? WatchedBackend.failure(operation) : run
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const [a, b] = [yield* sessions.create(ada), yield* sessions.create(ada)]
      assert.strictEqual(yield* outcome(sessions.destroy(a.token)), "ok")
      assert.isTrue(Option.isNone(yield* stored(UserSession, a.id)))
      failures = 2
      assert.strictEqual(yield* outcome(sessions.destroy(b.token)), "SessionUnavailable notApplied")
      assert.isTrue(Option.isSome(yield* stored(UserSession, b.id)))
    }).pipe(Effect.provide([Stack.manager(UserSession, { backend: watched.layer }), silent]))
  })
})
