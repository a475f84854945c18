/** Whom a guard lets in, and how it answers the others. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { Session, SessionError, SessionFrontend, SessionMiddleware, SessionVerifier } from "effect-sessions"
import * as Client from "../support/client.ts"
import { empty, verified } from "../support/httpSupport.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve, UserData, UserSession } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

describe("a guard", () => {
  it.effect("[R29] a session the verifier refuses, beside a good one, locks nobody out", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make({
        verifier: SessionVerifier.layer(UserSession, ({ data }) =>
          data.username === eve.username ? Effect.fail(new SessionError.SessionRefused({ message: "no" })) : Effect.void
        )
      })
      const [good, refused] = [yield* stage.login(ada), yield* stage.login(eve)]
      const send = yield* stage.guarded(verified)
      for (const cookie of [
        `${Stage.cookieOf(refused)}; ${Stage.cookieOf(good)}`,
        `${Stage.cookieOf(good)}; ${Stage.cookieOf(refused)}`
      ]) {
        assert.strictEqual((yield* send("GET", "/", { cookie })).text, "ada")
      }
      assert.strictEqual((yield* send("GET", "/", { cookie: Stage.cookieOf(refused) })).status, 403)
    })
  )

  it.effect("a 401 names its challenge", () =>
    Effect.gen(function* () {
      const both = yield* Stage.make({
        frontend: SessionFrontend.layerFirst([SessionFrontend.layerCookie(), SessionFrontend.layerBearer()])
      })
      const guarded = yield* both.guarded(verified)
      assert.strictEqual((yield* guarded("GET", "/")).headers.get("www-authenticate"), "Session, Bearer")
      // One that has nothing to do with the session is left alone.
      const own = yield* both.open(Effect.as(UserSession, HttpServerResponse.empty({ status: 401 })))
      assert.isNull((yield* own("GET", "/")).headers.get("www-authenticate"))
    })
  )

  it.effect("onFailure answers for the guard: a redirect keeps Vary, and is not stored", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const seen: Array<string> = []
      const send = yield* Client.serve(
        HttpRouter.add("*", "/", verified).pipe(
          Layer.provide(
            SessionMiddleware.routerRequired(UserSession, {
              onFailure: (error, request) => {
                seen.push(`${error._tag} ${request.url}`)
                return Effect.succeed(HttpServerResponse.redirect(`/login?because=${error._tag}`))
              }
            }).layer
          ),
          Layer.provide(Stack.http(UserSession, { backend: backend.layer }))
        )
      )
      const missing = yield* send("GET", "/")
      assert.deepStrictEqual(
        [missing.status, missing.headers.get("location"), missing.headers.get("vary"), missing.setCookie],
        [302, "/login?because=SessionMissing", "Cookie", []]
      )
      const junk = yield* send("GET", "/", { cookie: "__Host-session=junk" })
      assert.deepStrictEqual(
        [junk.headers.get("location"), junk.headers.get("vary"), junk.headers.get("cache-control")],
        ["/login?because=SessionInvalid", "Cookie", "no-store"]
      )
      yield* send("POST", "/", { headers: { "sec-fetch-site": "cross-site" } })
      assert.deepStrictEqual(seen, ["SessionMissing /", "SessionInvalid /", "SessionCrossOrigin /"])
    })
  )
})

describe("a definition's own error", () => {
  class Suspended extends Schema.TaggedError<Suspended>()(
    "Suspended",
    { until: Schema.String },
    { httpApiStatus: 423 }
  ) {}
  class Unpaid extends Schema.TaggedError<Unpaid>()("Unpaid", {}, { httpApiStatus: 402 }) {}
  class Plain extends Schema.TaggedError<Plain>()("Plain", { why: Schema.String }) {}
  class MemberSession extends Session.Service<MemberSession>()("test/MemberSession", {
    data: UserData,
    refused: [Suspended, Unpaid, Plain],
    principal: (data) => data.username
  }) {}

  it.effect("answers with its httpApiStatus in a plain router, unhandled", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      let refusal: Suspended | Unpaid | Plain = new Suspended({ until: "noon" })
      const stack = Stack.http(MemberSession, {
        backend: backend.layer,
        verifier: SessionVerifier.layer(MemberSession, () => Effect.fail(refusal))
      })
      const send = yield* Client.serve(
        Layer.mergeAll(
          HttpRouter.add(
            "POST",
            "/login",
            Effect.flatMap(MemberSession, (s) => Effect.as(s.create(ada), empty))
          ),
          HttpRouter.add(
            "GET",
            "/open",
            Effect.flatMap(MemberSession, ({ get }) => Effect.as(get, empty))
          )
        ).pipe(
          Layer.provide(SessionMiddleware.router(MemberSession).layer),
          Layer.merge(
            HttpRouter.add("GET", "/guarded", Effect.as(MemberSession.Verified, empty)).pipe(
              Layer.provide(SessionMiddleware.routerRequired(MemberSession).layer)
            )
          ),
          Layer.provide(stack)
        )
      )
      const { cookie } = yield* send("POST", "/login")
      const rows = [
        [refusal, 423, { _tag: "Suspended", until: "noon" }],
        [new Unpaid(), 402, { _tag: "Unpaid" }],
        // One without a status of its own says what SessionRefused says.
        [new Plain({ why: "because" }), 403, { _tag: "Plain", why: "because" }]
      ] as const
      for (const [error, status, body] of rows) {
        refusal = error
        for (const path of ["/open", "/guarded"]) {
          const answer = yield* send("GET", path, { cookie })
          assert.deepStrictEqual([answer.status, JSON.parse(answer.text)], [status, body], path)
          assert.deepStrictEqual([answer.headers.get("vary"), answer.setCookie], ["Cookie", []], path)
        }
      }
    })
  )
})
