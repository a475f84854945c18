/** The list of documents that the site is made of is that of the files. `npm run docs` checks what it builds of them. */
import { assert, describe, it } from "@effect/vitest"
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { copied, fileOf, modules, pageOf, sections, siteLink } from "../../docs/.vitepress/pages.ts"

const root = join(import.meta.dirname, "../..")
const prose = (file: string): string => readFileSync(join(root, file), "utf8").replaceAll(/^(`{3,})[\s\S]*?^\1/gm, "")

const documents = globSync("docs/*.md", { cwd: root }).sort()
const isHome = (file: string): boolean => file === "docs/index.md"

describe("the site", () => {
  it("has each document of docs in its sidebar, once", () => {
    const listed = sections.flatMap(({ documents }) => Object.keys(documents)).map((name) => `docs/${name}.md`)
    assert.isAbove(documents.length, 10)
    assert.deepStrictEqual(
      listed.sort(),
      documents.filter((file) => !isHome(file))
    )
  })

  it("is made of documents that begin with their title, which is the only one", () => {
    const others = documents.filter((file) => {
      const [first, ...rest] = prose(file).split("\n")
      return isHome(file) ? first !== "---" : !/^# \S/.test(first!) || rest.some((line) => line.startsWith("# "))
    })
    assert.deepStrictEqual(others, [])
  })

  it("has a page for each file that a document of it links to", () => {
    const links = [...documents, ...copied.map(([file]) => file)].flatMap((file) =>
      [...prose(file).matchAll(/(?<!!)\[[^\]]*\]\(([^)\s]+)\)/g)]
        .map(([, link]) => link!)
        .filter((link) => !/^\w+:/.test(link))
        .map((link) => ({ file, link }))
    )
    assert.isAbove(links.length, 30)
    for (const { file, link } of links) siteLink(`${pageOf(file)}.md`, link)
  })

  it("puts files where links to them lead", () => {
    for (const file of ["README.md", "docs/stores.md", "examples/basic.ts"]) {
      assert.strictEqual(fileOf(`${pageOf(file)}.md`), file)
    }
    assert.strictEqual(siteLink("stores.md", "../src/SessionBackend.ts"), "/api/SessionBackend")
    assert.strictEqual(siteLink("generated/readme.md", "docs/stores.md#redis"), "/stores#redis")
    assert.strictEqual(siteLink("stores.md", "../examples/web/"), "/examples/")
    assert.strictEqual(siteLink("stores.md", "#redis"), "#redis")
    assert.throws(() => siteLink("stores.md", "../ARCHITECTURE.md"), "docs/stores.md links to ARCHITECTURE.md")
    assert.throws(() => siteLink("stores.md", "../src/internal/registry.ts"), "no page of the site")
  })

  it("shows each public module, and says from where it is imported", () => {
    const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { readonly exports: object }
    const isClosed = (name: string) => `./${name}` in exports || /(?:^|\/)index$/.test(name)
    const open = globSync(["*.ts", "testing/*.ts"], { cwd: join(root, "src") })
      .map((file) => file.replace(/\.ts$/, ""))
      .filter((name) => !isClosed(name))
    const named = modules().flatMap(({ names }) => names)
    assert.deepStrictEqual(named.toSorted(), open.sort())
    assert.deepStrictEqual(
      modules().map(({ from, names }) => [from, names.length > 0]),
      [
        ["effect-sessions", true],
        ["effect-sessions/*", true],
        ["effect-sessions/testing", true]
      ]
    )
  })
})
