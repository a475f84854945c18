import { NodeRedis } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Logger, ManagedRuntime, Option, type Scope } from "effect"
import { Redis } from "effect/persistence"
import { type ChildProcess, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { connect as connectSocket, createServer, type Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { createClient } from "redis"
import { afterAll, test } from "vitest"
import * as Scripts from "../src/internal/redisScripts.ts"
import { SessionBackend, type SessionBackendError, type SessionRecord } from "../src/SessionBackend.ts"
import * as SessionBackendRedis from "../src/SessionBackendRedis.ts"
import * as SessionBackendTest from "../src/testing/SessionBackendTest.ts"
import { hasRedisServer, needing } from "./support/processes.ts"

// -----------------------------------------------------------------------------
// what the tests work with
// -----------------------------------------------------------------------------

const url = process.env.REDIS_URL ?? "redis://localhost:6379"

const isReachable = async (): Promise<boolean> => {
  const client = createClient({ url, socket: { connectTimeout: 2000, reconnectStrategy: false } })
  client.on("error", () => {})
  try {
    await client.connect()
    client.destroy()
    return true
  } catch {
    return false
  }
}

const withRedis = needing(await isReachable(), `no Redis answers at ${url.replace(/\/\/[^@]*@/, "//")}, set REDIS_URL`)
const withServer = needing(hasRedisServer(), "there is no redis-server on the PATH to start")

/** The client settings of the module's example, the very ones that its reader will copy. */
const recipe = (url: string): NonNullable<Parameters<typeof NodeRedis.layer>[0]> => {
  const source = readFileSync(new URL("../src/SessionBackendRedis.ts", import.meta.url), "utf8")
  const literal = /NodeRedis\.layer\((\{.*?\n\})\)/s.exec(source.replace(/^ \* ?/gm, ""))![1]!
  // oxlint-disable-next-line no-new-func
  return { ...new Function(`return (${literal})`)(), url }
}

const silent = Logger.layer([])

const backendLayer = (
  client: NonNullable<Parameters<typeof NodeRedis.layer>[0]>,
  options?: SessionBackendRedis.SessionBackendRedisOptions
) =>
  SessionBackendRedis.layerWith(options).pipe(
    Layer.provideMerge(NodeRedis.layer(client)),
    Layer.provide(silent),
    Layer.orDie
  )

type Services = SessionBackend | Redis.Redis | NodeRedis.NodeRedis

const run = <A, E>(
  effect: Effect.Effect<A, E, Services | Scope.Scope>,
  client: NonNullable<Parameters<typeof NodeRedis.layer>[0]>,
  options?: SessionBackendRedis.SessionBackendRedisOptions
): Promise<A> =>
  Effect.runPromise(Effect.scoped(effect).pipe(Effect.provide(backendLayer(client, options)), Effect.provide(silent)))

/** A Redis server of the test's own, to be killed, frozen and filled. */
class Server {
  private child: ChildProcess | undefined
  readonly directory: string = mkdtempSync(join(tmpdir(), "effect-sessions-"))
  readonly port: number
  readonly args: ReadonlyArray<string>

  private constructor(port: number, args: ReadonlyArray<string>) {
    this.port = port
    this.args = args
  }

  static async start(args: ReadonlyArray<string> = ["--appendonly", "no"]): Promise<Server> {
    const port = await new Promise<number>((resolve) => {
      const probe = createServer().listen(0, "127.0.0.1", () => {
        const { port } = probe.address() as { readonly port: number }
        probe.close(() => resolve(port))
      })
    })
    const server = new Server(port, args)
    await server.start()
    return server
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  async start(): Promise<void> {
    const options = ["--port", String(this.port), "--bind", "127.0.0.1", "--save", "", "--dir", this.directory]
    this.child = spawn("redis-server", [...options, ...this.args], { stdio: "ignore" })
    for (;;) {
      const answers = await new Promise<boolean>((resolve) => {
        const socket = connectSocket(this.port, "127.0.0.1", () => socket.write("PING\r\n"))
        socket.on("error", () => resolve(false))
        socket.on("data", (data) => {
          socket.destroy()
          // An error, too, is an answer: NOAUTH, but not LOADING.
          resolve(!data.toString().startsWith("-LOADING"))
        })
      })
      if (answers) return
      await pause(20)
    }
  }

  async kill(): Promise<void> {
    const child = this.child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child.once("exit", resolve))
    child.kill("SIGKILL")
    await gone
  }

  freeze(): void {
    this.child!.kill("SIGSTOP")
  }

  thaw(): void {
    this.child!.kill("SIGCONT")
  }

  async dispose(): Promise<void> {
    await this.kill()
    rmSync(this.directory, { recursive: true, force: true })
  }
}

const servers: Array<Server> = []
const startServer = async (args?: ReadonlyArray<string>): Promise<Server> => {
  const server = await Server.start(args)
  servers.push(server)
  return server
}
afterAll(() => Promise.all(servers.map((server) => server.dispose())))

const prefix = "t"
const namespace = "app/User"
const minute = 60_000
const now = Date.now()

const newRecord = (changes?: Partial<SessionRecord>): SessionRecord => ({
  namespace,
  id: randomBytes(16).toString("base64url"),
  secretHash: randomBytes(32).toString("base64url"),
  version: 1,
  principal: "alice",
  data: `{"name":"Alice"}`,
  dataVersion: 1,
  extension: "{}",
  createdAt: now,
  authenticatedAt: now,
  lastSeenAt: now,
  idleTimeout: 30 * minute,
  idleExpiresAt: now + 30 * minute,
  absoluteExpiresAt: now + 12 * 60 * minute,
  persistent: true,
  ...changes
})

const seen = (at: number) => ({ lastSeenAt: at, idleExpiresAt: at + 30 * minute })

const keysOf = Effect.fnUntraced(function* (pattern: string) {
  const redis = yield* Redis.Redis
  const keys = new Set<string>()
  let cursor = "0"
  do {
    const [next, page] = yield* redis.send<[string, Array<string>]>("SCAN", cursor, "MATCH", pattern, "COUNT", "1000")
    for (const key of page) keys.add(key)
    cursor = next
  } while (cursor !== "0")
  return [...keys]
})

/** [R74]: whatever is stored is a whole record or an index, and has a time-to-live. */
const expectWholeAndMortal = Effect.gen(function* () {
  const redis = yield* Redis.Redis
  const keys = yield* keysOf(`${prefix}:*`)
  for (const key of keys) {
    const ttl = yield* redis.send<number>("PTTL", key)
    assert.isTrue(ttl > 0 || ttl === -2, `${key} has no time-to-live`)
    if (!key.startsWith(`${prefix}:s:`)) continue
    const text = yield* redis.send<string | null>("GET", key)
    assert.strictEqual(text?.split(Scripts.separator).length ?? (ttl === -2 ? 3 : 0), 3, `${key} is half a record`)
  }
  return keys
})

const until = Effect.fnUntraced(function* <E, R>(condition: Effect.Effect<boolean, E, R>, what: string) {
  for (let i = 0; i < 500; i++) {
    if (yield* condition) return
    yield* Effect.promise(() => pause(10))
  }
  assert.fail(`waited in vain until ${what}`)
})

/** The manager's deadline, as it meets a call. */
const within = (millis: number) => Effect.timeoutOption(millis)

// -----------------------------------------------------------------------------
// the conformance suite
// -----------------------------------------------------------------------------

withRedis("SessionBackendRedis, conformance", () => {
  const runPrefix = `effect-sessions-test:${randomBytes(8).toString("hex")}`
  afterAll(() =>
    run(
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        for (const key of yield* keysOf(`${runPrefix}:*`)) yield* redis.send("UNLINK", key)
      }),
      { url }
    )
  )

  for (const RESP of [2, 3] as const) {
    // The type of the client's options knows no other protocol than its default.
    const options = { ...recipe(url), RESP } as unknown as ReturnType<typeof recipe>
    layer(backendLayer(options, { prefix: runPrefix }), { excludeTestServices: true })(`RESP${RESP}`, (it) => {
      for (const { effect, name } of SessionBackendTest.cases) it.effect(name, () => effect)
    })
  }
})

