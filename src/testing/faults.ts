/**
 * A backend that fails on demand, exported by `SessionTest`.
 *
 * @internal
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type Operation, SessionBackend, SessionBackendError } from "../SessionBackend.ts"
import * as SessionBackendMemory from "../SessionBackendMemory.ts"

/**
 * A fault of the backend. Without `outcome` and `delay` the call fails, and the operation is not carried out.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Fault {
  /**
   * The operation that fails.
   *
   * @default every operation
   */
  readonly operation?: Operation | undefined
  /**
   * Which call fails, counted from the injection: 1 is the next call.
   *
   * @default every call
   */
  readonly call?: number | undefined
  /**
   * - `"notApplied"`: the operation is not carried out, and the call fails
   * - `"unknown"`: the operation is carried out, and the call fails
   *
   * @default "notApplied", or no failure if there is a `delay`
   */
  readonly outcome?: "notApplied" | "unknown" | undefined
  /** How long the call waits before it is carried out, or fails. */
  readonly delay?: Duration.Input | undefined
}

/**
 * Controls the faults of `layerFaults` and `layerBackend`, and records the calls.
 *
 * @stability unstable
 * @category services
 * @since 0.1.0
 */
export class BackendFaults extends Context.Service<
  BackendFaults,
  {
    /** Adds a fault. If several apply to a call, the one added last decides. */
    readonly inject: (fault: Fault) => Effect.Effect<void>
    /** Removes all faults. */
    readonly heal: Effect.Effect<void>
    /** The operations called so far, in order. */
    readonly calls: Effect.Effect<ReadonlyArray<Operation>>
  }
>()("effect-sessions/testing/SessionTest/BackendFaults") {}

/**
 * Layer that wraps a backend: its calls fail or are delayed as `BackendFaults` says.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerFaults: Layer.Layer<SessionBackend | BackendFaults, never, SessionBackend> = Layer.effectContext(
  Effect.map(SessionBackend, (backend) => {
    let faults: ReadonlyArray<Fault & { callsLeft: number | undefined }> = []
    const calls: Array<Operation> = []

    const nextFault = (operation: Operation): Fault | undefined => {
      let found: Fault | undefined
      for (const fault of faults) {
        if (fault.operation !== undefined && fault.operation !== operation) continue
        if (fault.callsLeft !== undefined && --fault.callsLeft !== 0) continue
        found = fault
      }
      return found
    }

    const faulty = <A>(
      operation: Operation,
      call: () => Effect.Effect<A, SessionBackendError>
    ): Effect.Effect<A, SessionBackendError> =>
      Effect.suspend(() => {
        calls.push(operation)
        const fault = nextFault(operation)
        if (fault === undefined) return call()
        const outcome = fault.outcome ?? (fault.delay === undefined ? "notApplied" : undefined)
        const answer = Effect.suspend(() => {
          if (outcome === undefined) return call()
          const error = new SessionBackendError({ operation, outcome, cause: { _tag: "InjectedFault" } })
          return outcome === "unknown" ? Effect.andThen(call(), Effect.fail(error)) : Effect.fail(error)
        })
        return fault.delay === undefined ? answer : Effect.delay(answer, fault.delay)
      })

    return Context.make(BackendFaults, {
      inject: (fault) =>
        Effect.sync(() => {
          faults = [...faults, { ...fault, callsLeft: fault.call }]
        }),
      heal: Effect.sync(() => {
        faults = []
      }),
      calls: Effect.sync(() => [...calls])
    }).pipe(
      Context.add(SessionBackend, {
        create: (...args) => faulty("create", () => backend.create(...args)),
        read: (...args) => faulty("read", () => backend.read(...args)),
        update: (...args) => faulty("update", () => backend.update(...args)),
        touch: (...args) => faulty("touch", () => backend.touch(...args)),
        delete: (...args) => faulty("delete", () => backend.delete(...args)),
        deleteByPrincipal: (...args) => faulty("deleteByPrincipal", () => backend.deleteByPrincipal(...args)),
        listByPrincipal: (...args) => faulty("listByPrincipal", () => backend.listByPrincipal(...args)),
        deleteExpired: (...args) => faulty("deleteExpired", () => backend.deleteExpired(...args)),
        scan: (...args) => faulty("scan", () => backend.scan(...args)),
        ended: backend.ended
      })
    )
  })
)

/**
 * Layer of a memory backend that fails on demand, and of the service that controls its faults.
 *
 * **Details**
 *
 * Provide this layer to the stack and to the test in one `Effect.provide`: it is then built once, and both have the same
 * backend.
 *
 * **Example** (Failing a backend call)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Session } from "effect-sessions"
 * import { SessionTest } from "effect-sessions/testing"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String })
 * }) {}
 *
 * const program = Effect.gen(function*() {
 *   const faults = yield* SessionTest.BackendFaults
 *   yield* faults.inject({ operation: "create", call: 1 })
 *   return yield* Effect.flip((yield* UserSession.Manager).create({ username: "ada" }))
 * }).pipe(Effect.provide([
 *   SessionTest.layer(UserSession, { backend: SessionTest.layerBackend }),
 *   SessionTest.layerBackend
 * ]))
 *
 * console.assert((await Effect.runPromise(program))._tag === "SessionUnavailable")
 * ```
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerBackend: Layer.Layer<SessionBackend | BackendFaults> = layerFaults.pipe(
  Layer.provide(Layer.fresh(SessionBackendMemory.layer))
)
