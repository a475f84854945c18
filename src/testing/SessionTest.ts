/**
 * Layers for tests: a verified session, an anonymous request, the whole stack in memory, an `HttpApi` whose requests are
 * logged in, a client that is logged in, and a backend that fails on demand.
 *
 * All run the library's own code over a memory backend. Keys and randomness are the same in every run, and the time is
 * that of Effect's `Clock`: under `TestClock` a session expires without a sleep. Nothing here is secret.
 *
 * **Example** (Testing a handler without HTTP)
 *
 * ```ts
 * // session.ts
 * import { Effect, Schema } from "effect"
 * import { Session, SessionTest } from "effect-sessions"
 *
 * export class UserSession extends Session.Service<UserSession>()("app/UserSession", {
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
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
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
import * as Extension from "../internal/manager/extension.ts"
import * as SecuritySchemes from "../internal/http/securitySchemes.ts"
import * as KeyRing from "../internal/token/keyRing.ts"
import { testKitKey } from "../internal/token/publishedKeys.ts"
import * as Token from "../internal/token/token.ts"
import type {
  Bound,
  CreateOptions,
  Definition,
  Fresh,
  LayerOptions,
  ManagerOptions,
  SessionInfo,
  Tagged,
  VerifiedOf,
  VerifierOf
} from "../Session.ts"
import * as SessionBackend from "../SessionBackend.ts"
import * as SessionBackendMemory from "../SessionBackendMemory.ts"
import { type SessionConfigError, SessionMissing } from "../SessionError.ts"
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
 * Layer of the crypto services that the library needs: Web Crypto, and the seeded `SecureRandom`.
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
 * Layer of a key ring with one fixed, published secret, which `SessionKeys.layer` refuses.
 *
 * **Gotchas**
 *
 * The published secret is enough to forge a token. So a process without a sign of a test (`NODE_ENV=test`, or a variable
 * that Vitest, Jest or Node's test runner sets) logs a warning once.
 *
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
 * @category options
 * @since 0.1.0
 */
export interface StackOptions<Self> extends LayerOptions {
  /** @default a `SessionBackendMemory.layer` of its own */
  readonly backend?: Layer.Layer<SessionBackend.SessionBackend> | undefined
  /** @default `SessionVerifier.layerExists`, which accepts every live session */
  readonly verifier?: Layer.Layer<VerifierOf<Self>> | undefined
}

/** What the stack tells, where a test is about that: as the `onEvent` of its layer. */
type Told<A, R extends ReadonlyArray<Tagged>> = Pick<ManagerOptions<A, R>, "onEvent">

/**
 * The same, for a client that is logged in.
 *
 * @category options
 * @since 0.1.0
 */
export interface LoggedInOptions<Self> extends StackOptions<Self> {
  /** How it logged in: its `methods`, for a guard that asks for a fresh proof. */
  readonly login?: CreateOptions | undefined
}

