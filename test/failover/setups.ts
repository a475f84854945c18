/** The ways to keep sessions that are compared, and what is done to each. */
import { NodeRedis } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { Redis } from "effect/persistence"
import { setTimeout as pause } from "node:timers/promises"
import { nodeRedisSettings, nodeRedisSocket } from "../../src/internal/redisClient/service.ts"
import { SessionBackend, SessionBackendError } from "../../src/SessionBackend.ts"
import * as SessionBackendRedis from "../../src/SessionBackendRedis.ts"
import * as SessionBackendSql from "../../src/SessionBackendSql.ts"
import { until } from "../support/processes.ts"
import { type Cut, Link } from "./link.ts"
import { PostgresServer, RedisServer, versionOf } from "./servers.ts"
import { type Server, startServer, Traffic } from "./traffic.ts"

/** How many requests a second, of which two thirds are log-outs. */
const perSecond = 60
/** How long traffic runs before anything is done to the store, in milliseconds. */
const quiet = 1000
/** A set-up that takes longer than this has failed. */
export const limit = 60_000

type Backend = (url: string) => Layer.Layer<SessionBackend, unknown>

interface Store {
  readonly url: string
  readonly kill: () => Promise<void>
}

/** What a set-up has started. */
interface Stage {
  readonly primary: Store
  readonly backend: Backend
  readonly version: string
  /** Until the replica has all there is, or the snapshot is made. */
  readonly isReady: () => Promise<void>
  readonly link: Link | undefined
  /** Promotes the replica, or starts again what was killed. */
  readonly takeOver: () => Promise<Store>
  /** Looks at the one that took over, and answers what is worth telling. */
  readonly afterwards?: (server: Server) => Promise<string>
}

/** Starts something that is ended with the set-up. */
type Start = <A extends { readonly dispose: () => Promise<void> }>(starting: Promise<A>) => Promise<A>

export interface Setup {
  readonly store: "redis" | "postgres"
  readonly name: string
  readonly what: "crash" | Cut
  /** How long the link is cut, where that is the point; otherwise as the caller says. */
  readonly seconds?: number
  readonly prepare: (start: Start) => Promise<Stage>
}

export interface Outcome {
  readonly setup: Setup
  readonly version: string
  /** Acknowledged when first asked for, and how many of them were undone. */
  readonly logOuts: number
  readonly undone: number
  /** Refused, asked for again at another server, and acknowledged there; how many of them were undone. */
  readonly secondTries: number
  readonly secondUndone: number
  readonly logIns: number
  readonly lost: number
  /** From the cut until the primary was killed. */
  readonly requests: number
  readonly refused: number
  /** The longest answer, in milliseconds. */
  readonly longest: number
  readonly note: string | undefined
  /** How long all of it took, in milliseconds. */
  readonly millis: number
}

// -----------------------------------------------------------------------------
// Redis
// -----------------------------------------------------------------------------

/** The client settings of the documentation of `SessionBackendRedis`. */
const redisClient = (url: string) =>
  NodeRedis.layer({ url, ...nodeRedisSettings, commandOptions: { timeout: 0 }, socket: nodeRedisSocket })

const onRedis: Backend = (url) => SessionBackendRedis.layer.pipe(Layer.provide(redisClient(url)))

/** What people try instead of `min-replicas-to-write`: each log-out asks whether a replica has it. */
const onRedisWaiting: Backend = (url) =>
  Layer.effect(
    SessionBackend,
    Effect.gen(function* () {
      const backend = yield* SessionBackend
      const redis = yield* Redis.Redis
      return {
        ...backend,
        delete: (...args) =>
          Effect.tap(backend.delete(...args), () =>
            Effect.flatMap(Effect.option(redis.send<number>("WAIT", "1", "100")), (reached) =>
              reached._tag === "Some" && reached.value >= 1
                ? Effect.void
                : Effect.fail(
                    new SessionBackendError({ operation: "delete", outcome: "unknown", cause: new Error("no replica") })
                  )
            )
          )
      }
    })
  ).pipe(Layer.provide(SessionBackendRedis.layer), Layer.provide(redisClient(url)))

const redisPair =
  (settings: Record<string, string>, backend = onRedis): Setup["prepare"] =>
  async (start) => {
    const primary = await start(RedisServer.start(settings))
    const link = await start(Link.to(primary.port))
    const replica = await start(RedisServer.start({ ...settings, replicaof: `127.0.0.1 ${link.port}` }))
    const isReady = () =>
      until(async () => {
        const [offset, copied, isUp, good] = await Promise.all([
          primary.info("master_repl_offset"),
          replica.info("master_repl_offset"),
          replica.info("master_link_status"),
          primary.info("min_slaves_good_slaves")
        ])
        return isUp === "up" && offset === copied && good !== "0"
      }, "the replica has all there is")
    await isReady()
    return {
      primary,
      backend,
      version: await versionOf(primary),
      isReady,
      link,
      takeOver: async () => {
        await replica.command("REPLICAOF NO ONE")
        // It has no replica of its own yet, as after a real failover.
        await replica.command("CONFIG SET min-replicas-to-write 0")
        return replica
      }
    }
  }

