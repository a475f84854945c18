/**
 * How soon a stream ends after its session has: from the log-out's answer to the end of the response, as one client sees
 * both; in one process and across two, with the backend's push and without. What an open stream costs. What happens when the
 * push is cut off, and when the store is frozen.
 *
 * `node --expose-gc --import ./test/support/resolveSource.ts test/scale/ended.ts [--only memory|redis|postgres|mysql|sqlite]
 * [--part ends|costs|faults] [--streams 10000] [--logouts 300] [--seconds 60] [--write]` starts a Redis of its own and uses DATABASE_URL and MYSQL_URL. It
 * ends with 1 if a goal is missed: a median of 50 ms with push, 35 s without, no stream ended while the store is frozen, and
 * none open 5 s after its absolute deadline. `--write` puts its tables into docs/open-connections.md.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { parseArgs } from "node:util"
import { each, type Feed, logIn, logOut, open, serversOn, used } from "../support/feeds.ts"
import { databaseUrl, OwnRedis, type SessionServer } from "../support/processes.ts"
import { mysqlUrl } from "../support/mariadb.ts"

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    part: { type: "string" },
    streams: { type: "string", default: "10000" },
    logouts: { type: "string", default: "300" },
    seconds: { type: "string", default: "60" },
    write: { type: "boolean", default: false }
  }
})
const [streams, logouts, seconds] = [values.streams, values.logouts, values.seconds].map(Number) as [
  number,
  number,
  number
]
const isWanted = (name: string, part: "ends" | "costs" | "faults") =>
  (values.only ?? name) === name && (values.part ?? part) === part

/** How many log in, or open a stream, at a time. More would wait for each other at the store, some past its deadline. */
const atOnce = 16

// What was started is ended with this process.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1))

const printed: Array<string> = []
const print = (line: string) => {
  printed.push(line)
  console.log(line)
}

let isGood = true
const goal = (what: string, isMet: boolean) => {
  if (isMet) return
  isGood = false
  console.log(`  MISSED: ${what}`)
}

const line = (name: string, millis: ReadonlyArray<number>) => {
  const sorted = millis.toSorted((a, b) => a - b)
  const at = (share: number) =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]! * 10) / 10
  print(`| ${name} | ${sorted.length} | ${at(0.5)} | ${at(0.99)} | ${at(1)} |`)
  return { median: at(0.5), slowest: at(1) }
}

const feedsOf = (server: SessionServer, count: number, path: "/feed" | "/plain" = "/feed") =>
  each(count, atOnce, async (i) => open(server, path, await logIn(server, `user${i}-${Math.random()}`)))

const closeAll = async (feeds: ReadonlyArray<Feed>) => {
  for (const feed of feeds) feed.close()
  await Promise.all(feeds.map(({ ended }) => ended))
}

const redis = await OwnRedis.start({ isDurable: false })
const env = {
  memory: { SESSION_BACKEND: "memory" },
  redis: { SESSION_BACKEND: "redis", REDIS_URL: redis.url },
  postgres: { SESSION_BACKEND: "postgres", DATABASE_URL: databaseUrl },
  mysql: { SESSION_BACKEND: "mysql", MYSQL_URL: mysqlUrl },
  sqlite: { SESSION_BACKEND: "sqlite", SQLITE_FILE: join(tmpdir(), `effect-sessions-ended-${process.pid}.sqlite`) }
}
const pushes = new Set(["memory", "redis", "postgres"])

print("| from the log-out's answer to the end of the stream | streams | median, ms | p99, ms | slowest, ms |")
print("| --- | --: | --: | --: | --: |")
for (const [name, store] of Object.entries(env)) {
  if (!isWanted(name, "ends")) continue
  for (const push of pushes.has(name) ? ["on", "off"] : ["off"]) {
    for (const processes of name === "memory" ? [1] : [1, 2]) {
      const servers = await serversOn(processes, { ...store, PUSH: push })
      const feeds = await feedsOf(servers[0], logouts)
      const label = `${name}, ${processes === 1 ? "one process" : "two processes"}, push ${push}`
      // Without push all are ended at once: a stream ends with its next re-check, which is the same for each.
      const times = await each(logouts, push === "on" ? 4 : logouts, (i) => logOut(servers.at(-1)!, feeds[i]!))
      const { median, slowest } = line(label, times)
      if (push === "on") goal("a median under 50 ms", median < 50)
      goal("never later than 35 s", slowest <= 35_000)
      await Promise.all(servers.map((server) => server.stop()))
    }
  }
}

