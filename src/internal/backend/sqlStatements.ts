/**
 * The statements that change rows and say which, for databases that answer a write with its rows (`RETURNING`) and for
 * those that answer with their number.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import type { Fragment } from "effect/sql/Statement"
import * as SqlTable from "./sqlTable.ts"

/** Where a row is. */
interface Key {
  readonly namespace: string
  readonly id: string
}

type Removed = Pick<SqlTable.Row, "namespace" | "id" | "principal">

interface Swept {
  readonly removed: ReadonlyArray<Removed>
  readonly examined: number
}

export interface Statements {
  /** `false` if the key is in use. */
  readonly insert: (row: Record<string, string | number | null>) => Effect.Effect<boolean, SqlError>
  /** Changes a row that meets a condition, and answers whether there was one. */
  readonly change: (key: Key, set: Fragment, condition: Fragment) => Effect.Effect<boolean, SqlError>
  /** The same, with the row as it is then, or later. */
  readonly changeAndRead: (
    key: Key,
    set: Fragment,
    condition: Fragment
  ) => Effect.Effect<SqlTable.Row | undefined, SqlError>
  readonly remove: (key: Key, condition: Fragment) => Effect.Effect<boolean, SqlError>
  /** Removes the newest `limit` rows of those meant, and answers their ids and how many it has found. */
  readonly removeNewest: (
    namespace: string,
    condition: Fragment,
    limit: number
  ) => Effect.Effect<{ readonly ids: ReadonlyArray<string>; readonly found: number }, SqlError>
  /**
   * Examines the first `limit` rows that are due: removes those whose deadlines are over, and moves `sweep_at` of those
   * that were touched, so that the next call finds others.
   */
  readonly sweep: (before: number, limit: number) => Effect.Effect<Swept, SqlError>
  readonly atMost: (limit: number) => Fragment
  /** Where to go on in a walk from the newest row to the oldest. */
  readonly olderThan: (createdAt: number, id: string) => Fragment
}

const isOne = (rows: ReadonlyArray<unknown>): boolean => rows.length === 1

/** Postgres and SQLite. */
const returning = (sql: SqlClient.SqlClient, name: string, dialect: "pg" | "sqlite"): Statements => {
  const table = sql(name)
  const columns = sql.literal(SqlTable.columnNames)
  // Two that delete sessions of one principal lock them in the same order, so one waits for the other, and no session is
  // counted twice. In SQLite statements run one at a time.
  const locking = sql.literal(dialect === "pg" ? "FOR UPDATE" : "")
  const at = ({ id, namespace }: Key) => sql`namespace = ${namespace} AND id = ${id}`
  return {
    insert: (row) =>
      Effect.map(
        sql`INSERT INTO ${table} ${sql.insert(row)} ON CONFLICT (namespace, id) DO NOTHING RETURNING id`,
        isOne
      ),
    change: (key, set, condition) =>
      Effect.map(sql`UPDATE ${table} SET ${set} WHERE ${at(key)} ${condition} RETURNING id`, isOne),
    changeAndRead: (key, set, condition) =>
      Effect.map(
        sql<SqlTable.Row>`UPDATE ${table} SET ${set} WHERE ${at(key)} ${condition} RETURNING ${columns}`,
        ([row]) => row
      ),
    remove: (key, condition) => Effect.map(sql`DELETE FROM ${table} WHERE ${at(key)} ${condition} RETURNING id`, isOne),
    removeNewest: (namespace, condition, limit) =>
      Effect.map(
        sql<{ readonly id: string }>`
          WITH newest AS MATERIALIZED (
            SELECT id FROM ${table} WHERE namespace = ${namespace} ${condition}
            ORDER BY created_at DESC, id DESC LIMIT ${limit} ${locking}
          )
          DELETE FROM ${table} WHERE namespace = ${namespace} AND id IN (SELECT id FROM newest)
          RETURNING id`,
        (rows) => ({ ids: rows.map(({ id }) => id), found: rows.length })
      ),
    sweep: dialect === "pg" ? sweepOfPostgres(sql, name) : sweepOfSqlite(sql, name),
    atMost: (limit) => sql`LIMIT ${limit}`,
    olderThan: (createdAt, id) => sql`AND (created_at, id) < (${createdAt}, ${id})`
  }
}

