/**
 * The storage port over a SQL database, through the `SqlClient` the application provides: Postgres (12 or later) and
 * SQLite (3.37 or later).
 *
 * **Details**
 *
 * - Each operation is one statement. An `update` or a `touch` that changes no row takes a second one, to find out why.
 * - The table has a row for each session. Run `SessionSweeper` beside it: nothing else removes expired rows.
 * - A serialization failure or a deadlock is retried once, except in `create`. Every other failure is a
 *   `SessionBackendError`, with the error of the database as its `cause`.
 * - A schema is chosen by the `search_path` of the role or the connection, as for `SqlMessageStorage` in Effect.
 *
 * **Gotchas**
 *
 * - **A session operation never joins a transaction of its caller**, whose rollback would undo a log-out. It takes a
 *   connection of its own, even inside `sql.withTransaction`.
 * - For this reason give sessions a client, and so a pool, of their own, from a layer made for them: a layer that the
 *   application also uses is built once for both. In a shared pool, handlers that hold a connection for their transaction
 *   while they wait for a second one can use up the pool and wait for one another. A SQLite client has one connection:
 *   session operations inside a transaction of the same client fail.
 * - With `synchronous_commit = off` a crash of Postgres may undo the latest log-outs. Never read sessions from a replica:
 *   it may not have received a log-out yet.
 *
 * **Example** (Storing sessions in Postgres)
 *
 * ```ts
 * import { PgClient } from "@effect/sql-pg"
 * import { Config, Layer } from "effect"
 * import { SessionBackendSql } from "effect-sessions"
 *
 * export const SessionsLive = SessionBackendSql.layer.pipe(
 *   Layer.provide(PgClient.layerConfig({ url: Config.Redacted("DATABASE_URL"), applicationName: Config.succeed("sessions") }))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import * as SqlGate from "./internal/backend/sqlGate.ts"
import { isTransient, outcomeOf } from "./internal/backend/sqlOutcome.ts"
import * as SqlTable from "./internal/backend/sqlTable.ts"
import { clockSlack, SessionBackend, SessionBackendError } from "./SessionBackend.ts"
import type { Operation, UpdateResult } from "./SessionBackend.ts"
import { SessionConfigError } from "./SessionError.ts"

/**
 * Options of the SQL backend.
 *
 * @category options
 * @since 0.1.0
 */
export interface SessionBackendSqlOptions {
  /**
   * Name of the table: letters, digits and underscores, at most 48. The history of migrations is in
   * `<table>_migrations`.
   *
   * @default "effect_sessions"
   */
  readonly table?: string | undefined
  /**
   * How many statements the client can run at the same time: the connections of its pool. Sessions send no more than
   * that at once; the others wait for their turn.
   *
   * @default what a `PgClient` is configured for, 10 with other clients
   */
  readonly maxConnections?: number | undefined
}

/**
 * Layer that creates the table, its indexes and its migration history where they are missing, and provides nothing: for
 * a deploy step. Several processes may build it at once. A refusal by the database is a defect.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMigrations = (
  options?: SessionBackendSqlOptions
): Layer.Layer<never, SessionConfigError, SqlClient.SqlClient> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const { dialect, sql, table } = yield* configure(options)
      yield* Migrator.make({})({
        loader: Migrator.fromRecord({ "0001_create": SqlTable.create(sql, dialect, table) }),
        table: `${table}_migrations`
      }).pipe(Effect.provideService(SqlClient.SqlClient, sql), Effect.orDie)
    })
  )

/**
 * Layer that stores sessions in a table that exists already. Building it sends no statement. The role needs no more than
 * SELECT, INSERT, UPDATE and DELETE on the table.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStorage = (
  options?: SessionBackendSqlOptions
): Layer.Layer<SessionBackend, SessionConfigError, SqlClient.SqlClient> =>
  Layer.effect(
    SessionBackend,
    Effect.suspend(() => Effect.map(configure(options), make))
  )

/**
 * Layer that stores sessions in the given table, which it creates if it is missing.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerWith = (
  options?: SessionBackendSqlOptions
): Layer.Layer<SessionBackend, SessionConfigError, SqlClient.SqlClient> =>
  layerStorage(options).pipe(Layer.provide(layerMigrations(options)))

/**
 * Layer that stores sessions in the table `effect_sessions`, which it creates if it is missing.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<SessionBackend, SessionConfigError, SqlClient.SqlClient> = layerWith()

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const configure = Effect.fnUntraced(function* (options: SessionBackendSqlOptions | undefined) {
  const client = yield* SqlClient.SqlClient
  const sql = client.withoutTransforms()
  const maxConnections = options?.maxConnections ?? SqlGate.capacityOf(client)
  const table = options?.table ?? "effect_sessions"
  const dialect = sql.onDialectOrElse<SqlTable.Dialect | undefined, SqlTable.Dialect, SqlTable.Dialect>({
    pg: () => "pg",
    sqlite: () => "sqlite",
    orElse: () => undefined
  })
  const problems: Array<string> = []
  // Postgres cuts names at 63 bytes, and those of the indexes and the history are longer than the table's.
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,47}$/.test(table)) {
    problems.push(
      "table must be 1 to 48 letters, digits and underscores, and not begin with a digit; " +
        "a schema is chosen by the search_path"
    )
  }
  if (!Number.isInteger(maxConnections) || maxConnections < 1)
    problems.push("maxConnections must be a whole number of at least 1")
  if (dialect === undefined) problems.push("the SqlClient must be one for Postgres or SQLite")
  return dialect === undefined || problems.length > 0
    ? yield* new SessionConfigError({ problems })
    : { sql, dialect, table, maxConnections }
})

/** An operation that waited for the one connection of a SQLite client would wait for the transaction it is called in. */
const inTransaction = new SqlError({
  reason: new ConnectionError({
    cause: new Error("The one connection of this SQLite client is in a transaction"),
    message: "SessionBackendSql: give sessions a SQLite client of their own",
    operation: "connect"
  })
})

