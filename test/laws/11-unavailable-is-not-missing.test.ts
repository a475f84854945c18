/** Law 11, first half. A backend that fails is `SessionUnavailable`, never "no session". */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import * as SessionBackend from "../../src/SessionBackend.ts"
import { everyCall } from "../support/everyCall.ts"
import { silent } from "../support/logs.ts"
import { outcome } from "../support/outcome.ts"
import { requestWith } from "../support/request.ts"
import { ada, UserSession } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

const ways: Record<string, WatchedBackend.Wire> = {
  "fails, nothing applied": (operation) => WatchedBackend.failure(operation, "notApplied"),
  "fails, outcome unknown": (operation) => WatchedBackend.failure(operation, "unknown"),
  dies: () => Effect.die(new Error("driver bug")),
  throws: () => {
    throw new Error("driver bug")
  }
}

/** What a backend does with a call once it is broken: at once when it is asked, or when the effect it answered runs. */
const atOnce = (wire: WatchedBackend.Wire, isBroken: () => boolean) =>
  WatchedBackend.mapOperations(Stack.memory(), (operation, ask, args) =>
    isBroken() ? wire(operation, Effect.suspend(ask), args) : ask()
  )
const later = (wire: WatchedBackend.Wire, isBroken: () => boolean) => {
  const watched = WatchedBackend.make()
  watched.wire = (operation, run, args) => (isBroken() ? wire(operation, run, args) : run)
  return watched.service
}

describe("a backend that fails", () => {
  for (const [way, wire] of Object.entries(ways)) {
    for (const [when, breaking] of Object.entries({ "at once": atOnce, later })) {
      it.effect(`law 11: [R78] that ${way}, ${when}: unavailable, never "no session"`, () => {
        let isBroken = false
        return Effect.gen(function* () {
          const sessions = yield* UserSession.Manager
          const { token } = yield* sessions.create(ada)
          isBroken = true
          for (const [name, call] of Object.entries(everyCall)) {
            assert.match(yield* outcome(call(sessions, token)), /^SessionUnavailable (notApplied|unknown)$/, name)
          }
          const request = requestWith(sessions, token)
          assert.match(yield* outcome(request.get), /^SessionUnavailable/)
          assert.match(yield* outcome(request.option), /^SessionUnavailable/)
        }).pipe(
          Effect.provide([
            Stack.manager(UserSession, {
              backend: Layer.succeed(
                SessionBackend.SessionBackend,
                breaking(wire, () => isBroken)
              )
            }),
            silent
          ])
        )
      })
    }
  }

  it.effect(
    "law 11: [R78] every member of the request's session says unavailable, and the session is there after",
    () => {
      const watched = WatchedBackend.make()
      return Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        const { id, token } = yield* sessions.create(ada)
        watched.wire = (operation) => WatchedBackend.failure(operation)
        const members: Record<string, (request: ReturnType<typeof requestWith>) => Effect.Effect<unknown, unknown>> = {
          get: (request) => request.get,
          option: (request) => request.option,
          create: (request) => request.create(ada),
          update: (request) => request.update((data) => ({ ...data, count: 1 })),
          modify: (request) => request.modify((data) => [0, { ...data, count: 1 }]),
          replace: (request) => request.replace({ ...ada, count: 1 }),
          rotate: (request) => request.rotate,
          destroy: (request) => request.destroy,
          list: (request) => request.list,
          revoke: (request) => request.revoke(id),
          revokeOthers: (request) => request.revokeOthers,
          revokeAll: (request) => request.revokeAll
        }
        for (const [name, member] of Object.entries(members)) {
          // Of a request that has not read the session yet, and of one that has.
          const fresh = requestWith(sessions, token)
          assert.strictEqual(yield* outcome(member(fresh)), "SessionUnavailable notApplied", name)
          const known = requestWith(sessions, token)
          watched.wire = (_, run) => run
          yield* known.get
          watched.wire = (operation) => WatchedBackend.failure(operation)
          if (name !== "get" && name !== "option") {
            assert.strictEqual(yield* outcome(member(known)), "SessionUnavailable notApplied", name)
          }
        }
        watched.wire = (_, run) => run
        assert.isTrue(Option.isSome(yield* requestWith(sessions, token).option))
        assert.deepStrictEqual((yield* sessions.resolve(token)).data, ada)
      }).pipe(Effect.provide([Stack.manager(UserSession, { backend: watched.layer }), silent]))
    }
  )

  it.effect("law 11: a touch that fails is neither", () => {
    const watched = WatchedBackend.make()
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const { token } = yield* sessions.create(ada)
      yield* TestClock.adjust("2 minutes")
      watched.wire = (operation, run) => (operation === "touch" ? WatchedBackend.failure(operation) : run)
      assert.deepStrictEqual((yield* sessions.resolve(token)).data, ada)
      assert.strictEqual(watched.count("touch"), 1)
    }).pipe(Effect.provide([Stack.manager(UserSession, { backend: watched.layer }), silent]))
  })
})
