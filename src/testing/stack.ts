/**
 * The stack in memory, and the one whose requests carry a session.
 *
 * @internal
 */
import * as Digest from "effect/crypto/Digest"
import * as Kdf from "effect/crypto/Kdf"
import * as Mac from "effect/crypto/Mac"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as SecuritySchemes from "../internal/http/securitySchemes.ts"
import * as KeyRing from "../internal/token/keyRing.ts"
import { testKitKey } from "../internal/token/publishedKeys.ts"
import type { Bound, CreateOptions, Definition, LayerOptions, ManagerOptions, Tagged, VerifierOf } from "../Session.ts"
import type * as SessionBackend from "../SessionBackend.ts"
import * as SessionBackendMemory from "../SessionBackendMemory.ts"
import { type SessionConfigError, SessionMissing } from "../SessionError.ts"
import * as SessionFrontend from "../SessionFrontend.ts"
import * as SessionKeys from "../SessionKeys.ts"
import * as SessionMiddleware from "../SessionMiddleware.ts"
import * as SessionVerifier from "../SessionVerifier.ts"
import { warnOutsideTests } from "./outsideTests.ts"

/**
 * Layer of a `SecureRandom` that gives the same bytes in every run: xorshift32 from a fixed seed.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerSecureRandom: Layer.Layer<SecureRandom.SecureRandom> = Layer.sync(SecureRandom.SecureRandom, () => {
  let state = 0x9e3779b9
  return SecureRandom.make((size) =>
    new Uint8Array(size).map(() => {
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      return state & 0xff
    })
  )
})

/**
 * Layer of the crypto services that the library needs: Web Crypto, and the seeded `SecureRandom`.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerCrypto: Layer.Layer<Mac.Mac | Digest.Digest | Kdf.Kdf | SecureRandom.SecureRandom> = Layer.mergeAll(
  Mac.layerWebCrypto,
  Digest.layerWebCrypto,
  Kdf.layerWebCrypto
).pipe(Layer.provideMerge(layerSecureRandom))

/**
 * Layer of a key ring with one fixed, published secret, which `SessionKeys.layer` refuses.
 *
 * **Gotchas**
 *
 * The published secret is enough to forge a token. So a process without a sign of a test (`NODE_ENV=test`, or a variable
 * that Vitest, Jest or Node's test runner sets) logs a warning once.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerKeys: Layer.Layer<SessionKeys.SessionKeys> = Layer.effect(
  SessionKeys.SessionKeys,
  Effect.map(Effect.andThen(warnOutsideTests, KeyRing.make([testKitKey])), (signers) => ({ signers }))
).pipe(Layer.provide(Kdf.layerWebCrypto))

/**
 * The timeouts of the stack in memory, and the parts that a test may replace.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface StackOptions<Self> extends LayerOptions {
  /** @default a `SessionBackendMemory.layer` of its own */
  readonly backend?: Layer.Layer<SessionBackend.SessionBackend> | undefined
  /** @default `SessionVerifier.layerExists`, which accepts every live session */
  readonly verifier?: Layer.Layer<VerifierOf<Self>> | undefined
}

/**
 * The same, for a client that is logged in.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface LoggedInOptions<Self> extends StackOptions<Self> {
  /** How it logged in: its `methods`, for a guard that asks for a fresh proof. */
  readonly login?: CreateOptions | undefined
}

/** What the stack tells, where a test is about that: as the `onEvent` of its layer. */
type Told<A, R extends ReadonlyArray<Tagged>> = Pick<ManagerOptions<A, R>, "onEvent">

/**
 * Layer of the whole stack in memory, which provides what the middlewares need: keys, crypto, backend, the default cookie,
 * and a verifier that accepts every live session.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = <Self, A, R extends ReadonlyArray<Tagged>>(
  session: Definition<Self, A, R>,
  options: StackOptions<Self> &
    Told<NoInfer<A>, NoInfer<R>> & {
      /** @default the cookie, with its defaults */
      readonly frontend?: Layer.Layer<SessionFrontend.SessionFrontend, SessionConfigError> | undefined
    } = {}
): Layer.Layer<Bound<Self>> =>
  SessionMiddleware.layer(session, options).pipe(
    Layer.provide([
      options.frontend ?? SessionFrontend.layerCookie(),
      options.backend ?? Layer.fresh(SessionBackendMemory.layer),
      options.verifier ?? SessionVerifier.layerExists(session),
      layerKeys,
      layerCrypto
    ]),
    Layer.orDie
  )

/**
 * Layer of the whole stack in memory, in which every request carries this session: for handlers of a router or an
 * `HttpApi`, without a client that logs in and keeps a cookie.
 *
 * **Details**
 *
 * The requests are those of one client. What `create` and `rotate` issue, its next request carries; after `destroy` it
 * carries nothing. Without `data` the client starts anonymous. An `HttpApi` may declare any security schemes.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerLoggedIn = <Self, A, R extends ReadonlyArray<Tagged>>(
  session: Definition<Self, A, R>,
  data?: A,
  options?: LoggedInOptions<Self> & Told<NoInfer<A>, NoInfer<R>>
): Layer.Layer<Bound<Self>> =>
  Layer.unwrap(
    Effect.sync(() => {
      const client: Client = { token: Option.none() }
      const frontend = Layer.succeed(SessionFrontend.SessionFrontend, frontendOf(client))
      const logIn = Effect.gen(function* () {
        if (data === undefined) return
        const manager = yield* session.Manager
        client.token = Option.some((yield* manager.create(data, options?.login)).token)
      })
      return Layer.effectDiscard(logIn).pipe(Layer.orDie, Layer.provideMerge(layer(session, { ...options, frontend })))
    })
  )

/**
 * A client without HTTP: the token that its requests carry.
 *
 * @internal
 */
export interface Client {
  token: Option.Option<Redacted.Redacted<string>>
}

/**
 * The frontend of such a client: a response gives it another token, or takes its token away.
 *
 * @internal
 */
export const frontendOf = (client: Client): SessionFrontend.SessionFrontend["Service"] => ({
  security: SecuritySchemes.any,
  extract: () =>
    Effect.suspend(() =>
      Option.match(client.token, {
        onNone: () => Effect.fail(new SessionMissing()),
        onSome: (token) => Effect.succeed([{ token, via: "header" as const }])
      })
    ),
  attach: (response, { token }) => {
    client.token = Option.some(token)
    return response
  },
  detach: (response) => {
    client.token = Option.none()
    return response
  }
})
