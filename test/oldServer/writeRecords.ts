/**
 * Writes `records.json`: a session as an older version of this library leaves it in each store, after a change and a
 * rotation. `node --import ./test/support/resolveSource.ts test/oldServer/writeRecords.ts --package <a built package>`, as
 * `run.ts` says; it uses DATABASE_URL.
 */
import { execFileSync } from "node:child_process"
import { writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { parseArgs } from "node:util"
import { databaseUrl, newSecret, OwnRedis, postgresBin, redisCommand } from "../support/processes.ts"
import { startManager } from "../support/remoteManager.ts"

const { values } = parseArgs({ options: { package: { type: "string" } } })
if (values.package === undefined) throw new Error("--package: the folder of a built package of the older version")

const name = "test/OldRecords"
const secret = newSecret()
const redis = await OwnRedis.start({ isDurable: false })

/** What Redis answers to a command, without the line that says how long it is. */
const reply = async (command: string) =>
  (await redisCommand(redis.port, command)).split("\r\n").slice(1, -1).join("\r\n")

const rowOf = (id: string) => {
  const query = `SELECT row_to_json(s) FROM effect_sessions s WHERE namespace = '${name}' AND id = '${id}'`
  return JSON.parse(execFileSync(join(postgresBin()!, "psql"), [databaseUrl, "-XAtqc", query], { encoding: "utf8" }))
}

const written = async (backend: "redis" | "postgres") => {
  const env = { SESSION_BACKEND: backend, SESSION_SECRET: secret, SESSION_NAME: name, REDIS_URL: redis.url }
  const old = await startManager({ ...env, DATABASE_URL: databaseUrl, BUILT_PACKAGE: resolve(values.package!) })
  const { value: made } = await old.create({ user: "ada", items: ["bread"] })
  await old.addItem(made!.token, "butter")
  const { value } = await old.rotate(made!.token)
  const { id, token } = value!
  const space = Buffer.from(name).toString("base64url")
  const record = `effect-sessions:s:${space}:${id}`
  const index = `effect-sessions:p:${space}:${Buffer.from("ada").toString("base64url")}`
  const stored =
    backend === "redis"
      ? { record: await reply(`GET ${record}`), entry: (await reply(`ZRANGE ${index} 0 0`)).split("\r\n").at(-1) }
      : rowOf(id)
  await old.destroy(token)
  await old.stop()
  return { id, token, stored }
}

const [onRedis, onPostgres] = [await written("redis"), await written("postgres")]
await redis.dispose()
const records = { at: Date.now(), name, secret, redis: onRedis, sql: onPostgres }
writeFileSync(join(import.meta.dirname, "records.json"), `${JSON.stringify(records, undefined, 2)}\n`)
