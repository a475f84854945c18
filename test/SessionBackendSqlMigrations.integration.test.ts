/** The table of `SessionBackendSql` on Postgres: made, brought over from an older version, refused where it is missing. */
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { type AddressInfo, createServer, type Server } from "node:net"
import { SessionBackend } from "../src/SessionBackend.ts"
import * as SessionBackendSql from "../src/SessionBackendSql.ts"
import { admin, client, useSchema, withPostgres } from "./support/postgres.ts"
import { backendOver, record, seen } from "./support/sqlBackend.ts"
import * as Version1 from "./support/sqlVersion1.ts"

withPostgres("the table of SessionBackendSql on Postgres", () => {
  useSchema()

  it.live("run any number of times, and keep what is stored", () =>
    Effect.gen(function* () {
      const stored = record()
      const use = <A, E>(f: (backend: SessionBackend["Service"]) => Effect.Effect<A, E>) =>
        Effect.provide(Effect.flatMap(SessionBackend, f), backendOver(client()), { local: true })
      yield* use((backend) => backend.create(stored))
      for (const _ of [1, 2]) {
        assert.deepStrictEqual(yield* use((backend) => backend.read(stored.namespace, stored.id)), Option.some(stored))
      }
    })
  )

  it.live("run in several processes at once on a database that has nothing", () =>
    Effect.gen(function* () {
      for (const table of ["first", "second", "third"]) {
        const starts = Array.from({ length: 6 }, () => {
          const stored = record()
          return Effect.gen(function* () {
            const backend = yield* SessionBackend
            yield* backend.create(stored)
            assert.isTrue(Option.isSome(yield* backend.read(stored.namespace, stored.id)))
          }).pipe(Effect.provide(SessionBackendSql.layerWith({ table }).pipe(Layer.provide(client())), { local: true }))
        })
        yield* Effect.all(starts, { concurrency: "unbounded" })
        const history = yield* admin((sql) => sql`SELECT name FROM ${sql(`${table}_migrations`)}`.values)
        assert.deepStrictEqual(history, [["create"], ["sweep_at"]])
      }
    })
  )

  it.live("bring a table of version 1 over beside servers that use it, several processes at once", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const table = "old"
      yield* Version1.create(sql, table)
      const old = Version1.server(sql, table)
      yield* sql`
        INSERT INTO old SELECT 'n', n, '', 1, 'user' || n / 10, '', 1, '', 1, 1, 1, 1, 9000000000000, 9000000000000, 1
        FROM generate_series(1, 20000) n`
      // What a build that was broken off leaves.
      yield* sql`CREATE INDEX old_newest ON old (persistent)`
      yield* sql`UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('old_newest')`

      const ids = (rows: ReadonlyArray<Readonly<Record<string, unknown>>>) => rows.map(({ id }) => id)
      /** All that a server of version 1 does. */
      const use = Effect.gen(function* () {
        const one = record()
        assert.deepStrictEqual(ids(yield* old.create(one)), [one.id])
        assert.deepStrictEqual(ids(yield* old.touch({ ...one, ...seen })), [one.id])
        assert.deepStrictEqual(ids(yield* old.update({ ...one, data: "[]" })), [one.id])
        assert.deepStrictEqual(ids(yield* old.list(one)), [one.id])
        assert.strictEqual((yield* old.read(one))[0]!["data"], "[]")
        assert.deepStrictEqual(ids(yield* old.delete(one)), [one.id])
      })
      yield* use
      const state = { isDone: false }
      const using = Effect.gen(function* () {
        for (let n = 1; ; n++) {
          yield* use
          if (state.isDone) return n
        }
      })
      const migrating = Effect.all(
        Array.from({ length: 4 }, () =>
          Layer.build(SessionBackendSql.layerMigrations({ table }).pipe(Layer.provide(client())))
        ),
        { concurrency: 4 }
      ).pipe(Effect.ensuring(Effect.sync(() => (state.isDone = true))))
      yield* Effect.all([using, migrating], { concurrency: 2 })
      yield* use

      const schemaOf = (table: string) =>
        Effect.gen(function* () {
          const columns = yield* sql`
            SELECT attname, atttypid, attnotnull FROM pg_attribute WHERE attrelid = to_regclass(${table}) AND attnum > 0
            ORDER BY attnum`.values
          const indexes = yield* sql<{ definition: string; indisvalid: boolean }>`
            SELECT pg_get_indexdef(indexrelid) AS definition, indisvalid FROM pg_index
            WHERE indrelid = to_regclass(${table}) ORDER BY 1`
          const options = yield* sql`SELECT reloptions FROM pg_class WHERE oid = to_regclass(${table})`.values
          const named = indexes.map(({ definition, indisvalid }) => [indisvalid, definition.replaceAll(table, "x")])
          return { columns, indexes: named, options }
        })
      const migrated = yield* schemaOf(table)
      yield* Layer.build(SessionBackendSql.layerMigrations({ table: "fresh" }))
      assert.deepStrictEqual(migrated, yield* schemaOf("fresh"))
      assert.lengthOf(migrated.indexes, 3)
      assert.deepStrictEqual(migrated.options, [[["fillfactor=90"]]])

      // The rows of servers of version 1 are swept by those of this one, or put off.
      const expired = record()
      const live = record({ idleExpiresAt: 9e12, absoluteExpiresAt: 9e12 })
      yield* old.create(expired)
      yield* old.create(live)
      const backend = Context.get(yield* Layer.build(SessionBackendSql.layerStorage({ table })), SessionBackend)
      const swept: Array<string> = []
      for (;;) {
        const { deleted, more } = yield* backend.deleteExpired({ now: 3_000_000, limit: 1000 })
        swept.push(...deleted.map(({ namespace }) => namespace))
        if (!more) break
      }
      assert.deepStrictEqual(swept, [expired.namespace])
      assert.deepStrictEqual(yield* sql`SELECT count(*)::int FROM old WHERE sweep_at = 9e12`.values, [[20_001]])
      // They sweep those of this one.
      yield* backend.create(record())
      assert.lengthOf(yield* old.sweep(1_500_000, 100), 1)
    }).pipe(Effect.provide(client()))
  )

  it.live("wait for a long transaction without making those behind it wait", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* Version1.create(sql, "busy")
      const old = Version1.server(sql, "busy")
      const connection = yield* sql.reserve
      const run = (text: string) => connection.executeUnprepared(text, [], undefined)
      yield* run("BEGIN")
      yield* run("SELECT count(*) FROM busy")
      const migration = yield* Effect.forkChild(
        Effect.scoped(Layer.build(SessionBackendSql.layerMigrations({ table: "busy" }).pipe(Layer.provide(client()))))
      )
      // More than one try of the migration takes, all of which pass: a lock waited for without a limit passes none.
      for (let n = 0; n < 100; n++) {
        yield* Effect.timeout(old.create(record()), "10 seconds")
        yield* Effect.sleep("20 millis")
      }
      assert.isUndefined(migration.pollUnsafe())
      yield* run("COMMIT")
      yield* Fiber.join(migration)
      assert.deepStrictEqual(
        yield* sql`
          SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = to_regclass('busy') ORDER BY 1`.values,
        [["busy_newest"], ["busy_pkey"], ["busy_sweep"]]
      )
    }).pipe(Effect.scoped, Effect.provide(client()))
  )

  it.live("are told by name where layerStorage finds the table missing, or of version 1", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const problem = (table: string) =>
        Effect.map(Effect.flip(Layer.build(SessionBackendSql.layerStorage({ table }))), ({ problems }) => problems[0]!)
      assert.match(yield* problem("Told"), /^there is no table Told: make it \(layerMigrations.*dialect: "pg" \}/)
      yield* Version1.create(sql, "told")
      assert.match(
        yield* problem("told"),
        /^table told is of version 1: run migration 0002_sweep_at .*dialect: "pg", from: 1 \}/
      )
      // A table made elsewhere is left as it is, and the history made up for.
      for (const statement of SessionBackendSql.ddl({ dialect: "pg", table: "Told" })) yield* sql.unsafe(statement)
      for (const statement of SessionBackendSql.ddl({ dialect: "pg", table: "told", from: 1 })) {
        yield* sql.unsafe(statement)
      }
      for (const table of ["Told", "told"]) yield* Layer.build(SessionBackendSql.layerStorage({ table }))
      for (const table of ["Told", "told"]) yield* Layer.build(SessionBackendSql.layerWith({ table }))
      assert.lengthOf(yield* sql`SELECT * FROM "Told_migrations"`, 2)
    }).pipe(Effect.provide(client()))
  )

  it.live("a database that does not answer holds the start up for a second, and no longer", () =>
    Effect.gen(function* () {
      const silent = yield* Effect.acquireRelease(
        Effect.callback<Server>((resume) => {
          const server = createServer(() => {}).listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.sync(() => server.close())
      )
      // It listens on a port, not on a path.
      const { port } = silent.address() as AddressInfo
      const silentClient = PgClient.layer({
        url: Redacted.make(`postgres://nobody@127.0.0.1:${port}/none`),
        connectTimeout: "60 seconds"
      })
      const built = Layer.build(SessionBackendSql.layerStorage().pipe(Layer.provide(silentClient)))
      yield* Effect.timeout(built, "10 seconds")
    })
  )
})
