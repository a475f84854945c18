/**
 * The scenarios of `test/support/oldServer.ts` with the built package of an older version in a process of its own, beside
 * processes of this one, on Redis and Postgres. To have the package of a commit:
 *
 * `git worktree add ../old b2d8943`, there `npm ci && npm run build`, then here
 * `node --import ./test/support/resolveSource.ts test/oldServer/run.ts --package ../old`.
 *
 * It uses REDIS_URL and DATABASE_URL, and ends with 1 if a scenario fails.
 */
import { randomBytes } from "node:crypto"
import { resolve } from "node:path"
import { parseArgs } from "node:util"
import { clear } from "../support/logInStores.ts"
import { scenarios } from "../support/oldServer.ts"
import { databaseUrl, newSecret, OwnRedis } from "../support/processes.ts"
import { startManager } from "../support/remoteManager.ts"

const { values } = parseArgs({ options: { package: { type: "string" } } })
if (values.package === undefined) throw new Error("--package: the folder of a built package of the older version")

// What was started is ended with this process.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1))

let isGood = true
for (const backend of ["redis", "postgres"] as const) {
  const name = `test/oldServer/${randomBytes(6).toString("hex")}`
  const redis = await OwnRedis.start({ isDurable: false })
  const env = {
    SESSION_BACKEND: backend,
    SESSION_SECRET: newSecret(),
    SESSION_NAME: name,
    REDIS_URL: redis.url,
    DATABASE_URL: databaseUrl
  }
  const options = { backendTimeout: "20 seconds" }
  const [old, one, rotating] = await Promise.all([
    startManager({ ...env, LAYER_OPTIONS: JSON.stringify(options), BUILT_PACKAGE: resolve(values.package) }),
    startManager({ ...env, LAYER_OPTIONS: JSON.stringify(options) }),
    startManager({
      ...env,
      LAYER_OPTIONS: JSON.stringify({ ...options, rotateEvery: "5 minutes" }),
      CLOCK_AHEAD: String(6 * 60_000)
    })
  ])
  try {
    // It is the older version.
    const { word } = await old.describe("", "")
    console.log(`${backend}: describe on the old server: ${word}`)
    if (word !== "died") isGood = false
    for (const [i, [title, scenario]] of Object.entries(scenarios).entries()) {
      const failure = await scenario({ old, one, rotating }, `user ${i}`).then(
        () => undefined,
        (error: unknown) => String(error)
      )
      console.log(
        `${backend}: ${failure === undefined ? "ok   " : "WRONG"} ${title}${failure === undefined ? "" : `: ${failure}`}`
      )
      if (failure !== undefined) isGood = false
    }
  } finally {
    await Promise.all([old, one, rotating].map((manager) => manager.stop()))
    await redis.dispose()
    if (backend === "postgres") await clear(backend, name)
  }
}
process.exit(isGood ? 0 : 1)
