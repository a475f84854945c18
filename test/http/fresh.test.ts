/** Guards that ask for a recent proof of identity, and how they refuse those who gave it too long ago. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { SessionError, SessionFrontend, SessionMiddleware } from "effect-sessions"
import type { Session } from "effect-sessions"
import { TestClock } from "effect/testing"
import * as Client from "../support/client.ts"
import { empty, tagOf, text, verified, whoami } from "../support/httpSupport.ts"
import * as Stack from "../support/stack.ts"
import * as Stage from "../support/stage.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import { ada, nobody, UserSession } from "../support/userSession.ts"

const fresh = { within: "5 minutes" } as const
const stale = `error="insufficient_user_authentication", max_age=300`

const guarded = (stage: Effect.Success<ReturnType<typeof Stage.make>>) =>
  stage.app(SessionMiddleware.required(UserSession, { fresh })(verified))

describe("a guard that asks for a fresh session", () => {
  it.effect("[R53] lets in whom it has proof of within the time, and refuses an older session with its challenge", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const cookie = Stage.cookieOf(yield* stage.login(ada))
      const sudo = yield* guarded(stage)
      const plain = yield* stage.guarded(verified)
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual((yield* sudo("GET", "/", { cookie })).text, "ada")
      yield* TestClock.adjust("1 second")
      const refused = yield* sudo("GET", "/", { cookie })
      assert.deepStrictEqual([refused.status, refused.setCookie], [401, []])
      assert.deepStrictEqual(JSON.parse(refused.text), { _tag: "SessionStale", maxAge: 300, methods: [] })
      assert.strictEqual(refused.headers.get("www-authenticate"), `Session ${stale}`)
      assert.deepStrictEqual(
        [refused.headers.get("vary"), refused.headers.get("cache-control")],
        ["Cookie", "no-store"]
      )
      // Elsewhere the session stands.
      assert.strictEqual((yield* plain("GET", "/", { cookie })).text, "ada")
      // Others are refused as by any guard.
      const missing = yield* sudo("GET", "/")
      assert.deepStrictEqual([tagOf(missing), missing.headers.get("www-authenticate")], ["SessionMissing", "Session"])
    })
  )

  it.effect("[R53] asks first who it is: a session of nobody is missing, not stale", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const cookie = Stage.cookieOf(yield* stage.login(nobody))
      yield* TestClock.adjust("10 minutes")
      const sudo = yield* guarded(stage)
      const answer = yield* sudo("GET", "/", { cookie })
      assert.deepStrictEqual([tagOf(answer), answer.headers.get("www-authenticate")], ["SessionMissing", "Session"])
    })
  )

  it.effect("[R53] names each scheme of the frontend in the challenge, each with its parameters", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make({
        frontend: SessionFrontend.layerFirst([SessionFrontend.layerCookie(), SessionFrontend.layerBearer()])
      })
      const cookie = Stage.cookieOf(yield* stage.login(ada))
      yield* TestClock.adjust("10 minutes")
      const answer = yield* (yield* guarded(stage))("GET", "/", { cookie })
      assert.strictEqual(answer.headers.get("www-authenticate"), `Session ${stale}, Bearer ${stale}`)
    })
  )

  it.effect("[R53] the challenge is on an answer of the application's own, unless it has one itself", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const seen: Array<string> = []
      const route = (path: "/own" | "/its-own", headers: Record<string, string>) =>
        HttpRouter.add("GET", path, verified).pipe(
          Layer.provide(
            SessionMiddleware.routerRequired(UserSession, {
              fresh,
              onFailure: (error) => {
                seen.push(error._tag)
                return Effect.succeed(HttpServerResponse.text("prove it", { status: 401, headers }))
              }
            }).layer
          )
        )
      const login = HttpRouter.add(
        "POST",
        "/login",
        Effect.flatMap(UserSession, (s) => Effect.as(s.create(ada), empty))
      ).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))
      const send = yield* Client.serve(
        Layer.mergeAll(route("/own", {}), route("/its-own", { "www-authenticate": "Mine" }), login).pipe(
          Layer.provide(Stack.http(UserSession, { backend: backend.layer }))
        )
      )
      const { cookie } = yield* send("POST", "/login")
      yield* TestClock.adjust("10 minutes")
      const own = yield* send("GET", "/own", { cookie })
      assert.deepStrictEqual([own.text, own.headers.get("www-authenticate")], ["prove it", `Session ${stale}`])
      assert.strictEqual((yield* send("GET", "/its-own", { cookie })).headers.get("www-authenticate"), "Mine")
      assert.deepStrictEqual(seen, ["SessionStale", "SessionStale"])
    })
  )

  it.effect(
    "[R53] a handler's own check has the same challenge, until the session changes or another 401 is meant",
    () =>
      Effect.gen(function* () {
        const stage = yield* Stage.make()
        const login = stage.login(ada)
        const challengeOf = Effect.fnUntraced(function* (
          after: (session: (typeof UserSession)["Service"]) => Effect.Effect<unknown, unknown>
        ) {
          const cookie = Stage.cookieOf(yield* login)
          yield* TestClock.adjust("10 minutes")
          const send = yield* stage.open(
            Effect.gen(function* () {
              const session = yield* UserSession
              const error = yield* Effect.flip(session.fresh(fresh))
              assert.instanceOf(error, SessionError.SessionStale)
              yield* after(session)
              return HttpServerResponse.empty({ status: 401 })
            })
          )
          const answer = yield* send("POST", "/", { cookie })
          return [answer.status, answer.headers.get("www-authenticate")]
        })
        assert.deepStrictEqual(yield* challengeOf(() => Effect.void), [401, `Session ${stale}`])
        assert.deepStrictEqual(yield* challengeOf((session) => session.create(ada)), [401, "Session"])
        assert.deepStrictEqual(yield* challengeOf((session) => session.destroy), [401, "Session"])
        // An answer that is no 401 has none.
        const cookie = Stage.cookieOf(yield* login)
        yield* TestClock.adjust("10 minutes")
        const ok = yield* stage.open(
          Effect.flatMap(UserSession, (session) => Effect.as(Effect.ignore(session.fresh(fresh)), text("ok")))
        )
        assert.isNull((yield* ok("GET", "/", { cookie })).headers.get("www-authenticate"))
        const me = yield* stage.open(whoami)
        assert.isNull((yield* me("GET", "/", { cookie })).headers.get("www-authenticate"))
      })
  )

  it.effect("[R53] max_age is in whole seconds, and left out where any time will do", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const cookie = Stage.cookieOf(yield* stage.login(ada))
      yield* TestClock.adjust("10 minutes")
      const challenge = (fresh: Session.Fresh) =>
        Effect.gen(function* () {
          const send = yield* stage.app(SessionMiddleware.required(UserSession, { fresh })(verified))
          return (yield* send("GET", "/", { cookie })).headers.get("www-authenticate")
        })
      const error = `Session error="insufficient_user_authentication"`
      assert.strictEqual(yield* challenge({ within: 1500 }), `${error}, max_age=1`)
      assert.strictEqual(yield* challenge({ within: "Infinity", methods: ["otp"] }), error)
    })
  )

  it.effect("[R53] [R87a] a time that is none is a defect where the layer is built, which says what to change", () =>
    Effect.gen(function* () {
      for (const within of [0, Number.NaN, "-1 minutes", "soon" as "1 minute"] as const) {
        assert.throws(
          () => SessionMiddleware.required(UserSession, { fresh: { within } }),
          SessionError.SessionConfigError,
          "fresh: within must be a duration above zero"
        )
        const routes = HttpRouter.add("GET", "/", verified).pipe(
          Layer.provide(SessionMiddleware.routerRequired(UserSession, { fresh: { within } }).layer),
          Layer.provide(Stack.http(UserSession))
        )
        const exit = yield* Effect.exit(Client.serve(routes))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
        assert.instanceOf(Cause.squash((exit as Exit.Failure<never, never>).cause), SessionError.SessionConfigError)
      }
    })
  )
})
