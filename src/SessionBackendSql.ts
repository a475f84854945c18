/**
 * `SessionBackend` over a SQL database, through whatever `SqlClient` the application provides: Postgres (12 or later)
 * and SQLite (3.37 or later).
 *
 * | layer | |
 * | --- | --- |
 * | `layer`, `layerWith` | creates the table if need be, then stores sessions in it |
 * | `layerMigrations` | only creates the table: for a deploy step, with a role that may |
 * | `layerStorage` | only stores sessions: its role needs SELECT, INSERT, UPDATE and DELETE on the table, no more |
 *
 * **Details**
 *
 * - Each operation is one statement whose rows are the verdict. An `update` or a `touch` that finds nothing to change
 *   takes a second one, to say why.
 * - The table holds a row per session, its data as text, with indexes for a principal's sessions and for expired ones.
 *   Run `deleteExpired` from time to time: nothing else removes the rows of sessions that were never signed out of.
 * - A serialization failure or a deadlock is retried once, except in `create`. Every other failure is a
 *   `SessionBackendError`, with the database's own error in its `cause`.
 * - A schema is chosen by the role's or the connection's `search_path`; see `SqlMessageStorage` in Effect.
 *
 * **Gotchas**
 *
 * - **A session operation never joins a transaction of the caller.** Inside `sql.withTransaction` a sign-out would be
 *   rolled back together with the rest, and the session with it come back to life. So an operation takes a connection of
 *   its own, even there.
 * - Hence give sessions a client, and so a pool, of their own, from a Layer made for them: one that the application
 *   uses too is built once for both. In a shared pool, handlers that hold a connection for their transaction while they
 *   wait for a second one can use up the pool and wait for one another. A SQLite client has just one connection: in a
 *   transaction of the same client, session operations fail.
 * - Postgres keeps what it has answered, through a crash too, as long as `synchronous_commit` is `on`, its default. With
 *   `off`, a crash may undo the sign-outs of the last moments. Never read sessions from a replica: it may not have heard
 *   of a sign-out yet.
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
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import { isTransient, outcomeOf } from "./internal/sqlOutcome.ts"
import {
  type Operation,
  SessionBackend,
  SessionBackendError,
  type SessionRecord,
  type UpdateResult
} from "./SessionBackend.ts"
import { SessionConfigError } from "./SessionError.ts"

/**
 * Options of the SQL backend.
 *
 * @category options
 * @since 0.1.0
 */
export interface SessionBackendSqlOptions {
  /**
   * Name of the table: letters, digits and underscores, at most 48. The history of migrations is kept beside it, in
   * `<table>_migrations`.
   *
   * @default "effect_sessions"
   */
  readonly table?: string | undefined
}

/**
 * Layer that creates the table, its indexes and its migration history where they are missing, and provides nothing.
 *
 * **Details**
 *
 * It can run any number of times, and in several processes at once. A database that refuses is a defect.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMigrations = (
  options?: SessionBackendSqlOptions
): Layer.Layer<never, SessionConfigError, SqlClient.SqlClient> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const configured = yield* configure(options)
      yield* Migrator.make({})({
        loader: Migrator.fromRecord({ "0001_create": createTable(configured) }),
        table: `${configured.table}_migrations`
      }).pipe(Effect.provideService(SqlClient.SqlClient, configured.sql), Effect.orDie)
    })
  )

/**
 * Layer that stores sessions in a table that is already there. It sends no statement of its own.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStorage = (
  options?: SessionBackendSqlOptions
): Layer.Layer<SessionBackend, SessionConfigError, SqlClient.SqlClient> =>
  Layer.effect(
    SessionBackend,
    Effect.suspend(() => Effect.map(configure(options), makeStorage))
  )

/**
 * Layer that stores sessions in the table named, after creating it if need be.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerWith = (
  options?: SessionBackendSqlOptions
): Layer.Layer<SessionBackend, SessionConfigError, SqlClient.SqlClient> =>
  layerStorage(options).pipe(Layer.provide(layerMigrations(options)))

/**
 * Layer that stores sessions in the table `effect_sessions`, after creating it if need be.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<SessionBackend, SessionConfigError, SqlClient.SqlClient> = layerWith()

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

interface Configured {
  readonly sql: SqlClient.SqlClient
  readonly dialect: Dialect
  readonly table: string
}

type Dialect = "pg" | "sqlite"

const configure = (
  options: SessionBackendSqlOptions | undefined
): Effect.Effect<Configured, SessionConfigError, SqlClient.SqlClient> =>
  Effect.gen(function* () {
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const table = options?.table ?? "effect_sessions"
    const dialect = sql.onDialectOrElse<Dialect | undefined, Dialect, Dialect>({
      pg: () => "pg",
      sqlite: () => "sqlite",
      orElse: () => undefined
    })
    const problems: Array<string> = []
    // 48, since Postgres cuts names at 63 bytes and those of indexes and history are longer than the table's.
    if (!/^[A-Za-z_][A-Za-z0-9_]{0,47}$/.test(table)) {
      problems.push(
        "table must be 1 to 48 letters, digits and underscores, and not begin with a digit; " +
          "a schema is chosen by the search_path"
      )
    }
    if (dialect === undefined || problems.length > 0) {
      if (dialect === undefined) problems.push("the SqlClient must be one for Postgres or SQLite")
      return yield* new SessionConfigError({ problems })
    }
    return { sql, dialect, table }
  })

const createTable = ({ dialect, sql, table }: Configured): Effect.Effect<void, SqlError> =>
  Effect.gen(function* () {
    const isPg = dialect === "pg"
    const integer = sql.literal(isPg ? "BIGINT" : "INTEGER")
    // Compared byte by byte, whatever the collation of the database. SQLite does so by itself.
    const key = sql.literal(isPg ? `TEXT COLLATE "C"` : "TEXT")
    const strict = sql.literal(isPg ? "" : "STRICT")
    yield* sql`
      CREATE TABLE ${sql(table)} (
        namespace ${key} NOT NULL,
        id ${key} NOT NULL,
        secret_hash TEXT NOT NULL,
        version ${integer} NOT NULL,
        principal ${key},
        data TEXT NOT NULL,
        data_version ${integer} NOT NULL,
        extension TEXT NOT NULL,
        created_at ${integer} NOT NULL,
        authenticated_at ${integer} NOT NULL,
        last_seen_at ${integer} NOT NULL,
        idle_timeout ${integer} NOT NULL,
        idle_expires_at ${integer} NOT NULL,
        absolute_expires_at ${integer} NOT NULL,
        persistent ${integer} NOT NULL,
        PRIMARY KEY (namespace, id)
      ) ${strict}`
    yield* sql`
      CREATE INDEX ${sql(`${table}_principal`)} ON ${sql(table)} (namespace, principal, id)
      WHERE principal IS NOT NULL`
    yield* sql`CREATE INDEX ${sql(`${table}_expiry`)} ON ${sql(table)} (${expiry(sql, dialect)})`
  })

/** When a record expires: an expression, and as such indexed. */
const expiry = (sql: SqlClient.SqlClient, dialect: Dialect) =>
  sql.literal(`${dialect === "pg" ? "LEAST" : "MIN"}(idle_expires_at, absolute_expires_at)`)

