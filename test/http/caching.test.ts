/** `Vary` and `Cache-Control`. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema, Stream } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { SessionFrontend, SessionMiddleware } from "effect-sessions"
import * as Client from "../support/client.ts"
import { logged, Teapot, text, whoami } from "../support/httpSupport.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import * as Stage from "../support/stage.ts"
import { ada, UserSession } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

describe("caching", () => {
  const Routes = Layer.mergeAll(
    HttpRouter.add("GET", "/untouched", Effect.as(UserSession, text("x"))),
    HttpRouter.add(
      "GET",
      "/has",
      Effect.flatMap(UserSession, (session) => Effect.as(session.option, text("x")))
    ),
    HttpRouter.add("GET", "/304", Effect.as(UserSession, HttpServerResponse.empty({ status: 304 }))),
    HttpRouter.add("GET", "/redirect", Effect.as(UserSession, HttpServerResponse.redirect("/elsewhere"))),
    HttpRouter.add("GET", "/404", Effect.as(UserSession, HttpServerResponse.empty({ status: 404 }))),
    HttpRouter.add(
      "GET",
      "/fail",
      Effect.flatMap(UserSession, () => Effect.fail(new Teapot()))
    ),
    HttpRouter.add(
      "GET",
      "/die",
      Effect.flatMap(UserSession, () => Effect.die(new Error("boom")))
    ),
    HttpRouter.add(
      "GET",
      "/stream",
      Effect.as(UserSession, HttpServerResponse.stream(Stream.succeed(new Uint8Array(3))))
    ),
    HttpRouter.add("GET", "/whoami", whoami),
    HttpRouter.add(
      "GET",
      "/merged/:kind",
      Effect.gen(function* () {
        const { kind } = yield* HttpRouter.schemaPathParams(Schema.Struct({ kind: Schema.String }))
        yield* UserSession
        return text("x", { headers: { vary: decodeURIComponent(kind) } })
      })
    )
  ).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))

  it.effect("[R61] Vary names the cookie, once, on every response of a session-aware route", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const send = yield* Client.serve(Routes.pipe(Layer.provide(Stack.http(UserSession, { backend: backend.layer }))))
      const rows: ReadonlyArray<readonly [string, number]> = [
        ["/untouched", 200],
        ["/has", 200],
        ["/304", 304],
        ["/redirect", 302],
        ["/404", 404],
        ["/fail", 500],
        ["/die", 500],
        ["/stream", 200],
        ["/whoami", 401]
      ]
      for (const [path, status] of rows) {
        for (const method of ["GET", "HEAD"]) {
          for (const cookie of [undefined, "__Host-session=junk"]) {
            const answer = yield* send(method, path, { cookie })
            assert.deepStrictEqual([answer.status, answer.headers.get("vary")], [status, "Cookie"], `${method} ${path}`)
          }
        }
      }
      for (const [given, expected] of [
        ["Accept", "Accept, Cookie"],
        ["cookie", "cookie"],
        ["Accept, COOKIE", "Accept, COOKIE"],
        ["X-Cookie", "X-Cookie, Cookie"],
        ["*", "*"]
      ] as const) {
        const { headers } = yield* send("GET", `/merged/${encodeURIComponent(given)}`)
        assert.strictEqual(headers.get("vary"), expected)
      }
    })
  )

  it.effect("[R61] Vary names every header the frontends read", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make({
        frontend: SessionFrontend.layerFirst([
          SessionFrontend.layerCookie(),
          SessionFrontend.layerBearer(),
          SessionFrontend.layerHeader({ name: "X-Session" })
        ])
      })
      const send = yield* stage.open(Effect.as(UserSession, text("x", { headers: { vary: "authorization" } })))
      assert.strictEqual(
        (yield* send("GET", "/")).headers.get("vary"),
        "authorization, Cookie, Authorization, X-Session"
      )
    })
  )

  it.effect(
    "[R62] no-store where a session was read or a cookie is set, whatever the handler says, with a warning",
    () =>
      Effect.gen(function* () {
        const stage = yield* Stage.make()
        const session = yield* stage.login(ada)
        const cookie = Stage.cookieOf(session)
        const cached = (effect: Effect.Effect<unknown, unknown, UserSession>, cacheControl: string | undefined) =>
          stage.open(
            Effect.as(
              effect,
              text("x", cacheControl === undefined ? {} : { headers: { "cache-control": cacheControl } })
            )
          )
        const read = Effect.flatMap(UserSession, ({ get }) => get)
        for (const cacheControl of [undefined, "public, max-age=3600", "s-maxage=60", "immutable", "private"]) {
          const send = yield* cached(read, cacheControl)
          const { lines, value } = yield* logged(
            Effect.flatMap(cached(read, cacheControl), (send) => send("GET", "/", { cookie }))
          )
          assert.strictEqual(value.headers.get("cache-control"), "no-store", cacheControl)
          const warned = lines.filter((line) => /no-store/.test(line)).length
          assert.strictEqual(warned, cacheControl === undefined || cacheControl === "private" ? 0 : 1, cacheControl)
          // Nobody's session was read: the handler's word stands.
          const untouched = yield* cached(UserSession, cacheControl)
          assert.strictEqual(
            (yield* untouched("GET", "/", { cookie })).headers.get("cache-control"),
            cacheControl ?? null
          )
          const anonymous = yield* cached(
            Effect.flatMap(UserSession, ({ option }) => option),
            cacheControl
          )
          assert.strictEqual((yield* anonymous("GET", "/")).headers.get("cache-control"), cacheControl ?? null)
          assert.strictEqual((yield* send("GET", "/")).headers.get("cache-control"), null)
        }
        const login = yield* cached(
          Effect.flatMap(UserSession, (s) => s.create(ada)),
          "public, max-age=1"
        )
        assert.strictEqual((yield* login("POST", "/")).headers.get("cache-control"), "no-store")
        const out = yield* cached(
          Effect.flatMap(UserSession, (s) => s.destroy),
          "public, max-age=1"
        )
        assert.strictEqual((yield* out("POST", "/", { cookie })).headers.get("cache-control"), "no-store")
      })
  )
})
