/** What may happen to one session at once, and what must hold whatever order it happens in. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Session } from "../../src/Session.ts"
import { wordOf } from "./outcome.ts"
import type { Explored, Run } from "./schedules.ts"
import { addWord } from "./userSession.ts"
import type { Data, Manager } from "./userSession.ts"
import type { Backend } from "./stack.ts"
import { makeWorld, recordIn } from "./world.ts"
import type { World } from "./world.ts"

export type Act = (world: World, manager: Manager) => Effect.Effect<unknown, unknown>

export const update =
  (word: string): Act =>
  ({ session }, manager) =>
    Effect.map(manager.modify(session.token, addWord(word)), ([, changed]) => changed)
/** From the snapshot at hand, without a read: the first compare-and-set goes by what was known before. */
export const updateHeld =
  (word: string): Act =>
  ({ session }, manager) =>
    Effect.map(manager.modify(session, addWord(word)), ([, changed]) => changed)
export const rotate: Act = ({ session }, manager) => manager.rotate(session.token)
export const destroy: Act = ({ session }, manager) => manager.destroy(session.token)
export const revokeAll: Act = (_, manager) => manager.revokeAll("ada")
export const resolve: Act = ({ session }, manager) => manager.resolve(session.token)

export interface Scenario {
  readonly acts: Record<string, Act>
  /** One process for all, in place of one for each. */
  readonly shared?: boolean
  /** The actors that have a process of their own even so. */
  readonly elsewhere?: ReadonlyArray<string>
  /** How many milliseconds pass before the actors start: with 120,000 a touch is due. */
  readonly later?: number
  readonly breaking?: (memory: Backend) => Backend
}

export const isSession = (value: unknown): value is Session<Data> =>
  typeof value === "object" && value !== null && "token" in value

export const scenarioOf = (scenario: Scenario) => async (): Promise<Run> => {
  const world = await makeWorld(scenario.breaking)
  world.time.now += scenario.later ?? 0
  const actors: Record<string, ReturnType<typeof Effect.runFork>> = {}
  const one = scenario.shared === true ? await world.process() : undefined
  for (const [name, act] of Object.entries(scenario.acts)) {
    const isShared = one !== undefined && scenario.elsewhere?.includes(name) !== true
    actors[name] = world.fork(name, act(world, isShared ? one : await world.process()), isShared ? "shared" : name)
  }
  const ends = Object.keys(scenario.acts).filter((name) => name.startsWith("destroy") || name.startsWith("revoke"))
  const updates = Object.keys(scenario.acts).filter((name) => name.startsWith("update"))
  let version = 1
  let wasGone = false
  return {
    parked: world.parked,
    actors,
    inspect: (exitOf) => {
      const problems: Array<string> = []
      const record = recordIn(world)
      if (record !== undefined) {
        if (wasGone) problems.push("the record came back")
        if (record.version < version) problems.push(`the version went back from ${version} to ${record.version}`)
        version = record.version
        for (const name of ends) {
          const exit = exitOf(name)
          if (exit !== undefined && Exit.isSuccess(exit)) problems.push(`there is a record after ${name} returned`)
        }
      }
      wasGone ||= record === undefined
      return problems
    },
    finish: async (exits) => {
      const problems: Array<string> = []
      for (const [name, exit] of Object.entries(exits)) {
        const word = wordOf(exit)
        if (word !== "ok" && word !== "SessionInvalid NotFound") problems.push(`${name} ended with ${word}`)
        if (ends.includes(name) && word !== "ok") problems.push(`${name} did not end the session`)
        if (ends.length === 0 && name.startsWith("rotate") && word !== "ok") problems.push(`${name} did not rotate`)
      }
      const record = recordIn(world)
      const tokens = [
        world.session.token,
        ...Object.values(exits).flatMap((exit) =>
          Exit.isSuccess(exit) && isSession(exit.value) ? [exit.value.token] : []
        )
      ]
      const opens = await Promise.all(tokens.map((token) => world.run(world.manager.resolve(token))))
      if (ends.length > 0) {
        if (record !== undefined) problems.push("there is a record at the end")
        if (opens.some(Exit.isSuccess)) problems.push("a token opens a session that has ended")
        return problems
      }
      const rotated = exits["rotate"]
      if (rotated !== undefined && Exit.isSuccess(rotated)) {
        if (Exit.isSuccess(opens[0]!)) problems.push("the token from before the rotation still opens")
        const now = await world.run(world.manager.resolve((rotated.value as Session<Data>).token))
        if (Exit.isFailure(now)) problems.push("the rotated token does not open")
      }
      const words: ReadonlyArray<string> = record === undefined ? [] : JSON.parse(record.data).words
      for (const name of updates) {
        const isThere = words.filter((word) => word === name).length
        if (Exit.isSuccess(exits[name]!) && isThere !== 1) problems.push(`${name} was acknowledged and is lost`)
        if (Exit.isFailure(exits[name]!) && isThere !== 0) problems.push(`${name} failed and is there`)
      }
      return problems
    }
  }
}

export const report = (name: string, explored: Explored) =>
  console.log(`${name}: ${explored.schedules} schedules, ${explored.violations.length} violations`)
