/** Log-ins and what may happen beside them, each actor in a process of its own. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import { namespaceOf } from "../../src/internal/manager/fence.ts"
import type { LayerOptions, Session } from "../../src/Session.ts"
import type { SessionRecord } from "../../src/SessionBackend.ts"
import { isSession } from "./races.ts"
import type { Act } from "./races.ts"
import type { Run } from "./schedules.ts"
import type { Backend } from "./stack.ts"
import { UserSession } from "./userSession.ts"
import type { Data } from "./userSession.ts"
import { makeWorld } from "./world.ts"
import type { World } from "./world.ts"

type Exits = Record<string, Exit.Exit<unknown, unknown>>

export interface Race {
  readonly acts: Record<string, Act>
  /** What the world's session holds. */
  readonly data?: Data
  /** Of the actors' processes. By default none asks how many sessions there are. */
  readonly options?: LayerOptions
  /** What has happened before. */
  readonly before?: (world: World) => Promise<unknown>
  /** How many milliseconds pass before the actors start. */
  readonly later?: number
  readonly faulty?: string | undefined
  /** A namespace whose calls do not park, since nobody writes there. */
  readonly quiet?: string
  readonly breaking?: (memory: Backend) => Backend
}

export interface Checks {
  /** Looks at the state after every step. */
  readonly inspect?: (world: World, done: (actor: string) => Exit.Exit<unknown, unknown> | undefined) => Array<string>
  readonly finish: (world: World, exits: Exits) => Promise<Array<string>>
}

/** The checks are made anew for each schedule. */
export const raceOf = (race: Race, checksOf: () => Checks) => async (): Promise<Run> => {
  const world = await makeWorld(race.breaking, race.data, race.quiet)
  await race.before?.(world)
  world.time.now += race.later ?? 0
  const checks = checksOf()
  const actors: Record<string, ReturnType<World["fork"]>> = {}
  for (const [name, act] of Object.entries(race.acts)) {
    actors[name] = world.fork(name, act(world, await world.process(race.options ?? { maxPerPrincipal: false })))
  }
  return {
    parked: world.parked,
    actors,
    faulty: race.faulty,
    inspect: (done) => checks.inspect?.(world, done) ?? [],
    finish: (exits) => checks.finish(world, exits)
  }
}

/** The races with no fault, and with the calls of those actors faulty in turn, one in each schedule. */
export const withFaults = (
  races: Record<string, Race>,
  faultyOf: (name: string) => ReadonlyArray<string>
): Record<string, Race> => {
  const all = { ...races }
  for (const [name, race] of Object.entries(races)) {
    for (const faulty of faultyOf(name)) all[`${name}, of whose calls one of ${faulty} fails`] = { ...race, faulty }
  }
  return all
}

/** A token's session, if it opens one, without a touch. */
export const opened = async (world: World, token: Redacted.Redacted<string>): Promise<Session<Data> | undefined> => {
  const exit = await world.run(world.manager.resolve(token, { touch: false }))
  return Exit.isSuccess(exit) ? exit.value : undefined
}

/** The session an actor was answered. */
export const answered = (exit: Exit.Exit<unknown, unknown> | undefined): Session<Data> | undefined =>
  exit !== undefined && Exit.isSuccess(exit) && isSession(exit.value) ? (exit.value as Session<Data>) : undefined

/** The records of a principal, past all that parks. */
export const recordsOf = (
  world: World,
  principal: string,
  namespace: string = UserSession.key
): ReadonlyArray<SessionRecord> =>
  Effect.runSync(world.memory.listByPrincipal(namespace, principal, { limit: 100 })).records

/** The fence of a principal, in microseconds. */
export const fenceOf = (world: World, principal: string): number =>
  Number(recordsOf(world, principal, namespaceOf(UserSession.key))[0]?.data ?? 0)

/** Of a log-in with a function: the words that were there, and where they came from. */
export const carried =
  (word: string) =>
  (before: Option.Option<Data>): Data => ({
    username: "ada",
    words: Option.isSome(before) ? [...before.value.words, "carried", word] : [word],
    count: 0
  })
