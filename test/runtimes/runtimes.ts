/** The runtimes, as their npm packages bring them. */
import { spawnSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"

const folder = import.meta.dirname
const inPackages = (...path: ReadonlyArray<string>) => join(folder, "node_modules", ...path)

export interface Runtime {
  /** What `run.ts` is told, and what a known difference names. */
  readonly name: string
  /** As a reader knows it. */
  readonly title: string
  readonly version: string
  readonly command: string
  /** What comes before the script. Without permissions nothing could be tested on Deno. */
  readonly args: ReadonlyArray<string>
}

const versionOf = (name: string): string =>
  (JSON.parse(readFileSync(inPackages(name, "package.json"), "utf8")) as { readonly version: string }).version

/** All of them, installed where they are missing. */
export const runtimes = (): ReadonlyArray<Runtime> => {
  if (!existsSync(inPackages(".package-lock.json"))) {
    const { status } = spawnSync("npm", ["ci"], { cwd: folder, stdio: "inherit" })
    if (status !== 0) throw new Error("npm ci failed in test/runtimes")
  }
  const of = (
    name: string,
    title: string,
    from: string,
    command: string,
    args: ReadonlyArray<string> = []
  ): Runtime => ({
    name,
    title,
    version: versionOf(from),
    command: inPackages(from, command),
    args
  })
  return [
    of("node22", "Node", "node-22", "bin/node"),
    of("node-newest", "Node", "node-newest", "bin/node"),
    of("bun", "Bun", "bun", "bin/bun.exe", ["--bun"]),
    of("deno", "Deno", "deno", "deno", ["run", "--allow-all"])
  ]
}