// -----------------------------------------------------------------------------
// on servers of our own
// -----------------------------------------------------------------------------

withServer("SessionBackendRedis, on a server of its own", () => {
  const onServer =
    (
      body: (server: Server) => Effect.Effect<void, unknown, Services | Scope.Scope>,
      options?: SessionBackendRedis.SessionBackendRedisOptions,
      args?: ReadonlyArray<string>
    ) =>
    async () => {
      const server = await startServer(args)
      await run(body(server), recipe(server.url), { prefix, ...options })
      await server.dispose()
    }

  test(
    "[R84c] a read is one round trip, and so are update and touch; create and delete are two",
    onServer((server) =>
      Effect.gen(function* () {
        const backend = yield* SessionBackend
        const lines: Array<string> = []
        const monitor = createClient({ url: server.url })
        yield* Effect.promise(() => monitor.connect())
        yield* Effect.addFinalizer(() => Effect.sync(() => monitor.destroy()))
        const record = newRecord()
        const anonymous = newRecord({ principal: undefined })
        // Loads the scripts, each once in the life of a client.
        const warm = newRecord()
        yield* backend.create(warm)
        yield* backend.update(namespace, warm.id, 1, seen(now))
        yield* backend.touch(namespace, warm.id, seen(now))
        yield* backend.delete(namespace, warm.id)
        yield* Effect.promise(() => monitor.monitor((line) => lines.push(String(line))))

        const sent = <A>(operation: Effect.Effect<A, SessionBackendError>) =>
          Effect.gen(function* () {
            lines.length = 0
            yield* operation
            const redis = yield* Redis.Redis
            yield* redis.send("ECHO", "done")
            yield* until(
              Effect.sync(() => lines.some((line) => line.includes("done"))),
              "the monitor has seen it all"
            )
            // Commands that a script runs on the server are marked "lua".
            return lines.flatMap((line) => /\[\d+ [^\]l]*\] "(\w+)"/.exec(line)?.[1] ?? []).slice(0, -1)
          })

        assert.deepStrictEqual(yield* sent(backend.create(record)), ["EVALSHA", "EVALSHA"])
        assert.deepStrictEqual(yield* sent(backend.create(anonymous)), ["EVALSHA"])
        assert.deepStrictEqual(yield* sent(backend.create(record)), ["EVALSHA"])
        assert.deepStrictEqual(yield* sent(backend.read(namespace, record.id)), ["GET"])
        assert.deepStrictEqual(yield* sent(backend.read(namespace, warm.id)), ["GET"])
        assert.deepStrictEqual(yield* sent(backend.touch(namespace, record.id, seen(now + 1))), ["EVALSHA"])
        // It writes two times in their place, and not what may be 64 KiB beside them.
        const written = lines.flatMap((line) => / lua\] "(SET\w*|HSET|PEXPIRE)"/i.exec(line)?.[1]?.toUpperCase() ?? [])
        assert.deepStrictEqual(written, ["SETRANGE", "PEXPIRE"])
        assert.deepStrictEqual(yield* sent(backend.update(namespace, record.id, 1, seen(now))), ["EVALSHA"])
        assert.deepStrictEqual(yield* sent(backend.delete(namespace, record.id)), ["EVALSHA", "ZREM"])
        assert.deepStrictEqual(yield* sent(backend.delete(namespace, anonymous.id)), ["EVALSHA"])
      })
    )
  )

  test(
    "[R74] [R44] every key lives until its deadline and slack, and a touch extends that",
    onServer(() =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const backend = yield* SessionBackend
        const record = newRecord()
        yield* backend.create(record)
        yield* backend.create(newRecord({ principal: undefined }))
        const [index] = yield* keysOf(`${prefix}:p:*`)
        const [key] = yield* keysOf(`${prefix}:s:*:${record.id}`)
        const expectTtl = (key: string, millis: number) =>
          Effect.map(redis.send<number>("PTTL", key), (ttl) => assert.approximately(ttl, millis, 5000))
        yield* expectTtl(key!, 40 * minute)
        yield* expectTtl(index!, (12 * 60 + 10) * minute)

        yield* backend.touch(namespace, record.id, seen(now + 20 * minute))
        yield* expectTtl(key!, 40 * minute)
        yield* backend.touch(namespace, record.id, {
          lastSeenAt: now + 21 * minute,
          idleExpiresAt: now + 81 * minute
        })
        yield* expectTtl(key!, 70 * minute)
        // A shorter idle period leaves the deadline, and so the time-to-live, where it is.
        yield* backend.touch(namespace, record.id, { lastSeenAt: now + 22 * minute, idleExpiresAt: now + 23 * minute })
        yield* expectTtl(key!, 70 * minute)
        yield* backend.update(namespace, record.id, 1, {
          lastSeenAt: now + 23 * minute,
          idleExpiresAt: now + 143 * minute
        })
        yield* expectTtl(key!, 130 * minute)
        yield* backend.update(namespace, record.id, 2, seen(now + 24 * minute))
        yield* backend.update(namespace, record.id, 3, seen(now + 140 * minute))
        yield* expectTtl(key!, 130 * minute)
        // Never past the absolute deadline and slack, counted from the creation.
        const behind = newRecord({ principal: undefined, lastSeenAt: now - 60 * minute })
        yield* backend.create(behind)
        yield* backend.touch(namespace, behind.id, {
          lastSeenAt: now - 50 * minute,
          idleExpiresAt: now + 99 * 60 * minute
        })
        yield* expectTtl((yield* keysOf(`${prefix}:s:*:${behind.id}`))[0]!, (12 * 60 + 10) * minute)
        assert.strictEqual((yield* expectWholeAndMortal).length, 4)

        // A key that somebody has made immortal is mortal again with the next write.
        yield* redis.send("PERSIST", key!)
        yield* backend.touch(namespace, record.id, seen(now + 141 * minute))
        yield* redis.send("PERSIST", index!)
        yield* backend.create(newRecord())
        yield* expectWholeAndMortal
      })
    )
  )

  test(
    "[R74] an index keeps the longest of its sessions' lives, and drops the entries of those that have ended",
    onServer(
      () =>
        Effect.gen(function* () {
          const redis = yield* Redis.Redis
          const backend = yield* SessionBackend
          const short = (life: number) =>
            newRecord({ idleExpiresAt: now + life, absoluteExpiresAt: now + life, idleTimeout: life })
          const brief = [short(1), short(1), short(1)]
          for (const record of brief) yield* backend.create(record)
          const [index] = yield* keysOf(`${prefix}:p:*`)
          const lasting = newRecord()
          yield* backend.create(lasting)
          yield* backend.create(short(60_000))
          assert.isAbove(yield* redis.send<number>("PTTL", index!), 11 * 60 * minute)
          yield* until(
            Effect.map(backend.read(namespace, brief[2]!.id), Option.isNone),
            "Redis has let go of the brief sessions"
          )
          yield* Effect.promise(() => pause(5))
          yield* backend.create(newRecord())
          const left = yield* redis.send<ReadonlyArray<string>>("ZRANGE", index!, "0", "-1")
          assert.strictEqual(left.length, 3)
          assert.isFalse(left.some((entry) => brief.some(({ id }) => entry.endsWith(id))))
        }),
      { ttlSlack: "50 millis" }
    )
  )

  test(
    "[R74] an entry that arrives after its end leaves no key behind",
    onServer(() =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        yield* redis.eval(Scripts.addEntry)(`${prefix}:p:x`, String(now - 1000).padStart(16, "0"), "id")
        assert.deepStrictEqual(yield* keysOf("*"), [])
      })
    )
  )

  test(
    "[R49] walks and revocations go through however many sessions a principal has",
    onServer(() =>
      Effect.gen(function* () {
        const backend = yield* SessionBackend
        const records = Array.from({ length: 250 }, () => newRecord())
        yield* Effect.forEach(records, backend.create, { concurrency: 50 })
        const { records: listed } = yield* backend.listByPrincipal(namespace, "alice", { limit: 1000 })
        assert.sameMembers(
          listed.map(({ id }) => id),
          records.map(({ id }) => id)
        )
        assert.strictEqual(yield* backend.deleteByPrincipal(namespace, "alice", { except: records[7]!.id }), 249)
        assert.lengthOf(yield* keysOf("*"), 2)
        assert.isTrue(Option.isSome(yield* backend.read(namespace, records[7]!.id)))
      })
    )
  )

  test(
    "an index entry without a record is dropped by a listing and by a revocation, one under way is not",
    onServer(() =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const backend = yield* SessionBackend
        // An index is in the order in which its sessions end; of those that end in one millisecond, by their random ids.
        const records = [1, 2, 3].map((hours) => newRecord({ absoluteExpiresAt: now + hours * 60 * minute }))
        for (const record of records) yield* backend.create(record)
        const [index] = yield* keysOf(`${prefix}:p:*`)
        const entries = redis.send<number>("ZCARD", index!)
        yield* redis.send("DEL", ...(yield* keysOf(`${prefix}:s:*:${records[0]!.id}`)))
        const page = yield* backend.listByPrincipal(namespace, "alice", { limit: 2 })
        assert.sameMembers(
          page.records.map(({ id }) => id),
          records.slice(1).map(({ id }) => id)
        )
        assert.strictEqual(yield* entries, 2)
        yield* redis.send("DEL", ...(yield* keysOf(`${prefix}:s:*:${records[1]!.id}`)))
        assert.strictEqual(yield* backend.deleteByPrincipal(namespace, "alice"), 1)
        assert.strictEqual(yield* entries, 0)
      })
    )
  )

  test(
    "[R67] keys hold nothing of a hostile id, namespace or principal",
    onServer(() =>
      Effect.gen(function* () {
        const backend = yield* SessionBackend
        const hostile = [
          "../../x",
          "a\u0000b",
          "{tag}",
          "*",
          "?[x]",
          `'"`,
          "\r\nFLUSHALL\r\n",
          "a:b:c",
          " ",
          "😀",
          "x".repeat(256)
        ]
        for (const odd of hostile) {
          // No principal has a NUL.
          const record = newRecord({ id: odd, namespace: odd, principal: odd.replace("\0", "") })
          assert.strictEqual(yield* backend.create(record), "created")
          assert.deepStrictEqual(yield* backend.read(odd, odd), Option.some(record))
          assert.strictEqual((yield* backend.update(odd, odd, 1, seen(now)))._tag, "updated")
          assert.lengthOf((yield* backend.listByPrincipal(odd, record.principal!, { limit: 10 })).records, 1)
        }
        const keys = yield* keysOf("*")
        assert.lengthOf(keys, 2 * hostile.length)
        for (const key of keys) assert.match(key, /^t:s:[\w-]+:~[\w-]+$|^t:p:[\w-]+:[\w-]+$/)
        for (const odd of hostile) {
          assert.strictEqual(yield* backend.deleteByPrincipal(odd, odd.replace("\0", "")), 1)
        }
        assert.deepStrictEqual(yield* keysOf("*"), [])
      })
    )
  )

  // ---------------------------------------------------------------------------
  // faults between two commands
  // ---------------------------------------------------------------------------

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
    "[R74] whichever command is lost, records stay whole, keys mortal, and no session escapes revocation",
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

            yield* expectWholeAndMortal
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

  // ---------------------------------------------------------------------------
  // what Redis refuses
  // ---------------------------------------------------------------------------

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

  test(
    "the documented rights are enough, and none can be spared",
    onServer((server) =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const source = readFileSync(new URL("../src/SessionBackendRedis.ts", import.meta.url), "utf8")
        const rights = source
          .replace(/\n \* +/g, " ")
          .match(/`(~<prefix>:\* [^`]+)`/)![1]!
          .replace("<prefix>", prefix)
          .split(" ")
        // What node-redis asks for when it connects.
        const handshake = ["+hello", "+client", "+ping"]
        const attempt = (rights: ReadonlyArray<string>) =>
          Effect.gen(function* () {
            yield* redis.send("SCRIPT", "FLUSH")
            yield* redis.send("ACL", "SETUSER", "app", "reset", "on", ">pw", ...handshake, ...rights)
            const work = Effect.gen(function* () {
              const backend = yield* SessionBackend
              const record = newRecord({ principal: "bob" })
              const entry = newRecord({ principal: "bob" })
              yield* backend.create(record)
              yield* backend.create(entry)
              yield* backend.read(namespace, record.id)
              // So many that some go together.
              yield* Effect.forEach(Array.from({ length: 50 }), () => backend.read(namespace, record.id), {
                concurrency: "unbounded"
              })
              yield* backend.update(namespace, record.id, 1, {
                lastSeenAt: now,
                idleExpiresAt: now + 60 * minute
              })
              yield* backend.touch(namespace, record.id, seen(now + 31 * minute))
              yield* backend.delete(namespace, entry.id)
              yield* backend.listByPrincipal(namespace, "bob", { limit: 10 })
              yield* backend.deleteByPrincipal(namespace, "bob")
            })
            const exit = yield* Effect.exit(
              Effect.promise(() => run(work, { ...recipe(server.url), username: "app", password: "pw" }, { prefix }))
            )
            const leftEntries = (yield* keysOf(`${prefix}:p:*`)).length
            yield* redis.send("FLUSHALL")
            return Exit.isSuccess(exit) && leftEntries === 0
          })
        assert.isTrue(yield* attempt(rights))
        for (const right of rights) {
          assert.isFalse(yield* attempt(rights.filter((other) => other !== right)), `${right} is not needed`)
        }
      })
    )
  )

  test(
    "[R87c] warns of the eviction policy that the server has",
    onServer((server) =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        yield* redis.send("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
        const logged: Array<string> = []
        const logger = Logger.layer([Logger.make(({ message }) => void logged.push(String(message)))])
        yield* Effect.asVoid(SessionBackend).pipe(
          Effect.provide(SessionBackendRedis.layer.pipe(Layer.provide(NodeRedis.layer(recipe(server.url))))),
          Effect.provide(logger)
        )
        assert.lengthOf(logged, 1)
        assert.include(logged[0], "volatile-lru")
      })
    )
  )

  test("what node-redis did not send is known not to be applied", async () => {
    const server = await startServer()
    const runtime = ManagedRuntime.make(
      Layer.merge(backendLayer({ ...recipe(server.url), commandsQueueMaxLength: 10 }, { prefix }), silent)
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

  // ---------------------------------------------------------------------------
  // outages, with the client settings of the module's example
  // ---------------------------------------------------------------------------

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
    ["the example's settings", recipe, false]
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
        const theirs = Context.get(yield* Layer.build(backendLayer(recipe(server.url), { prefix })), SessionBackend)
        for (let round = 0; round < 10; round++) {
          const principal = `p${round}`
          const [ended, kept] = [newRecord({ principal }), newRecord({ principal })]
          yield* mine.create(ended)
          yield* mine.create(kept)
          const late = newRecord({ principal })

          server.freeze()
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
          server.thaw()
          const [deleted, updated] = yield* Fiber.join(logout)

          assert.isTrue(deleted)
          assert.isTrue(Option.isNone(yield* mine.read(namespace, ended.id)), "brought back by a late write")
          // Exactly one of two updates from one version was applied, and the other knows it.
          const record = Option.getOrThrow(yield* mine.read(namespace, kept.id))
          assert.strictEqual(record.version, 2)
          assert.strictEqual(record.data === `"late"`, updated._tag === "stale")
          if (updated._tag === "stale") landed++
          // A late create is a session whose token nobody got; Redis collects it.
          if (Option.isSome(yield* mine.read(namespace, late.id))) landed++
          yield* expectWholeAndMortal
        }
      }),
      recipe(server.url),
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
      recipe(server.url),
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
      const { reconnectStrategy } = recipe(server.url).socket!
      await run(
        Effect.gen(function* () {
          const backend = yield* SessionBackend
          const { client } = yield* NodeRedis.NodeRedis
          yield* backend.read(namespace, "x")
          server.freeze()
          const outcome = yield* Effect.flip(backend.read(namespace, "x"))
          assert.strictEqual(outcome.outcome, "unknown")
          assert.isFalse(client.isReady)
          server.thaw()
          if (strategy === "the client's own") assert.isFalse(client.isOpen)
          else {
            yield* until(Effect.map(Effect.exit(backend.read(namespace, "x")), Exit.isSuccess), "service has resumed")
          }
        }),
        {
          ...recipe(server.url),
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
      recipe(server.url),
      { prefix }
    )
    await pause(200)
    await server.start()
    assert.isTrue(Option.isNone(await reading))
    await server.dispose()
  })

  test("[R79] [R81] killed and back: failures are immediate and known, an acknowledged revocation holds, service resumes", async () => {
    const server = await startServer(["--appendonly", "yes", "--appendfsync", "always"])
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
        assert.strictEqual(yield* backend.deleteByPrincipal(namespace, "p0"), 10)
        yield* expectWholeAndMortal
      }),
      recipe(server.url),
      { prefix }
    )
    await server.dispose()
  })
})
