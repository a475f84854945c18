/** Where the example keeps its sessions: `SESSION_BACKEND=memory|sqlite|redis|postgres|mysql`, memory if it is not set. */
import { NodeRedis } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Config, Effect, Layer, Redacted } from "effect"
import { SessionBackendMemory, SessionBackendRedis, SessionBackendSql, SessionSweeper } from "effect-sessions"
import * as NodeMysqlClient from "effect-sessions/NodeMysqlClient"
import * as NodeSqliteClient from "effect-sessions/NodeSqliteClient"

const databaseUrl = Config.Redacted("DATABASE_URL").pipe(
  Config.withDefault(Redacted.make("postgres://postgres@127.0.0.1:5432/postgres"))
)
const mysqlUrl = Config.Redacted("MYSQL_URL").pipe(
  Config.withDefault(Redacted.make("mysql://root@127.0.0.1:3306/test"))
)
const redisUrl = Config.Redacted("REDIS_URL").pipe(Config.withDefault(Redacted.make("redis://127.0.0.1:6379")))

/** Says where sessions are kept, before the client connects. The rest of a url may hold a password. */
const telling = (store: string, url: Config.Config<Redacted.Redacted>) =>
  Layer.effectDiscard(
    Effect.flatMap(url, (url) => {
      const text = Redacted.value(url)
      return Effect.log(`keeping sessions in ${store} at ${URL.canParse(text) ? new URL(text).host : "no URL"}`)
    })
  )

// SQL databases do not forget by themselves: the sweeper deletes what has expired.
const Sql = SessionSweeper.layer().pipe(Layer.provideMerge(SessionBackendSql.layer))

const Sqlite = Layer.unwrap(
  Effect.gen(function* () {
    const filename = yield* Config.String("SQLITE_FILE").pipe(Config.withDefault("sessions.sqlite"))
    yield* Effect.log(`keeping sessions in the file ${filename}`)
    return Sql.pipe(Layer.provide(NodeSqliteClient.layer({ filename })))
  })
)

const Postgres = Sql.pipe(
  Layer.provide(
    PgClient.layerConfig({
      url: databaseUrl,
      applicationName: Config.succeed("sessions")
    })
  ),
  Layer.provide(telling("Postgres", databaseUrl))
)

const Mysql = Sql.pipe(
  Layer.provide(NodeMysqlClient.layerConfig({ url: mysqlUrl })),
  Layer.provide(telling("MariaDB or MySQL", mysqlUrl))
)

// These settings matter when Redis fails; the documentation of `SessionBackendRedis` says what each is for.
const Redis = SessionBackendRedis.layer.pipe(
  Layer.provide(
    NodeRedis.layerConfig({
      url: Config.map(redisUrl, Redacted.value),
      disableOfflineQueue: Config.succeed(true),
      commandsQueueMaxLength: Config.succeed(10_000),
      commandOptions: Config.succeed({ timeout: 0 }),
      pingInterval: Config.succeed(2000),
      socket: Config.succeed({
        connectTimeout: 1000,
        socketTimeout: 5000,
        reconnectStrategy: (retries: number) => Math.min(50 * 2 ** retries, 1000)
      })
    })
  ),
  Layer.provide(telling("Redis, for which it waits,", redisUrl))
)

// A store that cannot be opened ends the app.
const backends = {
  memory: SessionBackendMemory.layer,
  sqlite: Layer.orDie(Sqlite),
  redis: Layer.orDie(Redis),
  postgres: Layer.orDie(Postgres),
  mysql: Layer.orDie(Mysql)
}

/** The backend that `SESSION_BACKEND` names. */
export const backend = (byDefault: keyof typeof backends) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const name = yield* Config.Literals(["memory", "sqlite", "redis", "postgres", "mysql"], "SESSION_BACKEND").pipe(
        Config.withDefault(byDefault)
      )
      return backends[name]
    })
  )

export const Backend = backend("memory")
