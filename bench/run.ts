/**
 * The HTTP benchmark: `npm run bench -- --help`. README.md beside this file says what is measured and how to read it.
 */
import { execFileSync } from "node:child_process"
import { cpus } from "node:os"
import { parseArgs } from "node:util"
import { closedLoop, connect, openLoop, type Client, type Load, type Next } from "./client.ts"
import { environment, resultPath, saveResult, versionsOf } from "./environment.ts"
import { startProxy } from "./proxy.ts"
import { printResult } from "./report.ts"
import type { AtConnections, AtSessions, HttpResult, Scenario, SubjectResult } from "./results.ts"
import * as scenarios from "./scenarios.ts"
import { startServer, type ServerProcess } from "./serverProcess.ts"
import { postgresUrl, redisUrl } from "./servers/common.ts"
import { figure, quantile } from "./stats.ts"
import { emptyStore, prepareRedis } from "./stores.ts"
import * as Subjects from "./subjects.ts"

const { values: flags } = parseArgs({
  options: {
    help: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    only: { type: "string", default: "" },
    rounds: { type: "string" },
    windows: { type: "string" },
    window: { type: "string", default: "200" },
    warmup: { type: "string" },
    writes: { type: "string", default: "600" },
    connections: { type: "string", default: "64" },
    sessions: { type: "string", default: "1000" },
    rate: { type: "string", default: "1000" },
    "rate-time": { type: "string", default: "1500" },
    at: { type: "string" },
    memory: { type: "string" },
    growth: { type: "string" },
    "server-core": { type: "string", default: "0" },
    "client-core": { type: "string", default: "1" },
    out: { type: "string" }
  }
})

if (flags.help) {
  console.log(`node run.ts [flags]
  --quick              two subjects, one round, in under a minute; writes results/quick.json
  --only PATTERN       subjects whose label matches, e.g. "effect|fastify"
  --rounds N           rounds, in alternating order (3; quick 1)
  --warmup MS          load before measuring, for each kind of request (700; quick 500)
  --windows N          measured windows for each kind of request in a round, taken in turn (6; quick 5)
  --window MS          length of a window (200)
  --writes MS          length of the create, update and destroy phases (600)
  --connections N      connections of the main measurement (64)
  --sessions N         live sessions whose cookies /whoami is asked with (1000)
  --rate N             requests a second of the latency measurement (1000)
  --rate-time MS       its length (1500)
  --at N,N             connections to repeat /whoami with (1,10,1000; quick none)
  --memory N           live sessions to measure memory with (100000; quick none)
  --growth N,N         sessions in memory to measure ours with (1000,10000,100000,1000000; quick none)
  --server-core N      core of the servers (0)
  --client-core N      core of this process, which is the client (1)
  --out FILE           where the result goes (results/http.json)`)
  process.exit(0)
}

const numbers = (text: string): ReadonlyArray<number> => text.split(",").filter(Boolean).map(Number)
const options = {
  rounds: Number(flags.rounds ?? (flags.quick ? 1 : 3)),
  warmup: Number(flags.warmup ?? (flags.quick ? 500 : 700)),
  windows: Number(flags.windows ?? (flags.quick ? 5 : 6)),
  window: Number(flags.window),
  writes: Number(flags.writes),
  connections: Number(flags.connections),
  sessions: Number(flags.sessions),
  rate: Number(flags.rate),
  rateTime: Number(flags["rate-time"]),
  at: numbers(flags.at ?? (flags.quick ? "" : "1,10,1000")),
  memory: Number(flags.memory ?? (flags.quick ? 0 : 100_000)),
  growth: numbers(flags.growth ?? (flags.quick ? "" : "1000,10000,100000,1000000"))
}
const serverCore = Number(flags["server-core"])
const out = flags.out ?? resultPath(flags.quick ? "quick" : "http")
const subjects = (flags.quick ? Subjects.quick : Subjects.subjects).filter((subject) =>
  new RegExp(flags.only).test(Subjects.label(subject))
)

if (subjects.length === 0) throw new Error(`no subject's label matches --only ${flags.only}`)

// --- measuring

interface Sample extends Load {
  readonly cpu: number
}

/** Loads the server and counts the CPU time it took meanwhile. */
const sample = async (
  server: ServerProcess,
  client: Client,
  next: Next,
  until: Parameters<typeof closedLoop>[2]
): Promise<Sample> => {
  const before = await server.ask("usage")
  const load = await closedLoop(client, next, until)
  const after = await server.ask("usage")
  return { ...load, cpu: after.cpu - before.cpu }
}

