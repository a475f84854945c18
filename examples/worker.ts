/**
 * A Cloudflare Worker with log-in, on D1: who you are is what you say you are.
 *
 * `docs/workers.md` says how it is set up. `DB` is a D1 database with the table of `SessionBackendSql.ddl`, and
 * `SESSION_SECRET` a secret of the Worker.
 */
import { Config, ConfigProvider, Effect, Layer, Schema } from "effect"
import { Digest, Kdf, Mac, SecureRandom } from "effect/crypto"
import { HttpRouter, HttpServerResponse } from "effect/http"
import {
  Session,
  SessionBackendSql,
  SessionFrontend,
  SessionKeys,
  SessionMiddleware,
  SessionSweeper,
  SessionVerifier
} from "effect-sessions"
import * as D1Client from "effect-sessions/D1Client"

export interface Env {
  readonly DB: D1Client.D1Database
  readonly SESSION_SECRET: string
}

// 1. What a session holds, and the session.
const UserData = Schema.Struct({ username: Schema.String })

export class UserSession extends Session.Service<UserSession>()("example/UserSession", {
  data: UserData,
  principal: (data) => data.username
}) {}

// 2. Routes. The open ones may have a session, the guarded one must.
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

// 3. Where sessions are kept, and what checks and signs their tokens.
const backend = ({ DB }: Env) => SessionBackendSql.layerStorage().pipe(Layer.provide(D1Client.layer({ db: DB })))

const WebCrypto = Layer.mergeAll(Mac.layerWebCrypto, Digest.layerWebCrypto, Kdf.layerWebCrypto).pipe(
  Layer.provideMerge(SecureRandom.layerWebCrypto)
)

const app = (env: Env) =>
  Layer.mergeAll(Open, Guarded).pipe(
    Layer.provide(SessionMiddleware.layer(UserSession, { idleTimeout: "30 minutes", absoluteTimeout: "12 hours" })),
    Layer.provide([SessionFrontend.layerCookie(), SessionVerifier.layerExists(UserSession)]),
    Layer.provide([backend(env), SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))]),
    Layer.provide(WebCrypto),
    Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ SESSION_SECRET: env.SESSION_SECRET }))),
    // The platform names an error, and does not say what is in it.
    Layer.tapError(Effect.logError)
  )

// 4. The Worker. Layers are built by the first request of an isolate, and kept once it is answered. A request that comes
//    meanwhile builds its own: on Workers no request may wait for what another does.
let handler: ((request: Request) => Promise<Response>) | undefined

const handle = async (request: Request, env: Env): Promise<Response> => {
  if (handler !== undefined) return handler(request)
  const built = HttpRouter.toWebHandler(app(env))
  const response = await built.handler(request)
  handler ??= built.handler
  return response
}

interface Context {
  readonly waitUntil: (promise: Promise<unknown>) => void
}

export default {
  fetch(request: Request, env: Env, context: Context): Promise<Response> {
    const response = handle(request, env)
    // Otherwise a client that goes away breaks off what is under way, such as its log-out.
    context.waitUntil(response)
    return response
  },

  // A cron trigger deletes what has expired: a timer would end with the request that set it.
  scheduled: (_event: unknown, env: Env): Promise<number> =>
    Effect.runPromise(Effect.provide(SessionSweeper.sweep(), backend(env)))
}
