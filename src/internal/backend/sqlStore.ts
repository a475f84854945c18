/**
 * The SQL backend: the operations of the port, each on a connection of its own.
 *
 * @internal
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import { clockSlack, maxBatch, SessionBackendError } from "../../SessionBackend.ts"
import type { Operation, SessionBackend, SessionRecord, UpdateResult } from "../../SessionBackend.ts"
import * as SqlGate from "./sqlGate.ts"
import * as SqlHints from "./sqlHints.ts"
import type * as SqlMigrations from "./sqlMigrations.ts"
import { isTransient, outcomeOf } from "./sqlOutcome.ts"
import * as SqlStatements from "./sqlStatements.ts"
import * as SqlTable from "./sqlTable.ts"

export interface Configuration extends SqlMigrations.Place {
  readonly maxConnections: number
  /** How many statements may run beside a `LISTEN`, and the `LISTEN`, if the client is one for it. */
  readonly beside: number
  readonly listen: SqlHints.Listen | undefined
}

/** An operation that waited for the one connection of a SQLite client would wait for the transaction it is called in. */
const inTransaction = new SqlError({
  reason: new ConnectionError({
    cause: new Error("The one connection of this SQLite client is in a transaction"),
    message: "SessionBackendSql: give sessions a SQLite client of their own",
    operation: "connect"
  })
})

