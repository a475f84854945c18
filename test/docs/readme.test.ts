/** The README is short, and its table of options is that of the sources. Its app is run by servers.test.ts. */
import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "../..")
const read = (file: string): string => readFileSync(join(root, file), "utf8")
const readme = read("README.md")

it("is at most 12 KB", () => assert.isAtMost(Buffer.byteLength(readme), 12 * 1024))

describe("the table of options", () => {
  /** Where the options of each part of the table are declared. */
  const declared: Record<string, ReadonlyArray<readonly [file: string, name: string]>> = {
    "SessionMiddleware.layer": [
      ["src/internal/session/manager.ts", "LayerOptions"],
      ["src/internal/session/manager.ts", "ManagerOptions"],
      ["src/internal/http/binding.ts", "HttpOptions"]
    ],
    "SessionFrontend.layerCookie": [["src/SessionFrontend.ts", "CookieOptions"]],
    "a route": [["src/internal/http/route.ts", "RouteOptions"]],
    create: [["src/internal/session/models.ts", "CreateOptions"]],
    "SessionSweeper.layer": [["src/SessionSweeper.ts", "SessionSweeperOptions"]],
    "SessionBackendMemory.layerWith": [["src/SessionBackendMemory.ts", "SessionBackendMemoryOptions"]]
  }
  /** What guards have besides; their declarations are overloads. */
  const ofGuards = new Set(["fresh", "onFailure"])

  interface Option {
    readonly name: string
    /** What `@default` says, if it does. */
    readonly fallback: string | undefined
  }
  const plain = (text: string) => text.replaceAll(/["`]/g, "")
  const optionsOf = ([file, name]: readonly [string, string]): ReadonlyArray<Option> => {
    const [, body] = new RegExp(`^export interface ${name}\\b.*\\{\\n([\\s\\S]*?)^\\}`, "m").exec(read(file))!
    return [...body!.matchAll(/(\/\*\*(?:(?!\*\/)[\s\S])*\*\/\s*)?^ {2}readonly (\w+)\??:/gm)].map(([, doc, name]) => ({
      name: name!,
      fallback: /@default (.*?)(?: \*\/)?$/m.exec(doc ?? "")?.[1]
    }))
  }

  const table: Record<string, Array<{ readonly name: string; readonly fallback: string }>> = {}
  let part: Array<{ readonly name: string; readonly fallback: string }> = []
  for (const row of /^## Options\n([\s\S]*?)^## /m.exec(readme)![1]!.match(/^\| .*$/gm)!) {
    const [, first = "", fallback = ""] = row.split("|").map((cell) => cell.trim())
    const heading = /^\*\*`?(.*?)`?\*\*$/.exec(first)?.[1]
    if (heading !== undefined) part = table[heading] = []
    else for (const [, name] of first.matchAll(/`(\w+)`/g)) part.push({ name: name!, fallback: plain(fallback) })
  }

  it("has the parts it should", () => assert.deepStrictEqual(Object.keys(table), Object.keys(declared)))

  for (const [heading, interfaces] of Object.entries(declared)) {
    it(`has each option of ${heading}, with the default that its comment gives`, () => {
      const options = interfaces.flatMap(optionsOf)
      assert.isAbove(options.length, 1)
      const rows = table[heading]!.filter(({ name }) => heading !== "a route" || !ofGuards.has(name))
      assert.sameMembers(
        rows.map(({ name }) => name),
        options.map(({ name }) => name)
      )
      const wrong = rows.filter(({ fallback, name }) => {
        const said = options.find((option) => option.name === name)!.fallback
        return said === undefined ? fallback !== "" : fallback === "" || !plain(said).startsWith(fallback)
      })
      assert.deepStrictEqual(wrong, [])
    })
  }
})
