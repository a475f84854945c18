/** The code of docs/next.md is that of the app which `npm run test:next` builds and logs in to. */
import { assert, describe, it } from "@effect/vitest"
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "../..")
const project = join(root, "test/next/project")

describe("docs/next.md", () => {
  const guide = readFileSync(join(root, "docs/next.md"), "utf8")
  const shown = [...guide.matchAll(/^```tsx?\n\/\/ (\S+\.tsx?)\n([\s\S]*?)^```/gm)].map(
    ([, file, code]) => [file!, code!] as const
  )

  it("shows the app's files as they are, all but its layout", () => {
    const files = globSync("{sessions.ts,app/**/*.{ts,tsx}}", { cwd: project }).filter((file) => !/layout/.test(file))
    assert.deepStrictEqual(shown.map(([file]) => file).toSorted(), files.toSorted())
    for (const [file, code] of shown) assert.strictEqual(code, readFileSync(join(project, file), "utf8"), file)
  })
})
