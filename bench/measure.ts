/**
 * How costs are measured: in short windows between two readings of the server process's CPU time, servers in turns, so that
 * whatever disturbs the machine for a while takes a window or two from each instead of everything from one.
 */
import { closedLoop, connect, type Client, type Load, type Next } from "./client.ts"
import { postgresUrl } from "./servers/common.ts"
import { startServer, type Question } from "./servers/process.ts"
import { startProxy } from "./servers/proxy.ts"
import * as requests from "./servers/requests.ts"
import { counterpart, label, type Subject } from "./servers/subjects.ts"

/** Requests without a session, of a GET and a POST, and those that ask for one or change it. */
export type Kind = "bare" | "post" | "whoami" | "forged" | "create" | "update" | "destroy"

/**
 * What is told of a subject: CPU microseconds of the server process a request of each kind; the same `over` the bare
 * request, in the same pass; the `ratio` to the counterpart, in the same pass, and that of `over`, in the same round; and
 * requests a second of `/whoami`, as fast as it goes.
 */
export type Cost = Kind | `${Kind} over` | `${Kind} ratio` | `${Kind} over ratio` | "perSecond"
export type Costs<N> = Readonly<Partial<Record<Cost, N>>>

/** Of the rounds. */
export type Figure = readonly [median: number, low: number, high: number]

/** How often each server is started anew, and how many turns it has then. */
export interface Options {
  readonly rounds: number
  readonly passes: number
}

export const serverCore = 0
export const clientCore = 1
const connections = 64
/** Milliseconds for each kind of request in a pass. */
const windowMillis = 120
/** Log-ins, updates and log-outs in a pass. */
const sessionsOfPass = 1000
/** Requests before a window that are not counted: others had the core and its caches meanwhile. */
const settling = 200
/** How often each kind is sent in turn before a server is measured: until then V8 still compiles. */
const warmUpRepeats = 12
const warmUpRequests = 4000
/** No repeat begins after this: the slowest servers, which are compiled by then, would take minutes. */
const warmUpMillis = 15_000
const memorySessions = 50_000
const growthSessions = 1_000_000

/** The middle value of the sorted list, or the mean of the two in the middle. */
export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

const figure = (values: ReadonlyArray<number>): Figure => {
  const round = (value: number) => Number(value.toPrecision(4))
  return [round(median(values)), round(Math.min(...values)), round(Math.max(...values))]
}

export interface Sample extends Load {
  /** Microseconds of the server process, all of its threads. */
  readonly cpu: number
}

/** What a round found out about a subject; the windows of one pass stand at one index. */
export interface Findings {
  readonly subject: Subject
  behaviour?: requests.Behaviour
  readonly passes: Array<Readonly<Record<Kind, Sample>>>
}

/** A server under load: its process, and connections for as long as they are used, as servers close idle ones. */
export interface Target {
  readonly ask: (question: Question) => Promise<number>
  readonly client: Client
}

/** Loads the server and counts the CPU time it took meanwhile. */
const sample = async (
  { ask, client }: Target,
  next: Next,
  until: Parameters<typeof closedLoop>[2]
): Promise<Sample> => {
  const before = await ask("cpu")
  const load = await closedLoop(client, next, until)
  return { ...load, cpu: (await ask("cpu")) - before }
}

const window = async (target: Target, next: Next): Promise<Sample> => {
  await closedLoop(target.client, next, { requests: settling })
  return sample(target, next, { milliseconds: windowMillis })
}

const bare: Next = () => requests.bareRead
const post: Next = () => requests.bareWrite

const warmUp = async (client: Client): Promise<void> => {
  const { bareRead, bareWrite, destroy, forged, update, whoami } = requests
  const end = performance.now() + warmUpMillis
  for (let repeat = 0; repeat < warmUpRepeats && performance.now() < end; repeat++) {
    const live = await requests.createSessions(client, warmUpRequests)
    for (const toExchange of [() => bareRead, whoami, forged, () => bareWrite, update, destroy]) {
      await closedLoop(client, requests.cycle(live, toExchange), { requests: live.length })
    }
  }
}

