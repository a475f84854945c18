/** What is wrong with the configuration of several layers is told together, where they are built side by side. */
import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Exit, Layer, Option, Redacted, Schema } from "effect"
import {
  Session,
  SessionBackendMemory,
  SessionFrontend,
  SessionKeys,
  SessionManager,
  SessionMiddleware,
  SessionVerifier
} from "effect-sessions"
import { secretA } from "../support/userSession.ts"

class One extends Session.Service<One>()("test/One", { data: Schema.Struct({ name: Schema.String }) }) {}
class Other extends Session.Service<Other>()("test/Other", { data: Schema.Struct({ name: Schema.String }) }) {}
class Two extends Session.Service<Two>()("test/Two", { data: Schema.Struct({ name: Schema.String }) }) {}

const keys = (secret: string) => SessionKeys.layer(Redacted.make(secret)).pipe(Layer.provide(NodeCrypto.layer))

const rest = Layer.mergeAll(
  SessionBackendMemory.layer,
  SessionVerifier.layerExists(One),
  SessionVerifier.layerExists(Two),
  NodeCrypto.layer
)

const errorOf = <A, E>(layer: Layer.Layer<A, E>) => Effect.flip(Effect.scoped(Layer.build(layer)))

describe("configuration", () => {
  it.effect("[R87a] [R87b] a weak secret and a cookie against its rules are told together, each by its layer", () =>
    Effect.gen(function* () {
      const cookie = SessionFrontend.layerCookie({ sameSite: "none", secure: false })
      for (const parts of [Layer.merge(keys("weak"), cookie), Layer.merge(cookie, keys("weak"))]) {
        const error = yield* errorOf(SessionMiddleware.layer(One).pipe(Layer.provide(parts), Layer.provide(rest)))
        assert.strictEqual(error._tag, "SessionConfigError")
        assert.deepStrictEqual([...error.layers!].toSorted(), ["SessionFrontend.layerCookie", "SessionKeys"])
        assert.match(error.message, /session configuration of .*SessionKeys/)
        assert.match(error.message, /the session secret has 4 bytes/)
        assert.match(error.message, /sameSite "none" demands secure/)
      }
    })
  )

  it.effect("[R86b] a missing secret does not hide what is wrong with a header", () =>
    Effect.gen(function* () {
      const error = yield* errorOf(
        SessionMiddleware.layer(One).pipe(
          Layer.provide([
            SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET")).pipe(Layer.provide(NodeCrypto.layer)),
            SessionFrontend.layerHeader({ name: "cookie" })
          ]),
          Layer.provide(rest),
          Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({})))
        )
      )
      assert.strictEqual(error._tag, "SessionConfigError")
      assert.match(error.message, /SESSION_SECRET/)
      assert.match(error.message, /header name "cookie"/)
    })
  )

  it.effect("[R87a] [R87b] timeouts and a cookie name that is taken are told together, for each definition", () =>
    Effect.gen(function* () {
      const times = { idleTimeout: "2 days" } as const
      const error = yield* errorOf(
        Layer.mergeAll(SessionMiddleware.layer(One, times), SessionMiddleware.layer(Two, times)).pipe(
          Layer.provide([SessionFrontend.layerCookie(), keys(secretA), rest])
        )
      )
      assert.strictEqual(error._tag, "SessionConfigError")
      assert.deepStrictEqual([...new Set(error.layers)].toSorted(), ["test/One", "test/Two"])
      assert.strictEqual(error.problems.filter((problem) => problem.includes("idleTimeout")).length, 2)
      assert.strictEqual(error.problems.filter((problem) => problem.includes("__Host-session")).length, 1)
    })
  )

  it.effect("names and problems are given back: what is built after a failure is judged by itself", () =>
    Effect.gen(function* () {
      const memoMap = yield* Layer.makeMemoMap
      const build = <A, E>(layer: Layer.Layer<A, E>) =>
        Effect.exit(
          Effect.scoped(Effect.flatMap(Effect.scope, (scope) => Layer.buildWithMemoMap(layer, memoMap, scope)))
        )
      const manager = <Self, A, R extends ReadonlyArray<Session.Tagged>>(
        definition: Session.Definition<Self, A, R>,
        idleTimeout: "1 hour" | "2 days"
      ) =>
        SessionManager.layer(definition, { idleTimeout }).pipe(
          Layer.provide([
            SessionVerifier.layerExists(definition),
            SessionBackendMemory.layer,
            keys(secretA),
            NodeCrypto.layer
          ])
        )
      // One that stays, and with it the application.
      yield* Layer.buildWithMemoMap(manager(Other, "1 hour"), memoMap, yield* Effect.scope)
      assert.strictEqual((yield* build(manager(One, "2 days")))._tag, "Failure")
      assert.strictEqual((yield* build(manager(One, "1 hour")))._tag, "Success")
      const next = yield* build(manager(Two, "2 days"))
      assert.deepStrictEqual(Option.getOrThrow(Exit.findErrorOption(next)).layers, ["test/Two"])
      // A module that was loaded anew has a definition of the same identifier, and does not find the old one's claim.
      class Reloaded extends Session.Service<Reloaded>()("test/One", {
        data: Schema.Struct({ name: Schema.String })
      }) {}
      assert.strictEqual((yield* build(manager(Reloaded, "1 hour")))._tag, "Success")
    })
  )
})
