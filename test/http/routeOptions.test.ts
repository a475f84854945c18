/** What single routes may have for themselves: looks that keep no session alive, and origins of their own. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer } from "effect"
import { HttpRouter } from "effect/http"
import { SessionError, SessionFrontend, SessionMiddleware } from "effect-sessions"
import { TestClock } from "effect/testing"
import * as Client from "../support/client.ts"
import { empty, text, verified, whoami } from "../support/httpSupport.ts"
import * as Stack from "../support/stack.ts"
import * as Stage from "../support/stage.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import { ada, UserSession } from "../support/userSession.ts"

describe("touch: false", () => {
  it.effect("a look on such a route keeps no session alive, guarded or open; on any other it does", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const cookie = Stage.cookieOf(yield* stage.login(ada))
      const untouched = { touch: false }
      const rows = [
        [yield* stage.app(SessionMiddleware.required(UserSession, untouched)(verified)), ["read"]],
        [yield* stage.app(SessionMiddleware.make(UserSession, untouched)(whoami)), ["read"]],
        // Inside another middleware of the same definition.
        [
          yield* stage.app(
            SessionMiddleware.make(UserSession)(SessionMiddleware.required(UserSession, untouched)(verified))
          ),
          ["read"]
        ],
        [
          yield* stage.app(SessionMiddleware.make(UserSession)(SessionMiddleware.make(UserSession, untouched)(whoami))),
          ["read"]
        ],
        [yield* stage.app(SessionMiddleware.required(UserSession, { touch: true })(verified)), ["read", "touch"]],
        [yield* stage.app(SessionMiddleware.make(UserSession)(whoami)), ["read", "touch"]]
      ] as const
      for (const [i, [send, operations]] of rows.entries()) {
        yield* TestClock.adjust("2 minutes")
        stage.backend.calls.length = 0
        assert.strictEqual((yield* send("GET", "/", { cookie })).text, "ada")
        assert.deepStrictEqual(stage.backend.operations, [...operations], `row ${i}`)
      }
    })
  )

  it.effect("a session that is only looked at expires", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const send = yield* Client.serve(
        Layer.mergeAll(
          HttpRouter.add(
            "POST",
            "/login",
            Effect.flatMap(UserSession, (s) => Effect.as(s.create(ada), empty))
          ).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer)),
          HttpRouter.add("GET", "/left", verified).pipe(
            Layer.provide(SessionMiddleware.routerRequired(UserSession, { touch: false }).layer)
          ),
          HttpRouter.add("GET", "/open", whoami).pipe(
            Layer.provide(SessionMiddleware.router(UserSession, { touch: false }).layer)
          )
        ).pipe(Layer.provide(Stack.http(UserSession, { backend: backend.layer, idleTimeout: "30 minutes" })))
      )
      const { cookie } = yield* send("POST", "/login")
      for (let minutes = 0; minutes < 29; minutes += 5) {
        assert.strictEqual((yield* send("GET", "/left", { cookie })).status, 200)
        assert.strictEqual((yield* send("GET", "/open", { cookie })).status, 200)
        yield* TestClock.adjust("5 minutes")
      }
      assert.strictEqual((yield* send("GET", "/left", { cookie })).status, 401)
    })
  )
})

describe("trusted origins of a route", () => {
  const provider = "https://id.example"

  const Routes = Layer.mergeAll(
    HttpRouter.add("*", "/callback", Effect.as(UserSession, text("handled"))).pipe(
      Layer.provide(
        SessionMiddleware.router(UserSession, { trustedOrigins: [provider, "capacitor://localhost", "app://-"] }).layer
      )
    ),
    HttpRouter.add("*", "/other", Effect.as(UserSession, text("handled"))).pipe(
      Layer.provide(SessionMiddleware.router(UserSession).layer)
    ),
    HttpRouter.add("*", "/guarded", verified).pipe(
      Layer.provide(SessionMiddleware.routerRequired(UserSession, { trustedOrigins: ["HTTPS://ID.example"] }).layer)
    )
  )
  const start = (options?: Stack.HttpParts<UserSession>) =>
    Client.serve(Routes.pipe(Layer.provide(Stack.http(UserSession, options))))
  const statusOf = (send: Client.Send, path: string, origin: string, more?: Record<string, string>) =>
    Effect.map(
      send(more?.["upgrade"] === undefined ? "POST" : "GET", path, {
        headers: { host: "app.test", "sec-fetch-site": "cross-site", origin, ...more }
      }),
      ({ status }) => status
    )

  it.effect("[R59] may send unsafe requests to it, and to no other: a form_post of an identity provider", () =>
    Effect.gen(function* () {
      const send = yield* start()
      assert.strictEqual(yield* statusOf(send, "/callback", provider), 200)
      assert.strictEqual(yield* statusOf(send, "/callback", "https://ID.example"), 200)
      assert.strictEqual(yield* statusOf(send, "/other", provider), 403)
      for (const origin of ["https://id.example.evil.test", "http://id.example", "https://id.example:8443", "null"]) {
        assert.strictEqual(yield* statusOf(send, "/callback", origin), 403, origin)
      }
      // Let through to a guard, which then asks for the session: the cross-site request carries no Lax cookie.
      assert.strictEqual(yield* statusOf(send, "/guarded", provider), 401)
    })
  )

  it.effect("[R59] are those of apps too, compared as they are", () =>
    Effect.gen(function* () {
      const send = yield* start()
      for (const origin of ["capacitor://localhost", "app://-"]) {
        assert.strictEqual(yield* statusOf(send, "/callback", origin), 200, origin)
        assert.strictEqual(yield* statusOf(send, "/other", origin), 403, origin)
      }
      assert.strictEqual(yield* statusOf(send, "/callback", "capacitor://localhost:1"), 403)
      assert.strictEqual(yield* statusOf(send, "/callback", "ionic://localhost"), 403)
    })
  )

  it.effect("[R88a] may open a WebSocket to it, and to no other", () =>
    Effect.gen(function* () {
      const send = yield* start()
      const upgrade = { upgrade: "websocket" }
      assert.strictEqual(yield* statusOf(send, "/callback", provider, upgrade), 200)
      assert.strictEqual(yield* statusOf(send, "/other", provider, upgrade), 403)
    })
  )

  it.effect("[R59] are trusted besides the frontend's, not in place of them", () =>
    Effect.gen(function* () {
      const send = yield* start({ frontend: SessionFrontend.layerCookie({ trustedOrigins: ["https://www.app.test"] }) })
      for (const path of ["/callback", "/other"]) {
        assert.strictEqual(yield* statusOf(send, path, "https://www.app.test"), 200, path)
      }
    })
  )

  it.effect("[R59] where middlewares meet, the outermost checks", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const trusting = SessionMiddleware.make(UserSession, { trustedOrigins: [provider] })
      const strict = SessionMiddleware.make(UserSession)
      const app = Effect.as(UserSession, text("handled"))
      assert.strictEqual(yield* statusOf(yield* stage.app(trusting(strict(app))), "/", provider), 200)
      assert.strictEqual(yield* statusOf(yield* stage.app(strict(trusting(app))), "/", provider), 403)
    })
  )

  it.effect("[R59] [R87a] what is no origin is a defect where the route is built, which says what one looks like", () =>
    Effect.gen(function* () {
      const options = { trustedOrigins: ["https://id.example/callback"] }
      const message = /SessionMiddleware\.(make|required)\(test\/UserSession\)[^]*must be an origin as browsers send it/
      assert.throws(() => SessionMiddleware.make(UserSession, options), message)
      assert.throws(() => SessionMiddleware.required(UserSession, options), message)
      for (const middleware of [
        SessionMiddleware.router(UserSession, options),
        SessionMiddleware.routerRequired(UserSession, options)
      ]) {
        const routes = HttpRouter.add("GET", "/", Effect.as(UserSession, empty)).pipe(Layer.provide(middleware.layer))
        const exit = yield* Effect.exit(Client.serve(routes.pipe(Layer.provide(Stack.http(UserSession)))))
        assert.isTrue(Exit.isFailure(exit))
        const defect = Cause.squash((exit as Exit.Failure<never, never>).cause)
        assert.instanceOf(defect, SessionError.SessionConfigError)
        assert.match(defect.message, /SessionMiddleware\.router(Required)?\(test\/UserSession\)/)
      }
    })
  )
})
