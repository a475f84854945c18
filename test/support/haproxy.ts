/** HAProxy as docs/redis-failover.md configures it, before a master and a replica of a test's own. */
import { spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { until } from "./processes.ts"
import { freePorts, Node, ownFolder, removeFolder } from "./redisNodes.ts"

export const hasHaproxy = (): boolean => spawnSync("haproxy", ["-v"]).status === 0

const guide = readFileSync(join(import.meta.dirname, "../../docs/redis-failover.md"), "utf8")

/** The documented configuration, with these addresses in the place of its own. */
export const configuration = (port: number, servers: ReadonlyArray<number>): string => {
  const documented = /^```haproxy\n([\s\S]*?)^```$/m.exec(guide)![1]!
  const places = documented.match(/(?<= )[\d.*]+:6379/g) ?? []
  if (places.length !== 1 + servers.length) throw new Error("the documented configuration has other addresses")
  const ports = [port, ...servers]
  return documented.replace(/(?<= )[\d.*]+:6379/g, () => `127.0.0.1:${ports.shift()}`)
}

export class OwnHaproxy {
  readonly port: number
  readonly #haproxy: Node
  #master: Node
  #replica: Node
  readonly #folder: string

  private constructor(port: number, haproxy: Node, master: Node, replica: Node, folder: string) {
    this.port = port
    this.#haproxy = haproxy
    this.#master = master
    this.#replica = replica
    this.#folder = folder
  }

  static async start(): Promise<OwnHaproxy> {
    const folder = ownFolder("haproxy")
    const [port, first, second] = (await freePorts(3)) as [number, number, number]
    const settings = ["save ''", "appendonly no", "repl-diskless-sync-delay 0"]
    const master = Node.redis(first, folder, settings)
    const replica = Node.redis(second, folder, [...settings, `replicaof 127.0.0.1 ${first}`])
    const file = join(folder, "haproxy.cfg")
    writeFileSync(file, configuration(port, [first, second]))
    const haproxy = new Node(port, folder, ["haproxy", "-db", "-f", file])
    const own = new OwnHaproxy(port, haproxy, master, replica, folder)
    await until(() => master.answers(/slave0:.*state=online/, "INFO", "replication"), "the replica has caught up")
    await until(() => haproxy.answers(/role:master/, "INFO", "replication"), "HAProxy leads to the master")
    return own
  }

  /** The master dies or freezes once the replica has all it acknowledged, and the replica is promoted. */
  async failover(how: "kill" | "freeze"): Promise<void> {
    // A pause of writes, in which the replica catches up.
    await this.#master.command("CLIENT", "PAUSE", "10000", "WRITE")
    await until(async () => {
      const text = await this.#master.command("INFO", "replication")
      return /slave0:.*offset=(\d+)/.exec(text)?.[1] === /master_repl_offset:(\d+)/.exec(text)?.[1]
    }, "the replica has everything")
    if (how === "kill") await this.#master.kill()
    else this.#master.freeze()
    await this.#replica.command("REPLICAOF", "NO", "ONE")
    const replica = `tcp_port:${this.#replica.port}`
    await until(() => this.#haproxy.answers(new RegExp(replica), "INFO", "server"), "HAProxy leads to the new master")
  }

  /** The former master is back, empty and as a master at first, and then the replica of the new one. */
  async restore(): Promise<void> {
    const [former, master] = [this.#master, this.#replica]
    await former.kill()
    former.start()
    await former.ready()
    await former.command("REPLICAOF", "127.0.0.1", String(master.port))
    await until(() => master.answers(/slave0:.*state=online/, "INFO", "replication"), "the replica has caught up")
    this.#master = master
    this.#replica = former
  }

  async dispose(): Promise<void> {
    await Promise.all([this.#haproxy, this.#master, this.#replica].map((node) => node.kill()))
    removeFolder(this.#folder)
  }
}
