/** How long a request waits on a store that does not answer, when it asks it more than one thing. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { TestClock } from "effect/testing"
import { SessionMiddleware } from "effect-sessions"
import { serve } from "../support/client.ts"
import * as WatchedBackend from "../support/watchedBackend.ts"
import { ada, UserSession } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

const Routes = Layer.mergeAll(
  HttpRouter.add(
    "POST",
    "/login",
    Effect.gen(function* () {
      yield* (yield* UserSession).create(ada)
      return HttpServerResponse.empty({ status: 200 })
    })
  ),
  HttpRouter.add(
    "POST",
    "/count",
    Effect.gen(function* () {
      yield* (yield* UserSession).update((data) => ({ ...data, count: data.count + 1 }))
      return HttpServerResponse.empty({ status: 200 })
    })
  ),
  HttpRouter.add(
    "POST",
    "/rotate",
    Effect.gen(function* () {
      yield* (yield* UserSession).rotate
      return HttpServerResponse.empty({ status: 200 })
    })
  ),
  HttpRouter.add(
    "POST",
    "/others",
    Effect.gen(function* () {
      yield* (yield* UserSession).revokeOthers
      return HttpServerResponse.empty({ status: 200 })
    })
  )
).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))

/** Sends requests of a logged-in client to a store that has stopped answering some operations. */
const answers = Effect.fnUntraced(function* (
  hanging: ReadonlyArray<string>,
  requests: ReadonlyArray<string>,
  millis: number
) {
  const backend = WatchedBackend.make()
  const send = yield* serve(Routes.pipe(Layer.provide(Stack.http(UserSession, { backend: backend.layer }))))
  const { cookie } = yield* send("POST", "/login")
  backend.wire = (operation, call) => (hanging.includes(operation) ? Effect.never : call)
  const fibers = yield* Effect.forEach(requests, (path) => Effect.forkChild(send("POST", path, { cookie })))
  yield* TestClock.adjust(1)
  // Requests go through promises, which the test's clock does not wait for.
  for (let passed = 1; passed < millis; passed += 10) {
    yield* TestClock.adjust(10)
    yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
  }
  return yield* Effect.forEach(fibers, (fiber) =>
    Effect.suspend(() => {
      const exit = fiber.pollUnsafe()
      return exit === undefined ? Effect.as(Fiber.interrupt(fiber), 0) : Effect.map(exit, ({ status }) => status)
    })
  )
})

describe("a store that does not answer", () => {
  it.effect("[R79] updates of one session at once are all answered within 1.5 s", () =>
    Effect.gen(function* () {
      const updates = ["/count", "/count", "/count", "/count", "/count"]
      assert.deepStrictEqual(yield* answers(["update"], updates, 1500), [503, 503, 503, 503, 503])
    })
  )

  it.effect("[R79] rotations of one session at once are all answered within 1.5 s", () =>
    Effect.gen(function* () {
      const rotations = ["/count", "/rotate", "/rotate"]
      assert.deepStrictEqual(yield* answers(["update"], rotations, 1500), [503, 503, 503])
    })
  )

  it.effect("[R79] a login that cannot end the former session is answered within 1.5 s", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* answers(["delete"], ["/login"], 1500), [503])
    })
  )

  it.effect("[R79] ending the other sessions is answered within 1.5 s", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* answers(["update"], ["/others"], 1500), [503])
      assert.deepStrictEqual(yield* answers(["deleteByPrincipal"], ["/others"], 1500), [503])
    })
  )
})
