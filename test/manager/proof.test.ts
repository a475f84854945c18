/** How and when the user proved who they are, and `reauthenticate`, by which they do it again. */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { SessionDataError } from "../../src/SessionError.ts"
import type { Session } from "../../src/Session.ts"
import { failing, onManager } from "../support/onManager.ts"
import { defectOf, outcome } from "../support/outcome.ts"
import { recordOf } from "../support/records.ts"
import { ada, addWord, nobody, UserSession } from "../support/userSession.ts"
import type { Data } from "../support/userSession.ts"

const factorsOf = ({ factors }: Pick<Session<Data>, "factors">) =>
  factors.map(({ at, method }) => `${method} ${at.epochMilliseconds}`)
const minutes = (n: number) => n * 60_000

describe("methods", () => {
  it.effect("[R53] are kept with the time of the log-in, and shown by the session, get and list", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        yield* TestClock.adjust(7)
        const session = yield* manager.create(ada, { methods: ["pwd", "otp", "pwd"] })
        const shown = ["pwd 7", "otp 7"]
        assert.deepStrictEqual(factorsOf(session), shown)
        assert.deepStrictEqual(factorsOf(yield* manager.resolve(session.token)), shown)
        assert.deepStrictEqual(factorsOf(yield* Effect.fromOption(yield* manager.get(session.id))), shown)
        assert.deepStrictEqual((yield* manager.list("ada")).map(factorsOf), [shown])
        assert.strictEqual(session.authenticatedAt.epochMilliseconds, 7)
        // An update, a touch and a new token leave them alone.
        yield* TestClock.adjust("10 minutes")
        const [, changed] = yield* manager.modify(session.token, addWord("x"))
        const rotated = yield* manager.resolve((yield* manager.rotate(changed)).token)
        assert.deepStrictEqual([factorsOf(rotated), rotated.authenticatedAt], [shown, session.authenticatedAt])
        assert.deepStrictEqual(factorsOf(yield* manager.create(ada)), [])
      })
    )
  )

  it.effect("[R84e] are names of 64 characters at most, and 16 of them, or nothing is stored", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const sixteen = Array.from({ length: 16 }, (_, i) => `m${i}`)
        for (const methods of [[""], ["a b"], ["x".repeat(65)], ["pwd\n"], [...sixteen, "one"]]) {
          const exit = yield* Effect.exit(manager.create(ada, { methods }))
          assert.instanceOf(defectOf(exit), SessionDataError, methods.join())
        }
        assert.deepStrictEqual(watched.calls, [])
        const full = yield* manager.create(ada, { methods: [...sixteen, "m0"] })
        assert.strictEqual(full.factors.length, 16)
        assert.strictEqual(yield* outcome(manager.create(ada, { methods: ["x".repeat(64), "urn:a.b+c"] })), "ok")
        // One more, on proving it again, changes nothing either.
        assert.strictEqual(yield* outcome(manager.reauthenticate(full, { methods: ["one"] })), "died")
        assert.strictEqual(yield* outcome(manager.resolve(full.token)), "ok")
      })
    )
  )
})

