/** The forms of layers whose options come from configuration. */
import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Layer, Option, Redacted, Schema, type Scope } from "effect"
import { Cookies, HttpServerResponse } from "effect/http"
import { Redis } from "effect/persistence"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import {
  Session,
  SessionBackend,
  SessionBackendMemory,
  SessionBackendRedis,
  SessionBackendSql,
  type SessionError,
  SessionFrontend,
  SessionKeys,
  SessionManager,
  SessionMiddleware,
  SessionSweeper,
  SessionVerifier
} from "effect-sessions"
import * as NodeSqliteClient from "effect-sessions/NodeSqliteClient"
import { fake, unasked } from "./support/fakeRedis.ts"
import { outcome } from "./support/outcome.ts"
import { record } from "./support/sqlBackend.ts"
import { secretA } from "./support/userSession.ts"
import * as WatchedBackend from "./support/watchedBackend.ts"

const environment = (env: Record<string, string>) => ConfigProvider.layer(ConfigProvider.fromEnv({ env }))

class UserSession extends Session.Service<UserSession>()("test/Configured", {
  data: Schema.Struct({ username: Schema.String }),
  principal: (data) => data.username
}) {}

const rest = Layer.mergeAll(
  SessionKeys.layer(Redacted.make(secretA)),
  SessionVerifier.layerExists(UserSession),
  SessionFrontend.layerCookie()
).pipe(Layer.provideMerge(NodeCrypto.layer), Layer.orDie)

const stored = { namespace: "app/Configured", id: "i".repeat(22), principal: "ada" }
const sqlite = NodeSqliteClient.layer({ filename: ":memory:" }).pipe(Layer.orDie)

/** A layer with one option from a variable, and what is seen of the option. */
interface Row {
  readonly name: string
  readonly variable: string
  readonly layer: Layer.Layer<never, SessionError.SessionConfigError | Config.ConfigError>
  /** A value that is not of the option's type; none where every text is. */
  readonly unreadable?: string
  /** One that is, but not of one that the option may have, and what is said of it. */
  readonly wrong: readonly [value: string, says: RegExp]
  readonly good: string
  readonly seen: Effect.Effect<unknown, unknown, Scope.Scope>
  readonly expected: unknown
}

const ofBackend = <A>(use: (backend: SessionBackend.SessionBackend["Service"]) => Effect.Effect<A, unknown>) =>
  Effect.flatMap(SessionBackend.SessionBackend, use)

const tables = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) =>
    sql`SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%_migrations' ORDER BY name`.values
)
const table = { table: Config.String("TABLE") }
const notAName = ["1; DROP", /table must be 1 to 48 letters/] as const

const lifetime = Effect.gen(function* () {
  const manager = yield* UserSession.Manager
  const { createdAt, expiresAt } = yield* manager.create({ username: "ada" })
  return expiresAt.epochMilliseconds - createdAt.epochMilliseconds
})
const timeout = { idleTimeout: Config.Duration("IDLE") }
const longerThanItsLife = ["2 days", /idleTimeout/] as const

const cookieOf = SessionFrontend.layerCookieConfig({
  secure: Config.succeed(false),
  sameSite: Config.Literals(["lax", "strict", "none"], "SAME_SITE")
})
const headerOf = SessionFrontend.layerHeaderConfig({ name: Config.String("HEADER") })
const Memory = SessionBackendMemory.layer
const memoryOf = SessionBackendMemory.layerConfig({ maxSessions: Config.Int("MAX") })
const redisOf = (redis: Layer.Layer<Redis.Redis>) =>
  SessionBackendRedis.layerConfig({ prefix: Config.String("PREFIX") }).pipe(Layer.provide(redis))
const managerOf = SessionManager.layerConfig(UserSession, timeout).pipe(Layer.provide([Memory, rest]))
const middlewareOf = SessionMiddleware.layerConfig(UserSession, timeout).pipe(Layer.provide([Memory, rest]))
const sweeperOf = SessionSweeper.layerConfig({ batch: Config.Int("BATCH") })

