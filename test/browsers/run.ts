/**
 * What browsers do with an app's sessions, as tables in Markdown.
 *
 * `npm run test:browsers -- [--only words] [--write]` runs the scenarios whose titles hold the words in Chromium and in
 * Firefox, and with `--write` puts the tables into docs/browsers.md and docs/proxies.md.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { type BrowserName, has } from "../support/browsers.ts"
import { makeCertificate } from "../support/certificate.ts"
import { localTable, table, withTable } from "./report.ts"
import { type Run, runIn, withServers } from "./scenario.ts"
import { scenarios } from "./scenarios.ts"
import { curlVersion, localHttp, localHttpOfCurl } from "./scenarios/localHttp.ts"
import { hosts } from "./sites.ts"

const { values } = parseArgs({ options: { only: { type: "string" }, write: { type: "boolean" } } })
const { only, write } = values
const names: ReadonlyArray<BrowserName> = ["Chromium", "Firefox"]
const chosen = scenarios.filter(({ title }) => only === undefined || title.includes(only))
const lacking = names.filter((name) => !has(name))
const problem =
  chosen.length === 0
    ? "--only: no scenario's title has these words"
    : write === true && only !== undefined
      ? "--write: the pages have all tables, without --only"
      : lacking.length > 0
        ? `${lacking.join(" and ")} must be on the PATH: on Debian, apt-get install chromium firefox-esr`
        : undefined
if (problem !== undefined) {
  console.error(problem)
  process.exit(2)
}

// What was started is ended with this process.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1))

const certificate = makeCertificate(hosts)
const failures: Array<string> = []
const tables = new Map<string, string>()

for (const scenario of chosen) {
  const runs: Array<Run> = []
  console.log(`\n${scenario.title}\n`)
  for (const name of names) {
    const began = performance.now()
    try {
      runs.push(await runIn(name, certificate, scenario))
      console.error(`${name}: ${((performance.now() - began) / 1000).toFixed(1)} s`)
    } catch (error) {
      failures.push(`${name}: ${scenario.title}`)
      console.error(`${name} FAILED:`, error)
    }
  }
  if (scenario === localHttp) {
    runs.push({ version: await curlVersion(), seen: await withServers(certificate, ({ app }) => localHttpOfCurl(app)) })
    tables.set("local in short", localTable(runs))
  }
  tables.set(scenario.key, table(runs))
  console.log(tables.get(scenario.key))
}

if (failures.length > 0) {
  console.error(`\n${failures.length} failed:\n${failures.join("\n")}`)
  process.exit(1)
}

if (write === true) {
  tables.set("date", `Last seen on ${new Date().toISOString().slice(0, 10)}.`)
  for (const file of ["docs/browsers.md", "docs/proxies.md"]) {
    const path = join(import.meta.dirname, "../..", file)
    writeFileSync(path, withTable(readFileSync(path, "utf8"), tables))
  }
}
process.exit(0)
