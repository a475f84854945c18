/** Which requests are told of as refused: each of them once, whoever refuses it. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Option, type Redacted, Result } from "effect"
import type { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup, HttpApiSecurity } from "effect/http-api"
import { type Session, SessionFrontend, SessionHttpApi, SessionMiddleware } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import { TestClock } from "effect/testing"
import * as Client from "../support/client.ts"
import * as Events from "../support/events.ts"
import { empty, text, verified } from "../support/httpSupport.ts"
import * as Stack from "../support/stack.ts"
import * as Stage from "../support/stage.ts"
import { ada, addWord, banned, eve, nobody, refusingBanned, UserSession } from "../support/userSession.ts"

type Stage = Effect.Success<ReturnType<typeof Stage.make>>
type Handle = (typeof UserSession)["Service"]
type Told = ReturnType<typeof Events.make>

const verifier = refusingBanned()

const frontend = SessionFrontend.layerFirst([SessionFrontend.layerCookie(), SessionFrontend.layerBearer()])

/** A stage, and what its handler was told. */
const staged = <A, E, R>(test: (stage: Stage, told: Told) => Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const told = Events.make()
    const stage = yield* Stage.make({
      frontend,
      verifier,
      rotateEvery: "10 minutes",
      idleTimeout: "1 hour",
      onEvent: told.onEvent
    })
    return yield* test(stage, told)
  })

const open = (stage: Stage, act: (session: Handle) => Effect.Effect<unknown, unknown>) =>
  stage.open(Effect.flatMap(UserSession, (session) => Effect.as(act(session), empty)))

const get = (session: Handle) => session.get
const fresh = (session: Handle) => session.fresh({ within: "5 minutes" })

interface Refusal {
  readonly status: number
  /** What is told, and nothing besides. */
  readonly told: ReadonlyArray<string>
  readonly send: (stage: Stage, told: Told) => Effect.Effect<Client.Answer, unknown>
}

const invalid = (reason: string) => [`Refused SessionInvalid ${reason}`]

/** A guarded route's answer to a request with this cookie. */
const guarded =
  (cookieOf: (stage: Stage) => Effect.Effect<string, unknown>) =>
  (stage: Stage, { taken }: Told) =>
    Effect.gen(function* () {
      const cookie = yield* cookieOf(stage)
      taken()
      return yield* (yield* stage.guarded(verified))("GET", "/", { cookie })
    })

