/** The security schemes an API declares, and the frontend's own. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpApiSecurity from "effect/http-api/HttpApiSecurity"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { SessionError } from "effect-sessions"
import { Session, SessionFrontend, SessionHttpApi } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import {
  Authenticated,
  Guarded,
  MemberSession,
  Middlewares,
  Stack,
  Visitor,
  VisitorOrMember
} from "../support/memberApi.ts"

describe("declared schemes", () => {
  const bearerOnly = SessionTest.layer(MemberSession, { frontend: SessionFrontend.layerBearer() })
  const otherName = SessionTest.layer(MemberSession, { frontend: SessionFrontend.layerCookie({ name: "__Host-id" }) })
  const cookieOnly = SessionTest.layer(MemberSession)
  const problems = <A>(layer: Layer.Layer<A, SessionError.SessionConfigError>) =>
    Effect.map(Effect.exit(Effect.scoped(Layer.build(layer))), (exit) =>
      Option.match(Exit.findErrorOption(exit), {
        onNone: (): ReadonlyArray<string> => [],
        onSome: ({ problems }) => problems
      })
    )

  it.effect("a scheme the frontend does not read fails the layer, naming both", () =>
    Effect.gen(function* () {
      const guard = SessionHttpApi.layer(Authenticated, MemberSession)
      assert.deepStrictEqual(yield* problems(Layer.provide(guard, bearerOnly)), [
        `test/Authenticated declares the security scheme "session" (cookie "__Host-session"), which the frontend of ` +
          `test/MemberSession does not read: it reads Authorization: bearer; declare one of these, or give the ` +
          `definition a frontend that reads it`
      ])
      const other = yield* problems(Layer.provide(guard, otherName))
      assert.lengthOf(other, 2)
      assert.include(other[0]!, `it reads cookie "__Host-id"`)
      assert.include(other[1]!, `"bearer" (Authorization: bearer)`)
      assert.lengthOf(yield* problems(Layer.provide(guard, cookieOnly)), 1)
      assert.lengthOf(
        yield* problems(Layer.provide(SessionHttpApi.layerOptional(VisitorOrMember, MemberSession), cookieOnly)),
        1
      )
    })
  )

  it.effect("what the frontend reads, and no scheme at all, are fine", () =>
    Effect.gen(function* () {
      class ByHeader extends HttpApiMiddleware.Service<
        ByHeader,
        { provides: Session.Provided<typeof MemberSession> }
      >()("test/ByHeader", {
        error: Session.errors(MemberSession),
        // Header names have no case.
        security: { header: HttpApiSecurity.apiKey({ key: "X-Session" }) }
      }) {}
      class ByQuery extends HttpApiMiddleware.Service<ByQuery, { provides: Session.Provided<typeof MemberSession> }>()(
        "test/ByQuery",
        {
          error: Session.errors(MemberSession),
          security: { query: HttpApiSecurity.apiKey({ key: "x-session", in: "query" }) }
        }
      ) {}
      const header = SessionTest.layer(MemberSession, { frontend: SessionFrontend.layerHeader({ name: "x-session" }) })
      assert.deepStrictEqual(yield* problems(Layer.provide(SessionHttpApi.layer(ByHeader, MemberSession), header)), [])
      assert.lengthOf(yield* problems(Layer.provide(SessionHttpApi.layer(ByQuery, MemberSession), header)), 1)
      assert.lengthOf(yield* problems(Layer.provide(SessionHttpApi.layer(ByHeader, MemberSession), cookieOnly)), 1)
      assert.deepStrictEqual(
        yield* problems(Layer.provide(SessionHttpApi.layer(Guarded, MemberSession), cookieOnly)),
        []
      )
      assert.deepStrictEqual(
        yield* problems(Layer.provide(SessionHttpApi.layerOptional(Visitor, MemberSession), bearerOnly)),
        []
      )
      assert.deepStrictEqual(yield* problems(Layer.provide(Middlewares, Stack)), [])
    })
  )
})
