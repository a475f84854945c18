/**
 * Law 9. No resurrection. A request that starts after a logout or revocation has returned is never authenticated by that
 * session. `update` and `touch` need the record to be there; nothing is an upsert.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import type { Session } from "../../src/Session.ts"
import { forgetful, touchUpserting, upserting } from "../support/brokenBackends.ts"
import { outcome, wordOf } from "../support/outcome.ts"
import { destroy, report, resolve, revokeAll, rotate, scenarioOf, update, updateHeld } from "../support/races.ts"
import type { Act, Scenario } from "../support/races.ts"
import { stored } from "../support/records.ts"
import { requestWith } from "../support/request.ts"
import { explore } from "../support/schedules.ts"
import { ada, addWord, user, UserSession } from "../support/userSession.ts"
import type { Data, Manager } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"
import type { Backend } from "../support/stack.ts"
import { makeWorld, recordIn } from "../support/world.ts"

describe("after it has ended", () => {
  const endings: Record<string, (manager: Manager, session: Session<Data>) => Effect.Effect<unknown, unknown>> = {
    destroy: (manager, session) => manager.destroy(session.token),
    revoke: (manager, session) => manager.revoke(session.id, { principal: "ada" }),
    revokeAny: (manager, session) => manager.revokeAny(session.id),
    revokeAll: (manager) => manager.revokeAll("ada"),
    "the request's destroy": (manager, session) => requestWith(manager, session.token).destroy,
    "the request's revokeAll": (manager, session) => requestWith(manager, session.token).revokeAll,
    "a log-in of the request": (manager, session) => requestWith(manager, session.token).create(user("eve"))
  }
  for (const [ending, end] of Object.entries(endings)) {
    it.effect(`law 9: [R69] no call brings a session back that ${ending} has ended`, () =>
      Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        const first = yield* sessions.create(ada)
        const [, changed] = yield* sessions.modify(first, addWord("x"))
        const rotated = yield* sessions.rotate(changed)
        // A request that had read the session by then.
        const request = requestWith(sessions, rotated.token)
        yield* request.get
        yield* end(sessions, rotated)
        for (const later of [0, 120_000]) {
          // Long enough, and a touch would be due.
          yield* TestClock.adjust(later)
          for (const held of [first, changed, rotated]) {
            for (const attempt of [
              Effect.asVoid(sessions.resolve(held.token)),
              Effect.asVoid(sessions.modify(held, addWord("late"))),
              Effect.asVoid(sessions.modify(held.token, addWord("late"))),
              Effect.asVoid(sessions.replace(held, ada)),
              Effect.asVoid(sessions.rotate(held)),
              Effect.asVoid(requestWith(sessions, held.token).get),
              Effect.asVoid(requestWith(sessions, held.token).update((data) => ({ ...data, count: 1 })))
            ]) {
              assert.strictEqual(yield* outcome(attempt), "SessionInvalid NotFound")
            }
          }
          assert.strictEqual(
            yield* outcome(request.update((data) => ({ ...data, count: 1 }))),
            "SessionInvalid NotFound"
          )
          assert.strictEqual(yield* outcome(request.get), "SessionInvalid NotFound")
          assert.isTrue(Option.isNone(yield* stored(UserSession, first.id)))
          assert.deepStrictEqual(yield* sessions.list("ada"), [])
        }
      }).pipe(Effect.provide(Stack.manager(UserSession)))
    )
  }
})

const scenarios: Record<string, Scenario> = {
  "update and destroy": { acts: { update: update("update"), destroy } },
  "update of a session at hand and destroy": { acts: { update: updateHeld("update"), destroy } },
  "touch and destroy": { acts: { resolve, destroy }, later: 120_000 },
  "touch, update and destroy": { acts: { resolve, update: update("update"), destroy }, later: 120_000 },
  "rotate and destroy": { acts: { rotate, destroy } },
  "update, rotate and destroy in one process": {
    acts: { update: update("update"), rotate, destroy },
    shared: true
  },
  "updates written together and destroy": {
    acts: { update1: updateHeld("update1"), update2: updateHeld("update2"), update3: update("update3"), destroy },
    shared: true
  },
  "revokeAll and update": { acts: { revokeAll, update: update("update") } },
  "revokeAll, touch and rotate": { acts: { revokeAll, resolve, rotate }, later: 120_000 },
  "destroy and destroy": { acts: { destroy1: destroy, destroy2: destroy } },
  "update, rotate and destroy": { acts: { update: update("update"), rotate, destroy } }
}

describe("every interleaving", () => {
  for (const [name, scenario] of Object.entries(scenarios)) {
    it(
      `law 9: [R69] [R70] [R72] ${name}: no resurrection, no lost update, no version going back`,
      { timeout: 300_000 },
      async () => {
        const explored = await explore(scenarioOf(scenario))
        report(name, explored)
        assert.deepStrictEqual(explored.violations.slice(0, 3), [])
        assert.isAtLeast(explored.schedules, 2)
      }
    )
  }
})

describe("many schedules", () => {
  it(
    "law 9: [R56] [R69] 10^4 random schedules of five processes: nothing is there once destroy has returned",
    {
      timeout: 300_000
    },
    async () => {
      let state = 7
      const next = (bound: number) => {
        state = (state * 1103515245 + 12345) & 0x7fffffff
        return (state >> 8) % bound
      }
      for (let round = 0; round < 10_000; round++) {
        const world = await makeWorld()
        const { manager } = world
        world.time.now += next(2) * 120_000
        const acts: ReadonlyArray<Act> = [update("a"), updateHeld("b"), rotate, resolve, destroy]
        const fibers = acts.map((act, i) => world.fork(`a${i}`, act(world, manager), "shared"))
        const ended = fibers[4]!
        for (;;) {
          for (let i = 0; i < 3 && world.parked.length === 0; i++) {
            await new Promise<void>((resolve) => setImmediate(resolve))
          }
          if (world.parked.length === 0) break
          if (ended.pollUnsafe() !== undefined) assert.isUndefined(recordIn(world))
          world.parked.splice(next(world.parked.length), 1)[0]!.go()
        }
        assert.strictEqual(wordOf(ended.pollUnsafe()!), "ok")
        assert.isTrue(fibers.every((fiber) => fiber.pollUnsafe() !== undefined))
        assert.isUndefined(recordIn(world))
      }
    }
  )
})

describe("the checker", () => {
  const planted: Record<string, readonly [string, (memory: Backend) => Backend, RegExp]> = {
    "an update that upserts": ["update and destroy", upserting, /came back|after destroy returned/],
    "a rotation that upserts": ["rotate and destroy", upserting, /came back|after destroy returned/],
    "an update of several that upserts": [
      "updates written together and destroy",
      upserting,
      /came back|after destroy returned/
    ],
    "an update that upserts, against revokeAll": ["revokeAll and update", upserting, /came back|revokeAll returned/],
    "a touch that upserts": ["touch and destroy", touchUpserting, /came back|after destroy returned/],
    "a delete that does nothing": ["update and destroy", forgetful, /after destroy returned/]
  }
  for (const [bug, [name, breaking, expected]] of Object.entries(planted)) {
    it(`finds ${bug}`, { timeout: 300_000 }, async () => {
      const explored = await explore(scenarioOf({ ...scenarios[name]!, breaking }))
      report(`${bug} (${name})`, explored)
      assert.isTrue(
        explored.violations.some((violation) => expected.test(violation)),
        explored.violations[0]
      )
    })
  }
})
