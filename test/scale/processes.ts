/**
 * One, two and four server processes on one store: what they serve, what a request costs each and the store, and whether
 * an update is lost or a log-out undone between them.
 *
 * `npm run test:scale-out -- [--only redis|postgres] [--seconds 2] [--passes 5] [--write]` starts a Redis and a Postgres
 * of its own. It ends with 1 if an answer was not what it had to be, an update was lost, or a log-out undone. `--write`
 * puts its tables into docs/scale.md.
 *
 * All servers run on core 0; the client, which is this process, and the store on core 1 (`taskset`). So more processes
 * cannot serve more here. What shows is whether each request costs more for there being others.
 */
import { spawnSync } from "node:child_process"
import { randomBytes } from "node:crypto"
import { readFileSync } from "node:fs"
import { parseArgs } from "node:util"
import {
  type Answer,
  type Client,
  closedLoop,
  connect,
  cookiesOf,
  type Exchange,
  type Next,
  request
} from "../../bench/client.ts"
import { each } from "../support/feeds.ts"
import { newSecret, OwnPostgres, OwnRedis, type SessionServer, startSessionServer } from "../support/processes.ts"
import { figure, measuredBy, median, table, writeInto } from "./page.ts"

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    seconds: { type: "string", default: "2" },
    passes: { type: "string", default: "5" },
    write: { type: "boolean", default: false }
  }
})
const [seconds, passes] = [values.seconds, values.passes].map(Number) as [number, number]
const counts = [1, 2, 4]
/** In flight at once, over all processes: few enough that none waits long for the store. */
const connections = 16
const logOutsAPass = 20
/** How many requests of a kind each process has answered before it is measured. */
const warmUp = 5000

// What was started is ended with this process.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1))

const pin = (pid: number, core: number) => {
  const { status } = spawnSync("taskset", ["-acp", String(core), String(pid)])
  if (status !== 0) throw new Error(`taskset of ${pid} to core ${core} failed; this needs Linux and two cores`)
}
// What is started from here on stays on this core, too.
pin(process.pid, 1)

// -----------------------------------------------------------------------------
// Stores, and the processor time that they have used
// -----------------------------------------------------------------------------

interface Store {
  readonly name: string
  readonly env: Record<string, string>
  readonly cpuMicros: () => Promise<number>
  readonly dispose: () => Promise<void>
}

const openRedis = async (): Promise<Store> => {
  const redis = await OwnRedis.start({ isDurable: false })
  return {
    name: "Redis",
    env: { REDIS_URL: redis.url },
    cpuMicros: async () => {
      const info = await redis.command("INFO cpu")
      return (
        1e6 * ["sys", "user"].reduce((sum, kind) => sum + Number(RegExp(`used_cpu_${kind}:(.+)`).exec(info)![1]), 0)
      )
    },
    dispose: () => redis.dispose()
  }
}

const openPostgres = async (): Promise<Store> => {
  const postgres = await OwnPostgres.start()
  const [main] = (await postgres.sql("SELECT pg_read_file('postmaster.pid')")).split("\n")
  const childrenOf = (pid: string) => spawnSync("pgrep", ["-P", pid], { encoding: "utf8" }).stdout.split("\n")
  return {
    name: "Postgres",
    env: { DATABASE_URL: postgres.url },
    cpuMicros: async () =>
      [main!, ...childrenOf(main!)].filter(Boolean).reduce((sum, pid) => {
        try {
          return sum + Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[0]) / 1000
        } catch {
          // One that has ended: a worker of autovacuum, say.
          return sum
        }
      }, 0),
    dispose: () => postgres.dispose()
  }
}

// -----------------------------------------------------------------------------
// Servers
// -----------------------------------------------------------------------------

interface Used {
  readonly pid: number
  readonly cpuMicros: number
  readonly updates: number
  readonly stale: number
}

const usedBy = async (server: SessionServer): Promise<Used> => {
  const { body, status } = await server.send("GET", "/used")
  if (status !== 200) throw new Error(`the server answered ${status}`)
  return JSON.parse(body)
}

const sum = <A>(all: ReadonlyArray<A>, of: (one: A) => number): number => all.reduce((sum, one) => sum + of(one), 0)

let users = 0
const newName = () => `user${++users}`
const whoami = (name: string, count: number) => JSON.stringify({ username: name, count })

interface LoggedIn {
  readonly name: string
  readonly cookie: string
}

