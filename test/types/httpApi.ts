/** What the types of sessions in `HttpApi` promise, and what they refuse. Compiled, never run. */
import { Context, Effect, Layer, Schema } from "effect"
import { HttpRouter, type HttpServer } from "effect/http"
import {
  HttpApi,
  HttpApiBuilder,
  HttpApiClient,
  HttpApiEndpoint,
  HttpApiGroup,
  HttpApiMiddleware,
  HttpApiSecurity
} from "effect/http-api"
import { Session, SessionError, SessionHttpApi, SessionTest, SessionVerifier } from "effect-sessions"

class UserSession extends Session.Service<UserSession>()("app/UserSession", {
  data: Schema.Struct({ username: Schema.String }),
  principal: (d) => d.username
}) {}

// A verifier error of its own.
class Suspended extends Schema.TaggedError<Suspended>()(
  "Suspended",
  { until: Schema.String },
  { httpApiStatus: 403 }
) {}
class MemberData extends Schema.Class<MemberData>("MemberData")({
  username: Schema.String,
  cart: Schema.Array(Schema.String)
}) {}
class MemberSession extends Session.Service<MemberSession>()("app/MemberSession", {
  data: MemberData,
  refused: Suspended,
  principal: (d) => d.username
}) {}
class Users extends Context.Service<Users, { readonly until: (name: string) => Effect.Effect<string | undefined> }>()(
  "app/Users"
) {}
export const Verifier: Layer.Layer<Session.VerifierOf<MemberSession>, never, Users> = SessionVerifier.layer(
  MemberSession,
  Effect.gen(function* () {
    const users = yield* Users
    return (session) =>
      Effect.flatMap(users.until(session.data.username), (until) =>
        until === undefined ? Effect.void : Effect.fail(new Suspended({ until }))
      )
  })
)

class Authenticated extends HttpApiMiddleware.Service<
  Authenticated,
  { provides: Session.Provided<typeof MemberSession> }
>()("app/Authenticated", {
  error: Session.errors(MemberSession),
  security: {
    session: HttpApiSecurity.apiKey({ in: "cookie", key: "__Host-session" }),
    bearer: HttpApiSecurity.bearer
  }
}) {}
class Visitor extends HttpApiMiddleware.Service<Visitor, { provides: MemberSession }>()("app/Visitor", {
  error: [SessionError.SessionCrossOrigin, SessionError.SessionUnavailable]
}) {}
const Api = HttpApi.make("api").add(
  HttpApiGroup.make("auth")
    .add(HttpApiEndpoint.post("login", "/login", { payload: Schema.Struct({ name: Schema.String }) }))
    .middleware(Visitor),
  HttpApiGroup.make("account")
    .add(
      HttpApiEndpoint.get("whoami", "/whoami", { success: MemberData }),
      HttpApiEndpoint.post("add", "/cart/:item", { params: { item: Schema.String } })
    )
    .middleware(Authenticated)
)
const AuthLive = HttpApiBuilder.group(Api, "auth", (h) =>
  h.handle(
    "login",
    Effect.fn(function* ({ payload }) {
      yield* (yield* MemberSession).create(new MemberData({ username: payload.name, cart: [] }), { cookie: "browser" })
    })
  )
)
const AccountLive = HttpApiBuilder.group(Api, "account", (h) =>
  h
    .handle(
      "whoami",
      Effect.fn(function* () {
        return (yield* MemberSession.Verified).data
      })
    )
    .handle(
      "add",
      Effect.fn(function* ({ params }) {
        const session = yield* MemberSession
        yield* session.update((data) => new MemberData({ ...data, cart: [...data.cart, params.item] }))
      })
    )
)
export const ApiLive = HttpApiBuilder.layer(Api).pipe(
  Layer.provide([AuthLive, AccountLive]),
  Layer.provide([
    SessionHttpApi.layer(Authenticated, MemberSession),
    SessionHttpApi.layerOptional(Visitor, MemberSession)
  ])
)

// The layers need what `layerHttp` binds, and nothing else.
export const needs: Layer.Layer<
  Authenticated,
  SessionError.SessionConfigError,
  Session.Bound<MemberSession>
> = SessionHttpApi.layer(Authenticated, MemberSession)

