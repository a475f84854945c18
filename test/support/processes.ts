/** Processes that a test starts: a server with sessions, Redis, Postgres, and a proxy in front of one of them. */
import { describe } from "@effect/vitest"
import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process"
import { randomBytes } from "node:crypto"
import { once } from "node:events"
import { chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { Agent, request as httpRequest } from "node:http"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { promisify } from "node:util"
import { processorWait } from "./processorWait.ts"

export { processorWait } from "./processorWait.ts"

const run = promisify(execFile)

// -----------------------------------------------------------------------------
// The stores that are there already
// -----------------------------------------------------------------------------

export const redisUrl = process.env["REDIS_URL"] ?? "redis://127.0.0.1:6379"
export const databaseUrl = process.env["DATABASE_URL"] ?? "postgres://postgres@127.0.0.1:5432/postgres"

export const listens = (url: string, port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const { hostname, port: given } = new URL(url)
    const socket = connect({ host: hostname, port: given === "" ? port : Number(given), timeout: 2000 })
    const answer = (is: boolean) => {
      socket.destroy()
      resolve(is)
    }
    socket
      .on("connect", () => answer(true))
      .on("error", () => answer(false))
      .on("timeout", () => answer(false))
  })

/** `describe`, or `describe.skip` where a thing is missing on a developer's machine. CI has it: there that is an error. */
export const needing = (present: boolean, what: string): typeof describe | typeof describe.skip => {
  if (present) return describe
  if (process.env["CI"]) throw new Error(what)
  console.warn(`SKIPPED: ${what}`)
  return describe.skip
}

// -----------------------------------------------------------------------------
// Every child process ends with this one, however the test ends
// -----------------------------------------------------------------------------

const children = new Set<ChildProcess>()
process.once("exit", () => {
  for (const child of children) {
    child.kill("SIGCONT")
    child.kill("SIGKILL")
  }
})

/** Starts a process that ends with this one. */
export const start = (
  command: string,
  args: ReadonlyArray<string>,
  options: {
    readonly env?: NodeJS.ProcessEnv
    readonly uid?: number
    readonly gid?: number
    readonly cwd?: string
    readonly isHeard?: boolean
  } = {}
): ChildProcess => {
  const { isHeard, ...rest } = options
  const child = spawn(command, args, { ...rest, stdio: isHeard === true ? "pipe" : "ignore" })
  children.add(child)
  child.once("exit", () => children.delete(child))
  // The command was not found, which the caller notices by its process not answering.
  child.once("error", () => children.delete(child))
  return child
}

export const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null

export const ended = async (child: ChildProcess): Promise<void> => {
  if (!hasEnded(child)) await once(child, "exit")
}

export const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  // It listens on a port, not on a path.
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, "close")
  return port
}

export const until = async (isSo: () => Promise<boolean>, what: string, millis = 60_000): Promise<void> => {
  const deadline = performance.now() + millis
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`waited in vain until ${what}`)
    await pause(20)
  }
}

/** Whether all threads of a process have stopped. One that ends meanwhile is looked at again. */
const hasStopped = (tasks: string): boolean => {
  try {
    return readdirSync(tasks).every((task) => /\) [Tt] [^)]*$/.test(readFileSync(`${tasks}/${task}/stat`, "latin1")))
  } catch {
    return false
  }
}

/**
 * Sends a signal to a process. With SIGSTOP it comes back once that has stopped: until then it may answer once more, on a
 * busy machine for a while. Where there is no `/proc`, as on macOS, it does not wait.
 */
export const signalTo = (pid: number, signal: NodeJS.Signals): void => {
  try {
    process.kill(pid, signal)
  } catch {
    // It ended on its own.
    return
  }
  if (signal !== "SIGSTOP") return
  const tasks = `/proc/${pid}/task`
  const deadline = performance.now() + 10_000
  while (existsSync(tasks) && !hasStopped(tasks)) {
    if (performance.now() > deadline) throw new Error(`process ${pid} does not stop`)
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
  }
}

// -----------------------------------------------------------------------------
// Our server, and requests to it
// -----------------------------------------------------------------------------

export interface Answer {
  /** 0 if there was none. */
  readonly status: number
  readonly body: string
  /** The session cookie that came with it, as it is sent back; empty if it was taken off. */
  readonly cookie: string | undefined
  readonly millis: number
}

