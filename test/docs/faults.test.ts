/** docs/faults.md: its code does what it says, and the answers and log lines are those it lists. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Latch, Layer, Option, Schema } from "effect"
import { HttpRouter } from "effect/http"
import { TestClock } from "effect/testing"
import { SessionError, SessionMiddleware } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { type Answer, serve } from "../support/client.ts"
import { modulesOf } from "../support/fences.ts"
import { empty } from "../support/httpSupport.ts"
import { silent } from "../support/logs.ts"
import { outcome } from "../support/outcome.ts"
import * as Stack from "../support/stack.ts"
import * as Stage from "../support/stage.ts"
import { ada, addWord, UserSession } from "../support/userSession.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

const root = join(import.meta.dirname, "../..")
const guide = readFileSync(join(root, "docs/faults.md"), "utf8")
const section = (heading: string): string => guide.split(/^## /m).find((text) => text.startsWith(heading))!

const block = modulesOf("docs/faults.md")

const { CartSession, add } = await block("once")
const { Account, Shop, UserSession: GuideSession } = await block("outage")
const { repeat } = await block("repeat")

const away: WatchedBackend.Wire = (operation) => WatchedBackend.failure(operation)

describe("what a client sees", () => {
  it.effect("of each error is what the table says it is", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const cookie = Stage.cookieOf(yield* stage.login(ada))
      const read = yield* stage.open(Effect.flatMap(UserSession, ({ get }) => Effect.as(get, empty)))
      const conflict = yield* stage.open(
        Effect.flatMap(UserSession, ({ get }) => Effect.andThen(get, Effect.fail(new SessionError.SessionConflict())))
      )
      const told = section("What a client sees")
      const seen = Effect.fnUntraced(function* (answer: Effect.Effect<Answer>) {
        const { headers, setCookie, status, text } = yield* answer
        assert.deepStrictEqual(setCookie, [])
        const row = told.split("\n").find((line) => line.startsWith(`| ${status} |`))
        assert.include(row, `\`${text}\``)
        const own = (["retry-after", "www-authenticate"] as const).filter((name) => headers.has(name))
        assert.strictEqual(
          own.join(),
          /Retry-After: 1/.test(row!) ? "retry-after" : /WWW-/.test(row!) ? "www-authenticate" : ""
        )
        return headers.get("retry-after")
      })
      assert.isNull(yield* seen(conflict("GET", "/", { cookie })))
      assert.isNull(yield* seen(read("POST", "/", { cookie, headers: { "sec-fetch-site": "cross-site" } })))
      stage.backend.wire = away
      assert.strictEqual(yield* seen(read("GET", "/", { cookie })), "1")
      stage.backend.wire = (_, call) => call
      yield* TestClock.adjust("1 hour")
      assert.isNull(yield* seen(read("GET", "/", { cookie })))
    }).pipe(Effect.provide(silent))
  )
})

describe("an outage", () => {
  it.effect("that is longer than the idle timeout logs out, since no request could keep the session alive", () =>
    Effect.gen(function* () {
      const watched = WatchedBackend.make()
      yield* Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        const { token } = yield* sessions.create(ada)
        yield* TestClock.adjust("30 minutes")
        watched.wire = (operation, call) => (operation === "touch" ? away(operation, call, []) : call)
        assert.strictEqual(yield* outcome(sessions.resolve(token)), "ok")
        watched.wire = away
        yield* TestClock.adjust("29 minutes")
        assert.strictEqual(yield* outcome(sessions.resolve(token)), "SessionUnavailable notApplied")
        yield* TestClock.adjust("1 minute")
        watched.wire = (_, call) => call
        assert.strictEqual(yield* outcome(sessions.resolve(token)), "SessionInvalid Expired")
      }).pipe(Effect.provide(Stack.manager(UserSession, { backend: watched.layer })))
    }).pipe(Effect.provide(silent))
  )

  it.effect("is a page of one's own where the route is guarded, and none where it is open", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const LogIn = HttpRouter.add(
        "POST",
        "/login",
        Effect.flatMap(GuideSession as Effect.Effect<any>, ({ create }) =>
          Effect.as(create({ username: "ada" }), empty)
        )
      ).pipe(Layer.provide(SessionMiddleware.router(GuideSession).layer))
      const send = yield* serve(
        Layer.mergeAll(Account, Shop, LogIn).pipe(
          Layer.provide(Stack.http(GuideSession, { backend: backend.layer }))
        ) as unknown as Layer.Layer<never, never, HttpRouter.HttpRouter>
      )
      const { cookie } = yield* send("POST", "/login")
      const pages = Effect.all([send("GET", "/account", { cookie }), send("GET", "/shop", { cookie })])
      const shown = Effect.map(pages, (pages) =>
        pages.map(({ headers, status, text }) => [status, text, headers.get("retry-after")])
      )
      assert.deepStrictEqual(yield* shown, [
        [200, "hello ada", null],
        [200, "welcome, ada", null]
      ])
      backend.wire = away
      assert.deepStrictEqual(yield* shown, [
        [503, "We will be back in a moment.", "1"],
        [200, "welcome, stranger", null]
      ])
    }).pipe(Effect.provide(silent))
  )
})

describe("sent twice", () => {
  /** A log-in that takes over what the visitor has, with what it waits for once it has read that. */
  const logIn = (afterRead: Effect.Effect<void>) =>
    Effect.gen(function* () {
      const session = yield* UserSession
      yield* session.option
      yield* afterRead
      yield* session.create((before) => ({ ...ada, words: Option.isSome(before) ? before.value.words : [] }))
      return empty
    })
  const visitor = { words: ["tea"], count: 0 }

  it.effect("a log-in sent twice takes the cart over once, at once or one after the other", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const words = stage.manager.list("ada").pipe(Effect.map((all) => all.map(({ data }) => data?.words.join())))

      let read = 0
      const both = yield* Latch.make()
      const atOnce = yield* stage.open(
        logIn(Effect.suspend(() => (++read === 2 ? Effect.andThen(both.open, Effect.void) : both.await)))
      )
      const first = Stage.cookieOf(yield* stage.login(visitor))
      const answers = yield* Effect.all(
        [1, 2].map(() => atOnce("POST", "/", { cookie: first })),
        { concurrency: 2 }
      )
      assert.deepStrictEqual(answers.map(({ status }) => status).sort(), [204, 401])
      assert.deepStrictEqual(yield* words, ["tea"])

      yield* stage.manager.revokeAll("ada")
      yield* TestClock.adjust(1)
      const inTurn = yield* stage.open(logIn(Effect.void))
      const second = Stage.cookieOf(yield* stage.login(visitor))
      for (const _ of [1, 2]) assert.strictEqual((yield* inTurn("POST", "/", { cookie: second })).status, 204)
      assert.deepStrictEqual((yield* words).sort(), ["", "tea"])
    })
  )

  it.effect("an update sent twice is made twice, unless it carries a key of its own", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const { token } = yield* sessions.create(ada)
      yield* sessions.modify(token, addWord("tea"))
      yield* sessions.modify(token, addWord("tea"))
      assert.deepStrictEqual((yield* sessions.resolve(token)).data.words, ["tea", "tea"])
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("with such a key it is made once", () =>
    Effect.gen(function* () {
      yield* add("click-1", "tea")
      yield* add("click-1", "tea")
      const { data }: any = yield* Effect.flatMap(CartSession as Effect.Effect<any>, ({ get }) => get)
      assert.deepStrictEqual(data, { items: { "click-1": "tea" } })
    }).pipe(Effect.provide(SessionTest.layerVerified(CartSession, { items: {} }) as Layer.Layer<any>))
  )
})

