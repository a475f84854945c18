/**
 * An adapter that runs the application's Effect and turns the response into a web `Response` by itself, with no
 * pre-response handler in between, loses neither the cookie nor `Vary` nor `no-store`.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { SessionMiddleware } from "effect-sessions"
import * as Client from "../support/client.ts"
import { empty, text, verified } from "../support/httpSupport.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import { ada, UserSession } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

const Routes = Layer.mergeAll(
  HttpRouter.add(
    "POST",
    "/login",
    Effect.flatMap(UserSession, (session) =>
      Effect.as(session.create(ada), text("in", { headers: { "cache-control": "public, max-age=60" } }))
    )
  ),
  HttpRouter.add(
    "POST",
    "/rotate",
    Effect.flatMap(UserSession, (session) => Effect.as(session.rotate, empty))
  ),
  HttpRouter.add(
    "POST",
    "/logout",
    Effect.flatMap(UserSession, (session) => Effect.as(session.destroy, empty))
  ),
  HttpRouter.add("GET", "/untouched", Effect.as(UserSession, text("x", { headers: { vary: "Accept" } })))
).pipe(
  Layer.provide(SessionMiddleware.router(UserSession).layer),
  Layer.merge(
    HttpRouter.add("GET", "/whoami", verified).pipe(
      Layer.provide(
        SessionMiddleware.routerRequired(UserSession, { onFailure: () => Effect.succeed(text("no", { status: 401 })) })
          .layer
      )
    )
  )
)

describe("an adapter of its own", () => {
  it.effect("[R61] [R62] answers with the session's headers, once each, as a server does", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const app = yield* Client.appOf(Routes.pipe(Layer.provide(Stack.http(UserSession, { backend: backend.layer }))))
      const byHand = Client.sender((request) =>
        Effect.runPromise(
          Effect.map(
            Effect.scoped(
              Effect.provideService(app, HttpServerRequest.HttpServerRequest, HttpServerRequest.fromWeb(request))
            ),
            (response) => HttpServerResponse.toWeb(response)
          )
        )
      )
      // The same application behind Effect's own web handler, which runs pre-response handlers too.
      const byHandler = Client.sender(yield* Client.webHandler(app))
      for (const send of [byHand, byHandler]) {
        const login = yield* send("POST", "/login")
        assert.deepStrictEqual([login.status, login.text, login.setCookie.length], [200, "in", 1])
        assert.match(login.setCookie[0]!, /^__Host-session=v1\./)
        const whoami = yield* send("GET", "/whoami", { cookie: login.cookie })
        assert.deepStrictEqual([whoami.status, whoami.text, whoami.setCookie], [200, "ada", []])
        const rotated = yield* send("POST", "/rotate", { cookie: login.cookie })
        assert.match(rotated.setCookie.join(), /^__Host-session=v1\.[^,]*$/)
        const refused = yield* send("GET", "/whoami", { cookie: login.cookie })
        assert.deepStrictEqual([refused.status, refused.text, refused.setCookie], [401, "no", []])
        const logout = yield* send("POST", "/logout", { cookie: rotated.cookie })
        assert.match(logout.setCookie.join(), /^__Host-session=; Max-Age=0;[^,]*(Expires=[^,]*,[^,]*)?$/)
        for (const [route, { headers }] of Object.entries({ login, logout, refused, rotated, whoami })) {
          assert.deepStrictEqual([headers.get("vary"), headers.get("cache-control")], ["Cookie", "no-store"], route)
        }
        assert.strictEqual(refused.headers.get("www-authenticate"), "Session")
        const untouched = yield* send("GET", "/untouched", { cookie: rotated.cookie })
        assert.deepStrictEqual(
          [untouched.headers.get("vary"), untouched.headers.get("cache-control")],
          ["Accept, Cookie", null]
        )
      }
    })
  )
})
