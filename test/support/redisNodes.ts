/** Redis servers of a test's own that belong together: a Cluster, or a master with replicas and Sentinels. */
import { type ChildProcess, execFile, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { ended, hasEnded, signalTo, start, until } from "./processes.ts"

const run = promisify(execFile)

const isFree = async (port: number): Promise<boolean> => {
  const server = createServer()
  try {
    server.listen(port, "127.0.0.1")
    await once(server, "listening")
    server.close()
    await once(server, "close")
    return true
  } catch {
    return false
  }
}

/** Below the ports that the system gives out by itself, so that none of these takes one before it is used. */
export const freePorts = async (count: number, alsoAt = 0): Promise<ReadonlyArray<number>> => {
  const ports: Array<number> = []
  while (ports.length < count) {
    const port = 12_000 + Math.floor(Math.random() * 10_000)
    if (!ports.includes(port) && (await isFree(port)) && (alsoAt === 0 || (await isFree(port + alsoAt))))
      ports.push(port)
  }
  return ports
}

/** With it, Linux kills a child whose parent was killed and could not end it. */
const dying =
  spawnSync("setpriv", ["--pdeathsig", "KILL", "true"]).status === 0 ? ["setpriv", "--pdeathsig", "KILL"] : []

const folders = new Set<string>()
process.once("exit", () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** A folder that is removed at the end of this process, at the latest. */
export const ownFolder = (name: string): string => {
  const folder = mkdtempSync(join(tmpdir(), `effect-sessions-${name}-`))
  folders.add(folder)
  return folder
}

export const removeFolder = (folder: string): void => {
  rmSync(folder, { recursive: true, force: true })
  folders.delete(folder)
}

/** One process, which can be killed, frozen and started again. */
export class Node {
  readonly port: number
  readonly #command: ReadonlyArray<string>
  readonly #cwd: string
  #child: ChildProcess | undefined

  constructor(port: number, cwd: string, command: ReadonlyArray<string>) {
    this.port = port
    this.#cwd = cwd
    this.#command = [...dying, ...command]
    this.start()
  }

  /** A Redis server, or a Sentinel, with these lines of configuration. */
  static redis(port: number, parent: string, lines: ReadonlyArray<string>, ...args: ReadonlyArray<string>): Node {
    const folder = join(parent, String(port))
    mkdirSync(folder)
    const file = join(folder, "redis.conf")
    const own = [`port ${port}`, "bind 127.0.0.1", `dir ${folder}`, ...lines]
    writeFileSync(file, `${own.join("\n")}\n`)
    return new Node(port, folder, ["redis-server", file, ...args])
  }

  start(): void {
    this.#child = start(this.#command[0]!, this.#command.slice(1), { cwd: this.#cwd })
  }

  get isRunning(): boolean {
    return this.#child !== undefined && !hasEnded(this.#child)
  }

  freeze(): void {
    signalTo(this.#child!.pid!, "SIGSTOP")
  }

  thaw(): void {
    this.#child!.kill("SIGCONT")
  }

  async kill(): Promise<void> {
    if (!this.isRunning) return
    this.#child!.kill("SIGKILL")
    await ended(this.#child!)
  }

  /** Sends one command, and answers what `redis-cli` prints. */
  async command(...args: ReadonlyArray<string>): Promise<string> {
    const { stdout } = await run("redis-cli", ["-p", String(this.port), ...args], { timeout: 3000 })
    return stdout.trim()
  }

  answers(reply: RegExp, ...args: ReadonlyArray<string>): Promise<boolean> {
    return this.command(...args).then(
      (text) => reply.test(text),
      () => false
    )
  }

  ready(): Promise<void> {
    return until(() => this.answers(/^PONG$/, "PING"), `the process on port ${this.port} answers`)
  }
}
