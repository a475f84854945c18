import { Effect } from "effect"
import { HttpServerResponse } from "effect/http"
import { SessionMiddleware } from "effect-sessions"
import { route, UserSession } from "../../sessions"

export const POST = route(
  Effect.gen(function* () {
    yield* (yield* UserSession).destroy
    return HttpServerResponse.redirect("/", { status: 303 })
  }).pipe(SessionMiddleware.make(UserSession))
)
