/** The `Redis` services over Sentinel and over ioredis: what they do, and what they do when Redis is away. */
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Option } from "effect"
import { Redis } from "effect/persistence"
import { Cluster } from "ioredis"
import { inspect } from "node:util"
import * as IoRedis from "../src/IoRedis.ts"
import * as NodeRedisCluster from "../src/NodeRedisCluster.ts"
import * as NodeRedisSentinel from "../src/NodeRedisSentinel.ts"
import { capturing } from "./support/logs.ts"
import { freePort, hasRedisServer, needing, OwnRedis } from "./support/processes.ts"
import { silent, until } from "./support/redis.ts"
import { serviceTests } from "./support/redisServiceTests.ts"
import { OwnSentinel } from "./support/redisSentinel.ts"

const withRedis = needing(hasRedisServer(), "there is no redis-server on the PATH to start")

withRedis("NodeRedisSentinel", { timeout: 60_000 }, () => {
  let sentinel: OwnSentinel
  beforeAll(async () => {
    sentinel = await OwnSentinel.start()
  }, 60_000)
  afterAll(() => sentinel?.dispose())

  const services = {
    "over node-redis": Layer.suspend(() =>
      NodeRedisSentinel.layer({ name: sentinel.name, sentinelRootNodes: sentinel.rootNodes })
    ),
    "over ioredis": Layer.suspend(() => IoRedis.layer({ name: sentinel.name, sentinels: sentinel.rootNodes }))
  }
  for (const [name, service] of Object.entries(services)) {
    serviceTests(name, service)

    it(`[R70] ${name}: a command that has lost its connection is answered, not sent again`, async () => {
      const master = await sentinel.master()
      const sent = async () => /id=(\d+)[^\n]*cmd=blpop/.exec(await master.command("CLIENT", "LIST"))?.[1]
      await Effect.runPromise(
        Effect.gen(function* () {
          const redis = yield* Redis.Redis
          const blocked = yield* Effect.forkChild(Effect.flip(redis.send("BLPOP", "queue", "0")))
          yield* until(
            Effect.map(Effect.promise(sent), (id) => id !== undefined),
            "it is sent"
          )
          yield* Effect.promise(async () => master.command("CLIENT", "KILL", "ID", (await sent())!))
          assert.isTrue(Option.isSome(yield* Effect.timeoutOption(Fiber.join(blocked), "5 seconds")))
          yield* until(
            Effect.match(redis.send("PING"), { onFailure: () => false, onSuccess: () => true }),
            "the client has connected again"
          )
          assert.isUndefined(yield* Effect.promise(sent))
        }).pipe(Effect.provide(service.pipe(Layer.provide(silent))))
      )
    })
  }
})

withRedis("IoRedis", { timeout: 60_000 }, () => {
  let redis: OwnRedis
  beforeAll(async () => {
    redis = await OwnRedis.start({ isDurable: false })
  }, 60_000)
  afterAll(() => redis?.dispose())

  serviceTests(
    "layer",
    Layer.suspend(() => IoRedis.layer({ host: "127.0.0.1", port: redis.port }))
  )
  serviceTests(
    "layer, RESP2",
    Layer.suspend(() => IoRedis.layer({ host: "127.0.0.1", port: redis.port, protocol: 2 }))
  )
})

