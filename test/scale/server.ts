/**
 * One of several servers on one store, to be run as a process of its own. It prints its port as soon as it listens.
 *
 * `REDIS_URL` or `DATABASE_URL` is the store; `SESSION_SECRET` and `SESSION_NAME` are the same for all processes.
 */
import { NodeCrypto, NodeRedis } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Config, Effect, Layer, Redacted, Schema } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import {
  Session,
  SessionBackend,
  SessionBackendRedis,
  SessionBackendSql,
  SessionFrontend,
  SessionKeys,
  SessionMiddleware,
  SessionVerifier
} from "effect-sessions"
import { launch } from "../support/launch.ts"
import { logInOut } from "../support/logInOut.ts"

const UserData = Schema.Struct({ username: Schema.String, count: Schema.Number })

class UserSession extends Session.Service<UserSession>()(process.env["SESSION_NAME"] ?? "scale/UserSession", {
  data: UserData,
  principal: (data) => data.username
}) {}

/** So that four processes fit into a Postgres with 30 connections. */
const connections = 5

const Redis = SessionBackendRedis.layer.pipe(
  Layer.provide(NodeRedis.layer({ url: process.env["REDIS_URL"] ?? "", commandOptions: { timeout: 0 } }))
)
const Postgres = SessionBackendSql.layer.pipe(
  Layer.provide(PgClient.layer({ url: Redacted.make(process.env["DATABASE_URL"] ?? ""), maxConnections: connections }))
)
const Store = process.env["REDIS_URL"] === undefined ? Layer.orDie(Postgres) : Layer.orDie(Redis)

// How often this process changed a record, and how often another one had been quicker.
let updates = 0
let stale = 0

const Counted = Layer.effect(
  SessionBackend.SessionBackend,
  Effect.map(SessionBackend.SessionBackend, (backend) => ({
    ...backend,
    update: (...args: Parameters<typeof backend.update>) =>
      Effect.map(backend.update(...args), (result) => {
        if (result._tag === "updated") updates++
        if (result._tag === "stale") stale++
        return result
      })
  }))
).pipe(Layer.provide(Store))

const Open = logInOut(UserSession, (username) => ({ username, count: 0 }))

const Guarded = Layer.mergeAll(
  HttpRouter.add(
    "GET",
    "/whoami",
    Effect.flatMap(UserSession.Verified, ({ data }) => HttpServerResponse.json(data))
  ),
  HttpRouter.add(
    "POST",
    "/count",
    Effect.gen(function* () {
      const { data } = yield* (yield* UserSession).update((data) => ({ ...data, count: data.count + 1 }))
      return yield* HttpServerResponse.json(data)
    })
  )
).pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer))

/** What a request costs without a session. */
const Bare = HttpRouter.add(
  "GET",
  "/bare",
  Effect.sync(() => HttpServerResponse.text("bare"))
)

const Used = HttpRouter.add(
  "GET",
  "/used",
  Effect.sync(() => {
    const { user, system } = process.cpuUsage()
    return HttpServerResponse.jsonUnsafe({ pid: process.pid, cpuMicros: user + system, updates, stale })
  })
)

// Longer than by default: a noisy moment of the machine is not what is measured.
const Sessions = SessionMiddleware.layer(UserSession, { backendTimeout: "5 seconds" }).pipe(
  Layer.provide([
    SessionFrontend.layerCookie({ secure: false }),
    Counted,
    SessionVerifier.layerExists(UserSession),
    SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))
  ]),
  Layer.provide(NodeCrypto.layer)
)

launch(
  HttpRouter.serve(Layer.mergeAll(Open, Guarded, Bare, Used), { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provide(Sessions)
  )
)
