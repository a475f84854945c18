/** What the types of sessions in RPC promise, and what they refuse. Compiled, never run. */
import { Effect, Layer, Schema, type Stream } from "effect"
import { HttpRouter, type HttpServer } from "effect/http"
import { Rpc, RpcClient, type RpcClientError, RpcGroup, RpcMiddleware, RpcSerialization, RpcServer } from "effect/rpc"
import { Session, SessionError, SessionMiddleware, SessionRpc } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"

class Suspended extends Schema.TaggedError<Suspended>()("Suspended", { until: Schema.String }) {}
class UserSession extends Session.Service<UserSession>()("app/UserSession", {
  data: Schema.Struct({ username: Schema.String }),
  refused: Suspended,
  principal: (data) => data.username
}) {}
class OtherSession extends Session.Service<OtherSession>()("app/OtherSession", {
  data: Schema.Struct({ username: Schema.String }),
  refused: Suspended,
  principal: (data) => data.username
}) {}

class Visitor extends RpcMiddleware.Service<Visitor, { provides: UserSession }>()("app/Rpc/Visitor", {
  error: SessionError.SessionCrossOrigin
}) {}
class Authenticated extends RpcMiddleware.Service<Authenticated, { provides: Session.Provided<typeof UserSession> }>()(
  "app/Rpc/Authenticated",
  { error: Schema.Union(Session.errors(UserSession)) }
) {}
class VerifiedOnly extends RpcMiddleware.Service<VerifiedOnly, { provides: Session.VerifiedOf<UserSession> }>()(
  "app/Rpc/VerifiedOnly",
  { error: Schema.Union(Session.errors(UserSession)) }
) {}

class Auth extends RpcGroup.make(
  Rpc.make("LogIn", {
    payload: { name: Schema.String },
    error: Schema.Union([SessionError.SessionInvalid, SessionError.SessionUnavailable])
  })
).middleware(Visitor) {}
class Account extends RpcGroup.make(
  Rpc.make("WhoAmI", { success: Schema.String }),
  Rpc.make("Ticks", { success: Schema.Int, stream: true })
).middleware(Authenticated) {}

// A handler has what its middleware provides, and its layer needs nothing for it.
export const AuthLive: Layer.Layer<Rpc.Handler<"LogIn">> = Auth.toLayer({
  LogIn: Effect.fnUntraced(function* ({ name }) {
    yield* (yield* UserSession).create({ username: name })
  })
})
declare const ticks: Stream.Stream<number>
export const AccountLive: Layer.Layer<Rpc.Handler<"WhoAmI"> | Rpc.Handler<"Ticks">> = Account.toLayer({
  WhoAmI: () => Effect.map(UserSession.Verified, ({ data }) => data.username),
  Ticks: () => ticks
})

// The layers need what `SessionMiddleware.layer` binds; that of the open form a route with the session besides.
export const guardNeeds: Layer.Layer<
  Authenticated,
  SessionError.SessionConfigError,
  Session.Bound<UserSession>
> = SessionRpc.layer(Authenticated, UserSession)
// @ts-expect-error without such a route no answer could carry the cookie of a log-in
export const openNeeds: Layer.Layer<
  Visitor,
  SessionError.SessionConfigError,
  Session.Bound<UserSession>
> = SessionRpc.layerOptional(Visitor, UserSession)

const RpcLive = Layer.mergeAll(
  RpcServer.layerHttp({ group: Auth.merge(Account), path: "/rpc", protocol: "http" }),
  RpcServer.layerHttp({ group: Account, path: "/ws" })
).pipe(
  Layer.provide([
    AuthLive,
    AccountLive,
    SessionRpc.layer(Authenticated, UserSession),
    SessionRpc.layerOptional(Visitor, UserSession),
    RpcSerialization.layerNdjson
  ])
)
export const served: Layer.Layer<
  never,
  SessionError.SessionConfigError,
  HttpServer.HttpServer | Session.Bound<UserSession>
> = HttpRouter.serve(RpcLive.pipe(Layer.provide(SessionMiddleware.router(UserSession).layer)))
const lacking = HttpRouter.serve(RpcLive)
// @ts-expect-error the route lacks the session
export const unserved: Layer.Layer<
  never,
  SessionError.SessionConfigError,
  HttpServer.HttpServer | Session.Bound<UserSession>
> = lacking

// -----------------------------------------------------------------------------
// The client: every error is typed, exactly these, and it needs nothing
// -----------------------------------------------------------------------------

type Equal<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false
type GuardErrors =
  | SessionError.SessionMissing
  | SessionError.SessionInvalid
  | Suspended
  | SessionError.SessionCrossOrigin
  | SessionError.SessionConflict
  | SessionError.SessionUnavailable
