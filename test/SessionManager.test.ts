import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { RequestHandle } from "../src/internal/requestHandle.ts"
import * as Session from "../src/Session.ts"
import * as SessionBackend from "../src/SessionBackend.ts"
import * as SessionBackendMemory from "../src/SessionBackendMemory.ts"
import { SessionDataError, SessionMissing, SessionRefused } from "../src/SessionError.ts"
import type { SessionFrontend } from "../src/SessionFrontend.ts"
import * as SessionManager from "../src/SessionManager.ts"
import * as SessionVerifier from "../src/SessionVerifier.ts"
import {
  ada,
  around,
  backendWith,
  capturing,
  countOf,
  nobody,
  outcome,
  recordOf,
  silent,
  stackOf,
  stored,
  tokensOf,
  UserData,
  UserSession,
  watched,
  wordOf
} from "./support/core.ts"
import type { Call } from "./support/core.ts"

const { SessionBackendError } = SessionBackend
type Data = typeof UserData.Type

const manager = UserSession.Manager
const addWord =
  (word: string) =>
  (data: Data): readonly [string, Data] => [word, { ...data, words: [...data.words, word] }]

/** Crypto whose random bytes are given one after the other; real ones once they are used up. */
const scripted = (script: Array<Uint8Array>) =>
  Layer.merge(
    NodeCrypto.layer,
    Layer.effect(
      SecureRandom.SecureRandom,
      Effect.map(SecureRandom.SecureRandom, (real) => ({
        ...real,
        randomBytes: (size: number) =>
          Effect.suspend(() => {
            const next = script.shift()
            return next === undefined ? real.randomBytes(size) : Effect.succeed(next)
          })
      }))
    ).pipe(Layer.provide(NodeCrypto.layer))
  )

const fails = (operation: SessionBackend.Operation, outcome: "notApplied" | "unknown") =>
  Effect.fail(new SessionBackendError({ operation, outcome, cause: { _tag: "Planted" } }))

const defectOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
  Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isDieReason)?.defect : undefined

describe("create", () => {
  it.effect("makes a session that its token opens", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const created = yield* sessions.create(ada)
      const found = yield* sessions.resolve(created.token)
      assert.deepStrictEqual(found.data, ada)
      assert.strictEqual(found.id, created.id)
      assert.deepStrictEqual(found.principal, Option.some("ada"))
      assert.strictEqual(found.version, 1)
    }).pipe(Effect.provide(stackOf(UserSession)))
  )

  it.effect("[R2] a source of randomness that dies makes no session", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* outcome((yield* manager).create(ada)), "died")
      assert.strictEqual((yield* (yield* manager).list("ada")).length, 0)
    }).pipe(
      Effect.provide(
        stackOf(UserSession, {
          crypto: Layer.merge(
            NodeCrypto.layer,
            Layer.succeed(
              SecureRandom.SecureRandom,
              SecureRandom.make(() => {
                throw new Error("no entropy")
              })
            )
          )
        })
      )
    )
  )

  for (const short of [[new Uint8Array(47)], [new Uint8Array(16)], [new Uint8Array(0)]]) {
    it.effect(`[R2] a source that gives ${short.at(-1)!.length} bytes makes no session`, () =>
      Effect.gen(function* () {
        assert.strictEqual(yield* outcome((yield* manager).create(ada)), "died")
        assert.strictEqual((yield* (yield* manager).list("ada")).length, 0)
      }).pipe(Effect.provide(stackOf(UserSession, { crypto: scripted([...short]) })))
    )
  }

  it.effect("[R2] [R5] a source that repeats itself makes one session, and leaves it alone", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const first = yield* sessions.create(ada)
      const before = yield* recordOf(UserSession, first.id)
      assert.strictEqual(
        yield* outcome(sessions.create({ username: "eve", words: [] })),
        "SessionUnavailable notApplied"
      )
      assert.deepStrictEqual(yield* recordOf(UserSession, first.id), before)
      assert.strictEqual((yield* sessions.list("eve")).length, 0)
    }).pipe(
      Effect.provide([
        stackOf(UserSession, {
          crypto: Layer.merge(
            NodeCrypto.layer,
            Layer.succeed(
              SecureRandom.SecureRandom,
              SecureRandom.make((size) => new Uint8Array(size).fill(7))
            )
          )
        }),
        silent
      ])
    )
  )

  it.effect("[R5] an id that is taken is left to its owner, and another one is drawn, with another secret", () => {
    /** The bytes of an id, and those of a secret. */
    const drawn = (id: number, secret: number) => new Uint8Array(48).fill(id, 0, 16).fill(secret, 16)
    const script = [drawn(1, 2), drawn(1, 3)]
    return Effect.gen(function* () {
      const sessions = yield* manager
      const first = yield* sessions.create(ada)
      const before = yield* recordOf(UserSession, first.id)
      const second = yield* sessions.create({ username: "eve", words: [] })
      assert.notStrictEqual(second.id, first.id)
      assert.deepStrictEqual(yield* recordOf(UserSession, first.id), before)
      assert.strictEqual((yield* sessions.resolve(second.token)).data.username, "eve")
      assert.strictEqual((yield* sessions.resolve(first.token)).data.username, "ada")
    }).pipe(Effect.provide(stackOf(UserSession, { crypto: scripted(script) })))
  })

  const bad: Record<string, Data> = {
    "a principal of 257 bytes": { username: "é".repeat(128) + "x", words: [] },
    "a principal with a NUL": { username: "a\0b", words: [] },
    "a principal with half a character": { username: "a\ud800", words: [] },
    // The type says otherwise, as a careless cast would.
    "data its schema refuses": { username: "ada", words: [1 as unknown as string] }
  }
  for (const [name, data] of Object.entries(bad)) {
    it.effect(`dies on ${name}, and stores nothing`, () => {
      const calls: Array<Call> = []
      return Effect.gen(function* () {
        const exit = yield* Effect.exit((yield* manager).create(data))
        assert.instanceOf(defectOf(exit), SessionDataError)
        assert.strictEqual(calls.length, 0)
      }).pipe(Effect.provide(stackOf(UserSession, { backend: watched(calls) })))
    })
  }

  it.effect("dies on an empty principal", () => {
    class AnySession extends Session.Service<AnySession>()("test/AnySession", {
      data: Schema.Struct({ name: Schema.String }),
      principal: ({ name }) => name
    }) {}
    return Effect.gen(function* () {
      const exit = yield* Effect.exit((yield* AnySession.Manager).create({ name: "" }))
      assert.instanceOf(defectOf(exit), SessionDataError)
    }).pipe(Effect.provide(stackOf(AnySession)))
  })

  it.effect("takes a principal of 1 and of 256 bytes", () =>
    Effect.gen(function* () {
      for (const username of ["a", "é".repeat(128)]) {
        yield* (yield* manager).create({ username, words: [] })
        assert.strictEqual((yield* (yield* manager).list(username)).length, 1)
      }
    }).pipe(Effect.provide(stackOf(UserSession)))
  )
})

