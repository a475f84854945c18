/** Streams over RPC end with their session, wherever that is ended; calls that answer once go on. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Layer, Ref, Schema, Stream } from "effect"
import { Rpc as EffectRpc, RpcGroup, RpcMiddleware, RpcTest } from "effect/rpc"
import { TestClock } from "effect/testing"
import type { Session } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import * as Rpc from "../support/rpcSupport.ts"
import * as Stage from "../support/stage.ts"
import { ada, UserSession } from "../support/userSession.ts"
import { settle } from "../support/waiting.ts"

type Client = Effect.Success<ReturnType<typeof Rpc.overSocket>>

/** A stream that has begun: its values so far, and how it ends. */
const begin = Effect.fnUntraced(function* (client: Client) {
  const seen = yield* Ref.make(0)
  const fiber = yield* Effect.forkScoped(
    Effect.exit(Stream.runForEach(client.Ticks({ every: 20 }), (n) => Ref.set(seen, n)))
  )
  yield* Effect.repeat(Effect.delay(Ref.get(seen), 10), { until: (n) => n >= 3 })
  return fiber
})

/** The error a stream ends with. One that is not ended fails the test after a while. */
const endOf = <E>(fiber: Fiber.Fiber<Exit.Exit<void, E>>) =>
  Effect.flatMap(Effect.timeout(Fiber.join(fiber), "10 seconds"), (exit) =>
    Effect.fromOption(Exit.findErrorOption(exit))
  )

const idle = (server: Rpc.Served) =>
  Effect.repeat(Effect.delay(Ref.get(server.running.now), 10), { until: (n) => n === 0 }).pipe(
    Effect.timeout("10 seconds")
  )

const connect = (server: Rpc.Served, headers: Rpc.Headers, path: string) =>
  path.startsWith("/ws")
    ? Rpc.overSocket(server, headers, path)
    : Effect.map(Rpc.overHttp(server, headers, { path }), ({ client }) => client)

for (const [name, serialization] of Object.entries(Rpc.serializations)) {
  describe(`a stream, as ${name}`, () => {
    // Without frames HTTP has one answer: the stream is all there when it ends.
    const paths =
      name === "json" ? ["/ws", "/ws/bare", "/ws/guarded"] : ["/rpc", "/bare", "/ws", "/ws/bare", "/ws/guarded"]

    it.live("ends when its session is ended elsewhere, with the error that says so, and interrupts its handler", () =>
      Effect.gen(function* () {
        const server = yield* Rpc.serve({ serialization })
        for (const path of paths) {
          const session = yield* server.login(ada)
          const other = yield* server.login(ada)
          const client = yield* connect(server, { cookie: Stage.cookieOf(session) }, path)
          const unaffected = yield* connect(server, { cookie: Stage.cookieOf(other) }, path)
          const [stream, beside] = [yield* begin(client), yield* begin(unaffected)]
          const before = yield* Ref.get(server.running.interrupted)
          const start = Date.now()
          yield* server.manager.destroy(session.token)
          const error = yield* endOf(stream)
          assert.isBelow(Date.now() - start, 5_000)
          assert.deepStrictEqual(
            [error._tag, error._tag === "SessionInvalid" && error.reason],
            ["SessionInvalid", "NotFound"],
            path
          )
          assert.strictEqual(yield* Ref.get(server.running.interrupted), before + 1)
          // The other device's stream goes on.
          yield* Effect.sleep("50 millis")
          assert.isUndefined(beside.pollUnsafe())
          yield* Fiber.interrupt(beside)
          yield* idle(server)
          yield* server.manager.destroy(other.token)
        }
      })
    )
  })
}

/** Lets all run until something is so, for ten seconds at most. */
const until = Effect.fnUntraced(function* (isSo: () => boolean, step: Effect.Effect<void> = settle) {
  for (const start = Date.now(); !isSo() && Date.now() - start < 10_000;) yield* step
  assert.isTrue(isSo())
})

