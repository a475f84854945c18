import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpApiClient from "effect/http-api/HttpApiClient"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSecurity from "effect/http-api/HttpApiSecurity"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Ref from "effect/Ref"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import {
  SessionError,
  SessionFrontend,
  SessionHttpApi,
  SessionHttpApiMiddleware,
  SessionHttpApiClient
} from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import { Api, entered, MemberSession, refused, rival, Served, Suspended } from "./support/memberApi.ts"

const live = Served.pipe(Layer.provideMerge(NodeHttpServer.layerTest))

/** Where the server is, as its clients must be told. */
const baseUrl = Effect.map(HttpClient.get("/whoami"), (response) => new URL(response.url).origin)

const client = HttpApiClient.make(Api)

describe("typed errors", () => {
  it.effect("each failure of a session arrives as the error it is", () =>
    Effect.gen(function* () {
      const faults = yield* SessionTest.BackendFaults
      const manager = yield* MemberSession.Manager
      const { account, auth } = yield* client.pipe(Effect.provide(SessionHttpApiClient.layerCookies()))
      const fails = <A, E>(call: Effect.Effect<A, E>) => Effect.flip(call)

      assert.instanceOf(yield* fails(account.whoami()), SessionError.SessionMissing)
      yield* auth.login({ payload: { username: "ada" } })

      refused.set("ada", new Suspended({ until: "friday" }))
      const suspended = yield* fails(account.whoami())
      refused.clear()
      assert.instanceOf(suspended, Suspended)
      assert.strictEqual((suspended as Suspended).until, "friday")

      rival.act = (token) => Effect.orDie(manager.modify(token, (data) => [undefined, { ...data, cart: ["other"] }]))
      assert.instanceOf(yield* fails(account.stale()), SessionError.SessionConflict)
      rival.act = () => Effect.void

      yield* faults.inject({ operation: "read", outcome: "notApplied" })
      const down = yield* fails(account.whoami())
      yield* faults.heal
      assert.instanceOf(down, SessionError.SessionUnavailable)
      assert.strictEqual((down as SessionError.SessionUnavailable).outcome, "notApplied")

      const fromElsewhere = yield* HttpApiClient.make(Api, {
        transformClient: HttpClient.mapRequest(HttpClientRequest.setHeader("sec-fetch-site", "cross-site"))
      })
      assert.instanceOf(
        yield* fails(fromElsewhere.auth.login({ payload: { username: "eve" } })),
        SessionError.SessionCrossOrigin
      )

      yield* manager.revokeAll("ada")
      const gone = yield* fails(account.whoami())
      assert.instanceOf(gone, SessionError.SessionInvalid)
      assert.strictEqual((gone as SessionError.SessionInvalid).reason, "NotFound")
    }).pipe(Effect.provide(live))
  )
})

