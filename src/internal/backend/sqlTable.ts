/**
 * The table of the SQL backend: its columns, its indexes, and how a record becomes a row.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Fragment } from "effect/sql/Statement"
import type { SessionRecord } from "../../SessionBackend.ts"

export type Dialect = "pg" | "sqlite"

export type Row = Readonly<Record<string, unknown>>

interface Column<A> {
  readonly name: string
  readonly type: Readonly<Record<Dialect, string>>
  readonly toSql: (value: A) => string | number | null
  readonly fromSql: (value: unknown) => A
}

const textType = { pg: "TEXT NOT NULL", sqlite: "TEXT NOT NULL" }
const integerType = { pg: "BIGINT NOT NULL", sqlite: "INTEGER NOT NULL" }
/** Compared byte by byte, whatever the collation of the database. SQLite does so by default. */
const keyType = { pg: `TEXT COLLATE "C"`, sqlite: "TEXT" }

const text = (name: string): Column<string> => ({ name, type: textType, toSql: String, fromSql: String })
const key = (name: string): Column<string> => ({
  ...text(name),
  type: { pg: `${keyType.pg} NOT NULL`, sqlite: `${keyType.sqlite} NOT NULL` }
})
/** Some drivers return a BIGINT as `bigint` or as text. */
const integer = (name: string): Column<number> => ({ name, type: integerType, toSql: Number, fromSql: Number })

/** The column of each field of a record, in the order of the table. */
const columns: { readonly [K in keyof SessionRecord]: Column<SessionRecord[K]> } = {
  namespace: key("namespace"),
  id: key("id"),
  secretHash: text("secret_hash"),
  version: integer("version"),
  principal: {
    name: "principal",
    type: keyType,
    toSql: (principal) => principal ?? null,
    fromSql: (principal) => (principal === null ? undefined : String(principal))
  },
  data: text("data"),
  dataVersion: integer("data_version"),
  extension: text("extension"),
  createdAt: integer("created_at"),
  authenticatedAt: integer("authenticated_at"),
  lastSeenAt: integer("last_seen_at"),
  idleTimeout: integer("idle_timeout"),
  idleExpiresAt: integer("idle_expires_at"),
  absoluteExpiresAt: integer("absolute_expires_at"),
  persistent: {
    name: "persistent",
    type: integerType,
    toSql: Number,
    fromSql: (persistent) => Number(persistent) === 1
  }
}

// The type of `columns` has checked each column against its field; from here on they are used alike.
const entries = Object.entries(columns) as ReadonlyArray<readonly [keyof SessionRecord, Column<unknown>]>

export const columnNames: string = entries.map(([, { name }]) => name).join(", ")

export const toRow = (record: SessionRecord): Record<string, string | number | null> => {
  const row: Record<string, string | number | null> = {}
  for (const [field, { name, toSql }] of entries) row[name] = toSql(record[field])
  return row
}

export const fromRow = (row: Row): SessionRecord => {
  const record: Record<string, unknown> = {}
  for (const [field, { fromSql, name }] of entries) record[field] = fromSql(row[name])
  // Every field of a record has its column.
  return record as unknown as SessionRecord
}

/** The nearer deadline of a record, as the indexed expression. */
export const expiresAt = (sql: SqlClient.SqlClient, dialect: Dialect): Fragment =>
  sql.literal(`${dialect === "pg" ? "LEAST" : "MIN"}(idle_expires_at, absolute_expires_at)`)

export const create = (sql: SqlClient.SqlClient, dialect: Dialect, table: string): Effect.Effect<void, SqlError> =>
  Effect.gen(function* () {
    const definitions = sql.literal(entries.map(([, { name, type }]) => `${name} ${type[dialect]}`).join(", "))
    const options = sql.literal(dialect === "pg" ? "" : "STRICT")
    yield* sql`CREATE TABLE ${sql(table)} (${definitions}, PRIMARY KEY (namespace, id)) ${options}`
    yield* sql`
      CREATE INDEX ${sql(`${table}_principal`)} ON ${sql(table)} (namespace, principal, id)
      WHERE principal IS NOT NULL`
    yield* sql`CREATE INDEX ${sql(`${table}_expiry`)} ON ${sql(table)} (${expiresAt(sql, dialect)})`
  })
