/**
 * Traffic on a server with sessions, and a judge of its answers.
 *
 * Each client knows what it was told: which sessions it has, which of them were ended, which of its updates were
 * acknowledged. From that follows what a later answer may be, whatever has become of the store meanwhile.
 */
import { setTimeout as pause } from "node:timers/promises"
import { type Answer, processorWait, type SessionServer } from "../support/processes.ts"

/** The longest a request may wait for its answer, in milliseconds, on a machine that does nothing else. */
export const answerLimit = 1500
/**
 * On a busy machine it may take longer: by the time the server and this process have waited for a processor, and by a
 * multiple of what a request to a server that does nothing took, which goes through the processor only once.
 */
const patience = 3

/**
 * What is known of a session: `live` until a log-out begins, `ended` once that was acknowledged, and in between,
 * or where ending it was answered with an error, in doubt.
 */
type State = "live" | "ending" | "doubtful" | "ended"

interface Client {
  readonly user: string
  readonly cookie: string
  state: State
  /** The updates that were acknowledged. */
  readonly marks: Array<string>
}

export interface Sample {
  /** When it was sent, by `performance.now()`. */
  readonly at: number
  readonly status: number
  readonly millis: number
  /** What a request to a server that does nothing took meanwhile, at most. */
  readonly bare: number
  /** How long the server and this process have waited for a processor meanwhile. */
  readonly waited: number
  /** The id of the session that it read and did not change, if that is what it did. */
  readonly read: string | undefined
}

/** A request to a server that does nothing, under way as long as it has taken no time yet. */
interface Probe {
  readonly at: number
  millis: number | undefined
}

/** What happened, and how often where it was more than once. */
export const counted = (counts: ReadonlyMap<string, number>): ReadonlyArray<string> =>
  Array.from(counts, ([what, count]) => (count === 1 ? what : `${what} (${count} times)`))

/** Numbers that look random and are the same in every run (mulberry32). */
const numbers = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
}

