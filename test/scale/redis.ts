/**
 * Measures the Redis backend with very many sessions of one principal, on a server of its own: run by hand, with
 * `node --import ./test/support/resolveSource.ts test/scale/redis.ts [sessions [revocation]]`. Prints a table.
 *
 * - what one user's log-ins leave behind, if each has expired before the next few;
 * - `list` and revocation over the dead entries of the former version;
 * - the revocation of 300,000 sessions: how long it takes, the longest block of the event loop, and the reads of others
 *   meanwhile, beside the same reads without it.
 */
import { NodeRedis } from "@effect/platform-node"
import { Effect, Layer, Logger } from "effect"
import { Redis } from "effect/persistence"
import { randomBytes } from "node:crypto"
import { SessionBackend, type SessionRecord } from "../../src/SessionBackend.ts"
import * as SessionBackendRedis from "../../src/SessionBackendRedis.ts"
import { watchLoop } from "../support/loopWatch.ts"
import { OwnRedis } from "../support/processes.ts"
import { percentile, record, round } from "./measure.ts"

const sessions = Number(process.argv[2] ?? 300_000)
const isRevocationOnly = process.argv[3] === "revocation"
const { namespace } = record()
const minute = 60_000
const newRecord = (principal: string, changes?: Partial<SessionRecord>) => record({ principal, ...changes })

const rows: Array<Record<string, string | number>> = []
/** Reads of other sessions, 500 a second, until it is told to stop. */
const readOthers = (backend: SessionBackend["Service"], ids: ReadonlyArray<string>) => {
  const times: Array<number> = []
  const pending: Array<Promise<void>> = []
  let at = 0
  const timer = setInterval(() => {
    for (let i = 0; i < 5; i++) {
      const began = performance.now()
      const id = ids[at++ % ids.length]!
      pending.push(
        Effect.runPromise(Effect.ignore(backend.read(namespace, id))).then(
          () => void times.push(performance.now() - began)
        )
      )
    }
  }, 10)
  return async () => {
    clearInterval(timer)
    await Promise.all(pending)
    return times
  }
}

const createMany = (backend: SessionBackend["Service"], records: ReadonlyArray<SessionRecord>) =>
  Effect.forEach(records, backend.create, { concurrency: 200, discard: true })

const revokeAll = (backend: SessionBackend["Service"], principal: string) =>
  Effect.gen(function* () {
    let [calls, count, slowest] = [0, 0, 0]
    for (;;) {
      const began = performance.now()
      const { deleted, more } = yield* backend.deleteByPrincipal(namespace, principal, { limit: 1000 })
      slowest = Math.max(slowest, performance.now() - began)
      calls++
      count += deleted.length
      if (!more) return { calls, count, slowest }
      // As the manager rests.
      yield* Effect.sleep(performance.now() - began)
    }
  })

const listAll = (backend: SessionBackend["Service"], principal: string) =>
  Effect.gen(function* () {
    let [calls, count, slowest] = [0, 0, 0]
    let after: string | undefined
    do {
      const began = performance.now()
      const page = yield* backend.listByPrincipal(namespace, principal, { limit: 100, after })
      slowest = Math.max(slowest, performance.now() - began)
      calls++
      count += page.records.length
      after = page.next
    } while (after !== undefined)
    return { calls, count, slowest }
  })

const measured = <A extends { readonly calls: number; readonly count: number; readonly slowest: number }, E, R>(
  what: string,
  effect: Effect.Effect<A, E, R>,
  others?: () => Promise<Array<number>>
) =>
  Effect.gen(function* () {
    const longest = watchLoop()
    const began = performance.now()
    const used = process.cpuUsage()
    const { calls, count, slowest } = yield* effect
    const total = performance.now() - began
    const { system, user } = process.cpuUsage(used)
    const times = others === undefined ? [] : yield* Effect.promise(others)
    rows.push({
      what,
      count,
      calls,
      "total ms": round(total),
      "CPU ms": round((system + user) / 1000),
      "slowest call": round(slowest),
      "longest block": round(longest()),
      ...(times.length === 0
        ? {}
        : { "others p50": round(percentile(times, 50)), "others p99": round(percentile(times, 99)) })
    })
  })

const leftOver = Effect.gen(function* () {
  const backend = yield* SessionBackend
  const redis = yield* Redis.Redis
  const index = (principal: string) =>
    `scale:p:${Buffer.from(namespace).toString("base64url")}:${Buffer.from(principal).toString("base64url")}`

  // Log-ins that have expired before the next fifty.
  const dead = Array.from({ length: 40_000 }, () =>
    newRecord("ada", { idleExpiresAt: 0, absoluteExpiresAt: Date.now() + minute })
  )
  for (let i = 0; i < dead.length; i += 50) yield* createMany(backend, dead.slice(i, i + 50))
  yield* backend.create(newRecord("ada"))
  rows.push({ what: "entries after 40,000 expired log-ins", count: Number(yield* redis.send("ZCARD", index("ada"))) })
  yield* measured("list after 40,000 expired log-ins", listAll(backend, "ada"))

  // What the former version left: when each ends, and its id.
  for (const [what, walk] of [
    ["list", listAll],
    ["revokeAll", revokeAll]
  ] as const) {
    yield* backend.create(newRecord("bob"))
    for (let i = 0; i < 150_000; i += 1000) {
      const entries = Array.from({ length: 1000 }, () => [
        "0",
        String(Date.now() + 6 * 60 * minute).padStart(16, "0") + randomBytes(16).toString("base64url")
      ])
      yield* redis.send("ZADD", index("bob"), ...entries.flat())
    }
    yield* measured(`${what} over 150,000 dead entries of the former version`, walk(backend, "bob"))
    rows.push({ what: "entries afterwards", count: Number(yield* redis.send("ZCARD", index("bob"))) })
  }
})

const main = Effect.gen(function* () {
  const backend = yield* SessionBackend
  const bystanders = Array.from({ length: 1000 }, (_, i) => newRecord(`bystander${i}`))
  yield* createMany(backend, bystanders)
  const ids = bystanders.map(({ id }) => id)

  if (!isRevocationOnly) yield* leftOver

  for (let i = 0; i < sessions; i += 10_000) {
    yield* createMany(
      backend,
      Array.from({ length: Math.min(10_000, sessions - i) }, () => newRecord("carol"))
    )
  }
  const alone = readOthers(backend, ids)
  yield* measured("nothing, for five seconds", Effect.as(Effect.sleep(5000), { calls: 0, count: 0, slowest: 0 }), alone)
  yield* measured(`revokeAll of ${sessions}`, revokeAll(backend, "carol"), readOthers(backend, ids))
  const again = readOthers(backend, ids)
  yield* measured("nothing again", Effect.as(Effect.sleep(5000), { calls: 0, count: 0, slowest: 0 }), again)
})

const server = await OwnRedis.start({ isDurable: false })
try {
  await Effect.runPromise(
    main.pipe(
      Effect.provide(
        SessionBackendRedis.layerWith({ prefix: "scale", ttlSlack: 0 }).pipe(
          Layer.provideMerge(NodeRedis.layer({ url: server.url, commandOptions: { timeout: 0 } })),
          Layer.provide(Logger.layer([]))
        )
      )
    )
  )
  console.table(rows)
} finally {
  await server.dispose()
}