describe("reauthenticate", () => {
  it.effect("[R53] makes a session in place of this one, with all that it had, and factors kept and renewed", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const before = yield* manager.create(ada, {
          methods: ["pwd", "otp"],
          client: { label: "phone", address: "::1" },
          cookie: "browser",
          idleTimeout: "10 minutes",
          absoluteTimeout: "1 hour"
        })
        yield* manager.modify(before, addWord("kept"))
        yield* TestClock.adjust("9 minutes")
        const after = yield* manager.reauthenticate(before.token, { methods: ["otp", "hwk"] })
        assert.notStrictEqual(after.id, before.id)
        assert.strictEqual(yield* outcome(manager.resolve(before.token)), "SessionInvalid NotFound")
        const { client, data, idleTimeout, persistent, principal } = yield* manager.resolve(after.token)
        assert.deepStrictEqual(
          [data.words, principal, client, persistent],
          [["kept"], before.principal, { label: "phone", address: "::1" }, false]
        )
        assert.deepStrictEqual(factorsOf(after), ["pwd 0", `otp ${minutes(9)}`, `hwk ${minutes(9)}`])
        assert.strictEqual(Duration.toMinutes(idleTimeout), 10)
        assert.deepStrictEqual(
          [after.createdAt, after.authenticatedAt, after.expiresAt, after.absoluteExpiresAt].map(
            (time) => time.epochMilliseconds
          ),
          [9, 9, 19, 69].map(minutes)
        )
        assert.strictEqual((yield* watched.records).length, 1)
      })
    )
  )

  it.effect("[R43] nothing else moves the absolute deadline, and what shortened it stays in force", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada, { absoluteTimeout: "1 hour" })
        yield* TestClock.adjust("30 minutes")
        yield* manager.modify(session.token, addWord("x"))
        const { token } = yield* manager.rotate(session.token)
        yield* manager.describe(token, { label: "x" })
        yield* manager.modifyAll("ada", (data) => ({ ...data, count: 9 }))
        const seen = yield* manager.resolve(token)
        assert.strictEqual(seen.absoluteExpiresAt.epochMilliseconds, minutes(60))
        // An hour anew, each time, and not what the layer allows.
        const again = yield* manager.reauthenticate(seen)
        assert.strictEqual(again.absoluteExpiresAt.epochMilliseconds, minutes(90))
        yield* TestClock.adjust("10 minutes")
        assert.strictEqual((yield* manager.reauthenticate(again)).absoluteExpiresAt.epochMilliseconds, minutes(100))
      })
    )
  )

  it.effect("[R73] fails as Superseded if the user's sessions were ended since it began, and changes nothing", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        yield* TestClock.adjust("1 minute")
        const session = yield* manager.create(ada, { methods: ["pwd"] })
        const record = yield* recordOf(UserSession, session.id)
        yield* TestClock.adjust("1 minute")
        yield* manager.revokeAll("ada", { except: session.id })
        const began = BigInt(minutes(2)) * 1_000_000n - 1000n
        const late = outcome(manager.reauthenticate(session, { methods: ["otp"], began }))
        assert.strictEqual(yield* late, "SessionInvalid Superseded")
        const { extension, secretHash } = yield* recordOf(UserSession, session.id)
        assert.deepStrictEqual([secretHash, extension], [record.secretHash, record.extension])
        assert.strictEqual((yield* watched.records).length, 1)
        assert.strictEqual(yield* outcome(manager.reauthenticate(session.token, { methods: ["otp"] })), "ok")
      })
    )
  )

  it.effect(
    "[R47] [R53] meets a log-out or another: one of two at once goes through, and no session is left over",
    () =>
      onManager({}, (manager, watched) =>
        Effect.gen(function* () {
          const gone = yield* manager.create(ada)
          yield* manager.destroy(gone.token)
          for (const source of [gone, gone.token]) {
            assert.strictEqual(yield* outcome(manager.reauthenticate(source)), "SessionInvalid NotFound")
          }
          assert.deepStrictEqual(yield* watched.records, [])
          const session = yield* manager.create(ada)
          watched.wire = (operation, run) => (operation === "create" ? Effect.delay(run, 500) : run)
          const both = [session, session.token].map((source) => outcome(manager.reauthenticate(source)))
          const fiber = yield* Effect.forkChild(Effect.all(both, { concurrency: "unbounded" }))
          for (let i = 0; i < 10; i++) yield* Effect.yieldNow
          yield* TestClock.adjust(500)
          assert.sameMembers([...(yield* Fiber.join(fiber))], ["ok", "SessionInvalid NotFound"])
          assert.strictEqual((yield* watched.records).length, 1)
        })
      )
  )

  it.effect("[R53] one that fails leaves the session as it was, one of nobody works as well", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada, { methods: ["pwd"] })
        for (const broken of ["update", "create"]) {
          const change = outcome(manager.reauthenticate(session, { methods: ["otp"] }))
          assert.match(yield* failing(watched, (operation) => operation === broken, change), /^SessionUnavailable/)
          assert.deepStrictEqual(factorsOf(yield* manager.resolve(session.token)), ["pwd 0"], broken)
          assert.strictEqual((yield* watched.records).length, 1)
        }
        const anonymous = yield* manager.create(nobody)
        assert.deepStrictEqual(factorsOf(yield* manager.reauthenticate(anonymous, { methods: ["otp"] })), ["otp 0"])
      })
    )
  )
})
