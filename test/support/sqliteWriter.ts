/** A thread with a SQLite client of its own that adds to one record's list, as often as it is told. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { workerData } from "node:worker_threads"
import * as NodeSqliteClient from "../../src/NodeSqliteClient.ts"
import { SessionBackend, type SessionRecord } from "../../src/SessionBackend.ts"
import * as SessionBackendSql from "../../src/SessionBackendSql.ts"

const { filename, name, record, updates } = workerData as {
  readonly filename: string
  readonly name: string
  readonly record: SessionRecord
  readonly updates: number
}

const program = Effect.gen(function* () {
  const backend = yield* SessionBackend
  yield* backend.create(record)
  let current = record
  for (let i = 0; i < updates;) {
    const result = yield* backend.update(record.namespace, record.id, current.version, {
      data: JSON.stringify([...JSON.parse(current.data), `${name}${i}`]),
      lastSeenAt: record.lastSeenAt,
      idleExpiresAt: record.idleExpiresAt
    })
    if (result._tag === "gone") return yield* Effect.die("the record is gone")
    if (result._tag === "updated") i++
    current = result.record
  }
})

await Effect.runPromise(
  program.pipe(
    Effect.provide(
      SessionBackendSql.layer.pipe(Layer.provide(NodeSqliteClient.layer({ filename, busyTimeout: "10 seconds" })))
    )
  )
)
