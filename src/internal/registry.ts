/**
 * What the session layers of one application share: which definition uses which name, and the configuration problems of
 * each. The layer is a constant, so Layer's own memoisation builds one registry for each application.
 *
 * @internal
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { SessionConfigError } from "../SessionError.ts"

interface Owner {
  readonly key: string
}

export class Registry extends Context.Service<
  Registry,
  {
    /** Takes names for a definition until the scope closes. Answers the problems with those that another has taken. */
    readonly claim: (
      owner: Owner,
      names: ReadonlyArray<readonly [name: string, problem: (other: string) => string]>
    ) => Effect.Effect<ReadonlyArray<string>, never, Scope.Scope>
    /** Fails if a layer has problems, with those of the layers built beside it too: Layer reports only the first. */
    readonly check: (
      layer: string,
      problems: ReadonlyArray<string>
    ) => Effect.Effect<void, SessionConfigError, Scope.Scope>
  }
>()("effect-sessions/internal/Registry") {}

export const layer: Layer.Layer<Registry> = Layer.sync(Registry, () => {
  /** How many layers of its owner use a name. */
  const uses = new Map<string, { readonly owner: Owner; count: number }>()
  const found = new Set<{ readonly layer: string; readonly problems: ReadonlyArray<string> }>()

  return {
    claim: (owner, names) =>
      Effect.forEach(names, ([name, problem]) => {
        const take = Effect.sync(() => {
          const use = uses.get(name) ?? { owner, count: 0 }
          if (use.owner !== owner) return [problem(use.owner.key)]
          use.count++
          uses.set(name, use)
          return []
        })
        return Effect.acquireRelease(take, (problems) =>
          Effect.sync(() => {
            const use = uses.get(name)
            if (problems.length === 0 && use !== undefined && --use.count === 0) uses.delete(name)
          })
        )
      }).pipe(Effect.map((problems) => problems.flat())),

    check: (layer, problems) => {
      if (problems.length === 0) return Effect.void
      const own = { layer, problems }
      return Effect.acquireRelease(
        Effect.sync(() => found.add(own)),
        () => Effect.sync(() => found.delete(own))
      ).pipe(
        // Meanwhile the layers beside this one check theirs.
        Effect.andThen(Effect.yieldNow),
        Effect.andThen(
          Effect.suspend(() => {
            const all = [...found]
            return new SessionConfigError({
              layers: all.map(({ layer }) => layer),
              problems: all.flatMap(({ problems }) => problems)
            })
          })
        )
      )
    }
  }
})
