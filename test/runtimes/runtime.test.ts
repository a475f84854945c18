import { assert, it } from "@effect/vitest"
import { here } from "./here.ts"

it("the tests run where they are said to run", () => {
  assert.strictEqual(here(), process.env["TEST_RUNTIME"] ?? here())
  assert.match(here(), /^(Node|Bun|Deno) \d+\.\d+\.\d+$/)
})
