/** Session data and principal, to text and back, without a manager. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, DateTime, Effect, Exit, Option, Redacted, Result, Schema, SchemaTransformation } from "effect"
import * as vm from "node:vm"
import * as SessionData from "../src/internal/manager/sessionData.ts"
import { SessionDataError } from "../src/SessionError.ts"
import { record } from "./support/records.ts"

const dataOf = <A>(data: Schema.Codec<A, any>, principal?: (data: A) => string | undefined) =>
  SessionData.make<A>({ data, principal, versions: undefined })

const problemOf = (exit: Exit.Exit<unknown>): string => {
  const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
  assert.instanceOf(defect, SessionDataError)
  return defect.problem
}

const encoded = <A>(exit: Exit.Exit<A>): A => {
  if (Exit.isFailure(exit)) assert.fail(String(Cause.squash(exit.cause)))
  return exit.value
}

const failureOf = (result: Result.Result<unknown, string>): string => {
  if (Result.isSuccess(result)) assert.fail("it decodes")
  return result.failure
}

const recordOf = (data: string, principal?: string) => record({ data, principal })

class Point {
  readonly x = 1
}

class Shouting extends Array<number> {
  toJSON() {
    return "[]"
  }
}

const canary = "canary-0815"

describe("what is no plain JSON", () => {
  const foreign: Record<string, readonly [value: unknown, kind: RegExp]> = {
    "a Date": [new Date(0), /object of a class/],
    "a class instance": [new Point(), /object of a class/],
    "a Map": [new Map([["a", 1]]), /object of a class/],
    "a Set": [new Set([1]), /object of a class/],
    "an Error": [new Error(canary), /object of a class/],
    "a boxed string": [Object(canary), /object of a class/],
    bytes: [new Uint8Array([1]), /object of a class/],
    "an object that inherits": [Object.create({ a: canary }), /object of a class/],
    "a toJSON of its own": [{ a: 1, toJSON: () => canary }, /toJSON/],
    "a hidden toJSON": [Object.defineProperty({ a: 1 }, "toJSON", { value: () => canary }), /toJSON/],
    "an array with a toJSON": [Shouting.from([1]), /toJSON/],
    "a function": [() => canary, /a function/],
    "a symbol": [Symbol(canary), /a symbol/],
    "a bigint": [815n, /a bigint/],
    NaN: [NaN, /not finite/],
    Infinity: [Infinity, /not finite/],
    "-Infinity": [-Infinity, /not finite/]
  }

  for (const [name, [value, kind]] of Object.entries(foreign)) {
    it(`${name} is refused on write, with its path and without its value`, () => {
      const at = (path: string, problem: string) => {
        assert.include(problem, path)
        assert.match(problem, kind)
        assert.notInclude(problem, canary)
      }
      for (const schema of [Schema.Any, Schema.Unknown] as ReadonlyArray<Schema.Codec<any>>) {
        const data = dataOf(schema)
        at("at the top", problemOf(data.encode(value)))
        at(`at ["a"]["b"][1]`, problemOf(data.encode({ a: { b: [1, value] } })))
        at(`at ["…"]`, problemOf(data.encode({ [`${canary} key`]: value })))
      }
      at(`at ["a"]["b"]`, problemOf(dataOf(Schema.Struct({ a: Schema.Any })).encode({ a: { b: value } })))
      at(`at ["a"]["b"]`, problemOf(dataOf(Schema.Struct({ a: Schema.Unknown })).encode({ a: { b: value } })))
      at(`at ["a"]`, problemOf(dataOf(Schema.Record(Schema.String, Schema.Any)).encode({ a: value })))
    })
  }

  it("an object of a class that its schema does not encode is refused, and one that it encodes is stored", () => {
    const declared = dataOf(Schema.Struct({ at: Schema.instanceOf(Point) }))
    assert.match(problemOf(declared.encode({ at: new Point() })), /at \["at"\].*object of a class/)
    const date = dataOf(Schema.Struct({ born: Schema.Date }))
    const { text } = encoded(date.encode({ born: new Date(0) }))
    assert.strictEqual(text, '{"born":"1970-01-01T00:00:00.000Z"}')
    const back = date.decode(recordOf(text))
    assert.deepStrictEqual(Result.getOrThrow(back), { born: new Date(0) })
    class Animal extends Schema.Class<Animal>("Animal")({ name: Schema.String }) {}
    const animal = dataOf(Animal)
    const cat = Result.getOrThrow(animal.decode(recordOf(encoded(animal.encode(new Animal({ name: "cat" }))).text)))
    assert.instanceOf(cat, Animal)
    const n = dataOf(Schema.Struct({ n: Schema.Number }))
    assert.deepStrictEqual(Result.getOrThrow(n.decode(recordOf(encoded(n.encode({ n: NaN })).text))), { n: NaN })
  })

  it("undefined is left out of an object, and refused in an array", () => {
    const data = dataOf(Schema.Any as Schema.Codec<any>)
    assert.strictEqual(encoded(data.encode({ a: undefined, b: { c: undefined, d: 1 } })).text, '{"b":{"d":1}}')
    assert.match(problemOf(data.encode({ a: [1, undefined] })), /at \["a"\]\[1\]: undefined/)
    // oxlint-disable-next-line no-sparse-arrays
    assert.match(problemOf(data.encode([, 1])), /at \[0\]: undefined/)
    assert.match(problemOf(data.encode(undefined)), /at the top: undefined/)
    // What a schema makes of `undefined` is its own.
    const optional = dataOf(Schema.Struct({ a: Schema.optional(Schema.String) }))
    assert.deepStrictEqual(
      Result.getOrThrow(optional.decode(recordOf(encoded(optional.encode({ a: undefined })).text))),
      {
        a: undefined
      }
    )
  })

  it("objects without a prototype, of another realm, and shared ones are plain", () => {
    const data = dataOf(Schema.Any as Schema.Codec<any>)
    const shared = { a: 1 }
    for (const value of [
      Object.assign(Object.create(null), { a: [1] }),
      vm.runInNewContext(`({ a: [1, { b: null }] })`),
      vm.runInNewContext(`JSON.parse('[{"a":1}]')`),
      [shared, shared]
    ]) {
      assert.strictEqual(encoded(data.encode(value)).text, JSON.stringify(value))
    }
  })

  it("[R66] too deep, cyclic or too long is refused by its rule, under whatever schema", () => {
    const nested = (depth: number): unknown => {
      let value: unknown = 1
      for (let i = 0; i < depth; i++) value = [value]
      return value
    }
    const cyclic: Record<string, unknown> = {}
    cyclic["self"] = cyclic
    for (const schema of [Schema.Any, Schema.Unknown] as ReadonlyArray<Schema.Codec<any>>) {
      const data = dataOf(schema)
      encoded(data.encode(nested(32)))
      assert.match(problemOf(data.encode(nested(33))), /deeper than 32 levels/)
      assert.match(problemOf(data.encode(cyclic)), /deeper than 32 levels|no JSON/)
      assert.match(problemOf(data.encode(nested(20_000))), /deeper than 32 levels|no JSON/)
      encoded(data.encode("x".repeat(65_534)))
      assert.match(problemOf(data.encode("x".repeat(65_535))), /longer than 65536 bytes/)
    }
  })

  it("what its schema refuses, or a getter throws at, is refused without the value", () => {
    const narrow = dataOf(Schema.Struct({ names: Schema.Array(Schema.String) }))
    assert.match(problemOf(narrow.encode({ names: [815 as never] })), /at \["names"\]\[0\]/)
    const data = dataOf(Schema.Any as Schema.Codec<any>)
    const throwing = {
      get a() {
        throw new Error(canary)
      }
    }
    assert.strictEqual(problemOf(data.encode(throwing)), "it is no JSON")
    const oneWay = Schema.String.pipe(
      Schema.decodeTo(
        Schema.String,
        SchemaTransformation.transform({
          decode: (text: string) => text,
          encode: (): string => {
            throw new Error(canary)
          }
        })
      )
    )
    const problem = problemOf(dataOf(Schema.Struct({ a: oneWay })).encode({ a: canary }))
    assert.notInclude(problem, canary)
  })
})

describe("the principal", () => {
  const User = Schema.Struct({ name: Schema.optionalKey(Schema.String) })
  const data = dataOf(User, ({ name }) => name)

  it("comes from the value that the schema has made", () => {
    assert.strictEqual(encoded(data.encode({ name: "ada" })).principal, "ada")
    assert.isUndefined(encoded(data.encode({})).principal)
    const Defaulted = Schema.Struct({ name: Schema.String.pipe(Schema.withConstructorDefault(Effect.succeed("ada"))) })
    assert.strictEqual(encoded(dataOf(Defaulted, ({ name }) => name).encode({} as never)).principal, "ada")
  })

  it("has 1 to 256 bytes that every store takes", () => {
    for (const name of ["a", "é".repeat(128), "x".repeat(256)]) encoded(data.encode({ name }))
    for (const name of ["", "x".repeat(257), `${"é".repeat(128)}x`, "a\0b", "a\ud800"]) {
      assert.match(problemOf(data.encode({ name })), /1 to 256 bytes/)
    }
  })

  it("never changes for a session there is", () => {
    const ada = recordOf('{"name":"ada"}', "ada")
    assert.strictEqual(encoded(data.encodeFor(ada, { name: "ada" })).text, ada.data)
    for (const [record, next] of [
      [ada, { name: "eve" }],
      [ada, {}],
      [recordOf("{}"), { name: "ada" }]
    ] as const) {
      assert.match(problemOf(data.encodeFor(record, next)), /never changes/)
    }
    assert.match(problemOf(data.encodeFor(ada, { name: "" })), /1 to 256 bytes/)
  })

  it("a function that throws is a defect of its own", () => {
    const error = new Error("principal")
    const throwing = dataOf(User, () => {
      throw error
    })
    const exit = throwing.encode({ name: "ada" })
    assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) === error)
  })
})

describe("decode", () => {
  const data = dataOf(
    Schema.Struct({
      user: Schema.Struct({ names: Schema.Array(Schema.String), born: Schema.DateTimeUtcFromString }),
      notes: Schema.Record(Schema.String, Schema.Int)
    })
  )
  const good = { user: { names: ["ada"], born: "1970-01-01T00:00:00.000Z" }, notes: { a: 1 } }

  it("answers a new value each time", () => {
    const text = JSON.stringify(good)
    const [first, second] = [
      Result.getOrThrow(data.decode(recordOf(text))),
      Result.getOrThrow(data.decode(recordOf(text)))
    ]
    assert.isTrue(DateTime.isDateTime(first.user.born))
    assert.deepStrictEqual(first, second)
    assert.notStrictEqual(first.user, second.user)
  })

  it("[R64] names the path that does not decode, and never a value or a key that is data", () => {
    const table: ReadonlyArray<readonly [stored: unknown, problem: string]> = [
      [{ ...good, user: { ...good.user, names: ["ada", 815] } }, `["user"]["names"][1]`],
      [{ ...good, user: { ...good.user, born: "canary" } }, `["user"]["born"]`],
      [{ ...good, user: { names: [canary] } }, `["user"]["born"]`],
      [{ ...good, notes: { [`${canary}@app.test`]: canary } }, `["notes"]["…"]`],
      [{ ...good, notes: { "815": canary } }, `["notes"]["…"]`],
      [{ ...good, notes: null }, `["notes"]`],
      [canary, "the top"],
      [[canary], "the top"]
    ]
    for (const [stored, problem] of table) {
      assert.strictEqual(failureOf(data.decode(recordOf(JSON.stringify(stored)))), problem)
    }
    for (const text of ["", "{", `{"user":${canary}}`, `{"user"`]) {
      assert.strictEqual(failureOf(data.decode(recordOf(text))), "it is no JSON")
    }
    assert.match(failureOf(data.decode(recordOf("[".repeat(33) + "]".repeat(33)))), /deeper than 32 levels/)
    assert.match(failureOf(data.decode(recordOf(`"${"x".repeat(65_535)}"`))), /longer than 65536 bytes/)
  })

  it("a schema that throws fails, without what it threw", () => {
    const throwing = dataOf(
      Schema.String.pipe(
        Schema.decodeTo(
          Schema.String,
          SchemaTransformation.transform({
            decode: () => {
              throw new Error(canary)
            },
            encode: (text: string) => text
          })
        )
      )
    )
    assert.strictEqual(failureOf(throwing.decode(recordOf(`"a"`))), "its schema fails")
  })

  it("[R65] leaves out keys named __proto__, on write as on read", () => {
    const loose = dataOf(Schema.Record(Schema.String, Schema.Json))
    const evil = `{"a":{"__proto__":{"isAdmin":true},"b":1},"__proto__":{"isAdmin":true}}`
    assert.deepStrictEqual(Result.getOrThrow(loose.decode(recordOf(evil))), { a: { b: 1 } })
    const { text, value } = encoded(loose.encode(JSON.parse(evil)))
    assert.strictEqual(text, `{"a":{"b":1}}`)
    assert.deepStrictEqual(value, { a: { b: 1 } })
  })
})

describe("isSame", () => {
  const data = dataOf(
    Schema.Struct({
      name: Schema.String,
      theme: Schema.String.pipe(Schema.withDecodingDefaultKey(Effect.succeed("light")))
    })
  )
  const { text } = encoded(data.encode({ name: "ada", theme: "light" }))

  it("compares texts, and what a text means that today's schema would write otherwise", () => {
    assert.isTrue(data.isSame(recordOf(text), text))
    // Stored before there was a theme, with a field since gone, in another order, with blanks.
    for (const stored of [
      `{"name":"ada"}`,
      `{"name":"ada","age":36}`,
      `{"theme":"light","name":"ada"}`,
      `{ "name": "ada" }`
    ]) {
      assert.isTrue(data.isSame(recordOf(stored), text), stored)
    }
    for (const stored of [`{"name":"eve"}`, `{"name":"ada","theme":"dark"}`, `{}`, "", "null", `{"name":1}`]) {
      assert.isFalse(data.isSame(recordOf(stored), text), stored)
    }
  })

  it("finds data that were changed in place", () => {
    const list = dataOf(Schema.Struct({ words: Schema.mutable(Schema.Array(Schema.String)) }))
    const record = recordOf(encoded(list.encode({ words: ["a"] })).text)
    const value = Result.getOrThrow(list.decode(record))
    assert.isTrue(list.isSame(record, encoded(list.encode(value)).text))
    value.words.push("b")
    assert.isFalse(list.isSame(record, encoded(list.encode(value)).text))
  })

  it("is not fooled by what reads back as another value", () => {
    const secret = dataOf(Schema.Struct({ at: Schema.Option(Schema.Date), key: Schema.Redacted(Schema.String) }))
    const value = { at: Option.some(new Date(0)), key: Redacted.make("k") }
    const { text } = encoded(secret.encode(value))
    assert.isTrue(secret.isSame(recordOf(text), encoded(secret.encode(value)).text))
    const later = { ...value, at: Option.some(new Date(1)) }
    assert.isFalse(secret.isSame(recordOf(text), encoded(secret.encode(later)).text))
  })
})
