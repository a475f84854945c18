/** What the manager tells of its sessions, when, and that no handler changes what it answers. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import type * as Session from "../../src/Session.ts"
import { type Operation } from "../../src/SessionBackend.ts"
import * as SessionManager from "../../src/SessionManager.ts"
import { everyCall } from "../support/everyCall.ts"
import * as Events from "../support/events.ts"
import { capturing } from "../support/logs.ts"
import { adaWith, callsWith, failing, onManager, visitor } from "../support/onManager.ts"
import { outcome } from "../support/outcome.ts"
import { requestWith } from "../support/request.ts"
import { every } from "../support/rotating.ts"
import * as Stack from "../support/stack.ts"
import { ada, addWord, banned, type Data, type Manager, refusingBanned, UserSession } from "../support/userSession.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

type Given = Parameters<typeof onManager>[0]
type OnEvent = NonNullable<Given["onEvent"]>

/** A test with a handler that keeps what it is told. */
const telling = <A, E>(
  given: Given,
  test: (
    manager: Manager,
    told: ReturnType<typeof Events.make>,
    watched: WatchedBackend.WatchedBackend
  ) => Effect.Effect<A, E, Session.Core>
) => {
  const told = Events.make()
  return onManager({ onEvent: told.onEvent, ...given }, (manager, watched) => test(manager, told, watched))
}