/** BIGINT comes as `bigint` or as text from some drivers. */
type Integer = number | bigint | string

interface Row {
  readonly namespace: string
  readonly id: string
  readonly secret_hash: string
  readonly version: Integer
  readonly principal: string | null
  readonly data: string
  readonly data_version: Integer
  readonly extension: string
  readonly created_at: Integer
  readonly authenticated_at: Integer
  readonly last_seen_at: Integer
  readonly idle_timeout: Integer
  readonly idle_expires_at: Integer
  readonly absolute_expires_at: Integer
  readonly persistent: Integer
}

const toRow = (record: SessionRecord) =>
  ({
    namespace: record.namespace,
    id: record.id,
    secret_hash: record.secretHash,
    version: record.version,
    principal: record.principal ?? null,
    data: record.data,
    data_version: record.dataVersion,
    extension: record.extension,
    created_at: record.createdAt,
    authenticated_at: record.authenticatedAt,
    last_seen_at: record.lastSeenAt,
    idle_timeout: record.idleTimeout,
    idle_expires_at: record.idleExpiresAt,
    absolute_expires_at: record.absoluteExpiresAt,
    persistent: record.persistent ? 1 : 0
  }) satisfies Row

const fromRow = (row: Row): SessionRecord => ({
  namespace: row.namespace,
  id: row.id,
  secretHash: row.secret_hash,
  version: Number(row.version),
  principal: row.principal ?? undefined,
  data: row.data,
  dataVersion: Number(row.data_version),
  extension: row.extension,
  createdAt: Number(row.created_at),
  authenticatedAt: Number(row.authenticated_at),
  lastSeenAt: Number(row.last_seen_at),
  idleTimeout: Number(row.idle_timeout),
  idleExpiresAt: Number(row.idle_expires_at),
  absoluteExpiresAt: Number(row.absolute_expires_at),
  persistent: Number(row.persistent) === 1
})

/** To wait for the one connection of a SQLite client would be to wait for the transaction that waits for us. */
const inTransaction = new SqlError({
  reason: new ConnectionError({
    cause: new Error("The one connection of this SQLite client is in a transaction"),
    message: "SessionBackendSql: give sessions a SQLite client of their own",
    operation: "connect"
  })
})

