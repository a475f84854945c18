/** The faults of Redis, Postgres and MariaDB, and an experiment that shows how a server with sessions gets through each. */
import { setTimeout as pause } from "node:timers/promises"
import { OwnMariaDb } from "../support/mariadb.ts"
import {
  newSecret,
  OwnPostgres,
  OwnRedis,
  Proxy,
  startBareServer,
  startSessionServer,
  until
} from "../support/processes.ts"
import { type Sample, Traffic } from "./traffic.ts"

export type Store = "redis" | "redis with AOF" | "postgres" | "mariadb"

interface World {
  readonly redis: OwnRedis
  readonly postgres: OwnPostgres
  readonly mariadb: OwnMariaDb
  readonly proxy: Proxy
}

export interface Fault {
  readonly name: string
  /** The requirements it stands for. */
  readonly rows: string
  readonly store: Store
  /** Whether the store loses sessions it has acknowledged, as if they were logged out. It may not restore any. */
  readonly losesLogins?: true
  /** Whether the server is to get through it with fewer than 1 in 100 requests failing. */
  readonly isUnnoticed?: true
  /** What a reader of the table should know. */
  readonly note?: string
  /** Why a fault is not survived yet. It then runs only if asked for by name. */
  readonly unsolved?: string | undefined
  /** The fault from its beginning to its end. */
  readonly inject: (world: World, millis: number) => Promise<void>
}

const again = async (millis: number, every: number, action: () => Promise<unknown>): Promise<void> => {
  for (const end = performance.now() + millis; performance.now() < end;) {
    await action()
    await pause(every)
  }
}

const reset: Fault["inject"] = async ({ proxy }, millis) => {
  const before = proxy.resets
  // From the first byte of a reply to past the largest, in steps that share no factor with the replies' lengths.
  let bytes = 0
  proxy.resetAfter(() => (bytes = (bytes + 37) % 1500) + 1)
  await pause(millis)
  proxy.resetAfter(undefined)
  if (proxy.resets - before < 5) throw new Error("the proxy has cut next to nothing")
}

/** Whether the role `app` has all connections but those reserved for superusers. */
const isFull = `SELECT count(*) >= current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
  FROM pg_stat_activity WHERE usename = 'app'`

const endConnections = "PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'"

const redisFaults: ReadonlyArray<Fault> = [
  {
    name: "killed, restarted empty",
    rows: "[R78] [R79] [R81]",
    store: "redis",
    losesLogins: true,
    note: "this store lost all logins with the fault, and undid no logout",
    inject: async ({ redis }, millis) => {
      await redis.kill()
      await pause(millis)
      await redis.start()
    }
  },
  {
    name: "killed, restarted from its AOF",
    rows: "[R78] [R79] [R81]",
    store: "redis with AOF",
    inject: async ({ redis }, millis) => {
      await redis.kill()
      await pause(millis)
      await redis.start()
    }
  },
  {
    name: "frozen and thawed",
    rows: "[R78] [R79] [R80]",
    store: "redis",
    inject: async ({ redis }, millis) => {
      redis.signal("SIGSTOP")
      await pause(millis)
      redis.signal("SIGCONT")
    }
  },
  {
    name: "connections killed",
    rows: "[R78] [R80]",
    store: "redis",
    inject: ({ redis }, millis) => again(millis, 50, () => redis.command("CLIENT KILL TYPE normal"))
  },
  { name: "connections reset at byte k", rows: "[R74] [R80]", store: "redis", inject: reset },
  {
    name: "scripts flushed",
    rows: "[R78]",
    store: "redis",
    isUnnoticed: true,
    inject: ({ redis }, millis) => again(millis, 100, () => redis.command("SCRIPT FLUSH"))
  },
  {
    name: "out of memory",
    rows: "[R78]",
    store: "redis",
    inject: async ({ redis }, millis) => {
      await redis.command("CONFIG SET maxmemory 1")
      await pause(millis)
      await redis.command("CONFIG SET maxmemory 0")
    }
  },
  {
    name: "read-only, as a replica",
    rows: "[R78] [R82]",
    store: "redis",
    inject: async ({ redis }, millis) => {
      // No server is at that address, so its data stay as they are.
      await redis.command("REPLICAOF 127.0.0.1 1")
      await pause(millis)
      await redis.command("REPLICAOF NO ONE")
    }
  }
]

