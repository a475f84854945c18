/** What an attack on the adoption of another library's sessions found: log-outs undone, and one user let in as another. */
import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Exit, Fiber, Layer, Option, Redacted } from "effect"
import { SessionFrontend, SessionKeys, SessionMiddleware } from "effect-sessions"
import type { Operation, SessionBackendError } from "../../src/SessionBackend.ts"
import { TestClock } from "effect/testing"
import * as Token from "../../src/internal/token/token.ts"
import * as Client from "../support/client.ts"
import { empty, name, reasonOf, text } from "../support/httpSupport.ts"
import { outcome } from "../support/outcome.ts"
import * as Stack from "../support/stack.ts"
import { ada, eve, nobody, secretA, secretB, UserSession } from "../support/userSession.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

const from = "id at the old app"
const other = { ...eve, username: "eve" }

const makeManager = (backend: WatchedBackend.WatchedBackend, ...secrets: readonly [string, ...ReadonlyArray<string>]) =>
  Effect.map(
    Layer.build(
      Stack.manager(UserSession, {
        backend: backend.layer,
        keys: Stack.layerKeys(...secrets),
        crypto: NodeCrypto.layer
      })
    ),
    (context) => Context.get(context, UserSession.Manager)
  )

const isOfClaim = ([first]: ReadonlyArray<unknown>) =>
  (typeof first === "string" ? first : (first as { readonly namespace: string }).namespace).endsWith("/adopted")

