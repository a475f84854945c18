/** What the tests of the SQL backend on a database server have in common. */
import { layer } from "@effect/vitest"
import * as Layer from "effect/Layer"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SessionBackend, SessionRecord } from "../../src/SessionBackend.ts"
import * as SessionBackendSql from "../../src/SessionBackendSql.ts"
import * as SessionBackendTest from "../../src/testing/SessionBackendTest.ts"

export const record = (changes?: Partial<SessionRecord>): SessionRecord => ({
  namespace: globalThis.crypto.randomUUID(),
  id: "0000000000000000000000",
  secretHash: "hash",
  version: 1,
  principal: "alice",
  data: "{}",
  dataVersion: 1,
  extension: "{}",
  createdAt: 1_000_000,
  authenticatedAt: 1_000_000,
  lastSeenAt: 1_000_000,
  idleTimeout: 1000,
  idleExpiresAt: 1_001_000,
  absoluteExpiresAt: 1_010_000,
  persistent: true,
  ...changes
})

export const seen = { lastSeenAt: 1_000_001, idleExpiresAt: 1_001_001 }

export const backendOver = <E>(client: Layer.Layer<SqlClient.SqlClient, E>) =>
  SessionBackendSql.layer.pipe(Layer.provideMerge(client))

/** The conformance suite, with the cases of sweeping and of `ended`. */
export const suite = (name: string, backend: Layer.Layer<SessionBackend, unknown>): void =>
  layer(backend, { excludeTestServices: true })(name, (it) => {
    const { cases, collectingCases, pushingCases } = SessionBackendTest
    for (const { effect, name } of [...cases, ...collectingCases, ...pushingCases]) it.effect(name, () => effect)
  })
