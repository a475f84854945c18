/** What a store may hold in a record's extension besides what the library writes: it is never a defect. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { SessionBackend } from "../../src/SessionBackend.ts"
import { recordOf } from "../support/records.ts"
import * as Stack from "../support/stack.ts"
import { ada, UserSession } from "../support/userSession.ts"

describe("an extension that the library did not write", () => {
  const extensions: Record<string, string> = {
    "is no JSON": "{",
    "is no object": "7",
    "has times that no date can have": `{"factors":[["pwd",1e999],["otp",1e20],["hwk",0.5],["sms","0"]]}`,
    "has a client of other values": `{"client":{"label":7,"__proto__":{"address":"x"}}}`,
    "is longer than any": JSON.stringify({ factors: [["pwd", 7]], padding: "x".repeat(65_536) })
  }
  for (const [what, extension] of Object.entries(extensions)) {
    it.effect(`[R64] [R84e] that ${what} shows nothing, and the session stands`, () =>
      Effect.gen(function* () {
        const manager = yield* UserSession.Manager
        const { id, token } = yield* manager.create(ada, { methods: ["pwd"], client: { label: "phone" } })
        const { idleExpiresAt, lastSeenAt, namespace, version } = yield* recordOf(UserSession, id)
        const backend = yield* SessionBackend
        yield* backend.update(namespace, id, version, { extension, lastSeenAt, idleExpiresAt })
        const session = yield* manager.resolve(token)
        assert.deepStrictEqual([session.factors, session.client], [[], {}])
        assert.strictEqual((yield* manager.list("ada")).length, 1)
        assert.deepStrictEqual((yield* manager.describe(token, { label: "laptop" })).client, { label: "laptop" })
      }).pipe(Effect.provide(Stack.manager(UserSession)))
    )
  }
})
