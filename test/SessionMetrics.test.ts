import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Session from "../src/Session.ts"
import { Reason, SessionInvalid, SessionMissing } from "../src/SessionError.ts"
import * as SessionMetrics from "../src/SessionMetrics.ts"

class Locked extends Schema.TaggedError<Locked>()("Locked", { until: Schema.String }, { httpApiStatus: 403 }) {}

type Event = Session.SessionEvent<{ readonly name: string }, readonly [typeof Locked]>

const whys = ["logout", "revoked", "replaced", "limit", "reused", "expired", "undone"] as const

const ended = (why: Session.EndedWhy): Event => ({
  _tag: "Ended",
  why,
  id: "an-id-that-is-no-label" as Session.SessionId,
  principal: Option.some("a-user-that-is-no-label")
})

const refused = (error: Extract<Event, { readonly _tag: "Refused" }>["error"]): Event => ({ _tag: "Refused", error })

describe("SessionMetrics.record", () => {
  it.effect("[R84b] [R85c] counts what has happened by why, reason, operation and outcome, and by nothing else", () =>
    Effect.gen(function* () {
      const events: ReadonlyArray<Event> = [
        ...whys.map(ended),
        ended("logout"),
        ...Reason.literals.map((reason) => refused(new SessionInvalid({ reason }))),
        refused(new SessionMissing()),
        refused(new Locked({ until: "a-text-that-is-no-label" })),
        { _tag: "Failed", operation: "read", outcome: "notApplied" },
        { _tag: "Failed", operation: "update", outcome: "unknown" }
      ]
      yield* Effect.forEach(events, SessionMetrics.record)
      const text = yield* PrometheusMetrics.format()
      const counted = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"))
      assert.deepStrictEqual(
        counted.toSorted(),
        [
          ...whys.map((why) => `sessions_ended{why="${why}"} ${why === "logout" ? 2 : 1}`),
          ...[...Reason.literals, "SessionMissing", "Locked"].map((reason) => `sessions_refused{reason="${reason}"} 1`),
          `session_backend_failures{operation="read",outcome="notApplied"} 1`,
          `session_backend_failures{operation="update",outcome="unknown"} 1`
        ].toSorted()
      )
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  )

  it.effect("counts a session once it is made, and no change of it", () =>
    Effect.gen(function* () {
      // Nothing of the session is counted by.
      const session = {} as Session.SessionInfo<unknown>
      for (const _tag of ["Created", "Rotated", "Changed", "Created"] as const) {
        yield* SessionMetrics.record({ _tag, session })
      }
      assert.strictEqual((yield* Metric.value(SessionMetrics.sessionsCreated)).count, 2)
      assert.strictEqual((yield* Metric.snapshot).length, 1)
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  )
})
