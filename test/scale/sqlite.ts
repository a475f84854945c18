/**
 * SQLite with many sessions: how long the event loop is held, and what others wait meanwhile.
 *
 *     node --import ./test/support/resolveSource.ts test/scale/sqlite.ts [sessions=1000000] [expired=100000] [principal=300000]
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { mkdtempSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import * as Storage from "../../src/internal/manager/storage.ts"
import * as NodeSqliteClient from "../../src/NodeSqliteClient.ts"
import { SessionBackend } from "../../src/SessionBackend.ts"
import * as SessionBackendSql from "../../src/SessionBackendSql.ts"
import { watchLoop } from "../support/loopWatch.ts"
import { others, percentile, record, round, sweepAll, timed } from "./measure.ts"

const [sessions = 1_000_000, expired = 100_000, ofOne = 300_000] = process.argv.slice(2).map(Number)

const folder = mkdtempSync(join(tmpdir(), "effect-sessions-scale-"))
const filename = join(folder, "sessions.db")

const seed = () => {
  const database = new DatabaseSync(filename)
  const now = Date.now()
  const live = now + 1_800_000
  // Ids are random, so the rows of a principal, and the expired ones, lie all over the file.
  database.exec(`
    PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -200000;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${sessions})
    INSERT INTO effect_sessions
    SELECT 'scale', lower(hex(randomblob(11))), printf('%043d', i), 1,
      CASE WHEN i % 10 < ${(10 * ofOne) / sessions} THEN 'one' ELSE 'user-' || (i / 3) END,
      printf('%0150d', i), 1, '{}', ${now} - abs(random() % 40000000), ${now}, ${now}, 1800000,
      CASE WHEN i % 100 >= ${100 - (100 * expired) / sessions} THEN ${now} - 7200000 - abs(random() % 36000000) ELSE ${live} END,
      ${now + 43_200_000}, 1, 0
    FROM n ORDER BY 2;
    UPDATE effect_sessions SET sweep_at = (idle_expires_at + 899999) / 900000 * 900000;
    PRAGMA wal_checkpoint(TRUNCATE)`)
  const ids = database
    .prepare("SELECT id FROM effect_sessions WHERE principal <> 'one' AND idle_expires_at = ? LIMIT 5000")
    .all(live)
    .map(({ id }) => String(id))
  database.close()
  return ids
}

const client = NodeSqliteClient.layer({ filename })

const program = Effect.gen(function* () {
  yield* Effect.provide(Effect.void, SessionBackendSql.layerMigrations().pipe(Layer.provide(client)), { local: true })
  const ids = seed()
  const backend = Context.get(yield* Layer.build(SessionBackendSql.layer.pipe(Layer.provide(client))), SessionBackend)
  const storage = Storage.make(backend, "scale", 1000)
  const rows: Array<Record<string, unknown>> = []

  const blocked = watchLoop()
  /** Runs a task beside the requests of others. */
  const during = <A>(name: string, task: Effect.Effect<A, unknown>) =>
    Effect.gen(function* () {
      const other = others(backend, ids, 10)
      const fiber = yield* Effect.forkChild(other.run)
      yield* Effect.sleep("200 millis")
      blocked()
      const [answer, millis] = yield* timed(task)
      const block = blocked()
      const { failures, p50, p99, requests } = other.stop()
      yield* Fiber.join(fiber)
      const wal = statSync(`${filename}-wal`).size / 1e6
      rows.push({
        name,
        answer,
        seconds: round(millis / 1000),
        block: round(block),
        requests,
        failures,
        p50: round(p50),
        p99: round(p99),
        walMB: round(wal)
      })
    })

  const batches: Array<number> = []
  yield* during("nothing else", Effect.as(Effect.sleep("10 seconds"), ""))
  yield* during(`sweep of ${expired}`, sweepAll(backend, batches))
  console.log(
    `sweep batches ms: p50 ${round(percentile(batches, 50))}, p99 ${round(percentile(batches, 99))}, max ${round(Math.max(...batches))}`
  )
  yield* during(
    "list, 1000 pages",
    Effect.gen(function* () {
      let after: string | undefined
      let listed = 0
      for (let page = 0; page < 1000; page++) {
        const found = yield* storage.listByPrincipal("one", { limit: 250, after })
        listed += found.records.length
        after = found.next
        if (after === undefined) break
        yield* Effect.yieldNow
      }
      return listed
    })
  )
  yield* during(
    "create, 5000",
    Effect.as(
      Effect.forEach(Array.from({ length: 5000 }), () => Effect.tap(storage.create(record()), Effect.yieldNow), {
        discard: true
      }),
      5000
    )
  )
  yield* during(`revoke all of ${ofOne}`, storage.deleteByPrincipal("one"))
  console.table(rows)
})

try {
  await Effect.runPromise(Effect.scoped(program))
} finally {
  rmSync(folder, { recursive: true, force: true })
}
