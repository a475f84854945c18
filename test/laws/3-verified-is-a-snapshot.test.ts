/** Law 3: `UserSession.Verified` is the snapshot of when the guard ran, whatever the handler changes afterwards. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { empty, name, tagOf, text, whoami } from "../support/httpSupport.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve, nobody, UserSession } from "../support/userSession.ts"

describe("law 3: Verified", () => {
  it.effect("law 3: UserSession.Verified stays what the guard verified, whatever the handler changes", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const send = yield* stage.guarded(
        Effect.gen(function* () {
          const first = yield* UserSession.Verified
          const handle = yield* UserSession
          yield* handle.update((data) => ({ ...data, count: 7 }))
          assert.strictEqual(yield* UserSession.Verified, first)
          yield* handle.create(eve)
          assert.strictEqual(yield* UserSession.Verified, first)
          yield* handle.destroy
          assert.strictEqual(yield* UserSession.Verified, first)
          return text(`${name(first)} ${first.data.count} ${first.version}`)
        })
      )
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(session) })).text, "ada 0 1")
    })
  )

  it.effect("law 3: [R54] a guard of a definition with a principal lets no anonymous session through", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const anonymous = yield* stage.login({ ...nobody, count: 5 })
      let ran = 0
      const send = yield* stage.guarded(Effect.sync(() => (ran++, empty)))
      const answer = yield* send("GET", "/", { cookie: Stage.cookieOf(anonymous) })
      assert.deepStrictEqual([answer.status, tagOf(answer), ran], [401, "SessionMissing", 0])
      assert.deepStrictEqual(answer.setCookie, [])
      const open = yield* stage.open(whoami)
      assert.strictEqual((yield* open("GET", "/", { cookie: Stage.cookieOf(anonymous) })).text, "-")
    })
  )
})
