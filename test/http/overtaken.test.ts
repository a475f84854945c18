/** A read that is still under way when a log-in or a log-out of the same request has ended: the response shows what stands. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, type Exit, Fiber, Layer, Option } from "effect"
import type { HttpServerResponse } from "effect/http"
import { SessionFrontend, SessionMiddleware } from "effect-sessions"
import type { SessionBackend } from "effect-sessions"
import { TestClock } from "effect/testing"
import * as Client from "../support/client.ts"
import { empty, isLive } from "../support/httpSupport.ts"
import { every, times } from "../support/rotating.ts"
import * as Stack from "../support/stack.ts"
import * as Stage from "../support/stage.ts"
import { ada, eve, UserSession } from "../support/userSession.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"

type Handle = (typeof UserSession)["Service"]

/** What the other fiber of the request does meanwhile, and whose sessions there are afterwards. */
const changes = {
  create: [(session: Handle): Effect.Effect<unknown, unknown> => session.create(eve), ["eve"]],
  destroy: [(session: Handle): Effect.Effect<unknown, unknown> => session.destroy, []]
} as const

/** A request that reads its session, and changes it `after` so many milliseconds of the read. */
const racing = (change: (session: Handle) => Effect.Effect<unknown, unknown>, after: number) =>
  Effect.gen(function* () {
    const session = yield* UserSession
    const reading = yield* Effect.forkChild(Effect.exit(session.get), { startImmediately: true })
    yield* Effect.sleep(after)
    yield* Effect.orDie(change(session))
    yield* Fiber.await(reading)
    return empty
  })

/** The sessions whose tokens an answer hands out. */
const tokensOf = ({ setCookie }: Client.Answer) =>
  setCookie.filter((cookie) => !cookie.includes("Max-Age=0")).map((cookie) => cookie.split(".")[2])

/** Answers of these operations on sessions take their time; claims of another library's are quick. */
const slow = (backend: WatchedBackend.WatchedBackend, operations: ReadonlyArray<SessionBackend.Operation>) => {
  backend.wire = (operation, run, [first]) => {
    const namespace = operation === "create" ? (first as SessionBackend.SessionRecord).namespace : first
    return operations.includes(operation) && namespace === UserSession.key
      ? Effect.tap(run, () => Effect.sleep(100))
      : run
  }
}

/** An app whose requests all carry another library's session of ada. */
const adopting = Effect.fnUntraced(function* (from?: string) {
  const backend = WatchedBackend.make()
  const adopt = () => Effect.succeed(Option.some({ data: ada, ...(from === undefined ? {} : { from }) }))
  const context = yield* Layer.build(
    SessionMiddleware.layer(UserSession, { adopt }).pipe(
      Layer.provideMerge([Stack.parts(UserSession, { backend: backend.layer }), SessionFrontend.layerCookie()])
    )
  )
  return {
    backend,
    manager: Context.get(context, UserSession.Manager),
    app: (handler: Effect.Effect<HttpServerResponse.HttpServerResponse, unknown, UserSession>) =>
      Effect.map(
        Client.webHandler(Effect.provideContext(SessionMiddleware.make(UserSession)(handler), context)),
        Client.sender
      )
  }
})