describe("a stream", () => {
  it.live("as json over HTTP answers with the error when its session is ended", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve({ serialization: Rpc.serializations.json })
      const session = yield* server.login(ada)
      const { client } = yield* Rpc.overHttp(server, { cookie: Stage.cookieOf(session) })
      const fiber = yield* Effect.forkScoped(Effect.exit(Stream.runDrain(client.Ticks({ every: 20 }))))
      yield* Effect.repeat(Effect.delay(Ref.get(server.running.now), 10), { until: (n) => n === 1 })
      yield* server.manager.destroy(session.token)
      assert.strictEqual((yield* endOf(fiber))._tag, "SessionInvalid")
    })
  )

  it.live("ends with a log-out over the same socket, and with all of the user's sessions", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve()
      for (const end of [
        (client: Client) => client.LogOut(),
        () => server.manager.revokeAll("ada"),
        () => server.manager.revokeAny
      ]) {
        const session = yield* server.login(ada)
        const client = yield* Rpc.overSocket(server, { cookie: Stage.cookieOf(session) })
        const streams = [yield* begin(client), yield* begin(client)]
        const ending = end(client)
        yield* Effect.isEffect(ending) ? ending : ending(session.id)
        for (const stream of streams) assert.strictEqual((yield* endOf(stream))._tag, "SessionInvalid")
        yield* idle(server)
      }
    })
  )

  it.live("ends when its session expires", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve()
      const session = yield* server.login(ada, { absoluteTimeout: "1 second" })
      const client = yield* Rpc.overSocket(server, { cookie: Stage.cookieOf(session) })
      const error = yield* endOf(yield* begin(client))
      assert.deepStrictEqual(
        [error._tag, error._tag === "SessionInvalid" && error.reason],
        ["SessionInvalid", "Expired"]
      )
    })
  )

  it.live("leaves nothing behind when its client goes", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve()
      const session = yield* server.login(ada)
      for (const path of ["/rpc", "/ws"]) {
        const client = yield* connect(server, { cookie: Stage.cookieOf(session) }, path)
        yield* Fiber.interrupt(yield* begin(client))
        yield* idle(server)
        yield* Effect.scoped(
          Effect.flatMap(connect(server, { cookie: Stage.cookieOf(session) }, path), (client) => begin(client))
        )
        yield* idle(server)
        assert.strictEqual(yield* client.WhoAmI(), "ada")
      }
    })
  )

  it.live("of a handler that cannot be interrupted comes to its end, and fails then if its session has ended", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve()
      const session = yield* server.login(ada)
      const client = yield* Rpc.overSocket(server, { cookie: Stage.cookieOf(session) })
      const all = yield* Effect.timeout(Stream.runCollect(client.Uninterruptible()), "10 seconds")
      assert.deepStrictEqual(all, [1, 2, 3])
      const seen: Array<number> = []
      const ended = yield* client.Uninterruptible().pipe(
        Stream.runForEach((n) =>
          Effect.andThen(
            Effect.sync(() => void seen.push(n)),
            n === 1 ? Effect.orDie(server.manager.destroy(session.token)) : Effect.void
          )
        ),
        Effect.flip,
        Effect.timeout("10 seconds")
      )
      assert.deepStrictEqual([seen, ended._tag], [[1, 2, 3], "SessionInvalid"])
    })
  )

  it.live("that never began is refused like any call", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve()
      for (const path of ["/rpc", "/ws"]) {
        const client = yield* connect(server, {}, path)
        const refused = yield* Effect.flip(Stream.runDrain(client.Ticks({ every: 20 })))
        assert.strictEqual(refused._tag, "SessionMissing")
      }
      assert.strictEqual(yield* Ref.get(server.running.interrupted), 0)
    })
  )

  it.effect("ends with an error of the application's own, where the middleware has such", () => {
    class Denied extends Schema.TaggedError<Denied>()("Denied", { because: Schema.String }) {}
    class Own extends RpcMiddleware.Service<Own, { provides: Session.Provided<typeof UserSession> }>()("test/Rpc/Own", {
      error: Denied
    }) {}
    class Group extends RpcGroup.make(EffectRpc.make("Forever", { success: Schema.Int, stream: true })).middleware(
      Own
    ) {}
    const begun = Latch.makeUnsafe()
    return Effect.gen(function* () {
      const client = yield* RpcTest.makeClient(Group)
      const fiber = yield* Effect.forkScoped(Effect.flip(Stream.runDrain(client.Forever())))
      yield* begun.await
      yield* TestClock.adjust("2 hours")
      assert.deepStrictEqual(yield* Fiber.join(fiber), new Denied({ because: "SessionInvalid" }))
    }).pipe(
      Effect.provide(
        Layer.mergeAll(
          Group.toLayer({ Forever: () => Stream.onStart(Stream.never, begun.open) }),
          SessionTest.layerRpc(Own, UserSession, ada, {
            absoluteTimeout: "1 hour",
            idleTimeout: "1 hour",
            onFailure: (error) => Effect.fail(new Denied({ because: error._tag }))
          })
        )
      )
    )
  })

  it.effect("is over at once, however long the application takes to say why", () => {
    class Denied extends Schema.TaggedError<Denied>()("Denied", {}) {}
    class Own extends RpcMiddleware.Service<Own, { provides: Session.Provided<typeof UserSession> }>()("test/Rpc/Own", {
      error: Denied
    }) {}
    class Group extends RpcGroup.make(EffectRpc.make("Forever", { success: Schema.Int, stream: true })).middleware(
      Own
    ) {}
    let isOn = false
    let isOver = false
    return Effect.gen(function* () {
      const client = yield* RpcTest.makeClient(Group)
      const fiber = yield* Effect.forkScoped(Effect.flip(Stream.runDrain(client.Forever())))
      yield* until(() => isOn)
      // In steps: who waits for the end may begin its sleep late.
      yield* until(() => isOver, Effect.andThen(TestClock.adjust("1 minute"), settle))
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(yield* Fiber.join(fiber), new Denied())
    }).pipe(
      Effect.provide(
        Layer.mergeAll(
          Group.toLayer({
            Forever: () =>
              Stream.never.pipe(
                Stream.onStart(Effect.sync(() => (isOn = true))),
                Stream.ensuring(Effect.sync(() => (isOver = true)))
              )
          }),
          SessionTest.layerRpc(Own, UserSession, ada, {
            absoluteTimeout: "1 hour",
            idleTimeout: "1 hour",
            onFailure: () => Effect.delay(Effect.fail(new Denied()), "1 hour")
          })
        )
      )
    )
  })
})

describe("a call that answers once", () => {
  it.live("goes on when its session ends: it may be the log-out", () =>
    Effect.gen(function* () {
      const server = yield* Rpc.serve()
      for (const path of ["/rpc", "/ws"]) {
        const session = yield* server.login(ada)
        const client = yield* connect(server, { cookie: Stage.cookieOf(session) }, path)
        assert.strictEqual(yield* client.LogOutAndWait(), "to the end")
      }
    })
  )
})
