/**
 * A token as the text it is, on its way from the frontend through the manager into the session.
 *
 * Whoever looks at a credential or at a session finds a `Redacted`, made when it is asked for. Making one costs as much
 * as checking the token, and most requests never show theirs to anybody.
 *
 * @internal
 */
import type * as Clock from "effect/Clock"
import type * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { Refusal, Session, Tagged } from "../Session.ts"
import type { SessionInvalid, SessionUnavailable } from "../SessionError.ts"
import type { Credential, Transport } from "../SessionFrontend.ts"

/** @internal */
export const redact = (text: string): Redacted.Redacted<string> => Redacted.make(text, { label: "SessionToken" })

/** @internal */
export class TextCredential implements Credential {
  readonly via: Transport
  readonly #text: string
  #token: Redacted.Redacted<string> | undefined = undefined

  constructor(text: string, via: Transport) {
    this.#text = text
    this.via = via
  }

  get token(): Redacted.Redacted<string> {
    return (this.#token ??= redact(this.#text))
  }

  static text(credential: Credential): string {
    return credential instanceof TextCredential ? credential.#text : Redacted.value(credential.token)
  }
}

/**
 * What the library's own manager does with a token's text. Not part of `SessionManager`: a mock need not know of it.
 *
 * @internal
 */
export const byText: unique symbol = Symbol("effect-sessions/byText")

/** @internal */
export interface ByText<A, R extends ReadonlyArray<Tagged>> {
  readonly [byText]: {
    readonly resolve: (
      text: string,
      clock: Clock.Clock
    ) => Effect.Effect<Session<A>, SessionInvalid | Refusal<R> | SessionUnavailable>
    /** Whether a token was issued here: a request with a forged one is treated as if it carried none. */
    readonly isAuthentic: (text: string) => Effect.Effect<boolean>
  }
}
