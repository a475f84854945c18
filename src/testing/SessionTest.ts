/**
 * Layers for tests: a verified session, an anonymous request, or the whole stack in memory; an `HttpApi` whose every
 * request is logged in, a client that is, and a backend that fails when told to.
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
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Digest from "effect/crypto/Digest"
import * as Kdf from "effect/crypto/Kdf"
import * as Mac from "effect/crypto/Mac"
import * as SecureRandom from "effect/crypto/SecureRandom"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as Cookies from "effect/http/Cookies"
import type * as Headers from "effect/http/Headers"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { CookieJar } from "../internal/client/cookieJar.ts"
import { bind } from "../internal/http/binding.ts"
import { RequestSessionLive } from "../internal/http/requestSession.ts"
import * as SecuritySchemes from "../internal/http/securitySchemes.ts"
import * as KeyRing from "../internal/token/keyRing.ts"
import { testKitKey } from "../internal/token/publishedKeys.ts"
import * as Token from "../internal/token/token.ts"
import type {
  Bound,
  Definition,
  LayerOptions,
  ManagerOf,
  SessionInfo,
  Tagged,
  VerifiedOf,
  VerifierOf
} from "../Session.ts"
import * as SessionBackend from "../SessionBackend.ts"
import * as SessionBackendMemory from "../SessionBackendMemory.ts"
import { SessionMissing } from "../SessionError.ts"
import type { SessionConfigError } from "../SessionError.ts"
import * as SessionFrontend from "../SessionFrontend.ts"
import * as SessionHttpApi from "../SessionHttpApi.ts"
import * as SessionKeys from "../SessionKeys.ts"
import * as SessionManager from "../SessionManager.ts"
import * as SessionMiddleware from "../SessionMiddleware.ts"
import * as SessionVerifier from "../SessionVerifier.ts"
import { warnOutsideTests } from "./outsideTests.ts"

export { BackendFaults, type Fault, layerBackend, layerFaults } from "./faults.ts"

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
 * Layer of a key ring with one fixed secret, which is published: `SessionKeys.layer` refuses it.
 *
 * **Gotchas**
 *
 * A process that shows no sign of a test (`NODE_ENV=test`, or what Vitest, Jest or Node's test runner sets) logs a
 * warning once, since the key is all that it takes to forge a token.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerKeys: Layer.Layer<SessionKeys.SessionKeys> = Layer.effect(
  SessionKeys.SessionKeys,
  Effect.map(Effect.andThen(warnOutsideTests, KeyRing.make([testKitKey])), (signers) => ({ signers }))
).pipe(Layer.provide(Kdf.layerWebCrypto))

/**
 * The parts of the stack in memory that a test replaces by its own.
 *
 * @category options
 * @since 0.1.0
 */
export interface StackOptions<Self> extends LayerOptions {
  /** @default a `SessionBackendMemory.layer` of its own */
  readonly backend?: Layer.Layer<SessionBackend.SessionBackend> | undefined
  /** @default one that accepts every live session */
  readonly verifier?: Layer.Layer<VerifierOf<Self>> | undefined
}

