/** Log-out: what ends, what is promised, and what a captured cookie is worth afterwards. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { HttpServerResponse } from "effect/http"
import { SessionFrontend, SessionMiddleware } from "effect-sessions"
import { TestClock } from "effect/testing"
import * as Client from "../support/client.ts"
import { empty, isLive, reasonOf, verified } from "../support/httpSupport.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import * as Stage from "../support/stage.ts"
import { ada, UserSession, secretA, secretB } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

describe("log-out", () => {
  const logout = Effect.flatMap(UserSession, (session) => Effect.as(session.destroy, empty))

  it.effect("[R47] revokes first, then takes the cookie off; what the store refuses is not promised", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const send = yield* stage.open(logout)
      stage.backend.wire = (operation, call) =>
        operation === "delete" ? WatchedBackend.failure(operation, "unknown") : call
      const failed = yield* send("POST", "/", { cookie: Stage.cookieOf(session) })
      assert.deepStrictEqual([failed.status, failed.setCookie], [503, []])
      assert.isTrue(yield* isLive(stage, session.token))
      stage.backend.wire = (_, call) => call
      // A handler that fails afterwards does not undo it.
      const dying = yield* stage.open(
        Effect.flatMap(UserSession, (session) => Effect.andThen(session.destroy, Effect.die(new Error("a hook"))))
      )
      const died = yield* dying("POST", "/", { cookie: Stage.cookieOf(session) })
      assert.deepStrictEqual([died.status, died.setCookie.length], [500, 1])
      assert.isFalse(yield* isLive(stage, session.token))
    })
  )

  it.effect("[R47] idempotent, also for a token that was rotated or has expired", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const send = yield* stage.open(logout)
      const session = yield* stage.login(ada)
      for (let i = 0; i < 3; i++) {
        assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(session) })).status, 204)
      }
      const rotated = yield* stage.login(ada)
      const successor = yield* stage.manager.rotate(rotated.token)
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(rotated) })).status, 204)
      assert.isFalse(yield* isLive(stage, successor.token))
      const expired = yield* stage.login(ada)
      yield* TestClock.adjust("2 hours")
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(expired) })).status, 204)
      assert.deepStrictEqual(yield* stage.backend.records, [])
    })
  )

  it.effect("[R47] [R29] also for a request with more cookies than are read: planted ones keep no session alive", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const send = yield* stage.open(logout)
      const session = yield* stage.login(ada)
      const planted = Array.from({ length: 20 }, (_, i) => `${Stage.cookieName}=planted-${i}`)
      const cookie = [...planted, Stage.cookieOf(session), ...planted].join("; ")
      const guarded = yield* stage.guarded(verified)
      assert.strictEqual(reasonOf(yield* guarded("GET", "/", { cookie })), "Ambiguous")
      const answer = yield* send("POST", "/", { cookie })
      assert.deepStrictEqual([answer.status, answer.setCookie.length], [204, 1])
      assert.isFalse(yield* isLive(stage, session.token))
    })
  )

  it.effect("[R47] [R32] also for a cookie behind more others than are read", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const send = yield* stage.open(logout)
      const session = yield* stage.login(ada)
      const cookie = `${"a=b; ".repeat(300)}${Stage.cookieOf(session)}`
      assert.strictEqual((yield* send("POST", "/", { cookie })).setCookie.length, 1)
      assert.isFalse(yield* isLive(stage, session.token))
    })
  )

  it.effect("[R48] a captured cookie is dead after log-out: later, after a restart, after key rotation", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const captured = Stage.cookieOf(yield* stage.login(ada))
      yield* (yield* stage.open(logout))("POST", "/", { cookie: captured })
      const replay = Effect.fnUntraced(function* (
        backend: WatchedBackend.WatchedBackend,
        ...ring: readonly [string, ...ReadonlyArray<string>]
      ) {
        const context = yield* Layer.build(
          Stack.http(UserSession, { backend: backend.layer, keys: Stack.layerKeys(...ring) })
        )
        const handler = yield* Client.webHandler(
          Effect.provideContext(SessionMiddleware.required(UserSession)(verified), context)
        )
        const answer = yield* Client.sender(handler)("GET", "/", { cookie: captured })
        return [answer.status, reasonOf(answer), answer.setCookie.length]
      })
      for (const wait of [1, 3_600_000, 86_400_000] as const) {
        yield* TestClock.adjust(wait)
        assert.deepStrictEqual(yield* replay(stage.backend, secretA), [401, "NotFound", 0])
      }
      assert.deepStrictEqual(yield* replay(WatchedBackend.make(), secretA), [401, "NotFound", 0])
      assert.deepStrictEqual(yield* replay(stage.backend, secretB, secretA), [401, "NotFound", 0])
      assert.deepStrictEqual(yield* replay(stage.backend, secretB), [401, "Signature", 0])
    })
  )
})

describe("what a log-out clears of the browser", () => {
  const logout = Effect.flatMap(UserSession, (session) => Effect.as(session.destroy, empty))
  const cleared = (answer: Client.Answer) => answer.headers.get("clear-site-data")

  it.effect("[R57] pages fetched ahead, where the cookie is taken off, and on no other answer", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const cookie = Stage.cookieOf(session)
      const open = yield* stage.open(Effect.flatMap(UserSession, (s) => Effect.as(s.get, empty)))
      const login = yield* stage.open(Effect.flatMap(UserSession, (s) => Effect.as(s.create(ada), empty)))
      const again = yield* stage.open(
        Effect.flatMap(UserSession, (s) => Effect.as(Effect.andThen(s.destroy, s.create(ada)), empty))
      )
      const send = yield* stage.open(logout)
      assert.isNull(cleared(yield* open("GET", "/", { cookie })))
      assert.isNull(cleared(yield* open("GET", "/")))
      const answer = yield* send("POST", "/", { cookie })
      assert.deepStrictEqual([answer.setCookie.length, cleared(answer)], [1, '"prefetchCache", "prerenderCache"'])
      assert.isNull(cleared(yield* login("POST", "/", { cookie })))
      assert.isNull(cleared(yield* send("POST", "/")))
      // Logged out and in again: the cookie is not taken off.
      assert.isNull(cleared(yield* again("POST", "/", { cookie: Stage.cookieOf(yield* stage.login(ada)) })))
      // A handler that dies afterwards has logged out all the same; all sessions at once are a log-out too.
      for (const end of ["destroy", "revokeAll"] as const) {
        const dying = yield* stage.open(Effect.flatMap(UserSession, (s) => Effect.andThen(s[end], Effect.die("boom"))))
        const died = yield* dying("POST", "/", { cookie: Stage.cookieOf(yield* stage.login(ada)) })
        assert.deepStrictEqual([died.status, cleared(died)], [500, '"prefetchCache", "prerenderCache"'], end)
      }
    })
  )

  it.effect("[R57] a handler's own header stays, in a response of the web too", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const headers = { "clear-site-data": '"*"' }
      for (const response of [
        HttpServerResponse.empty({ headers }),
        HttpServerResponse.fromWeb(new Response("bye", { headers })),
        HttpServerResponse.raw(new Response("bye", { headers }))
      ]) {
        const send = yield* stage.open(Effect.flatMap(UserSession, (session) => Effect.as(session.destroy, response)))
        const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(yield* stage.login(ada)) })
        assert.strictEqual(cleared(answer), '"*"')
      }
    })
  )

  it.effect("[R57] the layer says what, or that it is nothing; what a browser would not know is refused", () =>
    Effect.gen(function* () {
      for (const [clearSiteData, expected] of [
        [["cache", "storage"], '"cache", "storage"'],
        [["*"], '"*"'],
        [[], null],
        [false, null],
        [undefined, '"prefetchCache", "prerenderCache"']
      ] as const) {
        const stage = yield* Stage.make({ clearSiteData })
        const send = yield* stage.open(logout)
        assert.strictEqual(
          cleared(yield* send("POST", "/", { cookie: Stage.cookieOf(yield* stage.login(ada)) })),
          expected
        )
      }
      const broken = Stack.http(UserSession, { clearSiteData: ['everything"\r\nx: y' as "*"] })
      const error = yield* Effect.flip(Effect.scoped(Layer.build(broken)))
      assert.deepStrictEqual(error.layers, ["test/UserSession"])
      assert.match(error.problems[0]!, /clearSiteData "everything.* must be one of cache, clientHints, .*storage, \*/)
    })
  )

  it.effect("[R57] nothing for a token in a header, of which the browser knows nothing", () =>
    Effect.gen(function* () {
      const bearer = SessionFrontend.layerBearer()
      for (const frontend of [bearer, SessionFrontend.layerFirst([SessionFrontend.layerCookie(), bearer])]) {
        const stage = yield* Stage.make({ frontend })
        const send = yield* stage.open(logout)
        const { token } = yield* stage.login(ada)
        const answer = yield* send("POST", "/", { headers: { authorization: `Bearer ${Redacted.value(token)}` } })
        assert.deepStrictEqual([answer.status, cleared(answer)], [204, null])
        assert.isFalse(yield* isLive(stage, token))
        // Made and ended in one request, which carried no token.
        const both = yield* stage.open(
          Effect.flatMap(UserSession, (s) => Effect.as(Effect.andThen(s.create(ada), s.destroy), empty))
        )
        assert.strictEqual(cleared(yield* both("POST", "/")) === null, frontend === bearer)
      }
    })
  )
})
