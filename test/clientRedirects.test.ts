/** Redirects, between two servers on two ports: two origins. Each transport has its own way with a redirect. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { SessionHttpApiClient, SessionMiddleware } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import { MemberSession } from "./support/memberApi.ts"
import { listen } from "./support/server.ts"

interface Seen {
  readonly method: string
  readonly path: string
  readonly body: string
  readonly cookie: string | undefined
  readonly token: string | undefined
  readonly headers: Readonly<Record<string, string | undefined>>
}

interface Answer {
  readonly status?: number
  readonly location?: string
  readonly cookie?: string
  readonly token?: string
}

/** A server that answers as a request's query tells it to, and remembers the requests. */
const origin = Effect.gen(function* () {
  const seen: Array<Seen> = []
  const port = yield* listen(
    HttpRouter.add(
      "*",
      "/*",
      Effect.gen(function* () {
        const request = yield* HttpServerRequest.HttpServerRequest
        const { pathname, searchParams } = new URL(request.url, "http://server")
        const { headers, method } = request
        const body = method === "GET" || method === "HEAD" ? "" : yield* request.text
        seen.push({ method, path: pathname, body, cookie: headers["cookie"], token: headers["x-session"], headers })
        const answer = Object.fromEntries(searchParams)
        return HttpServerResponse.text(pathname, { status: Number(answer["status"] ?? 200) }).pipe(
          HttpServerResponse.setHeaders({
            ...(answer["location"] === undefined ? undefined : { location: answer["location"] }),
            ...(answer["cookie"] === undefined ? undefined : { "set-cookie": answer["cookie"] }),
            ...(answer["token"] === undefined ? undefined : { "x-session": answer["token"] })
          })
        )
      })
    )
  )
  const url = `http://127.0.0.1:${port}`
  const at = (path: string, answer: Answer = {}) => {
    const query = new URLSearchParams(Object.entries(answer).map(([name, value]) => [name, String(value)]))
    return `${url}${path}?${query.toString()}`
  }
  return { url, at, seen, last: () => seen.at(-1)!, paths: () => seen.map(({ method, path }) => `${method} ${path}`) }
})

type Transport = Layer.Layer<HttpClient.HttpClient>

const transports: ReadonlyArray<readonly [string, Transport]> = [
  ["fetch", FetchHttpClient.layer],
  ["undici", NodeHttpClient.layerUndici],
  ["node:http", NodeHttpClient.layerNodeHttp]
]

const token = Redacted.make("mine")
const bearerToken = Effect.succeed(Option.some(token))

const clientOf = (
  layer: Layer.Layer<HttpClient.HttpClient, never, HttpClient.HttpClient>,
  transport: Transport = FetchHttpClient.layer
) =>
  Effect.map(Layer.build(Layer.provide(layer, transport)), (context) =>
    HttpClient.HttpClient.pipe(Effect.provide(context))
  ).pipe(Effect.flatten)

