/** Tables of these scripts, printed as Markdown, and put into a page between its markers. */
import { spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "../..")

export type Cell = string | number

/** Words to the left, numbers to the right: `right` says from which column on. */
export const table = (
  head: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<Cell>>,
  right = 1
): ReadonlyArray<string> => [
  `| ${head.join(" | ")} |`,
  `| ${head.map((_, i) => (i < right ? "---" : "--:")).join(" | ")} |`,
  ...rows.map((row) => `| ${row.join(" | ")} |`)
]

/** A number for a table: three digits that mean something, thousands with a comma. */
export const figure = (value: number): string => {
  if (!Number.isFinite(value)) return "–"
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2
  return Number(value.toFixed(digits)).toLocaleString("en-GB", { maximumFractionDigits: digits })
}

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2
}

const git = (...args: ReadonlyArray<string>) => spawnSync("git", args, { cwd: root, encoding: "utf8" }).stdout.trim()

/** On what this is measured. */
export const measuredBy = (command: string): string => {
  const commit = `${git("rev-parse", "--short", "HEAD")}${git("status", "--porcelain", "src") === "" ? "" : ", changed"}`
  return `Measured by \`${command}\` on ${new Date().toISOString().slice(0, 10)}, commit ${commit}, Node ${process.versions.node}.`
}

/** Puts text into its place in a page, which is between `<!-- name -->` and the next `<!-- end -->`. */
export const writeInto = (page: string, name: string, text: ReadonlyArray<string>): void => {
  const file = join(root, page)
  const before = readFileSync(file, "utf8")
  const marker = `<!-- ${name} -->\n`
  const begin = before.indexOf(marker)
  const end = before.indexOf("<!-- end -->", begin)
  if (begin < 0 || end < 0) throw new Error(`${page} has no place for ${name}`)
  writeFileSync(file, `${before.slice(0, begin)}${marker}\n${text.join("\n").trim()}\n\n${before.slice(end)}`)
}
