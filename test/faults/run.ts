/**
 * Every fault, on stores of its own and a server process of ours under traffic, and a table of what came of it. Ends
 * with 1 if an answer was not what it had to be.
 *
 * `node test/faults/run.ts [words] [--write]` runs only the faults whose store and name hold these words; `flood` those
 * of many requests. `--write` puts a table into `docs/faults.md` if all of its rows were run, and nothing was wrong.
 */
import { spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { hasMariaDbServer } from "../support/mariadb.ts"
import { hasPostgresServer, hasRedisServer, OwnPostgres } from "../support/processes.ts"
import { rowOf } from "../support/table.ts"
import { faults, openLaboratory, type Result, type Store } from "./faults.ts"
import { floods, nearness, runFlood } from "./flood.ts"
import { answerLimit } from "./traffic.ts"

if (!hasRedisServer() || !hasPostgresServer() || !hasMariaDbServer()) {
  console.error(
    "redis-server on the PATH, Postgres in /usr/lib/postgresql and /usr/sbin/mariadbd are needed; this starts its own"
  )
  process.exit(2)
}

// What was started is ended with this process.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1))

const { positionals, values } = parseArgs({ allowPositionals: true, options: { write: { type: "boolean" } } })
const wanted = positionals.join(" ")

/** The tables in Markdown. */
const tables = { faults: [] as Array<string>, floods: [] as Array<string> }
const addRow = (table: Array<string>, cells: ReadonlyArray<string | number>) => table.push(`| ${cells.join(" | ")} |`)
const addHead = (table: Array<string>, head: ReadonlyArray<string>) => {
  addRow(table, head)
  addRow(
    table,
    // Words to the left, numbers to the right.
    head.map((name, i) => (i === 0 || name.includes("log") ? "---" : "--:"))
  )
}
const git = (...args: ReadonlyArray<string>) => spawnSync("git", args, { encoding: "utf8" }).stdout.trim()
const commit = `${git("rev-parse", "--short", "HEAD")}${git("status", "--porcelain", "src", "test") === "" ? "" : ", changed"}`

/** Puts a table into its place in the guide. */
const write = (name: keyof typeof tables) => {
  const page = join(import.meta.dirname, "../../docs/faults.md")
  const place = new RegExp(`(<!-- ${name}, written by npm run test:faults -->\\n)[^]*?(<!-- end -->)`)
  const at = new Date().toISOString().slice(0, 10)
  const measured = `Measured by \`npm run test:faults\` on ${at}, commit ${commit}, Node ${process.versions.node}.`
  const text = [...tables[name], "", measured].join("\n")
  const before = readFileSync(page, "utf8")
  if (!place.test(before)) throw new Error(`${page} has no place for ${name}`)
  writeFileSync(
    page,
    before.replace(place, (_, begin: string, end: string) => `${begin}\n${text}\n\n${end}`)
  )
}

const chosen = faults.filter(({ name, store, unsolved }) =>
  wanted === "" ? unsolved === undefined : `${store} ${name}`.includes(wanted)
)

const row = rowOf([47, 9, 6, 6, 6, 9, 9, 10, 4])

console.log(row(["store and fault", "requests", 200, 401, 503, "slowest", "bare", "recovery", "bad"]))
addHead(tables.faults, [
  "store and fault",
  "requests",
  "200",
  "401",
  "503",
  "slowest",
  "bare",
  "recovery",
  "`cause` in the log"
])

const report = ({ bare, causes, counts, fault, recovery, requests, slowest, violations }: Result) => {
  const numbers = [200, 401, 503].map((status) => counts.get(status) ?? 0)
  const times = [slowest, bare, recovery].map((millis) => `${Math.round(millis)} ms`)
  const cells = [`${fault.store}: ${fault.name}`, requests, ...numbers, ...times]
  console.log(row([...cells, violations.length]))
  addRow(tables.faults, [...cells, causes.map((cause) => `\`${cause}\``).join(", ") || "–"])
  if (fault.note !== undefined) console.log(`    (${fault.note})`)
  for (const violation of violations) console.log(`    ${violation}`)
}

let bad = 0
for (const store of ["redis", "redis with AOF", "postgres", "mariadb"] satisfies ReadonlyArray<Store>) {
  const own = chosen.filter((fault) => fault.store === store)
  if (own.length === 0) continue
  const laboratory = await openLaboratory(store)
  try {
    for (const [seed, fault] of own.entries()) {
      const result = await laboratory.run(fault, { millis: 5000, perSecond: 120, seed })
      report(result)
      bad += result.violations.length
    }
  } finally {
    await laboratory.dispose()
  }
}

console.log(
  `\nRequests are sent at 120 a second, each has to be answered with 200, 401 or 503 within ${answerLimit} ms, and\n` +
    "later only by what the machine cost it: a process that does nothing (bare) is slow at the same time, or the server waits\n" +
    "for a processor. A busy machine gets slower traffic and longer faults. Recovery is the time from the fault's end until\n" +
    "fewer than 1 in 100 fail, 5 s at most. " +
    (bad === 0 ? "Every answer was what it had to be." : `${bad} things were not as they had to be.`)
)
if (values.write === true && bad === 0 && wanted === "") write("faults")

const flooding = floods.filter(({ name }) => `flood ${name}`.includes(wanted))
if (flooding.length > 0) {
  const line = rowOf([47, 9, 9, 9, 9, 9, 9, 9, 9, 4])
  console.log(
    `\n${line(["flood of requests", "sent/s", "before/s", "during/s", "after/s", 503, "slowest", "bare", "blocked", "bad"])}`
  )
  addHead(tables.floods, ["flood", "sent/s", "200/s before", "during", "after", "503", "slowest", "bare", "blocked"])
  const during = new Map<string, number>()
  const badBefore = bad
  const postgres = await OwnPostgres.start()
  for (const flood of flooding) {
    const result = await runFlood(postgres, flood, { millis: 5000, perSecond: 1000, blockLimit: 100 })
    during.set(flood.name, result.rates[1])
    const rates = result.rates.map(Math.round)
    const failed = result.samples.filter(({ status }) => status === 503).length
    const times = [result.slowest, result.bare, result.blocked].map((millis) => `${Math.round(millis)} ms`)
    const compared = flood.like === undefined ? undefined : during.get(flood.like)
    const violations = [
      ...result.violations,
      ...(compared !== undefined && result.rates[1] < compared * nearness
        ? [`less than ${nearness} of ${flood.like}`]
        : [])
    ]
    const cells = [flood.name, Math.round(result.perSecond), ...rates, failed, ...times]
    console.log(line([...cells, violations.length]))
    addRow(tables.floods, cells)
    for (const violation of violations) console.log(`    ${violation}`)
    bad += violations.length
  }
  await postgres.dispose()
  if (values.write === true && bad === badBefore && flooding.length === floods.length) write("floods")
  console.log(
    "\nA thousand requests a second are sent, or a third of what the machine can serve just now. The rates are of answers with\n" +
      "200; blocked is the longest time that the event loop of the server was, without waiting for a processor."
  )
}

for (const { name, store, unsolved } of faults) {
  if (unsolved !== undefined) console.log(`Not survived yet, and run only by name: ${store} ${name}: ${unsolved}.`)
}
process.exit(bad === 0 ? 0 : 1)
