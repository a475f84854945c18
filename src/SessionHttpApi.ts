/**
 * Sessions for `HttpApi`: implements the middlewares an API declares.
 *
 * An API declares a middleware that provides the session and names its errors and its security schemes, if any; the
 * OpenAPI document and the client's typed errors follow from these. `SessionHttpApiMiddleware` makes one in a line; one
 * that is written with `effect/http-api` alone fits as well. The server implements it with `layer` or `layerOptional`.
 *
 * **Details**
 *
 * - The definition's frontend reads the token from the request, never from the credential that `HttpApi` decodes, and
 *   once for each request, however many schemes are declared.
 * - `Vary`, `Cache-Control`, `Retry-After`, `WWW-Authenticate` and the cookie are set as by `SessionMiddleware`.
 * - Both forms fit an endpoint, a group and a whole API.
 *
 * **Example** (Guarding a group)
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup, HttpApiSecurity } from "effect/http-api"
 * import { Session, SessionHttpApi, SessionHttpApiMiddleware } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String }),
 *   principal: (data) => data.username
 * }) {}
 *
 * class Authenticated extends SessionHttpApiMiddleware.Required<Authenticated>()("app/Authenticated", UserSession, {
 *   security: { session: HttpApiSecurity.apiKey({ in: "cookie", key: "__Host-session" }) }
 * }) {}
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
 * const ApiLive = HttpApiBuilder.layer(Api).pipe(
 *   Layer.provide(AccountLive),
 *   Layer.provide(SessionHttpApi.layer(Authenticated, UserSession))
 * )
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 */

import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import type { HttpApiSecurity } from "effect/http-api/HttpApiSecurity"
import * as Layer from "effect/Layer"
import { type Binding, bindIn } from "./internal/http/binding.ts"
import {
  type GuardError,
  guarded,
  open,
  problemsOf,
  type Route,
  routeOf,
  type RouteOptions
} from "./internal/http/route.ts"
import * as SecuritySchemes from "./internal/http/securitySchemes.ts"
import type { Bound, Definition, Errors, Fresh, Tagged, VerifiedOf } from "./Session.ts"
import { SessionConfigError } from "./SessionError.ts"
import type { SessionStale } from "./SessionError.ts"

export type {
  /**
   * The errors a guard refuses a request with. One that asks for a fresh session fails with `SessionStale` besides.
   *
   * @stability unstable
   * @category utility types
   * @since 0.1.0
   */
  GuardError
} from "./internal/http/route.ts"

/**
 * What the middleware of a guard has to declare: `Session.errors`, and `SessionStale` where a fresh session is asked for,
 * by the middleware (`F`) or its layer (`G`).
 *
 * @stability unstable
 * @category utility types
 * @since 0.1.0
 */
export type Failures<R extends ReadonlyArray<Tagged>, F, G> =
  | Errors<R>[number]["Type"]
  | ([F | G] extends [undefined] ? never : SessionStale)

/**
 * What `layer` requires of a middleware: it provides `Session.Provided` and declares the errors `E`. For any other the
 * type is a sentence that says so, which the compiler prints.
 *
 * @stability unstable
 * @category utility types
 * @since 0.1.0
 */
export type Guards<Id, Self, E> =
  VerifiedOf<Self> extends HttpApiMiddleware.Provides<Id>
    ? [E] extends [HttpApiMiddleware.Error<Id>]
      ? unknown
      : "the middleware must declare error: Session.errors of this session, and SessionStale where fresh is asked for; or give its layer onFailure, for errors of its own"
    : "the middleware must provide Session.Provided of this session; for the session alone use layerOptional"

/**
 * What `layerOptional` requires of a middleware: it provides the session alone.
 *
 * @stability unstable
 * @category utility types
 * @since 0.1.0
 */
export type Opens<Id, Self> = [HttpApiMiddleware.Provides<Id>] extends [Self]
  ? unknown
  : "the middleware must provide the session alone"

/**
 * What the endpoints of a guard may have for themselves.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface GuardOptions<G> extends RouteOptions {
  /**
   * How fresh a session must be.
   *
   * @default what the middleware was made with
   */
  readonly fresh?: G
  readonly onFailure?: undefined
}

/**
 * The same for a middleware that declares errors of its own.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface OwnErrorOptions<Id, R extends ReadonlyArray<Tagged>> extends RouteOptions {
  /**
   * How fresh a session must be.
   *
   * @default what the middleware was made with
   */
  readonly fresh?: Fresh | undefined
  /**
   * Maps what the guard refuses a request with to the errors that the middleware declares. `WWW-Authenticate` of a 401 and
   * `Retry-After` of a 503 are on the answer all the same. What a handler fails with is not mapped.
   */
  readonly onFailure: (
    error: GuardError<R> | SessionStale,
    request: HttpServerRequest
  ) => Effect.Effect<never, HttpApiMiddleware.Error<Id>>
}

export {
  /**
   * Declares a middleware for endpoints that are open to all.
   *
   * **Gotchas**
   *
   * A module that is bundled for a browser takes it from `SessionHttpApiMiddleware`, which has no code of a server.
   *
   * @stability unstable
   * @category constructors
   * @since 0.1.0
   */
  Optional,
  /**
   * Declares a middleware for endpoints that require a verified session.
   *
   * **Gotchas**
   *
   * A module that is bundled for a browser takes it from `SessionHttpApiMiddleware`, which has no code of a server.
   *
   * @stability unstable
   * @category constructors
   * @since 0.1.0
   */
  Required
} from "./SessionHttpApiMiddleware.ts"

