import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Session from "../../src/Session.ts"
import * as SessionBackend from "../../src/SessionBackend.ts"
import { SessionDataError } from "../../src/SessionError.ts"
import { capturing, silent } from "../support/logs.ts"
import { wordOf, outcome, defectOf } from "../support/outcome.ts"
import { recordOf } from "../support/records.ts"
import { UserData, UserSession, ada, addWord } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

describe("stored data", () => {
  /** A session whose stored data is this text. */
  const withData = (data: string, dataVersion = 1) =>
    Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const backend = yield* SessionBackend.SessionBackend
      const session = yield* sessions.create(ada)
      const { lastSeenAt, idleExpiresAt } = yield* recordOf(UserSession, session.id)
      yield* backend.update(UserSession.key, session.id, 1, { data, dataVersion, lastSeenAt, idleExpiresAt })
      return session
    })

  /** The data of `ada` as JSON text, with this much more in it. */
  const text = (more = "") => `{"username":"ada","words":[],"count":0${more}}`
  const nested = (depth: number) => text(`,"x":${"[".repeat(depth)}${"]".repeat(depth)}`)
  const long = (bytes: number) => text(`,"x":"${"x".repeat(bytes - text(',"x":""').length)}"`)

  const bad: Record<string, string> = {
    empty: "",
    garbage: "\u0000\uffff garbage",
    truncated: text().slice(0, 20),
    "of another shape": '{"name":"ada"}',
    "with wrong types": text().replace('"ada"', "1"),
    "an array": "[]",
    null: "null",
    "a number": "1",
    "with a word too many": `${text()} x`,
    "nested too deep": nested(32),
    "nested very deep": "[".repeat(60_000),
    "65,537 bytes long": long(65_537),
    "over 64 KiB in three-byte characters": text(`,"x":"${"\u20ac".repeat(22_000)}"`)
  }
  for (const [name, data] of Object.entries(bad)) {
    it.effect(`[R64] [R66] data that is ${name} is refused as Data, never raw, and stays, listed without data`, () =>
      Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        const session = yield* withData(data)
        assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "SessionInvalid Data")
        assert.strictEqual(yield* outcome(sessions.modify(session.token, addWord("x"))), "SessionInvalid Data")
        assert.deepStrictEqual(
          (yield* sessions.list("ada")).map((info) => [info.id, info.data]),
          [[session.id, undefined]]
        )
        assert.strictEqual((yield* recordOf(UserSession, session.id)).data, data)
      }).pipe(Effect.provide([Stack.manager(UserSession), silent]))
    )
  }

  for (const [name, data] of Object.entries({
    "as it was written": text(),
    "nested to the limit": nested(31),
    "65,536 bytes long": long(65_536)
  })) {
    it.effect(`[R66] data that is ${name} is read`, () =>
      Effect.gen(function* () {
        const session = yield* withData(data)
        const seen = yield* (yield* UserSession.Manager).resolve(session.token)
        assert.deepStrictEqual(seen.data, ada)
      }).pipe(Effect.provide(Stack.manager(UserSession)))
    )
  }

  it.effect("[R64] a row that does not decode is logged with the session's id and the path of the field", () => {
    const lines: Array<string> = []
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const session = yield* withData('{"username":"ada","words":["one",815],"count":0}')
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "SessionInvalid Data")
      const logged = lines.filter((line) => line.includes("does not decode"))
      assert.isAbove(logged.length, 0)
      for (const line of logged) {
        for (const text of [session.id, "words", "[1]", UserSession.key]) assert.include(line, text)
        for (const text of ["815", '"one"', Redacted.value(session.token)]) assert.notInclude(line, text)
      }
    }).pipe(Effect.provide([Stack.manager(UserSession), capturing(lines)]))
  })

  it.effect(
    "[R64] 10^5 mutated rows decode by the schema or are refused; nothing else",
    () =>
      Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        const backend = yield* SessionBackend.SessionBackend
        const session = yield* sessions.create({ ...ada, words: ["one", "two"] })
        let state = 99
        const next = (bound: number) => {
          state = (state * 1103515245 + 12345) & 0x7fffffff
          return (state >> 8) % bound
        }
        const good = '{"username":"ada","words":["one","two"],"count":0}'
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
      }).pipe(Effect.provide([Stack.manager(UserSession), silent])),
    120_000
  )

  it.effect("[R65] keys that name a prototype reach none, at any depth", () => {
    const Any = Schema.Record(Schema.String, Schema.Json)
    class Loose extends Session.Service<Loose>()("test/Loose", { data: Any }) {}
    const evil = (depth: number): string =>
      depth === 0
        ? '{"__proto__":{"isAdmin":true},"constructor":{"prototype":{"isAdmin":true}},"prototype":{"isAdmin":true}}'
        : `{"a":${evil(depth - 1)},"__proto__":${evil(depth - 1)}}`
    const backend = Layer.succeed(SessionBackend.SessionBackend, Stack.memory())
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
        const plain = yield* (yield* UserSession.Manager).create(
          JSON.parse(`{"username":"ada","words":[],"count":0,"__proto__":{"isAdmin":true}}`)
        )
        assert.isUndefined((plain.data as unknown as Record<string, unknown>)["isAdmin"])
        assert.notInclude((yield* recordOf(UserSession, plain.id)).data, "isAdmin")
      }
    }).pipe(Effect.provide([Stack.manager(Loose, { backend }), Stack.manager(UserSession, { backend })]))
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
      }).pipe(Effect.provide(Stack.manager(Loose)))
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
    }).pipe(Effect.provide(Stack.manager(Odd)))
  })
})
