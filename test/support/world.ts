/** A store whose calls wait until they are let go, and as many processes as there are actors, each with its own manager. */
import { NodeCrypto } from "@effect/platform-node"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Kdf from "effect/crypto/Kdf"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import type { LayerOptions, Session } from "../../src/Session.ts"
import * as SessionBackend from "../../src/SessionBackend.ts"
import * as SessionKeys from "../../src/SessionKeys.ts"
import { silent } from "./logs.ts"
import * as Random from "./random.ts"
import { Actor, parking } from "./schedules.ts"
import type { Parked } from "./schedules.ts"
import { ada, secretA, UserSession } from "./userSession.ts"
import type { Data, Manager } from "./userSession.ts"
import * as Stack from "./stack.ts"
import type { Backend } from "./stack.ts"
import * as WatchedBackend from "./watchedBackend.ts"

export interface World {
  readonly time: { now: number }
  readonly memory: Backend
  readonly parked: Array<Parked>
  /** Of the process that made the session. */
  readonly manager: Manager
  /** A process of its own: its updates do not queue behind another's. */
  readonly process: (options?: LayerOptions) => Promise<Manager>
  /** Runs an effect by a clock that is ahead by so many milliseconds. */
  readonly ahead: (millis: number) => <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>
  readonly session: Session<Data>
  readonly run: <A, E>(effect: Effect.Effect<A, E>) => Promise<Exit.Exit<A, E>>
  /** Runs an actor, in a process that it has for itself unless another is named. */
  readonly fork: (
    actor: string,
    effect: Effect.Effect<unknown, unknown>,
    process?: string
  ) => ReturnType<typeof Effect.runFork>
}

/** Time stands where it is put. Short pauses, between the rounds of an update, are over at once; deadlines never come. */
const clockAt = (time: { readonly now: number }, ahead = 0): Clock.Clock => {
  const millis = () => time.now + ahead
  const nanos = () => BigInt(millis()) * 1_000_000n
  return {
    currentTimeMillisUnsafe: millis,
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: nanos,
    monotonicTimeNanos: Effect.sync(nanos),
    sleep: (duration) => (Duration.toMillis(duration) <= 100 ? Effect.void : Effect.never)
  }
}

/** Draws that look random and depend on the process alone, so that a schedule can be run again. */
const randomOf = (process: number) => {
  const { below } = Random.make(0x9e3779b9 + process)
  return SecureRandom.make((size) => new Uint8Array(size).map(() => below(256)))
}

/** Derives each key once: a test makes thousands of managers over the same secret, and derivation is slow. */
const layerRememberingKdf = Layer.effect(
  Kdf.Kdf,
  Effect.map(Kdf.Kdf, (kdf) => {
    const known = new Map<string, Uint8Array>()
    return Kdf.Kdf.of({
      derive: (algorithm, secret, options) =>
        Effect.suspend(() => {
          const name = [secret, options.info ?? secret].map((bytes) => Buffer.from(bytes).toString("hex")).join()
          const key = known.get(name)
          return key !== undefined
            ? Effect.succeed(key)
            : Effect.tap(kdf.derive(algorithm, secret, options), (key) => Effect.sync(() => known.set(name, key)))
        })
    })
  })
).pipe(Layer.provide(NodeCrypto.layer))

/** What all worlds have in common, made once. */
const common = Effect.runPromise(
  Effect.scoped(
    Layer.build(
      Layer.merge(
        Stack.parts(UserSession, {
          keys: SessionKeys.layer(Redacted.make(secretA)).pipe(Layer.provide(layerRememberingKdf)),
          crypto: NodeCrypto.layer
        }),
        silent
      )
    )
  )
)

export const makeWorld = async (
  breaking: (memory: Backend) => Backend = (memory) => memory,
  data: Data = ada,
  quiet?: string
): Promise<World> => {
  const time = { now: 1_000_000 }
  const memory = Stack.memory()
  const parked: Array<Parked> = []
  const watched = WatchedBackend.over(breaking(memory))
  watched.wire = parking(parked, quiet)
  const context = (await common).pipe(
    Context.add(SessionBackend.SessionBackend, watched.service),
    Context.add(Clock.Clock, clockAt(time))
  )
  const run = <A, E>(effect: Effect.Effect<A, E>) =>
    Effect.runPromise(Effect.provideContext(Effect.exit(effect), context))
  let processes = 0
  const process: World["process"] = (options) => {
    const random = randomOf(++processes)
    return Effect.runPromise(
      Layer.build(Stack.managerInContext(UserSession, options)).pipe(
        Effect.map((built) => Context.get(built, UserSession.Manager)),
        Effect.provideContext(Context.add(context, SecureRandom.SecureRandom, random)),
        // A process lives as long as its world.
        Scope.provide(Scope.makeUnsafe())
      )
    )
  }
  const manager = await process()
  const exit = await run(manager.create(data))
  if (Exit.isFailure(exit)) throw new Error("no session")
  return {
    time,
    memory,
    parked,
    manager,
    process,
    ahead: (millis) => Effect.provideService(Clock.Clock, clockAt(time, millis)),
    run,
    session: exit.value,
    fork: (name, effect, process = name) =>
      Effect.runFork(
        effect.pipe(Effect.provideService(Actor, { name, process, calls: 0 }), Effect.provideContext(context))
      )
  }
}

/** The record of the world's session, past all that parks. */
export const recordIn = (world: World) =>
  Option.getOrUndefined(Effect.runSync(world.memory.read(UserSession.key, world.session.id)))
