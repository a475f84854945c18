/** What makes a run on another runtime fail. */
import { assert, describe, it } from "@effect/vitest"
import type { Known } from "./known.ts"
import { notRepeated, pattern } from "./known.ts"
import { judge } from "./report.ts"

const known = (file: string, test: string): Known => ({ file, test, reason: "" })
const expected = ["a.test.ts > one", "a.test.ts > two", "a.test.ts > slow", "b.test.ts > two"]
const slow = [known("a.test.ts", "slow")]

const problemsOf = (
  passed: ReadonlyArray<string>,
  failed: ReadonlyArray<string> = [],
  differences: ReadonlyArray<Known> = []
) => {
  const report = { files: 2, passed, failed: new Map(failed.map((id) => [id, "why"])), problems: [] }
  return judge(report, expected, slow, differences).problems
}

const [one, two, other] = ["a.test.ts > one", "a.test.ts > two", "b.test.ts > two"]

describe("a run on another runtime", () => {
  it("is fine if each test ran, and failed only where it is listed", () => {
    assert.deepStrictEqual(problemsOf([one, two, other]), [])
    assert.deepStrictEqual(problemsOf([one, other], [two], [known("a.test.ts", "two")]), [])
  })

  it("is not if a test fails, did not run, or ran and is listed not to", () => {
    assert.deepStrictEqual(problemsOf([one, two], [other], [known("a.test.ts", "none")]), [
      "failed: b.test.ts > two\nwhy",
      "listed to fail, and no test: none"
    ])
    assert.deepStrictEqual(problemsOf([one, two]), ["did not run: b.test.ts > two"])
    assert.deepStrictEqual(problemsOf([one, two, other, "a.test.ts > slow"]), [
      "ran, and is listed not to: a.test.ts > slow"
    ])
    assert.deepStrictEqual(problemsOf([one, two, other, "c.test.ts > new"]), [
      "ran, and Node 24 does not know it: c.test.ts > new"
    ])
  })

  it("is not if a test that is listed to fail passes", () => {
    assert.deepStrictEqual(problemsOf([one, two, other], [], [known("a.test.ts", "two")]), [
      "passed, and is listed to fail: a.test.ts > two"
    ])
  })

  it("knows names of groups, however they are joined", () => {
    const names = pattern([known("a.test.ts", "a group > the test [R1]")])
    assert.isFalse(names.test("a group > the test [R1]"))
    assert.isFalse(names.test("a group the test [R1]"))
    assert.isTrue(names.test("a group > the test 1"))
  })

  it("leaves out by name what is not repeated, and nothing else", () => {
    const leavesOut = (name: string) => !pattern(notRepeated).test(name)
    assert.isTrue(
      leavesOut("every interleaving law 13: log-in and log-out, of whose calls one of tab1 fails: no update")
    )
    assert.isFalse(leavesOut("every interleaving law 13: log-in and log-out: no update is lost"))
  })
})
