/** The Redis backend over a Redis server of the test's own, and what its tests look at. */
import { NodeRedis } from "@effect/platform-node"
import { assert } from "@effect/vitest"
import { Effect, Layer, Logger, type Scope } from "effect"
import { Redis } from "effect/persistence"
import { randomBytes } from "node:crypto"
import { readFileSync } from "node:fs"
import { setTimeout as pause } from "node:timers/promises"
import { afterAll } from "vitest"
import { separator } from "../../src/internal/backend/redisRecord.ts"
import { maxBatch, type SessionBackend, type SessionRecord } from "../../src/SessionBackend.ts"
import * as SessionBackendRedis from "../../src/SessionBackendRedis.ts"
import { hasRedisServer, needing, OwnRedis } from "./processes.ts"

export const withServer = needing(hasRedisServer(), "there is no redis-server on the PATH to start")

const source = readFileSync(new URL("../../src/SessionBackendRedis.ts", import.meta.url), "utf8")

/** The rights that the documentation of the module names. */
export const documentedRights: ReadonlyArray<string> = source
  .replace(/\n \* +/g, " ")
  .match(/`(~<prefix>:\* [^`]+)`/)![1]!
  .split(" ")

/** Those it names for `ended`, beside the others. */
export const documentedRightsOfEnded: ReadonlyArray<string> = source.match(/`(&<prefix>:ended [^`]+)`/)![1]!.split(" ")

type ClientOptions = NonNullable<Parameters<typeof NodeRedis.layer>[0]>

/** The client settings of the module's example, which its readers copy. */
export const exampleSettings = (url: string): ClientOptions => {
  const literal = /NodeRedis\.layer\((\{.*?\n\})\)/s.exec(source.replace(/^ \* ?/gm, ""))![1]!
  // oxlint-disable-next-line no-new-func
  return { ...new Function(`return (${literal})`)(), url }
}

export const silent = Logger.layer([])

export const backendLayer = (client: ClientOptions, options?: SessionBackendRedis.SessionBackendRedisOptions) =>
  SessionBackendRedis.layerWith(options).pipe(
    Layer.provideMerge(NodeRedis.layer(client)),
    Layer.provide(silent),
    Layer.orDie
  )

type Services = SessionBackend | Redis.Redis | NodeRedis.NodeRedis

export const run = <A, E>(
  effect: Effect.Effect<A, E, Services | Scope.Scope>,
  client: ClientOptions,
  options?: SessionBackendRedis.SessionBackendRedisOptions
): Promise<A> =>
  Effect.runPromise(Effect.scoped(effect).pipe(Effect.provide(backendLayer(client, options)), Effect.provide(silent)))

const servers: Array<OwnRedis> = []
afterAll(() => Promise.all(servers.map((server) => server.dispose())))

/** Starts a Redis server, which ends with the test file at the latest. */
export const startServer = async (options = { isDurable: false }): Promise<OwnRedis> => {
  const server = await OwnRedis.start(options)
  servers.push(server)
  return server
}

/** A test on a server of its own. */
export const onServer =
  (
    body: (server: OwnRedis) => Effect.Effect<void, unknown, Services | Scope.Scope>,
    options?: SessionBackendRedis.SessionBackendRedisOptions
  ) =>
  async () => {
    const server = await startServer()
    await run(body(server), exampleSettings(server.url), { prefix, ...options })
    await server.dispose()
  }

export const prefix = "t"
export const namespace = "app/User"
export const minute = 60_000
export const now = Date.now()

export const newRecord = (changes?: Partial<SessionRecord>): SessionRecord => ({
  namespace,
  id: randomBytes(16).toString("base64url"),
  secretHash: randomBytes(32).toString("base64url"),
  version: 1,
  principal: "alice",
  data: `{"name":"Alice"}`,
  dataVersion: 1,
  extension: "{}",
  createdAt: now,
  authenticatedAt: now,
  lastSeenAt: now,
  idleTimeout: 30 * minute,
  idleExpiresAt: now + 30 * minute,
  absoluteExpiresAt: now + 12 * 60 * minute,
  persistent: true,
  ...changes
})

export const seen = (at: number) => ({ lastSeenAt: at, idleExpiresAt: at + 30 * minute })

export const keysOf = Effect.fnUntraced(function* (pattern: string) {
  const redis = yield* Redis.Redis
  const keys = new Set<string>()
  let cursor = "0"
  do {
    const [next, page] = yield* redis.send<[string, Array<string>]>("SCAN", cursor, "MATCH", pattern, "COUNT", "1000")
    for (const key of page) keys.add(key)
    cursor = next
  } while (cursor !== "0")
  return [...keys]
})

/** [R74]: every key holds a complete record or an index, and has a time-to-live. */
export const expectCompleteAndMortal = Effect.gen(function* () {
  const redis = yield* Redis.Redis
  const keys = yield* keysOf(`${prefix}:*`)
  for (const key of keys) {
    const ttl = yield* redis.send<number>("PTTL", key)
    assert.isTrue(ttl > 0 || ttl === -2, `${key} has no time-to-live`)
    if (!key.startsWith(`${prefix}:s:`)) continue
    const text = yield* redis.send<string | null>("GET", key)
    assert.strictEqual(text?.split(separator).length ?? (ttl === -2 ? 3 : 0), 3, `${key} is half a record`)
  }
  return keys
})

export const until = Effect.fnUntraced(function* <E, R>(condition: Effect.Effect<boolean, E, R>, what: string) {
  for (let i = 0; i < 500; i++) {
    if (yield* condition) return
    yield* Effect.promise(() => pause(10))
  }
  assert.fail(`waited in vain until ${what}`)
})

/** Ends all sessions of a principal, as the manager does, and answers how many. */
export const revokeAll = Effect.fnUntraced(function* (
  backend: SessionBackend["Service"],
  principal: string,
  options?: { readonly except?: string; readonly in?: string }
) {
  for (let count = 0; ;) {
    const { deleted, more } = yield* backend.deleteByPrincipal(options?.in ?? namespace, principal, {
      limit: maxBatch,
      except: options?.except
    })
    count += deleted.length
    if (!more) return count
  }
})

/** All records of a principal, page by page. */
export const listAll = Effect.fnUntraced(function* (backend: SessionBackend["Service"], principal: string) {
  const records: Array<SessionRecord> = []
  let after: string | undefined
  do {
    const page = yield* backend.listByPrincipal(namespace, principal, { limit: 100, after })
    records.push(...page.records)
    after = page.next
  } while (after !== undefined)
  return records
})

/** Gives a call up after a time, as the manager does at its deadline. */
export const within = (millis: number) => Effect.timeoutOption(millis)
