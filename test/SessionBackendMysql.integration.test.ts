/** `SessionBackendSql` on MySQL and MariaDB. */
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import { outcomeOf } from "../src/internal/backend/sqlOutcome.ts"
import * as NodeMysqlClient from "../src/NodeMysqlClient.ts"
import { SessionBackend, type SessionBackendError, type SessionRecord } from "../src/SessionBackend.ts"
import * as SessionBackendSql from "../src/SessionBackendSql.ts"
import { hasMariaDbServer, mysqlUrl, OwnMariaDb } from "./support/mariadb.ts"
import { listens, needing } from "./support/processes.ts"
import { backendOver, record, seen, suite } from "./support/sqlBackend.ts"

type Options = NodeMysqlClient.NodeMysqlClientOptions

const random = globalThis.crypto.randomUUID().slice(0, 8)
const database = `effect_sessions_${random}`
const user = `sessions_${random}`

const client = (options?: Options) => NodeMysqlClient.layer({ url: Redacted.make(mysqlUrl), database, ...options })

/** A client with connections of its own. */
const open = (options?: Options) =>
  Effect.map(Layer.build(Layer.fresh(client(options))), (context) => Context.get(context, SqlClient.SqlClient))

/** Waits until a statement that begins so is under way in this run's database, and answers its connection. */
const underWay = (sql: SqlClient.SqlClient, start: string) =>
  sql<{ id: number }>`
    SELECT id FROM information_schema.processlist
    WHERE db = ${database} AND command <> 'Sleep' AND TRIM(info) LIKE ${`${start}%`} AND id <> CONNECTION_ID()`.pipe(
    Effect.flatMap((rows) => Effect.fromOption(Option.fromUndefinedOr(rows[0]))),
    Effect.retry(Schedule.spaced("5 millis")),
    Effect.timeout("10 seconds"),
    Effect.map(({ id }) => Number(id))
  )

const withMysql = needing(await listens(mysqlUrl, 3306), "no MySQL or MariaDB at MYSQL_URL, nor at 127.0.0.1:3306")

