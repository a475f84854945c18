import { assert, describe, it, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import * as SqlError from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Tracer from "effect/Tracer"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { inspect } from "node:util"
import { Worker } from "node:worker_threads"
import { isTransient, outcomeOf } from "../src/internal/backend/sqlOutcome.ts"
import * as NodeSqliteClient from "../src/NodeSqliteClient.ts"
import {
  type DeletedBatch,
  type Operation,
  SessionBackend,
  type SessionBackendError,
  type SessionRecord
} from "../src/SessionBackend.ts"
import * as SessionBackendSql from "../src/SessionBackendSql.ts"
import type { SessionConfigError } from "../src/SessionError.ts"
import * as SessionBackendTest from "../src/testing/SessionBackendTest.ts"
import * as Version1 from "./support/sqlVersion1.ts"

const memory = NodeSqliteClient.layer({ filename: ":memory:" })

const temporaryFile = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-sessions-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
  ),
  (folder) => join(folder, "sessions.db")
)

/** Held by every text of a record made here: none may be seen where only the library speaks. */
const canary = "canary"

const record = (changes?: Partial<SessionRecord>): SessionRecord => ({
  namespace: `${canary}-namespace`,
  id: `${canary}-id-0000000000000`,
  secretHash: `${canary}-hash`,
  version: 1,
  principal: `${canary}-principal`,
  data: `"${canary}-data"`,
  dataVersion: 1,
  extension: `"${canary}-extension"`,
  createdAt: 1_000_000,
  authenticatedAt: 1_000_000,
  lastSeenAt: 1_000_000,
  idleTimeout: 1000,
  idleExpiresAt: 1_001_000,
  absoluteExpiresAt: 1_010_000,
  persistent: true,
  ...changes
})

/** Every operation of the port, as it is called for a record that is there. */
const operations: Record<
  Exclude<Operation, "ended">,
  (backend: SessionBackend["Service"], record: SessionRecord) => Effect.Effect<unknown, SessionBackendError>
> = {
  create: (backend, record) => backend.create({ ...record, id: `${record.id}1` }),
  read: (backend, { id, namespace }) => backend.read(namespace, id),
  update: (backend, { id, namespace, version }) =>
    backend.update(namespace, id, version, { data: canary, lastSeenAt: 1_000_001, idleExpiresAt: 1_001_001 }),
  touch: (backend, { id, namespace }) =>
    backend.touch(namespace, id, { lastSeenAt: 1_000_002, idleExpiresAt: 1_001_002 }),
  delete: (backend, { id, namespace, principal }) => backend.delete(namespace, id, { principal }),
  deleteByPrincipal: (backend, { id, namespace, principal }) =>
    backend.deleteByPrincipal(namespace, principal!, { limit: 10, except: id }),
  listByPrincipal: (backend, { id, namespace, principal }) =>
    backend.listByPrincipal(namespace, principal!, { limit: 2, after: `1000000.${id}` }),
  deleteExpired: (backend) => backend.deleteExpired({ now: 1, limit: 10 }),
  scan: (backend, { namespace }) => backend.scan(namespace, { limit: 2, after: "a" })
}

/** How many statements an operation takes that finds what it is to change. */
const statementsOf = (name: keyof typeof operations): number => (name === "deleteExpired" ? 2 : 1)

const names = Object.keys(operations) as ReadonlyArray<keyof typeof operations>