describe.each(transports)("redirects over %s", (_, transport) => {
  it.effect("a log-in that sets its cookie on a 303 logs in", () =>
    Effect.gen(function* () {
      const port = yield* listen(
        Layer.mergeAll(
          HttpRouter.add(
            "POST",
            "/login",
            Effect.gen(function* () {
              yield* (yield* MemberSession).create({ username: "ada", cart: [] })
              return HttpServerResponse.redirect("/home", { status: 303 })
            })
          ),
          HttpRouter.add(
            "GET",
            "/home",
            Effect.map(
              Effect.flatMap(MemberSession, ({ get }) => get),
              ({ data }) => HttpServerResponse.text(data.username)
            )
          )
        ).pipe(
          Layer.provide(SessionMiddleware.router(MemberSession).layer),
          Layer.provide(Layer.orDie(SessionTest.layer(MemberSession)))
        )
      )
      const http = yield* clientOf(SessionHttpApiClient.layerCookies(), transport)
      const response = yield* http.post(`http://127.0.0.1:${port}/login`)
      assert.deepStrictEqual([response.status, yield* response.text], [200, "ada"])
      assert.strictEqual(yield* (yield* http.get(`http://127.0.0.1:${port}/home`)).text, "ada")
    })
  )

  it.effect("cookies stay with their origin, those of a redirect too", () =>
    Effect.gen(function* () {
      const [mine, other] = yield* Effect.all([origin, origin])
      const http = yield* clientOf(SessionHttpApiClient.layerCookies(), transport)
      yield* http.get(
        mine.at("/go", {
          status: 302,
          cookie: "__Host-s=mine; Path=/; Secure; HttpOnly",
          location: other.at("/land", { cookie: "s=other; Path=/" })
        })
      )
      assert.deepStrictEqual(other.paths(), ["GET /land"])
      assert.isUndefined(other.last().cookie)
      yield* http.get(mine.at("/"))
      assert.strictEqual(mine.last().cookie, "__Host-s=mine")
      yield* http.get(other.at("/"))
      assert.strictEqual(other.last().cookie, "s=other")
      // And back again, as a log-in at an identity provider goes.
      yield* http.get(
        mine.at("/go", { status: 302, location: other.at("/go", { status: 302, location: mine.at("/back") }) })
      )
      assert.strictEqual(other.last().cookie, "s=other")
      assert.deepStrictEqual([mine.last().path, mine.last().cookie], ["/back", "__Host-s=mine"])
    })
  )

  it.effect("a header's token stays with its origin, and no other's is adopted", () =>
    Effect.gen(function* () {
      const [mine, other] = yield* Effect.all([origin, origin])
      const http = yield* clientOf(
        SessionHttpApiClient.layerHeader({ baseUrl: mine.url, name: "X-Session", token }),
        transport
      )
      const sent = Effect.map(http.get(mine.at("/")), () => mine.last().token)
      for (const status of [301, 302, 303, 307, 308]) {
        yield* http.get(mine.at("/go", { status, location: other.at("/land", { token: "theirs" }) }))
        assert.deepStrictEqual([mine.last().token, other.last().path, other.last().token], ["mine", "/land", undefined])
        assert.strictEqual(yield* sent, "mine")
      }
      // Asked for directly, and led back by the other origin to an address of its choice.
      yield* http.get(other.at("/", { token: "theirs" }))
      assert.isUndefined(other.last().token)
      for (const first of [
        other.at("/go", { status: 307, location: mine.at("/chosen", { token: "fixed" }) }),
        mine.at("/go", {
          status: 307,
          location: other.at("/go", { status: 307, location: mine.at("/chosen", { token: "fixed" }) })
        })
      ]) {
        yield* http.get(first)
        assert.deepStrictEqual([mine.last().path, mine.last().token], ["/chosen", undefined])
      }
      assert.strictEqual(yield* sent, "mine")
      // Within the origin it goes along, and a redirect may renew it.
      yield* http.post(mine.at("/rotate", { status: 303, location: "/home", token: "renewed" }))
      assert.deepStrictEqual([mine.last().path, mine.last().token], ["/home", "renewed"])
      assert.strictEqual(yield* sent, "renewed")
    })
  )

  it.effect("a bearer token stays with its origin", () =>
    Effect.gen(function* () {
      const [mine, other] = yield* Effect.all([origin, origin])
      const http = yield* clientOf(
        SessionHttpApiClient.layerBearer({ baseUrl: mine.url, token: bearerToken }),
        transport
      )
      yield* http.get(
        mine.at("/go", { status: 302, location: mine.at("/go", { status: 302, location: other.at("/") }) })
      )
      assert.deepStrictEqual(
        mine.seen.map(({ headers }) => headers["authorization"]),
        ["Bearer mine", "Bearer mine"]
      )
      assert.isUndefined(other.last().headers["authorization"])
      yield* http.get(other.at("/go", { status: 302, location: mine.at("/chosen") }))
      assert.deepStrictEqual([mine.last().path, mine.last().headers["authorization"]], ["/chosen", undefined])
    })
  )

  it.effect("what the caller set for one origin is taken off for another", () =>
    Effect.gen(function* () {
      const [mine, other] = yield* Effect.all([origin, origin])
      const secrets = { authorization: "Basic x", cookie: "c=1", "proxy-authorization": "Basic y", "x-session": "set" }
      const http = yield* clientOf(
        SessionHttpApiClient.layerHeader({ baseUrl: mine.url, name: "x-session" }),
        transport
      )
      const headers = { ...secrets, "x-kept": "kept" }
      yield* http.get(mine.at("/go", { status: 307, location: other.at("/") }), {
        headers: { ...headers, host: "api.example.com" }
      })
      assert.deepInclude(mine.last().headers, headers)
      for (const name of Object.keys(secrets)) assert.isUndefined(other.last().headers[name], name)
      assert.strictEqual(other.last().headers["host"], new URL(other.url).host)
      assert.strictEqual(other.last().headers["x-kept"], "kept")
    })
  )

  it.effect("method and body change as fetch has it", () =>
    Effect.gen(function* () {
      const mine = yield* origin
      const http = yield* clientOf(SessionHttpApiClient.layerCookies(), transport)
      const arrived = (method: "POST" | "PUT" | "HEAD", status: number) =>
        Effect.map(
          http.execute(
            HttpClientRequest.make(method)(mine.at("/go", { status, location: "/land" })).pipe(
              method === "HEAD" ? (request) => request : HttpClientRequest.bodyText("body", "text/plain")
            )
          ),
          () => {
            const { body, headers, method, path } = mine.last()
            assert.strictEqual(path, "/land")
            assert.strictEqual(headers["content-type"], body === "" ? undefined : "text/plain")
            return `${method} ${body}`
          }
        )
      for (const [method, status, expected] of [
        ["POST", 301, "GET "],
        ["POST", 302, "GET "],
        ["POST", 303, "GET "],
        ["POST", 307, "POST body"],
        ["POST", 308, "POST body"],
        ["PUT", 301, "PUT body"],
        ["PUT", 302, "PUT body"],
        ["PUT", 303, "GET "],
        ["PUT", 307, "PUT body"],
        ["HEAD", 303, "HEAD "]
      ] as const) {
        assert.strictEqual(yield* arrived(method, status), expected, `${method} ${status}`)
      }
    })
  )

  it.effect("follows ten redirects, or as many as it is told to", () =>
    Effect.gen(function* () {
      const mine = yield* origin
      // A cookie on each, so that what is read of the last one is seen too.
      const chain = (length: number): string =>
        mine.at(`/${length}`, {
          cookie: `c${length}=1`,
          ...(length === 0 ? {} : { status: 302, location: chain(length - 1) })
        })
      const end = (options: SessionHttpApiClient.Options, length: number) =>
        Effect.gen(function* () {
          const http = yield* clientOf(SessionHttpApiClient.layerCookies(options), transport)
          mine.seen.length = 0
          const { status } = yield* http.get(chain(length))
          return [status, mine.seen.length]
        })
      assert.deepStrictEqual(yield* end({}, 10), [200, 11])
      assert.deepStrictEqual(yield* end({}, 11), [302, 11])
      assert.deepStrictEqual(yield* end({ maxRedirects: 2 }, 3), [302, 3])
      assert.deepStrictEqual(yield* end({ maxRedirects: 0 }, 3), [302, 1])
    })
  )

  it.effect("a redirect that leads to no origin is refused", () =>
    Effect.gen(function* () {
      const mine = yield* origin
      const http = yield* clientOf(SessionHttpApiClient.layerCookies(), transport)
      for (const location of ["file:///etc/hostname", "data:text/plain,theirs", "javascript:0", "blob:x"]) {
        const error = yield* Effect.flip(http.get(mine.at("/go", { status: 302, location })))
        assert.strictEqual(error.reason._tag, "InvalidUrlError", location)
      }
    })
  )
})

