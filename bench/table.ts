/**
 * Writes the benchmark tables into the README, between `<!-- bench:start -->` and `<!-- bench:end -->`, from the JSON
 * in `results/`: `npm run table`. With `--check` it writes nothing, and fails when the README says something else.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import type { BundleResult, HttpResult, MicroResult, ProfileResult } from "./results.ts"
import { bundleSection, httpSections, microSection, profileSection } from "./sections.ts"

const { values: flags } = parseArgs({
  options: {
    check: { type: "boolean", default: false },
    readme: { type: "string", default: fileURLToPath(new URL("../README.md", import.meta.url)) },
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

const sections = [
  ...from<HttpResult>("http", httpSections),
  ...from<ProfileResult>("profile", (result) => [profileSection(result)]),
  ...from<MicroResult>("micro", (result) => [microSection(result)]),
  ...from<BundleResult>("bundle", (result) => [bundleSection(result)])
]
const readme = readFileSync(flags.readme, "utf8")
const start = readme.indexOf(startMark)
const end = readme.indexOf(endMark)
if (start < 0 || end < start) throw new Error(`${flags.readme} has no ${startMark} … ${endMark}`)
const generated = `${readme.slice(0, start)}${startMark}\n${sections.map((section) => `${section}\n`).join("\n")}${readme.slice(end)}`
if (!flags.check) writeFileSync(flags.readme, generated)
else if (generated !== readme) {
  console.error("the README's benchmark tables are not those of bench/results: run `npm --prefix bench run table`")
  process.exitCode = 1
}
