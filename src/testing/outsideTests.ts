/**
 * The warning to an application that signs with the test kit's published key.
 *
 * @internal
 */
import * as Effect from "effect/Effect"

interface WithEnvironment {
  readonly process?: { readonly env?: { readonly [name: string]: string | undefined } }
}

/** Vitest, Jest and Node's test runner set a variable of their own; Bun and most others set `NODE_ENV`. */
const isTest = (): boolean => {
  try {
    // Portable code has no type for the global `process`.
    const env = (globalThis as WithEnvironment).process?.env
    return (
      env !== undefined &&
      (env["NODE_ENV"] === "test" ||
        ["VITEST", "JEST_WORKER_ID", "NODE_TEST_CONTEXT"].some((name) => env[name] !== undefined))
    )
  } catch {
    // Deno throws where reading the environment is not allowed. An unnecessary warning is the safer mistake.
    return false
  }
}

let isLogged = false

/**
 * Logs a warning, once in a process, unless there is a sign of a test.
 *
 * @internal
 */
export const warnOutsideTests: Effect.Effect<void> = Effect.suspend(() => {
  if (isLogged || isTest()) return Effect.void
  isLogged = true
  return Effect.logWarning(
    "SessionTest signs with a published key, with which tokens can be forged. Use SessionKeys.layerConfig in an application; in a test set NODE_ENV=test"
  )
})
