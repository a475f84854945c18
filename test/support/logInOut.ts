/**
 * The routes by which a client of a server in a process of its own logs in, and out again.
 */
import { Effect, Layer, Schema } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { type Session, SessionMiddleware } from "effect-sessions"

const Name = HttpRouter.schemaPathParams(Schema.Struct({ name: Schema.String }))
const done = HttpServerResponse.empty({ status: 200 })

/** `POST /login/:name` makes a session of what `dataOf` answers for the name; `POST /logout` ends it. */
export const logInOut = <Self, A, R extends ReadonlyArray<Session.Tagged>>(
  session: Session.Definition<Self, A, R>,
  dataOf: (name: string) => A
) =>
  Layer.mergeAll(
    HttpRouter.add(
      "POST",
      "/login/:name",
      Effect.flatMap(Name, ({ name }) => Effect.flatMap(session, ({ create }) => Effect.as(create(dataOf(name)), done)))
    ),
    HttpRouter.add(
      "POST",
      "/logout",
      Effect.flatMap(session, ({ destroy }) => Effect.as(destroy, done))
    )
  ).pipe(Layer.provide(SessionMiddleware.router(session).layer))
