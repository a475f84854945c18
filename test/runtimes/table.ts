/** The table of docs/runtimes.md. */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "./files.ts"

const path = join(root, "docs/runtimes.md")
const [begin, end] = ["<!-- runtimes -->", "<!-- /runtimes -->"]

const parts = () => {
  const text = readFileSync(path, "utf8")
  const [from, to] = [text.indexOf(begin) + begin.length, text.indexOf(end)]
  return { before: text.slice(0, from), table: text.slice(from, to), after: text.slice(to) }
}

const line = (cells: ReadonlyArray<string>) => `| ${cells.join(" | ")} |`

export const writeTable = (rows: ReadonlyArray<ReadonlyArray<string>>): void => {
  const { after, before } = parts()
  const heads = ["runtime", "tests passed", "known to fail", "examples passed"]
  const lines = [heads, heads.map(() => "---"), ...rows].map(line)
  writeFileSync(path, [before, "", ...lines, "", after].join("\n").replace(/\n\n(?=<!-- \/runtimes)/, "\n\n"))
}

/** Whether it has a row for each of these. */
export const tableNames = (names: ReadonlyArray<string>): boolean => {
  const { table } = parts()
  return names.every((name) => table.includes(`| ${name} |`))
}
