/**
 * docs/security.md has each requirement of ASVS 5.0 that it is about, once and with its level; and what it and
 * docs/faults.md name as proof is there: rows of docs/requirements.md that hold, and titles of tests.
 */
import { assert, describe, it } from "@effect/vitest"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { anchorOf } from "../support/anchor.ts"
import { titlesIn } from "../support/titles.ts"

const root = join(import.meta.dirname, "../..")
const read = (file: string): string => readFileSync(join(root, file), "utf8")
const guides = ["docs/security.md", "docs/faults.md"]

/** The cells of a document's table rows. */
const rowsOf = (document: string): ReadonlyArray<ReadonlyArray<string>> =>
  read(document)
    .split("\n")
    .filter((line) => line.startsWith("| "))
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim())
    )

/** The rows of docs/requirements.md: the heading they stand under, as an anchor, and whether they hold. */
const requirements = new Map<string, { readonly section: string; readonly holds: boolean }>()
let section = ""
for (const line of read("docs/requirements.md").split("\n")) {
  const heading = /^## (.+)/.exec(line)?.[1]
  if (heading !== undefined) section = anchorOf(heading)
  const [, number, , , status] = line.split("|").map((cell) => cell.trim())
  if (/^R\d/.test(number ?? "")) requirements.set(number!, { section, holds: /^(met|in part)$/.test(status!) })
}

interface Named {
  readonly file: string
  readonly words: string
}

/** The tests that a text names: a file of the folder `test`, and words of a title. */
const testsIn = (text: string): ReadonlyArray<Named> =>
  [...text.matchAll(/`([\w/-]+(?:\.integration)?\.test\.ts)` "([^"]+)"/g)].map(([, file, words]) => ({
    file: `test/${file}`,
    words: words!
  }))

const citationsIn = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(/\[(R\d+[a-d]?)\]/g)].map(([, number]) => number!)

describe("docs/security.md", () => {
  /** The requirements of each chapter, each with its level, as the standard has them. */
  const levels = {
    "7":
      "7.1.1/2 7.1.2/2 7.1.3/2 7.2.1/1 7.2.2/1 7.2.3/1 7.2.4/1 7.3.1/2 7.3.2/2 " +
      "7.4.1/1 7.4.2/1 7.4.3/2 7.4.4/2 7.4.5/2 7.5.1/2 7.5.2/2 7.5.3/3 7.6.1/2 7.6.2/2",
    "3": "3.3.1/1 3.3.2/2 3.3.3/2 3.3.4/2 3.3.5/3 3.5.1/1 3.5.2/1 3.5.3/1 3.5.4/2 3.5.5/2 3.5.6/3 3.5.7/3 3.5.8/3"
  }
  const rows = rowsOf("docs/security.md").filter(([id]) => /^\d+\.\d+\.\d+$/.test(id!))

  for (const [chapter, expected] of Object.entries(levels)) {
    it(`has each requirement of chapter ${chapter}, once, in order, with its level`, () => {
      const listed = rows.filter(([id]) => id!.startsWith(`${chapter}.`)).map(([id, level]) => `${id}/${level}`)
      assert.strictEqual(listed.join(" "), expected)
    })
  }

  it("says of each who meets it and how, and what shows it where that is the library", () => {
    assert.deepStrictEqual(
      rows
        .filter((cells) => {
          const [, , asks, by, how, shown] = cells
          const proofs = citationsIn(shown!).length + testsIn(shown!).length
          const isOurs = by === "library" || by === "call"
          return (
            cells.length !== 6 ||
            [asks, how, shown].includes("") ||
            !["library", "call", "app", "not met"].includes(by!) ||
            (isOurs ? proofs === 0 : by === "not met" && proofs > 0)
          )
        })
        .map(([id]) => id),
      []
    )
  })
})

describe.each(guides)("%s", (guide) => {
  const text = read(guide)

  it("names tests that are there, by words of one title", () => {
    const named = testsIn(text)
    assert.isAbove(named.length, 5)
    assert.deepStrictEqual(
      named.filter(
        ({ file, words }) =>
          !existsSync(join(root, file)) || titlesIn(read(file)).filter((title) => title.includes(words)).length !== 1
      ),
      []
    )
  })

  it("names no test without words of its title", () => {
    const files = [...text.matchAll(/`(?!test\/)[^`]*\.test\.ts`/g)]
    assert.strictEqual(files.length, testsIn(text).length)
  })

  it("links each row of the requirements that it cites to the section it stands in", () => {
    const links = [...text.matchAll(/^\[(R\d+[a-d]?)\]: requirements\.md#([\w-]+)$/gm)]
    const cited = new Set(citationsIn(text.replace(/`[^`]*`|^\[.*$/gm, "")))
    assert.deepStrictEqual(links.map(([, number]) => number).sort(), [...cited].sort())
    assert.deepStrictEqual(
      links.filter(([, number, anchor]) => requirements.get(number!)?.section !== anchor).map(([link]) => link),
      []
    )
  })

  it("shows what it promises in tables by rows that hold", () => {
    assert.deepStrictEqual(
      rowsOf(guide)
        .flatMap((cells) => citationsIn(cells.at(-1)!))
        .filter((number) => requirements.get(number)?.holds !== true),
      []
    )
  })
})