/** Runs a statement on a connection of its own, outside any transaction of the caller. */
export const outsideTransactionOf =
  ({ dialect, sql }: SqlMigrations.Place) =>
  <A>(statement: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> =>
    Effect.contextWith((context: Context.Context<never>) => {
      if (Option.isNone(Context.getOption(context, sql.transactionService))) return statement
      if (dialect === "sqlite") return Effect.fail(inTransaction)
      return Effect.updateContext(statement, Context.omit(sql.transactionService))
    })

/**
 * How many rows one statement deletes or returns at most. SQLite runs in this process: what it does at a time, nothing else
 * is done. MySQL finds each row of a batch by its key, so a large table on a slow disk needs small batches to keep a deadline.
 */
const rowsPerStatement: Readonly<Record<SqlTable.Dialect, number>> = {
  pg: maxBatch,
  sqlite: 50,
  mysql: 250
}

const slack = Duration.toMillis(clockSlack)

/** A place in a walk: the two columns it is ordered by. */
const encodeCursor = ({ createdAt, id }: SessionRecord): string => `${createdAt}.${id}`

const decodeCursor = (cursor: string): readonly [createdAt: number, id: string] => {
  const dot = cursor.indexOf(".")
  return [Number(cursor.slice(0, dot)), cursor.slice(dot + 1)]
}

export const make = Effect.fnUntraced(function* (
  configuration: Configuration
): Effect.fn.Return<SessionBackend["Service"], never, Scope.Scope> {
  const { beside, dialect, listen, maxConnections, sql } = configuration
  const table = sql(configuration.table)
  const columns = sql.literal(SqlTable.columnNames)
  const earlier = sql.literal(SqlTable.syntaxOf[dialect].least)
  const later = sql.literal(SqlTable.syntaxOf[dialect].greatest)
  const rowsAtMost = (limit: number): number => Math.min(limit, rowsPerStatement[dialect])
  const statements = SqlStatements.make(sql, configuration.table, dialect)
  const outsideTransaction = outsideTransactionOf(configuration)
  // SQLite has no connections that a server could refuse.
  const gate: SqlGate.Gate =
    dialect === "sqlite"
      ? (statement) => statement
      : SqlGate.make(maxConnections, () => (hints.isListening() ? beside : maxConnections))

  const run = <A>(
    operation: Operation,
    statement: Effect.Effect<A, SqlError>,
    outcome: (error: SqlError) => SessionBackendError["outcome"] = outcomeOf
  ): Effect.Effect<A, SessionBackendError> =>
    Effect.catch(outsideTransaction(gate(statement)), (cause) =>
      Effect.andThen(
        // There is no connection but the one that listens: statements need it more.
        hints.isListening() && cause.reason.operation === "connect" ? hints.drop : Effect.void,
        Effect.fail(new SessionBackendError({ operation, outcome: outcome(cause), cause }))
      )
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

  /** A stored `lastSeenAt` beyond this comes from a wrong clock: only then is anything set back. */
  const isAhead = (lastSeenAt: number) => sql`last_seen_at > ${lastSeenAt + slack}`

  /**
   * Moves the times. `sweep_at` stays where it is, so that a touch changes no index; except where the deadline is set back.
   * `last_seen_at` comes last: the others depend on what it was.
   */
  const extend = ({ idleExpiresAt, lastSeenAt }: Pick<SessionRecord, "idleExpiresAt" | "lastSeenAt">) => sql`
              sweep_at = CASE WHEN ${isAhead(lastSeenAt)} THEN ${earlier}(sweep_at, ${SqlTable.sweepAt(idleExpiresAt)})
                ELSE sweep_at END,
              idle_expires_at = CASE WHEN ${isAhead(lastSeenAt)} THEN ${idleExpiresAt}
                ELSE ${later}(idle_expires_at, ${idleExpiresAt}) END,
              last_seen_at = CASE WHEN ${isAhead(lastSeenAt)} THEN ${lastSeenAt}
                ELSE ${later}(last_seen_at, ${lastSeenAt}) END`

  /**
   * Waits for synchronous standbys, where there are any. A delete that finds nothing writes nothing and waits for no standby,
   * and the one before it may have been cancelled while it waited: done here, and not there yet. Where there are none it
   * writes nothing either, so that log-outs of sessions that are gone cost no writes.
   */
  const confirmed: Effect.Effect<unknown, SqlError> =
    dialect === "pg"
      ? sql`SELECT CASE WHEN current_setting('synchronous_standby_names') <> ''
          THEN pg_logical_emit_message(true, 'effect-sessions', '')::text END`
      : Effect.void

  const hints: SqlHints.SqlHints =
    listen === undefined
      ? // On Workers an isolate is one of many, and what one request waits for another should not do.
        sql.driver === "d1"
        ? SqlHints.none
        : SqlHints.makeLocal()
      : yield* SqlHints.make({
          sql,
          channel: SqlHints.channelOf(configuration.table),
          listen: beside < 1 ? undefined : listen,
          run: gate
        })

  return {
    create: (record) =>
      Effect.map(
        // Not retried: the caller tries again with another id.
        run("create", statements.insert(SqlTable.toRow(record))),
        (isCreated) => (isCreated ? "created" : "exists")
      ),

    read: (namespace, id) => select("read", namespace, id),

    update: (namespace, id, expectedVersion, patch) =>
      Effect.flatMap(
        write(
          "update",
          statements.changeAndRead(
            { namespace, id },
            sql`
              version = version + 1,
              secret_hash = COALESCE(${patch.secretHash ?? null}, secret_hash),
              data = COALESCE(${patch.data ?? null}, data),
              data_version = COALESCE(${patch.dataVersion ?? null}, data_version),
              extension = COALESCE(${patch.extension ?? null}, extension),
              ${extend(patch)}`,
            sql`AND version = ${expectedVersion}`
          )
        ),
        (row): Effect.Effect<UpdateResult, SessionBackendError> =>
          row !== undefined
            ? Effect.as(patch.secretHash === undefined ? Effect.void : hints.tell([{ namespace, id }]), {
                _tag: "updated",
                record: SqlTable.fromRow(row)
              })
            : Effect.map(select("update", namespace, id), (found): UpdateResult =>
                Option.isSome(found) ? { _tag: "stale", record: found.value } : { _tag: "gone" }
              )
      ),

    touch: (namespace, id, seen) =>
      Effect.flatMap(
        write(
          "touch",
          statements.change(
            { namespace, id },
            extend(seen),
            sql`AND (last_seen_at < ${seen.lastSeenAt} OR ${isAhead(seen.lastSeenAt)})`
          )
        ),
        (isTouched) =>
          isTouched
            ? Effect.succeed("touched" as const)
            : Effect.map(select("touch", namespace, id), (record) => (Option.isSome(record) ? "unchanged" : "gone"))
      ),

    delete: (namespace, id, options) =>
      Effect.tap(
        write(
          "delete",
          Effect.tap(
            statements.remove(
              { namespace, id },
              options?.principal === undefined ? sql.literal("") : sql`AND principal = ${options.principal}`
            ),
            (isRemoved) => (isRemoved ? Effect.void : confirmed)
          )
        ),
        (isRemoved) => (isRemoved ? hints.tell([{ namespace, id }]) : Effect.void)
      ),

    deleteByPrincipal: (namespace, principal, options) => {
      const others = options.except === undefined ? sql.literal("") : sql`AND id <> ${options.except}`
      const limit = rowsAtMost(options.limit)
      return Effect.flatMap(
        write(
          "deleteByPrincipal",
          Effect.tap(
            statements.removeNewest(namespace, sql`AND principal = ${principal} ${others}`, limit),
            ({ ids }) => (ids.length > 0 ? Effect.void : confirmed)
          )
        ),
        ({ found, ids }) => {
          const deleted = ids.map((id) => ({ namespace, id, principal }))
          return Effect.as(hints.tell(deleted), { deleted, more: found === limit })
        }
      )
    },

    listByPrincipal: (namespace, principal, options) => {
      const limit = rowsAtMost(options.limit)
      const rest = Option.match(Option.fromUndefinedOr(options.after), {
        onNone: () => sql.literal(""),
        onSome: (after) => statements.olderThan(...decodeCursor(after))
      })
      return Effect.map(
        query(
          "listByPrincipal",
          sql<SqlTable.Row>`
            SELECT ${columns} FROM ${table} WHERE namespace = ${namespace} AND principal = ${principal} ${rest}
            ORDER BY created_at DESC, id DESC ${statements.atMost(limit)}`
        ),
        (rows) => {
          const records = rows.map(SqlTable.fromRow)
          const last = records.at(-1)
          return { records, next: last !== undefined && records.length === limit ? encodeCursor(last) : undefined }
        }
      )
    },

    scan: (namespace, options) => {
      const limit = rowsAtMost(options.limit)
      const rest = Option.match(Option.fromUndefinedOr(options.after), {
        onNone: () => sql.literal(""),
        onSome: (after) => sql`AND id > ${after}`
      })
      return Effect.map(
        query(
          "scan",
          // In the order of the primary key. With `namespace, id` MariaDB sorts.
          sql<SqlTable.Row>`
            SELECT ${columns} FROM ${table} WHERE namespace = ${namespace} ${rest}
            ORDER BY id ${statements.atMost(limit)}`
        ),
        (rows) => {
          const records = rows.map(SqlTable.fromRow)
          return { records, next: records.length === limit ? records.at(-1)?.id : undefined }
        }
      )
    },

    deleteExpired: (options) => {
      const limit = rowsAtMost(options.limit)
      return Effect.map(
        write("deleteExpired", statements.sweep(options.now - slack, limit)),
        ({ examined, removed }) => ({
          deleted: removed.map(({ id, namespace, principal }) => ({
            namespace: String(namespace),
            id: String(id),
            principal: principal === null ? undefined : String(principal)
          })),
          more: examined === limit
        })
      )
    },

    ended: hints.ended
  }
})
