/** The races of `logInRaces.ts` in two processes on one store, and what is wrong with what they counted. */
import { PgClient } from "@effect/sql-pg"
import { Effect, type Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { randomBytes } from "node:crypto"
import * as NodeMysqlClient from "effect-sessions/NodeMysqlClient"
import * as LogInRaces from "./logInRaces.ts"
import { mysqlUrl } from "./mariadb.ts"
import { databaseUrl, newSecret, OwnRedis, redisUrl } from "./processes.ts"
import { startManager } from "./remoteManager.ts"

export type Backend = "redis" | "postgres" | "mysql"

const max = 5

const clients = {
  postgres: PgClient.layer({ url: Redacted.make(databaseUrl), maxConnections: 1 }),
  mysql: NodeMysqlClient.layer({ url: Redacted.make(mysqlUrl), maxConnections: 1 })
}

/** Deletes the records of a definition, and its fences. */
export const clear = (backend: "postgres" | "mysql", name: string) =>
  Effect.runPromise(
    SqlClient.SqlClient.use(
      (sql) => sql`DELETE FROM effect_sessions WHERE namespace IN (${name}, ${`${name}/fence`})`
    ).pipe(Effect.provide(clients[backend] as Layer.Layer<SqlClient.SqlClient, unknown>))
  )

/** Two processes, and two more in which so many sessions may live; on Redis a server of their own. */
export const races = async (backend: Backend) => {
  const name = `test/logins/${randomBytes(6).toString("hex")}`
  const redis = backend === "redis" ? await OwnRedis.start({ isDurable: false }) : undefined
  const secret = newSecret()
  const start = (options: object) =>
    startManager({
      SESSION_BACKEND: backend,
      SESSION_SECRET: secret,
      SESSION_NAME: name,
      REDIS_URL: redis?.url ?? redisUrl,
      DATABASE_URL: databaseUrl,
      MYSQL_URL: mysqlUrl,
      // A slow machine is not what is tested here.
      LAYER_OPTIONS: JSON.stringify({ backendTimeout: "20 seconds", ...options })
    })
  const managers = await Promise.all([
    start({}),
    start({}),
    start({ maxPerPrincipal: max }),
    start({ maxPerPrincipal: max })
  ])
  const two = [managers[0], managers[1]] as const
  const twoLimited = [managers[2], managers[3]] as const
  return {
    revocations: (options: Parameters<typeof LogInRaces.revocations>[1]) => LogInRaces.revocations(two, options),
    limited: (options: { readonly rounds: number; readonly atOnce: number }) =>
      LogInRaces.limited(twoLimited, { ...options, max }),
    carts: (options: Parameters<typeof LogInRaces.carts>[1]) => LogInRaces.carts(two, options),
    dispose: async () => {
      await Promise.all(managers.map((manager) => manager.stop()))
      if (backend === "redis") await redis!.dispose()
      else await clear(backend, name)
    }
  }
}
