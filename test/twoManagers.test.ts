/** Two managers of one definition in one application, with options that differ. */
import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, Option, Redacted, Schema } from "effect"
import {
  Session,
  SessionBackendMemory,
  SessionFrontend,
  SessionKeys,
  SessionManager,
  SessionMiddleware,
  SessionVerifier
} from "effect-sessions"
import { secretA, secretB } from "./support/userSession.ts"

class Shared extends Session.Service<Shared>()("test/Shared", { data: Schema.Struct({ name: Schema.String }) }) {}

class Keep extends Session.Service<Keep>()("test/Keep", { data: Schema.String }) {}

const keys = (secret: string) => SessionKeys.layer(Redacted.make(secret)).pipe(Layer.provide(NodeCrypto.layer))
const keysA = keys(secretA)
const verifier = SessionVerifier.layerExists(Shared)
const cookie = SessionFrontend.layerCookie()
const core = Layer.mergeAll(SessionBackendMemory.layer, verifier, NodeCrypto.layer)

type ManagerOptions = Parameters<
  typeof SessionManager.layer<Shared, { readonly name: string }, typeof Shared.refused>
>[1]
type HttpOptions = Parameters<
  typeof SessionMiddleware.layer<Shared, { readonly name: string }, typeof Shared.refused>
>[1]

const manager = (options?: ManagerOptions, ring = keysA) =>
  SessionManager.layer(Shared, options).pipe(Layer.provide([core, ring]))
const http = (options?: HttpOptions, frontend: typeof cookie = cookie) =>
  SessionMiddleware.layer(Shared, options).pipe(Layer.provide([frontend, core, keysA]))

const errorOf = <A, E>(layer: Layer.Layer<A, E>) => Effect.flip(Effect.scoped(Layer.build(layer)))
const builds = <A, E>(layer: Layer.Layer<A, E>) => Effect.scoped(Layer.build(layer))

/** Which of two layers is built first is Layer's affair. */
const isTold = (text: string | undefined, name: string, one: string, other: string) =>
  assert.isTrue(
    text?.includes(`${name} is ${one} in one and ${other} in the other`) === true ||
      text?.includes(`${name} is ${other} in one and ${one} in the other`) === true,
    text
  )

