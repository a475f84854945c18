/** A log-in ends the principal's sessions over `maxPerPrincipal`, those seen least recently. */
import { assert, describe, it } from "@effect/vitest"
import { NodeCrypto } from "@effect/platform-node"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import type { Session } from "../../src/Session.ts"
import { SessionBackend } from "../../src/SessionBackend.ts"
import * as SessionBackendMemory from "../../src/SessionBackendMemory.ts"
import { SessionRefused } from "../../src/SessionError.ts"
import { failing, onManager } from "../support/onManager.ts"
import { outcome } from "../support/outcome.ts"
import { requestWith } from "../support/request.ts"
import * as Stack from "../support/stack.ts"
import { ada, eve, nobody, UserSession } from "../support/userSession.ts"
import type { Data, Manager } from "../support/userSession.ts"

/** Makes so many sessions of ada's, a second apart. */
const made = (manager: Manager, count: number) =>
  Effect.forEach(Array.from({ length: count }), () =>
    Effect.tap(manager.create(ada), () => TestClock.adjust("1 second"))
  )

/** Which of these sessions are left, by their places. */
const left = (manager: Manager, sessions: ReadonlyArray<Session<Data>>) =>
  Effect.map(manager.list("ada"), (infos) =>
    sessions.flatMap(({ id }, place) => (infos.some((info) => info.id === id) ? [place] : []))
  )

/** In memory, with pages of 50 records, as a store may have. */
const inShortPages = Layer.effect(
  SessionBackend,
  Effect.map(SessionBackend, (backend) => ({
    ...backend,
    listByPrincipal: (namespace, principal, { limit, ...options }) =>
      backend.listByPrincipal(namespace, principal, { ...options, limit: Math.min(limit, 50) })
  }))
).pipe(Layer.provide(SessionBackendMemory.layer))

