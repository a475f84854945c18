import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import { type Operation, SessionBackend } from "../src/SessionBackend.ts"
import type { SessionBackendError } from "../src/SessionBackend.ts"
import * as SessionBackendMemory from "../src/SessionBackendMemory.ts"
import * as SessionTest from "../src/testing/SessionTest.ts"
import { outcome } from "./support/outcome.ts"
import * as Records from "./support/records.ts"

const record = (id: string) => Records.record({ namespace: "faults", id, principal: "ada" })

type Backend = SessionBackend["Service"]

const seen = { lastSeenAt: 1, idleExpiresAt: 3_600_001 }

/** Every operation, on a store that holds the record `a`. */
const operations: Record<
  Exclude<Operation, "ended">,
  (backend: Backend) => Effect.Effect<unknown, SessionBackendError>
> = {
  create: (backend) => backend.create(record("b")),
  read: (backend) => backend.read("faults", "a"),
  update: (backend) => backend.update("faults", "a", 1, seen),
  touch: (backend) => backend.touch("faults", "a", seen),
  delete: (backend) => backend.delete("faults", "a"),
  deleteByPrincipal: (backend) => backend.deleteByPrincipal("faults", "ada", { limit: 10 }),
  listByPrincipal: (backend) => backend.listByPrincipal("faults", "ada", { limit: 10 }),
  deleteExpired: (backend) => backend.deleteExpired({ now: 36_000_000, limit: 10 }),
  scan: (backend) => backend.scan("faults", { limit: 10 })
}
const names = Object.keys(operations) as ReadonlyArray<keyof typeof operations>

/** Runs a test with a new store that holds the record `a`, seen directly and through the faults. */
const withFaults = <A, E>(
  test: (faulty: Backend, faults: SessionTest.BackendFaults["Service"], memory: Backend) => Effect.Effect<A, E>
) =>
  Effect.gen(function* () {
    const memory = yield* SessionBackend
    yield* memory.create(record("a"))
    return yield* Effect.gen(function* () {
      return yield* test(yield* SessionBackend, yield* SessionTest.BackendFaults, memory)
    }).pipe(Effect.provide(SessionTest.layerFaults, { local: true }))
  }).pipe(Effect.provide(Layer.fresh(SessionBackendMemory.layer), { local: true }))

/** What is stored, as text. */
const contents = (memory: Backend) =>
  Effect.map(memory.listByPrincipal("faults", "ada", { limit: 10 }), ({ records }) => JSON.stringify(records))

describe("layerFaults", () => {
  it.effect("passes every operation on, and records it", () =>
    Effect.forEach(names, (name) =>
      withFaults((faulty, { calls }, memory) =>
        Effect.gen(function* () {
          yield* operations[name](faulty)
          assert.deepStrictEqual(yield* calls, [name])
          const after = yield* contents(memory)
          yield* withFaults((_, __, untouched) =>
            Effect.gen(function* () {
              yield* operations[name](untouched)
              assert.strictEqual(after, yield* contents(untouched), name)
            })
          )
        })
      )
    )
  )

  it.effect("a fault without outcome or delay fails the call, and nothing is done", () =>
    Effect.forEach(names, (name) =>
      withFaults((faulty, { heal, inject }, memory) =>
        Effect.gen(function* () {
          const before = yield* contents(memory)
          yield* inject({ operation: name })
          for (const _ of [1, 2]) {
            assert.strictEqual(yield* outcome(operations[name](faulty)), "SessionBackendError notApplied", name)
          }
          assert.strictEqual(yield* contents(memory), before)
          yield* heal
          assert.strictEqual(yield* outcome(operations[name](faulty)), "ok")
        })
      )
    )
  )

  it.effect("a fault of one operation leaves the others alone; one of no operation fails them all", () =>
    withFaults((faulty, { inject }) =>
      Effect.gen(function* () {
        yield* inject({ operation: "read" })
        assert.strictEqual(yield* outcome(operations.touch(faulty)), "ok")
        assert.strictEqual(yield* outcome(operations.read(faulty)), "SessionBackendError notApplied")
        yield* inject({})
        for (const name of names) {
          assert.strictEqual(yield* outcome(operations[name](faulty)), "SessionBackendError notApplied", name)
        }
      })
    )
  )

  it.effect("an unknown outcome is carried out before its answer is lost", () =>
    withFaults((faulty, { inject }, memory) =>
      Effect.gen(function* () {
        yield* inject({ operation: "delete", outcome: "unknown" })
        assert.strictEqual(yield* outcome(operations.delete(faulty)), "SessionBackendError unknown")
        assert.isTrue(Option.isNone(yield* memory.read("faults", "a")))
      })
    )
  )

  it.effect("`call` counts the calls of its operation from the injection on", () =>
    withFaults((faulty, { inject }) =>
      Effect.gen(function* () {
        yield* operations.read(faulty)
        yield* inject({ operation: "read", call: 2 })
        yield* operations.touch(faulty)
        const outcomes = yield* Effect.forEach([1, 2, 3], () => outcome(operations.read(faulty)))
        assert.deepStrictEqual(outcomes, ["ok", "SessionBackendError notApplied", "ok"])
      })
    )
  )

  it.effect("a delay alone only delays, and a delayed read answers what is stored by then", () =>
    withFaults((faulty, { inject }, memory) =>
      Effect.gen(function* () {
        yield* inject({ operation: "read", delay: "1 second" })
        const reading = yield* Effect.forkChild(faulty.read("faults", "a"))
        yield* TestClock.adjust(999)
        assert.isUndefined(reading.pollUnsafe())
        yield* memory.delete("faults", "a")
        yield* TestClock.adjust(1)
        assert.isTrue(Option.isNone(yield* Fiber.join(reading)))
      })
    )
  )

  it.effect("a delay with an outcome fails as late", () =>
    withFaults((faulty, { inject }) =>
      Effect.gen(function* () {
        yield* inject({ operation: "touch", delay: "1 second", outcome: "notApplied" })
        const touching = yield* Effect.forkChild(outcome(operations.touch(faulty)))
        yield* TestClock.adjust(999)
        assert.isUndefined(touching.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* Fiber.join(touching), "SessionBackendError notApplied")
      })
    )
  )

  it.effect("a call that is built and not run is no call", () =>
    withFaults((faulty, { calls }) =>
      Effect.gen(function* () {
        for (const name of names) operations[name](faulty)
        assert.deepStrictEqual(yield* calls, [])
      })
    )
  )
})
