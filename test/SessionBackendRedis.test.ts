import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer, Logger, Option, Schema } from "effect"
import { Redis } from "effect/persistence"
import { TestClock } from "effect/testing"
import { inspect } from "node:util"
import * as Scripts from "../src/internal/backend/redisScripts.ts"
import { SessionBackend, type SessionBackendError, type SessionRecord } from "../src/SessionBackend.ts"
import * as SessionBackendRedis from "../src/SessionBackendRedis.ts"

const scriptNames = new Map([
  [Scripts.create.lua, "create"],
  [Scripts.update.lua, "update"],
  [Scripts.touch.lua, "touch"],
  [Scripts.remove.lua, "remove"],
  [Scripts.addEntry.lua, "addEntry"]
])

type Reply = (command: ReadonlyArray<string>) => Effect.Effect<unknown, Redis.RedisError>

/** A Redis that answers as it is told and records what it was sent; a script's name stands for its hash. */
const fake = (reply: Reply) =>
  Effect.gen(function* () {
    const commands: Array<ReadonlyArray<string>> = []
    const redis = yield* Redis.make({
      send: (name, ...args) => {
        if (name === "SCRIPT") return Effect.succeed(scriptNames.get(args[1]!) as any)
        if (name === "INFO") return Effect.succeed("# Memory\r\nmaxmemory_policy:noeviction\r\n" as any)
        const command = name === "EVALSHA" ? [args[0]!, ...args.slice(2)] : [name, ...args]
        return Effect.suspend(() => {
          commands.push(command)
          return reply(command) as any
        })
      },
      subscribe: () => Effect.die("not used"),
      connect: Effect.die("not used")
    })
    return { redis, commands }
  })

const backendOver = (reply: Reply, options?: SessionBackendRedis.SessionBackendRedisOptions) =>
  Effect.gen(function* () {
    const { commands, redis } = yield* fake(reply)
    const backend = yield* SessionBackend.pipe(
      Effect.provide(
        SessionBackendRedis.layerWith({ prefix: "t", ...options }).pipe(
          Layer.provide(Layer.succeed(Redis.Redis, redis))
        )
      )
    )
    return { backend, commands }
  })

const error = (message: string) => new Redis.RedisError({ cause: new Error(message) })

const fail = (message: string) => Effect.fail(error(message))

const end = "0000000000777000"

const minute = 60_000

const record: SessionRecord = {
  namespace: "app/User",
  id: "AAAAAAAAAAAAAAAAAAAAAA",
  secretHash: "H",
  version: 1,
  principal: "alice",
  data: `{"d":2}`,
  dataVersion: 1,
  extension: `{"e":1}`,
  createdAt: 1000,
  authenticatedAt: 1000,
  lastSeenAt: 1000,
  idleTimeout: 30 * minute,
  idleExpiresAt: 1000 + 30 * minute,
  absoluteExpiresAt: 1000 + 12 * 60 * minute,
  persistent: true
}

/** A record's head but for its end: three times that have their place, and the rest. */
const head = `${"1000".padStart(16)}:${"1801000".padStart(16)}:${"43201000".padStart(16)}:1:1:H:1000:1000:1800000:1:alice`
const tail = `\0{"e":1}\0{"d":2}`
const stored = `${end}:${head}${tail}`
const anonymously = (text: string) => text.replace(":alice", ":")

const recordKey = "t:s:YXBwL1VzZXI:AAAAAAAAAAAAAAAAAAAAAA"
const indexKey = "t:p:YXBwL1VzZXI:YWxpY2U"

/** A Redis where everything is there and works. */
const willing: Reply = ([name, ...args]) =>
  Effect.succeed(
    name === "create"
      ? end
      : name === "update"
        ? [1, stored]
        : name === "touch"
          ? 1
          : name === "remove"
            ? `${end}:${head}`
            : name === "GET"
              ? stored
              : name === "MGET"
                ? args.map(() => stored)
                : name === "ZRANGEBYLEX"
                  ? [`${end}${record.id}`]
                  : 1
  )

const names = (commands: ReadonlyArray<ReadonlyArray<string>>) => commands.map(([name]) => name)