describe("tokens and the store", () => {
  it.effect("[R3] after 1,000 log-ins the store holds no token and no secret, nor 8 characters of one", () => {
    const calls: Array<Call> = []
    return Effect.gen(function* () {
      const sessions = yield* manager
      const secrets: Array<string> = []
      for (let i = 0; i < 1000; i++) {
        const session = yield* sessions.create({ username: `u${i % 50}`, words: [] })
        const rotated = i % 3 === 0 ? yield* sessions.rotate(session) : session
        const [, , , secret, mac] = Redacted.value(rotated.token).split(".")
        secrets.push(secret!, mac!)
        yield* sessions.resolve(rotated.token)
      }
      const dump = JSON.stringify(calls)
      const dumped = new Set<string>()
      for (let i = 0; i + 8 <= dump.length; i++) dumped.add(dump.slice(i, i + 8))
      for (const secret of secrets) {
        for (let i = 0; i + 8 <= secret.length; i++) assert.isFalse(dumped.has(secret.slice(i, i + 8)))
      }
    }).pipe(Effect.provide(stackOf(UserSession, { backend: watched(calls) })))
  })

  it.effect("[R4] what the store holds opens nothing, neither as it is nor signed with a stolen key", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
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
    }).pipe(Effect.provide(stackOf(UserSession)))
  )

  it.effect("[R6] a well-signed token of a session never made, expired or revoked opens and makes nothing", () => {
    const calls: Array<Call> = []
    return Effect.gen(function* () {
      const sessions = yield* manager
      const tokens = yield* tokensOf(UserSession)
      const never = yield* tokens.issue({ id: "A".repeat(22), secret: "B".repeat(43) })
      const revoked = yield* sessions.create(ada)
      yield* sessions.revokeAll("ada")
      const expired = yield* sessions.create(ada)
      yield* TestClock.adjust("1 hour")
      calls.length = 0
      for (const [token, reason] of [
        [never, "NotFound"],
        [revoked.token, "NotFound"],
        [expired.token, "Expired"]
      ] as const) {
        assert.strictEqual(yield* outcome(sessions.resolve(token)), `SessionInvalid ${reason}`)
        assert.strictEqual(yield* outcome(sessions.modify(token, addWord("x"))), `SessionInvalid ${reason}`)
        assert.strictEqual(yield* outcome(sessions.rotate(token)), `SessionInvalid ${reason}`)
      }
      assert.deepStrictEqual(new Set(calls.map((call) => call.operation)), new Set(["read"]))
    }).pipe(Effect.provide(stackOf(UserSession, { backend: watched(calls) })))
  })

  it.effect("[R7] a token says nothing of the data and has one length", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      for (const words of [[], ["admin"], ["x".repeat(60_000)]]) {
        const { token } = yield* sessions.create({ username: "ada@example.org", words })
        const text = Redacted.value(token)
        assert.strictEqual(text.length, 122)
        const decoded = text
          .split(".")
          .map((part) => Buffer.from(part, "base64url").toString("latin1"))
          .join(" ")
        assert.notMatch(text + decoded, /ada@|example|admin/) // Three letters alone may come up by chance.
      }
    }).pipe(Effect.provide(stackOf(UserSession)))
  )

  it.effect("[R9] [R84b] 10^5 tokens with a wrong MAC, and as many of unknown keys, never reach the backend", () => {
    const calls: Array<Call> = []
    return Effect.gen(function* () {
      const sessions = yield* manager
      const { token } = yield* sessions.create(ada)
      const [v, kid, id, secret] = Redacted.value(token).split(".")
      calls.length = 0
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
      assert.strictEqual(calls.length, 0)
    }).pipe(Effect.provide(stackOf(UserSession, { backend: watched(calls) })))
  })

  it.effect("[R84b] 10^5 well-signed tokens of unknown sessions write nothing", () => {
    const calls: Array<Call> = []
    return Effect.gen(function* () {
      const sessions = yield* manager
      const tokens = yield* tokensOf(UserSession)
      for (let i = 0; i < 100_000; i++) {
        const text = i.toString(36).padStart(22, "A")
        const exit = yield* Effect.exit(sessions.resolve(yield* tokens.issue({ id: text, secret: "S".repeat(43) })))
        if (wordOf(exit) !== "SessionInvalid NotFound") assert.fail(wordOf(exit))
      }
      assert.strictEqual(calls.length, 100_000)
      assert.isTrue(calls.every((call) => call.operation === "read"))
    }).pipe(Effect.provide(stackOf(UserSession, { backend: watched(calls) })))
  })
})

/** A request with these tokens or none, over this manager. */
const requestWith = (sessions: typeof UserSession.Manager.Service, token?: Redacted.Redacted<string>) => {
  const frontend: SessionFrontend["Service"] = {
    security: [],
    extract: () =>
      token === undefined ? Effect.fail(new SessionMissing()) : Effect.succeed([{ token, via: "cookie" }]),
    attach: (response) => response,
    detach: (response) => response
  }
  return new RequestHandle(anyRequest, UserSession, sessions, frontend)
}
const anyRequest = HttpServerRequest.fromWeb(new Request("http://x/"))

describe("visitors", () => {
  it.effect("[R84a] 10^5 anonymous requests and as many anonymous log-outs store nothing", () => {
    const calls: Array<Call> = []
    return Effect.gen(function* () {
      const sessions = yield* manager
      for (let i = 0; i < 100_000; i++) {
        const handle = requestWith(sessions)
        if (Option.isSome(yield* handle.option)) assert.fail("a visitor has a session")
        yield* handle.destroy
      }
      assert.strictEqual(calls.length, 0)
    }).pipe(Effect.provide(stackOf(UserSession, { backend: watched(calls) })))
  })
})

describe("deadlines", () => {
  it.effect("[R42] an idle session lives to the millisecond before its deadline, and not at it", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const [a, b] = [yield* sessions.create(ada), yield* sessions.create(ada)]
      yield* TestClock.adjust(3_600_000 - 1)
      assert.strictEqual(yield* outcome(sessions.resolve(a.token)), "ok")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* outcome(sessions.resolve(b.token)), "SessionInvalid Expired")
      assert.strictEqual(yield* outcome(sessions.resolve(a.token)), "ok")
      assert.strictEqual((yield* sessions.list("ada")).length, 1)
    }).pipe(Effect.provide(stackOf(UserSession)))
  )

  it.effect("[R43] activity, updates and rotation never move the absolute deadline", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      let session = yield* sessions.create(ada)
      const { absoluteExpiresAt } = yield* recordOf(UserSession, session.id)
      for (let minute = 1; minute < 24 * 60; minute++) {
        yield* TestClock.adjust("1 minute")
        session = yield* sessions.resolve(session.token)
        if (minute % 60 === 0) [, session] = yield* sessions.modify(session.token, addWord("x"))
        if (minute === 23 * 60) session = yield* sessions.rotate(session.token)
      }
      assert.strictEqual((yield* recordOf(UserSession, session.id)).absoluteExpiresAt, absoluteExpiresAt)
      yield* TestClock.adjust(60_000 - 1)
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "ok")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "SessionInvalid Expired")
      assert.strictEqual(yield* outcome(sessions.modify(session, addWord("y"))), "SessionInvalid Expired")
      assert.strictEqual(yield* outcome(sessions.replace(session, ada)), "SessionInvalid Expired")
      assert.strictEqual(yield* outcome(sessions.rotate(session)), "SessionInvalid Expired")
    }).pipe(Effect.provide(stackOf(UserSession)))
  )

  it.effect("[R18] [R44] a record past its deadline is refused though the store still answers it", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      yield* TestClock.adjust("25 hours")
      assert.isTrue(Option.isSome(yield* stored(UserSession, session.id)))
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "SessionInvalid Expired")
      assert.isTrue(Option.isSome(yield* stored(UserSession, session.id)))
    }).pipe(Effect.provide(stackOf(UserSession)))
  )

  it.effect("a session's own timeouts hold where they are shorter, and are cut where they are longer", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const short = yield* sessions.create(ada, { idleTimeout: "5 minutes", absoluteTimeout: "8 minutes" })
      const long = yield* sessions.create(ada, { idleTimeout: "9 hours", absoluteTimeout: "90 days" })
      assert.deepInclude(yield* recordOf(UserSession, short.id), {
        idleTimeout: 300_000,
        idleExpiresAt: 300_000,
        absoluteExpiresAt: 480_000
      })
      assert.deepInclude(yield* recordOf(UserSession, long.id), {
        idleTimeout: 3_600_000,
        idleExpiresAt: 3_600_000,
        absoluteExpiresAt: 86_400_000
      })
      yield* TestClock.adjust("4 minutes")
      const seen = yield* sessions.resolve(short.token)
      // The touch pushes as far as the absolute deadline, and no further.
      assert.strictEqual(seen.expiresAt.epochMilliseconds, 480_000)
      yield* TestClock.adjust("4 minutes")
      assert.strictEqual(yield* outcome(sessions.resolve(short.token)), "SessionInvalid Expired")
      assert.strictEqual(yield* outcome(sessions.resolve(long.token)), "ok")
    }).pipe(Effect.provide(stackOf(UserSession)))
  )

  for (const given of [0, -1, NaN, Infinity, "soon"]) {
    it.effect(`a session's own timeout of ${given} is a defect or cut, and never for ever`, () =>
      Effect.gen(function* () {
        const sessions = yield* manager
        // As plain JavaScript would call it.
        const exit = yield* Effect.exit(sessions.create(ada, { idleTimeout: given as number }))
        if (given === Infinity) assert.strictEqual(wordOf(exit), "ok")
        else assert.instanceOf(defectOf(exit), SessionDataError)
        for (const info of yield* sessions.list("ada")) {
          assert.isAtMost(info.expiresAt.epochMilliseconds, 3_600_000)
        }
      }).pipe(Effect.provide(stackOf(UserSession)))
    )
  }

  it.effect("lowering the configured timeouts binds the sessions there are", () =>
    Effect.gen(function* () {
      const backend = Layer.succeed(SessionBackend.SessionBackend, yield* SessionBackend.SessionBackend)
      const sessions = yield* manager
      const [a, b] = [yield* sessions.create(ada), yield* sessions.create(ada)]
      yield* Effect.gen(function* () {
        const lowered = yield* manager
        yield* TestClock.adjust("10 minutes")
        assert.strictEqual(yield* outcome(lowered.resolve(a.token)), "SessionInvalid Expired")
        assert.strictEqual((yield* lowered.list("ada")).length, 0)
        assert.strictEqual(yield* outcome(lowered.modify(a.token, addWord("x"))), "SessionInvalid Expired")
      }).pipe(Effect.provide(stackOf(UserSession, { backend, times: { idleTimeout: "10 minutes" } })))
      // And not for longer than they are configured so: the record keeps what it was made with.
      assert.strictEqual(yield* outcome(sessions.resolve(a.token)), "ok")
      yield* Effect.gen(function* () {
        const lowered = yield* manager
        yield* TestClock.adjust("45 minutes")
        assert.strictEqual(yield* outcome(lowered.resolve(b.token)), "SessionInvalid Expired")
      }).pipe(
        Effect.provide(
          stackOf(UserSession, { backend, times: { idleTimeout: "50 minutes", absoluteTimeout: "50 minutes" } })
        )
      )
    }).pipe(Effect.provide(stackOf(UserSession)))
  )
})