/**
 * Layer of the whole stack in memory, which provides what the middlewares need: keys, crypto, backend, the default cookie,
 * and a verifier that accepts every live session.
 *
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
 * Layer of a middleware that requires a session, whose requests carry a session of this data: for `HttpApiTest`. A
 * middleware with errors of its own has its `onFailure` here, as in `SessionHttpApi.layer`.
 *
 * **Details**
 *
 * The requests are those of one client, as with `layerLoggedIn`, on a stack of the layer's own. For one client of several
 * middlewares or definitions, implement these with `SessionHttpApi` over `layerLoggedIn`.
 *
 * **Example** (Testing handlers without a socket)
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { HttpServer } from "effect/http"
 * import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup, HttpApiMiddleware, HttpApiTest } from "effect/http-api"
 * import { Session, SessionTest } from "effect-sessions"
 * import { UserSession } from "./session.ts"
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
export const layerHttpApi: {
  <Id extends HttpApiMiddleware.AnyId, S, Self, A, R extends ReadonlyArray<Tagged>>(
    middleware: Context.Key<Id, S> & { readonly fresh?: Fresh | undefined },
    session: Definition<Self, A, R> & SessionHttpApi.Guards<Id, Self, never>,
    data: A,
    options: LoggedInOptions<Self> & SessionHttpApi.OwnErrorOptions<Id, R>
  ): Layer.Layer<Id>
  <
    Id extends HttpApiMiddleware.AnyId,
    S,
    Self,
    A,
    R extends ReadonlyArray<Tagged>,
    F extends Fresh | undefined = undefined,
    G extends Fresh | undefined = undefined
  >(
    middleware: Context.Key<Id, S> & { readonly fresh?: F },
    session: Definition<Self, A, R> & SessionHttpApi.Guards<Id, Self, SessionHttpApi.Failures<R, F, G>>,
    data: A,
    options?: LoggedInOptions<Self> & SessionHttpApi.GuardOptions<G>
  ): Layer.Layer<Id>
} = <Id extends HttpApiMiddleware.AnyId, S, Self, A, R extends ReadonlyArray<Tagged>>(
  middleware: Context.Key<Id, S> & { readonly fresh?: Fresh | undefined },
  session: Definition<Self, A, R> & SessionHttpApi.Guards<Id, Self, never>,
  data: A,
  options?: LoggedInOptions<Self> &
    (SessionHttpApi.OwnErrorOptions<Id, R> | SessionHttpApi.GuardOptions<Fresh | undefined>)
): Layer.Layer<Id> =>
  // Of the two forms of `SessionHttpApi.layer` this one's caller has chosen one.
  SessionHttpApi.layer<Id, S, Self, A, R>(
    middleware,
    session,
    options as LoggedInOptions<Self> & SessionHttpApi.OwnErrorOptions<Id, R>
  ).pipe(Layer.provide(layerLoggedIn<Self, A, R>(session, data, options)), Layer.orDie)

/**
 * Layer of a middleware that is open to all. Its client has a session of this data, or is anonymous without `data`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerHttpApiOptional = <Id extends HttpApiMiddleware.AnyId, S, Self, A, R extends ReadonlyArray<Tagged>>(
  middleware: Context.Key<Id, S>,
  session: Definition<Self, A, R> & SessionHttpApi.Opens<Id, Self>,
  data?: A,
  options?: LoggedInOptions<Self>
): Layer.Layer<Id> =>
  SessionHttpApi.layerOptional(middleware, session).pipe(
    Layer.provide(layerLoggedIn<Self, A, R>(session, data, options)),
    Layer.orDie
  )

type ClientsOf<M> = M extends Context.Key<infer Id, infer _> ? HttpApiMiddleware.ForClient<Id> : never

/**
 * Layer of a client that carries a session by cookie, header or bearer token, whichever the frontend reads first: for
 * `HttpApiTest` and for a real server. It serves the endpoints under these middlewares; the API declares nothing for it.
 *
 * **Details**
 *
 * With `data` the client is logged in from the start: the manager creates the session, without a request. The client keeps
 * the cookies and tokens that responses set and drops those that they delete, whatever the address of the server.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerClient = <
  // Only the identifier of a middleware matters, not its service.
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
      const keep = (response: Pick<HttpServerResponse.HttpServerResponse, "cookies" | "headers">) =>
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
        // A frontend that leaves the response alone reads a bearer token.
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
      // The key under which a generated client looks for the client side of a middleware.
      return Context.makeUnsafe<ClientsOf<Ms[number]>>(
        new Map(middlewares.map(({ key }) => [`${key}/Client`, client] as const))
      )
    })
  )

/** The address for which the client keeps its cookies. */
const here = "http://localhost"

/** A client without HTTP: the token that its requests carry. */
interface Client {
  token: Option.Option<Redacted.Redacted<string>>
}

