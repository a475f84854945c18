/** Which test files run on every runtime: those that need no server, and none of Node's own tools. */
import { globSync, readFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"

export const root = join(import.meta.dirname, "../..")

/** A test that starts programs, or bundles and validates with tools that are made for Node, tests these. */
const tools = new Set(["node:child_process", "esbuild", "rollup", "vite", "miniflare"])

const importsOf = (file: string): ReadonlyArray<string> =>
  [...readFileSync(file, "utf8").matchAll(/^(?:import|export|\}) .*?from "([^"]+)"|\bimport\("([^"]+)"\)/gm)].flatMap(
    ([, from, dynamic]) => from ?? dynamic ?? []
  )

/** Whether a file of `test`, or one that it imports from there, imports a tool. */
const needsTools = (file: string, seen = new Set<string>()): boolean => {
  if (seen.has(file)) return false
  seen.add(file)
  return importsOf(file).some(
    (imported) =>
      tools.has(imported) ||
      (imported.startsWith(".") && !imported.includes("/src/") && needsTools(join(dirname(file), imported), seen))
  )
}

const all = globSync(join(root, "test/**/*.test.ts"), { exclude: (path) => path.includes("node_modules") }).sort()

/** Test files, by their path from the root, with the reason why they run on Node 24 alone, or without. */
export const files: ReadonlyArray<{ readonly file: string; readonly leftOut?: string }> = all.map((path) => {
  const file = relative(root, path)
  if (file.endsWith(".integration.test.ts")) return { file, leftOut: "needs a server" }
  if (needsTools(path)) return { file, leftOut: "starts programs, or uses a tool that is made for Node" }
  return { file }
})

export const portable: ReadonlyArray<string> = files.flatMap(({ file, leftOut }) =>
  leftOut === undefined ? [file] : []
)
