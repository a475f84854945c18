/**
 * The portable tests, as `run.ts` runs them on a runtime: in one process of that runtime, or in one thread where vitest
 * cannot start processes. Files share their modules, so that Effect is loaded once.
 */
import { defineConfig } from "vitest/config"
import { portable, root } from "./files.ts"
import { notRepeated, pattern } from "./known.ts"

export default defineConfig({
  root,
  resolve: { tsconfigPaths: true },
  test: {
    include: [...portable],
    // Bun's processes have no `channel` that vitest could talk over; Deno's threads do not end as it wants them to.
    pool: process.versions["bun"] === undefined ? "forks" : "threads",
    maxWorkers: 1,
    isolate: false,
    // So they share what Effect has read of the environment, and a file can set no variable for itself.
    env: { SESSION_SECRET: "tS0uT1hGqWc5m8ZrYb3xKJvPe7LdA2nF9iQyXoVkDz4=" },
    // Two runtimes share the machine.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    ...(process.env["TEST_RUNTIME"] === undefined ? {} : { testNamePattern: pattern(notRepeated) })
  }
})
