/**
 * Redis and Postgres with a million sessions: how long each operation takes, and how many bytes a session.
 *
 * `npm run test:scale -- [--only redis|postgres] [--sessions 1000000] [--times 2000] [--write]` starts a Redis and a
 * Postgres of its own. `--write` puts its table into docs/scale.md, if all of it was measured.
 */
import { NodeRedis } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import { parseArgs } from "node:util"
import { SessionBackend } from "../../src/SessionBackend.ts"
import * as SessionBackendRedis from "../../src/SessionBackendRedis.ts"
import * as SessionBackendSql from "../../src/SessionBackendSql.ts"
import { OwnPostgres, OwnRedis } from "../support/processes.ts"
import { percentile, timed } from "./measure.ts"
import { figure, measuredBy, table, writeInto } from "./page.ts"
import * as Seed from "./seed.ts"

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    sessions: { type: "string", default: "1000000" },
    times: { type: "string", default: "2000" },
    write: { type: "boolean", default: false }
  }
})
const [sessions, times] = [values.sessions, values.times].map(Number) as [number, number]
const callers = 10
const million = 1_000_000
/** A store with so many is measured right before, for comparison. */
const few = 20_000

// What was started is ended with this process.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1))

type Backend = SessionBackend["Service"]

const shuffled = (ids: ReadonlyArray<string>): ReadonlyArray<string> =>
  ids
    .map((id) => [Math.random(), id] as const)
    .sort(([a], [b]) => a - b)
    .map(([, id]) => id)

const found = Effect.fnUntraced(function* (backend: Backend, id: string) {
  const record = yield* backend.read("scale", id)
  if (record._tag === "None") return yield* Effect.die(new Error(`session ${id} is not there`))
  return record.value
})

const expecting = <A, E>(expected: A, effect: Effect.Effect<A, E>) =>
  Effect.flatMap(effect, (answer) =>
    answer === expected ? Effect.void : Effect.die(new Error(`${String(answer)} instead of ${String(expected)}`))
  )

/** Each operation on sessions of its own; deleting comes last. */
const operations: Readonly<Record<string, (backend: Backend, id: string) => Effect.Effect<unknown, unknown>>> = {
  read: found,
  touch: (backend, id) => {
    const now = Date.now()
    return expecting("touched", backend.touch("scale", id, { lastSeenAt: now, idleExpiresAt: now + 1_800_000 }))
  },
  "read and update": (backend, id) =>
    Effect.flatMap(found(backend, id), ({ version }) => {
      const now = Date.now()
      const patch = { data: `{"now":${now}}`, lastSeenAt: now, idleExpiresAt: now + 1_800_000 }
      return expecting(
        "updated",
        Effect.map(backend.update("scale", id, version, patch), ({ _tag }) => _tag)
      )
    }),
  "list a user's three": (backend, id) =>
    Effect.flatMap(found(backend, id), ({ principal }) =>
      Effect.flatMap(timed(backend.listByPrincipal("scale", principal!, { limit: 100 })), ([{ records }, millis]) =>
        records.some((record) => record.id === id) && records.length <= 3
          ? Effect.succeed(millis)
          : Effect.die(new Error(`a list of ${records.length} sessions`))
      )
    ),
  delete: (backend, id) => expecting(true, backend.delete("scale", id))
}

/** What each operation took, in milliseconds. */
const measure = Effect.fnUntraced(function* (backend: Backend, ids: ReadonlyArray<string>) {
  const all = new Map<string, ReadonlyArray<number>>()
  let from = 0
  const next = (count: number) => ids.slice(from, (from += count))
  // Connections are made, and code is compiled, by the time it counts.
  for (const operation of Object.values(operations)) {
    yield* Effect.forEach(next(500), (id) => operation(backend, id), { concurrency: callers, discard: true })
  }
  for (const [name, operation] of Object.entries(operations)) {
    const some = next(times)
    if (some.length < times) return yield* Effect.die(new Error("there are too few sessions"))
    const taken = yield* Effect.forEach(
      some,
      (id) =>
        Effect.map(timed(operation(backend, id)), ([answer, millis]) => (typeof answer === "number" ? answer : millis)),
      { concurrency: callers }
    )
    all.set(name, taken)
    console.log(`  ${name}: ${figure(percentile(taken, 50))} / ${figure(percentile(taken, 99))} ms`)
  }
  return all
})

interface Measured {
  readonly times: ReadonlyMap<string, ReadonlyArray<number>>
  readonly bytes: number
  readonly parts: string
}

