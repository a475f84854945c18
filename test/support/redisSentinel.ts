/** A master with two replicas and three Sentinels of a test's own. */
import { until } from "./processes.ts"
import { freePorts, Node, ownFolder, removeFolder } from "./redisNodes.ts"

/** What a master that has lost its replicas may not acknowledge: the settings of the guide. */
export const minReplicas = ["min-replicas-to-write 1", "min-replicas-max-lag 1"]

const settings = ["save ''", "appendonly no", "repl-diskless-sync-delay 0", "repl-ping-replica-period 1"]

export class OwnSentinel {
  readonly name = "sessions"
  readonly nodes: ReadonlyArray<Node>
  readonly sentinels: ReadonlyArray<Node>
  readonly #folder: string

  private constructor(nodes: ReadonlyArray<Node>, sentinels: ReadonlyArray<Node>, folder: string) {
    this.nodes = nodes
    this.sentinels = sentinels
    this.#folder = folder
  }

  static async start(): Promise<OwnSentinel> {
    const folder = ownFolder("sentinel")
    const [first, ...others] = await freePorts(3)
    const nodes = [
      Node.redis(first!, folder, [...settings, ...minReplicas]),
      ...others.map((port) => Node.redis(port, folder, [...settings, ...minReplicas, `replicaof 127.0.0.1 ${first}`]))
    ]
    await Promise.all(nodes.map((node) => node.ready()))
    const watched = [
      `sentinel monitor sessions 127.0.0.1 ${first} 2`,
      "sentinel down-after-milliseconds sessions 1500",
      "sentinel failover-timeout sessions 5000"
    ]
    const ports = await freePorts(3)
    const sentinels = ports.map((port) => Node.redis(port, folder, watched, "--sentinel"))
    await Promise.all(sentinels.map((sentinel) => sentinel.ready()))
    const own = new OwnSentinel(nodes, sentinels, folder)
    await own.settled()
    return own
  }

  get rootNodes(): Array<{ host: string; port: number }> {
    return this.sentinels.map(({ port }) => ({ host: "127.0.0.1", port }))
  }

  /** The master, as most of the Sentinels that run see it. */
  async master(): Promise<Node> {
    for (const sentinel of this.sentinels) {
      const reply = await sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", this.name).catch(() => "")
      const master = this.nodes.find(({ port }) => port === Number(reply.split("\n")[1]))
      if (master !== undefined) return master
    }
    throw new Error("no Sentinel knows the master")
  }

  /** Until each Sentinel knows the others and the replicas, and the master has two that have caught up. */
  async settled(): Promise<void> {
    await until(async () => {
      const known = this.sentinels.map((sentinel) =>
        sentinel.answers(/num-slaves\n2\n[\s\S]*num-other-sentinels\n2\n/, "SENTINEL", "MASTER", this.name)
      )
      if ((await Promise.all(known)).includes(false)) return false
      const master = await this.master()
      return master.answers(/slave0:.*state=online[\s\S]*slave1:.*state=online/, "INFO", "replication")
    }, "the Sentinels have settled")
  }

  replaced(former: Node): Promise<void> {
    return until(async () => (await this.master()) !== former, "a replica is promoted")
  }

  async dispose(): Promise<void> {
    await Promise.all([...this.sentinels, ...this.nodes].map((node) => node.kill()))
    removeFolder(this.#folder)
  }
}
