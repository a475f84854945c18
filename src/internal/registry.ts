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

interface Swept {
  readonly namespace: string
  readonly id: string
  readonly principal: string | undefined
}

/** Answers `false` if it took too long. */
type TellSwept = (records: ReadonlyArray<Swept>) => Effect.Effect<boolean>

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
    /** Has a function told of the records of a namespace that expired and were swept, until the scope closes. */
    readonly onSwept: (namespace: string, tell: TellSwept) => Effect.Effect<void, never, Scope.Scope>
    /** Tells of them. Answers the namespaces whose function took too long. */
    readonly swept: (records: ReadonlyArray<Swept>) => Effect.Effect<ReadonlyArray<string>>
  }
>()("effect-sessions/internal/Registry") {}

export const layer: Layer.Layer<Registry> = Layer.sync(Registry, () => {
  /** How many layers of its owner use a name. */
  const uses = new Map<string, { readonly owner: Owner; count: number }>()
  /** Of a definition that has several managers the first one tells. */
  const tellers = new Map<string, Set<TellSwept>>()
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

    onSwept: (namespace, tell) =>
      Effect.asVoid(
        Effect.acquireRelease(
          Effect.sync(() => {
            const own = tellers.get(namespace) ?? new Set()
            tellers.set(namespace, own.add(tell))
          }),
          () =>
            Effect.sync(() => {
              const own = tellers.get(namespace)
              if (own?.delete(tell) && own.size === 0) tellers.delete(namespace)
            })
        )
      ),

    swept: (records) =>
      Effect.suspend(() => {
        if (tellers.size === 0) return Effect.succeed([])
        const slow: Array<string> = []
        const byNamespace = Map.groupBy(records, ({ namespace }) => namespace)
        return Effect.as(
          Effect.forEach(
            byNamespace,
            ([namespace, own]) => {
              const [tell] = tellers.get(namespace) ?? []
              if (tell === undefined) return Effect.void
              return Effect.map(tell(own), (isDone) => {
                if (!isDone) slow.push(namespace)
              })
            },
            { concurrency: "unbounded", discard: true }
          ),
          slow
        )
      }),

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
