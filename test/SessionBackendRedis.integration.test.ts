/** The Redis backend on a real Redis: the conformance suite, and what it stores. */
import { NodeRedis } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect, Exit, Layer, Logger, Option } from "effect"
import { Redis } from "effect/persistence"
import { randomBytes } from "node:crypto"
import { createClient } from "redis"
import { afterAll, test } from "vitest"
import * as RedisKeys from "../src/internal/backend/redisKeys.ts"
import * as Scripts from "../src/internal/backend/redisScripts.ts"
import { SessionBackend, type SessionBackendError } from "../src/SessionBackend.ts"
import * as SessionBackendRedis from "../src/SessionBackendRedis.ts"
import * as SessionBackendTest from "../src/testing/SessionBackendTest.ts"
import { listens, needing, redisUrl } from "./support/processes.ts"
import {
  backendLayer,
  documentedRights,
  exampleSettings,
  expectCompleteAndMortal,
  keysOf,
  listAll,
  minute,
  namespace,
  newRecord,
  now,
  onServer,
  prefix,
  revokeAll,
  run,
  seen,
  until,
  withServer
} from "./support/redis.ts"

const withRedis = needing(await listens(redisUrl, 6379), "no Redis at REDIS_URL, nor at 127.0.0.1:6379")

withRedis("SessionBackendRedis, conformance", () => {
  const runPrefix = `effect-sessions-test:${randomBytes(8).toString("hex")}`
  afterAll(() =>
    run(
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        for (const key of yield* keysOf(`${runPrefix}:*`)) yield* redis.send("UNLINK", key)
      }),
      { url: redisUrl }
    )
  )

  for (const RESP of [2, 3] as const) {
    // The type of the client's options knows no other protocol than its default.
    const options = { ...exampleSettings(redisUrl), RESP } as unknown as ReturnType<typeof exampleSettings>
    layer(backendLayer(options, { prefix: runPrefix }), { excludeTestServices: true })(`RESP${RESP}`, (it) => {
      for (const { effect, name } of [...SessionBackendTest.cases, ...SessionBackendTest.pushingCases]) {
        it.effect(name, () => effect)
      }
    })
  }
})

