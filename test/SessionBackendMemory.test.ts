import { assert, describe, it, layer } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as TestClock from "effect/testing/TestClock"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { vi } from "vitest"
import { clockSlack, SessionBackend } from "../src/SessionBackend.ts"
import type { SessionRecord } from "../src/SessionBackend.ts"
import * as SessionBackendMemory from "../src/SessionBackendMemory.ts"
import { SessionConfigError } from "../src/SessionError.ts"
import * as SessionBackendTest from "../src/testing/SessionBackendTest.ts"
import { capturing, silent } from "./support/logs.ts"
import { outcome } from "./support/outcome.ts"
import * as Records from "./support/records.ts"
import { ada, nobody, UserSession } from "./support/userSession.ts"
import * as Stack from "./support/stack.ts"

layer(SessionBackendMemory.layer, { excludeTestServices: true })(
  "the conformance suite on the memory backend",
  (it) => {
    const { cases, collectingCases, pushingCases } = SessionBackendTest
    for (const { effect, name } of [...cases, ...collectingCases, ...pushingCases]) it.effect(name, () => effect)
  }
)

const record = (id: string, changes: Partial<SessionRecord> = {}) =>
  Records.record({ namespace: "memory", id, ...changes })

const withMemory = <A, E>(
  options: SessionBackendMemory.SessionBackendMemoryOptions,
  body: (backend: SessionBackend["Service"]) => Effect.Effect<A, E>
) => SessionBackend.use(body).pipe(Effect.provide(SessionBackendMemory.layerWith(options)))

const present = (backend: SessionBackend["Service"], ids: ReadonlyArray<string>) =>
  Effect.map(
    Effect.forEach(ids, (id) => backend.read("memory", id)),
    (found) => ids.filter((_, i) => Option.isSome(found[i]!))
  )

/** Collects what is garbage. Bun has a way of its own. */
const collect = (): void => {
  const { Bun } = globalThis as { readonly Bun?: { readonly gc: (isSync: boolean) => void } }
  if (Bun !== undefined) return Bun.gc(true)
  setFlagsFromString("--expose_gc")
  runInNewContext("gc()")
}

/** The heap's size, after a collection. */
const heapUsed = () => {
  collect()
  collect()
  return process.memoryUsage().heapUsed
}

describe("scanning", () => {
  it.effect("fails on a cursor that is none of its own", () =>
    withMemory({}, (backend) =>
      Effect.gen(function* () {
        yield* backend.create(record("a"))
        const failed = yield* Effect.flip(backend.scan("memory", { limit: 10, after: "garbage" }))
        assert.deepStrictEqual([failed.operation, failed.outcome], ["scan", "notApplied"])
      })
    )
  )
})

describe("reading", () => {
  it.effect("looks the record up when it is called, and answers with an Exit", () =>
    withMemory({}, (backend) =>
      Effect.gen(function* () {
        const early = backend.read("memory", "a")
        const deferred = Effect.suspend(() => backend.read("memory", "a"))
        yield* backend.create(record("a"))
        assert.isTrue(Exit.isExit(early))
        assert.isTrue(Option.isNone(yield* early))
        assert.isTrue(Option.isSome(yield* deferred))
      })
    )
  )

  it.effect("is the only operation that does: the others do nothing until they are run", () =>
    withMemory({}, (backend) =>
      Effect.gen(function* () {
        yield* backend.create(record("a", { principal: "ada" }))
        const seen = { lastSeenAt: 1, idleExpiresAt: 3_600_001 }
        for (const operation of [
          backend.create(record("b")),
          backend.update("memory", "a", 1, seen),
          backend.touch("memory", "a", seen),
          backend.delete("memory", "a"),
          backend.deleteByPrincipal("memory", "ada", { limit: 1 }),
          backend.listByPrincipal("memory", "ada", { limit: 1 }),
          backend.deleteExpired({ now: Infinity, limit: 1 })
        ]) {
          assert.isFalse(Exit.isExit(operation))
        }
        assert.deepStrictEqual(yield* present(backend, ["a", "b"]), ["a"])
        const found = Option.getOrThrow(yield* backend.read("memory", "a"))
        assert.deepStrictEqual([found.version, found.lastSeenAt], [1, 0])
      })
    )
  )
})

