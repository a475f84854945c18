/** Law 11, second half. No error, log, span or metric carries a token, a secret, a key or session data. */
import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { inspect } from "node:util"
import * as Session from "../../src/Session.ts"
import * as SessionBackend from "../../src/SessionBackend.ts"
import * as SessionFrontend from "../../src/SessionFrontend.ts"
import * as SessionKeys from "../../src/SessionKeys.ts"
import * as SessionMiddleware from "../../src/SessionMiddleware.ts"
import { SessionConfigError } from "../../src/SessionError.ts"
import { canary, Evidence, formsOf, listening } from "../support/evidence.ts"
import { capturing } from "../support/logs.ts"
import { outcome } from "../support/outcome.ts"
import { ada, addWord, UserSession, secretA, secretB } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

const data = { ...ada, words: [canary] }

describe("law 11: [R85a] no token, secret, key or session data", () => {
  it("the search finds each form of a secret it is shown", () => {
    const secret = "S".repeat(20) + "0123456789abcdefghijklm"
    for (const form of formsOf(secret)) {
      const evidence = new Evidence()
      evidence.hide("planted", secret)
      evidence.say("somewhere", `before ${form} after`)
      assert.isAtLeast(evidence.hits.length, 1, form)
    }
  })

  it.effect("in logs, spans, services, sessions and errors of a life without accidents", () => {
    const evidence = new Evidence()
    evidence.hide("key secret", secretA)
    evidence.hide("key secret", secretB)
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const created = yield* sessions.create(data)
      evidence.hideToken(created.token)
      yield* TestClock.adjust("2 minutes")
      const resolved = yield* sessions.resolve(created.token)
      const [, modified] = yield* sessions.modify(created.token, addWord("x"))
      const replaced = yield* sessions.replace(modified, data)
      const rotated = yield* sessions.rotate(replaced)
      evidence.hideToken(rotated.token)
      const listed = yield* sessions.list("ada")
      // A session that is printed shows its data, and never its token.
      for (const [i, session] of [created, resolved, modified, replaced, rotated, ...listed].entries()) {
        evidence.show(`session ${i}`, session)
        evidence.show(`copy of session ${i}`, { ...session })
      }
      const backend = yield* SessionBackend.SessionBackend
      const record = yield* Effect.flatMap(backend.read(UserSession.key, created.id), Effect.fromOption)
      // From here on nothing may show session data, nor what the store keeps.
      const withData = new Evidence()
      withData.said.push(...evidence.said.filter(([where]) => !where.includes("session ")))
      for (const [form, name] of evidence.secrets) withData.secrets.set(form, name)
      withData.hide("session data", canary)
      withData.hide("stored hash", record.secretHash)
      for (const [name, service] of Object.entries({
        manager: sessions,
        backend,
        keys: yield* SessionKeys.SessionKeys,
        signers: yield* (yield* SessionKeys.SessionKeys).signers("p"),
        verifier: yield* UserSession.Verifier,
        definition: UserSession,
        context: yield* Effect.context(),
        frontend: yield* SessionFrontend.SessionFrontend.use(Effect.succeed).pipe(
          Effect.provide(SessionFrontend.layerCookie())
        )
      })) {
        withData.show(name, service)
      }
      withData.show("metrics", yield* Metric.snapshot)
      yield* sessions.destroy(rotated.token)
      withData.exit("refusal", yield* Effect.exit(sessions.resolve(rotated.token)))
      withData.exit("refusal", yield* Effect.exit(sessions.resolve(created.token)))
      assert.isAbove(withData.said.length, 20)
      // An event shows a session with its data, and neither its token nor what the store keeps of that.
      evidence.hide("stored hash", record.secretHash)
      for (const tag of ["Created", "Rotated", "Changed", "Ended", "Refused"]) {
        assert.include(
          evidence.said.map(([where]) => where),
          `session event ${tag}: JSON`
        )
      }
      assert.deepStrictEqual([...new Set([...evidence.hits, ...withData.hits])], [])
    }).pipe(
      Effect.withSpan("life"),
      Effect.provide(
        Stack.manager(UserSession, {
          keys: Stack.layerKeys(secretA, secretB),
          onEvent: (event) => Effect.sync(() => evidence.show(`session event ${event._tag}`, event))
        })
      ),
      Effect.provide(listening(evidence))
    )
  })

  const driverError = (args: ReadonlyArray<unknown>) =>
    // Drivers quote statements, keys and rows.
    Object.assign(new Error(`failed: ${JSON.stringify(args)}`), {
      code: "23505",
      detail: JSON.stringify(args),
      query: JSON.stringify(args),
      cause: new Error(JSON.stringify(args))
    })

  for (const way of ["fails", "dies", "never answers"] as const) {
    it.effect(`in anything said of a backend that ${way}, though its own error quotes all it was given`, () => {
      const evidence = new Evidence()
      evidence.hide("key secret", secretA)
      evidence.hide("session data", canary)
      const watched = WatchedBackend.make()
      return Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        const session = yield* sessions.create(data)
        evidence.hideToken(session.token)
        const record = yield* SessionBackend.SessionBackend.use((b) => b.read(UserSession.key, session.id)).pipe(
          Effect.flatMap(Effect.fromOption)
        )
        evidence.hide("stored hash", record.secretHash)
        const acts: ReadonlyArray<readonly [SessionBackend.Operation, Effect.Effect<unknown, unknown>]> = [
          ["create", sessions.create(data)],
          ["read", sessions.resolve(session.token)],
          ["read", sessions.modify(session.token, addWord(canary))],
          ["update", sessions.modify(session, addWord(canary))],
          ["update", sessions.replace(session, { ...data, words: [canary, canary] })],
          ["update", sessions.rotate(session)],
          ["delete", sessions.destroy(session.token)],
          ["delete", sessions.revokeAny(session.id)],
          ["listByPrincipal", sessions.list("ada")],
          ["deleteByPrincipal", sessions.revokeAll("ada")]
        ]
        for (const [operation, act] of acts) {
          watched.wire = (called, run, args) => {
            if (called !== operation) return run
            const cause = driverError(args)
            return way === "fails"
              ? WatchedBackend.failure(operation, "unknown", cause)
              : way === "dies"
                ? Effect.die(cause)
                : Effect.never
          }
          const fiber = yield* Effect.forkChild(Effect.exit(act))
          yield* TestClock.adjust("3 seconds")
          const exit = yield* Effect.andThen(
            TestClock.adjust(0),
            Effect.suspend(() => fiber.pollUnsafe() ?? Effect.die("hangs"))
          )
          assert.isTrue(Exit.isFailure(exit), operation)
          evidence.exit(operation, exit)
        }
        const logs = evidence.said.filter(([where]) => where === "log")
        assert.isAtLeast(logs.length, acts.length)
        assert.isAtLeast(evidence.said.filter(([where]) => where === "event Failed: JSON").length, acts.length)
        assert.deepStrictEqual([...new Set(evidence.hits)], [])
      }).pipe(
        Effect.withSpan("accident"),
        Effect.provide(
          Stack.manager(UserSession, {
            backend: watched.layer,
            // Others show the session, with its data.
            onEvent: (event) =>
              Effect.sync(() => {
                if (event._tag === "Failed" || event._tag === "Refused") evidence.show(`event ${event._tag}`, event)
              })
          })
        ),
        Effect.provide(listening(evidence))
      )
    })
  }

  it.effect("in what is said of data that do not encode, do not decode, or change hands", () => {
    const evidence = new Evidence()
    evidence.hide("session data", canary)
    class Narrow extends Session.Service<Narrow>()("test/Narrow", {
      data: Schema.Struct({
        name: Schema.String.check(Schema.isMaxLength(3)),
        tag: Schema.Literals(["a", "b"]),
        n: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 9 }))
      }),
      principal: (d) => (d.n === 1 ? `${canary}\0` : d.name)
    }) {}
    return Effect.gen(function* () {
      const sessions = yield* Narrow.Manager
      const good = { name: "ada", tag: "a" as const, n: 0 }
      // As careless casts would.
      const bad: ReadonlyArray<object> = [
        { ...good, name: canary },
        { ...good, tag: canary },
        { ...good, n: canary },
        { ...good, n: 1 },
        { name: [canary] },
        [canary]
      ]
      const session = yield* sessions.create(good)
      for (const value of bad) {
        const cast = value as typeof good
        for (const act of [
          Effect.asVoid(sessions.create(cast)),
          Effect.asVoid(sessions.modify(session, () => [0, cast])),
          Effect.asVoid(sessions.replace(session, cast))
        ]) {
          const exit = yield* Effect.exit(act)
          assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
          evidence.exit("defect", exit)
        }
      }
      const backend = yield* SessionBackend.SessionBackend
      const seen = { lastSeenAt: 0, idleExpiresAt: 0 }
      for (const [i, text] of [`{"name":"${canary}"}`, canary, `["${canary}"]`].entries()) {
        yield* backend.update(Narrow.key, session.id, i + 1, { data: text, ...seen })
        const exit = yield* Effect.exit(sessions.resolve(session.token))
        assert.strictEqual(yield* outcome(exit), "SessionInvalid Data")
        evidence.exit("undecodable", exit)
      }
      assert.isAtLeast(evidence.said.filter(([where]) => where === "log").length, 3)
      assert.deepStrictEqual([...new Set(evidence.hits)], [])
    }).pipe(Effect.withSpan("data"), Effect.provide(Stack.manager(Narrow)), Effect.provide(listening(evidence)))
  })

  it.effect("in what is said of bad configuration", () => {
    const evidence = new Evidence()
    const weak = "my-super-secret-session-key-0815"
    evidence.hide("key secret", weak)
    evidence.hide("key secret", secretA)
    return Effect.gen(function* () {
      const layer = SessionKeys.layer([Redacted.make(weak), Redacted.make(secretA), Redacted.make(secretA)]).pipe(
        Layer.provide(NodeCrypto.layer)
      )
      const exit = yield* Effect.exit(Layer.build(layer))
      assert.instanceOf(Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined, SessionConfigError)
      evidence.exit("configuration", exit)
      evidence.show("layer", layer)
      assert.deepStrictEqual(evidence.hits, [])
    }).pipe(Effect.provide(listening(evidence)))
  })

  for (const [name, frontend] of Object.entries({
    cookie: SessionFrontend.layerCookie({ name: "session", secure: false }),
    bearer: SessionFrontend.layerBearer(),
    "a header of its own": SessionFrontend.layerHeader({ name: "x-session" })
  })) {
    it.effect(`in the request's session, printed by a handler (${name})`, () => {
      const evidence = new Evidence()
      evidence.hide("key secret", secretA)
      return Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        const { token } = yield* sessions.create(data)
        evidence.hideToken(token)
        const app = Effect.gen(function* () {
          const session = yield* UserSession
          evidence.show("request's session, unread", session)
          yield* session.get
          evidence.show("request's session", session)
          evidence.show("verified session", yield* UserSession.Verified)
          return HttpServerResponse.text("ok")
        })
        const context = yield* Effect.context<Session.Bound<UserSession>>()
        const handler = HttpEffect.toWebHandler(
          SessionMiddleware.required(UserSession)(app).pipe(Effect.provideContext(context))
        )
        const text = Redacted.value(token)
        const response = yield* Effect.promise(() =>
          handler(
            new Request("http://localhost/", {
              headers: { cookie: `session=${text}`, authorization: `Bearer ${text}`, "x-session": text }
            })
          )
        )
        assert.strictEqual(response.status, 200)
        assert.deepStrictEqual([...new Set(evidence.hits)], [])
      }).pipe(Effect.provide(Stack.http(UserSession, { frontend })))
    })
  }
})

