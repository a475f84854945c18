/** The Redis backend over a Redis that answers as it is told. */
import { Effect, Layer } from "effect"
import { Redis } from "effect/persistence"
import { createHash } from "node:crypto"
import * as Scripts from "../../src/internal/backend/redisScripts.ts"
import { SessionBackend, type SessionRecord } from "../../src/SessionBackend.ts"
import * as SessionBackendRedis from "../../src/SessionBackendRedis.ts"

const { addEntry, create, relay, remove, touch, update } = Scripts

const scriptNames = new Map(
  Object.entries({ create, update, touch, remove, addEntry, relay }).flatMap(([name, { lua }]) => [
    [lua, name],
    [createHash("sha1").update(lua).digest("hex"), name]
  ])
)

export type Reply = (command: ReadonlyArray<string>) => Effect.Effect<unknown, Redis.RedisError>

/** What a layer asks before it is built. */
const isCheck = (name: string, key: string | undefined) => name === "INFO" || key?.includes(":probe:") === true

/**
 * A Redis that answers as it is told and records what it was sent, but for the checks of the layer. The name of a script
 * stands for its hash; after `EVAL` it stands for its text.
 */
export const fake = (reply: Reply) =>
  Effect.gen(function* () {
    const commands: Array<ReadonlyArray<string>> = []
    const redis = yield* Redis.make({
      send: (name, ...args) => {
        if (isCheck(name, args[0])) return Effect.succeed(null as any)
        const script = scriptNames.get(args[0] ?? "")
        const command =
          script === undefined
            ? [name, ...args]
            : [...(name === "EVAL" ? ["EVAL", script] : [script]), ...args.slice(2)]
        return Effect.suspend(() => {
          commands.push(command)
          return reply(command) as any
        })
      },
      subscribe: () => Effect.die("not used"),
      connect: Effect.die("not used")
    })
    return { redis, commands }
  })

/** Layer of a Redis of which nothing is asked. */
export const unasked = Layer.unwrap(
  Effect.map(
    fake(() => Effect.die("asked")),
    ({ redis }) => Layer.succeed(Redis.Redis, redis)
  )
)

export const backendOver = (reply: Reply, options?: SessionBackendRedis.SessionBackendRedisOptions) =>
  Effect.gen(function* () {
    const { commands, redis } = yield* fake(reply)
    const backend = yield* SessionBackend.pipe(
      Effect.provide(
        SessionBackendRedis.layerWith({ prefix: "t", ...options }).pipe(
          Layer.provide(Layer.succeed(Redis.Redis, redis))
        )
      )
    )
    return { backend, commands }
  })

export const error = (message: string) => new Redis.RedisError({ cause: new Error(message) })

export const fail = (message: string) => Effect.fail(error(message))

export const end = "0000000000777000"

/** The entry of a session in an index, by default of the one below. */
export const entry = (id: string = record.id, createdAt = 1000) => `c${String(createdAt).padStart(15, "0")}${id}`

export const minute = 60_000

export const record: SessionRecord = {
  namespace: "app/User",
  id: "AAAAAAAAAAAAAAAAAAAAAA",
  secretHash: "H",
  version: 1,
  principal: "alice",
  data: `{"d":2}`,
  dataVersion: 1,
  extension: `{"e":1}`,
  createdAt: 1000,
  authenticatedAt: 1000,
  lastSeenAt: 1000,
  idleTimeout: 30 * minute,
  idleExpiresAt: 1000 + 30 * minute,
  absoluteExpiresAt: 1000 + 12 * 60 * minute,
  persistent: true
}

/** A record's head but for its end: three times that have their place, and the rest. */
export const head = `${"1000".padStart(16)}:${"1801000".padStart(16)}:${"43201000".padStart(16)}:1:1:H:1000:1000:1800000:1:alice`
export const tail = `\0{"e":1}\0{"d":2}`
export const stored = `${end}:${head}${tail}`
export const anonymously = (text: string) => text.replace(":alice", ":")

export const recordKey = "t:s:YXBwL1VzZXI:AAAAAAAAAAAAAAAAAAAAAA"
export const indexKey = "t:p:YXBwL1VzZXI:YWxpY2U"

/** A Redis where everything is there and works. */
export const willing: Reply = ([name]) =>
  Effect.succeed(
    name === "create"
      ? end
      : name === "update"
        ? [1, stored]
        : name === "touch"
          ? 1
          : name === "remove"
            ? `${end}:${head}`
            : name === "addEntry"
              ? []
              : name === "GETEX"
                ? stored
                : name === "ZRANGE"
                  ? [entry()]
                  : name === "SCAN"
                    ? ["0", [recordKey]]
                    : 1
  )

export const names = (commands: ReadonlyArray<ReadonlyArray<string>>) => commands.map(([name]) => name)

export const operations = {
  create: (backend) => backend.create(record),
  read: (backend) => backend.read(record.namespace, record.id),
  update: (backend) => backend.update(record.namespace, record.id, 1, { lastSeenAt: 1, idleExpiresAt: 2 }),
  touch: (backend) => backend.touch(record.namespace, record.id, { lastSeenAt: 1, idleExpiresAt: 2 }),
  delete: (backend) => backend.delete(record.namespace, record.id),
  deleteByPrincipal: (backend) => backend.deleteByPrincipal(record.namespace, "alice", { limit: 100 }),
  listByPrincipal: (backend) => backend.listByPrincipal(record.namespace, "alice", { limit: 10 }),
  scan: (backend) => backend.scan(record.namespace, { limit: 10 })
} satisfies Record<string, (backend: SessionBackend["Service"]) => Effect.Effect<unknown, unknown>>
