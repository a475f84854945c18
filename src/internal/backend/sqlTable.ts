/**
 * The table of the SQL backend: its columns, its indexes and its versions, as data, and how a record becomes a row.
 *
 * @internal
 */
import type { SessionRecord } from "../../SessionBackend.ts"

export type Dialect = "pg" | "sqlite" | "mysql"

export type Row = Readonly<Record<string, unknown>>

// -----------------------------------------------------------------------------
// What the databases differ in
// -----------------------------------------------------------------------------

interface Syntax {
  readonly quote: (name: string) => string
  readonly text: string
  readonly integer: string
  /** Compared byte by byte, whatever the collation of the database. */
  readonly key: string
  /** What follows the columns of a new table. */
  readonly tableOptions: string
  /** The rows an index by principal needs, where an index can be of some rows only. */
  readonly withPrincipal: string
  /** The greatest and the least of several values. */
  readonly greatest: string
  readonly least: string
  /** The whole part of a quotient of integers. */
  readonly quotient: string
}

export const syntaxOf: Readonly<Record<Dialect, Syntax>> = {
  pg: {
    quote: (name) => `"${name}"`,
    text: "TEXT",
    integer: "BIGINT",
    key: `TEXT COLLATE "C"`,
    // Room in each page for the row that a touch writes, beside the one it replaces: no index has to change then.
    tableOptions: " WITH (fillfactor = 90)",
    withPrincipal: " WHERE principal IS NOT NULL",
    greatest: "GREATEST",
    least: "LEAST",
    quotient: "/"
  },
  sqlite: {
    quote: (name) => `"${name}"`,
    text: "TEXT",
    integer: "INTEGER",
    key: "TEXT",
    tableOptions: " STRICT",
    withPrincipal: " WHERE principal IS NOT NULL",
    greatest: "MAX",
    least: "MIN",
    quotient: "/"
  },
  mysql: {
    quote: (name) => `\`${name}\``,
    text: "MEDIUMTEXT",
    integer: "BIGINT",
    // A VARCHAR takes letters of both cases for the same, or ignores spaces at the end.
    key: "VARBINARY(512)",
    tableOptions: " ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    withPrincipal: "",
    greatest: "GREATEST",
    least: "LEAST",
    quotient: "DIV"
  }
}

// -----------------------------------------------------------------------------
// Columns
// -----------------------------------------------------------------------------

interface Column<A> {
  readonly name: string
  readonly type: "text" | "integer" | "key"
  readonly isNullable?: true
  readonly toSql: (value: A) => string | number | null
  readonly fromSql: (value: unknown) => A
}

/** `String` decodes a `Buffer` too, which is what drivers for MySQL return for a VARBINARY. */
const text = (name: string): Column<string> => ({ name, type: "text", toSql: String, fromSql: String })
const key = (name: string): Column<string> => ({ ...text(name), type: "key" })
/** Some drivers return a BIGINT as `bigint` or as text. */
const integer = (name: string): Column<number> => ({ name, type: "integer", toSql: Number, fromSql: Number })

/** The column of each field of a record, in the order of the table. */
const columns: { readonly [K in keyof SessionRecord]: Column<SessionRecord[K]> } = {
  namespace: key("namespace"),
  id: key("id"),
  secretHash: text("secret_hash"),
  version: integer("version"),
  principal: {
    name: "principal",
    type: "key",
    isNullable: true,
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
    type: "integer",
    toSql: Number,
    fromSql: (persistent) => Number(persistent) === 1
  }
}

// The type of `columns` has checked each column against its field; from here on they are used alike.
const entries = Object.entries(columns) as ReadonlyArray<readonly [keyof SessionRecord, Column<unknown>]>

export const columnNames: string = entries.map(([, { name }]) => name).join(", ")

/** What `sweep_at` is rounded up to, in milliseconds. */
export const sweepStep = 15 * 60_000

/**
 * When the sweep is to look at a row with this deadline: not before it, and no more than `sweepStep` after it. A touch,
 * which moves the deadline, leaves `sweep_at` alone, so it changes no index; a sweep that finds a row alive moves it.
 */
export const sweepAt = (deadline: number): number => Math.ceil(deadline / sweepStep) * sweepStep

export const toRow = (record: SessionRecord): Record<string, string | number | null> => {
  const row: Record<string, string | number | null> = {}
  for (const [field, { name, toSql }] of entries) row[name] = toSql(record[field])
  row["sweep_at"] = sweepAt(Math.min(record.idleExpiresAt, record.absoluteExpiresAt))
  return row
}

export const fromRow = (row: Row): SessionRecord => {
  const record: { -readonly [Field in keyof SessionRecord]?: unknown } = {}
  for (const [field, { fromSql, name }] of entries) record[field] = fromSql(row[name])
  // Every field of a record has its column, of its type.
  return record as SessionRecord
}

// -----------------------------------------------------------------------------
// Versions
// -----------------------------------------------------------------------------

/** The versions of the table, as the history of migrations names them. */
export const versions = [
  [1, "create"],
  [2, "sweep_at"]
] as const

export type Version = 0 | (typeof versions)[number][0]

export const latestVersion = 2

