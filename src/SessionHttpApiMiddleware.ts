/**
 * The middlewares an `HttpApi` declares for its sessions, made from the definition: `Required` for endpoints of verified
 * sessions alone, `Optional` for those open to all.
 *
 * The server implements them with `SessionHttpApi`. This module has no code of a server, so that a client may share the
 * API's definition.
 *
 * **Example** (Log-in open to all, an account for users)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { HttpApi, HttpApiEndpoint, HttpApiGroup, HttpApiSecurity } from "effect/http-api"
 * import { Session, SessionHttpApiMiddleware } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String }),
 *   principal: (data) => data.username
 * }) {}
 *
 * class Visitor extends SessionHttpApiMiddleware.Optional<Visitor>()("app/Visitor", UserSession) {}
 *
 * class Authenticated extends SessionHttpApiMiddleware.Required<Authenticated>()("app/Authenticated", UserSession, {
 *   security: { session: HttpApiSecurity.apiKey({ in: "cookie", key: "__Host-session" }) }
 * }) {}
 *
 * const Api = HttpApi.make("api").add(
 *   HttpApiGroup.make("auth").add(HttpApiEndpoint.post("login", "/login")).middleware(Visitor),
 *   HttpApiGroup.make("account")
 *     .add(HttpApiEndpoint.get("whoami", "/whoami", { success: Schema.String }))
 *     .middleware(Authenticated)
 * )
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 */

import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import type { HttpApiSecurity } from "effect/http-api/HttpApiSecurity"
import type * as Schema from "effect/Schema"
import { errors } from "./Session.ts"
import type { Definition, Errors, Fresh, Tagged, VerifiedOf } from "./Session.ts"
import {
  SessionConflict,
  SessionCrossOrigin,
  SessionInvalid,
  SessionStale,
  SessionUnavailable
} from "./SessionError.ts"

type Security = Record<string, HttpApiSecurity>
type ErrorSchemas = Schema.Top | ReadonlyArray<Schema.Top>

/**
 * The errors that a middleware made with `Required` declares of itself: `Session.errors`, with `SessionStale` where it
 * asks for a fresh session.
 *
 * @stability unstable
 * @category utility types
 * @since 0.1.0
 */
export type DeclaredErrors<R extends ReadonlyArray<Tagged>, F> = [F] extends [undefined]
  ? Errors<R>
  : readonly [...Errors<R>, typeof SessionStale]

/**
 * The class that `Required` returns.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type RequiredClass<
  Self,
  Id extends string,
  S,
  E extends ErrorSchemas,
  Sec extends Security,
  F
> = HttpApiMiddleware.ServiceClass<
  Self,
  Id,
  {
    provides: S | VerifiedOf<S>
    requires: never
    requiredForClient: false
    error: E
    clientError: never
    security: Sec
  }
> & {
  /** How fresh a session its layer asks for. */
  readonly fresh: F
}

/**
 * Declares a middleware for endpoints that require a verified session.
 *
 * **Details**
 *
 * - `security`: where clients send the token, for the OpenAPI document; the frontend must read these places.
 * - `fresh`: how lately the user must have proved who they are. The errors then have `SessionStale`.
 * - `error`: the API's own errors, in place of `Session.errors`; `SessionHttpApi.layer` is then told by `onFailure`
 *   which of them answers.
 *
 * **Example** (One 401 of the API's own)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Session, SessionError, SessionHttpApi, SessionHttpApiMiddleware } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String }),
 *   principal: (data) => data.username
 * }) {}
 *
 * class Unauthorized extends Schema.TaggedError<Unauthorized>()("Unauthorized", {}, { httpApiStatus: 401 }) {}
 *
 * class Authenticated extends SessionHttpApiMiddleware.Required<Authenticated>()("app/Authenticated", UserSession, {
 *   error: [Unauthorized, SessionError.SessionUnavailable]
 * }) {}
 *
 * // On the server. A store that is down is not a 401: it would log out clients that act on one.
 * const AuthenticatedLive = SessionHttpApi.layer(Authenticated, UserSession, {
 *   onFailure: (error) => Effect.fail(error._tag === "SessionUnavailable" ? error : new Unauthorized())
 * })
 * ```
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const Required =
  <Self>() =>
  <
    const Id extends string,
    S,
    A,
    R extends ReadonlyArray<Tagged>,
    const Sec extends Security = never,
    const F extends Fresh | undefined = undefined,
    const E extends ErrorSchemas = DeclaredErrors<R, F>
  >(
    id: Id,
    session: Definition<S, A, R>,
    options?: {
      readonly security?: Sec | undefined
      readonly fresh?: F
      readonly error?: E | undefined
    }
  ): RequiredClass<Self, Id, S, E, Sec, F> => {
    const fresh = options?.fresh
    const own = fresh === undefined ? errors(session) : [...errors(session), SessionStale]
    const middleware = HttpApiMiddleware.Service<Self>()(id, {
      error: options?.error ?? own,
      security: options?.security
    })
    // The errors are those of the type, of which the compiler cannot see which of the two it has.
    return Object.assign(middleware, { fresh }) as unknown as RequiredClass<Self, Id, S, E, Sec, F>
  }

/**
 * Declares a middleware for endpoints open to all, which get the request's session. Its errors are those of the
 * cross-origin check, of reading a session with `option`, and of a log-in with `create`.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const Optional =
  <Self>() =>
  <const Id extends string, S, A, R extends ReadonlyArray<Tagged>>(
    id: Id,
    // Says whose session it is. Its type is all that is needed.
    _session: Definition<S, A, R>
  ): HttpApiMiddleware.ServiceClass<
    Self,
    Id,
    {
      provides: S
      requires: never
      requiredForClient: false
      error: readonly [
        typeof SessionInvalid,
        typeof SessionConflict,
        typeof SessionCrossOrigin,
        typeof SessionUnavailable
      ]
      clientError: never
      security: never
    }
  > =>
    HttpApiMiddleware.Service<Self, { provides: S }>()(id, {
      error: [SessionInvalid, SessionConflict, SessionCrossOrigin, SessionUnavailable]
    })
