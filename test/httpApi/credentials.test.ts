/** Which credentials an API takes, and where its middlewares may stand. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { SessionTest } from "effect-sessions/testing"
import { bearer, cookie, during, live, login, send } from "../support/httpApiSupport.ts"
import {
  Authenticated,
  entered,
  Guarded,
  MemberSession,
  Middlewares,
  refused,
  Stack,
  Suspended
} from "../support/memberApi.ts"

describe("SessionHttpApi over a socket", () => {
  it.effect("lets a session through by cookie, by bearer token, and under a guard without schemes", () =>
    Effect.gen(function* () {
      const { token } = yield* login("ada")
      for (const path of ["/whoami", "/plain", "/both"]) {
        for (const headers of [cookie(token), bearer(token)]) {
          const [{ status, text }, calls] = yield* during(send("GET", path, headers))
          assert.deepStrictEqual([path, status, calls], [path, 200, ["read"]])
          assert.include(text, "ada")
        }
        assert.strictEqual((yield* send("GET", path)).status, 401)
      }
    }).pipe(Effect.provide(live))
  )

  it.effect("logs in and out: one cookie set, one taken off", () =>
    Effect.gen(function* () {
      const entry = yield* send("POST", "/login", {}, { username: "ada" })
      assert.strictEqual(entry.status, 200)
      assert.lengthOf(entry.cookies, 1)
      assert.match(
        entry.cookies[0]!,
        /^__Host-session=v1\.[^;]+; Max-Age=86400; Path=\/; HttpOnly; Secure; SameSite=Lax$/
      )
      const { token } = JSON.parse(entry.text) as { readonly token: string }
      assert.strictEqual((yield* send("GET", "/whoami", cookie(token))).status, 200)
      const exit = yield* send("POST", "/logout", cookie(token))
      assert.strictEqual(exit.status, 204)
      assert.lengthOf(exit.cookies, 1)
      assert.match(exit.cookies[0]!, /^__Host-session=; Max-Age=0;/)
      assert.strictEqual((yield* send("GET", "/whoami", cookie(token))).tag, "SessionInvalid")
    }).pipe(Effect.provide(live))
  )

  it.effect("[R26] the token is the one in the request, not the credential HttpApi decodes", () =>
    Effect.gen(function* () {
      const { token } = yield* login("ada")
      // HttpApi undoes percent-encoding and quotes, and with them this would be the very token.
      for (const spelt of [token.replaceAll(".", "%2E"), `"${token}"`]) {
        const [answer, calls] = yield* during(send("GET", "/whoami", cookie(spelt)))
        assert.deepStrictEqual([answer.status, answer.tag, calls], [401, "SessionInvalid", []])
      }
    }).pipe(Effect.provide(live))
  )

  it.effect("[R35] two different sessions in two places are refused, one in both is fine", () =>
    Effect.gen(function* () {
      const ada = yield* login("ada")
      const bob = yield* login("bob")
      const both = yield* send("GET", "/whoami", { ...cookie(ada.token), ...bearer(bob.token) })
      assert.strictEqual(both.status, 401)
      assert.deepStrictEqual(JSON.parse(both.text), { _tag: "SessionInvalid", reason: "Ambiguous" })
      const [same, calls] = yield* during(send("GET", "/whoami", { ...cookie(ada.token), ...bearer(ada.token) }))
      assert.deepStrictEqual([same.status, calls], [200, ["read"]])
      // A header that does not stand is not made good by the cookie, whichever scheme comes first.
      const bad = yield* send("GET", "/whoami", { ...cookie(ada.token), ...bearer("nonsense") })
      assert.deepStrictEqual(JSON.parse(bad.text), { _tag: "SessionInvalid", reason: "Malformed" })
    }).pipe(Effect.provide(live))
  )

  it.effect("[R36] a backend that fails is 503 under every scheme, and asked once", () =>
    Effect.gen(function* () {
      const { token } = yield* login("ada")
      const faults = yield* SessionTest.BackendFaults
      entered.count = 0
      for (const [path, headers] of [
        ["/whoami", cookie(token)],
        ["/whoami", bearer(token)],
        ["/whoami", { ...cookie(token), authorization: "Basic eDp5" }],
        ["/plain", cookie(token)]
      ] as const) {
        // Only the next read fails: a second one would let the request through.
        yield* faults.inject({ operation: "read", call: 1, outcome: "notApplied" })
        const [answer, calls] = yield* during(send("GET", path, headers))
        assert.deepStrictEqual([answer.status, calls], [503, ["read"]])
        assert.deepStrictEqual(JSON.parse(answer.text), { _tag: "SessionUnavailable", outcome: "notApplied" })
        assert.strictEqual(answer.headers["retry-after"], "1")
        yield* faults.heal
      }
      assert.strictEqual(entered.count, 0)
    }).pipe(Effect.provide(live))
  )

  it.effect("a request that was turned away is read, checked and answered once, however many schemes there are", () =>
    Effect.gen(function* () {
      const { token } = yield* login("ada")
      refused.set("ada", new Suspended({ until: "friday" }))
      const [answer, calls] = yield* during(send("GET", "/whoami", cookie(token)))
      refused.clear()
      assert.deepStrictEqual(JSON.parse(answer.text), { _tag: "Suspended", until: "friday" })
      assert.deepStrictEqual([answer.status, calls], [403, ["read"]])
      assert.strictEqual(answer.headers["vary"], "Cookie, Authorization")
      const stranger = yield* send("GET", "/whoami")
      assert.strictEqual(stranger.headers["www-authenticate"], "Session, Bearer")
      assert.strictEqual(stranger.headers["vary"], "Cookie, Authorization")
    }).pipe(Effect.provide(live))
  )

  it.effect("[R37] an empty credential is none, and nothing is looked up", () =>
    Effect.gen(function* () {
      for (const headers of [{}, cookie(""), { cookie: "other=1" }, { authorization: "Basic eDp5" }]) {
        const [answer, calls] = yield* during(send("GET", "/whoami", headers))
        assert.deepStrictEqual([answer.status, answer.tag, calls], [401, "SessionMissing", []])
      }
      // A bearer scheme without a token is not written as one, and no more is looked up.
      const [answer, calls] = yield* during(send("GET", "/whoami", { authorization: "Bearer " }))
      assert.deepStrictEqual([answer.status, calls], [401, []])
    }).pipe(Effect.provide(live))
  )

  it.effect("an anonymous session passes no guard of a definition with a principal", () =>
    Effect.gen(function* () {
      const { token } = yield* login("")
      const [answer, calls] = yield* during(send("GET", "/whoami", cookie(token)))
      assert.deepStrictEqual([answer.status, answer.tag, calls], [401, "SessionMissing", ["read"]])
      assert.strictEqual((yield* send("GET", "/peek", cookie(token))).text, `""`)
    }).pipe(Effect.provide(live))
  )
})

describe("SessionHttpApi on an endpoint, a group, an API", () => {
  const whoami = <const Path extends `/${string}`>(path: Path) =>
    HttpApiEndpoint.get("whoami", path, { success: Schema.String })
  const answer = () => Effect.map(MemberSession.Verified, ({ data }) => data.username)
  const onEndpoint = HttpApi.make("a").add(HttpApiGroup.make("g").add(whoami("/endpoint").middleware(Authenticated)))
  const onGroup = HttpApi.make("b").add(HttpApiGroup.make("g").add(whoami("/group")).middleware(Guarded))
  const onApi = HttpApi.make("c")
    .add(HttpApiGroup.make("g").add(whoami("/api")))
    .middleware(Authenticated)
  const serve = Effect.provide(
    HttpRouter.serve(
      Layer.mergeAll(
        HttpApiBuilder.layer(onEndpoint).pipe(
          Layer.provide(HttpApiBuilder.group(onEndpoint, "g", (handlers) => handlers.handle("whoami", answer)))
        ),
        HttpApiBuilder.layer(onGroup).pipe(
          Layer.provide(HttpApiBuilder.group(onGroup, "g", (handlers) => handlers.handle("whoami", answer)))
        ),
        HttpApiBuilder.layer(onApi).pipe(
          Layer.provide(HttpApiBuilder.group(onApi, "g", (handlers) => handlers.handle("whoami", answer)))
        )
      ).pipe(Layer.provide(Middlewares)),
      { disableLogger: true, disableListenLog: true }
    ).pipe(Layer.provideMerge(Stack), Layer.provideMerge(NodeHttpServer.layerTest))
  )

  it.effect("guards them alike", () =>
    Effect.gen(function* () {
      const { token } = yield* login("ada")
      for (const path of ["/endpoint", "/group", "/api"]) {
        assert.strictEqual((yield* send("GET", path, cookie(token))).text, `"ada"`)
        assert.strictEqual((yield* send("GET", path)).status, 401)
      }
    }).pipe(serve)
  )
})
