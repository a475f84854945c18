/** A Redis Cluster of a test's own: three masters, a replica for each, and what can become of them. */
import { execFile } from "node:child_process"
import { setTimeout as pause } from "node:timers/promises"
import { promisify } from "node:util"
import { until } from "./processes.ts"
import { freePorts, Node, ownFolder, removeFolder } from "./redisNodes.ts"

const run = promisify(execFile)

/** The bus of a node listens this far above its port. */
const bus = 10_000

interface Member {
  readonly id: string
  readonly node: Node
  readonly isMaster: boolean
  /** The id of its master, if it is a replica. */
  readonly follows: string
  readonly slots: ReadonlyArray<readonly [first: number, last: number]>
}

export class OwnCluster {
  readonly nodes: ReadonlyArray<Node>
  readonly #folder: string

  private constructor(nodes: ReadonlyArray<Node>, folder: string) {
    this.nodes = nodes
    this.#folder = folder
  }

  static async start(lines: ReadonlyArray<string> = []): Promise<OwnCluster> {
    const folder = ownFolder("cluster")
    const ports = await freePorts(6, bus)
    const settings = [
      "save ''",
      "appendonly no",
      "cluster-enabled yes",
      "cluster-node-timeout 1500",
      "cluster-require-full-coverage no",
      ...lines
    ]
    const cluster = new OwnCluster(
      ports.map((port) => Node.redis(port, folder, settings)),
      folder
    )
    await Promise.all(cluster.nodes.map((node) => node.ready()))
    const addresses = ports.map((port) => `127.0.0.1:${port}`)
    await run("redis-cli", ["--cluster", "create", ...addresses, "--cluster-replicas", "1", "--cluster-yes"])
    await cluster.settled()
    return cluster
  }

  get rootNodes(): ReadonlyArray<{ readonly url: string }> {
    return this.nodes.map(({ port }) => ({ url: `redis://127.0.0.1:${port}` }))
  }

  /** Until every node sees a whole Cluster, and each master has a replica that has caught up. */
  async settled(): Promise<void> {
    await until(async () => {
      const running = this.nodes.filter(({ isRunning }) => isRunning)
      const sound = await Promise.all(running.map((node) => node.answers(/^cluster_state:ok/m, "CLUSTER", "INFO")))
      if (sound.includes(false)) return false
      const masters = (await this.members()).filter(({ isMaster }) => isMaster)
      const replicated = masters.map(({ node }) => node.answers(/^slave\d+:.*state=online/m, "INFO", "replication"))
      return masters.length === 3 && !(await Promise.all(replicated)).includes(false)
    }, "the Cluster has settled")
  }

  /** The nodes as most of them see them, those that have failed left out. */
  async members(): Promise<ReadonlyArray<Member>> {
    for (const node of this.nodes) {
      if (!node.isRunning) continue
      const text = await node.command("CLUSTER", "NODES").catch(() => "")
      const members = text.split("\n").flatMap((line): ReadonlyArray<Member> => {
        const [id, address, flags, follows, , , , , ...ranges] = line.split(" ")
        const port = Number(/:(\d+)@/.exec(address ?? "")?.[1])
        const own = this.nodes.find((node) => node.port === port)
        if (own === undefined || /fail|noaddr|handshake/.test(flags!)) return []
        const slots = ranges
          .filter((range) => !range.startsWith("["))
          .map((range) => range.split("-").map(Number))
          .map(([first, last = first]) => [first!, last!] as const)
        return [{ id: id!, node: own, isMaster: flags!.includes("master"), follows: follows!, slots }]
      })
      if (members.some(({ isMaster }) => isMaster)) return members
    }
    throw new Error("no node knows the Cluster")
  }

  async master(index = 0): Promise<Member> {
    const masters = (await this.members()).filter(({ isMaster, slots }) => isMaster && slots.length > 0)
    return masters.toSorted((a, b) => a.slots[0]![0] - b.slots[0]![0])[index]!
  }

  /** Until another node is the master of these slots. */
  replaced(former: Member): Promise<void> {
    return until(() => this.#isReplaced(former), "a replica is promoted")
  }

  async #isReplaced({ id, slots }: Member): Promise<boolean> {
    const members = await this.members().catch(() => [])
    const now = members.find(({ slots: [range] }) => range?.[0] === slots[0]![0])
    return now?.isMaster === true && now.id !== id
  }

  /** An orderly failover: the replica takes over once it has everything. */
  async failover(index = 0): Promise<void> {
    const master = await this.master(index)
    const replica = (await this.members()).find(({ follows }) => follows === master.id)!
    await until(async () => {
      // On a busy machine its time runs out: it is then asked again.
      await replica.node.command("CLUSTER", "FAILOVER")
      for (let i = 0; i < 30; i++) {
        if (await this.#isReplaced(master)) return true
        await pause(200)
      }
      return false
    }, "the replica has taken over")
  }

  /** Moves slots, with the keys in them, from the first master to the last while it is in use. */
  async reshard(slots: number): Promise<void> {
    const [from, to] = [await this.master(0), await this.master(2)]
    const moved = ["--cluster-from", from.id, "--cluster-to", to.id, "--cluster-slots", String(slots), "--cluster-yes"]
    await run("redis-cli", ["--cluster", "reshard", `127.0.0.1:${from.node.port}`, ...moved], { maxBuffer: 2 ** 26 })
  }

  async dispose(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.kill()))
    removeFolder(this.#folder)
  }
}
