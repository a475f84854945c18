/**
 * The storage port over a SQL database, through the `SqlClient` the application provides: Postgres (12 or later), SQLite
 * (3.37 or later), MySQL (8.0 or later) and MariaDB (10.6 or later; tested on 10.11).
 *
 * **Details**
 *
 * - Each operation is one statement. An `update` or a `touch` that changes no row takes a second one, to find out why, and
 *   in SQLite `deleteExpired` takes two.
 * - The table has a row for each session. Run `SessionSweeper` beside it: nothing else removes expired rows.
 * - A serialization failure or a deadlock is retried once, except in `create`. Every other failure is a
 *   `SessionBackendError`, with the error of the database as its `cause`.
 * - D1 of Cloudflare Workers is a SQLite: `D1Client` is a client for it, to be used with `layerStorage`.
 * - SQLite runs inside the process, so it deletes and lists few rows at a time: other work goes on in between.
 * - A schema is chosen by the `search_path` of the role or the connection, as for `SqlMessageStorage` in Effect; in MySQL
 *   the table is in the database of the connection.
 * - Over a `PgClient` of `@effect/sql-pg` it has `ended`: what is deleted, or given another secret, is notified on the
 *   channel `<table>_ended`, in a transaction of its own after the write, and 10 ms apart at least. While a caller waits,
 *   one connection of the pool is held to `LISTEN`, and the sessions have one less. A pool of one is left to them: the
 *   layer logs that it does not listen. A pooler that shares connections between transactions loses a `LISTEN`: its
 *   subscriptions fail.
 * - Over other clients, SQLite, MySQL and MariaDB `ended` hears of what its own process ends; what another process ends is
 *   noticed by the manager's next look. D1 has none.
 * - MySQL does not answer a change with its row: there `update` takes two statements, and the record it answers may
 *   already have later changes. A batch of deletions is a transaction. `layerMigrations` needs the right to CREATE, too.
 *
 * **Gotchas**
 *
 * - **A session operation never joins a transaction of its caller**, whose rollback would undo a log-out. It takes a
 *   connection of its own, even inside `sql.withTransaction`.
 * - For this reason give sessions a client, and so a pool, of their own, from a layer made for them: a layer that the
 *   application also uses is built once for both. In a shared pool, handlers that hold a connection for their transaction
 *   while they wait for a second one can use up the pool and wait for one another. A SQLite client has one connection:
 *   session operations inside a transaction of the same client fail.
 * - A client of one connection (`PgClient.makeClient`) is not known from a pool: give the layer `maxConnections: 1`, or
 *   its `LISTEN` holds up the sessions for a second, once a minute.
 * - With `synchronous_commit = off` a crash of Postgres may undo the latest log-outs; so may one of MySQL with
 *   `innodb_flush_log_at_trx_commit` other than 1, its default. Never read sessions from a replica: it may not have
 *   received a log-out yet.
 * - MySQL: use READ COMMITTED, as `NodeMysqlClient` does: at REPEATABLE READ batches of deletions lock gaps between rows,
 *   and log-ins wait for them. With binary logs that needs `binlog_format` ROW or MIXED, the defaults. Its tables have to
 *   be InnoDB's.
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
 * @stability unstable
 * @since 0.1.0
 */

import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import * as SqlGate from "./internal/backend/sqlGate.ts"
import * as SqlHints from "./internal/backend/sqlHints.ts"
import * as SqlMigrations from "./internal/backend/sqlMigrations.ts"
import * as SqlStore from "./internal/backend/sqlStore.ts"
import * as SqlTable from "./internal/backend/sqlTable.ts"
import { describeCause } from "./internal/describeCause.ts"
import * as Registry from "./internal/registry.ts"
import { SessionBackend } from "./SessionBackend.ts"
import { SessionConfigError } from "./SessionError.ts"

/**
 * Options of the SQL backend.
 *
 * @stability unstable
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
   * How many statements the client can run at the same time, 1 at least: the connections of its pool. Sessions send no
   * more than that at once; the others wait for their turn.
   *
   * @default what a `PgClient` is configured for, 10 with other clients
   */
  readonly maxConnections?: number | undefined
}

