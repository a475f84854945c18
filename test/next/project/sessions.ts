import { Config, type Effect, Layer, ManagedRuntime, Schema } from "effect"
import { Digest, Kdf, Mac, SecureRandom } from "effect/crypto"
import { HttpEffect, type HttpServerRequest, type HttpServerResponse } from "effect/http"
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

const Crypto = Layer.mergeAll(Mac.layerWebCrypto, Digest.layerWebCrypto, Kdf.layerWebCrypto).pipe(
  Layer.provideMerge(SecureRandom.layerWebCrypto)
)

const SessionsLive = SessionMiddleware.layer(UserSession, { idleTimeout: "30 minutes" }).pipe(
  Layer.provide([SessionFrontend.layerCookie(), SessionBackendMemory.layer, SessionVerifier.layerExists(UserSession)]),
  Layer.provide(SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))),
  Layer.provide(Crypto)
)

const makeRuntime = () => ManagedRuntime.make(SessionsLive)

// Next evaluates this module more than once: for pages, for routes, and in development after each edit.
const kept = globalThis as { sessions?: ReturnType<typeof makeRuntime> }
export const runtime = (kept.sessions ??= makeRuntime())

type Sessions = Session.Bound<UserSession>

/** A route of Next from an Effect. */
export const route =
  <E>(app: Effect.Effect<HttpServerResponse.HttpServerResponse, E, Sessions | HttpServerRequest.HttpServerRequest>) =>
  async (request: Request): Promise<Response> => {
    const handler = HttpEffect.toWebHandlerWith<Sessions, Sessions | HttpServerRequest.HttpServerRequest>(
      await runtime.context()
    )
    return handler(app)(request)
  }
