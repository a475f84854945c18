import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Cookies from "effect/http/Cookies"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpApiClient from "effect/http-api/HttpApiClient"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpApiSecurity from "effect/http-api/HttpApiSecurity"
import * as HttpApiTest from "effect/http-api/HttpApiTest"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { Session, SessionBackend, SessionError, SessionFrontend, SessionHttpApi, SessionTest } from "effect-sessions"
import { Validator } from "@seriousme/openapi-schema-validator"
import {
  Api,
  Authenticated,
  entered,
  Guarded,
  Handlers,
  member,
  MemberData,
  MemberSession,
  Middlewares,
  refused,
  rival,
  Served,
  Stack,
  Suspended,
  Unpaid,
  Visitor,
  VisitorOrMember
} from "./support/memberApi.ts"

type Method = "GET" | "HEAD" | "POST" | "PUT" | "DELETE"

/** One request over the socket, with nothing kept from one to the next. */
const send = Effect.fnUntraced(function* (
  method: Method,
  path: string,
  headers: Record<string, string> = {},
  body?: unknown
) {
  const bare = HttpClientRequest.make(method)(path).pipe(HttpClientRequest.setHeaders(headers))
  const response = yield* HttpClient.execute(
    body === undefined ? bare : HttpClientRequest.bodyJsonUnsafe(bare, body)
  ).pipe(Effect.orDie)
  const text = yield* Effect.orDie(response.text)
  return {
    status: response.status,
    url: response.url,
    headers: response.headers,
    cookies: Cookies.toSetCookieHeaders(response.cookies),
    text,
    tag: text.startsWith("{") ? (JSON.parse(text)._tag as string | undefined) : undefined
  }
})

const cookie = (token: string) => ({ cookie: `__Host-session=${token}` })
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

const login = (username: string) =>
  Effect.flatMap(MemberSession.Manager, (manager) =>
    Effect.map(manager.create(member(username)), ({ id, token }) => ({ id, token: Redacted.value(token) }))
  )

/** The backend operations a request made. */
const during = <A, E, R>(request: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const { calls } = yield* SessionTest.BackendFaults
    const before = (yield* calls).length
    const answer = yield* request
    return [answer, (yield* calls).slice(before)] as const
  })