export interface SessionServer {
  readonly port: number
  readonly send: (method: string, path: string, cookie?: string) => Promise<Answer>
  readonly output: () => string
  /** As `processorWait` of its process. */
  readonly processorWait: () => number
  readonly isRunning: () => boolean
  readonly stop: () => Promise<{ readonly code: number | null; readonly millis: number }>
}

/** No request waits longer than this for its answer. */
const requestLimit = 15_000

export const newSecret = (): string => randomBytes(32).toString("base64")

/** Starts `sessionServer.ts`, or another script beside it, on the sources of this repository. */
export const startSessionServer = (
  env: Record<string, string>,
  script:
    | "sessionServer.ts"
    | "feedServer.ts"
    | "../scale/server.ts"
    | "../../docs/upstream/server.ts" = "sessionServer.ts"
): Promise<SessionServer> => {
  const [sources, file] = ["resolveSource.ts", script].map((name) => join(import.meta.dirname, name)) as [
    string,
    string
  ]
  return startServer(["--expose-gc", "--import", sources, file], env)
}

/** A server without sessions and stores, whose answers take as long as the machine makes them. */
export const startBareServer = (): Promise<SessionServer> => {
  const listen = `server.listen(0, "127.0.0.1", () => console.log("PORT=" + server.address().port))`
  const script = `const server = require("node:http").createServer((_, response) => response.end()); ${listen}`
  return startServer(["--eval", script], {})
}

const startServer = async (args: ReadonlyArray<string>, env: Record<string, string>): Promise<SessionServer> => {
  const child = start(process.execPath, args, {
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], NO_COLOR: "1", ...env },
    isHeard: true
  })
  let output = ""
  child.stdout!.on("data", (chunk) => (output += chunk))
  child.stderr!.on("data", (chunk) => (output += chunk))
  const announced = () => /^PORT=(\d+)$/m.exec(output)?.[1]
  await until(async () => {
    if (hasEnded(child)) throw new Error(`the server ended:\n${output}`)
    return announced() !== undefined
  }, "the server listens").catch((error: unknown) => {
    child.kill("SIGKILL")
    throw error
  })
  const port = Number(announced())
  const agent = new Agent({ keepAlive: true, maxSockets: 4096 })

  const send = (method: string, path: string, cookie = ""): Promise<Answer> =>
    new Promise((resolve) => {
      const began = performance.now()
      const answer = (status: number, body: string, cookie?: string) =>
        resolve({ status, body, cookie, millis: performance.now() - began })
      const request = httpRequest(
        { agent, host: "127.0.0.1", port, method, path, headers: cookie === "" ? {} : { cookie } },
        (response) => {
          let body = ""
          response.setEncoding("utf8")
          response.on("data", (chunk) => (body += chunk))
          response.on("error", (error) => answer(0, String(error)))
          response.on("end", () => {
            const set = /^(session=[^;]*)(.*)/.exec(response.headers["set-cookie"]?.[0] ?? "")
            answer(response.statusCode ?? 0, body, set === null ? undefined : /Max-Age=0;/.test(set[2]!) ? "" : set[1]!)
          })
        }
      )
      request.setTimeout(requestLimit, () => request.destroy(new Error("no answer")))
      request.on("error", (error) => answer(0, String(error)))
      request.end()
    })

  const stop = async () => {
    const began = performance.now()
    agent.destroy()
    const timer = setTimeout(() => child.kill("SIGKILL"), 10_000)
    child.kill("SIGTERM")
    await ended(child)
    clearTimeout(timer)
    return { code: child.exitCode, millis: performance.now() - began }
  }

  return {
    port,
    send,
    output: () => output,
    processorWait: () => processorWait(child.pid!),
    isRunning: () => !hasEnded(child),
    stop
  }
}

// -----------------------------------------------------------------------------
// A Redis server of the test's own
// -----------------------------------------------------------------------------

export const hasRedisServer = (): boolean => spawnSync("redis-server", ["--version"]).status === 0

/** Sends one command in Redis's inline form, and answers what comes back. */
export const redisCommand = (port: number, command: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", timeout: 5000 }, () => socket.write(`${command}\r\n`))
    socket.on("data", (data) => {
      socket.destroy()
      resolve(data.toString())
    })
    socket.on("error", reject).on("timeout", () => socket.destroy(new Error("no answer")))
    socket.on("close", () => reject(new Error("closed")))
  })

