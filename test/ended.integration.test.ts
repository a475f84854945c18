/** `ended` between two processes' worth of connections: hints arrive, a cut subscription is noticed, and they come again. */
import { NodeRedis } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Queue, Scope } from "effect"
import { Redis } from "effect/persistence"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { randomUUID } from "node:crypto"
import * as IoRedis from "../src/IoRedis.ts"
import { type EndedHint, SessionBackend, type SessionBackendError } from "../src/SessionBackend.ts"
import * as SessionBackendRedis from "../src/SessionBackendRedis.ts"
import * as SessionBackendSql from "../src/SessionBackendSql.ts"
import { capturing } from "./support/logs.ts"
import { hasRedisServer, listens, needing, OwnRedis, until } from "./support/processes.ts"
import { documentedRights, documentedRightsOfEnded, exampleSettings, newRecord, seen, silent } from "./support/redis.ts"

type Backend = SessionBackend["Service"]
type Hints = Queue.Dequeue<EndedHint, SessionBackendError>

const build = <E>(layer: Layer.Layer<SessionBackend, E>) =>
  Effect.map(Layer.build(Layer.fresh(layer)), (context) => Context.get(context, SessionBackend))

const subscribe = (backend: Backend) => Effect.timeout(backend.ended!, "20 seconds")

/** Takes hints up to the one of this id. */
const heard = (hints: Hints, id: string) =>
  Effect.gen(function* () {
    while ((yield* Queue.take(hints)).id !== id) {}
  }).pipe(Effect.timeout("20 seconds"))

const logOut = Effect.fnUntraced(function* (backend: Backend) {
  const record = newRecord({ namespace: randomUUID() })
  yield* backend.create(record)
  assert.isTrue(yield* backend.delete(record.namespace, record.id))
  return record.id
})

/** Expects that a log-out through one backend is heard by the other's subscriber. */
const reaches = (from: Backend, hints: Hints) => Effect.flatMap(logOut(from), (id) => heard(hints, id))

/** Subscribes again and again, as the manager does, until it stands. */
const again = (backend: Backend, scope: Scope.Scope) =>
  Scope.provide(backend.ended!, scope).pipe(Effect.retry({ times: 100 }), Effect.timeout("20 seconds"))

const lost = (hints: Hints) =>
  Effect.flip(Effect.forever(Queue.takeAll(hints))).pipe(
    Effect.timeout("20 seconds"),
    Effect.tap((error) => Effect.sync(() => assert.strictEqual(error._tag, "SessionBackendError")))
  )

const run = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) =>
  Effect.runPromise(Effect.provide(Effect.scoped(effect), silent))

const median = (times: ReadonlyArray<number>): number => times.toSorted((a, b) => a - b)[times.length >> 1]!

/** How long after the answer of a log-out its hint arrives, in the middle. */
const latency = Effect.fnUntraced(function* (from: Backend, hints: Hints) {
  const times: Array<number> = []
  for (let i = 0; i < 50; i++) {
    const id = yield* logOut(from)
    const answered = performance.now()
    yield* heard(hints, id)
    times.push(performance.now() - answered)
    yield* Effect.sleep("5 millis")
  }
  return median(times)
})

