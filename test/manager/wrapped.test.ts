/** Whatever is put around the backend is what the manager asks. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SessionBackend from "../../src/SessionBackend.ts"
import { UserSession, ada } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

describe("a wrapped backend", () => {
  it.effect("a memory backend of which `read` was replaced is asked by the new one", () => {
    let asked = 0
    const memory = Stack.memory()
    const wrapped = Layer.succeed(SessionBackend.SessionBackend, {
      ...memory,
      read: (namespace: string, id: string) =>
        Effect.suspend(() => {
          asked++
          return memory.read(namespace, id)
        })
    })
    return Effect.gen(function* () {
      const sessions = yield* UserSession.Manager
      const { token } = yield* sessions.create(ada)
      asked = 0
      yield* sessions.resolve(token)
      assert.strictEqual(asked, 1)
    }).pipe(Effect.provide(Stack.manager(UserSession, { backend: wrapped })))
  })

  it.effect("so is one whose `read` is a proxy, a copy with its statics, or was replaced later", () =>
    Effect.gen(function* () {
      const memory = Stack.memory()
      const own = memory.read
      let asked = 0
      const counting: typeof own = (namespace, id) => {
        asked++
        return own(namespace, id)
      }
      const service = { ...memory }
      yield* Effect.gen(function* () {
        const sessions = yield* UserSession.Manager
        const { token } = yield* sessions.create(ada)
        for (const read of [
          new Proxy(own, { apply: (_, __, [namespace, id]) => counting(namespace as string, id as string) }),
          Object.assign(counting.bind(undefined), own)
        ]) {
          service.read = read
          yield* sessions.resolve(token)
        }
        assert.strictEqual(asked, 2)
      }).pipe(
        Effect.provide(Stack.manager(UserSession, { backend: Layer.succeed(SessionBackend.SessionBackend, service) }))
      )
    })
  )
})