describe("touch", () => {
  it.effect("[R84c] happens at most once an interval, and leaves version and data alone", () => {
    const calls: Array<Call> = []
    return Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      for (let second = 0; second < 600; second++) {
        const seen = yield* sessions.resolve(session.token)
        assert.strictEqual(seen.version, 1)
        yield* TestClock.adjust("1 second")
      }
      assert.strictEqual(countOf(calls, "touch"), 9)
      assert.strictEqual(countOf(calls, "update"), 0)
      assert.strictEqual((yield* recordOf(UserSession, session.id)).lastSeenAt, 540_000)
    }).pipe(Effect.provide(stackOf(UserSession, { backend: watched(calls) })))
  })

  it.effect("has an interval of its own, or a tenth of a short idle timeout", () => {
    const calls: Array<Call> = []
    return Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      yield* TestClock.adjust(9_999)
      yield* sessions.resolve(session.token)
      assert.strictEqual(countOf(calls, "touch"), 0)
      yield* TestClock.adjust(1)
      yield* sessions.resolve(session.token)
      assert.strictEqual(countOf(calls, "touch"), 1)
    }).pipe(Effect.provide(stackOf(UserSession, { backend: watched(calls), times: { idleTimeout: "100 seconds" } })))
  })

  it.effect("comes in time for a session with a shorter idle timeout than the interval", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada, { idleTimeout: "10 minutes" })
      for (let i = 0; i < 10; i++) {
        yield* TestClock.adjust("4 minutes")
        assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "ok")
      }
    }).pipe(Effect.provide(stackOf(UserSession, { times: { touchInterval: "30 minutes" } })))
  )

  const broken = (touch: SessionBackend.SessionBackend["Service"]["touch"]) =>
    stackOf(UserSession, { backend: backendWith(() => ({ touch })) })

  it.effect("that fails costs the request nothing", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const sessions = yield* manager
      const { token } = yield* sessions.create(ada)
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(yield* outcome(sessions.resolve(token).pipe(Effect.provide(capturing(lines)))), "ok")
      assert.match(lines.join(), /touch/)
    }).pipe(Effect.provide(broken(() => fails("touch", "unknown"))))
  )

  it.effect("that finds the record gone refuses the request", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const { token } = yield* sessions.create(ada)
      assert.strictEqual(yield* outcome(sessions.resolve(token)), "ok")
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(yield* outcome(sessions.resolve(token)), "SessionInvalid NotFound")
    }).pipe(Effect.provide(broken(() => Effect.succeed("gone"))))
  )

  it.effect("that never answers holds a request up for a quarter of the deadline", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const { token } = yield* sessions.create(ada)
      yield* TestClock.adjust("2 minutes")
      const fiber = yield* Effect.forkChild(outcome(sessions.resolve(token)))
      yield* TestClock.adjust(249)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(fiber), "ok")
    }).pipe(
      Effect.provide([stackOf(UserSession, { backend: backendWith(() => ({ touch: () => Effect.never })) }), silent])
    )
  )
})

