/** Law 10. No lost update. A compare-and-set on the version, retried, or `SessionConflict`. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { versionless } from "../support/brokenBackends.ts"
import { outcome, wordOf } from "../support/outcome.ts"
import { report, resolve, rotate, scenarioOf, update, updateHeld } from "../support/races.ts"
import type { Scenario } from "../support/races.ts"
import { requestWith } from "../support/request.ts"
import { explore } from "../support/schedules.ts"
import { ada, UserSession } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"
import type { Backend } from "../support/stack.ts"
import { makeWorld, recordIn } from "../support/world.ts"
import type { World } from "../support/world.ts"

describe("two requests that have read the same version", () => {
  it.effect("law 10: [R70] keep both their updates", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const { token } = yield* sessions.create(ada)
      const requests = [requestWith(sessions, token), requestWith(sessions, token), requestWith(sessions, token)]
      for (const request of requests) yield* request.get
      for (const request of requests) yield* request.update((data) => ({ ...data, count: data.count + 1 }))
      const seen = yield* sessions.resolve(token)
      assert.deepStrictEqual([seen.data.count, seen.version], [3, 4])
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("law 10: [R70] do not replace what the other wrote: the later one is told of the conflict", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const { token } = yield* sessions.create(ada)
      const [first, second] = [requestWith(sessions, token), requestWith(sessions, token)]
      yield* first.get
      yield* second.get
      yield* first.replace({ ...ada, words: ["first"] })
      assert.strictEqual(yield* outcome(second.replace({ ...ada, words: ["second"] })), "SessionConflict")
      const seen = yield* sessions.resolve(token)
      assert.deepStrictEqual([seen.data.words, seen.version], [["first"], 2])
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("law 10: [R70] an update after a rotation by the other is refused, and not lost in silence", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const { token } = yield* sessions.create(ada)
      const [first, second] = [requestWith(sessions, token), requestWith(sessions, token)]
      yield* first.get
      yield* second.get
      const rotated = yield* first.rotate
      assert.strictEqual(
        yield* outcome(second.update((data) => ({ ...data, count: data.count + 1 }))),
        "SessionInvalid NotFound"
      )
      assert.deepStrictEqual((yield* sessions.resolve(rotated.token)).data, ada)
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )
})

const scenarios: Record<string, Scenario> = {
  "touch and rotate": { acts: { resolve, rotate }, later: 120_000 },
  "update and rotate": { acts: { update: update("update"), rotate } },
  "update and update": { acts: { update1: update("update1"), update2: update("update2") } },
  "update and update in one process": {
    acts: { update1: update("update1"), update2: update("update2") },
    shared: true
  },
  "three updates in one process": {
    acts: { update1: updateHeld("update1"), update2: update("update2"), update3: update("update3") },
    shared: true
  },
  "two updates written together after another, and another process's": {
    acts: {
      update1: updateHeld("update1"),
      update2: updateHeld("update2"),
      update3: updateHeld("update3"),
      "update of another": updateHeld("update of another")
    },
    shared: true,
    elsewhere: ["update of another"]
  },
  "updates and a rotation in one process": {
    acts: { update1: updateHeld("update1"), update2: updateHeld("update2"), update3: update("update3"), rotate },
    shared: true
  }
}

describe("every interleaving", () => {
  for (const [name, scenario] of Object.entries(scenarios)) {
    it(
      `law 10: [R69] [R70] [R72] ${name}: no resurrection, no lost update, no version going back`,
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

describe("50 at once", () => {
  const processes = async (world: World, count: number) =>
    Promise.all(Array.from({ length: count }, () => world.process()))

  /** Lets parked operations go in an order drawn from a seed, until all is done. */
  const drive = async (world: World, isDone: () => boolean) => {
    let state = 42
    for (let idle = 0; !isDone() && idle < 1000;) {
      if (world.parked.length === 0) {
        idle++
        await new Promise<void>((resolve) => setImmediate(resolve))
        continue
      }
      idle = 0
      state = (state * 1103515245 + 12345) & 0x7fffffff
      world.parked.splice(state % world.parked.length, 1)[0]!.go()
    }
  }

  for (const count of [1, 2, 5]) {
    it(`law 10: [R70] updates of one session, in ${count} process(es), keep all 50`, { timeout: 60_000 }, async () => {
      const world = await makeWorld()
      const managers = await processes(world, count)
      const fibers = Array.from({ length: 50 }, (_, i) =>
        world.fork(`u${i}`, update(`w${i}`)(world, managers[i % count]!), `process ${i % count}`)
      )
      await drive(world, () => fibers.every((fiber) => fiber.pollUnsafe() !== undefined))
      assert.deepStrictEqual([...new Set(fibers.map((fiber) => wordOf(fiber.pollUnsafe()!)))], ["ok"])
      const record = recordIn(world)!
      assert.strictEqual(new Set(JSON.parse(record.data).words).size, 50)
      // Those that wait in one process are written together.
      assert.isAtMost(record.version, count === 1 ? 5 : 51)
      assert.isAbove(record.version, count)
    })
  }

  it("law 10: [R70] of 50 replaces of one snapshot one succeeds and 49 are conflicts", async () => {
    const world = await makeWorld()
    const managers = await processes(world, 5)
    const fibers = Array.from({ length: 50 }, (_, i) =>
      world.fork(`r${i}`, managers[i % 5]!.replace(world.session, { ...ada, words: [`w${i}`] }), `process ${i % 5}`)
    )
    await drive(world, () => fibers.every((fiber) => fiber.pollUnsafe() !== undefined))
    const outcomes = fibers.map((fiber) => wordOf(fiber.pollUnsafe()!))
    assert.strictEqual(outcomes.filter((outcome) => outcome === "ok").length, 1)
    assert.strictEqual(outcomes.filter((outcome) => outcome === "SessionConflict").length, 49)
    const winner = outcomes.indexOf("ok")
    assert.deepStrictEqual(JSON.parse(recordIn(world)!.data).words, [`w${winner}`])
  })
})

describe("the checker", () => {
  const planted: Record<string, readonly [string, (memory: Backend) => Backend, RegExp]> = {
    "no version check": ["update and update", versionless, /acknowledged and is lost/]
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
