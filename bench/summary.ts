/**
 * From windows to figures: a round's are the medians of its windows, and the result's the medians of the rounds.
 */
import { busy, meanOf, medianOf, perRequest, perSecond, type Sample } from "./measure.ts"
import type { AtConnections, Scenario, SubjectResult } from "./results.ts"
import type { Behaviour } from "./scenarios.ts"
import { figure, median, type Figure } from "./stats.ts"

/** A window of each kind of request. */
export type Windows = Partial<Record<Scenario, Sample>>

/** What has been measured of one server in a round; the windows of one pass stand at one index. */
export interface Findings {
  behaviour?: Behaviour
  readonly windows: Array<Windows>
  readonly latencies: Array<{ readonly p50: number; readonly p99: number }>
  readonly connections: Map<number, { readonly samples: Array<Sample>; failure?: string }>
}

interface RoundAtConnections {
  readonly connections: number
  readonly samples: ReadonlyArray<Sample>
  readonly failure?: string
}

/** What one round found out about one subject. */
export interface Round {
  readonly cpu: Partial<Record<Scenario, number>>
  readonly cpuMean: Partial<Record<Scenario, number>>
  readonly cpuLeast: Partial<Record<Scenario, number>>
  readonly difference: number
  readonly ratios?: { readonly whoami: number; readonly session: number }
  readonly requestsPerSecond: number
  readonly busy: number
  readonly p50: number
  readonly p99: number
  readonly behaviour?: Behaviour
  readonly connections: ReadonlyArray<RoundAtConnections>
}

/** What a request of the kind cost in each pass. */
const perPass = ({ windows }: Findings, kind: Scenario): ReadonlyArray<number> =>
  windows.map((taken) => perRequest(taken[kind]!))

const differenceOf = (findings: Findings): number => {
  const bare = perPass(findings, "bare")
  return median(perPass(findings, "whoami").map((cost, pass) => cost - bare[pass]!))
}

/** `ours` is what was found in the same passes about ours on the same store, if there is such a one. */
export const summarizeRound = (findings: Findings, ours: Findings | undefined): Round => {
  const kinds = Object.keys(findings.windows[0]!) as ReadonlyArray<Scenario> // the keys of `Windows`
  const samples = (kind: Scenario) => findings.windows.map((taken) => taken[kind]!)
  const main = samples("whoami")
  const difference = differenceOf(findings)
  const ratios = (): Round["ratios"] => {
    if (ours === undefined) return undefined
    const own = perPass(ours, "whoami")
    const whoami = median(perPass(findings, "whoami").map((cost, pass) => cost / own[pass]!))
    return { whoami, session: difference / differenceOf(ours) }
  }
  const ratio = ratios()
  return {
    cpu: Object.fromEntries(kinds.map((kind) => [kind, medianOf(samples(kind), perRequest)])),
    cpuMean: Object.fromEntries(kinds.map((kind) => [kind, meanOf(samples(kind))])),
    cpuLeast: Object.fromEntries(kinds.map((kind) => [kind, Math.min(...perPass(findings, kind))])),
    difference,
    ...(ratio === undefined ? {} : { ratios: ratio }),
    requestsPerSecond: medianOf(main, perSecond),
    busy: medianOf(main, busy),
    p50: median(findings.latencies.map(({ p50 }) => p50)),
    p99: median(findings.latencies.map(({ p99 }) => p99)),
    ...(findings.behaviour === undefined ? {} : { behaviour: findings.behaviour }),
    connections: Array.from(findings.connections, ([connections, found]) => ({ connections, ...found }))
  }
}
/** The rounds of one subject together: median, lowest and highest. */
export const summarize = (
  rounds: ReadonlyArray<Round>
): Omit<SubjectResult, "name" | "store" | "ours" | "versions"> => {
  const over = (of: (round: Round) => number): Figure => figure(rounds.map(of))
  const first = rounds[0]!
  const kinds = Object.keys(first.cpu) as ReadonlyArray<Scenario> // `summarizeRound` put them there
  const { behaviour, connections, ratios } = first // what one round has, all have
  return {
    cpu: Object.fromEntries(kinds.map((kind) => [kind, over(({ cpu }) => cpu[kind]!)])),
    cpuMean: Object.fromEntries(kinds.map((kind) => [kind, over(({ cpuMean }) => cpuMean[kind]!)])),
    cpuLeast: Object.fromEntries(kinds.map((kind) => [kind, over(({ cpuLeast }) => cpuLeast[kind]!)])),
    difference: over((round) => round.difference),
    ...(ratios === undefined
      ? {}
      : { ratios: { whoami: over((round) => round.ratios!.whoami), session: over((round) => round.ratios!.session) } }),
    requestsPerSecond: over(({ requestsPerSecond }) => requestsPerSecond),
    busy: over(({ busy }) => busy),
    p50: over(({ p50 }) => p50),
    p99: over(({ p99 }) => p99),
    ...(behaviour === undefined ? {} : { behaviour }),
    ...(connections.length === 0
      ? {}
      : { connections: connections.map((_, at) => atConnections(rounds.map((round) => round.connections[at]!))) })
  }
}

const atConnections = (rounds: ReadonlyArray<RoundAtConnections>): AtConnections => {
  const { connections } = rounds[0]!
  const failure = rounds.find((round) => round.failure !== undefined)?.failure
  if (failure !== undefined) return { connections, failure }
  return {
    connections,
    cpu: figure(rounds.map(({ samples }) => medianOf(samples, perRequest))),
    requestsPerSecond: figure(rounds.map(({ samples }) => medianOf(samples, perSecond)))
  }
}
