/** Law 8. `create` makes a fresh id and secret and revokes what the request carried, or fails and leaves no new session. */
import { assert, describe, it } from "@effect/vitest"
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { wordOf } from "../support/outcome.ts"
import { isSession, report } from "../support/races.ts"
import { requestWith } from "../support/request.ts"
import { explore } from "../support/schedules.ts"
import type { Run } from "../support/schedules.ts"
import { ada } from "../support/userSession.ts"
import type { Manager } from "../support/userSession.ts"
import { makeWorld, recordIn } from "../support/world.ts"
import type { World } from "../support/world.ts"

const carryingScenario =
  (acts: Record<string, (world: World, manager: Manager) => Effect.Effect<unknown, unknown>>) =>
  async (): Promise<Run> => {
    const world = await makeWorld()
    const actors: Run["actors"] = {}
    for (const [name, act] of Object.entries(acts)) actors[name] = world.fork(name, act(world, await world.process()))
    return {
      parked: world.parked,
      actors,
      inspect: (exitOf) =>
        Object.keys(acts).flatMap((name) => {
          const exit = exitOf(name)
          return exit !== undefined && Exit.isSuccess(exit) && recordIn(world) !== undefined
            ? [`the carried session is there after ${name} returned`]
            : []
        }),
      finish: async (exits) => {
        const problems: Array<string> = []
        if (Exit.isSuccess(await world.run(world.manager.resolve(world.session.token))))
          problems.push("the carried token opens")
        for (const [name, exit] of Object.entries(exits)) {
          if (Exit.isFailure(exit)) problems.push(`${name} ended with ${wordOf(exit)}`)
          else if (isSession(exit.value)) {
            const made = await world.run(world.manager.resolve(exit.value.token))
            if (Exit.isFailure(made)) problems.push(`the session of ${name} does not open`)
          }
        }
        return problems
      }
    }
  }

const logIn = (world: World, manager: Manager) =>
  requestWith(manager, world.session.token).create({ ...ada, words: ["new"] })

describe("every interleaving of requests that carry one session", () => {
  const cases = {
    "create and destroy": { create: logIn, destroy: (w: World, m: Manager) => requestWith(m, w.session.token).destroy },
    "create and create": { create1: logIn, create2: logIn }
  }
  for (const [name, acts] of Object.entries(cases)) {
    it(`law 8: [R46] [R69] ${name}: the carried session is dead, the new ones live`, { timeout: 120_000 }, async () => {
      const explored = await explore(carryingScenario(acts))
      report(name, explored)
      assert.deepStrictEqual(explored.violations.slice(0, 3), [])
      assert.isAtLeast(explored.schedules, 6)
    })
  }
})
