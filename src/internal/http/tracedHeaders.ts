/**
 * Whether the application's tracer records the tokens of requests. Effect's records no header unless it is told to, and of
 * those it is told to record it hides some by name: a header of an application's own is not among them.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Headers from "effect/http/Headers"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import type { FrontendPolicy } from "./binding.ts"

/** Warns, once for each frontend, if spans show a header that a token travels in. */
export const warnOnce = (
  fiber: Fiber.Fiber<unknown, unknown>,
  policy: FrontendPolicy,
  namespace: string
): Effect.Effect<void> | undefined => {
  if (policy.hasLookedAtTracer) return undefined
  policy.hasLookedAtTracer = true
  const isRecorded = fiber.getRef(HttpMiddleware.TracerHeaderFilter)
  const redacted = fiber.getRef(Headers.CurrentRedactedNames)
  const shown = policy.vary
    .map((name) => name.toLowerCase())
    .filter((name) => isRecorded(name, "request") || isRecorded(name, "response"))
    .filter((name) => !Headers.isRedactedName(name, redacted))
  return shown.length === 0
    ? undefined
    : Effect.logWarning(
        `the tracer records tokens: add ${shown.map((name) => `"${name}"`).join(", ")} to Headers.CurrentRedactedNames of the server, or take it out of HttpMiddleware.TracerHeaderFilter`
      ).pipe(Effect.annotateLogs({ namespace }))
}
