/** The table as version 1 of the SQL backend made it, and the statements its servers still send while a new one migrates. */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { SessionRecord } from "../../src/SessionBackend.ts"

const columns =
  "namespace, id, secret_hash, version, principal, data, data_version, extension, created_at, authenticated_at, " +
  "last_seen_at, idle_timeout, idle_expires_at, absolute_expires_at, persistent"

export const create = (sql: SqlClient.SqlClient, table: string): Effect.Effect<void, SqlError> =>
  Effect.gen(function* () {
    const isPostgres = sql.onDialectOrElse({ pg: () => true, orElse: () => false })
    const [key, integer] = isPostgres ? [`TEXT COLLATE "C"`, "BIGINT"] : ["TEXT", "INTEGER"]
    const types: Record<string, string> = {
      namespace: key,
      id: key,
      principal: key,
      secret_hash: "TEXT",
      data: "TEXT",
      extension: "TEXT"
    }
    const definitions = columns
      .split(", ")
      .map((name) => `${name} ${types[name] ?? integer}${name === "principal" ? "" : " NOT NULL"}`)
    const least = isPostgres ? "LEAST" : "MIN"
    yield* sql.unsafe(
      `CREATE TABLE ${table} (${definitions.join(", ")}, PRIMARY KEY (namespace, id)) ${isPostgres ? "" : "STRICT"}`
    )
    yield* sql.unsafe(
      `CREATE INDEX ${table}_principal ON ${table} (namespace, principal, id) WHERE principal IS NOT NULL`
    )
    yield* sql.unsafe(`CREATE INDEX ${table}_expiry ON ${table} (${least}(idle_expires_at, absolute_expires_at))`)
    // As the Migrator leaves it.
    yield* sql.unsafe(
      isPostgres
        ? `CREATE TABLE ${table}_migrations (
             migration_id integer primary key, created_at timestamp with time zone not null default now(), name text not null)`
        : `CREATE TABLE ${table}_migrations (
             migration_id integer PRIMARY KEY NOT NULL, created_at datetime NOT NULL DEFAULT current_timestamp,
             name VARCHAR(255) NOT NULL)`
    )
    yield* sql.unsafe(`INSERT INTO ${table}_migrations (migration_id, name) VALUES (1, 'create')`)
  })

type Rows = Effect.Effect<ReadonlyArray<Readonly<Record<string, unknown>>>, SqlError>

/** The operations of a server of version 1, as far as their statements go. */
export const server = (sql: SqlClient.SqlClient, name: string) => {
  const table = sql(name)
  const all = sql.literal(columns)
  const isPostgres = sql.onDialectOrElse({ pg: () => true, orElse: () => false })
  const later = sql.literal(isPostgres ? "GREATEST" : "MAX")
  const expiresAt = sql.literal(`${isPostgres ? "LEAST" : "MIN"}(idle_expires_at, absolute_expires_at)`)
  const locking = sql.literal(isPostgres ? "FOR UPDATE SKIP LOCKED" : "")
  return {
    create: (record: SessionRecord): Rows => sql`
      INSERT INTO ${table} ${sql.insert({
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
      })} ON CONFLICT (namespace, id) DO NOTHING RETURNING id`,
    read: ({ id, namespace }: SessionRecord): Rows =>
      sql`SELECT ${all} FROM ${table} WHERE namespace = ${namespace} AND id = ${id}`,
    touch: ({ id, idleExpiresAt, lastSeenAt, namespace }: SessionRecord): Rows => sql`
      UPDATE ${table} SET
        last_seen_at = ${lastSeenAt},
        idle_expires_at = CASE WHEN last_seen_at > ${lastSeenAt + 600_000} THEN ${idleExpiresAt}
          ELSE ${later}(idle_expires_at, ${idleExpiresAt}) END
      WHERE namespace = ${namespace} AND id = ${id}
        AND (last_seen_at < ${lastSeenAt} OR last_seen_at > ${lastSeenAt + 600_000})
      RETURNING id`,
    update: ({ data, id, idleExpiresAt, lastSeenAt, namespace, version }: SessionRecord): Rows => sql`
      UPDATE ${table} SET
        version = version + 1,
        data = COALESCE(${data}, data),
        last_seen_at = CASE WHEN last_seen_at > ${lastSeenAt + 600_000} THEN ${lastSeenAt}
          ELSE ${later}(last_seen_at, ${lastSeenAt}) END,
        idle_expires_at = CASE WHEN last_seen_at > ${lastSeenAt + 600_000} THEN ${idleExpiresAt}
          ELSE ${later}(idle_expires_at, ${idleExpiresAt}) END
      WHERE namespace = ${namespace} AND id = ${id} AND version = ${version}
      RETURNING ${all}`,
    delete: ({ id, namespace }: SessionRecord): Rows =>
      sql`DELETE FROM ${table} WHERE namespace = ${namespace} AND id = ${id} RETURNING id`,
    list: ({ namespace, principal }: SessionRecord): Rows => sql`
      SELECT ${all} FROM ${table} WHERE namespace = ${namespace} AND principal = ${principal ?? null} AND id > ${""}
      ORDER BY id LIMIT ${100}`,
    sweep: (before: number, limit: number): Rows => sql`
      WITH expired AS MATERIALIZED (
        SELECT namespace, id FROM ${table} WHERE ${expiresAt} <= ${before} LIMIT ${limit} ${locking}
      )
      DELETE FROM ${table} WHERE (namespace, id) IN (SELECT namespace, id FROM expired)
      RETURNING id`
  }
}
