/** The client over D1, in the simulator that `wrangler dev` uses: rows, failures by their kind, and what it refuses. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as SqlError from "effect/sql/SqlError"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import * as D1Client from "effect-sessions/D1Client"
import { SessionBackend } from "../src/SessionBackend.ts"
import * as SessionBackendSql from "../src/SessionBackendSql.ts"
import { outcomeOf } from "../src/internal/backend/sqlOutcome.ts"
import { type Running, start } from "./workers/workerd.ts"

let workerd: Running
beforeAll(async () => {
  workerd = await start("export default { fetch: () => new Response() }")
})
afterAll(() => workerd.stop())

const onD1 = <A, E>(effect: Effect.Effect<A, E, SqlClient.SqlClient>) =>
  Effect.suspend(() => Effect.provide(effect, D1Client.layer({ db: workerd.db })))

describe("D1Client", () => {
  it.live("answers rows, arrays, raw results and streams", () =>
    onD1(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`CREATE TABLE numbers (n INTEGER PRIMARY KEY, name TEXT UNIQUE) STRICT`
        yield* sql`INSERT INTO numbers ${sql.insert([
          { n: 1, name: "one" },
          { n: 2, name: null }
        ])}`
        const query = sql`SELECT n, name FROM numbers ORDER BY n`
        const rows = [
          { n: 1, name: "one" },
          { n: 2, name: null }
        ]
        assert.deepStrictEqual(yield* query, rows)
        assert.deepStrictEqual(yield* query.unprepared, rows)
        assert.deepStrictEqual(yield* Stream.runCollect(query.stream), rows)
        assert.deepStrictEqual(yield* query.values, [
          [1, "one"],
          [2, null]
        ])
        const raw = yield* sql`INSERT INTO numbers (n) VALUES (${3})`.raw
        assert.strictEqual((raw as { readonly meta: { readonly changes: number } }).meta.changes, 1)
        assert.deepStrictEqual(yield* sql`DELETE FROM numbers WHERE n = ${3} RETURNING n`, [{ n: 3 }])
      })
    )
  )

  it.live("fails with SqlError, by the kind of the failure, and says what was refused", () =>
    onD1(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`CREATE TABLE kinds (n INTEGER PRIMARY KEY, name TEXT UNIQUE, must TEXT NOT NULL) STRICT`
        yield* sql`INSERT INTO kinds VALUES (1, 'one', '')`
        const of = <A>(statement: Effect.Effect<A, SqlError.SqlError>) =>
          Effect.map(Effect.flip(statement), (error) => [error.reason._tag, outcomeOf(error)])
        assert.deepStrictEqual(yield* of(sql`INSERT INTO kinds VALUES (1, 'x', '')`), ["ConstraintError", "notApplied"])
        assert.deepStrictEqual(yield* of(sql`INSERT INTO kinds VALUES (2, 'y', NULL)`), [
          "ConstraintError",
          "notApplied"
        ])
        assert.deepStrictEqual(yield* of(sql`SELEC`), ["UnknownError", "notApplied"])
        assert.deepStrictEqual(yield* of(sql`SELECT * FROM none`), ["UnknownError", "notApplied"])
        const { reason } = yield* Effect.flip(sql`INSERT INTO kinds VALUES (2, 'one', '')`)
        assert.strictEqual(reason._tag === "UniqueViolation" && reason.constraint, "kinds.name")
        // A text of the user's that looks like a code is none.
        assert.strictEqual((yield* of(sql.unsafe(`SELECT * FROM "SQLITE_BUSY"`)))[0], "UnknownError")
      })
    )
  )

  it.live("leaves in doubt what D1 does not answer", () =>
    Effect.gen(function* () {
      const lost = new Error("D1_ERROR: Network connection lost.")
      const statement: D1Client.D1PreparedStatement = {
        bind: () => statement,
        all: () => Promise.reject(lost),
        raw: () => Promise.reject(lost)
      }
      const sql = yield* Effect.provide(SqlClient.SqlClient, D1Client.layer({ db: { prepare: () => statement } }))
      const error = yield* Effect.flip(sql`DELETE FROM numbers`)
      assert.deepStrictEqual([error.reason._tag, outcomeOf(error)], ["UnknownError", "unknown"])
      assert.strictEqual(error.reason.cause, lost)
    })
  )

  it.live("refuses transactions, and runs nothing of them", () =>
    onD1(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`CREATE TABLE moved (n INTEGER)`
        const error = yield* Effect.flip(sql.withTransaction(sql`INSERT INTO moved VALUES (1)`))
        assert.include(error.message, "no interactive transactions")
        assert.deepStrictEqual(yield* sql`SELECT n FROM moved`, [])
      })
    )
  )

  it.live("a table that is missing is named, and layerMigrations says why it does not make it", () =>
    onD1(
      Effect.gen(function* () {
        const table = "other_sessions"
        const missing = yield* Effect.flip(
          Effect.provide(SessionBackend, SessionBackendSql.layerStorage({ table }), { local: true })
        )
        assert.include(missing.message, `there is no table ${table}`)
        assert.include(missing.message, 'dialect: "sqlite"')
        const exit = yield* Effect.exit(Effect.scoped(Layer.build(SessionBackendSql.layerMigrations({ table }))))
        assert.isTrue(Exit.hasDies(exit))
        assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", "no interactive transactions")
      })
    )
  )

  it.live("the sessions on it have no `ended`: an isolate is one of many", () =>
    onD1(
      Effect.gen(function* () {
        const { ended } = yield* Effect.provide(SessionBackend, SessionBackendSql.layerStorage(), { local: true })
        assert.isUndefined(ended)
      })
    )
  )
})