const makeStorage = ({ dialect, sql, table: name }: Configured): SessionBackend["Service"] => {
  const table = sql(name)
  const columns = sql.literal(
    "namespace, id, secret_hash, version, principal, data, data_version, extension, created_at, authenticated_at, " +
      "last_seen_at, idle_timeout, idle_expires_at, absolute_expires_at, persistent"
  )
  const expiresAt = expiry(sql, dialect)
  const later = sql.literal(dialect === "pg" ? "GREATEST" : "MAX")
  // What a sweep has found it must lock, or it deletes a row that was touched in the meantime. It waits for nobody's
  // lock: so it cannot be part of a deadlock, and two sweeps share the work. In SQLite a statement is alone anyway.
  const locking = sql.literal(dialect === "pg" ? "FOR UPDATE SKIP LOCKED" : "")

  /** On a connection of its own, outside of any transaction the caller is in. */
  const outside = <A>(statement: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> =>
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
      outside(statement),
      (cause) => new SessionBackendError({ operation, outcome: outcome(cause), cause })
    )

  /** For everything but `create`: its caller tries again with another id, if at all. */
  const again = <A>(statement: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> =>
    Effect.retry(statement, { times: 1, while: isTransient })

  /** A statement that only reads. However it fails, it applied nothing. */
  const query = <A>(operation: Operation, statement: Effect.Effect<A, SqlError>) =>
    run(operation, again(statement), () => "notApplied")

  const select = (operation: Operation, namespace: string, id: string) =>
    Effect.map(
      query(operation, sql<Row>`SELECT ${columns} FROM ${table} WHERE namespace = ${namespace} AND id = ${id}`),
      (rows) => Option.map(Option.fromUndefinedOr(rows[0]), fromRow)
    )

  return {
    create: (record) =>
      Effect.map(
        run(
          "create",
          sql`INSERT INTO ${table} ${sql.insert(toRow(record))} ON CONFLICT (namespace, id) DO NOTHING RETURNING id`
        ),
        (rows) => (rows.length === 1 ? "created" : "exists")
      ),

    read: (namespace, id) => select("read", namespace, id),

    update: (namespace, id, expectedVersion, patch) =>
      Effect.flatMap(
        run(
          "update",
          again(sql<Row>`
            UPDATE ${table} SET
              version = version + 1,
              secret_hash = COALESCE(${patch.secretHash ?? null}, secret_hash),
              data = COALESCE(${patch.data ?? null}, data),
              data_version = COALESCE(${patch.dataVersion ?? null}, data_version),
              extension = COALESCE(${patch.extension ?? null}, extension),
              last_seen_at = ${later}(last_seen_at, ${patch.lastSeenAt}),
              idle_expires_at = ${later}(idle_expires_at, ${patch.idleExpiresAt})
            WHERE namespace = ${namespace} AND id = ${id} AND version = ${expectedVersion}
            RETURNING ${columns}`)
        ),
        (rows): Effect.Effect<UpdateResult, SessionBackendError> =>
          rows.length === 1
            ? Effect.succeed({ _tag: "updated", record: fromRow(rows[0]!) })
            : Effect.map(select("update", namespace, id), (found): UpdateResult =>
                Option.isSome(found) ? { _tag: "stale", record: found.value } : { _tag: "gone" }
              )
      ),

    touch: (namespace, id, { idleExpiresAt, lastSeenAt }) =>
      Effect.flatMap(
        run(
          "touch",
          again(sql`
            UPDATE ${table} SET
              last_seen_at = ${lastSeenAt},
              idle_expires_at = ${later}(idle_expires_at, ${idleExpiresAt})
            WHERE namespace = ${namespace} AND id = ${id} AND last_seen_at < ${lastSeenAt}
            RETURNING id`)
        ),
        (rows) =>
          rows.length === 1
            ? Effect.succeed("touched" as const)
            : Effect.map(select("touch", namespace, id), (record) => (Option.isSome(record) ? "unchanged" : "gone"))
      ),

    delete: (namespace, id, options) => {
      const owned = options?.principal === undefined ? sql.literal("") : sql`AND principal = ${options.principal}`
      return Effect.map(
        run(
          "delete",
          again(sql`DELETE FROM ${table} WHERE namespace = ${namespace} AND id = ${id} ${owned} RETURNING id`)
        ),
        (rows) => rows.length === 1
      )
    },

    deleteByPrincipal: (namespace, principal, options) => {
      const others = options?.except === undefined ? sql.literal("") : sql`AND id <> ${options.except}`
      return Effect.map(
        run(
          "deleteByPrincipal",
          again(
            sql`DELETE FROM ${table} WHERE namespace = ${namespace} AND principal = ${principal} ${others} RETURNING id`
          )
        ),
        (rows) => rows.length
      )
    },

    listByPrincipal: (namespace, principal, { after, limit }) => {
      const rest = after === undefined ? sql.literal("") : sql`AND id > ${after}`
      return Effect.map(
        query(
          "listByPrincipal",
          sql<Row>`
            SELECT ${columns} FROM ${table} WHERE namespace = ${namespace} AND principal = ${principal} ${rest}
            ORDER BY id LIMIT ${limit}`
        ),
        (rows) => ({
          records: rows.map(fromRow),
          next: rows.length === limit ? rows.at(-1)?.id : undefined
        })
      )
    },

    deleteExpired: ({ before, limit }) =>
      Effect.map(
        run(
          "deleteExpired",
          again(sql`
            WITH expired AS MATERIALIZED (
              SELECT namespace, id FROM ${table} WHERE ${expiresAt} <= ${before} LIMIT ${limit} ${locking}
            )
            DELETE FROM ${table} WHERE (namespace, id) IN (SELECT namespace, id FROM expired) RETURNING id`)
        ),
        (rows) => rows.length
      )
  }
}