withMysql("SessionBackendSql on MySQL", () => {
  const admin = (...statements: ReadonlyArray<string>) =>
    Effect.runPromise(
      Effect.provide(
        Effect.flatMap(SqlClient.SqlClient, (sql) =>
          Effect.forEach(statements, (statement) => sql.unsafe(statement).unprepared)
        ),
        NodeMysqlClient.layer({ url: Redacted.make(mysqlUrl) })
      )
    )
  beforeAll(async () => {
    await admin(`CREATE DATABASE ${database}`)
    await Effect.runPromise(Effect.scoped(Layer.build(SessionBackendSql.layer.pipe(Layer.provide(client())))))
    await admin(
      `CREATE USER ${user}@'%' IDENTIFIED BY '${user}'`,
      `CREATE USER ${user}@localhost IDENTIFIED BY '${user}'`,
      `GRANT SELECT, INSERT, UPDATE, DELETE ON ${database}.effect_sessions TO ${user}@'%'`,
      `GRANT SELECT, INSERT, UPDATE, DELETE ON ${database}.effect_sessions TO ${user}@localhost`
    )
  })
  afterAll(() => admin(`DROP DATABASE ${database}`, `DROP USER ${user}@'%'`, `DROP USER ${user}@localhost`))

  const restricted = () => client({ user, password: Redacted.make(user) })

  suite("conformance", backendOver(client()))
  suite(
    "conformance: layerStorage, with a user that may only read and write the table",
    SessionBackendSql.layerStorage().pipe(Layer.provide(restricted()))
  )

  it.live("layerStorage needs no right to create tables, which layerWith does", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(
        Layer.build(SessionBackendSql.layerWith({ table: "another" }).pipe(Layer.provide(restricted())))
      )
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
    })
  )

  it.live("[R47] what a session operation did stands, though the transaction around it is rolled back", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const backend = yield* SessionBackend
      const loggedOut = record()
      const revoked = record()
      const changed = record()
      const created = record()
      for (const record of [loggedOut, revoked, changed]) yield* backend.create(record)
      yield* sql`CREATE TABLE orders (id INTEGER)`
      const handler = Effect.gen(function* () {
        yield* sql`INSERT INTO orders (id) VALUES (1)`
        assert.isTrue(yield* backend.delete(loggedOut.namespace, loggedOut.id))
        // However the caller begins transactions of its own.
        const { deleted } = yield* Effect.provideService(
          backend.deleteByPrincipal(revoked.namespace, "alice", { limit: 10 }),
          SqlClient.BeginTransaction,
          "START TRANSACTION READ ONLY"
        )
        assert.strictEqual(deleted.length, 1)
        assert.strictEqual(yield* backend.touch(changed.namespace, changed.id, seen), "touched")
        assert.strictEqual((yield* backend.update(changed.namespace, changed.id, 1, seen))._tag, "updated")
        assert.strictEqual(yield* backend.create(created), "created")
        return yield* Effect.fail("rolled back")
      })
      assert.strictEqual(yield* Effect.flip(sql.withTransaction(sql.withTransaction(handler))), "rolled back")
      assert.deepStrictEqual(yield* sql`SELECT id FROM orders`, [])
      assert.deepStrictEqual(yield* backend.read(loggedOut.namespace, loggedOut.id), Option.none())
      assert.deepStrictEqual(yield* backend.read(revoked.namespace, revoked.id), Option.none())
      assert.deepStrictEqual(
        yield* backend.read(changed.namespace, changed.id),
        Option.some({ ...changed, ...seen, version: 2 })
      )
      assert.deepStrictEqual(yield* backend.read(created.namespace, created.id), Option.some(created))
    }).pipe(Effect.provide(backendOver(client())))
  )

  it.live("migrations run any number of times, in several processes at once, and keep what is stored", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      for (const table of ["first", "second", "third"]) {
        const starts = Array.from({ length: 6 }, () => {
          const stored = record()
          return Effect.gen(function* () {
            const backend = yield* SessionBackend
            yield* backend.create(stored)
            assert.isTrue(Option.isSome(yield* backend.read(stored.namespace, stored.id)))
          }).pipe(Effect.provide(SessionBackendSql.layerWith({ table }).pipe(Layer.provide(Layer.fresh(client())))))
        })
        yield* Effect.all(starts, { concurrency: "unbounded" })
        for (const start of starts.slice(0, 1))
          yield* Effect.flip(Effect.timeout(Effect.andThen(start, Effect.never), "1 second"))
        assert.deepStrictEqual(yield* sql`SELECT name FROM ${sql(`${table}_migrations`)}`.values, [
          ["create"],
          ["sweep_at"]
        ])
        assert.deepStrictEqual(yield* sql`SELECT COUNT(*) FROM ${sql(table)}`.values, [[6]])
      }
    }).pipe(Effect.provide(client()))
  )

  it.live("the statements of ddl make the table that layerStorage asks for by name", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const storage = SessionBackendSql.layerStorage({ table: "by_hand" }).pipe(
        Layer.provide(Layer.succeed(SqlClient.SqlClient, sql))
      )
      const error = yield* Effect.flip(Layer.build(Layer.fresh(storage)))
      assert.include(error.message, "there is no table by_hand")
      for (const statement of SessionBackendSql.ddl({ dialect: "mysql", table: "by_hand" }))
        yield* sql.unsafe(statement)
      const backend = Context.get(yield* Layer.build(Layer.fresh(storage)), SessionBackend)
      assert.strictEqual(yield* backend.create(record()), "created")
      const [row] = yield* sql<{ engine: string; charset: string }>`
        SELECT engine AS engine, table_collation AS charset FROM information_schema.tables
        WHERE table_schema = DATABASE() AND table_name = 'by_hand'`
      assert.deepStrictEqual({ ...row }, { engine: "InnoDB", charset: "utf8mb4_bin" })
    }).pipe(Effect.provide(client()))
  )

  /** Runs `locked` while rows are locked by a change not yet committed, and commits when `locked` says so. */
  const whileLocked = <A, E, R>(
    { id, namespace }: SessionRecord,
    locked: (commit: Effect.Effect<void>, run: (text: string) => Effect.Effect<unknown>) => Effect.Effect<A, E, R>
  ) =>
    Effect.scoped(
      Effect.gen(function* () {
        const sql = yield* open({ lockWaitTimeout: "20 seconds" })
        const connection = yield* sql.reserve
        const run = (text: string) => Effect.orDie(connection.executeUnprepared(text, [], undefined))
        yield* run("BEGIN")
        yield* run(
          `UPDATE effect_sessions SET last_seen_at = 2000000, idle_expires_at = 2000000, absolute_expires_at = 3000000
           WHERE namespace = '${namespace}' AND id = '${id}'`
        )
        return yield* locked(Effect.asVoid(run("COMMIT")), run)
      })
    )

  it.live("a sweep neither waits for a row that is being touched nor deletes it afterwards", () =>
    Effect.gen(function* () {
      const backend = yield* SessionBackend
      const sql = yield* SqlClient.SqlClient
      // Later than what is due of other tests, and long before what they keep.
      const sweep = backend.deleteExpired({ now: 2_500_000, limit: 1000 })
      yield* sweep
      const touched = record()
      const expired = record()
      yield* backend.create(touched)
      yield* backend.create(expired)
      yield* whileLocked(touched, (commit) =>
        Effect.gen(function* () {
          const { deleted } = yield* Effect.timeout(sweep, "5 seconds")
          assert.deepInclude(deleted, { namespace: expired.namespace, id: expired.id, principal: "alice" })
          assert.notInclude(
            deleted.map(({ namespace }) => namespace),
            touched.namespace
          )
          yield* commit
        })
      )
      yield* sweep
      const found = yield* backend.read(touched.namespace, touched.id)
      assert.strictEqual(Option.getOrThrow(found).lastSeenAt, 2_000_000)
      // It has been put where a sweep finds it when it is over: 2,000,000 rounded up.
      assert.deepStrictEqual(
        yield* sql`SELECT sweep_at FROM effect_sessions WHERE namespace = ${touched.namespace}`.values,
        [[2_700_000]]
      )
    }).pipe(Effect.provide(backendOver(client())))
  )

  it.live("[R82] a deadlock is retried", () =>
    Effect.gen(function* () {
      const backend = yield* SessionBackend
      const sql = yield* SqlClient.SqlClient
      const [first, second] = ["a", "b"].map((id) => record({ id: id.repeat(22), namespace: `deadlock ${random}` }))
      yield* backend.create(first!)
      yield* backend.create(second!)
      const deadlocks = Effect.map(
        sql<{ n: string }>`SELECT COUNT AS n FROM information_schema.innodb_metrics WHERE NAME = 'lock_deadlocks'`,
        ([row]) => Number(row?.n)
      )
      const heavy = `heavy ${random}`
      for (let i = 0; i < 30; i++) yield* backend.create(record({ namespace: heavy, id: String(i) }))
      const before = yield* deadlocks
      const { deleted } = yield* whileLocked(second!, (commit, run) =>
        Effect.gen(function* () {
          yield* run(`UPDATE effect_sessions SET extension = '[]' WHERE namespace = '${heavy}'`)
          const fiber = yield* Effect.forkChild(backend.deleteByPrincipal(first!.namespace, "alice", { limit: 10 }))
          // It has locked the first, and waits for the second. The one that has written least is undone.
          yield* underWay(sql, "SELECT id")
          yield* Effect.sleep("100 millis")
          yield* run(
            `UPDATE effect_sessions SET extension = '{"a":1}' WHERE namespace = '${first!.namespace}' AND id = '${first!.id}'`
          )
          yield* commit
          return yield* Fiber.join(fiber)
        })
      )
      assert.isAbove(yield* deadlocks, before)
      assert.sameMembers(
        deleted.map(({ id }) => id),
        [first!.id, second!.id]
      )
    }).pipe(Effect.provide(backendOver(client({ lockWaitTimeout: "20 seconds" }))))
  )

  it.live("[R80] a lock that is not granted in time has applied nothing", () =>
    Effect.gen(function* () {
      const backend = yield* SessionBackend
      const stored = record()
      yield* backend.create(stored)
      const error = yield* whileLocked(stored, () => Effect.flip(backend.delete(stored.namespace, stored.id)))
      assert.strictEqual(error.outcome, "notApplied")
      assert.isTrue(yield* backend.delete(stored.namespace, stored.id))
    }).pipe(Effect.provide(backendOver(client({ lockWaitTimeout: "1 second" }))))
  )

  it.live("[R80] a connection killed while it served a write leaves it in doubt, and the next one is served", () =>
    Effect.gen(function* () {
      const backend = yield* SessionBackend
      const stored = record()
      yield* backend.create(stored)
      const error = yield* whileLocked(stored, (commit, run) =>
        Effect.gen(function* () {
          const sql = yield* open()
          const fiber = yield* Effect.forkChild(Effect.flip(backend.delete(stored.namespace, stored.id)))
          yield* run(`KILL ${yield* underWay(sql, "DELETE")}`)
          const error = yield* Fiber.join(fiber)
          yield* commit
          return error
        })
      )
      assert.strictEqual(error.outcome, "unknown")
      assert.isTrue(yield* backend.delete(stored.namespace, stored.id))
    }).pipe(Effect.provide(backendOver(client({ lockWaitTimeout: "20 seconds" }))))
  )

  it.live("[R80] an update whose record could not be read afterwards is in doubt, and is not sent again", () =>
    Effect.gen(function* () {
      let updates = 0
      const refused = new SqlError({ reason: new ConnectionError({ cause: new Error("gone"), operation: "connect" }) })
      const stub = {
        executeRaw: () => Effect.sync(() => ({ affectedRows: ++updates })),
        execute: () => Effect.fail(refused)
      } as unknown as Connection
      const failing = Layer.effect(
        SqlClient.SqlClient,
        SqlClient.make({ acquirer: Effect.succeed(stub), compiler, driver: "stub", spanAttributes: [] })
      ).pipe(Layer.provide(Reactivity.layer))
      const backend = Context.get(
        yield* Layer.build(SessionBackendSql.layerStorage().pipe(Layer.provide(failing))),
        SessionBackend
      )
      const error = yield* Effect.flip(backend.update("namespace", "id", 1, seen))
      assert.deepStrictEqual([error.outcome, updates], ["unknown", 1])
    })
  )

  it.live("[R80] a database that cannot be reached has applied nothing", () =>
    Effect.gen(function* () {
      const backend = yield* SessionBackend
      const error = yield* Effect.flip(backend.delete("namespace", "id"))
      assert.strictEqual(error.outcome, "notApplied")
    }).pipe(
      Effect.provide(
        SessionBackendSql.layerStorage().pipe(
          Layer.provide(NodeMysqlClient.layer({ url: Redacted.make("mysql://nobody@127.0.0.1:1/none") }))
        )
      )
    )
  )

  it.live(
    "[R69] of 2,000 log-outs that race with updates and touches from another process, none is undone",
    () =>
      Effect.gen(function* () {
        const [one, other] = yield* Effect.all([1, 2].map(() => Layer.build(Layer.fresh(backendOver(client())))))
        const here = Context.get(one!, SessionBackend)
        const there = Context.get(other!, SessionBackend)
        let lost = 0
        const race = (i: number) =>
          Effect.gen(function* () {
            const stored = record({ id: String(i).padStart(22, "0"), namespace: `race ${random}` })
            const { id, namespace } = stored
            yield* here.create(stored)
            const [isDeleted, updated] = yield* Effect.all(
              [
                here.delete(namespace, id),
                there.update(namespace, id, 1, { data: "1", ...seen }),
                there.touch(namespace, id, { lastSeenAt: 1_000_002, idleExpiresAt: 1_001_002 })
              ],
              { concurrency: "unbounded" }
            )
            assert.isTrue(isDeleted)
            if (updated._tag === "gone") lost++
            assert.isTrue(Option.isNone(yield* there.read(namespace, id)))
          })
        yield* Effect.forEach(Array.from({ length: 2000 }), (_, i) => race(i), { concurrency: 20, discard: true })
        assert.deepStrictEqual((yield* here.listByPrincipal(`race ${random}`, "alice", { limit: 10 })).records, [])
        // They did meet.
        assert.isAbove(lost, 0)
      }),
    120_000
  )

  it.live(
    "[R70] 4 processes that update a session 50 times each lose none of it",
    () =>
      Effect.gen(function* () {
        const stored = record({ data: "0" })
        const { id, namespace } = stored
        const backends = yield* Effect.forEach([1, 2, 3, 4], () =>
          Effect.map(Layer.build(Layer.fresh(backendOver(client({ maxConnections: 3 })))), (context) =>
            Context.get(context, SessionBackend)
          )
        )
        yield* backends[0]!.create(stored)
        const add = (backend: SessionBackend["Service"]) => {
          const from = (current: SessionRecord): Effect.Effect<void, SessionBackendError> =>
            Effect.flatMap(
              backend.update(namespace, id, current.version, { data: String(Number(current.data) + 1), ...seen }),
              (result) => (result._tag === "stale" ? from(result.record) : Effect.void)
            )
          return Effect.flatMap(backend.read(namespace, id), (found) => from(Option.getOrThrow(found)))
        }
        yield* Effect.forEach(
          backends.flatMap((backend) => Array.from({ length: 50 }, () => backend)),
          add,
          { concurrency: "unbounded", discard: true }
        )
        const { data, version } = Option.getOrThrow(yield* backends[1]!.read(namespace, id))
        assert.deepStrictEqual([data, version], ["200", 201])
      }),
    120_000
  )

  it.live("the statements use the indexes", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* Layer.build(SessionBackendSql.layerMigrations({ table: "many" }))
      const columns = `'hash', 1, principal, 'data', 1, '{}', n, 1, 1, 1, n, n, 1, n`
      yield* sql.unsafe(
        `INSERT INTO many SELECT 'namespace', LPAD(n, 22, '0'), ${columns} FROM (
           WITH RECURSIVE numbers AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000)
           SELECT n + 1000 * thousand AS n, CONCAT('user', n DIV 10) AS principal
           FROM numbers, (SELECT 0 AS thousand UNION SELECT 1 UNION SELECT 2 UNION SELECT 3) AS thousands
         ) AS rows_made`
      )
      yield* sql`ANALYZE TABLE many`
      const plans: Array<Record<string, unknown>> = []
      // Explains each, and answers what makes the next one be sent.
      const explain = (text: string, params: ReadonlyArray<unknown>) =>
        /^\s*(SELECT|UPDATE|DELETE)/.test(text)
          ? sql.unsafe<Record<string, unknown>>(`EXPLAIN ${text}`, params).pipe(
              Effect.tap(([plan]) => Effect.sync(() => plans.push({ ...plan }))),
              Effect.as([
                {
                  namespace: "namespace",
                  id: "500".padStart(22, "0"),
                  principal: "user50",
                  deadline: 1,
                  name: "sweep_at"
                }
              ])
            )
          : Effect.succeed([])
      const stub = {
        execute: explain,
        executeUnprepared: () => Effect.succeed([]),
        executeRaw: (text: string, params: ReadonlyArray<unknown>) =>
          Effect.as(explain(text, params), { affectedRows: 1 })
      } as unknown as Connection
      const explaining = Layer.effect(
        SqlClient.SqlClient,
        SqlClient.make({ acquirer: Effect.succeed(stub), compiler, driver: "explaining", spanAttributes: [] })
      ).pipe(Layer.provide(Reactivity.layer))
      yield* Effect.gen(function* () {
        const backend = yield* SessionBackend
        // The check of the version when the layer is built.
        plans.length = 0
        const id = "500".padStart(22, "0")
        yield* backend.touch("namespace", id, seen)
        yield* backend.listByPrincipal("namespace", "user50", { limit: 3, after: `1500.${id}` })
        yield* backend.deleteByPrincipal("namespace", "user50", { limit: 10 })
        yield* backend.deleteExpired({ now: 600_100, limit: 10 })
        yield* backend.scan("namespace", { limit: 250 })
        yield* backend.scan("namespace", { limit: 250, after: id })
      }).pipe(Effect.provide(explainedStorage.pipe(Layer.provide(explaining))))
      assert.deepStrictEqual(
        plans.map(({ key }) => key),
        ["PRIMARY", "many_newest", "many_newest", "PRIMARY", "PRIMARY", "many_sweep", "PRIMARY", "PRIMARY", "PRIMARY"]
      )
      for (const { Extra, type } of plans) {
        assert.include(["const", "range", "ref"], type)
        assert.notInclude(String(Extra), "filesort")
      }
    }).pipe(Effect.provide(client()))
  )
})

