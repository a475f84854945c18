/**
 * Servers of three versions of one application, side by side on one store, as during a deploy. The scenarios run over
 * the backend in context, on its own clock.
 */
import { NodeCrypto } from "@effect/platform-node"
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Session from "../../src/Session.ts"
import { SessionBackend } from "../../src/SessionBackend.ts"
import { silent } from "./logs.ts"
import { outcome } from "./outcome.ts"
import { recordOf } from "./records.ts"
import * as Stack from "./stack.ts"

const V1 = Schema.Struct({ user: Schema.String, name: Schema.String, marks: Schema.Array(Schema.String) })
/** Has what a server of version 1 needs. */
const V2 = Schema.Struct({ ...V1.fields, first: Schema.String, last: Schema.String })
/** Has not: it is what comes once no server of version 1 runs. */
const V3 = Schema.Struct({
  user: Schema.String,
  marks: Schema.Array(Schema.String),
  first: Schema.String,
  last: Schema.String,
  theme: Schema.String
})

const toV2 = (before: typeof V1.Type): typeof V2.Type => {
  const [first = "", last = ""] = before.name.split(" ")
  return { ...before, first, last }
}
const toV3 = ({ first, last, marks, user }: typeof V2.Type): typeof V3.Type => ({
  user,
  marks,
  first,
  last,
  theme: "light"
})

/** The definitions of one application at three times. */
const definitionsOf = (key: string) => {
  class One extends Session.Service<One>()(key, { data: V1, principal: ({ user }) => user }) {}
  class Two extends Session.Service<Two>()(key, {
    data: Session.versions(V1).to(V2, toV2),
    principal: ({ user }) => user
  }) {}
  class Three extends Session.Service<Three>()(key, {
    data: Session.versions(V1).to(V2, toV2).to(V3, toV3),
    principal: ({ user }) => user
  }) {}
  return { One, Two, Three }
}

const ada1 = (user: string): typeof V1.Type => ({ user, name: "Ada Lovelace", marks: [] })
const ada2 = (user: string) => toV2(ada1(user))
const ada3 = (user: string) => toV3(ada2(user))

const mark =
  (text: string) =>
  <A extends { readonly marks: ReadonlyArray<string> }>(data: A): readonly [undefined, A] => [
    undefined,
    { ...data, marks: [...data.marks, text] }
  ]

/** A server of each version, and what is stored. Each has an application of its own. */
const servers = Effect.fnUntraced(function* (key: string) {
  const backend = Layer.succeed(SessionBackend, yield* SessionBackend)
  const scope = yield* Effect.scope
  const start = Effect.fnUntraced(function* <Self, A, R extends ReadonlyArray<Session.Tagged>>(
    definition: Session.Definition<Self, A, R>
  ) {
    const server = Stack.manager(definition, { backend, crypto: NodeCrypto.layer, backendTimeout: "10 seconds" })
    return Context.get(yield* Layer.buildWithMemoMap(server, yield* Layer.makeMemoMap, scope), definition.Manager)
  })
  const { One, Two, Three } = definitionsOf(key)
  return {
    one: yield* start(One),
    two: yield* start(Two),
    three: yield* start(Three),
    stored: (id: string) =>
      Effect.map(recordOf({ key }, id), ({ data, dataVersion, version }) => ({
        version,
        dataVersion,
        data: JSON.parse(data) as unknown
      }))
  }
})

type Servers = Effect.Success<ReturnType<typeof servers>>

