import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import * as NodeSqliteClient from "effect-sessions/NodeSqliteClient"
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { DatabaseSync } from "node:sqlite"

const memory = NodeSqliteClient.layer({ filename: ":memory:" })

const temporaryFile = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-sessions-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
  ),
  (folder) => join(folder, "sessions.db")
)

const numbers = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE numbers (n INTEGER PRIMARY KEY, name TEXT) STRICT`
  yield* sql`INSERT INTO numbers ${sql.insert([
    { n: 1, name: "one" },
    { n: 2, name: null }
  ])}`
  return sql
})

describe("NodeSqliteClient", () => {
  it.effect("answers rows, arrays, raw results and streams", () =>
    Effect.gen(function* () {
      const sql = yield* numbers
      const query = sql<{ n: number; name: string | null }>`SELECT n, name FROM numbers ORDER BY n`
      const rows = [
        { n: 1, name: "one" },
        { n: 2, name: null }
      ]
      const plain = (found: ReadonlyArray<object>) => found.map((row) => ({ ...row }))
      assert.deepStrictEqual(plain(yield* query), rows)
      assert.deepStrictEqual(yield* query.values, [
        [1, "one"],
        [2, null]
      ])
      assert.deepStrictEqual(plain(yield* query), rows)
      assert.deepStrictEqual(plain(yield* query.unprepared), rows)
      assert.deepStrictEqual(plain(yield* Stream.runCollect(query.stream)), rows)
      assert.deepStrictEqual(yield* sql`DELETE FROM numbers WHERE n = ${2}`.raw, { changes: 1, lastInsertRowid: 2 })
      assert.deepStrictEqual(plain(yield* sql`DELETE FROM numbers RETURNING n`), [{ n: 1 }])
    }).pipe(Effect.provide(memory))
  )

  it.effect("keeps what a transaction did, or nothing of it, in savepoints too", () =>
    Effect.gen(function* () {
      const sql = yield* numbers
      const insert = (n: number) => sql`INSERT INTO numbers (n) VALUES (${n})`
      yield* sql.withTransaction(insert(3))
      yield* Effect.flip(sql.withTransaction(Effect.andThen(insert(4), Effect.fail("no"))))
      yield* sql.withTransaction(
        Effect.andThen(insert(5), Effect.ignore(sql.withTransaction(Effect.andThen(insert(6), Effect.fail("no")))))
      )
      assert.deepStrictEqual(yield* sql`SELECT n FROM numbers ORDER BY n`.values, [[1], [2], [3], [5]])
      // No savepoint is left behind.
      const error = yield* sql.withTransaction(
        Effect.andThen(sql.withTransaction(insert(7)), Effect.flip(sql`RELEASE SAVEPOINT effect_sql_1`))
      )
      assert.include(String(error.reason.cause), "no such savepoint")
    }).pipe(Effect.provide(memory))
  )

  it.effect("does not let another fiber's statement into a transaction", () =>
    Effect.gen(function* () {
      const sql = yield* numbers
      const rolledBack = sql.withTransaction(
        Effect.gen(function* () {
          yield* sql`INSERT INTO numbers (n) VALUES (3)`
          yield* Effect.yieldNow
          return yield* Effect.fail("no")
        })
      )
      yield* Effect.all([Effect.ignore(rolledBack), sql`INSERT INTO numbers (n) VALUES (4)`], { concurrency: 2 })
      assert.deepStrictEqual(yield* sql`SELECT n FROM numbers ORDER BY n`.values, [[1], [2], [4]])
    }).pipe(Effect.provide(memory))
  )

  it.effect("fails with SqlError, by the kind of the failure", () =>
    Effect.gen(function* () {
      const sql = yield* numbers
      const reason = <A>(statement: Effect.Effect<A, { readonly reason: { readonly _tag: string } }>) =>
        Effect.map(Effect.flip(statement), (error) => error.reason._tag)
      assert.strictEqual(yield* reason(sql`INSERT INTO numbers (n) VALUES (1)`), "ConstraintError")
      assert.strictEqual(yield* reason(sql`SELEC`), "UnknownError")
      assert.strictEqual(yield* reason(sql`SELECT ${{ not: "a value" }} AS v`), "UnknownError")
    }).pipe(Effect.provide(memory))
  )

  it.effect("fails to open by the kind of the failure, whatever the runtime says of it", () =>
    Effect.gen(function* () {
      const opening = (filename: string) =>
        Effect.map(
          Effect.flip(Effect.scoped(Layer.build(NodeSqliteClient.layer({ filename, busyTimeout: "50 millis" })))),
          (error) => error.reason._tag
        )
      const filename = yield* temporaryFile
      assert.strictEqual(yield* opening(join(filename, "no", "such", "folder.db")), "ConnectionError")
      assert.strictEqual(yield* opening(dirname(filename)), "ConnectionError")
      writeFileSync(filename, "not a database, and long enough to be seen as none ".repeat(10))
      assert.strictEqual(yield* opening(filename), "UnknownError")
      const locked = `${filename}.locked`
      const other = new DatabaseSync(locked)
      other.exec("BEGIN EXCLUSIVE")
      assert.strictEqual(yield* opening(locked), "LockTimeoutError")
      other.close()
    })
  )

  it.effect("goes on when more different statements come than it keeps prepared", () =>
    Effect.gen(function* () {
      const sql = yield* numbers
      for (let i = 0; i < 250; i++) {
        assert.deepStrictEqual(yield* sql.unsafe(`SELECT ${i % 150} AS v`).values, [[i % 150]])
      }
    }).pipe(Effect.provide(memory))
  )

  it.effect("says which file it cannot open, and why", () =>
    Effect.gen(function* () {
      const file = yield* temporaryFile
      const messageOf = (filename: string) =>
        Effect.map(
          Effect.flip(Effect.scoped(Layer.build(NodeSqliteClient.layer({ filename })))),
          ({ message }) => message
        )
      const missing = join(file, "no", "such", "folder.db")
      assert.strictEqual(
        yield* messageOf(missing),
        `NodeSqliteClient: cannot open ${missing}: unable to open database file; its folder has to exist, and be writable`
      )
      writeFileSync(file, "x".repeat(4096))
      assert.strictEqual(yield* messageOf(file), `NodeSqliteClient: cannot open ${file}: file is not a database`)
    })
  )

  it.effect("opens a file durably, and keeps its content", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const file = NodeSqliteClient.layer({ filename })
      yield* Effect.provide(numbers, file)
      assert.isFalse(existsSync(`${filename}-wal`), "SQLite removes it when the last connection is closed")
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        assert.deepStrictEqual(yield* sql`PRAGMA journal_mode`.values, [["wal"]])
        assert.deepStrictEqual(yield* sql`PRAGMA synchronous`.values, [[2]])
        assert.deepStrictEqual(yield* sql`PRAGMA busy_timeout`.values, [[1000]])
        assert.deepStrictEqual(yield* sql`SELECT count(*) FROM numbers`.values, [[2]])
        assert.isTrue(existsSync(`${filename}-wal`))
      }).pipe(Effect.provide(file, { local: true }))
    })
  )

  it.live("waits for the write lock of another connection as long as it was told, and holds it in a transaction", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const file = NodeSqliteClient.layer({ filename, busyTimeout: "50 millis" })
      yield* Effect.gen(function* () {
        const sql = yield* numbers
        assert.deepStrictEqual(yield* sql`PRAGMA busy_timeout`.values, [[50]])
        const other = new DatabaseSync(filename)
        yield* sql.withTransaction(Effect.sync(() => assert.throws(() => other.exec("BEGIN IMMEDIATE"), /locked/)))
        other.exec("BEGIN IMMEDIATE")
        const error = yield* Effect.flip(sql`INSERT INTO numbers (n) VALUES (3)`)
        assert.strictEqual(error.reason._tag, "LockTimeoutError")
        assert.deepStrictEqual(yield* sql`SELECT count(*) FROM numbers`.values, [[2]])
        other.close()
        yield* sql`INSERT INTO numbers (n) VALUES (3)`
      }).pipe(Effect.provide(file))
    })
  )

  it.live("holds the event loop neither while a statement runs nor while it waits for a lock", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      yield* Effect.gen(function* () {
        const sql = yield* numbers
        /** Whether a timer fires before the statement has ended. */
        const letsOthersRun = <A, E>(statement: Effect.Effect<A, E>) =>
          Effect.gen(function* () {
            let hasFired = false
            const timer = setTimeout(() => (hasFired = true), 1)
            yield* statement
            clearTimeout(timer)
            return hasFired
          })
        const long = sql`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) SELECT max(i) FROM n`
        assert.isTrue(yield* letsOthersRun(long))
        const other = new DatabaseSync(filename)
        other.exec("BEGIN IMMEDIATE")
        // The lock is given back by this thread, which must not be the one that waits.
        setTimeout(() => other.exec("COMMIT"), 50)
        assert.isTrue(yield* letsOthersRun(sql`INSERT INTO numbers (n) VALUES (3)`))
        other.close()
        assert.deepStrictEqual(yield* sql`SELECT count(*) FROM numbers`.values, [[3]])
      }).pipe(Effect.provide(NodeSqliteClient.layer({ filename, busyTimeout: "20 seconds" })))
    })
  )

  it.live("an interrupted statement is waited for, so that nothing of it happens later", () =>
    Effect.gen(function* () {
      const sql = yield* numbers
      const slow = sql`
        INSERT INTO numbers (n)
        SELECT max(i) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500000) SELECT i FROM n)`
      const fiber = yield* Effect.forkChild(sql.withTransaction(slow))
      yield* Effect.sleep("5 millis")
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* sql`SELECT count(*) FROM numbers`.values, [[2]])
      // The transaction has ended with it.
      yield* sql.withTransaction(sql`INSERT INTO numbers (n) VALUES (4)`)
      assert.deepStrictEqual(yield* sql`SELECT count(*) FROM numbers`.values, [[3]])
    }).pipe(Effect.provide(memory))
  )

  it.effect("serves Effect's own modules", () =>
    Effect.gen(function* () {
      const store = yield* KeyValueStore.KeyValueStore
      yield* store.set("a", "1")
      assert.strictEqual(yield* store.get("a"), "1")
      assert.isUndefined(yield* store.get("b"))
    }).pipe(Effect.provide(KeyValueStore.layerSql({ table: "kv" }).pipe(Layer.provide(memory))))
  )
})
