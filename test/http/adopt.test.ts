/** Sessions of another library, which become ours in the first request that carries one. */
import { assert, describe, it } from "@effect/vitest"
import { Context, DateTime, Deferred, Effect, Fiber, Layer, Option, Redacted, Stream } from "effect"
import { HttpServerResponse } from "effect/http"
import { SessionError, SessionFrontend, SessionMiddleware } from "effect-sessions"
import type { Session } from "effect-sessions"
import { TestClock } from "effect/testing"
import * as Client from "../support/client.ts"
import { name, reasonOf, tagOf, text } from "../support/httpSupport.ts"
import { outcome } from "../support/outcome.ts"
import * as Stack from "../support/stack.ts"
import * as Stage from "../support/stage.ts"
import { ada, UserSession } from "../support/userSession.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

type Handle = (typeof UserSession)["Service"]

/** An app whose requests may carry `sid=<user>` of another library. Writes down each time it is asked. */
const make = Effect.fnUntraced(function* (
  given: Session.LayerOptions & {
    readonly options?: Session.CreateOptions
    readonly verifier?: Stack.Parts<UserSession>["verifier"]
    readonly frontend?: Layer.Layer<SessionFrontend.SessionFrontend, SessionError.SessionConfigError>
    /** Runs each time it is asked. */
    readonly during?: Effect.Effect<unknown>
  } = {}
) {
  const asked: Array<string> = []
  const backend = WatchedBackend.make()
  const adopt = (request: { readonly headers: Readonly<Record<string, string | undefined>> }) =>
    Effect.suspend(() => {
      const username = /sid=(\w+)/.exec(request.headers["cookie"] ?? "")?.[1]
      asked.push(username ?? "-")
      const found =
        username === undefined ? Option.none() : Option.some({ data: { ...ada, username }, options: given.options })
      return Effect.as(given.during ?? Effect.void, found)
    })
  const context = yield* Layer.build(
    SessionMiddleware.layer(UserSession, { ...given, adopt, client: () => ({ label: "adopted" }) }).pipe(
      Layer.provideMerge([
        Stack.parts(UserSession, { backend: backend.layer, verifier: given.verifier }),
        given.frontend ?? SessionFrontend.layerCookie()
      ])
    )
  )
  const manager = Context.get(context, UserSession.Manager)
  const app = (handler: Effect.Effect<HttpServerResponse.HttpServerResponse, unknown, UserSession>) =>
    Effect.map(
      Client.webHandler(Effect.provideContext(SessionMiddleware.make(UserSession)(handler), context)),
      Client.sender
    )
  return { asked, backend, manager, app }
})

const sid = "sid=ada"
const me = Effect.flatMap(UserSession, (session) => Effect.map(session.get, (found) => text(name(found))))

