/** What is done with a browser, and what is written down of it. */
import type { Page } from "puppeteer-core"
import { Effect, Exit, Scope } from "effect"
import { type BrowserName, launch } from "../support/browsers.ts"
import type { Certificate } from "../support/certificate.ts"
import { hosts, serving } from "./sites.ts"

export interface World extends ReturnType<typeof serving> {
  /** A new tab. */
  readonly open: () => Promise<Page>
}

/** What was seen: a line of the table for each key. */
export type Seen = Readonly<Record<string, string>>

export interface Scenario {
  /** Names its table in docs/browsers.md. */
  readonly key: string
  /** A sentence that holds in every browser; the scenario fails where it does not. */
  readonly title: string
  readonly run: (world: World) => Promise<Seen>
}

export interface Run {
  readonly version: string
  readonly seen: Seen
}

/** Servers that end with what is done with them. */
export const withServers = async <A>(
  certificate: Certificate,
  use: (servers: ReturnType<typeof serving>) => Promise<A>
): Promise<A> => {
  const scope = await Effect.runPromise(Scope.make())
  try {
    return await use(serving(scope, certificate))
  } finally {
    await Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

/** Runs a scenario in a browser with a new profile, and ends the browser and the servers. */
export const runIn = async (name: BrowserName, certificate: Certificate, scenario: Scenario): Promise<Run> => {
  await using running = await launch(name, { hosts, certificate })
  const open = () => running.browser.newPage()
  const seen = await withServers(certificate, (servers) => scenario.run({ open, ...servers }))
  return { version: running.version, seen }
}
