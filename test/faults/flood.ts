/**
 * A thousand requests a second on a server whose Postgres fails: whether every answer is in time, whether the process
 * stays free for other work, and whether what still works goes on working. What the answers say is judged by `traffic.ts`,
 * at a rate at which it can.
 */
import { setTimeout as pause } from "node:timers/promises"
import {
  type Answer,
  newSecret,
  type OwnPostgres,
  processorWait,
  Proxy,
  type SessionServer,
  startBareServer,
  startSessionServer
} from "../support/processes.ts"
import { answerLimit, counted } from "./traffic.ts"

export interface Flood {
  readonly name: string
  /** The connections of the pool, 10 if it is not said. */
  readonly poolSize?: number
  /** How much longer the database takes for each reply, in milliseconds. */
  readonly delay?: number
  /** How many requests a second it is asked with at most, where there are to be more than can be served. */
  readonly perSecond?: number
  /** The flood without a fault whose rate it has to come near. */
  readonly like?: string
  readonly inject: (postgres: OwnPostgres, millis: number) => Promise<void>
}

const endConnections = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sessions'"

const granting =
  (connections: number): Flood["inject"] =>
  async (postgres, millis) => {
    await postgres.sql(`ALTER ROLE app CONNECTION LIMIT ${connections}`)
    await postgres.sql(endConnections)
    await pause(millis)
    await postgres.sql("ALTER ROLE app CONNECTION LIMIT -1")
  }

export const floods: ReadonlyArray<Flood> = [
  { name: "no connection is granted", inject: granting(0) },
  {
    name: "stopped (SIGSTOP)",
    inject: async (postgres, millis) => {
      await postgres.signal("SIGSTOP")
      await pause(millis)
      await postgres.signal("SIGCONT")
    }
  },
  {
    name: "killed, restarted",
    inject: async (postgres, millis) => {
      await postgres.kill()
      await pause(millis)
      await postgres.start()
    }
  },
  {
    name: "a pool of three, overloaded",
    poolSize: 3,
    delay: 20,
    perSecond: 300,
    inject: async (_, millis) => {
      await pause(millis)
    }
  },
  {
    name: "three connections of ten, overloaded",
    delay: 20,
    perSecond: 300,
    like: "a pool of three, overloaded",
    inject: granting(3)
  },
  { name: "three connections of ten", inject: granting(3) }
]

interface Sample {
  readonly at: number
  readonly status: number
  readonly millis: number
}

export interface FloodResult {
  readonly flood: Flood
  /** How many requests a second it was, on this machine. */
  readonly perSecond: number
  readonly samples: ReadonlyArray<Sample>
  /** Answers with 200 a second: before the fault, during all but its first second, and from two seconds after it. */
  readonly rates: readonly [number, number, number]
  readonly slowest: number
  readonly bare: number
  readonly blocked: number
  readonly violations: ReadonlyArray<string>
}

/** The share of the rate of a pool of three that three connections of ten have to serve. */
export const nearness = 0.7

export interface Wanted {
  /** How long the fault lasts. */
  readonly millis: number
  readonly perSecond: number
  /** How long the event loop may be blocked, in milliseconds. */
  readonly blockLimit: number
}

/** A machine that is busy with other things gets fewer requests than asked for: it has to serve them without a fault. */
const spare = 3

/** How many requests a second the server answers, after it has become warm. */
const throughput = async (server: SessionServer, cookies: ReadonlyArray<string>): Promise<number> => {
  let rate = 0
  for (let i = 0; i < 4; i++) {
    const began = performance.now()
    for (let j = 0; j < 10; j++) {
      await Promise.all(cookies.map((cookie) => server.send("GET", "/whoami", cookie)))
    }
    rate = (10 * cookies.length * 1000) / (performance.now() - began)
  }
  return rate
}