describe("onEvent", () => {
  it.effect("[R85c] is told of what a session goes through, with the session as it is then, and no token", () =>
    telling({ rotateEvery: "10 minutes" }, (manager, { events, taken }) =>
      Effect.gen(function* () {
        const session = yield* manager.create(visitor, { client: { label: "phone" } })
        const [, changed] = yield* manager.modify(session, addWord("bread"))
        yield* manager.describe(changed, { label: "laptop" })
        const rotated = yield* manager.rotate(changed)
        yield* TestClock.adjust(every)
        const scheduled = yield* manager.resolve(rotated.token, { rotate: true })
        yield* manager.replace(yield* manager.resolve(scheduled.token), visitor)
        const shown = events.map((event) =>
          "session" in event
            ? [event._tag, event.session.version, event.session.data.words.length, event.session.client.label]
            : []
        )
        assert.deepStrictEqual(shown, [
          ["Created", 1, 1, "phone"],
          ["Changed", 2, 2, "phone"],
          ["Changed", 3, 2, "laptop"],
          ["Rotated", 4, 2, "laptop"],
          ["Rotated", 5, 2, "laptop"],
          // 6 is the arrival of the new token.
          ["Changed", 7, 1, "laptop"]
        ])
        for (const event of events) assert.notProperty("session" in event ? event.session : {}, "token")
        const text = JSON.stringify(events)
        for (const { token } of [session, rotated, scheduled]) assert.notInclude(text, Redacted.value(token).slice(-40))
        taken()
        const user = yield* manager.createFrom(scheduled.token, adaWith)
        // The seal of the old session is no change of it.
        assert.deepStrictEqual(taken(), ["Created ada", "Ended replaced -"])
        yield* manager.modifyAll("ada", (data) => ({ ...data, count: 7 }))
        yield* manager.modifyAll("ada", (data) => ({ ...data, count: 7 }))
        yield* manager.modify(user.token, (data) => [0, data])
        assert.deepStrictEqual(taken(), ["Changed ada"])
      })
    )
  )

  it.effect("[R85c] a read that succeeds tells nothing, and asks the store for nothing more; nor does a touch", () =>
    telling({}, (manager, { taken }, watched) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada)
        taken()
        watched.calls.length = 0
        yield* manager.resolve(session.token)
        yield* manager.list("ada")
        yield* manager.get(session.id)
        yield* TestClock.adjust("5 minutes")
        yield* manager.resolve(session.token)
        assert.deepStrictEqual(taken(), [])
        assert.deepStrictEqual(watched.operations, ["read", "listByPrincipal", "read", "read", "touch"])
      })
    )
  )

  it.effect("[R85c] changes that are written together are one event, and only the first waits for the handler", () =>
    Effect.gen(function* () {
      const told = Events.make()
      let isSlow = false
      const onEvent: OnEvent = (event) => Effect.andThen(told.onEvent(event), isSlow ? Effect.sleep(500) : Effect.void)
      yield* onManager({ onEvent }, (manager, watched) =>
        Effect.gen(function* () {
          const session = yield* manager.create(ada)
          told.taken()
          isSlow = true
          watched.wire = (operation, run) => (operation === "update" ? Effect.delay(run, 10) : run)
          const fibers = yield* Effect.forEach(["a", "b", "c", "d"], (word) =>
            Effect.forkChild(outcome(manager.modify(session, addWord(word))), { startImmediately: true })
          )
          yield* TestClock.adjust(10)
          yield* TestClock.adjust(10)
          // The first goes alone; those that wait are written by the second.
          assert.deepStrictEqual(
            fibers.map((fiber) => fiber.pollUnsafe() !== undefined),
            [false, false, true, true]
          )
          yield* TestClock.adjust(500)
          assert.deepStrictEqual(yield* Effect.forEach(fibers, Fiber.join), ["ok", "ok", "ok", "ok"])
          assert.deepStrictEqual(
            told.events.map((event) => "session" in event && event.session.data.words),
            [["a"], ["a", "b", "c", "d"]]
          )
          assert.deepStrictEqual(told.taken(), ["Changed ada", "Changed ada"])
        })
      )
    })
  )

  it.effect("[R85c] is told of each token that is refused, with its error, by whatever was asked with it", () =>
    telling({ verifier: refusingBanned() }, (manager, { taken }) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada)
        const refused = yield* manager.create(banned)
        taken()
        yield* outcome(manager.resolve(Redacted.make("junk")))
        const forged = Redacted.value(session.token).replace(/.$/, (last) => (last === "A" ? "E" : "A"))
        yield* outcome(manager.resolve(Redacted.make(forged)))
        yield* outcome(manager.resolve(refused.token))
        assert.deepStrictEqual(taken(), [
          "Refused SessionInvalid Malformed",
          "Refused SessionInvalid Signature",
          "Refused SessionRefused"
        ])
        yield* manager.rotate(session)
        taken()
        for (const [name, call] of Object.entries(callsWith(manager, session))) {
          yield* outcome(call)
          assert.deepStrictEqual(taken(), ["Refused SessionInvalid NotFound"], name)
        }
        yield* outcome(manager.create(ada, { began: 0n }))
        yield* TestClock.adjust("1 hour")
        yield* manager.revokeAll("ada")
        taken()
        yield* outcome(manager.create(ada, { began: 3_599_000_000_000n }))
        assert.deepStrictEqual(taken(), ["Refused SessionInvalid Superseded"])
      })
    )
  )

  it.effect("[R85c] is told of no end where a handler held its session for long, and another request is at it", () =>
    telling({}, (manager, { taken }) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada)
        yield* TestClock.adjust("59 minutes")
        yield* manager.resolve(session.token)
        yield* TestClock.adjust("2 minutes")
        taken()
        assert.strictEqual(yield* outcome(manager.modify(session, addWord("x"))), "SessionInvalid Expired")
        assert.deepStrictEqual(taken(), ["Refused SessionInvalid Expired"])
        assert.strictEqual(yield* outcome(manager.resolve(session.token)), "ok")
      })
    )
  )

  it.effect("[R85c] is told of each call of the store that failed, those about fences too", () =>
    telling({}, (manager, { taken }, watched) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada)
        taken()
        const broken = (
          operation: Operation,
          outcomeOf: "notApplied" | "unknown",
          call: Effect.Effect<unknown, unknown>
        ) =>
          Effect.map(
            failing(watched, (asked) => asked === operation, outcome(call), outcomeOf),
            () => taken()
          )
        assert.deepStrictEqual(yield* broken("read", "unknown", manager.resolve(session.token)), [
          "Failed read notApplied"
        ])
        assert.deepStrictEqual(yield* broken("update", "notApplied", manager.modify(session, addWord("x"))), [
          "Failed update notApplied"
        ])
        assert.deepStrictEqual(yield* broken("update", "unknown", manager.rotate(session)), [
          "Failed update unknown",
          "Failed update unknown"
        ])
        assert.deepStrictEqual(yield* broken("listByPrincipal", "notApplied", manager.create(ada)), [
          "Failed listByPrincipal notApplied",
          "Created ada"
        ])
        // The fence cannot be read, and the sessions are deleted all the same.
        assert.deepStrictEqual(yield* broken("read", "notApplied", manager.revokeAll("ada")), [
          "Failed read notApplied",
          "Ended revoked ada",
          "Ended revoked ada"
        ])
      })
    )
  )

  it.effect("[R85c] of a log-in that fails, and is taken back, nothing but that is told", () =>
    telling({}, (manager, { taken }, watched) =>
      Effect.gen(function* () {
        const fence = (operation: Operation, [namespace]: ReadonlyArray<unknown>) =>
          operation === "read" && namespace === `${UserSession.key}/fence`
        assert.strictEqual(
          yield* failing(watched, fence, outcome(manager.create(ada))),
          "SessionUnavailable notApplied"
        )
        assert.strictEqual((yield* watched.records).length, 0)
        assert.deepStrictEqual(taken(), ["Failed read notApplied"])
        const cart = yield* manager.create(visitor)
        taken()
        yield* failing(watched, fence, outcome(manager.createFrom(cart, adaWith)))
        assert.deepStrictEqual(taken(), ["Failed read notApplied"])
        assert.strictEqual(yield* outcome(manager.resolve(cart.token)), "ok")
      })
    )
  )

  it.effect("[R85c] a session whose log-in fails after it was told of is told of as undone", () =>
    telling({}, (manager, { events, taken }, watched) =>
      Effect.gen(function* () {
        const cart = yield* manager.create(visitor)
        taken()
        let isNew = false
        const carried = (operation: Operation, args: ReadonlyArray<unknown>) => {
          isNew ||= operation === "create"
          return operation === "delete" && args[1] === cart.id
        }
        const request = requestWith(manager, cart.token)
        assert.strictEqual(
          yield* failing(watched, carried, outcome(request.create(ada))),
          "SessionUnavailable notApplied"
        )
        const ids = events.flatMap((event) => (event._tag === "Created" ? [event.session.id] : []))
        assert.deepStrictEqual(
          ids,
          events.flatMap((event) => (event._tag === "Ended" ? [event.id] : []))
        )
        assert.deepStrictEqual(taken(), ["Created ada", "Failed delete notApplied", "Ended undone ada"])
        assert.strictEqual(yield* outcome(manager.resolve(cart.token)), "ok")
      })
    )
  )

  it.effect("[R85c] an end whose reply was lost is told of all the same, and once", () =>
    telling({}, (manager, { taken }, watched) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada)
        taken()
        let lost = 0
        watched.wire = (operation, run) =>
          operation === "delete" && lost++ === 0
            ? Effect.andThen(run, WatchedBackend.failure("delete", "unknown"))
            : run
        assert.isTrue(yield* manager.destroy(session.token))
        assert.deepStrictEqual([lost, taken()], [2, ["Ended logout ada"]])
        yield* manager.destroy(session.token)
        assert.deepStrictEqual(taken(), [])
      })
    )
  )

  it.effect("[R85c] an end is told of although nobody can say whose it was", () =>
    telling({}, (manager, { taken }, watched) =>
      Effect.gen(function* () {
        const session = yield* manager.create(ada)
        taken()
        yield* failing(watched, (operation) => operation === "read", manager.destroy(session.token))
        assert.deepStrictEqual(taken(), ["Failed read notApplied", "Ended logout -"])
      })
    )
  )

  it.effect("[R75] [R85c] a caller that goes away keeps nobody from being told", () =>
    Effect.gen(function* () {
      const told = Events.make()
      const onEvent: OnEvent = (event) => Effect.andThen(Effect.sleep(100), told.onEvent(event))
      yield* onManager({ onEvent, rotateEvery: "10 minutes" }, (manager) =>
        Effect.gen(function* () {
          const creating = yield* Effect.forkChild(manager.create(ada), { startImmediately: true })
          yield* TestClock.adjust(100)
          const session = yield* Fiber.join(creating)
          told.taken()
          const gone = Effect.fnUntraced(function* (call: Effect.Effect<unknown, unknown>) {
            const fiber = yield* Effect.forkChild(call, { startImmediately: true })
            // The store has answered, and the handler is at it.
            const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
            yield* TestClock.adjust(100)
            yield* Fiber.join(interrupting)
            return told.taken()
          })
          assert.deepStrictEqual(yield* gone(manager.modify(session, addWord("x"))), ["Changed ada"])
          assert.deepStrictEqual(yield* gone(manager.rotate(session)), ["Rotated ada"])
          assert.deepStrictEqual(yield* gone(manager.revokeAny(session.id)), ["Ended revoked ada"])
        })
      )
    })
  )
})

