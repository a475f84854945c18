/**
 * The documents are code too: every `ts` fence of README.md, of docs/ and of the doc comments in src is type-checked
 * against src, and run. What a document says of files, exports and statuses is compared with what is there.
 *
 * - Fences define things: layers, routes, programs. A line that starts a server stands under `import.meta.main`, so
 *   importing a fence as a module runs it without one.
 * - A fence whose first line is `// name.ts` is that file, which the others of the same document may import.
 * - A fence that imports `@effect/vitest` is a test file, and its tests are run with these.
 * - ```` ```ts no-run ```` is type-checked only.
 */
import { assert, describe, it } from "@effect/vitest"
import { SessionError } from "effect-sessions"
import { spawnSync } from "node:child_process"
import { existsSync, globSync, readFileSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { pathToFileURL } from "node:url"
import { testKitKey } from "../src/internal/token/publishedKeys.ts"
import { weakness } from "../src/internal/token/secretStrength.ts"
import { anchorOf } from "./support/anchor.ts"
import { makeFolder, write } from "./support/fences.ts"

const root = join(import.meta.dirname, "..")
const read = (file: string): string => readFileSync(join(root, file), "utf8")
const sources = globSync("src/**/*.ts", { cwd: root }).sort()
const publicSources = sources.filter((file) => !file.startsWith("src/internal/"))

// -----------------------------------------------------------------------------
// Fences
// -----------------------------------------------------------------------------

const folder = makeFolder()

const written = [
  "README.md",
  "ARCHITECTURE.md",
  "CHANGELOG.md",
  "CONTRIBUTING.md",
  "RELEASING.md",
  "SECURITY.md",
  ...globSync(["docs/*.md", "docs/upstream/*.md"], { cwd: root })
]
const fences = write([...written, ...sources], folder)
describe("fences", () => {
  it("are there, and no two of a document have one name", () => {
    const of = (start: string) => fences.filter(({ title }) => title.startsWith(start)).length
    assert.deepStrictEqual([of("README.md") > 0, of("docs/") > 50, of("src/") > 5], [true, true, true])
    assert.strictEqual(new Set(fences.map(({ file }) => file)).size, fences.length)
  })

  // A decoder and an encoder are made once, not on each request: their line is not indented.
  it("make no schema's decoder or encoder in a handler, and neither do the examples", () => {
    const inHandler =
      /^ .*\b(?:Http\w+\.schema[A-Z]\w*|Schema\.(?:de|en)code(?:Unknown)?(?:Effect|Exit|Option|Promise|Result|Sync))\(/gm
    const examples = globSync("examples/**/*.ts", { cwd: root }).map((file) => ({ title: file, code: read(file) }))
    const made = [...fences, ...examples].flatMap(({ code, title }) =>
      [...code.matchAll(inHandler)].map(([line]) => `${title} ${line.trim()}`)
    )
    assert.deepStrictEqual(made, [])
  })

  it("type-check against src", { timeout: 120_000 }, () => {
    const tsc = spawnSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", folder], {
      encoding: "utf8"
    })
    const reported = tsc.stdout
      .split("\n")
      .filter((line) => line.includes(basename(folder)) || !line.includes("error TS"))
      .join("\n")
    // What src itself gets wrong is `npm run check`'s to say.
    assert.strictEqual(reported.trim(), "", tsc.stderr)
    assert.match(tsc.stdout + tsc.status, /^(0$|.*error TS)/s)
  })

  // A `console.assert` that fails only prints; in a document it is meant as an assertion.
  const console = globalThis.console
  const strict = Object.assign(Object.create(console), { assert: assert.isTrue }) as Console
  for (const { file, kind, title } of fences) {
    if (kind === "module") {
      it(`${title} runs`, async () => {
        globalThis.console = strict
        try {
          await import(pathToFileURL(file).href)
        } finally {
          globalThis.console = console
        }
      })
    }
    if (kind === "test") describe(title, () => import(pathToFileURL(file).href).then(() => undefined))
  }
})

// -----------------------------------------------------------------------------
// Doc comments and imports
// -----------------------------------------------------------------------------

