/** What an application's OpenTelemetry exports of sessions: over a real server, by Effect's own tracer and metrics. */
import { SpanStatusCode } from "@opentelemetry/api"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as SessionMetrics from "../../src/SessionMetrics.ts"
import { silent } from "../support/logs.ts"
import * as MemberServer from "../support/memberServer.ts"
import * as OpenTelemetry from "../support/openTelemetry.ts"

const refused = (status: number, reason: string) => ({ "session.refused": reason, status })
const failed = (status: number, operation: string, outcome: string) => ({
  "session.backend.operation": operation,
  "session.backend.outcome": outcome,
  status
})
const nothing = { status: 204 }

/** What the span of each fate says. */
const expected: Record<string, object> = {
  "a log-in": nothing,
  "an accepted request": nothing,
  "a change": nothing,
  "no token, at a guard": refused(401, "SessionMissing"),
  "no token, where the handler asks for the session": refused(401, "SessionMissing"),
  "no token, where the handler does without": nothing,
  "no token, at a guard that redirects": refused(302, "SessionMissing"),
  Malformed: refused(401, "Malformed"),
  Signature: refused(401, "Signature"),
  "a planted token beside the real one": refused(204, "Signature"),
  "a log-in of another": nothing,
  Ambiguous: refused(401, "Ambiguous"),
  Suspended: refused(403, "Suspended"),
  "a log-out": nothing,
  NotFound: refused(401, "NotFound"),
  "a log-in that proves nothing": nothing,
  SessionStale: refused(401, "SessionStale"),
  "SessionStale, for a handler": refused(401, "SessionStale"),
  Superseded: refused(401, "Superseded"),
  SessionCrossOrigin: refused(403, "SessionCrossOrigin"),
  "a visitor's session": nothing,
  "a visitor, at a guard": refused(401, "SessionMissing"),
  "a visitor, of whom a handler asks a proof": refused(401, "SessionMissing"),
  "a visitor, who has no list": refused(401, "SessionMissing"),
  "a log-in in a visitor's place": nothing,
  Expired: refused(401, "Expired"),
  Data: refused(401, "Data"),
  "a log-in again": nothing,
  "a read that fails": failed(503, "read", "notApplied"),
  "a touch that fails": failed(204, "touch", "unknown"),
  "a change that fails": failed(503, "update", "unknown"),
  "a log-in that fails": failed(503, "create", "notApplied")
}