describe("a 401 and redirects", () => {
  const asked = (
    transport: Transport,
    layer: (options: SessionHttpApiClient.Options) => Parameters<typeof clientOf>[0]
  ) => {
    const questions: Array<string> = []
    const client = clientOf(
      layer({
        onUnauthorized: ({ request, retry }) => {
          questions.push(`${request.method} ${new URL(request.url).pathname}`)
          return retry
        }
      }),
      transport
    )
    return Effect.map(client, (http) => ({ http, questions }))
  }

  it.effect.each(transports)("over %s the last request is tried again, and not what led there", ([, transport]) =>
    Effect.gen(function* () {
      const mine = yield* origin
      const { http, questions } = yield* asked(transport, SessionHttpApiClient.layerCookies)
      const { status } = yield* http.post(
        mine.at("/pay", { status: 303, location: mine.at("/receipt", { status: 401 }) })
      )
      assert.strictEqual(status, 401)
      assert.deepStrictEqual(questions, ["GET /receipt"])
      assert.deepStrictEqual(mine.paths(), ["POST /pay", "GET /receipt", "GET /receipt"])
    })
  )

  it.effect.each(transports)("over %s another origin's is no reason to ask", ([, transport]) =>
    Effect.gen(function* () {
      const [mine, other] = yield* Effect.all([origin, origin])
      const elsewhere = [
        mine.at("/go", { status: 302, location: other.at("/", { status: 401 }) }),
        mine.at("/go", {
          status: 302,
          location: other.at("/go", { status: 302, location: mine.at("/", { status: 401 }) })
        })
      ]
      const bearer = (options: SessionHttpApiClient.Options) =>
        SessionHttpApiClient.layerBearer({ ...options, baseUrl: mine.url, token: bearerToken })
      for (const [layer, urls] of [
        [SessionHttpApiClient.layerCookies, elsewhere],
        [bearer, [...elsewhere, other.at("/", { status: 401 })]]
      ] as const) {
        const { http, questions } = yield* asked(transport, layer)
        for (const url of urls) assert.strictEqual((yield* http.get(url)).status, 401)
        assert.deepStrictEqual(questions, [])
        yield* http.get(mine.at("/asks", { status: 401 }))
        assert.deepStrictEqual(questions, ["GET /asks"])
      }
    })
  )
})