const postgresFaults: ReadonlyArray<Fault> = [
  {
    name: "killed, restarted, recovered",
    rows: "[R78] [R79] [R81]",
    store: "postgres",
    inject: async ({ postgres }, millis) => {
      await postgres.kill()
      await pause(millis)
      await postgres.start()
    }
  },
  {
    name: "frozen and thawed",
    rows: "[R78] [R79] [R80]",
    store: "postgres",
    inject: async ({ postgres }, millis) => {
      await postgres.signal("SIGSTOP")
      await pause(millis)
      await postgres.signal("SIGCONT")
    }
  },
  {
    name: "connections killed",
    rows: "[R78] [R80]",
    store: "postgres",
    inject: async ({ postgres }, millis) => {
      const loop = `FOR i IN 1..${Math.floor(millis / 50)} LOOP
        ${endConnections}; PERFORM pg_sleep(0.05); PERFORM pg_stat_clear_snapshot(); END LOOP`
      await postgres.sql(`DO $$ BEGIN ${loop}; END $$`)
    }
  },
  { name: "connections reset at byte k", rows: "[R74] [R80]", store: "postgres", inject: reset },
  {
    name: "read-only",
    rows: "[R78] [R82]",
    store: "postgres",
    inject: async ({ postgres }, millis) => {
      await postgres.sql("ALTER SYSTEM SET default_transaction_read_only = on")
      await postgres.sql("SELECT pg_reload_conf()")
      await pause(millis)
      await postgres.sql("ALTER SYSTEM RESET default_transaction_read_only")
      await postgres.sql("SELECT pg_reload_conf()")
    }
  },
  {
    name: "table locked",
    rows: "[R78] [R79]",
    store: "postgres",
    inject: async ({ postgres }, millis) => {
      await postgres.sql(`BEGIN; LOCK TABLE effect_sessions; SELECT pg_sleep(${millis / 1000}); COMMIT`, "app")
    }
  },
  {
    name: "too many connections",
    rows: "[R78] [R79]",
    store: "postgres",
    inject: async ({ postgres }, millis) => {
      const sockets = new Set<ReturnType<OwnPostgres["occupy"]>>()
      const occupy = () => {
        // More than there is room for: those refused are closed, and tried again.
        while (sockets.size < 40) {
          const socket = postgres.occupy()
          sockets.add(socket)
          socket.on("close", () => sockets.delete(socket))
        }
      }
      /** While many connect at once, those places are taken for a moment that are kept for a superuser: the next try has one. */
      const sql = (statement: string) =>
        postgres.sql(statement).catch((error: unknown) => {
          if (!String(error).includes("too many clients already")) throw error
          return undefined
        })
      await until(async () => {
        occupy()
        return (await sql(isFull)) === "t"
      }, "all connections are taken")
      // The server's pool may take a place before a waiting socket does: its connections are ended again and again.
      await again(millis, 50, async () => {
        await sql(`DO $$ BEGIN ${endConnections} AND application_name = 'sessions'; END $$`)
        occupy()
      })
      for (const socket of sockets) socket.destroy()
    }
  }
]

/** The connections of the server with sessions, as a block of statements that goes over them. */
const killConnections = `FOR one IN (SELECT id FROM information_schema.processlist WHERE user = 'app') DO
  BEGIN
    DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
    KILL one.id;
  END; END FOR`

