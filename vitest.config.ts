import { availableParallelism } from "node:os"
import { defineConfig } from "vitest/config"
import { BaseSequencer, type TestSpecification } from "vitest/node"

/** Files that start servers first: some wait for minutes, and at the end the other workers would have nothing to do. */
class ServersFirst extends BaseSequencer {
  override async sort(files: Array<TestSpecification>): Promise<Array<TestSpecification>> {
    const isFirst = ({ moduleId }: TestSpecification) => Number(moduleId.endsWith(".integration.test.ts"))
    return (await super.sort(files)).toSorted((one, other) => isFirst(other) - isFirst(one))
  }
}

export default defineConfig({
  resolve: { tsconfigPaths: true },
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Vitest leaves one processor to itself. Of two it would leave one to wait, for much of the tests is waiting.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    sequence: { sequencer: ServersFirst }
  }
})