describe("OpenTelemetry over a real server", () => {
  /** Brings about all fates, and checks what the span of each says. */
  const checkSpans = (server: MemberServer.MemberServer, exported: ReturnType<typeof OpenTelemetry.make>) =>
    Effect.gen(function* () {
      const said: Record<string, Record<string, unknown>> = {}
      for (const [name, fate] of MemberServer.fates(server).all) {
        yield* fate
        const [span, ...more] = exported.spans()
        assert.deepStrictEqual(more, [], name)
        said[name] = OpenTelemetry.said(span!)
        // A client that is refused is no error of the server.
        const isFailed = said[name].status === 503
        assert.strictEqual(span!.status.code, isFailed ? SpanStatusCode.ERROR : SpanStatusCode.OK, name)
        assert.deepStrictEqual(
          span!.events.map(({ attributes }) => attributes?.["exception.message"]),
          isFailed ? ["the session store is unavailable"] : [],
          name
        )
      }
      assert.deepStrictEqual(said, expected)
    })

  it.live("[R85c] a request's span says why it was refused, or which call failed, without being asked", () => {
    const exported = OpenTelemetry.make()
    return Effect.gen(function* () {
      yield* checkSpans(yield* MemberServer.start(), exported)
      assert.deepStrictEqual(yield* exported.counters, [])
    }).pipe(Effect.provide([exported.layer, silent]))
  })

  it.live("[R85c] with SessionMetrics.record counters count it", () => {
    const exported = OpenTelemetry.make()
    return Effect.gen(function* () {
      yield* checkSpans(yield* MemberServer.start({ onEvent: SessionMetrics.record }), exported)
      assert.deepStrictEqual([...(yield* exported.counters)].sort(), [
        "session_backend_failures{operation=create,outcome=notApplied} 1",
        "session_backend_failures{operation=read,outcome=notApplied} 1",
        "session_backend_failures{operation=touch,outcome=unknown} 1",
        "session_backend_failures{operation=update,outcome=unknown} 1",
        "sessions_created{} 6",
        "sessions_ended{why=expired} 1",
        "sessions_ended{why=logout} 1",
        "sessions_ended{why=replaced} 1",
        "sessions_refused{reason=Ambiguous} 1",
        "sessions_refused{reason=Data} 1",
        "sessions_refused{reason=Expired} 1",
        "sessions_refused{reason=Malformed} 1",
        "sessions_refused{reason=NotFound} 1",
        "sessions_refused{reason=SessionCrossOrigin} 1",
        // The guards'. A handler on an open route decides for itself what a request without a session means.
        "sessions_refused{reason=SessionMissing} 3",
        "sessions_refused{reason=SessionStale} 2",
        "sessions_refused{reason=Signature} 2",
        "sessions_refused{reason=Superseded} 1",
        "sessions_refused{reason=Suspended} 1"
      ])
    }).pipe(Effect.provide([exported.layer, silent]))
  })

  it.live("the span names session and user where that was asked for, and of those who are let in", () => {
    const exported = OpenTelemetry.make()
    return Effect.gen(function* () {
      const both = yield* MemberServer.start({ spanAttributes: ["session.id", "user.id"] })
      const user = yield* MemberServer.start({ spanAttributes: ["user.id"] })
      const spanOf = (request: Effect.Effect<{ readonly cookie: string }>) =>
        Effect.map(request, ({ cookie }) => ({ cookie, said: OpenTelemetry.said(exported.spans()[0]!) }))
      const ada = yield* spanOf(both.send("POST", "/log_in/ada"))
      const id = ada.cookie.split(".")[2]
      assert.deepStrictEqual(ada.said, { "session.id": id, "user.id": "ada", status: 204 })
      const accepted = yield* spanOf(both.send("GET", "/me", { cookie: ada.cookie }))
      assert.deepStrictEqual(accepted.said, ada.said)
      const visitor = yield* spanOf(both.send("POST", "/visit"))
      assert.deepStrictEqual(visitor.said, { "session.id": visitor.cookie.split(".")[2], status: 204 })
      both.suspended.add("ada")
      const suspended = yield* spanOf(both.send("GET", "/me", { cookie: ada.cookie }))
      assert.deepStrictEqual(suspended.said, refused(403, "Suspended"))
      const eve = yield* spanOf(user.send("POST", "/log_in/eve"))
      assert.deepStrictEqual(eve.said, { "user.id": "eve", status: 204 })
    }).pipe(Effect.provide([exported.layer, silent]))
  })

  it.live("definitions have counters of their own by a label of the application's", () => {
    const exported = OpenTelemetry.make()
    return Effect.gen(function* () {
      const labelled = (session: string) =>
        MemberServer.start({
          onEvent: (event) =>
            Effect.provideService(SessionMetrics.record(event), Metric.CurrentMetricAttributes, { session })
        })
      const [admins, members] = [yield* labelled("admin"), yield* labelled("member")]
      const { cookie } = yield* admins.send("POST", "/log_in/ada")
      yield* admins.send("POST", "/log_out", { cookie })
      yield* members.send("POST", "/log_in/ada")
      assert.deepStrictEqual([...(yield* exported.counters)].sort(), [
        "sessions_created{session=admin} 1",
        "sessions_created{session=member} 1",
        "sessions_ended{session=admin,why=logout} 1"
      ])
    }).pipe(Effect.provide([exported.layer, silent]))
  })
})