describe("two managers of one definition", () => {
  it.effect("[R87b] with different options do not build: the error names the definition, the option, both values", () =>
    Effect.gen(function* () {
      const short = manager({ idleTimeout: "5 minutes" })
      const long = http({ idleTimeout: "1 hour" })
      for (const layer of [Layer.merge(short, long), Layer.merge(long, short)]) {
        const error = yield* errorOf(layer)
        assert.strictEqual(error._tag, "SessionConfigError")
        assert.deepStrictEqual(error.layers, ["test/Shared"])
        assert.strictEqual(error.problems.length, 1)
        const [problem] = error.problems
        isTold(problem, "idleTimeout", "5m", "1h")
        // What follows from the idle timeout is not told besides, and the rest is equal.
        assert.notInclude(problem, "absoluteTimeout")
        assert.notInclude(problem, secretA)
      }
    })
  )

  it.effect("each option counts, and several that differ are told together", () =>
    Effect.gen(function* () {
      const others: Required<Omit<NonNullable<ManagerOptions>, "onEvent">> = {
        idleTimeout: "50 minutes",
        absoluteTimeout: "20 hours",
        touchInterval: "30 seconds",
        backendTimeout: "2 seconds",
        maxPerPrincipal: false,
        rotateEvery: "10 minutes",
        rotationGrace: "20 seconds",
        spanAttributes: ["user.id"]
      }
      const error = yield* errorOf(Layer.merge(manager(), manager(others)))
      for (const name of Object.keys(others)) assert.include(error.problems[0], `${name} is `)
      isTold(error.problems[0], "maxPerPrincipal", "100", "false")
      isTold(error.problems[0], "rotateEvery", "not set", "10m")
    })
  )

  it.effect("with equal options build, however they are written", () =>
    Effect.gen(function* () {
      yield* builds(Layer.merge(manager(), http()))
      yield* builds(
        Layer.mergeAll(
          manager({ idleTimeout: "1 hour", absoluteTimeout: "24 hours", touchInterval: "1 minute" }),
          manager({ idleTimeout: "60 minutes", spanAttributes: [] }),
          http({ maxPerPrincipal: 100, clearSiteData: ["prefetchCache", "prerenderCache"] })
        )
      )
      const once = http({ idleTimeout: "5 minutes" })
      yield* builds(Layer.merge(once, once))
    })
  )

  it.effect("functions are compared by identity", () =>
    Effect.gen(function* () {
      const onEvent = () => Effect.void
      yield* builds(Layer.merge(manager({ onEvent }), http({ onEvent })))
      const another = yield* errorOf(Layer.merge(manager({ onEvent }), http({ onEvent: () => Effect.void })))
      assert.include(another.message, "each has a function of its own as onEvent")
      const none = yield* errorOf(Layer.merge(manager({ onEvent }), http()))
      isTold(none.message, "onEvent", "a function", "not set")
    })
  )

  it.effect("what is done with requests is compared where both serve one cookie", () =>
    Effect.gen(function* () {
      const client = () => ({})
      const adopt = () => Effect.succeedNone
      yield* builds(Layer.merge(http({ client, adopt }), http({ client, adopt })))
      const differing = (options: HttpOptions) =>
        Effect.map(errorOf(Layer.merge(http({ client }), http(options))), ({ message }) => {
          assert.include(message, 'two layers of test/Shared serve the cookie "__Host-session" and differ')
          return message
        })
      assert.include(yield* differing({ client: () => ({}) }), "each has a function of its own as client")
      isTold(yield* differing({ client, adopt }), "adopt", "a function", "not set")
      isTold(
        yield* differing({ client, clearSiteData: false }),
        "clearSiteData",
        '["prefetchCache","prerenderCache"]',
        "false"
      )
      // Pages with a cookie and an API with a bearer token, of the same sessions.
      yield* builds(Layer.merge(http({ client, adopt }), http({}, SessionFrontend.layerBearer())))
    })
  )

  it.effect("[R87b] with different keys do not build: neither accepts the other's tokens. No key is told", () =>
    Effect.gen(function* () {
      yield* builds(Layer.merge(manager({}, keysA), manager({}, keys(secretA))))
      const error = yield* errorOf(Layer.merge(manager({}, keysA), manager({}, keys(secretB))))
      assert.strictEqual(error._tag, "SessionConfigError")
      assert.include(error.message, "two managers of test/Shared differ: each has a list of secrets of its own as keys")
      assert.notInclude(error.message, secretA)
      assert.notInclude(error.message, secretB)
    })
  )

  it.effect("are told of beside what else is wrong", () =>
    Effect.gen(function* () {
      const error = yield* errorOf(
        Layer.merge(manager({ idleTimeout: "5 minutes" }), http({ idleTimeout: "1 hour", maxPerPrincipal: 0 }))
      )
      assert.isTrue(error.problems.some((problem) => problem.startsWith("maxPerPrincipal must be")))
      isTold(error.message, "idleTimeout", "5m", "1h")
    })
  )

  it.effect("what `Layer.fresh` builds is an application of its own, and `make` belongs to none", () =>
    Effect.gen(function* () {
      yield* builds(
        Layer.merge(
          manager({ idleTimeout: "5 minutes" }),
          Layer.fresh(manager({ idleTimeout: "1 hour" }, keys(secretB)))
        )
      )
      const made = SessionManager.make(Shared, { idleTimeout: "1 hour" })
      yield* Effect.scoped(Effect.provide(made, Layer.mergeAll(manager({ idleTimeout: "5 minutes" }), core, keysA)))
    })
  )

  it.effect(
    "[R87b] what a function makes late, in the same build, is no module loaded again: one cookie, one definition",
    () =>
      Effect.gen(function* () {
        const late = <A, E, R>(make: () => Layer.Layer<A, E, R>) => Layer.unwrap(Effect.sync(make))
        const first = late(() => http())
        const second = late(() =>
          SessionMiddleware.layer(Keep).pipe(Layer.provide([cookie, core, SessionVerifier.layerExists(Keep), keysA]))
        )
        const error = yield* errorOf(Layer.provideMerge(second, first))
        assert.include(error.message, 'the cookie "__Host-session" serves test/Shared already; give test/Keep another')
      })
  )

  it.effect("[R87b] in production no layer is taken for one of a module loaded again", () =>
    Effect.gen(function* () {
      /** A tenant's layer is made, and built, when its first request comes. */
      const tenants = (environment: string) =>
        Effect.gen(function* () {
          const memoMap = yield* Layer.makeMemoMap
          const scope = yield* Effect.scope
          const build = (options: ManagerOptions) =>
            Effect.exit(Layer.buildWithMemoMap(manager(options), memoMap, scope)).pipe(
              Effect.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ NODE_ENV: environment })))
            )
          return [(yield* build({ idleTimeout: "5 minutes" }))._tag, (yield* build({ idleTimeout: "1 hour" }))._tag]
        })
      assert.deepStrictEqual(yield* tenants("production"), ["Success", "Failure"])
      assert.deepStrictEqual(yield* tenants("development"), ["Success", "Success"])
    })
  )

  it.effect("one gives its settings back with its scope, and one that is refused leaves the other's alone", () =>
    Effect.gen(function* () {
      const memoMap = yield* Layer.makeMemoMap
      const build = <A, E>(layer: Layer.Layer<A, E>) =>
        Effect.flatMap(Effect.scope, (scope) => Layer.buildWithMemoMap(layer, memoMap, scope))
      // All are made before the first is built: none is another's module loaded anew.
      const layers = {
        keep: SessionManager.layer(Keep).pipe(Layer.provide([core, SessionVerifier.layerExists(Keep), keysA])),
        short: manager({ idleTimeout: "5 minutes" }),
        shortToo: manager({ idleTimeout: "5 minutes" }),
        long: manager({ idleTimeout: "1 hour" })
      }
      const isRefused = (layer: typeof layers.long) =>
        Effect.map(Effect.option(Effect.scoped(build(layer))), Option.isNone)
      // It stays, and with it the application.
      yield* build(layers.keep)
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* build(layers.short)
          assert.isTrue(yield* isRefused(layers.long))
          assert.isFalse(yield* isRefused(layers.shortToo))
          assert.isTrue(yield* isRefused(layers.long), "and still")
        })
      )
      assert.isFalse(yield* isRefused(layers.long))
    })
  )
})