const logIn = async (server: SessionServer): Promise<LoggedIn> => {
  const name = newName()
  const { cookie, status } = await server.send("POST", `/login/${name}`)
  if (status !== 200 || cookie === undefined) throw new Error(`a log-in was answered with ${status}`)
  return { name, cookie }
}

// -----------------------------------------------------------------------------
// Kinds of load: what a connection to the server of this index sends next
// -----------------------------------------------------------------------------

/** How many requests of a load were answered with 503: the store had not answered in time, or its queue was full. */
let failures = 0

/** A request whose answer has to be this one, or 503; what follows it does so only if it was not 503. */
const expecting = (
  text: string,
  status: number,
  body: string | undefined,
  then: (answer: Answer) => void = () => {}
): Exchange => ({
  request: text,
  onAnswer: (answer) => {
    if (answer.status === 503) return void failures++
    if (answer.status !== status || (body !== undefined && answer.body !== body)) {
      const [line] = text.split("\r\n")
      throw new Error(`${line} was answered with ${answer.status} ${answer.body} instead of ${status} ${body ?? ""}`)
    }
    then(answer)
  }
})

/** A route that knows no session, and asks no store. */
const bare = (): Next => () => expecting(request("GET", "/bare"), 200, "bare")

/** Each process is asked for all sessions. */
const reading = (sessions: ReadonlyArray<LoggedIn>): ((server: number) => Next) => {
  const exchanges = sessions.map(({ cookie, name }) =>
    expecting(request("GET", "/whoami", cookie), 200, whoami(name, 0))
  )
  let turn = 0
  return () => () => exchanges[turn++ % exchanges.length]!
}

/**
 * Users who log in, look 16 times, change their session twice, log out, and are refused, each request to the next process:
 * it has to know what the last one answered. `ready` holds those whose next request is for a process. A user who gets a
 * 503 goes away.
 */
const living = (processes: number): ((server: number) => Next) => {
  const ready = Array.from({ length: processes }, (): Array<(server: number) => Exchange> => [])
  const begin = (at: number): Exchange => {
    const name = newName()
    let cookie = ""
    let count = 0
    let step = 0
    const next = (server: number): Exchange => {
      const go = () => void ready[(server + 1) % processes]!.push(next)
      step++
      if (step <= 18) {
        if (step % 9 !== 0) return expecting(request("GET", "/whoami", cookie), 200, whoami(name, count), go)
        return expecting(request("POST", "/count", cookie), 200, whoami(name, ++count), go)
      }
      if (step === 19) return expecting(request("POST", "/logout", cookie), 200, undefined, go)
      return expecting(request("GET", "/whoami", cookie), 401, undefined)
    }
    return expecting(request("POST", `/login/${name}`), 200, undefined, (answer) => {
      cookie = cookiesOf(answer)
      ready[(at + 1) % processes]!.push(next)
    })
  }
  return (server) => () => ready[server]!.shift()?.(server) ?? begin(server)
}

/** Answers to updates of one session. */
interface Updates {
  readonly session: LoggedIn
  ok: number
  conflicts: number
  notApplied: number
  unknown: number
}

/** All processes change the same few sessions at once. */
const clashing = (all: ReadonlyArray<Updates>): ((server: number) => Next) => {
  let turn = 0
  return () => () => {
    const updates = all[turn++ % all.length]!
    return {
      request: request("POST", "/count", updates.session.cookie),
      onAnswer: ({ body, status }) => {
        if (status === 200) updates.ok++
        else if (status === 409) updates.conflicts++
        else if (status === 503 && body.includes("notApplied")) updates.notApplied++
        else if (status === 503 && body.includes("unknown")) updates.unknown++
        else throw new Error(`an update was answered with ${status} ${body}`)
      }
    }
  }
}

// -----------------------------------------------------------------------------
// What is measured
// -----------------------------------------------------------------------------

interface Window {
  readonly perSecond: number
  readonly cpuMicros: number
  readonly storeMicros: number
  readonly failures: number
}

