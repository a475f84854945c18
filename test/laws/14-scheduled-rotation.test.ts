/**
 * Law 14. A scheduled rotation logs nobody out within its grace, whichever token they send, ends no session but one whose
 * old token is used after that, and neither loses an update nor disturbs a `replace`.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Redacted from "effect/Redacted"
import { answered, opened, raceOf, withFaults } from "../support/logIns.ts"
import type { Checks, Race } from "../support/logIns.ts"
import { wordOf } from "../support/outcome.ts"
import { destroy, report, resolve, update, updateHeld } from "../support/races.ts"
import type { Act } from "../support/races.ts"
import { explore } from "../support/schedules.ts"
import { ada, addWord } from "../support/userSession.ts"
import type { Manager } from "../support/userSession.ts"
import { recordIn } from "../support/world.ts"

const minute = 60_000

const look = (manager: Manager, token: Redacted.Redacted<string>) =>
  manager.resolve(token, { touch: false, rotate: true })

/** A page, and with the cookie that its answer set the next one. */
const tab: Act = ({ session }, manager) =>
  Effect.flatMap(look(manager, session.token), ({ token }) => look(manager, token))

/** A page whose answer is lost: the next one has the old cookie. */
const losing: Act = ({ session }, manager) => Effect.andThen(look(manager, session.token), look(manager, session.token))

const one: Act = ({ session }, manager) => look(manager, session.token)

/** An update by the token that the look before it answered. */
const updateBehind =
  (word: string): Act =>
  ({ session }, manager) =>
    Effect.flatMap(look(manager, session.token), ({ token }) =>
      Effect.map(manager.modify(token, addWord(word)), ([, changed]) => changed)
    )

const replace: Act = ({ session }, manager) => manager.replace(session, { ...ada, words: ["replace"] })

const races: Record<string, Race> = {
  "two tabs": { acts: { tab1: tab, tab2: tab } },
  "two tabs, one of which loses its answer": { acts: { tab, losing } },
  "two tabs, and a read": { acts: { tab1: tab, tab2: one, resolve } },
  "a tab, and updates by the old token": { acts: { tab, update1: update("update1"), update2: updateHeld("update2") } },
  "an update by the new token, and a tab": { acts: { tab, update: updateBehind("update") } },
  "a tab, an update and a log-out by the old token": { acts: { tab, update: update("update"), destroy } },
  "two tabs, and a log-out by the old token": { acts: { tab1: tab, tab2: tab, destroy } },
  "a tab, and replace": { acts: { tab, replace } },
  "two tabs, and replace": { acts: { tab1: one, tab2: tab, replace } }
}

const checksOf = (race: Race) => (): Checks => {
  const names = Object.keys(race.acts)
  let version = 1
  return {
    inspect: (world, done) => {
      const problems: Array<string> = []
      const record = recordIn(world)
      const exit = done("destroy")
      if (exit !== undefined && Exit.isSuccess(exit) && record !== undefined) {
        problems.push("there is a record after destroy returned")
      }
      if (record !== undefined && record.version < version) problems.push("the version went back")
      version = record?.version ?? version
      return problems
    },
    finish: async (world, exits) => {
      const problems: Array<string> = []
      const hasDestroy = names.includes("destroy")
      for (const [name, exit] of Object.entries(exits)) {
        const allowed = [
          "ok",
          ...(hasDestroy && name !== "destroy" ? ["SessionInvalid NotFound"] : []),
          ...(name === race.faulty ? ["SessionUnavailable unknown", "SessionUnavailable notApplied"] : [])
        ]
        if (!allowed.includes(wordOf(exit))) problems.push(`${name} ended with ${wordOf(exit)}`)
      }
      const record = recordIn(world)
      const tokens = [world.session.token, ...Object.values(exits).flatMap((exit) => answered(exit)?.token ?? [])]
      const sessions = await Promise.all(tokens.map((token) => opened(world, token)))
      const wasEnded = exits["destroy"] !== undefined && Exit.isSuccess(exits["destroy"])
      if (wasEnded && sessions.some((session) => session !== undefined))
        problems.push("a token opens after the log-out")
      if (wasEnded || record === undefined) {
        if (!hasDestroy) problems.push("the session is gone")
        return problems
      }
      if (sessions.includes(undefined)) problems.push("a token that was answered opens nothing within the grace")
      const words: ReadonlyArray<string> = JSON.parse(record.data).words
      for (const name of names.filter((name) => name.startsWith("update") || name === "replace")) {
        const exit = exits[name]
        const count = words.filter((word) => word === name).length
        if (exit !== undefined && Exit.isSuccess(exit) && count !== 1)
          problems.push(`${name} was acknowledged and is lost`)
      }
      // Whoever has the old token alone, since all answers were lost, goes on with it when the next rotation is due.
      world.time.now += 10 * minute
      const manager = await world.process(race.options)
      const late = await world.run(look(manager, world.session.token))
      const isSeen = Exit.isFailure(late)
      const isOfTabs = Object.values(race.acts).every((act) => act === tab)
      if (race.faulty === undefined && isOfTabs && !isSeen)
        problems.push("a token is good after the one in its place came")
      if (isSeen && !/Reused|NotFound/.test(wordOf(late))) problems.push(`the old token ended with ${wordOf(late)}`)
      if (!isSeen) {
        if ((await opened(world, world.session.token)) === undefined)
          problems.push("a second lost answer logs a client out")
        if ((await opened(world, late.value.token)) === undefined) problems.push("a new token opens nothing")
      }
      if (names.includes("losing") && names.length === 1 && isSeen) problems.push("a lost answer logged a client out")
      return problems
    }
  }
}

describe("every interleaving", () => {
  const faulty: Record<string, ReadonlyArray<string>> = {
    "two tabs": ["tab1"],
    "two tabs, one of which loses its answer": ["tab", "losing"],
    "a tab, an update and a log-out by the old token": ["tab", "update", "destroy"],
    "a tab, and replace": ["tab", "replace"]
  }
  const all = { "a tab that loses its answers": { acts: { losing } }, ...races }
  for (const [name, given] of Object.entries(withFaults(all, (name) => faulty[name] ?? []))) {
    const race = { ...given, options: { rotateEvery: "5 minutes", maxPerPrincipal: false }, later: 5 * minute } as const
    it(
      `law 14: [R56] [R69] [R70] ${name}: nobody is logged out, and nothing is lost`,
      { timeout: 120_000 },
      async () => {
        const explored = await explore(raceOf(race, checksOf(race)))
        report(name, explored)
        assert.deepStrictEqual(explored.violations.slice(0, 3), [])
      }
    )
  }
})