const redisAlone =
  (settings: Record<string, string>, beforeRestart: (redis: RedisServer) => void = () => {}): Setup["prepare"] =>
  async (start) => {
    const redis = await start(RedisServer.start(settings))
    return {
      primary: redis,
      backend: onRedis,
      version: await versionOf(redis),
      isReady: async () => {
        if (settings["save"] !== undefined) await redis.command("SAVE")
      },
      link: undefined,
      takeOver: async () => {
        beforeRestart(redis)
        await redis.start()
        return redis
      }
    }
  }

// -----------------------------------------------------------------------------
// Postgres
// -----------------------------------------------------------------------------

const postgresClient = (url: string) => PgClient.layer({ url: Redacted.make(url) })

/** Without migrations, which would hang as every write does on a standby that was promoted and waits for its own. */
const onPostgres: Backend = (url) => SessionBackendSql.layerStorage().pipe(Layer.provide(postgresClient(url)))

const newPostgres = async (start: Start): Promise<PostgresServer> => {
  const postgres = await start(PostgresServer.start())
  await Effect.runPromise(
    Effect.scoped(Layer.build(SessionBackendSql.layerMigrations().pipe(Layer.provide(postgresClient(postgres.url)))))
  )
  return postgres
}

const standby = "standby"

const postgresPair =
  (settings: Record<string, string>): Setup["prepare"] =>
  async (start) => {
    const primary = await newPostgres(start)
    await primary.configure(settings)
    const isSynchronous = settings["synchronous_standby_names"] !== undefined
    const link = await start(Link.to(primary.port))
    const replica = await start(PostgresServer.following(link.port, standby))
    const isReady = () =>
      until(async () => {
        const follows = await primary.sql(
          `SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn >= pg_current_wal_lsn()
           AND sync_state = '${isSynchronous ? "sync" : "async"}'`
        )
        return follows === "1"
      }, "the standby has all there is")
    await isReady()
    const timed = async (server: Server): Promise<string> => {
      const began = performance.now()
      const answer = await server.logIn("afterwards")
      return `${answer === "refused" ? "503" : "200"} after ${Math.round(performance.now() - began)} ms`
    }
    return {
      primary,
      backend: onPostgres,
      version: await versionOf(primary),
      isReady,
      link,
      takeOver: async () => {
        await replica.sql("SELECT pg_promote(true, 20)")
        return replica
      },
      ...(isSynchronous && {
        afterwards: async (server) => {
          const inherited = await timed(server)
          await replica.configure({ synchronous_standby_names: "" })
          return (
            `the promoted standby had inherited \`synchronous_standby_names\`: a log-in ${inherited}; ` +
            `with the setting cleared ${await timed(server)}`
          )
        }
      })
    }
  }

const postgresAlone =
  (settings: Record<string, string>): Setup["prepare"] =>
  async (start) => {
    const postgres = await newPostgres(start)
    await postgres.configure(settings)
    return {
      primary: postgres,
      backend: onPostgres,
      version: await versionOf(postgres),
      isReady: async () => {},
      link: undefined,
      takeOver: async () => {
        await postgres.start()
        return postgres
      }
    }
  }

// -----------------------------------------------------------------------------
// The table
// -----------------------------------------------------------------------------

const aof = (fsync: string) => ({ appendonly: "yes", appendfsync: fsync })

/** Both ways to lose the link; the silent one for so many seconds, where they are given. */
const bothCuts = (
  store: Setup["store"],
  name: string,
  prepare: Setup["prepare"],
  silent?: number
): ReadonlyArray<Setup> => [
  { store, name, what: "closed", prepare },
  { store, name, what: "silent", prepare, ...(silent !== undefined && { seconds: silent }) }
]

const crash = (store: Setup["store"], name: string, prepare: Setup["prepare"]): Setup => ({
  store,
  name,
  what: "crash",
  prepare
})

