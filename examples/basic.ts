/**
 * The smallest app with log-in: who you are is what you say you are.
 *
 * Run it with `npm run example`; it prints what to try. It listens on port 3000, or on `PORT`:
 * `PORT=3001 npm run example`. Sessions are kept in memory, or where `SESSION_BACKEND` says: see `backend.ts`. There they
 * outlive a restart, if `SESSION_SECRET` is set.
 */
import { NodeCrypto, NodeHttpServer } from "@effect/platform-node"
import { Config, Effect, Layer, Option, Redacted, Schema } from "effect"
import { SecureRandom } from "effect/crypto"
import { Base64 } from "effect/encoding"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { Session, SessionFrontend, SessionKeys, SessionMiddleware, SessionVerifier } from "effect-sessions"
import { createServer } from "node:http"
import { Backend } from "./backend.ts"
import { launch } from "./launch.ts"

// 1. What a session holds.
const UserData = Schema.Struct({ username: Schema.String })

// 2. The session. Its identifier ties frontend, backend and verifier together.
export class UserSession extends Session.Service<UserSession>()("example/UserSession", {
  data: UserData,
  principal: (data) => data.username
}) {}

// 3. Routes. The open ones may have a session, the guarded one must.
// What reads and writes by a schema is made once: in a handler it would be made for each request.
const LogInParams = HttpRouter.schemaPathParams(Schema.Struct({ name: Schema.NonEmptyString }))
const userDataJson = HttpServerResponse.schemaJson(UserData)

const Open = Layer.mergeAll(
  HttpRouter.add(
    "POST",
    "/create_session/:name",
    Effect.gen(function* () {
      const { name } = yield* LogInParams
      yield* (yield* UserSession).create({ username: name })
      return HttpServerResponse.text(`created session for ${name}`)
    })
  ),
  HttpRouter.add(
    "POST",
    "/delete_session",
    Effect.gen(function* () {
      yield* (yield* UserSession).destroy
      return HttpServerResponse.text("deleted session")
    })
  )
).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))

const Guarded = HttpRouter.add(
  "GET",
  "/whoami",
  Effect.gen(function* () {
    const { data } = yield* UserSession.Verified
    return yield* userDataJson(data)
  })
).pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer))

export const Routes = Layer.mergeAll(Open, Guarded)

// 4. The secret that signs cookies: from the environment, or one for this run alone.
export const Keys = Layer.unwrap(
  Effect.gen(function* () {
    const secret = yield* Config.option(Config.Redacted("SESSION_SECRET"))
    if (Option.isSome(secret)) return SessionKeys.layer(secret.value)
    yield* Effect.logWarning(
      "SESSION_SECRET is not set: signing with a generated secret, sessions end with this process"
    )
    const bytes = yield* SecureRandom.SecureRandom.use((random) => random.randomBytes(32))
    return SessionKeys.layer(Redacted.make(Base64.encode(bytes)))
  })
)

// 5. Frontend, backend and verifier.
export const UserSessionLive = SessionMiddleware.layer(UserSession, {
  idleTimeout: "30 minutes",
  absoluteTimeout: "12 hours"
}).pipe(
  Layer.provide([
    // This example speaks plain http on localhost. Browsers and curl send a Secure cookie there, Safari and some tools do
    // not (docs/proxies.md). Behind https, say `SessionFrontend.layerCookie()`: the cookie is `__Host-session`, and Secure.
    SessionFrontend.layerCookie({ secure: false }),
    Backend,
    SessionVerifier.layerExists(UserSession)
  ]),
  Layer.provide(Keys),
  Layer.provide(NodeCrypto.layer)
)

const Server = Layer.unwrap(
  Effect.gen(function* () {
    const port = yield* Config.Port("PORT").pipe(Config.withDefault(3000))
    const url = `http://localhost:${port}`
    yield* Effect.log(
      [
        "try:",
        `  curl -i -c cookies.txt -X POST ${url}/create_session/ada`,
        `  curl -i -b cookies.txt ${url}/whoami`,
        `  curl -i -b cookies.txt -c cookies.txt -X POST ${url}/delete_session`,
        `  curl -i -b cookies.txt ${url}/whoami`
      ].join("\n")
    )
    return HttpRouter.serve(Routes).pipe(
      Layer.provide(NodeHttpServer.layer(createServer, { port })),
      // Provided last and so built first: the server does not listen before sessions are ready.
      Layer.provide(UserSessionLive)
    )
  })
)

if (import.meta.main) launch(Server)