const rows: ReadonlyArray<Row> = [
  {
    name: "SessionManager.layerConfig",
    variable: "IDLE",
    layer: managerOf,
    unreadable: "soon",
    wrong: longerThanItsLife,
    good: "20 minutes",
    seen: Effect.provide(lifetime, managerOf),
    expected: 20 * 60_000
  },
  {
    name: "SessionMiddleware.layerConfig",
    variable: "IDLE",
    layer: middlewareOf,
    unreadable: "soon",
    wrong: longerThanItsLife,
    good: "20 minutes",
    seen: Effect.provide(lifetime, middlewareOf),
    expected: 20 * 60_000
  },
  {
    name: "SessionFrontend.layerCookieConfig",
    variable: "SAME_SITE",
    layer: cookieOf,
    unreadable: "loose",
    wrong: ["none", /sameSite "none" demands secure/],
    good: "strict",
    seen: Effect.provide(
      Effect.map(SessionFrontend.SessionFrontend, ({ attach }) => {
        const { cookies } = attach(HttpServerResponse.empty(), {
          token: Redacted.make("TOKEN"),
          maxAge: Option.none(),
          via: Option.none()
        })
        return Cookies.toSetCookieHeaders(cookies)
      }),
      cookieOf
    ),
    expected: ["session=TOKEN; Path=/; HttpOnly; SameSite=Strict"]
  },
  {
    name: "SessionFrontend.layerHeaderConfig",
    variable: "HEADER",
    layer: headerOf,
    wrong: ["cookie", /header name "cookie"/],
    good: "x-session",
    seen: Effect.map(SessionFrontend.SessionFrontend, ({ security }) => security[0]).pipe(
      Effect.provide(headerOf),
      Effect.map((scheme) => scheme?._tag === "ApiKey" && scheme.key)
    ),
    expected: "x-session"
  },
  {
    name: "SessionBackendMemory.layerConfig",
    variable: "MAX",
    layer: memoryOf,
    unreadable: "many",
    wrong: ["0", /maxSessions must be a whole number/],
    good: "1",
    seen: Effect.provide(
      ofBackend((backend) =>
        Effect.forEach(["a", "b"], (id) => outcome(backend.create(record({ ...stored, id: id.repeat(22) }))))
      ),
      memoryOf
    ),
    // No log-in makes room for another.
    expected: ["ok", "SessionBackendError notApplied"]
  },
  {
    name: "SessionBackendRedis.layerConfig",
    variable: "PREFIX",
    layer: redisOf(unasked),
    wrong: ["{x}", /prefix/],
    good: "shop",
    seen: Effect.gen(function* () {
      const { commands, redis } = yield* fake(() => Effect.succeed(null))
      const of = redisOf(Layer.succeed(Redis.Redis, redis))
      yield* Effect.provide(
        ofBackend((backend) => backend.read(stored.namespace, stored.id)),
        of
      )
      return commands[0]![1]!.split(":")[0]
    }),
    expected: "shop"
  },
  {
    name: "SessionBackendSql.layerConfig",
    variable: "TABLE",
    layer: SessionBackendSql.layerConfig(table).pipe(Layer.provide(sqlite)),
    wrong: notAName,
    good: "mine",
    seen: tables.pipe(Effect.provide(SessionBackendSql.layerConfig(table)), Effect.provide(sqlite)),
    expected: [["mine"]]
  },
  {
    name: "SessionBackendSql.layerStorageConfig",
    variable: "TABLE",
    layer: SessionBackendSql.layerStorageConfig(table).pipe(Layer.provide(sqlite)),
    wrong: ["mine", /there is no table mine/],
    good: "mine",
    seen: Effect.andThen(
      SessionBackendSql.migrate({ table: "mine" }),
      Effect.provide(
        ofBackend((backend) => Effect.andThen(backend.create(record(stored)), outcome(backend.create(record(stored))))),
        SessionBackendSql.layerStorageConfig(table)
      )
    ).pipe(Effect.provide(sqlite)),
    expected: "ok"
  },
  {
    name: "SessionBackendSql.layerMigrationsConfig",
    variable: "TABLE",
    layer: SessionBackendSql.layerMigrationsConfig(table).pipe(Layer.provide(sqlite)),
    wrong: notAName,
    good: "mine",
    seen: tables.pipe(Effect.provide(SessionBackendSql.layerMigrationsConfig(table)), Effect.provide(sqlite)),
    expected: [["mine"]]
  },
  {
    name: "SessionSweeper.layerConfig",
    variable: "BATCH",
    layer: sweeperOf.pipe(Layer.provide(Memory)),
    unreadable: "some",
    wrong: ["0", /batch must be a whole number from 1/],
    good: "7",
    seen: Effect.gen(function* () {
      const watched = WatchedBackend.make()
      yield* Layer.build(sweeperOf.pipe(Layer.provide(watched.layer)))
      yield* TestClock.adjust(1)
      return watched.calls.map(({ args }) => args)
    }).pipe(Effect.scoped),
    expected: [[{ limit: 7, now: 0 }]]
  }
]

