/**
 * The stores beside the servers: whether they are there, and that each server finds them empty and leaves nothing behind.
 */
import { PgClient } from "@effect/sql-pg"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { createClient } from "redis"
import { postgresTable, postgresUrl, redisUrl, type Store } from "./servers/common.ts"

const withRedis = async <A>(use: (client: ReturnType<typeof redisClient>) => Promise<A>): Promise<A> => {
  const client = redisClient()
  client.on("error", () => {}) // `connect` fails with it too
  await client.connect()
  try {
    return await use(client)
  } finally {
    client.destroy()
  }
}

const redisClient = () =>
  createClient({ url: redisUrl(), socket: { connectTimeout: 5000, reconnectStrategy: false as const } })

const withPostgres = <A, E>(effect: Effect.Effect<A, E, SqlClient.SqlClient>): Promise<A> =>
  effect.pipe(
    Effect.provide(PgClient.layer({ url: Redacted.make(postgresUrl) })),
    Effect.timeout("10 seconds"),
    Effect.runPromise
  )

const dropTables = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  for (const table of [postgresTable, `${postgresTable}_migrations`]) yield* sql`DROP TABLE IF EXISTS ${sql(table)}`
})

/**
 * Why subjects with this store cannot be measured; `undefined` when they can. Fails on a Redis database with something
 * in it: it is flushed later, and may be somebody's.
 */
export const missing = async (store: Store): Promise<string | undefined> => {
  if (store === "redis") {
    const size = await withRedis((client) => client.dbSize()).catch(() => undefined)
    if (size === undefined) return "there is no redis-server on PATH, or no Redis answers at BENCH_REDIS_URL"
    if (size > 0) throw new Error(`the Redis database holds ${size} keys: name an empty one in BENCH_REDIS_URL`)
  }
  if (store === "postgres") {
    const answered = await withPostgres(dropTables).then(
      () => true,
      () => false
    )
    if (!answered) return "no Postgres answers at BENCH_POSTGRES_URL"
  }
  return undefined
}

export const emptyStore = async (store: Store): Promise<void> => {
  if (store === "redis") await withRedis((client) => client.flushDb())
  if (store === "postgres") await withPostgres(dropTables)
}
