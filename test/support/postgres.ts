/** A schema of Postgres for one test file, with the table of sessions, and clients that see it. */
import { PgClient } from "@effect/sql-pg"
import { afterAll, beforeAll } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import * as SessionBackendSql from "../../src/SessionBackendSql.ts"
import { needing } from "./processes.ts"

export const url = new URL(process.env["DATABASE_URL"] ?? "postgres://postgres:postgres@localhost:5432/postgres")

/** The part of names that no other file has. */
export const random = globalThis.crypto.randomUUID().slice(0, 8)
export const schema = `effect_sessions_${random}`

/** A client with a pool of its own, whose tables are those of this file. */
export const client = (options?: Partial<PgClient.PgPoolConfig>) =>
  PgClient.layer({
    url: Redacted.make(url.href),
    connectTimeout: "5 seconds",
    ...options,
    startupParameters: { search_path: schema, ...options?.startupParameters }
  })

export const admin = <A, E>(use: (sql: SqlClient.SqlClient) => Effect.Effect<A, E>) =>
  Effect.provide(Effect.flatMap(SqlClient.SqlClient, use), client(), { local: true })

const reachable = Exit.isSuccess(await Effect.runPromiseExit(admin((sql) => sql`SELECT 1`)))

export const withPostgres = needing(reachable, "no Postgres at DATABASE_URL, nor at localhost:5432 as user postgres")

/** Makes the schema before the tests of a suite, and drops it after them. */
export const useSchema = (): void => {
  beforeAll(() =>
    Effect.runPromise(
      admin((sql) =>
        Effect.andThen(
          sql`CREATE SCHEMA ${sql(schema)}`,
          Effect.provide(Effect.void, SessionBackendSql.layerMigrations()).pipe(
            Effect.provideService(SqlClient.SqlClient, sql)
          )
        )
      )
    )
  )
  afterAll(() => Effect.runPromise(admin((sql) => sql`DROP SCHEMA ${sql(schema)} CASCADE`)))
}
