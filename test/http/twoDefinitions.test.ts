/** Two definitions in one application. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Option, Schema } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { Session, SessionFrontend, SessionMiddleware } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import * as Browser from "../support/browser.ts"
import * as Client from "../support/client.ts"
import { tokenOf, type AnyFrontend } from "../support/httpSupport.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import { ada, eve, UserData, UserSession } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

describe("two definitions in one application", () => {
  class AdminSession extends Session.Service<AdminSession>()("test/AdminSession", {
    data: UserData,
    principal: (data) => data.username
  }) {}

  const layerAdmin = (backend: WatchedBackend.WatchedBackend, frontend: AnyFrontend) =>
    Stack.http(AdminSession, { backend: backend.layer, frontend })

  const Both = Layer.mergeAll(
    HttpRouter.add(
      "POST",
      "/both",
      Effect.gen(function* () {
        yield* (yield* UserSession).create(ada)
        yield* (yield* AdminSession).create(eve)
        return HttpServerResponse.empty()
      })
    ),
    HttpRouter.add(
      "GET",
      "/admin",
      Effect.gen(function* () {
        return HttpServerResponse.text((yield* (yield* AdminSession).get).data.username ?? "-")
      })
    ),
    HttpRouter.add(
      "GET",
      "/user",
      Effect.gen(function* () {
        return HttpServerResponse.text((yield* (yield* UserSession).get).data.username ?? "-")
      })
    ),
    HttpRouter.add(
      "POST",
      "/leave",
      Effect.gen(function* () {
        yield* (yield* AdminSession).destroy
        return HttpServerResponse.empty()
      })
    )
  ).pipe(Layer.provide(SessionMiddleware.router(UserSession).combine(SessionMiddleware.router(AdminSession)).layer))

  it.effect("[R15] each has its own cookie, and the other's token has no valid signature here", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const send = yield* Client.serve(
        Both.pipe(
          Layer.provide([
            Stack.http(UserSession, { backend: backend.layer }),
            Layer.orDie(layerAdmin(backend, SessionFrontend.layerCookie({ name: "__Host-admin" })))
          ])
        )
      )
      const browser = Browser.make(send)
      const login = yield* browser.visit("POST", "/both")
      assert.deepStrictEqual(login.setCookie.map((header) => header.split("=")[0]).sort(), [
        "__Host-admin",
        "__Host-session"
      ])
      assert.strictEqual((yield* browser.visit("GET", "/user")).text, "ada")
      assert.strictEqual((yield* browser.visit("GET", "/admin")).text, "eve")
      const [user, admin] = ["__Host-session", "__Host-admin"].map((name) =>
        tokenOf(login.setCookie.find((header) => header.startsWith(name))!.split(";")[0]!)
      )
      backend.calls.length = 0
      for (const [path, cookie] of [
        ["/admin", `__Host-admin=${user}`],
        ["/user", `__Host-session=${admin}`]
      ] as const) {
        const answer = yield* send("GET", path, { cookie })
        assert.deepStrictEqual(JSON.parse(answer.text), { _tag: "SessionInvalid", reason: "Signature" })
      }
      assert.deepStrictEqual(backend.operations, [])
      yield* browser.visit("POST", "/leave")
      assert.strictEqual((yield* browser.visit("GET", "/user")).status, 200)
      assert.strictEqual((yield* browser.visit("GET", "/admin")).status, 401)
    })
  )

  it.effect("[R87b] two of one identifier are told that alone, though they meet on the cookie's name too", () =>
    Effect.gen(function* () {
      class Twin extends Session.Service<Twin>()("test/AdminSession", {
        data: UserData,
        principal: (data) => data.username
      }) {}
      const backend = WatchedBackend.make()
      const error = yield* Layer.build(
        Layer.merge(
          layerAdmin(backend, SessionFrontend.layerCookie()),
          Stack.http(Twin, { backend: backend.layer, frontend: SessionFrontend.layerCookie() })
        )
      ).pipe(Effect.scoped, Effect.catchDefect(Effect.fail), Effect.flip)
      assert.match(
        String(error),
        /session configuration of test\/AdminSession:\n {2}- two session definitions have the identifier "test\/AdminSession"[^\n]*$/
      )
    })
  )

  it.effect("[R87b] two on one cookie name do not build", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      for (const frontend of [
        SessionFrontend.layerCookie(),
        SessionFrontend.layerFirst([SessionFrontend.layerBearer(), SessionFrontend.layerCookie()])
      ]) {
        const exit = yield* Layer.build(
          Layer.merge(Stack.http(UserSession, { backend: backend.layer }), layerAdmin(backend, frontend))
        ).pipe(Effect.scoped, Effect.exit)
        const error = Option.getOrUndefined(Exit.findErrorOption(exit))
        const all = Exit.isFailure(exit) ? [...exit.cause.reasons] : []
        const message = String(error ?? all.map((reason) => (reason._tag === "Die" ? reason.defect : undefined))[0])
        assert.match(message, /the cookie "__Host-session" serves test\/\w+Session already/)
      }
      // In two applications they may, and in one that has let go of the first.
      const application = () => Layer.makeMemoMapUnsafe()
      const build = (layer: Layer.Layer<never, unknown>, memoMap: Layer.MemoMap) =>
        Effect.flatMap(Effect.scope, (scope) => Layer.buildWithMemoMap(layer, memoMap, scope))
      const user = Layer.effectDiscard(Effect.void).pipe(
        Layer.provide(Stack.http(UserSession, { backend: backend.layer }))
      )
      const admin = Layer.effectDiscard(Effect.void).pipe(
        Layer.provide(layerAdmin(backend, SessionFrontend.layerCookie()))
      )
      yield* build(user, application())
      yield* build(admin, application())
      const one = application()
      for (const layer of [user, admin, user]) yield* Effect.scoped(build(layer, one))
      yield* build(user, one)
      // Built a second time, and let go of once: it is still there.
      yield* Effect.scoped(
        build(
          Layer.effectDiscard(Effect.void).pipe(Layer.provide(Stack.http(UserSession, { backend: backend.layer }))),
          one
        )
      )
      assert.isTrue(Exit.isFailure(yield* Effect.exit(build(admin, one))))
    })
  )

  it.effect("[R87b] two with one identifier do not build: a copied one would let each other's users in", () =>
    Effect.gen(function* () {
      const data = Schema.Struct({ username: Schema.String })
      class First extends Session.Service<First>()("test/Copied", { data }) {}
      class Second extends Session.Service<Second>()("test/Copied", { data }) {}
      const admin = SessionTest.layer(Second, { frontend: SessionFrontend.layerCookie({ name: "__Host-admin" }) })
      const exit = yield* Effect.exit(Effect.scoped(Layer.build(Layer.merge(SessionTest.layer(First), admin))))
      // The test layers turn a configuration error into a defect.
      assert.match(String(Exit.isFailure(exit) && Cause.squash(exit.cause)), /identifier "test\/Copied"/)
      // The same definition twice is fine.
      yield* Effect.scoped(Layer.build(Layer.merge(SessionTest.layer(First), SessionTest.layer(First))))
    })
  )
})
