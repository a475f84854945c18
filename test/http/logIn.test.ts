/** A log-in over HTTP that makes its session from what the visitor had: `create` with a function. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Option, Redacted, Stream } from "effect"
import { HttpServerResponse } from "effect/http"
import { TestClock } from "effect/testing"
import { SessionFrontend } from "effect-sessions"
import { defectOf } from "../support/outcome.ts"
import { empty, isLive, reasonOf, tagOf, text } from "../support/httpSupport.ts"
import { adaWith, visitor } from "../support/onManager.ts"
import { every, times } from "../support/rotating.ts"
import * as Stage from "../support/stage.ts"
import { ada, addWord, eve, nobody, UserSession } from "../support/userSession.ts"
import type { Data } from "../support/userSession.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

const wordsOf = (found: Option.Option<Data>) =>
  Option.match(found, { onNone: () => ["nothing"], onSome: (d) => d.words })

const logIn = Effect.flatMap(UserSession, (session) =>
  Effect.map(session.create(adaWith), ({ data, id }) => text(`${data.words.join()} ${id}`))
)

describe("create with a function", () => {
  it.effect("[R46] carries over what the visitor had; the cookie is the new session's, and the old token is dead", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const before = yield* stage.login(visitor)
      const send = yield* stage.open(logIn)
      const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(before) })
      const [words, id] = answer.text.split(" ")
      assert.strictEqual(words, "milk")
      assert.strictEqual(answer.setCookie.length, 1)
      assert.strictEqual(answer.cookie.split(".")[2], id)
      assert.isFalse(yield* isLive(stage, before.token))
      assert.deepStrictEqual(
        (yield* stage.backend.records).map((record) => record.id),
        [id!]
      )
      // Without a session, and with a cookie that is none: f gets nothing.
      for (const cookie of ["", "__Host-session=junk", Stage.cookieOf(before)]) {
        const other = yield* send("POST", "/", { cookie })
        assert.deepStrictEqual([other.status, other.text.split(" ")[0], other.setCookie.length], [200, "nothing", 1])
      }
    })
  )

  it.effect(
    "[R29] [R46] of several tokens f gets nothing, and they all end; of one that is valid beside junk, its data",
    () =>
      Effect.gen(function* () {
        const stage = yield* Stage.make()
        const [one, two, three] = [yield* stage.login(visitor), yield* stage.login(eve), yield* stage.login(visitor)]
        const send = yield* stage.open(logIn)
        const several = yield* send("POST", "/", { cookie: `${Stage.cookieOf(one)}; ${Stage.cookieOf(two)}` })
        assert.strictEqual(several.text.split(" ")[0], "nothing")
        for (const { token } of [one, two]) assert.isFalse(yield* isLive(stage, token))
        const beside = yield* send("POST", "/", { cookie: `__Host-session=junk; ${Stage.cookieOf(three)}` })
        assert.strictEqual(beside.text.split(" ")[0], "milk")
        assert.isFalse(yield* isLive(stage, three.token))
      })
  )

  it.effect("[R46] a session that has expired, or that is refused, gives nothing, and a new one is made", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const late = yield* stage.login(visitor, { idleTimeout: "1 minute" })
      yield* TestClock.adjust("1 minute")
      const answer = yield* (yield* stage.open(logIn))("POST", "/", { cookie: Stage.cookieOf(late) })
      assert.deepStrictEqual([answer.status, answer.text.split(" ")[0]], [200, "nothing"])
    })
  )

  it.effect(
    "[R46] another tab was faster: NotFound, nothing is made, and the request has no session from then on",
    () =>
      Effect.gen(function* () {
        const stage = yield* Stage.make()
        const before = yield* stage.login(visitor)
        let then = ""
        const send = yield* stage.open(
          Effect.gen(function* () {
            const session = yield* UserSession
            yield* session.get
            // The other tab logs in while this one checks the password.
            yield* stage.manager.createFrom(before.token, () => eve)
            return yield* Effect.ensuring(
              logIn,
              Effect.map(Effect.exit(session.get), (exit) => (then = exit._tag))
            )
          })
        )
        const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(before) })
        assert.deepStrictEqual(
          [answer.status, reasonOf(answer), answer.setCookie, then],
          [401, "NotFound", [], "Failure"]
        )
        assert.deepStrictEqual(
          (yield* stage.backend.records).map(({ principal }) => principal),
          ["eve"]
        )
      })
  )

  it.effect("[R46] one that fails sets no cookie, and the visitor's session stands, in this request too", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const before = yield* stage.login(visitor)
      const words: Array<ReadonlyArray<string>> = []
      const send = yield* stage.open(
        Effect.gen(function* () {
          const session = yield* UserSession
          return yield* Effect.onError(logIn, () =>
            Effect.map(Effect.orDie(session.option), (found) =>
              words.push(wordsOf(Option.map(found, ({ data }) => data)))
            )
          )
        })
      )
      for (const broken of ["create", "update"]) {
        stage.backend.wire = (operation, run) =>
          operation === broken ? WatchedBackend.failure(operation, "notApplied") : run
        const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(before) })
        assert.deepStrictEqual(
          [answer.status, tagOf(answer), answer.setCookie],
          [503, "SessionUnavailable", []],
          broken
        )
        stage.backend.wire = (_, run) => run
        assert.isTrue(yield* isLive(stage, before.token), broken)
        assert.strictEqual((yield* stage.backend.records).length, 1, broken)
      }
      assert.deepStrictEqual(words, [["milk"], ["milk"]])
      const throwing = yield* stage.open(
        Effect.flatMap(UserSession, (session) =>
          session.create(() => {
            throw new Error("boom")
          })
        ).pipe(Effect.as(empty))
      )
      const answer = yield* throwing("POST", "/", { cookie: Stage.cookieOf(before) })
      assert.deepStrictEqual([answer.status, answer.setCookie], [500, []])
      assert.isTrue(yield* isLive(stage, before.token))
    })
  )

  it.effect("[R46] changes of one request run one after the other: f gets what those before it left", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const before = yield* stage.login(nobody)
      stage.backend.wire = (_, call) => Effect.andThen(Effect.andThen(Effect.yieldNow, Effect.yieldNow), call)
      const send = yield* stage.open(
        Effect.gen(function* () {
          const session = yield* UserSession
          const add = (word: string) => session.update((data) => addWord(word)(data)[1])
          yield* Effect.all([add("a"), session.create(adaWith), add("b"), session.create(adaWith), add("c")], {
            concurrency: "unbounded"
          })
          return text((yield* session.get).data.words.join())
        })
      )
      const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(before) })
      assert.strictEqual(answer.text, "a,b,c")
      assert.strictEqual((yield* stage.backend.records).length, 1)
      const token = Redacted.make(answer.cookie.slice(Stage.cookieName.length + 1))
      assert.deepStrictEqual((yield* stage.manager.resolve(token)).data, { ...ada, words: ["a", "b", "c"] })
    })
  )

  it.effect(
    "[R46] a change that is interrupted while it waits for its turn does nothing, and the next has its turn",
    () =>
      Effect.gen(function* () {
        const stage = yield* Stage.make()
        const before = yield* stage.login(nobody)
        stage.backend.wire = (_, call) => Effect.andThen(Effect.yieldNow, call)
        const send = yield* stage.open(
          Effect.gen(function* () {
            const session = yield* UserSession
            const begin = (word: string) =>
              Effect.forkChild(
                session.update((data) => addWord(word)(data)[1]),
                { startImmediately: true }
              )
            const [a, b, c] = yield* Effect.all([begin("a"), begin("b"), begin("c")])
            yield* Fiber.interrupt(b)
            yield* Fiber.join(a)
            return text((yield* Fiber.join(c)).data.words.join())
          })
        )
        assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(before) })).text, "a,c")
      })
  )

  it.effect("[R46] a frontend that throws at a log-out takes no turn from the changes after it", () =>
    Effect.gen(function* () {
      const throwing = Effect.map(SessionFrontend.makeCookie(), (cookie) => ({
        ...cookie,
        carried: () => {
          throw new Error("a frontend's bug")
        }
      }))
      const stage = yield* Stage.make({ frontend: Layer.effect(SessionFrontend.SessionFrontend, throwing) })
      const before = yield* stage.login(nobody)
      const send = yield* stage.open(
        Effect.gen(function* () {
          const session = yield* UserSession
          const exit = yield* Effect.exit(session.destroy)
          assert.include(String(defectOf(exit)), "a frontend's bug")
          return text((yield* session.update((data) => addWord("x")(data)[1])).data.words.join())
        })
      )
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(before) })).text, "x")
    })
  )

  it.effect("[R46] built and not run does nothing, and built before an update acts on what that left", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const before = yield* stage.login(nobody)
      const send = yield* stage.open(
        Effect.gen(function* () {
          const session = yield* UserSession
          const built = session.create(adaWith)
          yield* Effect.yieldNow
          assert.deepStrictEqual(stage.backend.operations, [])
          yield* session.update((data) => addWord("x")(data)[1])
          return text((yield* built).data.words.join())
        })
      )
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(before) })).text, "x")
    })
  )

  it.effect("[R46] of a session whose token was replaced before, its data come along: the old token ends nothing", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make(times)
      const rotate = Effect.flatMap(UserSession, (session) => session.rotate)
      const rotated = yield* stage.open(Effect.andThen(rotate, logIn))
      const scheduled = yield* stage.open(logIn)
      for (const send of [rotated, scheduled]) {
        const before = yield* stage.login(visitor)
        yield* TestClock.adjust(every)
        const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(before) })
        const [words, id] = answer.text.split(" ")
        assert.deepStrictEqual([answer.status, words, answer.cookie.split(".")[2]], [200, "milk", id])
        assert.isFalse(yield* isLive(stage, before.token))
      }
      // Both tokens of one session, as after a rotation whose answer went to another tab.
      const before = yield* stage.login(visitor)
      yield* TestClock.adjust(every)
      const after = yield* stage.manager.resolve(before.token, { rotate: true })
      const both = yield* scheduled("POST", "/", { cookie: `${Stage.cookieOf(before)}; ${Stage.cookieOf(after)}` })
      assert.deepStrictEqual([both.status, both.text.split(" ")[0]], [200, "milk"])
      assert.strictEqual((yield* stage.backend.records).length, 3)
    })
  )

  it.effect("[R46] once the headers are made, it and reauthenticate die before the store is touched", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const before = yield* stage.login(visitor)
      for (const [name, change] of Object.entries({
        create: (session: (typeof UserSession)["Service"]) => session.create(adaWith),
        reauthenticate: (session: (typeof UserSession)["Service"]) => session.reauthenticate()
      })) {
        let ended: unknown
        const send = yield* stage.open(
          Effect.gen(function* () {
            const session = yield* UserSession
            yield* session.get
            const late = Effect.map(Effect.exit(change(session)), (exit) => {
              ended = defectOf(exit)
              return new TextEncoder().encode("x")
            })
            stage.backend.calls.length = 0
            return HttpServerResponse.stream(Stream.fromEffect(late))
          })
        )
        assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(before) })).text, "x")
        assert.match(String(ended), new RegExp(`${name} was called after the response's headers were made`))
        assert.deepStrictEqual(stage.backend.operations, [], name)
      }
      assert.isTrue(yield* isLive(stage, before.token))
    })
  )
})
