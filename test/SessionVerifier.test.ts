import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Session from "../src/Session.ts"
import { SessionRefused, SessionUnavailable } from "../src/SessionError.ts"
import * as SessionVerifier from "../src/SessionVerifier.ts"
import { capturing, silent } from "./support/logs.ts"
import { outcome } from "./support/outcome.ts"
import { ada, UserData, UserSession } from "./support/userSession.ts"
import * as Stack from "./support/stack.ts"

class Suspended extends Schema.TaggedError<Suspended>()("Suspended", { who: Schema.String }, { httpApiStatus: 403 }) {}
class Strict extends Session.Service<Strict>()("test/Strict", { data: UserData, refused: Suspended }) {}

/** As a careless cast, or plain JavaScript, would. */
const answering = (value: unknown) => () => Effect.succeed(value as void)

const resolveWith = (verifier: Layer.Layer<Session.VerifierOf<UserSession>>) =>
  Effect.gen(function* () {
    const sessions = yield* UserSession.Manager
    return yield* sessions.resolve((yield* sessions.create(ada)).token)
  }).pipe(Effect.provide(Stack.manager(UserSession, { verifier })))

const resolveStrict = (verifier: Layer.Layer<Session.VerifierOf<Strict>>) =>
  Effect.gen(function* () {
    const sessions = yield* Strict.Manager
    return yield* sessions.resolve((yield* sessions.create(ada)).token)
  }).pipe(Effect.provide(Stack.manager(Strict, { verifier })))

describe("layerExists", () => {
  it.effect("accepts every live session", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual((yield* resolveWith(SessionVerifier.layerExists(UserSession))).data, ada)
    })
  )
})

describe("layer", () => {
  it.effect("sees the session, and refuses with the definition's own error", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        resolveStrict(
          SessionVerifier.layer(Strict, (session) => Effect.fail(new Suspended({ who: session.data.username ?? "" })))
        )
      )
      assert.instanceOf(error, Suspended)
      assert.deepInclude(error, { who: "ada" })
    })
  )

  it.effect("is made once, out of services, in a scope of the Layer's", () => {
    class Banned extends Context.Service<Banned, ReadonlySet<string>>()("test/Banned") {}
    const log: Array<string> = []
    const verifier = SessionVerifier.layer(
      Strict,
      Effect.gen(function* () {
        const banned = yield* Banned
        yield* Effect.acquireRelease(
          Effect.sync(() => log.push("made")),
          () => Effect.sync(() => log.push("released"))
        )
        return (session) =>
          banned.has(session.data.username ?? "") ? Effect.fail(new Suspended({ who: "them" })) : Effect.void
      })
      // What it asks for beside the scope, which is the Layer's.
    ) as Layer.Layer<Session.VerifierOf<Strict>, never, Banned>
    return Effect.gen(function* () {
      yield* Effect.gen(function* () {
        const sessions = yield* Strict.Manager
        const { token } = yield* sessions.create(ada)
        assert.strictEqual(yield* outcome(sessions.resolve(token)), "Suspended")
        assert.strictEqual(yield* outcome(sessions.resolve(token)), "Suspended")
        assert.deepStrictEqual(log, ["made"])
      }).pipe(
        Effect.provide(
          Stack.manager(Strict, { verifier: verifier.pipe(Layer.provide(Layer.succeed(Banned, new Set(["ada"])))) })
        )
      )
      assert.deepStrictEqual(log, ["made", "released"])
    })
  })

  it.effect("may say that it cannot tell, which is unavailable and no refusal", () =>
    Effect.gen(function* () {
      const verifier = SessionVerifier.layer(UserSession, () =>
        Effect.fail(new SessionUnavailable({ outcome: "notApplied" }))
      )
      assert.strictEqual(yield* outcome(resolveWith(verifier)), "SessionUnavailable notApplied")
    })
  )

  for (const value of [false, true, null, 0, "", "no", {}, Effect.fail("x"), new Error("x")]) {
    it.effect(`an answer of ${String(value)} lets nobody in: refused by default, and the log says why`, () => {
      const lines: Array<string> = []
      return Effect.gen(function* () {
        const error = yield* Effect.flip(resolveWith(SessionVerifier.layer(UserSession, answering(value))))
        assert.instanceOf(error, SessionRefused)
        assert.match(lines.join(), /the verifier answered a value/)
      }).pipe(Effect.provide(capturing(lines)))
    })

    it.effect(`an answer of ${String(value)} is a defect where the definition has an error of its own`, () =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(resolveStrict(SessionVerifier.layer(Strict, answering(value))))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      })
    )
  }

  it.effect("one that throws, or dies, lets nobody in", () =>
    Effect.gen(function* () {
      const throwing = SessionVerifier.layer(UserSession, () => {
        throw new Error("x")
      })
      assert.strictEqual(yield* outcome(resolveWith(throwing)), "died")
      assert.strictEqual(yield* outcome(resolveWith(SessionVerifier.layer(UserSession, () => Effect.die("x")))), "died")
    })
  )
})

describe("layerPredicate", () => {
  const refusing = (predicate: () => Effect.Effect<boolean, SessionUnavailable>) =>
    SessionVerifier.layerPredicate(Strict, predicate, (session) => new Suspended({ who: session.data.username ?? "" }))

  it.effect("accepts on true, and on nothing else", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* outcome(resolveStrict(refusing(() => Effect.succeed(true)))), "ok")
      for (const value of [false, undefined, null, 1, "true", {}]) {
        // As a careless cast would.
        assert.strictEqual(yield* outcome(resolveStrict(refusing(() => Effect.succeed(value as boolean)))), "Suspended")
      }
    }).pipe(Effect.provide(silent))
  )

  it.effect("fails with what the predicate fails with", () =>
    Effect.gen(function* () {
      const verifier = refusing(() => Effect.fail(new SessionUnavailable({ outcome: "unknown" })))
      assert.strictEqual(yield* outcome(resolveStrict(verifier)), "SessionUnavailable unknown")
    })
  )
})