export const setups: ReadonlyArray<Setup> = [
  ...bothCuts("redis", "asynchronous", redisPair({})),
  ...bothCuts(
    "redis",
    "`min-replicas-to-write 1`, `min-replicas-max-lag 1`",
    redisPair({ "min-replicas-to-write": "1", "min-replicas-max-lag": "1" }),
    // Long enough for the primary to notice.
    5
  ),
  ...bothCuts("redis", "asynchronous, `WAIT 1 100` after each log-out", redisPair({}, onRedisWaiting)),
  crash("redis", "alone, no persistence", redisAlone({})),
  crash("redis", "alone, snapshot before the log-outs", redisAlone({ save: "3600 1" })),
  crash("redis", "alone, `appendfsync everysec`", redisAlone(aof("everysec"))),
  crash(
    "redis",
    "alone, `appendfsync everysec`, power lost",
    redisAlone({ ...aof("everysec"), "aof-timestamp-enabled": "yes" }, (redis) =>
      redis.forgetFrom(Math.floor((Date.now() - 500) / 1000))
    )
  ),
  crash("redis", "alone, `appendfsync always`", redisAlone(aof("always"))),
  ...bothCuts("postgres", "asynchronous", postgresPair({})),
  ...bothCuts("postgres", "`synchronous_standby_names`", postgresPair({ synchronous_standby_names: standby })),
  crash("postgres", "alone, `synchronous_commit = off`", postgresAlone({ synchronous_commit: "off" })),
  crash("postgres", "alone", postgresAlone({}))
]

// -----------------------------------------------------------------------------
// A run
// -----------------------------------------------------------------------------

/** The session is there or it is not, once the store that took over answers at all. */
const isLoggedIn = async (server: Server, token: Parameters<Server["isLoggedIn"]>[0]): Promise<boolean> => {
  for (;;) {
    const answer = await server.isLoggedIn(token)
    if (answer !== "refused") return answer
    await pause(50)
  }
}

const measure = async (setup: Setup, seconds: number, start: Start): Promise<Outcome> => {
  const began = performance.now()
  const stage = await setup.prepare(start)
  const server = (url: string) =>
    start(
      startServer(stage.backend(url)).then((server) => ({
        ...server,
        dispose: server.stop
      }))
    )
  const { url } = stage.primary
  const traffic = new Traffic(await server(url), await server(url), await server(url))
  await traffic.fill(Math.ceil(perSecond * (quiet / 1000 + seconds)))
  await stage.isReady()

  const running = traffic.start(perSecond)
  await pause(quiet)
  const cutAt = performance.now()
  if (setup.what !== "crash") stage.link!.cut(setup.what)
  await pause(seconds * 1000)
  const killedAt = performance.now()
  traffic.stop()
  await stage.primary.kill()
  await running
  await traffic.settled()

  const successor = await server((await stage.takeOver()).url)
  const alive = await Promise.all(traffic.known.map(({ token }) => isLoggedIn(successor, token)))
  const count = (is: (known: (typeof traffic.known)[number], isAlive: boolean) => boolean): number =>
    traffic.known.filter((known, i) => is(known, alive[i]!)).length
  const note = await stage.afterwards?.(successor)
  const meanwhile = traffic.answers.filter(({ began }) => began >= cutAt)
  return {
    setup,
    version: stage.version,
    logOuts: count(({ endedAt }) => endedAt === "first"),
    undone: count(({ endedAt }, isAlive) => endedAt === "first" && isAlive),
    secondTries: count(({ endedAt }) => endedAt === "second"),
    secondUndone: count(({ endedAt }, isAlive) => endedAt === "second" && isAlive),
    // Who has asked to be logged out is not missed.
    logIns: count(({ isLeaving }) => !isLeaving),
    lost: count(({ isLeaving }, isAlive) => !isLeaving && !isAlive),
    requests: meanwhile.length,
    // What was answered after the kill was refused because of it.
    refused: meanwhile.filter(({ ended, isRefused }) => isRefused && ended < killedAt).length,
    longest: Math.max(0, ...meanwhile.map(({ began, ended }) => ended - began)),
    note,
    millis: performance.now() - began
  }
}

/** Runs one set-up with servers of its own, and ends all that it has started, whatever happens. */
export const run = async (setup: Setup, options: { readonly seconds: number; readonly limit?: number }) => {
  const started: Array<{ readonly dispose: () => Promise<void> }> = []
  let isOver = false
  const start: Start = async (starting) => {
    const one = await starting
    if (!isOver) started.push(one)
    else await one.dispose()
    if (isOver) throw new Error("too late")
    return one
  }
  const late = new AbortController()
  const millis = options.limit ?? limit
  try {
    const measured = measure(setup, setup.seconds ?? options.seconds, start)
    measured.catch(() => {})
    return await Promise.race([
      measured,
      pause(millis, undefined, { signal: late.signal }).then(() => {
        throw new Error(`${setup.store} ${setup.name} (${setup.what}): took longer than ${millis} ms`)
      })
    ])
  } finally {
    isOver = true
    late.abort()
    // The servers of the application first: they reconnect as long as they are there.
    for (const one of started.toReversed()) await one.dispose()
  }
}
