/** Law 12. A log-in that began before its user's sessions were ended leaves none. */
import { assert, describe, it } from "@effect/vitest"
import * as Exit from "effect/Exit"
import type { CreateOptions } from "../../src/Session.ts"
import { unfenced, versionless } from "../support/brokenBackends.ts"
import { answered, carried, fenceOf, opened, raceOf, recordsOf, withFaults } from "../support/logIns.ts"
import type { Checks, Race } from "../support/logIns.ts"
import { wordOf } from "../support/outcome.ts"
import { report } from "../support/races.ts"
import type { Act } from "../support/races.ts"
import { requestWith } from "../support/request.ts"
import { explore } from "../support/schedules.ts"
import type { Backend } from "../support/stack.ts"
import { ada, nobody } from "../support/userSession.ts"
import type { World } from "../support/world.ts"

/** So many microseconds after the world's own time. */
const at = (world: World, micros: number): bigint => BigInt(world.time.now) * 1_000_000n + BigInt(micros) * 1000n

/** When each actor began, or before when it ends the sessions, in microseconds. */
type Times = Record<string, number>

const create =
  (micros: number, options?: CreateOptions): Act =>
  (world, manager) =>
    manager.create(ada, { ...options, began: at(world, micros) })
const createFrom =
  (micros: number): Act =>
  (world, manager) =>
    manager.createFrom(world.session, carried("log-in"), { began: at(world, micros) })
const revokeAll =
  (micros: number): Act =>
  (world, manager) =>
    manager.revokeAll("ada", { before: at(world, micros) })
const revokeOthers =
  (micros: number): Act =>
  (world, manager) =>
    world.ahead(micros / 1000)(requestWith(manager, world.session.token).revokeOthers)

const acts = {
  login: create,
  "login in place of a session": createFrom,
  "login of another": create,
  revokeAll,
  "revokeAll of another": revokeAll,
  revokeOthers
} satisfies Record<string, (micros: number) => Act>

/** Who takes part, and when each began. Whole milliseconds, where a clock says so. */
const times: Record<string, Times> = {
  "a log-in that began before, and revokeAll": { login: -1, revokeAll: 0 },
  "a log-in that began after, and revokeAll": { login: 1, revokeAll: 0 },
  "a log-in at that very time, and revokeAll": { login: 0, revokeAll: 0 },
  "log-ins before and after, and revokeAll": { login: -1, "login of another": 1, revokeAll: 0 },
  "a log-in in place of a session, and revokeAll": { "login in place of a session": -1, revokeAll: 0 },
  "a log-in before, and revokeOthers": { login: -1, revokeOthers: 0 },
  "log-ins before and after, and revokeOthers": { login: -1, "login of another": 1, revokeOthers: 0 },
  "a log-in between two times of revokeAll": { login: 0, revokeAll: -10, "revokeAll of another": 10 },
  "a log-in before two times of revokeAll": { login: -20, revokeAll: -10, "revokeAll of another": 10 },
  "a log-in after two times of revokeAll": { login: 20, revokeAll: -10, "revokeAll of another": 10 }
}

/** The same where there is a fence already, which two raise at once. */
for (const name of ["a log-in between", "a log-in before"]) {
  times[`${name} two times of revokeAll, with a fence`] = times[`${name} two times of revokeAll`]!
}

const fencing: Record<string, Race> = Object.fromEntries(
  Object.entries(times).map(([name, began]): [string, Race] => [
    name,
    {
      acts: Object.fromEntries(
        Object.entries(began).map(([actor, micros]) => [actor, acts[actor as keyof typeof acts](micros)])
      ),
      data: name.includes("Others") ? ada : nobody,
      ...(name.endsWith("with a fence") && {
        before: (world) => world.run(world.manager.revokeAll("ada", { before: at(world, -100) }))
      })
    }
  ])
)

const fenceChecks = (race: Race, began: Times) => (): Checks => {
  let fence = 0
  const isEnding = (name: string) => name.startsWith("revoke")
  return {
    inspect: (world) => {
      const before = fence
      fence = fenceOf(world, "ada")
      return fence < before ? [`the fence went back from ${before} to ${fence}`] : []
    },
    finish: async (world, exits) => {
      const problems: Array<string> = []
      const latest = Math.max(...Object.entries(began).flatMap(([name, time]) => (isEnding(name) ? [time] : [])))
      const raised = Math.max(
        -Infinity,
        ...Object.entries(exits).flatMap(([name, exit]) =>
          isEnding(name) && Exit.isSuccess(exit) ? [began[name]!] : []
        )
      )
      const known = new Set<string>([world.session.id])
      for (const [name, exit] of Object.entries(exits)) {
        const allowed = [
          "ok",
          // The session that it would replace is of nobody.
          ...(!isEnding(name) && began[name]! < latest ? ["SessionInvalid Superseded"] : []),
          ...(race.faulty === name ? ["SessionUnavailable unknown", "SessionUnavailable notApplied"] : [])
        ]
        if (!allowed.includes(wordOf(exit))) problems.push(`${name} ended with ${wordOf(exit)}`)
        const session = isEnding(name) ? undefined : answered(exit)
        if (session === undefined) continue
        known.add(session.id)
        const isOpen = (await opened(world, session.token)) !== undefined
        if (isOpen && began[name]! < raised) problems.push(`${name} began before all were ended, and stands`)
      }
      const strays = recordsOf(world, "ada").filter(({ id }) => !known.has(id))
      if (race.faulty === undefined && strays.length > 0) problems.push("a log-in that failed left a session")
      const next = await world.run(world.manager.create(ada, { began: at(world, 1000) }))
      if (Exit.isFailure(next) || (await opened(world, next.value.token)) === undefined) {
        problems.push("a log-in that began after all that does not stand")
      }
      return problems
    }
  }
}

describe("every interleaving of log-ins and the end of all sessions", () => {
  const faulty = new Set([
    "a log-in that began before, and revokeAll",
    "a log-in before two times of revokeAll, with a fence",
    "log-ins before and after, and revokeOthers"
  ])
  const races = withFaults(fencing, (name) => (faulty.has(name) ? Object.keys(times[name]!) : []))
  for (const [name, race] of Object.entries(races)) {
    const began = times[name.split(", of whose")[0]!]!
    it(`law 12: [R49] [R69] ${name}: no session stands that began before`, { timeout: 120_000 }, async () => {
      const explored = await explore(raceOf(race, fenceChecks(race, began)))
      report(name, explored)
      assert.deepStrictEqual(explored.violations.slice(0, 3), [])
      assert.isAtLeast(explored.schedules, 2)
    })
  }
})

describe("the checker", () => {
  const planted: Record<string, readonly [string, (memory: Backend) => Backend, RegExp]> = {
    "a fence that can shrink": [
      "a log-in between two times of revokeAll, with a fence",
      versionless,
      /the fence went back/
    ],
    "a fence that is not stored": ["a log-in that began before, and revokeAll", unfenced, /began before all were ended/]
  }
  for (const [bug, [name, breaking, expected]] of Object.entries(planted)) {
    it(`finds ${bug}`, { timeout: 120_000 }, async () => {
      const race = { ...fencing[name]!, breaking }
      const explored = await explore(raceOf(race, fenceChecks(race, times[name]!)))
      report(`${bug} (${name})`, explored)
      assert.isTrue(
        explored.violations.some((violation) => expected.test(violation)),
        explored.violations[0]
      )
    })
  }
})
