/** The Redis backend on a Redis Cluster of its own, over node-redis and ioredis. */
import { NodeRedis } from "@effect/platform-node"
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Option, Schedule } from "effect"
import { Redis } from "effect/persistence"
import { Cluster } from "ioredis"
import { createHash } from "node:crypto"
import { keyOf, slotOf } from "../src/internal/redisClient/keys.ts"
import * as IoRedis from "../src/IoRedis.ts"
import * as NodeRedisCluster from "../src/NodeRedisCluster.ts"
import * as SessionBackendRedis from "../src/SessionBackendRedis.ts"
import { hasRedisServer, needing } from "./support/processes.ts"
import { exampleSettings, silent, until } from "./support/redis.ts"
import { OwnCluster } from "./support/redisCluster.ts"
import { serviceTests } from "./support/redisServiceTests.ts"

const withRedis = needing(hasRedisServer(), "there is no redis-server on the PATH to start")

it("the key of a command is where Redis says it is", () => {
  assert.deepStrictEqual(
    [
      keyOf("GET", ["k"]),
      keyOf("evalsha", ["hash", "1", "k", "argument"]),
      keyOf("EVAL", ["return 1", "0", "argument"]),
      keyOf("XREADGROUP", ["GROUP", "g", "c", "STREAMS", "k", ">"]),
      keyOf("OBJECT", ["ENCODING", "k"]),
      keyOf("PUBLISH", ["channel", "message"]),
      keyOf("PING", [])
    ],
    ["k", "k", undefined, "k", "k", undefined, undefined]
  )
})