/** Each with users of its own. */
const cases: Record<string, (servers: Servers, user: string) => Effect.Effect<void, unknown, SessionBackend>> = {
  "an old server reads what a new one wrote, and neither changes nor replaces it": ({ one, stored, two }, user) =>
    Effect.gen(function* () {
      const { id, token } = yield* two.create({ ...ada2(user), last: "Byron" })
      const before = yield* stored(id)
      assert.strictEqual(before.dataVersion, 2)
      const seen = yield* one.resolve(token)
      assert.deepStrictEqual(seen.data, ada1(user))
      for (const source of [token, seen]) {
        assert.strictEqual(yield* outcome(one.modify(source, mark("old"))), "SessionConflict")
      }
      assert.strictEqual(yield* outcome(one.replace(seen, ada1(user))), "SessionConflict")
      assert.strictEqual(yield* outcome(one.modify(token, (data) => [0, data])), "ok")
      assert.deepStrictEqual(yield* stored(id), before)
      assert.strictEqual((yield* two.resolve(token)).data.last, "Byron")
    }),

  "data that an old server cannot decode are refused there, and stay for the new ones": (all, user) =>
    Effect.gen(function* () {
      const { one, stored, three, two } = all
      const { id, token } = yield* three.create(ada3(user))
      const before = yield* stored(id)
      for (const old of [one, two]) {
        assert.strictEqual(yield* outcome(old.resolve(token)), "SessionInvalid Data")
        assert.strictEqual(yield* outcome(old.rotate(token)), "SessionInvalid Data")
      }
      assert.strictEqual(yield* outcome(one.modify(token, mark("old"))), "SessionInvalid Data")
      assert.strictEqual(yield* outcome(two.modify(token, mark("old"))), "SessionInvalid Data")
      assert.deepStrictEqual(yield* stored(id), before)
      assert.deepStrictEqual((yield* three.resolve(token)).data, ada3(user))
    }),

  "a new server reads old data in the new shape, and its next change writes them": ({ one, stored, three }, user) =>
    Effect.gen(function* () {
      const { id, token } = yield* one.create(ada1(user))
      const before = { version: 1, dataVersion: 1, data: ada1(user) }
      assert.deepStrictEqual((yield* three.resolve(token)).data, ada3(user))
      yield* three.modify(token, (data) => [0, data])
      assert.deepStrictEqual(yield* stored(id), before)
      const [, changed] = yield* three.modify(token, mark("new"))
      const data = { ...ada3(user), marks: ["new"] }
      assert.deepStrictEqual(changed.data, data)
      assert.deepStrictEqual(yield* stored(id), { version: 2, dataVersion: 3, data })
    }),

  "a new server replaces old data": ({ one, stored, three, two }, user) =>
    Effect.gen(function* () {
      const { id, token } = yield* one.create(ada1(user))
      const seen = yield* two.resolve(token)
      const replaced = yield* two.replace(seen, { ...seen.data, last: "Byron" })
      assert.deepStrictEqual(yield* stored(id), { version: 2, dataVersion: 2, data: replaced.data })
      const brought = yield* three.resolve(token)
      assert.deepStrictEqual(brought.data, { ...ada3(user), last: "Byron" })
      yield* three.replace(brought, { ...brought.data, theme: "dark" })
      assert.strictEqual((yield* stored(id)).dataVersion, 3)
    }),

  "an old server's change on what it read before is refused, and the newer data stay": (all, user) =>
    Effect.gen(function* () {
      const { one, stored, two } = all
      const { id, token } = yield* one.create(ada1(user))
      const stale = yield* one.resolve(token)
      yield* two.modify(token, (data) => [0, { ...data, last: "Byron" }])
      const after = yield* stored(id)
      assert.strictEqual(yield* outcome(one.modify(stale, mark("old"))), "SessionConflict")
      assert.strictEqual(yield* outcome(one.replace(stale, { ...stale.data, marks: ["old"] })), "SessionConflict")
      assert.deepStrictEqual(yield* stored(id), after)
      assert.deepStrictEqual((yield* two.resolve(token)).data, { ...ada2(user), last: "Byron" })
    }),

  "of changes by old and new servers at once, each that was answered is there": ({ one, stored, two }, user) =>
    Effect.gen(function* () {
      const { id, token } = yield* one.create(ada1(user))
      const change = (i: number) =>
        i % 5 === 4
          ? Effect.as(two.modify(token, mark(`new ${i}`)), [`new ${i}`])
          : one.modify(token, mark(`old ${i}`)).pipe(
              Effect.as([`old ${i}`]),
              Effect.catchTag("SessionConflict", () => Effect.succeed([]))
            )
      const answered = yield* Effect.forEach(
        Array.from({ length: 25 }, (_, i) => i),
        change,
        { concurrency: "unbounded" }
      )
      const { data } = yield* two.resolve(token)
      assert.deepStrictEqual(data.marks.toSorted(), answered.flat().toSorted())
      assert.deepStrictEqual({ ...data, marks: [] }, ada2(user))
      assert.strictEqual((yield* stored(id)).dataVersion, 2)
    }),

  "old servers rotate tokens of newer data, and new ones of older, which stay as they are": (all, user) =>
    Effect.gen(function* () {
      const { one, stored, three, two } = all
      const newer = yield* two.create(ada2(user))
      const older = yield* one.create(ada1(user))
      const [byOld, byNew] = [yield* one.rotate(newer.token), yield* three.rotate(older.token)]
      assert.deepStrictEqual(yield* stored(newer.id), { version: 2, dataVersion: 2, data: ada2(user) })
      assert.deepStrictEqual(yield* stored(older.id), { version: 2, dataVersion: 1, data: ada1(user) })
      assert.deepStrictEqual(byOld.data, ada1(user))
      assert.deepStrictEqual(byNew.data, ada3(user))
      assert.deepStrictEqual((yield* two.resolve(byOld.token)).data, ada2(user))
      assert.deepStrictEqual((yield* one.resolve(byNew.token)).data, ada1(user))
      assert.strictEqual(yield* outcome(two.resolve(newer.token)), "SessionInvalid NotFound")
    }),

  "each lists the sessions of both in its own shape, and ends those of both": (all, user) =>
    Effect.gen(function* () {
      const { one, three, two } = all
      for (const [ending, other] of [
        [one, two],
        [two, one]
      ] as const) {
        const sessions = [yield* one.create(ada1(user)), yield* two.create(ada2(user))]
        const listed = <A>(manager: Session.SessionManager<A, ReadonlyArray<Session.Tagged>>) =>
          Effect.map(manager.list(user), (found) => found.map(({ data }) => data))
        assert.deepStrictEqual(yield* listed(one), [ada1(user), ada1(user)])
        assert.deepStrictEqual(yield* listed(two), [ada2(user), ada2(user)])
        assert.deepStrictEqual(yield* listed(three), [ada3(user), ada3(user)])
        assert.isTrue(yield* ending.revoke(sessions[0]!.id, { principal: user }))
        assert.strictEqual(yield* ending.revokeAll(user), 1)
        for (const { token } of sessions) {
          assert.strictEqual(yield* outcome(other.resolve(token)), "SessionInvalid NotFound")
        }
        assert.deepStrictEqual(yield* three.list(user), [])
      }
    })
}

/** The cases, each over the backend in context, with records under `key` alone. */
export const scenarios = (
  key: string
): ReadonlyArray<readonly [name: string, effect: Effect.Effect<void, unknown, SessionBackend | Scope.Scope>]> =>
  Object.entries(cases).map(([name, scenario], i) => [
    name,
    Effect.flatMap(servers(key), (all) => scenario(all, `user ${i}`)).pipe(Effect.provide(silent))
  ])