/** A SQLite client in memory that records the statements it is given, and fails the next ones as it is told. */
const watched = Effect.gen(function* () {
  const inner = Context.get(yield* Layer.build(memory), SqlClient.SqlClient)
  const statements: Array<string> = []
  const failures: Array<SqlError.SqlErrorReason | undefined> = []
  const execute: Connection["execute"] = (sql, params) =>
    Effect.suspend(() => {
      statements.push(sql)
      const reason = failures.shift()
      return reason === undefined ? inner.unsafe(sql, params) : Effect.fail(new SqlError.SqlError({ reason }))
    })
  const connection = new Proxy({} as Connection, { get: () => execute })
  const client = yield* SqlClient.make({
    acquirer: Effect.succeed(connection),
    compiler: Statement.makeCompilerSqlite(),
    driver: "watched",
    spanAttributes: []
  })
  const backend = Context.get(
    yield* Layer.build(SessionBackendSql.layer.pipe(Layer.provide(Layer.succeed(SqlClient.SqlClient, client)))),
    SessionBackend
  )
  statements.length = 0
  return { backend, failures, statements }
}).pipe(Effect.provide(Reactivity.layer))

const cause = new Error("as the driver has it")

/** A connection that was lost while it served a statement. */
const lost = new SqlError.ConnectionError({ cause, operation: "query" })

const suite = (name: string, client: Layer.Layer<SqlClient.SqlClient, unknown>) =>
  layer(SessionBackendSql.layer.pipe(Layer.provide(client)), { excludeTestServices: true })(name, (it) => {
    const { cases, collectingCases, pushingCases } = SessionBackendTest
    // It has `ended` for this process.
    for (const { effect, name } of [...cases, ...collectingCases, ...pushingCases]) it.effect(name, () => effect)
  })

