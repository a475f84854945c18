/**
 * A server with feeds that end with their session, and feeds that do not, to be run as a process of its own on a backend
 * of the examples. It prints its port as soon as it listens.
 *
 * `SESSION_BACKEND` and what goes with it as in `examples/backend.ts`; `SESSION_SECRET`; `SESSION_NAME`, the definition's
 * identifier; `PUSH=off` takes the backend's push away; `IDLE_TIMEOUT` and `ABSOLUTE_TIMEOUT`.
 */
import { NodeCrypto } from "@effect/platform-node"
import { Config, Effect, Layer, Schema, Stream } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import {
  Session,
  SessionBackend,
  SessionFrontend,
  SessionKeys,
  SessionMiddleware,
  SessionVerifier
} from "effect-sessions"
import { Backend } from "../../examples/backend.ts"
import { launch } from "./launch.ts"
import { logInOut } from "./logInOut.ts"

class UserSession extends Session.Service<UserSession>()(process.env["SESSION_NAME"] ?? "test/Feed", {
  data: Schema.Struct({ username: Schema.String }),
  principal: (data) => data.username
}) {}

let reads = 0

const Counted = Layer.effect(
  SessionBackend.SessionBackend,
  Effect.map(SessionBackend.SessionBackend, (backend) => ({
    ...backend,
    read: (namespace: string, id: string) =>
      Effect.suspend(() => {
        reads++
        return backend.read(namespace, id)
      }),
    ended: process.env["PUSH"] === "off" ? undefined : backend.ended
  }))
).pipe(Layer.provide(Backend))

/** One event, then nothing: what a stream costs is what its waiting costs. */
const quiet = Stream.concat(Stream.make("data: hello\n\n"), Stream.never)
const feed = (body: Stream.Stream<string>) =>
  HttpServerResponse.stream(Stream.encodeText(body), { contentType: "text/event-stream" })

const Open = logInOut(UserSession, (username) => ({ username }))

const Feeds = Layer.mergeAll(
  HttpRouter.add(
    "GET",
    "/feed",
    Effect.map(UserSession, (session) => feed(quiet.pipe(Stream.interruptWhen(session.ended))))
  ),
  HttpRouter.add(
    "GET",
    "/plain",
    Effect.sync(() => feed(quiet))
  )
).pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer))

/** What the process has used until now. */
const Used = HttpRouter.add(
  "GET",
  "/used",
  Effect.sync(() => {
    globalThis.gc?.()
    const { user, system } = process.cpuUsage()
    return HttpServerResponse.jsonUnsafe({ reads, cpuMicros: user + system, heapBytes: process.memoryUsage().heapUsed })
  })
)

const Sessions = Layer.unwrap(
  Effect.gen(function* () {
    return SessionMiddleware.layer(UserSession, {
      idleTimeout: yield* Config.Duration("IDLE_TIMEOUT").pipe(Config.withDefault("30 minutes")),
      absoluteTimeout: yield* Config.Duration("ABSOLUTE_TIMEOUT").pipe(Config.withDefault("12 hours"))
    })
  })
).pipe(
  Layer.provide([
    SessionFrontend.layerCookie({ secure: false }),
    Counted,
    SessionVerifier.layerExists(UserSession),
    SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))
  ]),
  Layer.provide(NodeCrypto.layer)
)

launch(
  HttpRouter.serve(Layer.mergeAll(Open, Feeds, Used), { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provide(Sessions)
  )
)
