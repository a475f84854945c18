/**
 * What the session layers of one application share: which definition uses which name and with what settings, the
 * configuration problems of each, and who is told of sweeps. The layer is a constant, so Layer's own memoisation builds
 * one registry for each application.
 *
 * @internal
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { DeletedRecord } from "../SessionBackend.ts"
import { SessionConfigError } from "../SessionError.ts"

interface Owner {
  readonly key: string
}

let made = 0

/** The number of the layer that is built. A layer that the program made later has a greater one. */
const Made = Context.Reference<number>("effect-sessions/internal/Registry/Made", { defaultValue: () => 0 })

/** Numbers a layer that the program makes now. A layer that is a part of another has the number of that one. */
export const numbered = <A, E, R>(self: Layer.Layer<A, E, R>): Layer.Layer<A, E, R> => {
  const own = ++made
  const number = Layer.effect(
    Made,
    Effect.map(Made, (outer) => outer || own)
  )
  return Layer.provide(self, number)
}

/** A setting in which the layers of a name must agree, and how it is told. A secret is told as what it is. */
export type Setting = readonly [value: unknown, text: string]

/** A setting that is a function is compared by identity: what two of them do cannot be. */
export const functionSetting = (given: unknown): Setting => [given, given === undefined ? "not set" : "a function"]

/** The problem where two definitions have one identifier, whichever of their names is met first. */
export const twins = (key: string): string =>
  `two session definitions have the identifier "${key}": give each its own, in Session.Service()("…"). If they are one, whose module was loaded twice, keep its runtime on globalThis, or dispose of the first`

export interface Claim {
  readonly name: string
  /** The problem where another definition has the name. None has one that holds the definition's identifier. */
  readonly taken?: (other: string) => string
  readonly settings: Readonly<Record<string, Setting>>
  /** The problem where another layer of the definition has other settings. */
  readonly differ: (differences: string) => string
}

/** A name in use. */
interface Use {
  readonly owner: Owner
  readonly settings: Readonly<Record<string, Setting>>
  /** How many layers had been made when the last of them was built. */
  built: number
  count: number
}

const differencesOf = (one: Use["settings"], other: Use["settings"]): ReadonlyArray<string> =>
  Object.entries(one).flatMap(([name, [value, text]]) => {
    const [otherValue, otherText] = other[name] ?? [undefined, "not set"]
    if (Equal.equals(value, otherValue)) return []
    return text === otherText
      ? [`each has ${text} of its own as ${name}`]
      : [`${name} is ${otherText} in one and ${text} in the other`]
  })

/** Whether modules may be loaded again: not in production, which is not known where the environment may not be read. */
const mayReload: Effect.Effect<boolean> = Effect.map(
  Effect.exit(Config.String("NODE_ENV")),
  (environment) => !(Exit.isSuccess(environment) && environment.value === "production")
)

/** Is told, batch after batch, of what a sweep has deleted. */
type Sweep = (deleted: ReadonlyArray<DeletedRecord>) => Effect.Effect<void>

export class Registry extends Context.Service<
  Registry,
  {
    /**
     * Takes names for a definition until the scope closes. Answers the problems with those that another definition has
     * taken, or this one with other settings.
     *
     * A layer of the same identifier that was made after those that hold a name had been built is taken for theirs made
     * anew, by a dev server that has loaded its module again. It takes the name over, with a warning; not in production,
     * where no module is loaded again.
     */
    readonly claim: (
      owner: Owner,
      claims: ReadonlyArray<Claim>
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
  /** Of each name, the last one counts; those before it are what reloaded modules have left open. */
  const uses = new Map<string, ReadonlyArray<Use>>()
  /** Of a definition that has several managers the newest tells: their handlers are one, unless a module was reloaded. */
  const tellers = new Map<string, Set<() => Sweep>>()
  const found = new Set<{ readonly layer: string; readonly problems: ReadonlyArray<string> }>()
  /** Layers of reloaded modules that were warned of: a manager and its HTTP part are one layer. */
  const warned = new Set<number>()

  interface Taken {
    readonly use?: Use
    readonly problems: ReadonlyArray<string>
    readonly isReloaded?: boolean
  }

  /** Whether the layers that use a name are taken for an older version of those that claim it. */
  const looksReloaded = (owner: Owner, number: number, { name }: Claim): boolean => {
    const use = uses.get(name)?.at(-1)
    return use !== undefined && use.owner.key === owner.key && number > use.built
  }

  const take = (owner: Owner, number: number, claim: Claim, mayReload: boolean): Taken => {
    const { differ, name, settings, taken } = claim
    const before = uses.get(name) ?? []
    const use = before.at(-1)
    if (use !== undefined) {
      const differences = differencesOf(settings, use.settings)
      if (use.owner === owner && differences.length === 0) {
        use.built = made
        use.count++
        return { use, problems: [] }
      }
      if (!mayReload || !looksReloaded(owner, number, claim)) {
        return {
          problems: [use.owner === owner || taken === undefined ? differ(differences.join("; ")) : taken(use.owner.key)]
        }
      }
    }
    const next = { owner, settings, built: made, count: 1 }
    uses.set(name, [...before, next])
    return { use: next, problems: [], isReloaded: use !== undefined }
  }

  return {
    claim: (owner, claims) =>
      Effect.forEach(claims, (claim) =>
        Effect.acquireRelease(
          Effect.gen(function* () {
            const number = yield* Made
            // The environment is asked only where it matters: Deno may have to ask the user.
            return take(owner, number, claim, looksReloaded(owner, number, claim) && (yield* mayReload))
          }),
          ({ use }) =>
            Effect.sync(() => {
              if (use === undefined || --use.count > 0) return
              const others = uses.get(claim.name)?.filter((other) => other !== use) ?? []
              if (others.length === 0) uses.delete(claim.name)
              else uses.set(claim.name, others)
            })
        )
      ).pipe(
        Effect.tap((all) =>
          Effect.flatMap(Made, (number) => {
            if (warned.has(number) || !all.some(({ isReloaded }) => isReloaded)) return Effect.void
            warned.add(number)
            return Effect.logWarning(
              "session layers were made anew while others of the identifier are open, as by a module that is loaded again: dispose of the old runtime. In production this is refused"
            ).pipe(Effect.annotateLogs({ definition: owner.key }))
          })
        ),
        Effect.map((all) => all.flatMap(({ problems }) => problems))
      ),

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
            const begin = [...(tellers.get(namespace) ?? [])].at(-1)
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
            // Parts of one layer may meet the same problem.
            const all = Map.groupBy(found, ({ layer }) => layer)
            return new SessionConfigError({
              layers: [...all.keys()],
              problems: [...all.values()].flatMap((own) => Array.from(new Set(own.flatMap(({ problems }) => problems))))
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
export const effect = <I, S, E, R>(key: Context.Key<I, S>, make: Effect.Effect<S, E, R>) =>
  Layer.provide(Layer.effect(key, gathering(make)), layer)

/** Layer that does something and provides nothing. */
export const effectDiscard = <E, R>(self: Effect.Effect<void, E, R>) =>
  Layer.provide(Layer.effectDiscard(gathering(self)), layer)
