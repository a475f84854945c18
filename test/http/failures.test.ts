/** Parts that fail, throw or never answer. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Layer } from "effect"
import { HttpServerResponse } from "effect/http"
import { SessionFrontend } from "effect-sessions"
import { TestClock } from "effect/testing"
import type * as Client from "../support/client.ts"
import { empty, isLive, tagOf, text } from "../support/httpSupport.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve, UserSession } from "../support/userSession.ts"

describe("a backend that fails, or never answers", () => {
  const faults: Record<string, WatchedBackend.Wire> = {
    fails: (operation) => WatchedBackend.failure(operation),
    dies: () => Effect.die(new Error("driver bug: hunter2")),
    "never answers": () => Effect.never,
    "never answers, and cannot be interrupted": () => Effect.uninterruptible(Effect.never)
  }

  it.effect(
    "[R78] is a 503 with Retry-After within the deadline, on guarded and open routes, and never 'no session'",
    () =>
      Effect.gen(function* () {
        for (const [title, wire] of Object.entries(faults)) {
          const stage = yield* Stage.make()
          const session = yield* stage.login(ada)
          stage.backend.wire = wire
          let ran = 0
          const run = Effect.sync(() => void ran++)
          const routes: Record<string, Client.Send> = {
            guarded: yield* stage.guarded(Effect.as(run, empty)),
            get: yield* stage.open(Effect.flatMap(UserSession, (s) => Effect.andThen(s.get, Effect.as(run, empty)))),
            option: yield* stage.open(
              Effect.flatMap(UserSession, (s) => Effect.andThen(s.option, Effect.as(run, empty)))
            ),
            update: yield* stage.open(
              Effect.flatMap(UserSession, (s) =>
                Effect.andThen(
                  s.update((d) => ({ ...d })),
                  Effect.as(run, empty)
                )
              )
            ),
            create: yield* stage.open(
              Effect.flatMap(UserSession, (s) => Effect.andThen(s.create(ada), Effect.as(run, empty)))
            ),
            destroy: yield* stage.open(
              Effect.flatMap(UserSession, (s) => Effect.andThen(s.destroy, Effect.as(run, empty)))
            ),
            revokeAll: yield* stage.open(
              Effect.flatMap(UserSession, (s) => Effect.andThen(s.revokeAll, Effect.as(run, empty)))
            )
          }
          for (const [route, send] of Object.entries(routes)) {
            const began = yield* Clock.currentTimeMillis
            let ended: number | undefined
            const fiber = yield* Effect.forkChild(
              Effect.tap(send("POST", "/", { cookie: Stage.cookieOf(session) }), () =>
                Effect.map(Clock.currentTimeMillis, (now) => void (ended = now))
              ),
              { startImmediately: true }
            )
            yield* TestClock.adjust("1500 millis")
            const answer = yield* Fiber.join(fiber)
            const row = `${title}: ${route}`
            assert.deepStrictEqual([answer.status, answer.headers.get("retry-after")], [503, "1"], row)
            assert.strictEqual(tagOf(answer), "SessionUnavailable", row)
            assert.deepStrictEqual(answer.setCookie, [], row)
            assert.notInclude(answer.text, "hunter2", row)
            assert.isTrue(ended !== undefined && ended - began <= 1500, row)
          }
          assert.strictEqual(ran, 0, title)
          // It was never taken for "no session".
          stage.backend.wire = (_, call) => call
          assert.isTrue(yield* isLive(stage, session.token))
        }
      })
  )

  it.effect("[R78] a log-in whose revocation never answers is a 503 within the deadline too", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      stage.backend.wire = (operation, call) => (operation === "delete" ? Effect.never : call)
      let created: number | undefined
      const login = yield* stage.open(
        Effect.gen(function* () {
          const now = Effect.map(Clock.currentTimeMillis, (now) => void (created = now))
          yield* Effect.onExit((yield* UserSession).create(ada), () => now)
          return empty
        })
      )
      const began = yield* Clock.currentTimeMillis
      const fiber = yield* Effect.forkChild(login("POST", "/", { cookie: Stage.cookieOf(session) }), {
        startImmediately: true
      })
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).status, 503)
      // The deadline of the revocation, and a quarter more to delete the new session again.
      assert.strictEqual(created! - began, 1250)
    })
  )

  it.effect("[R78] Retry-After is set also where the handler turned the error into its own 503", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      stage.backend.wire = faults["fails"]!
      const own = yield* stage.open(
        Effect.flatMap(UserSession, ({ get }) => Effect.as(get, empty)).pipe(
          Effect.catch(() => Effect.succeed(text("busy", { status: 503 })))
        )
      )
      const answer = yield* own("GET", "/", { cookie: Stage.cookieOf(session) })
      assert.deepStrictEqual([answer.text, answer.headers.get("retry-after")], ["busy", "1"])
      const unrelated = yield* stage.open(Effect.as(UserSession, text("busy", { status: 503 })))
      assert.isNull((yield* unrelated("GET", "/")).headers.get("retry-after"))
    })
  )

  it.effect("[R76] a write that fails leaves no byte of the handler's body, and no cookie", () =>
    Effect.gen(function* () {
      for (const operation of ["create", "update"] as const) {
        const stage = yield* Stage.make()
        const session = yield* stage.login(ada)
        stage.backend.wire = (called, call) => (called === operation ? WatchedBackend.failure(called) : call)
        const send = yield* stage.open(
          Effect.gen(function* () {
            const handle = yield* UserSession
            yield* operation === "create" ? handle.create(eve) : handle.rotate
            return text("the handler's body").pipe(HttpServerResponse.setCookieUnsafe("other", "x"))
          })
        )
        const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(session) })
        assert.deepStrictEqual([answer.status, answer.setCookie], [503, []], operation)
        assert.deepStrictEqual(JSON.parse(answer.text), { _tag: "SessionUnavailable", outcome: "notApplied" })
        stage.backend.wire = (_, call) => call
        assert.isTrue(yield* isLive(stage, session.token))
      }
    })
  )
})

describe("parts that throw", () => {
  it.effect("a frontend or a verifier that throws is a defect each time it is asked, and holds nobody up", () =>
    Effect.gen(function* () {
      const broken = () => {
        throw new Error("broken")
      }
      const token = yield* Effect.map(
        Effect.flatMap(Stage.make(), (stage) => stage.login(ada)),
        Stage.cookieOf
      )
      for (const options of [
        {
          frontend: Layer.succeed(SessionFrontend.SessionFrontend, {
            security: [],
            extract: broken,
            attach: (response: HttpServerResponse.HttpServerResponse) => response,
            detach: (response: HttpServerResponse.HttpServerResponse) => response
          })
        },
        { verifier: Layer.succeed(UserSession.Verifier, { verify: broken }) }
      ]) {
        const stage = yield* Stage.make(options)
        const cookie = "verifier" in options ? Stage.cookieOf(yield* stage.login(ada)) : token
        const exits: Array<Exit.Exit<unknown, unknown>> = []
        const twice = Effect.gen(function* () {
          const session = yield* UserSession
          exits.push(yield* Effect.exit(session.get), yield* Effect.exit(session.get))
          return empty
        })
        assert.strictEqual((yield* (yield* stage.open(twice))("GET", "/", { cookie })).status, 204)
        assert.deepStrictEqual(exits.map(Exit.hasDies), [true, true])
      }
    })
  )

  it.effect("[R61] a frontend that throws where it is asked leaves no response without Vary", () =>
    Effect.gen(function* () {
      const cookie = yield* SessionFrontend.makeCookie()
      const extract = () => {
        throw new Error("broken")
      }
      const frontend = Layer.succeed(SessionFrontend.SessionFrontend, { ...cookie, extract })
      const stage = yield* Stage.make({ frontend })
      const guarded = yield* stage.guarded(Effect.succeed(empty))
      const open = yield* stage.open(Effect.flatMap(UserSession, ({ get }) => Effect.as(get, empty)))
      for (const send of [guarded, open]) {
        for (const method of ["GET", "POST"]) {
          const answer = yield* send(method, "/", { headers: { "sec-fetch-site": "cross-site" } })
          assert.deepStrictEqual([answer.status, answer.headers.get("vary")], [500, "Cookie"])
          // A request that is refused before it is read shows nothing of a session.
          if (method === "GET") assert.strictEqual(answer.headers.get("cache-control"), "no-store")
        }
      }
    })
  )
})
