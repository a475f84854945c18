/**
 * How the request's handle learns from the library's own manager whether a token was issued here, so that a request
 * with a forged one is treated as if it carried none. Not part of `SessionManager`: a mock need not know of it.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"

/** @internal */
export const authentic: unique symbol = Symbol("effect-sessions/authentic")

/** @internal */
export interface Authenticating {
  readonly [authentic]: (token: Redacted.Redacted<string>) => Effect.Effect<boolean>
}

/** @internal */
export const isAuthentic = (manager: object, token: Redacted.Redacted<string>): Effect.Effect<boolean> =>
  authentic in manager ? (manager as Authenticating)[authentic](token) : Effect.succeed(true)
