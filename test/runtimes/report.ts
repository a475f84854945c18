/** What vitest says of a run, and what of it was not to be expected. */
import { readFileSync } from "node:fs"
import { relative } from "node:path"
import { root } from "./files.ts"
import type { Known } from "./known.ts"

/** A test's file and its names, joined as `vitest list` joins them. */
export type TestId = string
export const idOf = (file: string, names: ReadonlyArray<string>): TestId =>
  `${relative(root, file)} > ${names.join(" > ")}`

interface VitestReport {
  readonly success: boolean
  readonly testResults: ReadonlyArray<{
    readonly name: string
    readonly message: string
    readonly assertionResults: ReadonlyArray<{
      readonly ancestorTitles: ReadonlyArray<string>
      readonly title: string
      readonly status: string
      readonly failureMessages?: ReadonlyArray<string>
    }>
  }>
}

export interface Report {
  readonly files: number
  readonly passed: ReadonlyArray<TestId>
  readonly failed: ReadonlyMap<TestId, string>
  /** Of a file as a whole. */
  readonly problems: ReadonlyArray<string>
}

export const read = (path: string): Report => {
  const { testResults } = JSON.parse(readFileSync(path, "utf8")) as VitestReport
  const passed: Array<TestId> = []
  const failed = new Map<TestId, string>()
  const problems: Array<string> = []
  for (const { assertionResults, message, name } of testResults) {
    if (message !== "") problems.push(`${relative(root, name)}: ${message}`)
    for (const { ancestorTitles, failureMessages = [], status, title } of assertionResults) {
      const id = idOf(name, [...ancestorTitles, title])
      if (status === "passed") passed.push(id)
      else if (status === "failed") failed.set(id, failureMessages.join("\n"))
    }
  }
  return { files: testResults.length, passed, failed, problems }
}

const matches = (id: TestId, { file, test }: Known): boolean => id.startsWith(file) && id.includes(test)

export interface Judged {
  /** That failed, and are on the list. */
  readonly known: ReadonlyArray<TestId>
  /** What makes the run fail. */
  readonly problems: Array<string>
}

/** Compares what ran with the tests that there are, less those that are not repeated, and failures with those on the list. */
export const judge = (
  report: Report,
  expected: ReadonlyArray<TestId>,
  notRepeated: ReadonlyArray<Known>,
  differences: ReadonlyArray<Known>
): Judged => {
  const known: Array<TestId> = []
  const problems = [...report.problems]
  for (const [id, message] of report.failed) {
    if (differences.some((difference) => matches(id, difference))) known.push(id)
    else problems.push(`failed: ${id}\n${message}`)
  }
  for (const id of report.passed) {
    if (differences.some((difference) => matches(id, difference))) problems.push(`passed, and is listed to fail: ${id}`)
  }
  for (const difference of differences) {
    if (!expected.some((id) => matches(id, difference)))
      problems.push(`listed to fail, and no test: ${difference.test}`)
  }
  const ran = new Set([...report.passed, ...report.failed.keys()])
  for (const id of expected) {
    const leftOut = notRepeated.some((known) => matches(id, known))
    if (ran.has(id) === leftOut) problems.push(`${leftOut ? "ran, and is listed not to" : "did not run"}: ${id}`)
    ran.delete(id)
  }
  for (const id of ran) problems.push(`ran, and Node 24 does not know it: ${id}`)
  return { known, problems }
}
