/** The user session's stack in memory, and requests to apps around single handlers. */
import { Context, Effect, Layer, Redacted } from "effect"
import type { Scope } from "effect"
import type { HttpServerRequest, HttpServerResponse } from "effect/http"
import { SessionMiddleware } from "effect-sessions"
import type { Session } from "effect-sessions"
import * as Client from "./client.ts"
import * as WatchedBackend from "./watchedBackend.ts"
import { type Data, UserSession } from "./userSession.ts"
import * as Stack from "./stack.ts"

export const cookieName = "__Host-session"

export const cookieOf = (session: { readonly token: Redacted.Redacted<string> }): string =>
  `${cookieName}=${Redacted.value(session.token)}`

type App<E, R> = Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
type Request = HttpServerRequest.HttpServerRequest | Scope.Scope

export const make = Effect.fnUntraced(function* (
  options?: Stack.HttpParts<UserSession> & Stack.Told<Data, (typeof UserSession)["refused"]>
) {
  const backend = WatchedBackend.make()
  const context = yield* Effect.orDie(Layer.build(Stack.http(UserSession, { ...options, backend: backend.layer })))
  const manager = Context.get(context, UserSession.Manager)
  /** Requests to an app that may ask for what the stack provides; interruptible, as a router makes its routes. */
  const app = <E>(app: App<E, Request | Session.Bound<UserSession>>): Effect.Effect<Client.Send> =>
    Effect.map(Client.webHandler(Effect.interruptible(Effect.provideContext(app, context))), Client.sender)
  return {
    backend,
    context,
    manager,
    app,
    open: <E>(handler: App<E, Request | UserSession>) => app(SessionMiddleware.make(UserSession)(handler)),
    guarded: <E>(handler: App<E, Request | Session.Provided<typeof UserSession>>) =>
      app(SessionMiddleware.required(UserSession)(handler)),
    /** A session made without HTTP, and forgotten by the count of calls. */
    login: (data: (typeof UserSession)["data"]["Type"], options?: Session.CreateOptions) =>
      Effect.tap(Effect.orDie(manager.create(data, options)), () =>
        Effect.sync(() => {
          backend.calls.length = 0
        })
      )
  }
})
