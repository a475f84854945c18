/**
 * What a request with several tokens means: which session it has, and which it ends.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { Refusal, Session, SessionManager, Tagged } from "../../Session.ts"
import { SessionInvalid } from "../../SessionError.ts"
import type { SessionUnavailable } from "../../SessionError.ts"
import type { Credential, SessionFrontend, Transport } from "../../SessionFrontend.ts"
import { errorOf, failure } from "../exit.ts"
import { places, tokenLength } from "../token/format.ts"
import { textOf } from "../token/redacted.ts"

const ambiguousError = new SessionInvalid({ reason: "Ambiguous" })
const ambiguous = failure(ambiguousError)

/** Is told of what no manager knows. */
type OnRefused = ((error: SessionInvalid) => Effect.Effect<void>) | undefined

/** The tokens of a request. That it has none is no refusal yet: an open route may do without. */
export const extractFrom = (
  frontend: SessionFrontend["Service"],
  request: HttpServerRequest,
  onRefused: OnRefused
): ReturnType<SessionFrontend["Service"]["extract"]> => {
  const extracted = frontend.extract(request)
  return onRefused === undefined
    ? extracted
    : Effect.tapError(extracted, (error) => (error._tag === "SessionInvalid" ? onRefused(error) : Effect.void))
}

/** Each token once; of one that came by cookie and header, the header. */
export const distinct = (credentials: ReadonlyArray<Credential>): ReadonlyArray<Credential> => {
  if (credentials.length < 2) return credentials
  const byText = new Map<string, Credential>()
  for (const credential of credentials) {
    const text = textOf(credential.token)
    if (!byText.has(text) || credential.via === "header") byText.set(text, credential)
  }
  return [...byText.values()]
}

/**
 * Resolves each token; exactly one session may be valid among them. A cookie does not make up for an invalid token in a
 * header, and a backend that fails fails the request.
 */
export const chooseSession = <A, R extends ReadonlyArray<Tagged>>(
  credentials: ReadonlyArray<Credential>,
  resolve: (token: Redacted.Redacted<string>) => ReturnType<SessionManager<A, R>["resolve"]>,
  onRefused?: OnRefused
): Effect.Effect<readonly [Session<A>, Transport], SessionInvalid | Refusal<R> | SessionUnavailable> =>
  Effect.gen(function* () {
    const found = distinct(credentials)
    const exits = yield* Effect.forEach(found, ({ token }) => Effect.exit(resolve(token)), { concurrency: "unbounded" })
    let accepted: readonly [Session<A>, Transport] | undefined
    let refused: Exit.Exit<never, SessionInvalid | Refusal<R> | SessionUnavailable> | undefined
    let isHeaderRefused = false
    for (const [i, exit] of exits.entries()) {
      const { via } = found[i]!
      if (Exit.isSuccess(exit)) {
        if (accepted !== undefined && accepted[0].id !== exit.value.id) {
          if (onRefused !== undefined) yield* onRefused(ambiguousError)
          return yield* ambiguous
        }
        if (accepted === undefined || via === "header") accepted = [accepted?.[0] ?? exit.value, via]
      } else {
        const error = errorOf(exit.cause)
        const failed = Exit.failCause(exit.cause)
        if (error === undefined || error._tag === "SessionUnavailable") return yield* failed
        if (refused === undefined || (via === "header" && !isHeaderRefused)) refused = failed
        isHeaderRefused ||= via === "header"
      }
    }
    return accepted === undefined || (accepted[1] === "cookie" && isHeaderRefused) ? yield* refused! : accepted
  })

/** As many as the tokens that a request may carry and still be read. */
const maxEnded = 4

/** The id that a token names, authentic or not: a session may have had several tokens. */
export const idOf = ({ token }: Credential): string => {
  const text = textOf(token)
  return text.length === tokenLength ? text.slice(...places.id) : text
}

/**
 * Ends the sessions of authentic tokens, the first four at most, and logs if tokens are left. A forged token costs a MAC.
 * Answers how the first authentic token came.
 */
export const endSessions = (
  credentials: ReadonlyArray<Credential>,
  destroy: (token: Redacted.Redacted<string>) => Effect.Effect<boolean, SessionUnavailable>,
  namespace: string
): Effect.Effect<Transport | undefined, SessionUnavailable> => {
  if (credentials.length === 0) return Effect.succeed(undefined)
  return Effect.gen(function* () {
    const ended = new Set<string>()
    let via: Transport | undefined
    let failed: SessionUnavailable | undefined
    let waiting = distinct(credentials)
    while (waiting.length > 0 && ended.size < maxEnded) {
      const byId = new Map<string, Credential>()
      for (const credential of waiting) {
        if (byId.size === maxEnded - ended.size) break
        const id = idOf(credential)
        if (!byId.has(id)) byId.set(id, credential)
      }
      const batch = [...byId.values()]
      // Of one, which is the usual case, without a fork.
      const concurrency = batch.length
      const results = yield* Effect.forEach(batch, ({ token }) => Effect.result(destroy(token)), { concurrency })
      for (const [i, result] of results.entries()) {
        if (Result.isSuccess(result) && !result.success) continue
        const credential = batch[i]!
        ended.add(idOf(credential))
        via ??= credential.via
        if (Result.isFailure(result)) failed ??= result.failure
      }
      waiting = waiting.filter((credential) => !batch.includes(credential) && !ended.has(idOf(credential)))
    }
    if (failed !== undefined) return yield* Effect.fail(failed)
    if (waiting.length > 0) yield* warnOfMore(namespace)
    return via
  })
}

const warnOfMore = (namespace: string): Effect.Effect<void> =>
  Effect.annotateLogs(
    Effect.logWarning(`a request carried tokens of more than ${maxEnded} sessions: the first ${maxEnded} have ended`),
    { namespace }
  )