describe("modify and replace", () => {
  it.effect("the same reference back writes nothing", () => {
    const calls: Array<Call> = []
    return Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      const [answer, same] = yield* sessions.modify(session.token, (data) => [42, data])
      assert.strictEqual(answer, 42)
      assert.strictEqual(same.version, 1)
      assert.strictEqual(countOf(calls, "update"), 0)
    }).pipe(Effect.provide(stackOf(UserSession, { backend: watched(calls) })))
  })

  it.effect("a session at hand saves the read; a copy of it is read again", () => {
    const calls: Array<Call> = []
    return Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      yield* sessions.modify(session, addWord("a"))
      assert.strictEqual(countOf(calls, "read"), 0)
      yield* sessions.modify({ ...session }, addWord("b"))
      assert.strictEqual(countOf(calls, "read"), 1)
      assert.deepStrictEqual((yield* sessions.resolve(session.token)).data.words, ["a", "b"])
    }).pipe(Effect.provide(stackOf(UserSession, { backend: watched(calls) })))
  })

  it.effect("the token is a property of the session's own, made when it is looked at", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
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
        "lastSeenAt",
        "expiresAt",
        "version"
      ])
    }).pipe(Effect.provide(stackOf(UserSession)))
  )

  it.effect("a memory backend of which `read` was replaced is asked by the new one", () => {
    let asked = 0
    const wrapped = Layer.effect(
      SessionBackend.SessionBackend,
      Effect.map(SessionBackend.SessionBackend, (memory) => ({
        ...memory,
        read: (namespace: string, id: string) =>
          Effect.suspend(() => {
            asked++
            return memory.read(namespace, id)
          })
      }))
    ).pipe(Layer.provide(Layer.fresh(SessionBackendMemory.layer)))
    return Effect.gen(function* () {
      const sessions = yield* manager
      const { token } = yield* sessions.create(ada)
      yield* sessions.resolve(token)
      assert.strictEqual(asked, 1)
    }).pipe(Effect.provide(stackOf(UserSession, { backend: wrapped })))
  })

  it.effect("so is one whose `read` is a proxy, a copy with its statics, or was replaced later", () =>
    Effect.gen(function* () {
      const memory = yield* Effect.provide(SessionBackend.SessionBackend, Layer.fresh(SessionBackendMemory.layer))
      const own = memory.read
      let asked = 0
      const counting: typeof own = (namespace, id) => {
        asked++
        return own(namespace, id)
      }
      const service = { ...memory }
      yield* Effect.gen(function* () {
        const sessions = yield* manager
        const { token } = yield* sessions.create(ada)
        for (const read of [
          new Proxy(own, { apply: (_, __, [namespace, id]) => counting(namespace as string, id as string) }),
          Object.assign(counting.bind(undefined), own)
        ]) {
          service.read = read
          yield* sessions.resolve(token)
        }
        assert.strictEqual(asked, 2)
      }).pipe(Effect.provide(stackOf(UserSession, { backend: Layer.succeed(SessionBackend.SessionBackend, service) })))
    })
  )

  it.effect("[R70] replace on a snapshot that is no longer the newest is a conflict, and the newest stays", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const old = yield* sessions.create(ada)
      const [, newer] = yield* sessions.modify(old.token, addWord("kept"))
      assert.strictEqual(yield* outcome(sessions.replace(old, ada)), "SessionConflict")
      assert.strictEqual(yield* outcome(sessions.replace({ ...old }, ada)), "SessionConflict")
      assert.deepStrictEqual((yield* sessions.resolve(old.token)).data.words, ["kept"])
      assert.strictEqual((yield* sessions.replace(newer, ada)).version, 3)
    }).pipe(Effect.provide(stackOf(UserSession)))
  )

  it.effect("[R71] a write to a session that has ended is reported, and stores nothing", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      yield* sessions.destroy(session.token)
      assert.strictEqual(yield* outcome(sessions.modify(session, addWord("x"))), "SessionInvalid NotFound")
      assert.strictEqual(yield* outcome(sessions.modify(session.token, addWord("x"))), "SessionInvalid NotFound")
      assert.strictEqual(yield* outcome(sessions.replace(session, ada)), "SessionInvalid NotFound")
      assert.strictEqual(yield* outcome(sessions.rotate(session)), "SessionInvalid NotFound")
      assert.isTrue(Option.isNone(yield* stored(UserSession, session.id)))
    }).pipe(Effect.provide(stackOf(UserSession)))
  )

  it.effect("a change of the principal is a defect, and stores nothing", () => {
    const calls: Array<Call> = []
    return Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      const visitor = yield* sessions.create(nobody)
      for (const attempt of [
        Effect.asVoid(sessions.modify(session.token, (data) => [0, { ...data, username: "eve" }])),
        Effect.asVoid(sessions.modify(session.token, (data) => [0, { ...data, username: "" }])),
        Effect.asVoid(sessions.modify(visitor.token, (data) => [0, { ...data, username: "ada" }])),
        Effect.asVoid(sessions.replace(session, { ...ada, username: "eve" }))
      ]) {
        assert.instanceOf(defectOf(yield* Effect.exit(attempt)), SessionDataError)
      }
      assert.strictEqual(countOf(calls, "update"), 0)
    }).pipe(Effect.provide(stackOf(UserSession, { backend: watched(calls) })))
  })

  it.effect("a function that throws is a defect, leaves the session as it was, and the next one goes through", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      const exit = yield* Effect.exit(
        sessions.modify(session.token, () => {
          throw new Error("f")
        })
      )
      assert.strictEqual((defectOf(exit) as Error).message, "f")
      const [, next] = yield* sessions.modify(session.token, addWord("x"))
      assert.strictEqual(next.version, 2)
    }).pipe(Effect.provide(stackOf(UserSession)))
  )

  it.effect("after an unknown outcome f is not applied again", () => {
    let applied = 0
    return Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      const exit = yield* outcome(
        sessions.modify(session.token, (data) => {
          applied++
          return addWord("once")(data)
        })
      )
      assert.strictEqual(exit, "SessionUnavailable unknown")
      assert.strictEqual(applied, 1)
      assert.deepStrictEqual((yield* sessions.resolve(session.token)).data.words, ["once"])
    }).pipe(
      Effect.provide([
        stackOf(UserSession, {
          backend: backendWith((memory) => ({
            update: (...args) => Effect.andThen(memory.update(...args), fails("update", "unknown"))
          }))
        }),
        silent
      ])
    )
  })

  it.effect("an update that only ever meets newer versions ends in a conflict, within a second or so", () => {
    let version = 1
    return Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      const fiber = yield* Effect.forkChild(outcome(sessions.modify(session.token, addWord("x"))))
      for (let i = 0; i < 130 && fiber.pollUnsafe() === undefined; i++) yield* TestClock.adjust(10)
      assert.strictEqual(wordOf(fiber.pollUnsafe() ?? Exit.void), "ok")
      assert.strictEqual(yield* Fiber.join(fiber), "SessionConflict")
      assert.isAbove(version, 5)
    }).pipe(
      Effect.provide(
        stackOf(UserSession, {
          backend: backendWith((memory) => ({
            update: (namespace, id) =>
              Effect.map(memory.read(namespace, id), (found) => ({
                _tag: "stale",
                record: { ...Option.getOrThrow(found), version: ++version }
              }))
          }))
        })
      )
    )
  })

  it.effect("an update that meets a rotation on its way is refused", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      const rotated = yield* sessions.rotate(session.token)
      assert.strictEqual(yield* outcome(sessions.modify(session, addWord("x"))), "SessionInvalid NotFound")
      assert.strictEqual(yield* outcome(sessions.replace(session, ada)), "SessionInvalid NotFound")
      assert.strictEqual(yield* outcome(sessions.rotate(session)), "SessionInvalid NotFound")
      assert.deepStrictEqual((yield* sessions.resolve(rotated.token)).data, ada)
    }).pipe(Effect.provide(stackOf(UserSession)))
  )

  it.effect("[R68] data of a newer version is read, and not updated", () => {
    class Older extends Session.Service<Older>()("test/UserSession", {
      data: UserData,
      principal: (data) => data.username,
      dataVersion: 3
    }) {}
    class Newer extends Session.Service<Newer>()("test/UserSession", {
      data: Schema.Struct({ ...UserData.fields, added: Schema.optionalKey(Schema.String) }),
      principal: (data) => data.username,
      dataVersion: 4
    }) {}
    return Effect.gen(function* () {
      const backend = Layer.succeed(SessionBackend.SessionBackend, yield* SessionBackend.SessionBackend)
      const sessions = yield* Newer.Manager
      const session = yield* sessions.create({ ...ada, added: "kept" })
      yield* Effect.gen(function* () {
        const older = yield* Older.Manager
        const seen = yield* older.resolve(session.token)
        assert.deepStrictEqual(seen.data, ada)
        assert.strictEqual(yield* outcome(older.modify(session.token, addWord("x"))), "SessionConflict")
        assert.strictEqual(yield* outcome(older.replace(seen, ada)), "SessionConflict")
        assert.strictEqual(yield* outcome(older.modify(session.token, (data) => [0, data])), "ok")
        // The other way is open: what an older server made, a newer one updates.
        const old = yield* older.create(ada)
        assert.strictEqual(yield* outcome(sessions.modify(old.token, (data) => [0, { ...data, added: "new" }])), "ok")
      }).pipe(Effect.provide(stackOf(Older, { backend })))
      assert.strictEqual((yield* sessions.resolve(session.token)).data.added, "kept")
    }).pipe(Effect.provide(stackOf(Newer)))
  })
})

describe("rotate and destroy", () => {
  it.effect("[R85b] the old token is dead, id and absolute deadline stay", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada, { absoluteTimeout: "2 hours" })
      yield* TestClock.adjust("10 minutes")
      const rotated = yield* sessions.rotate(session.token)
      assert.strictEqual(rotated.id, session.id)
      assert.strictEqual(rotated.version, 2)
      assert.deepStrictEqual(rotated.authenticatedAt, session.authenticatedAt)
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "SessionInvalid NotFound")
      assert.strictEqual((yield* sessions.resolve(rotated.token)).id, session.id)
      assert.strictEqual((yield* recordOf(UserSession, session.id)).absoluteExpiresAt, 7_200_000)
    }).pipe(Effect.provide(stackOf(UserSession)))
  )

  const unknownOnce = (
    isApplied: boolean,
    meanwhile: (
      backend: SessionBackend.SessionBackend["Service"],
      id: string
    ) => Effect.Effect<unknown, SessionBackend.SessionBackendError> = () => Effect.void
  ) => {
    let first = true
    const calls: Array<Call> = []
    return {
      calls,
      layer: Layer.merge(
        stackOf(UserSession, {
          backend: backendWith((memory) => ({
            update: (...args) =>
              Effect.suspend((): ReturnType<typeof memory.update> => {
                calls.push({ operation: "update", args })
                if (!first) return memory.update(...args)
                first = false
                return (isApplied ? memory.update(...args) : Effect.void).pipe(
                  Effect.andThen(meanwhile(memory, args[1])),
                  Effect.andThen(fails("update", "unknown"))
                )
              })
          }))
        }),
        silent
      )
    }
  }
  for (const isApplied of [true, false]) {
    const { calls, layer } = unknownOnce(isApplied)
    it.effect(`an unknown outcome, ${isApplied ? "" : "not "}carried out, is settled by the same compare-and-set`, () =>
      Effect.gen(function* () {
        const sessions = yield* manager
        const session = yield* sessions.create(ada)
        const rotated = yield* sessions.rotate(session.token)
        assert.strictEqual(calls.length, 2)
        assert.deepStrictEqual(calls[0]!.args, calls[1]!.args)
        assert.strictEqual(rotated.version, 2)
        assert.strictEqual(yield* outcome(sessions.resolve(rotated.token)), "ok")
        assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "SessionInvalid NotFound")
        assert.strictEqual(yield* outcome(sessions.modify(rotated, addWord("x"))), "ok")
      }).pipe(Effect.provide(layer))
    )
  }

  it.effect("[R70] an update between an unknown rotation and its retry is not lost by the next one", () => {
    const { layer } = unknownOnce(true, (memory, id) =>
      Effect.flatMap(
        Effect.suspend(() => memory.read(UserSession.key, id)),
        (found) => {
          const record = Option.getOrThrow(found)
          return memory.update(UserSession.key, id, record.version, {
            data: JSON.stringify({ ...ada, words: ["between"] }),
            lastSeenAt: record.lastSeenAt,
            idleExpiresAt: record.idleExpiresAt
          })
        }
      )
    )
    return Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      const rotated = yield* sessions.rotate(session.token)
      assert.deepStrictEqual(rotated.data.words, ["between"])
      const [, updated] = yield* sessions.modify(rotated, addWord("after"))
      assert.deepStrictEqual(updated.data.words, ["between", "after"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("an outcome unknown once and not applied then is unknown: for a rotation, and for a delete", () => {
    const failOnceEach = (operation: "update" | "delete") => {
      let first = true
      return Effect.suspend(() => {
        const outcome = first ? "unknown" : "notApplied"
        first = false
        return fails(operation, outcome)
      })
    }
    return Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      assert.strictEqual(yield* outcome(sessions.rotate(session.token)), "SessionUnavailable unknown")
      assert.strictEqual(yield* outcome(sessions.destroy(session.token)), "SessionUnavailable unknown")
    }).pipe(
      Effect.provide([
        stackOf(UserSession, {
          backend: backendWith(() => ({
            update: () => failOnceEach("update"),
            delete: () => failOnceEach("delete")
          }))
        }),
        silent
      ])
    )
  })

  it.effect("an outcome unknown twice is unavailable", () => {
    const calls: Array<Call> = []
    return Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      assert.strictEqual(yield* outcome(sessions.rotate(session.token)), "SessionUnavailable unknown")
      assert.strictEqual(calls.length, 2)
    }).pipe(
      Effect.provide([
        stackOf(UserSession, {
          backend: backendWith(() => ({
            update: (...args) =>
              Effect.suspend(() => {
                calls.push({ operation: "update", args })
                return fails("update", "unknown")
              })
          }))
        }),
        silent
      ])
    )
  })

  it.effect("[R56] destroy with a token from before a rotation ends the session", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      const rotated = yield* sessions.rotate(session.token)
      yield* sessions.destroy(session.token)
      assert.strictEqual(yield* outcome(sessions.resolve(rotated.token)), "SessionInvalid NotFound")
    }).pipe(Effect.provide(stackOf(UserSession)))
  )

  it.effect("[R47] [R48] destroy is done when it returns, again is fine, and the token stays dead", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      yield* sessions.destroy(session.token)
      yield* sessions.destroy(session.token)
      for (const later of [0, 1, 3_600_000]) {
        yield* TestClock.adjust(later)
        assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "SessionInvalid NotFound")
      }
    }).pipe(Effect.provide(stackOf(UserSession)))
  )

  it.effect("a delete that fails once is tried again, and one that goes on failing is unavailable", () => {
    let failures = 1
    return Effect.gen(function* () {
      const sessions = yield* manager
      const [a, b] = [yield* sessions.create(ada), yield* sessions.create(ada)]
      assert.strictEqual(yield* outcome(sessions.destroy(a.token)), "ok")
      assert.isTrue(Option.isNone(yield* stored(UserSession, a.id)))
      failures = 2
      assert.strictEqual(yield* outcome(sessions.destroy(b.token)), "SessionUnavailable notApplied")
      assert.isTrue(Option.isSome(yield* stored(UserSession, b.id)))
    }).pipe(
      Effect.provide([
        stackOf(UserSession, {
          backend: backendWith((memory) => ({
            delete: (...args) =>
              Effect.suspend((): ReturnType<typeof memory.delete> =>
                failures-- > 0 ? fails("delete", "notApplied") : memory.delete(...args)
              )
          }))
        }),
        silent
      ])
    )
  })
})

