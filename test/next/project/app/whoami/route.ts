import { Effect } from "effect"
import { HttpServerResponse } from "effect/http"
import { SessionMiddleware } from "effect-sessions"
import { route, UserSession } from "../../sessions"

export const GET = route(
  Effect.map(UserSession.Verified, ({ data }) => HttpServerResponse.text(data.username)).pipe(
    SessionMiddleware.required(UserSession)
  )
)
