/** What the current span says of a manager's sessions, without HTTP. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import { SessionConflict, SessionUnavailable } from "../../src/SessionError.ts"
import { callsWith, onManager } from "../support/onManager.ts"
import { outcome } from "../support/outcome.ts"
import * as Stack from "../support/stack.ts"
import { ada, addWord, banned, nobody, refusingBanned, UserSession } from "../support/userSession.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

/** What the span around a call says. */
const said = <A, E, R>(call: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    yield* Effect.exit(call)
    return Object.fromEntries((yield* Effect.currentSpan).attributes)
  }).pipe(Effect.withSpan("call"))

describe("the current span", () => {
  it.effect("[R85c] says why a token or a session is refused, whatever was asked with it", () =>
    onManager({ verifier: refusingBanned() }, (manager) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada)
        const { token } = session
        const refused = yield* manager.create(banned)
        assert.deepStrictEqual(yield* said(manager.resolve(token)), {})
        assert.deepStrictEqual(yield* said(manager.modify(token, addWord("x"))), {})
        assert.deepStrictEqual(yield* said(manager.resolve(Redacted.make("junk"))), { "session.refused": "Malformed" })
        assert.deepStrictEqual(yield* said(manager.resolve(refused.token)), { "session.refused": "SessionRefused" })
        yield* manager.rotate(token)
        for (const [name, call] of Object.entries(callsWith(manager, session))) {
          assert.deepStrictEqual(yield* said(call), { "session.refused": "NotFound" }, name)
        }
        yield* TestClock.adjust("1 hour")
        yield* manager.revokeAll("ada")
        assert.deepStrictEqual(yield* said(manager.create(ada, { began: 3_599_000_000_000n })), {
          "session.refused": "Superseded"
        })
      })
    )
  )

  it.effect("says nothing of a conflict, nor of a verifier that could not look", () => {
    const verifier = refusingBanned(new SessionUnavailable({ outcome: "notApplied" }))
    return onManager({ verifier }, (manager) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada)
        yield* manager.modify(session, addWord("x"))
        assert.strictEqual(yield* outcome(manager.replace(session, ada)), new SessionConflict()._tag)
        assert.deepStrictEqual(yield* said(manager.replace(session, ada)), {})
        const unseen = yield* manager.create(banned)
        assert.strictEqual(yield* outcome(manager.resolve(unseen.token)), "SessionUnavailable notApplied")
        assert.deepStrictEqual(yield* said(manager.resolve(unseen.token)), {})
      })
    )
  })

  it.effect("[R85c] says which call failed, of each change that was made with others", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada)
        const before = watched.count("update")
        watched.wire = (operation, run) =>
          operation === "update" ? Effect.andThen(Effect.yieldNow, WatchedBackend.failure(operation)) : run
        const spans = yield* Effect.forEach(["a", "b", "c"], (word) => said(manager.modify(session, addWord(word))), {
          concurrency: "unbounded"
        })
        const failed = { "session.backend.operation": "update", "session.backend.outcome": "notApplied" }
        assert.deepStrictEqual(spans, [failed, failed, failed])
        // Otherwise they were not made together.
        assert.strictEqual(watched.count("update") - before, 2)
      })
    )
  )

  it.effect("names session and user where asked, of those who are let in", () =>
    onManager({ spanAttributes: ["user.id", "session.id"] }, (manager) =>
      Effect.gen(function* () {
        let id = ""
        const logIn = Effect.map(manager.create(ada), (session) => {
          id = session.id
          return session
        })
        const named = yield* said(logIn)
        assert.deepStrictEqual(named, { "user.id": "ada", "session.id": id })
        const visitor = yield* manager.create(nobody)
        assert.deepStrictEqual(yield* said(manager.resolve(visitor.token)), { "session.id": visitor.id })
        const { token } = yield* manager.createFrom(visitor, () => ada)
        assert.strictEqual((yield* said(manager.resolve(token)))["user.id"], "ada")
        assert.strictEqual((yield* said(manager.reauthenticate(token)))["user.id"], "ada")
        assert.deepStrictEqual(yield* said(manager.resolve(token)), { "session.refused": "NotFound" })
      })
    )
  )

  it.effect("need not be there", () =>
    onManager({ spanAttributes: ["user.id"] }, (manager) =>
      Effect.gen(function* () {
        const { token } = yield* manager.create(ada)
        yield* manager.destroy(token)
        assert.strictEqual(yield* outcome(manager.resolve(token)), "SessionInvalid NotFound")
      })
    )
  )

  it.effect("[R87a] an attribute that is none is refused when the Layer is built", () =>
    Effect.gen(function* () {
      // As plain JavaScript would ask for it.
      const spanAttributes = ["user.id", "user.name" as "user.id"] as const
      const error = yield* Effect.flip(Layer.build(Stack.manager(UserSession, { spanAttributes })))
      assert.strictEqual(error._tag, "SessionConfigError")
      assert.deepStrictEqual(error.problems, [`spanAttributes "user.name" must be one of session.id, user.id`])
    })
  )
})
