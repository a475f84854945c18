/**
 * A `SqlClient` over D1, the SQLite of Cloudflare Workers.
 *
 * **When to use**
 *
 * Use with `SessionBackendSql.layerStorage`, on a database whose table the statements of `SessionBackendSql.ddl` have made.
 *
 * **Details**
 *
 * - It needs the binding alone, and no package besides `effect`.
 * - It holds nothing that belongs to a request, so one client serves all requests of an isolate.
 *
 * **Gotchas**
 *
 * - D1 has no interactive transactions: `sql.withTransaction` fails with a `SqlError` and sends nothing, and so
 *   `SessionBackendSql.layerMigrations` dies.
 * - Give it the binding itself, and not what its `withSession` answers: that may read from a replica, which does not know
 *   of a log-out yet.
 * - A statement that was sent is not taken back: one that is interrupted may be applied all the same.
 * - A stream reads all rows before it emits the first.
 * - This module is not part of the package's main entry point.
 *
 * **Example** (Keeping sessions in D1)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { SessionBackendSql } from "effect-sessions"
 * import * as D1Client from "effect-sessions/D1Client"
 *
 * interface Env {
 *   readonly DB: D1Client.D1Database
 * }
 *
 * export const sessionsLive = (env: Env) =>
 *   SessionBackendSql.layerStorage().pipe(Layer.provide(D1Client.layer({ db: env.DB })))
 * ```
 *
 * @stability experimental
 * @since 0.1.0
 */

import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { classifySqliteError, SqlError, UnknownError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"

/**
 * What the client needs of a D1 binding: a part of `D1Database` of `@cloudflare/workers-types`.
 *
 * @stability experimental
 * @category models
 * @since 0.1.0
 */
export interface D1Database {
  readonly prepare: (sql: string) => D1PreparedStatement
  /** What `withSession` answers has it, and may read from a replica: the compiler refuses that. */
  readonly getBookmark?: undefined
}

/**
 * What the client needs of a prepared statement of D1.
 *
 * @stability experimental
 * @category models
 * @since 0.1.0
 */
export interface D1PreparedStatement {
  readonly bind: (...params: Array<unknown>) => D1PreparedStatement
  /** Answers rows as objects, and what D1 says of the statement. */
  readonly all: <Row = Record<string, unknown>>() => Promise<{ readonly results: Array<Row> }>
  /** Answers rows as arrays. */
  readonly raw: <Row = Array<unknown>>() => Promise<Array<Row>>
}

/**
 * Options of the D1 client.
 *
 * @stability experimental
 * @category options
 * @since 0.1.0
 */
export interface D1ClientOptions {
  /** The binding: `env.DB`, where `DB` is its name in the Worker's configuration. */
  readonly db: D1Database
}

/**
 * Makes a client of a binding. It sends nothing.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const make = ({ db }: D1ClientOptions): Effect.Effect<SqlClient.SqlClient, never, Reactivity.Reactivity> =>
  SqlClient.make({
    acquirer: Effect.succeed(makeConnection(db)),
    transactionAcquirer: Effect.fail(noTransactions),
    compiler: Statement.makeCompilerSqlite(),
    driver: "d1",
    spanAttributes: [["db.system.name", "sqlite"]]
  })

/**
 * Layer that provides a binding as `SqlClient`.
 *
 * @stability experimental
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: D1ClientOptions): Layer.Layer<SqlClient.SqlClient> =>
  Layer.effect(SqlClient.SqlClient, make(options)).pipe(Layer.provide(Reactivity.layer))

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const makeConnection = (db: D1Database): Connection => {
  const run = <A>(
    sql: string,
    params: ReadonlyArray<unknown>,
    ask: (statement: D1PreparedStatement) => Promise<A>
  ): Effect.Effect<A, SqlError> => Effect.tryPromise({ try: () => ask(db.prepare(sql).bind(...params)), catch: failed })
  const execute: Connection["execute"] = (sql, params, transformRows) => {
    const rows = Effect.map(
      run(sql, params, (statement) => statement.all()),
      ({ results }) => results
    )
    return transformRows === undefined ? rows : Effect.map(rows, transformRows)
  }
  const values: Connection["executeValues"] = (sql, params) => run(sql, params, (statement) => statement.raw())
  return {
    execute,
    executeUnprepared: execute,
    executeValues: values,
    executeValuesUnprepared: values,
    executeRaw: (sql, params) => run(sql, params, (statement) => statement.all()),
    executeStream: (sql, params, transformRows) =>
      Stream.unwrap(Effect.map(execute(sql, params, transformRows), Stream.fromIterable))
  }
}

/** The numbers of SQLite's codes, which say whether a statement was refused. */
const numbers: Readonly<Record<string, number>> = {
  SQLITE_ERROR: 1,
  SQLITE_PERM: 3,
  SQLITE_BUSY: 5,
  SQLITE_LOCKED: 6,
  SQLITE_READONLY: 8,
  SQLITE_FULL: 13,
  SQLITE_TOOBIG: 18,
  SQLITE_CONSTRAINT: 19,
  SQLITE_MISMATCH: 20,
  SQLITE_AUTH: 23
}

/** D1 names SQLite's code at the end of its message, and the one that says more, where there is one. */
const codes = /: (SQLITE_[A-Z]+)(?: \(extended: (SQLITE_[A-Z_]+)\))?$/

const failed = (cause: unknown): SqlError => {
  const [found, code = "", extended = code] = (cause instanceof Error && codes.exec(cause.message)) || []
  if (cause instanceof Error && found !== undefined) {
    const [, constraint] = /UNIQUE constraint failed: (.*)$/.exec(cause.message.slice(0, -found.length)) ?? []
    // The classifier reads these from the errors of other drivers.
    Object.assign(
      cause,
      { code: extended, errno: numbers[code] },
      constraint === undefined ? undefined : { constraint }
    )
  }
  return new SqlError({
    reason: classifySqliteError(cause, { message: "D1Client: execute failed", operation: "execute" })
  })
}

const noTransactions = new SqlError({
  reason: new UnknownError({
    cause: new Error("D1 has no interactive transactions"),
    message: "D1Client: D1 has no interactive transactions",
    operation: "begin"
  })
})
