/**
 * What a crash or a failover of the store undoes, set-up by set-up, as a table in Markdown.
 *
 * `node test/failover/run.ts [--only words] [--seconds n] [--write]` runs those whose store, name and fault hold the
 * words, with the link cut for so many seconds (2), and with `--write` puts the table into `docs/failover.md`.
 */
import { spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { hasPostgresServer, hasRedisServer } from "../support/processes.ts"
import { type Outcome, run, type Setup, setups } from "./setups.ts"

const { values } = parseArgs({
  options: { only: { type: "string" }, seconds: { type: "string", default: "2" }, write: { type: "boolean" } }
})
const { only, write } = values
const seconds = Number(values.seconds)
const chosen = setups.filter(({ name, store, what }) => only === undefined || `${store} ${name} ${what}`.includes(only))
const page = join(import.meta.dirname, "../../docs/failover.md")
const marked = /(<!-- written by npm run test:failover -->\n)[^]*?(<!-- end -->)/
const problem = !(seconds > 0 && seconds <= 10)
  ? "--seconds: more than 0, at most 10"
  : chosen.length === 0
    ? "--only: no set-up has these words"
    : write === true && only !== undefined
      ? "--write: the page has the whole table, without --only"
      : write === true && !marked.test(readFileSync(page, "utf8"))
        ? "--write: the page has no place for the table"
        : !hasRedisServer() || !hasPostgresServer()
          ? "redis-server on the PATH, and Postgres in /usr/lib/postgresql, are needed; this starts its own"
          : undefined
if (problem !== undefined) {
  console.error(problem)
  process.exit(2)
}

// What was started is ended with this process.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1))

const faultOf = (setup: Setup): string =>
  setup.what === "crash"
    ? "killed, started again"
    : `link ${setup.what} for ${setup.seconds ?? seconds} s, primary killed, replica promoted`

const row = (cells: ReadonlyArray<string>) => `| ${cells.join(" | ")} |`
const head = [
  row(["store", "set-up", "what happened", "log-outs undone", "at the second try", "log-ins lost", "503", "longest"]),
  row(["---", "---", "---", "--:", "--:", "--:", "--:", "--:"])
]
const rowOf = (outcome: Outcome) => {
  const { logIns, logOuts, longest, lost, refused, requests, secondTries, secondUndone, setup, undone } = outcome
  const bold = (undone: number, all: number) =>
    all === 0 ? "–" : undone > 0 ? `**${undone}** of ${all}` : `0 of ${all}`
  return row([
    setup.store === "redis" ? "Redis" : "Postgres",
    setup.name,
    faultOf(setup),
    bold(undone, logOuts),
    bold(secondUndone, secondTries),
    `${lost} of ${logIns}`,
    `${refused} of ${requests}`,
    `${Math.round(longest)} ms`
  ])
}

const outcomes: Array<Outcome> = []
const failures: Array<string> = []
const began = performance.now()
for (const line of head) console.log(line)
for (const setup of chosen) {
  try {
    const outcome = await run(setup, { seconds })
    outcomes.push(outcome)
    console.log(rowOf(outcome))
  } catch (error) {
    failures.push(String(error))
    console.log(row([setup.store, setup.name, faultOf(setup), `failed: ${String(error)}`, "", "", "", ""]))
  }
}

const notes = outcomes.flatMap(({ note, setup }) =>
  note === undefined
    ? []
    : [`- ${setup.store === "redis" ? "Redis" : "Postgres"}, ${setup.name} (${setup.what}): ${note}.`]
)
const git = (...args: ReadonlyArray<string>) => spawnSync("git", args, { encoding: "utf8" }).stdout.trim()
const commit = `${git("rev-parse", "--short", "HEAD")}${git("status", "--porcelain", "src", "test") === "" ? "" : ", changed"}`
const versions = [...new Set(outcomes.map(({ version }) => version))].join(", ")
const longestRun = Math.max(0, ...outcomes.map(({ millis }) => millis)) / 1000
const told =
  `Measured by \`npm run test:failover\` on ${new Date().toISOString().slice(0, 10)}, commit ${commit}, Node ` +
  `${process.versions.node}, ${versions}: ${outcomes.length} set-ups in ` +
  `${Math.round((performance.now() - began) / 1000)} s, the slowest in ${Math.ceil(longestRun)} s.`
const text = [...notes, ...(notes.length > 0 ? [""] : []), told].join("\n")
console.log(`\n${text}`)

if (write === true && failures.length === 0) {
  const table = [...head, ...outcomes.map(rowOf), "", text].join("\n")
  writeFileSync(
    page,
    readFileSync(page, "utf8").replace(marked, (_, begin: string, end: string) => `${begin}\n${table}\n\n${end}`)
  )
}
process.exit(failures.length === 0 ? 0 : 1)
