/** The deadline of a backend call, and the life of the process. */
import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"

describe("a deadline in a process of its own", () => {
  /** Runs it in a process of its own; how it ended, and after how many seconds. */
  const inProcess = (code: string) => {
    const imports = `import { Effect } from "effect"; import { withDeadline } from "./src/internal/manager/deadline.ts";`
    const began = process.hrtime()
    const { status, stderr, stdout } = spawnSync(
      process.execPath,
      ["--input-type=module-typescript", "-e", imports + code],
      { cwd: new URL("../..", import.meta.url), encoding: "utf8" }
    )
    return { ended: [status, stdout.trim(), stderr], seconds: process.hrtime(began)[0] }
  }

  it("the timer of a call that has ended keeps no process alive", () => {
    const { ended, seconds } = inProcess(`
      for (let i = 0; i < 3; i++) await Effect.runPromise(withDeadline(Effect.sleep(1), 600_000, () => Effect.die("late")))
      console.log("done")`)
    assert.deepStrictEqual(ended, [0, "done", ""])
    // Far from the ten minutes that the timer would last.
    assert.isBelow(seconds, 60)
  })

  it("[R79] a process that waits for nothing else is still told that the call is late", () => {
    const { ended } = inProcess(`
      const hanging = withDeadline(Effect.never, 300, () => Effect.succeed("late"))
      console.log(await Effect.runPromise(hanging), await Effect.runPromise(hanging))`)
    assert.deepStrictEqual(ended, [0, "late late", ""])
  })
})