const hang = Effect.never

describe("a caller that goes away while the store is at it", () => {
  const calls: Record<
    string,
    readonly [(manager: Manager, session: Session.Session<Data>) => Effect.Effect<unknown, unknown>, string]
  > = {
    modify: [(manager, session) => manager.modify(session, addWord("x")), "Changed ada"],
    rotate: [(manager, session) => manager.rotate(session), "Rotated ada"],
    "a scheduled rotation": [(manager, { token }) => manager.resolve(token, { rotate: true }), "Rotated ada"],
    destroy: [(manager, { token }) => manager.destroy(token), "Ended logout ada"],
    revoke: [(manager, { id }) => manager.revoke(id, { principal: "ada" }), "Ended revoked ada"],
    revokeAll: [(manager) => manager.revokeAll("ada"), "Ended revoked ada"],
    create: [(manager) => manager.create(ada), "Created ada"],
    createFrom: [(manager, session) => manager.createFrom(session, () => ada), "Created ada, Ended replaced ada"]
  }
  for (const [name, [call, expected]] of Object.entries(calls)) {
    it.effect(`[R75] [R85c] ${name} tells what it has done`, () =>
      telling({ rotateEvery: "10 minutes" }, (manager, { taken }, watched) =>
        Effect.gen(function* () {
          const session = yield* manager.create(ada)
          yield* TestClock.adjust(every)
          taken()
          watched.wire = (operation, run) =>
            operation === "read" || operation === "listByPrincipal" ? run : Effect.delay(run, 100)
          const fiber = yield* Effect.forkChild(call(manager, session), { startImmediately: true })
          yield* TestClock.adjust(50)
          const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
          for (let i = 0; i < 10; i++) yield* TestClock.adjust(50)
          yield* Fiber.join(interrupting)
          assert.strictEqual(taken().join(", "), expected)
        })
      )
    )
  }
})