describe("SessionHttpApiClient.layerCookies", () => {
  it.effect("carries the cookie from log-in to log-out", () =>
    Effect.gen(function* () {
      const { account, auth } = yield* client.pipe(Effect.provide(SessionHttpApiClient.layerCookies()))
      yield* auth.login({ payload: { username: "ada" } })
      yield* account.add({ params: { item: "pen" } })
      yield* account.rotate()
      assert.deepStrictEqual((yield* account.whoami()).cart, ["pen"])
      yield* auth.logout()
      // Deleted by the server, and so not sent again.
      assert.instanceOf(yield* Effect.flip(account.whoami()), SessionError.SessionMissing)
    }).pipe(Effect.provide(live))
  )

  it.effect("each is a user of its own", () =>
    Effect.gen(function* () {
      const ada = yield* client.pipe(Effect.provide(SessionHttpApiClient.layerCookies()))
      const bob = yield* client.pipe(Effect.provide(SessionHttpApiClient.layerCookies()))
      yield* ada.auth.login({ payload: { username: "ada" } })
      yield* bob.auth.login({ payload: { username: "bob" } })
      assert.strictEqual((yield* ada.account.whoami()).username, "ada")
      assert.strictEqual((yield* bob.account.whoami()).username, "bob")
    }).pipe(Effect.provide(live))
  )

  it.effect("on a 401 the hook may log in and try again", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const { account } = yield* client.pipe(
        Effect.provide(
          SessionHttpApiClient.layerCookies({
            onUnauthorized: ({ client, request, retry }) =>
              Effect.gen(function* () {
                seen.push(new URL(request.url).pathname)
                if (seen.length > 1) return yield* retry
                const { auth } = yield* HttpApiClient.makeWith(Api, { httpClient: client })
                yield* Effect.orDie(auth.login({ payload: { username: "ada" } }))
                return yield* retry
              })
          })
        )
      )
      assert.strictEqual((yield* account.whoami()).username, "ada")
      assert.strictEqual((yield* account.whoami()).username, "ada")
      assert.deepStrictEqual(seen, ["/whoami"])
      // A second 401 is the answer, and the hook is not asked about it.
      yield* (yield* MemberSession.Manager).revokeAll("ada")
      assert.instanceOf(yield* Effect.flip(account.whoami()), SessionError.SessionInvalid)
      assert.deepStrictEqual(seen, ["/whoami", "/whoami"])
    }).pipe(Effect.provide(live))
  )

  it.effect("on a 401 the hook may just take note", () =>
    Effect.gen(function* () {
      const noted = yield* Ref.make(0)
      const { account, auth } = yield* client.pipe(
        Effect.provide(
          SessionHttpApiClient.layerCookies({
            onUnauthorized: ({ response }) =>
              Effect.as(
                Ref.update(noted, (n) => n + 1),
                response
              )
          })
        )
      )
      assert.instanceOf(yield* Effect.flip(account.whoami()), SessionError.SessionMissing)
      yield* auth.login({ payload: { username: "ada" } })
      yield* account.whoami()
      assert.strictEqual(yield* Ref.get(noted), 1)
    }).pipe(Effect.provide(live))
  )

  // What no server here would answer: cookies of every kind, and what each address is sent back.
  const setting = (answers: Record<string, string>, sent: Array<readonly [string, string | undefined]>) =>
    Layer.succeed(
      HttpClient.HttpClient,
      HttpClient.make((request, url) =>
        Effect.sync(() => {
          sent.push([url.href, request.headers["cookie"]])
          const headers = new Headers()
          const set = answers[url.href]
          if (set !== undefined) headers.append("set-cookie", set)
          return HttpClientResponse.fromWeb(request, new Response(null, { headers }))
        })
      )
    )

  it.effect("sends a cookie by its path, until it expires, to the origin it came from and no other", () => {
    const sent: Array<readonly [string, string | undefined]> = []
    return Effect.gen(function* () {
      const http = yield* HttpClient.HttpClient
      const cookieAt = (url: string) =>
        Effect.map(http.get(url), () => {
          const last = sent.at(-1)!
          assert.strictEqual(last[0], url)
          return last[1]
        })
      yield* http.get("https://a.example.com/set")
      assert.strictEqual(yield* cookieAt("https://a.example.com/"), "s=1")
      for (const elsewhere of [
        "https://b.example.com/",
        "https://example.com/",
        "https://a.example.com:8443/",
        "http://a.example.com/",
        "https://a.example.com.evil.example/"
      ]) {
        assert.isUndefined(yield* cookieAt(elsewhere), elsewhere)
      }
      // A domain asks for more than one origin gets.
      yield* http.get("https://a.example.com/domain")
      assert.isUndefined(yield* cookieAt("https://b.example.com/"))
      assert.strictEqual(yield* cookieAt("https://a.example.com/"), "s=1; wide=1")

      yield* http.get("https://a.example.com/path")
      assert.strictEqual(yield* cookieAt("https://a.example.com/admin/users"), "p=1; s=1; wide=1")
      assert.strictEqual(yield* cookieAt("https://a.example.com/administrator"), "s=1; wide=1")

      yield* http.get("https://a.example.com/delete")
      assert.strictEqual(yield* cookieAt("https://a.example.com/"), "wide=1")

      yield* TestClock.adjust("61 seconds")
      assert.isUndefined(yield* cookieAt("https://a.example.com/"))

      // Secure: not over plain http, but to this very machine, as browsers have it.
      yield* http.get("http://localhost:3000/set")
      assert.strictEqual(yield* cookieAt("http://localhost:3000/"), "s=1")
      assert.isUndefined(yield* cookieAt("http://localhost:3001/"))
      yield* http.get("http://plain.example/set")
      assert.isUndefined(yield* cookieAt("http://plain.example/"))

      // Beside what the caller sets.
      yield* http.get("http://localhost:3000/", { headers: { cookie: "theme=dark" } })
      assert.strictEqual(sent.at(-1)![1], "theme=dark; s=1")
    }).pipe(
      Effect.provide(
        SessionHttpApiClient.layerCookies().pipe(
          Layer.provide(
            setting(
              {
                "https://a.example.com/set": "s=1; Path=/; Secure; HttpOnly",
                "https://a.example.com/domain": "wide=1; Domain=example.com; Path=/; Max-Age=60",
                "https://a.example.com/path": "p=1; Path=/admin",
                "https://a.example.com/delete": "s=; Path=/; Max-Age=0",
                "http://localhost:3000/set": "s=1; Path=/; Secure; HttpOnly",
                "http://plain.example/set": "s=1; Path=/; Secure; HttpOnly"
              },
              sent
            )
          )
        )
      )
    )
  })
})

