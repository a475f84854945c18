/** What every `Redis` service has to do, whichever driver it is over: the conformance suite on it, and the rest of it. */
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Layer, Queue } from "effect"
import { Redis } from "effect/persistence"
import { randomBytes } from "node:crypto"
import * as SessionBackendRedis from "../../src/SessionBackendRedis.ts"
import * as SessionBackendTest from "../../src/testing/SessionBackendTest.ts"
import { silent } from "./redis.ts"

export const serviceTests = (name: string, service: Layer.Layer<Redis.Redis, Redis.RedisError>): void => {
  const prefix = `t${randomBytes(4).toString("hex")}`
  const backend = SessionBackendRedis.layerWith({ prefix }).pipe(Layer.provideMerge(service))
  layer(backend.pipe(Layer.provide(silent), Layer.orDie), { excludeTestServices: true })(name, (it) => {
    for (const { effect, name } of [...SessionBackendTest.cases, ...SessionBackendTest.pushingCases]) {
      it.effect(name, () => effect)
    }

    it.effect("messages reach those who subscribed, each of them, until their scope is closed", () =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const channel = `${prefix}-news`
        const subscribers = redis.send<ReadonlyArray<string | number>>("PUBSUB", "NUMSUB", channel)
        yield* Effect.scoped(
          Effect.gen(function* () {
            const first = yield* redis.subscribe(channel)
            const second = yield* redis.subscribe(channel)
            yield* redis.send("PUBLISH", channel, "hello")
            const message = { channel, message: "hello" }
            assert.deepStrictEqual([yield* Queue.take(first), yield* Queue.take(second)], [message, message])
          })
        )
        assert.strictEqual(Number((yield* subscribers)[1]), 0)
      })
    )

    it.effect("a reserved connection blocks nobody else", () =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const own = yield* redis.reserve
        const waiting = yield* Effect.forkChild(own.send("BLPOP", `${prefix}-queue`, "20"))
        yield* Effect.sleep("200 millis")
        yield* redis.send("SET", `${prefix}-other`, "1")
        assert.strictEqual(yield* redis.send("GET", `${prefix}-other`), "1")
        yield* redis.send("RPUSH", `${prefix}-queue`, "a")
        assert.deepStrictEqual(yield* Fiber.join(waiting), [`${prefix}-queue`, "a"])
      }).pipe(Effect.scoped)
    )

    it.effect("an error reply is the cause of a RedisError", () =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        yield* redis.send("SET", `${prefix}-text`, "1")
        const error = yield* Effect.flip(redis.send("LPUSH", `${prefix}-text`, "a"))
        assert.strictEqual(error._tag, "RedisError")
        assert.match(String(error.cause), /WRONGTYPE/)
      })
    )
  })
}
