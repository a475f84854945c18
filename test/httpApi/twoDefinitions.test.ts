/** Two definitions in one API. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpApiSecurity from "effect/http-api/HttpApiSecurity"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { Session, SessionFrontend, SessionHttpApi } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import { login, send } from "../support/httpApiSupport.ts"
import { Guarded, MemberSession, Stack } from "../support/memberApi.ts"

describe("two definitions in one API", () => {
  class AdminSession extends Session.Service<AdminSession>()("test/AdminSession", {
    data: Schema.Struct({ admin: Schema.String }),
    principal: (data) => data.admin
  }) {}
  class Admin extends HttpApiMiddleware.Service<Admin, { provides: Session.Provided<typeof AdminSession> }>()(
    "test/Admin",
    {
      error: Session.errors(AdminSession),
      security: { admin: HttpApiSecurity.apiKey({ in: "cookie", key: "__Host-admin" }) }
    }
  ) {}
  const Two = HttpApi.make("two").add(
    HttpApiGroup.make("g").add(
      HttpApiEndpoint.get("member", "/member", { success: Schema.String }).middleware(Guarded),
      HttpApiEndpoint.get("admin", "/admin", { success: Schema.String }).middleware(Admin),
      HttpApiEndpoint.get("both", "/both", { success: Schema.String }).middleware(Guarded).middleware(Admin)
    )
  )
  const Routes = HttpApiBuilder.layer(Two).pipe(
    Layer.provide(
      HttpApiBuilder.group(Two, "g", (handlers) =>
        handlers
          .handle("member", () => Effect.map(MemberSession.Verified, ({ data }) => data.username))
          .handle("admin", () => Effect.map(AdminSession.Verified, ({ data }) => data.admin))
          .handle("both", () =>
            Effect.gen(function* () {
              return `${(yield* MemberSession.Verified).data.username} and ${(yield* AdminSession.Verified).data.admin}`
            })
          )
      )
    ),
    Layer.provide([SessionHttpApi.layer(Guarded, MemberSession), SessionHttpApi.layer(Admin, AdminSession)])
  )

  it.effect("one never passes for the other", () =>
    Effect.gen(function* () {
      const ada = yield* login("ada")
      const root = yield* Effect.map((yield* AdminSession.Manager).create({ admin: "root" }), ({ token }) =>
        Redacted.value(token)
      )
      const get = (path: string, cookie: string) =>
        Effect.map(send("GET", path, { cookie }), ({ status, text }) => [status, text])
      const asMember = `__Host-session=${ada.token}`
      const asAdmin = `__Host-admin=${root}`
      assert.deepStrictEqual(yield* get("/member", asMember), [200, `"ada"`])
      assert.deepStrictEqual(yield* get("/admin", asAdmin), [200, `"root"`])
      assert.deepStrictEqual(yield* get("/both", `${asMember}; ${asAdmin}`), [200, `"ada and root"`])
      for (const cookies of [asMember, asAdmin]) assert.strictEqual((yield* get("/both", cookies))[0], 401)
      assert.strictEqual((yield* get("/member", asAdmin))[0], 401)
      assert.strictEqual((yield* get("/admin", asMember))[0], 401)
      // Nor when a token is put into the other's cookie.
      const crossed = [401, `{"_tag":"SessionInvalid","reason":"Signature"}`]
      assert.deepStrictEqual(yield* get("/member", `__Host-session=${root}`), crossed)
      assert.deepStrictEqual(yield* get("/admin", `__Host-admin=${ada.token}`), crossed)
    }).pipe(
      Effect.provide(
        HttpRouter.serve(Routes, { disableLogger: true, disableListenLog: true }).pipe(
          Layer.provideMerge([
            Stack,
            SessionTest.layer(AdminSession, { frontend: SessionFrontend.layerCookie({ name: "__Host-admin" }) })
          ]),
          Layer.provideMerge(NodeHttpServer.layerTest)
        )
      )
    )
  )
})