interface Exported {
  readonly at: string
  readonly name: string
  /** The doc comment right above it, if there is one. */
  readonly doc: string | undefined
}

const exportsOf = (file: string): ReadonlyArray<Exported> => {
  const lines = read(file).split("\n")
  return lines.flatMap((line, i) => {
    const name =
      /^export (?:declare )?(?:abstract )?(?:const|let|function\*?|class|interface|type|namespace|enum) (\w+)/.exec(
        line
      )?.[1]
    if (name === undefined) return []
    let end = i - 1
    while (lines[end]?.startsWith("//")) end--
    let start = end
    if (lines[end]?.trim().endsWith("*/")) while (start >= 0 && !lines[start]!.startsWith("/**")) start--
    const doc = lines[end]?.trim().endsWith("*/") ? lines.slice(start, end + 1).join("\n") : undefined
    return [{ at: `${file}:${i + 1}`, name, doc }]
  })
}

const isBarrel = (file: string): boolean => basename(file) === "index.ts"

const categories = new Set([
  "accessors",
  "combinators",
  "constructors",
  "converting",
  "errors",
  "guards",
  "layers",
  "middleware",
  "models",
  "options",
  "services",
  "testing",
  "type IDs",
  "utility types"
])

describe("doc comments", () => {
  const exported = publicSources.filter((file) => !isBarrel(file)).flatMap(exportsOf)

  it("are found", () => {
    assert.isAbove(exported.length, 50)
  })

  it("stand on every export, with a stability, a category and a version", () => {
    const problems = exported.flatMap(({ at, doc, name }) => {
      if (doc?.includes("@internal") === true) return []
      const category = /@category (.+)/.exec(doc ?? "")?.[1]
      return [
        ...(doc === undefined ? ["no doc comment"] : []),
        ...(category === undefined || !categories.has(category) ? [`@category ${category}`] : []),
        ...(/@stability (?:stable|unstable|experimental)\n/.test(doc ?? "") ? [] : ["no @stability"]),
        ...(/@since \d+\.\d+\.\d+/.test(doc ?? "") ? [] : ["no @since"])
      ].map((problem) => `${at} ${name}: ${problem}`)
    })
    assert.deepStrictEqual(problems, [])
  })

  it("begin every module, with a stability and a version or as internal", () => {
    const begins =
      /^\/\*\*\n(?: \*.*\n)*? \* @(?:stability (?:stable|unstable|experimental)\n \* @since \d+\.\d+\.\d+|internal)/
    assert.deepStrictEqual(
      sources.filter((file) => !begins.test(read(file))),
      []
    )
  })

  it("use no tag and no heading that the house style forbids", () => {
    assert.deepStrictEqual(
      sources.filter((file) => /^\s*\* (?:@example|#+ )/m.test(read(file))),
      []
    )
  })
})

describe("imports in src", () => {
  /** The modules a file imports or exports from, its doc comments left out. */
  const importsOf = (file: string): ReadonlyArray<string> =>
    [
      ...read(file)
        .replace(/^\s*\*.*$/gm, "")
        .matchAll(/(?:\bfrom|\bimport\(?) ?"([^"]+)"/g)
    ].map(([, module]) => module!)

  it("name modules, never a barrel", () => {
    assert.isAbove(sources.flatMap(importsOf).length, 100)
    assert.deepStrictEqual(
      sources.flatMap((file) =>
        importsOf(file)
          .filter((module) =>
            module.startsWith(".")
              ? !module.endsWith(".ts") || basename(module) === "index.ts"
              : // A module of Effect's is written in PascalCase, a barrel in lower case.
                module === "effect-sessions" || (/^effect(\/|$)/.test(module) && !/\/[A-Z]\w*$/.test(module))
          )
          .map((module) => `${file}: ${module}`)
      ),
      []
    )
  })

  it("ask for no other package than effect, and for Node and drivers only where the name says so", () => {
    const { peerDependenciesMeta } = JSON.parse(read("package.json")) as {
      peerDependenciesMeta: Record<string, object>
    }
    const drivers = Object.keys(peerDependenciesMeta)
    assert.deepStrictEqual(
      sources.flatMap((file) =>
        importsOf(file)
          .filter((module) => !/^(\.|effect\/)/.test(module))
          .filter((module) => !(module.startsWith("node:") && basename(file).startsWith("Node")))
          .filter((module) => !(drivers.includes(module) && /^(Node|Io)[A-Z]/.test(basename(file))))
          .map((module) => `${file}: ${module}`)
      ),
      []
    )
  })
})

// -----------------------------------------------------------------------------
// What the documents say of the repository
// -----------------------------------------------------------------------------

describe("documents", () => {
  it("link to files and headings that exist", () => {
    const anchorsOf = (document: string) =>
      read(document)
        .replace(/^```[\s\S]*?^```/gm, "")
        .split("\n")
        .flatMap((line) => /^#+ (.+)$/.exec(line)?.slice(1) ?? [])
        .map(anchorOf)
    const broken = written.flatMap((document) =>
      [...read(document).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, target]) => {
        const [file, anchor] = target!.split("#")
        if (/^https?:/.test(target!)) return []
        const anchored = file === "" ? document : join(dirname(document), file!)
        if (!existsSync(join(root, anchored))) return [`${document}: ${target}`]
        return anchor === undefined || anchorsOf(anchored).includes(anchor) ? [] : [`${document}: ${target}`]
      })
    )
    assert.deepStrictEqual(broken, [])
  })

  it("[R86a] print no key that a key ring would take: a published one is in the list of those refused", () => {
    const files = [...written, ...globSync(["bench/*.md", "examples/**/*.ts"], { cwd: root }), ...sources]
    // What could be 24 random bytes or more; without two digits it is a path, or words. Addresses are no keys.
    const printed = files.flatMap((file) =>
      [
        ...read(file)
          .replaceAll(/https?:\/\/\S+/g, "")
          .matchAll(/[\w+/-]{32,}={0,2}/g)
      ]
        .filter(([text]) => /\d.*\d/.test(text))
        .map(([text]) => ({ file, text, isRefused: weakness(text) !== undefined }))
    )
    assert.include(
      printed.map(({ text }) => text),
      testKitKey
    )
    assert.deepStrictEqual(
      printed.filter(({ isRefused }) => !isRefused),
      []
    )
  })

  it("name npm scripts that exist", () => {
    const scripts = Object.keys(JSON.parse(read("package.json")).scripts)
    const named = written.flatMap((document) =>
      [...read(document).matchAll(/npm run ([\w:-]+)/g)].map(([, name]) => name!)
    )
    assert.isAbove(named.length, 0)
    assert.deepStrictEqual(
      named.filter((name) => !scripts.includes(name)),
      []
    )
  })

  it.each([
    ["README.md", "Errors"],
    ["docs/errors.md", "The errors of a request"]
  ])("%s gives the errors the statuses they have", (document, heading) => {
    const section = new RegExp(`^## ${heading}\\n([^]*?)^## `, "m").exec(read(document))![1]!
    const rows = [...section.matchAll(/^\| `(\w+)`.*\| (\S+) \|$/gm)]
    const stated = Object.fromEntries(rows.map(([, name, status]) => [name, status]))
    const statusOf = (value: unknown): string | undefined => {
      const annotations = (value as { readonly ast?: { readonly annotations?: Record<string, unknown> } }).ast
        ?.annotations
      return annotations === undefined ? undefined : String(annotations["httpApiStatus"] ?? "-")
    }
    const actual = Object.fromEntries(
      Object.entries(SessionError).flatMap(([name, value]) =>
        name.startsWith("Session") ? [[name, statusOf(value) ?? "-"]] : []
      )
    )
    assert.deepStrictEqual(stated, actual)
  })

  it("ARCHITECTURE.md names every file of src/internal, and no other", () => {
    const named = [...read("ARCHITECTURE.md").matchAll(/^\| `(internal\/[\w/]+\.ts)` \|/gm)].map(
      ([, file]) => `src/${file}`
    )
    const there = sources.filter((file) => file.startsWith("src/internal/"))
    assert.deepStrictEqual(named.sort(), there.sort())
  })
})
