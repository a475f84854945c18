/** Stores that can be killed and promoted: each a server of its own, in a directory of its own, on 127.0.0.1. */
import type { ChildProcess } from "node:child_process"
import { execFile, spawnSync } from "node:child_process"
import { chownSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import {
  ended,
  freePort,
  hasEnded,
  postgresBin,
  postgresUser,
  redisCommand,
  start,
  until
} from "../support/processes.ts"

const run = promisify(execFile)

const directory = (kind: string) => mkdtempSync(join(tmpdir(), `effect-sessions-failover-${kind}-`))

const answers = (command: Promise<unknown>) =>
  command.then(
    () => true,
    () => false
  )

// -----------------------------------------------------------------------------
// Redis
// -----------------------------------------------------------------------------

export class RedisServer {
  readonly port: number
  readonly #directory = directory("redis")
  readonly #settings: ReadonlyArray<string>
  #child: ChildProcess | undefined

  private constructor(port: number, settings: ReadonlyArray<string>) {
    this.port = port
    this.#settings = settings
  }

  /** With settings as in `redis.conf`. */
  static async start(settings: Record<string, string> = {}): Promise<RedisServer> {
    const all = { save: "", appendonly: "no", "repl-diskless-sync-delay": "0", ...settings }
    const args = Object.entries(all).flatMap(([name, value]) => [`--${name}`].concat(value.split(" ")))
    const redis = new RedisServer(await freePort(), args)
    await redis.start()
    return redis
  }

  async start(): Promise<void> {
    const where = ["--port", String(this.port), "--bind", "127.0.0.1", "--dir", this.#directory]
    this.#child = start("redis-server", [...where, ...this.#settings])
    await until(async () => {
      if (hasEnded(this.#child!)) throw new Error("redis-server ended")
      return this.command("PING").then(
        (reply) => reply.startsWith("+PONG"),
        () => false
      )
    }, "Redis answers")
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  command(command: string): Promise<string> {
    return redisCommand(this.port, command)
  }

  async info(name: string): Promise<string | undefined> {
    return new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(await this.command("INFO"))?.[1]
  }

  async kill(): Promise<void> {
    if (this.#child === undefined) return
    this.#child.kill("SIGKILL")
    await ended(this.#child)
  }

  /** Takes off its append-only file what was appended at this second of the clock or later. */
  forgetFrom(second: number): void {
    const folder = join(this.#directory, "appendonlydir")
    const manifest = readdirSync(folder).find((name) => name.endsWith(".manifest"))!
    const cut = ["--truncate-to-timestamp", String(second - 1), join(folder, manifest)]
    const { status, stderr, stdout } = spawnSync("redis-check-aof", cut, { encoding: "utf8" })
    if (status !== 0) throw new Error(`redis-check-aof: ${stdout} ${stderr}`)
  }

  async dispose(): Promise<void> {
    await this.kill()
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

// -----------------------------------------------------------------------------
// Postgres
// -----------------------------------------------------------------------------

export class PostgresServer {
  readonly port: number
  readonly #bin = postgresBin()!
  readonly #user = postgresUser()
  readonly #directory: string
  #child: ChildProcess | undefined

  private constructor(port: number) {
    this.port = port
    this.#directory = directory("postgres")
    // Postgres does not run as root.
    if (this.#user !== undefined) chownSync(this.#directory, this.#user.uid, this.#user.gid)
  }

  /** A new one. */
  static async start(): Promise<PostgresServer> {
    const postgres = new PostgresServer(await freePort())
    try {
      await postgres.#tool("initdb", ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"])
      await postgres.start()
      return postgres
    } catch (error) {
      await postgres.dispose()
      throw error
    }
  }

  /** A copy, settings included, that follows the server to which the port leads. */
  static async following(port: number, name: string): Promise<PostgresServer> {
    const postgres = new PostgresServer(await freePort())
    try {
      const primary = `host=127.0.0.1 port=${port} user=postgres application_name=${name}`
      await postgres.#tool("pg_basebackup", ["-d", primary, "-R", "-c", "fast", "-X", "stream", "--no-sync"])
      await postgres.start()
      return postgres
    } catch (error) {
      await postgres.dispose()
      throw error
    }
  }

  get #data(): string {
    return join(this.#directory, "data")
  }

  #tool(name: string, args: ReadonlyArray<string>) {
    return run(join(this.#bin, name), ["-D", this.#data, ...args], { ...this.#user, cwd: this.#directory })
  }

  async start(): Promise<void> {
    const settings = { listen_addresses: "127.0.0.1", unix_socket_directories: this.#directory, max_connections: "40" }
    const options = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])
    const launch = () =>
      start(join(this.#bin, "postgres"), ["-D", this.#data, "-p", String(this.port), ...options], {
        ...this.#user,
        cwd: this.#directory
      })
    this.#child = launch()
    await until(async () => {
      // It refuses as long as a process of one that was killed is still there.
      if (hasEnded(this.#child!)) this.#child = launch()
      return answers(this.sql("SELECT 1"))
    }, "Postgres answers")
  }

  /** Runs a statement on a connection of its own. */
  async sql(statement: string): Promise<string> {
    const where = ["-h", "127.0.0.1", "-p", String(this.port), "-U", "postgres", "-d", "postgres"]
    const { stdout } = await run(join(this.#bin, "psql"), [...where, "-XAtqc", statement], { timeout: 30_000 })
    return stdout.trim()
  }

  /** Changes settings as an administrator does, so that a copy made later has them too. */
  async configure(settings: Record<string, string>): Promise<void> {
    for (const [name, value] of Object.entries(settings)) await this.sql(`ALTER SYSTEM SET ${name} = '${value}'`)
    await this.sql("SELECT pg_reload_conf()")
    for (const [name, value] of Object.entries(settings)) {
      await until(async () => (await this.sql(`SHOW ${name}`)) === value, `${name} is ${value}`)
    }
  }

  get url(): string {
    return `postgres://postgres@127.0.0.1:${this.port}/postgres`
  }

  /** The postmaster and all of its processes at once, as when the machine stops. */
  async kill(): Promise<void> {
    if (this.#child === undefined || hasEnded(this.#child)) return
    const { stdout } = await run("pgrep", ["-P", String(this.#child.pid)]).catch(() => ({ stdout: "" }))
    this.#child.kill("SIGKILL")
    for (const pid of stdout.split("\n").filter(Boolean)) {
      try {
        process.kill(Number(pid), "SIGKILL")
      } catch {
        // It ended on its own.
      }
    }
    await ended(this.#child)
  }

  async dispose(): Promise<void> {
    await this.kill()
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

/** The version that a server is of. */
export const versionOf = async (server: RedisServer | PostgresServer): Promise<string> =>
  server instanceof RedisServer
    ? `Redis ${await server.info("redis_version")}`
    : `Postgres ${(await server.sql("SHOW server_version")).split(" ")[0]}`
