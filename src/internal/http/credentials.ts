/**
 * What a request with several tokens means: which session it has, and which it ends.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { Refusal, Session, SessionManager, Tagged } from "../../Session.ts"
import { SessionInvalid } from "../../SessionError.ts"
import type { SessionUnavailable } from "../../SessionError.ts"
import type { Credential, Transport } from "../../SessionFrontend.ts"
import { failure } from "../exit.ts"

const ambiguous = failure(new SessionInvalid({ reason: "Ambiguous" }))

/** Each token once; of one that came by cookie and header, the header. */
const distinct = <C extends { readonly token: Redacted.Redacted<string>; readonly via?: Transport }>(
  credentials: ReadonlyArray<C>
): ReadonlyArray<C> => {
  const byText = new Map<string, C>()
  for (const credential of credentials) {
    const text = Redacted.value(credential.token)
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
  resolve: SessionManager<A, R>["resolve"]
): Effect.Effect<readonly [Session<A>, Transport], SessionInvalid | Refusal<R> | SessionUnavailable> =>
  Effect.gen(function* () {
    let accepted: readonly [Session<A>, Transport] | undefined
    let refused: Exit.Exit<never, SessionInvalid | Refusal<R> | SessionUnavailable> | undefined
    let isHeaderRefused = false
    for (const { token, via } of distinct(credentials)) {
      const exit = yield* Effect.exit(resolve(token))
      if (Exit.isSuccess(exit)) {
        if (accepted !== undefined && accepted[0].id !== exit.value.id) return yield* ambiguous
        if (accepted === undefined || via === "header") accepted = [accepted?.[0] ?? exit.value, via]
      } else {
        const error = Option.getOrUndefined(Exit.findErrorOption(exit))
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

/**
 * Ends the sessions of authentic tokens, the first four at most, and logs if there are more. A forged token costs a MAC.
 * Answers how the first authentic token came, of those that came with the request.
 */
export const endSessions = (
  credentials: ReadonlyArray<{ readonly token: Redacted.Redacted<string>; readonly via?: Transport }>,
  destroy: (token: Redacted.Redacted<string>) => Effect.Effect<boolean, SessionUnavailable>,
  namespace: string
): Effect.Effect<Transport | undefined, SessionUnavailable> =>
  Effect.gen(function* () {
    const waiting = [...distinct(credentials)]
    let ended = 0
    let via: Transport | undefined
    let failed: SessionUnavailable | undefined
    while (waiting.length > 0 && ended < maxEnded) {
      const batch = waiting.splice(0, maxEnded - ended)
      const results = yield* Effect.forEach(batch, ({ token }) => Effect.result(destroy(token)), {
        concurrency: "unbounded"
      })
      for (const [i, result] of results.entries()) {
        if (Result.isSuccess(result) && !result.success) continue
        ended++
        via ??= batch[i]!.via
        if (Result.isFailure(result)) failed ??= result.failure
      }
    }
    if (failed !== undefined) return yield* failed
    if (waiting.length > 0) {
      yield* Effect.annotateLogs(
        Effect.logWarning(
          `a request carried more than ${maxEnded} tokens: only the first ${maxEnded} sessions have ended`
        ),
        { namespace }
      )
    }
    return via
  })
