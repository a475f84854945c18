/** Data that have changed their shape: each record is read by the schema it was written under, and brought up. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import * as SessionData from "../../src/internal/manager/sessionData.ts"
import * as Session from "../../src/Session.ts"
import * as SessionBackend from "../../src/SessionBackend.ts"
import { SessionDataError } from "../../src/SessionError.ts"
import * as SessionManager from "../../src/SessionManager.ts"
import { capturing, silent } from "../support/logs.ts"
import { defectOf, outcome, wordOf } from "../support/outcome.ts"
import { recordOf } from "../support/records.ts"
import * as Stack from "../support/stack.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

const V1 = Schema.Struct({ name: Schema.String })
const V2 = Schema.Struct({ first: Schema.String, last: Schema.NonEmptyString })
const V3 = Schema.Struct({ names: Schema.mutable(Schema.Array(Schema.String)), since: Schema.Date })

const toV2 = ({ name }: typeof V1.Type): typeof V2.Type => {
  const [first = "", last = ""] = name.split(" ")
  return { first, last }
}
const since = new Date(0)
const toV3 = ({ first, last }: typeof V2.Type): typeof V3.Type => ({ names: [first, last], since })

const chain = Session.versions(V1).to(V2, toV2).to(V3, toV3)
const lovelace = { names: ["Ada", "Lovelace"], since }

const dataOf = <A>(versions: Session.Versions<A>) =>
  SessionData.make<A>({ data: versions.schema, principal: undefined, versions })

/** A part of a record: data of a version. */
const of = (dataVersion: number, value: unknown) => ({ data: JSON.stringify(value), dataVersion })

const failureOf = (result: Result.Result<unknown, string>): string => {
  if (Result.isSuccess(result)) assert.fail("it decodes")
  return result.failure
}

const canary = "canary-0815"

describe("versions", () => {
  it("count from 1, or from the number that a definition has come to", () => {
    assert.strictEqual(Session.versions(V1).version, 1)
    assert.strictEqual(chain.version, 3)
    const later = Session.versions(V1, { version: 4 }).to(V2, toV2)
    class Named extends Session.Service<Named>()("test/Named", { data: later }) {}
    assert.deepStrictEqual([Named.data, Named.dataVersion], [V2, 5])
    class Plain extends Session.Service<Plain>()("test/Plain", { data: V1, dataVersion: 4 }) {}
    assert.deepStrictEqual([Plain.data, Plain.dataVersion, Plain.versions], [V1, 4, undefined])
  })

  it("that branch off one another are apart", () => {
    const two = Session.versions(V1).to(V2, toV2)
    const [left, right] = [two.to(V3, toV3), two.to(V1, ({ first }) => ({ name: first }))]
    assert.deepStrictEqual(Result.getOrThrow(dataOf(two).decode(of(1, { name: "Ada L" }))), { first: "Ada", last: "L" })
    assert.deepStrictEqual(Result.getOrThrow(dataOf(left).decode(of(1, { name: "Ada Lovelace" }))), lovelace)
    assert.deepStrictEqual(Result.getOrThrow(dataOf(right).decode(of(1, { name: "Ada L" }))), { name: "Ada" })
  })
})