declare const account: RpcClient.FromGroup<typeof Account, RpcClientError.RpcClientError>
const who = account.WhoAmI()
const stream = account.Ticks()
export const guardErrors: Equal<Effect.Error<typeof who>, GuardErrors | RpcClientError.RpcClientError> = true
export const streamErrors: Equal<Stream.Error<typeof stream>, GuardErrors | RpcClientError.RpcClientError> = true
export const clientNeeds: Equal<Effect.Services<typeof who>, never> = true
const made = RpcClient.make(Account)
export const makingNeeds: Equal<Extract<Effect.Services<typeof made>, { readonly id: unknown }>, never> = true

// -----------------------------------------------------------------------------
// What does not fit
// -----------------------------------------------------------------------------

// @ts-expect-error another session's middleware
SessionRpc.layer(Authenticated, OtherSession)
// @ts-expect-error a guard cannot stand on a middleware that provides the session alone
SessionRpc.layer(Visitor, UserSession)
// @ts-expect-error nor an open form on one that promises a verified session
SessionRpc.layerOptional(Authenticated, UserSession)
// @ts-expect-error nor another session's open form
SessionRpc.layerOptional(Visitor, OtherSession)
// @ts-expect-error the testing forms are no looser
SessionTest.layerRpc(Visitor, UserSession, { username: "ada" })
// @ts-expect-error nor is the open one
SessionTest.layerRpcOptional(Authenticated, UserSession)
// @ts-expect-error the data is the session's
SessionTest.layerRpc(Authenticated, UserSession, { name: "ada" })

class Undeclared extends RpcMiddleware.Service<Undeclared, { provides: Session.Provided<typeof UserSession> }>()(
  "app/Rpc/Undeclared",
  { error: SessionError.SessionMissing }
) {}
// @ts-expect-error a guard declares all of the session's errors
SessionRpc.layer(Undeclared, UserSession)
class Silent extends RpcMiddleware.Service<Silent, { provides: UserSession }>()("app/Rpc/Silent") {}
// @ts-expect-error an open form declares that it refuses other origins
SessionRpc.layerOptional(Silent, UserSession)
class Greedy extends RpcMiddleware.Service<
  Greedy,
  { provides: Session.Provided<typeof UserSession> | Session.Provided<typeof OtherSession> }
>()("app/Rpc/Greedy", { error: Schema.Union(Session.errors(UserSession)) }) {}
// @ts-expect-error nobody would provide the other session
SessionRpc.layer(Greedy, UserSession)

// The sentences, as the compiler prints them.
type Sentence<Id, Self, E> = SessionRpc.Guards<Id, Self, E>
export const undeclared: Sentence<Undeclared, UserSession, GuardErrors> =
  "the middleware must declare error: Schema.Union(Session.errors(...)) of this session, and SessionStale where fresh is asked for; or give its layer onFailure, for errors of its own"
export const unprovided: Sentence<Visitor, UserSession, GuardErrors> =
  "the middleware must provide Session.Provided of this session; for the session alone use layerOptional"

// Behind a socket, a middleware may leave out what needs a response.
SessionRpc.layer(VerifiedOnly, UserSession)
class Feed extends RpcGroup.make(Rpc.make("Name", { success: Schema.String })).middleware(VerifiedOnly) {}
Feed.toLayer({ Name: () => Effect.map(UserSession.Verified, ({ data }) => data.username) })
// @ts-expect-error there is no session to create with
export const noCreate: Layer.Layer<Rpc.Handler<"Name">> = Feed.toLayer({
  Name: () => Effect.flatMap(UserSession, (session) => Effect.as(Effect.orDie(session.create({ username: "x" })), "x"))
})

// -----------------------------------------------------------------------------
// Options
// -----------------------------------------------------------------------------

SessionRpc.layer(Authenticated, UserSession, { touch: false, trustedOrigins: ["https://app.test"] })
SessionRpc.layerOptional(Visitor, UserSession, { touch: false })
// @ts-expect-error a fresh session asked for by the layer is declared as well
SessionRpc.layer(Authenticated, UserSession, { fresh: { within: "5 minutes" } })
class Sudo extends RpcMiddleware.Service<Sudo, { provides: Session.Provided<typeof UserSession> }>()("app/Rpc/Sudo", {
  error: Schema.Union([...Session.errors(UserSession), SessionError.SessionStale])
}) {}
SessionRpc.layer(Sudo, UserSession, { fresh: { within: "5 minutes", methods: ["otp"] } })

class Denied extends Schema.TaggedError<Denied>()("Denied", {}) {}
class Own extends RpcMiddleware.Service<Own, { provides: Session.Provided<typeof UserSession> }>()("app/Rpc/Own", {
  error: Denied
}) {}
SessionRpc.layer(Own, UserSession, { fresh: { within: "1 hour" }, onFailure: () => Effect.fail(new Denied()) })
// @ts-expect-error errors of one's own need to be told which one answers
SessionRpc.layer(Own, UserSession)
// @ts-expect-error only declared ones
SessionRpc.layer(Own, UserSession, { onFailure: (error) => Effect.fail(error) })
