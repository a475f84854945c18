/**
 * Law 12. Of the sessions of one principal no more than `maxPerPrincipal` stay, and one more until the next log-in: the
 * ones seen last.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { namespaceOf } from "../../src/internal/manager/fence.ts"
import { answered, raceOf, recordsOf, withFaults } from "../support/logIns.ts"
import type { Checks, Race } from "../support/logIns.ts"
import { wordOf } from "../support/outcome.ts"
import { report } from "../support/races.ts"
import type { Act } from "../support/races.ts"
import { Actor, explore } from "../support/schedules.ts"
import type { Backend } from "../support/stack.ts"
import { ada, nobody, UserSession } from "../support/userSession.ts"

/** By a clock that is ahead, so that the order in which they are seen is not the one in which they are stored. */
const createAhead =
  (millis: number): Act =>
  (world, manager) =>
    world.ahead(millis)(manager.create(ada))

const limited = (maxPerPrincipal: number): Race => ({
  acts: { login1: createAhead(1), login2: createAhead(2), login3: createAhead(3) },
  options: { maxPerPrincipal },
  data: nobody,
  // Nobody ends all of them.
  quiet: namespaceOf(UserSession.key)
})

/** Writes down whom a session was ended by. */
const noting =
  (ended: Array<readonly [by: string, id: string]>) =>
  (memory: Backend): Backend => ({
    ...memory,
    delete: (namespace, id, options) =>
      Effect.flatMap(Actor, (acting) => {
        ended.push([acting?.name ?? "", id])
        return memory.delete(namespace, id, options)
      })
  })

const exploreLimited = (race: Race, max: number) =>
  explore(async () => {
    const ended: Array<readonly [by: string, id: string]> = []
    const checks: Checks = {
      finish: async (world, exits) => {
        const problems: Array<string> = []
        const isCalm = race.faulty === undefined
        for (const [name, exit] of Object.entries(exits)) {
          if (name !== race.faulty && !Exit.isSuccess(exit)) problems.push(`${name} ended with ${wordOf(exit)}`)
          const own = answered(exit)?.id
          if (ended.some(([by, id]) => by === name && id === own)) problems.push(`${name} ended its own session`)
        }
        const live = recordsOf(world, "ada")
        const made = Object.values(exits).flatMap((exit) => answered(exit) ?? [])
        const latest = made.toSorted((a, b) => b.lastSeenAt.epochMilliseconds - a.lastSeenAt.epochMilliseconds)
        for (const { id } of isCalm ? latest.slice(0, max) : []) {
          if (!live.some((record) => record.id === id)) problems.push("one of the latest was ended")
        }
        // One that fails is counted by the others until it is taken back.
        const failed = Object.values(exits).filter((exit) => !Exit.isSuccess(exit)).length
        if (live.length + failed < Math.min(max, made.length)) problems.push(`only ${live.length} are left`)
        if (isCalm && live.length > max + 1) problems.push(`${live.length} are left`)
        return problems
      }
    }
    return raceOf({ ...race, breaking: noting(ended) }, () => checks)()
  })

describe("every interleaving of log-ins of one principal", () => {
  for (const max of [1, 2]) {
    const races = withFaults({ "three log-ins": limited(max) }, () => ["login1", "login3"])
    for (const [name, race] of Object.entries(races)) {
      it(
        `law 12: [R46] ${name}, ${max} allowed: the latest stay, and one more at most`,
        { timeout: 120_000 },
        async () => {
          const explored = await exploreLimited(race, max)
          report(`${name}, ${max} allowed`, explored)
          assert.deepStrictEqual(explored.violations.slice(0, 3), [])
          assert.isAtLeast(explored.schedules, 2)
        }
      )
    }
  }
})
