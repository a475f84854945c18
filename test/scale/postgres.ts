/**
 * Postgres with many sessions: what a touch costs, and how long sweeps and revocations take, beside the requests of others.
 * It starts a server of its own.
 *
 *     node --import ./test/support/resolveSource.ts test/scale/postgres.ts [sessions=5000000] [expired=500000] [principal=300000]
 */
import { PgClient } from "@effect/sql-pg"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import * as Storage from "../../src/internal/manager/storage.ts"
import { SessionBackend } from "../../src/SessionBackend.ts"
import * as SessionBackendSql from "../../src/SessionBackendSql.ts"
import { OwnPostgres } from "../support/processes.ts"
import { others, percentile, round, sweepAll, timed } from "./measure.ts"
import * as Seed from "./seed.ts"

const [sessions = 5_000_000, expired = 500_000, ofOne = 300_000] = process.argv.slice(2).map(Number)
const touches = 300_000

const program = (postgres: OwnPostgres) =>
  Effect.gen(function* () {
    const client = PgClient.layer({ url: Redacted.make(postgres.url), maxConnections: 10 })
    const context = yield* Layer.build(SessionBackendSql.layer.pipe(Layer.provideMerge(client)))
    const sql = Context.get(context, SqlClient.SqlClient)
    const backend = Context.get(context, SessionBackend)
    const storage = Storage.make(backend, "scale", 1000)
    const admin = (statement: string) => Effect.promise(() => postgres.sql(statement, "app"))
    const say = (what: string, ...rest: ReadonlyArray<unknown>) => Effect.sync(() => console.log(what, ...rest))

    const now = Date.now()
    const [live, seeding] = yield* timed(Seed.postgres(sql, { sessions, expired, ofOne }))
    yield* say(`seeded ${sessions} in ${round(seeding / 1000)} s`)

    const sizes = Effect.map(
      sql<{ name: string; bytes: unknown }>`
        SELECT c.relname AS name, pg_relation_size(c.oid) AS bytes FROM pg_class c
        WHERE c.relname LIKE 'effect_sessions%' AND c.relkind IN ('r', 'i') AND c.relname NOT LIKE '%migrations%'`,
      (rows) => Object.fromEntries(rows.map(({ bytes, name }) => [name, `${round(Number(bytes) / 1e6)} MB`]))
    )
    const plan = (statement: string) => Effect.map(admin(`EXPLAIN ${statement}`), (text) => text.split("\n")[1]?.trim())
    yield* say("sizes", yield* sizes)

    const ids = (yield* sql<{ id: string }>`
      SELECT id FROM effect_sessions TABLESAMPLE BERNOULLI (${Math.min(100, 15_000_000 / sessions)})
      WHERE principal <> 'one' AND idle_expires_at = ${live} ORDER BY random() LIMIT 100000`).map(({ id }) => id)

    const counts = Effect.gen(function* () {
      // The server's counters are late.
      yield* Effect.sleep("3 seconds")
      const [rows, wal] = yield* Effect.all([
        admin("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'effect_sessions'"),
        admin("SELECT wal_bytes, wal_fpi FROM pg_stat_wal")
      ])
      const [updates = 0, hot = 0] = rows.split("|").map(Number)
      const [bytes = 0, images = 0] = wal.split("|").map(Number)
      return { updates, hot, bytes, images }
    })
    // An image of each page after a checkpoint is not what a touch writes, but what the checkpoints cost.
    yield* admin("ALTER SYSTEM SET full_page_writes = off")
    yield* admin("SELECT pg_reload_conf()")
    const before = yield* counts
    yield* Effect.forEach(
      Array.from({ length: touches }, (_, n) => n),
      (n) => backend.touch("scale", ids[n % ids.length]!, { lastSeenAt: now + n, idleExpiresAt: now + n + 1_800_000 }),
      { concurrency: 10, discard: true }
    )
    const after = yield* counts
    yield* admin("ALTER SYSTEM RESET full_page_writes")
    yield* admin("SELECT pg_reload_conf()")
    const updates = after.updates - before.updates
    yield* say(`touches ${updates}, HOT ${round((100 * (after.hot - before.hot)) / updates)} %`)
    yield* say(
      `WAL bytes a touch ${round((after.bytes - before.bytes) / updates)} (page images: ${after.images - before.images})`
    )
    yield* say("sizes", yield* sizes)

    const rows: Array<Record<string, unknown>> = []
    const during = <A>(name: string, task: Effect.Effect<A, unknown>, batches: ReadonlyArray<number>) =>
      Effect.gen(function* () {
        const other = others(backend, ids, 10)
        const fiber = yield* Effect.forkChild(other.run)
        yield* Effect.sleep("500 millis")
        const [answer, millis] = yield* timed(task)
        const { failures, p50, p99, requests } = other.stop()
        yield* Fiber.join(fiber)
        rows.push({
          name,
          answer,
          seconds: round(millis / 1000),
          batches: batches.length,
          first: round(batches[0] ?? NaN),
          last: round(batches.at(-1) ?? NaN),
          slowest: round(Math.max(...batches)),
          "p50 ": round(percentile(batches, 50)),
          requests,
          failures,
          p50: round(p50),
          p99: round(p99)
        })
      })
    yield* during("nothing else", Effect.as(Effect.sleep("20 seconds"), ""), [])

    const revoked: Array<number> = []
    const noted = Storage.make(
      {
        ...backend,
        deleteByPrincipal: (...args) =>
          Effect.map(timed(backend.deleteByPrincipal(...args)), ([batch, millis]) => {
            revoked.push(millis)
            return batch
          })
      },
      "scale",
      1000
    )
    yield* during("revoke all of one", noted.deleteByPrincipal("one"), revoked)
    yield* during("revoke again", storage.deleteByPrincipal("one"), [])

    const sweeps: Array<number> = []
    yield* during("sweep", sweepAll(backend, sweeps), sweeps)
    yield* during("nothing else", Effect.as(Effect.sleep("10 seconds"), ""), [])
    console.table(rows)
    yield* say(
      "plan of a sweep",
      yield* plan(
        `SELECT namespace, id FROM effect_sessions WHERE sweep_at <= ${now} ORDER BY sweep_at LIMIT 1000 FOR UPDATE SKIP LOCKED`
      )
    )
  })

const postgres = await OwnPostgres.start()
try {
  await Effect.runPromise(Effect.scoped(program(postgres)))
} finally {
  await postgres.dispose()
}
