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
import * as Exit from "effect/Exit"
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
  /** `destroy`, if the token was issued here: a request with a forged one is treated as if it carried none. */
  readonly ending: (text: string) => Effect.Effect<Effect.Effect<void, SessionUnavailable> | undefined>
}

interface Twins<A, R extends ReadonlyArray<Tagged>> {
  readonly byText: ByText<A, R>
  readonly destroy: SessionManager<A, R>["destroy"]
}

const twinsOfResolve = new WeakMap<object, unknown>()

/** @internal */
export const withTexts = <A, R extends ReadonlyArray<Tagged>>(
  manager: SessionManager<A, R>,
  byText: ByText<A, R>
): SessionManager<A, R> => {
  const twins: Twins<A, R> = { byText, destroy: manager.destroy }
  twinsOfResolve.set(manager.resolve, twins)
  return manager
}

const twinsOf = <A, R extends ReadonlyArray<Tagged>>(manager: SessionManager<A, R>): Twins<A, R> | undefined =>
  // Found under the function whose types these are.
  twinsOfResolve.get(manager.resolve) as Twins<A, R> | undefined

/**
 * What `resolve` answers of a token's text.
 *
 * @internal
 */
export const resolveText = <A, R extends ReadonlyArray<Tagged>>(
  manager: SessionManager<A, R>,
  text: string,
  clock: Clock.Clock
): ReturnType<SessionManager<A, R>["resolve"]> => {
  const twins = twinsOf(manager)
  return twins === undefined ? manager.resolve(redact(text)) : twins.byText.resolve(text, clock)
}

/**
 * How to end the session of a token, if the token is known to have been issued here, or nothing is known of it.
 *
 * @internal
 */
export const endingOf = <A, R extends ReadonlyArray<Tagged>>(
  manager: SessionManager<A, R>,
  text: string
): ReturnType<ByText<A, R>["ending"]> => {
  const twins = twinsOf(manager)
  if (twins === undefined) return Exit.succeed(manager.destroy(redact(text)))
  return Effect.mapEager(twins.byText.ending(text), (ending) =>
    ending === undefined || manager.destroy === twins.destroy ? ending : manager.destroy(redact(text))
  )
}
