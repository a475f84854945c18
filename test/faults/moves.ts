/** How a Redis moves: in a Cluster, behind Sentinel, behind HAProxy; and what a server with sessions makes of it. */
import { setTimeout as pause } from "node:timers/promises"
import { slotOf } from "../../src/internal/redisClient/keys.ts"
import * as RedisKeys from "../../src/internal/backend/redisKeys.ts"
import { OwnHaproxy } from "../support/haproxy.ts"
import { newSecret, startBareServer, startSessionServer } from "../support/processes.ts"
import { OwnCluster } from "../support/redisCluster.ts"
import { OwnSentinel } from "../support/redisSentinel.ts"
import { busy, failing, slowdown } from "./faults.ts"
import { Traffic } from "./traffic.ts"

export type Setting = "cluster" | "sentinel" | "haproxy"

interface World {
  readonly cluster: OwnCluster
  readonly sentinel: OwnSentinel
  readonly haproxy: OwnHaproxy
}

export interface Move {
  readonly name: string
  readonly setting: Setting
  /** Whether a log-in that no replica had received may be lost with its master. No log-out and no update may. */
  readonly losesLogins?: true
  /**
   * The move from its beginning until Redis is as it was before. `isOver` is called as soon as the fault has ended;
   * `isServed` waits for a session of what moved to be read again.
   */
  readonly inject: (
    world: World,
    conditions: Conditions,
    isOver: () => void,
    isServed: () => Promise<void>
  ) => Promise<void>
}

export interface Conditions {
  readonly perSecond: number
  readonly seed: number
  /** How many slots are moved. */
  readonly slots: number
  /** How often a replica takes over. */
  readonly times: number
}

export const moves: ReadonlyArray<Move> = [
  {
    name: "slots resharded",
    setting: "cluster",
    inject: async ({ cluster }, { slots }, isOver) => {
      await cluster.reshard(slots)
      isOver()
    }
  },
  {
    name: "CLUSTER FAILOVER",
    setting: "cluster",
    inject: async ({ cluster }, { times }, isOver) => {
      for (let i = 0; i < times; i++) {
        await cluster.failover()
        await cluster.settled()
      }
      isOver()
    }
  },
  {
    name: "a master killed",
    setting: "cluster",
    losesLogins: true,
    inject: async ({ cluster }, _, isOver) => {
      const master = await cluster.master()
      await master.node.kill()
      await cluster.replaced(master)
      isOver()
      await pause(3000)
      master.node.start()
      await cluster.settled()
    }
  },
  {
    name: "a master frozen",
    setting: "cluster",
    losesLogins: true,
    inject: async ({ cluster }, _, isOver, isServed) => {
      const master = await cluster.master()
      master.node.freeze()
      // It is to be left while it is frozen.
      await isServed()
      isOver()
      master.node.thaw()
      await cluster.settled()
    }
  },
  {
    name: "the master killed",
    setting: "sentinel",
    losesLogins: true,
    inject: async ({ sentinel }, _, isOver) => {
      const master = await sentinel.master()
      await master.kill()
      await sentinel.replaced(master)
      isOver()
      await pause(3000)
      master.start()
      await master.ready()
    }
  },
  {
    name: "the master frozen",
    setting: "sentinel",
    losesLogins: true,
    inject: async ({ sentinel }, _, isOver, isServed) => {
      const master = await sentinel.master()
      master.freeze()
      await isServed()
      isOver()
      master.thaw()
    }
  },
  {
    name: "the master killed, its replica promoted",
    setting: "haproxy",
    inject: async ({ haproxy }, _, isOver, isServed) => {
      await haproxy.failover("kill")
      isOver()
      await isServed()
      await haproxy.restore()
    }
  },
  {
    name: "the master frozen, its replica promoted",
    setting: "haproxy",
    inject: async ({ haproxy }, _, isOver, isServed) => {
      await haproxy.failover("freeze")
      // It is to be left while it is frozen.
      await isServed()
      isOver()
      await haproxy.restore()
    }
  }
]

export interface Result {
  readonly move: Move
  readonly requests: number
  readonly readsPerSecond: number
  /** How many requests were answered with 503, and how many of them only read a session of a shard that did not move. */
  readonly refused: number
  readonly refusedOfHealthy: number
  readonly readsOfHealthy: number
  /** From the beginning of the fault to the last request that was refused. */
  readonly outage: number
  /** How long the fault lasted. */
  readonly lasted: number
  /** What the server logged as the causes, and how often. */
  readonly causes: ReadonlyMap<string, number>
  readonly violations: ReadonlyArray<string>
}

export interface Laboratory {
  readonly run: (move: Move, conditions: Conditions) => Promise<Result>
  readonly dispose: () => Promise<void>
}

const openers: { readonly [S in Setting]: () => Promise<World[S]> } = {
  cluster: () => OwnCluster.start(),
  sentinel: () => OwnSentinel.start(),
  haproxy: () => OwnHaproxy.start()
}