const load = async (
  store: Store,
  servers: ReadonlyArray<SessionServer>,
  clients: ReadonlyArray<Client>,
  kind: (server: number) => Next,
  until: { readonly milliseconds?: number; readonly requests?: number } = { milliseconds: seconds * 1000 }
): Promise<Window> => {
  const used = async () => ({
    servers: sum(await Promise.all(servers.map(usedBy)), ({ cpuMicros }) => cpuMicros),
    store: await store.cpuMicros()
  })
  failures = 0
  const before = await used()
  const loads = await Promise.all(clients.map((client, i) => closedLoop(client, kind(i), until)))
  const after = await used()
  const requests = sum(loads, (load) => load.requests)
  return {
    perSecond: requests / Math.max(...loads.map((load) => load.seconds)),
    cpuMicros: (after.servers - before.servers) / requests,
    storeMicros: (after.store - before.store) / requests,
    failures
  }
}

/** How the updates of the same sessions, all at once, ended. */
interface Clash {
  sent: number
  ok: number
  stale: number
  conflicts: number
  notApplied: number
  unknown: number
  lost: number
  extra: number
}

const clash = async (servers: ReadonlyArray<SessionServer>, clients: ReadonlyArray<Client>, into: Clash) => {
  const all = await Promise.all(
    Array.from({ length: 8 }, async (_, i): Promise<Updates> => {
      const session = await logIn(servers[i % servers.length]!)
      return { session, ok: 0, conflicts: 0, notApplied: 0, unknown: 0 }
    })
  )
  const staleOf = async () => sum(await Promise.all(servers.map(usedBy)), ({ stale }) => stale)
  const before = await staleOf()
  const next = clashing(all)
  const loads = await Promise.all(
    clients.map((client, i) => closedLoop(client, next(i), { milliseconds: seconds * 1000 }))
  )
  into.sent += sum(loads, (load) => load.requests)
  into.stale += (await staleOf()) - before
  for (const { conflicts, notApplied, ok, session, unknown } of all) {
    into.ok += ok
    into.conflicts += conflicts
    into.notApplied += notApplied
    into.unknown += unknown
    for (const server of servers) {
      let { body, status } = await server.send("GET", "/whoami", session.cookie)
      for (let i = 0; status === 503 && i < 10; i++)
        ({ body, status } = await server.send("GET", "/whoami", session.cookie))
      if (status !== 200) throw new Error(`after its updates a session was answered with ${status}`)
      const { count } = JSON.parse(body) as { readonly count: number }
      // Those whose outcome is unknown may have been made, or not.
      into.lost += Math.max(0, ok - count)
      into.extra += Math.max(0, count - ok - unknown)
    }
  }
}

/** How log-outs fared that raced with updates and reads on all processes. */
interface LogOuts {
  done: number
  asked: number
  raced: number
  undone: number
}

const logOutAmid = async (servers: ReadonlyArray<SessionServer>, at: number, into: LogOuts) => {
  const { cookie } = await logIn(servers[(at + 1) % servers.length]!)
  const racing = servers.flatMap((server) => [
    server.send("POST", "/count", cookie),
    server.send("GET", "/whoami", cookie),
    server.send("POST", "/count", cookie)
  ])
  const { status } = await servers[at % servers.length]!.send("POST", "/logout", cookie)
  if (status !== 200 && status !== 503) throw new Error(`a log-out was answered with ${status}`)
  const refused = async () => {
    // One that was not answered with 200 promises nothing.
    if (status !== 200) return
    for (const answer of await Promise.all(servers.map((server) => server.send("GET", "/whoami", cookie)))) {
      into.asked++
      if (answer.status === 200) into.undone++
    }
  }
  into.done += status === 200 ? 1 : 0
  await refused()
  for (const answer of await Promise.all(racing)) {
    into.raced++
    if (![200, 401, 409, 503].includes(answer.status))
      throw new Error(`a request that raced a log-out was answered with ${answer.status}`)
  }
  // Nor did one that was late bring it back.
  await refused()
}

const kinds = ["no session", "`/whoami`", "mixed"] as const

