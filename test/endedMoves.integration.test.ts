/** `ended` over a Redis that moves: whichever server the subscription is on, hints come again once it is gone. */
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { Context, Effect, Layer, Queue, Schedule } from "effect"
import type { Redis } from "effect/persistence"
import { Cluster } from "ioredis"
import { randomUUID } from "node:crypto"
import * as IoRedis from "../src/IoRedis.ts"
import * as NodeRedisCluster from "../src/NodeRedisCluster.ts"
import * as NodeRedisSentinel from "../src/NodeRedisSentinel.ts"
import { SessionBackend } from "../src/SessionBackend.ts"
import * as SessionBackendRedis from "../src/SessionBackendRedis.ts"
import { hasRedisServer, needing } from "./support/processes.ts"
import { newRecord, silent } from "./support/redis.ts"
import { OwnCluster } from "./support/redisCluster.ts"
import type { Node } from "./support/redisNodes.ts"
import { OwnSentinel } from "./support/redisSentinel.ts"

type Service = Layer.Layer<Redis.Redis, Redis.RedisError>

const backendOver = (service: Service) =>
  Effect.map(
    Layer.build(Layer.fresh(SessionBackendRedis.layerWith({ prefix: "t" }).pipe(Layer.provide(service)))),
    (context) => Context.get(context, SessionBackend)
  )

/** What a manager does: it subscribes, and again when the subscription is lost. */
const listening = Effect.fnUntraced(function* (backend: SessionBackend["Service"], heard: Set<string>) {
  const once = Effect.scoped(
    Effect.flatMap(backend.ended!, (hints) => Effect.forever(Effect.map(Queue.take(hints), ({ id }) => heard.add(id))))
  )
  yield* Effect.forkScoped(Effect.retry(once, Schedule.spaced("500 millis")))
})

/** How long it takes until log-outs in one process are heard in the other, in milliseconds. */
const untilHeard = Effect.fnUntraced(function* (from: SessionBackend["Service"], heard: Set<string>) {
  const since = performance.now()
  const some = Effect.gen(function* () {
    const record = newRecord({ namespace: randomUUID() })
    yield* Effect.timeout(from.create(record), "1 second")
    yield* Effect.timeout(from.delete(record.namespace, record.id), "1 second")
    yield* Effect.sleep("200 millis")
    assert.isTrue(heard.has(record.id))
  })
  yield* Effect.catchCause(some, () => Effect.fail("not yet")).pipe(
    Effect.retry(Schedule.spaced("100 millis")),
    Effect.timeout("60 seconds")
  )
  return performance.now() - since
})

/** The server on which the other process's subscription is. */
const subscribedAt = async (nodes: ReadonlyArray<Node>): Promise<Node> => {
  for (const node of nodes) {
    if (node.isRunning && (await node.answers(/^t:ended\n[1-9]/, "PUBSUB", "NUMSUB", "t:ended"))) return node
  }
  throw new Error("nobody subscribes")
}

const move = (service: Service, nodes: () => ReadonlyArray<Node>, event: (node: Node) => Promise<unknown>) =>
  Effect.gen(function* () {
    const [one, other] = [yield* backendOver(service), yield* backendOver(service)]
    const heard = new Set<string>()
    yield* listening(other, heard)
    const before = yield* untilHeard(one, heard)
    yield* Effect.promise(async () => event(await subscribedAt(nodes())))
    const after = yield* untilHeard(one, heard)
    return { before, after }
  }).pipe(Effect.scoped, Effect.provide(silent), Effect.runPromise)

const withRedis = needing(hasRedisServer(), "there is no redis-server on the PATH to start")

const events = {
  killed: (node: Node) => node.kill(),
  frozen: async (node: Node) => node.freeze()
}

withRedis("ended over a Cluster", { timeout: 120_000 }, () => {
  let cluster: OwnCluster
  beforeAll(async () => {
    cluster = await OwnCluster.start()
  }, 120_000)
  afterAll(() => cluster?.dispose())

  const services = {
    NodeRedisCluster: () => NodeRedisCluster.layer({ rootNodes: [...cluster.rootNodes] }),
    IoRedis: () =>
      Layer.unwrap(
        Effect.map(
          Effect.acquireRelease(
            Effect.sync(
              () =>
                new Cluster(
                  cluster.nodes.map(({ port }) => ({ host: "127.0.0.1", port })),
                  {
                    lazyConnect: true,
                    enableOfflineQueue: false,
                    retryDelayOnFailover: 0,
                    redisOptions: { autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0, socketTimeout: 5000 }
                  }
                )
            ),
            (client) => Effect.sync(() => client.disconnect())
          ),
          (client) => IoRedis.layerFromClient(client)
        )
      )
  }
  for (const [name, service] of Object.entries(services)) {
    for (const [what, event] of Object.entries(events)) {
      it(`${name}: hints come again after the server of the subscription was ${what}`, async () => {
        let gone: Node | undefined
        const { after } = await move(
          Layer.suspend(service),
          () => cluster.nodes,
          async (node) => {
            gone = node
            await event(node)
          }
        )
        console.log(`${name}, ${what}: heard again after ${Math.round(after)} ms`)
        if (what === "killed") gone!.start()
        else gone!.thaw()
        await cluster.settled()
        assert.isBelow(after, 45_000)
      })
    }
  }
})

withRedis("ended behind Sentinel", { timeout: 120_000 }, () => {
  let sentinel: OwnSentinel
  beforeAll(async () => {
    sentinel = await OwnSentinel.start()
  }, 120_000)
  afterAll(() => sentinel?.dispose())

  const services = {
    NodeRedisSentinel: () =>
      NodeRedisSentinel.layer({ name: sentinel.name, sentinelRootNodes: [...sentinel.rootNodes] }),
    IoRedis: () => IoRedis.layer({ name: sentinel.name, sentinels: [...sentinel.rootNodes] })
  }
  for (const [name, service] of Object.entries(services)) {
    for (const [what, event] of Object.entries(events)) {
      it(`${name}: hints come again after the master was ${what}`, async () => {
        let gone: Node | undefined
        const { after } = await move(
          Layer.suspend(service),
          () => sentinel.nodes,
          async (node) => {
            gone = node
            await event(node)
          }
        )
        console.log(`${name}, ${what}: heard again after ${Math.round(after)} ms`)
        if (what === "killed") gone!.start()
        else gone!.thaw()
        await sentinel.settled()
        assert.isBelow(after, 45_000)
      })
    }
  }
})