type App = Effect.Effect<HttpServerResponse, unknown, unknown>

/**
 * `HttpApi` tries the schemes in turn until one accepts the request, and answers with the failure of the last. The first
 * attempt has read all places, so the later ones repeat its failure: a credential that is merely missing must not mask an
 * unavailable backend.
 */
const oncePerRequest = (wrap: (app: App) => App): ((app: App) => App) => {
  const refusals = new WeakMap<HttpServerRequest, Exit.Exit<never, unknown>>()
  return (app) =>
    Effect.withFiber((fiber) => {
      const request = Context.getUnsafe(fiber.context, HttpServerRequest)
      const known = refusals.get(request)
      if (known !== undefined) return known
      let isAccepted = false
      const accepted = Effect.suspend(() => {
        isAccepted = true
        return app
      })
      return Effect.tapError(wrap(accepted), (error) =>
        Effect.sync(() => {
          if (!isAccepted) refusals.set(request, Exit.fail(error))
        })
      )
    })
}

const schemesOf = (middleware: object): Readonly<Record<string, HttpApiSecurity>> | undefined => {
  // Every `HttpApiMiddleware.Service` is an `AnyService`; its type as a `Context.Key` does not say so.
  const service = middleware as HttpApiMiddleware.AnyService
  return HttpApiMiddleware.isSecurity(service) ? service.security : undefined
}

const implement = <Id, S, Self, A, R extends ReadonlyArray<Tagged>>(
  middleware: Context.Key<Id, S>,
  session: Definition<Self, A, R>,
  route: Route,
  wrap: (binding: Binding<Self, A, R>, app: App) => App
): Layer.Layer<Id, SessionConfigError, Bound<Self>> =>
  Layer.effect(
    middleware,
    Effect.gen(function* () {
      const binding = bindIn(session, yield* Effect.context<Bound<Self>>())
      const run = (app: App) => wrap(binding, app)
      const schemes = schemesOf(middleware)
      const problems = [
        ...problemsOf(route).map((problem) => `${middleware.key}: ${problem}`),
        ...SecuritySchemes.problemsOf(middleware.key, schemes ?? {}, session.key, binding.frontend)
      ]
      if (problems.length > 0) return yield* new SessionConfigError({ problems })
      // `S`, abstract here, is one function for a middleware without security, and else a record of one per scheme.
      if (schemes === undefined) return run as S
      const names = Object.keys(schemes)
      const once = names.length > 1 ? oncePerRequest(run) : run
      return Object.fromEntries(names.map((name) => [name, once])) as S
    })
  )

/**
 * Layer of a middleware for endpoints that require a verified session: it provides the request's session and
 * `UserSession.Verified`, and declares `Session.errors(UserSession)`, or the errors of `onFailure`.
 *
 * A middleware made with `fresh` asks for a session that fresh.
 *
 * Fails with a `SessionConfigError` on options that are not valid, and if the middleware declares a security scheme the
 * definition's frontend does not read: the OpenAPI document would promise what the server refuses.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer: {
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
    session: Definition<Self, A, R> & Guards<Id, Self, Failures<R, F, G>>,
    options?: GuardOptions<G>
  ): Layer.Layer<Id, SessionConfigError, Bound<Self>>
  <Id extends HttpApiMiddleware.AnyId, S, Self, A, R extends ReadonlyArray<Tagged>>(
    middleware: Context.Key<Id, S> & { readonly fresh?: Fresh | undefined },
    session: Definition<Self, A, R> & Guards<Id, Self, never>,
    options: OwnErrorOptions<Id, R>
  ): Layer.Layer<Id, SessionConfigError, Bound<Self>>
} = <Id extends HttpApiMiddleware.AnyId, S, Self, A, R extends ReadonlyArray<Tagged>>(
  middleware: Context.Key<Id, S> & { readonly fresh?: Fresh | undefined },
  session: Definition<Self, A, R>,
  options?: GuardOptions<Fresh | undefined> | OwnErrorOptions<Id, R>
): Layer.Layer<Id, SessionConfigError, Bound<Self>> => {
  const route = routeOf({ ...options, fresh: options?.fresh ?? middleware.fresh })
  const onFailure = options?.onFailure ?? Effect.fail
  return implement(middleware, session, route, (binding, app) => guarded(binding, app, onFailure, route))
}

/**
 * Layer of a middleware for endpoints open to all: it provides the request's session, and declares `SessionCrossOrigin`
 * and `SessionUnavailable`. Where endpoints log users in it declares `SessionInvalid` and `SessionConflict` too, which
 * `create` may fail with; `SessionHttpApiMiddleware.Optional` declares all four.
 *
 * Fails with a `SessionConfigError` on options that are not valid, and if the middleware declares a security scheme the
 * definition's frontend does not read.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerOptional = <Id extends HttpApiMiddleware.AnyId, S, Self, A, R extends ReadonlyArray<Tagged>>(
  middleware: Context.Key<Id, S>,
  session: Definition<Self, A, R> & Opens<Id, Self>,
  options?: RouteOptions
): Layer.Layer<Id, SessionConfigError, Bound<Self>> => {
  const route = routeOf(options)
  return implement(middleware, session, route, (binding, app) => open(binding, app, route))
}
