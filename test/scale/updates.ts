/**
 * Many processes that change one session at once: how many changes are answered in time, and whether one is lost.
 *
 *     node --import ./test/support/resolveSource.ts test/scale/updates.ts [postgres|redis] [processes=8] [updates=50] [rounds=5]
 */
import { databaseUrl, newSecret, redisUrl, startSessionServer } from "../support/processes.ts"
import { percentile, round } from "./measure.ts"

const [backend = "postgres", ...counts] = process.argv.slice(2)
const [processes = 8, updates = 50, rounds = 5] = counts.map(Number)

const env = {
  SESSION_BACKEND: backend,
  SESSION_SECRET: newSecret(),
  SESSION_NAME: `scale/updates/${newSecret().slice(0, 8)}`,
  DATABASE_URL: databaseUrl,
  REDIS_URL: redisUrl
}
const first = await startSessionServer(env)
const servers = [first, ...(await Promise.all(Array.from({ length: processes - 1 }, () => startSessionServer(env))))]
try {
  // The first requests open the connections.
  for (const server of servers) await server.send("GET", "/whoami")
  for (let n = 1; n <= rounds; n++) {
    const { cookie } = await first.send("POST", `/login/user${n}`)
    const began = performance.now()
    const answers = await Promise.all(
      servers.flatMap((server, i) =>
        Array.from({ length: updates }, async (_, k) => {
          const mark = `${i}-${k}`
          return { mark, ...(await server.send("POST", `/mark/${mark}`, cookie)) }
        })
      )
    )
    const millis = performance.now() - began
    const { marks } = JSON.parse((await first.send("GET", "/whoami", cookie)).body) as { marks: Array<string> }
    const good = answers.filter(({ status }) => status === 200)
    const statuses = Map.groupBy(answers, ({ status }) => status)
    console.log({
      answered: `${round((100 * good.length) / answers.length)} %`,
      statuses: Object.fromEntries([...statuses].map(([status, { length }]) => [status, length])),
      lost: good.filter(({ mark }) => !marks.includes(mark)).length,
      twice: marks.length - new Set(marks).size,
      p50: round(
        percentile(
          answers.map(({ millis }) => millis),
          50
        )
      ),
      slowest: round(Math.max(...answers.map(({ millis }) => millis))),
      seconds: round(millis / 1000)
    })
    await first.send("POST", "/logout", cookie)
  }
} finally {
  await Promise.all(servers.map((server) => server.stop()))
}
