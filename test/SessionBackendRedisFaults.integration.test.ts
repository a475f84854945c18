/** The Redis backend where commands are lost or refused. */
import { NodeRedis } from "@effect/platform-node"
import { assert } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, ManagedRuntime, Option } from "effect"
import { Redis } from "effect/persistence"
import { setTimeout as pause } from "node:timers/promises"
import { test } from "vitest"
import { SessionBackend, type SessionBackendError } from "../src/SessionBackend.ts"
import * as SessionBackendRedis from "../src/SessionBackendRedis.ts"
import {
  backendLayer,
  exampleSettings,
  expectCompleteAndMortal,
  keysOf,
  namespace,
  newRecord,
  now,
  onServer,
  prefix,
  seen,
  silent,
  startServer,
  withServer
} from "./support/redis.ts"

withServer("SessionBackendRedis, commands that fail", () => {
  /** The server's Redis, whose k-th command is lost on the way there (`request`) or back (`reply`). */
  const failingAt = (k: number, lost: "request" | "reply") =>
    Effect.gen(function* () {
      const real = yield* Redis.Redis
      const failure = Effect.fail(new Redis.RedisError({ cause: new Error("Socket closed unexpectedly") }))
      let count = 0
      const redis = yield* Redis.make({
        send: (command, ...args) =>
          Effect.suspend(() =>
            command === "INFO" || ++count !== k
              ? real.send<any>(command, ...args)
              : lost === "request"
                ? failure
                : Effect.andThen(real.send(command, ...args), failure)
          ),
        subscribe: () => Effect.die("not used"),
        connect: Effect.die("not used")
      })
      const backend = yield* SessionBackend.pipe(
        Effect.provide(
          SessionBackendRedis.layerWith({ prefix }).pipe(Layer.provide(Layer.succeed(Redis.Redis, redis)), Layer.orDie)
        )
      )
      return { backend, hit: () => count >= k }
    })

  test(
    "[R74] whichever command is lost, records stay complete, keys expire, and no session escapes revocation",
    onServer(() =>
      Effect.gen(function* () {
        const healthy = yield* SessionBackend
        let faults = 0
        for (const lost of ["request", "reply"] as const) {
          for (let k = 1; ; k++) {
            const { backend, hit } = yield* failingAt(k, lost)
            const principal = `p${k}${lost}`
            const released = new Set<string>()
            const ended = new Set<string>()
            const create = Effect.gen(function* () {
              const record = newRecord({ principal })
              const exit = yield* Effect.exit(backend.create(record))
              if (Exit.isSuccess(exit)) released.add(record.id)
              return record.id
            })
            /** As the manager does it: what failed is tried again. */
            const end = <A>(operation: Effect.Effect<A, SessionBackendError>, ids: ReadonlyArray<string>) =>
              Effect.gen(function* () {
                yield* Effect.catch(operation, () => operation)
                for (const id of ids) if (released.has(id)) ended.add(id)
              })

            const one = yield* create
            const two = yield* create
            yield* end(backend.delete(namespace, one), [one])
            const three = yield* create
            yield* Effect.exit(backend.touch(namespace, three, seen(now + 1)))
            yield* Effect.exit(backend.update(namespace, three, 1, { ...seen(now + 2), data: "[]" }))
            yield* Effect.exit(backend.listByPrincipal(namespace, principal, { limit: 10 }))
            yield* end(backend.deleteByPrincipal(namespace, principal, { except: three }), [two])
            const four = yield* create

            yield* expectCompleteAndMortal
            const alive: Array<string> = []
            for (const id of [one, two, three, four]) {
              const found = Option.isSome(yield* healthy.read(namespace, id))
              if (ended.has(id)) assert.isFalse(found, `revoked, but alive (${lost} ${k})`)
              else if (released.has(id)) {
                assert.isTrue(found, `released, but gone (${lost} ${k})`)
                alive.push(id)
              }
            }
            const { records } = yield* healthy.listByPrincipal(namespace, principal, { limit: 10 })
            const listed = records.map(({ id }) => id)
            for (const id of alive) assert.include(listed, id, `alive, but not listed (${lost} ${k})`)
            yield* healthy.deleteByPrincipal(namespace, principal)
            for (const id of released) {
              assert.isTrue(Option.isNone(yield* healthy.read(namespace, id)), `escaped revocation (${lost} ${k})`)
            }
            if (!hit()) break
            faults++
          }
        }
        // Two creates, delete, create, touch, update, listing, revocation, create: and the scripts' loading.
        assert.isAtLeast(faults, 2 * 20)
      })
    )
  )

  test(
    "scripts that Redis has forgotten are loaded again, in the midst of traffic",
    onServer(() =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const backend = yield* SessionBackend
        let flushes = 0
        const flush = Effect.andThen(
          redis.send("SCRIPT", "FLUSH"),
          Effect.promise(() => pause(20))
        )
        const flushing = yield* Effect.forkChild(
          Effect.forever(
            Effect.andThen(
              flush,
              Effect.sync(() => flushes++)
            )
          )
        )
        let rounds = 0
        /** A flush between loading and running once more is a refusal, known as such: nothing was done. */
        const sure = <A>(operation: Effect.Effect<A, SessionBackendError>): Effect.Effect<A, SessionBackendError> =>
          Effect.catch(operation, (error) => {
            assert.strictEqual(error.outcome, "notApplied")
            return sure(operation)
          })
        /** As the manager does it: another try is another session. */
        const login = Effect.suspend(() => {
          const record = newRecord({ principal: `p${rounds % 7}` })
          return Effect.as(backend.create(record), record)
        })
        const session = Effect.gen(function* () {
          const record = yield* sure(login)
          assert.strictEqual((yield* sure(backend.update(namespace, record.id, 1, seen(now))))._tag, "updated")
          assert.strictEqual(yield* sure(backend.touch(namespace, record.id, seen(now + 1))), "touched")
          assert.isTrue(yield* sure(backend.delete(namespace, record.id)))
          rounds++
        })
        for (let wave = 0; wave < 10; wave++) {
          yield* Effect.all(
            Array.from({ length: 20 }, () => session),
            { concurrency: "unbounded" }
          )
        }
        yield* Fiber.interrupt(flushing)
        assert.isAbove(flushes, 0)
        assert.deepStrictEqual(yield* keysOf("*"), [])
      })
    )
  )

  test(
    "a full Redis refuses what would take memory, as notApplied, and goes on with reads and deletes",
    onServer(() =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const backend = yield* SessionBackend
        const record = newRecord()
        yield* backend.create(record)
        yield* redis.send("CONFIG", "SET", "maxmemory", "1")
        const before = yield* keysOf("*")
        for (const write of [
          backend.create(newRecord()),
          backend.update(namespace, record.id, 1, { ...seen(now), data: "[]" }),
          backend.touch(namespace, record.id, seen(now + 1))
        ]) {
          assert.strictEqual(
            (yield* Effect.flip(write as Effect.Effect<unknown, SessionBackendError>)).outcome,
            "notApplied"
          )
        }
        assert.deepStrictEqual(yield* keysOf("*"), before)
        assert.deepStrictEqual(yield* backend.read(namespace, record.id), Option.some(record))
        assert.strictEqual(yield* backend.deleteByPrincipal(namespace, "alice"), 1)
        assert.deepStrictEqual(yield* keysOf("*"), [])
      })
    )
  )

  test(
    "[R82] a replica refuses every write as notApplied, and a retry meets the primary that it has become again",
    onServer(() =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const backend = yield* SessionBackend
        const record = newRecord()
        yield* backend.create(record)
        yield* redis.send("REPLICAOF", "127.0.0.1", "1")
        for (const write of [
          backend.create(newRecord()),
          backend.update(namespace, record.id, 1, seen(now)),
          backend.touch(namespace, record.id, seen(now + 1)),
          backend.delete(namespace, record.id),
          backend.deleteByPrincipal(namespace, "alice")
        ]) {
          assert.strictEqual(
            (yield* Effect.flip(write as Effect.Effect<unknown, SessionBackendError>)).outcome,
            "notApplied"
          )
        }
        const retried = yield* Effect.forkChild(backend.delete(namespace, record.id))
        yield* Effect.promise(() => pause(10))
        yield* redis.send("REPLICAOF", "NO", "ONE")
        assert.isTrue(yield* Fiber.join(retried))
      })
    )
  )

  test("what node-redis did not send is known not to be applied", async () => {
    const server = await startServer()
    const runtime = ManagedRuntime.make(
      Layer.merge(backendLayer({ ...exampleSettings(server.url), commandsQueueMaxLength: 10 }, { prefix }), silent)
    )
    const backend = await runtime.runPromise(SessionBackend)
    const client = await runtime.runPromise(NodeRedis.NodeRedis.use(({ client }) => Effect.succeed(client)))
    const outcome = (id: string) =>
      runtime.runPromise(
        Effect.match(backend.touch(namespace, id, seen(now)), {
          onSuccess: (result) => result,
          onFailure: ({ cause, outcome }) => `${outcome}: ${(cause as Error).message}`
        })
      )
    // Loads the script.
    assert.strictEqual(await outcome("a"), "gone")
    const answers = await Promise.all(Array.from({ length: 11 }, () => outcome("a")))
    assert.deepStrictEqual(answers, [...Array.from({ length: 10 }, () => "gone"), "notApplied: The queue is full"])
    const lost = outcome("a")
    await server.kill()
    assert.match(await lost, /^gone$|^unknown: /)
    while (client.isReady) await pause(10)
    assert.strictEqual(await outcome("a"), "notApplied: The client is offline")
    client.destroy()
    assert.strictEqual(await outcome("a"), "notApplied: The client is closed")
    await runtime.dispose().catch(() => {})
  })
})
