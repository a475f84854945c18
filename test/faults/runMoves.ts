/**
 * Every way in which a Redis moves, on servers of its own and a server process of ours under traffic, and a table of what
 * came of it. Ends with 1 if an answer was not what it had to be.
 *
 * `node test/faults/runMoves.ts [words]` runs only those whose setting and name hold these words.
 */
import { hasHaproxy } from "../support/haproxy.ts"
import { hasRedisServer } from "../support/processes.ts"
import { rowOf } from "../support/table.ts"
import { moves, openLaboratory, type Result, type Setting } from "./moves.ts"

if (!hasRedisServer() || !hasHaproxy()) {
  console.error("redis-server and haproxy are needed on the PATH; this starts its own")
  process.exit(2)
}

// What was started is ended with this process.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1))

const wanted = process.argv.slice(2).join(" ")
const chosen = moves.filter(({ name, setting }) => `${setting} ${name}`.includes(wanted))

const row = rowOf([50, 9, 8, 6, 14, 9, 9, 4])

console.log(row(["setting and move", "requests", "reads/s", "503", "503 healthy", "outage", "fault", "bad"]))

const report = (result: Result) => {
  const {
    causes,
    lasted,
    move,
    outage,
    readsOfHealthy,
    readsPerSecond,
    refused,
    refusedOfHealthy,
    requests,
    violations
  } = result
  const times = [outage, lasted].map((millis) => `${Math.round(millis)} ms`)
  const healthy = move.setting === "cluster" ? `${refusedOfHealthy} of ${readsOfHealthy}` : "-"
  const what = `${move.setting}: ${move.name}`
  console.log(row([what, requests, Math.round(readsPerSecond), refused, healthy, ...times, violations.length]))
  if (causes.size > 0) console.log(`    ${[...causes].map(([cause, count]) => `${cause} ×${count}`).join(", ")}`)
  for (const violation of violations) console.log(`    ${violation}`)
}

let bad = 0
for (const setting of ["cluster", "sentinel", "haproxy"] satisfies ReadonlyArray<Setting>) {
  const own = chosen.filter((move) => move.setting === setting)
  if (own.length === 0) continue
  const laboratory = await openLaboratory(setting)
  try {
    for (const [seed, move] of own.entries()) {
      const result = await laboratory.run(move, { perSecond: 1250, seed, slots: 5000, times: 3 })
      report(result)
      bad += result.violations.length
    }
  } finally {
    await laboratory.dispose()
  }
}

console.log(
  "\n1,250 requests a second are sent, 1,000 of which only read a session. Outage is the time from the beginning of the\n" +
    "fault to the last 503, fault how long it lasted: until another master was there, or served where one was frozen. Reads of\n" +
    "healthy shards are of sessions whose slot was not in the shard that moved; none of them may be refused."
)
process.exit(bad === 0 ? 0 : 1)
