/** Requests that log in while the user's sessions are being ended: by another, or by themselves. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import type { Session } from "effect-sessions"
import { TestClock } from "effect/testing"
import { isLive, name, reasonOf, tagOf, text } from "../support/httpSupport.ts"
import { adaWith, fenceNamespace, visitor } from "../support/onManager.ts"
import { outcome } from "../support/outcome.ts"
import * as Stage from "../support/stage.ts"
import { ada, UserSession } from "../support/userSession.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

type Handle = (typeof UserSession)["Service"]

/** Requests whose handler does this, a second after they began. */
const later = (
  stage: Effect.Success<ReturnType<typeof Stage.make>>,
  act: (session: Handle) => Effect.Effect<string, unknown>
) =>
  stage.open(
    Effect.gen(function* () {
      const session = yield* UserSession
      yield* TestClock.adjust("1 second")
      return text(yield* Effect.orDie(act(session)))
    })
  )

describe("a log-in that was under way when the user's sessions were ended", () => {
  const logIns: Record<string, (session: Handle) => Effect.Effect<unknown, { readonly _tag: string }>> = {
    "create(data)": (session) => session.create(ada),
    "create(f)": (session) => session.create(adaWith),
    "create(f), of a session that was read": (session) => Effect.andThen(session.get, session.create(adaWith))
  }
  for (const [spelling, logIn] of Object.entries(logIns)) {
    it.effect(`[R73] ${spelling} is answered 401 Superseded, without a cookie; the visitor's session stands`, () =>
      Effect.gen(function* () {
        const stage = yield* Stage.make()
        yield* TestClock.adjust("1 minute")
        const before = yield* stage.login(visitor)
        const send = yield* stage.open(
          Effect.gen(function* () {
            const session = yield* UserSession
            yield* TestClock.adjust("1 second")
            yield* stage.manager.revokeAll("ada")
            const ended = yield* outcome(logIn(session))
            assert.strictEqual(ended, "SessionInvalid Superseded")
            // In this request too.
            assert.strictEqual(yield* outcome(session.get), "ok")
            return yield* Effect.as(logIn(session), text("in"))
          })
        )
        const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(before) })
        assert.deepStrictEqual([answer.status, reasonOf(answer), answer.setCookie], [401, "Superseded", []])
        assert.deepStrictEqual(
          (yield* stage.backend.records).map(({ id }) => id as string),
          [before.id]
        )
        assert.isTrue(yield* isLive(stage, before.token))
        // The next request is in time.
        assert.strictEqual(
          (yield* (yield* later(stage, (s) => Effect.map(s.create(ada), name)))("POST", "/")).text,
          "ada"
        )
      })
    )
  }

  it.effect("[R73] a reauthentication is Superseded too, and changes nothing", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      yield* TestClock.adjust("1 minute")
      const own = yield* stage.login(ada)
      const send = yield* later(stage, (session) =>
        Effect.andThen(
          stage.manager.revokeAll("ada", { except: own.id }),
          outcome(session.reauthenticate({ methods: ["pwd"] }))
        )
      )
      const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(own) })
      assert.deepStrictEqual([answer.text, answer.setCookie], ["SessionInvalid Superseded", []])
      assert.deepStrictEqual((yield* stage.manager.resolve(own.token)).factors, [])
    })
  )

  it.effect("[R73] [R79] a fence that cannot be read is answered 503, without a cookie, and no session is left", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      stage.backend.wire = (operation, run, [namespace]) =>
        operation === "read" && namespace === fenceNamespace ? WatchedBackend.failure(operation) : run
      const send = yield* stage.open(
        Effect.flatMap(UserSession, (session) => Effect.map(session.create(ada), () => text("in")))
      )
      const answer = yield* send("POST", "/")
      assert.deepStrictEqual([answer.status, tagOf(answer), answer.setCookie], [503, "SessionUnavailable", []])
      assert.deepStrictEqual(yield* stage.backend.records, [])
    })
  )
})

describe("a request that ends the user's sessions itself", () => {
  const own: Record<string, (session: Handle) => Effect.Effect<Session.Session<typeof ada | typeof visitor>, unknown>> =
    {
      "revokeAll, create": (session) => Effect.andThen(session.revokeAll, session.create(ada)),
      "revokeAll, create(f)": (session) => Effect.andThen(session.revokeAll, session.create(adaWith)),
      "revokeOthers, reauthenticate": (session) => Effect.andThen(session.revokeOthers, session.reauthenticate()),
      "revokeOthers, create": (session) => Effect.andThen(session.revokeOthers, session.create(ada))
    }
  it.effect("[R49] [R73] starts anew in the same handler, and the cookie opens what it made", () =>
    Effect.gen(function* () {
      for (const [spelling, act] of Object.entries(own)) {
        const stage = yield* Stage.make()
        const [session, other] = [yield* stage.login(ada), yield* stage.login(ada)]
        const send = yield* later(stage, (handle) => Effect.map(act(handle), ({ id }) => id))
        const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(session) })
        assert.strictEqual(answer.status, 200, spelling)
        assert.strictEqual(answer.cookie.split(".")[2], answer.text, spelling)
        assert.strictEqual((yield* stage.backend.records).length, 1, spelling)
        for (const { token } of [session, other]) assert.isFalse(yield* isLive(stage, token), spelling)
      }
    })
  )

  it.effect("[R73] and is Superseded by another's that comes after", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const send = yield* later(stage, ({ create, revokeAll }) =>
        Effect.gen(function* () {
          yield* revokeAll
          yield* TestClock.adjust(1)
          yield* stage.manager.revokeAll("ada")
          return yield* outcome(create(ada))
        })
      )
      const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(session) })
      assert.strictEqual(answer.text, "SessionInvalid Superseded")
      assert.match(answer.cookie, /^__Host-session=$/)
      assert.deepStrictEqual(yield* stage.backend.records, [])
    })
  )

  it.effect("[R73] by the manager says so in began", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const send = yield* later(stage, ({ create }) =>
        Effect.gen(function* () {
          yield* stage.manager.revokeAll("ada")
          const without = yield* outcome(create(ada))
          const began = yield* Clock.currentTimeNanos
          return `${without}, ${yield* outcome(create(ada, { began }))}`
        })
      )
      assert.strictEqual((yield* send("POST", "/")).text, "SessionInvalid Superseded, ok")
    })
  )

  it.effect("[R49] ends the others though the fence cannot be written, keeps its own, and can be sent again", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const [own, other] = [yield* stage.login(ada), yield* stage.login(ada)]
      const send = yield* stage.open(
        Effect.flatMap(UserSession, (s) => Effect.map(s.revokeAll, (count) => text(`${count}`)))
      )
      stage.backend.wire = (operation, run) => (operation === "create" ? WatchedBackend.failure(operation) : run)
      const failed = yield* send("POST", "/", { cookie: Stage.cookieOf(own) })
      assert.deepStrictEqual([failed.status, failed.setCookie], [503, []])
      assert.deepStrictEqual([yield* isLive(stage, own.token), yield* isLive(stage, other.token)], [true, false])
      stage.backend.wire = (_, run) => run
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(own) })).text, "1")
    })
  )
})