const sweepOfPostgres = (sql: SqlClient.SqlClient, name: string): Statements["sweep"] => {
  const table = sql(name)
  const { deadline, sweepAt } = timesOf(sql, "pg")
  // It locks the rows it has found, or it would remove one that is touched meanwhile. It skips rows that are locked: it
  // waits for no other, and two sweeps share the work.
  return (before, limit) =>
    Effect.map(
      sql<Removed & { readonly examined: unknown }>`
        WITH due AS MATERIALIZED (
          SELECT namespace, id, ${deadline} AS deadline FROM ${table} WHERE sweep_at <= ${before}
          ORDER BY sweep_at LIMIT ${limit} FOR UPDATE SKIP LOCKED
        ), removed AS (
          DELETE FROM ${table} USING due
          WHERE ${table}.namespace = due.namespace AND ${table}.id = due.id AND due.deadline <= ${before}
          RETURNING due.namespace, due.id, principal
        ), moved AS (
          UPDATE ${table} SET sweep_at = ${sweepAt} FROM due
          WHERE ${table}.namespace = due.namespace AND ${table}.id = due.id AND due.deadline > ${before}
        )
        SELECT examined, namespace, id, principal
        FROM (SELECT count(*) AS examined FROM due) AS total LEFT JOIN removed ON TRUE`,
      (rows) => ({ removed: rows.filter(({ id }) => id !== null), examined: Number(rows[0]?.examined) })
    )
}

const sweepOfSqlite = (sql: SqlClient.SqlClient, name: string): Statements["sweep"] => {
  const table = sql(name)
  const { deadline, sweepAt } = timesOf(sql, "sqlite")
  return (before, limit) =>
    Effect.gen(function* () {
      const first = (count: number) => sql`
        rowid IN (SELECT rowid FROM ${table} WHERE sweep_at <= ${before} ORDER BY sweep_at LIMIT ${count})`
      const moved = yield* sql`
        UPDATE ${table} SET sweep_at = ${sweepAt} WHERE ${first(limit)} AND ${deadline} > ${before} RETURNING id`
      const rest = limit - moved.length
      const removed = yield* sql<Removed>`
        DELETE FROM ${table} WHERE ${first(rest)} AND ${deadline} <= ${before} RETURNING namespace, id, principal`
      return { removed, examined: moved.length + removed.length }
    })
}

const sweepOfMysql = (sql: SqlClient.SqlClient, name: string, atMost: Statements["atMost"]): Statements["sweep"] => {
  const table = sql(name)
  const { deadline, sweepAt } = timesOf(sql, "mysql")
  // As in Postgres, in a transaction.
  return (before, limit) =>
    inTransaction(
      sql,
      Effect.gen(function* () {
        const due = yield* sql<Removed & { readonly deadline: unknown }>`
          SELECT namespace, id, principal, ${deadline} AS deadline FROM ${table} WHERE sweep_at <= ${before}
          ORDER BY sweep_at ${atMost(limit)} FOR UPDATE SKIP LOCKED`
        const removed = due.filter((row) => Number(row.deadline) <= before)
        const alive = due.filter((row) => Number(row.deadline) > before)
        if (removed.length > 0) yield* sql`DELETE FROM ${table} WHERE ${among(sql, removed)}`
        if (alive.length > 0) yield* sql`UPDATE ${table} SET sweep_at = ${sweepAt} WHERE ${among(sql, alive)}`
        return { removed, examined: due.length }
      })
    )
}

/** A row's nearer deadline, and when the sweep is to look at it: as `SqlTable.sweepAt`. */
const timesOf = (sql: SqlClient.SqlClient, dialect: SqlTable.Dialect) => {
  const { least, quotient } = SqlTable.syntaxOf[dialect]
  const step = SqlTable.sweepStep
  const deadline = `${least}(idle_expires_at, absolute_expires_at)`
  return {
    deadline: sql.literal(deadline),
    sweepAt: sql.literal(`(${deadline} + ${step} - 1) ${quotient} ${step} * ${step}`)
  }
}

/** What the raw result of a statement is that changes rows. */
interface Changed {
  readonly affectedRows: number
}

