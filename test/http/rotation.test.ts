/** New tokens on a schedule, over HTTP: which responses carry them, and which requests are left alone. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Fiber, Redacted } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import { SessionFrontend, SessionMiddleware } from "effect-sessions"
import { TestClock } from "effect/testing"
import * as Browser from "../support/browser.ts"
import { empty, Teapot, text, verified, whoami } from "../support/httpSupport.ts"
import { recordOf } from "../support/records.ts"
import { every, grace, times } from "../support/rotating.ts"
import type * as Stack from "../support/stack.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve, UserSession } from "../support/userSession.ts"

const start = (options?: Stack.HttpParts<UserSession>) => Stage.make({ ...times, ...options })
type TheStage = Effect.Success<ReturnType<typeof start>>

/** A session whose rotation is due, and its cookie. */
const due = Effect.fnUntraced(function* (stage: TheStage, options?: Parameters<TheStage["login"]>[1]) {
  const session = yield* stage.login(ada, options)
  yield* TestClock.adjust(every)
  return { session, cookie: Stage.cookieOf(session) }
})

/** How many scheduled rotations a session has been through, as far as its version tells. */
const versionOf = (stage: TheStage, id: string) =>
  Effect.map(Effect.provideContext(recordOf(UserSession, id), stage.context), ({ version }) => version)

const header = SessionFrontend.layerHeader({ name: "x-session" })

