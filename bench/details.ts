/**
 * What is measured of a subject by itself, in a process of its own: memory, growth, round trips, touching.
 */
import { closedLoop, type Client, type Next } from "./client.ts"
import {
  meanOf,
  measureWindow,
  medianOf,
  perRequest,
  withClient,
  withServer,
  type Measured,
  type Sample
} from "./measure.ts"
import type { Options } from "./options.ts"
import { startProxy } from "./proxy.ts"
import type { AtSessions, Scenario, SubjectResult } from "./results.ts"
import * as scenarios from "./scenarios.ts"
import { postgresUrl, redisUrl } from "./servers/common.ts"
import type { Subject } from "./subjects.ts"

type Env = Record<string, string>

const connected = <A>(
  subject: Subject,
  env: Env,
  options: Options,
  use: (server: Measured, client: Client) => Promise<A>
): Promise<A> =>
  withServer(subject, { core: options.serverCore, env }, (server) =>
    withClient(server, options.connections, (client) => use(server, client))
  )

/** How much live memory, and how much of the process's own, `options.memory` sessions take. */
export const measureMemory = (subject: Subject, options: Options): Promise<NonNullable<SubjectResult["memory"]>> =>
  connected(subject, {}, options, async ({ process }, client) => {
    await scenarios.createSessions(client, 2000) // code and buffers of the route itself
    const before = await process.ask("collect")
    await scenarios.createSessions(client, options.memory)
    const after = await process.ask("collect")
    return {
      sessions: options.memory,
      bytesPerSession: Math.round((after.live - before.live) / options.memory),
      rssPerSession: Math.round((after.rss - before.rss) / options.memory)
    }
  })

/** Creating a million sessions takes longer than a minute, so most would be due for a touch: that is measured apart. */
const touchNever: Env = { BENCH_TOUCH_MILLIS: "1800000" }

/** What one `/whoami` costs as the number of live sessions grows, and `/bare` beside it, which should cost the same. */
export const measureGrowth = (subject: Subject, options: Options): Promise<ReadonlyArray<AtSessions>> =>
  connected(subject, touchNever, options, async (server, client) => {
    const { warmup: milliseconds } = options
    const bare = () => scenarios.bareExchange
    const first = await scenarios.createSessions(client, 2000)
    await closedLoop(client, scenarios.cycle(first.map(scenarios.whoami)), { milliseconds })
    await closedLoop(client, bare, { milliseconds })
    await closedLoop(client, scenarios.cycle(first.map(scenarios.destroy)), { requests: first.length })
    const empty = await server.process.ask("collect")
    const live: Array<scenarios.LiveSession> = []
    const anyOf = () => scenarios.whoami(live[Math.floor(Math.random() * live.length)]!)
    const results: Array<AtSessions> = []
    for (const sessions of options.growth) {
      const missing = sessions - live.length
      await closedLoop(client, () => scenarios.create((session) => live.push(session)), { requests: missing })
      const full = await server.process.ask("collect")
      await closedLoop(client, anyOf, { milliseconds })
      const samples = { whoami: new Array<Sample>(), bare: new Array<Sample>() }
      for (let pass = 0; pass < 2 * options.passes; pass++) {
        samples.bare.push(await measureWindow(server, client, bare, options.window))
        samples.whoami.push(await measureWindow(server, client, anyOf, options.window))
      }
      results.push({
        sessions,
        cpu: medianOf(samples.whoami, perRequest),
        cpuMean: meanOf(samples.whoami),
        bare: medianOf(samples.bare, perRequest),
        bareMean: meanOf(samples.bare),
        bytesPerSession: Math.round((full.live - empty.live) / sessions)
      })
    }
    return results
  })

export const isRemote = ({ store }: Subject): boolean => store === "redis" || store === "postgres"

/** How often a request of each kind waits for the store, counted by a proxy between the server and it. */
export const measureRoundTrips = async (
  subject: Subject,
  options: Options,
  env: Env = {}
): Promise<Partial<Record<Scenario, number>>> => {
  const variable = subject.store === "redis" ? "BENCH_REDIS_URL" : "BENCH_POSTGRES_URL"
  const url = new URL(subject.store === "redis" ? redisUrl() : postgresUrl)
  const proxy = await startProxy({ host: url.hostname, port: Number(url.port) })
  url.host = `127.0.0.1:${proxy.port}`
  try {
    const oneConnection = { ...options, connections: 1 }
    return await connected(subject, { ...env, [variable]: url.href }, oneConnection, async (_server, client) => {
      const count = 50
      const counted = async (next: Next): Promise<number> => {
        const before = proxy.roundTrips()
        await closedLoop(client, next, { requests: count })
        return (proxy.roundTrips() - before) / count
      }
      await scenarios.checkBehaviour(client) // loads scripts and prepares statements
      const live: Array<scenarios.LiveSession> = []
      return {
        create: await counted(() => scenarios.create((session) => live.push(session))),
        visitor: await counted(() => scenarios.visitorExchange),
        anonymous: await counted(() => scenarios.anonymousExchange),
        whoami: await counted(scenarios.cycle(live.map(scenarios.whoami))),
        forged: await counted(scenarios.cycle(live.map(scenarios.forged))),
        update: await counted(scenarios.cycle(live.map((session) => scenarios.update(session)))),
        destroy: await counted(scenarios.cycle(live.map(scenarios.destroy)))
      }
    })
  } finally {
    proxy.close()
  }
}

const touchAlways: Env = { BENCH_TOUCH_MILLIS: "1" }

/** `/whoami` of ours when every request moves the session's idle deadline. */
export const measureTouching = async (
  subject: Subject,
  options: Options
): Promise<NonNullable<SubjectResult["touching"]>> => {
  const cpu = await connected(subject, touchAlways, options, async (server, client) => {
    const live = await scenarios.createSessions(client, options.sessions)
    const next = scenarios.cycle(live.map(scenarios.whoami))
    await closedLoop(client, next, { milliseconds: 2 * options.warmup })
    const samples: Array<Sample> = []
    for (let pass = 0; pass < options.passes; pass++) {
      samples.push(await measureWindow(server, client, next, options.window))
    }
    return medianOf(samples, perRequest)
  })
  if (!isRemote(subject)) return { cpu }
  const { whoami } = await measureRoundTrips(subject, options, touchAlways)
  return { cpu, roundTrips: whoami! }
}