/**
 * Creates the table, its indexes and its migration history where they are missing, and brings a table of an older version
 * over: for a deploy step. Several processes may run it at once. A database that refuses it, or cannot be reached, is a
 * defect.
 *
 * **Details**
 *
 * It runs the statements of `ddl`, beside servers of this version and the one before, which go on working. Nothing is
 * dropped but superseded indexes.
 *
 * - In Postgres a table that is there is changed at once, whatever its size, as soon as no transaction uses it: each try
 *   holds up others for a quarter of a second at most, and after 30 tries it dies. Its new indexes are then built
 *   `CONCURRENTLY`, which takes as long as the table is large and waits for transactions that are older. Indexes left
 *   behind half-built are built anew. Only an owner of the table may do so.
 * - In SQLite others that write wait until the new indexes are built: a second or two for a million sessions. So does the
 *   event loop, unless the client runs in a thread of its own, as `NodeSqliteClient` does.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const migrate = (
  options?: SessionBackendSqlOptions
): Effect.Effect<void, SessionConfigError, SqlClient.SqlClient> =>
  Effect.gen(function* () {
    yield* Effect.orDie(SqlMigrations.migrate(yield* configure(options)))
  })

/**
 * Layer that runs `migrate` when it is built, and provides nothing.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerMigrations = (
  options?: SessionBackendSqlOptions
): Layer.Layer<never, SessionConfigError, SqlClient.SqlClient> => Registry.effectDiscard(migrate(options))

/**
 * Layer that runs `migrate` when it is built, with options from configuration: `layerMigrations`.
 *
 * @stability experimental
 * @category layers
 * @since 0.1.0
 */
export const layerMigrationsConfig = (
  options: Config.Wrap<SessionBackendSqlOptions>
): Layer.Layer<never, SessionConfigError | Config.ConfigError, SqlClient.SqlClient> =>
  Registry.effectDiscard(Effect.flatMap(Config.unwrap(options), migrate))

/**
 * Makes a store in a table that exists already. It sends one statement, which asks for the version of the table: one that
 * is missing or older is a `SessionConfigError` that names the migration to run. A database that fails, or does not answer
 * within a second, is logged, and the store is made. The role needs no more than SELECT, INSERT, UPDATE and DELETE on the
 * table.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const makeStorage = (
  options?: SessionBackendSqlOptions
): Effect.Effect<SessionBackend["Service"], SessionConfigError, SqlClient.SqlClient | Scope.Scope> =>
  Effect.gen(function* () {
    const configuration = yield* configure(options)
    yield* checkVersion(configuration)
    return yield* SqlStore.make(configuration)
  })

/**
 * Layer that stores sessions in a table that exists already: `makeStorage`. The application starts, whether or not the
 * database can be reached.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerStorage = (
  options?: SessionBackendSqlOptions
): Layer.Layer<SessionBackend, SessionConfigError, SqlClient.SqlClient> =>
  Registry.effect(SessionBackend, makeStorage(options))

/**
 * Layer that stores sessions in a table that exists already, with options from configuration: `layerStorage`.
 *
 * @stability experimental
 * @category layers
 * @since 0.1.0
 */
export const layerStorageConfig = (
  options: Config.Wrap<SessionBackendSqlOptions>
): Layer.Layer<SessionBackend, SessionConfigError | Config.ConfigError, SqlClient.SqlClient> =>
  Registry.effect(SessionBackend, Effect.flatMap(Config.unwrap(options), makeStorage))