describe("list and revoke", () => {
  it.effect("[R52] [R85b] a list holds no token, and none of its fields opens a session", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      yield* sessions.create({ username: "eve", words: [] })
      const [info, ...others] = yield* sessions.list("ada")
      assert.strictEqual(others.length, 0)
      assert.notProperty(info!, "token")
      assert.strictEqual(info!.id, session.id)
      const text = JSON.stringify(info)
      const record = yield* recordOf(UserSession, session.id)
      for (const secret of [...Redacted.value(session.token).split(".").slice(3), record.secretHash]) {
        assert.notInclude(text, secret)
      }
      for (const value of Object.values(info!)) {
        assert.match(
          yield* outcome(sessions.resolve(Redacted.make(String(value)))),
          /^SessionInvalid (Malformed|Signature)$/
        )
      }
    }).pipe(Effect.provide(stackOf(UserSession)))
  )

  it.effect("lists newest first, over several pages, at most 1,000, without the expired", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      yield* sessions.create(ada, { idleTimeout: 500 })
      for (let i = 0; i < 1200; i++) {
        yield* TestClock.adjust(1)
        yield* sessions.create(ada)
      }
      const infos = yield* sessions.list("ada")
      assert.strictEqual(infos.length, 1000)
      const times = infos.map((info) => info.createdAt.epochMilliseconds)
      assert.deepStrictEqual(
        times,
        times.toSorted((a, b) => b - a)
      )
      assert.strictEqual(new Set(infos.map((info) => info.id)).size, 1000)
    }).pipe(Effect.provide(stackOf(UserSession)))
  )

  it.effect("revoke ends a session of its owner alone, revokeAny anybody's, revokeAll all but one", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const [a, b, c] = [yield* sessions.create(ada), yield* sessions.create(ada), yield* sessions.create(ada)]
      const eve = yield* sessions.create({ username: "eve", words: [] })
      assert.isFalse(yield* sessions.revoke(a.id, { principal: "eve" }))
      assert.isTrue(yield* sessions.revoke(a.id, { principal: "ada" }))
      assert.isFalse(yield* sessions.revoke(a.id, { principal: "ada" }))
      assert.strictEqual(yield* sessions.revokeAll("ada", { except: b.id }), 1)
      assert.strictEqual(yield* outcome(sessions.resolve(b.token)), "ok")
      assert.strictEqual(yield* outcome(sessions.resolve(c.token)), "SessionInvalid NotFound")
      assert.isTrue(yield* sessions.revokeAny(eve.id))
      assert.isFalse(yield* sessions.revokeAny(eve.id))
    }).pipe(Effect.provide(stackOf(UserSession)))
  )
})

describe("the verifier", () => {
  const suspended = new Set<string>()
  class Suspended extends Schema.TaggedError<Suspended>()("Suspended", {}, { httpApiStatus: 403 }) {}
  class Strict extends Session.Service<Strict>()("test/Strict", {
    data: UserData,
    refused: Suspended,
    principal: (data) => data.username
  }) {}
  const verifier = SessionVerifier.layer(Strict, (session) =>
    suspended.has(session.data.username) || session.data.words.includes("banned")
      ? Effect.fail(new Suspended())
      : Effect.void
  )

  it.effect("[R50] a user who is suspended is refused on the next request, and the session stays", () =>
    Effect.gen(function* () {
      const sessions = yield* Strict.Manager
      const session = yield* sessions.create(ada)
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "ok")
      suspended.add("ada")
      for (const attempt of [
        Effect.asVoid(sessions.resolve(session.token)),
        Effect.asVoid(sessions.modify(session.token, addWord("x"))),
        Effect.asVoid(sessions.rotate(session.token)),
        Effect.asVoid(sessions.replace({ ...session }, ada))
      ]) {
        assert.strictEqual(yield* outcome(attempt), "Suspended")
      }
      suspended.delete("ada")
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "ok")
    }).pipe(Effect.provide(stackOf(Strict, { verifier })))
  )

  it.effect("[R50] a request in progress is refused where its update meets a newer version", () =>
    Effect.gen(function* () {
      const sessions = yield* Strict.Manager
      const session = yield* sessions.create(ada)
      yield* sessions.modify(session.token, addWord("banned"))
      // The request read the session before that: its first compare-and-set goes by what it knows.
      assert.strictEqual(yield* outcome(sessions.modify(session, addWord("x"))), "Suspended")
      assert.strictEqual(yield* outcome(sessions.rotate(session)), "Suspended")
      assert.deepStrictEqual(JSON.parse((yield* recordOf(Strict, session.id)).data).words, ["banned"])
      assert.strictEqual((yield* recordOf(Strict, session.id)).version, 2)
    }).pipe(Effect.provide(stackOf(Strict, { verifier })))
  )

  it.effect("a refused session is not touched", () => {
    const calls: Array<Call> = []
    return Effect.gen(function* () {
      const sessions = yield* Strict.Manager
      const session = yield* sessions.create({ ...ada, words: ["banned"] })
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "Suspended")
      assert.strictEqual(countOf(calls, "touch"), 0)
    }).pipe(Effect.provide(stackOf(Strict, { verifier, backend: watched(calls) })))
  })
})