/**
 * Layer of the whole stack in memory: keys, crypto, backend, the default cookie, and a verifier that accepts every live
 * session, unless others are given. It provides what the middlewares ask for.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <Self, A, R extends ReadonlyArray<Tagged>>(
  session: Definition<Self, A, R>,
  options: StackOptions<Self> & {
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
 * `HttpApi`, without a client that would have to log in and carry a cookie.
 *
 * **Details**
 *
 * The requests are those of one client that follows its session: what `rotate` and `create` issue is what the next
 * request carries, and after `destroy` it carries nothing. Without `data` the client starts anonymous. Any security
 * schemes an `HttpApi` declares are fine.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerLoggedIn = <Self, A, R extends ReadonlyArray<Tagged>>(
  session: Definition<Self, A, R>,
  data?: A,
  options?: StackOptions<Self>
): Layer.Layer<Bound<Self>> =>
  Layer.unwrap(
    Effect.sync(() => {
      let token: Option.Option<Redacted.Redacted<string>> = Option.none()
      const frontend = Layer.succeed(SessionFrontend.SessionFrontend, {
        security: SecuritySchemes.any,
        extract: () => found(token),
        attach: (response, issued) => {
          token = Option.some(issued.token)
          return response
        },
        detach: (response) => {
          token = Option.none()
          return response
        }
      })
      const stack = layer(session, { ...options, frontend })
      return data === undefined
        ? stack
        : Layer.effectDiscard(
            Effect.flatMap(session.Manager, (manager) =>
              Effect.map(manager.create(data), (created) => {
                token = Option.some(created.token)
              })
            )
          ).pipe(Layer.orDie, Layer.provideMerge(stack))
    })
  )

/**
 * Layer of a middleware that requires a session, under a session of this data: for `HttpApiTest`, in one line.
 *
 * The session follows its requests as by `layerLoggedIn`, on a stack of the layer's own. Where several middlewares, or
 * several definitions, are to be one client, implement them with `SessionHttpApi` over `layerLoggedIn`.
 *
 * **Example** (Testing handlers without a socket)
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { HttpServer } from "effect/http"
 * import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup, HttpApiMiddleware, HttpApiTest } from "effect/http-api"
 * import { Session, SessionTest } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String })
 * }) {}
 *
 * class Authenticated extends HttpApiMiddleware.Service<Authenticated, {
 *   provides: Session.Provided<typeof UserSession>
 * }>()("app/Authenticated", { error: Session.errors(UserSession) }) {}
 *
 * const Api = HttpApi.make("api").add(
 *   HttpApiGroup.make("account")
 *     .add(HttpApiEndpoint.get("whoami", "/whoami", { success: Schema.String }))
 *     .middleware(Authenticated)
 * )
 *
 * const AccountLive = HttpApiBuilder.group(Api, "account", (handlers) =>
 *   handlers.handle("whoami", () => Effect.map(UserSession.Verified, ({ data }) => data.username)))
 *
 * const program = Effect.gen(function*() {
 *   const client = yield* HttpApiTest.groups(Api, ["account"])
 *   return yield* client.account.whoami()
 * }).pipe(
 *   Effect.provide(AccountLive.pipe(
 *     Layer.provideMerge(SessionTest.layerHttpApi(Authenticated, UserSession, { username: "ada" })),
 *     Layer.provideMerge(HttpServer.layerServices)
 *   )),
 *   Effect.scoped
 * )
 *
 * console.assert((await Effect.runPromise(program)) === "ada")
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerHttpApi = <Id extends HttpApiMiddleware.AnyId, S, Self, A, R extends ReadonlyArray<Tagged>>(
  middleware: Context.Key<Id, S>,
  session: Definition<Self, A, R> & SessionHttpApi.Guards<Id, Self, R>,
  data: A,
  options?: StackOptions<Self>
): Layer.Layer<Id> =>
  SessionHttpApi.layer(middleware, session).pipe(
    Layer.provide(layerLoggedIn<Self, A, R>(session, data, options)),
    Layer.orDie
  )

/**
 * Layer of a middleware open to all, under a session of this data, or for an anonymous client without any.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerHttpApiOptional = <Id extends HttpApiMiddleware.AnyId, S, Self, A, R extends ReadonlyArray<Tagged>>(
  middleware: Context.Key<Id, S>,
  session: Definition<Self, A, R> & SessionHttpApi.Opens<Id, Self>,
  data?: A,
  options?: StackOptions<Self>
): Layer.Layer<Id> =>
  SessionHttpApi.layerOptional(middleware, session).pipe(
    Layer.provide(layerLoggedIn<Self, A, R>(session, data, options)),
    Layer.orDie
  )

type ClientsOf<M> = M extends Context.Key<infer Id, infer _> ? HttpApiMiddleware.ForClient<Id> : never

/**
 * Layer of a client that carries a session through the real stack, by cookie, header or bearer token, whichever the
 * frontend reads first: for `HttpApiTest` and for a real server. Endpoints under one of the middlewares get it; the API
 * need not declare anything for it.
 *
 * **Details**
 *
 * With `data` the client is logged in from the start, by a session made behind the API's back. It keeps what responses
 * set and forgets what they delete, whatever the server's address: in a test there is one.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerClient = <
  // A middleware of any service; only its identifier is taken out.
  // oxlint-disable-next-line typescript/no-explicit-any
  const Ms extends ReadonlyArray<Context.Key<any, any>>,
  Self,
  A,
  R extends ReadonlyArray<Tagged>
>(
  middlewares: Ms,
  session: Definition<Self, A, R>,
  data?: A
): Layer.Layer<ClientsOf<Ms[number]>, never, Bound<Self>> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const frontend = yield* session.Frontend
      const manager = yield* session.Manager
      const jar = new CookieJar()
      const headers = new Map<string, string>()
      const names = frontend.security.flatMap((scheme) =>
        scheme._tag === "ApiKey" && scheme.in === "header" ? [scheme.key.toLowerCase()] : []
      )
      const keep = (response: { readonly cookies: Cookies.Cookies; readonly headers: Headers.Headers }) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          jar.keep(here, response.cookies, now)
          for (const name of names) {
            const value = response.headers[name]
            if (value !== undefined) headers.set(name, value)
          }
        })
      if (data !== undefined) {
        const { token } = yield* Effect.orDie(manager.create(data))
        const empty = HttpServerResponse.empty()
        const issued = frontend.attach(empty, { token, maxAge: Option.none(), via: Option.none() })
        // A frontend that puts nothing on a response reads a bearer token.
        if (issued === empty) headers.set("authorization", `Bearer ${Redacted.value(token)}`)
        yield* keep(issued)
      }
      const client: HttpApiMiddleware.HttpApiMiddlewareClient<never, never, never> = ({ next, request }) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) => {
          const cookie = jar.header(`${here}${request.url}`, now, request.headers["cookie"])
          const loaded = HttpClientRequest.setHeaders(request, [
            ...headers,
            ...(cookie === undefined ? [] : [["cookie", cookie] as const])
          ])
          return Effect.tap(next(loaded), keep)
        })
      // The key under which a generated client looks for what a middleware does on its side.
      return Context.makeUnsafe<ClientsOf<Ms[number]>>(
        new Map(middlewares.map(({ key }) => [`${key}/Client`, client] as const))
      )
    })
  )

/** Where a test's server is, as far as its cookies go. */
const here = "http://localhost"

