/**
 * Law 5: the session's headers are on the response on success, failure and defect alike, and after the handler's own.
 * After they are made, `create` and `rotate` die before they touch the store.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Schema, Stream } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { SessionError, SessionFrontend, SessionMiddleware } from "effect-sessions"
import * as Client from "../support/client.ts"
import { empty, logged, startServer, Teapot, text, verified, whoami } from "../support/httpSupport.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import * as Stage from "../support/stage.ts"
import { ada, UserSession } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

describe("law 5: headers", () => {
  const endings: Record<string, readonly [App<unknown>, status: number]> = {
    success: [Effect.succeed(text("fine")), 200],
    "a typed failure": [Effect.fail(new Teapot()), 500],
    "a failure with its own status": [Effect.fail(new SessionError.SessionConflict()), 409],
    "a failing schema": [Effect.flatMap(Schema.decodeUnknownEffect(Schema.Int)("x"), () => Effect.succeed(empty)), 400],
    "a defect": [Effect.die(new Error("boom")), 500],
    "a defect that is a response": [Effect.die(HttpServerResponse.empty({ status: 418 })), 418]
  }
  type App<E> = Effect.Effect<HttpServerResponse.HttpServerResponse, E>

  it.effect("law 5: on success, typed failure and defect, in a web handler and in a router", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      for (const [title, [ending, status]] of Object.entries(endings)) {
        const handler = Effect.flatMap(UserSession, (session) => Effect.andThen(session.create(ada), ending))
        const plain = yield* stage.open(handler)
        const routed = yield* Client.serve(
          HttpRouter.add(
            "POST",
            "/",
            handler as Effect.Effect<HttpServerResponse.HttpServerResponse, never, UserSession>
          ).pipe(
            Layer.provide(SessionMiddleware.router(UserSession).layer),
            Layer.provide(Layer.succeedContext(stage.context))
          )
        )
        for (const send of [plain, routed]) {
          const answer = yield* send("POST", "/")
          assert.strictEqual(answer.status, status, title)
          // The token reaches the client though the handler failed afterwards: the session is there.
          assert.strictEqual(answer.setCookie.length, 1, title)
          assert.strictEqual(answer.headers.get("vary"), "Cookie", title)
          assert.strictEqual(answer.headers.get("cache-control"), "no-store", title)
          const me = yield* stage.open(whoami)
          assert.strictEqual((yield* me("GET", "/", { cookie: answer.cookie })).text, "ada", title)
        }
      }
    })
  )

  it.effect("law 5: after the handler's own headers", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const send = yield* stage.open(
        Effect.gen(function* () {
          yield* (yield* UserSession).rotate
          return text("x", { headers: { vary: "Accept-Encoding", "cache-control": "public, max-age=3600" } }).pipe(
            HttpServerResponse.setCookieUnsafe("theme", "dark"),
            HttpServerResponse.setCookieUnsafe(Stage.cookieName, "the handler's own")
          )
        })
      )
      const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(session) })
      assert.strictEqual(answer.headers.get("vary"), "Accept-Encoding, Cookie")
      assert.strictEqual(answer.headers.get("cache-control"), "no-store")
      assert.deepStrictEqual(answer.setCookie.map((header) => header.split("=")[0]).sort(), [Stage.cookieName, "theme"])
      assert.notInclude(answer.setCookie.join(), "own")
    })
  )

  it.effect("law 5: a request that is interrupted has its headers all the same", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const send = yield* stage.open(
        Effect.flatMap(UserSession, (session) => Effect.andThen(session.create(ada), Effect.interrupt))
      )
      const answer = yield* send("POST", "/")
      assert.deepStrictEqual([answer.status, answer.setCookie.length], [503, 1])
    })
  )

  it.effect("law 5: [R77] create and rotate die after the headers are made, before they touch the store", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      for (const operation of ["create", "rotate", "revokeOthers"] as const) {
        stage.backend.calls.length = 0
        let exit: Exit.Exit<unknown, unknown> | undefined
        const send = yield* stage.guarded(
          Effect.gen(function* () {
            const handle = yield* UserSession
            const late = Effect.gen(function* () {
              const change: Effect.Effect<unknown, unknown> =
                operation === "create" ? handle.create(ada) : handle[operation]
              exit = yield* Effect.exit(change)
              return new TextEncoder().encode("streamed")
            })
            return HttpServerResponse.stream(Stream.fromEffect(late))
          })
        )
        const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(session) })
        assert.strictEqual(answer.text, "streamed")
        assert.deepStrictEqual(answer.setCookie, [])
        assert.match(String(exit), /after the response's headers were made/, operation)
        assert.isTrue(exit !== undefined && Exit.hasDies(exit), operation)
        assert.deepStrictEqual(stage.backend.operations, ["read"], operation)
      }
      assert.strictEqual((yield* stage.backend.records).length, 1)
    })
  )

  it.effect("law 5: total, even when a frontend throws", () =>
    Effect.gen(function* () {
      const throwing = Layer.succeed(SessionFrontend.SessionFrontend, {
        security: [],
        extract: () => Effect.fail(new SessionError.SessionMissing()),
        attach: () => {
          throw new Error("broken")
        },
        detach: () => {
          throw new Error("broken")
        }
      })
      const stage = yield* Stage.make({ frontend: throwing })
      const login = Effect.flatMap(UserSession, (session) => Effect.as(session.create(ada), text("secret body")))
      const logout = Effect.flatMap(UserSession, (session) =>
        Effect.as(Effect.andThen(session.create(ada), session.destroy), text("secret body"))
      )
      for (const handler of [login, logout]) {
        const { lines, value } = yield* logged(Effect.flatMap(stage.open(handler), (send) => send("POST", "/")))
        assert.deepStrictEqual([value.status, value.text, value.setCookie], [500, "", []])
        assert.strictEqual(value.headers.get("cache-control"), "no-store")
        assert.deepStrictEqual(lines, [
          "Error test/UserSession: the frontend failed to put the session on the response"
        ])
      }
    })
  )

  it.effect("law 5: a cookie that was not to be set is not set by a rotation either", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const send = yield* stage.open(
        Effect.gen(function* () {
          const session = yield* UserSession
          yield* session.create(ada, { cookie: "none" })
          yield* session.rotate
          return empty
        })
      )
      assert.deepStrictEqual((yield* send("POST", "/")).setCookie, [])
    })
  )

  it.effect("[R61] law 5: a throwing onFailure has the session's headers on its 500, as a failing one has", () =>
    Effect.gen(function* () {
      const throwing = HttpRouter.add("GET", "/", verified).pipe(
        Layer.provide(
          SessionMiddleware.routerRequired(UserSession, {
            onFailure: () => {
              throw new Error("broken")
            }
          }).layer
        )
      )
      const backend = WatchedBackend.make()
      const send = yield* Client.serve(
        throwing.pipe(Layer.provide(Stack.http(UserSession, { backend: backend.layer })))
      )
      const stranger = yield* send("GET", "/")
      assert.deepStrictEqual([stranger.status, stranger.headers.get("vary")], [500, "Cookie"])
      const forged = yield* send("GET", "/", { cookie: "__Host-session=junk" })
      assert.deepStrictEqual(
        [forged.status, forged.headers.get("vary"), forged.headers.get("cache-control")],
        [500, "Cookie", "no-store"]
      )
    })
  )

  it.live("law 5: [R77] create in a body that streams already dies, and reaches no store", () =>
    Effect.gen(function* () {
      const { backend, send } = yield* startServer()
      const answer = yield* send("GET", "/stream")
      assert.deepStrictEqual([answer.status, answer.text, answer.setCookie], [200, "Failure", []])
      assert.strictEqual(answer.headers.get("vary"), "Cookie")
      assert.deepStrictEqual(backend.operations, [])
    })
  )
})