describe("stored data", () => {
  /** A session whose stored data is this text. */
  const withData = (data: string, dataVersion = 1) =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const backend = yield* SessionBackend.SessionBackend
      const session = yield* sessions.create(ada)
      const { lastSeenAt, idleExpiresAt } = yield* recordOf(UserSession, session.id)
      yield* backend.update(UserSession.key, session.id, 1, { data, dataVersion, lastSeenAt, idleExpiresAt })
      return session
    })

  const bad: Record<string, string> = {
    empty: "",
    garbage: "\u0000\uffff garbage",
    truncated: '{"username":"ada","wor',
    "of another shape": '{"name":"ada"}',
    "with wrong types": '{"username":1,"words":[]}',
    "an array": "[]",
    null: "null",
    "a number": "1",
    "with a word too many": '{"username":"ada","words":[]} x',
    "nested too deep": `{"username":"ada","words":[],"x":${"[".repeat(33)}${"]".repeat(33)}}`,
    "nested very deep": "[".repeat(60_000),
    "65,537 bytes long": `{"username":"ada","words":["${"x".repeat(65_537 - 30)}"]}`,
    "over 64 KiB in three-byte characters": `{"username":"ada","words":["${"\u20ac".repeat(22_000)}"]}`
  }
  for (const [name, data] of Object.entries(bad)) {
    it.effect(`[R64] [R66] data that is ${name} is refused as Data, never raw, and stays`, () =>
      Effect.gen(function* () {
        const sessions = yield* manager
        const session = yield* withData(data)
        assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "SessionInvalid Data")
        assert.strictEqual(yield* outcome(sessions.modify(session.token, addWord("x"))), "SessionInvalid Data")
        assert.deepStrictEqual(yield* sessions.list("ada"), [])
        assert.strictEqual((yield* recordOf(UserSession, session.id)).data, data)
      }).pipe(Effect.provide([stackOf(UserSession), silent]))
    )
  }

  it.effect("[R64] a row that does not decode is logged with the session's id and the path of the field", () => {
    const lines: Array<string> = []
    return Effect.gen(function* () {
      const sessions = yield* manager
      const backend = yield* SessionBackend.SessionBackend
      const session = yield* sessions.create(ada)
      const data = '{"username":"ada","words":["one",815]}'
      yield* backend.update(UserSession.key, session.id, 1, { data, lastSeenAt: 0, idleExpiresAt: 3_600_000 })
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "SessionInvalid Data")
      const logged = lines.filter((line) => line.includes("does not decode"))
      assert.isAbove(logged.length, 0)
      for (const line of logged) {
        for (const text of [session.id, "words", "[1]", UserSession.key]) assert.include(line, text)
        for (const text of ["815", '"one"', Redacted.value(session.token)]) assert.notInclude(line, text)
      }
    }).pipe(Effect.provide([stackOf(UserSession), capturing(lines)]))
  })

  it.effect("[R64] 10^5 mutated rows decode by the schema or are refused; nothing else", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const backend = yield* SessionBackend.SessionBackend
      const session = yield* sessions.create({ username: "ada", words: ["one", "two"] })
      let state = 99
      const next = (bound: number) => {
        state = (state * 1103515245 + 12345) & 0x7fffffff
        return (state >> 8) % bound
      }
      const good = '{"username":"ada","words":["one","two"]}'
      const bits = [
        '"',
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\\",
        "\\u0000",
        "null",
        "1e999",
        "__proto__",
        "\ud800",
        "x",
        " "
      ]
      let refused = 0
      let accepted = 0
      for (let version = 1; version <= 100_000; version++) {
        let data = good
        for (let i = next(3); i >= 0; i--) {
          const at = next(data.length + 1)
          data = data.slice(0, at) + (next(4) === 0 ? "" : bits[next(bits.length)]) + data.slice(at + next(3))
        }
        yield* backend.update(UserSession.key, session.id, version, {
          data,
          lastSeenAt: 0,
          idleExpiresAt: 3_600_000
        })
        const exit = yield* Effect.exit(sessions.resolve(session.token))
        if (Exit.isSuccess(exit)) {
          accepted++
          if (!Schema.is(UserData)(exit.value.data)) assert.fail(`accepted ${data}`)
        } else {
          refused++
          if (wordOf(exit) !== "SessionInvalid Data") assert.fail(`${wordOf(exit)} on ${data}`)
        }
      }
      assert.isAbove(refused, 10_000)
      assert.isAbove(accepted, 1000)
    }).pipe(Effect.provide([stackOf(UserSession), silent]))
  )

  it.effect("[R65] keys that name a prototype reach none, at any depth", () => {
    const Any = Schema.Record(Schema.String, Schema.Json)
    class Loose extends Session.Service<Loose>()("test/Loose", { data: Any }) {}
    const evil = (depth: number): string =>
      depth === 0
        ? '{"__proto__":{"isAdmin":true},"constructor":{"prototype":{"isAdmin":true}},"prototype":{"isAdmin":true}}'
        : `{"a":${evil(depth - 1)},"__proto__":${evil(depth - 1)}}`
    const loose = stackOf(Loose)
    return Effect.gen(function* () {
      const sessions = yield* Loose.Manager
      const backend = yield* SessionBackend.SessionBackend
      for (let depth = 0; depth <= 3; depth++) {
        const text = evil(depth)
        const session = yield* sessions.create(JSON.parse(text))
        const check = (data: typeof Any.Type) => {
          // As a careless handler might.
          const copies = [data, { ...data }, structuredClone(data), Object.assign({}, data)]
          for (const copy of copies) assert.isUndefined((copy as Record<string, unknown>)["isAdmin"])
          assert.isUndefined(({} as Record<string, unknown>)["isAdmin"])
        }
        check(session.data)
        check((yield* sessions.resolve(session.token)).data)
        assert.notInclude((yield* recordOf(Loose, session.id)).data, "__proto__")
        yield* backend.update(Loose.key, session.id, 1, { data: text, lastSeenAt: 0, idleExpiresAt: 3_600_000 })
        const [, changed] = yield* sessions.modify(session.token, (data) => [0, { ...data, more: 1 }])
        check(changed.data)
        check((yield* sessions.resolve(session.token)).data)
        const plain = yield* (yield* manager).create(
          JSON.parse(`{"username":"ada","words":[],"__proto__":{"isAdmin":true}}`)
        )
        assert.isUndefined((plain.data as unknown as Record<string, unknown>)["isAdmin"])
        assert.notInclude((yield* recordOf(UserSession, plain.id)).data, "isAdmin")
      }
    }).pipe(
      Effect.provide([
        loose,
        Layer.provide(UserSession.layerManager(), [loose, SessionVerifier.layerExists(UserSession)])
      ])
    )
  })

  it.effect(
    "[R66] depth 32 and 64 KiB are stored, one more of either is a defect, and so is what JSON cannot say",
    () => {
      class Loose extends Session.Service<Loose>()("test/Loose", { data: Schema.Unknown }) {}
      const nested = (depth: number): unknown => {
        let value: unknown = 1
        for (let i = 0; i < depth; i++) value = [value]
        return value
      }
      const cyclic: Record<string, unknown> = {}
      cyclic["self"] = cyclic
      return Effect.gen(function* () {
        const sessions = yield* Loose.Manager
        const good: ReadonlyArray<unknown> = [
          nested(32),
          "x".repeat(65_534),
          "\u20ac".repeat(21_844),
          { a: null, b: [true, "\u2028"] }
        ]
        for (const data of good) {
          const { token } = yield* sessions.create(data)
          assert.deepStrictEqual((yield* sessions.resolve(token)).data, data)
        }
        const bad: ReadonlyArray<unknown> = [
          nested(33),
          "x".repeat(65_535),
          "\u20ac".repeat(21_845),
          cyclic,
          1n,
          undefined,
          nested(20_000)
        ]
        for (const data of bad) {
          const exit = yield* Effect.exit(sessions.create(data))
          assert.instanceOf(defectOf(exit), SessionDataError)
          const { token } = yield* sessions.create(1)
          assert.instanceOf(defectOf(yield* Effect.exit(sessions.modify(token, () => [0, data]))), SessionDataError)
          assert.strictEqual((yield* sessions.resolve(token)).version, 1)
        }
      }).pipe(Effect.provide(stackOf(Loose)))
    }
  )

  it.effect("[R66] odd numbers and half characters come back by the schema, or are refused", () => {
    class Odd extends Session.Service<Odd>()("test/Odd", {
      data: Schema.Struct({ n: Schema.Number, s: Schema.String })
    }) {}
    return Effect.gen(function* () {
      const sessions = yield* Odd.Manager
      for (const data of [
        { n: NaN, s: "" },
        { n: Infinity, s: "" },
        { n: 1, s: "\ud800" },
        { n: 1, s: "\0\u2028\ufffe" }
      ]) {
        const { token } = yield* sessions.create(data)
        assert.deepStrictEqual((yield* sessions.resolve(token)).data, data)
      }
      const { token } = yield* sessions.create({ n: -0, s: "" })
      assert.strictEqual((yield* sessions.resolve(token)).data.n + 0, 0)
    }).pipe(Effect.provide(stackOf(Odd)))
  })
})