const portsOf = (nodes: ReadonlyArray<{ readonly port: number }>): string => nodes.map(({ port }) => port).join()

export const openLaboratory = async (setting: Setting): Promise<Laboratory> => {
  const own = await openers[setting]()
  // A move is only made in the setting it is for.
  const world = { [setting]: own } as unknown as World
  return { run: (move, conditions) => runMove(world, move, conditions), dispose: () => own.dispose() }
}

const environment = ({ cluster, haproxy, sentinel }: World): Record<string, string> => {
  if (cluster !== undefined) return { MOVING_REDIS: "cluster", REDIS_NODES: portsOf(cluster.nodes) }
  if (sentinel !== undefined) return { MOVING_REDIS: "sentinel", REDIS_NODES: portsOf(sentinel.sentinels) }
  return { SESSION_BACKEND: "redis", REDIS_URL: `redis://127.0.0.1:${haproxy.port}` }
}

/** How long all must be well before and after a move. */
const quiet = 1500
const patience = 15_000

const runMove = async (world: World, move: Move, conditions: Conditions): Promise<Result> => {
  await world.cluster?.settled()
  await world.sentinel?.settled()
  const server = await startSessionServer({
    ...environment(world),
    SESSION_SECRET: newSecret(),
    SESSION_NAME: "test/UserSession",
    TOUCH_INTERVAL: "500 millis"
  })
  const control = await startBareServer()
  // What moves is the first shard; without a Cluster it is all there is.
  const moving = world.cluster === undefined ? undefined : (await world.cluster.master()).slots
  const keys = RedisKeys.make("effect-sessions")
  const isHealthy = (id: string): boolean => {
    const slot = slotOf(keys.record("test/UserSession", id))
    return moving !== undefined && !moving.some(([first, last]) => first <= slot && slot <= last)
  }
  let hasBegun = false
  const losesLogins = () => move.losesLogins === true && hasBegun
  const traffic = new Traffic(server, control, { losesLogins, seed: conditions.seed, reads: 0.8 })
  let isOver = false
  let violations: ReadonlyArray<string> = []
  const causes = new Map<string, number>()
  let began = 0
  let ended = 0
  try {
    const pace = slowdown(conditions.perSecond, await traffic.warmUp(), 25)
    const running = traffic.run(conditions.perSecond / pace, () => isOver)
    await pause(quiet)
    hasBegun = true
    began = performance.now()
    const isServed = async () => {
      // Not by what answered just before.
      const since = performance.now() + 200
      const served = () =>
        traffic.samples.some(
          ({ at, read, status }) => at > since && status === 200 && read !== undefined && !isHealthy(read)
        )
      while (performance.now() - since < 3 * patience && !served()) await pause(50)
      if (!served()) throw new Error("what moved is not served again")
    }
    await move.inject(world, conditions, () => (ended = performance.now()), isServed)
    const end = performance.now()
    const isQuiet = () => {
      const now = performance.now()
      return now - end >= quiet && failing(traffic.samples.filter(({ at }) => at >= now - quiet)) < 0.01
    }
    while (performance.now() - end < patience && server.isRunning() && !isQuiet()) await pause(100)
    if (!isQuiet()) violations = ["not back in time"]
    isOver = true
    await running
    await traffic.settle()
  } finally {
    isOver = true
    const wasRunning = server.isRunning()
    await Promise.all([server.stop(), control.stop()])
    const output = server.output()
    for (const [, cause] of output.matchAll(/^ *cause: (.*)$/gm)) causes.set(cause!, (causes.get(cause!) ?? 0) + 1)
    violations = [
      ...violations,
      ...traffic.verdict(output),
      ...(wasRunning ? [] : [`the server ended by itself:\n${output.slice(-2000)}`])
    ]
  }
  const samples = traffic.samples.toSorted((a, b) => a.at - b.at)
  const refused = samples.filter(({ status }) => status === 503)
  const healthy = samples.filter(({ read }) => read !== undefined && isHealthy(read))
  // One that waited for the machine says nothing of Redis.
  const refusedOfHealthy = healthy.filter(
    ({ bare, status, waited }) => status === 503 && bare < busy && waited < busy
  ).length
  const seconds = (samples.at(-1)!.at - samples[0]!.at) / 1000
  return {
    move,
    requests: samples.length,
    readsPerSecond: samples.filter(({ read }) => read !== undefined).length / seconds,
    refused: refused.length,
    refusedOfHealthy,
    readsOfHealthy: healthy.length,
    outage: Math.max(0, (refused.findLast(({ at }) => at >= began)?.at ?? began) - began),
    lasted: ended - began,
    causes,
    violations:
      refusedOfHealthy === 0 ? violations : [...violations, `${refusedOfHealthy} reads of healthy shards refused`]
  }
}