it("[R80] an error of MySQL is a refusal, but for those of a server that ends or cannot tell", () => {
  const outcome = (errno: number) =>
    outcomeOf(new SqlError({ reason: new UnknownError({ cause: { errno, sqlState: "HY000" }, operation: "execute" }) }))
  // Data too long, read-only; shutdown in progress, error during commit, connection killed.
  assert.deepStrictEqual([1406, 1290].map(outcome), ["notApplied", "notApplied"])
  assert.deepStrictEqual([1053, 1180, 1927].map(outcome), ["unknown", "unknown", "unknown"])
})

const explainedStorage = SessionBackendSql.layerStorage({ table: "many" })

const compiler = Statement.makeCompiler({
  dialect: "mysql",
  placeholder: () => "?",
  onIdentifier: Statement.defaultEscape("`"),
  onCustom: () => ["", []],
  onRecordUpdate: () => ["", []]
})

const withServer = needing(hasMariaDbServer(), "there is no MariaDB server to start")

withServer("SessionBackendSql and a MariaDB that fails", () => {
  let server: OwnMariaDb
  beforeAll(async () => {
    server = await OwnMariaDb.start()
  }, 120_000)
  afterAll(() => server?.dispose())

  const own = Layer.unwrap(
    Effect.sync(() => backendOver(NodeMysqlClient.layer({ url: Redacted.make(server.url), maxConnections: 3 })))
  )

  it.live("[R81] killed and restarted it has every session and no log-out is undone", () =>
    Effect.gen(function* () {
      const backend = yield* SessionBackend
      const kept = record()
      const loggedOut = record()
      yield* backend.create(kept)
      yield* backend.create(loggedOut)
      yield* backend.update(kept.namespace, kept.id, 1, { data: `{"a":1}`, ...seen })
      yield* backend.delete(loggedOut.namespace, loggedOut.id)
      yield* Effect.promise(() => server.kill())
      const error = yield* Effect.flip(backend.delete(kept.namespace, kept.id))
      assert.strictEqual(error.outcome, "notApplied")
      yield* Effect.promise(() => server.start())
      const back = backend
        .read(kept.namespace, kept.id)
        .pipe(Effect.retry(Schedule.spaced("50 millis")), Effect.timeout("20 seconds"))
      assert.deepStrictEqual(yield* back, Option.some({ ...kept, ...seen, data: `{"a":1}`, version: 2 }))
      assert.isTrue(Option.isNone(yield* backend.read(loggedOut.namespace, loggedOut.id)))
    }).pipe(Effect.provide(Layer.fresh(own)))
  )

  it.live("[R79] frozen it holds up nobody longer than they wait, and serves again when it is thawed", () =>
    Effect.gen(function* () {
      const backend = yield* SessionBackend
      const stored = record()
      yield* backend.create(stored)
      server.signal("SIGSTOP")
      const read = Effect.timeoutOption(Effect.exit(backend.read(stored.namespace, stored.id)), "500 millis")
      const began = performance.now()
      const answers = yield* Effect.all(
        Array.from({ length: 30 }, () => read),
        { concurrency: "unbounded" }
      )
      assert.isBelow(performance.now() - began, 5000)
      assert.isTrue(answers.every((answer) => Option.isNone(answer) || Exit.isFailure(answer.value)))
      server.signal("SIGCONT")
      const back = backend
        .read(stored.namespace, stored.id)
        .pipe(Effect.timeout("2 seconds"), Effect.retry(Schedule.spaced("50 millis")), Effect.timeout("20 seconds"))
      assert.deepStrictEqual(yield* back, Option.some(stored))
    }).pipe(Effect.ensuring(Effect.sync(() => server.signal("SIGCONT"))), Effect.provide(Layer.fresh(own)))
  )

  it.live("[R80] read-only it has applied nothing, and is read from", () =>
    Effect.gen(function* () {
      const backend = yield* SessionBackend
      const stored = record()
      yield* backend.create(stored)
      yield* Effect.promise(() => server.sql("SET GLOBAL read_only = 1"))
      for (const write of [
        backend.create(record()),
        backend.delete(stored.namespace, stored.id),
        backend.deleteByPrincipal(stored.namespace, "alice", { limit: 10 }),
        backend.touch(stored.namespace, stored.id, seen)
      ]) {
        assert.strictEqual((yield* Effect.flip<unknown, SessionBackendError, never>(write)).outcome, "notApplied")
      }
      assert.deepStrictEqual(yield* backend.read(stored.namespace, stored.id), Option.some(stored))
    }).pipe(
      Effect.ensuring(Effect.promise(() => server.sql("SET GLOBAL read_only = 0"))),
      Effect.provide(Layer.fresh(own))
    )
  )
})
