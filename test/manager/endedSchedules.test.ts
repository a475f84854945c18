/**
 * Every interleaving of one who waits for the end of a session with what may end it: no time passes, so that what a hint
 * does not tell is never found. One who waits is told nothing while the session stands, and is told once it has ended.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { lineOf } from "../../src/internal/manager/extension.ts"
import type { LayerOptions } from "../../src/Session.ts"
import { destroy, report, revokeAll, rotate, update } from "../support/races.ts"
import type { Act } from "../support/races.ts"
import { explore } from "../support/schedules.ts"
import type { Run } from "../support/schedules.ts"
import { ada, UserSession } from "../support/userSession.ts"
import { makeWorld, recordIn } from "../support/world.ts"

interface Scenario {
  readonly acts: Record<string, Act>
  readonly options?: LayerOptions
  /** How many milliseconds pass before the actors start. */
  readonly later?: number
  readonly faulty?: string
  /** Whether they share a process with the one who waits. */
  readonly shared?: boolean
}

const createFrom: Act = ({ session }, manager) => manager.createFrom(session.token, () => ada)
const reauthenticate: Act = ({ session }, manager) => manager.reauthenticate(session.token)
const arrive: Act = ({ session }, manager) => manager.resolve(session.token, { rotate: true })

const scenarioOf =
  ({ acts, faulty, later = 0, options, shared = false }: Scenario) =>
  async (): Promise<Run> => {
    const world = await makeWorld(undefined, ada, `${UserSession.key}/fence`)
    world.time.now += later
    const one = await world.process(options)
    const line = lineOf(recordIn(world)!)
    const actors: Run["actors"] = {}
    actors["wait"] = world.fork("wait", one.ended(world.session), shared ? "shared" : "wait")
    for (const [name, act] of Object.entries(acts)) {
      const manager = shared ? one : await world.process(options)
      actors[name] = world.fork(name, act(world, manager), shared ? "shared" : name)
    }
    return {
      parked: world.parked,
      actors,
      faulty,
      inspect: (exitOf) => {
        const record = recordIn(world)
        return exitOf("wait") !== undefined && record !== undefined && lineOf(record) === line
          ? ["who waits was told of an end while the session stands"]
          : []
      },
      // One who was not told is reported by the explorer, as never ended.
      finish: async () => []
    }
  }

describe("every interleaving of one who waits", () => {
  const cases: Record<string, Scenario> = {
    "and a log-out": { acts: { destroy } },
    "and a log-out, in one process": { acts: { destroy }, shared: true },
    "and the end of all of the user's sessions": { acts: { revokeAll } },
    "and a rotation": { acts: { rotate } },
    "and a log-in that replaces the session": { acts: { createFrom } },
    "and a new proof of who the user is": { acts: { reauthenticate } },
    "a change, and a log-out": { acts: { update: update("update"), destroy } },
    "a log-in that may fail, be late or crash, and a log-out": { acts: { createFrom, destroy }, faulty: "createFrom" },
    "a scheduled rotation, and a log-out": {
      acts: { arrive, destroy },
      options: { rotateEvery: "5 minutes" },
      later: 6 * 60_000
    }
  }
  for (const [name, scenario] of Object.entries(cases)) {
    it(`${name}: is told, and never while the session stands`, { timeout: 120_000 }, async () => {
      const explored = await explore(scenarioOf(scenario))
      report(name, explored)
      assert.deepStrictEqual(explored.violations.slice(0, 3), [])
      assert.isAtLeast(explored.schedules, 2)
    })
  }

  it("the check finds a session that ends unseen, and an end that was none", { timeout: 120_000 }, async () => {
    const unseen = await explore(scenarioOf({ acts: { update: update("update") } }))
    assert.match(unseen.violations[0]!, /^never ended: wait/)
    const early = await explore(async () => {
      const run = await scenarioOf({ acts: { destroy } })()
      return { ...run, actors: { ...run.actors, wait: Effect.runFork(Effect.void) } }
    })
    assert.match(early.violations[0]!, /^who waits was told of an end while the session stands/)
  })
})
