import { Config, Effect, Layer, ManagedRuntime, Option, Schema } from "effect"
import { Digest, Kdf, Mac, SecureRandom } from "effect/crypto"
import { HttpEffect, HttpServerRespondable, HttpServerResponse } from "effect/http"
import {
  Session,
  SessionBackendMemory,
  SessionFrontend,
  SessionKeys,
  SessionMiddleware,
  SessionVerifier
} from "effect-sessions"

export class UserSession extends Session.Service<UserSession>()("app/UserSession", {
  data: Schema.Struct({ username: Schema.String }),
  principal: (data) => data.username
}) {}

/** The session of a request. */
export type RequestSession = (typeof UserSession)["Service"]

const Crypto = Layer.mergeAll(Mac.layerWebCrypto, Digest.layerWebCrypto, Kdf.layerWebCrypto).pipe(
  Layer.provideMerge(SecureRandom.layerWebCrypto)
)

const SessionsLive = SessionMiddleware.layer(UserSession, { idleTimeout: "30 minutes" }).pipe(
  Layer.provide([SessionFrontend.layerCookie(), SessionBackendMemory.layer, SessionVerifier.layerExists(UserSession)]),
  Layer.provide(SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))),
  Layer.provide(Crypto)
)

const makeRuntime = () => ManagedRuntime.make(SessionsLive)

// A dev server evaluates this module again after an edit; the runtime, and so its users, stay.
const kept = globalThis as { sessions?: ReturnType<typeof makeRuntime> }
export const runtime = (kept.sessions ??= makeRuntime())

/** Lets the framework answer, `next`, with the request's session at hand; then the session's headers are set. */
export const withSession = async (
  request: Request,
  next: (session: RequestSession) => Promise<Response>
): Promise<Response> => {
  const app = Effect.gen(function* () {
    const session = yield* UserSession
    const response = yield* Effect.promise(() => next(session))
    return HttpServerResponse.raw(response, { status: response.status })
  }).pipe(Effect.tapDefect(Effect.logError), SessionMiddleware.make(UserSession))
  return HttpEffect.toWebHandler(Effect.provideContext(app, await runtime.context()))(request)
}

/** Who is logged in, if anyone is. */
export const userOf = (session: RequestSession) =>
  Effect.map(session.option, (found) => Option.getOrUndefined(found)?.data.username)

/** The status of what a session's member failed with, such as 503 where the store does not answer. */
export const statusOf = (error: unknown): Promise<number> =>
  Effect.runPromise(HttpServerRespondable.toResponseOrElse(error, HttpServerResponse.empty({ status: 500 }))).then(
    ({ status }) => status
  )
