/** The binding of `@cloudflare/workers-types`, as it is declared there, is one for `D1Client`. */
import type * as Layer from "effect/Layer"
import type * as SqlClient from "effect/sql/SqlClient"
import * as D1Client from "effect-sessions/D1Client"

interface D1Result<T> {
  readonly success: true
  readonly meta: Record<string, unknown>
  readonly results: Array<T>
}

declare abstract class D1PreparedStatement {
  bind(...values: Array<unknown>): D1PreparedStatement
  first<T = unknown>(colName: string): Promise<T | null>
  first<T = Record<string, unknown>>(): Promise<T | null>
  run<T = Record<string, unknown>>(): Promise<D1Result<T>>
  all<T = Record<string, unknown>>(): Promise<D1Result<T>>
  raw<T = Array<unknown>>(options: { columnNames: true }): Promise<[Array<string>, ...Array<T>]>
  raw<T = Array<unknown>>(options?: { columnNames?: false }): Promise<Array<T>>
}

declare abstract class D1Database {
  prepare(query: string): D1PreparedStatement
  batch<T = unknown>(statements: Array<D1PreparedStatement>): Promise<Array<D1Result<T>>>
  withSession(constraintOrBookmark?: string): D1DatabaseSession
}

declare abstract class D1DatabaseSession {
  prepare(query: string): D1PreparedStatement
  batch<T = unknown>(statements: Array<D1PreparedStatement>): Promise<Array<D1Result<T>>>
  getBookmark(): string | null
}

declare const db: D1Database

export const client: Layer.Layer<SqlClient.SqlClient> = D1Client.layer({ db })

// @ts-expect-error a replica does not know of a log-out yet
D1Client.layer({ db: db.withSession("first-primary") })

// @ts-expect-error a name is no binding
D1Client.layer({ db: "DB" })
