/**
 * `npm run test:peers`: the tests of the drivers with the lowest versions that package.json allows, each in a copy of the
 * repository. With words behind it, only the drivers of these names. `npm test` runs them with the newest.
 *
 * Redis and MariaDB are found as by `npm test`.
 */
import { execFileSync, spawnSync } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const root = join(import.meta.dirname, "../..")
const modules = join(root, "node_modules")
const { peerDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  readonly peerDependencies: Readonly<Record<string, string>>
}

const tests: Readonly<Record<string, ReadonlyArray<string>>> = {
  ioredis: [
    "test/RedisServices.integration.test.ts",
    "test/movingRedis.integration.test.ts",
    "test/endedMoves.integration.test.ts"
  ],
  mysql2: ["test/NodeMysqlClient.integration.test.ts", "test/SessionBackendMysql.integration.test.ts"],
  redis: [
    "test/RedisServices.integration.test.ts",
    "test/NodeRedisCluster.integration.test.ts",
    "test/movingRedis.integration.test.ts",
    "test/endedMoves.integration.test.ts"
  ]
}

const wanted = process.argv.slice(2)
const drivers = Object.keys(tests).filter((name) => wanted.length === 0 || wanted.includes(name))
const work = mkdtempSync(join(tmpdir(), "effect-sessions-peers-"))
process.once("exit", () => rmSync(work, { recursive: true, force: true }))
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1))

for (const name of drivers) {
  const lowest = /\d+\.\d+\.\d+/.exec(peerDependencies[name]!)![0]
  const installed = join(work, `${name}-installed`)
  mkdirSync(installed)
  writeFileSync(join(installed, "package.json"), JSON.stringify({ private: true }))
  execFileSync("npm", ["install", "--silent", "--no-audit", "--no-fund", `${name}@${lowest}`], { cwd: installed })

  const copy = join(work, name)
  for (const part of readdirSync(root)) {
    if (![".git", "dist", "node_modules"].includes(part))
      cpSync(join(root, part), join(copy, part), { recursive: true })
  }
  mkdirSync(join(copy, "node_modules"))
  // Links, but not to what a test run has kept there of how it found modules.
  for (const entry of readdirSync(modules)) {
    if (entry.startsWith(".") && entry !== ".bin") continue
    symlinkSync(
      entry === name ? join(installed, "node_modules", name) : join(modules, entry),
      join(copy, "node_modules", entry)
    )
  }
  console.log(`${name} ${lowest}`)
  const vitest = [join(modules, "vitest/vitest.mjs"), "run", "--no-file-parallelism", ...tests[name]!]
  const { status } = spawnSync(process.execPath, vitest, { cwd: copy, stdio: ["ignore", "inherit", "inherit"] })
  if (status !== 0) process.exitCode = 1
}
