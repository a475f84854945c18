/**
 * Law 13. What a visitor did is not lost at log-in. `create` with a function, and `reauthenticate`, put a session in place
 * of another with all the updates of it that were answered, or leave it as it was.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { forgetful, versionless } from "../support/brokenBackends.ts"
import type { Session } from "../../src/Session.ts"
import { answered, carried, opened, raceOf, withFaults } from "../support/logIns.ts"
import type { Checks, Race } from "../support/logIns.ts"
import { wordOf } from "../support/outcome.ts"
import { destroy, report, revokeAll, update } from "../support/races.ts"
import type { Act } from "../support/races.ts"
import { requestWith } from "../support/request.ts"
import { explore } from "../support/schedules.ts"
import type { Backend } from "../support/stack.ts"
import { ada, nobody } from "../support/userSession.ts"
import type { Data } from "../support/userSession.ts"
import { recordIn } from "../support/world.ts"

/** A handler that has not read the session. */
const logIn =
  (word: string): Act =>
  ({ session }, manager) =>
    manager.createFrom(session.token, carried(word))

/** A handler that has, and then checks the password. */
const logInHeld =
  (word: string): Act =>
  ({ session }, manager) =>
    manager.createFrom(session, carried(word))

const logInOfRequest =
  (word: string): Act =>
  ({ session }, manager) => {
    const request = requestWith(manager, session.token)
    return Effect.andThen(request.get, request.create(carried(word)))
  }

const logInOfUnread =
  (word: string): Act =>
  ({ session }, manager) =>
    requestWith(manager, session.token).create(carried(word))

/** It began before all that happens. */
const logInEarly =
  (word: string): Act =>
  ({ session, time }, manager) =>
    manager.createFrom(session, carried(word), { began: BigInt(time.now) * 1_000_000n - 1000n })

const reauthenticate: Act = ({ session }, manager) => manager.reauthenticate(session, { methods: ["pwd"] })

const races: Record<string, Race> = {
  "log-ins in two tabs": { acts: { tab1: logInHeld("tab1"), tab2: logInHeld("tab2") } },
  "log-ins in two tabs that have not read the session": { acts: { tab1: logIn("tab1"), tab2: logIn("tab2") } },
  "requests in two tabs that have not read the session": {
    acts: { tab1: logInOfUnread("tab1"), tab2: logInOfUnread("tab2") }
  },
  "log-ins in two tabs, and update": {
    acts: { tab1: logInHeld("tab1"), tab2: logInHeld("tab2"), update: update("update") }
  },
  "log-ins in two tabs, and log-out": { acts: { tab1: logInHeld("tab1"), tab2: logInHeld("tab2"), destroy } },
  "log-ins in two tabs, and revokeAll": { acts: { tab1: logInEarly("tab1"), tab2: logInHeld("tab2"), revokeAll } },
  "log-in, update and log-out": { acts: { tab1: logInHeld("tab1"), update: update("update"), destroy } },
  "log-in, update and revokeAll": { acts: { tab1: logInEarly("tab1"), update: update("update"), revokeAll } },
  "log-in of a request, and two updates": {
    acts: { tab1: logInOfRequest("tab1"), update1: update("update1"), update2: update("update2") }
  },
  "log-in of one who is logged in, update and revokeAll": {
    acts: { tab1: logInEarly("tab1"), update: update("update"), revokeAll },
    data: ada
  },
  "reauthenticate, update and log-out": {
    acts: { tab1: reauthenticate, update: update("update"), destroy },
    data: ada
  },
  "reauthenticate and two updates": {
    acts: { tab1: reauthenticate, update1: update("update1"), update2: update("update2") },
    data: ada
  },
  "reauthenticate in two tabs": { acts: { tab1: reauthenticate, tab2: reauthenticate }, data: ada }
}

/** The log-in, and once each of what may be beside it. */
const faultyOf = (name: string): ReadonlyArray<string> => {
  if (name === "log-in, update and log-out") return ["tab1", "update", "destroy"]
  if (name === "log-in, update and revokeAll") return ["tab1", "revokeAll"]
  return ["tab1"]
}

const isLogIn = (name: string): boolean => name.startsWith("tab")