describe("a handler", () => {
  class Audit extends Context.Service<Audit, { readonly lines: Array<string> }>()("test/Audit") {}

  it.effect("has the services of its layer, and those of the caller that are newer", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const layer = SessionManager.layer(UserSession, {
        onEvent: ({ _tag }) => Effect.map(Audit, (audit) => void audit.lines.push(_tag))
      }).pipe(Layer.provide(Stack.parts(UserSession)), Layer.provide(Layer.succeed(Audit, { lines })))
      const manager = Context.get(yield* Layer.build(layer), UserSession.Manager)
      yield* manager.create(ada)
      const own: Array<string> = []
      yield* Effect.provideService(manager.create(ada), Audit, { lines: own })
      assert.deepStrictEqual([lines, own], [["Created"], ["Created"]])
    })
  )

  // What a program without types may answer.
  const abusive = (answer: unknown) => (() => answer) as OnEvent
  const bad: Record<string, OnEvent> = {
    hangs: () => hang,
    "hangs and cannot be interrupted": () => Effect.uninterruptible(hang),
    dies: () => Effect.die(new Error("marked")),
    throws: () => {
      throw new Error("marked")
    },
    fails: abusive(Effect.fail(new Error("marked"))),
    "interrupts itself": () => Effect.interrupt,
    "answers nothing": abusive(undefined),
    "answers a promise": abusive(Promise.resolve()),
    "is slow": () => Effect.sleep(900)
  }

  /** How a call ends, and what it leaves in the store, with a handler or without. */
  const result = (
    call: (manager: Manager, token: Redacted.Redacted<string>) => Effect.Effect<unknown, unknown>,
    onEvent?: OnEvent
  ) => {
    const lines: Array<string> = []
    let isOn = false
    const given = onEvent && { onEvent: ((event) => (isOn ? onEvent(event) : Effect.void)) satisfies OnEvent }
    return onManager(given ?? {}, (manager, watched) =>
      Effect.gen(function* () {
        const { token } = yield* manager.create(ada)
        isOn = true
        const fiber = yield* Effect.forkChild(outcome(call(manager, token)).pipe(Effect.provide(capturing(lines))))
        for (let i = 0; i < 50 && fiber.pollUnsafe() === undefined; i++) yield* TestClock.adjust(100)
        const ended = yield* Fiber.join(fiber)
        const left = (yield* watched.records).map(({ data, principal, version }) => ({
          data,
          principal,
          version
        }))
        return { answer: { ended, left }, lines }
      })
    )
  }

  for (const [how, onEvent] of Object.entries(bad)) {
    it.effect(`[R85c] that ${how} changes no answer, and no store`, () =>
      Effect.gen(function* () {
        let logged = ""
        for (const [name, call] of Object.entries(everyCall)) {
          const without = yield* result(call)
          const { answer, lines } = yield* result(call, onEvent)
          assert.deepStrictEqual(answer, without.answer, name)
          logged += lines.join("\n")
        }
        assert.strictEqual(/onEvent failed/.test(logged), how !== "is slow")
        assert.notMatch(logged, /marked/)
      })
    )
  }

  it.effect("[R85c] that hangs holds up no deletion, where the store fails to say whose session it was", () => {
    const told: Array<string> = []
    const onEvent: OnEvent = ({ _tag }) => {
      told.push(_tag)
      return hang
    }
    return onManager({ onEvent }, (manager, watched) =>
      Effect.gen(function* () {
        const creating = yield* Effect.forkChild(manager.create(ada))
        yield* TestClock.adjust("1 second")
        const { token } = yield* Fiber.join(creating)
        const destroy = failing(watched, (operation) => operation === "read", manager.destroy(token))
        const destroying = yield* Effect.forkChild(destroy)
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(yield* watched.records, [])
        yield* TestClock.adjust("2 seconds")
        assert.isTrue(yield* Fiber.join(destroying))
        assert.deepStrictEqual(told, ["Created", "Failed", "Ended"])
      })
    )
  })

  it.effect("[R85c] that hangs is given up after backendTimeout, once for each event, and said so in the log", () => {
    const lines: Array<string> = []
    return onManager({ onEvent: () => hang, backendTimeout: "300 millis" }, (manager) =>
      Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(manager.create(ada))
        yield* TestClock.adjust(299)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        yield* Fiber.join(fiber)
        const said = lines.filter((line) => line.startsWith("{") && line.includes("onEvent failed"))
        assert.lengthOf(said, 1)
        for (const part of [UserSession.key, "Created", "TimedOut", "WARN"]) assert.include(said[0]!, part)
        assert.notInclude(said[0]!, '"ada"')
      }).pipe(Effect.provide(capturing(lines)))
    )
  })

  it.effect("[R85c] that hangs holds up no change that waits for its turn behind one that tells", () =>
    Effect.gen(function* () {
      let isOn = false
      yield* onManager({ onEvent: () => (isOn ? hang : Effect.void) }, (manager, watched) =>
        Effect.gen(function* () {
          const session = yield* manager.create(ada)
          isOn = true
          let updates = 0
          watched.wire = (operation, run) =>
            operation !== "update" ? run : updates++ === 0 ? WatchedBackend.failure("update") : Effect.delay(run, 700)
          // The first fails, and tells of it; the second is stored; the third waits for that.
          const fibers = yield* Effect.forEach(["a", "b", "c"], (word) =>
            Effect.forkChild(outcome(manager.describe(session, { label: word })), { startImmediately: true })
          )
          for (let i = 0; i < 50; i++) yield* TestClock.adjust(100)
          assert.deepStrictEqual(yield* Effect.forEach(fibers, Fiber.join), [
            "SessionUnavailable notApplied",
            "ok",
            "SessionUnavailable unknown"
          ])
        })
      )
    })
  )

  it.effect("[R85c] may end the user's sessions itself", () =>
    Effect.gen(function* () {
      let manager: Manager | undefined
      const told = Events.make()
      const onEvent: OnEvent = (event) =>
        Effect.andThen(
          told.onEvent(event),
          event._tag === "Ended" && event.why === "reused" ? Effect.ignore(manager!.revokeAll("ada")) : Effect.void
        )
      yield* onManager({ onEvent, rotateEvery: "10 minutes" }, (own) =>
        Effect.gen(function* () {
          manager = own
          yield* own.create(ada)
          const first = yield* own.create(ada)
          yield* TestClock.adjust(every)
          const second = yield* own.resolve(first.token, { rotate: true })
          yield* own.resolve(second.token)
          yield* TestClock.adjust("1 minute")
          told.taken()
          assert.strictEqual(yield* outcome(own.resolve(first.token)), "SessionInvalid Reused")
          assert.deepStrictEqual(told.taken(), [
            "Ended reused ada",
            "Ended revoked ada",
            "Refused SessionInvalid Reused"
          ])
        })
      )
    })
  )

  it.effect("[R85c] that changes the session it is told of, and waits for that, waits for nobody", () =>
    Effect.gen(function* () {
      let manager: Manager | undefined
      let again: string | undefined
      const onEvent: OnEvent = (event) =>
        event._tag === "Changed" && again === undefined
          ? Effect.suspend(() => {
              again = ""
              return Effect.map(outcome(manager!.modifyAll("ada", (data) => ({ ...data, count: 7 }))), (word) => {
                again = word
              })
            })
          : Effect.void
      yield* onManager({ onEvent }, (own) =>
        Effect.gen(function* () {
          manager = own
          const session = yield* own.create(ada)
          yield* own.modify(session, addWord("x"))
          assert.strictEqual(again, "ok")
          assert.deepInclude((yield* own.resolve(session.token)).data, { count: 7, words: ["x"] })
        })
      )
    })
  )
})
