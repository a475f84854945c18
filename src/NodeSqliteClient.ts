/**
 * A `SqlClient` over the SQLite built into Node (`node:sqlite`): durable sessions without a database server or another
 * package.
 *
 * **When to use**
 *
 * Use with `SessionBackendSql` on a single machine. Processes of that machine may share the file.
 *
 * **Details**
 *
 * - The file is opened in WAL mode with `synchronous = FULL`: acknowledged writes survive a crash of the process and of
 *   the machine.
 * - One connection serves all fibers, a statement or a transaction at a time. A transaction takes the write lock when it
 *   begins (`BEGIN IMMEDIATE`).
 *
 * **Gotchas**
 *
 * - `node:sqlite` is synchronous: while a statement runs, or waits for another connection's write lock, the event loop is
 *   blocked. So give sessions a database file of their own: in the file of the application, a session operation could
 *   wait for the lock of a transaction that cannot end until the event loop runs again.
 * - A session operation inside a transaction of the same client fails at once.
 * - A stream reads all rows before it emits the first.
 * - This module needs Node, and is not part of the package's main entry point. Node 22 prints a warning that its SQLite
 *   is experimental.
 *
 * **Example** (Keeping sessions in a file)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { SessionBackendSql } from "effect-sessions"
 * import * as NodeSqliteClient from "effect-sessions/NodeSqliteClient"
 *
 * export const SessionsLive = SessionBackendSql.layer.pipe(
 *   Layer.provide(NodeSqliteClient.layer({ filename: "sessions.db" }))
 * )
 * ```
 *
 * @since 0.1.0
 */
/// <reference types="node" />
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { classifySqliteError, SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite"

/**
 * Options of the SQLite client.
 *
 * @category options
 * @since 0.1.0
 */
export interface NodeSqliteClientOptions {
  /** Path of the database file, created if it is missing. `":memory:"` keeps everything in this process. */
  readonly filename: string
  /**
   * How long a statement waits, blocking the event loop, for the write lock of another connection.
   *
   * @default "1 second"
   */
  readonly busyTimeout?: Duration.Input | undefined
}

/**
 * Opens the database as a client, which is closed with the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: NodeSqliteClientOptions
): Effect.Effect<SqlClient.SqlClient, SqlError, Scope.Scope | Reactivity.Reactivity> =>
  Effect.gen(function* () {
    const database = yield* Effect.acquireRelease(
      attempt("connect", () => open(options), `cannot open ${options.filename}`),
      (database) => Effect.sync(() => database.close())
    )
    return yield* SqlClient.make({
      ...SqlClient.makeSqliteAcquirers({
        connection: Effect.succeed(makeConnection(database)),
        semaphore: yield* Semaphore.make(1),
        isTransaction: () => database.isTransaction
      }),
      compiler: Statement.makeCompilerSqlite(),
      driver: "node-sqlite",
      beginTransaction: "BEGIN IMMEDIATE",
      releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
      spanAttributes: [["db.system.name", "sqlite"]]
    })
  })

/**
 * Layer that opens the database and provides it as `SqlClient`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: NodeSqliteClientOptions): Layer.Layer<SqlClient.SqlClient, SqlError> =>
  Layer.effect(SqlClient.SqlClient, make(options)).pipe(Layer.provide(Reactivity.layer))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const open = (options: NodeSqliteClientOptions): DatabaseSync => {
  const database = new DatabaseSync(options.filename, {
    timeout: Duration.toMillis(Duration.fromInputUnsafe(options.busyTimeout ?? "1 second"))
  })
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
  return database
}

/** How many prepared statements are kept. A session store needs about ten. */
const preparedCapacity = 100

const makeConnection = (database: DatabaseSync): Connection => {
  const prepared = new Map<string, StatementSync>()
  const prepare = (sql: string): StatementSync => {
    let statement = prepared.get(sql)
    if (statement === undefined) {
      if (prepared.size >= preparedCapacity) prepared.clear()
      prepared.set(sql, (statement = database.prepare(sql)))
    }
    return statement
  }
  const rows = (statement: StatementSync, params: ReadonlyArray<unknown>): ReadonlyArray<object> => {
    statement.setReturnArrays(false)
    return statement.all(...bind(params))
  }
  const values = (statement: StatementSync, params: ReadonlyArray<unknown>): ReadonlyArray<ReadonlyArray<unknown>> => {
    statement.setReturnArrays(true)
    // `all` is typed for rows as objects; after `setReturnArrays(true)` each row is an array.
    return statement.all(...bind(params)) as ReadonlyArray<unknown> as ReadonlyArray<ReadonlyArray<unknown>>
  }
  const execute =
    (prepare: (sql: string) => StatementSync): Connection["execute"] =>
    (sql, params, transformRows) => {
      const result = attempt("execute", () => rows(prepare(sql), params))
      return transformRows === undefined ? result : Effect.map(result, transformRows)
    }
  return {
    execute: execute(prepare),
    executeUnprepared: execute((sql) => database.prepare(sql)),
    executeValues: (sql, params) => attempt("execute", () => values(prepare(sql), params)),
    executeValuesUnprepared: (sql, params) => attempt("execute", () => values(database.prepare(sql), params)),
    executeRaw: (sql, params) =>
      attempt("execute", () => {
        const statement = prepare(sql)
        return statement.columns().length > 0 ? rows(statement, params) : statement.run(...bind(params))
      }),
    executeStream: (sql, params, transformRows) =>
      Stream.unwrap(Effect.map(execute(prepare)(sql, params, transformRows), Stream.fromIterable))
  }
}

/** Parameters are not checked here: `node:sqlite` throws for a value that SQLite cannot hold. */
const bind = (params: ReadonlyArray<unknown>): Array<SQLInputValue> => params as Array<SQLInputValue>

const attempt = <A>(operation: string, evaluate: () => A, what = `${operation} failed`): Effect.Effect<A, SqlError> =>
  Effect.try({
    try: evaluate,
    catch: (cause) => {
      // The classifier expects SQLite's numeric code in `errno`; `node:sqlite` names it `errcode`.
      if (cause instanceof Error && "errcode" in cause) Object.assign(cause, { errno: cause.errcode })
      return new SqlError({ reason: classifySqliteError(cause, { message: `NodeSqliteClient: ${what}`, operation }) })
    }
  })
