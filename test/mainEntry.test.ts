/** What the package's main entry has, and what it has not: the test kit, drivers, the command. */
import { assert, describe, it } from "@effect/vitest"
import * as Main from "effect-sessions"
import * as Testing from "effect-sessions/testing"
import { build, type BuildFailure } from "esbuild"
import { globSync } from "node:fs"
import { basename, join } from "node:path"

const root = join(import.meta.dirname, "..")

const bundle = (code: string) =>
  build({
    stdin: { contents: code, resolveDir: root, loader: "ts" },
    absWorkingDir: root,
    alias: { "effect-sessions": "./src/index.ts" },
    bundle: true,
    format: "esm",
    platform: "node",
    packages: "external",
    metafile: true,
    write: false,
    outdir: "out",
    logLevel: "silent"
  })

describe("the main entry", () => {
  it("has each module of src, but those named after what they need, and the command", () => {
    const modules = globSync("src/*.ts", { cwd: root }).map((file) => basename(file, ".ts"))
    const apart = /^(index|Node\w+|Io\w+|\w+Client|SessionCli)$/
    assert.deepStrictEqual(
      Object.keys(Main).toSorted(),
      [...modules.filter((name) => !apart.test(name)), "SessionHttpApiClient"].toSorted()
    )
  })

  it("has no test kit, and what imports it from there does not bundle", async () => {
    assert.deepStrictEqual(Object.keys(Testing).toSorted(), ["SessionBackendTest", "SessionTest"])
    assert.deepStrictEqual(
      Object.keys(Testing).filter((name) => name in Main),
      []
    )
    const all = await bundle(`export * from "effect-sessions"`)
    const files = Object.keys(all.metafile.inputs)
    assert.include(files, "src/SessionManager.ts")
    assert.deepStrictEqual(
      files.filter((file) => file.startsWith("src/testing/")),
      []
    )
    const failure: BuildFailure = await bundle(`import { SessionTest } from "effect-sessions"
console.log(SessionTest.layerKeys)`).then(
      () => assert.fail("it was bundled"),
      (error) => error
    )
    assert.match(failure.errors[0]!.text, /No matching export in "src\/index\.ts" for import "SessionTest"/)
  }, 60_000)
})
