import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer, Logger, Option, Schema } from "effect"
import { Redis } from "effect/persistence"
import { TestClock } from "effect/testing"
import { SessionBackend, type SessionBackendError } from "../src/SessionBackend.ts"
import * as SessionBackendRedis from "../src/SessionBackendRedis.ts"
import {
  anonymously,
  backendOver,
  end,
  fail,
  fake,
  head,
  indexKey,
  minute,
  names,
  operations,
  record,
  recordKey,
  stored,
  tail,
  willing
} from "./support/fakeRedis.ts"

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

    it.effect("delete finds the entry of a principal with colons", () =>
      Effect.gen(function* () {
        const { backend, commands } = yield* backendOver(([name]) =>
          Effect.succeed(name === "remove" ? `${end}:${head}:of:colons` : 1)
        )
        assert.strictEqual(yield* backend.delete(record.namespace, record.id), true)
        const index = `t:p:YXBwL1VzZXI:${Buffer.from("alice:of:colons").toString("base64url")}`
        assert.deepStrictEqual(commands[1], ["ZREM", index, `${end}${record.id}`])
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