const mariadbFaults: ReadonlyArray<Fault> = [
  {
    name: "killed, restarted, recovered",
    rows: "[R78] [R79] [R81]",
    store: "mariadb",
    inject: async ({ mariadb }, millis) => {
      await mariadb.kill()
      await pause(millis)
      await mariadb.start()
    }
  },
  {
    name: "frozen and thawed",
    rows: "[R78] [R79] [R80]",
    store: "mariadb",
    inject: async ({ mariadb }, millis) => {
      mariadb.signal("SIGSTOP")
      await pause(millis)
      mariadb.signal("SIGCONT")
    }
  },
  {
    name: "connections killed",
    rows: "[R78] [R80]",
    store: "mariadb",
    inject: ({ mariadb }, millis) =>
      again(millis, 50, () => mariadb.sql(`DELIMITER //\nBEGIN NOT ATOMIC ${killConnections}; END //`))
  },
  { name: "connections reset at byte k", rows: "[R74] [R80]", store: "mariadb", inject: reset },
  {
    name: "read-only",
    rows: "[R78] [R82]",
    store: "mariadb",
    inject: async ({ mariadb }, millis) => {
      await mariadb.sql("SET GLOBAL read_only = 1")
      await pause(millis)
      await mariadb.sql("SET GLOBAL read_only = 0")
    }
  },
  {
    name: "table locked",
    rows: "[R78] [R79]",
    store: "mariadb",
    inject: async ({ mariadb }, millis) => {
      await mariadb.sql(`LOCK TABLES effect_sessions WRITE; DO SLEEP(${millis / 1000})`, "app")
    }
  }
]

export const faults: ReadonlyArray<Fault> = [...redisFaults, ...postgresFaults, ...mariadbFaults]

// -----------------------------------------------------------------------------
// The experiment
// -----------------------------------------------------------------------------

export interface Result {
  readonly fault: Fault
  readonly requests: number
  readonly counts: ReadonlyMap<number, number>
  /** The longest wait for an answer, and that for one of a server that does nothing. */
  readonly slowest: number
  readonly bare: number
  /** From the fault's end until fewer than 1 in 100 requests fail. */
  readonly recovery: number
  /** What the log says of the calls that failed, the most frequent first. */
  readonly causes: ReadonlyArray<string>
  readonly violations: ReadonlyArray<string>
}

export const failing = (samples: ReadonlyArray<Sample>): number =>
  samples.filter(({ status }) => status !== 200 && status !== 401).length / samples.length

/** The causes in a log, each once, the most frequent first. */
const causesIn = (log: string): ReadonlyArray<string> => {
  const counts = new Map<string, number>()
  for (const [, cause] of log.matchAll(/cause: '([^']+)'/g)) counts.set(cause!, (counts.get(cause!) ?? 0) + 1)
  return [...counts].sort(([, a], [, b]) => b - a).map(([cause]) => cause)
}

const recoveryOf = (samples: ReadonlyArray<Sample>, end: number, tolerated: number): number => {
  const after = samples.filter(({ at }) => at >= end).sort((a, b) => a.at - b.at)
  const failures = after.flatMap(({ at, status }) => (status === 503 ? [at] : []))
  for (const from of [end, ...failures.map((at) => at + 1)]) {
    if (failing(after.filter(({ at }) => at >= from)) < tolerated) return from - end
  }
  return Infinity
}

/** How long the service may take to recover after a fault, and how long it is watched before it, in milliseconds. */
const recoveryLimit = 5000
const before = 1500
/** It is watched after a fault until it has been well for this long, or has had the time to. */
const quiet = 1500
const watched = recoveryLimit + quiet + 500

/**
 * How many times slower an experiment goes than asked for, so that a busy machine keeps up with it. Requests at a rate
 * that it cannot serve would wait for one another, and that is not the fault that is being tested.
 */
export const slowdown = (perSecond: number, millisPerRequest: number, most = 5): number =>
  Math.min(most, Math.max(1, (2 * perSecond * millisPerRequest) / 1000))

/** A process that had to wait for a processor this long during one request says that the machine is busy. */
export const busy = 250

/** How long a fault lasts, and what traffic meets it. On a busy machine it lasts longer, and the traffic is slower. */
export interface Conditions {
  readonly millis: number
  readonly perSecond: number
  readonly seed: number
}

/** A store that faults are asked of, until it is disposed of. */
export interface Laboratory {
  readonly run: (fault: Fault, conditions: Conditions) => Promise<Result>
  readonly dispose: () => Promise<void>
}