const refusals: Record<string, Refusal> = {
  "without a token, at a guard": {
    status: 401,
    told: ["Refused SessionMissing"],
    send: guarded(() => Effect.succeed(""))
  },
  "of nobody who is logged in, at a guard": {
    status: 401,
    told: ["Refused SessionMissing"],
    send: guarded((stage) => Effect.map(stage.login(nobody), Stage.cookieOf))
  },
  "with what is no token": {
    status: 401,
    told: invalid("Malformed"),
    send: guarded(() => Effect.succeed(`${Stage.cookieName}=junk`))
  },
  "with a token of another": {
    status: 401,
    told: invalid("Signature"),
    send: guarded((stage) =>
      Effect.map(stage.login(ada), (session) => Stage.cookieOf(session).replace(/.$/, (c) => (c === "A" ? "E" : "A")))
    )
  },
  "with a session that was revoked": {
    status: 401,
    told: invalid("NotFound"),
    send: guarded((stage) =>
      Effect.tap(Effect.map(stage.login(ada), Stage.cookieOf), () => stage.manager.revokeAll("ada"))
    )
  },
  "with one that has expired": {
    status: 401,
    told: ["Ended expired ada", ...invalid("Expired")],
    send: guarded((stage) => Effect.tap(Effect.map(stage.login(ada), Stage.cookieOf), () => TestClock.adjust("1 hour")))
  },
  "with a stolen copy": {
    status: 401,
    told: ["Ended reused ada", ...invalid("Reused")],
    send: guarded((stage) =>
      Effect.gen(function* () {
        const first = yield* stage.login(ada)
        yield* TestClock.adjust("10 minutes")
        const second = yield* stage.manager.resolve(first.token, { rotate: true })
        yield* stage.manager.resolve(second.token)
        yield* TestClock.adjust("1 minute")
        return Stage.cookieOf(first)
      })
    )
  },
  "that the verifier refuses": {
    status: 403,
    told: ["Refused SessionRefused"],
    send: guarded((stage) => Effect.map(stage.login(banned), Stage.cookieOf))
  },
  "with two sessions": {
    status: 401,
    told: invalid("Ambiguous"),
    send: guarded((stage) =>
      Effect.gen(function* () {
        return `${Stage.cookieOf(yield* stage.login(ada))}; ${Stage.cookieOf(yield* stage.login(eve))}`
      })
    )
  },
  "with too many tokens": {
    status: 401,
    told: invalid("Ambiguous"),
    send: guarded(() => Effect.succeed(Array.from({ length: 5 }, (_, i) => `${Stage.cookieName}=token${i}`).join("; ")))
  },
  "with two tokens, neither of which is one: each is told of": {
    status: 401,
    told: [...invalid("Malformed"), ...invalid("Malformed")],
    send: guarded(() => Effect.succeed(`${Stage.cookieName}=junk; ${Stage.cookieName}=trash`))
  },
  "that asks twice for too many tokens, on an open route": {
    status: 401,
    told: invalid("Ambiguous"),
    send: (stage) =>
      Effect.gen(function* () {
        const cookie = Array.from({ length: 5 }, (_, i) => `${Stage.cookieName}=token${i}`).join("; ")
        const twice = (session: Handle) =>
          Effect.all([session.get, session.get], { concurrency: "unbounded" }).pipe(
            Effect.tapError(() => session.option)
          )
        return yield* (yield* open(stage, twice))("GET", "/", { cookie })
      })
  },
  "from another origin": {
    status: 403,
    told: ["Refused SessionCrossOrigin"],
    send: (stage, { taken }) =>
      Effect.gen(function* () {
        const cookie = Stage.cookieOf(yield* stage.login(ada))
        taken()
        return yield* (yield* open(stage, get))("POST", "/", { cookie, headers: { origin: "https://evil.test" } })
      })
  },
  "from another origin, at a guard within an open route": {
    status: 403,
    told: ["Refused SessionCrossOrigin"],
    send: (stage) =>
      Effect.flatMap(
        stage.app(SessionMiddleware.make(UserSession)(SessionMiddleware.required(UserSession)(verified))),
        (send) => send("POST", "/", { headers: { origin: "https://evil.test" } })
      )
  },
  "of a session that is not fresh, at a guard": {
    status: 401,
    told: ["Refused SessionStale"],
    send: (stage, { taken }) =>
      Effect.gen(function* () {
        const cookie = Stage.cookieOf(yield* stage.login(ada))
        taken()
        yield* TestClock.adjust("6 minutes")
        const route = SessionMiddleware.required(UserSession, { fresh: { within: "5 minutes" } })(verified)
        return yield* (yield* stage.app(route))("GET", "/", { cookie })
      })
  },
  "of one that a handler asks twice to be fresh": {
    status: 401,
    told: ["Refused SessionStale"],
    send: (stage, { taken }) =>
      Effect.gen(function* () {
        const cookie = Stage.cookieOf(yield* stage.login(ada))
        taken()
        yield* TestClock.adjust("6 minutes")
        return yield* (yield* open(stage, (session) =>
          Effect.tapError(fresh(session), () => Effect.flip(fresh(session)))
        ))("GET", "/", { cookie })
      })
  },
  "at a guard around a guard": {
    status: 401,
    told: ["Refused SessionMissing"],
    send: (stage) =>
      Effect.flatMap(
        stage.app(SessionMiddleware.required(UserSession)(SessionMiddleware.required(UserSession)(verified))),
        (send) => send("GET", "/")
      )
  },
  "at a guard within an open route that has looked": {
    status: 401,
    told: invalid("NotFound"),
    send: (stage, { taken }) =>
      Effect.gen(function* () {
        const cookie = Stage.cookieOf(yield* stage.login(ada))
        yield* stage.manager.revokeAll("ada")
        taken()
        const inner = SessionMiddleware.required(UserSession)(verified)
        const route = SessionMiddleware.make(UserSession)(
          Effect.andThen(
            Effect.flatMap(UserSession, (session) => session.option),
            inner
          )
        )
        return yield* (yield* stage.app(route))("GET", "/", { cookie })
      })
  },
  "whose session ends before it changes that": {
    status: 401,
    told: invalid("NotFound"),
    send: (stage, { taken }) =>
      Effect.gen(function* () {
        const { id, token } = yield* stage.login(ada)
        const late = (session: Handle) =>
          Effect.gen(function* () {
            yield* session.get
            yield* stage.manager.revokeAny(id)
            taken()
            yield* Effect.flip(session.modify(addWord("x")))
            return yield* session.get
          })
        return yield* (yield* open(stage, late))("GET", "/", { cookie: Stage.cookieOf({ token }) })
      })
  },
  "that logs in, and began before the user's sessions were ended": {
    status: 401,
    told: invalid("Superseded"),
    send: (stage, { taken }) =>
      Effect.gen(function* () {
        yield* TestClock.adjust("1 minute")
        const late = (session: Handle) =>
          Effect.gen(function* () {
            yield* TestClock.adjust("1 second")
            yield* stage.manager.revokeAll("ada")
            taken()
            return yield* session.create(ada)
          })
        return yield* (yield* open(stage, late))("POST", "/")
      })
  }
}

