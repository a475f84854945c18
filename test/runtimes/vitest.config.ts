/**
 * The portable tests, as `run.ts` runs them on a runtime: in one process of that runtime, or in one thread where vitest
 * cannot start processes.
 */
import { defineConfig } from "vitest/config"
import { root } from "./files.ts"
import { notRepeated, pattern } from "./known.ts"
import { sharing } from "./sharing.ts"

export default defineConfig({
  root,
  resolve: { tsconfigPaths: true },
  test: {
    ...sharing,
    // Bun's processes have no `channel` that vitest could talk over; Deno's threads do not end as it wants them to.
    pool: process.versions["bun"] === undefined ? "forks" : "threads",
    maxWorkers: 1,
    // Two runtimes share the machine.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    ...(process.env["TEST_RUNTIME"] === undefined ? {} : { testNamePattern: pattern(notRepeated) })
  }
})