export const openLaboratory = async (store: Store): Promise<Laboratory> => {
  const own =
    store === "postgres"
      ? await OwnPostgres.start()
      : store === "mariadb"
        ? await OwnMariaDb.start()
        : await OwnRedis.start({ isDurable: store === "redis with AOF" })
  const proxy = await Proxy.start(own.port)
  // A fault is only injected into the store it is for.
  const world = { redis: own, postgres: own, mariadb: own, proxy } as unknown as World
  return {
    run: (fault, conditions) => runFault(world, fault, conditions),
    dispose: async () => {
      await proxy.dispose()
      await own.dispose()
    }
  }
}

const runFault = async (world: World, fault: Fault, { millis, perSecond, seed }: Conditions): Promise<Result> => {
  const server = await startSessionServer({
    SESSION_BACKEND: fault.store === "postgres" ? "postgres" : fault.store === "mariadb" ? "mysql" : "redis",
    REDIS_URL: `redis://127.0.0.1:${world.proxy.port}`,
    DATABASE_URL: `postgres://app@127.0.0.1:${world.proxy.port}/app`,
    MYSQL_URL: `mysql://app@127.0.0.1:${world.proxy.port}/app`,
    SESSION_SECRET: newSecret(),
    // Often enough for touches to meet the fault, too.
    TOUCH_INTERVAL: "500 millis"
  })
  let isOver = false
  let hasBegun = false
  let violations: ReadonlyArray<string> = []
  let causes: ReadonlyArray<string> = []
  const control = await startBareServer()
  const traffic = new Traffic(server, control, { losesLogins: () => fault.losesLogins === true && hasBegun, seed })
  const pace = slowdown(perSecond, await traffic.warmUp())
  const running = traffic.run(perSecond / pace, () => isOver)
  let began: number
  let end: number
  try {
    await pause(before * pace)
    hasBegun = true
    began = performance.now()
    await fault.inject(world, millis * pace)
    end = performance.now()
    const isQuiet = () => {
      const now = performance.now()
      const last = traffic.samples.filter(({ at }) => at >= now - quiet * pace)
      return now - end >= quiet * pace && failing(last) < 0.01
    }
    while (performance.now() - end < watched * pace && server.isRunning() && !isQuiet()) await pause(100)
    isOver = true
    await running
    await traffic.settle()
  } finally {
    isOver = true
    const wasRunning = server.isRunning()
    const [stopped] = await Promise.all([server.stop(), control.stop()])
    const output = server.output()
    causes = causesIn(output)
    violations = [
      ...traffic.verdict(output),
      ...(wasRunning ? [] : [`the server ended by itself:\n${output.slice(-2000)}`]),
      ...(stopped.millis > 5000 ? [`the server took ${Math.round(stopped.millis)} ms to stop`] : [])
    ]
  }
  const { samples } = traffic
  const share = failing(samples.filter(({ at }) => at >= began && at < end))
  const first = samples.filter(({ at }) => at < began - 1000)
  if (failing(first) >= 0.01 && first.every(({ bare, waited }) => bare < busy && waited < busy)) {
    violations = [...violations, "requests failed before the fault"]
  }
  // What a busy machine makes fail before the fault, it makes fail afterwards.
  const recovery = recoveryOf(samples, end, Math.max(0.01, 2 * failing(first)))
  if (recovery > recoveryLimit * pace) violations = [...violations, "not back in time"]
  if (fault.isUnnoticed === true && share >= 0.01) violations = [...violations, "the fault was noticed"]
  if (fault.isUnnoticed !== true && share === 0) violations = [...violations, "the fault did nothing"]
  const counts = new Map<number, number>()
  for (const { status } of samples) counts.set(status, (counts.get(status) ?? 0) + 1)
  return {
    fault,
    requests: samples.length,
    counts,
    slowest: Math.max(...samples.map(({ millis }) => millis)),
    bare: Math.max(...samples.map(({ bare }) => bare)),
    recovery,
    causes,
    violations
  }
}
