/**
 * A server with sessions, to be run as a process of its own, on the very backend of the examples, or on a Redis that
 * moves. It prints its port as soon as it listens.
 *
 * `MOVING_REDIS` as in `movingRedis.ts`, or `SESSION_BACKEND` and what goes with it as in `examples/backend.ts`;
 * `SESSION_SECRET`; `SESSION_NAME` is the definition's identifier, `TOUCH_INTERVAL` and `BACKEND_TIMEOUT` are its options.
 * With `POOL_SIZE` it is Postgres with so many connections.
 */
import { NodeCrypto } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Config, Effect, Layer, Schema } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import {
  Session,
  SessionBackendSql,
  SessionFrontend,
  SessionKeys,
  SessionMiddleware,
  SessionVerifier
} from "effect-sessions"
import { Backend as ExampleBackend } from "../../examples/backend.ts"
import { launch } from "./launch.ts"
import { logInOut } from "./logInOut.ts"
import { watchLoop } from "./loopWatch.ts"
import { movingRedis } from "./movingRedis.ts"

const Backend = movingRedis ?? ExampleBackend

const UserData = Schema.Struct({ username: Schema.String, marks: Schema.Array(Schema.String) })

class UserSession extends Session.Service<UserSession>()(process.env["SESSION_NAME"] ?? "test/UserSession", {
  data: UserData,
  principal: (data) => data.username
}) {}

const Mark = HttpRouter.schemaPathParams(Schema.Struct({ mark: Schema.String }))

const Open = logInOut(UserSession, (username) => ({ username, marks: [] }))

const Guarded = Layer.mergeAll(
  HttpRouter.add(
    "GET",
    "/whoami",
    Effect.flatMap(UserSession.Verified, ({ data }) => HttpServerResponse.json(data))
  ),
  HttpRouter.add(
    "POST",
    "/mark/:mark",
    Effect.gen(function* () {
      const { mark } = yield* Mark
      const session = yield* UserSession
      const { data } = yield* session.update((data) => ({ ...data, marks: [...data.marks, mark] }))
      return yield* HttpServerResponse.json(data)
    })
  ),
  HttpRouter.add(
    "POST",
    "/rotate",
    Effect.gen(function* () {
      yield* (yield* UserSession).rotate
      return HttpServerResponse.empty({ status: 200 })
    })
  )
).pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer))

const blocked = watchLoop()

/** For how many milliseconds the event loop was blocked at most, since this was last asked. */
const Blocked = HttpRouter.add(
  "GET",
  "/blocked",
  Effect.sync(() => HttpServerResponse.text(String(blocked())))
)

const poolSize = process.env["POOL_SIZE"]
const Chosen =
  poolSize === undefined
    ? Backend
    : SessionBackendSql.layer.pipe(
        Layer.provide(
          PgClient.layerConfig({
            url: Config.Redacted("DATABASE_URL"),
            maxConnections: Config.succeed(Number(poolSize)),
            applicationName: Config.succeed("sessions")
          })
        ),
        Layer.orDie
      )

const Sessions = Layer.unwrap(
  Effect.gen(function* () {
    const touchInterval = yield* Config.Duration("TOUCH_INTERVAL").pipe(Config.withDefault("1 minute"))
    const backendTimeout = yield* Config.Duration("BACKEND_TIMEOUT").pipe(Config.withDefault("1 second"))
    return SessionMiddleware.layer(UserSession, {
      idleTimeout: "30 minutes",
      absoluteTimeout: "12 hours",
      touchInterval,
      backendTimeout
    })
  })
).pipe(
  Layer.provide([
    SessionFrontend.layerCookie({ secure: false }),
    Chosen,
    SessionVerifier.layerExists(UserSession),
    SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))
  ]),
  Layer.provide(NodeCrypto.layer)
)

launch(
  HttpRouter.serve(Layer.mergeAll(Open, Guarded, Blocked), { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provide(Sessions)
  )
)