describe("SessionHttpApiClient.layerBearer", () => {
  it.effect("sends the token there is, to one origin alone", () =>
    Effect.gen(function* () {
      const stored = yield* Ref.make(Option.none<Redacted.Redacted<string>>())
      const url = yield* baseUrl
      const mobile = SessionHttpApiClient.layerBearer({
        baseUrl: url,
        token: Ref.get(stored),
        onUnauthorized: ({ response }) => Effect.as(Ref.set(stored, Option.none()), response)
      })
      const { account, auth } = yield* client.pipe(Effect.provide(mobile))
      assert.instanceOf(yield* Effect.flip(account.whoami()), SessionError.SessionMissing)
      const { token } = yield* auth.login({ payload: { username: "ada" } })
      yield* Ref.set(stored, Option.some(Redacted.make(token)))
      assert.strictEqual((yield* account.whoami()).username, "ada")

      const manager = yield* MemberSession.Manager
      yield* manager.revokeAll("ada")
      assert.instanceOf(yield* Effect.flip(account.whoami()), SessionError.SessionInvalid)
      assert.isTrue(Option.isNone(yield* Ref.get(stored)))

      // The same client, pointed elsewhere.
      yield* Ref.set(stored, Option.some(Redacted.make(token)))
      const elsewhere = yield* client.pipe(
        Effect.provide(SessionHttpApiClient.layerBearer({ baseUrl: "https://api.example.com", token: Ref.get(stored) }))
      )
      assert.instanceOf(yield* Effect.flip(elsewhere.account.whoami()), SessionError.SessionMissing)
    }).pipe(Effect.provide(live))
  )

  it.effect("takes the token from a service, and a hook may renew it and try again", () =>
    Effect.gen(function* () {
      class KeyStore extends Context.Service<KeyStore, { readonly token: Ref.Ref<string> }>()("test/KeyStore") {}
      const token = yield* Ref.make("stale")
      const manager = yield* MemberSession.Manager
      const mobile = SessionHttpApiClient.layerBearer({
        baseUrl: yield* baseUrl,
        token: Effect.flatMap(KeyStore, ({ token }) =>
          Effect.map(Ref.get(token), (token) => Option.some(Redacted.make(token)))
        ),
        onUnauthorized: ({ retry }) =>
          Effect.gen(function* () {
            const created = yield* Effect.orDie(manager.create({ username: "ada", cart: [] }))
            yield* Ref.set((yield* KeyStore).token, Redacted.value(created.token))
            return yield* retry
          })
      }).pipe(Layer.provide(Layer.succeed(KeyStore, { token })))
      const { account } = yield* client.pipe(Effect.provide(mobile))
      entered.count = 0
      assert.strictEqual((yield* account.whoami()).username, "ada")
      assert.strictEqual(entered.count, 1)
    }).pipe(Effect.provide(live))
  )
})

