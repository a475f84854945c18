import { availableParallelism } from "node:os"
import { configDefaults, defineConfig } from "vitest/config"
import { sharing } from "./test/runtimes/sharing.ts"

/** How long an answer takes while a store is down is measured here: one file after the other, and nothing beside them. */
const timed = ["faults", "failover", "movingRedis", "endedMoves", "SessionBackendRedisOutages"].map(
  (name) => `test/${name}.integration.test.ts`
)

/** By default there is one worker fewer than processors. On two, that one would mostly wait. */
const maxWorkers = Math.max(2, availableParallelism() - 1)

export default defineConfig({
  resolve: { tsconfigPaths: true },
  test: {
    // They end what hangs, and say nothing of speed: a shared machine may be ten times as slow as a quiet one.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    projects: [
      { extends: true, test: { name: "timed", include: timed, maxWorkers: 1, sequence: { groupOrder: 2 } } },
      {
        extends: true,
        test: {
          name: "processes",
          include: ["test/**/*.test.ts"],
          exclude: [...configDefaults.exclude, ...sharing.include, ...timed],
          maxWorkers,
          sequence: { groupOrder: 0 }
        }
      },
      { extends: true, test: { name: "portable", ...sharing, maxWorkers, sequence: { groupOrder: 1 } } }
    ]
  }
})
