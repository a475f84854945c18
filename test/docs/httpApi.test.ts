/** The code of docs/http-api.md that its own tests and its curl lines do not reach. */
import { assert, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { SessionTest } from "effect-sessions/testing"
import { modulesOf } from "../support/fences.ts"

const file = modulesOf("docs/http-api.md")

it.effect("a guard with the API's own errors is a layer that builds", () =>
  Effect.gen(function* () {
    const [{ UserSession }, { MemberLive }] = yield* Effect.promise(() => Promise.all(["api", "own-errors"].map(file)))
    const context = yield* Layer.build(
      (MemberLive as Layer.Layer<any>).pipe(Layer.provide(SessionTest.layer(UserSession)))
    )
    assert.isTrue(Context.isContext(context))
  })
)
