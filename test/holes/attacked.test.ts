/** What attacks on the rebuilt request's session found, each as it must be. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Redacted, Stream } from "effect"
import { Headers, HttpServerRequest, HttpServerResponse } from "effect/http"
import { SessionMiddleware } from "effect-sessions"
import { empty, isLive, name, text } from "../support/httpSupport.ts"
import * as Stage from "../support/stage.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import { ada, eve, UserSession } from "../support/userSession.ts"

const stream = (effect: Effect.Effect<string>, headers: Record<string, string>) =>
  HttpServerResponse.stream(Stream.fromEffect(Effect.map(effect, (text) => new TextEncoder().encode(text))), {
    headers
  })

describe("log-out of a session that was read", () => {
  for (const [way, before] of Object.entries({
    "behind a guard": "guarded",
    "after `get`": "get",
    "after `update`": "update"
  })) {
    it.effect(`[R24] [R47] ${way}: the cookie is taken off, and the response is private`, () =>
      Effect.gen(function* () {
        const stage = yield* Stage.make()
        const session = yield* stage.login(ada)
        const destroy = Effect.flatMap(UserSession, ({ destroy }) => Effect.as(destroy, empty))
        const read = Effect.flatMap(UserSession, ({ get, update }) => (before === "get" ? get : update((data) => data)))
        const send =
          before === "guarded" ? yield* stage.guarded(destroy) : yield* stage.open(Effect.andThen(read, destroy))
        const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(session) })
        assert.match(answer.setCookie.join(), /^__Host-session=; Max-Age=0;/)
        assert.strictEqual(answer.headers.get("cache-control"), "no-store")
        assert.isFalse(yield* isLive(stage, session.token))
      })
    )
  }
})

describe("caches", () => {
  it.live("[R62] a read that is under way when the headers are made makes the response private", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      stage.backend.wire = (operation, run) => (operation === "read" ? Effect.delay(run, "50 millis") : run)
      const send = yield* stage.open(
        Effect.gen(function* () {
          const reading = yield* Effect.forkDetach((yield* UserSession).get, { startImmediately: true })
          return stream(Effect.map(Effect.orDie(Fiber.join(reading)), name), { "cache-control": "public, max-age=60" })
        })
      )
      const answer = yield* send("GET", "/", { cookie: Stage.cookieOf(session) })
      assert.deepStrictEqual([answer.text, answer.headers.get("cache-control")], ["ada", "no-store"])
    })
  )

  for (const [way, headers] of Object.entries({
    "a CDN may keep": { "cache-control": "private", "cdn-cache-control": "public, max-age=600" },
    "a surrogate may keep": { "cache-control": "no-store", "surrogate-control": "max-age=600" },
    "is private in one field only": { "cache-control": 'public, max-age=600, private="x-foo"' }
  })) {
    it.effect(`[R62] the first read in a body that ${way} is a defect`, () =>
      Effect.gen(function* () {
        const stage = yield* Stage.make()
        const session = yield* stage.login(ada)
        const send = yield* stage.open(
          Effect.map(UserSession, ({ get }) =>
            stream(
              Effect.map(Effect.exit(get), (exit) => (Exit.isSuccess(exit) ? name(exit.value) : "died")),
              headers
            )
          )
        )
        assert.strictEqual((yield* send("GET", "/", { cookie: Stage.cookieOf(session) })).text, "died")
      })
    )
  }

  it.effect("[R62] headers of nginx and Akamai that go before Cache-Control do not stand", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const headers = { "x-accel-expires": "600", "edge-control": "!no-store, max-age=600" }
      const send = yield* stage.guarded(Effect.map(UserSession.Verified, (session) => text(name(session), { headers })))
      const answer = yield* send("GET", "/", { cookie: Stage.cookieOf(session) })
      assert.strictEqual(answer.headers.get("x-accel-expires"), "0")
      assert.strictEqual(answer.headers.get("edge-control"), "no-store")
    })
  )
})

describe("a request made of the request", () => {
  const inner = SessionMiddleware.make(UserSession)(
    Effect.flatMap(UserSession, ({ option }) =>
      Effect.map(option, (found) => text(found._tag === "Some" ? name(found.value) : "anonymous"))
    )
  )

  it.effect("law 1: with another cookie, or none, it is not its caller's", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const [adas, eves] = [yield* stage.login(ada), yield* stage.login(eve)]
      for (const [expected, change] of [
        ["eve", Headers.set("cookie", Stage.cookieOf(eves))],
        ["anonymous", Headers.remove("cookie")],
        ["ada", Headers.set("x-fragment", "1")]
      ] as const) {
        const send = yield* stage.app(
          Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
            Effect.provideService(
              inner,
              HttpServerRequest.HttpServerRequest,
              request.modify({ url: "/fragment", headers: change(request.headers) })
            )
          ).pipe(SessionMiddleware.make(UserSession))
        )
        assert.strictEqual((yield* send("GET", "/", { cookie: Stage.cookieOf(adas) })).text, expected)
      }
    })
  )

  it.effect("[R59] with another method it is asked for its origin", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const logOut = SessionMiddleware.make(UserSession)(
        Effect.flatMap(UserSession, ({ destroy }) => Effect.as(destroy, empty))
      )
      const send = yield* stage.app(
        Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
          const overridden: HttpServerRequest.HttpServerRequest = Object.create(request, { method: { value: "POST" } })
          return Effect.provideService(logOut, HttpServerRequest.HttpServerRequest, overridden)
        }).pipe(SessionMiddleware.make(UserSession))
      )
      const headers = { "sec-fetch-site": "cross-site" }
      assert.strictEqual((yield* send("GET", "/", { cookie: Stage.cookieOf(session), headers })).status, 403)
      assert.isTrue(yield* isLive(stage, session.token))
    })
  )
})

describe("many tokens", () => {
  it.effect("[R56] four tokens of one other session do not keep this one from ending", () =>
    Effect.gen(function* () {
      for (const act of ["destroy", "create"] as const) {
        const stage = yield* Stage.make()
        const other = yield* stage.login(eve)
        const cookies = [Stage.cookieOf(other)]
        let token = other.token
        for (let i = 0; i < 3; i++) {
          token = (yield* stage.manager.rotate(token)).token
          cookies.push(`${Stage.cookieName}=${Redacted.value(token)}`)
        }
        const session = yield* stage.login(ada)
        const send = yield* stage.open(
          Effect.flatMap(UserSession, ({ create, destroy }) =>
            Effect.as(act === "destroy" ? destroy : create(ada), empty)
          )
        )
        const cookie = [...cookies, Stage.cookieOf(session)].join("; ")
        assert.strictEqual((yield* send("POST", "/", { cookie })).status, 204)
        assert.isFalse(yield* isLive(stage, session.token), act)
      }
    })
  )

  it.effect("[R56] this request's own session ends besides four that it carries", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const own = yield* stage.login(ada)
      const others = yield* Effect.forEach([1, 2, 3], () => stage.login(eve))
      const rotated = yield* Effect.forEach(others, ({ token }) => stage.manager.rotate(token))
      const send = yield* stage.open(
        Effect.flatMap(UserSession, ({ destroy, rotate }) => Effect.as(Effect.andThen(rotate, destroy), empty))
      )
      yield* send("POST", "/", { cookie: [own, ...others].map(Stage.cookieOf).join("; ") })
      for (const { token } of rotated) assert.isFalse(yield* isLive(stage, token))
    })
  )
})

describe("half done", () => {
  it.effect("law 8: a second log-in that fails after it ended the first leaves neither its cookie nor its data", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const old = yield* stage.login(ada)
      let deletes = 0
      stage.backend.wire = (operation, run, args) =>
        operation === "delete" && args[1] === old.id && ++deletes > 1 ? WatchedBackend.failure("delete") : run
      const send = yield* stage.open(
        Effect.gen(function* () {
          const session = yield* UserSession
          yield* session.create(ada)
          assert.isTrue(Exit.isFailure(yield* Effect.exit(session.create(eve))))
          assert.isTrue(Exit.isFailure(yield* Effect.exit(session.get)))
          return empty
        })
      )
      const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(old) })
      assert.strictEqual(answer.status, 204)
      assert.deepStrictEqual(answer.setCookie, [])
    })
  )
})