/** How many a sweep deletes whose deadline is at `before` or earlier. */
const swept = (backend: SessionBackend["Service"], before: number, limit: number) =>
  Effect.map(
    backend.deleteExpired({ now: before + Duration.toMillis(clockSlack), limit }),
    ({ deleted }) => deleted.length
  )

/** How many of ada's sessions are deleted, 1,000 at a time. */
const revoked = (backend: SessionBackend["Service"], except?: string) =>
  Effect.gen(function* () {
    let count = 0
    for (;;) {
      const { deleted, more } = yield* backend.deleteByPrincipal("memory", "ada", { limit: 1000, except })
      count += deleted.length
      if (!more) return count
      assert.strictEqual(deleted.length, 1000)
    }
  })

describe("large numbers of sessions", () => {
  const ids = Array.from({ length: 20_000 }, (_, i) => `s${i}`)

  it.effect("[R49] deleteByPrincipal deletes all of a principal's sessions, however many, and no others", () =>
    withMemory({}, (backend) =>
      Effect.gen(function* () {
        for (const id of ids) yield* backend.create(record(id, { principal: "ada" }))
        yield* backend.create(record("other", { principal: "eve" }))
        assert.strictEqual(yield* revoked(backend, "s7"), 19_999)
        assert.deepStrictEqual(yield* present(backend, [...ids, "other"]), ["s7", "other"])
        assert.strictEqual(yield* revoked(backend), 1)
      })
    )
  )

  it.effect("listByPrincipal pages through all of them, and answers as many at once as it is asked for", () =>
    withMemory({}, (backend) =>
      Effect.gen(function* () {
        for (const id of ids) yield* backend.create(record(id, { principal: "ada" }))
        const all = yield* backend.listByPrincipal("memory", "ada", { limit: 20_000 })
        assert.lengthOf(all.records, 20_000)
        assert.isUndefined(all.next)
        const found: Array<string> = []
        let after: string | undefined
        do {
          const page = yield* backend.listByPrincipal("memory", "ada", { limit: 3000, after })
          found.push(...page.records.map(({ id }) => id))
          after = page.next
        } while (after !== undefined)
        assert.deepStrictEqual(found, ids.toReversed())
      })
    )
  )

  it.effect("deleteExpired deletes as many as it is told, however many live sessions it meets first", () =>
    withMemory({}, (backend) =>
      Effect.gen(function* () {
        for (const id of ids) yield* backend.create(record(id, { idleExpiresAt: 1000 }))
        for (const id of ids.slice(0, 10_000)) {
          yield* backend.touch("memory", id, { lastSeenAt: 900, idleExpiresAt: 9000 })
        }
        for (let i = 0; i < 10_000; i++) yield* backend.create(record(`e${i}`, { idleExpiresAt: 1500 }))
        assert.strictEqual(yield* swept(backend, 2000, 1), 1)
        assert.strictEqual(yield* swept(backend, 2000, 15_000), 15_000)
        assert.strictEqual(yield* swept(backend, 2000, 15_000), 4999)
        assert.strictEqual((yield* present(backend, ids)).length, 10_000)
      })
    )
  )
})