for (const name of ["memory", "redis", "postgres"] as const) {
  if (!isWanted(name, "costs")) continue
  print(`\n| ${streams} open streams, ${name} | heap, bytes a stream | CPU, µs a stream and minute | reads a second |`)
  print("| --- | --: | --: | --: |")
  for (const path of ["/plain", "/feed"] as const) {
    const [server] = await serversOn(1, env[name])
    // The log-ins have been paid for before.
    const cookies = await each(streams, atOnce, (i) => logIn(server, `user${i}`))
    const before = await used(server)
    const feeds = await each(streams, atOnce, (i) => open(server, path, cookies[i]!))
    await pause(2000)
    const began = await used(server)
    await pause(seconds * 1000)
    const after = await used(server)
    const cpu = ((after.cpuMicros - began.cpuMicros) / streams) * (60 / seconds)
    const reads = (after.reads - began.reads) / seconds
    const bytes = (after.heapBytes - before.heapBytes) / streams
    print(
      `| ${path === "/feed" ? "that end with their session" : "that do not"} | ${Math.round(bytes)} | ${Math.round(cpu)} | ${Math.round(reads)} |`
    )
    if (path === "/feed") goal("the re-checks and no more", reads <= streams / 20)
    await closeAll(feeds)
    await server.stop()
  }
}

if (isWanted("redis", "faults")) {
  const servers = await serversOn(2, { ...env.redis, ABSOLUTE_TIMEOUT: "150 seconds", IDLE_TIMEOUT: "150 seconds" })
  print(
    "\n| the push cut off, and the store frozen (redis, two processes) | streams | median, ms | p99, ms | slowest, ms |"
  )
  print("| --- | --: | --: | --: | --: |")
  const born = performance.now()
  const feeds = await feedsOf(servers[0], 4 * 50)
  const ending = (from: number) => each(50, 4, (i) => logOut(servers[1]!, feeds[from + i]!))
  line("before", await ending(0))
  await redis.command("CLIENT KILL TYPE pubsub")
  const cut = await each(50, 50, (i) => logOut(servers[1]!, feeds[50 + i]!))
  goal("never later than 35 s with the push cut", line("right after the connection was cut", cut).slowest <= 35_000)
  goal("a median under 50 ms once it is back", line("once it is back", await ending(100)).median < 50)
  const rest = feeds.slice(150)
  redis.signal("SIGSTOP")
  const frozen = performance.now()
  await pause(Math.max(0, born + 140_000 - frozen))
  const open = rest.filter((feed) => feed.isOpen()).length
  print(
    `\nRedis frozen for ${Math.round((performance.now() - frozen) / 1000)} s: ${open} of ${rest.length} streams are open.`
  )
  goal("no stream ends while the store is frozen", open === rest.length)
  const last = Math.max(...(await Promise.all(rest.map(({ ended }) => ended))))
  print(
    `At their absolute deadline all ended, the last one ${Math.round((last - born) / 100) / 10} s after the first log-in; the timeout is 150 s.`
  )
  goal("none lives beyond its deadline", last - born < 155_000)
  redis.signal("SIGCONT")
  await Promise.all(servers.map((server) => server.stop()))
}

await redis.dispose()
for (const end of ["", "-wal", "-shm"]) rmSync(env.sqlite.SQLITE_FILE + end, { force: true })
if (values.write) {
  const file = join(import.meta.dirname, "../../docs/open-connections.md")
  const [begin, end] = ["<!-- ended:begin -->", "<!-- ended:end -->"]
  const [before, rest] = readFileSync(file, "utf8").split(begin)
  const after = rest!.split(end)[1]
  writeFileSync(file, `${before}${begin}\n\n${printed.join("\n").trim()}\n\n${end}${after}`)
}
process.exit(isGood ? 0 : 1)
