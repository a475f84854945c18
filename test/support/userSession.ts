/** The session most tests are about, and its stack. */
import { NodeCrypto } from "@effect/platform-node"
import { Layer, Redacted, Schema } from "effect"
import { Session, SessionFrontend, SessionKeys, SessionTest, SessionVerifier } from "effect-sessions"
import type { SessionBackend } from "effect-sessions"

export const UserData = Schema.Struct({ username: Schema.optionalKey(Schema.String), count: Schema.Int })

export class UserSession extends Session.Service<UserSession>()("test/UserSession", {
  data: UserData,
  principal: (data) => data.username
}) {}

export const ada = { username: "ada", count: 0 }
export const eve = { username: "eve", count: 0 }

export const secrets = [
  "Yp3Kx8VtQ0mRzC5jNf7WbS2uHd9LgE6aXo4TiJ1vMkE=",
  "h2Nq8LwXc5Ry1PzVb7Tm4KdSf9Gj3AeUo6HiQx0nMsY="
].map((secret) => Redacted.make(secret))

/** Node's crypto, which answers at once, over randomness that is the same in every run. */
export const layerCrypto = Layer.merge(NodeCrypto.layer, SessionTest.layerSecureRandom)

export const layerKeys = (ring: ReadonlyArray<Redacted.Redacted> = secrets.slice(0, 1)) =>
  SessionKeys.layer(ring as [Redacted.Redacted]).pipe(Layer.provide(layerCrypto), Layer.orDie)

export const layerStack = (
  backend: { readonly layer: Layer.Layer<SessionBackend.SessionBackend> },
  options: Session.LayerOptions & {
    readonly frontend?: Layer.Layer<SessionFrontend.SessionFrontend, unknown> | undefined
    readonly verifier?: Layer.Layer<Session.VerifierOf<UserSession>> | undefined
    readonly keys?: Layer.Layer<SessionKeys.SessionKeys> | undefined
  } = {}
): Layer.Layer<Session.Bound<UserSession>> =>
  UserSession.layerHttp(options).pipe(
    Layer.provide([
      options.frontend ?? SessionFrontend.layerCookie(),
      backend.layer,
      options.verifier ?? SessionVerifier.layerExists(UserSession),
      options.keys ?? layerKeys(),
      layerCrypto
    ]),
    Layer.orDie
  )