describe("SessionHttpApiClient.layerHeader", () => {
  class ByHeader extends SessionHttpApiMiddleware.Required<ByHeader>()("test/ByHeader", MemberSession, {
    security: { header: HttpApiSecurity.apiKey({ key: "X-Session" }) }
  }) {}
  class Open extends SessionHttpApiMiddleware.Optional<Open>()("test/Open", MemberSession) {}
  const HeaderApi = HttpApi.make("header").add(
    HttpApiGroup.make("g").add(
      HttpApiEndpoint.post("login", "/login").middleware(Open),
      HttpApiEndpoint.get("whoami", "/whoami", { success: Schema.String }).middleware(ByHeader),
      HttpApiEndpoint.post("rotate", "/rotate").middleware(ByHeader)
    )
  )
  const Server = HttpRouter.serve(
    HttpApiBuilder.layer(HeaderApi).pipe(
      Layer.provide(
        HttpApiBuilder.group(HeaderApi, "g", (handlers) =>
          handlers
            .handle("login", () =>
              Effect.gen(function* () {
                yield* (yield* MemberSession).create({ username: "ada", cart: [] })
              })
            )
            .handle("whoami", () => Effect.map(MemberSession.Verified, ({ data }) => data.username))
            .handle("rotate", () =>
              Effect.gen(function* () {
                yield* (yield* MemberSession).rotate
              })
            )
        )
      ),
      Layer.provide([SessionHttpApi.layer(ByHeader, MemberSession), SessionHttpApi.layerOptional(Open, MemberSession)])
    ),
    { disableLogger: true, disableListenLog: true }
  ).pipe(
    Layer.provideMerge(
      SessionTest.layer(MemberSession, { frontend: SessionFrontend.layerHeader({ name: "X-Session" }) })
    ),
    Layer.provideMerge(NodeHttpServer.layerTest)
  )

  it.effect("keeps the token the server sends, and the next one, for one origin alone", () =>
    Effect.gen(function* () {
      const url = yield* baseUrl
      const { g } = yield* HttpApiClient.make(HeaderApi).pipe(
        Effect.provide(SessionHttpApiClient.layerHeader({ baseUrl: url, name: "X-Session" }))
      )
      yield* g.login()
      assert.strictEqual(yield* g.whoami(), "ada")
      yield* g.rotate()
      assert.strictEqual(yield* g.whoami(), "ada")

      const { token } = yield* (yield* MemberSession.Manager).create({ username: "bob", cart: [] })
      const again = yield* HttpApiClient.make(HeaderApi).pipe(
        Effect.provide(SessionHttpApiClient.layerHeader({ baseUrl: `${url}/v1`, name: "X-Session", token }))
      )
      assert.strictEqual(yield* again.g.whoami(), "bob")
      const elsewhere = yield* HttpApiClient.make(HeaderApi).pipe(
        Effect.provide(
          SessionHttpApiClient.layerHeader({ baseUrl: "https://api.example.com", name: "X-Session", token })
        )
      )
      assert.instanceOf(yield* Effect.flip(elsewhere.g.whoami()), SessionError.SessionMissing)
    }).pipe(Effect.provide(Server))
  )
})
