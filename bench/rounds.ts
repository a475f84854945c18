/**
 * A round: all servers at once in new processes, measured in turn over and over, so that whatever disturbs the machine for
 * a while takes a window or two from each instead of everything from one.
 */
import { closedLoop, openLoop, type Client, type Exchange, type Next } from "./client.ts"
import { labelled, measureWindow, sample, settling, withClient, withServers, type Measured } from "./measure.ts"
import type { Options } from "./options.ts"
import * as scenarios from "./scenarios.ts"
import { quantile } from "./stats.ts"
import { counterpart, type Subject } from "./subjects.ts"
import { summarizeRound, type Findings, type Round, type Windows } from "./summary.ts"

/**
 * Each kind of request in turn, of a server with new sessions: ours would move the idle deadline of older ones, which is
 * measured apart. All that are created are updated once and destroyed.
 */
export const windowsOf = async (
  server: Measured,
  client: Client,
  options: { readonly window: number; readonly sessions: Parameters<typeof closedLoop>[2] }
): Promise<Windows> => {
  const window = (next: Next) => measureWindow(server, client, next, options.window)
  const bare = () => scenarios.bareExchange
  // While it waited for the others, its code and data have left the processor's caches.
  await closedLoop(client, bare, { milliseconds: options.window })
  const visitor = await window(() => scenarios.visitorExchange)
  const anonymous = await window(() => scenarios.anonymousExchange)
  const live = await scenarios.createSessions(client, settling)
  const create = await sample(server, client, () => scenarios.create((session) => live.push(session)), options.sessions)
  const once = async (toExchange: (session: scenarios.LiveSession) => Exchange) => {
    const next = scenarios.cycle(live.map(toExchange))
    await closedLoop(client, next, { requests: settling })
    return sample(server, client, next, { requests: live.length - settling })
  }
  return {
    visitor,
    anonymous,
    create,
    bare: await window(bare),
    whoami: await window(scenarios.cycle(live.map(scenarios.whoami))),
    forged: await window(scenarios.cycle(live.map(scenarios.forged))),
    update: await once((session) => scenarios.update(session)),
    destroy: await once(scenarios.destroy)
  }
}

/** Answers under a fixed rate of requests. */
const latencyOf = async (client: Client, options: Options) => {
  const live = await scenarios.createSessions(client, options.sessions)
  const next = scenarios.cycle(live.map(scenarios.whoami))
  await closedLoop(client, next, { requests: settling })
  const latencies = await openLoop(client, next, { rate: options.rate, milliseconds: options.rateTime })
  return { p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99) }
}

/** `/whoami` again with few and with many connections. */
const measureConnections = async (server: Measured, findings: Findings, options: Options): Promise<void> => {
  for (const connections of options.at) {
    const found = findings.connections.get(connections) ?? { samples: [] }
    findings.connections.set(connections, found)
    if (found.failure !== undefined) continue
    const live = await withClient(server, options.connections, (client) =>
      scenarios.createSessions(client, options.sessions)
    )
    const next = scenarios.cycle(live.map(scenarios.whoami))
    const taken = withClient(server, connections, (client) => measureWindow(server, client, next, options.window))
    // Too many at once is a thing to find out, not a reason to stop.
    await taken.then(
      (sample) => found.samples.push(sample),
      (error: Error) => {
        found.failure = error.message
      }
    )
  }
}

/** Measures all subjects in one round; `index` decides the order. */
export const measureRound = (
  subjects: ReadonlyArray<Subject>,
  index: number,
  options: Options,
  say: (text: string) => void
): Promise<ReadonlyMap<Subject, Round>> =>
  withServers(subjects, { core: options.serverCore }, async (servers) => {
    const findings = new Map<Subject, Findings>()
    for (const { subject } of servers) {
      findings.set(subject, { windows: [], latencies: [], connections: new Map() })
    }
    /** Lets every server have its turn so many times, the order reversed each time. */
    const inTurns = async (turns: number, turn: (server: Measured, findings: Findings) => Promise<void>) => {
      for (let pass = 0; pass < turns; pass++) {
        for (const server of (index + pass) % 2 === 0 ? servers : servers.toReversed()) {
          await labelled(server.subject, () => turn(server, findings.get(server.subject)!))
        }
      }
    }
    const connected = <A>(server: Measured, use: (client: Client) => Promise<A>) =>
      withClient(server, options.connections, use)

    await inTurns(1, async (server, findings) => {
      findings.behaviour = await withClient(server, 1, scenarios.checkBehaviour)
    })
    const { warmup } = options
    await inTurns(1, (server) =>
      connected(server, async (client) => {
        await windowsOf(server, client, { window: warmup, sessions: { milliseconds: warmup / 2 } })
        await server.process.ask("collect")
      })
    )
    say(`round ${index + 1}: the servers are warm`)
    const { sessions: requests, window } = options
    await inTurns(options.passes, (server, { windows }) =>
      connected(server, async (client) => {
        windows.push(await windowsOf(server, client, { window, sessions: { requests } }))
      })
    )
    say(`round ${index + 1}: passes done`)
    await inTurns(options.ratePasses, (server, { latencies }) =>
      connected(server, async (client) => {
        latencies.push(await latencyOf(client, options))
      })
    )
    await inTurns(options.at.length > 0 ? Math.ceil(options.passes / 2) : 0, (server, findings) =>
      measureConnections(server, findings, options)
    )
    return new Map(
      subjects.map((subject) => {
        const ours = counterpart(subject, subjects)
        const own = ours === undefined ? undefined : findings.get(ours)
        return [subject, summarizeRound(findings.get(subject)!, own)]
      })
    )
  })
