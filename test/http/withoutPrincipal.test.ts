/** A definition whose sessions belong to nobody. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { HttpServerResponse } from "effect/http"
import { Session, SessionMiddleware } from "effect-sessions"
import * as Client from "../support/client.ts"
import { defectOf } from "../support/outcome.ts"
import * as Stack from "../support/stack.ts"

it.effect("has no user's sessions to list or end: a defect says what it lacks", () =>
  Effect.gen(function* () {
    class Visit extends Session.Service<Visit>()("test/Visit", { data: Schema.Struct({ name: Schema.String }) }) {}
    const context = yield* Layer.build(Stack.http(Visit))
    const words = yield* Effect.gen(function* () {
      const session = yield* Visit
      yield* session.create({ name: "ada" })
      const { list, revokeAll, revokeOthers } = session
      const calls = [list, session.revoke((yield* session.get).id), revokeOthers, revokeAll]
      const exits = yield* Effect.forEach(calls, (call) => Effect.exit<unknown, unknown, never>(call))
      assert.strictEqual((yield* session.get).data.name, "ada")
      return HttpServerResponse.text(exits.map((exit) => String(defectOf(exit))).join())
    }).pipe(SessionMiddleware.make(Visit), Effect.provideContext(context), Client.webHandler, Effect.map(Client.sender))
    const said = "Error: test/Visit: no session belongs to a user; give the definition a `principal`"
    assert.strictEqual((yield* words("POST", "/")).text, [said, said, said, said].join())
  })
)
