/** The index of docs/recipes.md tells the truth of the recipes, wherever they stand. */
import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { anchorOf } from "../support/anchor.ts"

describe("docs/recipes.md, the index", () => {
  const root = join(import.meta.dirname, "../..")
  const document = readFileSync(join(root, "docs/recipes.md"), "utf8")
  const rows = [...document.matchAll(/^\| ([^|]+) \| \[[^\]]+\]\(([^)]*)#([\w-]+)\) \| (\d+) \| ([^|]+) \|$/gm)]

  /** The lines of code under a heading, up to the next one of its level or above. */
  const linesOf = (file: string, anchor: string): number => {
    const lines = readFileSync(join(root, dirname("docs/recipes.md"), file), "utf8").split("\n")
    const level = (line: string) => /^(#+) /.exec(line)?.[1]?.length ?? 7
    const start = lines.findIndex((line) => level(line) < 7 && anchorOf(line.replace(/^#+ /, "")) === anchor)
    assert.isAtLeast(start, 0, `${file}#${anchor}`)
    const length = lines.slice(start + 1).findIndex((line) => level(line) <= level(lines[start]!))
    const section = lines.slice(start, length === -1 ? undefined : start + 1 + length).join("\n")
    return [...section.matchAll(/^```ts\n([\s\S]*?)^```$/gm)]
      .map(([, code]) => code!.replace(/^import [\s\S]*?from "[^"]+"$/gm, "").replace(/\/\*\*[\s\S]*?\*\//g, ""))
      .join("")
      .split("\n")
      .filter((line) => line.trim() !== "" && !line.trim().startsWith("//")).length
  }

  it("has the situations, and the number of lines of each recipe", () => {
    assert.deepStrictEqual(
      rows.map(([, situation]) => situation),
      [
        "a cart",
        "password change",
        "sudo mode",
        "device limit",
        "device limit that refuses",
        "devices page",
        "flash",
        "feed",
        "audit",
        "metrics",
        "remember me",
        "OAuth with `form_post`",
        "schema change",
        "impersonation",
        "one-time hand-off",
        "renaming the cookie",
        "renaming the definition",
        "several sessions",
        "sign out everywhere"
      ]
    )
    assert.deepStrictEqual(
      rows.map(([, situation, , , lines]) => [situation, Number(lines)]),
      rows.map(([, situation, file, anchor]) => [situation, linesOf(file === "" ? "recipes.md" : file!, anchor!)])
    )
  })
})
