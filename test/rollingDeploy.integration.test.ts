/** Old and new servers of one application side by side, on a real Redis and a real Postgres. */
import { PgClient } from "@effect/sql-pg"
import { afterAll, layer } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { Redis } from "effect/persistence"
import { SqlClient } from "effect/sql"
import { randomBytes } from "node:crypto"
import type { SessionBackend } from "../src/SessionBackend.ts"
import { databaseUrl, listens, needing, redisUrl } from "./support/processes.ts"
import { backendLayer, exampleSettings, keysOf, run } from "./support/redis.ts"
import { scenarios } from "./support/rollingDeploy.ts"
import { backendOver } from "./support/sqlBackend.ts"

const random = randomBytes(6).toString("hex")

const suite = (name: string, backend: Layer.Layer<SessionBackend, unknown>): void =>
  layer(backend, { excludeTestServices: true })(name, (it) => {
    for (const [title, effect] of scenarios("test/RollingDeploy")) it.effect(`[R68] ${title}`, () => effect)
  })

const withRedis = needing(await listens(redisUrl, 6379), "no Redis at REDIS_URL, nor at 127.0.0.1:6379")
const withPostgres = needing(await listens(databaseUrl, 5432), "no Postgres at DATABASE_URL, nor at 127.0.0.1:5432")

withRedis("a rolling deploy over Redis", () => {
  const prefix = `effect-sessions-test:${random}`
  afterAll(() =>
    run(
      Effect.gen(function* () {
        const redis = yield* Redis.Redis
        for (const key of yield* keysOf(`${prefix}:*`)) yield* redis.send("UNLINK", key)
      }),
      exampleSettings(redisUrl)
    )
  )
  suite("redis", backendLayer(exampleSettings(redisUrl), { prefix }))
})

withPostgres("a rolling deploy over Postgres", () => {
  const schema = `effect_sessions_${random}`
  const client = PgClient.layer({
    url: Redacted.make(databaseUrl),
    startupParameters: { search_path: schema }
  })
  /** The backend's tables are made in a schema of this run, which goes with them. */
  const own = Layer.effectDiscard(
    Effect.flatMap(SqlClient.SqlClient, (sql) =>
      Effect.acquireRelease(sql`CREATE SCHEMA ${sql(schema)}`, () =>
        Effect.orDie(sql`DROP SCHEMA ${sql(schema)} CASCADE`)
      )
    )
  )
  suite("postgres", backendOver(own.pipe(Layer.provideMerge(client))))
})
