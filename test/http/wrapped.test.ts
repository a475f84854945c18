/** A frontend or a manager that wraps the library's own is the one that is asked. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted } from "effect"
import { SessionError, SessionFrontend, SessionMiddleware } from "effect-sessions"
import { empty, isLive, verified } from "../support/httpSupport.ts"
import * as Stage from "../support/stage.ts"
import { ada, UserSession } from "../support/userSession.ts"

describe("parts put in place of the library's own", () => {
  it.effect("a manager that wraps the library's is the one that is asked, and may refuse", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const cookie = Stage.cookieOf(yield* stage.login(ada))
      let asked = 0
      const resolve = () =>
        Effect.suspend(() => {
          asked++
          return Effect.fail(new SessionError.SessionInvalid({ reason: "NotFound" }))
        })
      for (const wrapped of [
        { ...stage.manager, resolve },
        Object.create(stage.manager, { resolve: { value: resolve } })
      ]) {
        const app = verified.pipe(
          SessionMiddleware.required(UserSession),
          Effect.provideService(UserSession.Manager, wrapped as typeof stage.manager)
        )
        assert.strictEqual((yield* (yield* stage.app(app))("GET", "/", { cookie })).status, 401)
      }
      assert.strictEqual(asked, 2)
    })
  )

  it.effect("a mocked manager answers over HTTP, and so does log-in with a cookie of an old session", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const ended: Array<string> = []
      const Mock = Layer.mock(UserSession.Manager, {
        resolve: () => Effect.succeed(session),
        create: () => Effect.succeed(session),
        destroy: (token) => Effect.sync(() => ended.push(Redacted.value(token)) > 0)
      })
      const cookie = "__Host-session=whatever"
      const whoami = yield* stage.app(verified.pipe(SessionMiddleware.required(UserSession), Effect.provide(Mock)))
      assert.strictEqual((yield* whoami("GET", "/", { cookie })).text, "ada")
      const login = yield* stage.app(
        Effect.flatMap(UserSession, (session) => Effect.as(session.create(ada), empty)).pipe(
          SessionMiddleware.make(UserSession),
          Effect.provide(Mock)
        )
      )
      assert.strictEqual((yield* login("POST", "/", { cookie })).status, 204)
      assert.deepStrictEqual(ended, ["whatever"])
    })
  )

  it.effect("a frontend that copies the credentials of another is understood", () =>
    Effect.gen(function* () {
      const inner = yield* Layer.build(SessionFrontend.layerCookie()).pipe(
        Effect.map((context) => Context.get(context, SessionFrontend.SessionFrontend)),
        Effect.orDie
      )
      const frontend = Layer.succeed(SessionFrontend.SessionFrontend, {
        ...inner,
        extract: (request) =>
          Effect.map(
            inner.extract(request),
            ([first, ...rest]) => [{ ...first }, ...rest.map((credential) => ({ ...credential }))] as const
          )
      })
      const stage = yield* Stage.make({ frontend })
      const cookie = Stage.cookieOf(yield* stage.login(ada))
      assert.strictEqual((yield* (yield* stage.guarded(verified))("GET", "/", { cookie })).text, "ada")
    })
  )

  it.effect("a manager of which `destroy` was replaced is asked by the new one, for tokens that are its own", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const ended: Array<string> = []
      const wrapped: typeof stage.manager = {
        ...stage.manager,
        destroy: (token) =>
          Effect.andThen(
            Effect.sync(() => ended.push(Redacted.value(token))),
            stage.manager.destroy(token)
          )
      }
      const send = (effect: Effect.Effect<unknown, unknown, UserSession>) =>
        stage.app(
          Effect.as(effect, empty).pipe(
            SessionMiddleware.make(UserSession),
            Effect.provideService(UserSession.Manager, wrapped)
          )
        )
      const logout = yield* send(Effect.flatMap(UserSession, ({ destroy }) => destroy))
      const login = yield* send(Effect.flatMap(UserSession, ({ create }) => create(ada)))
      for (const app of [logout, login]) {
        const { token } = yield* stage.login(ada)
        const cookie = `__Host-session=junk; __Host-session=${Redacted.value(token)}`
        assert.strictEqual((yield* app("POST", "/", { cookie })).status, 204)
        assert.deepStrictEqual(ended.splice(0), [Redacted.value(token)])
        assert.isFalse(yield* isLive(stage, token))
      }
    })
  )
})
