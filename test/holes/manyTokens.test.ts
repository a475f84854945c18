/**
 * One request cannot make the store work without end: however many authentic tokens it carries, at most four deletes
 * reach the backend.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { empty, isLive } from "../support/httpSupport.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve, UserSession } from "../support/userSession.ts"

type Handle = (typeof UserSession)["Service"]

/** Cookies of sessions that have ended: their tokens are authentic, and open nothing. */
const deadCookies = Effect.fnUntraced(function* (stage: Effect.Success<ReturnType<typeof Stage.make>>, count: number) {
  const cookies: Array<string> = []
  for (let i = 0; i < count; i++) {
    const session = yield* stage.login(ada)
    yield* stage.manager.destroy(session.token)
    cookies.push(Stage.cookieOf(session))
  }
  stage.backend.calls.length = 0
  return cookies
})

const deletesOf = (stage: Effect.Success<ReturnType<typeof Stage.make>>) =>
  stage.backend.operations.filter((operation) => operation === "delete").length

describe("a request with many authentic tokens", () => {
  const operations: Record<string, (session: Handle) => Effect.Effect<unknown, unknown>> = {
    destroy: (session) => session.destroy,
    create: (session) => session.create(eve)
  }

  it.effect("[R29] makes four deletes at most, and is answered", () =>
    Effect.gen(function* () {
      for (const [operation, change] of Object.entries(operations)) {
        for (const count of [5, 120]) {
          const stage = yield* Stage.make()
          const cookies = yield* deadCookies(stage, count)
          const send = yield* stage.open(Effect.flatMap(UserSession, (session) => Effect.as(change(session), empty)))
          const answer = yield* send("POST", "/", { cookie: cookies.join("; ") })
          const row = `${operation} with ${count}`
          assert.isBelow(answer.status, 500, row)
          assert.isAtMost(deletesOf(stage), 4, row)
        }
      }
    })
  )

  it.effect("[R29] [R47] tokens that are not ours do not count: a live session behind them ends", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const dead = yield* deadCookies(stage, 3)
      const session = yield* stage.login(ada)
      const planted = Array.from({ length: 40 }, (_, i) => `${Stage.cookieName}=planted-${i}`)
      const send = yield* stage.open(Effect.flatMap(UserSession, (session) => Effect.as(session.destroy, empty)))
      const answer = yield* send("POST", "/", { cookie: [...planted, ...dead, Stage.cookieOf(session)].join("; ") })
      assert.deepStrictEqual([answer.status, answer.setCookie.length], [204, 1])
      assert.isAtMost(deletesOf(stage), 4)
      assert.isFalse(yield* isLive(stage, session.token))
    })
  )
})
