/** What package.json promises, and the checks of a release. What is packed is checked by the gate, on a tarball. */
import { assert, describe, it } from "@effect/vitest"
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { missing } from "./release.ts"
import { deadLinks, difference, expected } from "./tarball.ts"

const root = join(import.meta.dirname, "../..")
const read = (file: string): string => readFileSync(join(root, file), "utf8")
const manifest = JSON.parse(read("package.json"))

describe("package.json", () => {
  it("names no version of a peer that the tests do not run with, nor those to come", () => {
    const peers: Record<string, string> = manifest.peerDependencies
    const majors = (range: string) => [...range.matchAll(/(\d+)\.\d+\.\d+/g)].map(([, major]) => Number(major))
    for (const [name, range] of Object.entries(peers)) {
      // A tilde, a caret, or from a lowest version to below the next major one.
      assert.match(range, /^(?:[~^]\d+\.\d+\.\d+|>=\d+\.\d+\.\d+ <\d+\.0\.0)$/, name)
      const newest = Number(majors(JSON.parse(read(`node_modules/${name}/package.json`)).version)[0])
      const [, below] = majors(range)
      assert.strictEqual(below === undefined ? majors(range)[0] : below - 1, newest, name)
    }
    assert.match(peers["effect"]!, /^~/)
  })
})

describe("the entry points", () => {
  /** As a user's program, of which this folder is the package. */
  const target = (subpath: string): string | null | undefined => {
    const exports: Record<string, string | null> = manifest.exports
    const fits = (key: string) => {
      const [before = "", after] = key.split("*")
      return after === undefined ? key === subpath : subpath.startsWith(before) && subpath.endsWith(after)
    }
    const star = (key: string) => (key.includes("*") ? key.indexOf("*") : Infinity)
    // A name decides before a pattern; of patterns the one with the longest beginning, then the longest.
    const [key] = Object.keys(exports)
      .filter(fits)
      .toSorted((a, b) => (star(a) === star(b) ? b.length - a.length : star(b) - star(a)))
    return key === undefined ? undefined : exports[key]
  }

  it("are the modules of src, and of testing those that it says it is made of", () => {
    const modules = globSync("src/**/*.ts", { cwd: root }).map((file) => file.replace(/^src\/(.*)\.ts$/, "./$1"))
    const open = modules.filter((module) => target(module) !== null).toSorted()
    const testing = [...read("src/testing/index.ts").matchAll(/from "\.\/(\w+)\.ts"/g)].map(
      ([, name]) => `./testing/${name}`
    )
    const flat = modules.filter((module) => /^\.\/\w+$/.test(module) && module !== "./index")
    assert.deepStrictEqual(open, [...flat, ...testing].toSorted())
    assert.isAbove(testing.length, 1)
  })
})

describe("the check of a release", () => {
  const ready = {
    manifest: { version: "1.2.3", repository: { url: "git+https://github.com/owner/name.git" } },
    changelog: "# Changelog\n\n## 1.2.3 - 2030-01-31\n",
    security: "# Security\n\n## How to report\n\nWrite to <security@example.com>.\n\n## What counts\n",
    tag: "v1.2.3",
    repository: "owner/name"
  }

  it("lets a release pass that has all", () => {
    assert.deepStrictEqual(missing(ready), [])
  })

  it("says what is missing", () => {
    assert.deepStrictEqual(missing({ ...ready, tag: "v1.2.4" }), [
      "the tag is v1.2.4, the version of package.json 1.2.3"
    ])
    for (const changelog of ["## 1.2.3 - unreleased\n", "## 1.2.3\n", "## 1x2.3 - 2030-01-31\n"]) {
      assert.deepStrictEqual(missing({ ...ready, changelog }), ['CHANGELOG.md has no heading "## 1.2.3 - YYYY-MM-DD"'])
    }
    assert.deepStrictEqual(missing({ ...ready, manifest: { version: "1.2.3" } }), ["package.json has no repository"])
    assert.deepStrictEqual(missing({ ...ready, repository: "owner/fork" }), [
      "the repository of package.json is git+https://github.com/owner/name.git, this run is of owner/fork"
    ])
    for (const security of [
      "# Security\n\n## How to report\n\nThere is no address yet.\n\n## Which versions\n\nhttps://example.com\n",
      "Write to <security@example.com>.\n\n## How to report\n"
    ]) {
      assert.deepStrictEqual(missing({ ...ready, security }), ["SECURITY.md names no address to report to"])
    }
    const page = "## How to report\n\n[Here](https://example.com/advisories/new).\n"
    assert.deepStrictEqual(missing({ ...ready, security: page }), [])
  })
})

describe("the check of a tarball", () => {
  it("finds a file too many, one too few, and a link that leads out of it", () => {
    const wanted = expected(["src/A.ts"], ["docs/a.md"])
    assert.deepStrictEqual(difference(wanted, wanted), { missing: [], tooMany: [] })
    assert.deepStrictEqual(
      difference([...wanted.filter((file) => file !== "dist/A.d.ts"), "dist/Removed.js", "test/A.test.ts"], wanted),
      { missing: ["dist/A.d.ts"], tooMany: ["dist/Removed.js", "test/A.test.ts"] }
    )
    const text = "[a](../README.md#b), [here](#c), [there](https://example.com), [gone](../bench/README.md)\n"
    assert.deepStrictEqual(deadLinks("docs/a.md", text, wanted), ["../bench/README.md"])
  })
})
