/** A browser's way through a log-in. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer } from "effect"
import { HttpRouter } from "effect/http"
import { SessionMiddleware } from "effect-sessions"
import { TestClock } from "effect/testing"
import * as Browser from "../support/browser.ts"
import * as Client from "../support/client.ts"
import { empty, verified } from "../support/httpSupport.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import { ada, UserSession } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

describe("a browser's day", () => {
  it.effect("logs in, goes on, changes its mind and logs out", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const send = yield* Client.serve(
        Layer.mergeAll(
          HttpRouter.add(
            "POST",
            "/login",
            Effect.flatMap(UserSession, (s) => Effect.as(s.create(ada), empty))
          ),
          HttpRouter.add(
            "POST",
            "/rotate",
            Effect.flatMap(UserSession, (s) => Effect.as(s.rotate, empty))
          ),
          HttpRouter.add(
            "POST",
            "/logout",
            Effect.flatMap(UserSession, (s) => Effect.as(s.destroy, empty))
          )
        ).pipe(
          Layer.provide(SessionMiddleware.router(UserSession).layer),
          Layer.merge(
            HttpRouter.add("GET", "/whoami", verified).pipe(
              Layer.provide(SessionMiddleware.routerRequired(UserSession).layer)
            )
          ),
          Layer.provide(Stack.http(UserSession, { backend: backend.layer }))
        )
      )
      const browser = Browser.make(send)
      const status = (method: string, path: string) =>
        Effect.map(browser.visit(method, path), (answer) => answer.status)
      assert.strictEqual(yield* status("GET", "/whoami"), 401)
      assert.strictEqual(yield* status("POST", "/login"), 204)
      for (let i = 0; i < 30; i++) {
        yield* TestClock.adjust("45 minutes")
        assert.strictEqual(yield* status("GET", "/whoami"), 200)
      }
      assert.strictEqual(yield* status("POST", "/rotate"), 204)
      assert.strictEqual(yield* status("GET", "/whoami"), 200)
      // The cookie itself ends with the absolute deadline: the browser no longer sends it.
      yield* TestClock.adjust("90 minutes")
      yield* status("POST", "/login")
      yield* TestClock.adjust("24 hours")
      assert.strictEqual(browser.jar.header(new URL("https://app.test/"), yield* Clock.currentTimeMillis), "")
      yield* status("POST", "/login")
      assert.strictEqual(yield* status("POST", "/logout"), 204)
      assert.strictEqual(browser.jar.header(new URL("https://app.test/"), yield* Clock.currentTimeMillis), "")
      assert.strictEqual(yield* status("GET", "/whoami"), 401)
    })
  )
})
