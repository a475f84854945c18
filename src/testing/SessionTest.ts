/**
 * Layers for tests: a verified session, an anonymous request, or the whole stack in memory.
 *
 * All are the real thing over a memory backend, with keys and randomness that are the same in every run and time from
 * Effect's `Clock`, so that under `TestClock` a session expires without a sleep. Nothing here is secret.
 *
 * **Example** (Testing a handler without HTTP)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Session, SessionTest } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String })
 * }) {}
 *
 * const greeting = Effect.map(UserSession.Verified, ({ data }) => `hello ${data.username}`)
 *
 * const program = greeting.pipe(Effect.provide(SessionTest.layerVerified(UserSession, { username: "ada" })))
 *
 * console.assert((await Effect.runPromise(program)) === "hello ada")
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Digest from "effect/crypto/Digest"
import * as Kdf from "effect/crypto/Kdf"
import * as Mac from "effect/crypto/Mac"
import * as SecureRandom from "effect/crypto/SecureRandom"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { RequestHandle } from "../internal/requestHandle.ts"
import type {
  Bound,
  Definition,
  LayerOptions,
  ManagerOf,
  RequestSession,
  SessionInfo,
  Tagged,
  VerifiedOf
} from "../Session.ts"
import * as SessionBackend from "../SessionBackend.ts"
import { SessionMissing } from "../SessionError.ts"
import * as SessionFrontend from "../SessionFrontend.ts"
import * as SessionKeys from "../SessionKeys.ts"
import * as SessionToken from "../SessionToken.ts"
import * as SessionVerifier from "../SessionVerifier.ts"

/**
 * Layer of a `SecureRandom` that gives the same bytes in every run: xorshift32 from a fixed seed.
 *
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
 * Layer of the crypto services the library asks for: Web Crypto, and the seeded `SecureRandom`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerCrypto: Layer.Layer<Mac.Mac | Digest.Digest | Kdf.Kdf | SecureRandom.SecureRandom> = Layer.mergeAll(
  Mac.layerWebCrypto,
  Digest.layerWebCrypto,
  Kdf.layerWebCrypto
).pipe(Layer.provideMerge(layerSecureRandom))

/**
 * Layer of a key ring with one fixed secret, known to everybody who reads this.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerKeys: Layer.Layer<SessionKeys.SessionKeys> = SessionKeys.layer(
  Redacted.make("W5aZ0cUe9xkQvT1rJ7mGd3fYpLs8bHnE4oXiRt6yAuC=")
).pipe(Layer.provide(Kdf.layerWebCrypto), Layer.orDie)

/**
 * Layer of the whole stack in memory: keys, crypto, backend, the default cookie, and a verifier that accepts every live
 * session. It provides what the middlewares ask for.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <Self, A, R extends ReadonlyArray<Tagged>>(
  session: Definition<Self, A, R>,
  options?: LayerOptions
): Layer.Layer<Bound<Self>> =>
  session
    .layerHttp(options)
    .pipe(
      Layer.provide([
        SessionFrontend.layerCookie(),
        SessionBackend.layerMemory(),
        SessionVerifier.layerExists(session),
        layerKeys,
        layerCrypto
      ]),
      Layer.orDie
    )

/** A frontend that found this on the request, and leaves responses alone. */
const holding = (token: Option.Option<Redacted.Redacted<string>>): SessionFrontend.SessionFrontend["Service"] => ({
  security: [],
  extract: () =>
    Option.match(token, {
      onNone: () => Effect.fail(new SessionMissing()),
      onSome: (token) => Effect.succeed([{ token, via: "header" }])
    }),
  attach: (response) => response,
  detach: (response) => response
})

/** Timeouts so long that a session made up for a test ends when its `expiresAt` says, and not before. */
const patient: LayerOptions = { idleTimeout: "400 days", absoluteTimeout: "400 days" }