withRedis("a Redis service", { timeout: 60_000 }, () => {
  const host = "127.0.0.1"
  /** Each driver, told of an address with a password in it, and to wait for a Redis as long. */
  const drivers = (port: number, startupTimeout?: "20 seconds") => ({
    IoRedis: IoRedis.layer({ host, port, password: "tr0ub4dor", startupTimeout }),
    NodeRedisCluster: NodeRedisCluster.layer({
      rootNodes: [{ url: `redis://${host}:${port}` }],
      defaults: { password: "tr0ub4dor" },
      startupTimeout
    }),
    NodeRedisSentinel: NodeRedisSentinel.layer({
      name: "sessions",
      sentinelRootNodes: [{ host, port }],
      sentinelClientOptions: { password: "tr0ub4dor" },
      startupTimeout
    })
  })

  for (const name of ["IoRedis", "NodeRedisCluster", "NodeRedisSentinel"] as const) {
    it(`${name} fails with a RedisError where there is none, and logs why, without the password`, async () => {
      const lines: Array<string> = []
      const layer = drivers(await freePort())[name].pipe(Layer.provide(capturing(lines)))
      const error = await Effect.runPromise(Effect.flip(Effect.scoped(Layer.build(layer))))
      assert.strictEqual(error._tag, "RedisError")
      const log = lines.join("\n")
      assert.match(log, new RegExp(`${name}: ECONNREFUSED`))
      assert.notInclude(log, "tr0ub4dor")
      assert.notInclude(log, host)
    })
  }

  it("keeps the password and the arguments of commands out of the errors of ioredis", async () => {
    const redis = await OwnRedis.start({ isDurable: false })
    const errorOf = <A>(
      layer: Layer.Layer<Redis.Redis, Redis.RedisError>,
      use: Effect.Effect<A, Redis.RedisError, Redis.Redis>
    ) =>
      Effect.runPromise(Effect.flip(use.pipe(Effect.provide(layer), Effect.provide(silent)))).then((error) =>
        inspect(error, { depth: 9 })
      )
    const options = { host, port: redis.port, password: "tr0ub4dor" }
    const refused = await errorOf(
      IoRedis.layer(options),
      Effect.flatMap(Redis.Redis, (redis) => redis.send("GET", "tr0ub4dor", "one too many"))
    )
    assert.include(refused, "ERR wrong number of arguments")
    assert.notInclude(refused, "tr0ub4dor")
    const cluster = new Cluster([options], { lazyConnect: true, enableOfflineQueue: false, redisOptions: options })
    const apart = await errorOf(
      IoRedis.layerFromClient(cluster),
      Effect.flatMap(Redis.Redis, (redis) => redis.send("PING"))
    )
    assert.include(apart, "Failed to refresh slots cache")
    assert.notInclude(apart, "tr0ub4dor")
    cluster.disconnect()
    await Effect.runPromise(
      Effect.flatMap(Redis.Redis, (redis) => redis.send("CONFIG", "SET", "requirepass", "another")).pipe(
        Effect.provide(IoRedis.layer({ host, port: redis.port })),
        Effect.provide(silent)
      )
    )
    for (const protocol of [2, 3] as const) {
      const error = await errorOf(IoRedis.layer({ ...options, protocol }), Effect.void)
      assert.include(error, "WRONGPASS")
      assert.notInclude(error, "tr0ub4dor")
    }
    await redis.dispose()
  })

  it("waits for a Redis that is not there yet, if it is told to", async () => {
    const redis = await OwnRedis.start({ isDurable: false })
    await redis.kill()
    const layer = IoRedis.layer({ host, port: redis.port, startupTimeout: "30 seconds" }).pipe(Layer.provide(silent))
    const pong = Effect.runPromise(
      Effect.flatMap(Redis.Redis, (redis) => redis.send("PING")).pipe(Effect.provide(layer))
    )
    await redis.start()
    assert.strictEqual(await pong, "PONG")
    await redis.dispose()
  })

  it("IoRedis fails at once while Redis is away, sends nothing later, and is there again with Redis", async () => {
    const server = await OwnRedis.start({ isDurable: false })
    const layer = IoRedis.layer({ host, port: server.port }).pipe(Layer.provide(silent))
    await Effect.runPromise(
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        // It is answered by the loss of its connection, not sent again.
        const blocked = yield* Effect.forkChild(Effect.flip(redis.send("BLPOP", "queue", "0")))
        yield* Effect.sleep("100 millis")
        yield* Effect.promise(() => server.kill())
        const error = yield* Effect.flip(redis.send("SET", "later", "1"))
        assert.include(String(error.cause), "The client is offline")
        yield* Effect.promise(() => server.start())
        yield* until(
          Effect.match(redis.send("PING"), { onFailure: () => false, onSuccess: () => true }),
          "the client has connected again"
        )
        assert.isTrue(Option.isSome(yield* Effect.timeoutOption(Fiber.join(blocked), "5 seconds")))
        assert.strictEqual(yield* redis.send("EXISTS", "later"), 0)
        assert.notInclude(yield* redis.send<string>("CLIENT", "LIST"), "cmd=blpop")
      }).pipe(Effect.provide(layer))
    )
    await server.dispose()
  })

  it("IoRedis gives up a connection to a server that has become a replica", async () => {
    const server = await OwnRedis.start({ isDurable: false })
    const layer = IoRedis.layer({ host, port: server.port }).pipe(Layer.provide(silent))
    await Effect.runPromise(
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const id = redis.send<number>("CLIENT", "ID")
        const before = yield* id
        yield* Effect.promise(() => server.command("REPLICAOF 127.0.0.1 1"))
        assert.match(String((yield* Effect.flip(redis.send("SET", "a", "1"))).cause), /READONLY/)
        yield* until(
          Effect.match(id, { onFailure: () => false, onSuccess: (now) => now !== before }),
          "it has another connection"
        )
      }).pipe(Effect.provide(layer))
    )
    await server.dispose()
  })

  it("IoRedis opens another connection after a QUIT, by which a backend leaves a replica", async () => {
    const server = await OwnRedis.start({ isDurable: false })
    const layer = IoRedis.layer({ host, port: server.port }).pipe(Layer.provide(silent))
    await Effect.runPromise(
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const id = redis.send<number>("CLIENT", "ID")
        const before = yield* id
        assert.strictEqual(yield* redis.send("QUIT"), "OK")
        yield* until(
          Effect.match(id, { onFailure: () => false, onSuccess: (now) => now !== before }),
          "it has another connection"
        )
      }).pipe(Effect.provide(layer))
    )
    await server.dispose()
  })
})