describe("a client that follows redirects itself", () => {
  const following = Layer.succeed(
    HttpClient.HttpClient,
    HttpClient.make((request, url, signal) =>
      Effect.map(
        Effect.promise(() =>
          fetch(url, { method: request.method, headers: request.headers, signal, redirect: "follow" })
        ),
        (response) => HttpClientResponse.fromWeb(request, response)
      )
    )
  )

  it.effect("nothing of another origin's answer is kept, nor is the hook asked about it", () =>
    Effect.gen(function* () {
      const [mine, other] = yield* Effect.all([origin, origin])
      const away = mine.at("/go", {
        status: 302,
        location: other.at("/", { status: 401, token: "theirs", cookie: "s=theirs; Path=/" })
      })
      let asked = 0
      const onUnauthorized = ({ response }: SessionHttpApiClient.Unauthorized) =>
        Effect.sync(() => {
          asked++
          return response
        })
      const byHeader = yield* clientOf(
        SessionHttpApiClient.layerHeader({ baseUrl: mine.url, name: "x-session", token, onUnauthorized }),
        following
      )
      yield* byHeader.get(away)
      yield* byHeader.get(mine.at("/"))
      assert.strictEqual(mine.last().token, "mine")
      const byCookie = yield* clientOf(SessionHttpApiClient.layerCookies({ onUnauthorized }), following)
      yield* byCookie.get(away)
      for (const server of [mine, other]) {
        yield* byCookie.get(server.at("/"))
        assert.isUndefined(server.last().cookie)
      }
      assert.strictEqual(asked, 0)
    })
  )
})

describe("user information in an address", () => {
  // fetch refuses such an address, and undici's client leaves it out.
  it.effect("goes to its own origin alone", () =>
    Effect.gen(function* () {
      const [mine, other] = yield* Effect.all([origin, origin])
      const http = yield* clientOf(SessionHttpApiClient.layerCookies(), NodeHttpClient.layerNodeHttp)
      const go = mine.at("/go", { status: 302, location: mine.at("/go", { status: 302, location: other.at("/") }) })
      yield* http.get(go.replace("http://", "http://user:password@"))
      assert.match(mine.seen[0]!.headers["authorization"]!, /^Basic /)
      assert.isUndefined(other.last().headers["authorization"])
      // Where the API's origin is meant by an address with user information, the token goes there all the same.
      const baseUrl = mine.url.replace("http://", "http://user:password@")
      const byHeader = yield* clientOf(SessionHttpApiClient.layerHeader({ baseUrl, name: "x-session", token }))
      yield* byHeader.get(mine.at("/"))
      assert.strictEqual(mine.last().token, "mine")
    })
  )
})