export class OwnRedis {
  readonly port: number
  readonly #directory = mkdtempSync(join(tmpdir(), "effect-sessions-redis-"))
  readonly #args: ReadonlyArray<string>
  #child: ChildProcess | undefined

  private constructor(port: number, args: ReadonlyArray<string>) {
    this.port = port
    this.#args = args
  }

  static async start(options: { readonly isDurable: boolean }): Promise<OwnRedis> {
    const durable = ["--appendonly", "yes", "--appendfsync", "always"]
    const redis = new OwnRedis(await freePort(), options.isDurable ? durable : ["--appendonly", "no"])
    await redis.start()
    return redis
  }

  async start(): Promise<void> {
    const where = ["--port", String(this.port), "--bind", "127.0.0.1", "--save", "", "--dir", this.#directory]
    this.#child = start("redis-server", [...where, ...this.#args])
    await until(
      () =>
        this.command("PING").then(
          (reply) => reply.startsWith("+PONG"),
          () => false
        ),
      "Redis answers"
    )
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  command(command: string): Promise<string> {
    return redisCommand(this.port, command)
  }

  signal(signal: NodeJS.Signals): void {
    signalTo(this.#child!.pid!, signal)
  }

  async kill(): Promise<void> {
    if (this.#child === undefined) return
    this.#child.kill("SIGKILL")
    await ended(this.#child)
  }

  async dispose(): Promise<void> {
    await this.kill()
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

// -----------------------------------------------------------------------------
// A Postgres server of the test's own
// -----------------------------------------------------------------------------

const postgresRoot = "/usr/lib/postgresql"

export const postgresBin = (): string | undefined => {
  try {
    const versions = readdirSync(postgresRoot).sort((a, b) => Number(b) - Number(a))
    return versions[0] === undefined ? undefined : join(postgresRoot, versions[0], "bin")
  } catch {
    return undefined
  }
}

const idOf = (option: "-u" | "-g"): number => Number(spawnSync("id", [option, "postgres"], { encoding: "utf8" }).stdout)

/** Postgres does not run as root. */
export const postgresUser = (): { readonly uid: number; readonly gid: number } | undefined =>
  process.getuid?.() === 0 ? { uid: idOf("-u"), gid: idOf("-g") } : undefined

export const hasPostgresServer = (): boolean => postgresBin() !== undefined

export class OwnPostgres {
  readonly port: number
  readonly #bin: string
  readonly #user = postgresUser()
  readonly #directory = mkdtempSync(join(tmpdir(), "effect-sessions-postgres-"))
  #child: ChildProcess | undefined

  private constructor(port: number, bin: string) {
    this.port = port
    this.#bin = bin
  }

  /** With a database `app` that belongs to the role `app`, which is no superuser. */
  static async start(): Promise<OwnPostgres> {
    const postgres = new OwnPostgres(await freePort(), postgresBin()!)
    if (postgres.#user !== undefined) chownSync(postgres.#directory, postgres.#user.uid, postgres.#user.gid)
    const data = join(postgres.#directory, "data")
    const made = spawnSync(join(postgres.#bin, "initdb"), ["-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8"], {
      ...postgres.#user,
      cwd: postgres.#directory,
      encoding: "utf8"
    })
    if (made.status !== 0) throw new Error(`initdb: ${made.stderr}`)
    await postgres.start()
    await postgres.sql("CREATE ROLE app LOGIN")
    await postgres.sql("CREATE DATABASE app OWNER app")
    return postgres
  }

  async start(): Promise<void> {
    const data = join(this.#directory, "data")
    const settings = { listen_addresses: "127.0.0.1", unix_socket_directories: this.#directory, max_connections: "30" }
    const options = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])
    const run = () =>
      start(join(this.#bin, "postgres"), ["-D", data, "-p", String(this.port), ...options], {
        ...this.#user,
        cwd: this.#directory
      })
    this.#child = run()
    await until(async () => {
      // It refuses as long as a process of one that was killed is still there.
      if (hasEnded(this.#child!)) this.#child = run()
      return this.sql("SELECT 1").then(
        () => true,
        () => false
      )
    }, "Postgres answers")
  }

  /** Runs a statement as superuser, on a connection of its own. */
  async sql(statement: string, database = "postgres"): Promise<string> {
    const where = ["-h", "127.0.0.1", "-p", String(this.port), "-U", "postgres", "-d", database]
    const { stdout } = await run(join(this.#bin, "psql"), [...where, "-XAtqc", statement], { timeout: 30_000 })
    return stdout.trim()
  }

  /** Opens a connection of the role `app` that does nothing; the socket is the caller's to end. */
  occupy(): Socket {
    const parameters = Buffer.from("user\0app\0database\0app\0\0")
    const startup = Buffer.alloc(8)
    startup.writeInt32BE(8 + parameters.length, 0)
    // Version 3.0 of the protocol.
    startup.writeInt32BE(196_608, 4)
    const socket = connect({ port: this.port, host: "127.0.0.1" }, () =>
      socket.write(Buffer.concat([startup, parameters]))
    )
    return socket.on("error", () => {}).resume()
  }

  get url(): string {
    return `postgres://app@127.0.0.1:${this.port}/app`
  }

  async #servers(): Promise<ReadonlyArray<number>> {
    // It ends with 1 if there are none.
    const { stdout } = await run("pgrep", ["-P", String(this.#child!.pid)]).catch(() => ({ stdout: "" }))
    return stdout.split("\n").filter(Boolean).map(Number)
  }

  /** To the postmaster and all of its processes. */
  async signal(signal: NodeJS.Signals): Promise<void> {
    const servers = await this.#servers()
    // The postmaster first: it is to start no other meanwhile, nor to clear up.
    signalTo(this.#child!.pid!, signal)
    for (const pid of servers) signalTo(pid, signal)
  }

  async kill(): Promise<void> {
    if (this.#child === undefined || hasEnded(this.#child)) return
    await this.signal("SIGKILL")
    await ended(this.#child)
  }

  async dispose(): Promise<void> {
    await this.kill()
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

// -----------------------------------------------------------------------------
// A proxy before a store
// -----------------------------------------------------------------------------

/** Passes everything on, and can be told to reset each connection after so many bytes of replies. */
export class Proxy {
  readonly port: number
  readonly #server: ReturnType<typeof createServer>
  readonly #sockets = new Set<Socket>()
  /** How many bytes a connection may still answer, asked when it opens and when the proxy is told. */
  #limit: (() => number) | undefined
  #resets = 0

  private constructor(server: ReturnType<typeof createServer>) {
    this.#server = server
    this.port = (server.address() as AddressInfo).port
    server.on("connection", (client) => this.#serve(client))
  }

  #target = 0
  #delay = 0

  /** Each part of a reply arrives `delay` milliseconds late. */
  static async start(target: number, delay = 0): Promise<Proxy> {
    const server = createServer().listen(0, "127.0.0.1")
    await once(server, "listening")
    const proxy = new Proxy(server)
    proxy.#target = target
    proxy.#delay = delay
    return proxy
  }

  #serve(client: Socket): void {
    const upstream = connect({ port: this.#target, host: "127.0.0.1", noDelay: true })
    client.setNoDelay(true)
    let limitOf: (() => number) | undefined
    let left = Infinity
    const reset = () => {
      for (const socket of [client, upstream]) {
        this.#sockets.delete(socket)
        if (!socket.destroyed) socket.resetAndDestroy()
      }
    }
    for (const socket of [client, upstream]) {
      this.#sockets.add(socket)
      socket.on("error", reset).on("close", reset)
    }
    client.on("data", (data) => upstream.write(data))
    const reply = (data: Buffer) => {
      if (left <= 0) return
      if (limitOf !== this.#limit) {
        limitOf = this.#limit
        left = limitOf?.() ?? Infinity
      }
      client.write(data.subarray(0, left))
      left -= data.length
      if (left > 0) return
      this.#resets++
      // What was written is to arrive: a reset would overtake it.
      setImmediate(reset)
    }
    // Timers of one duration keep their order.
    upstream.on("data", (data) => (this.#delay === 0 ? reply(data) : setTimeout(() => reply(data), this.#delay)))
  }

  /** From now on every connection is reset after as many bytes of replies as `limit` says; without it none is. */
  resetAfter(limit: (() => number) | undefined): void {
    this.#limit = limit
  }

  get resets(): number {
    return this.#resets
  }

  async dispose(): Promise<void> {
    const closed = once(this.#server, "close")
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }
}
