/**
 * Which definition uses which cookie name, in one application: two on one name would log each other out.
 *
 * @internal
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { SessionConfigError } from "../SessionError.ts"
import type { SessionFrontend } from "../SessionFrontend.ts"

/** An application is what is built with one memo map. */
const claimed = new WeakMap<Layer.MemoMap, Map<string, { readonly definition: string; uses: number }>>()

/** @internal */
export const claim = (
  definition: string,
  frontend: SessionFrontend["Service"]
): Effect.Effect<void, SessionConfigError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.gen(function* () {
      const context = yield* Effect.context<never>()
      const app = Context.getOrUndefined(context, Layer.CurrentMemoMap)
      if (app === undefined) return { cookies: [], names: new Map() }
      const names = claimed.get(app) ?? new Map<string, { readonly definition: string; uses: number }>()
      claimed.set(app, names)
      const cookies = frontend.security.flatMap((scheme) =>
        scheme._tag === "ApiKey" && scheme.in === "cookie" ? [scheme.key] : []
      )
      const problems = cookies.flatMap((name) => {
        const other = names.get(name)?.definition
        return other === undefined || other === definition
          ? []
          : [
              `the cookie "${name}" serves ${other} already; give ${definition} another: SessionFrontend.layerCookie({ name })`
            ]
      })
      if (problems.length > 0) return yield* new SessionConfigError({ problems })
      for (const name of cookies) names.set(name, { definition, uses: (names.get(name)?.uses ?? 0) + 1 })
      return { cookies, names }
    }),
    ({ cookies, names }) =>
      Effect.sync(() => {
        for (const name of cookies) {
          const held = names.get(name)
          if (held !== undefined && --held.uses === 0) names.delete(name)
        }
      })
  )
