/**
 * Sessions as the version before has left them in a store, under the code of today. `test/oldServer/writeRecords.ts` made
 * the records with the built package of that version.
 */
import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Option } from "effect"
import { Redis } from "effect/persistence"
import { SqlClient } from "effect/sql"
import { entry } from "../src/internal/backend/redisKeys.ts"
import * as NodeSqliteClient from "../src/NodeSqliteClient.ts"
import { SessionBackend } from "../src/SessionBackend.ts"
import records from "./oldServer/records.json" with { type: "json" }
import { ahead } from "./support/aheadClock.ts"
import { silent } from "./support/logs.ts"
import { implement, sessionOf } from "./support/managerOperations.ts"
import { hasRedisServer, needing } from "./support/processes.ts"
import { backendLayer, exampleSettings, startServer } from "./support/redis.ts"
import { answering } from "./support/remoteManager.ts"
import { backendOver } from "./support/sqlBackend.ts"
import * as Stack from "./support/stack.ts"

const UserSession = sessionOf(records.name)
const user = "ada"

/** The session is read, changed, shown and ended, and what it says is the same in every store. */
const life = (stored: { readonly id: string; readonly token: string }) =>
  Effect.gen(function* () {
    const { id, token } = stored
    const layer = Stack.manager(UserSession, {
      backend: Layer.succeed(SessionBackend, yield* SessionBackend),
      crypto: NodeCrypto.layer,
      keys: Stack.layerKeys(records.secret),
      rotateEvery: "5 minutes"
    })
    const manager = Context.get(yield* Layer.build(Layer.fresh(layer)), UserSession.Manager)
    const server = answering(implement(manager), yield* Effect.context<never>())
    yield* Effect.promise(async () => {
      const data = { user, items: ["bread", "butter"] }
      assert.deepInclude((await server.resolve(token)).value, { id, version: 3, methods: [], data })
      assert.deepStrictEqual(
        (await server.list(user)).value?.map(({ id }) => id),
        [id]
      )
      assert.strictEqual((await server.addItemToAll(user, "milk")).value, 1)
      assert.strictEqual((await server.describe(token, "phone")).word, "ok")
      const again = (await server.reauthenticate(token, ["pwd"])).value!
      assert.deepInclude(again, { methods: ["pwd"], label: "phone", data: { user, items: [...data.items, "milk"] } })
      assert.strictEqual((await server.resolve(token)).word, "SessionInvalid NotFound")
      assert.strictEqual((await server.revokeAll(user)).value, 1)
      assert.deepStrictEqual((await server.list(user)).value, [])
    })
  }).pipe(ahead({ millis: records.at - Date.now() }), Effect.provide(silent))

const row = records.sql.stored

describe("a session of the version before", () => {
  it.live("[R68] lives on in memory, as a record that its backend would have handed over", () =>
    Effect.gen(function* () {
      const backend = yield* SessionBackend
      yield* backend.create({
        namespace: row.namespace,
        id: row.id,
        secretHash: row.secret_hash,
        version: row.version,
        principal: row.principal,
        data: row.data,
        dataVersion: row.data_version,
        extension: row.extension,
        createdAt: row.created_at,
        authenticatedAt: row.authenticated_at,
        lastSeenAt: row.last_seen_at,
        idleTimeout: row.idle_timeout,
        idleExpiresAt: row.idle_expires_at,
        absoluteExpiresAt: row.absolute_expires_at,
        persistent: row.persistent === 1
      })
      yield* life(records.sql)
    }).pipe(Effect.provide(Stack.layerMemory()))
  )

  it.live("[R68] lives on as a row, of Postgres or of SQLite", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`INSERT INTO effect_sessions ${sql.insert(row)}`
      yield* life(records.sql)
    }).pipe(Effect.provide(backendOver(NodeSqliteClient.layer({ filename: ":memory:" }))))
  )

  needing(hasRedisServer(), "there is no redis-server on the PATH to start")("in Redis", () => {
    it.live("[R68] lives on as a string, and as an entry of an index", () =>
      Effect.gen(function* () {
        const { url } = yield* Effect.promise(() => startServer())
        const { id, stored } = records.redis
        const space = Buffer.from(records.name).toString("base64url")
        yield* Effect.gen(function* () {
          const redis = yield* Redis.Redis
          yield* redis.send("SET", `effect-sessions:s:${space}:${id}`, stored.record, "PX", "3600000")
          const index = `effect-sessions:p:${space}:${Buffer.from(user).toString("base64url")}`
          yield* redis.send("ZADD", index, "0", stored.entry)
          yield* redis.send("PEXPIRE", index, "3600000")
          const backend = yield* SessionBackend
          const found = Option.getOrThrow(yield* backend.read(records.name, id))
          assert.strictEqual(entry(found), stored.entry)
          yield* life(records.redis)
        }).pipe(Effect.provide(backendLayer(exampleSettings(url))))
      })
    )
  })
})