describe("decode", () => {
  it("[R68] brings data of each version up to the newest, by the steps that are left", () => {
    const steps: Array<number> = []
    const counted = Session.versions(V1)
      .to(V2, (before) => (steps.push(2), toV2(before)))
      .to(V3, (before) => (steps.push(3), toV3(before)))
    const { decode } = dataOf(counted)
    const table: ReadonlyArray<readonly [record: ReturnType<typeof of>, taken: Array<number>]> = [
      [of(1, { name: "Ada Lovelace" }), [2, 3]],
      [of(2, { first: "Ada", last: "Lovelace" }), [3]],
      [of(3, { names: ["Ada", "Lovelace"], since: "1970-01-01T00:00:00.000Z" }), []],
      // Of a server of tomorrow: read, if today's schema decodes it.
      [of(4, { names: ["Ada", "Lovelace"], since: "1970-01-01T00:00:00.000Z", more: 1 }), []]
    ]
    for (const [record, taken] of table) {
      steps.length = 0
      assert.deepStrictEqual(Result.getOrThrow(decode(record)), lovelace)
      assert.deepStrictEqual(steps, taken)
    }
  })

  it("[R64] is strict in each version's own schema, and says which", () => {
    const { decode } = dataOf(chain)
    for (const [record, problem] of [
      [of(1, { name: 815 }), `by the schema of version 1: ["name"]`],
      // The newest's, and under a wrong number.
      [of(1, { names: ["Ada"], since: "1970-01-01T00:00:00.000Z" }), `by the schema of version 1: ["name"]`],
      [of(2, { first: canary, last: "" }), `by the schema of version 2: ["last"]`],
      [of(3, { name: canary }), `["names"]`],
      [of(4, { name: canary }), `["names"]`]
    ] as const) {
      assert.strictEqual(failureOf(decode(record)), problem)
    }
    for (const dataVersion of [1, 2, 3, 4]) {
      assert.strictEqual(failureOf(decode({ data: "{", dataVersion })), "it is no JSON")
      assert.match(failureOf(decode({ data: "[".repeat(33) + "]".repeat(33), dataVersion })), /deeper than 32 levels/)
      assert.match(failureOf(decode({ data: `"${"x".repeat(65_535)}"`, dataVersion })), /longer than 65536 bytes/)
    }
  })

  it("refuses data older than the first version, though a schema might decode them", () => {
    const { decode } = dataOf(Session.versions(V1, { version: 4 }).to(V2, toV2))
    for (const version of [3, 1, 0, -1]) {
      assert.strictEqual(
        failureOf(decode(of(version, { name: "Ada Lovelace" }))),
        `version ${version} is older than the first, 4`
      )
    }
    assert.strictEqual(
      failureOf(dataOf(Session.versions(V1, { version: 4 })).decode(of(3, { name: "Ada" }))),
      "version 3 is older than the first, 4"
    )
  })

  it("without versions takes every record by the one schema", () => {
    const { decode } = SessionData.make({ data: V1, principal: undefined, versions: undefined })
    for (const version of [0, 1, 7]) {
      assert.deepStrictEqual(Result.getOrThrow(decode(of(version, { name: "Ada" }))), { name: "Ada" })
    }
  })

  describe("[R64] of a step that", () => {
    const throwing = () => {
      throw new Error(canary)
    }
    const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)])
    const cyclic: Record<string, unknown> = { [canary]: canary }
    cyclic["self"] = cyclic
    const failing: Record<string, readonly [versions: Session.Versions<any>, problem: RegExp]> = {
      throws: [Session.versions(V1).to(V2, throwing).to(V3, toV3), /^the step to version 2: it throws$/],
      "throws, as the last": [Session.versions(V1).to(V2, toV2).to(V3, throwing), /^the step to version 3: it throws$/],
      "answers what its schema refuses": [
        Session.versions(V1)
          .to(V2, () => ({ first: canary, last: "" }))
          .to(V3, toV3),
        /^the step to version 2: \["last"\]$/
      ],
      "answers a key too little": [
        // As plain JavaScript may.
        Session.versions(V1).to(V2, () => ({ first: canary }) as never),
        /^the step to version 2: \["last"\]$/
      ],
      "answers a promise": [
        Session.versions(V1).to(V2, (async () => ({ first: canary, last: canary })) as never),
        /^the step to version 2: \["first"\]/
      ],
      "answers nothing": [Session.versions(V1).to(V2, (() => undefined) as never), /^the step to version 2: the top$/],
      "answers what a rule of the application refuses with the value": [
        Session.versions(V1).to(
          Schema.String.check(Schema.makeFilter((text) => text === "" || `${text} is no good`)),
          () => canary
        ),
        /^the step to version 2: the top$/
      ],
      "answers a getter that throws": [
        Session.versions(V1).to(V2, () => ({
          first: "",
          get last() {
            return throwing()
          }
        })),
        /^the step to version 2: /
      ],
      "answers what is no JSON": [
        Session.versions(V1).to(Schema.Any, () => ({ at: [new Date(815)] })),
        /^the step to version 2: no plain JSON at \["at"\]\[0\]: an object of a class/
      ],
      "answers what is nested too deep": [
        Session.versions(V1).to(Schema.Unknown, () => nested(33)),
        /^the step to version 2: nested deeper than 32 levels$/
      ],
      "answers what has no end": [
        Session.versions(V1).to(Schema.Any, () => cyclic),
        /^the step to version 2: (nested deeper than 32 levels|it is no JSON)$/
      ],
      "answers what is too long": [
        Session.versions(V1).to(Schema.String, () => "x".repeat(65_535)),
        /^the step to version 2: longer than 65536 bytes/
      ]
    }
    for (const [name, [versions, problem]] of Object.entries(failing)) {
      it(`${name} fails, and names the step and no value`, () => {
        const failure = failureOf(dataOf(versions).decode(of(1, { name: `${canary} ${canary}` })))
        assert.match(failure, problem)
        assert.notInclude(failure, canary)
      })
    }
  })

  it("answers a new value each time, whatever a step has answered", () => {
    const shared = { tags: ["a"] }
    const { decode } = dataOf(Session.versions(V1).to(Schema.Any, () => shared))
    const record = of(1, { name: "Ada" })
    Result.getOrThrow(decode(record)).tags.push("b")
    assert.deepStrictEqual([Result.getOrThrow(decode(record)), shared], [{ tags: ["a"] }, { tags: ["a"] }])
  })

  it("makes what a step answers by its schema: instances, defaults, and no key named __proto__", () => {
    class Person extends Schema.Class<Person>("Person")({ first: Schema.String }) {}
    const Roles = Schema.Array(Schema.String).pipe(Schema.withConstructorDefault(Effect.succeed(["user"])))
    const seen: Array<unknown> = []
    const versions = Session.versions(V1)
      .to(Person, ({ name }) => ({ first: name }))
      .to(Schema.Struct({ person: Person, more: Schema.Any, roles: Roles }), (person) => {
        seen.push(person)
        // Roles are left to the schema, which types do not know of.
        return { person, more: JSON.parse(`{"__proto__":{"isAdmin":true},"a":1}`) } as never
      })
    const data = Result.getOrThrow(dataOf(versions).decode(of(1, { name: "Ada" })))
    for (const person of [seen[0], data.person]) assert.instanceOf(person, Person)
    assert.deepStrictEqual([data.more, data.roles], [{ a: 1 }, ["user"]])
  })

  it("[R64] of 30,000 mutated texts under each number decodes by the newest schema or fails; nothing else", () => {
    const odd = Session.versions(V1)
      .to(V2, ({ name }) => (name.length % 3 === 0 ? (null as never)["x"] : toV2({ name })))
      .to(V3, (before) => (before.first.length % 5 === 0 ? (before as never) : toV3(before)))
    const { decode } = dataOf(odd)
    const isNewest = Schema.is(V3)
    const good = [`{"name":"Ada Lovelace"}`, `{"first":"Ada","last":"L"}`, `{"names":["a"],"since":"1970-01-01"}`]
    const bits = ['"', "{", "}", "[", ":", ",", "\\u0000", "null", "1e999", "__proto__", "name", "first", "\ud800", " "]
    let state = 99
    const next = (bound: number) => {
      state = (state * 1103515245 + 12345) & 0x7fffffff
      return (state >> 8) % bound
    }
    const count = { decoded: 0, failed: 0 }
    for (let i = 0; i < 30_000; i++) {
      let data = good[next(3)]!
      for (let edits = next(3); edits > 0; edits--) {
        const at = next(data.length + 1)
        data = data.slice(0, at) + (next(4) === 0 ? "" : bits[next(bits.length)]) + data.slice(at + next(3))
      }
      const result = decode({ data, dataVersion: next(6) })
      if (Result.isFailure(result)) count.failed++
      else if (isNewest(result.success)) count.decoded++
      else assert.fail(data)
    }
    assert.isAbove(count.decoded, 2000)
    assert.isAbove(count.failed, 10_000)
  })
})

