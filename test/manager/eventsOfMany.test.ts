/** What is told where many sessions end at once, by a revocation or a sweep, and what a manager without a handler costs. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import { maxBatch } from "../../src/SessionBackend.ts"
import * as SessionManager from "../../src/SessionManager.ts"
import * as SessionSweeper from "../../src/SessionSweeper.ts"
import { everyCall } from "../support/everyCall.ts"
import * as Events from "../support/events.ts"
import { capturing, silent } from "../support/logs.ts"
import { adaWith, onManager, visitor } from "../support/onManager.ts"
import { outcome } from "../support/outcome.ts"
import * as Stack from "../support/stack.ts"
import { ada, type Manager, UserSession } from "../support/userSession.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

type Given = Parameters<typeof onManager>[0]
type OnEvent = NonNullable<Given["onEvent"]>

const hang = Effect.never

describe("many that end at once", () => {
  const many = Effect.fnUntraced(function* (manager: Manager, count: number) {
    for (let i = 0; i < count; i++) yield* manager.create(ada)
  })

  it.effect("[R49] [R85c] each is told of, some at once", () =>
    Effect.gen(function* () {
      let isOn = false
      let now = 0
      let most = 0
      const ids = new Set<string>()
      const onEvent: OnEvent = (event) =>
        isOn && event._tag === "Ended"
          ? Effect.gen(function* () {
              ids.add(event.id)
              most = Math.max(most, ++now)
              yield* Effect.yieldNow
              now--
            })
          : Effect.void
      yield* onManager({ onEvent, maxPerPrincipal: false }, (manager) =>
        Effect.gen(function* () {
          yield* many(manager, maxBatch + 50)
          isOn = true
          assert.strictEqual(yield* manager.revokeAll("ada"), maxBatch + 50)
          assert.deepStrictEqual([ids.size, most], [maxBatch + 50, 16])
        })
      )
    })
  )

  it.effect("[R49] [R85c] a handler that hangs is told of some, and holds up a walk for ten deadlines in all", () => {
    const lines: Array<string> = []
    let isOn = false
    return onManager({ onEvent: () => (isOn ? hang : Effect.void), maxPerPrincipal: false }, (manager, watched) =>
      Effect.gen(function* () {
        const count = 2 * maxBatch + 50
        yield* many(manager, count)
        isOn = true
        const fiber = yield* Effect.forkChild(manager.revokeAll("ada"))
        for (let i = 0; i < 99; i++) yield* TestClock.adjust(100)
        assert.isUndefined(fiber.pollUnsafe())
        for (let i = 0; i < 50; i++) yield* TestClock.adjust(100)
        assert.isDefined(fiber.pollUnsafe())
        assert.strictEqual(yield* Fiber.join(fiber), count)
        assert.strictEqual((yield* watched.records).length, 0)
        assert.lengthOf(
          lines.filter((line) => line.startsWith("{") && line.includes("onEvent is too slow")),
          1
        )
      }).pipe(Effect.provide(capturing(lines)))
    )
  })

  it.effect("[R49] [R85c] a handler that hangs holds up a walk no longer where the store's batches are small", () =>
    Effect.gen(function* () {
      let isOn = false
      const watched = WatchedBackend.make({
        // As Redis does.
        replace: ({ deleteByPrincipal }) => ({
          deleteByPrincipal: (namespace, principal, options) =>
            deleteByPrincipal(namespace, principal, { ...options, limit: 100 })
        })
      })
      const onEvent: OnEvent = () => (isOn ? hang : Effect.void)
      const layer = Stack.manager(UserSession, { onEvent, maxPerPrincipal: false, backend: watched.layer })
      const manager = Context.get(yield* Layer.build(layer), UserSession.Manager)
      yield* many(manager, 1000)
      isOn = true
      const fiber = yield* Effect.forkChild(manager.revokeAll("ada"))
      for (let i = 0; i < 120; i++) yield* TestClock.adjust(100)
      assert.strictEqual((yield* watched.records).length, 0)
      assert.strictEqual(yield* Fiber.join(fiber), 1000)
    }).pipe(Effect.provide(silent))
  )
})

describe("the sweeper and handlers", () => {
  it.effect("[R83] [R85c] tells the manager of its application, of its own sessions alone, while that lives", () =>
    Effect.gen(function* () {
      const told = Events.make()
      const memory = WatchedBackend.make()
      const memo = yield* Layer.makeMemoMap
      const scope = yield* Effect.scope
      const build = <A, E>(layer: Layer.Layer<A, E>) => Layer.buildWithMemoMap(layer, memo, scope)
      const parts = Stack.parts(UserSession, { backend: memory.layer })
      const layer = SessionManager.layer(UserSession, { onEvent: told.onEvent }).pipe(Layer.provide(parts))
      const manager = Context.get(yield* build(layer), UserSession.Manager)
      yield* manager.create(ada)
      yield* manager.revokeAll("eve")
      const foreign = { ...(yield* memory.records)[0]!, namespace: "another" }
      yield* memory.service.create(foreign)
      told.taken()
      yield* TestClock.adjust("2 days")
      yield* build(SessionSweeper.layer().pipe(Layer.provide(memory.layer)))
      yield* TestClock.adjust("1 minute")
      // The fence of eve and the other's session have gone too.
      assert.strictEqual((yield* memory.records).length + (yield* memory.fences).length, 0)
      assert.deepStrictEqual(told.taken(), ["Ended expired ada"])
    })
  )

  it.effect("[R83] [R85c] a sweep by hand tells the manager that is provided with it", () =>
    Effect.gen(function* () {
      const told = Events.make()
      const memory = WatchedBackend.make()
      const parts = Stack.parts(UserSession, { backend: memory.layer })
      const layer = SessionManager.layer(UserSession, { onEvent: told.onEvent }).pipe(Layer.provideMerge(parts))
      yield* Effect.gen(function* () {
        yield* (yield* UserSession.Manager).create(ada)
        told.taken()
        yield* TestClock.adjust("2 days")
        assert.strictEqual(yield* SessionSweeper.sweep(), 1)
      }).pipe(Effect.provide(layer))
      assert.deepStrictEqual(told.taken(), ["Ended expired ada"])
    })
  )

  it.effect("[R83] [R85c] a handler that hangs slows a round by ten deadlines, and stops none", () =>
    Effect.gen(function* () {
      let isOn = false
      const memory = WatchedBackend.make()
      const memo = yield* Layer.makeMemoMap
      const scope = yield* Effect.scope
      const build = <A, E>(layer: Layer.Layer<A, E>) => Layer.buildWithMemoMap(layer, memo, scope)
      const parts = Stack.parts(UserSession, { backend: memory.layer })
      const onEvent: OnEvent = () => (isOn ? Effect.never : Effect.void)
      const layer = SessionManager.layer(UserSession, { onEvent, maxPerPrincipal: false }).pipe(Layer.provide(parts))
      const manager = Context.get(yield* build(layer), UserSession.Manager)
      for (let i = 0; i < 900; i++) yield* manager.create(ada)
      isOn = true
      yield* TestClock.adjust("2 days")
      yield* build(SessionSweeper.layer({ batch: 300 }).pipe(Layer.provide(memory.layer)))
      for (let i = 0; i < 250; i++) yield* TestClock.adjust(100)
      assert.strictEqual((yield* memory.records).length, 0)
    }).pipe(Effect.provide(silent))
  )
})

describe("without a handler", () => {
  /** What each call asks of the store, where the session is known and where there is a handler. */
  const operations = (given: Given) =>
    onManager(given, (manager, watched) =>
      Effect.gen(function* () {
        const asked: Record<string, ReadonlyArray<string>> = {}
        for (const [name, call] of Object.entries(everyCall)) {
          const { token } = yield* manager.create(ada)
          watched.calls.length = 0
          yield* outcome(call(manager, token))
          asked[name] = [...watched.operations]
        }
        const { token } = yield* manager.create(visitor)
        watched.calls.length = 0
        yield* manager.createFrom(token, adaWith)
        asked["createFrom"] = [...watched.operations]
        return asked
      })
    )

  it.effect("[R85c] the store is asked for no more than ever", () =>
    Effect.gen(function* () {
      const asked = {
        create: ["create", "read", "listByPrincipal"],
        resolve: ["read"],
        modify: ["read", "update"],
        rotate: ["read", "update"],
        destroy: ["delete"],
        scan: ["scan"],
        list: ["listByPrincipal"],
        revoke: ["delete"],
        revokeAny: ["delete"],
        revokeAll: ["read", "create", "deleteByPrincipal"],
        createFrom: ["read", "update", "create", "read", "listByPrincipal", "delete"]
      }
      assert.deepStrictEqual(yield* operations({}), asked)
      // With one it is asked whose the session was, where nothing says that.
      assert.deepStrictEqual(yield* operations({ onEvent: () => Effect.void }), {
        ...asked,
        destroy: ["read", "delete"],
        revokeAny: ["read", "delete"]
      })
    })
  )
})