/**
 * Each kind of request in turn, of new sessions: ours would move the idle deadline of older ones, which is one write more.
 * All that are created are updated once and destroyed.
 */
const takePass = async (target: Target): Promise<Record<Kind, Sample>> => {
  const { client } = target
  // While it waited for the others, its code and data have left the processor's caches.
  await closedLoop(client, bare, { milliseconds: windowMillis })
  const live = await requests.createSessions(client, settling)
  const create = await sample(target, () => requests.create((session) => live.push(session)), {
    requests: sessionsOfPass
  })
  const once = async (toExchange: typeof requests.whoami) => {
    const next = requests.cycle(live, toExchange)
    await closedLoop(client, next, { requests: settling })
    return sample(target, next, { requests: live.length - settling })
  }
  return {
    create,
    bare: await window(target, bare),
    whoami: await window(target, requests.cycle(live, requests.whoami)),
    forged: await window(target, requests.cycle(live, requests.forged)),
    post: await window(target, post),
    update: await once(requests.update),
    destroy: await once(requests.destroy)
  }
}

/** Measures all subjects in new processes; `index` decides the order, which is reversed each time. */
export const measureRound = async (
  subjects: ReadonlyArray<Subject>,
  index: number,
  passes: number
): Promise<ReadonlyArray<Findings>> => {
  await using started = new AsyncDisposableStack()
  interface Server extends Findings, Pick<Target, "ask"> {
    readonly port: number
  }
  const servers: Array<Server> = []
  for (const subject of subjects) {
    const { ask, port } = started.use(await startServer(subject, serverCore))
    servers.push({ subject, ask, port, passes: [] })
  }
  const inTurns = async (turns: number, count: number, turn: (server: Server, client: Client) => Promise<unknown>) => {
    for (let pass = 0; pass < turns; pass++) {
      for (const server of (index + pass) % 2 === 0 ? servers : servers.toReversed()) {
        using client = await connect(server.port, count, label(server.subject))
        await turn(server, client)
      }
    }
  }
  await inTurns(1, 1, async (server, client) => {
    server.behaviour = await requests.checkBehaviour(client)
  })
  await inTurns(1, connections, (_, client) => warmUp(client))
  await inTurns(passes, connections, async ({ ask, passes }, client) => {
    passes.push(await takePass({ ask, client }))
  })
  return servers
}

const isWrite = (kind: Kind): boolean => kind === "create" || kind === "update" || kind === "destroy"
const costOf = ({ cpu, requests }: Sample): number => cpu / requests
const costsIn = ({ passes }: Findings, kind: Kind): ReadonlyArray<number> => passes.map((pass) => costOf(pass[kind]))
const overIn = (found: Findings, kind: Kind): number => {
  const without = costsIn(found, isWrite(kind) ? "post" : "bare")
  return median(costsIn(found, kind).map((cost, pass) => cost - without[pass]!))
}

/** A round's costs are medians of its windows: whatever disturbs less than half of them moves none. */
export const summarizeRound = (found: Findings, all: ReadonlyArray<Findings>): Costs<number> => {
  const { passes, subject } = found
  const costs: Partial<Record<Cost, number>> = {
    perSecond: median(passes.map(({ whoami }) => whoami.requests / whoami.seconds))
  }
  for (const kind of ["bare", "post", "whoami", "forged", "create", "update", "destroy"] as const) {
    const own = costsIn(found, kind)
    costs[kind] = median(own)
    if (kind === "bare" || kind === "post") continue
    costs[`${kind} over`] = overIn(found, kind)
    const among = all.map(({ subject }) => subject)
    const compared = counterpart(subject, isWrite(kind) ? "writes" : "reads", among)
    const other = all.find(({ subject }) => subject === compared)
    if (other === undefined) continue
    const others = costsIn(other, kind)
    costs[`${kind} ratio`] = median(own.map((cost, pass) => cost / others[pass]!))
    costs[`${kind} over ratio`] = overIn(found, kind) / overIn(other, kind)
  }
  return costs
}

