import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import { wordOf, outcome } from "../support/outcome.ts"
import { recordOf } from "../support/records.ts"
import { requestWith } from "../support/request.ts"
import { UserSession, user, ada, addWord } from "../support/userSession.ts"
import { tokensOf } from "../support/tokens.ts"
import * as Stack from "../support/stack.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

describe("tokens and the store", () => {
  it.effect(
    "[R3] after 1,000 log-ins the store holds no token and no secret, nor 8 characters of one",
    () => {
      const watched = WatchedBackend.make()
      return Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        const secrets: Array<string> = []
        for (let i = 0; i < 1000; i++) {
          const session = yield* sessions.create(user(`u${i % 50}`))
          const rotated = i % 3 === 0 ? yield* sessions.rotate(session) : session
          const [, , , secret, mac] = Redacted.value(rotated.token).split(".")
          secrets.push(secret!, mac!)
          yield* sessions.resolve(rotated.token)
        }
        const dump = JSON.stringify(watched.calls)
        const dumped = new Set<string>()
        for (let i = 0; i + 8 <= dump.length; i++) dumped.add(dump.slice(i, i + 8))
        for (const secret of secrets) {
          for (let i = 0; i + 8 <= secret.length; i++) assert.isFalse(dumped.has(secret.slice(i, i + 8)))
        }
      }).pipe(Effect.provide(Stack.manager(UserSession, { backend: watched.layer })))
    },
    120_000
  )

  it.effect("[R4] what the store holds opens nothing, neither as it is nor signed with a stolen key", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const tokens = yield* tokensOf(UserSession)
      const session = yield* sessions.create(ada)
      const record = yield* recordOf(UserSession, session.id)
      const mac = Redacted.value(session.token).split(".")[4]
      const kid = Redacted.value(session.token).split(".")[1]
      for (const forged of [
        record.secretHash,
        `${record.id}.${record.secretHash}`,
        `v1.${kid}.${record.id}.${record.secretHash}.${mac}`,
        `v1.${kid}.${record.id}.${record.secretHash}.${record.secretHash}`,
        Redacted.value(yield* tokens.issue({ id: record.id, secret: record.secretHash }))
      ]) {
        assert.match(
          yield* outcome(sessions.resolve(Redacted.make(forged))),
          /^SessionInvalid (Malformed|Signature|NotFound)$/
        )
      }
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "ok")
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("[R6] a well-signed token of a session never made, expired or revoked opens and makes nothing", () => {
    const watched = WatchedBackend.make()
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const tokens = yield* tokensOf(UserSession)
      const never = yield* tokens.issue({ id: "A".repeat(22), secret: "B".repeat(43) })
      const revoked = yield* sessions.create(ada)
      yield* sessions.revokeAll("ada")
      const expired = yield* sessions.create(ada)
      yield* TestClock.adjust("1 hour")
      watched.calls.length = 0
      for (const [token, reason] of [
        [never, "NotFound"],
        [revoked.token, "NotFound"],
        [expired.token, "Expired"]
      ] as const) {
        assert.strictEqual(yield* outcome(sessions.resolve(token)), `SessionInvalid ${reason}`)
        assert.strictEqual(yield* outcome(sessions.modify(token, addWord("x"))), `SessionInvalid ${reason}`)
        assert.strictEqual(yield* outcome(sessions.rotate(token)), `SessionInvalid ${reason}`)
      }
      assert.deepStrictEqual(new Set(watched.operations), new Set(["read"]))
    }).pipe(Effect.provide(Stack.manager(UserSession, { backend: watched.layer })))
  })

  it.effect("[R7] a token says nothing of the data and has one length", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      for (const words of [[], ["admin"], ["x".repeat(60_000)]]) {
        const { token } = yield* sessions.create({ ...user("ada@example.org"), words })
        const text = Redacted.value(token)
        assert.strictEqual(text.length, 122)
        const decoded = text
          .split(".")
          .map((part) => Buffer.from(part, "base64url").toString("latin1"))
          .join(" ")
        assert.notMatch(text + decoded, /ada@|example|admin/) // Three letters alone may come up by chance.
      }
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect(
    "[R9] [R84b] 10^5 tokens with a wrong MAC, and as many of unknown keys, never reach the backend",
    () => {
      const watched = WatchedBackend.make()
      return Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        const { token } = yield* sessions.create(ada)
        const [v, kid, id, secret] = Redacted.value(token).split(".")
        watched.calls.length = 0
        const random = (size: number) => Buffer.from(crypto.getRandomValues(new Uint8Array(size))).toString("base64url")
        for (let i = 0; i < 100_000; i++) {
          const wrongMac = Redacted.make(`${v}.${kid}.${id}.${secret}.${random(32)}`)
          const unknownKey = Redacted.make(`${v}.${random(6)}.${id}.${secret}.${random(32)}`)
          const first = yield* Effect.exit(sessions.resolve(wrongMac))
          const second = yield* Effect.exit(sessions.resolve(unknownKey))
          if (wordOf(first) !== "SessionInvalid Signature" || wordOf(second) !== "SessionInvalid Signature") {
            assert.fail(`${wordOf(first)}, ${wordOf(second)}`)
          }
          if (i % 100 === 0) yield* sessions.destroy(wrongMac)
        }
        assert.strictEqual(watched.calls.length, 0)
      }).pipe(Effect.provide(Stack.manager(UserSession, { backend: watched.layer })))
    },
    120_000
  )

  it.effect(
    "[R84b] 10^5 well-signed tokens of unknown sessions write nothing",
    () => {
      const watched = WatchedBackend.make()
      return Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        const tokens = yield* tokensOf(UserSession)
        for (let i = 0; i < 100_000; i++) {
          const text = i.toString(36).padStart(22, "A")
          const exit = yield* Effect.exit(sessions.resolve(yield* tokens.issue({ id: text, secret: "S".repeat(43) })))
          if (wordOf(exit) !== "SessionInvalid NotFound") assert.fail(wordOf(exit))
        }
        assert.strictEqual(watched.calls.length, 100_000)
        assert.isTrue(watched.calls.every((call) => call.operation === "read"))
      }).pipe(Effect.provide(Stack.manager(UserSession, { backend: watched.layer })))
    },
    120_000
  )

  it.effect("the token is a property of the session's own, made when it is looked at", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const created = yield* sessions.create(ada)
      const session = yield* sessions.resolve(created.token)
      assert.include(Object.keys(session), "token")
      assert.strictEqual(session.token, session.token)
      assert.strictEqual(Redacted.value({ ...session }.token), Redacted.value(created.token))
      const { token: _, ...info } = session
      assert.sameMembers(Object.keys(info), [
        "id",
        "data",
        "principal",
        "createdAt",
        "authenticatedAt",
        "factors",
        "lastSeenAt",
        "idleTimeout",
        "absoluteExpiresAt",
        "expiresAt",
        "persistent",
        "client",
        "version"
      ])
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )
})

describe("visitors", () => {
  it.effect(
    "[R84a] 10^5 anonymous requests and as many anonymous log-outs store nothing",
    () => {
      const watched = WatchedBackend.make()
      return Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        for (let i = 0; i < 100_000; i++) {
          const handle = requestWith(sessions)
          if (Option.isSome(yield* handle.option)) assert.fail("a visitor has a session")
          yield* handle.destroy
        }
        assert.strictEqual(watched.calls.length, 0)
      }).pipe(Effect.provide(Stack.manager(UserSession, { backend: watched.layer })))
    },
    120_000
  )
})
