/** Outages of Redis, with the client settings of the module's example. */
import { NodeRedis } from "@effect/platform-node"
import { assert } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Option } from "effect"
import { connect as connectSocket, createServer, type Socket } from "node:net"
import { setTimeout as pause } from "node:timers/promises"
import { test } from "vitest"
import { SessionBackend, type SessionBackendError, type SessionRecord } from "../src/SessionBackend.ts"
import {
  backendLayer,
  exampleSettings,
  expectCompleteAndMortal,
  namespace,
  newRecord,
  now,
  prefix,
  revokeAll,
  run,
  seen,
  startServer,
  until,
  within,
  withServer
} from "./support/redis.ts"

withServer("SessionBackendRedis, outages", () => {
  /** Stands between client and server; `cut` is a network that has gone away. */
  const startProxy = async (target: number) => {
    const sockets = new Set<Socket>()
    const proxy = createServer((client) => {
      const server = connectSocket(target, "127.0.0.1")
      for (const socket of [client, server]) {
        sockets.add(socket)
        socket.on("error", () => {}).on("close", () => (client.destroy(), server.destroy(), sockets.delete(socket)))
      }
      client.pipe(server).pipe(client)
    })
    const listen = (port: number) => new Promise<void>((resolve) => proxy.listen(port, "127.0.0.1", resolve))
    await listen(0)
    const { port } = proxy.address() as { readonly port: number }
    const cut = () => {
      proxy.close()
      for (const socket of sockets) socket.destroy()
    }
    return { url: `redis://127.0.0.1:${port}`, cut, restore: () => listen(port) }
  }

  for (const [name, settings, lands] of [
    ["the client's defaults", (url: string) => ({ url }), true],
    ["the example's settings", exampleSettings, false]
  ] as const) {
    test(`[R80] with ${name}, a write reported as failed while offline ${lands ? "lands later" : "never lands"}`, async () => {
      const server = await startServer()
      const proxy = await startProxy(server.port)
      await run(
        Effect.gen(function* () {
          const backend = yield* SessionBackend
          const { client } = yield* NodeRedis.NodeRedis
          yield* backend.create(newRecord())
          proxy.cut()
          yield* until(
            Effect.sync(() => !client.isReady),
            "the client has noticed"
          )
          const record = newRecord({ principal: undefined })
          const answer = yield* within(300)(Effect.result(backend.create(record)))
          if (lands) assert.isTrue(Option.isNone(answer), "it waits, until its caller gives it up")
          else {
            const result = Option.getOrThrow(answer)
            assert.isTrue(result._tag === "Failure" && result.failure.outcome === "notApplied")
          }
          yield* Effect.promise(proxy.restore)
          yield* until(
            Effect.sync(() => client.isReady),
            "the client is back"
          )
          // Commands are answered in order: what was queued has been sent before this.
          assert.strictEqual(Option.isSome(yield* backend.read(namespace, record.id)), lands)
        }),
        settings(proxy.url),
        { prefix }
      )
      proxy.cut()
      await server.dispose()
    })
  }

  test("[R80] writes that were under way when Redis froze may land when it thaws, and do no harm", async () => {
    const server = await startServer()
    let landed = 0
    await run(
      Effect.gen(function* () {
        const mine = yield* SessionBackend
        // Another process of the same application.
        const theirs = Context.get(
          yield* Layer.build(backendLayer(exampleSettings(server.url), { prefix })),
          SessionBackend
        )
        for (let round = 0; round < 10; round++) {
          const principal = `p${round}`
          const [ended, kept] = [newRecord({ principal }), newRecord({ principal })]
          yield* mine.create(ended)
          yield* mine.create(kept)
          const late = newRecord({ principal })

          server.signal("SIGSTOP")
          const reported = yield* Effect.all(
            [
              mine.update(namespace, ended.id, 1, { ...seen(now + 1), data: `"late"` }),
              mine.touch(namespace, ended.id, seen(now + 2)),
              mine.update(namespace, kept.id, 1, { ...seen(now + 1), data: `"late"` }),
              mine.create(late)
            ].map((write) => within(50)(write as Effect.Effect<unknown, SessionBackendError>)),
            { concurrency: "unbounded" }
          )
          assert.isTrue(reported.every(Option.isNone), "all of them are reported as failed")
          // Logging out goes on until it is confirmed; on another connection, so in any order with what is late.
          const logout = yield* Effect.forkChild(
            Effect.all([theirs.delete(namespace, ended.id), theirs.update(namespace, kept.id, 1, seen(now + 5))], {
              concurrency: "unbounded"
            })
          )
          yield* Effect.promise(() => pause(10))
          server.signal("SIGCONT")
          const [deleted, updated] = yield* Fiber.join(logout)

          assert.isTrue(deleted)
          assert.isTrue(Option.isNone(yield* mine.read(namespace, ended.id)), "brought back by a late write")
          // Exactly one of two updates from one version was applied, and the other knows it.
          const record = Option.getOrThrow(yield* mine.read(namespace, kept.id))
          assert.strictEqual(record.version, 2)
          assert.strictEqual(record.data === `"late"`, updated._tag === "stale")
          if (updated._tag === "stale") landed++
          // The token of a late create was given to no client, and Redis removes the record at its deadline.
          if (Option.isSome(yield* mine.read(namespace, late.id))) landed++
          yield* expectCompleteAndMortal
        }
      }),
      exampleSettings(server.url),
      { prefix }
    )
    assert.isAbove(landed, 0, "otherwise the test has shown nothing")
    await server.dispose()
  })

  test("the example's settings arm no timer for each command", async () => {
    const server = await startServer()
    const original = AbortSignal.timeout
    let timers = 0
    await run(
      Effect.gen(function* () {
        const backend = yield* SessionBackend
        AbortSignal.timeout = (millis) => (timers++, original(millis))
        for (let i = 0; i < 10; i++) yield* backend.read(namespace, "x")
      }).pipe(Effect.ensuring(Effect.sync(() => (AbortSignal.timeout = original)))),
      exampleSettings(server.url),
      { prefix }
    )
    assert.strictEqual(timers, 0)
    await server.dispose()
  })

  for (const strategy of ["the client's own", "the example's"] as const) {
    test(`[R79] a connection that was silent is given up, and with ${strategy} reconnect strategy ${
      strategy === "the example's" ? "made anew" : "never made again"
    }`, async () => {
      const server = await startServer()
      const { reconnectStrategy } = exampleSettings(server.url).socket!
      await run(
        Effect.gen(function* () {
          const backend = yield* SessionBackend
          const { client } = yield* NodeRedis.NodeRedis
          yield* backend.read(namespace, "x")
          server.signal("SIGSTOP")
          const outcome = yield* Effect.flip(backend.read(namespace, "x"))
          assert.strictEqual((outcome.cause as { readonly code?: string }).code, "SocketTimeoutError")
          assert.isFalse(client.isReady)
          server.signal("SIGCONT")
          if (strategy === "the client's own") assert.isFalse(client.isOpen)
          else {
            yield* until(Effect.map(Effect.exit(backend.read(namespace, "x")), Exit.isSuccess), "service has resumed")
          }
        }),
        {
          ...exampleSettings(server.url),
          pingInterval: 100,
          socket: {
            socketTimeout: 300,
            ...(strategy === "the example's" ? { reconnectStrategy: reconnectStrategy! } : {})
          }
        },
        { prefix }
      )
      await server.dispose()
    })
  }

  test("with the example's settings the layer waits for a Redis that is not up yet", async () => {
    const server = await startServer()
    await server.kill()
    const reading = run(
      SessionBackend.use((backend) => backend.read(namespace, "x")),
      exampleSettings(server.url),
      { prefix }
    )
    await pause(200)
    await server.start()
    assert.isTrue(Option.isNone(await reading))
    await server.dispose()
  })

  test("[R79] [R81] killed and back: failures are immediate and known, an acknowledged revocation holds, service resumes", async () => {
    const server = await startServer({ isDurable: true })
    await run(
      Effect.gen(function* () {
        const backend = yield* SessionBackend
        const { client } = yield* NodeRedis.NodeRedis
        const kept: Array<SessionRecord> = []
        const ended: Array<SessionRecord> = []
        for (let i = 0; i < 40; i++) {
          const record = newRecord({ principal: `p${i % 4}` })
          yield* backend.create(record)
          if (i % 2 === 0) kept.push(record)
          else ended.push(record)
        }
        for (const { id } of ended) assert.isTrue(yield* backend.delete(namespace, id))
        yield* Effect.promise(() => server.kill())
        yield* until(
          Effect.sync(() => !client.isReady),
          "the client has noticed"
        )
        const down = yield* Effect.flip(backend.read(namespace, kept[0]!.id)).pipe(within(100))
        assert.strictEqual(Option.getOrThrow(down).outcome, "notApplied")

        yield* Effect.promise(() => server.start())
        const back = Effect.map(Effect.exit(backend.read(namespace, kept[0]!.id)), Exit.isSuccess)
        yield* until(back, "service has resumed (within 5 seconds)")
        for (const { id } of kept) assert.isTrue(Option.isSome(yield* backend.read(namespace, id)))
        for (const { id } of ended) assert.isTrue(Option.isNone(yield* backend.read(namespace, id)), "undone logout")
        // Scripts did not survive, their users do not notice.
        assert.strictEqual(yield* backend.touch(namespace, kept[0]!.id, seen(now + 1)), "touched")
        assert.strictEqual(yield* revokeAll(backend, "p0"), 10)
        yield* expectCompleteAndMortal
      }),
      exampleSettings(server.url),
      { prefix }
    )
    await server.dispose()
  })
})