// Every error is typed in the client, exactly these.
type Client = Effect.Success<typeof client>
const client = HttpApiClient.make(Api)
type Equal<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false
type Problems<E> = Extract<E, { _tag: `Session${string}` | "Suspended" }>
declare const c: Client
const who = c.account.whoami()
export const guardErrors: Equal<
  Problems<Effect.Error<typeof who>>,
  | SessionError.SessionMissing
  | SessionError.SessionInvalid
  | Suspended
  | SessionError.SessionCrossOrigin
  | SessionError.SessionConflict
  | SessionError.SessionUnavailable
> = true
const login = c.auth.login({ payload: { name: "ada" } })
export const openErrors: Equal<
  Problems<Effect.Error<typeof login>>,
  SessionError.SessionCrossOrigin | SessionError.SessionUnavailable
> = true
// The API asks nothing of its clients.
export const clientNeeds: Equal<Effect.Services<typeof who>, never> = true

// @ts-expect-error another session's middleware does not fit
SessionHttpApi.layer(Authenticated, UserSession)
// @ts-expect-error a guard cannot stand on a middleware that provides the session alone
SessionHttpApi.layer(Visitor, MemberSession)
// @ts-expect-error nor an open form on one that promises a verified session
SessionHttpApi.layerOptional(Authenticated, MemberSession)
// @ts-expect-error nor another session's open form
SessionHttpApi.layerOptional(Visitor, UserSession)
// @ts-expect-error the testing forms are no looser
SessionTest.layerHttpApi(Visitor, MemberSession, new MemberData({ username: "ada", cart: [] }))
// @ts-expect-error nor is the open one
SessionTest.layerHttpApiOptional(Authenticated, MemberSession)
// @ts-expect-error the data is the session's
SessionTest.layerHttpApi(Authenticated, MemberSession, { name: "ada" })

class Undeclared extends HttpApiMiddleware.Service<Undeclared, { provides: Session.Provided<typeof MemberSession> }>()(
  "app/Undeclared",
  { error: SessionError.SessionMissing }
) {}
// @ts-expect-error a guard declares all of the session's errors
SessionHttpApi.layer(Undeclared, MemberSession)

class Lenient extends HttpApiMiddleware.Service<Lenient, { provides: MemberSession }>()("app/Lenient", {
  error: Session.errors(MemberSession)
}) {}
// @ts-expect-error nor is it enough to declare them, without providing a verified session
SessionHttpApi.layer(Lenient, MemberSession)
// An open form may declare them all.
SessionHttpApi.layerOptional(Lenient, MemberSession)

class AdminSession extends Session.Service<AdminSession>()("app/AdminSession", {
  data: Schema.Struct({ username: Schema.String })
}) {}
class Admin extends HttpApiMiddleware.Service<Admin, { provides: Session.Provided<typeof AdminSession> }>()(
  "app/Admin",
  { error: Session.errors(AdminSession) }
) {}
SessionHttpApi.layer(Admin, AdminSession)
// @ts-expect-error the same errors and the same data do not make it the same session
SessionHttpApi.layer(Admin, UserSession)

// A handler that needs a verified session in a group without the middleware.
const Bare = HttpApi.make("bare").add(
  HttpApiGroup.make("account").add(HttpApiEndpoint.get("whoami", "/whoami", { success: MemberData }))
)
const bare = HttpApiBuilder.layer(Bare).pipe(
  Layer.provide(
    HttpApiBuilder.group(Bare, "account", (h) =>
      h.handle(
        "whoami",
        Effect.fn(function* () {
          return (yield* MemberSession.Verified).data
        })
      )
    )
  )
)
declare const Server: Layer.Layer<HttpServer.HttpServer | Layer.Success<typeof HttpServer.layerServices>>
// @ts-expect-error nobody provides it
Layer.launch(HttpRouter.serve(bare).pipe(Layer.provide(Server))).pipe(Effect.runPromise)

const withoutLayer = HttpApiBuilder.layer(Api).pipe(Layer.provide([AuthLive, AccountLive]))
// @ts-expect-error the middleware's layer is missing
Layer.launch(HttpRouter.serve(withoutLayer).pipe(Layer.provide(Server))).pipe(Effect.runPromise)

// With everything there it is a program.
Layer.launch(
  HttpRouter.serve(ApiLive).pipe(Layer.provide(SessionTest.layer(MemberSession)), Layer.provide(Server))
).pipe(Effect.runPromise)