/**
 * Makes a store in a table, which it creates if it is missing, and brings over from an older version: `migrate` and
 * `makeStorage`. A database that cannot be reached is a defect.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options?: SessionBackendSqlOptions
): Effect.Effect<SessionBackend["Service"], SessionConfigError, SqlClient.SqlClient | Scope.Scope> =>
  Effect.andThen(migrate(options), makeStorage(options))

/**
 * Layer that stores sessions in a table, which it creates or brings over: `make`.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerWith = (
  options?: SessionBackendSqlOptions
): Layer.Layer<SessionBackend, SessionConfigError, SqlClient.SqlClient> =>
  Registry.effect(SessionBackend, make(options))

/**
 * Layer that stores sessions in a table, which it creates or brings over, with options from configuration: `layerWith`.
 *
 * @stability experimental
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<SessionBackendSqlOptions>
): Layer.Layer<SessionBackend, SessionConfigError | Config.ConfigError, SqlClient.SqlClient> =>
  Registry.effect(SessionBackend, Effect.flatMap(Config.unwrap(options), make))

/**
 * Layer that stores sessions in the table `effect_sessions`, which it creates or brings over: `layerWith` without options.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<SessionBackend, SessionConfigError, SqlClient.SqlClient> = layerWith()

/**
 * The statements that make the table, or bring one over from an older version, in the order to run them: for databases
 * whose migrations are run elsewhere, with `layerStorage` in the application. `layerMigrations` runs the same ones. Throws
 * a `SessionConfigError` if `table` is no plain name.
 *
 * **Gotchas**
 *
 * - For Postgres, statements with `CONCURRENTLY` cannot run in a transaction. If one is broken off it leaves an index
 *   marked `INVALID`, to be dropped before it is run again; `layerMigrations` does so itself.
 *
 * **Example** (Printing the schema)
 *
 * ```ts
 * import { SessionBackendSql } from "effect-sessions"
 *
 * export const schema = SessionBackendSql.ddl({ dialect: "sqlite" }).map((statement) => `${statement};`).join("\n")
 * ```
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const ddl = (
  options: Pick<SessionBackendSqlOptions, "table"> & {
    readonly dialect: "pg" | "sqlite" | "mysql"
    /**
     * The version of the table that is there. Without it the statements make a new one.
     */
    readonly from?: 1 | undefined
  }
): ReadonlyArray<string> => {
  const table = options.table ?? defaultTable
  if (!isTableName(table)) throw new SessionConfigError({ layers: ["SessionBackendSql"], problems: [notAName] })
  const { inside, outside } = SqlTable.ddl(options.dialect, table, options.from ?? 0)
  return [...inside, ...outside]
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const defaultTable = "effect_sessions"

// Postgres cuts names at 63 bytes, and those of the indexes and the history are longer than the table's.
const isTableName = (table: string): boolean => /^[A-Za-z_][A-Za-z0-9_]{0,47}$/.test(table)

const notAName =
  "table must be 1 to 48 letters, digits and underscores, and not begin with a digit; " +
  "a schema is chosen by the search_path"

const configure = Effect.fnUntraced(function* (options: SessionBackendSqlOptions | undefined) {
  const client = yield* SqlClient.SqlClient
  const sql = client.withoutTransforms()
  const maxConnections = options?.maxConnections ?? SqlGate.capacityOf(client)
  const table = options?.table ?? defaultTable
  const dialect = sql.onDialectOrElse({
    pg: () => "pg" as const,
    sqlite: () => "sqlite" as const,
    mysql: () => "mysql" as const,
    orElse: () => undefined
  })
  const problems: Array<string> = []
  if (!isTableName(table)) problems.push(notAName)
  if (!Number.isInteger(maxConnections) || maxConnections < 1) {
    problems.push("maxConnections must be a whole number of at least 1")
  }
  if (dialect === undefined) problems.push("the SqlClient must be one for Postgres, SQLite, MySQL or MariaDB")
  return dialect === undefined || problems.length > 0
    ? yield* new SessionConfigError({ layers: ["SessionBackendSql"], problems })
    : ({
        sql,
        dialect,
        table,
        maxConnections,
        beside: SqlGate.capacityBeside(client, maxConnections),
        listen: dialect === "pg" ? SqlHints.listenOf(client) : undefined
      } satisfies SqlStore.Configuration)
})

/** How long building the layer waits for the database. */
const checkTimeout = "1 second"

const checkVersion = (configuration: SqlStore.Configuration): Effect.Effect<void, SessionConfigError, Scope.Scope> =>
  Effect.gen(function* () {
    const { dialect, table } = configuration
    const query = Effect.exit(SqlStore.outsideTransactionOf(configuration)(SqlMigrations.versionOf(configuration)))
    // A fiber of its own: a driver that cannot be interrupted while it connects does not delay the start.
    const answer = yield* Effect.timeoutOption(Fiber.join(yield* Effect.forkScoped(query)), checkTimeout)
    const exit = Option.getOrUndefined(answer)
    if (exit === undefined || Exit.isFailure(exit)) {
      const cause = exit === undefined ? "no answer" : describeCause(Cause.squash(exit.cause))
      return yield* Effect.logWarning("session backend: the version of the table could not be checked").pipe(
        Effect.annotateLogs({ table, cause })
      )
    }
    const version = exit.value
    if (version === SqlTable.latestVersion) return
    const [, name] = SqlTable.versions[SqlTable.latestVersion - 1]
    const migration = `${String(SqlTable.latestVersion).padStart(4, "0")}_${name}`
    const place = `${table === defaultTable ? "" : `table: "${table}", `}dialect: "${dialect}"`
    const problem =
      version === 0
        ? `there is no table ${table}: make it (layerMigrations, or the statements of ddl({ ${place} }))`
        : `table ${table} is of version ${version}: run migration ${migration} ` +
          `(layerMigrations, or the statements of ddl({ ${place}, from: ${version} }))`
    return yield* new SessionConfigError({ layers: ["SessionBackendSql.layerStorage"], problems: [problem] })
  })