describe("isSame", () => {
  const data = dataOf(chain)
  const text = JSON.stringify({ names: ["Ada", "Lovelace"], since: "1970-01-01T00:00:00.000Z" })

  it("compares what older data are once they are brought up", () => {
    for (const record of [
      of(1, { name: "Ada Lovelace" }),
      of(2, { first: "Ada", last: "Lovelace" }),
      { data: text, dataVersion: 3 }
    ]) {
      assert.isTrue(data.isSame(record, text))
    }
    for (const record of [of(1, { name: "Ada Byron" }), of(1, {}), of(2, { name: "Ada Lovelace" }), of(0, "")]) {
      assert.isFalse(data.isSame(record, text))
    }
  })

  it("does not take an older text for the same because it reads the same", () => {
    const shouting = dataOf(Session.versions(V1).to(V1, ({ name }) => ({ name: name.toUpperCase() })))
    assert.isFalse(shouting.isSame(of(1, { name: "ada" }), `{"name":"ada"}`))
    assert.isTrue(shouting.isSame(of(1, { name: "ada" }), `{"name":"ADA"}`))
    assert.isTrue(shouting.isSame(of(2, { name: "ada" }), `{"name":"ada"}`))
  })
})

describe("a manager", () => {
  const key = "test/Versions"

  /** A manager of its own over the backend in context, and how it is with a record there. */
  const managerOf = Effect.fnUntraced(function* <Self, A, R extends ReadonlyArray<Session.Tagged>>(
    definition: Session.Definition<Self, A, R>
  ) {
    const backend = Layer.succeed(SessionBackend.SessionBackend, yield* SessionBackend.SessionBackend)
    return Context.get(yield* Layer.build(Layer.fresh(Stack.manager(definition, { backend }))), definition.Manager)
  })

  class Old extends Session.Service<Old>()(key, { data: V1, dataVersion: 4 }) {}

  it.effect("[R68] goes on from a definition of one schema, at the version that had come to", () => {
    class Now extends Session.Service<Now>()(key, { data: Session.versions(V1, { version: 4 }).to(V2, toV2) }) {}
    return Effect.gen(function* () {
      const { id, token } = yield* (yield* managerOf(Old)).create({ name: "Ada Lovelace" })
      const now = yield* managerOf(Now)
      assert.deepStrictEqual((yield* now.resolve(token)).data, { first: "Ada", last: "Lovelace" })
      yield* now.modify(token, (data) => [0, { ...data, last: "Byron" }])
      const { data, dataVersion } = yield* recordOf(Now, id)
      assert.deepStrictEqual([dataVersion, data], [5, `{"first":"Ada","last":"Byron"}`])
    }).pipe(Effect.provide(Stack.layerMemory()))
  })

  it.effect("[R70] writes a change whose text is that of the older data by chance", () => {
    class Now extends Session.Service<Now>()(key, {
      data: Session.versions(V1, { version: 4 }).to(V1, ({ name }) => ({ name: name.toUpperCase() }))
    }) {}
    type Change = (
      now: (typeof Now.Manager)["Service"],
      session: Session.Session<{ readonly name: string }>
    ) => Effect.Effect<unknown, unknown>
    const changes: Record<string, Change> = {
      modify: (now, session) => now.modify(session, () => [0, { name: "ada" }]),
      replace: (now, session) => now.replace(session, { name: "ada" })
    }
    return Effect.gen(function* () {
      const [old, now] = [yield* managerOf(Old), yield* managerOf(Now)]
      for (const [name, change] of Object.entries(changes)) {
        const { id, token } = yield* old.create({ name: "ada" })
        const session = yield* now.resolve(token)
        assert.strictEqual(session.data.name, "ADA")
        yield* change(now, session)
        assert.strictEqual((yield* recordOf(Now, id)).dataVersion, 5, name)
        assert.strictEqual((yield* now.resolve(token)).data.name, "ada", name)
      }
    }).pipe(Effect.provide(Stack.layerMemory()))
  })

  it.effect("answers those that are written together what is stored, though its text is that of the older data", () => {
    class Now extends Session.Service<Now>()(key, {
      data: Session.versions(V1, { version: 4 }).to(V1, ({ name }) => ({ name: name.toUpperCase() }))
    }) {}
    const watched = WatchedBackend.make()
    return Effect.gen(function* () {
      const [old, now] = [yield* managerOf(Old), yield* managerOf(Now)]
      const session = yield* now.resolve((yield* old.create({ name: "ada" })).token)
      // While the first one's write is on its way, the others come; it fails, and they are made in one turn.
      watched.wire = () => Effect.andThen(Effect.sleep(1), WatchedBackend.failure("update"))
      const first = yield* Effect.forkChild(Effect.exit(now.modify(session, () => [0, { name: "eve" }])))
      yield* TestClock.adjust(0)
      const reads = yield* Effect.forkChild(now.modify(session, (data) => [0, data]))
      const writes = yield* Effect.forkChild(now.modify(session, () => [0, { name: "ada" }]))
      yield* TestClock.adjust(0)
      watched.wire = (_, run) => run
      yield* TestClock.adjust(1)
      assert.strictEqual(wordOf(yield* Fiber.join(first)), "SessionUnavailable notApplied")
      for (const fiber of [reads, writes]) {
        const [, { data, version }] = yield* Fiber.join(fiber)
        assert.deepStrictEqual([version, data], [2, { name: "ada" }])
      }
    }).pipe(Effect.provide([watched.layer, silent]))
  })

  it.effect("[R64] refuses a session whose step fails as Data, logs the step, and leaves the record", () => {
    class Now extends Session.Service<Now>()(key, {
      data: Session.versions(V1, { version: 4 }).to(V2, ({ name }) => {
        if (name.startsWith(canary)) throw new Error(name)
        return toV2({ name })
      })
    }) {}
    const lines: Array<string> = []
    return Effect.gen(function* () {
      const [old, now] = [yield* managerOf(Old), yield* managerOf(Now)]
      for (const [name, problem] of [
        [`${canary} x`, "the step to version 5: it throws"],
        [`x${canary}`, "the step to version 5"]
      ] as const) {
        const { id, token } = yield* old.create({ name })
        lines.length = 0
        assert.strictEqual(yield* outcome(now.resolve(token)), "SessionInvalid Data")
        assert.strictEqual(yield* outcome(now.modify(token, (data) => [0, data])), "SessionInvalid Data")
        assert.strictEqual(yield* outcome(now.rotate(token)), "SessionInvalid Data")
        assert.isAbove(lines.length, 0)
        for (const line of lines) {
          for (const text of [id, problem, "dataVersion"]) assert.include(line, text)
          for (const text of [canary, Redacted.value(token)]) assert.notInclude(line, text)
        }
        assert.strictEqual((yield* recordOf(Now, id)).data, JSON.stringify({ name }))
        assert.strictEqual((yield* old.resolve(token)).data.name, name)
      }
    }).pipe(Effect.provide([Stack.layerMemory(), capturing(lines)]))
  })

  it.effect("does not change a session whose principal a step has changed", () => {
    class OldUser extends Session.Service<OldUser>()(key, { data: V1, principal: ({ name }) => name }) {}
    class NewUser extends Session.Service<NewUser>()(key, {
      data: Session.versions(V1).to(V1, ({ name }) => ({ name: name.toUpperCase() })),
      principal: ({ name }) => name
    }) {}
    return Effect.gen(function* () {
      const { token } = yield* (yield* managerOf(OldUser)).create({ name: "ada" })
      const exit = yield* Effect.exit((yield* managerOf(NewUser)).modify(token, () => [0, { name: "ADA" }]))
      assert.instanceOf(defectOf(exit), SessionDataError)
    }).pipe(Effect.provide([Stack.layerMemory(), silent]))
  })

  for (const version of [0, -1, 1.5, NaN, Infinity, "2" as never]) {
    it.effect(`[R87a] refuses ${JSON.stringify(version)} (${version}) as a version where its Layer is built`, () => {
      class Plain extends Session.Service<Plain>()(key, { data: V1, dataVersion: version }) {}
      class First extends Session.Service<First>()(key, { data: Session.versions(V1, { version }) }) {}
      class Later extends Session.Service<Later>()(key, {
        data: Session.versions(V1, { version }).to(V2, toV2).to(V3, toV3)
      }) {}
      const problems = <Self, A, R extends ReadonlyArray<Session.Tagged>>(definition: Session.Definition<Self, A, R>) =>
        Effect.gen(function* () {
          const times = { idleTimeout: "2 days" } as const
          const ofLayer = yield* Effect.flip(Layer.build(Stack.manager(definition, times)))
          const ofMake = yield* Effect.flip(SessionManager.make(definition, times)).pipe(
            Effect.provide(Stack.parts(definition))
          )
          assert.deepStrictEqual([ofLayer._tag, ofLayer.problems], ["SessionConfigError", ofMake.problems])
          assert.match(ofLayer.problems[0]!, /idleTimeout/)
          return ofLayer.problems.slice(1)
        })
      return Effect.gen(function* () {
        assert.deepStrictEqual(yield* problems(Plain), ["dataVersion must be a whole number from 1"])
        for (const found of [yield* problems(First), yield* problems(Later)]) {
          assert.deepStrictEqual(found, [
            "version in Session.versions(schema, { version }) must be a whole number from 1"
          ])
        }
      })
    })
  }
})