const live = Served.pipe(Layer.provideMerge(NodeHttpServer.layerTest))

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

  it.effect("[R49] signing out everywhere ends every session; everywhere else, all but this one", () =>
    Effect.gen(function* () {
      const mine = yield* login("ada")
      const others = yield* Effect.forEach(Array.from({ length: 50 }), () => login("ada"))
      const bob = yield* login("bob")
      const kept = yield* send("POST", "/revoke-others", cookie(mine.token))
      assert.deepStrictEqual([kept.status, kept.text], [200, "50"])
      // This session goes on under a new token; a copy of the old one is worth nothing.
      const renewed = /^__Host-session=([^;]+)/.exec(kept.cookies[0]!)![1]!
      assert.strictEqual((yield* send("GET", "/whoami", cookie(mine.token))).status, 401)
      assert.strictEqual((yield* send("GET", "/whoami", cookie(renewed))).status, 200)
      for (const { token } of others) assert.strictEqual((yield* send("GET", "/whoami", bearer(token))).status, 401)

      const second = yield* login("ada")
      const all = yield* send("POST", "/revoke-all", cookie(renewed))
      assert.deepStrictEqual([all.status, all.text], [200, "2"])
      assert.match(all.cookies[0]!, /^__Host-session=; Max-Age=0;/)
      for (const token of [renewed, second.token]) {
        assert.strictEqual((yield* send("GET", "/whoami", cookie(token))).status, 401)
      }
      assert.strictEqual((yield* send("GET", "/whoami", cookie(bob.token))).status, 200)
    }).pipe(Effect.provide(live))
  )

  it.effect("[R50] a verifier that turns refuses the very next request, each refusal with its own status", () =>
    Effect.gen(function* () {
      const { token } = yield* login("ada")
      assert.strictEqual((yield* send("GET", "/whoami", cookie(token))).status, 200)
      entered.count = 0
      refused.set("ada", new Suspended({ until: "friday" }))
      for (const headers of [cookie(token), bearer(token)]) {
        const answer = yield* send("GET", "/whoami", headers)
        assert.deepStrictEqual([answer.status, answer.tag], [403, "Suspended"])
      }
      refused.set("ada", new Unpaid())
      const answer = yield* send("GET", "/whoami", cookie(token))
      assert.deepStrictEqual([answer.status, answer.tag], [402, "Unpaid"])
      assert.strictEqual(entered.count, 0)
      refused.clear()
    }).pipe(Effect.provide(live))
  )

  it.effect("[R52] what a list shows opens nothing, and revokes only one's own", () =>
    Effect.gen(function* () {
      const mine = yield* login("ada")
      const other = yield* login("ada")
      const bob = yield* login("bob")
      const { text } = yield* send("GET", "/sessions", cookie(mine.token))
      const shown = JSON.parse(text) as ReadonlyArray<{ readonly id: string; readonly current: boolean }>
      assert.deepStrictEqual(
        new Map(shown.map(({ current, id }) => [id, current])),
        new Map([
          [mine.id as string, true],
          [other.id, false]
        ])
      )
      for (const { id } of shown) {
        for (const headers of [cookie(id), bearer(id)]) {
          assert.strictEqual((yield* send("GET", "/whoami", headers)).status, 401)
        }
      }
      assert.strictEqual((yield* send("DELETE", `/sessions/${bob.id}`, cookie(mine.token))).text, "false")
      assert.strictEqual((yield* send("GET", "/whoami", cookie(bob.token))).status, 200)
      assert.strictEqual((yield* send("DELETE", `/sessions/${other.id}`, cookie(mine.token))).text, "true")
      assert.strictEqual((yield* send("GET", "/whoami", cookie(other.token))).status, 401)
      assert.strictEqual((yield* send("GET", "/whoami", cookie(mine.token))).status, 200)
    }).pipe(Effect.provide(live))
  )

  it.effect("[R59] unsafe requests from another origin are refused, log-in included, whatever scheme comes next", () =>
    Effect.gen(function* () {
      const { token } = yield* login("ada")
      const own = new URL((yield* send("GET", "/whoami")).url).origin
      const refusals: ReadonlyArray<Record<string, string>> = [
        { "sec-fetch-site": "cross-site" },
        { "sec-fetch-site": "same-site" },
        { "sec-fetch-site": "junk" },
        { "sec-fetch-site": "cross-site", origin: own },
        { origin: "null" },
        { origin: "https://evil.example" },
        { origin: `${own}.evil.example` },
        { origin: own.replace(/\d+$/, "1") }
      ]
      const passes: ReadonlyArray<Record<string, string>> = [
        {},
        { "sec-fetch-site": "same-origin" },
        { "sec-fetch-site": "none" },
        { origin: own }
      ]
      const routes = [
        ["POST", "/login", { username: "eve" }, 200],
        ["POST", "/poke", undefined, 200],
        ["POST", "/cart/pen", undefined, 204],
        ["PUT", "/cart", { username: "ada", cart: [] }, 204],
        ["DELETE", "/sessions/AAAAAAAAAAAAAAAAAAAAAA", undefined, 200]
      ] as const
      for (const [method, path, body, good] of routes) {
        for (const headers of refusals) {
          const [answer, calls] = yield* during(send(method, path, { ...headers, ...cookie(token) }, body))
          assert.deepStrictEqual(
            [method, path, headers, answer.status, answer.tag, answer.cookies, calls],
            [method, path, headers, 403, "SessionCrossOrigin", [], []]
          )
          // A page of another origin cannot make a browser send such a header.
          const byHeader = yield* send(method, path, { ...headers, ...bearer((yield* login("ada")).token) }, body)
          assert.deepStrictEqual([path, headers, byHeader.status], [path, headers, good])
        }
        if (path === "/login") continue
        for (const headers of passes) {
          const answer = yield* send(method, path, { ...headers, ...cookie(token) }, body)
          assert.deepStrictEqual([path, headers, answer.status], [path, headers, good])
        }
      }
      // Without any token there is nothing to exempt, and safe methods need no protection.
      assert.strictEqual((yield* send("POST", "/login", refusals[0]!, { username: "eve" })).status, 403)
      assert.strictEqual((yield* send("GET", "/whoami", { ...refusals[0], ...cookie(token) })).status, 200)
    }).pipe(Effect.provide(live))
  )

  it.effect("[R61] Vary names the frontend's headers once, on every answer", () =>
    Effect.gen(function* () {
      const { token } = yield* login("ada")
      for (const [method, path, headers, body, status] of [
        ["GET", "/whoami", cookie(token), undefined, 200],
        ["HEAD", "/whoami", cookie(token), undefined, 200],
        ["GET", "/whoami", {}, undefined, 401],
        ["GET", "/untouched", {}, undefined, 200],
        ["GET", "/untouched", cookie(token), undefined, 200],
        ["GET", "/fails", cookie(token), undefined, 410],
        ["GET", "/dies", cookie(token), undefined, 500],
        ["PUT", "/cart", cookie(token), { nonsense: true }, 400],
        ["POST", "/logout", {}, undefined, 204],
        ["POST", "/poke", { "sec-fetch-site": "cross-site" }, undefined, 403]
      ] as const) {
        const answer = yield* send(method, path, headers, body)
        assert.deepStrictEqual(
          [method, path, answer.status, answer.headers["vary"]],
          [method, path, status, "Cookie, Authorization"]
        )
      }
    }).pipe(Effect.provide(live))
  )

  it.effect("[R62] what depends on a session is not stored, whatever the handler says", () =>
    Effect.gen(function* () {
      const { token } = yield* login("ada")
      const cacheControl = (path: string, headers: Record<string, string> = cookie(token)) =>
        Effect.map(send("GET", path, headers), ({ headers }) => headers["cache-control"])
      assert.strictEqual(yield* cacheControl("/public"), "no-store")
      assert.strictEqual(yield* cacheControl("/whoami"), "no-store")
      assert.strictEqual(yield* cacheControl("/fails"), "no-store")
      assert.strictEqual(yield* cacheControl("/peek"), "no-store")
      assert.isUndefined(yield* cacheControl("/untouched"))
      assert.strictEqual((yield* send("POST", "/login", {}, { username: "ada" })).headers["cache-control"], "no-store")
    }).pipe(Effect.provide(live))
  )

  it.effect("[R76] a write that fails is the answer: 503, nothing of the handler's, no cookie", () =>
    Effect.gen(function* () {
      const faults = yield* SessionTest.BackendFaults
      for (const [method, path, operation, body] of [
        ["POST", "/login", "create", { username: "ada" }],
        ["POST", "/cart/pen", "update", undefined],
        ["POST", "/rotate", "update", undefined],
        ["POST", "/logout", "delete", undefined],
        ["POST", "/revoke-all", "deleteByPrincipal", undefined]
      ] as const) {
        for (const outcome of ["notApplied", "unknown"] as const) {
          const { token } = yield* login("ada")
          yield* faults.inject({ operation, outcome })
          const answer = yield* send(method, path, cookie(token), body)
          yield* faults.heal
          assert.deepStrictEqual(
            [path, answer.status, answer.cookies, answer.text, answer.headers["retry-after"]],
            [path, 503, [], `{"_tag":"SessionUnavailable","outcome":"${outcome}"}`, "1"]
          )
          if (outcome === "notApplied") assert.strictEqual((yield* send("GET", "/whoami", cookie(token))).status, 200)
        }
      }
    }).pipe(Effect.provide(live))
  )

  it.effect("[R76] a change that met another is 409, and leaves what the other one wrote", () =>
    Effect.gen(function* () {
      const { token } = yield* login("ada")
      const manager = yield* MemberSession.Manager
      rival.act = (token) =>
        Effect.orDie(manager.modify(token, (data) => [undefined, new MemberData({ ...data, cart: ["other"] })]))
      const answer = yield* send("GET", "/stale", cookie(token))
      rival.act = () => Effect.void
      assert.deepStrictEqual([answer.status, answer.text], [409, `{"_tag":"SessionConflict"}`])
      assert.include((yield* send("GET", "/whoami", cookie(token))).text, `"cart":["other"]`)
    }).pipe(Effect.provide(live))
  )

  it.effect("[R78] a backend that is down is no anonymous visitor, neither guarded nor optional", () =>
    Effect.gen(function* () {
      const { token } = yield* login("ada")
      const faults = yield* SessionTest.BackendFaults
      yield* faults.inject({ outcome: "notApplied" })
      entered.count = 0
      for (const [path, headers] of [
        ["/whoami", cookie(token)],
        ["/plain", bearer(token)],
        ["/peek", cookie(token)],
        ["/peek", bearer(token)]
      ] as const) {
        const answer = yield* send("GET", path, headers)
        assert.deepStrictEqual(
          [path, answer.status, answer.text, answer.headers["retry-after"], answer.cookies],
          [path, 503, `{"_tag":"SessionUnavailable","outcome":"notApplied"}`, "1", []]
        )
      }
      assert.strictEqual(entered.count, 0)
      yield* faults.heal
      assert.strictEqual((yield* send("GET", "/peek", cookie(token))).text, `"ada"`)
      assert.strictEqual((yield* send("GET", "/peek")).text, "null")
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

describe("declared schemes", () => {
  const bearerOnly = SessionTest.layer(MemberSession, { frontend: SessionFrontend.layerBearer() })
  const otherName = SessionTest.layer(MemberSession, { frontend: SessionFrontend.layerCookie({ name: "__Host-id" }) })
  const cookieOnly = SessionTest.layer(MemberSession)
  const problems = <A>(layer: Layer.Layer<A, SessionError.SessionConfigError>) =>
    Effect.map(Effect.exit(Effect.scoped(Layer.build(layer))), (exit) =>
      Option.match(Exit.findErrorOption(exit), {
        onNone: (): ReadonlyArray<string> => [],
        onSome: ({ problems }) => problems
      })
    )

  it.effect("a scheme the frontend does not read fails the layer, naming both", () =>
    Effect.gen(function* () {
      const guard = SessionHttpApi.layer(Authenticated, MemberSession)
      assert.deepStrictEqual(yield* problems(Layer.provide(guard, bearerOnly)), [
        `test/Authenticated declares the security scheme "session" (cookie "__Host-session"), which the frontend of ` +
          `test/MemberSession does not read: it reads Authorization: bearer; declare one of these, or give the ` +
          `definition a frontend that reads it`
      ])
      const other = yield* problems(Layer.provide(guard, otherName))
      assert.lengthOf(other, 2)
      assert.include(other[0]!, `it reads cookie "__Host-id"`)
      assert.include(other[1]!, `"bearer" (Authorization: bearer)`)
      assert.lengthOf(yield* problems(Layer.provide(guard, cookieOnly)), 1)
      assert.lengthOf(
        yield* problems(Layer.provide(SessionHttpApi.layerOptional(VisitorOrMember, MemberSession), cookieOnly)),
        1
      )
    })
  )

  it.effect("what the frontend reads, and no scheme at all, are fine", () =>
    Effect.gen(function* () {
      class ByHeader extends HttpApiMiddleware.Service<
        ByHeader,
        { provides: Session.Provided<typeof MemberSession> }
      >()("test/ByHeader", {
        error: Session.errors(MemberSession),
        // Header names have no case.
        security: { header: HttpApiSecurity.apiKey({ key: "X-Session" }) }
      }) {}
      class ByQuery extends HttpApiMiddleware.Service<ByQuery, { provides: Session.Provided<typeof MemberSession> }>()(
        "test/ByQuery",
        {
          error: Session.errors(MemberSession),
          security: { query: HttpApiSecurity.apiKey({ key: "x-session", in: "query" }) }
        }
      ) {}
      const header = SessionTest.layer(MemberSession, { frontend: SessionFrontend.layerHeader({ name: "x-session" }) })
      assert.deepStrictEqual(yield* problems(Layer.provide(SessionHttpApi.layer(ByHeader, MemberSession), header)), [])
      assert.lengthOf(yield* problems(Layer.provide(SessionHttpApi.layer(ByQuery, MemberSession), header)), 1)
      assert.lengthOf(yield* problems(Layer.provide(SessionHttpApi.layer(ByHeader, MemberSession), cookieOnly)), 1)
      assert.deepStrictEqual(
        yield* problems(Layer.provide(SessionHttpApi.layer(Guarded, MemberSession), cookieOnly)),
        []
      )
      assert.deepStrictEqual(
        yield* problems(Layer.provide(SessionHttpApi.layerOptional(Visitor, MemberSession), bearerOnly)),
        []
      )
      assert.deepStrictEqual(yield* problems(Layer.provide(Middlewares, Stack)), [])
    })
  )
})

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

describe("OpenAPI", () => {
  const document = OpenApi.fromApi(Api)

  it("is valid OpenAPI 3.1, as a published validator has it", async () => {
    const checked = await new Validator().validate(structuredClone(document) as never)
    assert.deepStrictEqual([checked.valid, checked.errors], [true, undefined])
    assert.match(document.openapi, /^3\.1/)
    // The validator does tell a broken document.
    const broken = { ...structuredClone(document), paths: { "/x": { get: { responses: [] } } } }
    assert.isFalse((await new Validator().validate(broken as never)).valid)
  })

  it("shows each scheme, the alternatives as OR, and every failure with its schema and status", async () => {
    const { components, paths } = document
    const guarded = paths["/whoami"]!.get!
    const open = paths["/login"]!.post!
    const part = {
      securitySchemes: components.securitySchemes,
      guarded: { security: guarded.security, responses: guarded.responses },
      open: { security: open.security, responses: Object.keys(open.responses) },
      errors: Object.fromEntries(
        Object.entries(components.schemas).filter(([name]) => /^(Session|Suspended|Unpaid)/.test(name))
      )
    }
    await expect(JSON.stringify(part, undefined, 2) + "\n").toMatchFileSnapshot("./snapshots/openapi.txt")
  })
})

describe("SessionTest.layerHttpApi", () => {
  const services = HttpServer.layerServices
  const ada = member("ada")

  it.effect("tests handlers under a session, in one line", () =>
    Effect.gen(function* () {
      const client = yield* HttpApiTest.groups(Api, ["plain"])
      assert.strictEqual(yield* client.plain.plain(), "ada")
    }).pipe(
      Effect.provide(
        Handlers.pipe(
          Layer.provideMerge([
            SessionTest.layerHttpApi(Guarded, MemberSession, ada),
            SessionTest.layerHttpApi(Authenticated, MemberSession, ada),
            SessionTest.layerHttpApiOptional(Visitor, MemberSession, ada),
            SessionTest.layerHttpApiOptional(VisitorOrMember, MemberSession)
          ]),
          Layer.provideMerge(services)
        )
      )
    )
  )

  // One client, over all middlewares.
  const loggedIn = (data?: MemberData) =>
    Handlers.pipe(
      Layer.provideMerge(Middlewares),
      Layer.provideMerge(SessionTest.layerLoggedIn(MemberSession, data)),
      Layer.provideMerge(services)
    )

  it.effect("follows its session: rotated, ended, begun again", () =>
    Effect.gen(function* () {
      const client = yield* HttpApiTest.groups(Api, ["auth", "account", "open"])
      yield* client.account.add({ params: { item: "pen" } })
      yield* client.account.rotate()
      assert.deepStrictEqual((yield* client.account.whoami()).cart, ["pen"])
      yield* client.auth.logout()
      assert.instanceOf(yield* Effect.flip(client.account.whoami()), SessionError.SessionMissing)
      assert.isNull(yield* client.open.peek())
      yield* client.auth.login({ payload: { username: "bob" } })
      assert.strictEqual((yield* client.account.whoami()).username, "bob")
    }).pipe(Effect.provide(loggedIn(ada)))
  )

  it.effect("starts anonymous without data", () =>
    Effect.gen(function* () {
      const client = yield* HttpApiTest.groups(Api, ["account", "open"])
      assert.isNull(yield* client.open.peek())
      assert.instanceOf(yield* Effect.flip(client.account.whoami()), SessionError.SessionMissing)
    }).pipe(Effect.provide(loggedIn()))
  )

  it.effect("a session expires with no sleep", () =>
    Effect.gen(function* () {
      const client = yield* HttpApiTest.groups(Api, ["account"])
      yield* TestClock.adjust("59 minutes")
      yield* client.account.whoami()
      yield* TestClock.adjust("61 minutes")
      const error = yield* Effect.flip(client.account.whoami())
      assert.deepStrictEqual({ ...error }, { ...new SessionError.SessionInvalid({ reason: "Expired" }) })
    }).pipe(Effect.provide(loggedIn(ada)))
  )
})

describe("SessionTest.layerClient", () => {
  it.effect("is logged in over a real socket, and stays so over a rotation", () =>
    Effect.gen(function* () {
      const client = yield* HttpApiClient.make(Api).pipe(
        Effect.provide(SessionTest.layerClient([Authenticated, Visitor], MemberSession, member("ada")))
      )
      assert.strictEqual((yield* client.account.whoami()).username, "ada")
      yield* client.account.rotate()
      assert.strictEqual((yield* client.account.whoami()).username, "ada")
      yield* client.auth.logout()
      assert.instanceOf(yield* Effect.flip(client.account.whoami()), SessionError.SessionMissing)
    }).pipe(Effect.provide(live))
  )

  it.effect("two of them are two users", () =>
    Effect.gen(function* () {
      const as = (name: string) =>
        HttpApiClient.make(Api).pipe(
          Effect.provide(SessionTest.layerClient([Authenticated], MemberSession, member(name)))
        )
      const [ada, bob] = [yield* as("ada"), yield* as("bob")]
      assert.strictEqual((yield* ada.account.whoami()).username, "ada")
      assert.strictEqual((yield* bob.account.whoami()).username, "bob")
    }).pipe(Effect.provide(live))
  )

  it.effect.each(["cookie", "header", "bearer"] as const)("carries by %s, without a socket", (kind) => {
    class Plain extends HttpApiMiddleware.Service<Plain, { provides: Session.Provided<typeof MemberSession> }>()(
      "test/Plain",
      { error: Session.errors(MemberSession) }
    ) {}
    const One = HttpApi.make("one").add(
      HttpApiGroup.make("g")
        .add(HttpApiEndpoint.post("rotate", "/rotate", { success: Schema.String }))
        .middleware(Plain)
    )
    const handlers = HttpApiBuilder.group(One, "g", (handlers) =>
      handlers.handle("rotate", () =>
        Effect.gen(function* () {
          const { data } = yield* (yield* MemberSession).get
          if (kind !== "bearer") yield* (yield* MemberSession).rotate
          return data.username
        })
      )
    )
    const frontend = {
      cookie: SessionFrontend.layerCookie(),
      header: SessionFrontend.layerHeader({ name: "X-Session" }),
      bearer: SessionFrontend.layerBearer()
    }[kind]
    return Effect.gen(function* () {
      const client = yield* HttpApiTest.groups(One, ["g"]).pipe(
        Effect.provide(SessionTest.layerClient([Plain], MemberSession, member("ada")))
      )
      assert.strictEqual(yield* client.g.rotate(), "ada")
      assert.strictEqual(yield* client.g.rotate(), "ada")
      const stranger = yield* HttpApiTest.groups(One, ["g"]).pipe(
        Effect.provide(SessionTest.layerClient([Plain], MemberSession))
      )
      assert.instanceOf(yield* Effect.flip(stranger.g.rotate()), SessionError.SessionMissing)
    }).pipe(
      Effect.provide(
        handlers.pipe(
          Layer.provideMerge(SessionHttpApi.layer(Plain, MemberSession)),
          Layer.provideMerge(SessionTest.layer(MemberSession, { frontend })),
          Layer.provideMerge(HttpServer.layerServices)
        )
      )
    )
  })
})

describe("SessionTest.layerBackend", () => {
  const backend = Layer.merge(
    SessionTest.layer(MemberSession, { backend: SessionTest.layerBackend }),
    SessionTest.layerBackend
  )
  const unavailable = (outcome: "notApplied" | "unknown") => ({ ...new SessionError.SessionUnavailable({ outcome }) })

  it.effect("fails the n-th call of an operation, done or not done", () =>
    Effect.gen(function* () {
      const manager = yield* MemberSession.Manager
      const faults = yield* SessionTest.BackendFaults
      yield* faults.inject({ operation: "create", call: 2, outcome: "notApplied" })
      yield* manager.create(member("ada"))
      assert.deepStrictEqual({ ...(yield* Effect.flip(manager.create(member("ada")))) }, unavailable("notApplied"))
      assert.lengthOf(yield* manager.list("ada"), 1)
      yield* faults.inject({ operation: "create", call: 1, outcome: "unknown" })
      assert.deepStrictEqual({ ...(yield* Effect.flip(manager.create(member("ada")))) }, unavailable("unknown"))
      assert.lengthOf(yield* manager.list("ada"), 2)
      assert.deepStrictEqual(yield* faults.calls, ["create", "create", "listByPrincipal", "create", "listByPrincipal"])
    }).pipe(Effect.provide(backend))
  )

  it.effect("answers late, and with TestClock nobody waits", () =>
    Effect.gen(function* () {
      const manager = yield* MemberSession.Manager
      const faults = yield* SessionTest.BackendFaults
      const { token } = yield* manager.create(member("ada"))
      const reads = (n: number) =>
        Effect.repeat(Effect.andThen(Effect.yieldNow, faults.calls), {
          until: (calls) => calls.filter((operation) => operation === "read").length === n
        })
      yield* faults.inject({ operation: "read", delay: "500 millis" })
      const slow = yield* Effect.forkChild(manager.resolve(token))
      yield* reads(1)
      yield* TestClock.adjust("500 millis")
      assert.strictEqual((yield* Fiber.join(slow)).data.username, "ada")
      yield* faults.heal
      yield* faults.inject({ operation: "read", delay: "2 seconds" })
      const late = yield* Effect.forkChild(Effect.flip(manager.resolve(token)))
      yield* reads(2)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual({ ...(yield* Fiber.join(late)) }, unavailable("notApplied"))
    }).pipe(Effect.provide(backend))
  )

  it.effect("every part is replaceable by a mock", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        (yield* Effect.flip((yield* MemberSession.Manager).create(member("ada"))))._tag,
        "SessionUnavailable"
      )
    }).pipe(
      Effect.provide(
        SessionTest.layer(MemberSession, {
          backend: Layer.mock(SessionBackend.SessionBackend, {
            create: () =>
              Effect.fail(
                new SessionBackend.SessionBackendError({ operation: "create", outcome: "notApplied", cause: "mocked" })
              )
          })
        })
      )
    )
  )

  it.effect("a manager of one's own stands in for the library's", () =>
    Effect.gen(function* () {
      const { data } = yield* (yield* MemberSession.Manager).resolve(Redacted.make("anything"))
      assert.strictEqual(data.username, "mock")
    }).pipe(
      Effect.provide(
        Layer.mock(MemberSession.Manager, {
          resolve: () =>
            MemberSession.Verified.pipe(Effect.provide(SessionTest.layerVerified(MemberSession, member("mock"))))
        })
      )
    )
  )
})
