/**
 * What the session layers of one application share: which definition uses which name, the configuration problems of
 * each, and who is told of sweeps. The layer is a constant, so Layer's own memoisation builds one registry for each
 * application.
 *
 * @internal
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { DeletedRecord } from "../SessionBackend.ts"
import { SessionConfigError } from "../SessionError.ts"

interface Owner {
  readonly key: string
}

/** Is told, batch after batch, of what a sweep has deleted. */
type Sweep = (deleted: ReadonlyArray<DeletedRecord>) => Effect.Effect<void>

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
    /** Has each sweep tell of the records of a namespace, until the scope closes. */
    readonly onSweep: (namespace: string, begin: () => Sweep) => Effect.Effect<void, never, Scope.Scope>
    /** Begins a sweep. */
    readonly sweep: () => Sweep
  }
>()("effect-sessions/internal/Registry") {}

export const layer: Layer.Layer<Registry> = Layer.sync(Registry, () => {
  /** How many layers of its owner use a name. */
  const uses = new Map<string, { readonly owner: Owner; count: number }>()
  /** Of a definition that has several managers the first one tells. */
  const tellers = new Map<string, Set<() => Sweep>>()
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

    onSweep: (namespace, begin) =>
      Effect.asVoid(
        Effect.acquireRelease(
          Effect.sync(() => {
            const own = tellers.get(namespace) ?? new Set()
            tellers.set(namespace, own.add(begin))
          }),
          () =>
            Effect.sync(() => {
              const own = tellers.get(namespace)
              if (own?.delete(begin) && own.size === 0) tellers.delete(namespace)
            })
        )
      ),

    sweep: () => {
      const begun = new Map<() => Sweep, Sweep>()
      return (deleted) =>
        Effect.forEach(
          Map.groupBy(deleted, ({ namespace }) => namespace),
          ([namespace, own]) => {
            const [begin] = tellers.get(namespace) ?? []
            if (begin === undefined) return Effect.void
            const tell = begun.get(begin) ?? begin()
            begun.set(begin, tell)
            return tell(own)
          },
          { concurrency: "unbounded", discard: true }
        )
    },

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

/** Where making a service fails with problems, those of the layers built beside its own are told too. */
const gathering = <A, E, R>(
  make: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SessionConfigError, R | Registry | Scope.Scope> =>
  Effect.flatMap(Registry, ({ check }) =>
    Effect.tapError(make, (error) =>
      error instanceof SessionConfigError ? check(error.layers?.join(", ") ?? "", error.problems) : Effect.void
    )
  )

/** Layer of a service from its `make`. */
export const effect = <I, S, E, R>(
  key: Context.Key<I, S>,
  make: Effect.Effect<S, E, R>
): Layer.Layer<I, E | SessionConfigError, Exclude<R, Registry | Scope.Scope>> =>
  // The compiler takes nothing out of an abstract `R`.
  Layer.effect(key, gathering(make)).pipe(Layer.provide(layer)) as Layer.Layer<
    I,
    E | SessionConfigError,
    Exclude<R, Registry | Scope.Scope>
  >

/** Layer that does something and provides nothing. */
export const effectDiscard = <E, R>(
  effect: Effect.Effect<void, E, R>
): Layer.Layer<never, E | SessionConfigError, Exclude<R, Registry | Scope.Scope>> =>
  // The compiler takes nothing out of an abstract `R`.
  Layer.effectDiscard(gathering(effect)).pipe(Layer.provide(layer)) as Layer.Layer<
    never,
    E | SessionConfigError,
    Exclude<R, Registry | Scope.Scope>
  >
