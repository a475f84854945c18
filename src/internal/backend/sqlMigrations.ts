/**
 * Makes the table of the SQL backend, and brings one of an older version over, beside servers that use it.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { SqlError } from "effect/sql/SqlError"
import * as SqlTable from "./sqlTable.ts"

/** Where the table is. */
export interface Place {
  readonly sql: SqlClient.SqlClient
  readonly dialect: SqlTable.Dialect
  readonly table: string
}

export const versionOf = ({ dialect, sql, table }: Place): Effect.Effect<SqlTable.Version, SqlError> =>
  Effect.map(sql.unsafe<SqlTable.Row>(SqlTable.columnsQuery[dialect], [table]), SqlTable.versionOf)

/** A statement that waits for a lock on the table makes those behind it wait too. */
const lockTimeout = "SET LOCAL lock_timeout = '250ms'"

export const migrate = (place: Place) => {
  const { dialect, sql, table } = place
  const run = (statements: ReadonlyArray<string>) =>
    Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })
  const found = Effect.orDie(versionOf(place))
  /** A new table is made in the latest version, and a table that was made elsewhere is left as it is. */
  const loader = Effect.map(found, (version) =>
    SqlTable.versions.map(([id, name]): Migrator.ResolvedMigration => {
      const { inside } = SqlTable.ddl(dialect, table, version)
      const isBehind = version === id - 1 && dialect !== "mysql"
      return [
        id,
        name,
        Effect.succeed(isBehind ? run(dialect === "pg" ? [lockTimeout, ...inside] : inside) : Effect.void)
      ]
    })
  )
  // MySQL commits before it makes a table, so the history would have it before it is there.
  const made =
    dialect === "mysql"
      ? Effect.flatMap(found, (version) => run(SqlTable.ddl(dialect, table, version).inside))
      : Effect.void
  return Effect.andThen(made, Migrator.make({})({ loader, table: `${table}_migrations` })).pipe(
    Effect.provideService(SqlClient.SqlClient, sql),
    Effect.retry({ while: isLocked, schedule: Schedule.jittered(Schedule.spaced("1 second")), times: 30 }),
    Effect.andThen(dialect === "pg" ? buildIndexes(sql, table) : Effect.void)
  )
}

const isLocked = (error: Migrator.MigrationError | SqlError): boolean => {
  const cause = error._tag === "MigrationError" ? error.cause : error
  return cause instanceof SqlError && cause.reason._tag === "LockTimeoutError"
}

/**
 * Builds the indexes of a table from an older version, one process at a time. The others ask again and again whether all
 * is done, rather than wait for the lock: a statement that waits is one that `CREATE INDEX CONCURRENTLY` waits for.
 */
const buildIndexes = (sql: SqlClient.SqlClient, table: string): Effect.Effect<void, SqlError> => {
  const state = Effect.map(
    sql<{ readonly name: string; readonly valid: boolean }>`
      SELECT c.relname AS name, i.indisvalid AS valid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
      WHERE i.indrelid = to_regclass(quote_ident(${table}))`,
    (found) => SqlTable.stateOfIndexes(table, found)
  )
  const build = Effect.scoped(
    Effect.gen(function* () {
      // The lock belongs to a connection, which must be the one that runs the rest.
      const connection = yield* sql.reserve
      const run = (statement: string) => connection.executeUnprepared(statement, [], undefined)
      const key = `hashtextextended('effect-sessions ' || to_regclass(quote_ident('${table}'))::oid::text, 0)`
      const [row] = yield* run(`SELECT pg_try_advisory_lock(${key}) AS locked`)
      if (row?.["locked"] !== true) return
      yield* Effect.gen(function* () {
        const { broken, isDone } = yield* state
        if (isDone) return
        for (const name of broken) yield* run(`DROP INDEX CONCURRENTLY IF EXISTS "${name}"`)
        for (const statement of SqlTable.ddl("pg", table, 1).outside) yield* run(statement)
      }).pipe(Effect.ensuring(Effect.ignore(run(`SELECT pg_advisory_unlock(${key})`))))
    })
  )
  return Effect.gen(function* () {
    while (!(yield* state).isDone) {
      yield* build
      if ((yield* state).isDone) return
      yield* Effect.sleep("200 millis")
    }
  })
}