describe("a backend that fails", () => {
  const everything = {
    create: (sessions: typeof manager.Service) => sessions.create(ada),
    resolve: (sessions: typeof manager.Service, token: Redacted.Redacted<string>) => sessions.resolve(token),
    modify: (sessions: typeof manager.Service, token: Redacted.Redacted<string>) =>
      sessions.modify(token, addWord("x")),
    rotate: (sessions: typeof manager.Service, token: Redacted.Redacted<string>) => sessions.rotate(token),
    destroy: (sessions: typeof manager.Service, token: Redacted.Redacted<string>) => sessions.destroy(token),
    list: (sessions: typeof manager.Service) => sessions.list("ada"),
    revoke: (sessions: typeof manager.Service) =>
      sessions.revoke(Schema.decodeSync(Session.SessionId)("A".repeat(22)), { principal: "ada" }),
    revokeAny: (sessions: typeof manager.Service) =>
      sessions.revokeAny(Schema.decodeSync(Session.SessionId)("A".repeat(22))),
    revokeAll: (sessions: typeof manager.Service) => sessions.revokeAll("ada")
  }

  type Ways = Record<
    string,
    <A>(
      run: Effect.Effect<A, SessionBackend.SessionBackendError>,
      operation: SessionBackend.Operation
    ) => Effect.Effect<A, SessionBackend.SessionBackendError>
  >
  const ways: Ways = {
    "fails, nothing applied": (_, operation) => fails(operation, "notApplied"),
    "fails, outcome unknown": (_, operation) => fails(operation, "unknown"),
    dies: () => Effect.die(new Error("driver bug")),
    throws: () => {
      throw new Error("driver bug")
    }
  }
  for (const [way, breaking] of Object.entries(ways)) {
    for (const immediate of [true, false]) {
      it.effect(`[R78] that ${way}${immediate ? "" : ", under a deadline"}: unavailable, never "no session"`, () => {
        let isBroken = false
        return Effect.gen(function* () {
          const sessions = yield* manager
          const { token } = yield* sessions.create(ada)
          isBroken = true
          for (const [name, act] of Object.entries(everything)) {
            const word = yield* outcome(act(sessions, token) as Effect.Effect<unknown, unknown>)
            assert.match(word, /^SessionUnavailable (notApplied|unknown)$/, name)
          }
          const handle = requestWith(sessions, token)
          assert.match(yield* outcome(handle.get), /^SessionUnavailable/)
          assert.match(yield* outcome(handle.option), /^SessionUnavailable/)
        }).pipe(
          Effect.provide([
            stackOf(UserSession, {
              backend: backendWith((memory) => ({
                ...around(memory, (operation, run) =>
                  Effect.suspend(() => (isBroken ? breaking(run, operation) : run))
                ),
                immediate
              }))
            }),
            silent
          ])
        )
      })
    }
  }

  const silentOnes: Record<string, Effect.Effect<never>> = {
    "never answers": Effect.never,
    "never answers and cannot be interrupted": Effect.uninterruptible(Effect.never)
  }
  for (const [way, hang] of Object.entries(silentOnes)) {
    for (const [name, act] of Object.entries(everything)) {
      it.effect(`[R79] ${name} on a backend that ${way} ends with the deadline`, () => {
        let isBroken = false
        return Effect.gen(function* () {
          const sessions = yield* manager
          const { token } = yield* sessions.create(ada)
          isBroken = true
          const fiber = yield* Effect.forkChild(outcome(act(sessions, token) as Effect.Effect<unknown, unknown>))
          yield* TestClock.adjust(999)
          assert.isUndefined(fiber.pollUnsafe())
          yield* TestClock.adjust(1)
          // A rotation is tried once more, for a quarter of the deadline.
          yield* TestClock.adjust(250)
          assert.isDefined(fiber.pollUnsafe())
          assert.strictEqual(
            yield* Fiber.join(fiber),
            `SessionUnavailable ${["resolve", "modify", "rotate", "list"].includes(name) ? "notApplied" : "unknown"}`
          )
        }).pipe(
          Effect.provide([
            stackOf(UserSession, {
              backend: backendWith((memory) => ({
                ...around(memory, (_, run) => Effect.suspend(() => (isBroken ? hang : run)))
              }))
            }),
            silent
          ])
        )
      })
    }
  }

  it.effect("[R79] a rotation whose writes get no answer ends after a deadline and a quarter, outcome unknown", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const { token } = yield* sessions.create(ada)
      const fiber = yield* Effect.forkChild(outcome(sessions.rotate(token)))
      yield* TestClock.adjust(1249)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(fiber), "SessionUnavailable unknown")
    }).pipe(
      Effect.provide([stackOf(UserSession, { backend: backendWith(() => ({ update: () => Effect.never })) }), silent])
    )
  )

  it.effect("[R79] the deadline is configurable", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(outcome((yield* manager).list("ada")))
      yield* TestClock.adjust(99)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(fiber), "SessionUnavailable notApplied")
    }).pipe(
      Effect.provide([
        stackOf(UserSession, {
          times: { backendTimeout: "100 millis" },
          backend: backendWith(() => ({ listByPrincipal: () => Effect.never }))
        }),
        silent
      ])
    )
  )

  it.effect("updates that wait for their turn behind one that hangs give up after the deadline", () => {
    const stuck = Deferred.makeUnsafe<void>()
    let first = true
    return Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      const ahead = yield* Effect.forkChild(outcome(sessions.modify(session, addWord("a"))))
      yield* TestClock.adjust(500)
      const behind = yield* Effect.forkChild(outcome(sessions.modify(session, addWord("b"))))
      yield* TestClock.adjust(500)
      assert.strictEqual(yield* Fiber.join(ahead), "SessionUnavailable unknown")
      assert.strictEqual(yield* Fiber.join(behind), "ok")
      assert.deepStrictEqual((yield* sessions.resolve(session.token)).data.words, ["b"])
    }).pipe(
      Effect.provide([
        stackOf(UserSession, {
          backend: backendWith((memory) => ({
            update: (...args) => {
              if (!first) return memory.update(...args)
              first = false
              return Effect.andThen(Deferred.await(stuck), memory.update(...args))
            }
          }))
        }),
        silent
      ])
    )
  })

  it.effect(
    "[R78] a backend that throws where it should answer an effect is unavailable, and a touch goes on after",
    () => {
      let throwing = ""
      const touches: Array<string> = []
      const thrower = (operation: string) => {
        if (throwing === operation) throw new Error("thrown")
      }
      return Effect.gen(function* () {
        const sessions = yield* manager
        const { token } = yield* sessions.create(ada)
        throwing = "read"
        assert.strictEqual(yield* outcome(sessions.resolve(token)), "SessionUnavailable notApplied")
        throwing = "touch"
        yield* TestClock.adjust("2 minutes")
        assert.strictEqual(yield* outcome(sessions.resolve(token)), "ok")
        throwing = ""
        assert.strictEqual(yield* outcome(sessions.resolve(token)), "ok")
        assert.deepStrictEqual(touches, ["touch"])
        throwing = "delete"
        assert.strictEqual(yield* outcome(sessions.destroy(token)), "SessionUnavailable unknown")
      }).pipe(
        Effect.provide([
          stackOf(UserSession, {
            backend: backendWith((memory) => ({
              read: (...args) => {
                thrower("read")
                return memory.read(...args)
              },
              touch: (...args) => {
                thrower("touch")
                touches.push("touch")
                return memory.touch(...args)
              },
              delete: (...args) => {
                thrower("delete")
                return memory.delete(...args)
              }
            }))
          }),
          silent
        ])
      )
    }
  )

  it.effect("[R52] replace and revoke keep to the owner, whatever is put beside the token", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const mine = yield* sessions.create(ada)
      const theirs = yield* sessions.create({ username: "eve", words: [] })
      yield* sessions.replace({ ...mine, id: theirs.id }, { ...ada, words: ["mine"] })
      assert.deepStrictEqual((yield* sessions.resolve(theirs.token)).data, { username: "eve", words: [] })
      // As JavaScript may call it.
      assert.isFalse(yield* sessions.revoke(theirs.id, { principal: undefined as unknown as string }))
      assert.strictEqual(yield* outcome(sessions.resolve(theirs.token)), "ok")
    }).pipe(Effect.provide(stackOf(UserSession)))
  )

  it.effect("an update whose turn does not come within the deadline is not applied, and holds nobody up after", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const session = yield* sessions.create(ada)
      const fibers: Array<Fiber.Fiber<string>> = []
      for (const word of ["a", "b", "c", "d"]) {
        fibers.push(yield* Effect.forkChild(outcome(sessions.modify(session.token, addWord(word)))))
      }
      yield* TestClock.adjust("5 seconds")
      const words: Array<string> = []
      for (const fiber of fibers) words.push(yield* Fiber.join(fiber))
      // A write takes 300 ms, and the second meets the first one's version and takes two. The third has its turn at 900
      // and too little left of its second; the fourth has none.
      assert.deepStrictEqual(words, ["ok", "ok", "SessionUnavailable unknown", "SessionUnavailable notApplied"])
      const late = yield* Effect.forkChild(outcome(sessions.modify(session.token, addWord("e"))))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(late), "ok")
      assert.deepStrictEqual((yield* sessions.resolve(session.token)).data.words, ["a", "b", "e"])
    }).pipe(
      Effect.provide([
        stackOf(UserSession, {
          backend: backendWith((memory) => ({
            update: (...args) => Effect.delay(memory.update(...args), 300)
          }))
        }),
        silent
      ])
    )
  )

  it.effect("is logged by operation and outcome, without the driver's message", () => {
    const lines: Array<string> = []
    const cause = Object.assign(new Error("SELECT * FROM sessions WHERE id = 'marked'"), {
      code: "ECONNRESET",
      cause: { _tag: "marked by a message", message: "marked" }
    })
    return Effect.gen(function* () {
      const sessions = yield* manager
      yield* outcome(sessions.list("ada"))
      const text = lines.join("\n")
      for (const part of ["listByPrincipal", "unknown", "ECONNRESET", UserSession.key, "WARN"]) {
        assert.include(text.toLowerCase(), part.toLowerCase())
      }
      assert.notInclude(text, "marked")
      assert.notInclude(text, "SELECT")
      assert.notInclude(text, "ada")
    }).pipe(
      Effect.provide([
        stackOf(UserSession, {
          backend: backendWith(() => ({
            listByPrincipal: () =>
              Effect.fail(new SessionBackendError({ operation: "listByPrincipal", outcome: "unknown", cause }))
          }))
        }),
        capturing(lines)
      ])
    )
  })
})

