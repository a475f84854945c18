import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import * as NodeMysqlClient from "effect-sessions/NodeMysqlClient"
import { createServer, type Socket } from "node:net"
import { freePort, listens, needing } from "./support/processes.ts"
import { hasMariaDbServer, mysqlUrl, OwnMariaDb } from "./support/mariadb.ts"

type Options = NodeMysqlClient.NodeMysqlClientOptions

const database = `effect_sessions_${globalThis.crypto.randomUUID().slice(0, 8)}`

const client = (options?: Options) => NodeMysqlClient.layer({ url: Redacted.make(mysqlUrl), database, ...options })

/** Another client than the one in the context, with connections of its own. */
const open = (options?: Options) =>
  Effect.map(Layer.build(Layer.fresh(client(options))), (context) => Context.get(context, SqlClient.SqlClient))

const numbers = (sql: SqlClient.SqlClient) =>
  Effect.gen(function* () {
    const table = `numbers_${globalThis.crypto.randomUUID().slice(0, 8)}`
    yield* sql`CREATE TABLE ${sql(table)} (n BIGINT PRIMARY KEY, name VARCHAR(10))`
    yield* sql`INSERT INTO ${sql(table)} ${sql.insert([
      { n: 1, name: "one" },
      { n: 2, name: null }
    ])}`
    return sql(table)
  })

const reasonOf = <A, R>(effect: Effect.Effect<A, SqlError, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason)

const connectionId = (sql: SqlClient.SqlClient) =>
  Effect.map(sql<{ id: number }>`SELECT CONNECTION_ID() AS id`, ([row]) => Number(row!.id))

/** How many connections of this run's database there are that are not this one. */
const connections = (sql: SqlClient.SqlClient) =>
  Effect.map(
    sql<{
      n: number
    }>`SELECT COUNT(*) AS n FROM information_schema.processlist WHERE db = ${database} AND id <> CONNECTION_ID()`,
    ([row]) => Number(row!.n)
  )

const until = <E>(isSo: Effect.Effect<boolean, E>) =>
  Effect.timeout(Effect.repeat(isSo, { until: (is) => is, schedule: Schedule.spaced("20 millis") }), "20 seconds")

const withMysql = needing(await listens(mysqlUrl, 3306), "no MySQL or MariaDB at MYSQL_URL, nor at 127.0.0.1:3306")

