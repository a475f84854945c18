import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Schema from "effect/Schema"
import * as Session from "../src/Session.ts"
import {
  Reason,
  SessionConfigError,
  SessionConflict,
  SessionCrossOrigin,
  SessionDataError,
  SessionInvalid,
  SessionMissing,
  SessionRefused,
  SessionUnavailable
} from "../src/SessionError.ts"
import { UserData, UserSession } from "./support/userSession.ts"

const table = [
  [new SessionMissing(), SessionMissing, 401, { _tag: "SessionMissing" }],
  ...(["Malformed", "Signature", "NotFound", "Expired", "Data", "Ambiguous"] as const).map(
    (reason) => [new SessionInvalid({ reason }), SessionInvalid, 401, { _tag: "SessionInvalid", reason }] as const
  ),
  [new SessionRefused({ message: "no" }), SessionRefused, 403, { _tag: "SessionRefused", message: "no" }],
  [new SessionCrossOrigin(), SessionCrossOrigin, 403, { _tag: "SessionCrossOrigin" }],
  [new SessionConflict(), SessionConflict, 409, { _tag: "SessionConflict" }],
  ...(["notApplied", "unknown"] as const).map(
    (outcome) =>
      [new SessionUnavailable({ outcome }), SessionUnavailable, 503, { _tag: "SessionUnavailable", outcome }] as const
  )
] as const

describe("each error", () => {
  for (const [error, schema, status, body] of table) {
    const name = Object.values(body).join(" ")
    it.effect(`${name} answers ${status}, in a router and in an HttpApi alike`, () =>
      Effect.gen(function* () {
        assert.strictEqual(schema.ast.annotations?.["httpApiStatus"], status)
        const response = HttpServerResponse.toWeb(yield* HttpServerRespondable.toResponse(error))
        assert.strictEqual(response.status, status)
        assert.deepStrictEqual(yield* Effect.promise(() => response.json()), body)
        assert.strictEqual(response.headers.get("retry-after"), status === 503 ? "1" : null)
        // The schema's union is invariant in its members; each encodes its own.
        const encoded = yield* Schema.encodeUnknownEffect(schema as Schema.Codec<unknown>)(error)
        assert.deepStrictEqual(encoded, body)
      })
    )
    it(`${name} has a message, and is reported only if it is the server's fault`, () => {
      assert.isAbove(error.message.length, 1)
      assert.strictEqual((error as { [ErrorReporter.ignore]?: boolean })[ErrorReporter.ignore] === true, status < 500)
    })
  }

  it.effect("one reason is caught by itself, and the others stay what they are", () =>
    Effect.gen(function* () {
      const again = (error: SessionInvalid | SessionMissing) =>
        Effect.fail(error).pipe(
          Effect.catchIf(
            (error) => error._tag === "SessionInvalid" && error.reason === "Expired",
            () => Effect.succeed("again")
          ),
          Effect.catchTag("SessionInvalid", ({ reason }) => Effect.succeed(reason)),
          Effect.catch(({ _tag }) => Effect.succeed(_tag))
        )
      for (const reason of Reason.literals) {
        assert.strictEqual(yield* again(new SessionInvalid({ reason })), reason === "Expired" ? "again" : reason)
      }
      assert.strictEqual(yield* again(new SessionMissing()), "SessionMissing")
      // @ts-expect-error no such reason
      const isNone = new SessionInvalid({ reason: "Expired" }).reason === "Expire"
      assert.isFalse(isNone)
    })
  )

  it("SessionConfigError lists its problems, SessionDataError says its own", () => {
    const error = new SessionConfigError({ problems: ["one", "two"] })
    assert.include(error.message, "- one\n")
    assert.include(error.message, "- two")
    assert.strictEqual(new SessionDataError({ problem: "too long" }).message, "session data: too long")
  })
})

describe("Session.errors", () => {
  it("are all a guarded route can answer with, the definition's own refusals in place of SessionRefused", () => {
    class A extends Schema.TaggedError<A>()("A", {}) {}
    class B extends Schema.TaggedError<B>()("B", {}) {}
    class One extends Session.Service<One>()("test/One", { data: UserData, refused: A }) {}
    class Two extends Session.Service<Two>()("test/Two", { data: UserData, refused: [A, B] }) {}
    const rest = [SessionCrossOrigin, SessionConflict, SessionUnavailable]
    assert.deepStrictEqual([...Session.errors(UserSession)], [SessionMissing, SessionInvalid, SessionRefused, ...rest])
    assert.deepStrictEqual([...Session.errors(One)], [SessionMissing, SessionInvalid, A, ...rest])
    assert.deepStrictEqual([...Session.errors(Two)], [SessionMissing, SessionInvalid, A, B, ...rest])
  })

  it("a SessionId is 22 characters of base64url", () => {
    const is = Schema.is(Session.SessionId)
    assert.isTrue(is("A".repeat(22)))
    for (const bad of ["", "A".repeat(21), "A".repeat(23), "A".repeat(21) + "=", "A".repeat(21) + "\n", 1, null]) {
      assert.isFalse(is(bad))
    }
  })
})