describe("maxPerPrincipal", () => {
  it.effect("[R51] is 100 by default; false is none, and asks for no list", () =>
    Effect.gen(function* () {
      yield* onManager({}, (manager) =>
        Effect.gen(function* () {
          const sessions = yield* made(manager, 102)
          assert.deepStrictEqual(yield* left(manager, sessions), sessions.map((_, i) => i).slice(2))
        })
      )
      yield* onManager({ maxPerPrincipal: false }, (manager, watched) =>
        Effect.gen(function* () {
          yield* made(manager, 102)
          assert.strictEqual(watched.count("listByPrincipal"), 0)
          assert.strictEqual((yield* manager.list("ada")).length, 102)
        })
      )
    })
  )

  it.effect("[R51] holds on a store whose pages are shorter than what is asked for", () =>
    Effect.gen(function* () {
      const manager = yield* UserSession.Manager
      yield* made(manager, 302)
      assert.strictEqual((yield* manager.list("ada")).length, 300)
    }).pipe(Effect.provide(Stack.manager(UserSession, { maxPerPrincipal: 300, backend: inShortPages })))
  )

  it.effect("[R51] of one, each log-in ends the one before, and nobody else's", () =>
    onManager({ maxPerPrincipal: 1 }, (manager, watched) =>
      Effect.gen(function* () {
        const others = [yield* manager.create(eve), yield* manager.create(nobody), yield* manager.create(nobody)]
        const sessions = yield* made(manager, 3)
        assert.deepStrictEqual(yield* left(manager, sessions), [2])
        assert.strictEqual(yield* outcome(manager.resolve(sessions[1]!.token)), "SessionInvalid NotFound")
        for (const { token } of others) assert.strictEqual(yield* outcome(manager.resolve(token)), "ok")
        // The list that nearly everybody has is one short page.
        const list = watched.calls.find(({ operation }) => operation === "listByPrincipal")
        assert.deepStrictEqual(list!.args[2], { limit: 2, after: undefined, moreThan: 1 })
      })
    )
  )

  it.effect("[R51] goes by when a session was last seen, not by its age", () =>
    onManager({ maxPerPrincipal: 3 }, (manager) =>
      Effect.gen(function* () {
        const sessions = yield* made(manager, 3)
        yield* TestClock.adjust("2 minutes")
        // The oldest is in use.
        yield* manager.resolve(sessions[0]!.token)
        sessions.push(...(yield* made(manager, 1)))
        assert.deepStrictEqual(yield* left(manager, sessions), [0, 2, 3])
      })
    )
  )

  it.effect("[R51] does not count those that the log-in replaces: on the same device it ends no other", () =>
    onManager({ maxPerPrincipal: 2 }, (manager) =>
      Effect.gen(function* () {
        const [phone, laptop] = yield* made(manager, 2)
        const again = yield* manager.create(ada, { replaces: [laptop!.token, phone!.token] })
        assert.strictEqual((yield* manager.list("ada")).length, 3)
        yield* manager.destroy(laptop!.token)
        const once = yield* manager.createFrom(again, () => ada)
        const twice = yield* manager.reauthenticate(once)
        assert.deepStrictEqual(yield* left(manager, [phone!, laptop!, again, once, twice]), [0, 4])
        // What is no token of ours replaces nothing.
        yield* TestClock.adjust("1 second")
        yield* manager.create(ada, { replaces: [Redacted.make("junk")] })
        assert.strictEqual((yield* manager.list("ada")).length, 2)
      })
    )
  )

  it.effect("[R51] nor one that the verifier refuses, where it is to be replaced", () =>
    Effect.gen(function* () {
      const refusing = Layer.succeed(UserSession.Verifier, {
        verify: ({ data }: Session<Data>) =>
          data.count === 13 ? Effect.fail(new SessionRefused({ message: "log in again" })) : Effect.void
      })
      yield* onManager({ maxPerPrincipal: 2, verifier: refusing }, (manager) =>
        Effect.gen(function* () {
          const phone = yield* manager.create(ada)
          yield* TestClock.adjust("1 second")
          const laptop = yield* manager.create({ ...ada, count: 13 })
          yield* TestClock.adjust("1 second")
          yield* requestWith(manager, laptop.token).create(() => ada)
          assert.deepStrictEqual(yield* left(manager, [phone, laptop]), [0])
          assert.strictEqual((yield* manager.list("ada")).length, 2)
        })
      )
    })
  )

  it.effect("[R51] does not count those that have expired", () =>
    onManager({ maxPerPrincipal: 2 }, (manager, watched) =>
      Effect.gen(function* () {
        const long = yield* manager.create(ada)
        yield* TestClock.adjust("1 second")
        const short = yield* manager.create(ada, { absoluteTimeout: "1 minute" })
        yield* TestClock.adjust("1 minute")
        const last = yield* manager.create(ada)
        assert.deepStrictEqual(yield* left(manager, [long, short, last]), [0, 2])
        assert.strictEqual(watched.count("delete"), 0)
      })
    )
  )

  it.effect("[R51] walks on where there are more than a page of them", () =>
    Effect.gen(function* () {
      const backend = Layer.succeedContext(yield* Layer.build(Stack.layerMemory()))
      const stack = (maxPerPrincipal: number | false) =>
        Effect.provide(
          UserSession.Manager,
          Stack.manager(UserSession, { backend, maxPerPrincipal, crypto: NodeCrypto.layer })
        )
      // Another server has no limit yet.
      yield* made(yield* stack(false), 600)
      const manager = yield* stack(3)
      const last = yield* manager.create(ada)
      const infos = yield* manager.list("ada")
      assert.deepStrictEqual(
        infos.map(({ createdAt }) => createdAt.epochMilliseconds),
        [600_000, 599_000, 598_000]
      )
      assert.strictEqual(infos[0]!.id, last.id)
    })
  )

  it.effect("[R51] never ends the session that was just made, though its server's clock is behind", () =>
    onManager({ maxPerPrincipal: 2 }, (manager) =>
      Effect.gen(function* () {
        yield* TestClock.adjust("10 minutes")
        const sessions = yield* made(manager, 2)
        yield* TestClock.setTime(300_000)
        const behind = yield* manager.create(ada)
        yield* TestClock.setTime(602_000)
        // One more than are allowed, until the next log-in.
        assert.deepStrictEqual(yield* left(manager, [...sessions, behind]), [0, 1, 2])
        assert.strictEqual(yield* outcome(manager.resolve(behind.token)), "ok")
      })
    )
  )

  for (const broken of ["delete", "listByPrincipal"]) {
    it.effect(`[R51] a ${broken} that fails fails no log-in, and the next one makes up for it`, () =>
      onManager({ maxPerPrincipal: 1 }, (manager, watched) =>
        Effect.gen(function* () {
          const sessions = yield* made(manager, 1)
          sessions.push(...(yield* failing(watched, (operation) => operation === broken, made(manager, 1))))
          assert.deepStrictEqual(yield* left(manager, sessions), [0, 1])
          sessions.push(...(yield* made(manager, 1)))
          assert.deepStrictEqual(yield* left(manager, sessions), [2])
        })
      )
    )
  }

  it.effect("[R87a] is a whole number from 1 to 1,000, or false", () =>
    Effect.gen(function* () {
      for (const maxPerPrincipal of [0, -1, 1.5, 1001, Number.NaN, Infinity, true as unknown as false]) {
        const exit = yield* outcome(onManager({ maxPerPrincipal }, () => Effect.void))
        assert.strictEqual(exit, "SessionConfigError", String(maxPerPrincipal))
      }
      for (const maxPerPrincipal of [1, 1000, false, undefined] as const) {
        assert.strictEqual(yield* outcome(onManager({ maxPerPrincipal }, () => Effect.void)), "ok")
      }
    })
  )
})