withMysql("NodeMysqlClient", () => {
  const admin = (statement: string) =>
    Effect.runPromise(
      Effect.provide(
        Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(statement)),
        NodeMysqlClient.layer({ url: Redacted.make(mysqlUrl) })
      )
    )
  beforeAll(() => admin(`CREATE DATABASE ${database}`))
  afterAll(() => admin(`DROP DATABASE ${database}`))

  it.live("answers rows, arrays, raw results and streams", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const table = yield* numbers(sql)
      const query = sql<{ n: number; name: string | null }>`SELECT n, name FROM ${table} ORDER BY n`
      const rows = [
        { n: 1, name: "one" },
        { n: 2, name: null }
      ]
      const arrays = [
        [1, "one"],
        [2, null]
      ]
      const plain = (found: ReadonlyArray<object>) => found.map((row) => ({ ...row }))
      for (const _ of ["prepared", "from the cache"]) {
        assert.deepStrictEqual(plain(yield* query), rows)
        assert.deepStrictEqual(yield* query.values, arrays)
      }
      assert.deepStrictEqual(plain(yield* query.unprepared), rows)
      assert.deepStrictEqual(yield* query.valuesUnprepared, arrays)
      assert.deepStrictEqual(plain(yield* Stream.runCollect(query.stream)), rows)
      assert.deepStrictEqual(yield* sql`DELETE FROM ${table} WHERE n = ${2}`, [])
      // It matches one, and changes none.
      const raw = yield* sql`UPDATE ${table} SET name = ${"one"} WHERE n = ${1}`.raw
      assert.propertyVal(raw as object, "affectedRows", 1)
    }).pipe(Effect.provide(client()))
  )

  it.live("keeps large numbers, all of Unicode, times and bytes as they are", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const [row] = yield* sql<Record<string, unknown>>`
        SELECT CAST(${Number.MAX_SAFE_INTEGER} AS SIGNED) AS safe, 9007199254740993 AS more, ${"🔑 ß \\' \u0001"} AS text,
          CAST(${"key "} AS BINARY) AS bytes, ${undefined} AS missing, CAST(${new Date(86_400_000)} AS DATETIME) AS time`
      assert.deepStrictEqual(
        { ...row, bytes: String(row!["bytes"]) },
        {
          safe: Number.MAX_SAFE_INTEGER,
          more: "9007199254740993",
          text: "🔑 ß \\' \u0001",
          bytes: "key ",
          missing: null,
          time: new Date(86_400_000)
        }
      )
      // Nor is a text taken for a part of the statement where it is put into it.
      const quoted = yield* sql<{ text: string }>`SELECT ${"\\' OR 1 = 1 -- "} AS text`.unprepared
      assert.strictEqual(quoted[0]!.text, "\\' OR 1 = 1 -- ")
    }).pipe(Effect.provide(client()))
  )

  it.live("sets up each connection, whatever the defaults of the server are", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const [row] = yield* sql<Record<string, unknown>>`
        SELECT @@character_set_client AS charset, @@sql_mode AS mode, @@autocommit AS autocommit, @@time_zone AS zone,
          @@innodb_lock_wait_timeout AS rowLock, @@lock_wait_timeout AS tableLock`
      const { mode, ...rest } = row!
      assert.deepStrictEqual(rest, { charset: "utf8mb4", autocommit: 1, zone: "+00:00", rowLock: 2, tableLock: 2 })
      assert.include(String(mode), "STRICT_ALL_TABLES")
      assert.notInclude(String(mode), "NO_BACKSLASH_ESCAPES")
      // What another transaction commits meanwhile is seen.
      const table = yield* numbers(sql)
      const other = yield* open()
      const count = Effect.map(sql<{ n: number }>`SELECT COUNT(*) AS n FROM ${table}`, ([row]) => row!.n)
      const counts = yield* sql.withTransaction(
        Effect.all([count, Effect.andThen(other`INSERT INTO ${table} (n) VALUES (3)`, count)])
      )
      assert.deepStrictEqual(counts, [2, 3])
    }).pipe(Effect.provide(client({ lockWaitTimeout: "1500 millis" })))
  )

  it.live("keeps what a transaction did, or nothing of it, in savepoints too", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const table = yield* numbers(sql)
      const insert = (n: number) => sql`INSERT INTO ${table} (n) VALUES (${n})`
      yield* sql.withTransaction(insert(3))
      yield* Effect.flip(sql.withTransaction(Effect.andThen(insert(4), Effect.fail("no"))))
      yield* sql.withTransaction(
        Effect.andThen(insert(5), Effect.ignore(sql.withTransaction(Effect.andThen(insert(6), Effect.fail("no")))))
      )
      assert.deepStrictEqual(yield* sql`SELECT n FROM ${table} ORDER BY n`.values, [[1], [2], [3], [5]])
      // No savepoint is left behind.
      const error = yield* sql.withTransaction(
        Effect.andThen(sql.withTransaction(insert(7)), Effect.flip(sql`RELEASE SAVEPOINT effect_sql_1`.unprepared))
      )
      assert.include(String(error.reason.cause), "does not exist")
    }).pipe(Effect.provide(client()))
  )

  it.live("fails with SqlError, by the kind of the failure", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const table = yield* numbers(sql)
      const tagOf = <A, R>(effect: Effect.Effect<A, SqlError, R>) => Effect.map(reasonOf(effect), ({ _tag }) => _tag)
      const duplicate = yield* reasonOf(sql`INSERT INTO ${table} (n) VALUES (1)`)
      assert.deepInclude(duplicate, { _tag: "UniqueViolation", constraint: "PRIMARY", operation: "execute" })
      assert.strictEqual(yield* tagOf(sql`INSERT INTO ${table} (n) VALUES (${null})`), "ConstraintError")
      assert.strictEqual(yield* tagOf(sql`SELEC`), "SqlSyntaxError")
      assert.strictEqual(yield* tagOf(sql`SELECT 1 FROM nothing_of_that_name`), "SqlSyntaxError")
      assert.strictEqual(yield* tagOf(sql`SELECT nothing FROM ${table}`), "SqlSyntaxError")
      assert.strictEqual(yield* tagOf(sql`UPDATE ${table} SET name = ${"x".repeat(11)}`), "UnknownError")
      // One connection has served all of that.
      const other = yield* open()
      const id = yield* connectionId(sql)
      yield* other.withTransaction(
        Effect.andThen(
          other`UPDATE ${table} SET name = 'locked' WHERE n = 1`,
          Effect.map(tagOf(sql`DELETE FROM ${table} WHERE n = 1`), (tag) => assert.strictEqual(tag, "LockTimeoutError"))
        )
      )
      assert.strictEqual(yield* connectionId(sql), id)
      const using = (options: Options) =>
        Effect.map(reasonOf(Effect.scoped(Effect.flatMap(open(options), (sql) => sql`SELECT 1`))), (reason) => [
          reason._tag,
          reason.operation
        ])
      const port = yield* Effect.promise(freePort)
      assert.deepStrictEqual(yield* using({ url: undefined, host: "127.0.0.1", port }), ["ConnectionError", "connect"])
      assert.deepStrictEqual(yield* using({ database: "nothing_of_that_name" }), ["ConnectionError", "connect"])
      assert.deepStrictEqual(yield* using({ user: "nobody_of_that_name", password: Redacted.make("wrong") }), [
        "AuthenticationError",
        "connect"
      ])
    }).pipe(Effect.provide(client({ maxConnections: 1 })))
  )

  it.live("answers one of two transactions that wait for one another with DeadlockError", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const table = yield* numbers(sql)
      const update = (n: number) => sql`UPDATE ${table} SET name = 'x' WHERE n = ${n}`
      const both = (first: number, second: number) =>
        Effect.exit(
          sql.withTransaction(Effect.andThen(update(first), Effect.andThen(Effect.sleep("200 millis"), update(second))))
        )
      const exits = yield* Effect.all([both(1, 2), both(2, 1)], { concurrency: 2 })
      const failed = exits.flatMap((exit) => (Exit.isFailure(exit) ? [Cause.squash(exit.cause) as SqlError] : []))
      assert.deepStrictEqual(
        failed.map(({ reason }) => reason._tag),
        ["DeadlockError"]
      )
    }).pipe(Effect.provide(client({ lockWaitTimeout: "10 seconds" })))
  )

  it.live("opens connections as they are needed, no more than it may, and closes them with the layer", () =>
    Effect.gen(function* () {
      const other = yield* SqlClient.SqlClient
      const before = yield* connections(other)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const sql = yield* open({ maxConnections: 3 })
          assert.strictEqual(yield* connections(other), before)
          yield* sql`SELECT 1`
          assert.strictEqual(yield* connections(other), before + 1)
          const answers = yield* Effect.forEach(
            Array.from({ length: 12 }),
            () => sql<{ id: number }>`SELECT CONNECTION_ID() AS id, SLEEP(0.1)`,
            { concurrency: "unbounded" }
          )
          assert.strictEqual(new Set(answers.map(([row]) => row!.id)).size, 3)
          assert.strictEqual(yield* connections(other), before + 3)
        })
      )
      yield* until(Effect.map(connections(other), (now) => now === before))
    }).pipe(Effect.provide(client({ maxConnections: 1 })))
  )

  it.live("closes a connection whose statement is interrupted, in a transaction too, and serves the next one", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const table = yield* numbers(sql)
      const id = yield* connectionId(sql)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(Effect.timeout(sql`SELECT SLEEP(2)`, "100 millis"))))
      const next = yield* connectionId(sql)
      assert.notStrictEqual(next, id)
      const slow = sql.withTransaction(Effect.andThen(sql`INSERT INTO ${table} (n) VALUES (3)`, sql`SELECT SLEEP(2)`))
      const error = yield* Effect.flip(Effect.timeout(slow, "300 millis"))
      assert.strictEqual(error._tag, "TimeoutError")
      assert.notStrictEqual(yield* connectionId(sql), next)
      yield* until(Effect.map(sql`SELECT n FROM ${table} ORDER BY n`.values, (rows) => rows.length === 2))
      // One that is interrupted between two statements goes on with its connection.
      const last = yield* connectionId(sql)
      yield* Effect.flip(Effect.timeout(sql.withTransaction(Effect.andThen(sql`SELECT 1`, Effect.never)), "300 millis"))
      assert.strictEqual(yield* connectionId(sql), last)
    }).pipe(Effect.provide(client({ maxConnections: 1 })))
  )

  it.live(
    "a statement under way when its connection is killed fails, and so do those waiting when the layer closes",
    () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const other = yield* open()
        const id = yield* connectionId(sql)
        const killed = yield* Effect.forkChild(reasonOf(sql.withTransaction(sql`SELECT SLEEP(20)`)))
        yield* Effect.sleep("200 millis")
        yield* other.unsafe(`KILL ${id}`)
        const reason = yield* Fiber.join(killed)
        assert.deepInclude(reason, { _tag: "ConnectionError", operation: "execute" })
        assert.notStrictEqual(yield* connectionId(sql), id)

        const closing = yield* Effect.scoped(
          Effect.gen(function* () {
            const sql = yield* open({ maxConnections: 1 })
            // No interruption helps it: it is the connection that ends.
            const fiber = yield* Effect.forkDetach(Effect.uninterruptible(reasonOf(sql`SELECT SLEEP(20)`)))
            const queued = yield* Effect.forkDetach(reasonOf(sql`SELECT 1`))
            yield* Effect.sleep("300 millis")
            return [fiber, queued] as const
          })
        )
        const reasons = yield* Effect.timeout(Effect.forEach(closing, Fiber.join), "10 seconds")
        assert.deepStrictEqual(
          reasons.map(({ _tag, operation }) => [_tag, operation]),
          [
            ["ConnectionError", "execute"],
            ["ConnectionError", "connect"]
          ]
        )
      }).pipe(Effect.provide(client({ maxConnections: 1 })))
  )

  it.live("a connection that was killed while it was idle is replaced", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const other = yield* open()
      const id = yield* connectionId(sql)
      yield* other.unsafe(`KILL ${id}`)
      yield* Effect.sleep("200 millis")
      assert.notStrictEqual(yield* connectionId(sql), id)
    }).pipe(Effect.provide(client({ maxConnections: 1 })))
  )

  it.live("a server that accepts and says nothing is given up, and whoever waits can leave before that", () =>
    Effect.gen(function* () {
      const sockets = new Set<Socket>()
      const server = createServer((socket) => {
        sockets.add(socket)
        socket
          .on("error", () => {})
          .on("close", () => sockets.delete(socket))
          .resume()
      })
      const port = yield* Effect.promise(freePort)
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => void server.listen(port, "127.0.0.1", () => resume(Effect.void))),
        () => Effect.sync(() => void server.close())
      )
      const silent = { url: undefined, host: "127.0.0.1", port, maxConnections: 1 }
      const patient = yield* open({ ...silent, connectTimeout: "300 millis" })
      assert.deepInclude(yield* reasonOf(patient`SELECT 1`), { _tag: "ConnectionError", operation: "connect" })
      const leaving = yield* open({ ...silent, connectTimeout: "1 minute" })
      for (const _ of [1, 2, 3]) {
        assert.strictEqual((yield* Effect.flip(Effect.timeout(leaving`SELECT 1`, "200 millis")))._tag, "TimeoutError")
      }
      yield* until(Effect.sync(() => sockets.size === 0))
    })
  )

  it.live("takes its options from the configuration, and shows no password", () =>
    Effect.gen(function* () {
      const url = Redacted.make(mysqlUrl)
      const configured = NodeMysqlClient.layerConfig({
        url: Config.Redacted("MYSQL_URL"),
        database: Config.String("DB")
      })
      const provider = ConfigProvider.layer(
        ConfigProvider.fromUnknown({ MYSQL_URL: Redacted.value(url), DB: database })
      )
      const rows = yield* Effect.provide(
        Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT DATABASE()`.values),
        Layer.provide(configured, provider)
      )
      assert.deepStrictEqual(rows, [[database]])
      const exit = yield* Effect.exit(open({ url: Redacted.make("mysql://root:hunter2@:x/") }))
      assert.isTrue(Exit.isFailure(exit))
      assert.include(String(Exit.isFailure(exit) && Cause.pretty(exit.cause)), "the url is not a URL")
      assert.notInclude(JSON.stringify(exit), "hunter2")
      for (const other of ["root:hunter2@127.0.0.1", "postgres://root:hunter2@127.0.0.1/test"]) {
        const refused = yield* Effect.exit(open({ url: Redacted.make(other) }))
        assert.include(
          String(Exit.isFailure(refused) && Cause.pretty(refused.cause)),
          "begin with mysql:// or mariadb://"
        )
        assert.notInclude(JSON.stringify(refused), "hunter2")
      }
    })
  )

  it.live("serves Effect's own modules", () =>
    Effect.gen(function* () {
      const store = yield* KeyValueStore.KeyValueStore
      yield* store.set("a", "1")
      assert.strictEqual(yield* store.get("a"), "1")
      assert.isUndefined(yield* store.get("b"))
    }).pipe(Effect.provide(KeyValueStore.layerSql({ table: "kv" }).pipe(Layer.provide(client()))))
  )
})

const withServer = needing(hasMariaDbServer(), "there is no MariaDB server to start")

withServer("NodeMysqlClient and a server that fails", () => {
  let server: OwnMariaDb
  beforeAll(async () => {
    server = await OwnMariaDb.start()
  }, 120_000)
  afterAll(() => server?.dispose())

  const own = (options?: Options) => NodeMysqlClient.layer({ url: Redacted.make(server.url), ...options })

  it.live("goes on when the server was restarted, refuses meanwhile, and never sends what it could not", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`SELECT 1`
      yield* Effect.promise(() => server.kill())
      for (const _ of [1, 2]) {
        assert.deepInclude(yield* reasonOf(sql`SELECT 1`), { _tag: "ConnectionError", operation: "connect" })
      }
      yield* Effect.promise(() => server.start())
      assert.deepStrictEqual(yield* sql`SELECT 1`.values, [[1]])
    }).pipe(Effect.provide(Layer.unwrap(Effect.sync(() => own({ maxConnections: 1 })))))
  )

  it.live("drops a connection whose server says that it is read-only", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const table = yield* numbers(sql)
      const id = yield* connectionId(sql)
      yield* Effect.promise(() => server.sql("SET GLOBAL read_only = 1"))
      const reason = yield* reasonOf(sql`DELETE FROM ${table}`)
      yield* Effect.promise(() => server.sql("SET GLOBAL read_only = 0"))
      assert.propertyVal(reason.cause as object, "errno", 1290)
      assert.notStrictEqual(yield* connectionId(sql), id)
    }).pipe(Effect.provide(Layer.unwrap(Effect.sync(() => own({ maxConnections: 1 })))))
  )

  it.live("the end of a transaction that gets no answer is given up", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const frozen = sql.withTransaction(
        Effect.andThen(
          sql`SELECT 1`,
          Effect.sync(() => server.signal("SIGSTOP"))
        )
      )
      const reason = yield* Effect.timeout(reasonOf(frozen), "20 seconds")
      server.signal("SIGCONT")
      assert.deepInclude(reason, { _tag: "ConnectionError", operation: "execute" })
      assert.deepStrictEqual(yield* sql`SELECT 1`.values, [[1]])
    }).pipe(
      Effect.ensuring(Effect.sync(() => server.signal("SIGCONT"))),
      Effect.provide(Layer.unwrap(Effect.sync(() => own({ maxConnections: 1, connectTimeout: "2 seconds" }))))
    )
  )

  it.live("more connections than the server has are refused as connects, and those there are go on", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const exits = yield* Effect.forEach(Array.from({ length: 50 }), () => Effect.exit(sql`SELECT SLEEP(0.5)`), {
        concurrency: "unbounded"
      })
      const failures = exits.flatMap((exit) => (Exit.isFailure(exit) ? [Cause.squash(exit.cause) as SqlError] : []))
      assert.isAbove(failures.length, 0)
      for (const { reason } of failures) {
        assert.deepInclude(reason, { _tag: "ConnectionError", operation: "connect" })
        assert.propertyVal(reason.cause as object, "errno", 1040)
      }
      assert.deepStrictEqual(yield* sql`SELECT 1`.values, [[1]])
    }).pipe(Effect.provide(Layer.unwrap(Effect.sync(() => own({ maxConnections: 50 })))))
  )
})
