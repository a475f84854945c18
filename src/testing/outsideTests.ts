/**
 * A warning for applications that run on the test kit's published key, such as a demonstration that grew.
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
    // Deno throws where reading the environment is not allowed. A warning too many is the safer answer.
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
    "SessionTest signs with a published key, with which tokens can be forged. Use SessionKeys.layerConfig in an application; in a test set NODE_ENV=test"
  )
})