/** The frontend of such a client: a response gives it another token, or takes its token away. */
const frontendOf = (client: Client): SessionFrontend.SessionFrontend["Service"] => ({
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

/** A stack that shares nothing with other layers. A session ends at the `expiresAt` it was given, not by a timeout. */
const ownStack = <Self, A, R extends ReadonlyArray<Tagged>>(session: Definition<Self, A, R>) =>
  SessionManager.layer(session, { idleTimeout: "400 days", absoluteTimeout: "400 days" }).pipe(
    Layer.provideMerge([SessionBackendMemory.layer, SessionVerifier.layerExists(session), layerKeys, layerCrypto]),
    Layer.orDie,
    Layer.fresh
  )

const handleOf = <Self, A, R extends ReadonlyArray<Tagged>>(session: Definition<Self, A, R>, client: Client) =>
  Effect.map(session.Manager, (manager) => {
    const request = HttpServerRequest.fromWeb(new Request(here))
    return new RequestSessionLive(request, bind(session, manager, frontendOf(client)), () => endOfTime)
  })

/** When such a request began: a test may let more time pass than a log-in may take, and nobody else ends its sessions. */
const endOfTime = 2n ** 63n

/**
 * Layer of a request with a verified session of this data: for a handler, without HTTP.
 *
 * **Details**
 *
 * `update`, `rotate`, `destroy` and the others work, on a memory backend of the layer's own. `options` replaces other
 * properties of the session: its `id`, a `principal` other than the definition's, times in the past, `factors` for a
 * handler that asks for a `fresh` session. By default it was created now, without factors, and ends in a day.
 *
 * **Gotchas**
 *
 * A session whose `expiresAt` has passed makes the layer die. Test expiry with `layer` and `TestClock`.
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
    Effect.gen(function* () {
      const backend = yield* SessionBackend.SessionBackend
      const keys = yield* SessionKeys.SessionKeys
      const tokens = Token.make(yield* keys.signers(Token.purpose(session.key)))
      const created = yield* (yield* session.Manager).create(data, { absoluteTimeout: "24 hours" })
      const { secret } = yield* tokens.check(created.token)
      const record = yield* Effect.fromOption(yield* backend.read(session.key, created.id))
      const id = options.id ?? created.id
      const time = (given: DateTime.Utc | undefined, otherwise: number) => given?.epochMilliseconds ?? otherwise
      const createdAt = time(options.createdAt, record.createdAt)
      const lastSeenAt = time(options.lastSeenAt, record.lastSeenAt)
      const absoluteExpiresAt = time(options.absoluteExpiresAt ?? options.expiresAt, record.absoluteExpiresAt)
      const idleTimeout =
        options.idleTimeout === undefined
          ? absoluteExpiresAt - Math.min(createdAt, lastSeenAt)
          : Duration.toMillis(options.idleTimeout)
      yield* backend.delete(session.key, created.id)
      yield* backend.create({
        ...record,
        id,
        principal: options.principal === undefined ? record.principal : Option.getOrUndefined(options.principal),
        version: options.version ?? record.version,
        extension: Extension.format({
          factors: options.factors?.map(({ at, method }) => [method, at.epochMilliseconds]),
          client: options.client
        }),
        createdAt,
        authenticatedAt: time(options.authenticatedAt ?? options.createdAt, record.authenticatedAt),
        lastSeenAt,
        idleTimeout,
        idleExpiresAt: time(options.expiresAt, Math.min(lastSeenAt + idleTimeout, absoluteExpiresAt)),
        absoluteExpiresAt,
        persistent: options.persistent ?? record.persistent
      })
      const handle = yield* handleOf(session, { token: Option.some(yield* tokens.issue({ id, secret })) })
      return Context.add(Context.make(session, handle), session.Verified, yield* handle.get)
    })
  ).pipe(Layer.provide(ownStack(session)), Layer.orDie)

/**
 * Layer of a request that carries no session.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerAnonymous = <Self, A, R extends ReadonlyArray<Tagged>>(
  session: Definition<Self, A, R>
): Layer.Layer<Self> =>
  Layer.effect(session, handleOf(session, { token: Option.none() })).pipe(Layer.provide(ownStack(session)))
