/** What the event loop has to do with the batches of SQLite. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SqlClient from "effect/sql/SqlClient"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NodeSqliteClient from "../src/NodeSqliteClient.ts"
import { type DeletedBatch, SessionBackend, type SessionBackendError } from "../src/SessionBackend.ts"
import * as SessionBackendSql from "../src/SessionBackendSql.ts"
import { watchLoop } from "./support/loopWatch.ts"

const temporaryFile = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-sessions-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
  ),
  (folder) => join(folder, "sessions.db")
)

it.live("the event loop goes on while thousands of sessions are revoked and swept", () =>
  Effect.gen(function* () {
    const filename = yield* temporaryFile
    yield* Effect.gen(function* () {
      const backend = yield* SessionBackend
      const sql = yield* SqlClient.SqlClient
      yield* sql`
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
        INSERT INTO effect_sessions
        SELECT 'n', lower(hex(randomblob(11))), '', 1, CASE WHEN i % 2 = 0 THEN 'alice' ELSE 'bob' END, printf('%0200d', i),
          1, '{}', i, i, i, 1, i, i, 1, 0 FROM n`
      const blocked = watchLoop()
      const repeated = (batch: Effect.Effect<DeletedBatch, SessionBackendError>) =>
        Effect.repeat(Effect.tap(batch, Effect.yieldNow), { while: ({ more }) => more })
      yield* repeated(backend.deleteByPrincipal("n", "alice", { limit: 1000 }))
      yield* repeated(backend.deleteExpired({ now: 9_000_000, limit: 1000 }))
      const block = blocked()
      assert.deepStrictEqual(yield* sql`SELECT count(*) FROM effect_sessions`.values, [[0]])
      // Without a thread of its own, a batch's commit and the checkpoints hold it as long as the disk takes.
      assert.isBelow(block, 200)
    }).pipe(Effect.provide(SessionBackendSql.layer.pipe(Layer.provideMerge(NodeSqliteClient.layer({ filename })))))
  })
)
