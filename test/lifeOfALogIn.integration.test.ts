/** What a log-in goes through, over every store there is. */
import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { Redis } from "effect/persistence"
import { SqlClient } from "effect/sql"
import { randomBytes } from "node:crypto"
import * as NodeMysqlClient from "../src/NodeMysqlClient.ts"
import * as NodeRedisCluster from "../src/NodeRedisCluster.ts"
import * as NodeSqliteClient from "../src/NodeSqliteClient.ts"
import type { SessionBackend } from "../src/SessionBackend.ts"
import * as SessionBackendRedis from "../src/SessionBackendRedis.ts"
import { rows } from "./support/endings.ts"
import { scenarios } from "./support/lifeOfALogIn.ts"
import { mysqlUrl } from "./support/mariadb.ts"
import { databaseUrl, hasRedisServer, listens, needing } from "./support/processes.ts"
import { backendLayer, exampleSettings, keysOf, silent, startServer } from "./support/redis.ts"
import { OwnCluster } from "./support/redisCluster.ts"
import { backendOver } from "./support/sqlBackend.ts"
import * as Stack from "./support/stack.ts"

const random = randomBytes(6).toString("hex")

/** As long as one may be: the namespace of its fences is a little longer, and fits in the narrowest store. */
const identifier = `test/${random}/`.padEnd(500, "x")

/** How sessions end, as the application is told of it; on Redis nobody sweeps. */
const swept = rows(`test/${random}`, { sweeping: true })
const unswept = rows(`test/${random}`, { sweeping: false })

const suite = (name: string, backend: Layer.Layer<SessionBackend, unknown>, endings = swept): void =>
  layer(backend, { excludeTestServices: true, timeout: "60 seconds" })(name, (it) => {
    for (const [title, effect] of [...scenarios(identifier), ...endings]) it.effect(title, () => effect)
  })

/** Schemas and databases of this run, which go with it. */
const made = (create: string, drop: string) =>
  Layer.effectDiscard(
    SqlClient.SqlClient.use((sql) =>
      Effect.acquireRelease(sql.unsafe(create).unprepared, () => Effect.orDie(sql.unsafe(drop).unprepared))
    )
  )

suite("the life of a log-in in memory", Stack.layerMemory())

suite("the life of a log-in on SQLite", backendOver(NodeSqliteClient.layer({ filename: ":memory:" })))

const withPostgres = needing(await listens(databaseUrl, 5432), "no Postgres at DATABASE_URL, nor at 127.0.0.1:5432")
withPostgres("Postgres", () => {
  const schema = `effect_sessions_${random}`
  const client = PgClient.layer({ url: Redacted.make(databaseUrl), startupParameters: { search_path: schema } })
  const own = made(`CREATE SCHEMA ${schema}`, `DROP SCHEMA ${schema} CASCADE`)
  suite("the life of a log-in on Postgres", backendOver(own.pipe(Layer.provideMerge(client))))
})

const withMysql = needing(await listens(mysqlUrl, 3306), "no MySQL or MariaDB at MYSQL_URL, nor at 127.0.0.1:3306")
withMysql("MySQL", () => {
  const database = `effect_sessions_${random}`
  const url = Redacted.make(mysqlUrl)
  const own = made(`CREATE DATABASE ${database}`, `DROP DATABASE ${database}`).pipe(
    Layer.provide(Layer.fresh(NodeMysqlClient.layer({ url, maxConnections: 1 })))
  )
  const client = NodeMysqlClient.layer({ url, database })
  suite("the life of a log-in on MySQL or MariaDB", backendOver(client).pipe(Layer.provide(own)))
})

const withRedis = needing(hasRedisServer(), "there is no redis-server on the PATH to start")
withRedis("Redis", () => {
  const redis = Layer.unwrap(
    Effect.map(
      Effect.promise(() => startServer()),
      ({ url }) => backendLayer(exampleSettings(url))
    )
  )
  layer(redis, { excludeTestServices: true, timeout: "60 seconds" })("the life of a log-in on Redis", (it) => {
    for (const [title, effect] of [...scenarios(identifier), ...unswept]) it.effect(title, () => effect)

    it.effect("[R83] of the fences, and of what lists them, nothing is left after a day", () =>
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        const fences = Buffer.from(`${identifier}/fence`).toString("base64url")
        const keys = yield* keysOf(`*:${fences}:*`)
        assert.isAbove(keys.length, 3)
        for (const key of keys) {
          const ttl = yield* redis.send<number>("PTTL", key)
          const minutes = key.includes(":s:") ? 25 : 24 * 60 + 10
          assert.isTrue(ttl > 0 && ttl <= minutes * 60_000, `${key.slice(0, 20)}… is kept for ${ttl} ms`)
        }
      })
    )
  })
})

withRedis("a Redis Cluster", () => {
  const cluster = Layer.unwrap(
    Effect.map(
      Effect.acquireRelease(
        Effect.promise(() => OwnCluster.start()),
        (cluster) => Effect.promise(() => cluster.dispose())
      ),
      ({ rootNodes }) =>
        SessionBackendRedis.layer.pipe(
          Layer.provide(NodeRedisCluster.layer({ rootNodes: [...rootNodes] })),
          Layer.provide(silent)
        )
    )
  )
  suite("the life of a log-in on a Redis Cluster", cluster, unswept)
})
