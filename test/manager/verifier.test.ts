import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import * as Session from "../../src/Session.ts"
import * as SessionVerifier from "../../src/SessionVerifier.ts"
import { SessionRefused } from "../../src/SessionError.ts"
import { silent } from "../support/logs.ts"
import { outcome } from "../support/outcome.ts"
import { recordOf } from "../support/records.ts"
import { UserData, UserSession, ada, addWord } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

describe("the verifier", () => {
  const suspended = new Set<string>()
  class Suspended extends Schema.TaggedError<Suspended>()("Suspended", {}, { httpApiStatus: 403 }) {}
  class Strict extends Session.Service<Strict>()("test/Strict", {
    data: UserData,
    refused: Suspended,
    principal: (data) => data.username
  }) {}
  const verifier = SessionVerifier.layer(Strict, (session) =>
    suspended.has(session.data.username ?? "") || session.data.words.includes("banned")
      ? Effect.fail(new Suspended())
      : Effect.void
  )

  it.effect("[R50] a user who is suspended is refused on the next request, and the session stays", () =>
    Effect.gen(function* () {
      const sessions = yield* Strict.Manager
      const session = yield* sessions.create(ada)
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "ok")
      suspended.add("ada")
      for (const attempt of [
        Effect.asVoid(sessions.resolve(session.token)),
        Effect.asVoid(sessions.modify(session.token, addWord("x"))),
        Effect.asVoid(sessions.rotate(session.token)),
        Effect.asVoid(sessions.replace({ ...session }, ada))
      ]) {
        assert.strictEqual(yield* outcome(attempt), "Suspended")
      }
      suspended.delete("ada")
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "ok")
    }).pipe(Effect.provide(Stack.manager(Strict, { verifier })))
  )

  it.effect("[R50] a request in progress is refused where its update meets a newer version", () =>
    Effect.gen(function* () {
      const sessions = yield* Strict.Manager
      const session = yield* sessions.create(ada)
      yield* sessions.modify(session.token, addWord("banned"))
      // The request read the session before that: its first compare-and-set goes by what it knows.
      assert.strictEqual(yield* outcome(sessions.modify(session, addWord("x"))), "Suspended")
      assert.strictEqual(yield* outcome(sessions.rotate(session)), "Suspended")
      assert.deepStrictEqual(JSON.parse((yield* recordOf(Strict, session.id)).data).words, ["banned"])
      assert.strictEqual((yield* recordOf(Strict, session.id)).version, 2)
    }).pipe(Effect.provide(Stack.manager(Strict, { verifier })))
  )

  it.effect("a refused session is not touched", () => {
    const watched = WatchedBackend.make()
    return Effect.gen(function* () {
      const sessions = yield* Strict.Manager
      const session = yield* sessions.create({ ...ada, words: ["banned"] })
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "Suspended")
      assert.strictEqual(watched.count("touch"), 0)
    }).pipe(Effect.provide(Stack.manager(Strict, { verifier, backend: watched.layer })))
  })
})

describe("refusals by answer", () => {
  it.effect("the default refusal is SessionRefused", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const { token } = yield* sessions.create(ada)
      const error = yield* Effect.flip(sessions.resolve(token))
      assert.instanceOf(error, SessionRefused)
    }).pipe(
      Effect.provide([
        Stack.manager(UserSession, {
          // As a check written with `Effect.succeed(false)` by mistake would: the type takes any answer for `void`.
          verifier: SessionVerifier.layer(UserSession, () => Effect.succeed(false as unknown as void))
        }),
        silent
      ])
    )
  )
})