describe("fetch's RequestInit", () => {
  it.effect("the caller's and that of the layers' environment stay in force", () =>
    Effect.gen(function* () {
      const [mine, other] = yield* Effect.all([origin, origin])
      const init = Layer.succeed(FetchHttpClient.RequestInit, {
        headers: { "user-agent": "init", authorization: "Basic init" }
      })
      const http = yield* clientOf(SessionHttpApiClient.layerCookies(), FetchHttpClient.layer).pipe(
        Effect.provide(init)
      )
      const away = mine.at("/go", { status: 302, location: other.at("/") })
      yield* http.get(away)
      assert.deepInclude(mine.last().headers, { "user-agent": "init", authorization: "Basic init" })
      assert.strictEqual(other.last().headers["user-agent"], "init")
      assert.isUndefined(other.last().headers["authorization"])
      yield* Effect.provideService(http.get(mine.at("/")), FetchHttpClient.RequestInit, {
        headers: { "user-agent": "caller" }
      })
      assert.strictEqual(mine.last().headers["user-agent"], "caller")

      // Whoever wants no redirect at all gets none.
      other.seen.length = 0
      const error = yield* Effect.flip(
        Effect.provideService(http.get(away), FetchHttpClient.RequestInit, { redirect: "error" })
      )
      assert.strictEqual(error.reason._tag, "TransportError")
      assert.deepStrictEqual(other.seen, [])
    })
  )

  it.effect("is the client's own affair: what the token's effect fetches follows redirects as ever", () =>
    Effect.gen(function* () {
      const mine = yield* origin
      const renewed = Effect.gen(function* () {
        const response = yield* HttpClient.get(mine.at("/go", { status: 302, location: "/renewed" }))
        return Option.some(Redacted.make(yield* response.text))
      }).pipe(Effect.orDie, Effect.provide(FetchHttpClient.layer))
      const http = yield* clientOf(SessionHttpApiClient.layerBearer({ baseUrl: mine.url, token: renewed }))
      yield* http.get(mine.at("/"))
      assert.strictEqual(mine.last().headers["authorization"], "Bearer /renewed")
    })
  )
})

describe("baseUrl", () => {
  const sentTo = (baseUrl: string | URL, url: string) =>
    Effect.gen(function* () {
      let sent: string | undefined
      const recording = Layer.succeed(
        HttpClient.HttpClient,
        HttpClient.make((request) => {
          sent = request.headers["x-session"]
          return Effect.succeed(HttpClientResponse.fromWeb(request, new Response(null)))
        })
      )
      const http = yield* clientOf(SessionHttpApiClient.layerHeader({ baseUrl, name: "X-Session", token }), recording)
      yield* http.get(url)
      return sent
    })

  it.effect("is an origin: case, default port, path and user information make no difference", () =>
    Effect.gen(function* () {
      for (const baseUrl of [
        "https://api.example.com",
        "HTTPS://API.Example.COM:443/v1?a#b",
        "https://user:password@api.example.com",
        new URL("https://api.example.com")
      ]) {
        for (const url of [
          "https://api.example.com/whoami",
          "https://API.example.com:443/",
          "https://user:password@api.example.com/",
          "https://other.example@api.example.com/"
        ]) {
          assert.strictEqual(yield* sentTo(baseUrl, url), "mine", `${String(baseUrl)} ${url}`)
        }
        for (const url of [
          "http://api.example.com/",
          "http://api.example.com:443/",
          "https://api.example.com:8443/",
          "https://api.example.com./",
          "https://api.example.com@other.example/",
          "https://api.example.com.other.example/",
          "https://example.com/"
        ]) {
          assert.isUndefined(yield* sentTo(baseUrl, url), `${String(baseUrl)} ${url}`)
        }
      }
    })
  )

  it.effect("that has no origin is a defect when the layer is built", () =>
    Effect.gen(function* () {
      for (const baseUrl of ["/api", "api.example.com", "", "capacitor://localhost", "file:///srv", "localhost:3000"]) {
        const cause = yield* Effect.sandbox(sentTo(baseUrl, "capacitor://localhost/")).pipe(Effect.flip)
        assert.include(String(cause), "baseUrl", baseUrl)
      }
    })
  )
})