const add = (a: Sample, b: Sample): Sample => ({
  requests: a.requests + b.requests,
  seconds: a.seconds + b.seconds,
  cpu: a.cpu + b.cpu
})
const perRequest = ({ cpu, requests }: Sample): number => cpu / requests

interface Round {
  readonly cpu: Partial<Record<Scenario, number>>
  readonly requestsPerSecond: number
  readonly busy: number
  readonly p50: number
  readonly p99: number
  readonly behaviour?: scenarios.Behaviour
}

/** Each kind of request in short windows taken in turn, so that what disturbs the machine disturbs all alike. */
const measureReads = async (server: ServerProcess, client: Client, reads: Partial<Record<Scenario, Next>>) => {
  const kinds = Object.entries(reads) as ReadonlyArray<[Scenario, Next]> // the keys are those of `reads`
  for (const [, next] of kinds) await closedLoop(client, next, { milliseconds: options.warmup })
  await server.ask("collect")
  const samples: Partial<Record<Scenario, Sample>> = {}
  for (let window = 0; window < options.windows; window++) {
    for (const [kind, next] of kinds) {
      const taken = await sample(server, client, next, { milliseconds: options.window })
      const earlier = samples[kind]
      samples[kind] = earlier === undefined ? taken : add(earlier, taken)
    }
  }
  return samples
}

/** Creates sessions for a while, then updates each, then destroys each. Once to warm up, once to measure. */
const measureWrites = async (server: ServerProcess, client: Client): Promise<Partial<Record<Scenario, Sample>>> => {
  const pass = async (milliseconds: number) => {
    const live: Array<scenarios.LiveSession> = []
    const createNext = () => scenarios.create((session) => live.push(session))
    const create = await sample(server, client, createNext, { milliseconds })
    const all = { requests: live.length, milliseconds }
    let index = 0
    const update = await sample(server, client, () => scenarios.update(live[index++]!), all)
    index = 0
    const destroy = await sample(server, client, () => scenarios.destroy(live[index++]!), all)
    return { create, update, destroy }
  }
  await pass(options.writes / 2)
  await server.ask("collect")
  return pass(options.writes)
}

const measureRound = (subject: Subjects.Subject): Promise<Round> =>
  withServer(subject, {}, async (server, connected) => {
    const behaviour =
      subject.store === "none" ? undefined : await connected(1, (client) => scenarios.checkBehaviour(client))
    return connected(options.connections, async (client) => {
      const bare = () => scenarios.bareExchange
      if (behaviour === undefined) {
        const samples = await measureReads(server, client, { bare })
        return summary(samples, samples.bare!, await measureLatency(client, bare))
      }
      const live = await scenarios.createSessions(client, options.sessions)
      const whoami = scenarios.cycle(live.map(scenarios.whoami))
      const reads = await measureReads(server, client, {
        bare,
        visitor: () => scenarios.visitorExchange,
        anonymous: () => scenarios.anonymousExchange,
        whoami,
        forged: scenarios.cycle(live.map(scenarios.forged))
      })
      const latency = await measureLatency(client, whoami)
      const writes = await measureWrites(server, client)
      return { ...summary({ ...reads, ...writes }, reads.whoami!, latency), behaviour }
    })
  })

const measureLatency = async (client: Client, next: Next) => {
  const latencies = await openLoop(client, next, { rate: options.rate, milliseconds: options.rateTime })
  return { p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99) }
}

const summary = (
  samples: Partial<Record<Scenario, Sample>>,
  main: Sample,
  latency: { readonly p50: number; readonly p99: number }
): Round => ({
  cpu: Object.fromEntries(Object.entries(samples).map(([kind, taken]) => [kind, perRequest(taken)])),
  requestsPerSecond: main.requests / main.seconds,
  busy: main.cpu / 1e6 / main.seconds,
  ...latency
})

/** `/whoami` again with few and with many connections. */
const measureConnections = (subject: Subjects.Subject): Promise<ReadonlyArray<AtConnections>> =>
  withServer(subject, {}, async (server, connected) => {
    const live = await connected(options.connections, (client) =>
      scenarios.createSessions(client, Math.max(options.sessions, ...options.at))
    )
    const next = scenarios.cycle(live.map(scenarios.whoami))
    const results: Array<AtConnections> = []
    await connected(options.connections, (client) => closedLoop(client, next, { milliseconds: options.warmup }))
    for (const connections of options.at) {
      const measured = connected(connections, async (client) => {
        await closedLoop(client, next, { requests: 2 * connections })
        const taken = await sample(server, client, next, { milliseconds: 1000 })
        return { connections, cpu: perRequest(taken), requestsPerSecond: taken.requests / taken.seconds }
      })
      // Too many at once is a thing to find out, not a reason to stop.
      results.push(await measured.catch((error: Error) => ({ connections, failure: error.message })))
    }
    return results
  })

