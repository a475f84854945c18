/** What ends those who wait for the end of a session, and what does not. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { TestClock } from "effect/testing"
import * as Extension from "../../src/internal/manager/extension.ts"
import type { LayerOptions, Session } from "../../src/Session.ts"
import * as SessionVerifier from "../../src/SessionVerifier.ts"
import { SessionRefused, SessionUnavailable } from "../../src/SessionError.ts"
import { capturing, silent } from "../support/logs.ts"
import { type Given, managerOn } from "../support/onManager.ts"
import { outcome } from "../support/outcome.ts"
import type * as Stack from "../support/stack.ts"
import { ada, addWord, UserSession } from "../support/userSession.ts"
import type { Data, Manager } from "../support/userSession.ts"
import { pass, settle, waitFor } from "../support/waiting.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

type Parts = LayerOptions & Pick<Stack.Parts<UserSession>, "verifier">

/** Two processes, a session, and somebody who waits for its end in the first. */
const stage = Effect.fnUntraced(function* (
  parts: Parts = {},
  backend: WatchedBackend.WatchedBackend = WatchedBackend.make()
) {
  const here = yield* managerOn(backend, parts)
  const there = yield* managerOn(backend, parts)
  const session = yield* here.create(ada)
  const waiting = yield* waitFor(here.ended(session))
  assert.isUndefined(waiting.told())
  backend.calls.length = 0
  return { backend, here, there, session, ...waiting }
})

/** How many looks there were: no fence is read where no session is made. */
const looks = (backend: WatchedBackend.WatchedBackend) =>
  backend.calls.filter(({ args, operation }) => operation === "read" && args[0] === UserSession.key).length

type Act = (manager: Manager, session: Session<Data>) => Effect.Effect<unknown, { readonly _tag: string }>

describe("a session ends for those who wait", () => {
  const ways: Record<string, Act> = {
    "by a log-out": ({ destroy }, { token }) => destroy(token),
    "by its owner, from another device": ({ revoke }, { id }) => revoke(id, { principal: "ada" }),
    "by an administrator": ({ revokeAny }, { id }) => revokeAny(id),
    "with all of its user's": ({ revokeAll }) => revokeAll("ada"),
    "over the limit": ({ create }) => Effect.andThen(TestClock.adjust("1 second"), create(ada)),
    "by a log-in that replaces it": ({ createFrom }, { token }) => createFrom(token, () => ada),
    "by a new proof of who the user is": ({ reauthenticate }, { token }) => reauthenticate(token),
    "with its token, by a rotation that somebody asked for": ({ rotate }, { token }) => rotate(token)
  }

  for (const [way, act] of Object.entries(ways)) {
    it.effect(`${way}, at once, wherever that happened`, () =>
      Effect.gen(function* () {
        for (const where of ["here", "there"] as const) {
          const { session, told, ...managers } = yield* stage({ maxPerPrincipal: 1 })
          yield* act(managers[where], session)
          yield* settle
          assert.strictEqual(told(), "SessionInvalid NotFound", where)
        }
      })
    )
  }

  it.effect("when a stolen copy of its token is used", () =>
    Effect.gen(function* () {
      const { here, session, there, told } = yield* stage({ rotateEvery: "5 minutes" })
      yield* TestClock.adjust("5 minutes")
      const rotated = yield* there.resolve(session.token, { rotate: true })
      yield* there.resolve(rotated.token)
      yield* TestClock.adjust("1 minute")
      yield* settle
      assert.isUndefined(told())
      assert.strictEqual(yield* outcome(here.resolve(session.token)), "SessionInvalid Reused")
      yield* settle
      assert.strictEqual(told(), "SessionInvalid NotFound")
    }).pipe(Effect.provide(silent))
  )

  it.effect("that had ended before, at once", () =>
    Effect.gen(function* () {
      const { here, session, there } = yield* stage()
      yield* there.destroy(session.token)
      const late = yield* waitFor(here.ended(session))
      assert.strictEqual(late.told(), "SessionInvalid NotFound")
    })
  )

  it.effect("whose data no longer decode", () =>
    Effect.gen(function* () {
      const { backend, session, told } = yield* stage()
      const patch = { data: "{}", lastSeenAt: 0, idleExpiresAt: 3_600_000 }
      yield* backend.service.update(UserSession.key, session.id, 1, patch)
      yield* pass(31)
      assert.strictEqual(told(), "SessionInvalid Data")
    }).pipe(Effect.provide(silent))
  )
})

