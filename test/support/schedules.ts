/**
 * Exhaustive interleavings: a scenario's actors share a store whose every operation parks before and after its effect,
 * and all orders in which they can be let go on are tried, one run of the scenario for each.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type { Wire } from "./watchedBackend.ts"

export interface Parked {
  readonly actor: string
  readonly at: string
  readonly go: () => void
}

/** Says which actor an effect runs for. */
export const Actor = Context.Reference<string>("test/Actor", { defaultValue: () => "" })

/** Calls that wait, before and after they are made, until they are let go. Calls of no actor pass. */
export const parking =
  (parked: Array<Parked>): Wire =>
  (operation, run) =>
    Effect.flatMap(Actor, (actor) => {
      if (actor === "") return run
      const park = (at: string) =>
        Effect.callback<void>((resume) => {
          const waiting: Parked = { actor, at, go: () => resume(Effect.void) }
          parked.push(waiting)
          return Effect.sync(() => {
            const i = parked.indexOf(waiting)
            if (i >= 0) parked.splice(i, 1)
          })
        })
      return Effect.andThen(
        park(`${operation}?`),
        Effect.flatMap(Effect.exit(run), (exit) => Effect.andThen(park(`${operation}!`), exit))
      )
    })

export interface Run {
  readonly parked: Array<Parked>
  readonly actors: Record<string, Fiber.Fiber<unknown, unknown>>
  /** Looks at the state after every step; answers what is wrong with it. */
  readonly inspect: (done: (actor: string) => Exit.Exit<unknown, unknown> | undefined) => Array<string>
  /** Looks at the end. */
  readonly finish: (exits: Record<string, Exit.Exit<unknown, unknown>>) => Promise<Array<string>>
}

export interface Explored {
  readonly schedules: number
  readonly violations: ReadonlyArray<string>
}

const tick = () => new Promise<void>((resolve) => setImmediate(resolve))

/**
 * Tries every schedule, depth first. Each choice is which of the parked operations goes on; the scenario is built anew
 * for each schedule and is otherwise deterministic.
 */
export const explore = async (scenario: () => Promise<Run>, most = 100_000): Promise<Explored> => {
  const violations: Array<string> = []
  let schedules = 0
  let prefix: Array<number> = []
  for (;;) {
    const run = await scenario()
    const names = Object.keys(run.actors)
    const exitOf = (name: string) => run.actors[name]!.pollUnsafe()
    const widths: Array<number> = []
    const path: Array<number> = []
    const trace: Array<string> = []
    const found = new Set<string>()
    for (;;) {
      // Every actor has parked or ended, or waits for another's turn.
      for (let quiet = 0; quiet < 4;) {
        const busy = names.filter((name) => exitOf(name) === undefined && !run.parked.some((p) => p.actor === name))
        if (busy.length === 0) break
        const before = run.parked.length
        await tick()
        quiet = run.parked.length === before ? quiet + 1 : 0
      }
      for (const problem of run.inspect(exitOf)) found.add(problem)
      if (run.parked.length === 0) break
      const choices = run.parked.toSorted((a, b) => (a.actor + a.at < b.actor + b.at ? -1 : 1))
      const choice = prefix[path.length] ?? 0
      widths.push(choices.length)
      path.push(choice)
      const next = choices[choice]!
      trace.push(`${next.actor}:${next.at}`)
      run.parked.splice(run.parked.indexOf(next), 1)
      next.go()
    }
    const stuck = names.filter((name) => exitOf(name) === undefined)
    if (stuck.length > 0) found.add(`never ended: ${stuck.join(", ")}`)
    else {
      const exits = Object.fromEntries(names.map((name) => [name, exitOf(name)!]))
      for (const problem of await run.finish(exits)) found.add(problem)
    }
    schedules++
    for (const problem of found) violations.push(`${problem} after ${trace.join(" ")}`)
    // The next schedule differs in the last choice that has another side to it.
    let last = path.length - 1
    while (last >= 0 && path[last]! + 1 >= widths[last]!) last--
    if (last < 0 || schedules >= most) return { schedules, violations }
    prefix = [...path.slice(0, last), path[last]! + 1]
  }
}
