/**
 * Where and on what a result was measured.
 */
import { execFileSync } from "node:child_process"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { cpus } from "node:os"
import { dirname } from "node:path"
import { fileURLToPath } from "node:url"

export interface Environment {
  readonly date: string
  readonly node: string
  readonly cpu: string
  readonly cores: number
  /** The commit, and whether files in `src` differed from it. */
  readonly commit: string
  readonly dirty: boolean
}

const root = fileURLToPath(new URL("../", import.meta.url))
const git = (...args: ReadonlyArray<string>): string =>
  execFileSync("git", ["-C", root, ...args])
    .toString()
    .trim()

export const environment = (): Environment => ({
  date: new Date().toISOString(),
  node: process.version,
  cpu: cpus()[0]!.model,
  cores: cpus().length,
  commit: git("rev-parse", "HEAD"),
  dirty: git("status", "--porcelain", "--", "src") !== ""
})

/** The installed versions of packages, in bench/node_modules or in the repository's. */
export const versionsOf = (names: Iterable<string>): Record<string, string> => {
  const versions: Record<string, string> = {}
  for (const name of names) {
    const file = ["bench/node_modules", "node_modules"]
      .map((folder) => `${root}${folder}/${name}/package.json`)
      .find((path) => existsSync(path))
    if (file === undefined) throw new Error(`${name} is not installed`)
    versions[name] = JSON.parse(readFileSync(file, "utf8")).version
  }
  return versions
}

/** Keeps this process, which is the client, on one core. */
export const pinTo = (core: number): void => {
  execFileSync("taskset", ["-a", "-c", "-p", String(core), String(process.pid)], { stdio: "ignore" })
}

/** The path of a file in `results/`. */
export const resultPath = (name: string): string => `${root}bench/results/${name}.json`

export const saveResult = (path: string, result: unknown): void => {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, JSON.stringify(result, null, 2) + "\n")
}
