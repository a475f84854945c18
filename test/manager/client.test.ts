/** What a list of devices shows of a client: `client` of `create`, and `describe`. And `get`, and timeouts that are cut. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { SessionId } from "../../src/Session.ts"
import type { ClientInfo } from "../../src/Session.ts"
import { SessionBackend } from "../../src/SessionBackend.ts"
import { capturing } from "../support/logs.ts"
import { onManager } from "../support/onManager.ts"
import { outcome } from "../support/outcome.ts"
import { recordOf } from "../support/records.ts"
import * as Stack from "../support/stack.ts"
import { ada, addWord, nobody, UserSession } from "../support/userSession.ts"

describe("client", () => {
  it.effect("[R52] [R84e] is shown as it was given: its three texts, of each the first 512 characters", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const long = "x".repeat(511)
        const rows: ReadonlyArray<readonly [given: ClientInfo | undefined, shown: ClientInfo]> = [
          [undefined, {}],
          [{}, {}],
          [
            { label: "phone", address: "192.0.2.1", userAgent: "a browser" },
            { label: "phone", address: "192.0.2.1", userAgent: "a browser" }
          ],
          [{ label: `${long}yz` }, { label: `${long}y` }],
          // A character of two halves, cut in its middle.
          [{ label: `${long}\u{1f600}` }, { label: `${long}\ufffd` }],
          [{ label: undefined, address: "" }, { address: "" }],
          [{ label: "phone", secret: "s" } as ClientInfo, { label: "phone" }]
        ]
        for (const [client, shown] of rows) {
          const session = yield* manager.create(ada, { client })
          assert.deepStrictEqual(session.client, shown)
          assert.deepStrictEqual((yield* manager.resolve(session.token)).client, shown)
          assert.deepStrictEqual((yield* Effect.fromOption(yield* manager.get(session.id))).client, shown)
          // No trace of what is not shown.
          assert.notInclude((yield* recordOf(UserSession, session.id)).extension, "secret")
        }
      })
    )
  )

  it.effect("describe changes the fields that are given, removes those given as undefined, and keeps the rest", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada, {
          methods: ["pwd"],
          client: { label: "phone", address: "::1", userAgent: "a browser" }
        })
        const described = yield* manager.describe(session, { label: "Ada's phone", address: undefined })
        assert.deepStrictEqual(described.client, { label: "Ada's phone", userAgent: "a browser" })
        const again = yield* manager.describe(session.token, { label: "y".repeat(600) })
        assert.deepStrictEqual(again.client, { label: "y".repeat(512), userAgent: "a browser" })
        const seen = yield* manager.resolve(session.token)
        assert.deepStrictEqual([seen.client, seen.data, seen.version], [again.client, ada, 3])
        assert.deepStrictEqual(
          seen.factors.map(({ method }) => method),
          ["pwd"]
        )
      })
    )
  )

  it.effect("[R70] describe and an update at once lose neither; one of a session that has ended is told so", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada)
        yield* Effect.all(
          [
            manager.modify(session, addWord("x")),
            manager.describe(session, { label: "phone" }),
            manager.modify(session, addWord("y"))
          ],
          { concurrency: "unbounded" }
        )
        const seen = yield* manager.resolve(session.token)
        assert.deepStrictEqual([seen.data.words, seen.client], [["x", "y"], { label: "phone" }])
        yield* manager.destroy(session.token)
        for (const source of [session, session.token]) {
          assert.strictEqual(yield* outcome(manager.describe(source, { label: "x" })), "SessionInvalid NotFound")
        }
      })
    )
  )
})

describe("replace beside a change that leaves the data alone", () => {
  it.effect("[R70] is made on the newer version, and loses neither; beside one of the data it is a conflict", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada)
        // Other servers, which do not queue with this one.
        const other = yield* Effect.provide(UserSession.Manager, Layer.fresh(Stack.managerInContext(UserSession)))
        yield* other.describe(session.token, { label: "phone" })
        const replaced = yield* manager.replace(session, { ...ada, count: 1 })
        assert.deepStrictEqual([replaced.data.count, replaced.client, replaced.version], [1, { label: "phone" }, 3])
        yield* other.modify(session.token, addWord("x"))
        assert.strictEqual(yield* outcome(manager.replace(replaced, ada)), "SessionConflict")
        assert.deepStrictEqual((yield* manager.resolve(session.token)).data.words, ["x"])
      })
    )
  )
})

describe("get", () => {
  it.effect("[R52] shows a live session by its id, without its token, and does not keep it alive", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada)
        const { token: _, ...info } = session
        yield* TestClock.adjust("30 minutes")
        watched.calls.length = 0
        assert.deepStrictEqual(yield* manager.get(session.id), Option.some(info))
        assert.deepStrictEqual(watched.operations, ["read"])
        const anonymous = yield* manager.create(nobody)
        assert.isTrue(Option.isSome(yield* manager.get(anonymous.id)))
        yield* TestClock.adjust("30 minutes")
        assert.isTrue(Option.isNone(yield* manager.get(session.id)))
        assert.isTrue(Option.isNone(yield* manager.get(Schema.decodeSync(SessionId)("A".repeat(22)))))
        // That a store fails is not that there is none.
        watched.wire = () => Effect.die("down")
        assert.strictEqual(yield* outcome(manager.get(anonymous.id)), "SessionUnavailable notApplied")
      })
    )
  )

  it.effect("[R64] of data that do not decode there are none to show, and the rest is", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada, { client: { label: "phone" } })
        const { idleExpiresAt, lastSeenAt } = yield* recordOf(UserSession, session.id)
        const patch = { data: "junk", dataVersion: 1, idleExpiresAt, lastSeenAt }
        yield* (yield* SessionBackend).update(UserSession.key, session.id, 1, patch)
        const found = yield* Effect.fromOption(yield* manager.get(session.id))
        assert.deepStrictEqual([found.data, found.client], [undefined, { label: "phone" }])
        assert.isTrue(yield* manager.revoke(found.id, { principal: "ada" }))
      })
    )
  )
})

describe("a timeout given to create that is longer than the layer's", () => {
  it.effect("is cut, and said once in the log, where the session was made", () => {
    const lines: Array<string> = []
    const cut = () => lines.filter((line) => line.startsWith("{") && line.includes("longer than the layer's")).length
    return Effect.gen(function* () {
      const manager = yield* UserSession.Manager
      yield* manager.create(ada, { idleTimeout: "1 hour", absoluteTimeout: "24 hours" })
      assert.strictEqual(cut(), 0)
      const session = yield* manager.create(ada, { absoluteTimeout: "30 days" })
      assert.strictEqual(session.absoluteExpiresAt.epochMilliseconds, 24 * 60 * 60_000)
      assert.strictEqual(cut(), 1)
      yield* manager.create(ada, { idleTimeout: "2 hours" })
      yield* manager.createFrom(session, () => ada, { idleTimeout: "2 hours" })
      assert.strictEqual(cut(), 1)
    }).pipe(Effect.provide([Stack.manager(UserSession), capturing(lines)]))
  })

  it.effect("so in createFrom", () => {
    const lines: Array<string> = []
    return Effect.gen(function* () {
      const manager = yield* UserSession.Manager
      const session = yield* manager.create(ada)
      yield* manager.createFrom(session, () => ada, { idleTimeout: "2 hours" })
      assert.include(lines.join("\n"), "longer than the layer's")
    }).pipe(Effect.provide([Stack.manager(UserSession), capturing(lines)]))
  })
})
