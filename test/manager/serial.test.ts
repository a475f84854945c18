/** Taking turns. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber } from "effect"
import * as Serial from "../../src/internal/serial.ts"

describe("serial", () => {
  it.live("[R70] whoever yields on the way to the queue does not queue where nobody calls any more", () =>
    Effect.gen(function* () {
      // A fiber yields after 2,048 steps: here at each place on its way, one after the other.
      for (let steps = 2030; steps < 2060; steps++) {
        const run = Serial.make()
        const done = Deferred.makeUnsafe<void>()
        const late = Exit.fail("late")
        const first = Effect.runFork(run("a", 1000, Deferred.await(done), late))
        let left = steps
        const loop = (): Effect.Effect<string, string> =>
          left-- > 0 ? Effect.suspend(loop) : run("a", 100, Effect.succeed("ran"), late)
        const second = Effect.runFork(Effect.suspend(loop))
        Deferred.doneUnsafe(done, Exit.void)
        assert.strictEqual(yield* Fiber.join(second), "ran", `${steps} steps`)
        yield* Fiber.join(first)
        // And the turn is free again.
        assert.strictEqual(yield* run("a", 100, Effect.succeed("ran"), late), "ran")
      }
    })
  )
})