describe("SessionBackendSql", () => {
  suite("conformance: SQLite in memory", memory)
  suite(
    "conformance: SQLite in a file",
    Layer.unwrap(Effect.map(temporaryFile, (filename) => NodeSqliteClient.layer({ filename })))
  )

  it.effect("[R48] a file keeps sessions, and sign-outs, when it is closed and opened again", () =>
    Effect.gen(function* () {
      const client = NodeSqliteClient.layer({ filename: yield* temporaryFile })
      const backend = SessionBackendSql.layer.pipe(Layer.provide(client))
      const other = record({ id: `${canary}-id-1111111111111` })
      yield* Effect.gen(function* () {
        const backend = yield* SessionBackend
        yield* backend.create(record())
        yield* backend.create(other)
        yield* backend.delete(other.namespace, other.id)
      }).pipe(Effect.provide(backend))
      yield* Effect.gen(function* () {
        const backend = yield* SessionBackend
        assert.deepStrictEqual(yield* backend.read(record().namespace, record().id), Option.some(record()))
        assert.deepStrictEqual(yield* backend.read(other.namespace, other.id), Option.none())
      }).pipe(Effect.provide(backend, { local: true }))
    })
  )

  it.effect("[R49] walks, revocations and sweeps go through however many sessions there are, a few at a time", () =>
    Effect.gen(function* () {
      const backend = yield* SessionBackend
      const { namespace } = record()
      const fill = Effect.forEach(
        Array.from({ length: 3000 }, (_, n) => record({ id: String(n), principal: "alice", createdAt: 1_000_000 + n })),
        backend.create,
        { discard: true }
      )
      const newestFirst = Array.from({ length: 3000 }, (_, n) => String(2999 - n))
      yield* fill
      const listed: Array<string> = []
      let after: string | undefined
      do {
        const page = yield* backend.listByPrincipal(namespace, "alice", { limit: 1000, after })
        assert.isAtMost(page.records.length, 50)
        listed.push(...page.records.map(({ id }) => id))
        after = page.next
      } while (after !== undefined)
      assert.deepStrictEqual(listed, newestFirst)
      const all = (batch: Effect.Effect<DeletedBatch, SessionBackendError>) =>
        Effect.gen(function* () {
          const ids: Array<string> = []
          for (;;) {
            const { deleted, more } = yield* batch
            assert.isAtMost(deleted.length, 50)
            ids.push(...deleted.map(({ id }) => id))
            if (!more) return ids
          }
        })
      const revoked = yield* all(backend.deleteByPrincipal(namespace, "alice", { limit: 1000, except: "7" }))
      // Each batch is of the newest; within one the order is nobody's concern.
      assert.sameMembers(revoked.slice(0, 50), newestFirst.slice(0, 50))
      assert.sameMembers(
        revoked,
        newestFirst.filter((id) => id !== "7")
      )
      assert.deepStrictEqual(yield* all(backend.deleteByPrincipal(namespace, "alice", { limit: 1 })), ["7"])
      yield* fill
      const swept = yield* all(backend.deleteExpired({ now: 1_001_000 + 30 * 60_000, limit: 1000 }))
      assert.sameMembers(swept, newestFirst)
    }).pipe(Effect.provide(SessionBackendSql.layer.pipe(Layer.provide(memory))))
  )

  it.effect("a sweep puts the rows that were touched off, and comes to those behind them", () =>
    Effect.gen(function* () {
      const backend = yield* SessionBackend
      const sql = yield* SqlClient.SqlClient
      const { namespace } = record()
      const now = 1_001_000 + 30 * 60_000
      for (let n = 0; n < 120; n++) {
        const id = String(n)
        yield* backend.create(record({ id, absoluteExpiresAt: 90_000_000 }))
        if (n < 110) yield* backend.touch(namespace, id, { lastSeenAt: now, idleExpiresAt: now + n })
      }
      const due = sql<{ due: number }>`SELECT count(*) AS due FROM effect_sessions WHERE sweep_at <= ${now - 600_000}`
      const deleted: Array<string> = []
      let calls = 0
      let isMore = true
      while (isMore) {
        const batch = yield* backend.deleteExpired({ now, limit: 20 })
        deleted.push(...batch.deleted.map(({ id }) => id))
        isMore = batch.more
        calls++
      }
      assert.sameMembers(deleted, ["110", "111", "112", "113", "114", "115", "116", "117", "118", "119"])
      assert.isAtMost(calls, 8)
      assert.strictEqual((yield* due)[0]?.due, 0)
      // Off, and not too far: they are swept when their own time comes.
      const later = yield* backend.deleteExpired({ now: now + 200 + 25 * 60_000, limit: 50 })
      assert.lengthOf(later.deleted, 50)
    }).pipe(Effect.provide(SessionBackendSql.layer.pipe(Layer.provideMerge(memory))))
  )

  it.live("[R70] two threads with a client each on one new file keep all their updates", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const { id, namespace } = record()
      const writer = (name: string) =>
        Effect.callback<void, unknown>((resume) => {
          const worker = new Worker(new URL("support/sqliteWriter.ts", import.meta.url), {
            workerData: { filename, name, record: record({ data: "[]" }), updates: 100 }
          })
          worker.on("error", (error) => resume(Effect.fail(error)))
          worker.on("exit", () => resume(Effect.void))
        })
      yield* Effect.all([writer("a"), writer("b")], { concurrency: 2 })
      const found = yield* Effect.provide(
        Effect.flatMap(SessionBackend, (backend) => backend.read(namespace, id)),
        SessionBackendSql.layer.pipe(Layer.provide(NodeSqliteClient.layer({ filename })))
      )
      const { data, version } = Option.getOrThrow(found)
      assert.strictEqual(new Set(JSON.parse(data)).size, 200)
      assert.strictEqual(version, 201)
    })
  )

  describe("statements", () => {
    it.effect(
      "one for each operation, two for a sweep, and a second to say why an update or a touch found nothing",
      () =>
        Effect.gen(function* () {
          const { backend, statements } = yield* watched
          const count = <A, E>(operation: Effect.Effect<A, E>) =>
            Effect.map(operation, () => statements.splice(0).length)
          for (const name of names) {
            yield* backend.delete(record().namespace, record().id)
            yield* backend.create(record())
            statements.length = 0
            assert.strictEqual(yield* count(operations[name](backend, record())), statementsOf(name), name)
          }
          const gone = record({ id: "none", namespace: "none" })
          assert.strictEqual(yield* count(operations.update(backend, gone)), 2)
          assert.strictEqual(yield* count(operations.touch(backend, gone)), 2)
        })
    )

    it.effect("[R67] are the same whatever the values, which only ever are parameters", () =>
      Effect.gen(function* () {
        const { backend, statements } = yield* watched
        const all = (changes: Partial<SessionRecord>) =>
          Effect.gen(function* () {
            const changed = record(changes)
            yield* backend.create(changed)
            for (const name of names) yield* operations[name](backend, changed)
            return new Set(statements.splice(0))
          })
        const plain = yield* all({})
        const hostile = `${canary}'; DROP TABLE effect_sessions; -- " \` \\ $1 ? :a @b {x} */ /*`
        const odd = yield* all({
          namespace: hostile,
          id: hostile,
          principal: hostile,
          data: hostile,
          secretHash: hostile
        })
        assert.deepStrictEqual(odd, plain)
        for (const statement of odd) assert.notInclude(statement, canary)
      })
    )

    it.effect("[R85a] are all that a span holds of an operation", () =>
      Effect.gen(function* () {
        const { backend } = yield* watched
        const spans: Array<Tracer.NativeSpan> = []
        const tracer = Tracer.make({
          span: (options) => {
            const span = new Tracer.NativeSpan(options)
            spans.push(span)
            return span
          }
        })
        yield* Effect.forEach(names, (name) => operations[name](backend, record())).pipe(Effect.withTracer(tracer))
        assert.isAtLeast(spans.length, names.length)
        for (const { attributes, events, name } of spans) {
          assert.notInclude(inspect([name, attributes, events], { depth: 10 }), canary)
        }
      })
    )

    it.effect("use the indexes for a principal's sessions and for expired ones", () =>
      Effect.gen(function* () {
        const { backend, statements } = yield* watched
        yield* operations.listByPrincipal(backend, record())
        yield* operations.deleteByPrincipal(backend, record())
        yield* operations.deleteExpired(backend, record())
        yield* operations.scan(backend, record())
        const sql = yield* SqlClient.SqlClient
        yield* Effect.provide(SessionBackend, SessionBackendSql.layer, { local: true })
        const plans = yield* Effect.forEach(statements, (statement) =>
          Effect.map(sql.unsafe<{ detail: string }>(`EXPLAIN QUERY PLAN ${statement}`), (rows) =>
            rows.map(({ detail }) => detail).join("; ")
          )
        )
        assert.lengthOf(plans, 5)
        assert.include(plans[0], "effect_sessions_newest")
        assert.include(plans[1], "effect_sessions_newest")
        assert.include(plans[2], "effect_sessions_sweep")
        assert.include(plans[3], "effect_sessions_sweep")
        assert.match(plans[4]!, /INDEX sqlite_autoindex_effect_sessions_1 \(namespace=\? AND id>\?\)/)
        for (const plan of plans) assert.notMatch(plan, /SCAN effect_sessions|TEMP B-TREE FOR ORDER/)
      }).pipe(Effect.provide(memory))
    )
  })

  describe("failures", () => {
    const reasons: ReadonlyArray<readonly [SqlError.SqlErrorReason, "notApplied" | "unknown"]> = [
      [new SqlError.ConnectionError({ cause, operation: "connect" }), "notApplied"],
      [new SqlError.ConnectionError({ cause, operation: "query" }), "unknown"],
      [new SqlError.ConnectionError({ cause }), "unknown"],
      [new SqlError.AuthenticationError({ cause }), "notApplied"],
      [new SqlError.AuthorizationError({ cause }), "notApplied"],
      [new SqlError.SqlSyntaxError({ cause }), "notApplied"],
      [new SqlError.UniqueViolation({ cause, constraint: "x" }), "notApplied"],
      [new SqlError.ConstraintError({ cause }), "notApplied"],
      [new SqlError.DeadlockError({ cause }), "notApplied"],
      [new SqlError.SerializationError({ cause }), "notApplied"],
      [new SqlError.LockTimeoutError({ cause }), "notApplied"],
      [new SqlError.StatementTimeoutError({ cause: Object.assign(new Error(), { code: "57014" }) }), "unknown"],
      [new SqlError.UnknownError({ cause }), "unknown"],
      ...(
        [
          ["25006", "notApplied"],
          ["53100", "notApplied"],
          ["22021", "notApplied"],
          ["40003", "unknown"],
          ["57P01", "unknown"],
          ["58030", "unknown"],
          ["XX000", "unknown"],
          ["ECONNRESET", "unknown"]
        ] as const
      ).map(
        ([code, outcome]) =>
          [new SqlError.UnknownError({ cause: Object.assign(new Error(), { code }) }), outcome] as const
      ),
      ...([1, 8, 13, 18, 20, 1032] as const).map(
        (errno) => [new SqlError.UnknownError({ cause: Object.assign(new Error(), { errno }) }), "notApplied"] as const
      ),
      ...([10, 11, 778] as const).map(
        (errno) => [new SqlError.UnknownError({ cause: Object.assign(new Error(), { errno }) }), "unknown"] as const
      )
    ]

    it("[R80] a write is not applied only where that is certain", () => {
      for (const [reason, outcome] of reasons) {
        assert.strictEqual(outcomeOf(new SqlError.SqlError({ reason })), outcome, inspect(reason))
      }
    })

    it.effect("[R80] of a write say what is known of it; of a read, that it applied nothing", () =>
      Effect.gen(function* () {
        const { backend, failures } = yield* watched
        for (const name of names) {
          failures.push(lost)
          const error = yield* Effect.flip(operations[name](backend, record()))
          assert.strictEqual(error.operation, name)
          const isRead = ["read", "listByPrincipal", "scan"].includes(name)
          assert.strictEqual(error.outcome, isRead ? "notApplied" : "unknown")
        }
      })
    )

    it.effect("[R80] of the second look, after a statement that found nothing to change, leave no doubt", () =>
      Effect.gen(function* () {
        const { backend, failures } = yield* watched
        for (const name of ["update", "touch"] as const) {
          failures.push(undefined, lost)
          assert.strictEqual((yield* Effect.flip(operations[name](backend, record()))).outcome, "notApplied")
        }
      })
    )

    it.effect("[R82] that are transient are retried, once, and never in create", () =>
      Effect.gen(function* () {
        const { backend, failures, statements } = yield* watched
        const serialization = new SqlError.SerializationError({ cause })
        const deadlock = new SqlError.DeadlockError({ cause })
        for (const name of names.filter((name) => name !== "create")) {
          yield* backend.delete(record().namespace, record().id)
          yield* backend.create(record())
          statements.length = 0
          failures.push(deadlock)
          yield* operations[name](backend, record())
          assert.strictEqual(statements.splice(0).length, statementsOf(name) + 1, name)
          failures.push(serialization, serialization)
          yield* Effect.flip(operations[name](backend, record()))
          assert.strictEqual(statements.splice(0).length, 2, name)
          failures.push(lost)
          yield* Effect.flip(operations[name](backend, record()))
          assert.strictEqual(statements.splice(0).length, 1, name)
        }
        failures.push(serialization)
        assert.strictEqual((yield* Effect.flip(operations.create(backend, record()))).outcome, "notApplied")
        assert.strictEqual(statements.splice(0).length, 1)
        assert.isTrue(isTransient(new SqlError.SqlError({ reason: deadlock })))
      })
    )

    it.effect("[R85a] of the database itself hold no key and no data", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const backend = yield* SessionBackend
        yield* backend.create(record())
        const expectFailures = Effect.forEach(names, (name) =>
          Effect.map(Effect.flip(operations[name](backend, record())), (error) => {
            assert.strictEqual(error.outcome, "notApplied", name)
            for (const text of [error.message, String(error), inspect(error, { depth: 10 }), JSON.stringify(error)]) {
              assert.notInclude(text, canary)
            }
          })
        )
        yield* sql`DROP TABLE effect_sessions`
        yield* expectFailures
      }).pipe(Effect.provide(SessionBackendSql.layer.pipe(Layer.provideMerge(memory))))
    )

    it.effect("[R80] a database that only reads, or is locked by another, has applied nothing", () =>
      Effect.gen(function* () {
        const filename = yield* temporaryFile
        const client = NodeSqliteClient.layer({ filename, busyTimeout: 0 })
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const backend = yield* SessionBackend
          yield* backend.create(record())
          const other = new DatabaseSync(filename)
          other.exec("BEGIN IMMEDIATE")
          assert.strictEqual(
            (yield* Effect.flip(backend.delete(record().namespace, record().id))).outcome,
            "notApplied"
          )
          other.close()
          yield* sql`PRAGMA query_only = ON`
          assert.strictEqual(
            (yield* Effect.flip(backend.delete(record().namespace, record().id))).outcome,
            "notApplied"
          )
          assert.deepStrictEqual(yield* backend.read(record().namespace, record().id), Option.some(record()))
        }).pipe(Effect.provide(SessionBackendSql.layer.pipe(Layer.provideMerge(client))))
      })
    )
  })

  it.effect("inside a transaction of the same SQLite client an operation fails at once and leaves it be", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const backend = yield* SessionBackend
      const inside = Effect.gen(function* () {
        yield* sql`CREATE TABLE orders (id INTEGER)`
        for (const name of names) {
          assert.strictEqual((yield* Effect.flip(operations[name](backend, record()))).outcome, "notApplied")
        }
      })
      yield* sql.withTransaction(inside)
      assert.deepStrictEqual(yield* sql`SELECT count(*) FROM orders`.values, [[0]])
      assert.strictEqual(yield* backend.create(record()), "created")
    }).pipe(Effect.provide(SessionBackendSql.layer.pipe(Layer.provideMerge(memory))))
  )

  describe("layers", () => {
    const problems = (layer: Layer.Layer<SessionBackend, SessionConfigError, SqlClient.SqlClient>) =>
      Effect.map(Effect.flip(Layer.build(layer)), ({ problems }) => problems)

    it.effect("[R87d] refuse a table's name that is not plain, before any statement", () =>
      Effect.gen(function* () {
        const refused = [
          `a"; drop`,
          "{x}",
          "a".repeat(49),
          "a".repeat(65),
          "",
          "a.b",
          "1a",
          "a b",
          "a-b",
          "é",
          "a\n",
          "a\0"
        ]
        const statements = Layer.effect(
          SqlClient.SqlClient,
          SqlClient.make({
            acquirer: Effect.die("a statement was sent"),
            compiler: Statement.makeCompilerSqlite(),
            driver: "none",
            spanAttributes: []
          })
        ).pipe(Layer.provide(Reactivity.layer))
        for (const table of refused) {
          for (const make of [SessionBackendSql.layerStorage, SessionBackendSql.layerWith]) {
            const found = yield* problems(make({ table })).pipe(Effect.provide(statements))
            assert.strictEqual(found.length, 1)
            assert.match(found[0]!, /^table must be 1 to 48 letters/)
          }
        }
        assert.throws(
          () => SessionBackendSql.ddl({ dialect: "pg", table: `a"; drop` }),
          /table must be 1 to 48 letters/
        )
        const longest = "a".repeat(48)
        yield* Layer.build(SessionBackendSql.layerWith({ table: longest })).pipe(Effect.provide(memory))
      })
    )

    it.effect("refuse a database they have not been tried on, and name all problems at once", () =>
      Effect.gen(function* () {
        const other = Layer.effect(
          SqlClient.SqlClient,
          SqlClient.make({
            acquirer: Effect.die("a statement was sent"),
            compiler: Statement.makeCompiler({
              dialect: "mssql",
              placeholder: () => "?",
              onIdentifier: (name) => name,
              onCustom: () => ["", []],
              onRecordUpdate: () => ["", []]
            }),
            driver: "mssql",
            spanAttributes: []
          })
        ).pipe(Layer.provide(Reactivity.layer))
        const found = yield* problems(SessionBackendSql.layerWith({ table: "" })).pipe(Effect.provide(other))
        assert.deepStrictEqual(
          found.map((problem) => problem.split(" ").slice(0, 3).join(" ")),
          ["table must be", "the SqlClient must"]
        )
      })
    )

    it.effect("create the table only once, and as many tables as are asked for", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const use = <A, E>(table: string, f: (backend: SessionBackend["Service"]) => Effect.Effect<A, E>) =>
          Effect.provide(Effect.flatMap(SessionBackend, f), SessionBackendSql.layerWith({ table }), { local: true })
        yield* use("one", (backend) => backend.create(record()))
        const read = (backend: SessionBackend["Service"]) => backend.read(record().namespace, record().id)
        assert.isTrue(Option.isSome(yield* use("one", read)))
        assert.isTrue(Option.isNone(yield* use("two", read)))
        // The name at its longest, in letters that SQL would fold.
        assert.isTrue(Option.isNone(yield* use("Aa_1".repeat(12), read)))
        const history = yield* sql`SELECT name FROM one_migrations`.values
        assert.deepStrictEqual(history, [["create"], ["sweep_at"]])
      }).pipe(Effect.provide(memory))
    )

    it.effect("tell by name of a table that is missing or of an older version, and of the migration to run", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const storage = SessionBackendSql.layerStorage({ table: "old" })
        assert.match(
          (yield* problems(storage))[0]!,
          /^there is no table old: make it \(layerMigrations.*ddl\(\{ table: "old", dialect: "sqlite" \}/
        )
        yield* Version1.create(sql, "old")
        assert.match(
          (yield* problems(storage))[0]!,
          /^table old is of version 1: run migration 0002_sweep_at \(layerMigrations.*ddl\(\{ table: "old", dialect: "sqlite", from: 1 \}/
        )
        for (const statement of SessionBackendSql.ddl({ dialect: "sqlite", table: "old", from: 1 })) {
          yield* sql.unsafe(statement)
        }
        yield* Layer.build(storage)
        // A table made elsewhere is left as it is, and the history made up for.
        yield* Layer.build(SessionBackendSql.layerMigrations({ table: "old" }))
        assert.deepStrictEqual(yield* sql`SELECT name FROM old_migrations`.values, [["create"], ["sweep_at"]])
        for (const statement of SessionBackendSql.ddl({ dialect: "sqlite", table: "elsewhere" })) {
          yield* sql.unsafe(statement)
        }
        yield* Layer.build(SessionBackendSql.layerWith({ table: "elsewhere" }))
      }).pipe(Effect.provide(memory))
    )

    it.effect("a database that fails while the layer is built is logged, and the application starts", () =>
      Effect.gen(function* () {
        const logs: Array<unknown> = []
        const log = Logger.make(({ message }) => void logs.push(message))
        const failing = Layer.effect(
          SqlClient.SqlClient,
          SqlClient.make({
            acquirer: Effect.fail(new SqlError.SqlError({ reason: lost })),
            compiler: Statement.makeCompilerSqlite(),
            driver: "none",
            spanAttributes: []
          })
        ).pipe(Layer.provide(Reactivity.layer))
        yield* Layer.build(SessionBackendSql.layerStorage()).pipe(
          Effect.provide(failing),
          Effect.provide(Logger.layer([log]))
        )
        assert.include(String(logs), "the version of the table could not be checked")
      })
    )
  })
})