describe("times in the future", () => {
  const day = 86_400_000

  it.effect("a session that was set back makes room at its new deadline", () =>
    withMemory({ maxSessions: 1 }, (backend) =>
      Effect.gen(function* () {
        const ahead = { lastSeenAt: 365 * day, idleExpiresAt: 366 * day, absoluteExpiresAt: 400 * day }
        yield* backend.create(record("a", { principal: "ada", ...ahead }))
        assert.strictEqual(yield* backend.touch("memory", "a", { lastSeenAt: 1000, idleExpiresAt: 2000 }), "touched")
        const next = (createdAt: number) => backend.create(record("b", { principal: "bob", createdAt }))
        assert.strictEqual(yield* outcome(next(1999)), "SessionBackendError notApplied")
        assert.strictEqual(yield* next(2000), "created")
      })
    )
  )

  it.effect("a session that is set back again and again takes no more memory, and is swept when it ends", () =>
    withMemory({}, (backend) =>
      Effect.gen(function* () {
        yield* backend.create(record("a", { absoluteExpiresAt: 400 * day }))
        let lastSeenAt = 200_000
        const setBack = Effect.gen(function* () {
          for (let i = 0; i < 50_000; i++) {
            lastSeenAt--
            yield* backend.touch("memory", "a", { lastSeenAt: 300 * day, idleExpiresAt: 301 * day })
            yield* backend.touch("memory", "a", { lastSeenAt, idleExpiresAt: lastSeenAt + 10_000 })
          }
        })
        yield* setBack
        const before = heapUsed()
        yield* setBack
        yield* setBack
        assert.isBelow(heapUsed() - before, 2 * 1024 * 1024)
        assert.strictEqual(yield* swept(backend, lastSeenAt + 9999, 10), 0)
        assert.strictEqual(yield* swept(backend, lastSeenAt + 10_000, 10), 1)
      })
    )
  )
})

describe("copies", () => {
  it.effect("[R8] what is stored is neither the object given nor one that can be changed", () =>
    withMemory({}, (backend) =>
      Effect.gen(function* () {
        const given = { ...record("a") }
        yield* backend.create(given)
        given.data = "changed"
        const found = Option.getOrThrow(yield* backend.read("memory", "a"))
        assert.strictEqual(found.data, "{}")
        assert.isTrue(Object.isFrozen(found))
        assert.throws(() => Object.assign(found, { data: "changed" }))
        const patch = { data: "[1]", lastSeenAt: 1, idleExpiresAt: 1 }
        const updated = yield* backend.update("memory", "a", 1, patch)
        patch.data = "changed"
        assert.isTrue(updated._tag === "updated" && Object.isFrozen(updated.record))
        assert.strictEqual(Option.getOrThrow(yield* backend.read("memory", "a")).data, "[1]")
      })
    )
  )

  it.effect("[R8] a handler that changes the data it was given changes nothing stored", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const mine = { username: "ada", words: ["one"], count: 0 }
      const created = yield* sessions.create(mine)
      mine.words.push("two")
      for (const held of [created, yield* sessions.resolve(created.token)]) {
        try {
          // As a careless handler might.
          ;(held.data.words as Array<string>).push("three")
        } catch {
          // Frozen would do as well.
        }
      }
      assert.deepStrictEqual((yield* sessions.resolve(created.token)).data.words, ["one"])
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )
})

