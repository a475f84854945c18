import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Session from "../../src/Session.ts"
import { UserSession } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

describe("configuration", () => {
  const contradictions: Record<string, readonly [Session.LayerOptions, RegExp]> = {
    "idle above absolute": [{ idleTimeout: "2 days" }, /idleTimeout must not be longer than absoluteTimeout/],
    "absolute above 400 days": [{ absoluteTimeout: "401 days" }, /400 days/],
    "touch above idle": [{ touchInterval: "2 hours" }, /touchInterval must not be longer than idleTimeout/],
    "infinite absolute": [{ absoluteTimeout: Infinity }, /absoluteTimeout must be a finite duration/],
    "infinite idle": [{ idleTimeout: "Infinity" }, /idleTimeout must be a finite duration/],
    "zero idle": [{ idleTimeout: 0 }, /idleTimeout must be a finite duration above zero/],
    "negative absolute": [{ absoluteTimeout: -1 }, /absoluteTimeout must be a finite duration above zero/],
    "touch that is no number": [{ touchInterval: NaN }, /touchInterval must be a finite duration above zero/],
    "zero touch": [{ touchInterval: 0 }, /touchInterval must be a finite duration above zero/],
    "zero deadline": [{ backendTimeout: 0 }, /backendTimeout must be a finite duration above zero/],
    "infinite deadline": [{ backendTimeout: Infinity }, /backendTimeout must be a finite duration above zero/],
    // As plain JavaScript would call it.
    "no duration at all": [{ idleTimeout: "an hour" as "1 hour" }, /idleTimeout must be a finite duration/]
  }
  for (const [name, [times, rule]] of Object.entries(contradictions)) {
    it.effect(`[R87a] ${name} is refused when the Layer is built`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Layer.build(Stack.manager(UserSession, times)))
        assert.strictEqual(error._tag, "SessionConfigError")
        assert.match(error.problems.join("\n"), rule)
      })
    )
  }

  it.effect("[R87a] all that is wrong is said at once", () =>
    Effect.gen(function* () {
      const times = {
        idleTimeout: "3 days",
        absoluteTimeout: "2 days",
        touchInterval: "4 days",
        backendTimeout: -1
      } as const
      const error = yield* Effect.flip(Layer.build(Stack.manager(UserSession, times)))
      assert.strictEqual(error.problems.length, 3)
      for (const problem of error.problems) assert.include(error.message, problem)
    })
  )

  it.effect("[R87a] the limits themselves are allowed", () =>
    Effect.forEach(
      [
        { idleTimeout: "24 hours" },
        { absoluteTimeout: "400 days" },
        { touchInterval: "1 hour" },
        { idleTimeout: 1, absoluteTimeout: 1, backendTimeout: 1 }
      ] as const,
      (times) => Layer.build(Stack.manager(UserSession, times))
    )
  )
})
