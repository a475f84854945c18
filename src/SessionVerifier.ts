/**
 * The verifier of a session definition: it decides whether a live session is acceptable.
 *
 * It runs each time a session is read, after token, deadlines and data are checked, and again when an update finds a
 * newer version. It refuses with the definition's `refused` errors.
 *
 * @stability unstable
 * @since 0.1.0
 */

import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Definition, Refusal, Session, Tagged, Verifier, VerifierOf } from "./Session.ts"
import type { SessionUnavailable } from "./SessionError.ts"

export type {
  /**
   * A definition's verifier.
   *
   * @stability unstable
   * @category models
   * @since 0.1.0
   */
  Verifier
} from "./Session.ts"

/**
 * The verifier that accepts every live session.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const makeExists = <Self, A, R extends ReadonlyArray<Tagged>>(
  _session: Definition<Self, A, R>
): Verifier<A, R> => ({
  verify: () => Effect.void
})

/**
 * Layer of the verifier that accepts every live session.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerExists = <Self, A, R extends ReadonlyArray<Tagged>>(
  session: Definition<Self, A, R>
): Layer.Layer<VerifierOf<Self>> => Layer.succeed(session.Verifier, makeExists(session))

/**
 * Makes a verifier of a function, or of an effect that makes one from services.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const make = <Self, A, R extends ReadonlyArray<Tagged>, EX = never, RX = never>(
  _session: Definition<Self, A, R>,
  verify: Effect.Effect<Verifier<A, R>["verify"], EX, RX> | Verifier<A, R>["verify"]
): Effect.Effect<Verifier<A, R>, EX, RX> =>
  Effect.map(Effect.isEffect(verify) ? verify : Effect.succeed(verify), (verify) => ({ verify }))

/**
 * Layer of a verifier of your own: a function, or an effect that makes one from services.
 *
 * **Example** (Refusing suspended users)
 *
 * ```ts
 * import { Context, Effect, Schema } from "effect"
 * import { Session, SessionVerifier } from "effect-sessions"
 *
 * class Suspended extends Schema.TaggedError<Suspended>()("Suspended", {}, { httpApiStatus: 403 }) {}
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String }),
 *   refused: Suspended
 * }) {}
 *
 * class Users extends Context.Service<Users, {
 *   readonly suspended: (name: string) => Effect.Effect<boolean>
 * }>()("app/Users") {}
 *
 * const Verifier = SessionVerifier.layer(UserSession, Effect.gen(function*() {
 *   const users = yield* Users
 *   return (session) =>
 *     Effect.flatMap(users.suspended(session.data.username), (suspended) =>
 *       suspended ? Effect.fail(new Suspended()) : Effect.void)
 * }))
 * ```
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = <Self, A, R extends ReadonlyArray<Tagged>, EX = never, RX = never>(
  session: Definition<Self, A, R>,
  verify: Effect.Effect<Verifier<A, R>["verify"], EX, RX> | Verifier<A, R>["verify"]
): Layer.Layer<VerifierOf<Self>, EX, RX> =>
  // `Layer.effect` takes `Scope` out of the requirements, which the compiler cannot do for an abstract `RX`.
  Layer.effect(session.Verifier, make(session, verify)) as Layer.Layer<VerifierOf<Self>, EX, RX>

/**
 * The verifier that refuses with `orElse` where a predicate does not hold.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const makePredicate = <Self, A, R extends ReadonlyArray<Tagged>>(
  _session: Definition<Self, A, R>,
  predicate: (session: Session<A>) => Effect.Effect<boolean, SessionUnavailable>,
  orElse: (session: Session<A>) => Refusal<R>
): Verifier<A, R> => ({
  verify: (value) =>
    Effect.flatMap(predicate(value), (holds) => (holds === true ? Effect.void : Effect.fail(orElse(value))))
})

/**
 * Layer of a verifier that refuses with `orElse` where a predicate does not hold.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerPredicate = <Self, A, R extends ReadonlyArray<Tagged>>(
  session: Definition<Self, A, R>,
  predicate: (session: Session<A>) => Effect.Effect<boolean, SessionUnavailable>,
  orElse: (session: Session<A>) => Refusal<R>
): Layer.Layer<VerifierOf<Self>> => Layer.succeed(session.Verifier, makePredicate(session, predicate, orElse))
