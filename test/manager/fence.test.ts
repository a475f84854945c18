/** A log-in that was under way when the user's sessions were ended makes none: whoever ended them raised a fence. */
import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { failing, fenceNamespace, onManager } from "../support/onManager.ts"
import { outcome } from "../support/outcome.ts"
import * as Stack from "../support/stack.ts"
import { ada, eve, nobody, UserSession } from "../support/userSession.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

const millis = (time: number) => BigInt(time) * 1_000_000n
const isOfFence = (args: ReadonlyArray<unknown>) =>
  args[0] === fenceNamespace || (args[0] as { readonly namespace?: string }).namespace === fenceNamespace

describe("the fence", () => {
  it.effect("[R73] a log-in that began before the user's sessions were ended is Superseded, and leaves nothing", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        yield* TestClock.adjust("1 minute")
        const elsewhere = yield* manager.create(ada)
        assert.strictEqual(yield* manager.revokeAll("ada", { except: elsewhere.id }), 0)
        const fence = 60_000
        const early = (began: number) => outcome(manager.create(ada, { began: millis(began) }))
        assert.strictEqual(yield* early(fence - 1), "SessionInvalid Superseded")
        assert.strictEqual((yield* watched.records).length, 1)
        assert.strictEqual(yield* outcome(manager.resolve(elsewhere.token)), "ok")
        // Two at the same time are a clock that stands.
        assert.strictEqual(yield* early(fence), "ok")
        assert.strictEqual(yield* outcome(manager.create(ada)), "ok")
        // Nobody else is concerned.
        assert.strictEqual(yield* outcome(manager.create(eve, { began: 0n })), "ok")
        assert.strictEqual(yield* outcome(manager.create(nobody, { began: 0n })), "ok")
      })
    )
  )

  it.effect("[R73] counts in microseconds; of a DateTime, which has whole milliseconds, the last one counts", () =>
    onManager({}, (manager) =>
      Effect.gen(function* () {
        yield* TestClock.adjust("1 minute")
        yield* manager.revokeAll("ada", { before: millis(1000) + 500_000n })
        const began = (began: bigint | DateTime.Utc) => outcome(manager.create(ada, { began }))
        assert.strictEqual(yield* began(millis(1000) + 499_000n), "SessionInvalid Superseded")
        assert.strictEqual(yield* began(millis(1000) + 500_000n), "ok")
        assert.strictEqual(yield* began(DateTime.makeUnsafe(1000)), "ok")
        assert.strictEqual(yield* began(DateTime.makeUnsafe(999)), "SessionInvalid Superseded")
        yield* manager.revokeAll("ada", { before: DateTime.makeUnsafe(2000) })
        assert.strictEqual(yield* began(DateTime.makeUnsafe(2000)), "ok")
        assert.strictEqual(yield* began(millis(2000)), "SessionInvalid Superseded")
      })
    )
  )

  it.effect("[R73] that is raised for more than a day is made anew, and does not end before its time", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        for (let i = 0; i < 150; i++) {
          yield* TestClock.adjust("10 minutes")
          yield* manager.revokeAll("ada")
        }
        const [fence] = yield* watched.fences
        const now = 150 * 600_000
        assert.isAtLeast(fence!.absoluteExpiresAt - now, 15 * 60_000)
        assert.strictEqual(fence!.idleExpiresAt - now, 15 * 60_000)
        const early = manager.create(ada, { began: millis(now - 1) })
        assert.strictEqual(yield* outcome(early), "SessionInvalid Superseded")
      })
    )
  )

  it.effect(
    "[R73] only grows: whoever comes with an earlier one writes nothing, whoever meets a later one neither",
    () =>
      onManager({}, (manager, watched) =>
        Effect.gen(function* () {
          yield* TestClock.adjust("1 minute")
          const early = outcome(manager.create(ada, { began: millis(49_999) }))
          yield* manager.revokeAll("ada", { before: millis(50_000) })
          const fences = yield* watched.fences
          yield* manager.revokeAll("ada", { before: millis(40_000) })
          assert.deepStrictEqual(yield* watched.fences, fences)
          assert.strictEqual(yield* early, "SessionInvalid Superseded")
          // One at 45 seconds, held up between its read and its write, meets one at 55.
          let isFirst = true
          watched.wire = (operation, run, args) => {
            if (operation !== "update" || !isOfFence(args) || !isFirst) return run
            isFirst = false
            return Effect.andThen(Effect.orDie(manager.revokeAll("ada", { before: millis(55_000) })), run)
          }
          yield* manager.revokeAll("ada", { before: millis(52_000) })
          assert.isFalse(isFirst)
          assert.deepStrictEqual(
            (yield* watched.fences).map(({ data }) => data),
            ["55000000"]
          )
        })
      )
  )

  it.effect("[R73] one that a clock far ahead has set locks nobody out, and gives way to the next", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        yield* manager.revokeAll("ada", { before: millis(60_000) })
        assert.strictEqual(yield* outcome(manager.create(ada)), "SessionInvalid Superseded")
        yield* manager.revokeAll("ada", { before: millis(60_001) })
        assert.strictEqual(yield* outcome(manager.create(ada)), "ok")
        yield* TestClock.adjust(0)
        yield* manager.revokeAll("ada", { before: millis(10) })
        assert.deepStrictEqual(
          (yield* watched.fences).map(({ data }) => data),
          ["10000"]
        )
        assert.strictEqual(yield* outcome(manager.create(ada, { began: millis(9) })), "SessionInvalid Superseded")
      })
    )
  )

  it.effect("[R73] a log-in of more than 15 minutes is Superseded, fence or not", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        yield* TestClock.adjust("20 minutes")
        const began = millis(5 * 60_000)
        assert.strictEqual(yield* outcome(manager.create(ada, { began })), "ok")
        assert.strictEqual(yield* outcome(manager.create(ada, { began: began - 1000n })), "SessionInvalid Superseded")
        assert.strictEqual((yield* watched.records).length, 1)
        // An anonymous one is no log-in.
        assert.strictEqual(yield* outcome(manager.create(nobody, { began: 0n })), "ok")
      })
    )
  )

  it.effect("[R73] a fence that cannot be read makes no session; what takes it back is not waited for for long", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        const unread = failing(watched, (operation) => operation === "read", outcome(manager.create(ada)))
        assert.strictEqual(yield* unread, "SessionUnavailable notApplied")
        assert.deepStrictEqual(yield* watched.records, [])
        watched.wire = (operation, run) =>
          operation === "read"
            ? WatchedBackend.failure(operation)
            : operation === "delete"
              ? Effect.delay(run, 900)
              : run
        const slow = yield* Effect.forkChild(outcome(manager.create(ada)))
        while (watched.count("delete") < 2) yield* Effect.yieldNow
        yield* TestClock.adjust(249)
        assert.isUndefined(slow.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* Fiber.join(slow), "SessionUnavailable notApplied")
        yield* TestClock.adjust(650)
        assert.deepStrictEqual(yield* watched.records, [])
      })
    )
  )

  it.effect("[R49] [R73] a fence that cannot be written stops no deletion, and the caller is told", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        for (const broken of ["read", "create"] as const) {
          const session = yield* manager.create(ada)
          const revoke = outcome(manager.revokeAll("ada"))
          const isBroken = (operation: string, args: ReadonlyArray<unknown>) => operation === broken && isOfFence(args)
          assert.strictEqual(yield* failing(watched, isBroken, revoke), "SessionUnavailable unknown", broken)
          assert.strictEqual(yield* outcome(manager.resolve(session.token)), "SessionInvalid NotFound", broken)
        }
        assert.strictEqual(yield* manager.revokeAll("ada"), 0)
      })
    )
  )

  it.effect("[R49] [R84d] so where the memory is full", () => {
    const watched = WatchedBackend.make({ memory: { maxSessions: 2 } })
    return Effect.gen(function* () {
      const manager = yield* UserSession.Manager
      const sessions = [yield* manager.create(ada), yield* manager.create(eve)]
      assert.strictEqual(yield* outcome(manager.revokeAll("ada")), "SessionUnavailable unknown")
      assert.strictEqual(yield* outcome(manager.resolve(sessions[0]!.token)), "SessionInvalid NotFound")
      assert.strictEqual(yield* outcome(manager.resolve(sessions[1]!.token)), "ok")
      // There is room now.
      assert.strictEqual(yield* outcome(manager.revokeAll("ada")), "ok")
    }).pipe(Effect.provide(Stack.manager(UserSession, { backend: watched.layer })))
  })

  it.effect("[R84e] is one small record, of its principal, that lives as long as a log-in may take", () =>
    onManager({}, (manager, watched) =>
      Effect.gen(function* () {
        for (let i = 0; i < 3; i++) {
          yield* TestClock.adjust(1)
          yield* manager.revokeAll("ada")
        }
        const [fence, ...others] = yield* watched.fences
        assert.strictEqual(others.length, 0)
        assert.deepStrictEqual(
          [fence!.namespace, fence!.principal, fence!.data, fence!.version],
          [fenceNamespace, "ada", "3000", 3]
        )
        assert.strictEqual(fence!.idleExpiresAt, 3 + 15 * 60_000)
        assert.match(fence!.id, /^[\w-]{22}$/)
        // It is no session: nobody's list shows it, and no revocation ends it.
        assert.deepStrictEqual(yield* manager.list("ada"), [])
        assert.strictEqual(yield* manager.revokeAll("ada"), 0)
        assert.strictEqual((yield* watched.fences).length, 1)
        watched.calls.length = 0
        yield* manager.create(nobody)
        assert.deepStrictEqual(watched.operations, ["create"])
      })
    )
  )
})
