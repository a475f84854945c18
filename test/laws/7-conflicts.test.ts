/**
 * Law 7: `update` and `modify` read again on a conflict and check everything again; `replace` is one compare-and-set
 * against the version that this request read.
 */
import { assert, describe, it } from "@effect/vitest"
import type { Redacted } from "effect"
import { Context, Effect, Layer } from "effect"
import { SessionError, SessionVerifier } from "effect-sessions"
import { TestClock } from "effect/testing"
import { empty, tagOf, text } from "../support/httpSupport.ts"
import * as Stage from "../support/stage.ts"
import { ada, UserSession } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

describe("law 7: update, modify and replace", () => {
  /** Lets another request be faster, once, right before the first compare-and-set. */
  const meanwhile = (stage: Effect.Success<ReturnType<typeof Stage.make>>, other: Effect.Effect<unknown, unknown>) => {
    let first = true
    stage.backend.wire = (operation, call) =>
      operation === "update" && first
        ? Effect.suspend(() => {
            first = false
            return Effect.andThen(Effect.orDie(other), call)
          })
        : call
  }

  it.effect("law 7: an update that meets a newer version is made on that one", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      // Another process, with a manager of its own.
      const other = yield* Layer.build(Stack.http(UserSession, { backend: stage.backend.layer }))
      const others = Context.get(other, UserSession.Manager)
      const seen: Array<number> = []
      const send = yield* stage.open(
        Effect.gen(function* () {
          const handle = yield* UserSession
          yield* handle.get
          meanwhile(
            stage,
            others.modify(session.token, (data) => [undefined, { ...data, count: 10 }])
          )
          const updated = yield* handle.update((data) => {
            seen.push(data.count)
            return { ...data, count: data.count + 1 }
          })
          return text(String(updated.data.count))
        })
      )
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(session) })).text, "11")
      assert.deepStrictEqual(seen, [0, 10])
    })
  )

  it.effect("law 7: secret, deadlines and verifier are checked again on a conflict", () =>
    Effect.gen(function* () {
      const verifier = SessionVerifier.layerPredicate(
        UserSession,
        ({ data }) => Effect.succeed(data.count < 100),
        () => new SessionError.SessionRefused({ message: "suspended meanwhile" })
      )
      const rows = [
        [
          "SessionRefused",
          403,
          (m: Manager, token: Redacted.Redacted<string>) => m.modify(token, (d) => [0, { ...d, count: 100 }])
        ],
        ["SessionInvalid", 401, (m: Manager, token: Redacted.Redacted<string>) => m.rotate(token)],
        ["SessionInvalid", 401, (m: Manager, token: Redacted.Redacted<string>) => m.destroy(token)],
        [
          "SessionInvalid",
          401,
          (m: Manager, token: Redacted.Redacted<string>) =>
            Effect.andThen(
              m.modify(token, (d) => [0, { ...d, count: 1 }]),
              TestClock.adjust("2 hours")
            )
        ]
      ] as const
      type Manager = Effect.Success<ReturnType<typeof Stage.make>>["manager"]
      for (const [tag, status, change] of rows) {
        // Two hours pass during a call in the last row, and it is not to be late.
        const stage = yield* Stage.make({ verifier, backendTimeout: "3 hours" })
        const session = yield* stage.login(ada)
        const other = yield* Layer.build(Stack.http(UserSession, { backend: stage.backend.layer }))
        const applied: Array<number> = []
        const send = yield* stage.open(
          Effect.gen(function* () {
            const handle = yield* UserSession
            yield* handle.get
            meanwhile(stage, change(Context.get(other, UserSession.Manager), session.token))
            yield* handle.update((data) => {
              applied.push(data.count)
              return { ...data, count: data.count + 1 }
            })
            return empty
          })
        )
        const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(session) })
        assert.deepStrictEqual([answer.status, tagOf(answer)], [status, tag])
        assert.deepStrictEqual(applied, [0])
      }
    })
  )

  it.effect("law 7: [R70] replace is made on the version this request read, or not at all", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const send = yield* stage.open(
        Effect.gen(function* () {
          const handle = yield* UserSession
          yield* handle.get
          yield* stage.manager.modify(session.token, (data) => [undefined, { ...data, count: 5 }])
          yield* handle.replace({ ...ada, count: 1 })
          return empty
        })
      )
      const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(session) })
      assert.deepStrictEqual([answer.status, tagOf(answer)], [409, "SessionConflict"])
      assert.strictEqual((yield* stage.manager.resolve(session.token)).data.count, 5)
      // On the newest version it is made, after the request's own changes too.
      const again = yield* stage.open(
        Effect.gen(function* () {
          const handle = yield* UserSession
          yield* handle.update((data) => ({ ...data, count: 6 }))
          return text(String((yield* handle.replace({ ...ada, count: 7 })).version))
        })
      )
      assert.strictEqual((yield* again("POST", "/", { cookie: Stage.cookieOf(session) })).text, "4")
    })
  )

  it.effect("law 7: the same reference back writes nothing", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const send = yield* stage.open(
        Effect.gen(function* () {
          const handle = yield* UserSession
          const { version } = yield* handle.update((data) => data)
          const answer = yield* handle.modify((data) => ["kept", data])
          return text(`${version} ${answer}`)
        })
      )
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(session) })).text, "1 kept")
      assert.deepStrictEqual(stage.backend.operations, ["read"])
    })
  )

  it.effect("law 7: [R70] 50 concurrent requests of one session keep all their updates", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const send = yield* stage.open(
        Effect.gen(function* () {
          const handle = yield* UserSession
          yield* handle.get
          yield* Effect.yieldNow
          yield* handle.update((data) => ({ ...data, count: data.count + 1 }))
          return empty
        })
      )
      const answers = yield* Effect.all(
        Array.from({ length: 50 }, () => send("POST", "/", { cookie: Stage.cookieOf(session) })),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(new Set(answers.map(({ status }) => status)), new Set([204]))
      assert.strictEqual((yield* stage.manager.resolve(session.token)).data.count, 50)
    })
  )

  it.effect("law 7: what the schema refuses is a defect, and is not stored", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const session = yield* stage.login(ada)
      const send = yield* stage.open(
        Effect.flatMap(UserSession, (handle) =>
          Effect.as(
            handle.update((data) => ({ ...data, count: 0.5 })),
            empty
          )
        )
      )
      assert.strictEqual((yield* send("POST", "/", { cookie: Stage.cookieOf(session) })).status, 500)
      assert.deepStrictEqual(stage.backend.operations, ["read"])
    })
  )
})