withServer("SessionBackendRedis, on a server of its own", () => {
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
        // The server learns the scripts.
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
        assert.deepStrictEqual(yield* sent(backend.read(namespace, record.id)), ["GETEX"])
        assert.deepStrictEqual(yield* sent(backend.read(namespace, warm.id)), ["GETEX"])
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
        assert.strictEqual((yield* expectCompleteAndMortal).length, 4)

        // A key whose time-to-live an administrator has removed gets one with the next write.
        yield* redis.send("PERSIST", key!)
        yield* backend.touch(namespace, record.id, seen(now + 141 * minute))
        yield* redis.send("PERSIST", index!)
        yield* backend.create(newRecord())
        yield* expectCompleteAndMortal
      })
    )
  )

  test(
    "[R74] an index lives as long as the last of its sessions, and stays about as long as they are",
    onServer(
      () =>
        Effect.gen(function* () {
          const redis = yield* Redis.Redis
          const backend = yield* SessionBackend
          const short = (millis: number) =>
            newRecord({ idleExpiresAt: now + millis, absoluteExpiresAt: now + 60 * minute, idleTimeout: millis })
          const lasting = newRecord()
          yield* backend.create(lasting)
          const [index] = yield* keysOf(`${prefix}:p:*`)
          const entries = redis.send<number>("ZCARD", index!)
          // As log-ins over weeks: each has expired before a few more.
          for (let i = 0; i < 400; i++) {
            yield* Effect.all(
              Array.from({ length: 5 }, () => backend.create(short(1))),
              { concurrency: "unbounded" }
            )
          }
          assert.isAbove(yield* redis.send<number>("PTTL", index!), 11 * 60 * minute)
          assert.isBelow(yield* entries, 400, "of 2001 that there have been")
          // The one that lives is found at once, and what a walk meets is dropped.
          yield* until(
            Effect.map(keysOf(`${prefix}:s:*`), (keys) => keys.length === 1),
            "Redis has removed the short sessions"
          )
          assert.deepStrictEqual(
            (yield* listAll(backend, "alice")).map(({ id }) => id),
            [lasting.id]
          )
          assert.strictEqual(yield* entries, 1)
        }),
      { ttlSlack: 0 }
    )
  )

  test(
    "[R74] an entry that arrives after its end leaves no key behind",
    onServer(() =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const end = String(now - 1000).padStart(16, "0")
        yield* redis.send("EVAL", Scripts.addEntry.lua, "1", `${prefix}:p:x`, end, RedisKeys.entry(newRecord()))
        assert.deepStrictEqual(yield* keysOf("*"), [])
      })
    )
  )

  test(
    "[R49] walks and revocations go through however many sessions a principal has, the newest first",
    onServer(() =>
      Effect.gen(function* () {
        const backend = yield* SessionBackend
        const records = Array.from({ length: 12_000 }, (_, i) => newRecord({ createdAt: now - i, lastSeenAt: now - i }))
        yield* Effect.forEach(records, backend.create, { concurrency: 500 })
        const ids = (some: ReadonlyArray<{ readonly id: string }>) => some.map(({ id }) => id)
        assert.deepStrictEqual(ids(yield* listAll(backend, "alice")), ids(records))
        const first = yield* backend.deleteByPrincipal(namespace, "alice", { limit: 10 })
        assert.deepStrictEqual(ids(first.deleted), ids(records.slice(0, 10)))
        assert.isTrue(first.more)
        assert.strictEqual(yield* revokeAll(backend, "alice", { except: records[77]!.id }), 11_989)
        assert.lengthOf(yield* keysOf("*"), 2)
        assert.isTrue(Option.isSome(yield* backend.read(namespace, records[77]!.id)))
      })
    )
  )

  test(
    "[R49] an index of the former version is walked, revoked and dropped; that version finds the entries of this one",
    onServer(() =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const backend = yield* SessionBackend
        const records = [newRecord(), newRecord({ createdAt: now - 1 }), newRecord({ createdAt: now - 2 })]
        for (const record of records) yield* backend.create(record)
        const [index] = yield* keysOf(`${prefix}:p:*`)
        // As that version has written the latter two, and 20,000 that are gone.
        const ends = (id: string) => String(now + 12 * 60 * minute).padStart(16, "0") + id
        for (const record of records.slice(1)) {
          yield* redis.send("ZREM", index!, RedisKeys.entry(record))
          yield* redis.send("ZADD", index!, "0", ends(record.id))
        }
        for (let i = 0; i < 20; i++) {
          const gone = Array.from({ length: 1000 }, () => ["0", ends(newRecord().id)])
          yield* redis.send("ZADD", index!, ...gone.flat())
        }
        // What it does with each new log-in, and what a walk of it then finds.
        yield* redis.send("ZREMRANGEBYLEX", index!, "-", `(${String(Date.now()).padStart(16, "0")}`)
        const all = yield* redis.send<ReadonlyArray<string>>("ZRANGEBYLEX", index!, "-", "+")
        assert.lengthOf(all, 20_003)
        for (const { id } of records) assert.isTrue(all.some((entry) => entry.slice(16) === id))

        const newest = yield* backend.listByPrincipal(namespace, "alice", { limit: 1 })
        assert.strictEqual(newest.records[0]?.id, records[0]!.id)
        const found = yield* listAll(backend, "alice")
        assert.sameMembers(
          found.map(({ id }) => id),
          records.map(({ id }) => id)
        )
        assert.strictEqual(yield* redis.send<number>("ZCARD", index!), 3)
        assert.strictEqual(yield* revokeAll(backend, "alice"), 3)
        assert.deepStrictEqual(yield* keysOf("*"), [])
      })
    )
  )

  test(
    "a session whose clock ran ahead is set back, and its key lives until its new deadline and slack",
    onServer(() =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const backend = yield* SessionBackend
        const year = 365 * 24 * 60 * minute
        for (const write of ["touch", "update"] as const) {
          // As a process stored it whose clock is a year ahead.
          const record = newRecord({
            principal: undefined,
            createdAt: now + year,
            lastSeenAt: now + year,
            idleExpiresAt: now + year + 30 * minute,
            absoluteExpiresAt: now + year + 12 * 60 * minute
          })
          yield* backend.create(record)
          const times = { lastSeenAt: now, idleExpiresAt: now + 60 * minute }
          if (write === "touch") assert.strictEqual(yield* backend.touch(namespace, record.id, times), "touched")
          else assert.strictEqual((yield* backend.update(namespace, record.id, 1, times))._tag, "updated")
          const found = Option.getOrThrow(yield* backend.read(namespace, record.id))
          assert.deepStrictEqual(found, { ...record, ...times, version: write === "touch" ? 1 : 2 })
          const [key] = yield* keysOf(`${prefix}:s:*:${record.id}`)
          assert.approximately(yield* redis.send<number>("PTTL", key!), 70 * minute, 30_000)
        }
        yield* expectCompleteAndMortal
      })
    )
  )

  test(
    "an index entry without a record is dropped by a listing and by a revocation",
    onServer(() =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const backend = yield* SessionBackend
        const records = [0, 1, 2].map((age) => newRecord({ createdAt: now - age }))
        for (const record of records) yield* backend.create(record)
        const [index] = yield* keysOf(`${prefix}:p:*`)
        const entries = redis.send<number>("ZCARD", index!)
        yield* redis.send("DEL", ...(yield* keysOf(`${prefix}:s:*:${records[0]!.id}`)))
        assert.deepStrictEqual(
          (yield* listAll(backend, "alice")).map(({ id }) => id),
          records.slice(1).map(({ id }) => id)
        )
        assert.strictEqual(yield* entries, 2)
        yield* redis.send("DEL", ...(yield* keysOf(`${prefix}:s:*:${records[1]!.id}`)))
        assert.strictEqual(yield* revokeAll(backend, "alice"), 1)
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
        for (const key of keys) assert.match(key, /^t:s:[\w-]+:~?[\w-]+$|^t:p:[\w-]+:[\w-]+$/)
        for (const odd of hostile) {
          assert.strictEqual(yield* revokeAll(backend, odd.replace("\0", ""), { in: odd }), 1)
        }
        assert.deepStrictEqual(yield* keysOf("*"), [])
      })
    )
  )

  test(
    "the documented rights are enough, and none can be spared",
    onServer((server) =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const rights = documentedRights.map((right) => right.replace("<prefix>", prefix))
        // What node-redis asks for when it connects.
        const handshake = ["+hello", "+client", "+ping"]
        const attempt = (rights: ReadonlyArray<string>, isAdmin = false) =>
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
              yield* backend.update(namespace, record.id, 1, {
                lastSeenAt: now,
                idleExpiresAt: now + 60 * minute
              })
              yield* backend.touch(namespace, record.id, seen(now + 31 * minute))
              yield* backend.delete(namespace, entry.id)
              yield* backend.listByPrincipal(namespace, "bob", { limit: 10 })
              if (isAdmin) assert.lengthOf((yield* backend.scan(namespace, { limit: 10 })).records, 1)
              // A long index is looked after, once the create has answered.
              for (let i = 0; i < 40; i++) yield* backend.create(newRecord({ principal: "bob" }))
              yield* revokeAll(backend, "bob")
            })
            const exit = yield* Effect.exit(
              Effect.promise(() =>
                run(work, { ...exampleSettings(server.url), username: "app", password: "pw" }, { prefix })
              )
            )
            const leftEntries = (yield* keysOf(`${prefix}:p:*`)).length
            yield* redis.send("FLUSHALL")
            return Exit.isSuccess(exit) && leftEntries === 0
          })
        assert.isTrue(yield* attempt(rights))
        assert.isFalse(yield* attempt(rights, true))
        assert.isTrue(yield* attempt([...rights, "+scan"], true))
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
          Effect.provide(SessionBackendRedis.layer.pipe(Layer.provide(NodeRedis.layer(exampleSettings(server.url))))),
          Effect.provide(logger)
        )
        assert.lengthOf(logged, 1)
        assert.include(logged[0], "volatile-lru")
      })
    )
  )
})
