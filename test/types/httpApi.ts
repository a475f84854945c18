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
import { Session, SessionError, SessionHttpApi, SessionHttpApiMiddleware, SessionVerifier } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"

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

class Authenticated extends SessionHttpApiMiddleware.Required<Authenticated>()("app/Authenticated", MemberSession, {
  security: {
    session: HttpApiSecurity.apiKey({ in: "cookie", key: "__Host-session" }),
    bearer: HttpApiSecurity.bearer
  }
}) {}
class Visitor extends SessionHttpApiMiddleware.Optional<Visitor>()("app/Visitor", MemberSession) {}
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
  | SessionError.SessionInvalid
  | SessionError.SessionConflict
  | SessionError.SessionCrossOrigin
  | SessionError.SessionUnavailable
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

// -----------------------------------------------------------------------------
// Required: what it provides and declares, and what its layer then asks for
// -----------------------------------------------------------------------------

type ErrorsOf<Id> = HttpApiMiddleware.Error<Id>
type GuardErrors =
  | SessionError.SessionMissing
  | SessionError.SessionInvalid
  | Suspended
  | SessionError.SessionCrossOrigin
  | SessionError.SessionConflict
  | SessionError.SessionUnavailable

// The same as one that is written by hand, in all that a layer or a client sees of it.
class ByHand extends HttpApiMiddleware.Service<ByHand, { provides: Session.Provided<typeof MemberSession> }>()(
  "app/ByHand",
  { error: Session.errors(MemberSession) }
) {}
export const sameProvides: Equal<HttpApiMiddleware.Provides<Authenticated>, HttpApiMiddleware.Provides<ByHand>> = true
export const sameErrors: Equal<ErrorsOf<Authenticated>, ErrorsOf<ByHand>> = true
export const allErrors: Equal<ErrorsOf<ByHand>, GuardErrors> = true
SessionHttpApi.layer(ByHand, MemberSession)
export const schemes: ReadonlyArray<"session" | "bearer"> = Object.keys(Authenticated.security) as Array<
  keyof typeof Authenticated.security
>

class Sudo extends SessionHttpApiMiddleware.Required<Sudo>()("app/Sudo", MemberSession, {
  fresh: { within: "5 minutes", methods: ["otp"] }
}) {}
export const sudoErrors: Equal<ErrorsOf<Sudo>, GuardErrors | SessionError.SessionStale> = true
SessionHttpApi.layer(Sudo, MemberSession)
SessionHttpApi.layer(Sudo, MemberSession, { touch: false, trustedOrigins: ["https://id.example"] })
SessionTest.layerHttpApi(Sudo, MemberSession, new MemberData({ username: "ada", cart: [] }))
// @ts-expect-error a fresh session asked for by the layer is declared as well
SessionHttpApi.layer(Authenticated, MemberSession, { fresh: { within: "5 minutes" } })
SessionHttpApi.layer(Sudo, MemberSession, { fresh: { within: "1 minute" } })
SessionHttpApiMiddleware.Required()("app/Vague", MemberSession, {
  // @ts-expect-error how fresh is a time
  fresh: { methods: ["otp"] }
})

class Unauthorized extends Schema.TaggedError<Unauthorized>()("Unauthorized", {}, { httpApiStatus: 401 }) {}
class Busy extends Schema.TaggedError<Busy>()("Busy", {}, { httpApiStatus: 503 }) {}
class Own extends SessionHttpApiMiddleware.Required<Own>()("app/Own", MemberSession, {
  error: [Unauthorized, Busy],
  fresh: { within: "1 hour" }
}) {}
export const ownErrors: Equal<ErrorsOf<Own>, Unauthorized | Busy> = true
export const OwnLive: Layer.Layer<
  Own,
  SessionError.SessionConfigError,
  Session.Bound<MemberSession>
> = SessionHttpApi.layer(Own, MemberSession, {
  onFailure: (error, request) => {
    const all: Equal<
      typeof error,
      SessionHttpApi.GuardError<typeof MemberSession.refused> | SessionError.SessionStale
    > = true
    return all && (error._tag === "SessionUnavailable" || request.method === "OPTIONS")
      ? Effect.fail(new Busy())
      : Effect.fail(new Unauthorized())
  }
})
SessionTest.layerHttpApi(Own, MemberSession, new MemberData({ username: "ada", cart: [] }), {
  idleTimeout: "1 minute",
  onFailure: () => Effect.fail(new Unauthorized())
})
// @ts-expect-error without onFailure nothing maps to the errors of its own
SessionHttpApi.layer(Own, MemberSession)
// @ts-expect-error nor in a test
SessionTest.layerHttpApi(Own, MemberSession, new MemberData({ username: "ada", cart: [] }))
// @ts-expect-error what onFailure fails with is declared
SessionHttpApi.layer(Own, MemberSession, { onFailure: () => Effect.fail(new Suspended({ until: "friday" })) })
// @ts-expect-error it fails, and answers nothing
SessionHttpApi.layer(Own, MemberSession, { onFailure: () => Effect.succeed("please log in") })

class OwnFresh extends SessionHttpApiMiddleware.Required<OwnFresh>()("app/OwnFresh", MemberSession, {
  error: Session.errors(MemberSession),
  fresh: { within: "1 hour" }
}) {}
// @ts-expect-error the middleware asks for a fresh session, and does not declare SessionStale
SessionHttpApi.layer(OwnFresh, MemberSession)

// A sentence says what is wrong.
export const sentence: SessionHttpApi.Guards<Own, MemberSession, SessionError.SessionMissing> =
  "the middleware must declare error: Session.errors of this session, and SessionStale where fresh is asked for; or give its layer onFailure, for errors of its own"

// The open form takes the options of a route, and no guard's.
SessionHttpApi.layerOptional(Visitor, MemberSession, { touch: false, trustedOrigins: ["https://id.example"] })
// @ts-expect-error it guards nothing
SessionHttpApi.layerOptional(Visitor, MemberSession, { fresh: { within: "1 hour" } })

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
