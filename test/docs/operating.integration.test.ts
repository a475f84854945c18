/** The audit table of docs/operating.md answers what it says: the guide's own code, over SQLite and Postgres. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { SessionBackendMemory, SessionFrontend, SessionVerifier } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import type { SessionManager } from "effect-sessions"
import * as NodeSqliteClient from "../../src/NodeSqliteClient.ts"
import { modulesOf } from "../support/fences.ts"
import { capturing } from "../support/logs.ts"
import { databaseUrl, needing } from "../support/processes.ts"

const recipe = modulesOf("docs/operating.md")

const { UserSession } = await recipe("session")
const { UserSessionLive } = await recipe("watched")
const { createTable, logInsOf } = await recipe("audit")

interface LogIn {
  readonly session_id: string
  readonly began: number | bigint
  readonly ended: number | bigint | null
  readonly why: string | null
  readonly address: string | null
}

const logIns: (principal: string) => Effect.Effect<ReadonlyArray<LogIn>, unknown, SqlClient.SqlClient> = logInsOf

const parts: [Layer.Layer<any, any, any>, ...Array<Layer.Layer<any, any, any>>] = [
  SessionFrontend.layerCookie(),
  SessionBackendMemory.layer,
  SessionTest.layerKeys,
  SessionTest.layerCrypto,
  SessionVerifier.layerExists(UserSession)
]

type Manager = SessionManager.SessionManager<{ readonly username: string }, readonly []>

/** Runs a test with the guide's layer over a database of its own. */
const run = (
  client: Layer.Layer<SqlClient.SqlClient, unknown>,
  test: (
    manager: Manager,
    sql: SqlClient.SqlClient,
    lines: ReadonlyArray<string>
  ) => Effect.Effect<void, unknown, SqlClient.SqlClient>
) => {
  const lines: Array<string> = []
  return Effect.gen(function* () {
    yield* createTable as Effect.Effect<void, unknown, SqlClient.SqlClient>
    yield* test(yield* UserSession.Manager as Effect.Effect<Manager, never, any>, yield* SqlClient.SqlClient, lines)
  }).pipe(
    Effect.provide(
      (UserSessionLive as Layer.Layer<any, any, any>).pipe(Layer.provide(parts), Layer.provideMerge(client))
    ),
    Effect.provideService(Metric.MetricRegistry, new Map()),
    Effect.provide(capturing(lines))
  ) as Effect.Effect<void, unknown>
}

/** The log-ins of ada, as `why` they ended. */
const ended = Effect.map(logIns("ada"), (rows) => rows.map(({ why }) => why))

const suite = (client: Layer.Layer<SqlClient.SqlClient, unknown>) => {
  it.live("[R85c] says who was logged in when, from where, and why it ended", () =>
    run(client, (manager) =>
      Effect.gen(function* () {
        const before = Date.now()
        const laptop = yield* manager.create({ username: "ada" }, { client: { address: "192.0.2.7" } })
        yield* Effect.sleep(2)
        const phone = yield* manager.create({ username: "ada" })
        yield* manager.create({ username: "eve" })
        const rotated = yield* manager.rotate(laptop)
        yield* Effect.sleep(2)
        yield* manager.destroy(rotated.token)
        assert.deepStrictEqual(yield* ended, [null, "logout"])
        const [stands, gone] = yield* logIns("ada")
        assert.deepStrictEqual([stands!.session_id, gone!.session_id], [phone.id, laptop.id])
        assert.strictEqual(gone!.address, "192.0.2.7")
        const times = [before, Number(gone!.began), Number(stands!.began), Number(gone!.ended), Date.now()]
        assert.deepStrictEqual(
          times,
          times.toSorted((a, b) => a - b)
        )
        yield* manager.revokeAll("ada")
        assert.deepStrictEqual(yield* ended, ["revoked", "logout"])
        assert.deepStrictEqual(
          (yield* logIns("eve")).map(({ why }) => why),
          [null]
        )
        const counted = yield* Metric.snapshot
        assert.deepStrictEqual(
          counted.filter(({ id }) => id === "sessions_ended").map(({ attributes }) => attributes!["why"]),
          ["logout", "revoked"]
        )
      })
    )
  )

  it.live("stops no log-in where the table is gone, and the log says so", () =>
    run(client, (manager, sql, lines) =>
      Effect.gen(function* () {
        yield* sql`DROP TABLE session_audit`
        const { token } = yield* manager.create({ username: "ada" })
        assert.strictEqual((yield* manager.resolve(token)).data.username, "ada")
        assert.match(lines.join("\n"), /no row in session_audit/)
        assert.notInclude(lines.join("\n"), Redacted.value(token))
      })
    )
  )
}

describe("the audit table of docs/operating.md, on SQLite", () => {
  suite(NodeSqliteClient.layer({ filename: ":memory:" }))
})

const schema = `effect_sessions_${globalThis.crypto.randomUUID().slice(0, 8)}`
const postgres = PgClient.layer({
  url: Redacted.make(databaseUrl),
  connectTimeout: "5 seconds",
  startupParameters: { search_path: schema }
})
/** A schema that is gone after the test. */
const postgresOfItsOwn = Layer.effectDiscard(
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.acquireRelease(sql`CREATE SCHEMA ${sql(schema)}`, () =>
      Effect.orDie(sql`DROP SCHEMA ${sql(schema)} CASCADE`)
    )
  )
).pipe(Layer.provideMerge(postgres))

const reachable = Exit.isSuccess(
  await Effect.runPromiseExit(
    Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT 1`).pipe(Effect.provide(postgres, { local: true }))
  )
)

needing(reachable, "no Postgres at DATABASE_URL, nor at localhost:5432 as user postgres")(
  "the audit table of docs/operating.md, on Postgres",
  () => {
    suite(postgresOfItsOwn)

    it.live("keeps its row where the handler's transaction is rolled back: the session stands", () =>
      run(postgresOfItsOwn, (manager, sql) =>
        Effect.gen(function* () {
          const exit = yield* Effect.exit(
            sql.withTransaction(Effect.andThen(manager.create({ username: "ada" }), Effect.fail("later")))
          )
          assert.isTrue(Exit.isFailure(exit))
          assert.strictEqual((yield* manager.list("ada")).length, 1)
          assert.deepStrictEqual(yield* ended, [null])
        })
      )
    )
  }
)
