/**
 * What a log-in goes through, on two servers of one application over the backend in context: the cases that every store
 * must pass. Time is the real one, and may be put forward.
 */
import { NodeCrypto } from "@effect/platform-node"
import { assert } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { namespaceOf } from "../../src/internal/manager/fence.ts"
import * as Session from "../../src/Session.ts"
import { maxBatch, SessionBackend } from "../../src/SessionBackend.ts"
import { ahead } from "./aheadClock.ts"
import { silent } from "./logs.ts"
import { outcome } from "./outcome.ts"
import * as Stack from "./stack.ts"
import { addWord, type Data, user, UserData } from "./userSession.ts"

/** As long as the narrowest store takes one, of characters with two bytes. */
const longest = "é".repeat(128)

const minute = 60_000

const options: Session.LayerOptions = {
  // A slow machine is not what is tested here.
  backendTimeout: "20 seconds",
  maxPerPrincipal: 3,
  rotateEvery: "5 minutes",
  rotationGrace: "30 seconds"
}

const world = Effect.fnUntraced(function* (key: string, by: { millis: number }) {
  class UserSession extends Session.Service<UserSession>()(key, {
    data: UserData,
    principal: (data) => data.username
  }) {}
  const service = yield* SessionBackend
  const scope = yield* Effect.scope
  const server = Effect.gen(function* () {
    const layer = Stack.manager(UserSession, {
      ...options,
      backend: Layer.succeed(SessionBackend, service),
      crypto: NodeCrypto.layer
    })
    return Context.get(yield* Layer.buildWithMemoMap(layer, yield* Layer.makeMemoMap, scope), UserSession.Manager)
  })
  const [one, other] = [yield* server, yield* server]
  const fences = (principal: string) =>
    Effect.map(service.listByPrincipal(namespaceOf(key), principal, { limit: 10 }), ({ records }) => records)
  return {
    one,
    other,
    backend: service,
    /** The fences of a principal, of which there is one at most. */
    fences,
    pass: (millis: number) =>
      Effect.sync(() => {
        by.millis += millis
      })
  }
})

type World = Effect.Success<ReturnType<typeof world>>

const wordsOf = ({ words }: Data) => words