describe("a request that is refused", () => {
  for (const [which, { send, status, told: expected }] of Object.entries(refusals)) {
    it.effect(`[R85c] ${which}`, () =>
      staged((stage, told) =>
        Effect.gen(function* () {
          const answer = yield* send(stage, told)
          assert.strictEqual(answer.status, status)
          assert.deepStrictEqual(told.taken(), expected)
        })
      )
    )
  }

  it.effect("[R85c] an open route without a token refuses nobody, nor does a guard that lets in", () =>
    staged((stage, { taken }) =>
      Effect.gen(function* () {
        const cookie = Stage.cookieOf(yield* stage.login(ada))
        taken()
        assert.strictEqual((yield* (yield* open(stage, (session) => session.option))("GET", "/")).status, 204)
        assert.strictEqual((yield* (yield* open(stage, get))("GET", "/")).status, 401)
        const headers = { authorization: `Bearer ${cookie.slice(Stage.cookieName.length + 1)}` }
        const into = yield* stage.guarded(verified)
        assert.strictEqual((yield* into("GET", "/", { cookie })).status, 200)
        assert.strictEqual(
          (yield* into("POST", "/", { headers: { ...headers, origin: "https://app.test" } })).status,
          200
        )
        assert.deepStrictEqual(taken(), [])
      })
    )
  )

  it.effect("[R85c] a page that asks who a web request is tells what a route does", () =>
    staged(({ context, login, manager }, { taken }) =>
      Effect.gen(function* () {
        const [one, two] = [yield* login(ada), yield* login(eve)]
        taken()
        const page = (cookie: string) =>
          SessionMiddleware.fromRequest(UserSession, new Request("https://app.test/", { headers: { cookie } })).pipe(
            Effect.provideContext(context),
            Effect.result,
            Effect.map((result) => [Result.isSuccess(result), ...taken()])
          )
        assert.deepStrictEqual(yield* page(Stage.cookieOf(one)), [true])
        assert.deepStrictEqual(yield* page("other=1"), [false])
        assert.deepStrictEqual(yield* page(`${Stage.cookieOf(one)}; ${Stage.cookieOf(two)}`), [
          false,
          ...invalid("Ambiguous")
        ])
        const many = Array.from({ length: 5 }, (_, i) => `${Stage.cookieName}=token${i}`).join("; ")
        assert.deepStrictEqual(yield* page(many), [false, ...invalid("Ambiguous")])
        yield* manager.destroy(one.token)
        taken()
        assert.deepStrictEqual(yield* page(Stage.cookieOf(one)), [false, ...invalid("NotFound")])
      })
    )
  )

  it.effect("[R85c] an API that declares two schemes, under two middlewares, tells once", () =>
    Effect.gen(function* () {
      const security = {
        session: HttpApiSecurity.apiKey({ in: "cookie", key: Stage.cookieName }),
        bearer: HttpApiSecurity.bearer
      }
      class Authenticated extends SessionHttpApi.Required<Authenticated>()("test/events/Authenticated", UserSession, {
        security
      }) {}
      class Visitor extends SessionHttpApi.Optional<Visitor>()("test/events/Visitor", UserSession) {}
      const Api = HttpApi.make("api").add(
        HttpApiGroup.make("account")
          .add(HttpApiEndpoint.get("whoami", "/whoami"))
          .middleware(Authenticated)
          .middleware(Visitor)
      )
      const told = Events.make()
      const account = HttpApiBuilder.group(Api, "account", (handlers) => handlers.handle("whoami", () => Effect.void))
      const send = yield* Client.serve(
        HttpApiBuilder.layer(Api).pipe(
          Layer.provide(account),
          Layer.provide([
            SessionHttpApi.layer(Authenticated, UserSession),
            SessionHttpApi.layerOptional(Visitor, UserSession)
          ]),
          Layer.provide(Stack.http(UserSession, { frontend, onEvent: told.onEvent }))
        ) as Layer.Layer<never, unknown, HttpRouter.HttpRouter>
      )
      assert.strictEqual((yield* send("GET", "/whoami")).status, 401)
      assert.deepStrictEqual(told.taken(), ["Refused SessionMissing"])
      const headers = { authorization: "Bearer junk" }
      assert.strictEqual((yield* send("GET", "/whoami", { headers })).status, 401)
      assert.deepStrictEqual(told.taken(), invalid("Malformed"))
    })
  )
})

