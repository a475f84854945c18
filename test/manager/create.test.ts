/** Crypto whose random bytes are given one after the other; real ones once they are used up. */
import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Session from "../../src/Session.ts"
import { SessionDataError } from "../../src/SessionError.ts"
import { silent } from "../support/logs.ts"
import { outcome, defectOf } from "../support/outcome.ts"
import { recordOf } from "../support/records.ts"
import { UserSession, user, ada, eve } from "../support/userSession.ts"
import type { Data } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

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

describe("create", () => {
  it.effect("makes a session that its token opens", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const created = yield* sessions.create(ada)
      const found = yield* sessions.resolve(created.token)
      assert.deepStrictEqual(found.data, ada)
      assert.strictEqual(found.id, created.id)
      assert.deepStrictEqual(found.principal, Option.some("ada"))
      assert.strictEqual(found.version, 1)
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )

  it.effect("[R2] a source of randomness that dies makes no session", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* outcome((yield* UserSession.Manager).create(ada)), "died")
      assert.strictEqual((yield* (yield* UserSession.Manager).list("ada")).length, 0)
    }).pipe(
      Effect.provide(
        Stack.manager(UserSession, {
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
        assert.strictEqual(yield* outcome((yield* UserSession.Manager).create(ada)), "died")
        assert.strictEqual((yield* (yield* UserSession.Manager).list("ada")).length, 0)
      }).pipe(Effect.provide(Stack.manager(UserSession, { crypto: scripted([...short]) })))
    )
  }

  it.effect("[R2] [R5] a source that repeats itself makes one session, and leaves it alone", () =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const first = yield* sessions.create(ada)
      const before = yield* recordOf(UserSession, first.id)
      assert.strictEqual(yield* outcome(sessions.create(eve)), "SessionUnavailable notApplied")
      assert.deepStrictEqual(yield* recordOf(UserSession, first.id), before)
      assert.strictEqual((yield* sessions.list("eve")).length, 0)
    }).pipe(
      Effect.provide([
        Stack.manager(UserSession, {
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
      const sessions = yield* UserSession.Manager
      const first = yield* sessions.create(ada)
      const before = yield* recordOf(UserSession, first.id)
      const second = yield* sessions.create(eve)
      assert.notStrictEqual(second.id, first.id)
      assert.deepStrictEqual(yield* recordOf(UserSession, first.id), before)
      assert.strictEqual((yield* sessions.resolve(second.token)).data.username, "eve")
      assert.strictEqual((yield* sessions.resolve(first.token)).data.username, "ada")
    }).pipe(Effect.provide(Stack.manager(UserSession, { crypto: scripted(script) })))
  })

  const bad: Record<string, Data> = {
    "a principal of 257 bytes": user("é".repeat(128) + "x"),
    "a principal with a NUL": user("a\0b"),
    "a principal with half a character": user("a\ud800"),
    // The type says otherwise, as a careless cast would.
    "data its schema refuses": { ...ada, words: [1 as unknown as string] }
  }
  for (const [name, data] of Object.entries(bad)) {
    it.effect(`dies on ${name}, and stores nothing`, () => {
      const watched = WatchedBackend.make()
      return Effect.gen(function* () {
        const exit = yield* Effect.exit((yield* UserSession.Manager).create(data))
        assert.instanceOf(defectOf(exit), SessionDataError)
        assert.strictEqual(watched.calls.length, 0)
      }).pipe(Effect.provide(Stack.manager(UserSession, { backend: watched.layer })))
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
    }).pipe(Effect.provide(Stack.manager(AnySession)))
  })

  it.effect("takes a principal of 1 and of 256 bytes", () =>
    Effect.gen(function* () {
      for (const username of ["a", "é".repeat(128)]) {
        yield* (yield* UserSession.Manager).create(user(username))
        assert.strictEqual((yield* (yield* UserSession.Manager).list(username)).length, 1)
      }
    }).pipe(Effect.provide(Stack.manager(UserSession)))
  )
})
