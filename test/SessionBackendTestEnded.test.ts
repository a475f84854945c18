/** The conformance cases of `ended`: what can be wrong with one, and the case that finds it out. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Queue } from "effect"
import { type EndedHint, SessionBackend, type SessionBackendError } from "../src/SessionBackend.ts"
import * as SessionBackendMemory from "../src/SessionBackendMemory.ts"
import * as SessionBackendTest from "../src/testing/SessionBackendTest.ts"

const deleted = "ended: a hint for a record that is deleted"
const nothing = "ended: none for a delete that deletes nothing"
const revoked = "ended: a hint for each record that deleteByPrincipal deletes, and for no other"
const rotated = "ended: a hint for an update with another secretHash, and none for other writes"
const namespaces = "ended: a hint has the namespace, where one id is in two"
const subscribers = "ended: each subscriber gets each hint, until its scope ends"

const bugs = {
  "delete for a principal says nothing": deleted,
  "a delete that deletes nothing says so": nothing,
  "deleteByPrincipal says one of them": revoked,
  "deleteByPrincipal says the one that is kept": revoked,
  "an update of the secret says nothing": rotated,
  "every update says so": rotated,
  "a stale update of the secret says so": rotated,
  "the namespace is lost": namespaces,
  "the last subscriber gets all": subscribers,
  "a queue outlives its scope": subscribers
} as const

type Bug = keyof typeof bugs

/** The memory backend with hints of its own. */
const backend = (bug?: Bug) =>
  Layer.effect(
    SessionBackend,
    Effect.map(SessionBackend, (memory) => {
      const has = (candidate: Bug) => bug === candidate
      let queues: Array<Queue.Queue<EndedHint, SessionBackendError>> = []
      const tell = (namespace: string, id: string) => {
        const heard = has("the last subscriber gets all") ? queues.slice(-1) : queues
        const hint = { namespace: has("the namespace is lost") ? namespace.replace(/:o.*$/, "") : namespace, id }
        for (const queue of heard) Queue.offerUnsafe(queue, hint)
      }
      return SessionBackend.of({
        ...memory,
        delete: (namespace, id, options) =>
          Effect.tap(memory.delete(namespace, id, options), (isDeleted) =>
            Effect.sync(() => {
              if (!isDeleted && !has("a delete that deletes nothing says so")) return
              if (options !== undefined && has("delete for a principal says nothing")) return
              tell(namespace, id)
            })
          ),
        deleteByPrincipal: (namespace, principal, options) =>
          Effect.tap(memory.deleteByPrincipal(namespace, principal, options), (batch) =>
            Effect.sync(() => {
              const ids = batch.deleted.map(({ id }) => id)
              if (has("deleteByPrincipal says one of them")) ids.splice(1)
              if (has("deleteByPrincipal says the one that is kept") && options.except !== undefined) {
                ids.push(options.except)
              }
              for (const id of ids) tell(namespace, id)
            })
          ),
        update: (namespace, id, version, patch) =>
          Effect.tap(memory.update(namespace, id, version, patch), ({ _tag }) =>
            Effect.sync(() => {
              if (_tag !== "updated" && !has("a stale update of the secret says so")) return
              if (has("an update of the secret says nothing")) return
              if (patch.secretHash !== undefined || has("every update says so")) tell(namespace, id)
            })
          ),
        ended: Effect.acquireRelease(
          Effect.map(Queue.unbounded<EndedHint, SessionBackendError>(), (queue) => {
            queues.push(queue)
            return queue
          }),
          (queue) => {
            if (has("a queue outlives its scope")) return Effect.void
            queues = queues.filter((other) => other !== queue)
            return Queue.shutdown(queue)
          }
        )
      })
    })
  ).pipe(Layer.provide(Layer.fresh(SessionBackendMemory.layer)))

const { pushingCases } = SessionBackendTest

const passes = (name: string, layer: Layer.Layer<SessionBackend>) =>
  Effect.isSuccess(Effect.provide(pushingCases.find((one) => one.name === name)!.effect, layer))

describe("SessionBackendTest.pushingCases", () => {
  for (const { effect, name } of pushingCases) {
    it.effect(`pass a backend without a bug: ${name}`, () => Effect.provide(effect, backend()))
  }

  // A hint that does not come is waited for: they wait together.
  it.live(
    "find each bug",
    () =>
      Effect.gen(function* () {
        const found = yield* Effect.forEach(
          Object.entries(bugs),
          ([bug, name]) => Effect.map(passes(name, backend(bug as Bug)), (passed) => [bug, passed] as const),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(
          found.filter(([, passed]) => passed),
          []
        )
      }),
    60_000
  )

  it.effect("fail, each of them, where there is no ended", () =>
    Effect.gen(function* () {
      const without = Layer.effect(
        SessionBackend,
        Effect.map(SessionBackend, (memory) => SessionBackend.of({ ...memory, ended: undefined }))
      ).pipe(Layer.provide(SessionBackendMemory.layer))
      for (const { effect } of pushingCases) {
        const exit = yield* Effect.exit(Effect.provide(effect, without))
        assert.include(Exit.isFailure(exit) ? String(exit.cause) : "", "has no `ended`")
      }
    })
  )
})
