/** The table of `SessionBackendSql` in SQLite, and the statements that make it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as SqlClient from "effect/sql/SqlClient"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as NodeSqliteClient from "../src/NodeSqliteClient.ts"
import { SessionBackend } from "../src/SessionBackend.ts"
import * as SessionBackendSql from "../src/SessionBackendSql.ts"
import { record } from "./support/sqlBackend.ts"
import * as Version1 from "./support/sqlVersion1.ts"

const memory = NodeSqliteClient.layer({ filename: ":memory:" })

describe("migrations of SessionBackendSql on SQLite", () => {
  const schemaOf = (sql: SqlClient.SqlClient, table: string) =>
    Effect.gen(function* () {
      const columns = yield* sql`SELECT name, type, "notnull", pk FROM pragma_table_info(${table})`.values
      const indexes = yield* sql<{ sql: string }>`
        SELECT sql FROM sqlite_schema WHERE tbl_name = ${table} AND type = 'index' AND sql IS NOT NULL ORDER BY name`
      return [columns, indexes.map(({ sql }) => sql.replaceAll(table, "x"))]
    })

  it.effect("bring a table of version 1 over, to what a new one is, and keep what it holds", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* Version1.create(sql, "old")
      const old = Version1.server(sql, "old")
      const live = record({ id: "live", idleExpiresAt: 9_000_000, absoluteExpiresAt: 9_000_000 })
      yield* old.create(live)
      yield* old.create(record({ id: "expired" }))
      const now = 1_001_000 + 30 * 60_000
      yield* Effect.gen(function* () {
        const backend = yield* SessionBackend
        assert.deepStrictEqual(yield* backend.read(live.namespace, "live"), Option.some(live))
        // A server of version 1 goes on writing.
        yield* old.create(record({ id: "late" }))
        const { deleted } = yield* backend.deleteExpired({ now, limit: 100 })
        assert.sameMembers(
          deleted.map(({ id }) => id),
          ["expired", "late"]
        )
        assert.deepStrictEqual(yield* sql`SELECT id, sweep_at FROM old`.values, [["live", 9_000_000]])
      }).pipe(Effect.provide(SessionBackendSql.layerWith({ table: "old" })))
      yield* Layer.build(SessionBackendSql.layerWith({ table: "fresh" }))
      const [columns, indexes] = yield* schemaOf(sql, "old")
      assert.deepStrictEqual([columns, indexes], yield* schemaOf(sql, "fresh"))
      assert.lengthOf(columns!, 16)
      assert.lengthOf(indexes!, 2)
    }).pipe(Effect.provide(memory))
  )

  it("docs/sql-schema.md shows the statements that are run", () => {
    const page = readFileSync(join(import.meta.dirname, "../docs/sql-schema.md"), "utf8")
    const shown = [...page.matchAll(/^```sql\n([\s\S]*?)^```$/gm)].map(([, text]) => text)
    const text = (options: Parameters<typeof SessionBackendSql.ddl>[0]) =>
      SessionBackendSql.ddl(options)
        .map((statement) => `${statement};\n`)
        .join("")
    for (const dialect of ["pg", "sqlite"] as const) {
      assert.include(shown, text({ dialect }))
      assert.include(shown, text({ dialect, from: 1 }))
    }
    assert.include(shown, text({ dialect: "mysql" }))
  })
})
