/** What the test kit says of its published key where it is used outside a test. */
import { afterEach, assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { vi } from "vitest"
import { testKitKey } from "../src/internal/token/publishedKeys.ts"

/** Builds the kit's keys twice in a new copy of the kit, and answers what was logged. */
const logged = async (env: unknown): Promise<ReadonlyArray<unknown>> => {
  vi.resetModules()
  const { layerKeys } = await import("../src/testing/SessionTest.ts")
  const messages: Array<unknown> = []
  const logger = Logger.layer([Logger.make(({ message }) => messages.push(message))])
  vi.stubGlobal("process", env)
  for (let i = 0; i < 2; i++) await Effect.runPromise(Effect.provide(Effect.void, Layer.provide(layerKeys, logger)))
  vi.unstubAllGlobals()
  return messages
}

describe("the test kit outside tests", () => {
  afterEach(() => vi.unstubAllGlobals())

  it("warns once that its key is published", async () => {
    for (const env of [{ env: {} }, { env: { NODE_ENV: "production" } }, { env: { NODE_ENV: "development" } }]) {
      const messages = await logged(env)
      assert.strictEqual(messages.length, 1)
      assert.match(String(messages[0]), /published key.*SessionKeys\.layerConfig/)
      assert.notInclude(String(messages[0]), testKitKey)
    }
  })

  it("is silent under a test runner", async () => {
    const runners = [{ NODE_ENV: "test" }, { VITEST: "true" }, { JEST_WORKER_ID: "1" }, { NODE_TEST_CONTEXT: "child" }]
    for (const env of runners) assert.deepStrictEqual(await logged({ env }), [])
  })

  it("warns, and works, where the environment may not be read or is not there", async () => {
    // As Deno's does, without leave.
    const refusing = new Proxy(
      {},
      {
        get() {
          throw new Error("NotCapable")
        }
      }
    )
    for (const env of [{ env: refusing }, { env: undefined }, undefined]) {
      assert.strictEqual((await logged(env)).length, 1)
    }
  })

  it("warns once in a process, whatever layers are built", () => {
    const program = `
      import { Effect, Schema } from "effect"
      import { Session } from "effect-sessions"
      import { SessionTest } from "effect-sessions/testing"
      class UserSession extends Session.Service()("app/UserSession", { data: Schema.Struct({ name: Schema.String }) }) {}
      for (const layer of [
        SessionTest.layer(UserSession),
        SessionTest.layerLoggedIn(UserSession, { name: "ada" }),
        SessionTest.layerVerified(UserSession, { name: "ada" })
      ]) await Effect.runPromise(Effect.provide(Effect.void, layer))
      console.log("done")
    `
    const { stderr, stdout } = spawnSync(
      process.execPath,
      ["--import", join(import.meta.dirname, "support/resolveSource.ts"), "--input-type=module", "--eval", program],
      // Without the variables Vitest sets in this process.
      { cwd: import.meta.dirname, encoding: "utf8", env: { PATH: process.env["PATH"], NO_COLOR: "1" } }
    )
    assert.match(stdout, /done\n$/, stderr)
    assert.strictEqual([...(stdout + stderr).matchAll(/WARN.*published key/g)].length, 1)
  })
})
