/**
 * `SessionAdmin` beside many sessions: how long it takes to count them, to look through them and to end them, how much memory
 * that takes, and the longest block of the event loop. It starts servers of its own, and prints a table.
 *
 *     node --import ./test/support/resolveSource.ts test/scale/admin.ts [sessions=100000 [looking]]
 */
import { NodeCrypto, NodeRedis } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Logger, Redacted, Schema, Stream } from "effect"
import * as Session from "../../src/Session.ts"
import * as SessionAdmin from "../../src/SessionAdmin.ts"
import { SessionBackend } from "../../src/SessionBackend.ts"
import * as SessionBackendRedis from "../../src/SessionBackendRedis.ts"
import * as SessionBackendSql from "../../src/SessionBackendSql.ts"
import { watchLoop } from "../support/loopWatch.ts"
import { OwnPostgres, OwnRedis } from "../support/processes.ts"
import * as Stack from "../support/stack.ts"
import { record, round, timed } from "./measure.ts"

const sessions = Number(process.argv[2] ?? 100_000)
const isEnding = process.argv[3] !== "looking"

class Scale extends Session.Service<Scale>()("scale", { data: Schema.Struct({ text: Schema.String }) }) {}

const rows: Array<Record<string, string | number>> = []

const measured = <E>(store: string, what: string, effect: Effect.Effect<number, E>) =>
  Effect.gen(function* () {
    globalThis.gc?.()
    const before = process.memoryUsage().rss
    let most = before
    const timer = setInterval(() => {
      most = Math.max(most, process.memoryUsage().rss)
    }, 20)
    const longest = watchLoop()
    const [answer, millis] = yield* timed(effect)
    clearInterval(timer)
    rows.push({
      store,
      what,
      answer,
      seconds: round(millis / 1000),
      "longest block, ms": round(longest()),
      "more memory, MB": round((most - before) / 1e6)
    })
  })

const program = <E>(store: string, settled: Effect.Effect<unknown, E>) =>
  Effect.gen(function* () {
    const backend = yield* SessionBackend
    yield* Effect.forEach(
      Array.from({ length: sessions }, (_, i) => i),
      // One in five is anonymous, and of the others two belong to one principal.
      (i) => backend.create(record({ principal: i % 5 === 0 ? undefined : `user-${Math.floor(i / 2)}` })),
      { concurrency: 50, discard: true }
    )
    yield* settled
    const admin = yield* SessionAdmin.make(Scale)
    const streamed = Stream.runFold(
      admin.stream(),
      () => 0,
      (count) => count + 1
    )
    yield* measured(store, "count", admin.count())
    yield* measured(store, "stream", streamed)
    yield* measured(
      store,
      "stream, the first ten",
      Stream.runFold(
        Stream.take(admin.stream(), 10),
        () => 0,
        (n) => n + 1
      )
    )
    if (!isEnding) return
    yield* measured(store, "revokeAll", admin.revokeAll())
    yield* measured(store, "count", admin.count())
  })

const run = (
  store: string,
  backend: Layer.Layer<SessionBackend, unknown>,
  settled: Effect.Effect<unknown> = Effect.void
) =>
  Effect.runPromise(
    program(store, settled).pipe(
      Effect.provide(Stack.manager(Scale, { backend: Layer.orDie(backend), crypto: NodeCrypto.layer })),
      Effect.provide(Logger.layer([]))
    )
  )

const redis = await OwnRedis.start({ isDurable: false })
try {
  const client = NodeRedis.layer({ url: redis.url, commandOptions: { timeout: 0 } })
  await run("Redis", SessionBackendRedis.layer.pipe(Layer.provide(client)))
} finally {
  await redis.dispose()
}
const postgres = await OwnPostgres.start()
try {
  const client = PgClient.layer({ url: Redacted.make(postgres.url) })
  // As autovacuum does within a minute: until then it sorts the table for each page.
  const analyze = Effect.promise(() => postgres.sql("ANALYZE effect_sessions", "app"))
  await run("Postgres", SessionBackendSql.layer.pipe(Layer.provide(client)), analyze)
} finally {
  await postgres.dispose()
}
console.table(rows)
