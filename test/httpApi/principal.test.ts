/** A user's sessions, and what a verifier says of them, through an API. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { bearer, cookie, live, login, send } from "../support/httpApiSupport.ts"
import { entered, refused, Suspended, Unpaid } from "../support/memberApi.ts"

describe("SessionHttpApi over a socket", () => {
  it.effect("[R49] signing out everywhere ends every session; everywhere else, all but this one", () =>
    Effect.gen(function* () {
      const mine = yield* login("ada")
      const others = yield* Effect.forEach(Array.from({ length: 50 }), () => login("ada"))
      const bob = yield* login("bob")
      const kept = yield* send("POST", "/revoke-others", cookie(mine.token))
      assert.deepStrictEqual([kept.status, kept.text], [200, "50"])
      // This session goes on under a new token; a copy of the old one is worth nothing.
      const renewed = /^__Host-session=([^;]+)/.exec(kept.cookies[0]!)![1]!
      assert.strictEqual((yield* send("GET", "/whoami", cookie(mine.token))).status, 401)
      assert.strictEqual((yield* send("GET", "/whoami", cookie(renewed))).status, 200)
      for (const { token } of others) assert.strictEqual((yield* send("GET", "/whoami", bearer(token))).status, 401)

      const second = yield* login("ada")
      const all = yield* send("POST", "/revoke-all", cookie(renewed))
      assert.deepStrictEqual([all.status, all.text], [200, "2"])
      assert.match(all.cookies[0]!, /^__Host-session=; Max-Age=0;/)
      for (const token of [renewed, second.token]) {
        assert.strictEqual((yield* send("GET", "/whoami", cookie(token))).status, 401)
      }
      assert.strictEqual((yield* send("GET", "/whoami", cookie(bob.token))).status, 200)
    }).pipe(Effect.provide(live))
  )

  it.effect("[R50] a verifier that turns refuses the very next request, each refusal with its own status", () =>
    Effect.gen(function* () {
      const { token } = yield* login("ada")
      assert.strictEqual((yield* send("GET", "/whoami", cookie(token))).status, 200)
      entered.count = 0
      refused.set("ada", new Suspended({ until: "friday" }))
      for (const headers of [cookie(token), bearer(token)]) {
        const answer = yield* send("GET", "/whoami", headers)
        assert.deepStrictEqual([answer.status, answer.tag], [403, "Suspended"])
      }
      refused.set("ada", new Unpaid())
      const answer = yield* send("GET", "/whoami", cookie(token))
      assert.deepStrictEqual([answer.status, answer.tag], [402, "Unpaid"])
      assert.strictEqual(entered.count, 0)
      refused.clear()
    }).pipe(Effect.provide(live))
  )

  it.effect("[R52] what a list shows opens nothing, and revokes only one's own", () =>
    Effect.gen(function* () {
      const mine = yield* login("ada")
      const other = yield* login("ada")
      const bob = yield* login("bob")
      const { text } = yield* send("GET", "/sessions", cookie(mine.token))
      const shown = JSON.parse(text) as ReadonlyArray<{ readonly id: string; readonly current: boolean }>
      assert.deepStrictEqual(
        new Map(shown.map(({ current, id }) => [id, current])),
        new Map([
          [mine.id as string, true],
          [other.id, false]
        ])
      )
      for (const { id } of shown) {
        for (const headers of [cookie(id), bearer(id)]) {
          assert.strictEqual((yield* send("GET", "/whoami", headers)).status, 401)
        }
      }
      assert.strictEqual((yield* send("DELETE", `/sessions/${bob.id}`, cookie(mine.token))).text, "false")
      assert.strictEqual((yield* send("GET", "/whoami", cookie(bob.token))).status, 200)
      assert.strictEqual((yield* send("DELETE", `/sessions/${other.id}`, cookie(mine.token))).text, "true")
      assert.strictEqual((yield* send("GET", "/whoami", cookie(other.token))).status, 401)
      assert.strictEqual((yield* send("GET", "/whoami", cookie(mine.token))).status, 200)
    }).pipe(Effect.provide(live))
  )
})