describe("bounds", () => {
  it.effect("[R84d] 10^5 anonymous log-ins at a cap of 10^3 leave the newest thousand, and every login", () =>
    withMemory({ maxSessions: 1000 }, (backend) =>
      Effect.gen(function* () {
        const logins = Array.from({ length: 100 }, (_, i) => `login${i}`)
        for (const id of logins) yield* backend.create(record(id, { principal: id }))
        const times = new Float64Array(100_000)
        for (let i = 0; i < 100_000; i++) {
          // Of the processor alone, so that a machine that is busy with others does not count.
          const began = process.threadCpuUsage()
          const result = yield* backend.create(record(`visitor${i}`, { createdAt: i, idleExpiresAt: 86_400_000 }))
          const { system, user } = process.threadCpuUsage(began)
          times[i] = (system + user) / 1e3
          if (result !== "created") assert.fail(result)
        }
        assert.deepStrictEqual(yield* present(backend, logins), logins)
        const newest = Array.from({ length: 900 }, (_, i) => `visitor${99_100 + i}`)
        assert.deepStrictEqual(yield* present(backend, newest), newest)
        assert.deepStrictEqual(yield* present(backend, ["visitor99099", "visitor0", "visitor50000"]), [])
        // No create blocks the process for long, nor those in which the heap is tidied, about fifty of them.
        assert.isBelow(times.toSorted()[100_000 - 30]!, 20)
      })
    )
  )

  it.effect("[R84d] the expired go first, then the oldest anonymous, never a login; then create fails, typed", () =>
    withMemory({ maxSessions: 4 }, (backend) =>
      Effect.gen(function* () {
        yield* backend.create(record("login", { principal: "ada" }))
        yield* backend.create(record("expired-login", { principal: "eve", idleExpiresAt: 50 }))
        yield* backend.create(record("old", { createdAt: 1 }))
        yield* backend.create(record("new", { createdAt: 2 }))
        const all = ["login", "expired-login", "old", "new", "a", "b", "c", "d"]
        yield* backend.create(record("a", { createdAt: 100, principal: "a" }))
        assert.deepStrictEqual(yield* present(backend, all), ["login", "old", "new", "a"])
        yield* backend.create(record("b", { createdAt: 100, principal: "b" }))
        assert.deepStrictEqual(yield* present(backend, all), ["login", "new", "a", "b"])
        yield* backend.create(record("c", { createdAt: 100, principal: "c" }))
        assert.deepStrictEqual(yield* present(backend, all), ["login", "a", "b", "c"])
        assert.strictEqual(
          yield* outcome(backend.create(record("d", { createdAt: 100, principal: "d" }))),
          "SessionBackendError notApplied"
        )
        assert.strictEqual(
          yield* outcome(backend.create(record("d", { createdAt: 100 }))),
          "SessionBackendError notApplied"
        )
        assert.deepStrictEqual(yield* present(backend, all), ["login", "a", "b", "c"])
        yield* backend.delete("memory", "a")
        assert.strictEqual(yield* backend.create(record("d", { createdAt: 100 })), "created")
      })
    )
  )

  it.effect("[R84d] the expired make room however many live sessions have been touched since", () =>
    withMemory({ maxSessions: 3000 }, (backend) =>
      Effect.gen(function* () {
        for (let i = 0; i < 2000; i++)
          yield* backend.create(record(`busy${i}`, { principal: "p", idleExpiresAt: 1000 }))
        for (let i = 0; i < 999; i++) yield* backend.create(record(`idle${i}`, { principal: "p", idleExpiresAt: 1001 }))
        yield* backend.create(record("visitor", { idleExpiresAt: 100_000 }))
        for (let i = 0; i < 2000; i++)
          yield* backend.touch("memory", `busy${i}`, { lastSeenAt: 900, idleExpiresAt: 1900 })
        yield* backend.create(record("next", { principal: "p", createdAt: 1500, idleExpiresAt: 5000 }))
        assert.deepStrictEqual(yield* present(backend, ["next", "visitor", "busy0", "busy1999"]), [
          "next",
          "visitor",
          "busy0",
          "busy1999"
        ])
      })
    )
  )

  it.effect("[R84d] [R84e] bytes are bounded: by evicting the anonymous, and then by refusing", () =>
    withMemory({ maxBytes: 100_000 }, (backend) =>
      Effect.gen(function* () {
        const big = "x".repeat(10_000)
        for (let i = 0; i < 50; i++) yield* backend.create(record(`v${i}`, { data: big }))
        const kept = yield* present(
          backend,
          Array.from({ length: 50 }, (_, i) => `v${i}`)
        )
        assert.deepStrictEqual(kept, ["v46", "v47", "v48", "v49"])
        for (let i = 0; i < 4; i++) yield* backend.create(record(`l${i}`, { principal: "p", data: big }))
        assert.deepStrictEqual(yield* present(backend, kept), [])
        assert.strictEqual(
          yield* outcome(backend.create(record("l4", { principal: "p", data: big }))),
          "SessionBackendError notApplied"
        )
        // An update that grows a session is bounded too, and leaves it as it was.
        const seen = { lastSeenAt: 0, idleExpiresAt: 0 }
        assert.strictEqual(
          yield* outcome(backend.update("memory", "l0", 1, { data: "x".repeat(60_000), ...seen })),
          "SessionBackendError notApplied"
        )
        assert.strictEqual(Option.getOrThrow(yield* backend.read("memory", "l0")).version, 1)
        // Shrinking gives room back, as deleting does.
        yield* backend.update("memory", "l0", 1, { data: "", ...seen })
        yield* backend.delete("memory", "l1")
        assert.strictEqual(yield* backend.create(record("l4", { principal: "p", data: big })), "created")
        assert.strictEqual(yield* backend.create(record("l5", { principal: "p", data: big })), "created")
        assert.strictEqual(
          yield* outcome(backend.create(record("l6", { principal: "p", data: big }))),
          "SessionBackendError notApplied"
        )
      })
    )
  )

  it.effect("[R84d] the process's memory stays within the bytes allowed, whatever was evicted", () =>
    withMemory({ maxBytes: 4 * 1024 * 1024 }, (backend) =>
      Effect.gen(function* () {
        const before = heapUsed()
        for (let i = 0; i < 4000; i++) {
          // A text of its own for each, and one piece.
          const data = Buffer.alloc(60_000, i.toString(36)).toString("latin1")
          yield* backend.create(record(`v${i}`, { data }))
        }
        const grown = heapUsed() - before
        assert.isBelow(grown, 12 * 1024 * 1024)
        assert.strictEqual((yield* present(backend, ["v3999"])).length, 1)
      })
    )
  )

  it.effect("[R84d] an id or a principal that was cut out of a longer text does not keep that in memory", () =>
    withMemory({}, (backend) =>
      Effect.gen(function* () {
        const before = heapUsed()
        for (let i = 0; i < 1000; i++) {
          const text = Buffer.alloc(60_000, `${i.toString(36)}.`).toString("latin1")
          yield* backend.create(record(text.slice(0, 30), { principal: text.slice(30, 60) }))
        }
        assert.isBelow(heapUsed() - before, 8 * 1024 * 1024)
        const { records } = yield* backend.listByPrincipal("memory", "a.".repeat(15), { limit: 2 })
        assert.deepStrictEqual(
          records.map(({ id, principal }) => [id, principal]),
          [["a.".repeat(15), "a.".repeat(15)]]
        )
      })
    )
  )

  it.effect("a principal who came back is still in the index when those without a session leave it", () =>
    withMemory({}, (backend) =>
      Effect.gen(function* () {
        yield* backend.create(record("first", { principal: "grace" }))
        yield* backend.delete("memory", "first")
        yield* backend.create(record("second", { principal: "grace" }))
        for (let i = 0; i < 1100; i++) {
          yield* backend.create(record(`one-${i}`, { principal: `user-${i}` }))
          yield* backend.delete("memory", `one-${i}`)
        }
        const { records } = yield* backend.listByPrincipal("memory", "grace", { limit: 10 })
        assert.deepStrictEqual(
          records.map(({ id }) => id),
          ["second"]
        )
      })
    )
  )

  it.effect(
    "an update that grows a session whose deadline has passed may find it gone, and leaves the rest alone",
    () =>
      withMemory({}, (backend) =>
        Effect.gen(function* () {
          for (const id of ["a", "b"]) yield* backend.create(record(id, { principal: "ada", idleExpiresAt: 1000 }))
          yield* backend.create(record("c", { principal: "ada" }))
          const patch = { data: "x".repeat(100), lastSeenAt: 2000, idleExpiresAt: 3000 }
          assert.deepStrictEqual(yield* backend.update("memory", "a", 1, patch), { _tag: "gone" })
          assert.deepStrictEqual(yield* present(backend, ["a", "b", "c"]), ["c"])
          assert.strictEqual(yield* swept(backend, 3_600_000, 10), 1)
        })
      )
  )

  it.effect("an update that grows the only visitor's session evicts no other, and not that one", () =>
    withMemory({ maxBytes: 3000 }, (backend) =>
      Effect.gen(function* () {
        yield* backend.create(record("user", { principal: "ada" }))
        yield* backend.create(record("old"))
        yield* backend.create(record("visitor"))
        const grown = (id: string, length: number) =>
          outcome(
            backend.update("memory", id, 1, { data: "x".repeat(length), lastSeenAt: 0, idleExpiresAt: 3_600_000 })
          )
        // The oldest visitor is the one that grows: the next one goes.
        assert.strictEqual(yield* grown("old", 800), "ok")
        assert.deepStrictEqual(yield* present(backend, ["user", "old", "visitor"]), ["user", "old"])
        yield* backend.delete("memory", "old")
        yield* backend.create(record("visitor"))
        assert.strictEqual(yield* grown("visitor", 8000), "SessionBackendError notApplied")
        assert.deepStrictEqual(yield* present(backend, ["user", "visitor"]), ["user", "visitor"])
      })
    )
  )

  it.effect("[R84d] logging in and out for ever takes no more memory", () =>
    withMemory({ maxSessions: 1000 }, (backend) =>
      Effect.gen(function* () {
        const round = (n: number) =>
          Effect.gen(function* () {
            for (let i = 0; i < 50_000; i++) {
              const id = `s${n}-${i}`
              yield* backend.create(record(id, { principal: `p${n}-${i}` }))
              yield* backend.touch("memory", id, { lastSeenAt: 5, idleExpiresAt: 3_600_005 })
              if (i % 2 === 0) yield* backend.delete("memory", id)
              else yield* backend.deleteByPrincipal("memory", `p${n}-${i}`, { limit: 10 })
            }
          })
        yield* round(0)
        const before = heapUsed()
        yield* round(1)
        yield* round(2)
        assert.isBelow(heapUsed() - before, 3 * 1024 * 1024)
      })
    )
  )

  it.effect(
    "[R84d] a user who logs in and out for ever does not wear the index out, and principals without a session leave it",
    () =>
      withMemory({}, (backend) =>
        Effect.gen(function* () {
          // Each deletion of a key leaves a trace in the map, which every later look for that key meets.
          const deletions = vi.spyOn(Map.prototype, "delete")
          const deleted = () => deletions.mock.calls.map(([key]) => String(key))
          const inAndOut = Effect.fnUntraced(function* (id: string, principal: string) {
            yield* backend.create(record(id, { principal }))
            assert.isTrue(yield* backend.delete("memory", id))
          })
          yield* Effect.gen(function* () {
            for (let i = 0; i < 5000; i++) yield* inAndOut(`grace-${i}`, "grace")
            assert.strictEqual(deleted().filter((key) => key === "grace").length, 0)
            for (let i = 0; i < 5000; i++) yield* inAndOut(`one-${i}`, `user-${i}`)
            assert.isAtLeast(deleted().filter((key) => key.startsWith("user-")).length, 5000 - 1025)
          }).pipe(Effect.ensuring(Effect.sync(() => deletions.mockRestore())))
          // A principal that was left in the index can log in again, as can one that has left it.
          yield* backend.create(record("again", { principal: "grace" }))
          const { records } = yield* backend.listByPrincipal("memory", "grace", { limit: 10 })
          assert.deepStrictEqual(
            records.map(({ id }) => id),
            ["again"]
          )
          assert.deepStrictEqual((yield* backend.listByPrincipal("memory", "user-4999", { limit: 10 })).records, [])
          assert.strictEqual((yield* backend.deleteByPrincipal("memory", "grace", { limit: 10 })).deleted.length, 1)
        })
      )
  )

  it.effect("[R84d] a full store of logins is SessionUnavailable, and nothing else breaks", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const first = yield* sessions.create(ada)
      yield* sessions.create(nobody)
      yield* sessions.create(ada)
      assert.strictEqual(yield* outcome(sessions.create(ada)), "SessionUnavailable notApplied")
      assert.strictEqual(yield* outcome(sessions.resolve(first.token)), "ok")
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* outcome(sessions.create(ada)), "ok")
    }).pipe(Effect.provide([Stack.manager(UserSession, { backend: Stack.layerMemory({ maxSessions: 2 }) }), silent]))
  )

  for (const [name, options] of Object.entries({
    "no sessions": { maxSessions: 0 },
    "half a session": { maxSessions: 1.5 },
    "no number": { maxBytes: NaN },
    "no bound": { maxSessions: Infinity }
  })) {
    it.effect(`[R87a] ${name} is a configuration error when the Layer is built`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Layer.build(SessionBackendMemory.layerWith(options)))
        assert.instanceOf(error, SessionConfigError)
        assert.lengthOf(error.problems, 1)
        assert.match(error.problems[0]!, /^SessionBackendMemory\.layerWith: max(?:Sessions|Bytes) must be/)
      })
    )
  }

  it.effect("[R87a] all problems of the options are reported at once", () =>
    Effect.gen(function* () {
      const layer = SessionBackendMemory.layerWith({ maxSessions: 0, maxBytes: -1 })
      assert.lengthOf((yield* Effect.flip(Layer.build(layer))).problems, 2)
    })
  )

  it.effect("no timer is left behind", () =>
    withMemory({}, (backend) =>
      Effect.gen(function* () {
        const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length
        const before = timers()
        for (let i = 0; i < 1000; i++) yield* backend.create(record(`t${i}`))
        assert.isAtMost(timers(), before)
      })
    )
  )
})

