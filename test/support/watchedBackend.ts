/**
 * A backend whose every call is written down with its arguments, and can be delayed, failed, lost or held up on its
 * way. The one wrapper of backends in these tests.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as SessionBackend from "../../src/SessionBackend.ts"
import type * as SessionBackendMemory from "../../src/SessionBackendMemory.ts"
import * as Stack from "./stack.ts"
import type { Backend } from "./stack.ts"

type Operation = SessionBackend.Operation
type Answer<A> = Effect.Effect<A, SessionBackend.SessionBackendError>

export interface Call {
  readonly operation: Operation
  readonly args: ReadonlyArray<unknown>
}

/** What becomes of a call. It is made when `run` runs. */
export type Wire = <A>(operation: Operation, run: Answer<A>, args: ReadonlyArray<unknown>) => Answer<A>

export interface WatchedBackend {
  readonly service: Backend
  readonly layer: Layer.Layer<SessionBackend.SessionBackend>
  /** The calls so far, in order. To forget them, set its length to 0. */
  readonly calls: Array<Call>
  /** The operations of `calls`. */
  readonly operations: ReadonlyArray<Operation>
  readonly count: (operation: Operation) => number
  /** By default each call is made. May be replaced at any time. */
  wire: Wire
  /** The sessions stored now, of all that were created through this wrapper, whatever the wire does. */
  readonly records: Effect.Effect<ReadonlyArray<SessionBackend.SessionRecord>>
  /** The fences stored now, which are records in a namespace of their own. */
  readonly fences: Effect.Effect<ReadonlyArray<SessionBackend.SessionRecord>>
  /** The claims of adopted sessions stored now, in a namespace of their own too. */
  readonly claims: Effect.Effect<ReadonlyArray<SessionBackend.SessionRecord>>
}

const operations = [
  "create",
  "read",
  "update",
  "touch",
  "delete",
  "deleteByPrincipal",
  "listByPrincipal",
  "deleteExpired",
  "scan"
] as const satisfies ReadonlyArray<Operation>

/** A backend with `f` in the place of each operation; `ask` makes the call of the one it stands for. */
export const mapOperations = (
  backend: Backend,
  f: <A>(operation: Operation, ask: () => Answer<A>, args: ReadonlyArray<unknown>) => Answer<A>
): Backend => {
  const mapped: Record<string, unknown> = {}
  for (const operation of operations) {
    // One function for eight signatures: what goes in and comes out is passed on as it is.
    const original = backend[operation] as (...args: ReadonlyArray<unknown>) => Answer<unknown>
    mapped[operation] = (...args: ReadonlyArray<unknown>) => f(operation, () => original(...args), args)
  }
  // Not an operation: a subscription, which is passed on.
  mapped["ended"] = backend.ended
  // Each operation was put in by its name.
  return mapped as unknown as Backend
}

export const over = (backend: Backend): WatchedBackend => {
  const calls: Array<Call> = []
  const created = new Map<string, SessionBackend.SessionRecord>()
  const service = mapOperations(backend, (operation, ask, args) =>
    Effect.suspend(() => {
      calls.push({ operation, args })
      if (operation === "create") {
        const record = args[0] as SessionBackend.SessionRecord
        created.set(`${record.namespace} ${record.id}`, record)
      }
      return watched.wire(operation, Effect.suspend(ask), args)
    })
  )
  const stored = Effect.suspend(() =>
    Effect.forEach(created.values(), ({ id, namespace }) => backend.read(namespace, id))
  ).pipe(
    Effect.map((found) => found.flatMap(Option.toArray)),
    Effect.orDie
  )
  const isIn =
    (end: string) =>
    ({ namespace }: SessionBackend.SessionRecord) =>
      namespace.endsWith(end)
  const [isFence, isClaim] = [isIn("/fence"), isIn("/adopted")]
  const watched: WatchedBackend = {
    service,
    layer: Layer.succeed(SessionBackend.SessionBackend, service),
    calls,
    get operations() {
      return calls.map((call) => call.operation)
    },
    count: (operation) => calls.filter((call) => call.operation === operation).length,
    wire: (_, run) => run,
    records: Effect.map(stored, (all) => all.filter((record) => !isFence(record) && !isClaim(record))),
    fences: Effect.map(stored, (all) => all.filter(isFence)),
    claims: Effect.map(stored, (all) => all.filter(isClaim))
  }
  return watched
}

/** The memory backend, with some operations replaced. */
export const make = (
  options: {
    readonly memory?: SessionBackendMemory.SessionBackendMemoryOptions
    readonly replace?: (memory: Backend) => Partial<Backend>
  } = {}
): WatchedBackend => {
  const memory = Stack.memory(options.memory)
  return over({ ...memory, ...options.replace?.(memory) })
}

/** The failure of a call. */
export const failure = (
  operation: Operation,
  outcome: "notApplied" | "unknown" = "notApplied",
  cause: unknown = new Error("connection refused")
): Answer<never> => Effect.fail(new SessionBackend.SessionBackendError({ operation, outcome, cause }))
