/** `createFrom`: a session in place of another, with data made from its own. Nothing a visitor did is lost. */
import { assert, describe, it } from "@effect/vitest"
import { NodeCrypto } from "@effect/platform-node"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import * as Session from "../../src/Session.ts"
import { SessionBackend } from "../../src/SessionBackend.ts"
import { SessionRefused } from "../../src/SessionError.ts"
import { adaWith, onManager, visitor } from "../support/onManager.ts"
import { outcome } from "../support/outcome.ts"
import { recordOf } from "../support/records.ts"
import * as Stack from "../support/stack.ts"
import { ada, addWord, UserData, UserSession } from "../support/userSession.ts"
import type { Data } from "../support/userSession.ts"

describe("createFrom", () => {
  it.effect("[R46] makes a session of the old one's data, with another id and token; the old one is gone", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const before = yield* manager.create(visitor)
        yield* manager.modify(before, addWord("eggs"))
        watched.calls.length = 0
        const created = yield* manager.createFrom(before.token, adaWith)
        assert.deepStrictEqual(created.data.words, ["milk", "eggs"])
        assert.deepStrictEqual(created.principal, Option.some("ada"))
        assert.notStrictEqual(created.id, before.id)
        assert.strictEqual(yield* outcome(manager.resolve(before.token)), "SessionInvalid NotFound")
        assert.deepStrictEqual((yield* manager.resolve(created.token)).data, created.data)
        assert.strictEqual((yield* watched.records).length, 1)
        // Read, sealed, made; fence and list; the old one is deleted last.
        assert.deepStrictEqual(watched.operations.slice(0, 3), ["read", "update", "create"])
        assert.sameMembers(watched.operations.slice(3, 5), ["read", "listByPrincipal"])
        assert.deepStrictEqual(watched.operations.slice(5, 6), ["delete"])
      })
    )
  )

  it.effect("[R46] a session at hand saves the read, and costs an anonymous one neither fence nor list", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const before = yield* manager.create(visitor)
        watched.calls.length = 0
        const created = yield* manager.createFrom(before, () => ({ ...visitor, count: 2 }))
        assert.deepStrictEqual(watched.operations, ["update", "create", "delete"])
        assert.isTrue(Option.isNone(created.principal))
      })
    )
  )

  it.effect("[R46] built and not run does nothing", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const before = yield* manager.create(visitor)
        watched.calls.length = 0
        let ran = 0
        const built = manager.createFrom(before, () => (ran++, ada))
        yield* Effect.yieldNow
        assert.deepStrictEqual([ran, watched.operations], [0, []])
        yield* built
        assert.strictEqual(ran, 1)
      })
    )
  )

  it.effect("[R46] f gets a copy of the newest data, whatever it does to it, and nothing for a token of none", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const before = yield* manager.create(visitor)
        yield* manager.modify(before.token, addWord("eggs"))
        const created = yield* manager.createFrom(before, (found) => {
          const words = Option.getOrThrow(found).words as Array<string>
          assert.deepStrictEqual(words, ["milk", "eggs"])
          words.push("mine")
          return { ...ada, words }
        })
        assert.deepStrictEqual(before.data.words, ["milk"])
        assert.deepStrictEqual(created.data.words, ["milk", "eggs", "mine"])
        const newest = yield* manager.create(visitor)
        yield* manager.createFrom(newest, (found) => {
          const words = Option.getOrThrow(found).words as Array<string>
          words.push("mine")
          return ada
        })
        assert.deepStrictEqual(newest.data.words, ["milk"])
        for (const token of [before.token, Redacted.make("junk")]) {
          assert.deepStrictEqual((yield* manager.createFrom(token, adaWith)).data.words, ["nothing"])
        }
      })
    )
  )

  it.effect("[R46] [R53] the new one has what the options say, and nothing of the old one's proofs or client", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const before = yield* manager.create(visitor, {
          methods: ["pwd"],
          client: { label: "phone" },
          cookie: "browser"
        })
        yield* TestClock.adjust(5)
        const created = yield* manager.createFrom(before, adaWith, { methods: ["otp"], idleTimeout: "10 minutes" })
        assert.deepStrictEqual(
          [created.factors.map(({ at, method }) => [method, at.epochMilliseconds]), created.client, created.persistent],
          [[["otp", 5]], {}, true]
        )
        assert.strictEqual(created.expiresAt.epochMilliseconds, 600_005)
      })
    )
  )

  it.effect("[R46] a session that has expired, or that the verifier refuses, gives f nothing, and one is made", () =>
    Effect.gen(function* () {
      class Shop extends Session.Service<Shop>()("test/Shop", { data: UserData, principal: (data) => data.username }) {}
      const refusing = Layer.succeed(Shop.Verifier, {
        verify: ({ data }: Session.Session<Data>) =>
          data.count === 13 ? Effect.fail(new SessionRefused({ message: "no" })) : Effect.void
      })
      yield* Effect.gen(function* () {
        const manager = yield* Shop.Manager
        const refused = yield* manager.create({ ...visitor, count: 13 })
        const late = yield* manager.create(visitor, { idleTimeout: "1 minute" })
        yield* TestClock.adjust("1 minute")
        for (const { token } of [refused, late]) {
          assert.deepStrictEqual((yield* manager.createFrom(token, adaWith)).data.words, ["nothing"])
        }
        // One that expired in the hands of the caller did stand when they read it.
        assert.strictEqual(yield* outcome(manager.createFrom(late, adaWith)), "SessionInvalid Expired")
        assert.strictEqual((yield* manager.list("ada")).length, 2)
      }).pipe(Effect.provide(Stack.manager(Shop, { verifier: refusing, crypto: NodeCrypto.layer })))
    })
  )

  it.effect("[R46] a session that is gone, or whose token is, since it was read: NotFound, and nothing is made", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        let ran = 0
        const f = () => (ran++, ada)
        const [gone, rotated] = [yield* manager.create(visitor), yield* manager.create(visitor)]
        yield* manager.destroy(gone.token)
        const newer = yield* manager.rotate(rotated)
        for (const before of [gone, rotated]) {
          assert.strictEqual(yield* outcome(manager.createFrom(before, f)), "SessionInvalid NotFound")
        }
        assert.strictEqual(ran, 0)
        assert.strictEqual((yield* watched.records).length, 1)
        assert.strictEqual(yield* outcome(manager.resolve(newer.token)), "ok")
      })
    )
  )

  it.effect("[R68] a record with a newer data version is a conflict, and stays as it is", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const before = yield* manager.create(visitor)
        const { id } = before
        const backend = yield* SessionBackend
        const { data, idleExpiresAt, lastSeenAt } = yield* recordOf(UserSession, id)
        yield* backend.update(UserSession.key, id, 1, { data, dataVersion: 2, idleExpiresAt, lastSeenAt })
        const record = yield* recordOf(UserSession, id)
        assert.strictEqual(record.dataVersion, 2)
        for (const source of [before.token, before]) {
          assert.strictEqual(yield* outcome(manager.createFrom(source, adaWith)), "SessionConflict")
        }
        assert.deepStrictEqual(yield* recordOf(UserSession, id), record)
        assert.deepStrictEqual(yield* manager.list("ada"), [])
      })
    )
  )
})
