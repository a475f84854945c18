import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer, Logger, Option, Schema } from "effect"
import { Redis } from "effect/persistence"
import { TestClock } from "effect/testing"
import * as RedisKeys from "../src/internal/backend/redisKeys.ts"
import { SessionBackend, type SessionBackendError } from "../src/SessionBackend.ts"
import * as SessionBackendRedis from "../src/SessionBackendRedis.ts"
import {
  anonymously,
  backendOver,
  end,
  entry,
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
    it.effect("read is one GETEX, which a replica refuses", () =>
      Effect.gen(function* () {
        const { backend, commands } = yield* backendOver(willing)
        assert.deepStrictEqual(yield* backend.read(record.namespace, record.id), Option.some(record))
        assert.deepStrictEqual(commands, [["GETEX", recordKey]])
      })
    )

    it.effect("reads that are under way at once are one GETEX each, and nothing is sent before they are run", () =>
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
          ids.map((id) => ["GETEX", recordKey.replace(record.id, id)])
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

    it.effect("scan looks at a few keys of the server, and carries over what is too much for a page", () =>
      Effect.gen(function* () {
        const ids = ["A", "B", "C"].map((letter) => letter.repeat(22))
        const keyOf = (id: string) => recordKey.replace(record.id, id)
        const { backend, commands } = yield* backendOver((command) =>
          command[0] !== "SCAN"
            ? // One has expired since.
              Effect.succeed(command[1] === keyOf(ids[1]!) ? null : stored)
            : Effect.succeed(command[1] === "0" ? ["17", [...ids, ids[0]!].map(keyOf)] : ["0", []])
        )
        const pages: Array<ReadonlyArray<string>> = []
        let after: string | undefined
        do {
          const page = yield* backend.scan(record.namespace, { limit: 2, after })
          pages.push(page.records.map(({ id }) => id))
          after = page.next
        } while (after !== undefined)
        assert.deepStrictEqual(pages, [[ids[0]!], [ids[2]!], []])
        const scanning = ["MATCH", "t:s:YXBwL1VzZXI:*", "COUNT", "100"]
        assert.deepStrictEqual(commands, [
          ["SCAN", "0", ...scanning],
          ["GETEX", keyOf(ids[0]!)],
          ["GETEX", keyOf(ids[1]!)],
          ["GETEX", keyOf(ids[2]!)],
          ["SCAN", "17", ...scanning],
          // A replica, which may lack keys, refuses it.
          ["ZREM", "t:s:YXBwL1VzZXI:", ""]
        ])
      })
    )

    it.effect("[R82] a replica that has no keys yet is not believed by a scan", () =>
      Effect.gen(function* () {
        const { backend } = yield* backendOver(([name]) =>
          name === "SCAN"
            ? Effect.succeed(["0", []])
            : name === "QUIT"
              ? Effect.succeed("OK")
              : fail("READONLY replica")
        )
        const failed = yield* Effect.forkChild(Effect.flip(backend.scan(record.namespace, { limit: 10 })))
        yield* TestClock.adjust("50 millis")
        assert.strictEqual((yield* Fiber.join(failed)).operation, "scan")
      })
    )

    it("a message on the channel is a hint if it is written as a key, and takes no room if it is long", () => {
      const [, place] = recordKey.split(":s:")
      assert.deepStrictEqual(RedisKeys.hintsOf(place!), [{ namespace: record.namespace, id: record.id }])
      for (const message of ["", ":", `${place}:`, place!.replace(":", "::"), `${place}!`, `~${place}`]) {
        assert.deepStrictEqual(RedisKeys.hintsOf(message), [], message)
      }
      const before = process.memoryUsage().heapUsed
      assert.deepStrictEqual(RedisKeys.hintsOf(":".repeat(4_000_000)), [])
      assert.isBelow(process.memoryUsage().heapUsed - before, 10_000_000)
    })

    it.effect("[R74] create writes the record with its time-to-live, then the entry, and only then answers", () =>
      Effect.gen(function* () {
        const { backend, commands } = yield* backendOver(willing)
        assert.strictEqual(yield* backend.create(record), "created")
        assert.deepStrictEqual(commands, [
          // 30 minutes idle and 10 of slack; as long as the session may live, and 10 of slack.
          ["create", recordKey, String(40 * minute), String((12 * 60 + 10) * minute), head + tail],
          ["addEntry", indexKey, end, entry()]
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
        assert.deepStrictEqual(commands[1], ["ZREM", index, entry()])
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
          ["ZREM", indexKey, entry()],
          ["remove", recordKey, "bob"],
          ["ZREM", indexKey, entry()]
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
            name === "ZRANGE"
              ? [entry("one"), entry("two"), entry("three")]
              : name === "remove"
                ? args[0]!.endsWith("one")
                  ? null
                  : `${end}:${head}`
                : 1
          )
        )
        const options = { limit: 10, except: "three" }
        assert.deepStrictEqual(yield* backend.deleteByPrincipal(record.namespace, "alice", options), {
          deleted: [{ namespace: record.namespace, id: "two", principal: "alice" }],
          more: false
        })
        assert.deepStrictEqual(commands, [
          // One more than the limit, for the one that stays.
          ["ZRANGE", indexKey, "+", "-", "BYLEX", "REV", "LIMIT", "0", "11"],
          ["remove", "t:s:YXBwL1VzZXI:one", "alice"],
          ["remove", "t:s:YXBwL1VzZXI:two", "alice"],
          ["ZREM", indexKey, entry("one"), entry("two")]
        ])
      })
    )

    it.effect("[R49] a loop of deleteByPrincipal ends, whoever the records belong to and whichever stays", () =>
      Effect.gen(function* () {
        for (const limit of [1, 2, 3, 1000]) {
          for (const except of [undefined, "5", "nobody"]) {
            // Every third entry is of somebody else's record, or of none.
            let index = Array.from({ length: 9 }, (_, i) => entry(String(i), i)).toReversed()
            const { backend } = yield* backendOver(([name, key, ...args]) =>
              Effect.sync(() => {
                if (name === "ZRANGE") return index.slice(0, Number(args.at(-1)))
                if (name === "remove") return Number(key!.at(-1)) % 3 === 0 ? null : `${end}:${head}`
                index = index.filter((each) => !args.includes(each))
                return 1
              })
            )
            const deleted: Array<string> = []
            let more = true
            for (let calls = 0; more; calls++) {
              assert.isBelow(calls, 20, `limit ${limit}, except ${except}`)
              const batch = yield* backend.deleteByPrincipal(record.namespace, "alice", { limit, except })
              assert.isAtMost(batch.deleted.length, limit)
              deleted.push(...batch.deleted.map(({ id }) => id))
              more = batch.more
            }
            // The newest first.
            assert.deepStrictEqual(
              deleted,
              ["8", "7", "5", "4", "2", "1"].filter((id) => id !== except)
            )
            assert.deepStrictEqual(index, except === "5" ? [entry("5", 5)] : [])
          }
        }
      })
    )

    it.effect("listByPrincipal reads no record where the index shows that there are no more than is asked about", () =>
      Effect.gen(function* () {
        const index = [entry("two", 2), entry("one", 1)]
        const { backend, commands } = yield* backendOver(([name]) => Effect.succeed(name === "ZRANGE" ? index : stored))
        const sent = (options: { readonly limit: number; readonly after?: string; readonly moreThan: number }) =>
          Effect.map(backend.listByPrincipal(record.namespace, "alice", options), ({ next, records }) => ({
            records: records.length,
            next: next !== undefined,
            commands: names(commands.splice(0))
          }))
        const none = { records: 0, next: false, commands: ["ZRANGE"] }
        const both = ["ZRANGE", "GETEX", "GETEX"]
        assert.deepStrictEqual(yield* sent({ limit: 3, moreThan: 2 }), none)
        assert.deepStrictEqual(yield* sent({ limit: 3, moreThan: 1 }), { records: 2, next: false, commands: both })
        // A full page, and a later one, do not show how many there are.
        assert.deepStrictEqual(yield* sent({ limit: 2, moreThan: 2 }), { records: 2, next: true, commands: both })
        const last = yield* sent({ limit: 3, after: "x", moreThan: 2 })
        assert.deepStrictEqual(last, { records: 2, next: false, commands: both })
      })
    )

    it.effect(
      "listByPrincipal asks for each record by its own command, and drops what has none or somebody else's",
      () =>
        Effect.gen(function* () {
          const { backend, commands } = yield* backendOver(([name, key]) =>
            Effect.succeed(
              name === "ZRANGE"
                ? [entry("three", 3), entry("two", 2), entry("one", 1)]
                : name === "GETEX"
                  ? key!.endsWith("three")
                    ? null
                    : key!.endsWith("one")
                      ? stored.replace("alice", "bob")
                      : stored
                  : 1
            )
          )
          const page = yield* backend.listByPrincipal(record.namespace, "alice", { limit: 3, after: "x" })
          assert.deepStrictEqual(page, { records: [{ ...record, id: "two" }], next: entry("one", 1) })
          assert.deepStrictEqual(commands, [
            ["ZRANGE", indexKey, "(x", "-", "BYLEX", "REV", "LIMIT", "0", "3"],
            ["GETEX", "t:s:YXBwL1VzZXI:three"],
            ["GETEX", "t:s:YXBwL1VzZXI:two"],
            ["GETEX", "t:s:YXBwL1VzZXI:one"],
            ["ZREM", indexKey, entry("three", 3), entry("one", 1)]
          ])
          const last = yield* backend.listByPrincipal(record.namespace, "alice", { limit: 4 })
          assert.isUndefined(last.next)
        })
    )

    it.effect("a call looks at a bounded number of entries, however many it may return", () =>
      Effect.gen(function* () {
        const { backend, commands } = yield* backendOver(willing)
        yield* backend.listByPrincipal(record.namespace, "alice", { limit: 1_000_000 })
        yield* backend.deleteByPrincipal(record.namespace, "alice", { limit: 1000 })
        const counts = commands.filter(([name]) => name === "ZRANGE").map((command) => Number(command.at(-1)))
        assert.isAtMost(Math.max(...counts), 250)
      })
    )

    it.effect("an empty index is believed only if the server takes a write", () =>
      Effect.gen(function* () {
        const empty = (reply: Effect.Effect<unknown, Redis.RedisError>) =>
          backendOver(([name]) => (name === "ZRANGE" ? Effect.succeed([]) : name === "QUIT" ? fail("x") : reply))
        const taking = yield* empty(Effect.succeed(0))
        assert.deepStrictEqual(yield* operations.listByPrincipal(taking.backend), { records: [] })
        assert.deepStrictEqual(yield* operations.deleteByPrincipal(taking.backend), { deleted: [], more: false })
        assert.deepStrictEqual(taking.commands[1], ["ZREM", indexKey, ""])
        // A primary that takes none may be cut off from the one that has taken its place. It may say so, not end a walk.
        for (const message of ["NOREPLICAS Not enough", "MISCONF Redis is"]) {
          const { backend } = yield* empty(fail(message))
          assert.deepStrictEqual(yield* operations.listByPrincipal(backend), { records: [] })
          assert.strictEqual((yield* Effect.flip(operations.deleteByPrincipal(backend))).outcome, "notApplied")
        }
        for (const operation of [operations.listByPrincipal, operations.deleteByPrincipal]) {
          const { backend } = yield* empty(fail("READONLY You can't"))
          const fiber = yield* Effect.forkChild(Effect.flip<unknown, unknown, never>(operation(backend)))
          yield* TestClock.adjust("1 second")
          assert.strictEqual(((yield* Fiber.join(fiber)) as SessionBackendError).outcome, "notApplied")
        }
      })
    )

    it.effect(
      "a create drops the entries without a record, of those it is shown, and never fails or waits for that",
      () =>
        Effect.gen(function* () {
          const shown = ["one", "two", "three"].map((id) => entry(id))
          const over = (getex: (key: string) => Effect.Effect<unknown, Redis.RedisError>, zrem = willing) =>
            backendOver((command) =>
              command[0] === "addEntry"
                ? Effect.succeed(shown)
                : command[0] === "GETEX"
                  ? getex(command[1]!)
                  : command[0] === "ZREM"
                    ? zrem(command)
                    : willing(command)
            )
          const dropsOf = (commands: ReadonlyArray<ReadonlyArray<string>>) =>
            Effect.map(Effect.andThen(Effect.yieldNow, TestClock.adjust(1)), () =>
              commands.filter(([name]) => name === "ZREM")
            )
          const some = yield* over((key) => Effect.succeed(key.endsWith("two") ? stored : null))
          assert.strictEqual(yield* operations.create(some.backend), "created")
          assert.deepStrictEqual(yield* dropsOf(some.commands), [["ZREM", indexKey, shown[0], shown[2]]])

          // What cannot be asked, or not of one that is a primary beyond doubt, stays.
          for (const message of ["READONLY You can't", "CLUSTERDOWN", "Socket closed unexpectedly"]) {
            const refused = yield* over((key) => (key.endsWith("two") ? Effect.succeed(null) : fail(message)))
            assert.strictEqual(yield* operations.create(refused.backend), "created", message)
            assert.deepStrictEqual(yield* dropsOf(refused.commands), [], message)
          }
          const isolated = yield* over(() => fail("NOREPLICAS Not enough good replicas to write."))
          assert.strictEqual(yield* operations.create(isolated.backend), "created")
          assert.deepStrictEqual(yield* dropsOf(isolated.commands), [])

          const hanging = yield* over(() => Effect.never)
          assert.strictEqual(yield* operations.create(hanging.backend), "created")
          const failing = yield* over(
            () => Effect.succeed(null),
            () => fail("OOM")
          )
          assert.strictEqual(yield* operations.create(failing.backend), "created")
          assert.lengthOf(yield* dropsOf(failing.commands), 1)
        })
    )

    it.effect(
      "an entry sorts after those of the former version, which begin with digits, and as its creation does",
      () =>
        Effect.sync(() => {
          const times = [-1, 0, 1, 1000.5, 1764129600000, 1e15, Infinity]
          const entries = times.map((createdAt) => RedisKeys.entry({ createdAt, id: "id" }))
          assert.deepStrictEqual(entries, entries.toSorted())
          for (const each of entries) {
            assert.isAbove(each.localeCompare("9999999999999999id", "en"), 0)
            assert.strictEqual(RedisKeys.idOfEntry(each), "id")
          }
          assert.strictEqual(RedisKeys.idOfEntry(`${end}id`), "id")
        })
    )

    it.effect("deleteExpired leaves the work to Redis", () =>
      Effect.gen(function* () {
        const { backend, commands } = yield* backendOver(willing)
        assert.deepStrictEqual(yield* backend.deleteExpired({ now: Infinity, limit: 10 }), { deleted: [], more: false })
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
            yield* backend.deleteByPrincipal(odd.namespace, odd.principal, { limit: 10 })
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

    it.effect("[R87c] refuses one server of a Cluster, and names what to use; a transient answer refuses nothing", () =>
      Effect.gen(function* () {
        const built = (reply: (key: string) => Effect.Effect<unknown, Redis.RedisError>) =>
          Effect.gen(function* () {
            const redis = yield* Redis.make({
              send: (name, key) => (name === "INFO" ? Effect.succeed("") : reply(key!)) as any,
              subscribe: () => Effect.die("not used"),
              connect: Effect.die("not used")
            })
            return yield* SessionBackend.pipe(
              Effect.as([] as ReadonlyArray<string>),
              Effect.provide(SessionBackendRedis.layer.pipe(Layer.provide(Layer.succeed(Redis.Redis, redis)))),
              Effect.catchTag("SessionConfigError", (error) => Effect.succeed(error.problems))
            )
          })
        const moved = yield* built((key) =>
          key.endsWith("7") ? fail("MOVED 1234 10.0.0.1:6379") : Effect.succeed(null)
        )
        assert.lengthOf(moved, 1)
        assert.include(moved[0], "NodeRedisCluster")
        assert.include(moved[0], "IoRedis.layerFromClient")
        assert.notInclude(moved[0], "10.0.0.1")
        for (const message of ["READONLY x", "CLUSTERDOWN x", "LOADING x", "NOPERM x", "The client is offline"]) {
          assert.deepStrictEqual(yield* built(() => fail(message)), [], message)
        }
        // One that does not answer delays it by a second.
        const waiting = yield* Effect.forkChild(built(() => Effect.never))
        yield* TestClock.adjust("999 millis")
        assert.isUndefined(waiting.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(yield* Fiber.join(waiting), [])
      })
    )

    it.effect("[R87c] warns of an eviction policy other than noeviction, and takes a refusal to tell", () =>
      Effect.gen(function* () {
        const warnings = (info: Effect.Effect<unknown, Redis.RedisError>) =>
          Effect.gen(function* () {
            const logged: Array<string> = []
            const redis = yield* Redis.make({
              send: (name) => (name === "INFO" ? info : Effect.succeed(null)) as any,
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
