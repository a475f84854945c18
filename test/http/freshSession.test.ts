/** `fresh` of the request's session: whether the user has proved lately who they are. */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect } from "effect"
import { SessionError } from "effect-sessions"
import type { Session } from "effect-sessions"
import { TestClock } from "effect/testing"
import { empty, tagOf, verified } from "../support/httpSupport.ts"
import { onManager } from "../support/onManager.ts"
import { defectOf, outcome } from "../support/outcome.ts"
import { requestWith } from "../support/request.ts"
import * as Stage from "../support/stage.ts"
import { ada, nobody, UserSession } from "../support/userSession.ts"

describe("fresh", () => {
  it.effect("[R53] answers the session up to the very end of the time, and fails as SessionStale after it", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada)
        const fresh = (options: Session.Fresh) => requestWith(manager, session.token).fresh(options)
        yield* TestClock.adjust("5 minutes")
        assert.strictEqual((yield* fresh({ within: "5 minutes" })).id, session.id)
        yield* TestClock.adjust(1)
        const stale = yield* Effect.flip(fresh({ within: "5 minutes" }))
        assert.deepStrictEqual(stale, new SessionError.SessionStale({ maxAge: 300, methods: [] }))
        assert.strictEqual(yield* outcome(fresh({ within: "6 minutes" })), "ok")
        assert.strictEqual(yield* outcome(fresh({ within: "Infinity" })), "ok")
        // That the session is in use, or has a new token, is no proof.
        yield* manager.rotate(session).pipe(Effect.flatMap(({ token }) => manager.resolve(token)))
        assert.strictEqual(yield* outcome(fresh({ within: "5 minutes" })), "SessionInvalid NotFound")
        assert.strictEqual(yield* outcome(requestWith(manager).fresh({ within: "5 minutes" })), "SessionMissing")
      })
    )
  )

  it.effect("[R53] is nobody's where nobody is logged in, and goes by when they proved it, not by the log-in", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const within = "5 minutes"
        const visitor = yield* manager.create(nobody)
        assert.strictEqual(yield* outcome(requestWith(manager, visitor.token).fresh({ within })), "SessionMissing")
        const proved = yield* DateTime.now
        yield* TestClock.adjust("10 minutes")
        const federated = yield* manager.create(ada, { methods: ["otp"], authenticatedAt: proved })
        const { fresh } = requestWith(manager, federated.token)
        assert.deepStrictEqual(
          [federated.authenticatedAt, federated.factors[0]?.at, federated.createdAt.epochMilliseconds],
          [proved, proved, 600_000]
        )
        assert.strictEqual(yield* outcome(fresh({ within })), "SessionStale")
        assert.strictEqual(yield* outcome(fresh({ within: "10 minutes", methods: ["otp"] })), "ok")
      })
    )
  )

  it.effect("[R53] of several methods each must have been passed within the time; of none, any", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const first = yield* manager.create(ada, { methods: ["pwd", "otp"] })
        yield* TestClock.adjust("10 minutes")
        const { token } = yield* manager.reauthenticate(first, { methods: ["otp"] })
        const within = "5 minutes"
        const ask = (methods?: ReadonlyArray<string>) =>
          outcome(requestWith(manager, token).fresh(methods === undefined ? { within } : { within, methods }))
        assert.deepStrictEqual(
          [yield* ask(), yield* ask([]), yield* ask(["otp"]), yield* ask(["pwd"]), yield* ask(["otp", "pwd"])],
          ["ok", "ok", "ok", "SessionStale", "SessionStale"]
        )
        // One that was never passed.
        assert.strictEqual(yield* ask(["hwk"]), "SessionStale")
        assert.strictEqual(
          yield* outcome(requestWith(manager, token).fresh({ within: "Infinity", methods: ["hwk"] })),
          "SessionStale"
        )
        const error = yield* Effect.flip(requestWith(manager, token).fresh({ within: 500, methods: ["pwd"] }))
        assert.deepStrictEqual(error, new SessionError.SessionStale({ maxAge: 1, methods: ["pwd"] }))
        // Which names none of a session without factors.
        const plain = yield* manager.create(ada)
        assert.strictEqual(
          yield* outcome(requestWith(manager, plain.token).fresh({ within, methods: ["pwd"] })),
          "SessionStale"
        )
      })
    )
  )

  it.effect("[R18] [R53] a proof of a clock that is ahead counts, if it is as far ahead as clocks may differ", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        yield* TestClock.adjust("1 hour")
        const session = yield* manager.create(ada, { methods: ["pwd"] })
        for (const methods of [[], ["pwd"]]) {
          const ask = Effect.suspend(() =>
            outcome(requestWith(manager, session.token).fresh({ within: "5 minutes", methods }))
          )
          yield* TestClock.setTime(50 * 60_000)
          assert.strictEqual(yield* ask, "ok")
          yield* TestClock.setTime(50 * 60_000 - 1)
          // A session that was made further ahead is expired.
          assert.strictEqual(yield* ask, "SessionInvalid Expired")
        }
      })
    )
  )

  it.effect("[R53] [R87a] a time that is none is a defect that says what to change", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada)
        for (const within of [0, Number.NaN, "-1 minutes", "soon" as "1 minute"] as const) {
          const exit = yield* Effect.exit(requestWith(manager, session.token).fresh({ within }))
          assert.instanceOf(defectOf(exit), SessionError.SessionDataError)
          assert.include(String(defectOf(exit)), "fresh: within must be a duration above zero")
        }
      })
    )
  )
})

describe("a session whose second factor is pending", () => {
  it.effect("[R54] has no principal, so no guard lets it through; with the factor it becomes the user's", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const guarded = yield* stage.guarded(verified)
      const pending = yield* stage.login({ ...nobody, words: ["ada, pending"] }, { methods: ["pwd"] })
      const refused = yield* guarded("GET", "/", { cookie: Stage.cookieOf(pending) })
      assert.deepStrictEqual([refused.status, tagOf(refused)], [401, "SessionMissing"])
      const confirm = yield* stage.open(
        Effect.gen(function* () {
          const session = yield* UserSession
          const { factors } = yield* session.get
          const methods = [...factors.map(({ method }) => method), "otp"]
          yield* session.create(() => ada, { methods })
          return yield* Effect.map(session.fresh({ within: "1 minute", methods: ["pwd", "otp"] }), () => empty)
        })
      )
      const { cookie } = yield* confirm("POST", "/", { cookie: Stage.cookieOf(pending) })
      assert.strictEqual((yield* guarded("GET", "/", { cookie })).text, "ada")
      assert.strictEqual((yield* guarded("GET", "/", { cookie: Stage.cookieOf(pending) })).status, 401)
    })
  )
})