/** How much live memory, and how much of the process's own, `options.memory` sessions take. */
const measureMemory = (subject: Subjects.Subject): Promise<NonNullable<SubjectResult["memory"]>> =>
  withServer(subject, {}, (server, connected) =>
    connected(options.connections, async (client) => {
      await scenarios.createSessions(client, 2000) // code and buffers of the route itself
      const before = await server.ask("collect")
      await scenarios.createSessions(client, options.memory)
      const after = await server.ask("collect")
      return {
        sessions: options.memory,
        bytesPerSession: Math.round((after.live - before.live) / options.memory),
        rssPerSession: Math.round((after.rss - before.rss) / options.memory)
      }
    })
  )

/** What one `/whoami` costs as the number of live sessions grows. */
const measureGrowth = (subject: Subjects.Subject): Promise<ReadonlyArray<AtSessions>> =>
  withServer(subject, {}, (server, connected) =>
    connected(options.connections, async (client) => {
      const first = await scenarios.createSessions(client, 2000)
      await closedLoop(client, scenarios.cycle(first.map(scenarios.whoami)), { milliseconds: options.warmup })
      await closedLoop(client, scenarios.cycle(first.map(scenarios.destroy)), { requests: first.length })
      const empty = await server.ask("collect")
      const live: Array<scenarios.LiveSession> = []
      const anyOf = () => scenarios.whoami(live[Math.floor(Math.random() * live.length)]!)
      const results: Array<AtSessions> = []
      for (const sessions of options.growth) {
        await closedLoop(client, () => scenarios.create((session) => live.push(session)), {
          requests: sessions - live.length
        })
        const full = await server.ask("collect")
        await closedLoop(client, anyOf, { milliseconds: options.warmup })
        const taken = await sample(server, client, anyOf, { milliseconds: 2000 })
        results.push({
          sessions,
          cpu: perRequest(taken),
          bytesPerSession: Math.round((full.live - empty.live) / sessions)
        })
      }
      return results
    })
  )

/** How often a request of each kind waits for the store, counted by a proxy between the server and it. */
const measureRoundTrips = async (
  subject: Subjects.Subject,
  env: Record<string, string>
): Promise<Partial<Record<Scenario, number>>> => {
  const variable = subject.store === "redis" ? "BENCH_REDIS_URL" : "BENCH_POSTGRES_URL"
  const url = new URL(subject.store === "redis" ? redisUrl : postgresUrl)
  const proxy = await startProxy({ host: url.hostname, port: Number(url.port) })
  url.host = `127.0.0.1:${proxy.port}`
  try {
    return await withServer(subject, { ...env, [variable]: url.href }, (_server, connected) =>
      connected(1, async (client) => {
        const count = 50
        const counted = async (next: Next): Promise<number> => {
          const before = proxy.roundTrips()
          await closedLoop(client, next, { requests: count })
          return (proxy.roundTrips() - before) / count
        }
        await scenarios.checkBehaviour(client) // loads scripts and prepares statements
        const live: Array<scenarios.LiveSession> = []
        let index = 0
        return {
          create: await counted(() => scenarios.create((session) => live.push(session))),
          visitor: await counted(() => scenarios.visitorExchange),
          anonymous: await counted(() => scenarios.anonymousExchange),
          whoami: await counted(scenarios.cycle(live.map(scenarios.whoami))),
          forged: await counted(scenarios.cycle(live.map(scenarios.forged))),
          update: await counted(() => scenarios.update(live[index++]!)),
          destroy: await counted(scenarios.cycle(live.map(scenarios.destroy)))
        }
      })
    )
  } finally {
    proxy.close()
  }
}

const touchAlways = { BENCH_TOUCH_ALWAYS: "yes" }

