/** The declarations that are published stand by themselves: a type that they name and do not have would be `any`. */
import { afterAll, assert, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { basename, join } from "node:path"

const root = join(import.meta.dirname, "..")
mkdirSync(join(root, ".tmp"), { recursive: true })
const folder = mkdtempSync(join(root, ".tmp/declarations-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const tsc = (...args: ReadonlyArray<string>): string =>
  spawnSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), ...args], { cwd: root, encoding: "utf8" })
    .stdout

it("the published declarations type-check, without skipLibCheck", { timeout: 120_000 }, () => {
  assert.strictEqual(tsc("-p", "src", "--outDir", folder, "--emitDeclarationOnly", "--declarationMap", "false"), "")
  const options = "--ignoreConfig --noEmit --strict --exactOptionalPropertyTypes --module nodenext --target es2022"
  const entries = ["index.d.ts", "testing/index.d.ts"].map((entry) => join(folder, entry))
  assert.strictEqual(tsc(...options.split(" "), "--types", "node", ...entries), "")
})

it("each module's declarations begin with its documentation, which an editor shows", () => {
  const modules = globSync("src/*.ts", { cwd: root }).filter((file) =>
    readFileSync(join(root, file), "utf8").startsWith("/**")
  )
  assert.isAbove(modules.length, 20)
  for (const file of modules) {
    const declarations = readFileSync(join(folder, basename(file, ".ts") + ".d.ts"), "utf8")
    // A comment that touches the first import goes with it, where that is not needed in the declarations.
    assert.isTrue(declarations.startsWith("/**\n"), file)
  }
})
