import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as TestClock from "effect/testing/TestClock"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { SessionId } from "../src/Session.ts"
import type { CreateOptions } from "../src/Session.ts"
import * as SessionMiddleware from "../src/SessionMiddleware.ts"
import * as SessionTest from "../src/testing/SessionTest.ts"
import { outcome } from "./support/outcome.ts"
import { ada, nobody, UserSession } from "./support/userSession.ts"

describe("layerLoggedIn", () => {
  it.effect("logs its client in by the methods that a guard asks for", () =>
    Effect.gen(function* () {
      const asked = SessionMiddleware.required(UserSession, { fresh: { within: "5 minutes", methods: ["otp"] } })(
        Effect.succeed(HttpServerResponse.empty())
      ).pipe(
        Effect.provideService(
          HttpServerRequest.HttpServerRequest,
          HttpServerRequest.fromWeb(new Request("http://localhost/"))
        )
      )
      const by = (login?: CreateOptions) =>
        outcome(asked.pipe(Effect.provide(SessionTest.layerLoggedIn(UserSession, ada, { login }))))
      assert.deepStrictEqual([yield* by(), yield* by({ methods: ["otp"] })], ["SessionStale", "ok"])
    })
  )
})

describe("layerVerified", () => {
  it.effect("gives a handler the verified session and the request's, and both say the same", () =>
    Effect.gen(function* () {
      const verified = yield* UserSession.Verified
      assert.deepStrictEqual(verified.data, ada)
      assert.deepStrictEqual(verified.principal, Option.some("ada"))
      const session = yield* UserSession
      assert.strictEqual((yield* session.get).id, verified.id)
      assert.isTrue(Option.isSome(yield* session.option))
    }).pipe(Effect.provide(SessionTest.layerVerified(UserSession, ada)))
  )

  it.effect("updates, rotates, lists and destroys for real; Verified stays as it was", () =>
    Effect.gen(function* () {
      const session = yield* UserSession
      const verified = yield* UserSession.Verified
      yield* session.update((data) => ({ ...data, words: ["x"] }))
      assert.deepStrictEqual((yield* session.get).data.words, ["x"])
      const rotated = yield* session.rotate
      assert.strictEqual(rotated.id, verified.id)
      assert.notStrictEqual(Redacted.value(rotated.token), Redacted.value(verified.token))
      assert.deepStrictEqual(
        (yield* session.list).map((info) => info.current),
        [true]
      )
      yield* session.destroy
      assert.strictEqual(yield* outcome(session.get), "SessionMissing")
      assert.strictEqual(yield* outcome(session.update((data) => data)), "SessionMissing")
      assert.deepStrictEqual((yield* UserSession.Verified).data, ada)
    }).pipe(Effect.provide(SessionTest.layerVerified(UserSession, ada)))
  )

  const id = Schema.decodeSync(SessionId)("AAAAAAAAAAAAAAAAAAAAAA")
  const time = (millis: number) => DateTime.makeUnsafe(millis)
  it.effect("says of itself what it is told to", () =>
    Effect.gen(function* () {
      const session = yield* (yield* UserSession).get
      assert.strictEqual(session.id, id)
      assert.deepStrictEqual(session.principal, Option.some("eve"))
      assert.strictEqual(session.version, 7)
      assert.strictEqual(session.createdAt.epochMilliseconds, -5000)
      assert.strictEqual(session.authenticatedAt.epochMilliseconds, -4000)
      assert.strictEqual(session.expiresAt.epochMilliseconds, 60_000)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* outcome((yield* UserSession).update((d) => ({ ...d }))), "SessionInvalid Expired")
    }).pipe(
      Effect.provide(
        SessionTest.layerVerified(UserSession, ada, {
          id,
          principal: Option.some("eve"),
          version: 7,
          createdAt: time(-5000),
          authenticatedAt: time(-4000),
          lastSeenAt: time(-1000),
          expiresAt: time(60_000)
        })
      )
    )
  )

  it.effect("[R53] lets a handler be tested that asks for a recent proof of identity, or shows the session", () =>
    Effect.gen(function* () {
      const session = yield* UserSession
      const shown = yield* session.get
      assert.deepStrictEqual(shown.factors, [
        { method: "pwd", at: time(-600_000) },
        { method: "otp", at: time(-60_000) }
      ])
      assert.deepStrictEqual([shown.client, shown.persistent], [{ label: "phone" }, false])
      assert.strictEqual(Duration.toMillis(shown.idleTimeout), 1_800_000)
      assert.strictEqual(shown.absoluteExpiresAt.epochMilliseconds, 7_200_000)
      // The idle timeout counts from when it was last seen.
      assert.strictEqual(shown.expiresAt.epochMilliseconds, 1_800_000 - 1000)
      assert.strictEqual(yield* outcome(session.fresh({ within: "5 minutes" })), "SessionStale")
      assert.strictEqual(yield* outcome(session.fresh({ within: "5 minutes", methods: ["otp"] })), "ok")
      assert.strictEqual(
        yield* outcome(session.fresh({ within: "5 minutes", methods: ["otp", "pwd"] })),
        "SessionStale"
      )
      yield* session.reauthenticate({ methods: ["pwd"] })
      assert.strictEqual(yield* outcome(session.fresh({ within: "5 minutes", methods: ["otp", "pwd"] })), "ok")
    }).pipe(
      Effect.provide(
        SessionTest.layerVerified(UserSession, ada, {
          authenticatedAt: time(-600_000),
          lastSeenAt: time(-1000),
          factors: [
            { method: "pwd", at: time(-600_000) },
            { method: "otp", at: time(-60_000) }
          ],
          client: { label: "phone" },
          persistent: false,
          idleTimeout: Duration.minutes(30),
          absoluteExpiresAt: time(7_200_000)
        })
      )
    )
  )

  it.effect("[R53] stays a request that may log in, however much time the test lets pass", () =>
    Effect.gen(function* () {
      const session = yield* UserSession
      yield* TestClock.adjust("30 minutes")
      assert.strictEqual(yield* outcome(session.fresh({ within: "5 minutes" })), "SessionStale")
      yield* session.reauthenticate()
      assert.strictEqual(yield* outcome(session.fresh({ within: "5 minutes" })), "ok")
      yield* session.revokeAll
      yield* session.create(ada)
    }).pipe(Effect.provide(SessionTest.layerVerified(UserSession, ada)))
  )

  it.effect("shows timeouts that agree with the end it was given", () =>
    Effect.gen(function* () {
      const { absoluteExpiresAt, client, expiresAt, factors, idleTimeout, persistent } = yield* UserSession.Verified
      assert.deepStrictEqual([factors, client, persistent], [[], {}, true])
      assert.deepStrictEqual([absoluteExpiresAt, expiresAt], [time(60_000), time(60_000)])
      assert.strictEqual(Duration.toMillis(idleTimeout), 65_000)
    }).pipe(
      Effect.provide(SessionTest.layerVerified(UserSession, ada, { createdAt: time(-5000), expiresAt: time(60_000) }))
    )
  )

  it.effect("one that has expired, or whose data do not fit, dies", () =>
    Effect.gen(function* () {
      const build = (
        layer: ReturnType<typeof SessionTest.layerVerified<UserSession, typeof ada, typeof UserSession.refused>>
      ) => outcome(UserSession.pipe(Effect.provide(layer)))
      assert.strictEqual(yield* build(SessionTest.layerVerified(UserSession, ada, { expiresAt: time(0) })), "died")
      assert.strictEqual(
        // As a careless cast would.
        yield* build(SessionTest.layerVerified(UserSession, { username: 1 } as unknown as typeof ada)),
        "died"
      )
    })
  )

  it.effect("two layers share nothing", () =>
    Effect.gen(function* () {
      const use = UserSession.use((session) => Effect.andThen(session.revokeAll, session.option))
      const a = SessionTest.layerVerified(UserSession, ada)
      const b = SessionTest.layerVerified(UserSession, ada)
      assert.isTrue(Option.isNone(yield* Effect.provide(use, a)))
      assert.isTrue(Option.isSome(yield* UserSession.use((session) => session.option).pipe(Effect.provide(b))))
    })
  )
})

