/** A store whose calls wait until they are let go, and as many processes as there are actors, each with its own manager. */
import { NodeCrypto } from "@effect/platform-node"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Kdf from "effect/crypto/Kdf"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { LayerOptions, Session } from "../../src/Session.ts"
import * as SessionBackend from "../../src/SessionBackend.ts"
import * as SessionKeys from "../../src/SessionKeys.ts"
import { silent } from "./logs.ts"
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
  readonly process: () => Promise<Manager>
  readonly session: Session<Data>
  readonly run: <A, E>(effect: Effect.Effect<A, E>) => Promise<Exit.Exit<A, E>>
  readonly fork: (actor: string, effect: Effect.Effect<unknown, unknown>) => ReturnType<typeof Effect.runFork>
}

/** Time stands where it is put. Short pauses, between the rounds of an update, are over at once; deadlines never come. */
const clockAt = (time: { now: number }): Clock.Clock => ({
  currentTimeMillisUnsafe: () => time.now,
  currentTimeMillis: Effect.sync(() => time.now),
  currentTimeNanosUnsafe: () => BigInt(time.now) * 1_000_000n,
  currentTimeNanos: Effect.sync(() => BigInt(time.now) * 1_000_000n),
  monotonicTimeNanosUnsafe: () => BigInt(time.now) * 1_000_000n,
  monotonicTimeNanos: Effect.sync(() => BigInt(time.now) * 1_000_000n),
  sleep: (duration) => (Duration.toMillis(duration) <= 100 ? Effect.void : Effect.never)
})

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
  options?: LayerOptions
): Promise<World> => {
  const time = { now: 1_000_000 }
  const memory = Stack.memory()
  const parked: Array<Parked> = []
  const watched = WatchedBackend.over(breaking(memory))
  watched.wire = parking(parked)
  const context = (await common).pipe(
    Context.add(SessionBackend.SessionBackend, watched.service),
    Context.add(Clock.Clock, clockAt(time))
  )
  const run = <A, E>(effect: Effect.Effect<A, E>) =>
    Effect.runPromise(Effect.provideContext(Effect.exit(effect), context))
  const process = () =>
    Effect.runPromise(
      UserSession.Manager.pipe(
        Effect.provide(Stack.managerInContext(UserSession, options)),
        Effect.provideContext(context)
      )
    )
  const manager = await process()
  const exit = await run(manager.create(ada))
  if (Exit.isFailure(exit)) throw new Error("no session")
  return {
    time,
    memory,
    parked,
    manager,
    process,
    run,
    session: exit.value,
    fork: (actor, effect) =>
      Effect.runFork(effect.pipe(Effect.provideService(Actor, actor), Effect.provideContext(context)))
  }
}

/** The record of the world's session, past all that parks. */
export const recordIn = (world: World) =>
  Option.getOrUndefined(Effect.runSync(world.memory.read(UserSession.key, world.session.id)))