export const runFlood = async (postgres: OwnPostgres, flood: Flood, wanted: Wanted): Promise<FloodResult> => {
  const proxy = flood.delay === undefined ? undefined : await Proxy.start(postgres.port, flood.delay)
  const server = await startSessionServer({
    SESSION_BACKEND: "postgres",
    DATABASE_URL: `postgres://app@127.0.0.1:${proxy?.port ?? postgres.port}/app`,
    SESSION_SECRET: newSecret(),
    ...(flood.poolSize !== undefined && { POOL_SIZE: String(flood.poolSize) })
  })
  const control = await startBareServer()
  let waited = 0
  const watching = setInterval(() => (waited = processorWait() + server.processorWait()), 20)
  // A request may make two calls of the store, and where more come than are served each may take its time.
  const limit = flood.perSecond === undefined ? answerLimit : answerLimit + 1000
  const samples: Array<Sample> = []
  const violations = new Map<string, number>()
  const blame = (what: string) => violations.set(what, (violations.get(what) ?? 0) + 1)
  let slowest = 0
  let bare = 0
  let blocked = 0

  const send = async (method: string, path: string, cookie?: string): Promise<Answer> => {
    const at = performance.now()
    const waitedBefore = waited
    const answer = await server.send(method, path, cookie)
    samples.push({ at, status: answer.status, millis: answer.millis })
    slowest = Math.max(slowest, answer.millis)
    if (answer.status !== 200 && answer.status !== 503) blame(`${method} was answered ${answer.status || answer.body}`)
    if (answer.millis > limit + waited - waitedBefore) blame(`an answer took more than ${limit} ms`)
    return answer
  }

  try {
    const cookies: Array<string> = []
    for (let i = 0; i < 50; i++) cookies.push((await server.send("POST", `/login/user${i}`)).cookie!)
    const capacity = await throughput(server, cookies)
    const perSecond = Math.min(wanted.perSecond, flood.perSecond ?? Infinity, capacity / spare)
    const added: Array<string> = []
    const next = async (i: number): Promise<void> => {
      const cookie = cookies[i % cookies.length]!
      if (i % 20 === 7) return void (await send("POST", `/mark/m${i % 10}`, cookie))
      if (i % 20 === 11) {
        const answer = await send("POST", `/login/other${i}`)
        if (answer.status === 200) added.push(answer.cookie!)
        return
      }
      const old = i % 20 === 15 ? added.shift() : undefined
      await (old === undefined ? send("GET", "/whoami", cookie) : send("POST", "/logout", old))
    }
    const state = { isOver: false }
    const underWay = new Set<Promise<void>>()
    const running = (async () => {
      const began = performance.now()
      for (let sent = 0; !state.isOver;) {
        const due = Math.min(((performance.now() - began) / 1000) * perSecond, sent + perSecond)
        for (; sent < due; sent++) {
          const request = next(sent)
          underWay.add(request)
          void request.then(() => underWay.delete(request))
        }
        await pause(5)
      }
      await Promise.all(underWay)
    })()
    const probing = (async () => {
      while (!state.isOver) {
        bare = Math.max(bare, (await control.send("GET", "/")).millis)
        await pause(50)
      }
    })()
    await pause(1000)
    await server.send("GET", "/blocked")
    bare = 0
    slowest = 0
    await pause(1000)
    const began = performance.now()
    await flood.inject(postgres, wanted.millis)
    const ended = performance.now()
    await pause(4000)
    state.isOver = true
    await Promise.all([running, probing])
    blocked = Number((await server.send("GET", "/blocked")).body)
    const last = performance.now()
    const rate = (from: number, to: number) =>
      samples.filter(({ at, millis, status }) => status === 200 && at + millis >= from && at + millis < to).length /
      ((to - from) / 1000)
    if (blocked > wanted.blockLimit) blame(`the event loop was blocked for ${Math.round(blocked)} ms`)
    if (!server.isRunning()) blame(`the server ended by itself:\n${server.output().slice(-2000)}`)
    return {
      flood,
      perSecond,
      samples,
      rates: [rate(began - 1000, began), rate(began + 1000, ended), rate(ended + 2000, Math.min(last, ended + 4000))],
      slowest,
      bare,
      blocked,
      violations: counted(violations)
    }
  } finally {
    clearInterval(watching)
    await Promise.all([server.stop(), control.stop()])
    await proxy?.dispose()
  }
}