describe("what a client sends", () => {
  it.effect("[R85d] is in no log line and no error, whatever bytes it is made of", () => {
    const lines: Array<string> = []
    const hostile = [
      "MARKED\r\nWARN forged line",
      "MARKED\u001b[2J\u001b]0;title\u0007",
      "MARKED\u202egnp.exe",
      "MARKED\0",
      `MARKED${"A".repeat(16_384)}`,
      "MARKED${jndi:ldap://x}",
      "MARKED%0d%0a",
      `v1.MARKEDXX.${"M".repeat(22)}.${"M".repeat(43)}.${"M".repeat(43)}`
    ]
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      for (const text of hostile) {
        const token = Redacted.make(text)
        for (const act of [
          Effect.asVoid(sessions.resolve(token)),
          Effect.asVoid(sessions.modify(token, addWord("x"))),
          Effect.asVoid(sessions.rotate(token)),
          sessions.destroy(token)
        ]) {
          const exit = yield* Effect.exit(act)
          assert.notInclude(inspect(exit, { depth: 9 }), "MARKED")
          if (Exit.isFailure(exit)) assert.notInclude(Cause.pretty(exit.cause), "MARKED")
        }
      }
      yield* Effect.logTrace("the capture works")
      assert.match(lines.join("\n"), /the capture works/)
      assert.notMatch(lines.join("\n"), /MARKED|forged|[\u001b\u202e\0]|\\u001b|\\u202e/)
    }).pipe(Effect.provide([Stack.manager(UserSession), capturing(lines)]))
  })
})
