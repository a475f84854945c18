import { Effect, Schema } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import { SessionMiddleware } from "effect-sessions"
import { route, UserSession } from "../../sessions"

const LogIn = HttpServerRequest.schemaBodyUrlParams(Schema.Struct({ username: Schema.NonEmptyString }))

export const POST = route(
  Effect.gen(function* () {
    const { username } = yield* LogIn // and their password, which you check here
    yield* (yield* UserSession).create({ username })
    return HttpServerResponse.redirect("/", { status: 303 })
  }).pipe(SessionMiddleware.make(UserSession))
)
