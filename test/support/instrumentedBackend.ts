/** A memory backend whose every call is counted, and can be delayed, failed or lost on its way. */
import { Effect, Layer, Option } from "effect"
import { SessionBackend, SessionBackendMemory } from "effect-sessions"

type Service = SessionBackend.SessionBackend["Service"]

/** What becomes of a call: by default it is made. */
export type Wire = <A>(
  operation: SessionBackend.Operation,
  call: Effect.Effect<A, SessionBackend.SessionBackendError>
) => Effect.Effect<A, SessionBackend.SessionBackendError>

export interface InstrumentedBackend {
  readonly layer: Layer.Layer<SessionBackend.SessionBackend>
  /** The operations called so far, in order. */
  readonly calls: Array<SessionBackend.Operation>
  /** May be replaced at any time. */
  wire: Wire
  /** The records stored now, whatever the wire does. */
  readonly stored: Effect.Effect<ReadonlyArray<SessionBackend.SessionRecord>>
}

export const failure = (
  operation: SessionBackend.Operation,
  outcome: "notApplied" | "unknown" = "notApplied"
): Effect.Effect<never, SessionBackend.SessionBackendError> =>
  Effect.fail(new SessionBackend.SessionBackendError({ operation, outcome, cause: new Error("connection refused") }))

export const make = (): Effect.Effect<InstrumentedBackend> =>
  Effect.map(Effect.provide(SessionBackend.SessionBackend, Layer.fresh(SessionBackendMemory.layer)), (inner) => {
    const calls: Array<SessionBackend.Operation> = []
    const created = new Map<string, string>()
    const through = <A>(
      operation: SessionBackend.Operation,
      call: Effect.Effect<A, SessionBackend.SessionBackendError>
    ) =>
      Effect.suspend(() => {
        calls.push(operation)
        return instrumented.wire(operation, call)
      })
    const service: Service = {
      create: (record) => {
        created.set(record.id, record.namespace)
        return through("create", inner.create(record))
      },
      read: (namespace, id) =>
        through(
          "read",
          Effect.suspend(() => inner.read(namespace, id))
        ),
      update: (namespace, id, version, patch) => through("update", inner.update(namespace, id, version, patch)),
      touch: (namespace, id, seen) => through("touch", inner.touch(namespace, id, seen)),
      delete: (namespace, id, options) => through("delete", inner.delete(namespace, id, options)),
      deleteByPrincipal: (namespace, principal, options) =>
        through("deleteByPrincipal", inner.deleteByPrincipal(namespace, principal, options)),
      listByPrincipal: (namespace, principal, options) =>
        through("listByPrincipal", inner.listByPrincipal(namespace, principal, options)),
      deleteExpired: (options) => through("deleteExpired", inner.deleteExpired(options))
    }
    const instrumented: InstrumentedBackend = {
      layer: Layer.succeed(SessionBackend.SessionBackend, service),
      calls,
      wire: (_, call) => call,
      stored: Effect.orDie(
        Effect.map(
          Effect.forEach(created, ([id, namespace]) => inner.read(namespace, id)),
          (found) => found.flatMap(Option.toArray)
        )
      )
    }
    return instrumented
  })
