/**
 * docs/requirements.md and the tests agree: what a test, a source or a document cites is listed, a row that is said to
 * hold is cited by a test, and one that is said not to hold is cited by none.
 */
import { assert, describe, it } from "@effect/vitest"
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { titlesIn } from "./support/titles.ts"

const root = join(import.meta.dirname, "..")
const read = (file: string): string => readFileSync(join(root, file), "utf8")
const find = (...patterns: ReadonlyArray<string>): ReadonlyArray<string> =>
  globSync(patterns as Array<string>, { cwd: root }).sort()

const list = "docs/requirements.md"
/** The conformance cases are tests too, which each backend's own test file runs. */
const tests = find("test/**/*.ts", "src/testing/**/*.ts")
const documents = find("docs/*.md", "docs/upstream/*.md", "*.md")
const all = [...new Set([...tests, ...find("src/**/*.ts", "examples/**/*.ts"), ...documents])]

// -----------------------------------------------------------------------------
// The list
// -----------------------------------------------------------------------------

interface Row {
  readonly number: string
  /** What must hold, its source, its status, and how it is met or why it is not. */
  readonly cells: ReadonlyArray<string>
  readonly status: string
}

const rows: ReadonlyArray<Row> = read(list)
  .split("\n")
  .filter((line) => /^\| R\d/.test(line))
  .map((line) => {
    const [number, ...cells] = line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim())
    return { number: number!, cells, status: cells[2] ?? "" }
  })
const numbers = new Set(rows.map(({ number }) => number))

/** Holds, at least in part, so a test shows it. */
const holds = ({ status }: Row): boolean => status === "met" || status === "in part"

// -----------------------------------------------------------------------------
// Citations
// -----------------------------------------------------------------------------

/** What stands in square brackets and begins like a number of the list, as it is or escaped for a pattern. */
const citationsIn = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(/\[(R\d[^\]\\\n]*)\\?\]/g)].map(([, cited]) => cited!)

describe("docs/requirements.md", () => {
  it("lists R1 to R88 in order, each once: whole, or in parts with letters from a on", () => {
    const expected = Array.from({ length: 88 }, (_, i) => `R${i + 1}`).flatMap((whole) => {
      const parts = rows.filter(({ number }) => number.replace(/\D+$/, "") === whole)
      return parts.length < 2 ? [whole] : parts.map((_, i) => whole + "abcdefgh".charAt(i))
    })
    assert.deepStrictEqual(
      rows.map(({ number }) => number),
      expected
    )
  })

  it("says of each row what must hold, by what source, whether it does, and how or why not", () => {
    assert.deepStrictEqual(
      rows
        .filter(({ cells, status }) => {
          const [requirement, source, , how] = cells
          return (
            cells.length !== 4 ||
            ![requirement, source, how].every((cell) => cell !== undefined && cell !== "") ||
            !["met", "in part", "not yet", "n/a"].includes(status)
          )
        })
        .map(({ number }) => number),
      []
    )
  })

  it("has an address for each source it names in brackets, and names each that has one", () => {
    const text = read(list)
    const defined = [...text.matchAll(/^\[([^\]]+)\]: https:\/\/\S+$/gm)].map(([, name]) => name!)
    const prose = text.replace(/^\[[^\]]+\]: .*$/gm, "").replace(/```[\s\S]*?```/g, "")
    const used = [...prose.matchAll(/\[([^\]]+)\](?!\()(?:\[([^\]]+)\])?/g)].map(([, name, target]) => target ?? name!)
    assert.isAbove(defined.length, 40)
    assert.deepStrictEqual([...new Set(used)].sort(), defined.sort())
  })
})

describe("citations", () => {
  it("name a row of the list, wherever they stand", () => {
    assert.deepStrictEqual(
      all.flatMap((file) =>
        citationsIn(read(file))
          .filter((cited) => !numbers.has(cited))
          .map((cited) => `${file}: [${cited}]`)
      ),
      []
    )
    assert.deepStrictEqual(
      [...read(list).matchAll(/\bR\d+\w*/g)].map(([cited]) => cited).filter((cited) => !numbers.has(cited)),
      []
    )
  })

  it("each row that holds is cited by the title of a test", () => {
    const cited = new Set(tests.map(read).flatMap(titlesIn).flatMap(citationsIn))
    assert.isAbove(cited.size, 70)
    assert.deepStrictEqual(
      rows.filter((row) => holds(row) && !cited.has(row.number)).map(({ number }) => number),
      []
    )
  })

  it("no row that does not hold is cited by a test", () => {
    const cited = new Set(tests.map(read).flatMap(citationsIn))
    assert.deepStrictEqual(
      rows.filter((row) => !holds(row) && cited.has(row.number)).map(({ number }) => number),
      []
    )
  })
})
