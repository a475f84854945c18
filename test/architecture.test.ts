/** Imports run one way: ARCHITECTURE.md says what each part may import, and the sources are held against it. */
import { assert, describe, it } from "@effect/vitest"
import { globSync, readFileSync } from "node:fs"
import { dirname, join, normalize, sep } from "node:path"

const root = join(import.meta.dirname, "..")
const read = (file: string): string => readFileSync(join(root, file), "utf8")
const files = globSync("src/**/*.ts", { cwd: root })
  .map((file) => file.split(sep).join("/"))
  .filter((file) => !file.endsWith("index.ts"))

const quoted = (text: string): ReadonlyArray<string> => [...text.matchAll(/`([\w/]+)`/g)].map(([, name]) => name!)

/** The parts, in the order of the table, with what each may import. */
const parts = (() => {
  const section = /^## The house\n([\s\S]*?)^## /m.exec(read("ARCHITECTURE.md"))![1]!
  const rows = [...section.matchAll(/^\| (`[^|]+`) \| [^|]+ \| ([^|]+) \|$/gm)]
  return new Map(rows.flatMap(([, names, imports]) => quoted(names!).map((name) => [name, imports!] as const)))
})()

/** The part a file belongs to: its folder below `internal`, or itself. */
const partOf = (file: string): string => {
  const path = file.replace(/^src\//, "").replace(/\.ts$/, "")
  return [...parts.keys()].find((part) => path === part || path.startsWith(`${part}/`)) ?? path
}

interface Import {
  readonly from: string
  readonly to: string
  readonly isType: boolean
}

const importsOf = (file: string, source: string): ReadonlyArray<Import> =>
  [...source.matchAll(/^(import|export)( type)?\b[^"']*?\bfrom "(\.[^"]+)"/gm)].map(([, , type, target]) => ({
    from: file,
    to: normalize(join(dirname(file), target!))
      .split(sep)
      .join("/"),
    isType: type !== undefined
  }))

/** Why an import is not allowed, if it is not. */
const problemOf = ({ from, isType, to }: Import): string | undefined => {
  const [here, there] = [partOf(from), partOf(to)]
  if (here === there && from.replace(/^src\//, "").startsWith(`${here}/`)) return undefined
  const allowed = parts.get(here)
  if (allowed === undefined) return `${from}: no row for ${here}`
  if (allowed === "all of the above") return undefined
  const [values, types = ""] = allowed.split("; types of ")
  return quoted(values!).includes(there) || (isType && quoted(types).includes(there))
    ? undefined
    : `${from} imports ${to}${isType ? " (types)" : ""}`
}

describe("the house", () => {
  const all = files.flatMap((file) => importsOf(file, read(file)))

  it("has a row for each part, and a part for each row", () => {
    assert.isAbove(parts.size, 20)
    assert.deepStrictEqual([...new Set(files.map(partOf))].toSorted(), [...parts.keys()].toSorted())
  })

  it("imports only what the rows allow", () => {
    assert.isAbove(all.length, 100)
    assert.deepStrictEqual(
      all.flatMap((one) => problemOf(one) ?? []),
      []
    )
  })

  it("has no row that points up: each part imports what stands above it in the table", () => {
    const order = [...parts.keys()]
    // `Session` names the services of its definition, in types alone.
    for (const { from, to } of all) {
      assert.isAtLeast(order.indexOf(partOf(from)), order.indexOf(partOf(to)), `${from} imports ${to}`)
    }
  })

  it("the check finds what it is to find", () => {
    const planted = (from: string, source: string) => importsOf(from, source).map((one) => problemOf(one) !== undefined)
    assert.deepStrictEqual(planted("src/Session.ts", 'import { x } from "./SessionManager.ts"'), [true])
    assert.deepStrictEqual(planted("src/Session.ts", 'import { x } from "./SessionBackend.ts"'), [true])
    assert.deepStrictEqual(planted("src/Session.ts", 'import type { x } from "./SessionBackend.ts"'), [false])
    assert.deepStrictEqual(planted("src/internal/http/a.ts", 'import {\n  x\n} from "../manager/deadline.ts"'), [false])
    assert.deepStrictEqual(planted("src/internal/manager/a.ts", 'import { x } from "../http/route.ts"'), [true])
    assert.deepStrictEqual(planted("src/internal/http/a.ts", 'export * from "./route.ts"'), [false])
  })
})
