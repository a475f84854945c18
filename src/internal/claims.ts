/**
 * Which definition uses which identifier and which cookie, in one application. Two definitions with one identifier
 * would let each other's users in, two on one cookie name would log each other out.
 *
 * @internal
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { SessionConfigError } from "../SessionError.ts"
import type { SessionFrontend } from "../SessionFrontend.ts"

/** Who uses a name, and how many layers of theirs do. */
interface Use {
  readonly owner: { readonly key: string }
  count: number
}

/** An application is what is built with one memo map. */
const claimed = new WeakMap<Layer.MemoMap, Map<string, Use>>()

const claim = (
  owner: { readonly key: string },
  names: ReadonlyArray<string>,
  problem: (name: string, other: string) => string
): Effect.Effect<void, SessionConfigError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.gen(function* () {
      const app = Context.getOrUndefined(yield* Effect.context<never>(), Layer.CurrentMemoMap)
      const uses = (app && claimed.get(app)) ?? new Map<string, Use>()
      if (app !== undefined) claimed.set(app, uses)
      const problems = names.flatMap((name) => {
        const other = uses.get(name)?.owner
        return other === undefined || other === owner ? [] : [problem(name, other.key)]
      })
      if (problems.length > 0) return yield* new SessionConfigError({ problems })
      for (const name of names) uses.set(name, { owner, count: (uses.get(name)?.count ?? 0) + 1 })
      return uses
    }),
    (uses) =>
      Effect.sync(() => {
        for (const name of names) {
          const use = uses.get(name)
          if (use !== undefined && --use.count === 0) uses.delete(name)
        }
      })
  )

/** @internal */
export const identifier = (owner: { readonly key: string }): Effect.Effect<void, SessionConfigError, Scope.Scope> =>
  claim(
    owner,
    [`identifier ${owner.key}`],
    () => `two session definitions have the identifier "${owner.key}": give each its own, in Session.Service()("…")`
  )

/** @internal */
export const cookies = (
  owner: { readonly key: string },
  frontend: SessionFrontend["Service"]
): Effect.Effect<void, SessionConfigError, Scope.Scope> =>
  claim(
    owner,
    frontend.security.flatMap((scheme) => (scheme._tag === "ApiKey" && scheme.in === "cookie" ? [scheme.key] : [])),
    (name, other) =>
      `the cookie "${name}" serves ${other} already; give ${owner.key} another: SessionFrontend.layerCookie({ name })`
  )