/** Whether a row is one of these: a condition that uses the primary key, as a list of pairs does not in MariaDB. */
const among = (sql: SqlClient.SqlClient, rows: ReadonlyArray<Pick<SqlTable.Row, "namespace" | "id">>): Fragment => {
  const ids = new Map<string, Array<string>>()
  for (const { id, namespace } of rows) {
    const found = ids.get(String(namespace))
    if (found === undefined) ids.set(String(namespace), [String(id)])
    else found.push(String(id))
  }
  return sql.or(Array.from(ids, ([namespace, ids]) => sql`(namespace = ${namespace} AND ${sql.in("id", ids)})`))
}

/** A transaction of its own, begun as usual whatever the caller has chosen for its own ones. */
const inTransaction = <A>(sql: SqlClient.SqlClient, effect: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> =>
  Effect.provideService(sql.withTransaction(effect), SqlClient.BeginTransaction, undefined)

/** MySQL and MariaDB. */
const counting = (sql: SqlClient.SqlClient, name: string): Statements => {
  const table = sql(name)
  const columns = sql.literal(SqlTable.columnNames)
  const at = ({ id, namespace }: Key) => sql`namespace = ${namespace} AND id = ${id}`
  const affects = (statement: { readonly raw: Effect.Effect<unknown, SqlError> }) =>
    // The driver's answer to a statement that changes rows.
    Effect.map(statement.raw, (result) => (result as Changed).affectedRows === 1)
  // As a parameter some versions of the driver send it as a number that MySQL does not take here.
  const atMost: Statements["atMost"] = (limit) => sql.literal(`LIMIT ${Math.trunc(limit)}`)
  const change: Statements["change"] = (key, set, condition) =>
    affects(sql`UPDATE ${table} SET ${set} WHERE ${at(key)} ${condition}`)
  return {
    insert: (row) =>
      Effect.catch(Effect.as(sql`INSERT INTO ${table} ${sql.insert(row)}`, true), (error) =>
        error.reason._tag === "UniqueViolation" ? Effect.succeed(false) : Effect.fail(error)
      ),
    change,
    changeAndRead: (key, set, condition) =>
      Effect.flatMap(change(key, set, condition), (isChanged) =>
        isChanged
          ? Effect.map(
              Effect.mapError(sql<SqlTable.Row>`SELECT ${columns} FROM ${table} WHERE ${at(key)}`, applied),
              ([row]) => row
            )
          : Effect.succeed(undefined)
      ),
    remove: (key, condition) => affects(sql`DELETE FROM ${table} WHERE ${at(key)} ${condition}`),
    removeNewest: (namespace, condition, limit) =>
      Effect.gen(function* () {
        const newest = yield* sql<{ readonly id: unknown }>`
          SELECT id FROM ${table} WHERE namespace = ${namespace} ${condition}
          ORDER BY created_at DESC, id DESC ${atMost(limit)}`
        if (newest.length === 0) return { ids: [], found: 0 }
        const these = among(
          sql,
          newest.map(({ id }) => ({ namespace, id }))
        )
        // They are locked by their key, and in its order, as everybody else locks them: none waits for one who waits for it.
        const removed = yield* inTransaction(
          sql,
          Effect.gen(function* () {
            const found = yield* sql<{
              readonly id: unknown
            }>`SELECT id FROM ${table} WHERE ${these} ${condition} FOR UPDATE`
            if (found.length > 0) yield* sql`DELETE FROM ${table} WHERE ${these} ${condition}`
            return found
          })
        )
        return { ids: removed.map(({ id }) => String(id)), found: newest.length }
      }),
    sweep: sweepOfMysql(sql, name, atMost),
    atMost,
    // A comparison of rows uses no more of an index than its equal columns.
    olderThan: (createdAt, id) => sql`AND created_at <= ${createdAt} AND (created_at < ${createdAt} OR id < ${id})`
  }
}

/** A failure after a change that was applied leaves the whole in doubt, wherever it happened. */
const applied = (cause: SqlError): SqlError =>
  new SqlError({
    reason: new UnknownError({
      cause,
      message: "SessionBackendSql: the record was changed, and could not be read",
      operation: "execute"
    })
  })

export const make = (sql: SqlClient.SqlClient, table: string, dialect: SqlTable.Dialect): Statements =>
  dialect === "mysql" ? counting(sql, table) : returning(sql, table, dialect)