describe("layerConfig", () => {
  for (const { expected, good, layer, name, seen, unreadable, variable, wrong } of rows) {
    it.effect(`${name}: takes the option from its variable`, () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* Effect.provide(seen, environment({ [variable]: good })), expected)
      })
    )

    it.effect(`[R87a] ${name}: names the variable that is missing or unreadable, and the option that is wrong`, () =>
      Effect.gen(function* () {
        const fails = (env: Record<string, string>) =>
          Effect.flip(Effect.scoped(Layer.build(layer.pipe(Layer.provide(environment(env))))))
        for (const env of unreadable === undefined ? [{}] : [{}, { [variable]: unreadable }]) {
          const error = yield* fails(env)
          assert.strictEqual(error._tag, "ConfigError")
          assert.include(error.message, variable)
        }
        const error = yield* fails({ [variable]: wrong[0] })
        assert.strictEqual(error._tag, "SessionConfigError")
        assert.match(error.message, wrong[1])
      })
    )
  }

  it.live("NodeSqliteClient.layerConfig: takes its file from the variable, and names one that is missing", () =>
    Effect.gen(function* () {
      const client = NodeSqliteClient.layerConfig({ filename: Config.String("FILE") })
      const version = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT 1`.values).pipe(Effect.provide(client))
      assert.deepStrictEqual(yield* Effect.provide(version, environment({ FILE: ":memory:" })), [[1]])
      const missing = yield* Effect.flip(Effect.provide(version, environment({})))
      assert.strictEqual(missing._tag, "ConfigError")
      assert.include(missing.message, "FILE")
      const unopened = yield* Effect.flip(Effect.provide(version, environment({ FILE: "/none/such/file.db" })))
      assert.strictEqual(unopened._tag, "SqlError")
    })
  )

  it.effect("gives functions as they are, and leaves out an option that is undefined", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const configured = SessionManager.layerConfig(UserSession, {
        ...timeout,
        onEvent: ({ _tag }) => Effect.sync(() => told.push(_tag))
      })
      const silent = SessionManager.layerConfig(UserSession, { ...timeout, onEvent: undefined })
      for (const manager of [configured, silent]) {
        const answer = Effect.provide(lifetime, manager.pipe(Layer.provide([Layer.fresh(Memory), rest])))
        assert.strictEqual(yield* Effect.provide(answer, environment({ IDLE: "5 minutes" })), 5 * 60_000)
      }
      assert.deepStrictEqual(told, ["Created"])
    })
  )

  it.effect("two managers of a definition must agree in what is read, as in what is written", () =>
    Effect.gen(function* () {
      const managerOf = (variable: string) =>
        SessionManager.layerConfig(UserSession, { idleTimeout: Config.Duration(variable) })
      const middlewareOf = (variable: string) =>
        SessionMiddleware.layerConfig(UserSession, { idleTimeout: Config.Duration(variable) })
      for (const of of [managerOf, middlewareOf]) {
        const build = (one: string, other: string) =>
          Layer.mergeAll(of("ONE"), of("OTHER")).pipe(
            Layer.provide([Memory, rest]),
            Layer.provide(environment({ ONE: one, OTHER: other })),
            Layer.build,
            Effect.scoped
          )
        yield* build("1 hour", "60 minutes")
        const error = yield* Effect.flip(build("1 hour", "5 minutes"))
        assert.match(error.message, /idleTimeout is (?:1h in one and 5m|5m in one and 1h) in the other/)
      }
    })
  )

  it.effect("[R87a] what is wrong in several of them is told together", () =>
    Effect.gen(function* () {
      const app = SessionMiddleware.layer(UserSession).pipe(
        Layer.provide([
          SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET")),
          headerOf,
          memoryOf,
          SessionVerifier.layerExists(UserSession)
        ]),
        Layer.provide(NodeCrypto.layer),
        Layer.provide(environment({ HEADER: "cookie", MAX: "0", SESSION_SECRET: "weak" }))
      )
      const error = yield* Effect.flip(Effect.scoped(Layer.build(app)))
      assert.strictEqual(error._tag, "SessionConfigError")
      for (const said of [/header name "cookie"/, /maxSessions/, /secret has 4 bytes/])
        assert.match(error.message, said)
    })
  )
})
