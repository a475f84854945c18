/**
 * The stores beside the servers: a Redis of the run's own, on the client's core, and two tables in a Postgres.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { createServer } from "node:net"
import { createClient } from "redis"
import { portOf, postgresTable, postgresUrl } from "./common.ts"

/** The shell ends Redis when its own standard input ends, which happens however the run ends, SIGKILL included. */
const script = `
taskset -c "$1" redis-server --port "$2" --bind 127.0.0.1 --save "" --appendonly no --dir /tmp &
read -r _
kill $!
wait`

/** Starts a Redis that saves nothing on a free port, or answers `undefined` where there is none installed. */
export const startRedis = async (core: number) => {
  if (spawnSync("redis-server", ["--version"]).error !== undefined) return undefined
  const free = createServer().listen(0, "127.0.0.1")
  await once(free, "listening")
  const port = portOf(free)
  await new Promise((resolve) => free.close(resolve))
  // Detached, so that Ctrl-C ends the run alone, and the shell can still clean up.
  const args = ["-c", script, "sh", String(core), String(port)]
  const shell = spawn("sh", args, { stdio: ["pipe", "ignore", "ignore"], detached: true })
  const url = `redis://127.0.0.1:${port}/0`
  const client = createClient({ url }).on("error", () => {}) // it tries until Redis answers
  await client.connect()
  client.destroy()
  return { url, [Symbol.dispose]: () => void shell.stdin.end() }
}

/** Whether a Postgres answers; drops the tables of this run or of one that was interrupted. */
export const clearPostgres = (): Promise<boolean> =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    for (const table of [postgresTable, `${postgresTable}_migrations`]) yield* sql`DROP TABLE IF EXISTS ${sql(table)}`
  }).pipe(
    Effect.provide(PgClient.layer({ url: Redacted.make(postgresUrl) })),
    Effect.timeout("10 seconds"),
    Effect.isSuccess,
    Effect.runPromise
  )
