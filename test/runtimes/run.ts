/**
 * Runs the part of the suite that needs no server on the runtimes of `test/runtimes/package.json`, two at a time, and
 * compares what ran with the tests that Node 24 finds in the same files.
 *
 *     npm run test:runtimes                     all of them
 *     npm run test:runtimes -- bun deno         some
 *     npm run test:runtimes -- --servers        the examples with Redis, Postgres and MariaDB, too
 *     npm run test:runtimes -- --write          and writes the table of docs/runtimes.md
 */
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { files, portable, root } from "./files.ts"
import * as Examples from "../support/examples.ts"
import { prepare, runExamples } from "./examples.ts"
import { differences, notRepeated } from "./known.ts"
import { idOf, judge, read } from "./report.ts"
import type { TestId } from "./report.ts"
import { runtimes } from "./runtimes.ts"
import type { Runtime } from "./runtimes.ts"
import { tableNames, writeTable } from "./table.ts"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { servers: { type: "boolean", default: false }, write: { type: "boolean", default: false } }
})

const installed = runtimes()
const wrong = positionals.filter((name) => installed.every((runtime) => runtime.name !== name))
if (wrong.length > 0) throw new Error(`no runtime ${wrong.join(", ")}: ${installed.map(({ name }) => name).join(", ")}`)
const chosen = installed.filter(({ name }) => positionals.length === 0 || positionals.includes(name))

const work = mkdtempSync(join(tmpdir(), "effect-sessions-runtimes-"))
process.once("exit", () => rmSync(work, { recursive: true, force: true }))

const config = ["--config", join(import.meta.dirname, "vitest.config.ts")]

/** Runs vitest with this command; its output, and how it ended. */
const vitest = (command: string, args: ReadonlyArray<string>, env: NodeJS.ProcessEnv = {}) =>
  new Promise<{ readonly output: string; readonly code: number | null }>((resolve) => {
    const child = spawn(command, args, { cwd: root, env: { ...process.env, NO_COLOR: "1", ...env }, timeout: 900_000 })
    process.once("exit", () => child.kill("SIGKILL"))
    let output = ""
    child.stdout.on("data", (chunk) => (output += chunk))
    child.stderr.on("data", (chunk) => (output += chunk))
    child.once("close", (code) => resolve({ output, code }))
  })

const script = join(root, "node_modules/vitest/vitest.mjs")

/** The tests that there are, by Node 24. */
const list = async (): Promise<ReadonlyArray<TestId>> => {
  const path = join(work, "list.json")
  const { code, output } = await vitest(process.execPath, [
    script,
    "list",
    "--no-static-parse",
    ...config,
    `--json=${path}`
  ])
  if (code !== 0) throw new Error(output)
  const tests = JSON.parse(readFileSync(path, "utf8")) as ReadonlyArray<{
    readonly name: string
    readonly file: string
  }>
  return tests.map(({ file, name }) => idOf(file, [name]))
}

const count = (n: number) => n.toLocaleString("en-US")

const run = async (runtime: Runtime, expected: ReadonlyArray<TestId>) => {
  const { args, command, name, title, version } = runtime
  const began = process.hrtime.bigint()
  const path = join(work, `${name}.json`)
  const { code, output } = await vitest(
    command,
    [...args, script, "run", ...config, "--reporter=json", `--outputFile=${path}`],
    { TEST_RUNTIME: `${title} ${version}` }
  )
  const seconds = Number((process.hrtime.bigint() - began) / 1_000_000_000n)
  if (!existsSync(path)) {
    console.log(`${title} ${version}: no report after ${seconds} s, vitest ended with ${code}\n${output}`)
    return { row: [], passed: 0, failed: 1, isFine: false }
  }
  const report = read(path)
  const { known, problems } = judge(report, expected, notRepeated, differences[name] ?? [])
  if (code !== 0 && report.failed.size === 0) problems.push(`vitest ended with ${code}:\n${output}`)
  if (report.files !== portable.length) problems.push(`${report.files} of ${portable.length} files`)
  const unknown = report.failed.size - known.length
  const notRun = expected.length - report.passed.length - report.failed.size
  const ofExamples = await runExamples(examples, runtime, values.servers)
  problems.push(...ofExamples.problems)
  console.log(
    `${`${title} ${version}`.padEnd(14)} ${count(report.passed.length)} passed, ${unknown} failed, ` +
      `${known.length} known to fail, ${notRun} not repeated, of ${count(expected.length)} in ${report.files} files ` +
      `(${seconds} s); ` +
      `${ofExamples.passed} examples passed, ${ofExamples.failed} failed`
  )
  for (const problem of problems) console.log(problem.replace(/^/gm, "    "))
  return {
    row: [
      `${title} ${version}`,
      `${count(report.passed.length)} of ${count(expected.length)}`,
      `${known.length}`,
      `${ofExamples.passed}`
    ],
    passed: report.passed.length + ofExamples.passed,
    failed: unknown + ofExamples.failed,
    isFine: problems.length === 0
  }
}

const examples = Examples.open()
prepare(examples)
const expected = await list()
const few = files.length - portable.length
console.log(`${count(expected.length)} tests in ${portable.length} files; ${few} files need a server or tools of Node`)

// The slowest first.
const waiting = chosen.toReversed()
const results: Array<Awaited<ReturnType<typeof run>>> = []
const next = async (): Promise<void> => {
  const runtime = waiting.shift()
  if (runtime === undefined) return
  results.push(await run(runtime, expected))
  return next()
}
try {
  await Promise.all([next(), next()])
} finally {
  await examples.close()
}

const isFine = results.every((result) => result.isFine)
if (values.write && isFine && results.length === installed.length) writeTable(results.map(({ row }) => row).toSorted())
const isOutdated = !tableNames(installed.map(({ title, version }) => `${title} ${version}`))
if (isOutdated) console.log("the table of docs/runtimes.md is of other versions: run this with --servers --write")

const sum = (of: "passed" | "failed") => results.reduce((total, result) => total + result[of], 0)
console.log(`Tests  ${sum("passed")} passed, ${sum("failed")} failed`)
process.exit(isFine && !isOutdated ? 0 : 1)
