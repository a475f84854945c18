/**
 * Data changed in place, with the same reference back, are written and not lost. Data that encode as before write
 * nothing, whatever their reference.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Schema } from "effect"
import type { HttpServerRequest, HttpServerResponse } from "effect/http"
import { Session, SessionMiddleware } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import * as Client from "../support/client.ts"
import { empty } from "../support/httpSupport.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import * as Stage from "../support/stage.ts"

class ListSession extends Session.Service<ListSession>()("test/ListSession", {
  data: Schema.Struct({ username: Schema.String, x: Schema.mutable(Schema.Array(Schema.Int)) }),
  principal: (data) => data.username
}) {}

type Data = (typeof ListSession)["data"]["Type"]

/** A new value for each session: these tests change it. */
const ada = (): Data => ({ username: "ada", x: [0] })

const start = Effect.fnUntraced(function* () {
  const backend = WatchedBackend.make()
  const context = yield* Layer.build(SessionTest.layer(ListSession, { backend: backend.layer }))
  const manager = Context.get(context, ListSession.Manager)
  const session = yield* manager.create(ada())
  backend.calls.length = 0
  /** What is stored now, as another process reads it. */
  const stored = Effect.map(backend.records, ([record]) => [record?.version, JSON.parse(record!.data)] as const)
  const send = <E>(
    handler: Effect.Effect<
      HttpServerResponse.HttpServerResponse,
      E,
      HttpServerRequest.HttpServerRequest | Session.Provided<typeof ListSession>
    >
  ) =>
    Effect.flatMap(
      Client.webHandler(Effect.provideContext(Effect.orDie(SessionMiddleware.required(ListSession)(handler)), context)),
      (handle) => Client.sender(handle)("POST", "/", { cookie: Stage.cookieOf(session) })
    )
  return { backend, manager, send, session, stored }
})

const push = (data: Data): Data => {
  data.x.push(1)
  return data
}

describe("data changed in place", () => {
  it.effect("law 7: are written, and are what get answers; what the guard verified stays as it was", () =>
    Effect.gen(function* () {
      const changes: Record<string, (session: (typeof ListSession)["Service"]) => Effect.Effect<unknown, unknown>> = {
        update: (session) => session.update(push),
        modify: (session) => session.modify((data) => ["answer", push(data)])
      }
      for (const [name, change] of Object.entries(changes)) {
        const { backend, send, stored } = yield* start()
        const seen: Array<Data> = []
        yield* send(
          Effect.gen(function* () {
            const session = yield* ListSession
            const before = yield* session.get
            yield* Effect.orDie(change(session))
            seen.push((yield* session.get).data, before.data, (yield* ListSession.Verified).data)
            return empty
          })
        )
        assert.deepStrictEqual(seen, [{ username: "ada", x: [0, 1] }, ada(), ada()], name)
        assert.deepStrictEqual(yield* stored, [2, { username: "ada", x: [0, 1] }], name)
        assert.deepStrictEqual(backend.operations, ["read", "update"], name)
      }
    })
  )

  it.effect("law 7: are written by the manager as well", () =>
    Effect.gen(function* () {
      const { manager, session, stored } = yield* start()
      for (const source of [session, session.token]) yield* manager.modify(source, (data) => [undefined, push(data)])
      assert.deepStrictEqual(yield* stored, [3, { username: "ada", x: [0, 1, 1] }])
      assert.deepStrictEqual(session.data, ada())
    })
  )

  it.effect("law 7: after a conflict the change is made once, on a copy of what the other left", () =>
    Effect.gen(function* () {
      const { backend, send, session, stored } = yield* start()
      const other = Context.get(
        yield* Layer.build(Layer.fresh(SessionTest.layer(ListSession, { backend: backend.layer }))),
        ListSession.Manager
      )
      let first = true
      backend.wire = (operation, call) =>
        operation === "update" && first
          ? Effect.suspend(() => {
              first = false
              const replaced = other.replace(session, { username: "ada", x: [7] })
              return Effect.andThen(Effect.orDie(replaced), call)
            })
          : call
      yield* send(Effect.flatMap(ListSession, (session) => Effect.as(session.update(push), empty)))
      assert.deepStrictEqual(yield* stored, [3, { username: "ada", x: [7, 1] }])
    })
  )

  it.effect("law 7: of a write that failed nothing is seen afterwards", () =>
    Effect.gen(function* () {
      const { backend, send } = yield* start()
      backend.wire = (operation, call) => (operation === "update" ? WatchedBackend.failure(operation) : call)
      let seen: unknown
      yield* send(
        Effect.gen(function* () {
          const session = yield* ListSession
          const error = yield* Effect.flip(session.update(push))
          seen = [error._tag, (yield* session.get).data]
          return empty
        })
      )
      assert.deepStrictEqual(seen, ["SessionUnavailable", ada()])
    })
  )

  it.effect("law 7: data that encode as before write nothing, the same reference or a copy", () =>
    Effect.gen(function* () {
      const { backend, manager, send, session, stored } = yield* start()
      const seen: Array<unknown> = []
      yield* send(
        Effect.gen(function* () {
          const session = yield* ListSession
          for (const same of [
            (data: Data) => data,
            (data: Data) => ({ ...data }),
            (data: Data) => ({ username: data.username, x: [...data.x] })
          ]) {
            seen.push((yield* session.update(same)).version, yield* session.modify((data) => ["kept", same(data)]))
          }
          return empty
        })
      )
      assert.deepStrictEqual(seen, [1, "kept", 1, "kept", 1, "kept"])
      assert.deepStrictEqual(backend.operations, ["read"])
      yield* manager.modify(session, (data) => [undefined, { ...data }])
      assert.deepStrictEqual(yield* stored, [1, ada()])
    })
  )
})