const measure = async (store: Store) => {
  const env = {
    ...store.env,
    SESSION_SECRET: newSecret(),
    SESSION_NAME: `scale/${randomBytes(6).toString("hex")}`,
    NODE_ENV: "production"
  }
  const servers = await Promise.all(
    Array.from({ length: Math.max(...counts) }, () => startSessionServer(env, "../scale/server.ts"))
  )
  const clients = new Map<number, ReadonlyArray<Client>>()
  try {
    for (const server of servers) pin((await usedBy(server)).pid, 0)
    const sessions = await each(200, 8, (i) => logIn(servers[i % servers.length]!))
    for (const count of counts) {
      clients.set(
        count,
        await Promise.all(servers.slice(0, count).map(({ port }) => connect(port, connections / count)))
      )
    }
    const windows = new Map<string, Array<Window>>()
    const clashes = new Map(
      counts.map((count): [number, Clash] => [
        count,
        { sent: 0, ok: 0, stale: 0, conflicts: 0, notApplied: 0, unknown: 0, lost: 0, extra: 0 }
      ])
    )
    const logOuts = new Map(
      counts.map((count): [number, LogOuts] => [count, { done: 0, asked: 0, raced: 0, undone: 0 }])
    )
    // All processes are warmed up alike.
    for (const kind of [bare, reading(sessions), living(servers.length)]) {
      await load(store, servers, clients.get(servers.length)!, kind, { requests: warmUp })
    }
    for (let pass = 0; pass < passes; pass++) {
      console.error(`${store.name}, pass ${pass + 1} of ${passes}`)
      for (const count of pass % 2 === 1 ? counts.toReversed() : counts) {
        const [some, to] = [servers.slice(0, count), clients.get(count)!]
        for (const kind of kinds) {
          const next = kind === "mixed" ? living(count) : kind === "no session" ? bare : reading(sessions)
          const window = await load(store, some, to, next)
          const name = `${kind} ${count}`
          windows.set(name, [...(windows.get(name) ?? []), window])
        }
        await clash(some, to, clashes.get(count)!)
        for (let at = 0; at < logOutsAPass; at++) await logOutAmid(some, at, logOuts.get(count)!)
      }
    }
    return { windows, clashes, logOuts }
  } catch (error) {
    for (const server of servers) console.error(server.output().slice(-1000))
    throw error
  } finally {
    for (const client of [...clients.values()].flat()) client.close()
    await Promise.all(servers.map((server) => server.stop()))
  }
}

const costs: Array<Array<string | number>> = []
const clashRows: Array<Array<string | number>> = []
const logOutRows: Array<Array<string | number>> = []
let bad = 0
for (const open of [openRedis, openPostgres]) {
  if (values.only !== undefined && !open.name.toLowerCase().includes(values.only)) continue
  const store = await open()
  try {
    const { clashes, logOuts, windows } = await measure(store)
    for (const kind of kinds) {
      for (const count of counts) {
        const all = windows.get(`${kind} ${count}`)!
        const alone = windows.get(`${kind} ${counts[0]}`)!
        const [perSecond, cpu, storeCpu] = (["perSecond", "cpuMicros", "storeMicros"] as const).map((name) =>
          figure(median(all.map((window) => window[name])))
        ) as [string, string, string]
        const ratio = median(all.map((window, pass) => window.cpuMicros / alone[pass]!.cpuMicros))
        const failed = sum(all, (window) => window.failures)
        costs.push([`${store.name}, ${kind}`, count, perSecond, cpu, ratio.toFixed(2), storeCpu, failed])
      }
    }
    for (const count of counts) {
      const { conflicts, extra, lost, notApplied, ok, sent, stale, unknown } = clashes.get(count)!
      const numbers = [sent, ok, stale, conflicts, notApplied, unknown, lost + extra]
      clashRows.push([store.name, count, ...numbers.map((number) => number.toLocaleString("en-GB"))])
      const { asked, done, raced, undone } = logOuts.get(count)!
      logOutRows.push([store.name, count, done, raced, asked, undone])
      bad += lost + extra + undone
    }
  } finally {
    await store.dispose()
  }
}

const text = [
  ...table(
    ["store and load", "processes", "requests/s", "servers, CPU µs a request", "× one process", "store, CPU µs", "503"],
    costs
  ),
  "",
  `All processes change the same eight sessions at once, over ${connections} connections:`,
  "",
  ...table(
    [
      "store",
      "processes",
      "sent",
      "200",
      "tried again",
      "409",
      "503, not applied",
      "503, unknown",
      "lost or made twice"
    ],
    clashRows
  ),
  "",
  "A session is logged out at one process while all of them read and change it, then asked for at each:",
  "",
  ...table(["store", "processes", "log-outs", "requests that raced", "asked afterwards", "let in"], logOutRows),
  "",
  measuredBy("npm run test:scale-out")
]
console.log(text.join("\n"))
if (values.write && bad === 0 && values.only === undefined) {
  writeInto("docs/scale.md", "processes, written by npm run test:scale-out", text)
}
process.exit(bad === 0 ? 0 : 1)