describe("a session stands for those who wait", () => {
  const changes: Record<string, Act> = {
    "a change of its data": ({ modify }, { token }) => modify(token, addWord("a")),
    "a change of what a list of devices shows": ({ describe }, { token }) => describe(token, { label: "phone" }),
    "a touch": ({ resolve }, { token }) => Effect.andThen(TestClock.adjust("2 minutes"), resolve(token)),
    "the end of the user's other sessions": ({ create, revokeAll }, { id }) =>
      Effect.andThen(create(ada), revokeAll("ada", { except: id })),
    "the end of another user's": ({ create, revokeAll }) =>
      Effect.andThen(create({ ...ada, username: "eve" }), revokeAll("eve"))
  }

  for (const [change, act] of Object.entries(changes)) {
    it.effect(`through ${change}`, () =>
      Effect.gen(function* () {
        const { session, there, told } = yield* stage()
        yield* act(there, session)
        yield* pass(61)
        assert.isUndefined(told())
      })
    )
  }

  it.effect("through scheduled rotations, whichever token they hold", () =>
    Effect.gen(function* () {
      const { here, session, there, told } = yield* stage({ rotateEvery: "5 minutes" })
      let { token } = session
      for (let rotation = 0; rotation < 3; rotation++) {
        yield* TestClock.adjust("6 minutes")
        const rotated = yield* there.resolve(token, { rotate: true })
        assert.notStrictEqual(Redacted.value(rotated.token), Redacted.value(token))
        token = rotated.token
        yield* there.resolve(token)
        yield* settle
      }
      yield* pass(31)
      assert.isUndefined(told())
      const newest = yield* waitFor(here.ended(yield* there.resolve(token)))
      yield* there.destroy(token)
      yield* settle
      assert.deepStrictEqual([told(), newest.told()], ["SessionInvalid NotFound", "SessionInvalid NotFound"])
    })
  )

  it.effect("through a log-in that fails, and takes the seal off again", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const { here, session, there, told } = yield* stage({}, backend)
      const before = looks(backend)
      let seen: ReadonlyArray<unknown> = []
      backend.wire = (operation, run) =>
        operation !== "create"
          ? run
          : Effect.andThen(
              Effect.gen(function* () {
                yield* settle
                const [record] = yield* backend.records
                seen = [Extension.sealOf(record!) !== undefined, looks(backend) > before, told()]
              }).pipe(Effect.orDie),
              WatchedBackend.failure("create")
            )
      assert.strictEqual(yield* outcome(there.createFrom(session, () => ada)), "SessionUnavailable notApplied")
      // The record was sealed, that was seen, and nobody was told.
      assert.deepStrictEqual(seen, [true, true, undefined])
      backend.wire = (_, run) => run
      yield* pass(61)
      assert.isUndefined(told())
      yield* here.destroy(session.token)
      yield* settle
      assert.strictEqual(told(), "SessionInvalid NotFound")
    }).pipe(Effect.provide(silent))
  )

  it.effect("for ten seconds where a log-in crashed after it had sealed the record", () =>
    Effect.gen(function* () {
      const { backend, session, told } = yield* stage()
      const of = "s".repeat(43)
      const extension = Extension.format({ seal: { of, at: 0 } })
      const patch = { secretHash: of, extension, lastSeenAt: 0, idleExpiresAt: 3_600_000 }
      yield* backend.service.update(UserSession.key, session.id, 1, patch)
      yield* pass(9)
      assert.isUndefined(told())
      yield* pass(2)
      assert.strictEqual(told(), "SessionInvalid NotFound")
    })
  )
})

