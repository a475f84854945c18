/**
 * The test kit's keys are published. Where they are used outside a test, in a demonstration that became an application
 * say, the log says so.
 *
 * @internal
 */
import * as Effect from "effect/Effect"

interface WithEnvironment {
  readonly process?: { readonly env?: { readonly [name: string]: string | undefined } }
}

/** What test runners set: Vitest, Jest, Node's own, and by `NODE_ENV` Bun's and most others. */
const isTest = (): boolean => {
  try {
    // The global object's type does not know `process` in portable code.
    const env = (globalThis as WithEnvironment).process?.env
    return (
      env !== undefined &&
      (env["NODE_ENV"] === "test" ||
        ["VITEST", "JEST_WORKER_ID", "NODE_TEST_CONTEXT"].some((name) => env[name] !== undefined))
    )
  } catch {
    // Deno throws where reading the environment is not allowed. Then nothing speaks for a test.
    return false
  }
}

let isSaid = false

/**
 * Logs a warning, once in a process, unless there is a sign of a test.
 *
 * @internal
 */
export const warnOutsideTests: Effect.Effect<void> = Effect.suspend(() => {
  if (isSaid || isTest()) return Effect.void
  isSaid = true
  return Effect.logWarning(
    "SessionTest signs with a published key: anybody can forge its tokens. Use SessionKeys.layerConfig in an application; in a test set NODE_ENV=test"
  )
})