/** Each with a user of its own. */
const cases: Record<string, (world: World, name: string) => Effect.Effect<void, unknown>> = {
  "[R46] a log-in keeps what the visitor had, and their token opens nothing on any server": ({ one, other }, name) =>
    Effect.gen(function* () {
      const cart = yield* one.create({ words: ["bread"], count: 0 })
      yield* other.modify(cart.token, addWord("butter"))
      const loggedIn = yield* one.createFrom(cart, (before) => ({
        ...user(name),
        words: Option.match(before, { onNone: () => [], onSome: wordsOf })
      }))
      assert.deepStrictEqual(wordsOf((yield* other.resolve(loggedIn.token)).data), ["bread", "butter"])
      assert.notStrictEqual(loggedIn.id, cart.id)
      for (const server of [one, other]) {
        assert.strictEqual(yield* outcome(server.resolve(cart.token)), "SessionInvalid NotFound")
        assert.strictEqual(yield* outcome(server.modify(cart, addWord("late"))), "SessionInvalid NotFound")
        assert.strictEqual(yield* outcome(server.createFrom(cart, () => user(name))), "SessionInvalid NotFound")
      }
      assert.strictEqual((yield* other.list(name)).length, 1)
    }),

  "[R46] a log-in whose function dies leaves the visitor's session as it was": ({ one, other }, name) =>
    Effect.gen(function* () {
      const cart = yield* one.create({ words: ["bread"], count: 0 })
      const died = one.createFrom(cart.token, () => {
        throw new Error(name)
      })
      assert.strictEqual(yield* outcome(died), "died")
      const [, kept] = yield* other.modify(cart.token, addWord("butter"))
      assert.deepStrictEqual(kept.data.words, ["bread", "butter"])
    }),

  "[R73] a log-in that began before a revocation on another server fails, and leaves what it found": (all, name) =>
    Effect.gen(function* () {
      const { one, other } = all
      const cart = yield* one.create({ words: ["bread"], count: 0 })
      const began = yield* Clock.currentTimeNanos
      yield* other.create(user(name))
      assert.strictEqual(yield* other.revokeAll(name), 1)
      assert.strictEqual(yield* outcome(one.create(user(name), { began })), "SessionInvalid Superseded")
      assert.strictEqual(
        yield* outcome(one.createFrom(cart.token, () => user(name), { began })),
        "SessionInvalid Superseded"
      )
      assert.deepStrictEqual(yield* one.list(name), [])
      assert.deepStrictEqual(wordsOf((yield* other.resolve(cart.token)).data), ["bread"])
      const { token } = yield* one.create(user(name))
      assert.strictEqual(yield* outcome(other.resolve(token)), "ok")
    }),

  "[R53] a proof on one server renews the factors, and keeps data and client": ({ one, other }, name) =>
    Effect.gen(function* () {
      const first = yield* one.create(user(name), { methods: ["pwd"], client: { label: "phone", address: "::1" } })
      yield* other.describe(first.token, { label: "my phone" })
      yield* other.modify(first.token, addWord("kept"))
      const again = yield* other.reauthenticate(first.token, { methods: ["otp"] })
      assert.strictEqual(yield* outcome(one.resolve(first.token)), "SessionInvalid NotFound")
      const info = Option.getOrThrow(yield* one.get(again.id))
      assert.deepStrictEqual(
        info.factors.map(({ method }) => method),
        ["pwd", "otp"]
      )
      assert.deepStrictEqual(info.client, { label: "my phone", address: "::1" })
      assert.deepStrictEqual(info.data?.words, ["kept"])
      assert.deepStrictEqual(yield* one.get(first.id), Option.none())
    }),

  "[R70] all sessions of a user change at once, and no other's": ({ one, other }, name) =>
    Effect.gen(function* () {
      const sessions = [yield* one.create(user(name)), yield* other.create(user(name))]
      const stranger = yield* one.create(user(`${name}'s neighbour`))
      const changed = yield* other.modifyAll(name, (data) => ({ ...data, count: data.count + 1 }))
      assert.strictEqual(changed, 2)
      for (const { token } of sessions) assert.strictEqual((yield* one.resolve(token)).data.count, 1)
      assert.strictEqual((yield* one.resolve(stranger.token)).data.count, 0)
    }),

  "[R51] of one session more than may live, the one ends that was seen least recently": (all, name) =>
    Effect.gen(function* () {
      const { one, other, pass } = all
      const sessions = []
      for (const server of [one, other, one]) {
        sessions.push(yield* server.create(user(name)))
        yield* pass(2 * minute)
      }
      // The oldest is in use.
      yield* other.resolve(sessions[0]!.token)
      yield* pass(1000)
      sessions.push(yield* one.create(user(name)))
      assert.deepStrictEqual(yield* Effect.forEach(sessions, ({ token }) => outcome(other.resolve(token))), [
        "ok",
        "SessionInvalid NotFound",
        "ok",
        "ok"
      ])
    }),

  "[R55] a scheduled rotation on one server is known to the other, and a copy of the old token ends the session": (
    all,
    name
  ) =>
    Effect.gen(function* () {
      const { one, other, pass } = all
      const { id, token } = yield* one.create(user(name), { client: { label: "phone" } })
      yield* pass(6 * minute)
      const rotated = yield* one.resolve(token, { rotate: true })
      assert.notStrictEqual(rotated.token, token)
      // The new token has not arrived.
      assert.strictEqual(yield* outcome(other.resolve(token)), "ok")
      assert.strictEqual(yield* outcome(other.resolve(rotated.token)), "ok")
      assert.strictEqual(yield* outcome(one.resolve(token)), "ok")
      yield* pass(31_000)
      const info = Option.getOrThrow(yield* other.get(id))
      assert.deepStrictEqual(info.client, { label: "phone" })
      assert.strictEqual(yield* outcome(other.resolve(token)), "SessionInvalid Reused")
      assert.strictEqual(yield* outcome(one.resolve(rotated.token)), "SessionInvalid NotFound")
    }),

  "[R73] no member shows, counts, changes or ends a fence, and there is one for each user": (all, name) =>
    Effect.gen(function* () {
      const { backend, fences, one, other } = all
      for (const principal of [name, longest]) {
        const began = yield* Clock.currentTimeNanos
        yield* one.create(user(principal))
        assert.strictEqual(yield* other.revokeAll(principal), 1)
        const [fence] = yield* fences(principal)
        assert.deepStrictEqual(yield* one.list(principal), [])
        assert.deepStrictEqual(yield* one.get(fence!.id as Session.SessionId), Option.none())
        assert.strictEqual(yield* one.modifyAll(principal, (data) => ({ ...data, count: 9 })), 0)
        assert.isFalse(yield* one.revoke(fence!.id as Session.SessionId, { principal }))
        assert.isFalse(yield* one.revokeAny(fence!.id as Session.SessionId))
        assert.deepStrictEqual(yield* fences(principal), [fence])
        // It neither counts as a session, nor hides another revocation.
        assert.strictEqual(yield* one.revokeAll(principal), 0)
        const after = yield* fences(principal)
        assert.strictEqual(after.length, 1)
        assert.strictEqual(yield* outcome(other.create(user(principal), { began })), "SessionInvalid Superseded")
        const sessions = yield* Effect.forEach([1, 2, 3], () => one.create(user(principal)))
        assert.strictEqual((yield* other.list(principal)).length, sessions.length)
        assert.isTrue(Option.isSome(yield* backend.read(fence!.namespace, fence!.id)))
      }
    }),

  "[R83] a fence is kept for as long as a log-in may take, and then forgotten": (all, name) =>
    Effect.gen(function* () {
      const { backend, fences, one, pass } = all
      const sweep = Effect.gen(function* () {
        const now = yield* Clock.currentTimeMillis
        const batch = backend.deleteExpired({ now, limit: maxBatch })
        yield* Effect.repeat(batch, { while: ({ more }) => more })
      })
      const began = yield* Clock.currentTimeNanos
      yield* one.revokeAll(name)
      yield* pass(14 * minute)
      yield* sweep
      assert.strictEqual((yield* fences(name)).length, 1)
      assert.strictEqual(yield* outcome(one.create(user(name), { began })), "SessionInvalid Superseded")
      yield* pass(60 * minute)
      yield* sweep
      // What a store forgets on its own has a time-to-live, by its own clock.
      assert.include([0, 1], (yield* fences(name)).length)
      assert.strictEqual(yield* outcome(one.create(user(name), { began })), "SessionInvalid Superseded")
      yield* one.revokeAll(name)
      assert.strictEqual((yield* fences(name)).length, 1)
    })
}

/** The cases, each over the backend in context, with records under `key` and the namespaces that belong to it alone. */
export const scenarios = (
  key: string
): ReadonlyArray<readonly [name: string, effect: Effect.Effect<void, unknown, SessionBackend | Scope.Scope>]> =>
  Object.entries(cases).map(([name, scenario], i) => [
    name,
    Effect.suspend(() => {
      const by = { millis: 0 }
      return ahead(by)(Effect.flatMap(world(key, by), (all) => scenario(all, `user ${i}`)))
    }).pipe(Effect.provide(silent))
  ])