/** `/whoami` of ours when every request moves the session's idle deadline. */
const measureTouching = async (subject: Subjects.Subject): Promise<NonNullable<SubjectResult["touching"]>> => {
  const cpu = await withServer(subject, touchAlways, (server, connected) =>
    connected(options.connections, async (client) => {
      const live = await scenarios.createSessions(client, options.sessions)
      const next = scenarios.cycle(live.map(scenarios.whoami))
      await closedLoop(client, next, { milliseconds: 2 * options.warmup })
      return perRequest(await sample(server, client, next, { milliseconds: 1500 }))
    })
  )
  if (!isRemote(subject)) return { cpu }
  const { whoami } = await measureRoundTrips(subject, touchAlways)
  return { cpu, roundTrips: whoami! }
}

// --- processes and stores

const isRemote = ({ store }: Subjects.Subject): boolean => store === "redis" || store === "postgres"

type Connected = <A>(connections: number, use: (client: Client) => Promise<A>) => Promise<A>

/** Runs `use` against a fresh server process, with clients that are closed after use, and leaves its store empty. */
const withServer = async <A>(
  subject: Subjects.Subject,
  env: Record<string, string>,
  use: (server: ServerProcess, connected: Connected) => Promise<A>
): Promise<A> => {
  const server = await startServer(subject, { core: serverCore, env })
  try {
    return await use(server, async (connections, useClient) => {
      const client = await connect(server.port, connections)
      try {
        return await useClient(client)
      } finally {
        client.close()
      }
    })
  } catch (cause) {
    throw new Error(`${Subjects.label(subject)}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  } finally {
    await server.stop()
    await emptyStore(subject.store)
  }
}

// --- the run

const started = performance.now()
const say = (text: string): void =>
  console.log(`${((performance.now() - started) / 1000).toFixed(0).padStart(5)} s  ${text}`)

if (cpus().length < 2) throw new Error("the server and its client need a core each")
execFileSync("taskset", ["-a", "-c", "-p", flags["client-core"], String(process.pid)], { stdio: "ignore" })
if (subjects.some(({ store }) => store === "redis")) await prepareRedis()

const measuredOn = environment()
const rounds = new Map<Subjects.Subject, Array<Round>>(subjects.map((subject) => [subject, []]))
for (let index = 0; index < options.rounds; index++) {
  for (const subject of index % 2 === 0 ? subjects : subjects.toReversed()) {
    const measured = await measureRound(subject)
    rounds.get(subject)!.push(measured)
    const cpu = Object.entries(measured.cpu).map(([kind, value]) => `${kind} ${value.toFixed(1)}`)
    say(`round ${index + 1}  ${Subjects.label(subject).padEnd(32)} CPU µs: ${cpu.join(", ")}`)
  }
}

const resultOf = async (subject: Subjects.Subject): Promise<SubjectResult> => {
  const own = rounds.get(subject)!
  const kinds = Object.keys(own[0]!.cpu) as ReadonlyArray<Scenario> // `summary` put them there
  const { behaviour } = own[0]!
  const sessions = subject.store !== "none"
  return {
    name: subject.name,
    store: subject.store,
    ours: subject.ours === true,
    versions: versionsOf(subject.packages),
    cpu: Object.fromEntries(kinds.map((kind) => [kind, figure(own.map(({ cpu }) => cpu[kind]!))])),
    ...(sessions ? { difference: figure(own.map(({ cpu }) => cpu.whoami! - cpu.bare!)) } : {}),
    requestsPerSecond: figure(own.map((round) => round.requestsPerSecond)),
    busy: figure(own.map(({ busy }) => busy)),
    p50: figure(own.map(({ p50 }) => p50)),
    p99: figure(own.map(({ p99 }) => p99)),
    ...(behaviour === undefined ? {} : { behaviour }),
    ...(sessions && options.at.length > 0 ? { connections: await measureConnections(subject) } : {}),
    ...(subject.store === "memory" && options.memory > 0 ? { memory: await measureMemory(subject) } : {}),
    ...(isRemote(subject) && !flags.quick ? { roundTrips: await measureRoundTrips(subject, {}) } : {}),
    ...(subject.ours === true && !flags.quick ? { touching: await measureTouching(subject) } : {})
  }
}

const results: Array<SubjectResult> = []
for (const subject of subjects) {
  results.push(await resultOf(subject))
  say(`details  ${Subjects.label(subject)}`)
}
const growing = subjects.find(({ ours, store }) => ours === true && store === "memory")
const growth = growing !== undefined && options.growth.length > 0 ? await measureGrowth(growing) : []

const result: HttpResult = {
  environment: measuredOn,
  options: { ...options, at: options.at.join(), growth: options.growth.join() },
  subjects: results,
  growth
}
saveResult(out, result)
printResult(result)
say(`wrote ${out}`)