const checksOf = (race: Race) => (): Checks => {
  const names = Object.keys(race.acts)
  /** Whether it has what the visitor did. */
  const isHeir = ({ data }: Session<Data>) => data.words.includes("carried") || race.acts["tab1"] === reauthenticate
  return {
    inspect: (world, done) => {
      const problems: Array<string> = []
      if (recordIn(world) === undefined) return problems
      const exit = done("destroy")
      if (exit !== undefined && Exit.isSuccess(exit)) problems.push("there is a record after destroy returned")
      for (const name of names.filter(isLogIn)) {
        const made = answered(done(name))
        if (made !== undefined && !isHeir(made))
          problems.push(`${name} took over nothing, and the old session is there`)
      }
      return problems
    },
    finish: async (world, exits) => {
      const problems: Array<string> = []
      const isCalm = race.faulty === undefined
      const allowed = (name: string): ReadonlyArray<string> => [
        "ok",
        ...(name === "destroy" || name === "revokeAll" ? [] : ["SessionInvalid NotFound"]),
        ...(isLogIn(name) && names.includes("revokeAll") ? ["SessionInvalid Superseded"] : []),
        ...(name === race.faulty ? ["SessionUnavailable unknown", "SessionUnavailable notApplied"] : [])
      ]
      for (const [name, exit] of Object.entries(exits)) {
        if (!allowed(name).includes(wordOf(exit))) problems.push(`${name} ended with ${wordOf(exit)}`)
      }
      const wasEnded = (by: string) =>
        names.includes(by) && (exits[by] === undefined || by === race.faulty || Exit.isSuccess(exits[by]))
      const isRevoked = wasEnded("revokeAll")
      const old = await opened(world, world.session.token)
      const made = names.filter(isLogIn).flatMap((name) => answered(exits[name]) ?? [])
      const heirs = made.filter(isHeir)
      const standing = await Promise.all(heirs.map(({ token }) => opened(world, token)))
      if (heirs.length > 1) problems.push("two sessions were made from one")
      if (old !== undefined && heirs.length > 0) problems.push("the old session stands beside the new one")
      if (!isRevoked && standing.includes(undefined)) problems.push("the new session does not open")
      if (isCalm && made.length === 0 && !names.includes("destroy") && !names.includes("revokeAll")) {
        problems.push("nobody was logged in")
      }

      const hasCrashed = race.faulty !== undefined && exits[race.faulty] === undefined
      const isKept = heirs.length > 0 || (hasCrashed && isLogIn(race.faulty!))
      const isEnded = wasEnded("destroy") || (isRevoked && race.data !== undefined)
      if (old === undefined && !isKept && !isEnded) problems.push("the log-in failed, and the old token does not open")
      const words = [...(old?.data.words ?? []), ...heirs.flatMap(({ data }) => data.words)]
      const stored = recordIn(world)
      // A log-in that crashed leaves what there was in the store.
      if (stored !== undefined) words.push(...(JSON.parse(stored.data) as { words: Array<string> }).words)
      for (const name of names.filter((name) => name.startsWith("update"))) {
        const exit = exits[name]
        const isLost = !words.includes(name) && !isEnded && !(hasCrashed && isLogIn(race.faulty!))
        if (exit !== undefined && Exit.isSuccess(exit) && isLost) problems.push(`${name} was acknowledged and is lost`)
      }
      return problems
    }
  }
}

describe("every interleaving", () => {
  for (const [name, given] of Object.entries(withFaults(races, faultyOf))) {
    const race = { data: nobody, ...given }
    it(
      `law 13: [R46] [R69] [R70] ${name}: no update is lost, and there are never two heirs`,
      { timeout: 120_000 },
      async () => {
        const explored = await explore(raceOf(race, checksOf(given)))
        report(name, explored)
        assert.deepStrictEqual(explored.violations.slice(0, 3), [])
        assert.isAtLeast(explored.schedules, 2)
      }
    )
  }
})

describe("the checker", () => {
  const planted: Record<string, readonly [string, (memory: Backend) => Backend, RegExp]> = {
    "a seal at whatever version there is": ["log-ins in two tabs", versionless, /two sessions were made from one/],
    "a log-out that does nothing": ["log-in, update and log-out", forgetful, /after destroy returned/]
  }
  for (const [bug, [name, breaking, expected]] of Object.entries(planted)) {
    it(`finds ${bug}`, { timeout: 120_000 }, async () => {
      const race = { data: nobody, ...races[name]!, breaking }
      const explored = await explore(raceOf(race, checksOf(race)))
      report(`${bug} (${name})`, explored)
      assert.isTrue(
        explored.violations.some((violation) => expected.test(violation)),
        explored.violations[0]
      )
    })
  }
})
