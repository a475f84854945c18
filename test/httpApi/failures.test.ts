/** What an API answers when the backend fails, or another was faster. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { SessionTest } from "effect-sessions/testing"
import { bearer, cookie, live, login, send } from "../support/httpApiSupport.ts"
import { entered, MemberData, MemberSession, rival } from "../support/memberApi.ts"

describe("SessionHttpApi over a socket", () => {
  it.effect("[R76] a write that fails is the answer: 503, nothing of the handler's, no cookie", () =>
    Effect.gen(function* () {
      const faults = yield* SessionTest.BackendFaults
      for (const [method, path, operation, body] of [
        ["POST", "/login", "create", { username: "ada" }],
        ["POST", "/cart/pen", "update", undefined],
        ["POST", "/rotate", "update", undefined],
        ["POST", "/logout", "delete", undefined],
        ["POST", "/revoke-all", "deleteByPrincipal", undefined]
      ] as const) {
        for (const outcome of ["notApplied", "unknown"] as const) {
          const { token } = yield* login("ada")
          yield* faults.inject({ operation, outcome })
          const answer = yield* send(method, path, cookie(token), body)
          yield* faults.heal
          assert.deepStrictEqual(
            [path, answer.status, answer.cookies, answer.text, answer.headers["retry-after"]],
            [path, 503, [], `{"_tag":"SessionUnavailable","outcome":"${outcome}"}`, "1"]
          )
          if (outcome === "notApplied") assert.strictEqual((yield* send("GET", "/whoami", cookie(token))).status, 200)
        }
      }
    }).pipe(Effect.provide(live))
  )

  it.effect("[R76] a change that met another is 409, and leaves what the other one wrote", () =>
    Effect.gen(function* () {
      const { token } = yield* login("ada")
      const manager = yield* MemberSession.Manager
      rival.act = (token) =>
        Effect.orDie(manager.modify(token, (data) => [undefined, new MemberData({ ...data, cart: ["other"] })]))
      const answer = yield* send("GET", "/stale", cookie(token))
      rival.act = () => Effect.void
      assert.deepStrictEqual([answer.status, answer.text], [409, `{"_tag":"SessionConflict"}`])
      assert.include((yield* send("GET", "/whoami", cookie(token))).text, `"cart":["other"]`)
    }).pipe(Effect.provide(live))
  )

  it.effect("[R78] a backend that is down is no anonymous visitor, neither guarded nor optional", () =>
    Effect.gen(function* () {
      const { token } = yield* login("ada")
      const faults = yield* SessionTest.BackendFaults
      yield* faults.inject({ outcome: "notApplied" })
      entered.count = 0
      for (const [path, headers] of [
        ["/whoami", cookie(token)],
        ["/plain", bearer(token)],
        ["/peek", cookie(token)],
        ["/peek", bearer(token)]
      ] as const) {
        const answer = yield* send("GET", path, headers)
        assert.deepStrictEqual(
          [path, answer.status, answer.text, answer.headers["retry-after"], answer.cookies],
          [path, 503, `{"_tag":"SessionUnavailable","outcome":"notApplied"}`, "1", []]
        )
      }
      assert.strictEqual(entered.count, 0)
      yield* faults.heal
      assert.strictEqual((yield* send("GET", "/peek", cookie(token))).text, `"ada"`)
      assert.strictEqual((yield* send("GET", "/peek")).text, "null")
    }).pipe(Effect.provide(live))
  )
})
