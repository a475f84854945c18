/**
 * Tokens as the texts they are, on their way from the frontend through the manager into the session.
 *
 * The public functions give and take a `Redacted`, which costs as much to make as a token to check. So the library's own
 * have a twin each that works on texts. It belongs to the very function: whoever wraps one, or puts another in its place,
 * is asked in the ordinary way.
 *
 * @internal
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Redacted from "effect/Redacted"
import type { Refusal, Session, Tagged } from "../Session.ts"
import type { SessionInvalid, SessionMissing, SessionUnavailable } from "../SessionError.ts"
import type { Credential, SessionFrontend, Transport } from "../SessionFrontend.ts"
import type { SessionManager } from "../SessionManager.ts"

/** @internal */
export const redact = (text: string): Redacted.Redacted<string> => Redacted.make(text, { label: "SessionToken" })

// -----------------------------------------------------------------------------
// Frontends
// -----------------------------------------------------------------------------

/** @internal */
export interface TextCredential {
  readonly text: string
  readonly via: Transport
}

type Some<A> = readonly [A, ...ReadonlyArray<A>]
type Extract = SessionFrontend["Service"]["extract"]
type ExtractText = (request: HttpServerRequest) => Effect.Effect<Some<TextCredential>, SessionMissing | SessionInvalid>

const textsOfExtract = new WeakMap<Extract, ExtractText>()

/** @internal */
export const toCredential = ({ text, via }: TextCredential): Credential => ({ token: redact(text), via })

/** @internal */
export const ofCredential = ({ token, via }: Credential): TextCredential => ({ text: Redacted.value(token), via })

const mapSome = <A, B>([first, ...rest]: Some<A>, f: (a: A) => B): Some<B> => [f(first), ...rest.map(f)]

/**
 * A frontend's `extract`, from its twin.
 *
 * @internal
 */
export const extractFrom = (texts: ExtractText): Extract => {
  const extract: Extract = (request) =>
    Effect.mapEager(texts(request), (credentials) => mapSome(credentials, toCredential))
  textsOfExtract.set(extract, texts)
  return extract
}

/**
 * What `extract` answers, as texts.
 *
 * @internal
 */
export const extractText = (
  frontend: SessionFrontend["Service"],
  request: HttpServerRequest
): ReturnType<ExtractText> => {
  const texts = textsOfExtract.get(frontend.extract)
  return texts === undefined
    ? Effect.mapEager(frontend.extract(request), (credentials) => mapSome(credentials, ofCredential))
    : texts(request)
}

// -----------------------------------------------------------------------------
// Managers
// -----------------------------------------------------------------------------

/** @internal */
export interface ByText<A, R extends ReadonlyArray<Tagged>> {
  /** `resolve`, on the spot. */
  readonly resolve: (
    text: string,
    clock: Clock.Clock
  ) => Effect.Effect<Session<A>, SessionInvalid | Refusal<R> | SessionUnavailable>
  /**
   * How to end the session of a token, if it was issued here: a request with a forged one is treated as if it carried
   * none.
   */
  readonly ending: (text: string) => Effect.Effect<Effect.Effect<void, SessionUnavailable> | undefined>
}

const textsOfResolve = new WeakMap<object, unknown>()

/** @internal */
export const withTexts = <A, R extends ReadonlyArray<Tagged>>(
  manager: SessionManager<A, R>,
  byText: ByText<A, R>
): SessionManager<A, R> => {
  textsOfResolve.set(manager.resolve, byText)
  return manager
}

/**
 * The twins of the manager's functions, if its `resolve` is the library's own.
 *
 * @internal
 */
export const textsOf = <A, R extends ReadonlyArray<Tagged>>(manager: SessionManager<A, R>): ByText<A, R> | undefined =>
  // Found under the function whose types these are.
  textsOfResolve.get(manager.resolve) as ByText<A, R> | undefined
