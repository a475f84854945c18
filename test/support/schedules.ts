/**
 * Exhaustive interleavings: a scenario's actors share a store whose every call parks, and all orders in which the calls
 * can be let go on are tried, one run of the scenario for each.
 *
 * Of orders that differ only in calls that commute one is tried ("sleep sets", Godefroid 1996): each state that can be
 * reached is reached all the same. Calls commute if they are of different processes, and about different records or both
 * only read.
 *
 * The calls of one actor may be faulty, one of them in each run.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type { SessionRecord } from "../../src/SessionBackend.ts"
import { failure } from "./watchedBackend.ts"
import type { Wire } from "./watchedBackend.ts"

/**
 * A call that is not made, or made and not answered; one whose caller is told so before it is made; and an actor that
 * never goes on.
 */
export type Fault = "lost request" | "lost reply" | "late" | "crash"

/** What a call reads or writes: one record, or all of a namespace. */
interface Footprint {
  readonly namespace: string
  readonly id: string | undefined
  readonly writes: boolean
}

export interface Parked {
  readonly actor: string
  readonly process: string
  /** The operation, numbered among the calls of its actor, with `!` once it is made. */
  readonly at: string
  /** Nothing, where it has been made. */
  readonly footprint: Footprint | undefined
  readonly go: (fault?: Exclude<Fault, "crash">) => void
}

/** Whom an effect runs for, and in which process. */
export interface Acting {
  readonly name: string
  readonly process: string
  calls: number
}

export const Actor = Context.Reference<Acting | undefined>("test/Actor", { defaultValue: () => undefined })

const footprintOf = (operation: string, args: ReadonlyArray<unknown>): Footprint => {
  const writes = operation !== "read" && operation !== "listByPrincipal" && operation !== "scan"
  // Two of them commute: no test goes by the order in which records made at one time are listed.
  if (operation === "create") {
    const { id, namespace } = args[0] as SessionRecord
    return { namespace, id, writes }
  }
  const isOfAll = operation === "deleteByPrincipal" || operation === "listByPrincipal" || operation === "scan"
  return { namespace: args[0] as string, id: isOfAll ? undefined : (args[1] as string), writes }
}

/**
 * Calls that wait until they are let go. Calls of no actor pass, and those in a namespace in which nothing happens in this
 * scenario. Replies wait where actors share a process.
 */
export const parking =
  (parked: Array<Parked>, quiet?: string): Wire =>
  (operation, run, args) =>
    Effect.flatMap(Actor, (acting) => {
      if (acting === undefined) return run
      const footprint = footprintOf(operation, args)
      if (footprint.namespace === quiet) return run
      const { name: actor, process } = acting
      const at = `${operation}#${++acting.calls}`
      const park = (at: string, footprint: Footprint | undefined) =>
        Effect.callback<Exclude<Fault, "crash"> | undefined>((resume) => {
          const waiting: Parked = { actor, process, at, footprint, go: (fault) => resume(Effect.succeed(fault)) }
          parked.push(waiting)
          return Effect.sync(() => {
            const i = parked.indexOf(waiting)
            if (i >= 0) parked.splice(i, 1)
          })
        })
      return Effect.flatMap(park(at, footprint), (fault) => {
        if (fault === "lost request") return failure(operation, "unknown")
        if (fault === "lost reply") return Effect.andThen(Effect.exit(run), failure(operation, "unknown"))
        if (fault === "late") {
          parked.push({ actor: late, process: late, at, footprint, go: () => void Effect.runSync(Effect.exit(run)) })
          return failure(operation, "unknown")
        }
        if (process === actor) return run
        return Effect.flatMap(Effect.exit(run), (exit) => Effect.andThen(park(`${at}!`, undefined), exit))
      })
    })

/** The actor of calls that are made when their callers have given up. */
const late = "late"

export interface Run {
  readonly parked: Array<Parked>
  readonly actors: Record<string, Fiber.Fiber<unknown, unknown>>
  /** The actor whose calls may be faulty. */
  readonly faulty?: string | undefined
  /** Looks at the state after every step; answers what is wrong with it. */
  readonly inspect: (done: (actor: string) => Exit.Exit<unknown, unknown> | undefined) => Array<string>
  /** Looks at the end. Of an actor that crashed there is no exit. */
  readonly finish: (exits: Record<string, Exit.Exit<unknown, unknown>>) => Promise<Array<string>>
}

export interface Explored {
  readonly schedules: number
  readonly violations: ReadonlyArray<string>
}

/** What may happen next. */
interface Step extends Omit<Parked, "at" | "go"> {
  readonly label: string
  readonly fault: Fault | undefined
  readonly call: Parked
}