describe("a handler of refusals", () => {
  const bad: Record<string, () => Effect.Effect<void>> = {
    hangs: () => Effect.never,
    dies: () => Effect.die(new Error("marked")),
    throws: () => {
      throw new Error("marked")
    }
  }
  for (const [how, onEvent] of Object.entries(bad)) {
    it.effect(`[R85c] that ${how} changes no answer`, () =>
      Effect.gen(function* () {
        const answers = (stage: Stage) =>
          Effect.gen(function* () {
            const act = (session: Handle) => Effect.andThen(session.option, session.get)
            const requests: ReadonlyArray<Effect.Effect<Client.Answer>> = [
              (yield* stage.guarded(verified))("GET", "/"),
              (yield* stage.guarded(verified))("GET", "/", { cookie: `${Stage.cookieName}=junk` }),
              (yield* open(stage, act))("POST", "/", { headers: { "sec-fetch-site": "cross-site" } })
            ]
            const told: Array<unknown> = []
            for (const request of requests) {
              const fiber = yield* Effect.forkChild(request, { startImmediately: true })
              for (let i = 0; i < 5; i++) {
                yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
                yield* TestClock.adjust(1000)
              }
              assert.isDefined(fiber.pollUnsafe())
              const { headers, status, text } = yield* fiber.pollUnsafe()!
              told.push([status, text, [...headers]])
            }
            return told
          })
        const [without, given] = [yield* Stage.make(), yield* Stage.make({ onEvent })]
        assert.deepStrictEqual(yield* answers(given), yield* answers(without))
      })
    )
  }
})

