/** A verifier that does not answer holds up no other change of the session. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as SessionVerifier from "../../src/SessionVerifier.ts"
import { silent } from "../support/logs.ts"
import { outcome } from "../support/outcome.ts"
import * as Stack from "../support/stack.ts"
import { ada, addWord, UserSession } from "../support/userSession.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

const hanging = () => {
  const state = { hangs: false }
  const verifier = SessionVerifier.layer(UserSession, () =>
    Effect.suspend(() => (state.hangs ? Effect.never : Effect.void))
  )
  return { state, verifier }
}

describe("a verifier that hangs", () => {
  it.effect("[R79] in the midst of a change is late, and the next change gets its turn", () => {
    const { state, verifier } = hanging()
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      yield* sessions.modify(session.token, addWord("a"))
      yield* Effect.yieldNow
      state.hangs = true
      // Its first try meets a newer version, which is verified again.
      const late = yield* Effect.forkChild(outcome(sessions.modify(session, addWord("b"))), { startImmediately: true })
      state.hangs = false
      const next = yield* Effect.forkChild(outcome(sessions.modify(session.token, addWord("c"))))
      yield* TestClock.adjust("1500 millis")
      assert.strictEqual(yield* Fiber.join(late), "SessionUnavailable notApplied")
      assert.strictEqual(yield* outcome(sessions.modify(session.token, addWord("d"))), "ok")
      assert.include((yield* sessions.resolve(session.token)).data.words, "d")
      yield* Fiber.await(next)
    }).pipe(Effect.provide([Stack.manager(UserSession, { verifier }), silent]))
  })

  it.effect("[R79] does not keep a rotation that was carried out from its answer", () => {
    const { state, verifier } = hanging()
    const memory = Stack.memory()
    const watched = WatchedBackend.over(memory)
    let updates = 0
    watched.wire = (operation, run, args) =>
      operation === "update" && ++updates === 1
        ? Effect.andThen(
            run,
            Effect.andThen(
              // Another process writes before the lost answer is asked for again.
              memory.update(args[0] as string, args[1] as string, 2, {
                lastSeenAt: 0,
                idleExpiresAt: 3_600_000
              }),
              WatchedBackend.failure("update", "unknown")
            )
          )
        : run
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      state.hangs = true
      const rotating = yield* Effect.forkChild(Effect.exit(sessions.rotate(session)), { startImmediately: true })
      yield* TestClock.adjust("1500 millis")
      const exit = yield* Fiber.join(rotating)
      state.hangs = false
      assert.isTrue(Exit.isSuccess(exit))
      assert.strictEqual(yield* outcome(sessions.resolve((yield* exit).token)), "ok")
    }).pipe(Effect.provide([Stack.manager(UserSession, { verifier, backend: watched.layer }), silent]))
  })

  it.effect("[R75] a change in an uninterruptible region of the caller's is not interrupted", () => {
    const { verifier } = hanging()
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* sessions.create(ada)
      yield* sessions.modify(session.token, addWord("a"))
      yield* Effect.yieldNow
      const steps: Array<string> = []
      const fiber = yield* Effect.forkChild(
        Effect.uninterruptible(
          Effect.gen(function* () {
            steps.push("charged")
            yield* sessions.modify(session, addWord("b"))
            steps.push("written")
          })
        ),
        { startImmediately: true }
      )
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(steps, ["charged", "written"])
    }).pipe(Effect.provide([Stack.manager(UserSession, { verifier }), silent]))
  })
})
