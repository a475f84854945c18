/**
 * Law 1: there is one handle for each request and definition, whichever middlewares meet on a route. It is taken only
 * if it belongs to this very request, and a failed attempt is remembered for the next one.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option } from "effect"
import { HttpEffect, HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import type { Session } from "effect-sessions"
import { SessionError, SessionMiddleware, SessionVerifier } from "effect-sessions"
import * as Client from "../support/client.ts"
import { empty, isLive, text, verified } from "../support/httpSupport.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve, UserSession } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

describe("law 1: one handle for each request and definition", () => {
  it.effect("law 1: one handle per request and definition, however its middlewares nest", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const handles = new Set<unknown>()
      const seen = Effect.tap(UserSession, (handle) => Effect.sync(() => handles.add(handle)))
      const inner = Effect.gen(function* () {
        const session = yield* seen
        yield* session.update((data) => ({ ...data, count: data.count + 1 }))
        yield* session.rotate
        return empty
      })
      const open = SessionMiddleware.make(UserSession)
      const guard = SessionMiddleware.required(UserSession)
      const nestings = {
        "open(open)": open(Effect.flatMap(seen, () => open(inner))),
        "open(guard)": open(Effect.flatMap(seen, () => guard(inner))),
        "guard(open)": guard(Effect.flatMap(seen, () => open(inner))),
        "guard(guard)": guard(Effect.flatMap(seen, () => guard(inner))),
        "open(guard(open(guard)))": open(guard(open(Effect.flatMap(seen, () => guard(inner)))))
      }
      for (const [nesting, app] of Object.entries(nestings)) {
        const session = yield* stage.login(ada)
        handles.clear()
        const answer = yield* (yield* stage.app(app))("POST", "/", { cookie: Stage.cookieOf(session) })
        assert.strictEqual(answer.status, 204, nesting)
        assert.strictEqual(handles.size, 1, nesting)
        assert.deepStrictEqual(stage.backend.operations, ["read", "update", "update"], nesting)
        assert.strictEqual(answer.setCookie.length, 1, nesting)
        assert.strictEqual(answer.headers.get("vary"), "Cookie", nesting)
      }
    })
  )

  it.effect("law 1: combined middlewares of a router share one handle and one read", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const open = SessionMiddleware.router(UserSession)
      const guard = SessionMiddleware.routerRequired(UserSession)
      const route = (path: `/${string}`) =>
        HttpRouter.add(
          "GET",
          path,
          Effect.gen(function* () {
            const { id } = yield* (yield* UserSession).get
            return text(String(id === (yield* UserSession.Verified).id))
          })
        )
      const send = yield* Client.serve(
        Layer.mergeAll(
          HttpRouter.add(
            "POST",
            "/login",
            Effect.flatMap(UserSession, (s) => Effect.as(s.create(ada), empty))
          ).pipe(Layer.provide(open.layer)),
          route("/a").pipe(Layer.provide(guard.layer)),
          route("/b").pipe(Layer.provide(guard.combine(open).layer)),
          route("/c").pipe(Layer.provide(open.combine(guard).layer)),
          route("/d").pipe(Layer.provide(guard.layer), Layer.provide(open.layer))
        ).pipe(Layer.provide(Stack.http(UserSession, { backend: backend.layer })))
      )
      const { cookie } = yield* send("POST", "/login")
      for (const path of ["/a", "/b", "/c", "/d"]) {
        backend.calls.length = 0
        const answer = yield* send("GET", path, { cookie })
        assert.deepStrictEqual([answer.status, answer.text, backend.operations], [200, "true", ["read"]], path)
        backend.calls.length = 0
        assert.strictEqual((yield* send("GET", path)).status, 401, path)
      }
    })
  )

  it.effect("law 1: a failed attempt is remembered for the next one", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const { token } = yield* stage.login(ada)
      yield* stage.manager.destroy(token)
      stage.backend.calls.length = 0
      const guard = SessionMiddleware.required(UserSession)
      const send = yield* stage.app(
        SessionMiddleware.make(UserSession)(
          Effect.catch(guard(verified), (first) =>
            Effect.catch(guard(verified), (second) => Effect.succeed(text(`${first === second}`)))
          )
        )
      )
      const answer = yield* send("GET", "/", { cookie: Stage.cookieOf({ token }) })
      assert.deepStrictEqual([answer.text, stage.backend.operations], ["true", ["read"]])
    })
  )

  it.effect("law 1: an in-process sub-request does not inherit its caller's user", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const guard = Effect.provideContext(
        Effect.catchTag(SessionMiddleware.required(UserSession)(verified), "SessionMissing", () =>
          Effect.succeed(text("nobody"))
        ),
        stage.context
      )
      const other = (cookie?: string) =>
        new Request("https://app.test/inner", cookie === undefined ? {} : { headers: { cookie } })
      const bodyOf = (response: HttpServerResponse.HttpServerResponse) =>
        Effect.promise(() => HttpServerResponse.toWeb(response).text())
      const stranger = Stage.cookieOf(yield* stage.login(eve))
      const send = yield* stage.guarded(
        Effect.gen(function* () {
          const direct = (request: Request) =>
            Effect.flatMap(
              Effect.provideService(guard, HttpServerRequest.HttpServerRequest, HttpServerRequest.fromWeb(request)),
              bodyOf
            )
          // A whole handler, run with all that this one's fiber carries.
          const context = yield* Effect.context<HttpServerRequest.HttpServerRequest>()
          const handler = HttpEffect.toWebHandlerWith<
            HttpServerRequest.HttpServerRequest,
            HttpServerRequest.HttpServerRequest
          >(context)(guard)
          const throughHandler = (request: Request) => Effect.promise(() => handler(request).then((r) => r.text()))
          const request = yield* HttpServerRequest.HttpServerRequest
          const rewritten = Effect.flatMap(
            Effect.provideService(guard, HttpServerRequest.HttpServerRequest, request.modify({ url: "/rewritten" })),
            bodyOf
          )
          return text(
            [
              yield* direct(other()),
              yield* throughHandler(other()),
              yield* direct(other(stranger)),
              yield* throughHandler(other(stranger)),
              yield* rewritten
            ].join()
          )
        })
      )
      const answer = yield* send("GET", "/", { cookie: Stage.cookieOf(session) })
      assert.strictEqual(answer.text, "nobody,nobody,eve,eve,ada")
      // One read for each request; the rewritten one is the same request.
      assert.deepStrictEqual(stage.backend.operations, ["read", "read", "read"])
    })
  )

  it.effect("law 1: the handle and what a guard verified are there for the wrapped app, and not after it", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const present = Effect.gen(function* () {
        const handle = yield* Effect.serviceOption(UserSession)
        const verified = yield* Effect.serviceOption(UserSession.Verified)
        return `${Option.isSome(handle)} ${Option.isSome(verified)}`
      })
      const open = SessionMiddleware.make(UserSession)
      const guard = SessionMiddleware.required(UserSession)
      const then = (
        app: Effect.Effect<unknown, unknown, HttpServerRequest.HttpServerRequest | Session.Bound<UserSession>>
      ) => Effect.map(Effect.andThen(Effect.exit(app), present), (after) => text(after))
      const broken = Effect.andThen(UserSession, Effect.die(new Error("boom")))
      const rows: Record<
        string,
        readonly [
          Effect.Effect<
            HttpServerResponse.HttpServerResponse,
            unknown,
            HttpServerRequest.HttpServerRequest | Session.Bound<UserSession>
          >,
          string
        ]
      > = {
        "after open": [then(open(Effect.as(UserSession, empty))), "false false"],
        "after guard": [then(guard(verified)), "false false"],
        "after open that died": [then(open(broken)), "false false"],
        "after guard that died": [then(guard(broken)), "false false"],
        "after guard in open": [open(then(guard(verified))), "true false"],
        "after a guard that died in open": [open(then(guard(broken))), "true false"],
        "after open in guard": [guard(then(open(Effect.as(UserSession, empty)))), "true true"]
      }
      for (const [title, [app, expected]] of Object.entries(rows)) {
        const answer = yield* (yield* stage.app(app))("GET", "/", { cookie: Stage.cookieOf(session) })
        assert.strictEqual(answer.text, expected, title)
      }
      const refused = yield* stage.app(then(guard(verified)))
      assert.strictEqual((yield* refused("GET", "/")).text, "false false")
    })
  )
})

describe("law 1, as attacked", () => {
  it.effect("law 1: a guard of another binding of the definition asks its own verifier", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const strict = yield* Layer.build(
        Stack.http(UserSession, {
          backend: stage.backend.layer,
          verifier: SessionVerifier.layer(UserSession, () =>
            Effect.fail(new SessionError.SessionRefused({ message: "no" }))
          )
        })
      )
      const session = yield* stage.login(ada)
      const inner = Effect.provideContext(SessionMiddleware.required(UserSession)(verified), strict)
      const send = yield* stage.app(
        SessionMiddleware.required(UserSession)(Effect.flatMap(UserSession.Verified, () => inner))
      )
      assert.strictEqual((yield* send("GET", "/", { cookie: Stage.cookieOf(session) })).status, 403)
    })
  )

  it.effect("law 1: what a sub-request logs in or out is not put on the caller's response", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const bob = yield* stage.login(eve)
      const session = yield* stage.login(ada)
      const call = (method: "login" | "logout", cookie: string) =>
        Effect.provideContext(
          SessionMiddleware.make(UserSession)(
            Effect.flatMap(UserSession, (session) =>
              Effect.as(method === "login" ? session.create(eve) : session.destroy, empty)
            )
          ),
          stage.context
        ).pipe(
          Effect.provideService(
            HttpServerRequest.HttpServerRequest,
            HttpServerRequest.fromWeb(new Request("https://app.test/", { method: "POST", headers: { cookie } }))
          )
        )
      for (const [method, cookie] of [
        ["login", ""],
        ["logout", Stage.cookieOf(bob)]
      ] as const) {
        const send = yield* stage.open(call(method, cookie))
        assert.deepStrictEqual((yield* send("GET", "/", { cookie: Stage.cookieOf(session) })).setCookie, [])
      }
      assert.isFalse(yield* isLive(stage, bob.token))
      assert.isTrue(yield* isLive(stage, session.token))
    })
  )
})
