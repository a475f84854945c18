import { PgClient } from "@effect/sql-pg"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { connect, type Socket } from "node:net"
import { SessionBackend, type SessionBackendError, type SessionRecord } from "../src/SessionBackend.ts"
import * as SessionBackendSql from "../src/SessionBackendSql.ts"
import { admin, client, random, schema, url, useSchema, withPostgres } from "./support/postgres.ts"
import { backendOver, record, seen, suite } from "./support/sqlBackend.ts"

const role = `effect_sessions_role_${random}`

/** Runs `locked` while a row is locked by a change not yet committed, and commits when `locked` says so. */
const whileLocked = <A, E>(
  { id, namespace }: SessionRecord,
  locked: (commit: Effect.Effect<void>, sql: SqlClient.SqlClient) => Effect.Effect<A, E>
) =>
  Effect.scoped(
    Effect.gen(function* () {
      const sql = Context.get(yield* Layer.build(client()), SqlClient.SqlClient)
      const connection = yield* sql.reserve
      const run = (text: string) => Effect.orDie(connection.executeUnprepared(text, [], undefined))
      yield* run("BEGIN")
      yield* run(
        `UPDATE effect_sessions SET last_seen_at = 2000000, idle_expires_at = 2000000, absolute_expires_at = 3000000
         WHERE namespace = '${namespace}' AND id = '${id}'`
      )
      return yield* locked(Effect.asVoid(run("COMMIT")), sql)
    })
  )

/** Waits until a statement of this run's schema waits for a lock, and answers its process. */
const blocked = (sql: SqlClient.SqlClient, application: string) =>
  sql<{ pid: number }>`
    SELECT pid FROM pg_stat_activity
    WHERE application_name = ${application} AND wait_event_type = 'Lock'`.pipe(
    Effect.flatMap((rows) => Effect.fromOption(Option.fromUndefinedOr(rows[0]))),
    Effect.retry(Schedule.spaced("5 millis")),
    Effect.map(({ pid }) => pid)
  )