describe("adopt", () => {
  it.effect("makes a session of ours in that request, with its cookie, and is asked no more where that is sent", () =>
    Effect.gen(function* () {
      const { app, asked, backend, manager } = yield* make({ options: { cookie: "browser", methods: ["pwd"] } })
      const send = yield* app(me)
      const first = yield* send("GET", "/", { cookie: sid })
      assert.deepStrictEqual([first.status, first.text, first.setCookie.length], [200, "ada", 1])
      assert.notInclude(first.setCookie[0]!, "Max-Age")
      const session = yield* manager.resolve(Redacted.make(first.cookie.slice(Stage.cookieName.length + 1)))
      assert.deepStrictEqual(
        [session.factors.map(({ method }) => method), session.client, session.persistent],
        [["pwd"], { label: "adopted" }, false]
      )
      const second = yield* send("GET", "/", { cookie: `${sid}; ${first.cookie}` })
      assert.deepStrictEqual([second.text, second.setCookie, asked], ["ada", [], ["ada"]])
      assert.strictEqual((yield* backend.records).length, 1)
      // Where there is none, the request is refused as ever.
      assert.strictEqual(tagOf(yield* send("GET", "/")), "SessionMissing")
      assert.deepStrictEqual(asked, ["ada", "-"])
    })
  )

  it.effect("is asked once a request: by two reads at once, and by a log-out", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { app, asked, backend } = yield* make({ during: Deferred.await(gate) })
      const handler = (act: (session: Handle) => Effect.Effect<string, unknown>) =>
        app(Effect.map(Effect.flatMap(UserSession, act), (answer) => text(answer)))
      const both = yield* handler((session) =>
        Effect.gen(function* () {
          const reads = yield* Effect.forkChild(Effect.all([session.get, session.get], { concurrency: "unbounded" }))
          for (let i = 0; i < 10; i++) yield* Effect.yieldNow
          yield* Deferred.succeed(gate, undefined)
          const [one, two] = yield* Fiber.join(reads)
          return `${one.id === two.id}`
        })
      )
      assert.strictEqual((yield* both("GET", "/", { cookie: sid })).text, "true")
      assert.deepStrictEqual(asked, ["ada"])
      assert.strictEqual((yield* backend.records).length, 1)
      for (const reads of [true, false]) {
        asked.length = 0
        const out = yield* handler((session) =>
          Effect.gen(function* () {
            if (reads) yield* session.get
            yield* session.destroy
            return yield* outcome(session.get)
          })
        )
        const answer = yield* out("POST", "/", { cookie: sid })
        assert.deepStrictEqual([answer.text, asked.length], ["SessionMissing", 1])
        assert.strictEqual((yield* backend.records).length, 1)
      }
    })
  )

  it.effect(
    "is asked for a token of ours that is no longer good, and not where there is a choice, or a stolen copy",
    () =>
      Effect.gen(function* () {
        const { app, asked, manager } = yield* make({ rotateEvery: "5 minutes" })
        const send = yield* app(me)
        const [one, two] = [yield* manager.create(ada), yield* manager.create(ada)]
        const ambiguous = yield* send("GET", "/", { cookie: `${sid}; ${Stage.cookieOf(one)}; ${Stage.cookieOf(two)}` })
        assert.strictEqual(reasonOf(ambiguous), "Ambiguous")
        yield* TestClock.adjust("6 minutes")
        const rotated = yield* manager.resolve(one.token, { rotate: true })
        yield* manager.resolve(rotated.token)
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(reasonOf(yield* send("GET", "/", { cookie: `${sid}; ${Stage.cookieOf(one)}` })), "Reused")
        assert.deepStrictEqual(asked, [])
        yield* manager.destroy(two.token)
        const gone = yield* send("GET", "/", { cookie: `${sid}; ${Stage.cookieOf(two)}` })
        assert.deepStrictEqual([gone.text, gone.setCookie.length, asked], ["ada", 1, ["ada"]])
        assert.strictEqual((yield* send("GET", "/", { cookie: `${sid}; __Host-session=junk` })).text, "ada")
      })
  )

  it.effect("one that the verifier refuses, or whose log-in is superseded, leaves no session and no cookie", () =>
    Effect.gen(function* () {
      const refusing = Layer.succeed(UserSession.Verifier, {
        verify: () => Effect.fail(new SessionError.SessionRefused({ message: "suspended" }))
      })
      const refused = yield* make({ verifier: refusing })
      const answer = yield* (yield* refused.app(me))("GET", "/", { cookie: sid })
      assert.deepStrictEqual([answer.status, tagOf(answer), answer.setCookie], [403, "SessionRefused", []])
      assert.deepStrictEqual(yield* refused.backend.records, [])
      yield* TestClock.adjust("1 minute")
      let revoke: Effect.Effect<unknown> = Effect.void
      const late = yield* make({ during: Effect.suspend(() => Effect.andThen(TestClock.adjust(1), revoke)) })
      revoke = Effect.orDie(late.manager.revokeAll("ada"))
      const superseded = yield* (yield* late.app(me))("GET", "/", { cookie: sid })
      assert.deepStrictEqual([superseded.status, reasonOf(superseded), superseded.setCookie], [401, "Superseded", []])
      assert.deepStrictEqual(yield* late.backend.records, [])
    })
  )

  it.effect("[R59] another site's page takes nothing over, neither by a form nor by an image; a link of its does", () =>
    Effect.gen(function* () {
      for (const frontend of [SessionFrontend.layerCookie(), SessionFrontend.layerHeader({ name: "x-session" })]) {
        const { app, asked } = yield* make({ frontend })
        const send = yield* app(me)
        const foreign = (mode: string) => ({
          cookie: sid,
          headers: { "sec-fetch-site": "cross-site", "sec-fetch-mode": mode }
        })
        assert.strictEqual((yield* send("POST", "/", foreign("navigate"))).status, 403)
        assert.strictEqual((yield* send("GET", "/", foreign("no-cors"))).status, 401)
        assert.deepStrictEqual(asked, [])
        const link = yield* send("GET", "/", foreign("navigate"))
        assert.deepStrictEqual([link.status, link.text], [200, "ada"])
      }
    })
  )

  it.effect("[R87a] needs a frontend that can give the client its token", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(make({ frontend: SessionFrontend.layerBearer() }))
      assert.strictEqual(error._tag, "SessionConfigError")
      assert.match(error.problems.join(), /adopt needs a frontend that puts a token on a response/)
    })
  )

  it.effect("[R53] what is taken over is no proof, unless it says when there was one", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 day")
      const fresh = Effect.flatMap(UserSession, (session) =>
        Effect.map(outcome(session.fresh({ within: "5 minutes" })), text)
      )
      const { app } = yield* make()
      assert.strictEqual((yield* (yield* app(fresh))("GET", "/", { cookie: sid })).text, "SessionStale")
      const authenticatedAt = yield* DateTime.now
      const proved = yield* make({ options: { authenticatedAt } })
      assert.strictEqual((yield* (yield* proved.app(fresh))("GET", "/", { cookie: sid })).text, "ok")
    })
  )

  it.effect("[R78] a store that fails is answered 503, without a cookie, and so is an adopt that dies or hangs", () =>
    Effect.gen(function* () {
      const { app, backend } = yield* make()
      const send = yield* app(me)
      for (const broken of ["create", "read"]) {
        backend.wire = (operation, run) => (operation === broken ? WatchedBackend.failure(operation) : run)
        const answer = yield* send("GET", "/", { cookie: sid })
        assert.deepStrictEqual([answer.status, answer.setCookie], [503, []], broken)
        assert.deepStrictEqual(yield* backend.records, [], broken)
      }
      backend.wire = (_, run) => run
      const dying = yield* make({ during: Effect.die("boom") })
      const answer = yield* (yield* dying.app(me))("GET", "/", { cookie: sid })
      assert.deepStrictEqual([answer.status, answer.setCookie], [503, []])
      const hanging = yield* make({ during: Effect.never })
      const late = yield* Effect.forkChild((yield* hanging.app(me))("GET", "/", { cookie: sid }))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([(yield* Fiber.join(late)).status], [503])
    })
  )

  it.effect("is not asked once the headers are made: the token would not reach the client", () =>
    Effect.gen(function* () {
      const { app, asked, backend } = yield* make()
      const send = yield* app(
        Effect.map(UserSession, (session) =>
          HttpServerResponse.stream(
            Stream.fromEffect(Effect.map(outcome(session.get), (word) => new TextEncoder().encode(word))),
            // A first read under way of a response that a cache may keep would die.
            { headers: { "cache-control": "no-store" } }
          )
        )
      )
      const answer = yield* send("GET", "/", { cookie: sid })
      assert.deepStrictEqual([answer.text, answer.setCookie, asked], ["SessionMissing", [], []])
      assert.deepStrictEqual(yield* backend.records, [])
    })
  )
})
