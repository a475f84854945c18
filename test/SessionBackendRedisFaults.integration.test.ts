/** The Redis backend where commands are lost or refused. */
import { NodeRedis } from "@effect/platform-node"
import { assert } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, ManagedRuntime, Option } from "effect"
import { Redis } from "effect/persistence"
import { rmSync } from "node:fs"
import { setTimeout as pause } from "node:timers/promises"
import { test } from "vitest"
import { SessionBackend, type SessionBackendError } from "../src/SessionBackend.ts"
import * as SessionBackendRedis from "../src/SessionBackendRedis.ts"
import { createServer, connect, type Socket } from "node:net"
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
  revokeAll,
  run,
  seen,
  silent,
  startServer,
  until,
  withServer
} from "./support/redis.ts"

/** Passes on to a server, which for new connections may become another. */
class Proxy {
  readonly port: number
  readonly #sockets = new Set<Socket>()
  readonly #server: ReturnType<typeof createServer>
  #target: number

  private constructor(server: ReturnType<typeof createServer>, target: number) {
    this.#server = server
    this.#target = target
    this.port = (server.address() as { readonly port: number }).port
    server.on("connection", (client) => {
      const upstream = connect(this.#target, "127.0.0.1")
      for (const socket of [client, upstream]) {
        this.#sockets.add(socket)
        socket
          .on("error", () => {})
          .on("close", () => (client.destroy(), upstream.destroy(), this.#sockets.delete(socket)))
      }
      client.pipe(upstream).pipe(client)
    })
  }

  static async start(target: number): Promise<Proxy> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    return new Proxy(server, target)
  }

  redirect(target: number): void {
    this.#target = target
  }

  dispose(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }
}

/** What a layer asks before it is built. */
const isCheck = (command: string, key: string | undefined) => command === "INFO" || key?.includes(":probe:") === true

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
            isCheck(command, args[0]) || ++count !== k
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
            yield* end(revokeAll(backend, principal, { except: three }), [two])
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
            yield* revokeAll(healthy, principal)
            for (const id of released) {
              assert.isTrue(Option.isNone(yield* healthy.read(namespace, id)), `escaped revocation (${lost} ${k})`)
            }
            if (!hit()) break
            faults++
          }
        }
        // Two creates, delete, create, touch, update, listing, revocation, create.
        assert.isAtLeast(faults, 2 * 17)
      })
    )
  )

  test(
    "scripts that Redis has forgotten are sent again, in the midst of traffic, and no operation fails of that",
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
        const session = Effect.gen(function* () {
          const record = newRecord({ principal: `p${rounds % 7}` })
          assert.strictEqual(yield* backend.create(record), "created")
          assert.strictEqual((yield* backend.update(namespace, record.id, 1, seen(now)))._tag, "updated")
          assert.strictEqual(yield* backend.touch(namespace, record.id, seen(now + 1)), "touched")
          assert.isTrue(yield* backend.delete(namespace, record.id))
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
        assert.strictEqual(yield* revokeAll(backend, "alice"), 1)
        assert.deepStrictEqual(yield* keysOf("*"), [])
      })
    )
  )

  test(
    "[R82] a replica refuses every operation as notApplied, and all works again once it is a primary",
    onServer(() =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const backend = yield* SessionBackend
        const { client } = yield* NodeRedis.NodeRedis
        const record = newRecord()
        yield* backend.create(record)
        yield* redis.send("REPLICAOF", "127.0.0.1", "1")
        // What this replica does not have is not gone: its primary may have it.
        const missing = newRecord().id
        for (const operation of [
          backend.read(namespace, record.id),
          backend.create(newRecord()),
          backend.update(namespace, record.id, 1, seen(now)),
          backend.touch(namespace, record.id, seen(now + 1)),
          backend.delete(namespace, record.id),
          backend.deleteByPrincipal(namespace, "alice", { limit: 10 }),
          backend.listByPrincipal(namespace, "alice", { limit: 10 }),
          backend.read(namespace, missing),
          backend.update(namespace, missing, 1, seen(now)),
          backend.touch(namespace, missing, seen(now)),
          backend.delete(namespace, missing),
          backend.delete(namespace, missing, { principal: "alice" }),
          backend.deleteByPrincipal(namespace, "nobody", { limit: 10 }),
          backend.listByPrincipal(namespace, "nobody", { limit: 10 })
        ]) {
          yield* until(
            Effect.sync(() => client.isReady),
            "the client has connected again"
          )
          const { cause, outcome } = yield* Effect.flip(operation as Effect.Effect<unknown, SessionBackendError>)
          const { message } = cause as Error
          // One that was on its way when the connection was given up is not answered.
          if (message !== "Socket closed unexpectedly") assert.strictEqual(outcome, "notApplied")
          assert.match(message, /^READONLY |^The client is offline$|^Socket closed unexpectedly$/)
        }
        const connections = () => redis.send<string>("INFO", "stats")
        yield* until(
          Effect.sync(() => client.isReady),
          "the client has connected again"
        )
        assert.isAtLeast(Number(/total_connections_received:(\d+)/.exec(yield* connections())![1]), 2, "it was dropped")
        yield* redis.send("REPLICAOF", "NO", "ONE")
        yield* until(
          Effect.map(Effect.exit(backend.read(namespace, record.id)), Exit.isSuccess),
          "reads are answered again"
        )
        assert.deepStrictEqual(yield* backend.read(namespace, record.id), Option.some(record))
        assert.isTrue(yield* backend.delete(namespace, record.id))
      })
    )
  )

  test(
    "[R82] a replica whose disk fails authenticates nobody and ends nobody's sessions, and a primary goes on reading",
    onServer(() =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const backend = yield* SessionBackend
        const { client } = yield* NodeRedis.NodeRedis
        const record = newRecord()
        yield* backend.create(record)
        yield* redis.send("CONFIG", "SET", "save", "3600 1")
        const { dir } = yield* redis.send<{ readonly dir: string }>("CONFIG", "GET", "dir")
        rmSync(dir, { recursive: true })
        yield* redis.send("BGSAVE")
        const code = (exit: Exit.Exit<unknown, SessionBackendError>) =>
          (Option.getOrThrow(Exit.findErrorOption(exit)).cause as { readonly code?: string }).code
        const missing = backend.delete(namespace, newRecord().id)
        yield* until(Effect.map(Effect.exit(missing), Exit.isFailure), "the snapshot has failed")
        assert.strictEqual(code(yield* Effect.exit(missing)), "MISCONF")
        assert.deepStrictEqual(yield* backend.read(namespace, record.id), Option.some(record))
        assert.lengthOf((yield* backend.listByPrincipal(namespace, "alice", { limit: 10 })).records, 1)

        yield* redis.send("REPLICAOF", "127.0.0.1", "1")
        for (const operation of [
          backend.read(namespace, record.id),
          backend.listByPrincipal(namespace, "alice", { limit: 10 }),
          backend.listByPrincipal(namespace, "nobody", { limit: 10 }),
          backend.deleteByPrincipal(namespace, "nobody", { limit: 10 })
        ]) {
          yield* until(
            Effect.sync(() => client.isReady),
            "the client has connected again"
          )
          const exit = yield* Effect.exit<unknown, SessionBackendError, never>(operation)
          assert.isTrue(Exit.isFailure(exit))
        }
      })
    )
  )

  test("[R82] a primary demoted behind its address authenticates nobody from then on, and the client goes to the new one", async () => {
    const [old, promoted] = [await startServer(), await startServer()]
    const proxy = await Proxy.start(old.port)
    await run(
      Effect.gen(function* () {
        const backend = yield* SessionBackend
        const record = newRecord()
        yield* backend.create(record)
        // A primary waits five seconds for more replicas before it sends them anything.
        yield* Effect.promise(() => old.command("CONFIG SET repl-diskless-sync-delay 0"))
        yield* Effect.promise(() => promoted.command(`REPLICAOF 127.0.0.1 ${old.port}`))
        yield* until(
          Effect.promise(async () => (await promoted.command("DBSIZE")).startsWith(":2")),
          "the replica has the session"
        )
        yield* Effect.promise(() => promoted.command("REPLICAOF NO ONE"))
        // The old one has lost its link, keeps its connections, and goes on serving stale data.
        yield* Effect.promise(() => old.command("REPLICAOF 127.0.0.1 1"))
        proxy.redirect(promoted.port)
        // Elsewhere the session is logged out.
        yield* Effect.promise(async () => {
          const elsewhere = SessionBackend.use((backend) => backend.delete(namespace, record.id))
          assert.isTrue(await run(elsewhere, exampleSettings(promoted.url), { prefix }))
        })
        const answers: Array<string> = []
        const read = Effect.map(Effect.exit(backend.read(namespace, record.id)), (exit) => {
          answers.push(exit._tag === "Failure" ? "refused" : exit.value._tag)
          return exit._tag === "Success"
        })
        yield* until(read, "the new primary answers")
        assert.notInclude(answers, "Some")
        assert.strictEqual(answers[0], "refused")
        assert.strictEqual(yield* backend.create(newRecord()), "created")
      }),
      exampleSettings(`redis://127.0.0.1:${proxy.port}`),
      { prefix }
    )
    await proxy.dispose()
    await Promise.all([old.dispose(), promoted.dispose()])
  })

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
    // The server learns the script.
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
