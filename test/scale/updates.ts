/**
 * Updates of one session from many server processes at once: how many are answered within the deadline, and whether one
 * is lost.
 *
 * `node test/scale/updates.ts [--only redis|postgres] [--processes 8] [--each 50] [--rounds 3]` uses REDIS_URL and
 * DATABASE_URL, and ends with 1 if an update was lost or made twice, or fewer than 95 in 100 were answered in time.
 */
import { randomBytes } from "node:crypto"
import { parseArgs } from "node:util"
import { databaseUrl, newSecret, redisUrl, startSessionServer } from "../support/processes.ts"

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    processes: { type: "string", default: "8" },
    each: { type: "string", default: "50" },
    rounds: { type: "string", default: "3" }
  }
})
const [processes, each, rounds] = [values.processes, values.each, values.rounds].map(Number) as [number, number, number]

// What was started is ended with this process.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1))

interface Round {
  readonly all: number
  readonly counts: Record<number, number>
  /** Of the updates that were acknowledged, those that are not there, and those that are there more than once. */
  readonly lost: number
  readonly twice: number
  readonly p50: number
  readonly slowest: number
}

const measure = async (backend: string): Promise<ReadonlyArray<Round>> => {
  const env = {
    SESSION_BACKEND: backend,
    SESSION_SECRET: newSecret(),
    SESSION_NAME: `test/scale/${randomBytes(6).toString("hex")}`,
    REDIS_URL: redisUrl,
    DATABASE_URL: databaseUrl
  }
  const servers = await Promise.all(Array.from({ length: processes }, () => startSessionServer(env)))
  try {
    const { cookie } = await servers[0]!.send("POST", "/login/ada")
    // Connections are made, and code is compiled, by the time it counts.
    for (const server of servers) {
      for (let i = 0; i < 10; i++)
        await Promise.all(Array.from({ length: 5 }, () => server.send("GET", "/whoami", cookie)))
      await server.send("POST", "/mark/warm", (await server.send("POST", "/login/eve")).cookie)
    }
    const measured: Array<Round> = []
    for (let round = 0; round < rounds; round++) {
      const { cookie } = await servers[0]!.send("POST", `/login/user${round}`)
      const marks = Array.from({ length: processes * each }, (_, i) => `m${i}`)
      const answers = await Promise.all(
        marks.map((mark, i) => servers[i % processes]!.send("POST", `/mark/${mark}`, cookie))
      )
      const { body } = await servers[0]!.send("GET", "/whoami", cookie)
      const kept = (JSON.parse(body) as { readonly marks: ReadonlyArray<string> }).marks
      const counts: Record<number, number> = {}
      for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1
      const times = answers.map(({ millis }) => Math.round(millis)).sort((a, b) => a - b)
      measured.push({
        all: answers.length,
        counts,
        lost: marks.filter((mark, i) => answers[i]!.status === 200 && !kept.includes(mark)).length,
        twice: kept.length - new Set(kept).size,
        p50: times[times.length >> 1]!,
        slowest: times.at(-1)!
      })
      await servers[0]!.send("POST", "/logout", cookie)
    }
    return measured
  } finally {
    await Promise.all(servers.map((server) => server.stop()))
  }
}

let isGood = true
for (const backend of ["redis", "postgres"]) {
  if (values.only !== undefined && values.only !== backend) continue
  for (const { all, counts, lost, p50, slowest, twice } of await measure(backend)) {
    const answered = counts[200] ?? 0
    console.log(
      `${backend}: ${answered} of ${all} answered (${JSON.stringify(counts)}), ${lost} lost, ${twice} twice, ` +
        `p50 ${p50} ms, slowest ${slowest} ms`
    )
    if (lost > 0 || twice > 0 || answered < 0.95 * all) isGood = false
  }
}
process.exit(isGood ? 0 : 1)
