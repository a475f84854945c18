/**
 * The shape of `results/http.json`, which `run.ts` writes and `table.ts` reads.
 */
import type { Environment } from "./environment.ts"
import type { Behaviour } from "./scenarios.ts"
import type { Figure } from "./stats.ts"
import type { Subject } from "./subjects.ts"

export type Scenario = "bare" | "visitor" | "anonymous" | "whoami" | "forged" | "create" | "update" | "destroy"

export interface AtConnections {
  readonly connections: number
  readonly cpu?: number
  readonly requestsPerSecond?: number
  /** The first wrong answer, in place of figures. */
  readonly failure?: string
}

export interface AtSessions {
  readonly sessions: number
  /** CPU microseconds of one `/whoami`, of sessions picked at random from all. */
  readonly cpu: number
  readonly bytesPerSession: number
}

export interface SubjectResult {
  readonly name: string
  readonly store: Subject["store"]
  readonly ours: boolean
  readonly versions: Record<string, string>
  /** CPU microseconds of the server process a request. */
  readonly cpu: Partial<Record<Scenario, Figure>>
  /** `/whoami` less `/bare`, in the same round. */
  readonly difference?: Figure
  /** Of `/whoami` (of `/bare` where there is no session), as fast as it goes. */
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

export interface HttpResult {
  readonly environment: Environment
  readonly options: Record<string, string | number | boolean>
  readonly subjects: ReadonlyArray<SubjectResult>
  readonly growth: ReadonlyArray<AtSessions>
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