describe("hints of records that have ended", () => {
  /** What a subscription is told of while something happens. */
  const during = (backend: SessionBackend["Service"], effect: Effect.Effect<unknown, unknown>) =>
    Effect.scoped(
      Effect.gen(function* () {
        const queue = yield* backend.ended!
        yield* effect
        return yield* Queue.clear(queue)
      })
    )

  it.effect("come for a session that was evicted to make room, too", () =>
    withMemory({ maxSessions: 1 }, (backend) =>
      Effect.gen(function* () {
        yield* backend.create(record("a"))
        assert.deepStrictEqual(yield* during(backend, backend.create(record("b"))), [{ namespace: "memory", id: "a" }])
      })
    )
  )

  it.effect("wait in a queue with a bound, of a subscriber who takes none, and of no other", () =>
    withMemory({}, (backend) =>
      Effect.gen(function* () {
        const ids = Array.from({ length: 10_500 }, (_, i) => String(i))
        for (const id of ids) yield* backend.create(record(id))
        const found = yield* during(
          backend,
          Effect.forEach(ids, (id) => backend.delete("memory", id))
        )
        assert.strictEqual(found.length, 10_000)
        assert.deepStrictEqual(yield* during(backend, Effect.void), [])
      })
    )
  )
})

describe("layers", () => {
  const put = (id: string) => SessionBackend.use((backend) => Effect.as(backend.create(record(id)), backend))

  it.effect("`layer` is one store wherever it is provided; a fresh one is a store of its own", () =>
    Effect.gen(function* () {
      const first = yield* put("a").pipe(Effect.provide(SessionBackendMemory.layer))
      const second = yield* put("b").pipe(Effect.provide(SessionBackendMemory.layer))
      const third = yield* put("c").pipe(Effect.provide(Layer.fresh(SessionBackendMemory.layer)))
      assert.strictEqual(first, second)
      assert.notStrictEqual(first, third)
    }).pipe(Effect.provide(SessionBackendMemory.layer))
  )
})

