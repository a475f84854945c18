/** What the tests of the SQL backend on a database server have in common. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as SqlClient from "effect/sql/SqlClient"
import { SessionBackend, type SessionRecord } from "../../src/SessionBackend.ts"
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

/** The conformance suite, the cases of sweeping included. One that does not push has no `ended`. */
export const suite = (name: string, backend: Layer.Layer<SessionBackend, unknown>, pushes = false): void =>
  layer(backend, { excludeTestServices: true })(name, (it) => {
    const pushing = pushes ? SessionBackendTest.pushingCases : []
    for (const { effect, name } of [...SessionBackendTest.cases, ...SessionBackendTest.collectingCases, ...pushing]) {
      it.effect(name, () => effect)
    }
    it.effect(`ended is ${pushes ? "there" : "not there"}`, () =>
      Effect.map(SessionBackend, ({ ended }) => assert.strictEqual(ended !== undefined, pushes))
    )
  })
