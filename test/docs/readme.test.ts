/** The README is short, its app runs as a reader runs it, and its table of options is that of the sources. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Examples from "../support/examples.ts"

const root = join(import.meta.dirname, "../..")
const read = (file: string): string => readFileSync(join(root, file), "utf8")
const readme = read("README.md")

it("is at most 12 KB", () => assert.isAtMost(Buffer.byteLength(readme), 12 * 1024))

describe("app.ts", () => {
  const [, code] = /```ts\n\/\/ app\.ts\n([\s\S]*?)^```/m.exec(readme)!
  let examples: Examples.Examples
  beforeAll(() => {
    examples = Examples.open()
    writeFileSync(join(examples.folder, "examples/app.ts"), code!)
  })
  afterAll(() => examples.close())

  it("logs in, knows who asks, and logs out", async () => {
    const { url } = await examples.serving("app.ts", { SESSION_SECRET: "Qm3vT8xW1nYk5RzJc7LpHd2GsB9fKa0EuNqVo6XiMtg=" })
    const send = (method: string, path: string, cookie = "") => fetch(url + path, { method, headers: { cookie } })
    const logIn = await send("POST", "/login")
    assert.strictEqual(await logIn.text(), "welcome\n")
    const cookie = logIn.headers.getSetCookie()[0]!.split(";")[0]!
    assert.match(cookie, /^__Host-session=/)
    assert.strictEqual(await (await send("GET", "/whoami", cookie)).text(), "hello ada\n")
    assert.strictEqual((await send("POST", "/logout", cookie)).status, 200)
    assert.strictEqual((await send("GET", "/whoami", cookie)).status, 401)
  })

  it("says what is missing without a secret", async () => {
    const { exited, output } = await examples.run("app.ts")
    assert.notStrictEqual(await exited, 0)
    assert.include(output(), "SESSION_SECRET")
  })
})

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