describe("configuration", () => {
  const contradictions: Record<string, readonly [Session.LayerOptions, RegExp]> = {
    "idle above absolute": [{ idleTimeout: "2 days" }, /idleTimeout must not be longer than absoluteTimeout/],
    "absolute above 400 days": [{ absoluteTimeout: "401 days" }, /400 days/],
    "touch above idle": [{ touchInterval: "2 hours" }, /touchInterval must not be longer than idleTimeout/],
    "infinite absolute": [{ absoluteTimeout: Infinity }, /absoluteTimeout must be a finite duration/],
    "infinite idle": [{ idleTimeout: "Infinity" }, /idleTimeout must be a finite duration/],
    "zero idle": [{ idleTimeout: 0 }, /idleTimeout must be a finite duration above zero/],
    "negative absolute": [{ absoluteTimeout: -1 }, /absoluteTimeout must be a finite duration above zero/],
    "touch that is no number": [{ touchInterval: NaN }, /touchInterval must be a finite duration above zero/],
    "zero touch": [{ touchInterval: 0 }, /touchInterval must be a finite duration above zero/],
    "zero deadline": [{ backendTimeout: 0 }, /backendTimeout must be a finite duration above zero/],
    "infinite deadline": [{ backendTimeout: Infinity }, /backendTimeout must be a finite duration above zero/],
    // As plain JavaScript would call it.
    "no duration at all": [{ idleTimeout: "an hour" as "1 hour" }, /idleTimeout must be a finite duration/]
  }
  for (const [name, [times, rule]] of Object.entries(contradictions)) {
    it.effect(`[R87a] ${name} is refused when the Layer is built`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Layer.build(stackOf(UserSession, { times })))
        assert.strictEqual(error._tag, "SessionConfigError")
        assert.match(error.problems.join("\n"), rule)
      })
    )
  }

  it.effect("[R87a] all that is wrong is said at once", () =>
    Effect.gen(function* () {
      const times = {
        idleTimeout: "3 days",
        absoluteTimeout: "2 days",
        touchInterval: "4 days",
        backendTimeout: -1
      } as const
      const error = yield* Effect.flip(Layer.build(stackOf(UserSession, { times })))
      assert.strictEqual(error.problems.length, 3)
      for (const problem of error.problems) assert.include(error.message, problem)
    })
  )

  it.effect("[R87a] the limits themselves are allowed", () =>
    Effect.forEach(
      [
        { idleTimeout: "24 hours" },
        { absoluteTimeout: "400 days" },
        { touchInterval: "1 hour" },
        { idleTimeout: 1, absoluteTimeout: 1, backendTimeout: 1 }
      ] as const,
      (times) => Layer.build(stackOf(UserSession, { times }))
    )
  )
})

describe("layerSweeper", () => {
  const sweeping = (calls: Array<Call>, deleteExpired?: SessionBackend.SessionBackend["Service"]["deleteExpired"]) =>
    SessionManager.layerSweeper({ batch: 10 }).pipe(
      Layer.provideMerge(
        backendWith((memory) =>
          around(deleteExpired === undefined ? memory : { ...memory, deleteExpired }, (operation, run, args) =>
            Effect.suspend(() => {
              calls.push({ operation, args })
              return run
            })
          )
        )
      )
    )
  const sweeps = (calls: ReadonlyArray<Call>) => countOf(calls, "deleteExpired")

  it.effect("[R83] deletes what has expired, batch after batch, and stops with its scope", () => {
    const calls: Array<Call> = []
    return Effect.gen(function* () {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(sweeping(calls), scope)
      const backend = yield* Effect.provideContext(SessionBackend.SessionBackend, context)
      yield* TestClock.adjust(1)
      const before = sweeps(calls)
      assert.strictEqual(before, 1)
      const base = {
        namespace: "sweep",
        secretHash: "h".repeat(43),
        version: 1,
        principal: undefined,
        data: "{}",
        dataVersion: 1,
        extension: "",
        createdAt: 0,
        authenticatedAt: 0,
        lastSeenAt: 0,
        idleTimeout: 1000,
        absoluteExpiresAt: 86_400_000,
        persistent: true
      }
      for (let i = 0; i < 25; i++) yield* backend.create({ ...base, id: `dead${i}`, idleExpiresAt: 1000 })
      yield* backend.create({ ...base, id: "alive", idleExpiresAt: 86_400_000 })
      yield* TestClock.adjust("10 minutes")
      for (let i = 0; i < 25; i++) assert.isTrue(Option.isNone(yield* backend.read("sweep", `dead${i}`)))
      assert.isTrue(Option.isSome(yield* backend.read("sweep", "alive")))
      // 10, 10 and 5 in one round, and at least one round more.
      assert.isAtLeast(sweeps(calls), before + 3)
      yield* Scope.close(scope, Exit.void)
      const after = sweeps(calls)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(sweeps(calls), after)
    })
  })

  const failures: Record<string, () => Effect.Effect<number, SessionBackend.SessionBackendError>> = {
    "that fail": () => fails("deleteExpired", "unknown"),
    "that die": () => Effect.die(new Error("marked")),
    "that throw": () => {
      throw new Error("marked")
    },
    "that never answer": () => Effect.never
  }
  for (const [name, failing] of Object.entries(failures)) {
    it.effect(`[R83] goes on after rounds ${name}, and says so in the log`, () => {
      const calls: Array<Call> = []
      const lines: Array<string> = []
      let isBroken = true
      return Effect.gen(function* () {
        yield* Layer.build(
          sweeping(calls, (...args) =>
            Effect.suspend(() => (isBroken ? failing() : Effect.as(Effect.void, args.length - 1)))
          )
        )
        for (let minute = 0; minute < 30; minute++) yield* TestClock.adjust("1 minute")
        assert.isAtLeast(sweeps(calls), 4)
        assert.match(lines.join("\n"), /sweeping expired sessions failed/)
        assert.notMatch(lines.join("\n"), /marked/)
        isBroken = false
        const before = sweeps(calls)
        for (let minute = 0; minute < 30; minute++) yield* TestClock.adjust("1 minute")
        assert.isAtLeast(sweeps(calls), before + 4)
      }).pipe(Effect.provide(capturing(lines)))
    })
  }
})

describe("refusals by answer", () => {
  it.effect("the default refusal is SessionRefused", () =>
    Effect.gen(function* () {
      const sessions = yield* manager
      const { token } = yield* sessions.create(ada)
      const error = yield* Effect.flip(sessions.resolve(token))
      assert.instanceOf(error, SessionRefused)
    }).pipe(
      Effect.provide([
        stackOf(UserSession, {
          // As a check written with `Effect.succeed(false)` by mistake would: the type takes any answer for `void`.
          verifier: SessionVerifier.layer(UserSession, () => Effect.succeed(false as unknown as void))
        }),
        silent
      ])
    )
  )
})