withRedis("a Redis Cluster", { timeout: 60_000 }, () => {
  let cluster: OwnCluster
  beforeAll(async () => {
    cluster = await OwnCluster.start()
  }, 60_000)
  afterAll(() => cluster?.dispose())

  const nodeRedis = Layer.suspend(() => NodeRedisCluster.layer({ rootNodes: [...cluster.rootNodes] }))
  const ioCluster = Effect.acquireRelease(
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
    (cluster) => Effect.sync(() => cluster.disconnect())
  )
  const services = {
    NodeRedisCluster: nodeRedis,
    "a Cluster of ioredis": Layer.unwrap(Effect.map(ioCluster, (cluster) => IoRedis.layerFromClient(cluster)))
  }
  for (const [name, service] of Object.entries(services)) {
    serviceTests(name, service)

    const walk = (between: (calls: number) => Effect.Effect<void> = () => Effect.void) =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const keys = new Set<string>()
        let cursor = "0"
        let calls = 0
        do {
          const [next, found] = yield* redis.send<[string, Array<string>]>(
            "SCAN",
            cursor,
            "MATCH",
            "walk:*",
            "COUNT",
            "10"
          )
          for (const key of found) keys.add(key)
          cursor = next
          assert.isBelow(++calls, 10_000, "the walk ends")
          yield* between(calls)
        } while (cursor !== "0")
        return keys
      })

    const withKeys = <A>(effect: (keys: ReadonlyArray<string>) => Effect.Effect<A, unknown, Redis.Redis>) =>
      Effect.runPromise(
        Effect.gen(function* () {
          const redis = yield* Redis.Redis
          const keys = Array.from({ length: 300 }, (_, i) => `walk:${i}`)
          // ioredis connects to a master with the first command for it, and refuses others meanwhile.
          const set = (key: string) =>
            Effect.retry(redis.send("SET", key, "1"), { times: 5, schedule: Schedule.spaced(100) })
          yield* Effect.forEach(keys, set, { concurrency: 20 })
          return yield* Effect.ensuring(
            effect(keys),
            Effect.ignore(Effect.forEach(keys, (key) => Effect.ignore(redis.send("DEL", key)), { concurrency: 20 }))
          )
        }).pipe(Effect.provide(service.pipe(Layer.provide(silent))))
      )

    it(`${name}: SCAN walks over all masters`, () =>
      withKeys((keys) => Effect.map(walk(), (found) => assert.sameMembers([...found], [...keys]))))

    it(`${name}: a walk begins anew on what has taken a master's place, and ends`, () =>
      withKeys((keys) =>
        Effect.gen(function* () {
          const failover = Effect.promise(async () => {
            await cluster.failover(0)
            await cluster.settled()
          })
          const redis = yield* Redis.Redis
          // The client learns of it by the commands that are for the slots.
          const learn = Effect.forEach(keys, (key) => Effect.ignore(redis.send("GET", key)), {
            concurrency: 20,
            discard: true
          })
          const found = yield* walk((calls) => (calls === 2 ? Effect.andThen(failover, learn) : Effect.void))
          assert.sameMembers([...found], [...keys])
        })
      ))

    it(`${name}: a cursor that is none of a walk's is refused`, () =>
      withKeys(() =>
        Effect.gen(function* () {
          const redis = yield* Redis.Redis
          for (const cursor of ["garbage", "17", "-1", "99999-0-x", ""]) {
            const refused = yield* Effect.flip(redis.send("SCAN", cursor, "COUNT", "10"))
            assert.match(String(refused.cause), /ERR invalid cursor/, cursor)
          }
        })
      ))

    it(`[R70] ${name}: a command that has lost its connection is answered, not sent again`, async () => {
      /** Who has it: after the failover of the test before, nodes may not agree yet whose the slot is. */
      const sent = async () => {
        for (const node of cluster.nodes) {
          const id = /id=(\d+)[^\n]*cmd=blpop/.exec(await node.command("CLIENT", "LIST"))?.[1]
          if (id !== undefined) return { node, id }
        }
        return undefined
      }
      await Effect.runPromise(
        Effect.gen(function* () {
          const redis = yield* Redis.Redis
          const send = Effect.forkChild(Effect.flip(redis.send("BLPOP", "queue", "0")))
          let blocked = yield* send
          yield* until(
            Effect.gen(function* () {
              // Refused by a Cluster that does not agree yet.
              if (blocked.pollUnsafe() !== undefined) blocked = yield* send
              return (yield* Effect.promise(sent)) !== undefined
            }),
            "it is sent"
          )
          yield* Effect.promise(async () => {
            const { id, node } = (await sent())!
            await node.command("CLIENT", "KILL", "ID", id)
          })
          assert.isTrue(Option.isSome(yield* Effect.timeoutOption(Fiber.join(blocked), "5 seconds")))
          yield* until(
            Effect.match(redis.send("GET", "queue"), { onFailure: () => false, onSuccess: () => true }),
            "the client has connected again"
          )
          assert.isUndefined(yield* Effect.promise(sent))
        }).pipe(Effect.provide(service.pipe(Layer.provide(silent))))
      )
    })
  }

  const run = <A>(effect: Effect.Effect<A, unknown, Redis.Redis>) =>
    Effect.runPromise(effect.pipe(Effect.provide(nodeRedis), Effect.provide(silent)))

  it("a key's slot is the one that Redis says", async () => {
    for (const key of ["", "a", "effect-sessions:s:YQ:b", "a{b}c", "a{}b", "{a", "a}b{c}", "{a}{b}", "ключ😀"]) {
      assert.strictEqual(String(slotOf(key)), await cluster.nodes[0]!.command("CLUSTER", "KEYSLOT", key), key)
    }
  })

  it("one server of it is no place for sessions: the layer is refused, and says what to use", async () => {
    const [node] = cluster.nodes
    const layer = SessionBackendRedis.layerWith().pipe(
      Layer.provide(NodeRedis.layer(exampleSettings(`redis://127.0.0.1:${node!.port}`))),
      Layer.provide(silent)
    )
    const error = await Effect.runPromise(Effect.flip(Effect.scoped(Layer.build(layer))))
    assert.strictEqual(error._tag, "SessionConfigError")
    assert.match(String(error), /NodeRedisCluster/)
  })

  it("SCRIPT LOAD reaches every master, and no frozen one stops it or the keys of the others", async () => {
    const lua = "return 'loaded'"
    const hash = createHash("sha1").update(lua).digest("hex")
    const frozen = await cluster.master(0)
    const others = [await cluster.master(1), await cluster.master(2)]
    await run(
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        assert.strictEqual(yield* redis.send("SCRIPT", "LOAD", lua), hash)
        for (const { node } of [frozen, ...others]) {
          assert.strictEqual(yield* Effect.promise(() => node.command("SCRIPT", "EXISTS", hash)), "1")
        }
        yield* redis.send("SCRIPT", "FLUSH")
        frozen.node.freeze()
        yield* Effect.gen(function* () {
          assert.strictEqual(yield* redis.send("SCRIPT", "LOAD", lua), hash)
          for (const { node } of others) {
            assert.strictEqual(yield* Effect.promise(() => node.command("SCRIPT", "EXISTS", hash)), "1")
          }
          // Slots are shared out in order: this key is of the second master or the third.
          const key = ["a", "b", "c", "d", "e", "f"].find((key) => slotOf(key) > frozen.slots[0]![1])!
          assert.strictEqual(yield* redis.send("SET", key, "1"), "OK")
        }).pipe(Effect.ensuring(Effect.sync(() => frozen.node.thaw())))
      })
    )
    await cluster.settled()
  })
})