/** Median, lowest and highest of the rounds of one subject. */
export const summarize = (rounds: ReadonlyArray<Costs<number>>): Costs<Figure> => {
  const names = Object.keys(rounds[0]!) as ReadonlyArray<Cost> // what one round has, all have
  return Object.fromEntries(names.map((name) => [name, figure(rounds.map((round) => round[name]!))]))
}

/** Live bytes a session, of sessions made over HTTP, after a collection. */
export const measureMemory = async (subject: Subject): Promise<number> => {
  await using server = await startServer(subject, serverCore)
  using client = await connect(server.port, connections, label(subject))
  await requests.createSessions(client, 2000) // code and buffers of the route itself
  const before = await server.ask("live")
  await requests.createSessions(client, memorySessions)
  return Math.round(((await server.ask("live")) - before) / memorySessions)
}

/** How often a request waits for the store, counted by a proxy between the server and it. */
export const measureRoundTrips = async (subject: Subject): Promise<Partial<Record<Kind, number>>> => {
  const variable = subject.store === "redis" ? "BENCH_REDIS_URL" : "BENCH_POSTGRES_URL"
  const url = new URL(process.env[variable] ?? postgresUrl)
  using proxy = await startProxy({ host: url.hostname, port: Number(url.port) })
  url.host = `127.0.0.1:${proxy.port}`
  const env = { ...subject.env, [variable]: url.href }
  await using server = await startServer({ ...subject, env }, serverCore)
  using client = await connect(server.port, 1, label(subject))
  await requests.checkBehaviour(client) // loads scripts and prepares statements
  const live = await requests.createSessions(client, 20)
  const counted = async (toExchange: typeof requests.whoami) => {
    const before = proxy.roundTrips()
    await closedLoop(client, requests.cycle(live, toExchange), { requests: live.length })
    // Rounded, for the client's pings pass the proxy too.
    return Math.round((proxy.roundTrips() - before) / live.length)
  }
  return {
    whoami: await counted(requests.whoami),
    forged: await counted(requests.forged),
    create: await counted(() => requests.create(() => {})),
    update: await counted(requests.update),
    destroy: await counted(requests.destroy)
  }
}

/** CPU microseconds with so many sessions, and live bytes of each. */
export interface Growth {
  readonly sessions: number
  readonly bytes: number
  readonly whoami: number
  /** Beside it, in turn: what moves this is not the sessions. */
  readonly bare: number
}

/**
 * `/whoami` of sessions picked at random from ever more in one process, in turn with `/bare`. No session is touched, though
 * creating a million takes longer than a minute.
 */
export const measureGrowth = async (subject: Subject, pairs: number): Promise<ReadonlyArray<Growth>> => {
  const env = { ...subject.env, BENCH_TOUCH_MILLIS: "900000" }
  await using server = await startServer({ ...subject, env }, serverCore)
  using client = await connect(server.port, connections, label(subject))
  await warmUp(client)
  const empty = await server.ask("live")
  const live: Array<requests.LiveSession> = []
  const anyOf = () => requests.whoami(live[Math.floor(Math.random() * live.length)]!)
  const cost = async (next: Next) => costOf(await window({ ask: server.ask, client }, next))
  const results: Array<Growth> = []
  for (let sessions = 1000; sessions <= growthSessions; sessions *= 10) {
    for (const session of await requests.createSessions(client, sessions - live.length)) live.push(session)
    const bytes = Math.round(((await server.ask("live")) - empty) / sessions)
    // That collection has thrown compiled code away, too.
    await closedLoop(client, anyOf, { requests: warmUpRepeats * warmUpRequests })
    const whoami: Array<number> = []
    const without: Array<number> = []
    while (whoami.length < pairs) {
      without.push(await cost(bare))
      whoami.push(await cost(anyOf))
    }
    results.push({ sessions, bytes, whoami: figure(whoami)[0], bare: figure(without)[0] })
  }
  return results
}
