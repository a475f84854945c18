import { NodeCrypto, NodeHttpServer, NodeRedis } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, ManagedRuntime, Redacted, Schema } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { createServer } from "node:http"
import { fileURLToPath, pathToFileURL } from "node:url"
import type * as Library from "../../dist/index.js"
import * as common from "./common.ts"

// Which build, and what of it: the variants that are measured beside what a user gets by default.
const {
  BENCH_DIST: dist = fileURLToPath(new URL("../../dist", import.meta.url)),
  BENCH_LIMIT: limit,
  BENCH_PRINCIPAL: principal,
  BENCH_TOUCH_MILLIS: touchInterval
} = process.env
const lib: typeof Library = await import(pathToFileURL(`${dist}/index.js`).href)
const { Session, SessionBackendMemory, SessionBackendRedis, SessionBackendSql, SessionMiddleware } = lib

const UserData = Schema.Struct({ username: Schema.String, visits: Schema.optionalKey(Schema.Int) })
class UserSession extends Session.Service<UserSession>()("bench/UserSession", {
  data: UserData,
  ...(principal === "none" ? {} : { principal: (data: typeof UserData.Type) => data.username })
}) {}

const Name = HttpRouter.schemaPathParams(Schema.Struct({ name: Schema.String }))
const json = HttpServerResponse.schemaJson(UserData)

const post = <E, R>(path: HttpRouter.PathInput, text: Effect.Effect<string, E, R>) =>
  HttpRouter.add("POST", path, Effect.map(text, HttpServerResponse.text))
const posted = Effect.sync(() => common.posted)
const created = Effect.gen(function* () {
  const { name } = yield* Name
  yield* (yield* UserSession).create({ username: name })
  return common.created(name)
})
const updated = Effect.gen(function* () {
  const { data } = yield* (yield* UserSession).update(common.visited)
  return common.updated(data)
})
const deleted = Effect.flatMap(UserSession, ({ destroy }) => Effect.as(destroy, common.deleted))
const whoami = Effect.flatMap(UserSession.Verified, ({ data }) => json(data))

const Bare = Layer.mergeAll(HttpRouter.add("GET", "/bare", json(common.bare)), post("/bare", posted))
const Open = Layer.mergeAll(
  post("/create_session/:name", created),
  post("/update_session", updated),
  post("/delete_session", deleted)
).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))
const Guarded = HttpRouter.add("GET", "/whoami", whoami).pipe(
  Layer.provide(SessionMiddleware.routerRequired(UserSession).layer)
)

// The settings the documentation of `SessionBackendRedis` gives.
const redis = NodeRedis.layer({
  url: common.redisUrl,
  disableOfflineQueue: true,
  commandsQueueMaxLength: 10_000,
  commandOptions: { timeout: 0 },
  pingInterval: 2000,
  socket: {
    connectTimeout: 1000,
    socketTimeout: 5000,
    reconnectStrategy: (retries) => Math.min(50 * 2 ** retries, 1000)
  }
})

const backend = (store: common.Store) => {
  if (store === "redis") return SessionBackendRedis.layer.pipe(Layer.provide(redis))
  if (store === "postgres") {
    const client = PgClient.layer({ url: Redacted.make(common.postgresUrl) })
    return SessionBackendSql.layerWith({ table: common.postgresTable }).pipe(Layer.provide(client))
  }
  // Bounded by default; the growth measurement needs more room.
  return SessionBackendMemory.layerWith({ maxSessions: 10_000_000, maxBytes: 2 ** 40 })
}

export const start: common.Start = async (store) => {
  const server = createServer()
  const UserSessionLive = SessionMiddleware.layer(UserSession, {
    idleTimeout: `${common.maxAgeSeconds} seconds`,
    absoluteTimeout: "12 hours",
    // One second by default, and then 503: a noisy moment of the machine would end the run. No peer has such a limit.
    backendTimeout: "5 seconds",
    ...(limit === "none" ? { maxPerPrincipal: false } : {}),
    ...(touchInterval === undefined ? {} : { touchInterval: Number(touchInterval) })
  }).pipe(
    Layer.provide([
      lib.SessionFrontend.layerCookie({ name: common.cookieName }),
      backend(store),
      lib.SessionVerifier.layerExists(UserSession)
    ]),
    Layer.provide(lib.SessionKeys.layer(Redacted.make(common.secret))),
    Layer.provide(NodeCrypto.layer)
  )
  const quiet = { disableLogger: true, disableListenLog: true }
  const App = HttpRouter.serve(Layer.mergeAll(Bare, Open, Guarded), quiet).pipe(
    Layer.provide(UserSessionLive),
    Layer.provide(NodeHttpServer.layer(() => server, { port: 0, host: common.host }))
  )
  await ManagedRuntime.make(App).context()
  return server
}