describe("an answer that was lost", () => {
  class Other extends Schema.TaggedError<Other>()("Other", {}) {}
  const failing = (times: number, error: { readonly _tag: string }) => {
    const state = { calls: 0 }
    return {
      state,
      call: Effect.suspend(() => (++state.calls <= times ? Effect.fail(error) : Effect.succeed("done")))
    }
  }

  it.effect("is asked for again by the recipe, three times at most, and no other failure is", () =>
    Effect.gen(function* () {
      const unavailable = new SessionError.SessionUnavailable({ outcome: "notApplied" })
      for (const [{ call, state }, calls] of [
        [failing(2, unavailable), 3],
        [failing(9, unavailable), 4],
        [failing(9, new Other()), 1]
      ] as const) {
        const fiber = yield* Effect.forkChild(Effect.exit(repeat(call) as typeof call))
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.join(fiber)
        assert.strictEqual(state.calls, calls)
      }
    })
  )
})

describe("in the log", () => {
  it("the lines are those of the sources", () => {
    const sources = globSync("src/**/*.ts", { cwd: root }).map((file) => readFileSync(join(root, file), "utf8"))
    const lines = [...section("In the log").matchAll(/^\| `([^`]+)` \|/gm)].map(([, line]) => line!)
    assert.isAbove(lines.length, 4)
    assert.deepStrictEqual(
      lines.filter((line) => !sources.some((source) => source.includes(`logWarning("${line}")`))),
      []
    )
  })
})