export class Traffic {
  readonly samples: Array<Sample> = []
  readonly violations: Map<string, number> = new Map()
  readonly #server: SessionServer
  readonly #control: SessionServer
  readonly #losesLogins: () => boolean
  readonly #random: () => number
  readonly #reads: number
  readonly #clients: Record<"live" | "ended" | "doubtful", Set<Client>> = {
    live: new Set(),
    ended: new Set(),
    doubtful: new Set()
  }
  readonly #underWay = new Set<Promise<void>>()
  /** The latest requests to the server that does nothing, those under way among them. */
  #bare: Array<Probe> = []
  #named = 0

  /**
   * `control` is a process that does nothing: what is slow there is the machine. `losesLogins` says whether the store has
   * by now lost sessions that it had acknowledged. `reads` is the share of requests that do nothing but read a session;
   * the others are of all kinds.
   */
  constructor(
    server: SessionServer,
    control: SessionServer,
    options: { readonly losesLogins: () => boolean; readonly seed: number; readonly reads?: number }
  ) {
    this.#server = server
    this.#control = control
    this.#losesLogins = options.losesLogins
    this.#random = numbers(options.seed)
    this.#reads = options.reads ?? 0
  }

  #violation(what: string): void {
    this.violations.set(what, (this.violations.get(what) ?? 0) + 1)
  }

  #processorWait(): number {
    return processorWait() + this.#server.processorWait()
  }

  async #send(method: string, path: string, cookie?: string): Promise<Answer> {
    const at = performance.now()
    const waitedBefore = this.#processorWait()
    const answer = await this.#server.send(method, path, cookie)
    const now = performance.now()
    // One that is under way has taken this long at least.
    const probes = this.#bare.map((probe) => ({ at: probe.at, millis: probe.millis ?? now - probe.at }))
    const bare = Math.max(0, ...probes.filter((probe) => probe.at + probe.millis >= at).map(({ millis }) => millis))
    const waited = this.#processorWait() - waitedBefore
    const read = method === "GET" ? cookie?.split(".")[2] : undefined
    this.samples.push({ at, status: answer.status, millis: answer.millis, bare, waited, read })
    if (answer.status !== 200 && answer.status !== 401 && answer.status !== 503) {
      this.#violation(`${method} ${path.split("/")[1]} answered ${answer.status || answer.body}`)
    }
    if (answer.millis > answerLimit + patience * bare + waited) {
      this.#violation(`${method} ${path.split("/")[1]} was answered after more than ${answerLimit} ms`)
    }
    return answer
  }

  #move(client: Client, state: State): void {
    for (const clients of Object.values(this.#clients)) clients.delete(client)
    client.state = state
    if (state !== "ending") this.#clients[state].add(client)
  }

  #pick(state: "live" | "ended" | "doubtful"): Client | undefined {
    const clients = [...this.#clients[state]]
    return clients[Math.floor(this.#random() * clients.length)]
  }

  // ---------------------------------------------------------------------------
  // What clients do
  // ---------------------------------------------------------------------------

  /** Logs in, perhaps in place of a session, which is then ended. */
  async #login(former: Client | undefined): Promise<void> {
    const user = `user${++this.#named}`
    if (former !== undefined) this.#move(former, "ending")
    const answer = await this.#send("POST", `/login/${user}`, former?.cookie)
    if (answer.status === 200) {
      if (answer.cookie === undefined || answer.cookie === "") return this.#violation("a login without a cookie")
      this.#move({ user, cookie: answer.cookie, state: "live", marks: [] }, "live")
      if (former !== undefined) this.#move(former, "ended")
    } else {
      if (answer.cookie !== undefined) this.#violation("a cookie with a login that failed")
      if (former !== undefined) this.#move(former, "doubtful")
    }
  }

  async #logout(client: Client): Promise<void> {
    this.#move(client, "ending")
    const { status } = await this.#send("POST", "/logout", client.cookie)
    this.#move(client, status === 200 ? "ended" : "doubtful")
  }

  /** Asks with a session's cookie, and judges the answer. */
  async #ask(client: Client, mark?: string): Promise<void> {
    const before = client.state
    // What was acknowledged before this was asked has to be in the answer.
    const known = [...client.marks]
    const answer = await (mark === undefined
      ? this.#send("GET", "/whoami", client.cookie)
      : this.#send("POST", `/mark/${mark}`, client.cookie))
    if (answer.status === 401) {
      if (client.state === "live" && !this.#losesLogins()) this.#violation("a session was lost")
      // It is gone, and is to stay so.
      if (client.state === "live" || client.state === "doubtful") this.#move(client, "ended")
      return
    }
    if (answer.status !== 200) return
    if (before === "ended") this.#violation("an ended session was let in")
    const data = JSON.parse(answer.body) as { readonly username: string; readonly marks: ReadonlyArray<string> }
    if (data.username !== client.user) this.#violation("another user's session")
    if (known.some((mark) => !data.marks.includes(mark))) this.#violation("an acknowledged update was lost")
    if (mark !== undefined) client.marks.push(mark)
  }

  async #askWithout(cookie: string): Promise<void> {
    const { status } = await this.#send("GET", "/whoami", cookie)
    if (status !== 401) this.#violation(`a request without a good token was answered ${status}`)
  }

  #forged(client: Client): string {
    const { cookie } = client
    return cookie.slice(0, -2) + (cookie.endsWith("AA") ? "BB" : "AA")
  }

  #next(): Promise<void> {
    const live = this.#pick("live")
    if (live !== undefined && this.#reads > 0 && this.#random() < this.#reads) return this.#ask(live)
    const dice = this.#random()
    if (live === undefined || this.#clients.live.size < 20 || dice < 0.06) return this.#login(undefined)
    if (dice < 0.09) return this.#login(live)
    if (dice < 0.15) return this.#logout(live)
    // Logging out is tried again until it is acknowledged.
    if (dice < 0.2) return this.#logout(this.#pick("doubtful") ?? live)
    if (dice < 0.4) return this.#ask(live, `m${++this.#named}`)
    if (dice < 0.52) return this.#ask(this.#pick("ended") ?? live)
    if (dice < 0.54) return this.#askWithout(this.#forged(live))
    if (dice < 0.55) return this.#askWithout("")
    return this.#ask(live)
  }

  // ---------------------------------------------------------------------------
  // The run
  // ---------------------------------------------------------------------------

  /**
   * Sends a few requests, one after the other, that count for nothing: a process that has just begun is slow. Answers how
   * long one takes, in milliseconds, once that is over.
   */
  async warmUp(): Promise<number> {
    for (let i = 0; i < 100; i++) await this.#next()
    const began = performance.now()
    for (let i = 0; i < 50; i++) await this.#next()
    const millis = (performance.now() - began) / 50
    this.samples.length = 0
    this.violations.clear()
    return millis
  }

  /** Sends requests at this rate, whether or not earlier ones were answered, until `isOver`. */
  async run(perSecond: number, isOver: () => boolean): Promise<void> {
    const probing = this.#probe(isOver)
    const began = performance.now()
    for (let sent = 0; !isOver();) {
      // A timer that is late is made up for, though not for more than a second.
      const due = Math.min(((performance.now() - began) / 1000) * perSecond, sent + perSecond)
      for (; sent < due; sent++) {
        const request = this.#next().catch((error) => this.#violation(String(error)))
        this.#underWay.add(request)
        void request.then(() => this.#underWay.delete(request))
      }
      await pause(10)
    }
    await Promise.all([...this.#underWay, probing])
  }

  /** How fast this machine is just now, whatever our server does. */
  async #probe(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      const probe: Probe = { at: performance.now(), millis: undefined }
      this.#bare.push(probe)
      probe.millis = (await this.#control.send("GET", "/")).millis
      this.#bare = this.#bare.filter(({ at }) => at > probe.at - 20_000)
      await pause(50)
    }
  }

  /** Asks once more for every session, now that all is quiet. */
  async settle(): Promise<void> {
    const { doubtful, ended, live } = this.#clients
    const all = [...doubtful, ...ended, ...live]
    for (let i = 0; i < all.length; i += 20) {
      await Promise.all(all.slice(i, i + 20).map((client) => this.#ask(client)))
    }
  }

  /** What was wrong with the server's answers and with its log. */
  verdict(log: string): ReadonlyArray<string> {
    const cookies = Object.values(this.#clients).flatMap((clients) => [...clients].map(({ cookie }) => cookie))
    const secrets = new Set(cookies.map((cookie) => cookie.split(".")[3]!))
    // Dots part a token, and a long log is gone through once.
    const isTold = log.split(/[^\w-]+/).some((word) => secrets.has(word))
    return [...counted(this.violations), ...(isTold ? ["a token in the log"] : [])]
  }
}
