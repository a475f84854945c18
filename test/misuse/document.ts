/**
 * The tables of docs/errors.md, from the rows that the tests run. `node --import ./test/support/resolveSource.ts
 * test/misuse/document.ts` writes them there.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { programs } from "./programs.ts"
import { requests } from "./requests.ts"
import type { Row } from "./row.ts"
import { settings } from "./settings.ts"
import { stores } from "./stores.ts"
import { missing, refused } from "./types.ts"

const file = join(import.meta.dirname, "../../docs/errors.md")

/** Text of a program in a cell: each line by itself, since Markdown knows no line break in code. */
const code = (text: string): string =>
  text
    .replace("TAKEN", "3000")
    .replace("NEXT", "3001")
    .replace("CLOSED", "6380")
    .replaceAll("FOLDER", "…")
    .split("\n")
    .map((line) => {
      const fence = line.includes("`") ? "``" : "`"
      return `${fence}${line.trim().replaceAll("|", "\\|")}${fence}`
    })
    .join("<br>")

const table = (heads: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [heads, heads.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n")

const cells = ({ change = "", did, sees }: Row) => [did, code(sees), change]
const heads = ["what you did", "what you see", "what to change"]

const tables: Readonly<Record<string, string>> = {
  settings: table(heads, settings.map(cells)),
  stores: table(["what is wrong", "the last `[cause]`", "what to change"], stores.map(cells)),
  programs: table(heads, programs.map(cells)),
  requests: table(
    ["what the handler did", "the answer", "what the log says", "what to change"],
    requests.map(({ answer, change = "", did, sees }) => [did, answer, code(sees), change])
  ),
  missing: table(["what is missing", "`X`", "provide"], missing.map(cells)),
  refused: table(["what you wrote", "what it says", "what to change"], refused.map(cells))
}

const between = (name: string): RegExp => new RegExp(`(<!-- ${name}:start -->\n)[^]*(<!-- ${name}:end -->)`)

/** The document as it is, and as the rows would have it. */
export const document = (): { readonly written: string; readonly expected: string } => {
  const written = readFileSync(file, "utf8")
  const expected = Object.entries(tables).reduce((text, [name, table]) => {
    const place = between(name)
    if (!place.test(text)) throw new Error(`docs/errors.md has no place for the table ${name}`)
    return text.replace(place, (_, start, end) => `${start}\n${table}\n\n${end}`)
  }, written)
  return { written, expected }
}

if (import.meta.main) writeFileSync(file, document().expected)
