/** Two managers on one store of each kind make one session of another library's, and none once that has ended. */
import { NodeCrypto, NodeRedis } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Redacted, Schema } from "effect"
import { Redis } from "effect/persistence"
import { SqlClient } from "effect/sql"
import {
  Session,
  SessionBackendRedis,
  SessionBackendSql,
  SessionKeys,
  SessionManager,
  SessionVerifier
} from "effect-sessions"
import type { SessionBackend } from "effect-sessions"
import * as NodeMysqlClient from "effect-sessions/NodeMysqlClient"
import * as NodeSqliteClient from "effect-sessions/NodeSqliteClient"
import { randomBytes } from "node:crypto"
import { namespaceOf } from "../src/internal/manager/adoption.ts"
import { mysqlUrl } from "./support/mariadb.ts"
import { outcome } from "./support/outcome.ts"
import { keysOf } from "./support/redis.ts"
import { databaseUrl, listens, needing, newSecret, redisUrl } from "./support/processes.ts"

const run = randomBytes(6).toString("hex")

class UserSession extends Session.Service<UserSession>()(`test/adoption/${run}`, {
  data: Schema.Struct({ user: Schema.String }),
  principal: ({ user }) => user
}) {}

const sql = (client: Layer.Layer<SqlClient.SqlClient, unknown>) => {
  const namespaces = [UserSession.key, `${UserSession.key}/fence`, namespaceOf(UserSession.key)]
  const forget = SqlClient.SqlClient.use(
    (sql) => sql`DELETE FROM effect_sessions WHERE ${sql.in("namespace", namespaces)}`
  )
  const tidied = Layer.effectDiscard(Effect.acquireRelease(Effect.void, () => Effect.ignore(forget)))
  return Layer.merge(SessionBackendSql.layer, tidied).pipe(Layer.provide(client))
}

const prefix = `adoption-${run}`
const forgetKeys = Effect.flatMap(keysOf(`${prefix}:*`), (keys) =>
  Redis.Redis.use((redis) => redis.send("DEL", ...keys))
)
const redis = Layer.merge(
  SessionBackendRedis.layerWith({ prefix }),
  Layer.effectDiscard(Effect.acquireRelease(Effect.void, () => Effect.ignore(forgetKeys)))
).pipe(Layer.provide(NodeRedis.layer({ url: redisUrl })))

const stores: Record<string, readonly [Layer.Layer<SessionBackend.SessionBackend, unknown>, string, number]> = {
  Redis: [redis, redisUrl, 6379],
  Postgres: [sql(PgClient.layer({ url: Redacted.make(databaseUrl) })), databaseUrl, 5432],
  MariaDB: [sql(NodeMysqlClient.layer({ url: Redacted.make(mysqlUrl) })), mysqlUrl, 3306]
}

const secret = Redacted.make(newSecret())
const options = { backendTimeout: "20 seconds" } as const // a slow machine is not what is tested here

const suite = (backend: Layer.Layer<SessionBackend.SessionBackend, unknown>) =>
  Effect.gen(function* () {
    const managers = [
      yield* SessionManager.make(UserSession, options),
      yield* SessionManager.make(UserSession, options)
    ]
    const twenty = <A, E>(f: (manager: (typeof managers)[number], i: number) => Effect.Effect<A, E>) =>
      Effect.forEach(Array.from({ length: 20 }), (_, i) => f(managers[i % 2]!, i), { concurrency: "unbounded" })
    const [manager] = managers as [(typeof managers)[number]]
    const made = yield* twenty(({ adopt }) => adopt("old", { user: "ada" }))
    assert.strictEqual(new Set(made.map(({ token }) => Redacted.value(token))).size, 1)
    assert.strictEqual((yield* manager.list("ada")).length, 1)
    yield* manager.revokeAll("ada")
    const words = yield* twenty(({ adopt }) => outcome(adopt("old", { user: "ada" })))
    assert.deepStrictEqual(new Set(words), new Set(["SessionInvalid NotFound"]))
    // Log-outs in the middle of it.
    for (let round = 0; round < 5; round++) {
      const from = `old ${round}`
      yield* twenty(({ adopt, disown }, i) =>
        i === 10 ? Effect.asVoid(disown(from)) : Effect.ignore(adopt(from, { user: "eve" }))
      )
      assert.deepStrictEqual(yield* manager.list("eve"), [])
      assert.strictEqual(yield* outcome(manager.adopt(from, { user: "eve" })), "SessionInvalid NotFound")
    }
  }).pipe(
    Effect.provide(SessionVerifier.layerExists(UserSession)),
    Effect.provide(backend),
    Effect.provide(SessionKeys.layer(secret)),
    Effect.provide(NodeCrypto.layer),
    Effect.scoped
  )

for (const [name, [backend, url, port]] of Object.entries(stores)) {
  needing(await listens(url, port), `no ${name} at ${url}`)(name, () => {
    it.live("20 calls at once make one session, and a log-out in the middle of them is final", () => suite(backend))
  })
}

it.live("SQLite: 20 calls at once make one session, and a log-out in the middle of them is final", () =>
  suite(sql(NodeSqliteClient.layer({ filename: ":memory:" })))
)
