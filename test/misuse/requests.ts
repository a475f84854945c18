/** What a handler does wrong: each row is a request to one, and what the server's log says of it. */
import { Effect, Schema, Stream } from "effect"
import { HttpServerResponse } from "effect/http"
import { Session } from "effect-sessions"
import type { Row } from "./row.ts"

export class UserSession extends Session.Service<UserSession>()("app/UserSession", {
  data: Schema.Struct({ username: Schema.String, cart: Schema.optional(Schema.Any) }),
  principal: (data) => data.username
}) {}

export interface Request extends Row {
  readonly handler: Effect.Effect<HttpServerResponse.HttpServerResponse, unknown, UserSession>
  readonly answer: `${number}` | `${number}, and a cookie` | "cut off"
}

const ok = HttpServerResponse.text("ok")

/** A body that waits for the session: it streams when the headers have gone. */
const streaming = <E>(late: (session: UserSession["Service"]) => Effect.Effect<unknown, E>) =>
  Effect.map(UserSession, (session) =>
    HttpServerResponse.stream(Stream.fromEffect(Effect.as(late(session), "late")).pipe(Stream.encodeText))
  )

export const requests: ReadonlyArray<Request> = [
  {
    did: "`create` with data the schema refuses, as from `JSON.parse`",
    handler: Effect.gen(function* () {
      yield* (yield* UserSession).create(JSON.parse(`{ "username": 7 }`))
      return ok
    }),
    answer: "500",
    sees: `SessionDataError: session data: Expected string\n  at ["username"]`,
    change: "decode what comes from outside by a schema of its own, before `create`"
  },
  {
    did: "a `Map` in data, under `Schema.Any`",
    handler: Effect.gen(function* () {
      yield* (yield* UserSession).create({ username: "ada", cart: new Map() })
      return ok
    }),
    answer: "500",
    sees: `SessionDataError: session data: no plain JSON at ["cart"]: an object of a class, or one with a toJSON; give it a schema that encodes it`
  },
  {
    did: "more than 64 KiB of data",
    handler: Effect.gen(function* () {
      yield* (yield* UserSession).create({ username: "ada", cart: "x".repeat(65_536) })
      return ok
    }),
    answer: "500",
    sees: "SessionDataError: session data: longer than 65536 bytes as JSON",
    change: "keep large things in a table of yours, by the session's id or the user's"
  },
  {
    did: "a user without a name",
    handler: Effect.gen(function* () {
      yield* (yield* UserSession).create({ username: "" })
      return ok
    }),
    answer: "500",
    sees: "SessionDataError: session data: the principal must have 1 to 256 bytes of UTF-8, without NUL"
  },
  {
    did: "another user by `update`",
    handler: Effect.gen(function* () {
      const session = yield* UserSession
      yield* session.create({ username: "ada" })
      yield* session.update((data) => ({ ...data, username: "bob" }))
      return ok
    }),
    answer: "500, and a cookie",
    sees:
      "SessionDataError: session data: the principal of a session never changes; " +
      "to log a user in or out, create a new session"
  },
  {
    did: "`get` for the first time while the body streams",
    handler: streaming((session) => session.get),
    answer: "cut off",
    sees:
      "Error: app/UserSession: the session was first read after the response's headers were made; " +
      "read it before the body streams"
  },
  {
    did: "`create` while the body streams",
    handler: streaming((session) => session.create({ username: "ada" })),
    answer: "cut off",
    sees: "Error: app/UserSession: create was called after the response's headers were made; call it before the body streams"
  },
  {
    did: "`(yield* UserSession).create(…)`, and no `yield*` before it",
    handler: Effect.gen(function* () {
      ;(yield* UserSession).create({ username: "ada" })
      return ok
    }),
    answer: "200",
    sees: "Sent HTTP response",
    change:
      "no cookie comes: an Effect does nothing until it runs. Write `yield* (yield* UserSession).create(…)`; " +
      "the compiler does not see this"
  }
]