/** What a frontend answers that finds this on every request. */
const found = (
  token: Option.Option<Redacted.Redacted<string>>
): ReturnType<SessionFrontend.SessionFrontend["Service"]["extract"]> =>
  Option.match(token, {
    onNone: () => Effect.fail(new SessionMissing()),
    onSome: (token) => Effect.succeed([{ token, via: "header" }])
  })

/** A frontend that found this on the request, and leaves responses alone. */
const holding = (token: Option.Option<Redacted.Redacted<string>>): SessionFrontend.SessionFrontend["Service"] => ({
  security: [],
  extract: () => found(token),
  attach: (response) => response,
  detach: (response) => response
})

/** Timeouts so long that a session made up for a test ends when its `expiresAt` says, and not before. */
const longTimeouts: LayerOptions = { idleTimeout: "400 days", absoluteTimeout: "400 days" }

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
      SessionManager.layer(session, longTimeouts).pipe(
        Layer.provideMerge([
          Layer.fresh(SessionBackendMemory.layer),
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
      new RequestSessionLive(
        HttpServerRequest.fromWeb(new Request("http://localhost/")),
        bind(session, manager, holding(token))
      )
  )

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
        const keys = yield* SessionKeys.SessionKeys
        const tokens = Token.make(yield* keys.signers(Token.purpose(session.key)))
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
        return Context.add(Context.make(session, handle), session.Verified, yield* handle.get)
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
): Layer.Layer<Self> => Layer.effect(session, withStack(session, handleOf(session, Option.none())))