const onPostgres = Effect.fnUntraced(function* (postgres: OwnPostgres, sessions: number) {
  const client = PgClient.layer({ url: Redacted.make(postgres.url), maxConnections: callers })
  const context = yield* Layer.build(SessionBackendSql.layer.pipe(Layer.provideMerge(client)))
  const sql = Context.get(context, SqlClient.SqlClient)
  const live = yield* Seed.postgres(sql, { sessions })
  const sizes = yield* sql<{ readonly name: string; readonly bytes: unknown }>`
    SELECT c.relname AS name, pg_relation_size(c.oid) AS bytes FROM pg_class c
    WHERE c.relname LIKE 'effect_sessions%' AND c.relkind IN ('r', 'i') AND c.relname NOT LIKE '%migrations%'
    ORDER BY 2 DESC`
  const ids = yield* sql<{ readonly id: string }>`
    SELECT id FROM effect_sessions TABLESAMPLE BERNOULLI (${Math.min(100, 10_000_000 / sessions)})
    WHERE idle_expires_at = ${live} ORDER BY random()`
  const of = (bytes: unknown) => Number(bytes) / sessions
  return {
    times: yield* measure(Context.get(context, SessionBackend), shuffled(ids.map(({ id }) => id))),
    bytes: sizes.reduce((sum, { bytes }) => sum + of(bytes), 0),
    parts: sizes
      .map(({ bytes, name }) => `${name.replace(/^effect_sessions_?/, "") || "table"} ${Math.round(of(bytes))}`)
      .join(", ")
  }
})

const onRedis = Effect.fnUntraced(function* (redis: OwnRedis, sessions: number) {
  const used = Effect.promise(async () => Number(/used_memory:(\d+)/.exec(await redis.command("INFO memory"))![1]))
  const before = yield* used
  const ids = yield* Effect.promise(() => Seed.redis(redis.port, "scale", sessions))
  const bytes = ((yield* used) - before) / sessions
  const context = yield* Layer.build(
    SessionBackendRedis.layerWith({ prefix: "scale" }).pipe(
      Layer.provide(NodeRedis.layer({ url: redis.url, commandOptions: { timeout: 0 } }))
    )
  )
  return { times: yield* measure(Context.get(context, SessionBackend), shuffled(ids)), bytes, parts: "" }
})

type Measure<Server> = (server: Server, sessions: number) => Effect.Effect<Measured, unknown, Scope.Scope>

const run = (effect: Effect.Effect<Measured, unknown, Scope.Scope>): Promise<Measured> =>
  Effect.runPromise(effect.pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

const openers = {
  Redis: { start: () => OwnRedis.start({ isDurable: false }), measure: onRedis },
  Postgres: { start: () => OwnPostgres.start(), measure: onPostgres }
}

const measuredOn = async <Server extends { readonly dispose: () => Promise<void> }>(
  { measure, start }: { readonly start: () => Promise<Server>; readonly measure: Measure<Server> },
  sessions: number
): Promise<Measured> => {
  const server = await start()
  try {
    return await run(measure(server, sessions))
  } finally {
    await server.dispose()
  }
}

const measured: Record<string, { readonly few: Measured; readonly many: Measured }> = {}
for (const name of ["Redis", "Postgres"] as const) {
  if ((values.only ?? name).toLowerCase() !== name.toLowerCase()) continue
  const on = (count: number) => {
    console.log(`${name} with ${count} sessions`)
    return name === "Redis" ? measuredOn(openers.Redis, count) : measuredOn(openers.Postgres, count)
  }
  measured[name] = { few: await on(few), many: await on(sessions) }
}

/** An earlier version (commit e9616b6), as it was measured then, by another script on two noisy cores. */
const earlier: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  Redis: {
    read: "0.2 / 6",
    touch: "0.2 / 5",
    "read and update": "0.6 / 6",
    "list a user's three": "0.3 / 5",
    delete: "0.4 / 4",
    bytes: "665"
  },
  Postgres: {
    read: "2.5 / 32",
    touch: "4.1 / 40",
    "read and update": "4.2 / 33",
    "list a user's three": "0.5 / 18",
    delete: "2.7 / 17",
    bytes: "548"
  }
}

const stores = Object.keys(measured)
const numbers = (count: number) => count.toLocaleString("en-GB")
const cells = (of: (measured: Measured) => string, past: string) =>
  stores.flatMap((store) => [of(measured[store]!.few), of(measured[store]!.many), earlier[store]![past]!])
const text = [
  ...table(
    ["", ...stores.flatMap((store) => [`${store}, ${numbers(few)}`, numbers(sessions), "earlier"])],
    [
      ...Object.keys(operations).map((name) =>
        [`${name}, p50 / p99 ms`].concat(
          cells(({ times }) => [50, 99].map((p) => figure(percentile(times.get(name)!, p))).join(" / "), name)
        )
      ),
      ["bytes a session", ...cells(({ bytes }) => String(Math.round(bytes)), "bytes")]
    ]
  ),
  "",
  ...stores.flatMap((store) => {
    const { parts } = measured[store]!.many
    return parts === "" ? [] : [`Bytes of ${store}: ${parts}.`, ""]
  }),
  `Sessions with 150 bytes of data, ${callers} callers, ${numbers(times)} of each. “Earlier” is commit e9616b6 with a million. ` +
    measuredBy("npm run test:scale")
]
console.log(text.join("\n"))
if (values.write && values.only === undefined && sessions >= million) {
  writeInto("docs/scale.md", "sessions, written by npm run test:scale", text)
}