needing(hasRedisServer(), "there is no redis-server on the PATH to start")(
  "ended over Redis",
  { timeout: 60_000 },
  () => {
    let server: OwnRedis
    beforeAll(async () => {
      server = await OwnRedis.start({ isDurable: false })
    })
    afterAll(() => server?.dispose())

    const client = (options?: object) =>
      Layer.suspend(() => NodeRedis.layer({ ...exampleSettings(server.url), ...options }))
    const backend = (options?: object) =>
      build(SessionBackendRedis.layerWith({ prefix: "t" }).pipe(Layer.provide(client(options))))
    const subscriptions = async () => Number(/^:(\d+)/m.exec(await server.command("PUBSUB NUMSUB t:ended"))?.[1])

    it("a log-out in one process is heard in another, within a tenth of a second in the middle", () =>
      run(
        Effect.gen(function* () {
          const [one, other] = [yield* backend(), yield* backend()]
          const hints = yield* subscribe(other)
          const millis = yield* latency(one, hints)
          console.log(`Redis: the hint comes ${millis.toFixed(1)} ms after the answer`)
          assert.isBelow(millis, 100)
        })
      ))

    it("there is one subscription for all subscribers, and none after the last", () =>
      run(
        Effect.gen(function* () {
          const one = yield* backend()
          assert.strictEqual(yield* Effect.promise(subscriptions), 0)
          yield* Effect.scoped(
            Effect.gen(function* () {
              const all = yield* Effect.all(
                Array.from({ length: 20 }, () => subscribe(one)),
                { concurrency: "unbounded" }
              )
              assert.strictEqual(yield* Effect.promise(subscriptions), 1)
              const id = yield* logOut(one)
              for (const hints of all) yield* heard(hints, id)
            })
          )
          yield* Effect.promise(() => until(async () => (await subscriptions()) === 0, "nobody subscribes"))
        })
      ))

    it("comes back after its connection was cut, by itself or by subscribing again", () =>
      run(
        Effect.gen(function* () {
          const [one, other] = [yield* backend(), yield* backend()]
          const hints = yield* subscribe(other)
          yield* reaches(one, hints)
          yield* Effect.promise(() => server.command("CLIENT KILL TYPE pubsub"))
          // node-redis connects again by itself.
          yield* Effect.promise(() => until(async () => (await subscriptions()) === 1, "it has subscribed again"))
          yield* reaches(one, hints)
        })
      ))

    it("a subscription that fails fails the queues, and the next subscribes anew", () =>
      run(
        Effect.gen(function* () {
          const redis = Context.get(yield* Layer.build(client()), Redis.Redis)
          // One whose driver does not connect again, as that of Bun.
          const queues: Array<Queue.Queue<Redis.RedisMessage, Redis.RedisError>> = []
          const fragile = Redis.Redis.of({
            ...redis,
            subscribe: (channel) =>
              Effect.gen(function* () {
                const messages = yield* redis.subscribe(channel)
                const queue = yield* Queue.unbounded<Redis.RedisMessage, Redis.RedisError>()
                yield* Effect.forkScoped(
                  Effect.forever(Effect.flatMap(Queue.take(messages), (m) => Queue.offer(queue, m)))
                )
                queues.push(queue)
                return queue
              })
          })
          const one = yield* build(
            SessionBackendRedis.layerWith({ prefix: "t" }).pipe(Layer.provide(Layer.succeed(Redis.Redis, fragile)))
          )
          const hints = [yield* subscribe(one), yield* subscribe(one)]
          assert.lengthOf(queues, 1)
          yield* Queue.fail(queues[0]!, new Redis.RedisError({ cause: new Error("Connection closed") }))
          for (const each of hints) {
            const error = yield* lost(each)
            assert.strictEqual(error instanceof Error && "operation" in error && error.operation, "ended")
          }
          const renewed = yield* subscribe(one)
          assert.lengthOf(queues, 2)
          yield* reaches(one, renewed)
        })
      ))

    it("what is no message of ours is ignored, and cannot end the subscription", () =>
      run(
        Effect.gen(function* () {
          const redis = Context.get(yield* Layer.build(client()), Redis.Redis)
          const one = yield* backend()
          const hints = yield* subscribe(one)
          const garbage = [
            "",
            ":",
            "a",
            "a:",
            ":a",
            "a:b:c",
            "YQ==:x",
            "YQ:~!",
            "YQ:a b",
            "_w:x",
            "YR:x",
            "YQ:~eA",
            "{}"
          ]
          for (const message of [...garbage, "x".repeat(100_000)]) yield* redis.send("PUBLISH", "t:ended", message)
          yield* redis.send("PUBLISH", "t:ended", "YQ:last")
          assert.deepStrictEqual(yield* Queue.take(hints), { namespace: "a", id: "last" })
        })
      ))

    it("without the right to publish, or to subscribe, all else works, and it is said once", () =>
      run(
        Effect.gen(function* () {
          const rights = (yield* Effect.promise(() => server.command("ACL GETUSER default"))) !== ""
          assert.isTrue(rights)
          const all = "~* +@all"
          yield* Effect.promise(() => server.command(`ACL SETUSER mute on >pw ${all} resetchannels &t:ended -publish`))
          yield* Effect.promise(() => server.command(`ACL SETUSER deaf on >pw ${all} resetchannels`))
          for (const [username, right] of [
            ["mute", "publish"],
            ["deaf", "subscribe"]
          ] as const) {
            const lines: Array<string> = []
            yield* Effect.gen(function* () {
              const [restricted, other] = [yield* backend({ username, password: "pw" }), yield* backend()]
              const hints = yield* subscribe(other)
              const { id, namespace } = newRecord()
              yield* restricted.create(newRecord({ id }))
              const updated = yield* restricted.update(namespace, id, 1, { ...seen(Date.now()), secretHash: "other" })
              assert.strictEqual(updated._tag, "updated")
              assert.isTrue(yield* restricted.delete(namespace, id))
              // Nothing of that has come before this.
              const marked = yield* logOut(other)
              assert.strictEqual((yield* Queue.take(hints)).id, marked)
              for (let i = 0; i < 2; i++) {
                const exit = yield* Effect.exit(
                  Effect.scoped(Effect.tap(restricted.ended!, (own) => reaches(other, own)))
                )
                assert.strictEqual(Exit.isSuccess(exit), username === "mute")
              }
            }).pipe(Effect.scoped, Effect.provide(capturing(lines)))
            const said = lines.filter((line) => line.startsWith("{") && line.includes("t:ended"))
            assert.lengthOf(said, 1)
            assert.include(said[0], `no right to ${right} on t:ended`)
          }
        })
      ))

    it("the documented rights are enough, over node-redis and ioredis", () =>
      run(
        Effect.gen(function* () {
          const rights = [...documentedRights, ...documentedRightsOfEnded].map((right) =>
            right.replace("<prefix>", "t")
          )
          // What the clients ask for when they connect.
          const handshake = "+hello +client +ping +info"
          yield* Effect.promise(() => server.command(`ACL SETUSER app reset on >pw ${handshake} ${rights.join(" ")}`))
          const other = yield* backend()
          const hints = yield* subscribe(other)
          const user = { username: "app", password: "pw" }
          const overIoRedis = IoRedis.layer({ host: "127.0.0.1", port: server.port, ...user })
          for (const own of [
            yield* backend(user),
            yield* build(SessionBackendRedis.layerWith({ prefix: "t" }).pipe(Layer.provide(overIoRedis)))
          ]) {
            yield* reaches(own, hints)
            yield* Effect.scoped(Effect.flatMap(subscribe(own), (heard) => reaches(other, heard)))
          }
          yield* Effect.promise(() => until(async () => (await subscriptions()) === 1, "they have unsubscribed"))
        })
      ))

    it("a subscriber waits no longer than a few seconds for a Redis that does not answer", () =>
      run(
        Effect.gen(function* () {
          const one = yield* backend()
          server.signal("SIGSTOP")
          yield* Effect.addFinalizer(() => Effect.sync(() => server.signal("SIGCONT")))
          const errors = yield* Effect.all([Effect.flip(one.ended!), Effect.flip(one.ended!)], {
            concurrency: 2
          }).pipe(Effect.timeout("20 seconds"))
          for (const error of errors) assert.strictEqual(error.operation, "ended")
          server.signal("SIGCONT")
          yield* reaches(one, yield* again(one, yield* Effect.scope))
        })
      ))
  }
)