describe("a session that expires", () => {
  it.effect("ends when it was idle for too long, and not before: a touch puts that off", () =>
    Effect.gen(function* () {
      const { session, there, told } = yield* stage({ idleTimeout: "10 minutes" })
      yield* TestClock.adjust("9 minutes")
      yield* there.resolve(session.token)
      yield* settle
      yield* TestClock.adjust("9 minutes")
      yield* settle
      yield* pass(59)
      assert.isUndefined(told())
      yield* pass(1)
      assert.strictEqual(told(), "SessionInvalid Expired")
    })
  )

  it.effect("is not kept alive by those who wait", () =>
    Effect.gen(function* () {
      const { backend } = yield* stage()
      yield* pass(120)
      assert.deepStrictEqual([...new Set(backend.operations)], ["read"])
    })
  )

  it.effect("ends at its absolute deadline", () =>
    Effect.gen(function* () {
      const { told } = yield* stage({ idleTimeout: "10 minutes", absoluteTimeout: "10 minutes" })
      yield* pass(599)
      assert.isUndefined(told())
      yield* pass(1)
      assert.strictEqual(told(), "SessionInvalid Expired")
    })
  )

  it.effect("ends at its absolute deadline without the store, and for nothing else", () =>
    Effect.gen(function* () {
      for (const [down, answer] of Object.entries({
        refuses: WatchedBackend.failure("read"),
        hangs: Effect.never,
        "hangs, and cannot be interrupted": Effect.uninterruptible(Effect.never),
        dies: Effect.die(new Error("a driver"))
      })) {
        const { backend, told } = yield* stage({ idleTimeout: "2 minutes", absoluteTimeout: "5 minutes" })
        backend.wire = (operation, run) => (operation === "read" ? answer : run)
        yield* pass(299)
        assert.isUndefined(told(), down)
        yield* pass(1)
        assert.strictEqual(told(), "SessionInvalid Expired", down)
      }
    }).pipe(Effect.provide(silent))
  )

  it.effect("is looked at when it expires, also where the look before has failed", () =>
    Effect.gen(function* () {
      const { backend, told } = yield* stage({ idleTimeout: "40 seconds" })
      backend.wire = (operation, run) => (operation === "read" ? WatchedBackend.failure("read") : run)
      yield* pass(35)
      assert.strictEqual(backend.count("read"), 1)
      backend.wire = (_, run) => run
      yield* pass(4)
      assert.isUndefined(told())
      yield* pass(1)
      assert.strictEqual(told(), "SessionInvalid Expired")
    }).pipe(Effect.provide(silent))
  )

  it.effect("while the store is down ends once it is back", () =>
    Effect.gen(function* () {
      const { backend, told } = yield* stage({ idleTimeout: "2 minutes" })
      backend.wire = (operation, run) => (operation === "read" ? WatchedBackend.failure("read") : run)
      yield* pass(300)
      assert.isUndefined(told())
      backend.wire = (_, run) => run
      yield* pass(31)
      assert.strictEqual(told(), "SessionInvalid Expired")
    }).pipe(Effect.provide(silent))
  )

  it.effect("while the store is down is said once, in the log and to the handler, however many wait", () => {
    const lines: Array<string> = []
    const told: Array<string> = []
    const onEvent: NonNullable<Given["onEvent"]> = (event) =>
      Effect.sync(() => void (event._tag === "Failed" && told.push(event.operation)))
    return Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const manager = yield* managerOn(backend, { onEvent })
      for (let i = 0; i < 20; i++) yield* waitFor(manager.ended(yield* manager.create(ada)))
      for (const failures of [1, 2]) {
        backend.wire = (operation, run) => (operation === "read" ? WatchedBackend.failure("read") : run)
        yield* pass(120)
        const failed = lines.filter((line) => line.startsWith("timestamp=") && line.includes("session backend failed"))
        assert.deepStrictEqual([failed.length, told.length], [failures, failures])
        backend.wire = (_, run) => run
        yield* pass(60)
      }
    }).pipe(Effect.provide(capturing(lines)))
  })
})

describe("the verifier", () => {
  const changing = () => {
    const state: { answer: Effect.Effect<void, SessionRefused | SessionUnavailable>; calls: number } = {
      answer: Effect.void,
      calls: 0
    }
    const verifier = SessionVerifier.layer(UserSession, () =>
      Effect.suspend(() => {
        state.calls++
        return state.answer
      })
    )
    return { state, verifier }
  }

  it.effect("ends a session that it refuses from some time on", () =>
    Effect.gen(function* () {
      const { state, verifier } = changing()
      const { told } = yield* stage({ verifier })
      yield* pass(60)
      assert.isUndefined(told())
      state.answer = Effect.fail(new SessionRefused({ message: "suspended" }))
      yield* pass(31)
      assert.strictEqual(told(), "SessionRefused")
    })
  )

  it.effect("ends none where it fails, hangs or dies, which is logged once", () =>
    Effect.gen(function* () {
      const rows: Record<string, readonly [typeof Effect.void | Effect.Effect<never, SessionUnavailable>, number]> = {
        "is not available": [Effect.fail(new SessionUnavailable({ outcome: "notApplied" })), 0],
        hangs: [Effect.never, 1],
        "hangs, and cannot be interrupted": [Effect.uninterruptible(Effect.never), 1],
        dies: [Effect.die(new Error("secret of the verifier")), 1]
      }
      for (const [how, [answer, logged]] of Object.entries(rows)) {
        const lines: Array<string> = []
        yield* Effect.gen(function* () {
          const { state, verifier } = changing()
          const { here, session, told } = yield* stage({ verifier })
          const second = yield* waitFor(here.ended(yield* here.create(ada)))
          state.answer = answer
          yield* pass(120)
          assert.deepStrictEqual([told(), second.told()], [undefined, undefined], how)
          state.answer = Effect.fail(new SessionRefused({ message: "suspended" }))
          yield* pass(31)
          assert.strictEqual(told(), "SessionRefused", how)
          // Where it answers again, its next failure is another one.
          state.answer = answer
          yield* waitFor(here.ended(session))
          yield* pass(3)
        }).pipe(Effect.provide(capturing(lines)))
        const told = lines.filter(
          (line) => line.startsWith("timestamp=") && line.includes("the verifier died, or is late")
        )
        assert.strictEqual(told.length, 2 * logged, how)
        assert.notInclude(lines.join(), "secret of the verifier")
      }
    })
  )

  it.effect("is asked once for all who wait for a session, and not for one that has ended", () =>
    Effect.gen(function* () {
      const { state, verifier } = changing()
      const { here, session, there } = yield* stage({ verifier })
      for (let i = 0; i < 20; i++) yield* waitFor(here.ended(session))
      state.calls = 0
      yield* there.destroy(session.token)
      yield* settle
      assert.strictEqual(state.calls, 0)
    })
  )
})