describe("a scheduled rotation's token", () => {
  it.effect("[R55] [R43] comes as a cookie to the absolute deadline, kept out of caches, and opens the session", () =>
    Effect.gen(function* () {
      const stage = yield* start()
      const { cookie } = yield* due(stage)
      const send = yield* stage.guarded(
        Effect.as(verified, text("ada", { headers: { "cache-control": "public, max-age=60" } }))
      )
      const answer = yield* send("GET", "/", { cookie })
      assert.strictEqual(answer.status, 200)
      assert.match(
        answer.setCookie.join(),
        /^__Host-session=v1\.[^;]+; Max-Age=85800; Path=\/; HttpOnly; Secure; SameSite=Lax$/
      )
      assert.strictEqual(answer.headers.get("cache-control"), "no-store")
      assert.notStrictEqual(answer.cookie, cookie)
      const next = yield* send("GET", "/", { cookie: answer.cookie })
      assert.deepStrictEqual([next.status, next.setCookie], [200, []])
    })
  )

  it.effect("[R55] makes no theft of a request that came in time, though its handler looks at the session late", () =>
    Effect.gen(function* () {
      const stage = yield* start()
      const { cookie } = yield* due(stage)
      const gate = yield* Deferred.make<void>()
      const late = yield* stage.open(Effect.andThen(Deferred.await(gate), whoami))
      const upload = yield* Effect.forkChild(late("POST", "/", { cookie }))
      const send = yield* stage.guarded(Effect.as(verified, empty))
      const newer = (yield* send("GET", "/", { cookie })).cookie
      assert.strictEqual((yield* send("GET", "/", { cookie: newer })).status, 204)
      yield* TestClock.adjust(10 * grace)
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual((yield* Fiber.join(upload)).status, 200)
      assert.strictEqual((yield* send("GET", "/", { cookie: newer })).status, 204)
      // One that comes now is a stolen copy.
      assert.strictEqual((yield* send("GET", "/", { cookie })).status, 401)
      assert.strictEqual((yield* send("GET", "/", { cookie: newer })).status, 401)
    })
  )

  it.effect("[R55] is carried by every kind of answer, failures too", () =>
    Effect.gen(function* () {
      const stage = yield* start()
      const handlers = {
        "204": yield* stage.guarded(Effect.as(verified, empty)),
        "200": yield* stage.open(whoami),
        "418": yield* stage.open(Effect.as(whoami, HttpServerResponse.empty({ status: 418 }))),
        "500": yield* stage.guarded(Effect.die("boom")),
        "302": yield* stage.guarded(Effect.succeed(HttpServerResponse.redirect("/elsewhere")))
      }
      const failing = yield* stage.guarded(Effect.fail(new Teapot()))
      for (const [status, send] of [...Object.entries(handlers), ["500", failing] as const]) {
        for (const method of ["GET", "HEAD", "POST"]) {
          const { cookie } = yield* due(stage)
          const answer = yield* send(method, "/", { cookie })
          assert.deepStrictEqual(
            [method, answer.status, answer.setCookie.length],
            [method, Number(status), 1],
            `${method} ${status}`
          )
        }
      }
    })
  )

  it.effect("[R55] keeps the kind of its cookie: persistent, or the browser's", () =>
    Effect.gen(function* () {
      const stage = yield* start()
      const send = yield* stage.guarded(verified)
      const persistent = yield* send("GET", "/", { cookie: (yield* due(stage, { cookie: "persistent" })).cookie })
      assert.match(persistent.setCookie[0]!, /Max-Age=85800/)
      const browser = yield* send("GET", "/", { cookie: (yield* due(stage, { cookie: "browser" })).cookie })
      assert.notMatch(browser.setCookie[0]!, /Max-Age|Expires/)
      const short = yield* due(stage, { absoluteTimeout: "11 minutes" })
      assert.match((yield* send("GET", "/", { cookie: short.cookie })).setCookie[0]!, /Max-Age=60;/)
    })
  )

  it.effect("[R55] [R43] on a route that keeps no session alive ends as early as any other", () =>
    Effect.gen(function* () {
      const stage = yield* start()
      const { cookie } = yield* due(stage)
      const send = yield* stage.app(SessionMiddleware.required(UserSession, { touch: false })(verified))
      assert.match((yield* send("GET", "/", { cookie })).setCookie[0]!, /Max-Age=85800/)
    })
  )

  it.effect("[R55] comes in the header where the frontend has one, and goes the way its request's came", () =>
    Effect.gen(function* () {
      const stage = yield* start({ frontend: header })
      const send = yield* stage.guarded(verified)
      const { session } = yield* due(stage)
      const answer = yield* send("GET", "/", { headers: { "x-session": Redacted.value(session.token) } })
      const token = answer.headers.get("x-session")!
      assert.match(token, /^v1\./)
      assert.notStrictEqual(token, Redacted.value(session.token))
      assert.deepStrictEqual([answer.headers.get("cache-control"), answer.setCookie], ["no-store", []])
      assert.strictEqual((yield* send("GET", "/", { headers: { "x-session": token } })).status, 200)

      const both = yield* start({ frontend: SessionFrontend.layerFirst([header, SessionFrontend.layerCookie()]) })
      const sendBoth = yield* both.guarded(verified)
      const byCookie = yield* sendBoth("GET", "/", { cookie: (yield* due(both)).cookie })
      assert.deepStrictEqual([byCookie.setCookie.length, byCookie.headers.get("x-session")], [1, null])
    })
  )

  it.effect("[R55] goes to the winner of a race alone; the loser is let in", () =>
    Effect.gen(function* () {
      const stage = yield* start()
      const { cookie } = yield* due(stage)
      const send = yield* stage.guarded(verified)
      const answers = yield* Effect.all(
        Array.from({ length: 20 }, () => send("GET", "/", { cookie })),
        { concurrency: "unbounded" }
      )
      assert.isTrue(answers.every(({ status }) => status === 200))
      assert.strictEqual(answers.filter(({ setCookie }) => setCookie.length > 0).length, 1)
      // The losers' cookie stands until the winner's has come back, and for the grace.
      const won = answers.find(({ setCookie }) => setCookie.length > 0)!.cookie
      for (const [next, status] of [
        [cookie, 200],
        [won, 200],
        [cookie, 200]
      ] as const) {
        assert.strictEqual((yield* send("GET", "/", { cookie: next })).status, status)
      }
      yield* TestClock.adjust(grace)
      const stolen = yield* send("GET", "/", { cookie })
      assert.deepStrictEqual([stolen.status, JSON.parse(stolen.text).reason], [401, "Reused"])
      // Law 6: the cookie is not taken off.
      assert.deepStrictEqual(stolen.setCookie, [])
      assert.strictEqual((yield* send("GET", "/", { cookie: won })).status, 401)
    })
  )

  it.effect("[R55] gives way to what the handler does with the session", () =>
    Effect.gen(function* () {
      const stage = yield* start()
      const acts = {
        rotate: Effect.flatMap(UserSession, (s) => Effect.as(s.rotate, empty)),
        reauthenticate: Effect.flatMap(UserSession, (s) => Effect.as(s.reauthenticate(), empty)),
        create: Effect.flatMap(UserSession, (s) => Effect.andThen(s.get, Effect.as(s.create(eve), empty))),
        revokeOthers: Effect.flatMap(UserSession, (s) => Effect.as(s.revokeOthers, empty))
      }
      for (const [name, act] of Object.entries(acts)) {
        const { cookie, session } = yield* due(stage)
        const answer = yield* (yield* stage.open(act))("POST", "/", { cookie })
        assert.deepStrictEqual([answer.status, answer.setCookie.length], [204, 1], name)
        const whose = yield* stage.open(whoami)
        assert.strictEqual((yield* whose("GET", "/", { cookie: answer.cookie })).status, 200, name)
        assert.strictEqual((yield* whose("GET", "/", { cookie: Stage.cookieOf(session) })).status, 401, name)
      }
      for (const name of ["destroy", "revokeAll"] as const) {
        const { cookie } = yield* due(stage)
        const send = yield* stage.open(
          Effect.flatMap(UserSession, (s) => Effect.andThen(s.get, Effect.as(s[name], empty)))
        )
        const answer = yield* send("POST", "/", { cookie })
        assert.match(answer.setCookie.join(), /^__Host-session=; Max-Age=0/, name)
      }
    })
  )

  it.effect("[R55] is at hand in the handler, and a change of the session keeps it", () =>
    Effect.gen(function* () {
      const stage = yield* start()
      const { cookie } = yield* due(stage)
      const send = yield* stage.guarded(
        Effect.gen(function* () {
          const session = yield* UserSession
          yield* session.update((data) => ({ ...data, count: 7 }))
          return text(Redacted.value((yield* session.get).token))
        })
      )
      const answer = yield* send("POST", "/", { cookie })
      assert.strictEqual(`${Stage.cookieName}=${answer.text}`, answer.cookie)
      assert.notStrictEqual(answer.cookie, cookie)
    })
  )

  it.effect("[R55] is not sent by a handler that took long: a faster request may have brought another meanwhile", () =>
    Effect.gen(function* () {
      const stage = yield* start()
      const work = { millis: 0 }
      const slow = yield* stage.guarded(
        Effect.andThen(
          Effect.suspend(() => TestClock.adjust(work.millis)),
          verified
        )
      )
      const look = yield* stage.guarded(verified)
      for (const [millis, cookies] of [
        [10_000, 1],
        [10_001, 0],
        [2 * every, 0]
      ] as const) {
        work.millis = millis
        const { cookie } = yield* due(stage)
        const answer = yield* slow("POST", "/upload", { cookie })
        assert.deepStrictEqual([millis, answer.status, answer.setCookie.length], [millis, 200, cookies])
        assert.strictEqual(answer.headers.get("cache-control"), "no-store")
        yield* TestClock.adjust(every)
        const next = yield* look("GET", "/", { cookie: cookies === 1 ? answer.cookie : cookie })
        assert.deepStrictEqual([next.status, next.setCookie.length], [200, 1 - cookies])
      }
      // What the handler asked for is sent, however long it takes.
      const asked = yield* stage.open(
        Effect.flatMap(UserSession, (s) => Effect.andThen(s.rotate, Effect.as(TestClock.adjust("1 minute"), empty)))
      )
      assert.strictEqual((yield* asked("POST", "/", { cookie: (yield* due(stage)).cookie })).setCookie.length, 1)
    })
  )

  it.effect("[R55] logs a browser in for its whole day, one cookie at a time", () =>
    Effect.gen(function* () {
      const stage = yield* start()
      const login = yield* stage.open(Effect.flatMap(UserSession, (s) => Effect.as(s.create(ada), empty)))
      const look = yield* stage.guarded(verified)
      const browser = Browser.make((method, url, options) => (method === "POST" ? login : look)(method, url, options))
      yield* browser.visit("POST", "/login")
      const seen = new Set<string>()
      for (let i = 0; i < 31; i++) {
        yield* TestClock.adjust("45 minutes")
        assert.strictEqual((yield* browser.visit("GET", "/")).status, 200)
        seen.add(browser.jar.header(new URL("https://app.test/"), yield* Clock.currentTimeMillis))
      }
      // A new token's first visit says that it has come; the one after that gets the next.
      assert.strictEqual(seen.size, 16)
      yield* TestClock.adjust("45 minutes")
      assert.strictEqual(browser.jar.header(new URL("https://app.test/"), yield* Clock.currentTimeMillis), "")
    })
  )
})

