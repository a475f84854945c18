/**
 * A feed that ends with its session, whichever process ends that.
 *
 * The log-in is that of `basic.ts`. Run two of them on one store, with one secret, one after the other, and log out at
 * the other one:
 *
 *     export SESSION_BACKEND=redis SESSION_SECRET=$(openssl rand -base64 32)
 *     PORT=3000 npm run example:feed
 *     PORT=3001 npm run example:feed
 */
import { NodeHttpServer } from "@effect/platform-node"
import { Clock, Config, DateTime, Effect, Layer, Schedule, Stream } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { SessionMiddleware } from "effect-sessions"
import { createServer } from "node:http"
import { Routes, UserSession, UserSessionLive } from "./basic.ts"
import { launch } from "./launch.ts"

/** What time it is, every second, as server-sent events. */
const ticks = Stream.fromEffectSchedule(Clock.currentTimeMillis, Schedule.spaced("1 second")).pipe(
  Stream.map((now) => `data: ${DateTime.formatIso(DateTime.makeUnsafe(now))}\n\n`)
)

const Feed = HttpRouter.add(
  "GET",
  "/feed",
  Effect.gen(function* () {
    const session = yield* UserSession
    const body = ticks.pipe(Stream.interruptWhen(session.ended), Stream.encodeText)
    return HttpServerResponse.stream(body, { contentType: "text/event-stream" })
  })
).pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer))

const Server = Layer.unwrap(
  Effect.gen(function* () {
    const port = yield* Config.Port("PORT").pipe(Config.withDefault(3000))
    yield* Effect.log(
      [
        "try, the last line from another terminal:",
        `  curl -i -c cookies.txt -X POST http://localhost:${port}/create_session/ada`,
        `  curl -N -b cookies.txt http://localhost:${port}/feed`,
        `  curl -i -b cookies.txt -X POST http://localhost:${port}/delete_session`
      ].join("\n")
    )
    return HttpRouter.serve(Layer.mergeAll(Routes, Feed)).pipe(
      Layer.provide(NodeHttpServer.layer(createServer, { port })),
      Layer.provide(UserSessionLive)
    )
  })
)

if (import.meta.main) launch(Server)
