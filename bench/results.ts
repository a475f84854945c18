/**
 * The shapes of the files in `results/`: `table.ts` reads what `run.ts`, `micro.ts`, `bundle.ts` and `profile.ts` write.
 */
import type { Environment } from "./environment.ts"
import type { Row } from "./profiling.ts"
import type { Behaviour } from "./scenarios.ts"
import type { Figure } from "./stats.ts"
import type { Subject } from "./subjects.ts"

export type Scenario = "bare" | "visitor" | "anonymous" | "whoami" | "forged" | "create" | "update" | "destroy"

export interface AtConnections {
  readonly connections: number
  readonly cpu?: Figure
  readonly requestsPerSecond?: Figure
  /** The first wrong answer, in place of figures. */
  readonly failure?: string
}

export interface AtSessions {
  readonly sessions: number
  /** CPU microseconds of one `/whoami`, of sessions picked at random from all: the median of the windows. */
  readonly cpu: number
  /** The same of all windows together, bursts and collections included. */
  readonly cpuMean: number
  /** Of `/bare`, measured in turn with it: what moves this is not the sessions. */
  readonly bare: number
  readonly bareMean: number
  readonly bytesPerSession: number
}

/** How many times as much as ours on the same store: 2 is twice as dear, 0.5 half. */
export interface Ratios {
  readonly whoami: Figure
  /** Of `whoami - bare`, which leaves the frameworks out. */
  readonly session: Figure
}

export interface SubjectResult {
  readonly name: string
  readonly store: Subject["store"]
  readonly ours: boolean
  readonly versions: Record<string, string>
  /** CPU microseconds of the server process a request: the median of the windows in each round. */
  readonly cpu: Partial<Record<Scenario, Figure>>
  /** The same of all windows of a round together, bursts and collections included. */
  readonly cpuMean: Partial<Record<Scenario, Figure>>
  /** The lowest window of a round: what is left when nothing disturbs, and nothing is collected. */
  readonly cpuLeast: Partial<Record<Scenario, Figure>>
  /** `/whoami` less `/bare`, in the same pass. */
  readonly difference: Figure
  /** Of peers with sessions, when ours was measured beside them. */
  readonly ratios?: Ratios
  /** Of `/whoami`, as fast as it goes. */
  readonly requestsPerSecond: Figure
  /** Share of its core the server used meanwhile: well below 1, the client or the store was the limit. */
  readonly busy: Figure
  /** Milliseconds, at the fixed rate. */
  readonly p50: Figure
  readonly p99: Figure
  readonly behaviour?: Behaviour
  readonly connections?: ReadonlyArray<AtConnections>
  readonly memory?: { readonly sessions: number; readonly bytesPerSession: number; readonly rssPerSession: number }
  /** Waits for the store in one request. */
  readonly roundTrips?: Partial<Record<Scenario, number>>
  /** Ours: `/whoami` when each request is due to move the idle deadline, which by default one a minute is. */
  readonly touching?: { readonly cpu: number; readonly roundTrips?: number }
}

export interface LeftOut {
  readonly subject: string
  readonly reason: string
}

export interface HttpResult {
  readonly environment: Environment
  readonly options: Record<string, string | number | boolean>
  readonly subjects: ReadonlyArray<SubjectResult>
  readonly leftOut: ReadonlyArray<LeftOut>
  readonly growth: ReadonlyArray<AtSessions>
}

/** The shape of `results/micro.json`. */
export interface MicroResult {
  readonly environment: Environment
  readonly versions: Record<string, string>
  readonly parts: ReadonlyArray<{ readonly name: string; readonly nanoseconds: number; readonly mean: number }>
}

/** The shape of `results/profile.json`: microseconds a request, of one kind of request against another. */
export interface ProfileResult {
  readonly environment: Environment
  readonly versions: Record<string, string>
  readonly subject: string
  readonly kind: string
  readonly against: string
  readonly options: Record<string, number>
  /** CPU microseconds a request, as the operating system counts it, in turn with the profiles and without a profiler. */
  readonly cpu: Row
  readonly groups: ReadonlyArray<Row>
  readonly sum: Row
  /** Those whose times differ most. */
  readonly functions: ReadonlyArray<Row>
}

export interface Size {
  readonly minified: number
  readonly gzipped: number
}

/** The shape of `results/bundle.json`: bytes of an app without sessions, with them, and the difference. */
export interface BundleResult {
  readonly environment: Environment
  readonly entries: ReadonlyArray<{
    readonly name: string
    readonly versions: Record<string, string>
    readonly without: Size
    readonly with: Size
    readonly added: Size
  }>
}