describe("a read that a change of the same request overtakes", () => {
  for (const [name, [change, expected]] of Object.entries(changes)) {
    for (const after of [5, 50, 150, 250, 350, 450, 550]) {
      it.effect(`[R25] [R46] [R47] puts no rotated token over what ${name} put there, ${after} ms on`, () =>
        Effect.gen(function* () {
          const stage = yield* Stage.make(times)
          const before = yield* stage.login(ada)
          const cookie = Stage.cookieOf(before)
          yield* TestClock.adjust(every)
          slow(stage.backend, ["read", "update"])
          const send = yield* stage.open(racing(change, after))
          const sending = yield* Effect.forkChild(send("POST", "/", { cookie }), { startImmediately: true })
          yield* TestClock.adjust("1 second")
          const answer = yield* Fiber.join(sending)
          stage.backend.wire = (_, run) => run
          const live = (yield* stage.backend.records).map(({ data, id }) => [JSON.parse(data).username, id] as const)
          assert.deepStrictEqual(
            live.map(([username]) => username),
            [...expected]
          )
          assert.deepStrictEqual(
            tokensOf(answer),
            live.map(([, id]) => id)
          )
          assert.isFalse(yield* isLive(stage, before.token))
        })
      )

      for (const from of [undefined, "old-1"]) {
        const named = from === undefined ? "without a name" : "with one"
        it.effect(`[R25] [R47] no adopted session ${named} takes the place of ${name}, ${after} ms on`, () =>
          Effect.gen(function* () {
            const { app, backend, manager } = yield* adopting(from)
            slow(backend, ["read", "create"])
            const send = yield* app(racing(change, after))
            const sending = yield* Effect.forkChild(send("POST", "/"), { startImmediately: true })
            yield* TestClock.adjust("3 seconds")
            const answer = yield* Fiber.join(sending)
            backend.wire = (_, run) => run
            const live = [...(yield* manager.list("ada")), ...(yield* manager.list("eve"))]
            assert.deepStrictEqual(
              live.map(({ data }) => data?.username),
              [...expected]
            )
            assert.deepStrictEqual(
              tokensOf(answer),
              live.map(({ id }) => id)
            )
          })
        )
      }
    }
  }
})

it.effect("[R77] a rotation that the response did not wait for fails loudly: nobody has its token", () =>
  Effect.gen(function* () {
    const stage = yield* Stage.make()
    const before = yield* stage.login(ada)
    slow(stage.backend, ["update"])
    let rotated: Exit.Exit<unknown, unknown> | undefined
    const send = yield* stage.open(
      Effect.gen(function* () {
        const session = yield* UserSession
        yield* session.get
        yield* Effect.forkDetach(Effect.onExit(session.rotate, (exit) => Effect.sync(() => (rotated = exit))))
        yield* Effect.sleep(10)
        return empty
      })
    )
    const sending = yield* Effect.forkChild(send("POST", "/", { cookie: Stage.cookieOf(before) }))
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual((yield* Fiber.join(sending)).setCookie, [])
    assert.match(String(rotated), /rotate was called after the response's headers were made/)
  })
)

it.effect("[R47] a read that is given up leaves no adopted session behind: the next call of the request finds it", () =>
  Effect.gen(function* () {
    for (const [name, [change, expected]] of Object.entries({
      ...changes,
      get: [({ get }: Handle) => get, ["ada"]] as const
    })) {
      const { app, backend, manager } = yield* adopting()
      slow(backend, ["create"])
      const send = yield* app(
        Effect.gen(function* () {
          const session = yield* UserSession
          yield* Effect.timeoutOption(session.get, 10)
          yield* Effect.orDie(change(session))
          return empty
        })
      )
      const sending = yield* Effect.forkChild(send("POST", "/"), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      const answer = yield* Fiber.join(sending)
      const live = [...(yield* manager.list("ada")), ...(yield* manager.list("eve"))]
      assert.deepStrictEqual(
        live.map(({ data }) => data?.username),
        [...expected],
        name
      )
      assert.deepStrictEqual(
        tokensOf(answer),
        live.map(({ id }) => id),
        name
      )
    }
  })
)

it.effect("[R47] a request that ends its own session by its id hands out no token of it", () =>
  Effect.gen(function* () {
    const stage = yield* Stage.make(times)
    const cookie = Stage.cookieOf(yield* stage.login(ada))
    yield* TestClock.adjust(every)
    const send = yield* stage.open(
      Effect.gen(function* () {
        const session = yield* UserSession
        assert.isTrue(yield* session.revoke((yield* session.get).id))
        return empty
      })
    )
    const answer = yield* send("POST", "/", { cookie })
    assert.deepStrictEqual([answer.status, answer.setCookie, yield* stage.backend.records], [204, [], []])
  })
)