describe("no scheduled rotation", () => {
  /** Sends a request with a token that is due, and answers the version of the record, which a rotation raises. */
  const unchanged = Effect.fnUntraced(function* (
    stage: TheStage,
    ask: (session: { readonly token: Redacted.Redacted<string> }) => Effect.Effect<unknown, unknown>
  ) {
    const { session } = yield* due(stage)
    yield* ask(session)
    assert.strictEqual(yield* versionOf(stage, session.id), 1)
  })

  it.effect("[R55] of a bearer token, alone or beside a cookie frontend", () =>
    Effect.gen(function* () {
      const bearer = SessionFrontend.layerBearer()
      for (const frontend of [bearer, SessionFrontend.layerFirst([SessionFrontend.layerCookie(), bearer])]) {
        const stage = yield* start({ frontend })
        const send = yield* stage.guarded(verified)
        yield* unchanged(stage, ({ token }) =>
          Effect.gen(function* () {
            const answer = yield* send("GET", "/", { headers: { authorization: `Bearer ${Redacted.value(token)}` } })
            assert.deepStrictEqual([answer.status, answer.setCookie], [200, []])
          })
        )
      }
    })
  )

  it.effect("[R55] of one of several tokens", () =>
    Effect.gen(function* () {
      const stage = yield* start()
      const send = yield* stage.guarded(verified)
      yield* unchanged(stage, (session) =>
        Effect.gen(function* () {
          const cookie = `${Stage.cookieOf(session)}; ${Stage.cookieName}=junk`
          const answer = yield* send("GET", "/", { cookie })
          assert.deepStrictEqual([answer.status, answer.setCookie], [200, []])
        })
      )
    })
  )

  it.effect("[R55] for a handshake of a socket, whose answer is not ours", () =>
    Effect.gen(function* () {
      const stage = yield* start()
      const send = yield* stage.guarded(verified)
      yield* unchanged(stage, (session) =>
        send("GET", "/", {
          cookie: Stage.cookieOf(session),
          headers: { upgrade: "websocket", connection: "Upgrade", "sec-fetch-site": "same-origin" }
        })
      )
    })
  )

  it.effect("[R55] for the manager, for fromRequest, and for a route that does not ask for the session", () =>
    Effect.gen(function* () {
      const stage = yield* start()
      yield* unchanged(stage, ({ token }) => stage.manager.resolve(token, { touch: false }))
      yield* unchanged(stage, (session) =>
        Effect.provideContext(
          SessionMiddleware.fromRequest(
            UserSession,
            new Request("https://app.test/page", { headers: { cookie: Stage.cookieOf(session) } })
          ),
          stage.context
        )
      )
      const send = yield* stage.open(Effect.succeed(empty))
      yield* unchanged(stage, (session) => send("GET", "/", { cookie: Stage.cookieOf(session) }))
    })
  )

  it.effect("[R55] for a sub-request in the process, whose response is its caller's", () =>
    Effect.gen(function* () {
      const stage = yield* start()
      const guard = Effect.provideContext(SessionMiddleware.required(UserSession)(verified), stage.context)
      yield* unchanged(stage, (session) =>
        Effect.gen(function* () {
          const inner = new Request("https://app.test/inner", { headers: { cookie: Stage.cookieOf(session) } })
          const send = yield* stage.open(
            Effect.provideService(guard, HttpServerRequest.HttpServerRequest, HttpServerRequest.fromWeb(inner))
          )
          const answer = yield* send("GET", "/")
          assert.deepStrictEqual([answer.status, answer.text, answer.setCookie], [200, "ada", []])
        })
      )
    })
  )

  it.effect("[R55] once the response's headers are made", () =>
    Effect.gen(function* () {
      const stage = yield* start()
      yield* unchanged(stage, (session) =>
        Effect.gen(function* () {
          const sent = yield* Deferred.make<void>()
          let late: Fiber.Fiber<unknown, unknown> | undefined
          const send = yield* stage.open(
            Effect.gen(function* () {
              const { get } = yield* UserSession
              late = yield* Effect.forkDetach(Effect.andThen(Deferred.await(sent), get))
              return HttpServerResponse.empty({ headers: { "cache-control": "private" } })
            })
          )
          const answer = yield* send("GET", "/", { cookie: Stage.cookieOf(session) })
          assert.deepStrictEqual(answer.setCookie, [])
          yield* Deferred.succeed(sent, undefined)
          yield* Fiber.join(late!)
        })
      )
    })
  )
})
