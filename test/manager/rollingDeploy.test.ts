/** Old and new servers of one application side by side: `test/rollingDeploy.integration.test.ts` has the real stores. */
import { describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { scenarios } from "../support/rollingDeploy.ts"
import * as Stack from "../support/stack.ts"

describe("a rolling deploy", () => {
  for (const [name, effect] of scenarios("test/RollingDeploy")) {
    it.effect(`[R68] ${name}`, () => Effect.provide(effect, Stack.layerMemory()))
  }
})
