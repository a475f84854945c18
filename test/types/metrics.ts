/** Types of SessionMetrics, checked by `tsc`. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Session from "../../src/Session.ts"
import * as SessionManager from "../../src/SessionManager.ts"
import * as SessionMetrics from "../../src/SessionMetrics.ts"
import * as SessionMiddleware from "../../src/SessionMiddleware.ts"

class Suspended extends Schema.TaggedError<Suspended>()("Suspended", {}, { httpApiStatus: 403 }) {}
class Locked extends Schema.TaggedError<Locked>()("Locked", { until: Schema.Number }, { httpApiStatus: 403 }) {}

class Plain extends Session.Service<Plain>()("types/Plain", { data: Schema.Struct({ name: Schema.String }) }) {}
class Refusing extends Session.Service<Refusing>()("types/Refusing", {
  data: Schema.Struct({ count: Schema.Int }),
  refused: [Suspended, Locked]
}) {}

// Any definition takes it as it is.
SessionManager.layer(Plain, { onEvent: SessionMetrics.record })
SessionManager.layer(Refusing, { onEvent: SessionMetrics.record })
SessionMiddleware.layer(Refusing, { onEvent: SessionMetrics.record })
SessionMiddleware.layer(Refusing, {
  onEvent: (event) => Effect.andThen(SessionMetrics.record(event), Effect.logInfo(event._tag))
})

// @ts-expect-error an event is one of those told
void SessionMetrics.record({ _tag: "Opened" })
// @ts-expect-error and has what it is counted by
void SessionMetrics.record({ _tag: "Ended" })
// @ts-expect-error no other attribute is known
SessionManager.layer(Plain, { spanAttributes: ["user.name"] })