const databaseUrl = process.env["DATABASE_URL"] ?? "postgres://postgres:postgres@localhost:5432/postgres"
const schema = `effect_sessions_ended_${randomUUID().slice(0, 8)}`

/** A database of this file's own, for hints reach all who listen in a database, whatever their schema. */
const ownDatabase = Object.assign(new URL(databaseUrl), { pathname: schema }).href

needing(await listens(databaseUrl, 5432), "no Postgres at DATABASE_URL, nor at localhost:5432")(
  "ended over Postgres",
  { timeout: 60_000 },
  () => {
    const client = (options?: Partial<PgClient.PgPoolConfig>) =>
      PgClient.layer({
        url: Redacted.make(ownDatabase),
        ...options,
        startupParameters: { search_path: schema, ...options?.startupParameters }
      })
    const admin = <A, E>(use: (sql: SqlClient.SqlClient) => Effect.Effect<A, E>) =>
      Effect.provide(Effect.flatMap(SqlClient.SqlClient, use), client(), { local: true })
    const onServer = (statement: string) =>
      Effect.runPromise(
        SqlClient.SqlClient.use((sql) => sql.unsafe(statement)).pipe(
          Effect.provide(PgClient.layer({ url: Redacted.make(databaseUrl) }))
        )
      )
    beforeAll(async () => {
      await onServer(`CREATE DATABASE ${schema}`)
      await Effect.runPromise(admin((sql) => sql`CREATE SCHEMA ${sql(schema)}`))
      await run(Layer.build(SessionBackendSql.layerMigrations().pipe(Layer.provide(client()))))
    })
    afterAll(() => onServer(`DROP DATABASE ${schema} WITH (FORCE)`))

    const backend = (options?: Partial<PgClient.PgPoolConfig>) =>
      build(SessionBackendSql.layer.pipe(Layer.provide(client(options))))
    const listening = (application: string) =>
      admin(
        (sql) => sql<{ pid: number }>`
          SELECT pid FROM pg_stat_activity
          WHERE application_name = ${application} AND query = 'LISTEN "effect_sessions_ended"'`
      )

    it("a log-out in one process is heard in another, within a tenth of a second in the middle", () =>
      run(
        Effect.gen(function* () {
          const [one, other] = [yield* backend(), yield* backend()]
          const hints = yield* subscribe(other)
          const millis = yield* latency(one, hints)
          console.log(`Postgres: the hint comes ${millis.toFixed(1)} ms after the answer`)
          assert.isBelow(millis, 100)
        })
      ))

    it("there is one connection for all subscribers, and none after the last", () =>
      run(
        Effect.gen(function* () {
          const applicationName = `count ${schema}`
          const one = yield* backend({ applicationName })
          yield* Effect.scoped(
            Effect.gen(function* () {
              const all = yield* Effect.all(
                Array.from({ length: 20 }, () => subscribe(one)),
                { concurrency: "unbounded" }
              )
              assert.lengthOf(yield* listening(applicationName), 1)
              const id = yield* logOut(one)
              for (const hints of all) yield* heard(hints, id)
            })
          )
          yield* Effect.promise(() =>
            until(async () => (await Effect.runPromise(listening(applicationName))).length === 0, "nobody listens")
          )
        })
      ))

    it("the queues fail when the connection is cut, and after subscribing again hints come again", () =>
      run(
        Effect.gen(function* () {
          const applicationName = `cut ${schema}`
          const [one, other] = [yield* backend(), yield* backend({ applicationName })]
          const hints = [yield* subscribe(other), yield* subscribe(other)]
          yield* reaches(one, hints[0]!)
          const [listener] = yield* listening(applicationName)
          yield* admin((sql) => sql`SELECT pg_terminate_backend(${listener!.pid})`)
          for (const each of hints) yield* lost(each)
          yield* reaches(one, yield* again(other, yield* Effect.scope))
        })
      ))

    it("what is no notification of ours is ignored", () =>
      run(
        Effect.gen(function* () {
          const one = yield* backend()
          const hints = yield* subscribe(one)
          const garbage = ["", "a", "{}", "[]", `["a"]`, `["a","b"]`, `[1,["a"]]`, `["a",[1]]`, `["a",["b"],1]`]
          yield* admin((sql) =>
            Effect.forEach(
              [...garbage, `["a",["last"]]`],
              (text) => sql`SELECT pg_notify('effect_sessions_ended', ${text})`
            )
          )
          assert.deepStrictEqual(yield* Queue.take(hints), { namespace: "a", id: "last" })
        })
      ))

    it("a thousand at once are all heard, and one whose name is too long is deleted all the same", () =>
      run(
        Effect.gen(function* () {
          const [one, other] = [yield* backend(), yield* backend()]
          const hints = yield* subscribe(other)
          const namespace = randomUUID()
          const records = Array.from({ length: 1000 }, () => newRecord({ namespace, principal: "alice" }))
          yield* Effect.forEach(records, (record) => one.create(record), { concurrency: 10, discard: true })
          assert.lengthOf((yield* one.deleteByPrincipal(namespace, "alice", { limit: 1000 })).deleted, 1000)
          const left = new Set(records.map(({ id }) => id))
          while (left.size > 0) left.delete((yield* Effect.timeout(Queue.take(hints), "20 seconds")).id)
          // It compresses well, so that Postgres takes it as a key, though not as a notification.
          const long = newRecord({ namespace: "ü".repeat(1000), id: "x".repeat(7000) })
          yield* one.create(long)
          const others = Array.from({ length: 60 }, () => newRecord({ namespace: randomUUID() }))
          for (const record of others) yield* one.create(record)
          // In few batches, and the long one in one of them.
          yield* Effect.forEach(
            [...others.slice(0, 15), long, ...others.slice(15)],
            (record) => Effect.map(one.delete(record.namespace, record.id), (isDeleted) => assert.isTrue(isDeleted)),
            { concurrency: "unbounded", discard: true }
          )
          for (const { id } of others) left.add(id)
          while (left.size > 0) left.delete((yield* Effect.timeout(Queue.take(hints), "20 seconds")).id)
        })
      ))

    it("a log-out in a transaction is heard before that ends, as it stands before that ends", () =>
      run(
        Effect.gen(function* () {
          const both = yield* Layer.build(SessionBackendSql.layer.pipe(Layer.provideMerge(client())))
          const [one, sql] = [Context.get(both, SessionBackend), Context.get(both, SqlClient.SqlClient)]
          const hints = yield* subscribe(one)
          yield* sql.withTransaction(Effect.andThen(sql`SELECT 1`, reaches(one, hints)))
        })
      ))

    it("a pool of one connection is left to the sessions, which is said once; one of two is shared", () =>
      run(
        Effect.gen(function* () {
          const lines: Array<string> = []
          const single = yield* Effect.provide(backend({ maxConnections: 1 }), capturing(lines))
          assert.isUndefined(single.ended)
          assert.lengthOf(
            lines.filter((line) => line.startsWith("{") && line.includes("does not listen")),
            1
          )
          const hints = yield* subscribe(yield* backend())
          yield* reaches(single, hints)
          for (const multiplex of [false, true]) {
            const pair = yield* backend({ maxConnections: 2, multiplex, multiplexConcurrency: 4 })
            const own = yield* subscribe(pair)
            yield* Effect.forEach(Array.from({ length: 40 }), () => logOut(pair), {
              concurrency: 40,
              discard: true
            }).pipe(Effect.timeout("20 seconds"))
            yield* reaches(pair, own)
          }
        })
      ))

    it("a client that has only one connection goes on with sessions, and does not try again at once", () =>
      run(
        Effect.gen(function* () {
          const single = PgClient.layerFrom(
            PgClient.makeClient({ url: Redacted.make(ownDatabase), startupParameters: { search_path: schema } })
          )
          const one = yield* build(SessionBackendSql.layer.pipe(Layer.provide(single)))
          const began = performance.now()
          const refused = yield* Effect.forkChild(Effect.flip(Effect.scoped(one.ended!)))
          yield* Effect.timeout(logOut(one), "20 seconds")
          assert.strictEqual((yield* Fiber.join(refused)).operation, "ended")
          const [first, second] = [performance.now(), yield* Effect.flip(Effect.scoped(one.ended!))]
          assert.strictEqual(second.operation, "ended")
          assert.isAbove(first - began, 900)
          assert.isBelow(performance.now() - first, 500)
          yield* logOut(one)
        })
      ))

    it("a database that grants one connection grants it to the sessions, not to what listens", () =>
      run(
        Effect.gen(function* () {
          const role = schema
          const grant = (limit: number) => admin((sql) => sql.unsafe(`ALTER ROLE ${role} CONNECTION LIMIT ${limit}`))
          yield* admin((sql) =>
            Effect.gen(function* () {
              yield* sql.unsafe(`CREATE ROLE ${role} LOGIN PASSWORD '${role}'`)
              yield* sql.unsafe(`GRANT ALL ON SCHEMA ${schema} TO ${role}`)
              yield* sql.unsafe(`GRANT ALL ON ALL TABLES IN SCHEMA ${schema} TO ${role}`)
            })
          )
          yield* Effect.addFinalizer(() =>
            Effect.orDie(
              admin((sql) => Effect.andThen(sql.unsafe(`DROP OWNED BY ${role}`), sql.unsafe(`DROP ROLE ${role}`)))
            )
          )
          const url = new URL(ownDatabase)
          url.username = role
          url.password = role
          yield* Effect.scoped(
            Effect.gen(function* () {
              const one = yield* build(
                SessionBackendSql.layerStorage().pipe(Layer.provide(client({ url: Redacted.make(url.href) })))
              )
              const hints = yield* subscribe(one)
              yield* reaches(one, hints)
              yield* grant(1)
              yield* admin(
                (sql) => sql`
                  SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE usename = ${role} AND query NOT LIKE 'LISTEN%'`
              )
              const logsOut = Effect.promise(() =>
                until(() => Effect.runPromise(Effect.isSuccess(logOut(one))), "sessions have the connection", 5000)
              )
              yield* logsOut
              yield* lost(hints)
              assert.strictEqual((yield* Effect.flip(Effect.scoped(one.ended!))).operation, "ended")
              yield* logsOut
              yield* grant(-1)
              yield* reaches(one, yield* again(one, yield* Effect.scope))
            })
          )
        })
      ))
  }
)