/** The session's own stack, and the request's session for a request that carries this token or none. */
const withStack = <Self, A, R extends ReadonlyArray<Tagged>, B>(
  session: Definition<Self, A, R>,
  effect: Effect.Effect<
    B,
    unknown,
    ManagerOf<Self> | SessionBackend.SessionBackend | SessionKeys.SessionKeys | Mac.Mac | Digest.Digest
  >
): Effect.Effect<B> =>
  effect.pipe(
    Effect.provide(
      session
        .layerManager(patient)
        .pipe(
          Layer.provideMerge([
            SessionBackend.layerMemory(),
            SessionVerifier.layerExists(session),
            layerKeys,
            layerCrypto
          ])
        ),
      { local: true }
    ),
    Effect.orDie
  )

const handleOf = <Self, A, R extends ReadonlyArray<Tagged>>(
  session: Definition<Self, A, R>,
  token: Option.Option<Redacted.Redacted<string>>
) =>
  Effect.map(
    session.Manager,
    (manager) =>
      new RequestHandle(HttpServerRequest.fromWeb(new Request("http://localhost/")), session, manager, holding(token))
  )

/** The definition's class is this key too; a `Definition` does not say so in its type. */
const keyOf = <Self, A, R extends ReadonlyArray<Tagged>>(session: Definition<Self, A, R>) =>
  Context.Service<Self, RequestSession<A, R>>(session.key)

/**
 * Layer of a request with a verified session of this data: for a handler, without HTTP.
 *
 * **Details**
 *
 * `update`, `rotate`, `destroy` and the others work, on a memory backend of the layer's own. `options` sets what the
 * session says of itself: an `id`, a `principal` other than the definition's, times in the past; by default it was made
 * just now and ends in a day. One whose `expiresAt` has passed dies here: test expiry with `layer` and `TestClock`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerVerified = <Self, A, R extends ReadonlyArray<Tagged>>(
  session: Definition<Self, A, R>,
  data: A,
  options: Partial<Omit<SessionInfo<A>, "data">> = {}
): Layer.Layer<Self | VerifiedOf<Self>> =>
  Layer.effectContext(
    withStack(
      session,
      Effect.gen(function* () {
        const backend = yield* SessionBackend.SessionBackend
        const tokens = SessionToken.make(
          yield* (yield* SessionKeys.SessionKeys).signers(SessionToken.purpose(session.key))
        )
        const created = yield* (yield* session.Manager).create(data, { absoluteTimeout: "24 hours" })
        const { secret } = yield* tokens.check(created.token)
        const record = yield* Effect.fromOption(yield* backend.read(session.key, created.id))
        const id = options.id ?? created.id
        const time = (given: DateTime.Utc | undefined, otherwise: number) => given?.epochMilliseconds ?? otherwise
        yield* backend.delete(session.key, created.id)
        yield* backend.create({
          ...record,
          id,
          principal: options.principal === undefined ? record.principal : Option.getOrUndefined(options.principal),
          version: options.version ?? record.version,
          createdAt: time(options.createdAt, record.createdAt),
          authenticatedAt: time(options.authenticatedAt, time(options.createdAt, record.authenticatedAt)),
          lastSeenAt: time(options.lastSeenAt, record.lastSeenAt),
          idleExpiresAt: time(options.expiresAt, record.absoluteExpiresAt),
          absoluteExpiresAt: time(options.expiresAt, record.absoluteExpiresAt)
        })
        const handle = yield* handleOf(session, Option.some(yield* tokens.issue({ id, secret })))
        return Context.add(Context.make(keyOf(session), handle), session.Verified, yield* handle.get)
      })
    )
  )

/**
 * Layer of a request that carries no session.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerAnonymous = <Self, A, R extends ReadonlyArray<Tagged>>(
  session: Definition<Self, A, R>
): Layer.Layer<Self> => Layer.effect(keyOf(session), withStack(session, handleOf(session, Option.none())))
