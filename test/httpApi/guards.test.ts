/** Guards of an API with errors of its own, and those that ask for a fresh session. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Result, Schema } from "effect"
import { HttpServer } from "effect/http"
import {
  HttpApi,
  HttpApiBuilder,
  HttpApiEndpoint,
  HttpApiGroup,
  HttpApiMiddleware,
  HttpApiSecurity,
  HttpApiTest,
  OpenApi
} from "effect/http-api"
import { Session, SessionError, SessionFrontend, SessionHttpApi, SessionHttpApiMiddleware } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import { TestClock } from "effect/testing"
import * as Client from "../support/client.ts"
import { tagOf } from "../support/httpSupport.ts"
import * as Stage from "../support/stage.ts"
import * as Stack from "../support/stack.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import { ada, nobody, UserSession } from "../support/userSession.ts"

const security = {
  session: HttpApiSecurity.apiKey({ in: "cookie", key: "__Host-session" }),
  bearer: HttpApiSecurity.bearer
}

// One plain 401 of the application's own; a store that is down is still no 401.
class Unauthorized extends Schema.TaggedError<Unauthorized>()("Unauthorized", {}, { httpApiStatus: 401 }) {}
class Authenticated extends SessionHttpApiMiddleware.Required<Authenticated>()("test/own/Authenticated", UserSession, {
  error: [Unauthorized, SessionError.SessionUnavailable]
}) {}
const AuthenticatedLive = SessionHttpApi.layer(Authenticated, UserSession, {
  onFailure: (error) => Effect.fail(error._tag === "SessionUnavailable" ? error : new Unauthorized())
})

// Several, by two schemes.
class Busy extends Schema.TaggedError<Busy>()("Busy", { again: Schema.Boolean }, { httpApiStatus: 503 }) {}
class Elsewhere extends Schema.TaggedError<Elsewhere>()("Elsewhere", { path: Schema.String }, { httpApiStatus: 403 }) {}
class ProveIt extends Schema.TaggedError<ProveIt>()("ProveIt", { within: Schema.Number }, { httpApiStatus: 401 }) {}
class Sudo extends SessionHttpApiMiddleware.Required<Sudo>()("test/own/Sudo", UserSession, {
  security,
  fresh: { within: "5 minutes" },
  error: [Unauthorized, Busy, Elsewhere, ProveIt]
}) {}
const asked: Array<string> = []
const SudoLive = SessionHttpApi.layer(Sudo, UserSession, {
  onFailure: (error, request): Effect.Effect<never, Unauthorized | Busy | Elsewhere | ProveIt> => {
    asked.push(error._tag)
    switch (error._tag) {
      case "SessionUnavailable":
        return Effect.fail(new Busy({ again: true }))
      case "SessionCrossOrigin":
        return Effect.fail(new Elsewhere({ path: request.url }))
      case "SessionStale":
        return Effect.fail(new ProveIt({ within: error.maxAge }))
      default:
        return Effect.fail(new Unauthorized())
    }
  }
})

// With the library's errors: fresh by the middleware, by the layer, and not at all.
class Fresh extends SessionHttpApiMiddleware.Required<Fresh>()("test/own/Fresh", UserSession, {
  security,
  fresh: { within: "5 minutes" }
}) {}
class Stricter extends SessionHttpApiMiddleware.Required<Stricter>()("test/own/Stricter", UserSession, {
  fresh: { within: "5 minutes" }
}) {}
class ByHand extends HttpApiMiddleware.Service<ByHand, { provides: Session.Provided<typeof UserSession> }>()(
  "test/own/ByHand",
  { error: [...Session.errors(UserSession), SessionError.SessionStale] }
) {}
class Polled extends SessionHttpApiMiddleware.Required<Polled>()("test/own/Polled", UserSession) {}
class Callback extends SessionHttpApiMiddleware.Optional<Callback>()("test/own/Callback", UserSession) {}

const whoami = (path: `/${string}`) => HttpApiEndpoint.get("whoami", path, { success: Schema.String })
const Api = HttpApi.make("own").add(
  HttpApiGroup.make("plain").add(whoami("/plain")).middleware(Authenticated),
  HttpApiGroup.make("sudo").add(whoami("/sudo"), HttpApiEndpoint.post("act", "/sudo")).middleware(Sudo),
  HttpApiGroup.make("fresh").add(whoami("/fresh")).middleware(Fresh),
  HttpApiGroup.make("stricter").add(whoami("/stricter")).middleware(Stricter),
  HttpApiGroup.make("byHand").add(whoami("/by-hand")).middleware(ByHand),
  HttpApiGroup.make("polled").add(whoami("/polled")).middleware(Polled),
  HttpApiGroup.make("callback")
    .add(
      HttpApiEndpoint.post("callback", "/callback"),
      HttpApiEndpoint.get("look", "/callback", { success: Schema.String })
    )
    .middleware(Callback)
)

const name = Effect.map(UserSession.Verified, ({ data }) => data.username ?? "-")
const Handlers = Layer.mergeAll(
  HttpApiBuilder.group(Api, "plain", (handlers) => handlers.handle("whoami", () => name)),
  HttpApiBuilder.group(Api, "sudo", (handlers) =>
    handlers.handle("whoami", () => name).handle("act", () => Effect.void)
  ),
  HttpApiBuilder.group(Api, "fresh", (handlers) => handlers.handle("whoami", () => name)),
  HttpApiBuilder.group(Api, "stricter", (handlers) => handlers.handle("whoami", () => name)),
  HttpApiBuilder.group(Api, "byHand", (handlers) => handlers.handle("whoami", () => name)),
  HttpApiBuilder.group(Api, "polled", (handlers) => handlers.handle("whoami", () => name)),
  HttpApiBuilder.group(Api, "callback", (handlers) =>
    handlers
      .handle(
        "callback",
        Effect.fnUntraced(function* () {
          yield* (yield* UserSession).create(ada)
        })
      )
      .handle(
        "look",
        Effect.fnUntraced(function* () {
          const session = yield* (yield* UserSession).option
          return Option.match(session, { onNone: () => "-", onSome: ({ data }) => data.username ?? "-" })
        })
      )
  )
)
const within = (within: "1 minute") => ({ fresh: { within } })

const start = Effect.fnUntraced(function* () {
  const backend = WatchedBackend.make()
  const stack = Stack.http(UserSession, {
    backend: backend.layer,
    frontend: SessionFrontend.layerFirst([SessionFrontend.layerCookie(), SessionFrontend.layerBearer()])
  })
  const context = yield* Layer.build(stack)
  const send = yield* Client.serve(
    HttpApiBuilder.layer(Api).pipe(
      Layer.provide(Handlers),
      Layer.provide([
        AuthenticatedLive,
        SudoLive,
        SessionHttpApi.layer(Fresh, UserSession),
        SessionHttpApi.layer(Stricter, UserSession, within("1 minute")),
        SessionHttpApi.layer(ByHand, UserSession, within("1 minute")),
        SessionHttpApi.layer(Polled, UserSession, { touch: false }),
        SessionHttpApi.layerOptional(Callback, UserSession, { touch: false, trustedOrigins: ["https://id.example"] })
      ]),
      Layer.provide(Layer.succeedContext(context)),
      Layer.provide(HttpServer.layerServices)
    )
  )
  const login = (data: (typeof UserSession)["data"]["Type"] = ada) =>
    Effect.flatMap(UserSession.Manager, (manager) => manager.create(data)).pipe(
      Effect.provideContext(context),
      Effect.tap(() => Effect.sync(() => backend.calls.splice(0)))
    )
  return { backend, login, send }
})

describe("an API's own 401", () => {
  it.effect("answers every refusal of the guard, with the challenge of the frontend", () =>
    Effect.gen(function* () {
      const { backend, login, send } = yield* start()
      const { token } = yield* login()
      const cookie = Stage.cookieOf({ token })
      assert.strictEqual((yield* send("GET", "/plain", { cookie })).text, '"ada"')
      const refusals = [
        {},
        { cookie: "__Host-session=junk" },
        { cookie: Stage.cookieOf(yield* login(nobody)) },
        { headers: { authorization: "Bearer junk" } }
      ]
      for (const options of refusals) {
        const answer = yield* send("GET", "/plain", options)
        assert.deepStrictEqual([answer.status, answer.text, answer.setCookie], [401, '{"_tag":"Unauthorized"}', []])
        assert.strictEqual(answer.headers.get("www-authenticate"), "Session, Bearer")
        assert.strictEqual(answer.headers.get("vary"), "Cookie, Authorization")
      }
      backend.wire = (operation) => WatchedBackend.failure(operation, "notApplied")
      const down = yield* send("GET", "/plain", { cookie })
      assert.deepStrictEqual(
        [down.status, tagOf(down), down.headers.get("retry-after"), down.headers.get("www-authenticate")],
        [503, "SessionUnavailable", "1", null]
      )
    })
  )

  it.effect(
    "[R53] or an error of its own for each; with two schemes the guard runs once, and a 503 keeps Retry-After",
    () =>
      Effect.gen(function* () {
        const { backend, login, send } = yield* start()
        const cookie = Stage.cookieOf(yield* login())
        const refused = Effect.fnUntraced(function* (method: string, options: Client.RequestOptions) {
          asked.length = backend.calls.length = 0
          const answer = yield* send(method, "/sudo", options)
          const { headers, status } = answer
          return [
            [status, JSON.parse(answer.text)],
            [headers.get("www-authenticate"), headers.get("retry-after")],
            [[...asked], backend.operations]
          ]
        })
        const challenge = "Session, Bearer"
        assert.strictEqual((yield* send("GET", "/sudo", { cookie })).text, '"ada"')
        assert.deepStrictEqual(yield* refused("GET", {}), [
          [401, { _tag: "Unauthorized" }],
          [challenge, null],
          [["SessionMissing"], []]
        ])
        assert.deepStrictEqual(yield* refused("POST", { cookie, headers: { "sec-fetch-site": "cross-site" } }), [
          [403, { _tag: "Elsewhere", path: "/sudo" }],
          [null, null],
          [["SessionCrossOrigin"], []]
        ])
        backend.wire = (operation) => WatchedBackend.failure(operation, "notApplied")
        assert.deepStrictEqual(yield* refused("GET", { cookie }), [
          [503, { _tag: "Busy", again: true }],
          [null, "1"],
          [["SessionUnavailable"], ["read"]]
        ])
        backend.wire = (_, call) => call
        yield* TestClock.adjust("10 minutes")
        const stale = `error="insufficient_user_authentication", max_age=300`
        const [answer, headers, [seen, operations]] = yield* refused("GET", { cookie })
        assert.deepStrictEqual(
          [answer, headers],
          [
            [401, { _tag: "ProveIt", within: 300 }],
            [`Session ${stale}, Bearer ${stale}`, null]
          ]
        )
        assert.deepStrictEqual(seen, ["SessionStale"])
        assert.deepStrictEqual(operations, ["read", "touch"])
      })
  )

  it("is what the OpenAPI document shows, in the place of the library's", () => {
    const { components, paths } = OpenApi.fromApi(Api)
    const answers = (path: string) => {
      const { responses } = paths[path as `/${string}`]!.get!
      return Object.keys(responses).filter((status) => status !== "200" && status !== "400")
    }
    assert.deepStrictEqual(answers("/plain"), ["401", "503"])
    assert.deepStrictEqual(answers("/sudo"), ["401", "403", "503"])
    assert.deepStrictEqual(answers("/fresh"), ["401", "403", "409", "503"])
    assert.include(JSON.stringify(paths["/plain"]!.get!.responses), "Unauthorized")
    assert.notInclude(JSON.stringify(paths["/plain"]), "SessionMissing")
    assert.include(JSON.stringify(paths["/fresh"]!.get!.responses), "SessionStale")
    assert.notInclude(JSON.stringify(paths["/polled"]!.get!.responses), "SessionStale")
    assert.includeMembers(
      Object.keys(components.schemas),
      ["Unauthorized", "Busy", "Elsewhere", "ProveIt", "SessionStale"].map((name) => `${name}Encoded`)
    )
  })

  it.effect("is what a handler's test meets too, with the same onFailure", () =>
    Effect.gen(function* () {
      const client = yield* HttpApiTest.groups(Own, ["g"])
      assert.strictEqual(yield* client.g.whoami(), "ada")
      yield* TestClock.adjust("2 hours")
      const result = yield* Effect.result(client.g.whoami())
      assert.instanceOf(Result.isFailure(result) && result.failure, Unauthorized)
    }).pipe(
      Effect.provide(
        HttpApiBuilder.group(Own, "g", (handlers) => handlers.handle("whoami", () => name)).pipe(
          Layer.provideMerge(
            SessionTest.layerHttpApi(Authenticated, UserSession, ada, {
              idleTimeout: "30 minutes",
              onFailure: () => Effect.fail(new Unauthorized())
            })
          ),
          Layer.provideMerge(HttpServer.layerServices)
        )
      )
    )
  )
  const Own = HttpApi.make("one").add(HttpApiGroup.make("g").add(whoami("/whoami")).middleware(Authenticated))
})

describe("guards with options", () => {
  it.effect("[R53] ask for a session as fresh as the middleware says, or its layer, with the challenge of a 401", () =>
    Effect.gen(function* () {
      const { login, send } = yield* start()
      const cookie = Stage.cookieOf(yield* login())
      const tried = Effect.fnUntraced(function* () {
        const answers: Array<readonly [string, number, string | undefined]> = []
        for (const path of ["/fresh", "/stricter", "/by-hand"]) {
          const answer = yield* send("GET", path, { cookie })
          const challenge = answer.headers.get("www-authenticate")
          answers.push([path, answer.status, /max_age=(\d+)$/.exec(challenge ?? "")?.[1]])
        }
        return answers
      })
      assert.deepStrictEqual(yield* tried(), [
        ["/fresh", 200, undefined],
        ["/stricter", 200, undefined],
        ["/by-hand", 200, undefined]
      ])
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(yield* tried(), [
        ["/fresh", 200, undefined],
        ["/stricter", 401, "60"],
        ["/by-hand", 401, "60"]
      ])
      yield* TestClock.adjust("4 minutes")
      const stale = yield* send("GET", "/fresh", { cookie })
      assert.deepStrictEqual(
        [stale.status, JSON.parse(stale.text)],
        [401, { _tag: "SessionStale", maxAge: 300, methods: [] }]
      )
    })
  )

  it.effect("touch: false keeps no session alive", () =>
    Effect.gen(function* () {
      const { backend, login, send } = yield* start()
      const cookie = Stage.cookieOf(yield* login())
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual((yield* send("GET", "/polled", { cookie })).text, '"ada"')
      assert.strictEqual((yield* send("GET", "/callback", { cookie })).text, '"ada"')
      assert.deepStrictEqual(backend.operations, ["read", "read"])
      yield* send("GET", "/plain", { cookie })
      assert.deepStrictEqual(backend.operations, ["read", "read", "read", "touch"])
    })
  )

  it.effect("[R59] trustedOrigins hold for its endpoints alone", () =>
    Effect.gen(function* () {
      const { send } = yield* start()
      const from = (origin: string) => ({ headers: { "sec-fetch-site": "cross-site", origin } })
      const answer = yield* send("POST", "/callback", from("https://id.example"))
      assert.deepStrictEqual([answer.status, answer.setCookie.length], [204, 1])
      assert.strictEqual((yield* send("POST", "/callback", from("https://evil.example"))).status, 403)
      assert.strictEqual((yield* send("POST", "/sudo", from("https://id.example"))).status, 403)
    })
  )

  it.effect("[R87a] what is wrong with them fails the layer, all of it at once, by the middleware's name", () =>
    Effect.gen(function* () {
      const problemsOf = <A>(layer: Layer.Layer<A, SessionError.SessionConfigError, Session.Bound<UserSession>>) =>
        Effect.map(
          Effect.flip(Effect.scoped(Layer.build(Layer.provide(layer, SessionTest.layer(UserSession))))),
          ({ problems }) => problems
        )
      const problems = yield* problemsOf(
        SessionHttpApi.layer(Fresh, UserSession, { fresh: { within: 0 }, trustedOrigins: ["https://id.example/"] })
      )
      assert.lengthOf(problems, 3)
      assert.match(problems[0]!, /^test\/own\/Fresh: trusted origin .* must be an origin as browsers send it/)
      assert.strictEqual(problems[1], "test/own/Fresh: fresh: within must be a duration above zero")
      assert.match(problems[2]!, /declares the security scheme "bearer"/)
      const open = yield* problemsOf(SessionHttpApi.layerOptional(Callback, UserSession, { trustedOrigins: ["*"] }))
      assert.match(open.join(), /^test\/own\/Callback: trusted origin/)
    })
  )
})

describe("middlewares made from a definition", () => {
  it("carry what they were made with", () => {
    assert.deepStrictEqual(Fresh.fresh, { within: "5 minutes" })
    assert.isUndefined(Polled.fresh)
    assert.deepStrictEqual(Fresh.security, security)
    assert.deepStrictEqual([...Fresh.error], [...Session.errors(UserSession), SessionError.SessionStale])
    assert.deepStrictEqual([...Polled.error], [...Session.errors(UserSession)])
    assert.deepStrictEqual([...Authenticated.error], [Unauthorized, SessionError.SessionUnavailable])
    assert.strictEqual(Authenticated.key, "test/own/Authenticated")
    assert.notProperty(Polled, "security")
  })
})