describe("a log-in by request", () => {
  const carrying = (options: {
    readonly carried: number
    readonly act: (session: Handle) => Effect.Effect<unknown, unknown>
  }) =>
    staged((stage, { taken }) =>
      Effect.gen(function* () {
        const sessions: Array<Session.Session<unknown>> = []
        for (let i = 0; i < options.carried; i++) sessions.push(yield* stage.login(nobody))
        taken()
        const cookie = sessions.map(
          Stage.cookieOf as (session: { readonly token: Redacted.Redacted<string> }) => string
        )
        const answer = yield* (yield* open(stage, options.act))("POST", "/", { cookie: cookie.join("; ") })
        return [answer.status, ...taken()]
      })
    )

  it.effect("[R85c] ends what the request carried in its place, and a log-out ends it as that", () =>
    Effect.gen(function* () {
      const login = (session: Handle) => session.create(ada)
      assert.deepStrictEqual(yield* carrying({ carried: 0, act: login }), [204, "Created ada"])
      assert.deepStrictEqual(yield* carrying({ carried: 2, act: login }), [
        204,
        "Created ada",
        "Ended replaced -",
        "Ended replaced -"
      ])
      const twice = (session: Handle) => Effect.andThen(session.create(ada), session.create(eve))
      assert.deepStrictEqual(yield* carrying({ carried: 1, act: twice }), [
        204,
        "Created ada",
        "Ended replaced -",
        "Created eve",
        "Ended replaced ada"
      ])
      assert.deepStrictEqual(yield* carrying({ carried: 2, act: (session) => session.destroy }), [
        204,
        "Ended logout -",
        "Ended logout -"
      ])
    })
  )

  it.effect("[R85c] adopts one that is told of as created, and as undone where the verifier refuses it", () =>
    Effect.gen(function* () {
      const told = Events.make()
      const adopt = ({ headers }: HttpServerRequest.HttpServerRequest) =>
        Effect.sync(() => {
          const count = /sid=(\d+)/.exec(headers["cookie"] ?? "")?.[1]
          return count === undefined ? Option.none() : Option.some({ data: { ...ada, count: Number(count) } })
        })
      const context = yield* Layer.build(
        SessionMiddleware.layer(UserSession, { onEvent: told.onEvent, adopt }).pipe(
          Layer.provide([Stack.parts(UserSession, { verifier }), SessionFrontend.layerCookie()])
        )
      )
      const route = Effect.provideContext(SessionMiddleware.required(UserSession)(verified), context)
      const send = Client.sender(yield* Client.webHandler(route))
      assert.strictEqual((yield* send("GET", "/", { cookie: "sid=1" })).status, 200)
      assert.deepStrictEqual(told.taken(), ["Created ada"])
      assert.strictEqual((yield* send("GET", "/", { cookie: "sid=13" })).status, 403)
      assert.deepStrictEqual(told.taken(), ["Created ada", "Refused SessionRefused", "Ended undone ada"])
      assert.strictEqual((yield* send("GET", "/", { cookie: "other=13" })).status, 401)
      assert.deepStrictEqual(told.taken(), ["Refused SessionMissing"])
    })
  )

  it.effect("[R85c] asks a manager that wraps the library's for everything; the one underneath tells", () =>
    staged((stage, { taken }) =>
      Effect.gen(function* () {
        const cookie = Stage.cookieOf(yield* stage.login(nobody))
        taken()
        const asked: Array<unknown> = []
        const wrapped: typeof stage.manager = {
          ...stage.manager,
          destroy: (token, options) =>
            Effect.suspend(() => {
              asked.push(options?.why)
              return stage.manager.destroy(token, options)
            })
        }
        const login = Effect.flatMap(UserSession, (session) => Effect.as(session.create(ada), empty)).pipe(
          SessionMiddleware.make(UserSession),
          Effect.provideService(UserSession.Manager, wrapped)
        )
        assert.strictEqual((yield* (yield* stage.app(login))("POST", "/", { cookie })).status, 204)
        assert.deepStrictEqual([asked, taken()], [["replaced"], ["Created ada", "Ended replaced -"]])
      })
    )
  )
})

describe("the test kit", () => {
  it.effect("tells a handler what its stack does", () =>
    Effect.gen(function* () {
      const told = Events.make()
      const context = yield* Layer.build(SessionTest.layerLoggedIn(UserSession, ada, { onEvent: told.onEvent }))
      assert.deepStrictEqual(told.taken(), ["Created ada"])
      const route: Effect.Effect<HttpServerResponse.HttpServerResponse, unknown, never> = Effect.provideContext(
        SessionMiddleware.required(UserSession, { fresh: { within: "5 minutes" } })(Effect.succeed(text("in"))),
        context
      ) as never
      const send = Client.sender(yield* Client.webHandler(route))
      assert.strictEqual((yield* send("GET", "/")).status, 200)
      yield* Context.get(context, UserSession.Manager).revokeAll("ada")
      assert.deepStrictEqual(told.taken(), ["Ended revoked ada"])
    })
  )
})
