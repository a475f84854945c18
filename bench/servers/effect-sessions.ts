import { PgClient } from "@effect/sql-pg"
import * as NodeCrypto from "@effect/platform-node/NodeCrypto"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeRedis from "@effect/platform-node/NodeRedis"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { createServer } from "node:http"
import {
  Session,
  SessionBackendMemory,
  SessionFrontend,
  SessionKeys,
  SessionMiddleware,
  SessionVerifier
} from "../../dist/index.js"
import * as SessionBackendRedis from "../../dist/SessionBackendRedis.js"
import * as SessionBackendSql from "../../dist/SessionBackendSql.js"
import * as common from "./common.ts"

const UserData = Schema.Struct({ username: Schema.String, visits: Schema.optionalKey(Schema.Int) })
class UserSession extends Session.Service<UserSession>()("bench/UserSession", {
  data: UserData,
  principal: (data) => data.username
}) {}

const Name = HttpRouter.schemaPathParams(Schema.Struct({ name: Schema.String }))
const json = HttpServerResponse.schemaJson(UserData)

const Bare = HttpRouter.add("GET", "/bare", json(common.bare))

const Open = Layer.mergeAll(
  HttpRouter.add("GET", "/visitor", json(common.bare)),
  HttpRouter.add(
    "POST",
    "/create_session/:name",
    Effect.gen(function* () {
      const { name } = yield* Name
      yield* (yield* UserSession).create({ username: name })
      return HttpServerResponse.text(common.created(name))
    })
  ),
  HttpRouter.add(
    "POST",
    "/update_session",
    Effect.gen(function* () {
      const { data } = yield* (yield* UserSession).update((data) => ({ ...data, visits: (data.visits ?? 0) + 1 }))
      return HttpServerResponse.text(common.updated(data))
    })
  ),
  HttpRouter.add(
    "POST",
    "/delete_session",
    Effect.gen(function* () {
      yield* (yield* UserSession).destroy
      return HttpServerResponse.text(common.deleted)
    })
  )
).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))

const Guarded = HttpRouter.add(
  "GET",
  "/whoami",
  Effect.flatMap(UserSession.Verified, ({ data }) => json(data))
).pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer))

// The settings the documentation of `SessionBackendRedis` gives.
const redis = NodeRedis.layer({
  url: common.redisUrl(),
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
  switch (store) {
    case "redis":
      return SessionBackendRedis.layer.pipe(Layer.provide(redis))
    case "postgres":
      return SessionBackendSql.layerWith({ table: common.postgresTable }).pipe(
        Layer.provide(PgClient.layer({ url: Redacted.make(common.postgresUrl) }))
      )
    default:
      // Bounded by default; the growth measurement needs more room.
      return SessionBackendMemory.layerWith({ maxSessions: 10_000_000, maxBytes: 2 ** 40 })
  }
}

export const start: common.Start = async (store) => {
  const touchInterval = process.env["BENCH_TOUCH_MILLIS"]
  const server = createServer()
  const UserSessionLive = SessionMiddleware.layer(UserSession, {
    idleTimeout: `${common.maxAgeSeconds} seconds`,
    absoluteTimeout: "12 hours",
    // One second by default, and then 503: a noisy moment of the machine would end the run. No peer has such a limit.
    backendTimeout: "5 seconds",
    ...(touchInterval === undefined ? {} : { touchInterval: Number(touchInterval) })
  }).pipe(
    Layer.provide([
      SessionFrontend.layerCookie({ name: common.cookieName }),
      backend(store),
      SessionVerifier.layerExists(UserSession)
    ]),
    Layer.provide(SessionKeys.layer(Redacted.make(common.secret))),
    Layer.provide(NodeCrypto.layer)
  )
  const App = HttpRouter.serve(Layer.mergeAll(Bare, Open, Guarded), {
    disableLogger: true,
    disableListenLog: true
  }).pipe(
    Layer.provide(UserSessionLive),
    Layer.provide(NodeHttpServer.layer(() => server, { port: 0, host: common.host }))
  )
  await ManagedRuntime.make(App).context()
  return common.portOf(server)
}
