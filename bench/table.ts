/**
 * Writes the benchmark tables from the JSON in `results/`, all into docs/performance.md and six rows into the README, each
 * between `<!-- bench:start -->` and `<!-- bench:end -->`: `npm run table`. With `--check` it writes nothing, and fails
 * when a document says something else.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import type { BundleResult, HttpResult, MicroResult, ProfileResult } from "./results.ts"
import { bundleSection, httpSections, microSection, profileSection, shortSections } from "./sections.ts"

const { values: flags } = parseArgs({
  options: {
    check: { type: "boolean", default: false },
    root: { type: "string", default: fileURLToPath(new URL("..", import.meta.url)) },
    results: { type: "string", default: fileURLToPath(new URL("results/", import.meta.url)) }
  }
})

const startMark = "<!-- bench:start -->"
const endMark = "<!-- bench:end -->"

/** What `write` makes of a file in `results/`, if there is one. */
const from = <A>(file: string, write: (result: A) => ReadonlyArray<string>): ReadonlyArray<string> => {
  const path = `${flags.results}/${file}.json`
  return existsSync(path) ? write(JSON.parse(readFileSync(path, "utf8"))) : []
}

const documents: Record<string, ReadonlyArray<string>> = {
  "README.md": from<HttpResult>("http", shortSections),
  "docs/performance.md": [
    ...from<HttpResult>("http", httpSections),
    ...from<ProfileResult>("profile", (result) => [profileSection(result)]),
    ...from<MicroResult>("micro", (result) => [microSection(result)]),
    ...from<BundleResult>("bundle", (result) => [bundleSection(result)])
  ]
}

for (const [name, sections] of Object.entries(documents)) {
  const file = `${flags.root}/${name}`
  const text = readFileSync(file, "utf8")
  const start = text.indexOf(startMark)
  const end = text.indexOf(endMark)
  if (start < 0 || end < start) throw new Error(`${file} has no ${startMark} … ${endMark}`)
  const generated = `${text.slice(0, start)}${startMark}\n${sections.map((section) => `${section}\n`).join("\n")}${text.slice(end)}`
  if (!flags.check) writeFileSync(file, generated)
  else if (generated !== text) {
    console.error(`the tables of ${name} are not those of bench/results: run \`npm --prefix bench run table\``)
    process.exitCode = 1
  }
}
