/** New tokens on a schedule, over an `HttpApi`. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted } from "effect"
import { HttpServer } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { SessionFrontend } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import { TestClock } from "effect/testing"
import * as Client from "../support/client.ts"
import { bearer, cookie } from "../support/httpApiSupport.ts"
import { Api, Handlers, member, MemberSession, Middlewares } from "../support/memberApi.ts"
import { every, times } from "../support/rotating.ts"

const start = Effect.fnUntraced(function* () {
  const context = yield* Layer.build(
    SessionTest.layer(MemberSession, {
      ...times,
      frontend: SessionFrontend.layerFirst([SessionFrontend.layerCookie(), SessionFrontend.layerBearer()])
    })
  )
  const send = yield* Client.serve(
    HttpApiBuilder.layer(Api).pipe(
      Layer.provide(Handlers),
      Layer.provide(Middlewares),
      Layer.provide(Layer.succeedContext(context)),
      Layer.provide(HttpServer.layerServices)
    )
  )
  const manager = Context.get(context, MemberSession.Manager)
  /** The token of a session whose rotation is due. */
  const due = Effect.gen(function* () {
    const { token } = yield* manager.create(member("ada"))
    yield* TestClock.adjust(every)
    return Redacted.value(token)
  })
  return { send, due }
})

describe("SessionHttpApi", () => {
  it.effect(
    "[R55] puts a scheduled rotation's token on every answer that may carry it, of guards and open groups",
    () =>
      Effect.gen(function* () {
        const { due, send } = yield* start()
        const rows = [
          ["GET", "/whoami", 200],
          ["HEAD", "/whoami", 200],
          ["POST", "/cart/pen", 204],
          ["GET", "/fails", 410],
          ["GET", "/dies", 500],
          ["GET", "/public", 204],
          ["GET", "/plain", 200],
          ["GET", "/both", 200],
          ["GET", "/peek", 200]
        ] as const
        for (const [method, path, status] of rows) {
          const token = yield* due
          const answer = yield* send(method, path, cookie(token))
          assert.deepStrictEqual([path, answer.status, answer.setCookie.length], [path, status, 1])
          assert.match(answer.setCookie[0]!, /^__Host-session=v1\.[^;]+; Max-Age=85800;/)
          assert.strictEqual(answer.headers.get("cache-control"), "no-store")
          const next = yield* send("GET", "/whoami", { cookie: answer.cookie })
          assert.deepStrictEqual([next.status, next.setCookie], [200, []])
        }
      })
  )

  it.effect("[R55] rotates no bearer token, and none on a route that does not ask for the session", () =>
    Effect.gen(function* () {
      const { due, send } = yield* start()
      const token = yield* due
      for (const [method, path, options] of [
        ["GET", "/whoami", { headers: bearer(token) }],
        ["GET", "/peek", { headers: bearer(token) }],
        ["GET", "/untouched", cookie(token)],
        ["POST", "/poke", cookie(token)]
      ] as const) {
        const answer = yield* send(method, path, options)
        assert.deepStrictEqual([path, answer.status, answer.setCookie], [path, 200, []])
      }
      // It would have been the bearer's end.
      assert.strictEqual((yield* send("GET", "/whoami", cookie(token))).setCookie.length, 1)
    })
  )
})
