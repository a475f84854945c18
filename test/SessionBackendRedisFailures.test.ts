import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { Redis } from "effect/persistence"
import { TestClock } from "effect/testing"
import { inspect } from "node:util"
import { describeCause } from "../src/internal/describeCause.ts"
import type { SessionBackendError } from "../src/SessionBackend.ts"
import {
  backendOver,
  end,
  entry,
  fail,
  head,
  names,
  operations,
  record,
  recordKey,
  type Reply,
  stored,
  willing
} from "./support/fakeRedis.ts"

/** The failure of an operation, after the time in which it tries once more. */
const failureOf = (operation: Effect.Effect<unknown, SessionBackendError>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(Effect.flip(operation))
    yield* TestClock.adjust("1 second")
    return yield* Fiber.join(fiber)
  })

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

  it.effect("outcome is notApplied only when that is certain, as it always is for a read", () =>
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
        "Stream isn't writeable and enableOfflineQueue options is false": "notApplied",
        "CROSSSLOT Keys in request don't hash to the same slot": "notApplied",
        // As Redis 6.2 reports what a script was refused.
        "ERR Error running script (call to f_4a610f): @user_script:5: @user_script: 5: -OOM command not allowed":
          "notApplied",
        "Socket closed unexpectedly": "unknown",
        "read ECONNRESET": "unknown",
        "ERR something else: OOM ": "unknown",
        "NOPERM this user has no permissions to run the 'pexpire' command": "unknown"
      }
      for (const [message, outcome] of Object.entries(outcomes)) {
        const { backend } = yield* backendOver(() => fail(message))
        for (const [name, operation] of Object.entries(operations)) {
          const failed = yield* failureOf(operation(backend))
          assert.strictEqual(failed._tag, "SessionBackendError")
          assert.strictEqual(failed.operation, name)
          const isRead = ["read", "listByPrincipal", "scan"].includes(name)
          assert.strictEqual(failed.outcome, isRead ? "notApplied" : outcome, `${name}: ${message}`)
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
          const sent = commands.filter(([name]) => name !== "QUIT")
          assert.lengthOf(sent, 1, `${name} waits`)
          yield* TestClock.adjust("1 millis")
          const exit = yield* Fiber.join(fiber)
          assert.strictEqual(exit._tag, name === "create" ? "Failure" : "Success", `${name}: ${code}`)
          if (name !== "create") assert.deepStrictEqual(commands[1], commands[0])
        }
      }
    })
  )

  it.effect("a server that does not know a script is sent its text, and no call waits for another's", () =>
    Effect.gen(function* () {
      const known = new Set<string>()
      const { backend, commands } = yield* backendOver((command) =>
        command[0] === "EVAL"
          ? command.includes("lost")
            ? Effect.never
            : Effect.sync(() => {
                known.add(command[1]!)
                return null
              })
          : known.has(command[0]!)
            ? Effect.succeed(null)
            : fail("NOSCRIPT No matching script.")
      )
      const touch = (id: string) => backend.touch(record.namespace, id, { lastSeenAt: 1, idleExpiresAt: 2 })
      // One whose reply is lost: the key is the script's only one.
      const { backend: losing } = yield* backendOver((command) =>
        command[0] === "EVAL" && command[2]!.endsWith(":lost") ? Effect.never : fail("NOSCRIPT No matching script.")
      )
      const lost = yield* Effect.forkChild(losing.touch(record.namespace, "lost", { lastSeenAt: 1, idleExpiresAt: 2 }))
      yield* TestClock.adjust("1 second")
      assert.isUndefined(lost.pollUnsafe())
      const other = yield* Effect.forkChild(
        Effect.flip(losing.touch(record.namespace, "other", { lastSeenAt: 1, idleExpiresAt: 2 }))
      )
      yield* TestClock.adjust("1 second")
      assert.isDefined(other.pollUnsafe(), "it does not wait for the lost reply")
      yield* Fiber.interrupt(lost)

      assert.strictEqual(yield* touch("a"), "gone")
      assert.strictEqual(yield* touch("b"), "gone")
      const key = (id: string) => recordKey.replace(record.id, id)
      const args = ["1", "2", "600000"].map((arg, i) => (i < 2 ? arg.padStart(16) : arg))
      assert.deepStrictEqual(commands, [
        ["touch", key("a"), ...args],
        ["EVAL", "touch", key("a"), ...args],
        ["touch", key("b"), ...args]
      ])
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
      const page = ["one", "two", "three"].map((id) => entry(id))
      const reply =
        (refused: (key: string) => boolean): Reply =>
        ([name, key]) =>
          name === "ZRANGE"
            ? Effect.succeed(page)
            : name === "ZREM"
              ? Effect.succeed(1)
              : refused(key!)
                ? fail("NOAUTH Authentication required.")
                : Effect.succeed(`${end}:${head}`)
      const half = yield* backendOver(reply((key) => key.endsWith("one")))
      assert.strictEqual((yield* Effect.flip(operations.deleteByPrincipal(half.backend))).outcome, "unknown")
      assert.deepStrictEqual(names(half.commands), ["ZRANGE", "remove", "remove", "remove", "ZREM"])
      // What is deleted does not come up again.
      assert.deepStrictEqual(half.commands.at(-1)!.slice(2), page.slice(1))
      const none = yield* backendOver(reply(() => true))
      assert.strictEqual((yield* Effect.flip(operations.deleteByPrincipal(none.backend))).outcome, "notApplied")
    })
  )

  it.effect("entries that cannot be dropped end a loop of revocations, which would read them again and again", () =>
    Effect.gen(function* () {
      const { backend } = yield* backendOver(([name, , ...args]) =>
        name === "ZRANGE"
          ? Effect.succeed(Array.from({ length: Number(args.at(-1)) }, (_, i) => entry(String(i))))
          : name === "ZREM"
            ? fail("NOPERM this user has no permissions to run the 'zrem' command")
            : Effect.succeed(null)
      )
      const failed = yield* Effect.flip(backend.deleteByPrincipal(record.namespace, "alice", { limit: 3 }))
      assert.strictEqual(failed.operation, "deleteByPrincipal")
    })
  )

  it.effect(
    "[R82] after READONLY the connection is given up, once a second at most, and reads fail until a primary answers",
    () =>
      Effect.gen(function* () {
        let isReplica = true
        const { backend, commands } = yield* backendOver(([name]) =>
          name === "QUIT"
            ? Effect.succeed("OK")
            : isReplica
              ? fail("READONLY You can't write against a read only replica.")
              : Effect.succeed(stored)
        )
        const quits = () => commands.filter(([name]) => name === "QUIT").length
        const reads = yield* Effect.forkChild(
          Effect.all(
            Array.from({ length: 5 }, () => Effect.flip(operations.read(backend))),
            { concurrency: "unbounded" }
          )
        )
        yield* TestClock.adjust("60 millis")
        for (const { cause, outcome } of yield* Fiber.join(reads)) {
          assert.strictEqual(outcome, "notApplied")
          assert.strictEqual((cause as { readonly code?: string }).code, "READONLY")
        }
        assert.strictEqual(quits(), 1)
        const write = Effect.andThen(Effect.flip(operations.create(backend)), TestClock.adjust("900 millis"))
        yield* write
        assert.strictEqual(quits(), 1)
        yield* write
        yield* write
        assert.strictEqual(quits(), 2)
        isReplica = false
        assert.isTrue((yield* operations.read(backend))._tag === "Some")
      })
  )

  it.effect(
    "[R82] a primary that takes no writes at present is read from, once a script has shown that it is one",
    () =>
      Effect.gen(function* () {
        for (const message of [
          "NOREPLICAS Not enough good replicas to write.",
          "MISCONF Redis is configured to save"
        ]) {
          const refusing = (text: string | null) =>
            backendOver((command) =>
              ["GETEX", "relay"].includes(command[0]!)
                ? fail(message)
                : command[0] === "GET"
                  ? Effect.succeed(text)
                  : willing(command)
            )
          const { backend, commands } = yield* refusing(stored)
          assert.isTrue((yield* operations.read(backend))._tag === "Some")
          assert.deepStrictEqual(names(commands), ["GETEX", "relay", "GET"])
          assert.lengthOf((yield* operations.listByPrincipal(backend)).records, 1)
          // That such a one has no record is no proof: it may be cut off from the others.
          const { backend: without, commands: sent } = yield* refusing(null)
          assert.strictEqual((yield* Effect.flip(operations.read(without))).outcome, "notApplied")
          assert.deepStrictEqual(yield* operations.listByPrincipal(without), { records: [] })
          assert.notInclude(names(sent), "ZREM")
        }
      })
  )

  it.effect("[R82] a replica that refuses a write for another reason is not taken for a primary", () =>
    Effect.gen(function* () {
      const { backend, commands } = yield* backendOver(([name]) =>
        name === "relay"
          ? fail("READONLY You can't write against a read only replica.")
          : fail("MISCONF Redis is configured to save")
      )
      const reading = yield* Effect.forkChild(Effect.flip(operations.read(backend)))
      yield* TestClock.adjust("60 millis")
      assert.strictEqual((yield* Fiber.join(reading)).outcome, "notApplied")
      assert.notInclude(names(commands), "GET")
      assert.include(names(commands), "QUIT")
    })
  )

  it.effect("[R85a] the log names the code of a failure, and nothing of what was sent", () =>
    Effect.gen(function* () {
      const coded = (message: string, code: string) => Object.assign(new Error(message), { code })
      class ClientOfflineError extends Error {}
      const causes: ReadonlyArray<readonly [unknown, string]> = [
        [new Error("READONLY You can't write"), "READONLY"],
        [new Error("CROSSSLOT Keys in request"), "CROSSSLOT"],
        [new Error("NOREPLICAS Not enough good replicas"), "NOREPLICAS"],
        [new Error("MOVED 1234 10.0.0.1:6379"), "MOVED"],
        [new Error("LOADING Redis is loading"), "LOADING"],
        [new Error("ERR unknown command 'EVALSHA', with args beginning with: 'canary'"), "ERR"],
        [
          new Error(
            "ERR Error running script (call to f_4a610f): @user_script:5: @user_script: 5: -READONLY You can't"
          ),
          "READONLY"
        ],
        [coded("connect ECONNREFUSED 127.0.0.1:6379", "ECONNREFUSED"), "ECONNREFUSED"],
        [coded("", "ECONNREFUSED"), "ECONNREFUSED"],
        [new ClientOfflineError("The client is offline"), "ClientOfflineError"]
      ]
      for (const [cause, code] of causes) {
        const { backend } = yield* backendOver(() => Effect.fail(new Redis.RedisError({ cause })))
        const failed = yield* failureOf(operations.read(backend))
        assert.strictEqual(describeCause(failed.cause), `RedisError ${code}`)
      }
      const { backend } = yield* backendOver(() => Effect.fail(new Redis.RedisError({ cause: { command: "canary" } })))
      assert.strictEqual(describeCause((yield* failureOf(operations.read(backend))).cause), "RedisError")
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
