/** What `SessionMiddleware.layer` is told of requests reaches their session, with the frontend as it was. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Option, Redacted } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import { SessionFrontend, SessionMiddleware } from "effect-sessions"
import { found, verified } from "../support/httpSupport.ts"
import * as Stack from "../support/stack.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve, UserSession } from "../support/userSession.ts"

class OldSessions extends Context.Service<
  OldSessions,
  { readonly take: (cookie: string | undefined) => Effect.Effect<Option.Option<string>> }
>()("test/OldSessions") {}

const request = (headers: Record<string, string>) =>
  HttpServerRequest.fromWeb(new Request("https://app.test/", { headers }))

const bound = (
  options: SessionMiddleware.HttpOptions<typeof UserSession.data.Type, typeof UserSession.refused, OldSessions>
) =>
  Effect.map(
    Layer.build(
      SessionMiddleware.layer(UserSession, options).pipe(
        Layer.provide([
          Stack.parts(UserSession),
          SessionFrontend.layerCookie(),
          Layer.succeed(OldSessions, {
            take: (cookie) => Effect.succeed(Option.filter(Option.fromUndefinedOr(cookie), (it) => it === "sid=ada"))
          })
        ])
      )
    ),
    (context) => Context.get(context, UserSession.Frontend)
  )

describe("options of the layer", () => {
  it.effect("client says of a request what the layer was told", () =>
    Effect.gen(function* () {
      const frontend = yield* bound({ client: ({ headers }) => ({ userAgent: headers["user-agent"] }) })
      assert.deepStrictEqual(frontend.client!(request({ "user-agent": "a browser" })), { userAgent: "a browser" })
      assert.isUndefined((yield* bound({})).client)
    })
  )

  it.effect("adopt runs with the services of the layer, and those of the request", () =>
    Effect.gen(function* () {
      class Of extends Context.Service<Of, string>()("test/Of") {}
      const frontend = yield* bound({
        adopt: (request) =>
          Effect.gen(function* () {
            const old = yield* OldSessions
            const of = yield* Effect.serviceOption(Of)
            const username = yield* old.take(request.headers["cookie"])
            return Option.map(username, () => ({
              data: Option.isSome(of) ? eve : ada,
              options: { cookie: "browser" as const }
            }))
          })
      })
      assert.isTrue(Option.isNone(yield* frontend.adopt!(request({}))))
      const adopted = yield* frontend.adopt!(request({ cookie: "sid=ada" }))
      assert.deepStrictEqual(Option.getOrThrow(adopted), { data: ada, options: { cookie: "browser" } })
      const other = yield* Effect.provideService(frontend.adopt!(request({ cookie: "sid=ada" })), Of, "the request")
      assert.deepStrictEqual(Option.getOrThrow(other).data, eve)
      // A throw of the application's is a defect of the request, not of whoever asks for the effect.
      const throwing = yield* bound({
        adopt: () => {
          throw new Error("boom")
        }
      })
      assert.isTrue(yield* Effect.isFailure(Effect.sandbox(throwing.adopt!(request({})))))
    })
  )

  it.effect("the frontend is asked as before, one that is an instance of a class too", () =>
    Effect.gen(function* () {
      const inner = yield* Effect.provide(SessionFrontend.SessionFrontend, SessionFrontend.layerCookie())
      class Counting {
        readonly security = inner.security
        readonly origins = inner.origins!
        #asked: Array<string> = []
        get asked() {
          return this.#asked
        }
        extract(request: HttpServerRequest.HttpServerRequest) {
          this.#asked.push("extract")
          return inner.extract(request)
        }
        carried(request: HttpServerRequest.HttpServerRequest) {
          this.#asked.push("carried")
          return inner.carried!(request)
        }
        attach(response: HttpServerResponse.HttpServerResponse, issued: SessionFrontend.Issued) {
          this.#asked.push("attach")
          return inner.attach(response, issued)
        }
        detach(response: HttpServerResponse.HttpServerResponse, via: SessionFrontend.Transport) {
          this.#asked.push("detach")
          return inner.detach(response, via)
        }
      }
      const counting = new Counting()
      const stage = yield* Stage.make({ frontend: Layer.succeed(SessionFrontend.SessionFrontend, counting) })
      const cookie = Stage.cookieOf(yield* stage.login(ada))
      const guarded = yield* stage.guarded(verified)
      assert.strictEqual((yield* guarded("GET", "/", { cookie })).text, "ada")
      const handler = (act: (session: (typeof UserSession)["Service"]) => Effect.Effect<unknown, unknown>) =>
        stage.open(Effect.flatMap(UserSession, (s) => Effect.as(act(s), HttpServerResponse.empty())))
      yield* (yield* handler((s) => s.rotate))("POST", "/", { cookie })
      yield* (yield* handler((s) => s.destroy))("POST", "/", { cookie })
      assert.deepStrictEqual([...new Set(counting.asked)].toSorted(), ["attach", "carried", "detach", "extract"])
      const frontend = Context.get(stage.context, UserSession.Frontend)
      assert.deepStrictEqual(yield* found(frontend, { cookie: "__Host-session=x" }), ["cookie:x"])
      assert.strictEqual(frontend.security, inner.security)
      assert.strictEqual(frontend.origins, inner.origins)
    })
  )
})

describe("SessionMiddleware.fromRequest", () => {
  const ask = (stage: Effect.Success<ReturnType<typeof Stage.make>>, headers: Record<string, string>) =>
    SessionMiddleware.fromRequest(UserSession, new Request("https://app.test/page", { headers })).pipe(
      Effect.map(({ data }) => data.username),
      Effect.catch((error) => Effect.succeed(error._tag === "SessionInvalid" ? error.reason : error._tag)),
      Effect.provideContext(stage.context)
    )

  it.effect("answers who a web request comes from, or why nobody is logged in", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const cookie = Stage.cookieOf(session)
      assert.strictEqual(yield* ask(stage, { cookie }), "ada")
      assert.strictEqual(yield* ask(stage, {}), "SessionMissing")
      assert.strictEqual(yield* ask(stage, { cookie: `${Stage.cookieName}=junk` }), "Malformed")
      yield* stage.manager.destroy(session.token)
      assert.strictEqual(yield* ask(stage, { cookie }), "NotFound")
    })
  )

  it.effect("[R29] judges several tokens as a route does", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make({
        frontend: SessionFrontend.layerFirst([SessionFrontend.layerCookie(), SessionFrontend.layerBearer()])
      })
      const one = Stage.cookieOf(yield* stage.login(ada))
      const session = yield* stage.login(eve)
      const junk = `${Stage.cookieName}=junk`
      assert.strictEqual(yield* ask(stage, { cookie: `${junk}; ${one}` }), "ada")
      assert.strictEqual(yield* ask(stage, { cookie: `${one}; ${Stage.cookieOf(session)}` }), "Ambiguous")
      const authorization = `Bearer ${Redacted.value(session.token)}`
      assert.strictEqual(yield* ask(stage, { authorization }), "eve")
      assert.strictEqual(yield* ask(stage, { authorization: "Bearer junk", cookie: one }), "Malformed")
    })
  )
})