describe("layerAnonymous", () => {
  it.effect("is a request without a session, in which one can be created", () =>
    Effect.gen(function* () {
      const session = yield* UserSession
      assert.strictEqual(yield* outcome(session.get), "SessionMissing")
      assert.isTrue(Option.isNone(yield* session.option))
      yield* session.destroy
      const created = yield* session.create(ada)
      assert.strictEqual((yield* session.get).id, created.id)
      yield* session.destroy
      assert.strictEqual(yield* outcome(session.get), "SessionMissing")
      const visitor = yield* session.create(nobody)
      assert.isTrue(Option.isNone(visitor.principal))
      assert.strictEqual(yield* outcome(session.revokeAll), "SessionMissing")
    }).pipe(Effect.provide(SessionTest.layerAnonymous(UserSession)))
  )
})

describe("layer", () => {
  it.effect("is the whole stack, whose sessions expire by TestClock", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      assert.isFunction((yield* UserSession.Frontend).extract)
      const { token } = yield* sessions.create(ada)
      yield* TestClock.adjust(599_999)
      assert.strictEqual(yield* outcome(sessions.resolve(token)), "ok")
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(yield* outcome(sessions.resolve(token)), "SessionInvalid Expired")
    }).pipe(Effect.provide(SessionTest.layer(UserSession, { idleTimeout: "10 minutes" })))
  )

  it.effect("gives the same tokens in every run, and different ones within a run", () =>
    Effect.gen(function* () {
      const two = UserSession.Manager.use((sessions) =>
        Effect.map(Effect.all([sessions.create(ada), sessions.create(ada)]), (all) =>
          all.map((session) => Redacted.value(session.token))
        )
      )
      const first = yield* Effect.provide(two, SessionTest.layer(UserSession))
      const second = yield* Effect.provide(two, SessionTest.layer(UserSession))
      assert.deepStrictEqual(first, second)
      assert.notStrictEqual(first[0], first[1])
    })
  )

  it.effect("draws bytes that are not all alike", () =>
    Effect.gen(function* () {
      const bytes = yield* (yield* SecureRandom.SecureRandom).randomBytes(4096)
      assert.isAbove(new Set(bytes).size, 250)
    }).pipe(Effect.provide(SessionTest.layerSecureRandom))
  )
})