const operations = {
  create: (backend) => backend.create(record),
  read: (backend) => backend.read(record.namespace, record.id),
  update: (backend) => backend.update(record.namespace, record.id, 1, { lastSeenAt: 1, idleExpiresAt: 2 }),
  touch: (backend) => backend.touch(record.namespace, record.id, { lastSeenAt: 1, idleExpiresAt: 2 }),
  delete: (backend) => backend.delete(record.namespace, record.id),
  deleteByPrincipal: (backend) => backend.deleteByPrincipal(record.namespace, "alice"),
  listByPrincipal: (backend) => backend.listByPrincipal(record.namespace, "alice", { limit: 10 })
} satisfies Record<string, (backend: SessionBackend["Service"]) => Effect.Effect<unknown, unknown>>

describe("SessionBackendRedis", () => {
  describe("commands", () => {
    it.effect("read is one GET", () =>
      Effect.gen(function* () {
        const { backend, commands } = yield* backendOver(willing)
        assert.deepStrictEqual(yield* backend.read(record.namespace, record.id), Option.some(record))
        assert.deepStrictEqual(commands, [["GET", recordKey]])
      })
    )

    it.effect("reads that are under way at once are one GET each, and nothing is sent before they are run", () =>
      Effect.gen(function* () {
        const { backend, commands } = yield* backendOver((command) => Effect.delay(willing(command), 1))
        const ids = Array.from({ length: 40 }, (_, i) => record.id.slice(3) + (100 + i))
        const reads = ids.map((id) => backend.read(record.namespace, id))
        assert.deepStrictEqual(commands, [])
        const reading = yield* Effect.forkChild(Effect.all(reads, { concurrency: "unbounded" }))
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(
          yield* Fiber.join(reading),
          ids.map((id) => Option.some({ ...record, id }))
        )
        assert.deepStrictEqual(
          commands,
          ids.map((id) => ["GET", recordKey.replace(record.id, id)])
        )
      })
    )

    it.effect("[R64] a record that is incomplete or illegible is no session", () =>
      Effect.gen(function* () {
        const read = (reply: string | null) =>
          Effect.flatMap(
            backendOver(() => Effect.succeed(reply)),
            ({ backend }) => backend.read(record.namespace, record.id)
          )
        // Cut off anywhere before its data, it is none; in its data, that is the schema's to say.
        for (let length = 0; length < stored.length - record.data.length; length++) {
          assert.isTrue(Option.isNone(yield* read(stored.slice(0, length))), stored.slice(0, length))
        }
        assert.isTrue(Option.isNone(yield* read(null)))
        const split = `${end}:${head}`.split(":")
        for (const numeric of [1, 2, 3, 4, 5, 7, 8, 9]) {
          const illegible = split.map((part, i) => (i === numeric ? "soon" : part)).join(":")
          assert.isTrue(Option.isNone(yield* read(illegible + tail)), illegible)
        }
        for (const numeric of [1, 2, 3, 4, 5, 7, 8, 9]) {
          for (const nothing of ["", " ".repeat(16)]) {
            const illegible = split.map((part, i) => (i === numeric ? nothing : part)).join(":")
            assert.isTrue(Option.isNone(yield* read(illegible + tail)), illegible)
          }
        }
        for (let parts = 1; parts < split.length; parts++) {
          assert.isTrue(Option.isNone(yield* read(split.slice(0, parts).join(":") + tail)), `${parts} parts`)
        }
        assert.isTrue(Option.isNone(yield* read(split.slice(1).join(":") + tail)))
        assert.isTrue(Option.isNone(yield* read(tail)))
        assert.deepStrictEqual(
          yield* read(`${end}:${head}:with:colons:${tail}`),
          Option.some({ ...record, principal: "alice:with:colons:" })
        )
        assert.deepStrictEqual(yield* read(anonymously(stored)), Option.some({ ...record, principal: undefined }))
      })
    )

    it.effect("[R74] create writes the record with its time-to-live, then the entry, and only then answers", () =>
      Effect.gen(function* () {
        const { backend, commands } = yield* backendOver(willing)
        assert.strictEqual(yield* backend.create(record), "created")
        assert.deepStrictEqual(commands, [
          // 30 minutes idle and 10 of slack; as long as the session may live, and 10 of slack.
          ["create", recordKey, String(40 * minute), String((12 * 60 + 10) * minute), head + tail],
          ["addEntry", indexKey, end, record.id]
        ])
      })
    )

    it.effect("create without a principal is one command, and so is one that meets a record", () =>
      Effect.gen(function* () {
        const anonymous = yield* backendOver(willing)
        assert.strictEqual(yield* anonymous.backend.create({ ...record, principal: undefined }), "created")
        assert.deepStrictEqual(names(anonymous.commands), ["create"])
        assert.strictEqual(anonymous.commands[0]![4], anonymously(head) + tail)

        const taken = yield* backendOver(() => Effect.succeed(null))
        assert.strictEqual(yield* taken.backend.create(record), "exists")
        assert.deepStrictEqual(names(taken.commands), ["create"])
      })
    )

    it.effect("[R44] the time-to-live is never shorter than the slack, nor infinite, nor a fraction", () =>
      Effect.gen(function* () {
        const { backend, commands } = yield* backendOver(willing, { ttlSlack: "5 seconds" })
        yield* backend.create({ ...record, principal: undefined, idleExpiresAt: 0, absoluteExpiresAt: 0 })
        yield* backend.create({ ...record, principal: undefined, idleExpiresAt: Infinity, absoluteExpiresAt: Infinity })
        yield* backend.create({ ...record, principal: undefined, idleExpiresAt: 1000.5 })
        assert.deepStrictEqual(
          commands.map((command) => command[2]),
          ["5000", "4000000000000000", "5001"]
        )
        // Times that have their place in a record keep it, whatever they are.
        const times = [0, Infinity, 1000.5, 2 ** 53 - 1, 1e21, 1764129600000.123]
        for (const idleExpiresAt of times) yield* backend.create({ ...record, principal: undefined, idleExpiresAt })
        assert.deepStrictEqual(
          commands.slice(3).map((command) => command[4]!.slice(17, 33)),
          ["0", "Infinity", "1000.5", "9007199254740991", "4000000000000000", "1764129600001"].map((text) =>
            text.padStart(16)
          )
        )
      })
    )

    it.effect("a NUL, which would make a record another, is refused before anything is sent", () =>
      Effect.gen(function* () {
        const { backend, commands } = yield* backendOver(willing)
        const nul = "a\0b"
        const times = { lastSeenAt: 1, idleExpiresAt: 2 }
        for (const refused of [
          backend.create({ ...record, principal: nul }),
          backend.create({ ...record, extension: nul }),
          backend.create({ ...record, data: nul }),
          backend.update(record.namespace, record.id, 1, { ...times, extension: nul }),
          backend.update(record.namespace, record.id, 1, { ...times, data: nul })
        ]) {
          assert.strictEqual((yield* Effect.flip<unknown, SessionBackendError, never>(refused)).outcome, "notApplied")
        }
        assert.deepStrictEqual(commands, [])
      })
    )

    it.effect("update and touch are one script each", () =>
      Effect.gen(function* () {
        const { backend, commands } = yield* backendOver(willing)
        const patch = { secretHash: "N", data: "[]", dataVersion: 2, extension: "1", lastSeenAt: 5, idleExpiresAt: 6 }
        assert.deepStrictEqual(yield* backend.update(record.namespace, record.id, 7, patch), {
          _tag: "updated",
          record
        })
        yield* backend.update(record.namespace, record.id, 7, { lastSeenAt: 5, idleExpiresAt: 6 })
        yield* backend.touch(record.namespace, record.id, { lastSeenAt: 5, idleExpiresAt: 6 })
        const times = ["5".padStart(16), "6".padStart(16), "600000"]
        assert.deepStrictEqual(commands, [
          ["update", recordKey, "7", "8", ...times, "N", "2", "data", "[]", "extension", "1"],
          ["update", recordKey, "7", "8", ...times, "", ""],
          ["touch", recordKey, ...times]
        ])
      })
    )

    it.effect("[R71] what a script answers is reported, not swallowed", () =>
      Effect.gen(function* () {
        const verdict = (reply: unknown, operation: (backend: SessionBackend["Service"]) => Effect.Effect<any, any>) =>
          Effect.flatMap(
            backendOver(() => Effect.succeed(reply)),
            ({ backend }) => operation(backend)
          )
        assert.deepStrictEqual(yield* verdict(null, operations.update), { _tag: "gone" })
        assert.deepStrictEqual(yield* verdict([0, stored], operations.update), { _tag: "stale", record })
        assert.strictEqual(yield* verdict(null, operations.touch), "gone")
        assert.strictEqual(yield* verdict(0, operations.touch), "unchanged")
        assert.strictEqual(yield* verdict(1, operations.touch), "touched")
        assert.strictEqual(yield* verdict(null, operations.delete), false)
      })
    )

    it.effect("[R74] delete takes the record, then the entry, and needs the second for nothing", () =>
      Effect.gen(function* () {
        const { backend, commands } = yield* backendOver((command) =>
          command[0] === "ZREM" ? fail("Socket closed unexpectedly") : willing(command)
        )
        assert.strictEqual(yield* backend.delete(record.namespace, record.id), true)
        assert.strictEqual(yield* backend.delete(record.namespace, record.id, { principal: "bob" }), true)
        assert.deepStrictEqual(commands, [
          ["remove", recordKey],
          ["ZREM", indexKey, `${end}${record.id}`],
          ["remove", recordKey, "bob"],
          ["ZREM", indexKey, `${end}${record.id}`]
        ])
      })
    )

    it.effect("delete of an anonymous session is one command", () =>
      Effect.gen(function* () {
        const { backend, commands } = yield* backendOver(() => Effect.succeed(anonymously(`${end}:${head}`)))
        assert.strictEqual(yield* backend.delete(record.namespace, record.id), true)
        assert.deepStrictEqual(names(commands), ["remove"])
      })
    )

    it.effect("[R74] deleteByPrincipal takes the records, only of this principal, then the entries", () =>
      Effect.gen(function* () {
        const { backend, commands } = yield* backendOver(([name, ...args]) =>
          Effect.succeed(
            name === "ZRANGEBYLEX"
              ? [`${end}one`, `${end}two`, `${end}three`]
              : name === "remove"
                ? args[0]!.endsWith("one")
                  ? null
                  : `${end}:${head}`
                : 1
          )
        )
        assert.strictEqual(yield* backend.deleteByPrincipal(record.namespace, "alice", { except: "three" }), 1)
        assert.deepStrictEqual(commands, [
          ["ZRANGEBYLEX", indexKey, "-", "+", "LIMIT", "0", "100"],
          ["remove", "t:s:YXBwL1VzZXI:one", "alice"],
          ["remove", "t:s:YXBwL1VzZXI:two", "alice"],
          ["ZREM", indexKey, `${end}one`, `${end}two`]
        ])
      })
    )

    it.effect("listByPrincipal drops entries without a record, and goes on until the page is full", () =>
      Effect.gen(function* () {
        const pages = [[`${end}one`, `${end}two`], [`${end}three`]]
        const there = (key: string) => (key.endsWith("one") ? null : stored)
        const { backend, commands } = yield* backendOver(([name, ...keys]) =>
          Effect.succeed(name === "ZRANGEBYLEX" ? pages.shift() : name === "MGET" ? keys.map(there) : 1)
        )
        const page = yield* backend.listByPrincipal(record.namespace, "alice", { limit: 2, after: "x" })
        assert.deepStrictEqual(
          page.records.map(({ id }) => id),
          ["two", "three"]
        )
        assert.strictEqual(page.next, `${end}three`)
        assert.deepStrictEqual(commands, [
          ["ZRANGEBYLEX", indexKey, "(x", "+", "LIMIT", "0", "2"],
          ["MGET", "t:s:YXBwL1VzZXI:one", "t:s:YXBwL1VzZXI:two"],
          ["ZREM", indexKey, `${end}one`],
          ["ZRANGEBYLEX", indexKey, `(${end}two`, "+", "LIMIT", "0", "1"],
          ["MGET", "t:s:YXBwL1VzZXI:three"]
        ])
      })
    )

    it.effect("deleteExpired leaves the work to Redis", () =>
      Effect.gen(function* () {
        const { backend, commands } = yield* backendOver(willing)
        assert.strictEqual(yield* backend.deleteExpired({ before: Infinity, limit: 10 }), 0)
        assert.deepStrictEqual(commands, [])
      })
    )

    it.effect.prop(
      "[R67] no byte of an id, a namespace or a principal reaches a key as it is",
      { id: Schema.String, namespace: Schema.String, principal: Schema.NonEmptyString },
      ({ id, namespace, principal }) =>
        Effect.gen(function* () {
          const { backend, commands } = yield* backendOver(willing)
          for (const hostile of ["", "../", "\u0000", "{tag}", "*", `'"`, "\r\nDEL x", "A:B", " "]) {
            const odd = { ...record, id: id + hostile, namespace: namespace + hostile, principal: principal + hostile }
            yield* Effect.ignore(backend.create(odd))
            yield* backend.read(odd.namespace, odd.id)
            yield* backend.deleteByPrincipal(odd.namespace, odd.principal)
          }
          for (const command of commands) {
            assert.match(command[1]!, /^t:s:[\w-]*:(?:[\w-]+|~[\w-]*)$|^t:p:[\w-]*:[\w-]+$/)
          }
        }),
      { arbitrary: { runs: 30 } }
    )
  })

  describe("failures", () => {
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

  describe("layer", () => {
    const problems = (options: SessionBackendRedis.SessionBackendRedisOptions) =>
      Effect.gen(function* () {
        const { redis } = yield* fake(willing)
        return yield* SessionBackend.pipe(
          Effect.as([] as ReadonlyArray<string>),
          Effect.provide(SessionBackendRedis.layerWith(options).pipe(Layer.provide(Layer.succeed(Redis.Redis, redis)))),
          Effect.catchTag("SessionConfigError", (error) => Effect.succeed(error.problems))
        )
      })

    it.effect("[R87d] refuses a prefix that could be read as something else", () =>
      Effect.gen(function* () {
        const characters = [
          "{",
          "}",
          " ",
          "\t",
          "\u0000",
          "\r\n",
          "\u007f",
          '"',
          "'",
          "`",
          "*",
          "?",
          "[",
          "\\",
          "\u00a0",
          "\u200b"
        ]
        const bad = ["", `a"; drop`, "{x}", "\ud800", "x".repeat(65), "é".repeat(33), ...characters.map((c) => `a${c}`)]
        for (const prefix of bad) assert.isNotEmpty(yield* problems({ prefix }), JSON.stringify(prefix))
        for (const prefix of ["a", "shop", "shop:prod", "shop/prod-1.2_x", "é".repeat(32), "x".repeat(64)]) {
          assert.deepStrictEqual(yield* problems({ prefix }), [], prefix)
        }
      })
    )

    it.effect("[R87a] refuses a slack that is negative or endless, and reports everything together", () =>
      Effect.gen(function* () {
        assert.lengthOf(yield* problems({ ttlSlack: "-1 seconds" as Duration.Input }), 1)
        assert.lengthOf(yield* problems({ ttlSlack: Duration.infinity }), 1)
        assert.lengthOf(yield* problems({ ttlSlack: "soon" as any }), 1)
        assert.lengthOf(yield* problems({ prefix: "{ }", ttlSlack: Duration.infinity }), 3)
        assert.lengthOf(yield* problems({ ttlSlack: 0 }), 0)
      })
    )

    it.effect("layer is layerWith its defaults", () =>
      Effect.gen(function* () {
        const { commands, redis } = yield* fake(willing)
        const backend = yield* SessionBackend.pipe(
          Effect.provide(SessionBackendRedis.layer.pipe(Layer.provide(Layer.succeed(Redis.Redis, redis))))
        )
        yield* backend.create(record)
        assert.deepStrictEqual(
          commands.map((command) => command.slice(1, 3)),
          [
            [`effect-sessions${recordKey.slice(1)}`, String(40 * minute)],
            [`effect-sessions${indexKey.slice(1)}`, end]
          ]
        )
      })
    )

    it.effect("[R87c] warns of an eviction policy other than noeviction, and takes a refusal to tell", () =>
      Effect.gen(function* () {
        const warnings = (info: Effect.Effect<unknown, Redis.RedisError>) =>
          Effect.gen(function* () {
            const logged: Array<string> = []
            const redis = yield* Redis.make({
              send: () => info as any,
              subscribe: () => Effect.die("not used"),
              connect: Effect.die("not used")
            })
            yield* Effect.asVoid(SessionBackend).pipe(
              Effect.provide(SessionBackendRedis.layer.pipe(Layer.provide(Layer.succeed(Redis.Redis, redis)))),
              Effect.provide(Logger.layer([Logger.make(({ message }) => void logged.push(String(message)))]))
            )
            return logged
          })
        const policy = (name: string) => warnings(Effect.succeed(`maxmemory:0\r\nmaxmemory_policy:${name}\r\nx:y\r\n`))
        assert.deepStrictEqual(yield* policy("noeviction"), [])
        for (const name of ["allkeys-lru", "volatile-lru", "volatile-ttl"]) {
          const logged = yield* policy(name)
          assert.lengthOf(logged, 1)
          assert.include(logged[0], name)
        }
        assert.deepStrictEqual(yield* warnings(fail("NOPERM no")), [])
        assert.deepStrictEqual(yield* warnings(Effect.succeed(null)), [])
      })
    )
  })
})
