/**
 * The conformance suite of `SessionBackend`: the cases every backend must pass, as data for any test runner.
 *
 * **When to use**
 *
 * Use to test a backend of your own. A case needs only the backend's layer.
 *
 * **Details**
 *
 * - A case is a name and an effect. If the backend breaks the contract of the port, the effect fails with what was expected
 *   and what was found. A number such as `[R69]` in a name refers to the requirements of this library.
 * - Each case uses a random namespace and random ids, and deletes its records. So cases may run concurrently, and suites may
 *   share a store. A sweep deletes records of all namespaces, so the cases with sweeps use records of the year 1970.
 * - `cases` are for every backend. `collectingCases` are for a backend whose expired records only `deleteExpired` deletes,
 *   and not, for example, the TTL of a key; `pushingCases` for one that has `ended`: without it they fail.
 * - No case sleeps: the cases pass with a live clock and with `TestClock`.
 *
 * **Example** (Running the suite with vitest)
 *
 * ```ts no-run
 * import { layer } from "@effect/vitest"
 * import { SessionBackendMemory } from "effect-sessions"
 * import { SessionBackendTest } from "effect-sessions/testing"
 *
 * layer(SessionBackendMemory.layer, { excludeTestServices: true })("memory", (it) => {
 *   for (const { effect, name } of SessionBackendTest.cases) it.effect(name, () => effect)
 * })
 * ```
 *
 * **Example** (Running the suite with node:test)
 *
 * ```ts no-run
 * import { ManagedRuntime } from "effect"
 * import { SessionBackendMemory } from "effect-sessions"
 * import { SessionBackendTest } from "effect-sessions/testing"
 * import { after, test } from "node:test"
 *
 * const runtime = ManagedRuntime.make(SessionBackendMemory.layer)
 * after(() => runtime.dispose())
 * for (const { effect, name } of SessionBackendTest.cases) test(name, () => runtime.runPromise(effect))
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 */

import * as Create from "./conformance/create.ts"
import * as Delete from "./conformance/delete.ts"
import * as Ended from "./conformance/ended.ts"
import * as Expiry from "./conformance/expiry.ts"
import type { Case } from "./conformance/fixture.ts"
import * as Scan from "./conformance/scan.ts"
import * as Update from "./conformance/update.ts"

export { ConformanceError } from "./conformance/expect.ts"
export type { Case } from "./conformance/fixture.ts"

/**
 * The cases every backend must pass.
 *
 * @stability unstable
 * @category testing
 * @since 0.1.0
 */
export const cases: ReadonlyArray<Case> = [
  ...Create.cases,
  ...Update.cases,
  ...Delete.cases,
  ...Scan.cases,
  ...Expiry.cases
]

/**
 * The cases a backend must also pass if only `deleteExpired` deletes its expired records.
 *
 * @stability unstable
 * @category testing
 * @since 0.1.0
 */
export const collectingCases: ReadonlyArray<Case> = Expiry.collectingCases

/**
 * The cases a backend must also pass if it has `ended`.
 *
 * @stability unstable
 * @category testing
 * @since 0.1.0
 */
export const pushingCases: ReadonlyArray<Case> = Ended.cases
