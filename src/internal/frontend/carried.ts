/**
 * Every token of a request, for log-out.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"

export const carriedBy = <C, E>(
  frontend: {
    readonly extract: (request: HttpServerRequest) => Effect.Effect<ReadonlyArray<C>, E>
    readonly carried?: ((request: HttpServerRequest) => Effect.Effect<ReadonlyArray<C>>) | undefined
  },
  request: HttpServerRequest
): Effect.Effect<ReadonlyArray<C>> =>
  frontend.carried?.(request) ??
  Effect.match(frontend.extract(request), { onFailure: () => [], onSuccess: (credentials) => credentials })