describe("in production", () => {
  for (const [env, count] of [
    ["production", 1],
    ["development", 0],
    [undefined, 0]
  ] as const) {
    it.effect(`[R87c] NODE_ENV=${env} logs ${count} warning(s)`, () => {
      const lines: Array<string> = []
      return Effect.gen(function* () {
        yield* Layer.build(SessionBackendMemory.layer)
        const warnings = lines.filter((line) => line.includes("SessionBackendMemory in production"))
        assert.strictEqual(warnings.length, 2 * count)
      }).pipe(
        Effect.provide(capturing(lines)),
        Effect.provideService(
          ConfigProvider.ConfigProvider,
          ConfigProvider.fromUnknown(env === undefined ? {} : { NODE_ENV: env })
        )
      )
    })
  }

  it.effect("[R87c] an environment that may not be read is no reason not to start", () => {
    const lines: Array<string> = []
    // So does Effect's own provider on Deno without `--allow-env`.
    const denied = ConfigProvider.make(() => Effect.die(new Error("Requires env access")))
    return Effect.gen(function* () {
      yield* withMemory({}, (backend) => backend.create(record("a")))
      yield* Layer.build(SessionBackendMemory.layer)
      assert.deepStrictEqual(lines, [])
    }).pipe(Effect.provide(capturing(lines)), Effect.provideService(ConfigProvider.ConfigProvider, denied))
  })
})
