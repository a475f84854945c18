/** `SessionAdmin` over the stores, with sessions that two definitions share one with. */
import { NodeCrypto } from "@effect/platform-node"
import { NodeRedis } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { Effect, Layer, Option, Redacted, Schema, Stream } from "effect"
import { randomBytes } from "node:crypto"
import * as NodeMysqlClient from "../src/NodeMysqlClient.ts"
import * as NodeRedisCluster from "../src/NodeRedisCluster.ts"
import * as NodeSqliteClient from "../src/NodeSqliteClient.ts"
import * as Session from "../src/Session.ts"
import * as SessionAdmin from "../src/SessionAdmin.ts"
import type { SessionBackend } from "../src/SessionBackend.ts"
import * as SessionBackendRedis from "../src/SessionBackendRedis.ts"
import * as SessionBackendSql from "../src/SessionBackendSql.ts"
import { mysqlUrl } from "./support/mariadb.ts"
import { databaseUrl, hasRedisServer, listens, needing, OwnRedis } from "./support/processes.ts"
import { silent } from "./support/redis.ts"
import { OwnCluster } from "./support/redisCluster.ts"
import { outcome } from "./support/outcome.ts"
import * as Stack from "./support/stack.ts"

const name = `test/admin/${randomBytes(6).toString("hex")}`
const data = Schema.Struct({ user: Schema.optionalKey(Schema.String) })
const principal = (data: { readonly user?: string }) => data.user
class Users extends Session.Service<Users>()(name, { data, principal }) {}
// Its name begins with that of the other.
class Admins extends Session.Service<Admins>()(`${name}/admin`, { data, principal }) {}

const ids = (infos: ReadonlyArray<{ readonly id: string }>) => infos.map(({ id }) => id)

const onStore = (backend: Layer.Layer<SessionBackend, unknown>) =>
  Effect.gen(function* () {
    const users = yield* Users.Manager
    const admins = yield* Admins.Manager
    const admin = yield* SessionAdmin.make(Users)
    const others = yield* SessionAdmin.make(Admins)

    const created = yield* Effect.forEach(
      Array.from({ length: 700 }, (_, i) => (i % 7 === 0 ? {} : { user: `user${i % 100}` })),
      (data) => users.create(data),
      { concurrency: 10 }
    )
    const kept = yield* Effect.forEach(Array.from({ length: 5 }), () => admins.create({ user: "user1" }))
    const found = ids(yield* Stream.runCollect(admin.stream()))
    assert.sameMembers([...new Set(found)], ids(created))
    assert.strictEqual(new Set(found).size, found.length)
    assert.strictEqual(yield* admin.count(), 700)
    const ofOne = created.filter(({ principal }) => Option.contains(principal, "user1"))
    assert.sameMembers(ids(yield* Stream.runCollect(admin.stream({ principal: "user1" }))), ids(ofOne))
    assert.sameMembers(ids(yield* Stream.runCollect(others.stream())), ids(kept))

    assert.isTrue(yield* admin.revoke(created[0]!.id))
    assert.isFalse(yield* admin.revoke(created[0]!.id))
    assert.strictEqual(yield* admin.revokePrincipal("user1"), ofOne.length)
    const began = yield* Effect.clockWith((clock) => clock.currentTimeNanos)
    assert.strictEqual(yield* admin.revokeAll(), 699 - ofOne.length)
    assert.strictEqual(yield* admin.count(), 0)
    for (const { token } of created.slice(0, 10)) {
      assert.strictEqual(yield* outcome(users.resolve(token)), "SessionInvalid NotFound")
    }
    // A log-in that was under way, and one that begins now.
    assert.strictEqual(yield* outcome(users.create({ user: "user2" }, { began })), "SessionInvalid Superseded")
    const { id } = yield* users.create({ user: "user2" })
    assert.deepStrictEqual(ids(yield* Stream.runCollect(admin.stream())), [id])
    yield* admin.revokeAll()
    assert.strictEqual(yield* others.count(), 5)
    yield* others.revokeAll()
  }).pipe(
    Effect.provide(
      Layer.mergeAll(
        // A slow machine is not what is tested here.
        Stack.managerInContext(Users, { backendTimeout: "20 seconds", maxPerPrincipal: false }),
        Stack.managerInContext(Admins, { backendTimeout: "20 seconds" })
      ).pipe(
        Layer.provide(
          Layer.merge(Stack.parts(Users, { backend: Layer.orDie(backend), crypto: NodeCrypto.layer }), verifier)
        )
      )
    ),
    Effect.provide(silent)
  )

const verifier = Stack.parts(Admins)

const sql = {
  Postgres: [databaseUrl, 5432, PgClient.layer({ url: Redacted.make(databaseUrl) })],
  MySQL: [mysqlUrl, 3306, NodeMysqlClient.layer({ url: Redacted.make(mysqlUrl) })]
} as const

for (const [store, [url, port, client]] of Object.entries(sql)) {
  needing(await listens(url, port), `there is no ${store} at ${url}`)(store, () => {
    it.live("counts, streams and ends", () => onStore(SessionBackendSql.layer.pipe(Layer.provide(client))), 60_000)
  })
}

it.live(
  "SQLite counts, streams and ends",
  () => onStore(SessionBackendSql.layer.pipe(Layer.provide(NodeSqliteClient.layer({ filename: ":memory:" })))),
  60_000
)

needing(hasRedisServer(), "there is no redis-server on the PATH to start")("Redis", { timeout: 60_000 }, () => {
  let redis: OwnRedis
  let cluster: OwnCluster
  beforeAll(async () => {
    redis = await OwnRedis.start({ isDurable: false })
    cluster = await OwnCluster.start()
  }, 60_000)
  afterAll(() => Promise.all([redis?.dispose(), cluster?.dispose()]))

  it.live("one server: counts, streams and ends", () =>
    onStore(SessionBackendRedis.layer.pipe(Layer.provide(NodeRedis.layer({ url: redis.url }))))
  )
  it.live("a Cluster: counts, streams and ends", () =>
    onStore(
      SessionBackendRedis.layer.pipe(Layer.provide(NodeRedisCluster.layer({ rootNodes: [...cluster.rootNodes] })))
    )
  )
})
