import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Session from "../../src/Session.ts"
import { UserSession } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

describe("configuration", () => {
  const contradictions: Record<string, readonly [Session.LayerOptions, RegExp]> = {
    "idle above absolute": [{ idleTimeout: "2 days" }, /idleTimeout must not be longer than absoluteTimeout/],
    "absolute above 400 days": [{ absoluteTimeout: "401 days" }, /400 days/],
    "touch above half of idle": [{ touchInterval: "31 minutes" }, /touchInterval must not be longer than half/],
    "infinite absolute": [{ absoluteTimeout: Infinity }, /absoluteTimeout must be a finite duration/],
    "infinite idle": [{ idleTimeout: "Infinity" }, /idleTimeout must be a finite duration/],
    "zero idle": [{ idleTimeout: 0 }, /idleTimeout must be a finite duration above zero/],
    "negative absolute": [{ absoluteTimeout: -1 }, /absoluteTimeout must be a finite duration above zero/],
    "touch that is no number": [{ touchInterval: NaN }, /touchInterval must be a finite duration above zero/],
    "zero touch": [{ touchInterval: 0 }, /touchInterval must be a finite duration above zero/],
    "zero deadline": [{ backendTimeout: 0 }, /backendTimeout must be a finite duration above zero/],
    "infinite deadline": [{ backendTimeout: Infinity }, /backendTimeout must be a finite duration above zero/],
    "rotation more often than every 5 minutes": [{ rotateEvery: 299_999 }, /rotateEvery must be 5 minutes at least/],
    "rotation as seldom as sessions end": [{ rotateEvery: "24 hours" }, /rotateEvery must be shorter than absolute/],
    "rotation at no number": [{ rotateEvery: NaN }, /rotateEvery must be a finite duration above zero/],
    "rotation at never": [{ rotateEvery: Infinity }, /rotateEvery must be a finite duration above zero/],
    "a grace without rotation": [{ rotationGrace: "1 minute" }, /rotationGrace means nothing without rotateEvery/],
    "a grace above 5 minutes": [{ rotateEvery: "1 hour", rotationGrace: 300_001 }, /rotationGrace must be 5 minutes/],
    "a grace of no number": [{ rotateEvery: "1 hour", rotationGrace: NaN }, /rotationGrace must be a finite duration/],
    "a grace of nothing": [{ rotateEvery: "1 hour", rotationGrace: 0 }, /rotationGrace must be a finite duration/],
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

  it.effect("[R87a] an identifier of over 500 bytes is refused, since a store would refuse its records", () =>
    Effect.gen(function* () {
      const build = (length: number) => {
        class Long extends Session.Service<Long>()("x".repeat(length), { data: Schema.Struct({}) }) {}
        return Layer.build(Stack.manager(Long))
      }
      const error = yield* Effect.flip(build(501))
      assert.strictEqual(error._tag, "SessionConfigError")
      assert.match(error.problems.join(), /identifier must have 500 bytes at most/)
      yield* build(500)
    })
  )

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
        { touchInterval: "30 minutes" },
        { rotateEvery: "5 minutes", rotationGrace: "5 minutes" },
        { rotateEvery: 86_399_999, rotationGrace: 1 },
        { idleTimeout: 1, absoluteTimeout: 1, backendTimeout: 1 }
      ] as const,
      (times) => Layer.build(Stack.manager(UserSession, times))
    )
  )
})