const make = ({
  dialect,
  maxConnections,
  sql,
  table: name
}: Effect.Success<ReturnType<typeof configure>>): SessionBackend["Service"] => {
  const table = sql(name)
  const columns = sql.literal(SqlTable.columnNames)
  const expiresAt = SqlTable.expiresAt(sql, dialect)
  const later = sql.literal(dialect === "pg" ? "GREATEST" : "MAX")
  // A sweep locks the rows it has found, or it would delete one that was touched in the meantime. It skips rows that are
  // locked, so it is never part of a deadlock, and two sweeps share the work. In SQLite statements run one at a time.
  const locking = sql.literal(dialect === "pg" ? "FOR UPDATE SKIP LOCKED" : "")

  const gate = SqlGate.make(maxConnections)

  /** Runs a statement on a connection of its own, outside any transaction of the caller. */
  const outsideTransaction = <A>(statement: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> =>
    Effect.contextWith((context: Context.Context<never>) => {
      if (Option.isNone(Context.getOption(context, sql.transactionService))) return statement
      if (dialect === "sqlite") return Effect.fail(inTransaction)
      return Effect.updateContext(statement, Context.omit(sql.transactionService))
    })

  const run = <A>(
    operation: Operation,
    statement: Effect.Effect<A, SqlError>,
    outcome: (error: SqlError) => SessionBackendError["outcome"] = outcomeOf
  ): Effect.Effect<A, SessionBackendError> =>
    Effect.mapError(
      outsideTransaction(gate(statement)),
      (cause) => new SessionBackendError({ operation, outcome: outcome(cause), cause })
    )

  const retrying = <A>(statement: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> =>
    Effect.retry(statement, { times: 1, while: isTransient })

  const write = <A>(operation: Operation, statement: Effect.Effect<A, SqlError>) => run(operation, retrying(statement))

  const query = <A>(operation: Operation, statement: Effect.Effect<A, SqlError>) =>
    run(operation, retrying(statement), () => "notApplied")

  const select = (operation: Operation, namespace: string, id: string) =>
    Effect.map(
      query(
        operation,
        sql<SqlTable.Row>`SELECT ${columns} FROM ${table} WHERE namespace = ${namespace} AND id = ${id}`
      ),
      (rows) => Option.map(Option.fromUndefinedOr(rows[0]), SqlTable.fromRow)
    )

  /** A stored `lastSeenAt` beyond this comes from a wrong clock. */
  const aheadOf = (lastSeenAt: number): number => lastSeenAt + Duration.toMillis(clockSlack)

  return {
    create: (record) =>
      Effect.map(
        // Not retried: the caller tries again with another id.
        run(
          "create",
          sql`
            INSERT INTO ${table} ${sql.insert(SqlTable.toRow(record))} ON CONFLICT (namespace, id) DO NOTHING
            RETURNING id`
        ),
        (rows) => (rows.length === 1 ? "created" : "exists")
      ),

    read: (namespace, id) => select("read", namespace, id),

    update: (namespace, id, expectedVersion, patch) =>
      Effect.flatMap(
        write(
          "update",
          sql<SqlTable.Row>`
            UPDATE ${table} SET
              version = version + 1,
              secret_hash = COALESCE(${patch.secretHash ?? null}, secret_hash),
              data = COALESCE(${patch.data ?? null}, data),
              data_version = COALESCE(${patch.dataVersion ?? null}, data_version),
              extension = COALESCE(${patch.extension ?? null}, extension),
              last_seen_at = CASE WHEN last_seen_at > ${aheadOf(patch.lastSeenAt)} THEN ${patch.lastSeenAt}
                ELSE ${later}(last_seen_at, ${patch.lastSeenAt}) END,
              idle_expires_at = CASE WHEN last_seen_at > ${aheadOf(patch.lastSeenAt)} THEN ${patch.idleExpiresAt}
                ELSE ${later}(idle_expires_at, ${patch.idleExpiresAt}) END
            WHERE namespace = ${namespace} AND id = ${id} AND version = ${expectedVersion}
            RETURNING ${columns}`
        ),
        ([row]): Effect.Effect<UpdateResult, SessionBackendError> =>
          row !== undefined
            ? Effect.succeed({ _tag: "updated", record: SqlTable.fromRow(row) })
            : Effect.map(select("update", namespace, id), (found): UpdateResult =>
                Option.isSome(found) ? { _tag: "stale", record: found.value } : { _tag: "gone" }
              )
      ),

    touch: (namespace, id, { idleExpiresAt, lastSeenAt }) =>
      Effect.flatMap(
        write(
          "touch",
          sql`
            UPDATE ${table} SET
              last_seen_at = ${lastSeenAt},
              idle_expires_at = CASE WHEN last_seen_at > ${aheadOf(lastSeenAt)} THEN ${idleExpiresAt}
                ELSE ${later}(idle_expires_at, ${idleExpiresAt}) END
            WHERE namespace = ${namespace} AND id = ${id}
              AND (last_seen_at < ${lastSeenAt} OR last_seen_at > ${aheadOf(lastSeenAt)})
            RETURNING id`
        ),
        (rows) =>
          rows.length === 1
            ? Effect.succeed("touched" as const)
            : Effect.map(select("touch", namespace, id), (record) => (Option.isSome(record) ? "unchanged" : "gone"))
      ),

    delete: (namespace, id, options) => {
      const owned = options?.principal === undefined ? sql.literal("") : sql`AND principal = ${options.principal}`
      return Effect.map(
        write("delete", sql`DELETE FROM ${table} WHERE namespace = ${namespace} AND id = ${id} ${owned} RETURNING id`),
        (rows) => rows.length === 1
      )
    },

    deleteByPrincipal: (namespace, principal, { except, limit }) => {
      const others = except === undefined ? sql.literal("") : sql`AND id <> ${except}`
      return Effect.map(
        write(
          "deleteByPrincipal",
          sql<{ readonly id: string }>`
            DELETE FROM ${table} WHERE namespace = ${namespace} AND id IN (
              SELECT id FROM ${table} WHERE namespace = ${namespace} AND principal = ${principal} ${others}
              ORDER BY created_at DESC LIMIT ${limit}
            )
            RETURNING id`
        ),
        (rows) => ({ deleted: rows.map(({ id }) => ({ namespace, id, principal })), more: rows.length === limit })
      )
    },

    listByPrincipal: (namespace, principal, { after, limit }) => {
      const rest = after === undefined ? sql.literal("") : sql`AND id > ${after}`
      return Effect.map(
        query(
          "listByPrincipal",
          sql<SqlTable.Row>`
            SELECT ${columns} FROM ${table} WHERE namespace = ${namespace} AND principal = ${principal} ${rest}
            ORDER BY id LIMIT ${limit}`
        ),
        (rows) => {
          const records = rows.map(SqlTable.fromRow)
          return { records, next: records.length === limit ? records.at(-1)?.id : undefined }
        }
      )
    },

    deleteExpired: ({ limit, now }) =>
      Effect.map(
        write(
          "deleteExpired",
          sql<SqlTable.Row>`
            WITH expired AS MATERIALIZED (
              SELECT namespace, id FROM ${table} WHERE ${expiresAt} <= ${now - Duration.toMillis(clockSlack)}
              LIMIT ${limit} ${locking}
            )
            DELETE FROM ${table} WHERE (namespace, id) IN (SELECT namespace, id FROM expired)
            RETURNING ${columns}`
        ),
        (rows) => {
          const deleted = rows.map(SqlTable.fromRow).map(({ id, namespace, principal }) => ({ namespace, id, principal }))
          return { deleted, more: deleted.length === limit }
        }
      )
  }
}