withPostgres("SessionBackendSql on Postgres", () => {
  useSchema()
  beforeAll(() =>
    Effect.runPromise(
      admin((sql) =>
        Effect.gen(function* () {
          yield* sql.unsafe(`CREATE ROLE ${role} LOGIN PASSWORD '${role}'`)
          yield* sql.unsafe(`GRANT USAGE ON SCHEMA ${schema} TO ${role}`)
          yield* sql.unsafe(`GRANT SELECT, INSERT, UPDATE, DELETE ON effect_sessions TO ${role}`)
        })
      )
    )
  )
  // Hooks run the last one first: what the role may do is gone before its schema is.
  afterAll(() =>
    Effect.runPromise(
      admin((sql) =>
        Effect.gen(function* () {
          yield* sql.unsafe(`DROP OWNED BY ${role}`)
          yield* sql.unsafe(`DROP ROLE ${role}`)
        })
      )
    )
  )

  const restricted = new URL(url)
  restricted.username = role
  restricted.password = role
  const restrictedClient = client({ url: Redacted.make(restricted.href) })

  suite("conformance", backendOver(client()))
  suite(
    "conformance: layerStorage, with a role that may only read and write the table",
    SessionBackendSql.layerStorage().pipe(Layer.provide(restrictedClient))
  )

  it.live("layerStorage needs no right to create tables, which layerWith does", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(
        Layer.build(SessionBackendSql.layerWith({ table: "another" }).pipe(Layer.provide(restrictedClient)))
      )
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
    })
  )

  it.live("[R47] what a session operation did stands, though the transaction around it is rolled back", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const backend = yield* SessionBackend
      const loggedOut = record()
      const revoked = record()
      const changed = record()
      const created = record()
      for (const record of [loggedOut, revoked, changed]) yield* backend.create(record)
      const handler = Effect.gen(function* () {
        yield* sql`CREATE TABLE orders (id INTEGER)`
        assert.isTrue(yield* backend.delete(loggedOut.namespace, loggedOut.id))
        assert.lengthOf((yield* backend.deleteByPrincipal(revoked.namespace, "alice", { limit: 10 })).deleted, 1)
        assert.strictEqual(yield* backend.touch(changed.namespace, changed.id, seen), "touched")
        assert.strictEqual((yield* backend.update(changed.namespace, changed.id, 1, seen))._tag, "updated")
        assert.strictEqual(yield* backend.create(created), "created")
        return yield* Effect.fail("rolled back")
      })
      assert.strictEqual(yield* Effect.flip(sql.withTransaction(sql.withTransaction(handler))), "rolled back")
      assert.deepStrictEqual(yield* sql`SELECT to_regclass('orders')`.values, [[null]])
      assert.deepStrictEqual(yield* backend.read(loggedOut.namespace, loggedOut.id), Option.none())
      assert.deepStrictEqual(yield* backend.read(revoked.namespace, revoked.id), Option.none())
      assert.deepStrictEqual(
        yield* backend.read(changed.namespace, changed.id),
        Option.some({ ...changed, ...seen, version: 2 })
      )
      assert.deepStrictEqual(yield* backend.read(created.namespace, created.id), Option.some(created))
    }).pipe(Effect.provide(backendOver(client())))
  )

  it.live("a touch is HOT: it changes no index", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* Layer.build(SessionBackendSql.layerMigrations({ table: "hot" }))
      const backend = Context.get(yield* Layer.build(SessionBackendSql.layerStorage({ table: "hot" })), SessionBackend)
      const records = Array.from({ length: 200 }, () => record({ absoluteExpiresAt: 9e12 }))
      yield* Effect.forEach(records, backend.create, { discard: true })
      for (let n = 1; n <= 10; n++) {
        const at = 1_000_000 + n * 3_600_000
        yield* Effect.forEach(
          records,
          ({ id, namespace }) => backend.touch(namespace, id, { lastSeenAt: at, idleExpiresAt: at + 1000 }),
          { concurrency: 10, discard: true }
        )
      }
      // The server's counters are late.
      const { hot, updates } = yield* sql<{ updates: number; hot: number }>`
        SELECT n_tup_upd::int AS updates, n_tup_hot_upd::int AS hot FROM pg_stat_user_tables
        WHERE relid = 'hot'::regclass`.pipe(
        Effect.flatMap(([row]) => (row?.updates === 2000 ? Effect.succeed(row) : Effect.fail("not yet"))),
        Effect.retry({ schedule: Schedule.spaced("100 millis"), times: 200 })
      )
      assert.isAbove(hot / updates, 0.9)
    }).pipe(Effect.provide(client()))
  )

  describe("races", () => {
    it.live("a sweep neither waits for a row that is being touched nor deletes it afterwards", () =>
      Effect.gen(function* () {
        const backend = yield* SessionBackend
        const sweep = Effect.map(
          Effect.suspend(() => backend.deleteExpired({ now: 2_500_000, limit: 1000 })),
          ({ deleted }) => deleted.length
        )
        yield* sweep
        const touched = record()
        const expired = record()
        yield* backend.create(touched)
        yield* backend.create(expired)
        yield* whileLocked(touched, (commit) =>
          Effect.gen(function* () {
            assert.strictEqual(yield* Effect.timeout(sweep, "5 seconds"), 1)
            assert.isTrue(Option.isNone(yield* backend.read(expired.namespace, expired.id)))
            yield* commit
          })
        )
        assert.strictEqual(yield* sweep, 0)
        const found = yield* backend.read(touched.namespace, touched.id)
        assert.strictEqual(Option.getOrThrow(found).lastSeenAt, 2_000_000)
      }).pipe(Effect.provide(backendOver(client())))
    )

    it.live("[R82] a serialization failure is retried", () =>
      Effect.gen(function* () {
        const backend = yield* SessionBackend
        const stored = record()
        yield* backend.create(stored)
        const touch = backend.touch(stored.namespace, stored.id, { lastSeenAt: 3_000_000, idleExpiresAt: 3_000_000 })
        const verdict = yield* whileLocked(stored, (commit, sql) =>
          Effect.gen(function* () {
            const fiber = yield* Effect.forkChild(touch)
            yield* blocked(sql, "serialization")
            yield* commit
            return yield* Fiber.join(fiber)
          })
        )
        assert.strictEqual(verdict, "touched")
      }).pipe(
        Effect.provide(
          backendOver(
            client({
              applicationName: "serialization",
              startupParameters: { default_transaction_isolation: "repeatable read" }
            })
          )
        )
      )
    )

    it.live("[R82] but not in create", () =>
      Effect.gen(function* () {
        const backend = yield* SessionBackend
        const fresh = record()
        const error = yield* Effect.scoped(
          Effect.gen(function* () {
            const sql = Context.get(yield* Layer.build(client()), SqlClient.SqlClient)
            const connection = yield* sql.reserve
            yield* connection.executeUnprepared("BEGIN", [], undefined)
            yield* connection.executeUnprepared(
              `INSERT INTO effect_sessions VALUES
               ('${fresh.namespace}', '${fresh.id}', '', 1, NULL, '', 1, '', 1, 1, 1, 1, 9000000, 9000000, 1)`,
              [],
              undefined
            )
            const fiber = yield* Effect.forkChild(Effect.flip(backend.create(fresh)))
            yield* blocked(sql, "create")
            yield* connection.executeUnprepared("COMMIT", [], undefined)
            return yield* Fiber.join(fiber)
          })
        )
        assert.strictEqual(error.outcome, "notApplied")
        assert.propertyVal((error.cause as { readonly reason: object }).reason, "_tag", "SerializationError")
      }).pipe(
        Effect.provide(
          backendOver(
            client({
              applicationName: "create",
              startupParameters: { default_transaction_isolation: "repeatable read" }
            })
          )
        )
      )
    )
  })

  describe("failures", () => {
    it.live("[R80] a connection cut while it served a write leaves it in doubt, and the next one is served", () =>
      Effect.gen(function* () {
        const backend = yield* SessionBackend
        const stored = record()
        yield* backend.create(stored)
        const error = yield* whileLocked(stored, (commit, sql) =>
          Effect.gen(function* () {
            const fiber = yield* Effect.forkChild(Effect.flip(backend.delete(stored.namespace, stored.id)))
            const pid = yield* blocked(sql, "cut")
            yield* sql`SELECT pg_terminate_backend(${pid})`
            const error = yield* Fiber.join(fiber)
            yield* commit
            return error
          })
        )
        assert.strictEqual(error.outcome, "unknown")
        assert.isTrue(yield* backend.delete(stored.namespace, stored.id))
      }).pipe(Effect.provide(backendOver(client({ applicationName: "cut" }))))
    )

    it.live("[R80] a database that only reads has applied nothing", () =>
      Effect.gen(function* () {
        const stored = record()
        yield* Effect.provide(
          Effect.flatMap(SessionBackend, (backend) => backend.create(stored)),
          backendOver(client()),
          { local: true }
        )
        yield* Effect.gen(function* () {
          const backend = yield* SessionBackend
          for (const write of [
            backend.create(record()),
            backend.delete(stored.namespace, stored.id),
            backend.touch(stored.namespace, stored.id, seen)
          ]) {
            assert.strictEqual((yield* Effect.flip<unknown, SessionBackendError, never>(write)).outcome, "notApplied")
          }
          assert.deepStrictEqual(yield* backend.read(stored.namespace, stored.id), Option.some(stored))
        }).pipe(
          Effect.provide(
            SessionBackendSql.layerStorage().pipe(
              Layer.provide(client({ startupParameters: { default_transaction_read_only: "on" } }))
            )
          )
        )
      })
    )

    it.live("[R80] a database that cannot be reached has applied nothing", () =>
      Effect.gen(function* () {
        const backend = yield* SessionBackend
        const error = yield* Effect.flip(backend.delete("namespace", "id"))
        assert.strictEqual(error.outcome, "notApplied")
        assert.strictEqual(error.message, "session backend: delete failed (notApplied)")
      }).pipe(
        Effect.provide(
          // Nothing listens on port 1.
          SessionBackendSql.layerStorage().pipe(
            Layer.provide(client({ url: Redacted.make("postgres://nobody@localhost:1/none") }))
          )
        )
      )
    )
  })

  it.live("[R49] walks and revocations go through however many sessions a principal has", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const backend = yield* SessionBackend
      const { namespace } = record()
      yield* sql`
        INSERT INTO effect_sessions
        SELECT ${namespace}, lpad(n::text, 5, '0'), '', 1, 'alice', '', 1, '', n / 2, 1, 1, 1, 9000000000000, 9000000000000, 1
        FROM generate_series(1, 12000) n`
      const newestFirst = Array.from({ length: 12_000 }, (_, n) => String(12_000 - n).padStart(5, "0"))
      const listed: Array<string> = []
      let after: string | undefined
      do {
        const page = yield* backend.listByPrincipal(namespace, "alice", { limit: 700, after })
        listed.push(...page.records.map(({ id }) => id))
        after = page.next
      } while (after !== undefined)
      assert.deepStrictEqual(listed, newestFirst)
      const batch = (except?: string) => backend.deleteByPrincipal(namespace, "alice", { limit: 1000, except })
      const first = yield* batch("00007")
      assert.sameMembers(
        first.deleted.map(({ id }) => id),
        newestFirst.slice(0, 1000)
      )
      assert.deepStrictEqual(first.deleted[0], { namespace, id: first.deleted[0]!.id, principal: "alice" })
      // Those at once wait for each other, count no session twice, and none is the victim of a deadlock.
      const revoking = Effect.gen(function* () {
        const ids: Array<string> = []
        for (;;) {
          const { deleted, more } = yield* batch("00007")
          ids.push(...deleted.map(({ id }) => id))
          if (!more) return ids
        }
      })
      const rest = (yield* Effect.all([revoking, revoking, revoking], { concurrency: 3 })).flat()
      assert.sameMembers(
        rest,
        newestFirst.slice(1000).filter((id) => id !== "00007")
      )
      assert.isTrue(Option.isSome(yield* backend.read(namespace, "00007")))
      assert.lengthOf((yield* batch()).deleted, 1)
    }).pipe(Effect.provide(backendOver(client())))
  )

  it.live("one round trip an operation, counted on the wire", () =>
    Effect.gen(function* () {
      let trips = 0
      const counting = (): Socket => {
        const socket = connect(Number(url.port || 5432), url.hostname)
        const write = socket.write.bind(socket) as (chunk: Uint8Array, ...rest: Array<never>) => boolean
        // Every statement ends in a Sync message, which is what the server answers.
        socket.write = (chunk: Uint8Array, ...rest: Array<never>) => {
          const bytes = Buffer.from(chunk)
          const sync = Buffer.from([0x53, 0, 0, 0, 4])
          for (let at = bytes.indexOf(sync); at !== -1; at = bytes.indexOf(sync, at + 1)) trips++
          return write(chunk, ...rest)
        }
        return socket
      }
      yield* Effect.gen(function* () {
        const backend = yield* SessionBackend
        const one = record()
        const other = { ...one, id: `${one.id}2` }
        const { id, namespace } = one
        const operations: ReadonlyArray<readonly [string, number, Effect.Effect<unknown, SessionBackendError>]> = [
          ["create", 1, backend.create(one)],
          ["create of an id in use", 1, backend.create(one)],
          ["read", 1, backend.read(namespace, id)],
          ["update", 1, backend.update(namespace, id, 1, { data: "{}", ...seen })],
          ["update of another version", 2, backend.update(namespace, id, 1, seen)],
          ["touch", 1, backend.touch(namespace, id, { lastSeenAt: 1_000_002, idleExpiresAt: 1_001_002 })],
          ["touch without effect", 2, backend.touch(namespace, id, seen)],
          ["listByPrincipal", 1, backend.listByPrincipal(namespace, "alice", { limit: 10 })],
          ["scan", 1, backend.scan(namespace, { limit: 10 })],
          ["create of another", 1, backend.create(other)],
          // With a second one, for which nobody waits: it notifies other processes.
          ["update of the secret", 2, backend.update(namespace, other.id, 1, { secretHash: "other", ...seen })],
          ["deleteByPrincipal", 2, backend.deleteByPrincipal(namespace, "alice", { limit: 10, except: id })],
          ["delete", 2, backend.delete(namespace, id)],
          // A second one, which waits for the synchronous standbys.
          ["deleteByPrincipal of nothing", 2, backend.deleteByPrincipal(namespace, "alice", { limit: 10 })],
          ["delete of nothing", 2, backend.delete(namespace, id)],
          ["deleteExpired", 1, backend.deleteExpired({ now: 1, limit: 1 })]
        ]
        // The first time over, statements are being prepared.
        for (const first of [true, false]) {
          for (const [name, expected, operation] of operations) {
            trips = 0
            yield* operation
            yield* Effect.sleep("40 millis")
            if (!first) assert.strictEqual(trips, expected, name)
          }
        }
      }).pipe(Effect.provide(SessionBackendSql.layerStorage().pipe(Layer.provide(client({ stream: counting })))))
    })
  )

  it.live("[R84b] log-outs of what is gone write nothing, where no standby is to be waited for", () =>
    Effect.gen(function* () {
      const backend = yield* SessionBackend
      const sql = yield* SqlClient.SqlClient
      const { id, namespace } = record()
      const logOut = Effect.andThen(
        backend.delete(namespace, `${id}gone`),
        backend.deleteByPrincipal(namespace, "nobody", { limit: 1 })
      )
      const written = Effect.gen(function* () {
        const [before] = yield* sql<{ readonly at: string }>`SELECT pg_current_wal_insert_lsn()::text AS at`
        for (let i = 0; i < 10; i++) yield* logOut
        const [row] = yield* sql<{ readonly bytes: unknown }>`
          SELECT pg_current_wal_insert_lsn() - ${before!.at}::pg_lsn AS bytes`
        return Number(row!.bytes)
      })
      // Others may write to the same server meanwhile, though not each time.
      let least = Infinity
      for (let tries = 0; tries < 20 && least > 0; tries++) least = Math.min(least, yield* written)
      assert.isBelow(least, 1000)
    }).pipe(Effect.provide(SessionBackendSql.layerStorage().pipe(Layer.provideMerge(client()))))
  )

  it.live("the statements use the indexes", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* Layer.build(SessionBackendSql.layerMigrations({ table: "many" }))
      yield* sql`
        INSERT INTO many
        SELECT 'namespace', n, '', 1, 'user' || n / 1000, '', 1, '', n, 1, 1, 1, n * 60000::bigint, n * 60000::bigint, 1,
          (n + 14) / 15 * 900000::bigint
        FROM generate_series(1, 50000) n`
      yield* sql`ANALYZE many`
      const plans: Array<string> = []
      const explain: Connection["execute"] = (text, params) =>
        text.includes("pg_attribute")
          ? sql.unsafe(text, params)
          : sql.unsafe<Record<"QUERY PLAN", string>>(`EXPLAIN ${text}`, params).pipe(
              Effect.tap((rows) => Effect.sync(() => plans.push(rows.map((row) => row["QUERY PLAN"]).join("\n")))),
              Effect.as([])
            )
      const explaining = Layer.effect(
        SqlClient.SqlClient,
        SqlClient.make({
          acquirer: Effect.succeed(new Proxy({} as Connection, { get: () => explain })),
          compiler: PgClient.makeCompiler(),
          driver: "explaining",
          spanAttributes: []
        })
      ).pipe(Layer.provide(Reactivity.layer))
      const use = <A, E>(
        client: Layer.Layer<SqlClient.SqlClient, E>,
        f: (backend: SessionBackend["Service"]) => Effect.Effect<A, SessionBackendError>
      ) =>
        Effect.provide(
          Effect.flatMap(SessionBackend, f),
          SessionBackendSql.layerStorage({ table: "many" }).pipe(Layer.provide(client)),
          { local: true }
        )
      const sweep = (backend: SessionBackend["Service"]) => backend.deleteExpired({ now: 49_000 * 60_000, limit: 1000 })
      yield* use(explaining, (backend) =>
        Effect.gen(function* () {
          yield* backend.read("namespace", "500")
          yield* backend.listByPrincipal("namespace", "user7", { limit: 50, after: "7500.7500" })
          yield* backend.deleteByPrincipal("namespace", "user7", { limit: 100 })
          yield* backend.scan("namespace", { limit: 250 })
          yield* backend.scan("namespace", { limit: 1000, after: "500" })
          yield* sweep(backend)
        })
      )
      // The last batch, which finds few of the many that the statistics speak of.
      yield* use(client(), (backend) => Effect.repeat(sweep(backend), { while: ({ more }) => more }))
      yield* use(explaining, sweep)
      // One statement uses no table: it waits for the synchronous standbys, where a deletion has found nothing.
      const ofTable = plans.filter((plan) => plan.includes("many"))
      assert.lengthOf(ofTable, 7)
      for (const plan of ofTable.slice(3, 5)) assert.match(plan, /^Limit[^\n]*\n\s+->\s+Index Scan using many_pkey/)
      assert.match(plans[0]!, /Index Scan using many_pkey/)
      assert.match(plans[1]!, /Index Scan Backward using many_newest/)
      assert.match(plans[2]!, /Index Scan Backward using many_newest/)
      for (const plan of plans.slice(-2)) assert.match(plan, /Index Scan using many_sweep/)
      for (const plan of plans) assert.notMatch(plan, /Seq Scan|Sort/)
    }).pipe(Effect.provide(client()))
  )
})
