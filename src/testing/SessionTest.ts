/**
 * Layers for tests: a verified session, an anonymous request, the whole stack in memory, an `HttpApi` and a group of
 * RPCs whose requests are logged in, a client that is logged in, and a backend that fails on demand.
 *
 * All run the library's own code over a memory backend. Keys and randomness are the same in every run, and the time is
 * that of Effect's `Clock`: under `TestClock` a session expires without a sleep. Nothing here is secret.
 *
 * **Example** (Testing a handler without HTTP)
 *
 * ```ts
 * // session.ts
 * import { Effect, Schema } from "effect"
 * import { Session } from "effect-sessions"
 * import { SessionTest } from "effect-sessions/testing"
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
 * @stability unstable
 * @since 0.1.0
 */

import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
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
import * as Token from "../internal/token/token.ts"
import type { Bound, Definition, Fresh, SessionInfo, Tagged, VerifiedOf } from "../Session.ts"
import * as SessionBackend from "../SessionBackend.ts"
import * as SessionBackendMemory from "../SessionBackendMemory.ts"
import * as SessionHttpApi from "../SessionHttpApi.ts"
import * as SessionKeys from "../SessionKeys.ts"
import * as SessionManager from "../SessionManager.ts"
import * as SessionVerifier from "../SessionVerifier.ts"
import { frontendOf, layerCrypto, layerKeys, layerLoggedIn, type Client, type LoggedInOptions } from "./stack.ts"

export { BackendFaults, type Fault, layerBackend, layerFaults } from "./faults.ts"
export { layerRpc, layerRpcOptional } from "./rpc.ts"
export {
  layer,
  layerCrypto,
  layerKeys,
  layerLoggedIn,
  layerSecureRandom,
  type LoggedInOptions,
  type StackOptions
} from "./stack.ts"

/** The address for which the client keeps its cookies. */
const here = "http://localhost"

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
 * import { Session } from "effect-sessions"
 * import { SessionTest } from "effect-sessions/testing"
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
 * @stability unstable
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
 * @stability unstable
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
 * @stability unstable
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

/** When such a request began: a test may let more time pass than a log-in may take, and no other client ends its sessions. */
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
 * @stability unstable
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
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerAnonymous = <Self, A, R extends ReadonlyArray<Tagged>>(
  session: Definition<Self, A, R>
): Layer.Layer<Self> =>
  Layer.effect(session, handleOf(session, { token: Option.none() })).pipe(Layer.provide(ownStack(session)))
