/**
 * The stores beside the servers, kept empty: each server starts with nothing in them and leaves nothing behind.
 */
import { PgClient } from "@effect/sql-pg"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { createClient } from "redis"
import { postgresTable, postgresUrl, redisUrl, type Store } from "./servers/common.ts"

const redisClient = () => createClient({ url: redisUrl })

const withRedis = async <A>(use: (client: ReturnType<typeof redisClient>) => Promise<A>): Promise<A> => {
  const client = redisClient()
  await client.connect()
  try {
    return await use(client)
  } finally {
    client.destroy()
  }
}

const dropTables = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  for (const table of [postgresTable, `${postgresTable}_migrations`]) yield* sql`DROP TABLE IF EXISTS ${sql(table)}`
}).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(postgresUrl) })))

/** Fails unless the Redis database is empty: it is flushed later, and may be somebody's. */
export const prepareRedis = (): Promise<void> =>
  withRedis(async (client) => {
    const size = await client.dbSize()
    if (size > 0) throw new Error(`${redisUrl} holds ${size} keys: name an empty database in BENCH_REDIS_URL`)
  })

export const emptyStore = async (store: Store): Promise<void> => {
  if (store === "redis") await withRedis((client) => client.flushDb())
  if (store === "postgres") await Effect.runPromise(dropTables)
}