const commute = (a: Step, b: Step): boolean => {
  if (a.process === b.process) return false
  const [one, other] = [a.footprint, b.footprint]
  return (
    one === undefined ||
    other === undefined ||
    !(one.writes || other.writes) ||
    one.namespace !== other.namespace ||
    (one.id !== other.id && one.id !== undefined && other.id !== undefined)
  )
}

const stepsOf = (parked: ReadonlyArray<Parked>, faulty: string | undefined): ReadonlyArray<Step> =>
  parked
    .flatMap((call) => {
      const { actor, at, footprint, process } = call
      const step = (fault?: Fault): Step => ({
        actor,
        process,
        footprint: fault === undefined || fault === "lost reply" ? footprint : undefined,
        label: `${actor}:${at}${fault === undefined ? "" : ` (${fault})`}`,
        fault,
        call
      })
      if (actor !== faulty) return [step()]
      const isWrite = footprint?.writes === true
      // A read that is not answered is not made, as far as anybody can see.
      return [
        ...(call === parked.find((other) => other.actor === actor) ? [step("crash")] : []),
        step("lost request"),
        ...(isWrite ? [step("late"), step("lost reply")] : []),
        step()
      ]
    })
    .toSorted((a, b) => (a.actor < b.actor ? -1 : a.actor > b.actor ? 1 : 0))

const tick = () => new Promise<void>((resolve) => setImmediate(resolve))

/** A choice on the way: the steps that may be taken, and which is. */
interface Choice {
  readonly labels: ReadonlyArray<string>
  index: number
}

/**
 * Tries every schedule, depth first. Each choice is which of the parked operations goes on; the scenario is built anew
 * for each schedule and is otherwise deterministic.
 */
export const explore = async (scenario: () => Promise<Run>, most = 100_000): Promise<Explored> => {
  const violations: Array<string> = []
  const path: Array<Choice> = []
  let schedules = 0
  for (;;) {
    const run = await scenario()
    let names = Object.keys(run.actors)
    const exitOf = (name: string) => run.actors[name]?.pollUnsafe()
    const trace: Array<string> = []
    const found = new Set<string>()
    let faulty = run.faulty
    /** What has been tried before any step that it does not commute with. */
    let asleep: ReadonlyArray<string> = []
    let isNew = true
    for (;;) {
      // Every actor has parked or ended, or waits for another's turn.
      await tick()
      for (let quiet = 0; quiet < 4;) {
        const busy = names.filter((name) => exitOf(name) === undefined && !run.parked.some((p) => p.actor === name))
        if (busy.length === 0) break
        const before = run.parked.length
        await tick()
        quiet = run.parked.length === before ? quiet + 1 : 0
      }
      for (const problem of run.inspect(exitOf)) found.add(problem)
      const steps = stepsOf(run.parked, faulty)
      if (steps.length === 0) break
      const depth = trace.length
      if (depth === path.length) {
        const labels = steps.map(({ label }) => label).filter((label) => !asleep.includes(label))
        isNew = labels.length > 0
        if (!isNew) break
        path.push({ labels, index: 0 })
      }
      const { index, labels } = path[depth]!
      const next = steps.find(({ label }) => label === labels[index])
      if (next === undefined) throw new Error(`not deterministic: no ${labels[index]} after ${trace.join(", ")}`)
      asleep = [...asleep, ...labels.slice(0, index)].filter((label) => {
        const other = steps.find((step) => step.label === label)
        return other !== undefined && commute(other, next)
      })
      trace.push(next.label)
      if (next.fault !== undefined) faulty = undefined
      if (next.fault === "crash") {
        names = names.filter((name) => name !== next.actor)
        const others = run.parked.filter(({ actor }) => actor !== next.actor)
        run.parked.splice(0, Infinity, ...others)
      } else {
        run.parked.splice(run.parked.indexOf(next.call), 1)
        next.call.go(next.fault)
      }
    }
    if (isNew) {
      const stuck = names.filter((name) => exitOf(name) === undefined)
      if (stuck.length > 0) found.add(`never ended: ${stuck.join(", ")}`)
      else {
        const exits = Object.fromEntries(names.map((name) => [name, exitOf(name)!]))
        for (const problem of await run.finish(exits)) found.add(problem)
      }
      schedules++
    }
    for (const problem of found) violations.push(`${problem} after ${trace.join(", ")}`)
    // The next schedule differs in the last choice that has another side to it.
    while (path.length > 0 && path.at(-1)!.index + 1 === path.at(-1)!.labels.length) path.pop()
    if (path.length === 0) return { schedules, violations }
    if (schedules >= most) throw new Error(`more than ${most} schedules`)
    path.at(-1)!.index++
  }
}
