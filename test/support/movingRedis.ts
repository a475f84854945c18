/** The backend of a session server on a Redis that moves: `MOVING_REDIS=cluster|sentinel`, and `REDIS_NODES`, its ports. */
import { Layer } from "effect"
import { SessionBackendRedis } from "effect-sessions"
import * as NodeRedisCluster from "effect-sessions/NodeRedisCluster"
import * as NodeRedisSentinel from "effect-sessions/NodeRedisSentinel"

const ports = (process.env["REDIS_NODES"] ?? "").split(",").map(Number)

// The options of the guide.
const services = {
  cluster: () => NodeRedisCluster.layer({ rootNodes: ports.map((port) => ({ url: `redis://127.0.0.1:${port}` })) }),
  sentinel: () =>
    NodeRedisSentinel.layer({
      name: "sessions",
      sentinelRootNodes: ports.map((port) => ({ host: "127.0.0.1", port }))
    })
}

const kind = process.env["MOVING_REDIS"]

export const movingRedis =
  kind === "cluster" || kind === "sentinel"
    ? Layer.orDie(SessionBackendRedis.layerWith().pipe(Layer.provide(services[kind]())))
    : undefined
