import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { Redis } from "effect/persistence"
import { TestClock } from "effect/testing"
import { inspect } from "node:util"
import { backendOver, end, fail, head, names, operations, record, type Reply, willing } from "./support/fakeRedis.ts"

describe("SessionBackendRedis, failures", () => {
  it.effect("[R74] a create whose entry could not be written takes the record back", () =>
    Effect.gen(function* () {
      const { backend, commands } = yield* backendOver((command) =>
        command[0] === "addEntry" ? fail("Socket closed unexpectedly") : willing(command)
      )
      const failed = yield* Effect.flip(backend.create(record))
      assert.strictEqual(failed.operation, "create")
      assert.strictEqual(failed.outcome, "notApplied")
      assert.deepStrictEqual(names(commands), ["create", "addEntry", "remove"])
    })
  )

  it.effect("[R74] where that fails too, it says that it does not know", () =>
    Effect.gen(function* () {
      const { backend } = yield* backendOver((command) =>
        command[0] === "create" ? willing(command) : fail("OOM command not allowed")
      )
      assert.strictEqual((yield* Effect.flip(backend.create(record))).outcome, "unknown")
    })
  )

  it.effect("outcome is notApplied only when that is certain", () =>
    Effect.gen(function* () {
      const outcomes: Record<string, "notApplied" | "unknown"> = {
        "OOM command not allowed when used memory > 'maxmemory'.": "notApplied",
        "READONLY You can't write against a read only replica.": "notApplied",
        "LOADING Redis is loading the dataset in memory": "notApplied",
        "NOAUTH Authentication required.": "notApplied",
        "MISCONF Redis is configured to save RDB snapshots": "notApplied",
        "The client is offline": "notApplied",
        "The client is closed": "notApplied",
        "The queue is full": "notApplied",
        "Socket closed unexpectedly": "unknown",
        "read ECONNRESET": "unknown",
        "ERR something else: OOM ": "unknown",
        "NOPERM this user has no permissions to run the 'pexpire' command": "unknown"
      }
      for (const [message, outcome] of Object.entries(outcomes)) {
        const { backend } = yield* backendOver(() => fail(message))
        for (const [name, operation] of Object.entries(operations)) {
          const fiber = yield* Effect.forkChild(Effect.flip(operation(backend) as Effect.Effect<unknown, any>))
          yield* TestClock.adjust("1 second")
          const failed = yield* Fiber.join(fiber)
          assert.strictEqual(failed._tag, "SessionBackendError")
          assert.strictEqual(failed.operation, name)
          assert.strictEqual(failed.outcome, outcome, `${name}: ${message}`)
        }
      }
    })
  )

  it.effect("[R82] a transient answer is retried once, after 50 ms, except in create", () =>
    Effect.gen(function* () {
      for (const code of ["READONLY", "LOADING", "MOVED", "TRYAGAIN", "CLUSTERDOWN"]) {
        for (const [name, operation] of Object.entries(operations)) {
          let refusals = 1
          const { backend, commands } = yield* backendOver((command) =>
            refusals-- > 0 ? fail(`${code} not now`) : willing(command)
          )
          const fiber = yield* Effect.forkChild(Effect.exit(operation(backend) as Effect.Effect<unknown, any>))
          yield* TestClock.adjust("49 millis")
          assert.strictEqual(commands.length, 1, `${name} waits`)
          yield* TestClock.adjust("1 millis")
          const exit = yield* Fiber.join(fiber)
          assert.strictEqual(exit._tag, name === "create" ? "Failure" : "Success", `${name}: ${code}`)
          if (name !== "create") assert.deepStrictEqual(commands[1], commands[0])
        }
      }
    })
  )

  it.effect("scripts flushed anew while they were being loaded anew are loaded once more", () =>
    Effect.gen(function* () {
      let flushes = 2
      const { backend, commands } = yield* backendOver((command) =>
        flushes-- > 0 ? fail("NOSCRIPT No matching script.") : willing(command)
      )
      const fiber = yield* Effect.forkChild(operations.touch(backend))
      yield* TestClock.adjust("50 millis")
      assert.strictEqual(yield* Fiber.join(fiber), "touched")
      assert.deepStrictEqual(names(commands), ["touch", "touch", "touch"])
    })
  )

  it.effect("[R82] once is once, and a lost reply is not retried at all", () =>
    Effect.gen(function* () {
      for (const [message, tries] of [
        ["LOADING", 2],
        ["Socket closed unexpectedly", 1],
        ["OOM command not allowed", 1]
      ] as const) {
        const { backend, commands } = yield* backendOver(() => fail(`${message} `))
        const fiber = yield* Effect.forkChild(Effect.flip(operations.touch(backend)))
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(fiber)
        assert.strictEqual(commands.length, tries, message)
      }
    })
  )

  it.effect("a revocation that fails half-way has tried every record, and does not know its outcome", () =>
    Effect.gen(function* () {
      const page = ["one", "two", "three"].map((id) => `${end}${id}`)
      const reply =
        (refused: (key: string) => boolean): Reply =>
        ([name, key]) =>
          name === "ZRANGEBYLEX"
            ? Effect.succeed(page)
            : refused(key!)
              ? fail("NOAUTH Authentication required.")
              : Effect.succeed(`${end}:${head}`)
      const half = yield* backendOver(reply((key) => key.endsWith("one")))
      assert.strictEqual((yield* Effect.flip(operations.deleteByPrincipal(half.backend))).outcome, "unknown")
      assert.deepStrictEqual(names(half.commands), ["ZRANGEBYLEX", "remove", "remove", "remove"])
      const none = yield* backendOver(reply(() => true))
      assert.strictEqual((yield* Effect.flip(operations.deleteByPrincipal(none.backend))).outcome, "notApplied")
    })
  )

  it.effect("[R85a] an error shows neither key nor data, whatever the driver's own error carries", () =>
    Effect.gen(function* () {
      const causes = [
        "ERR unknown command 'EVALSHA', with args beginning with: 'canary' 't:s:canary'\n 'canary' ",
        "Socket closed unexpectedly"
      ].map((message) => Object.assign(new Error(message), { command: { args: ["canary"] } }))
      for (const cause of [...causes, { command: "canary" }]) {
        const { backend } = yield* backendOver(() => Effect.fail(new Redis.RedisError({ cause })))
        const failed = yield* Effect.flip(operations.touch(backend))
        assert.notInclude(inspect(failed, { depth: 9, showHidden: true }), "canary")
        assert.notInclude(JSON.stringify(failed), "canary")
        assert.instanceOf(failed.cause, Error)
      }
    })
  )
})
