/** The Redis backend on a Redis Cluster of its own, over node-redis and ioredis. */
import { afterAll, assert, beforeAll, layer } from "@effect/vitest"
import { Effect, Fiber, Layer, Queue } from "effect"
import { Redis } from "effect/persistence"
import { Cluster } from "ioredis"
import * as IoRedis from "../src/IoRedis.ts"
import * as NodeRedisCluster from "../src/NodeRedisCluster.ts"
import * as SessionBackendRedis from "../src/SessionBackendRedis.ts"
import * as SessionBackendTest from "../src/testing/SessionBackendTest.ts"
import { hasRedisServer, needing } from "./support/processes.ts"
import { silent } from "./support/redis.ts"
import { OwnCluster } from "./support/redisCluster.ts"

const withRedis = needing(hasRedisServer(), "there is no redis-server on the PATH to start")

withRedis("a Redis Cluster", { timeout: 60_000 }, () => {
  let cluster: OwnCluster
  beforeAll(async () => {
    cluster = await OwnCluster.start()
  }, 60_000)
  afterAll(() => cluster?.dispose())

  const nodeRedis = Layer.suspend(() => NodeRedisCluster.layer({ rootNodes: [...cluster.rootNodes] }))
  const ioRedis = Layer.unwrap(
    Effect.map(
      Effect.acquireRelease(
        Effect.sync(
          () =>
            new Cluster(
              cluster.nodes.map(({ port }) => ({ host: "127.0.0.1", port })),
              {
                lazyConnect: true,
                enableOfflineQueue: false,
                redisOptions: { autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0, socketTimeout: 5000 }
              }
            )
        ),
        (cluster) => Effect.sync(() => cluster.disconnect())
      ),
      (cluster) => IoRedis.layerClient(cluster)
    )
  )

  const drivers = { NodeRedisCluster: nodeRedis, "a Cluster of ioredis": ioRedis }
  for (const [name, driver] of Object.entries(drivers)) {
    const backend = SessionBackendRedis.layerWith({ prefix: name.replaceAll(" ", "-") })
    layer(backend.pipe(Layer.provideMerge(driver), Layer.provide(silent), Layer.orDie), { excludeTestServices: true })(
      name,
      (it) => {
        for (const { effect, name } of SessionBackendTest.cases) it.effect(name, () => effect)

        it.effect("messages of a channel reach those who subscribed, until their scope is closed", () =>
          Effect.gen(function* () {
            const redis = yield* Redis.Redis
            const messages = yield* redis.subscribe("news")
            yield* redis.send("PUBLISH", "news", "hello")
            assert.deepStrictEqual(yield* Queue.take(messages), { channel: "news", message: "hello" })
          }).pipe(Effect.scoped)
        )

        it.effect("a reserved connection is nobody else's, and blocks nobody", () =>
          Effect.gen(function* () {
            const redis = yield* Redis.Redis
            const own = yield* redis.reserve
            const waiting = yield* Effect.forkChild(own.send("BLPOP", "queue", "5"))
            yield* Effect.sleep("100 millis")
            assert.strictEqual(yield* redis.send("SET", "queue-other", "1"), "OK")
            yield* redis.send("RPUSH", "queue", "a")
            assert.deepStrictEqual(yield* Fiber.join(waiting), ["queue", "a"])
          }).pipe(Effect.scoped)
        )
      }
    )
  }
})