describe("adoption under attack", () => {
  it.effect("[R69] a log-out is final where the adoption beside it is stopped for a long time", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const [slow, fast] = [yield* makeManager(backend, secretA), yield* makeManager(backend, secretA)]
      const gate = yield* Deferred.make<void>()
      let isFirst = true
      backend.wire = (operation, run, args) => {
        if (operation !== "create" || isOfClaim(args) || !isFirst) return run
        isFirst = false
        return Effect.andThen(Deferred.await(gate), run)
      }
      const stopped = yield* Effect.forkChild(Effect.exit(slow.adopt(from, ada)))
      yield* TestClock.adjust("900 millis")
      assert.isFalse(yield* fast.disown(from))
      const beside = yield* Effect.forkChild(outcome(fast.adopt(from, ada)))
      yield* Deferred.succeed(gate, undefined)
      assert.isTrue(Exit.isFailure(yield* Fiber.join(stopped)))
      assert.strictEqual(yield* Fiber.join(beside), "SessionInvalid NotFound")
      assert.strictEqual(yield* outcome(fast.adopt(from, ada)), "SessionInvalid NotFound")
      assert.deepStrictEqual(yield* backend.records, [])
    })
  )

  it.effect("[R69] a log-out is final where the adoption beside it fails late", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const manager = yield* makeManager(backend, secretA)
      const gate = yield* Deferred.make<void>()
      backend.wire = (operation, run, args) =>
        operation === "create" && !isOfClaim(args)
          ? Effect.andThen(Deferred.await(gate), WatchedBackend.failure(operation))
          : run
      const failing = yield* Effect.forkChild(outcome(manager.adopt(from, ada)))
      yield* TestClock.adjust("900 millis")
      assert.isFalse(yield* manager.disown(from))
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* Fiber.join(failing), "SessionUnavailable notApplied")
      backend.wire = (_, run) => run
      assert.strictEqual(yield* outcome(manager.adopt(from, ada)), "SessionInvalid NotFound")
    })
  )

  it.effect("[R78] requests at once share the one that is made after a failure", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const manager = yield* makeManager(backend, secretA)
      const gate = yield* Deferred.make<void>()
      const wire =
        (whatElse: <A>(run: Effect.Effect<A, SessionBackendError>) => Effect.Effect<A, SessionBackendError>) =>
        <A>(operation: Operation, run: Effect.Effect<A, SessionBackendError>, args: ReadonlyArray<unknown>) =>
          operation === "create" && !isOfClaim(args) ? whatElse(run) : run
      backend.wire = wire(() => WatchedBackend.failure("create"))
      assert.strictEqual(yield* outcome(manager.adopt(from, ada)), "SessionUnavailable notApplied")
      yield* TestClock.adjust("1 minute")
      backend.wire = wire((run) => Effect.andThen(Deferred.await(gate), run))
      const all = yield* Effect.forkChild(
        Effect.all(
          Array.from({ length: 10 }, () => manager.adopt(from, ada)),
          { concurrency: "unbounded" }
        )
      )
      yield* TestClock.adjust("100 millis")
      yield* Deferred.succeed(gate, undefined)
      yield* TestClock.adjust("100 millis")
      const sessions = yield* Fiber.join(all)
      assert.strictEqual(new Set(sessions.map(({ token }) => Redacted.value(token))).size, 1)
    })
  )

  it.effect("a store that contradicts itself is a failure, and not an endless loop", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make({ replace: () => ({ read: () => Effect.succeedNone }) })
      const manager = yield* makeManager(backend, secretA)
      yield* Effect.ignore(manager.adopt(from, ada))
      for (const call of [outcome(manager.adopt(from, ada)), outcome(manager.disown(from))]) {
        assert.strictEqual(yield* call, "SessionUnavailable notApplied")
      }
    })
  )

  it.effect("[R69] a log-out that meets an adoption at its very end ends what it made", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const [slow, fast] = [yield* makeManager(backend, secretA), yield* makeManager(backend, secretA)]
      const [isMade, mayEnd] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      let updates = 0
      backend.wire = (operation, run, args) => {
        if (operation !== "update" || !isOfClaim(args)) return run
        updates++
        // The adoption's waits until the log-out has read the claim, and the log-out's until the adoption is done.
        return updates === 1
          ? Effect.andThen(Deferred.await(mayEnd), run)
          : updates === 2
            ? Effect.andThen(Effect.andThen(Deferred.succeed(mayEnd, undefined), Deferred.await(isMade)), run)
            : run
      }
      const adopting = yield* Effect.forkChild(
        Effect.tap(slow.adopt(from, ada), () => Deferred.succeed(isMade, undefined))
      )
      yield* TestClock.adjust(1)
      assert.isTrue(yield* fast.disown(from))
      const { token } = yield* Fiber.join(adopting)
      assert.strictEqual(yield* outcome(fast.resolve(token)), "SessionInvalid NotFound")
      assert.strictEqual(yield* outcome(fast.adopt(from, ada)), "SessionInvalid NotFound")
    })
  )

  it.effect("[R78] where it cannot be said that a session was made, there is none, and the next request adopts", () =>
    Effect.gen(function* () {
      for (const result of ["notApplied", "unknown"] as const) {
        const backend = WatchedBackend.make()
        const manager = yield* makeManager(backend, secretA)
        let isFirst = true
        backend.wire = (operation, run, args) => {
          if (operation !== "update" || !isOfClaim(args) || !isFirst) return run
          isFirst = false
          return Effect.andThen(
            result === "unknown" ? Effect.ignore(run) : Effect.void,
            WatchedBackend.failure(operation, result)
          )
        }
        assert.strictEqual(yield* outcome(manager.adopt(from, ada)), `SessionUnavailable ${result}`)
        assert.deepStrictEqual(yield* backend.records, [])
        assert.strictEqual((yield* manager.adopt(from, ada)).data.username, "ada")
      }
    })
  )

  it.effect("[R78] one that cannot be made can be made later, however slow the store was", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const manager = yield* makeManager(backend, secretA)
      backend.wire = (operation, run, args) =>
        operation === "create" && !isOfClaim(args)
          ? WatchedBackend.failure(operation)
          : operation === "read" || operation === "update"
            ? Effect.delay(run, "400 millis")
            : run
      const failing = yield* Effect.forkChild(outcome(manager.adopt(from, ada)))
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* Fiber.join(failing), "SessionUnavailable notApplied")
      backend.wire = (_, run) => run
      assert.strictEqual((yield* manager.adopt(from, ada)).data.username, "ada")
    })
  )

  it.effect(
    "[R13] servers whose keys are in another order, and those that come after, give the same token's session",
    () =>
      Effect.gen(function* () {
        const backend = WatchedBackend.make()
        const before = yield* makeManager(backend, secretA, secretB)
        const after = yield* makeManager(backend, secretB, secretA)
        const all = yield* Effect.forEach(
          Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? before : after)),
          ({ adopt }) => adopt(from, ada),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(new Set(all.map(({ id }) => id)).size, 1)
        for (const { token } of all) assert.strictEqual((yield* before.resolve(token)).data.username, "ada")
        // Who has taken the key out takes the old cookie no more, and can still log out by it.
        const later = yield* makeManager(backend, secretB)
        assert.strictEqual(yield* outcome(later.adopt(from, ada)), "SessionInvalid NotFound")
        assert.isTrue(yield* later.disown(from))
      })
  )

  it.effect("[R46] an old session that has another user now opens no session of the user before", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const manager = yield* makeManager(backend, secretA)
      const adas = yield* manager.adopt(from, ada)
      assert.strictEqual(yield* outcome(manager.adopt(from, other)), "SessionInvalid NotFound")
      assert.strictEqual((yield* manager.resolve(adas.token)).data.username, "ada")
    })
  )

  it.effect("an old session without a name, and data that cannot be stored, claim nothing", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const manager = yield* makeManager(backend, secretA)
      const big = { ...ada, words: ["x".repeat(70_000)] }
      const calls: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        manager.adopt("", ada),
        manager.disown(""),
        manager.adopt(from, big)
      ]
      for (const call of calls) {
        const exit = yield* Effect.exit(call)
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      }
      assert.deepStrictEqual(yield* backend.claims, [])
      // The longest and strangest name is one of its own.
      const names = ["x".repeat(100_000), "a\u0000", "a", "é", "e\u0301", "../a", "a'--"]
      const sessions = yield* Effect.forEach(names, (name) => manager.adopt(name, ada))
      assert.strictEqual(new Set(sessions.map(({ token }) => Redacted.value(token))).size, names.length)
    })
  )

  it.effect("[R69] a request that could not adopt, and logs out all the same, has logged out", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make()
      const adopt = () => Effect.succeed(Option.some({ from, data: ada }))
      const context = yield* Layer.build(
        SessionMiddleware.layer(UserSession, { adopt }).pipe(
          Layer.provideMerge([Stack.parts(UserSession, { backend: backend.layer }), SessionFrontend.layerCookie()])
        )
      )
      const route = <E>(handler: (session: (typeof UserSession)["Service"]) => Effect.Effect<unknown, E>) =>
        Effect.map(
          Client.webHandler(
            Effect.provideContext(
              SessionMiddleware.make(UserSession)(
                Effect.flatMap(UserSession, (session) =>
                  Effect.map(handler(session), (answer) => (typeof answer === "string" ? text(answer) : empty))
                )
              ),
              context
            )
          ),
          Client.sender
        )
      const out = yield* route((session) =>
        Effect.gen(function* () {
          backend.wire = (operation, run, args) =>
            operation === "create" && !isOfClaim(args) ? WatchedBackend.failure(operation) : run
          yield* Effect.ignore(session.get)
          backend.wire = (_, run) => run
          yield* session.destroy
        })
      )
      assert.strictEqual((yield* out("POST", "/", { cookie: "sid=1" })).status, 204)
      const me = yield* route((session) => Effect.map(session.get, name))
      const answer = yield* me("GET", "/", { cookie: "sid=1" })
      assert.deepStrictEqual([answer.status, reasonOf(answer), answer.setCookie], [401, "NotFound", []])
    })
  )

  it.effect(
    "the key and the old id give the token of an adopted session, as docs/moving.md says, until it has another",
    () =>
      Effect.gen(function* () {
        const backend = WatchedBackend.make()
        const manager = yield* makeManager(backend, secretA)
        const { id } = yield* manager.adopt(from, ada)
        const signers = SessionKeys.SessionKeys.use((keys) => keys.signers(Token.purpose(UserSession.key)))
        const thief = Token.make(
          yield* Effect.provide(Effect.provide(signers, Stack.layerKeys(secretA)), NodeCrypto.layer)
        )
        const steal = Effect.fnUntraced(function* (from: string) {
          const secret = Option.getOrThrow(yield* thief.secretOf(thief.kid, id, from))
          return yield* Effect.flatMap(thief.issue({ id, secret }), (token) => manager.resolve(token))
        })
        const stolen = yield* steal(from)
        assert.strictEqual(stolen.data.username, "ada")
        // What is stored of the claim does not name the old session.
        assert.notInclude(JSON.stringify(yield* backend.claims), from)
        assert.strictEqual(yield* outcome(steal("another")), "SessionInvalid NotFound")
        yield* manager.rotate(stolen)
        assert.strictEqual(yield* outcome(steal(from)), "SessionInvalid NotFound")
      })
  )

  it.effect("a memory that is full forgets what was adopted, as docs/moving.md says: no store for a move", () =>
    Effect.gen(function* () {
      const backend = WatchedBackend.make({ memory: { maxSessions: 3 } })
      const manager = yield* makeManager(backend, secretA)
      assert.isFalse(yield* manager.disown(from))
      for (let i = 0; i < 3; i++) {
        assert.strictEqual(yield* outcome(manager.adopt(from, ada)), "SessionInvalid NotFound")
        yield* manager.create(nobody)
      }
      assert.strictEqual((yield* manager.adopt(from, ada)).data.username, "ada")
    })
  )

  it.effect("[R55] the old cookie opens the session until its token has been changed", () =>
    Effect.gen(function* () {
      const plain = yield* makeManager(WatchedBackend.make(), secretA)
      const { token } = yield* plain.rotate(yield* plain.adopt(from, ada))
      assert.strictEqual(yield* outcome(plain.adopt(from, ada)), "SessionInvalid NotFound")
      assert.strictEqual((yield* plain.resolve(token)).data.username, "ada")
      // On a schedule it counts as a stolen copy after that.
      const context = yield* Layer.build(Stack.manager(UserSession, { rotateEvery: "10 minutes" }))
      const manager = Context.get(context, UserSession.Manager)
      const first = yield* manager.adopt(from, ada)
      yield* TestClock.adjust("11 minutes")
      const next = yield* manager.resolve(first.token, { rotate: true })
      assert.notStrictEqual(Redacted.value(next.token), Redacted.value(first.token))
      yield* manager.resolve(next.token)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* outcome(manager.adopt(from, ada)), "SessionInvalid Reused")
      assert.strictEqual(yield* outcome(manager.resolve(next.token)), "SessionInvalid NotFound")
    })
  )
})
