import { availableParallelism } from "node:os"
import { configDefaults, defineConfig } from "vitest/config"
import { BaseSequencer, type TestSpecification } from "vitest/node"
import { sharing } from "./test/runtimes/sharing.ts"

/** Files that start processes run first: some take minutes, and started last they would leave the other workers idle. */
class ProcessesFirst extends BaseSequencer {
  override async sort(files: Array<TestSpecification>): Promise<Array<TestSpecification>> {
    const isFirst = ({ project }: TestSpecification) => Number(project.name === "processes")
    return (await super.sort(files)).toSorted((one, other) => isFirst(other) - isFirst(one))
  }
}

export default defineConfig({
  resolve: { tsconfigPaths: true },
  test: {
    // By default there is one worker fewer than processors. On two, that one would mostly wait.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    sequence: { sequencer: ProcessesFirst },
    testTimeout: 30_000,
    hookTimeout: 60_000,
    projects: [
      {
        extends: true,
        test: {
          name: "processes",
          include: ["test/**/*.test.ts"],
          exclude: [...configDefaults.exclude, ...sharing.include]
        }
      },
      { extends: true, test: { name: "portable", ...sharing } }
    ]
  }
})