/** The indexes of the latest version: by name, and what they are on. */
const indexes = (dialect: Dialect, table: string): ReadonlyArray<readonly [name: string, on: string]> => [
  [`${table}_newest`, `(namespace, principal, created_at, id)${syntaxOf[dialect].withPrincipal}`],
  [`${table}_sweep`, "(sweep_at)"]
]

const superseded = (table: string): ReadonlyArray<string> => [`${table}_principal`, `${table}_expiry`]

/** Servers of an older version write no `sweep_at`: their rows are due at once, and the sweep puts them right. */
const sweepColumn = (dialect: Dialect): string => `sweep_at ${syntaxOf[dialect].integer} NOT NULL DEFAULT 0`

const create = (dialect: Dialect, table: string): ReadonlyArray<string> => {
  const { quote, tableOptions, ...types } = syntaxOf[dialect]
  const lines = [
    ...entries.map(
      ([, { isNullable, name, type }]) => `${name} ${types[type]}${isNullable === true ? "" : " NOT NULL"}`
    ),
    sweepColumn(dialect),
    "PRIMARY KEY (namespace, id)"
  ]
  if (dialect === "mysql") {
    // There each statement is a transaction: this one makes all or nothing, and nothing is lost if it runs twice.
    lines.push(...indexes(dialect, table).map(([name, on]) => `INDEX ${quote(name)} ${on}`))
    return [`CREATE TABLE IF NOT EXISTS ${quote(table)} (\n  ${lines.join(",\n  ")}\n)${tableOptions}`]
  }
  return [
    `CREATE TABLE ${quote(table)} (\n  ${lines.join(",\n  ")}\n)${tableOptions}`,
    ...indexes(dialect, table).map(([name, on]) => `CREATE INDEX ${quote(name)} ON ${quote(table)} ${on}`)
  ]
}

/** What brings a table of version 1 over, beside servers that use it. What is `outside` cannot run in a transaction. */
const upgrade: Readonly<
  Record<
    Dialect,
    (table: string) => { readonly inside: ReadonlyArray<string>; readonly outside: ReadonlyArray<string> }
  >
> = {
  pg: (table) => ({
    // One statement, so that the table is locked once. It takes no longer for a table that is large.
    inside: [`ALTER TABLE "${table}" ADD COLUMN ${sweepColumn("pg")}, SET (fillfactor = 90)`],
    outside: [
      ...indexes("pg", table).map(
        ([name, on]) => `CREATE INDEX CONCURRENTLY IF NOT EXISTS "${name}" ON "${table}" ${on}`
      ),
      ...superseded(table).map((name) => `DROP INDEX CONCURRENTLY IF EXISTS "${name}"`)
    ]
  }),
  sqlite: (table) => ({
    inside: [
      `ALTER TABLE "${table}" ADD COLUMN ${sweepColumn("sqlite")}`,
      ...indexes("sqlite", table).map(([name, on]) => `CREATE INDEX IF NOT EXISTS "${name}" ON "${table}" ${on}`),
      ...superseded(table).map((name) => `DROP INDEX IF EXISTS "${name}"`)
    ],
    outside: []
  }),
  // No version before this one knew it.
  mysql: () => ({ inside: [], outside: [] })
}

/** The statements that bring a table of the given version, where 0 is none, to the latest. */
export const ddl = (
  dialect: Dialect,
  table: string,
  from: Version
): { readonly inside: ReadonlyArray<string>; readonly outside: ReadonlyArray<string> } => {
  if (from === 0) return { inside: create(dialect, table), outside: [] }
  return from === 1 ? upgrade[dialect](table) : { inside: [], outside: [] }
}

/** A query, with the table's name as its parameter, for which of the columns `id` and `sweep_at` there are. */
export const columnsQuery: Readonly<Record<Dialect, string>> = {
  pg: `SELECT attname AS name FROM pg_attribute
    WHERE attrelid = to_regclass(quote_ident($1)) AND attname IN ('id', 'sweep_at') AND NOT attisdropped`,
  sqlite: `SELECT name FROM pragma_table_info(?) WHERE name IN ('id', 'sweep_at')`,
  mysql: `SELECT column_name AS name FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = ? AND column_name IN ('id', 'sweep_at')`
}

/** The version of a table with these of the columns `id` and `sweep_at`. */
export const versionOf = (columns: ReadonlyArray<Row>): Version =>
  columns.length === 0 ? 0 : columns.some(({ name }) => name === "sweep_at") ? 2 : 1

/** Which indexes of the table are to be dropped first, because building them was broken off, and whether all is done. */
export const stateOfIndexes = (
  table: string,
  found: ReadonlyArray<{ readonly name: string; readonly valid: boolean }>
): { readonly broken: ReadonlyArray<string>; readonly isDone: boolean } => {
  const wanted = indexes("pg", table).map(([name]) => name)
  const valid = new Set(found.filter(({ valid }) => valid).map(({ name }) => name))
  const isLeft = found.some(({ name }) => superseded(table).includes(name))
  return {
    broken: found.filter(({ name, valid }) => !valid && wanted.includes(name)).map(({ name }) => name),
    isDone: !isLeft && wanted.every((name) => valid.has(name))
  }
}
