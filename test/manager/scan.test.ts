/** `scan` of the manager: all live sessions of a definition, a page at a time. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import type * as Session from "../../src/Session.ts"
import * as SessionBackend from "../../src/SessionBackend.ts"
import { fenceNamespace, onManager, seal } from "../support/onManager.ts"
import { ada, eve, type Manager, nobody, UserSession } from "../support/userSession.ts"

const walk = (manager: Manager, limit?: number) =>
  Effect.gen(function* () {
    const found: Array<Session.SessionInfo<unknown>> = []
    let pages = 0
    let after: string | undefined
    do {
      const page = yield* manager.scan({ limit, after })
      found.push(...page.sessions)
      after = page.next
      pages++
    } while (after !== undefined)
    return { found, pages }
  })

const ids = (infos: ReadonlyArray<{ readonly id: string }>) => infos.map(({ id }) => id)

describe("scan", () => {
  it.effect("shows all live sessions, anybody's and nobody's, without their tokens", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const sessions = [yield* manager.create(ada), yield* manager.create(eve), yield* manager.create(nobody)]
        const { found, pages } = yield* walk(manager)
        assert.sameMembers(ids(found), ids(sessions))
        assert.strictEqual(pages, 1)
        for (const info of found) {
          assert.notProperty(info, "token")
          assert.deepStrictEqual(Option.some(info), yield* manager.get(info.id))
        }
      })
    )
  )

  it.effect("leaves out the expired and the sealed, and the fences", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const kept = yield* manager.create(ada)
        yield* manager.create(ada, { idleTimeout: "1 minute" })
        const sealed = yield* manager.create(nobody)
        yield* seal(sealed.id)
        yield* manager.revokeAll("eve")
        assert.lengthOf(yield* watched.fences, 1)
        assert.strictEqual((yield* watched.fences)[0]!.namespace, fenceNamespace)
        yield* TestClock.adjust("2 minutes")
        assert.deepStrictEqual(ids((yield* walk(manager)).found), [kept.id])
      })
    )
  )

  it.effect("shows a session whose data do not decode without them", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const { id } = yield* manager.create(ada)
        const backend = yield* SessionBackend.SessionBackend
        yield* backend.update(UserSession.key, id, 1, { data: "[]", lastSeenAt: 0, idleExpiresAt: 0 })
        const { found } = yield* walk(manager)
        assert.deepStrictEqual(
          found.map(({ data, id }) => [id, data]),
          [[id, undefined]]
        )
      })
    )
  )

  it.effect("asks the store for a page of as many records as it is told, 250 by default", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        for (let i = 0; i < 7; i++) yield* manager.create(nobody)
        watched.calls.length = 0
        const { found, pages } = yield* walk(manager, 3)
        assert.deepStrictEqual([found.length, pages, new Set(ids(found)).size], [7, 3, 7])
        yield* manager.scan()
        assert.deepStrictEqual(
          watched.calls.map(({ args }) => (args[1] as { readonly limit: number }).limit),
          [3, 3, 3, 250]
        )
      })
    )
  )

  it.effect("a limit out of bounds is a defect, and asks for nothing", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        for (const limit of [0, -1, 1.5, NaN, 1001, Infinity]) {
          const exit = yield* Effect.exit(manager.scan({ limit }))
          assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof RangeError, String(limit))
        }
        assert.deepStrictEqual(watched.calls, [])
        yield* manager.scan({ limit: SessionBackend.maxBatch })
      })
    )
  )
})
