/**
 * What must compile, and what must not, of the HTTP side. Compiled by `tsc -p .`, never run.
 */
import { NodeCrypto, NodeHttpServer } from "@effect/platform-node"
import { Config, Context, Effect, Layer, Option, Redacted, Schema } from "effect"
import type { Digest, Kdf, Mac, SecureRandom } from "effect/crypto"
import { HttpRouter, HttpServerResponse } from "effect/http"
import type { HttpServerRequest } from "effect/http"
import {
  Session,
  SessionBackendMemory,
  SessionFrontend,
  SessionKeys,
  SessionManager,
  SessionMiddleware,
  SessionVerifier
} from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import type { SessionBackend, SessionError } from "effect-sessions"
import { createServer } from "node:http"

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const is = <_ extends true>(): void => {}
const launch = (server: Layer.Layer<never, unknown, never>): Effect.Effect<never, unknown> => Layer.launch(server)

const UserData = Schema.Struct({ username: Schema.String })
class UserSession extends Session.Service<UserSession>()("types/UserSession", {
  data: UserData,
  principal: (d) => d.username
}) {}
class OtherSession extends Session.Service<OtherSession>()("types/OtherSession", { data: UserData }) {}

class Suspended extends Schema.TaggedError<Suspended>()(
  "Suspended",
  { until: Schema.String },
  { httpApiStatus: 403 }
) {}
class Unpaid extends Schema.TaggedError<Unpaid>()("Unpaid", {}, { httpApiStatus: 402 }) {}
class MemberSession extends Session.Service<MemberSession>()("types/MemberSession", {
  data: UserData,
  refused: [Suspended, Unpaid]
}) {}

// -----------------------------------------------------------------------------
// The seed's app
// -----------------------------------------------------------------------------

const Open = Layer.mergeAll(
  HttpRouter.add(
    "POST",
    "/create_session/:name",
    Effect.gen(function* () {
      const { name } = yield* HttpRouter.schemaPathParams(Schema.Struct({ name: Schema.String }))
      const session = yield* UserSession
      yield* session.create({ username: name })
      return HttpServerResponse.text(`created session for ${name}`)
    })
  ),
  HttpRouter.add(
    "POST",
    "/delete_session",
    Effect.gen(function* () {
      yield* (yield* UserSession).destroy
      return HttpServerResponse.text("deleted session")
    })
  )
).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))

const whoami = HttpRouter.add(
  "GET",
  "/whoami",
  Effect.gen(function* () {
    const { data } = yield* UserSession.Verified
    return yield* HttpServerResponse.schemaJson(UserData)(data)
  })
)
const Guarded = whoami.pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer))

const frontend = SessionFrontend.layerFirst([
  SessionFrontend.layerCookie({ name: "__Host-session" }),
  SessionFrontend.layerBearer()
])
const backend = SessionBackendMemory.layer
const verifier = SessionVerifier.layerExists(UserSession)
const keys = SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))
const options = { idleTimeout: "30 minutes", absoluteTimeout: "12 hours" } as const

const UserSessionLive = SessionMiddleware.layer(UserSession, options).pipe(
  Layer.provide([frontend, backend, verifier]),
  Layer.provide(keys),
  Layer.provide(NodeCrypto.layer)
)
const server = <E, R>(routes: Layer.Layer<never, E, R>) =>
  HttpRouter.serve(routes).pipe(Layer.provide(NodeHttpServer.layer(createServer, { port: 3000 })))

const App = server(Layer.mergeAll(Open, Guarded))
export const main = launch(App.pipe(Layer.provide(UserSessionLive)))

is<
  Equal<
    typeof UserSessionLive,
    Layer.Layer<Session.Bound<UserSession>, SessionError.SessionConfigError | Config.ConfigError>
  >
>()

// -----------------------------------------------------------------------------
// What is missing does not compile when launched
// -----------------------------------------------------------------------------

// @ts-expect-error the whole stack is missing
launch(App)
// @ts-expect-error a definition's stack does not stand in for another's
launch(App.pipe(Layer.provide(SessionTest.layer(OtherSession))))
const app = (stack: Layer.Layer<Session.Bound<UserSession>, unknown>) => launch(App.pipe(Layer.provide(stack)))
const Live = SessionMiddleware.layer(UserSession, options)
// @ts-expect-error the frontend is missing
app(Live.pipe(Layer.provide([backend, verifier]), Layer.provide(keys), Layer.provide(NodeCrypto.layer)))
// @ts-expect-error the backend is missing
app(Live.pipe(Layer.provide([frontend, verifier]), Layer.provide(keys), Layer.provide(NodeCrypto.layer)))
// @ts-expect-error the verifier is missing
app(Live.pipe(Layer.provide([frontend, backend]), Layer.provide(keys), Layer.provide(NodeCrypto.layer)))
// @ts-expect-error the keys are missing
app(Live.pipe(Layer.provide([frontend, backend, verifier]), Layer.provide(NodeCrypto.layer)))
// @ts-expect-error the crypto is missing
app(Live.pipe(Layer.provide([frontend, backend, verifier]), Layer.provide(keys)))
const otherVerifier = SessionVerifier.layerExists(OtherSession)
// @ts-expect-error another definition's verifier is none of this one's
app(Live.pipe(Layer.provide([frontend, backend, otherVerifier, keys]), Layer.provide(NodeCrypto.layer)))
// @ts-expect-error the manager alone is not enough for HTTP
app(SessionManager.layer(UserSession).pipe(Layer.provide([backend, verifier, keys]), Layer.provide(NodeCrypto.layer)))
app(Live.pipe(Layer.provide([frontend, backend, verifier, keys]), Layer.provide(NodeCrypto.layer)))

const Stack = SessionTest.layer(UserSession)
const page = HttpRouter.add("GET", "/", Effect.as(UserSession, HttpServerResponse.empty()))
const both = HttpRouter.add(
  "GET",
  "/",
  Effect.andThen(UserSession, Effect.as(OtherSession, HttpServerResponse.empty()))
)
const provided = <E, R>(routes: Layer.Layer<never, E, R>) => server(routes).pipe(Layer.provide(Stack))

// @ts-expect-error the middleware is missing
launch(provided(page))
launch(provided(page.pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))))
launch(provided(page.pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer))))
// @ts-expect-error another definition's middleware
launch(provided(page.pipe(Layer.provide(SessionMiddleware.router(OtherSession).layer))))
// @ts-expect-error one of two is missing
launch(provided(both.pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))))
launch(
  provided(
    both.pipe(
      Layer.provide(SessionMiddleware.router(UserSession).combine(SessionMiddleware.routerRequired(OtherSession)).layer)
    )
  ).pipe(Layer.provide(SessionTest.layer(OtherSession)))
)

// -----------------------------------------------------------------------------
// UserSession.Verified is there behind a guard, and nowhere else
// -----------------------------------------------------------------------------

// @ts-expect-error no middleware
launch(provided(whoami))
// @ts-expect-error an open one
launch(provided(whoami.pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))))
// @ts-expect-error another definition's guard
launch(provided(whoami.pipe(Layer.provide(SessionMiddleware.routerRequired(OtherSession).layer))))
launch(provided(Guarded))

const verified = Effect.map(UserSession.Verified, ({ data }) => HttpServerResponse.text(data.username))
type R<T> = T extends Effect.Effect<unknown, unknown, infer R> ? R : never
type E<T> = T extends Effect.Effect<unknown, infer E, unknown> ? E : never
const required = SessionMiddleware.required(UserSession)(verified)
is<Equal<R<typeof required>, HttpServerRequest.HttpServerRequest | Session.Bound<UserSession>>>()
is<
  Equal<
    E<typeof required>,
    | SessionError.SessionMissing
    | SessionError.SessionInvalid
    | SessionError.SessionRefused
    | SessionError.SessionCrossOrigin
    | SessionError.SessionUnavailable
  >
>()
const made = SessionMiddleware.make(UserSession)(verified)
is<
  Equal<
    R<typeof made>,
    HttpServerRequest.HttpServerRequest | Session.Bound<UserSession> | Session.VerifiedOf<UserSession>
  >
>()
is<Equal<E<typeof made>, SessionError.SessionCrossOrigin>>()
const members = SessionMiddleware.required(MemberSession)(Effect.as(MemberSession, HttpServerResponse.empty()))
is<Equal<Extract<E<typeof members>, { readonly _tag: "Suspended" | "Unpaid" }>, Suspended | Unpaid>>()
is<Equal<Extract<E<typeof members>, { readonly _tag: "SessionRefused" }>, never>>()

// -----------------------------------------------------------------------------
// onFailure
// -----------------------------------------------------------------------------

export const Page = HttpRouter.add(
  "GET",
  "/",
  Effect.map(UserSession.Verified, ({ data }) => HttpServerResponse.text(data.username))
).pipe(
  Layer.provide(
    SessionMiddleware.routerRequired(UserSession, {
      onFailure: (error, request) => {
        is<Equal<typeof error, SessionMiddleware.GuardError<readonly [typeof SessionError.SessionRefused]>>>()
        is<Equal<typeof request, HttpServerRequest.HttpServerRequest>>()
        return Effect.succeed(HttpServerResponse.redirect(`/login?because=${error._tag}`))
      }
    }).layer
  )
)
launch(provided(Page))
SessionMiddleware.routerRequired(UserSession, {
  // @ts-expect-error it answers with a response
  onFailure: () => Effect.succeed("please log in")
})

// -----------------------------------------------------------------------------
// Routes with options: SessionStale is in `E` where a fresh session is asked for, and only there
// -----------------------------------------------------------------------------

type Refused = readonly [typeof SessionError.SessionRefused]
type GuardError = SessionMiddleware.GuardError<Refused>
type RouterError<M> = M extends HttpRouter.Middleware<infer C> ? C["error"] : never
const fresh = { within: "5 minutes", methods: ["otp"] } as const

const anyAge = SessionMiddleware.required(UserSession, { touch: false, trustedOrigins: ["https://id.test"] })(verified)
is<Equal<E<typeof anyAge>, GuardError>>()
const sudo = SessionMiddleware.required(UserSession, { fresh })(verified)
is<Equal<E<typeof sudo>, GuardError | SessionError.SessionStale>>()
is<Equal<R<typeof sudo>, R<typeof required>>>()
const polled = SessionMiddleware.make(UserSession, { touch: false })(verified)
is<Equal<E<typeof polled>, SessionError.SessionCrossOrigin>>()

const routerAnyAge = SessionMiddleware.routerRequired(UserSession, { touch: false })
is<Equal<RouterError<typeof routerAnyAge>, GuardError>>()
const routerSudo = SessionMiddleware.routerRequired(UserSession, { fresh })
is<Equal<RouterError<typeof routerSudo>, GuardError | SessionError.SessionStale>>()
const routerAnswered = SessionMiddleware.routerRequired(UserSession, {
  fresh,
  onFailure: (error) => {
    is<Equal<typeof error, GuardError | SessionError.SessionStale>>()
    return error._tag === "SessionStale"
      ? Effect.succeed(HttpServerResponse.redirect("/sudo"))
      : Effect.fail("no" as const)
  }
})
is<Equal<RouterError<typeof routerAnswered>, "no">>()
const routerAnsweredAnyAge = SessionMiddleware.routerRequired(UserSession, {
  touch: false,
  onFailure: (error) => {
    is<Equal<typeof error, GuardError>>()
    return Effect.fail(error)
  }
})
is<Equal<RouterError<typeof routerAnsweredAnyAge>, GuardError>>()
// What may be fresh or not is said of neither.
declare const perhaps: { readonly fresh?: Session.Fresh | undefined }
// @ts-expect-error the compiler cannot say what E is
SessionMiddleware.required(UserSession, perhaps)
// @ts-expect-error nor here
SessionMiddleware.routerRequired(UserSession, perhaps)
// @ts-expect-error an open route asks for nothing
SessionMiddleware.router(UserSession, { fresh })

// Options of the layer: what `adopt` needs is the layer's to need.
class OldStore extends Context.Service<OldStore, { readonly take: (id: string) => Effect.Effect<string> }>()(
  "OldStore"
) {}
const Adopting = SessionMiddleware.layer(UserSession, {
  client: (request) => ({ userAgent: request.headers["user-agent"] }),
  adopt: (request) =>
    Effect.map(
      Effect.flatMap(OldStore, (store) => store.take(request.url)),
      (username) => Option.some({ data: { username }, options: { cookie: "browser" } })
    ),
  clearSiteData: ["cache", "storage"]
})
is<Equal<Layer.Services<typeof Adopting>, Layer.Services<typeof Live> | OldStore>>()
SessionMiddleware.layer(UserSession, {
  // @ts-expect-error the data is the session's
  adopt: () => Effect.succeedSome({ data: { name: "ada" } })
})
SessionMiddleware.layer(UserSession, {
  // @ts-expect-error what cannot be read is none
  adopt: () => Effect.fail("the old store is down")
})
// @ts-expect-error no such data
SessionMiddleware.layer(UserSession, { clearSiteData: ["everything"] })

const page1 = SessionMiddleware.fromRequest(UserSession, new Request("https://app.test"))
is<
  Equal<
    typeof page1,
    Effect.Effect<
      Session.Session<{ readonly username: string }>,
      Session.Unauthenticated | SessionError.SessionRefused | SessionError.SessionUnavailable,
      Session.Bound<UserSession>
    >
  >
>()

// -----------------------------------------------------------------------------
// Frontends
// -----------------------------------------------------------------------------

is<
  Equal<
    ReturnType<typeof SessionFrontend.layerCookie>,
    Layer.Layer<SessionFrontend.SessionFrontend, SessionError.SessionConfigError>
  >
>()
is<Equal<ReturnType<typeof SessionFrontend.layerBearer>, Layer.Layer<SessionFrontend.SessionFrontend>>>()
const ofConfig = SessionFrontend.layerCookieConfig({ name: Config.String("NAME"), secure: Config.Boolean("SECURE") })
is<
  Equal<
    typeof ofConfig,
    Layer.Layer<SessionFrontend.SessionFrontend, SessionError.SessionConfigError | Config.ConfigError>
  >
>()
const first = SessionFrontend.layerFirst([ofConfig, SessionFrontend.layerBearer()])
is<
  Equal<
    typeof first,
    Layer.Layer<SessionFrontend.SessionFrontend, SessionError.SessionConfigError | Config.ConfigError>
  >
>()
// @ts-expect-error at least one
SessionFrontend.layerFirst([])
// @ts-expect-error HttpOnly is not for sale
SessionFrontend.layerCookie({ httpOnly: false })
// @ts-expect-error nor is another place for the token
SessionFrontend.layerCookie({ queryParameter: "token" })

// -----------------------------------------------------------------------------
// The whole of `E`, and a test with no HTTP
// -----------------------------------------------------------------------------

export const mine: Effect.Effect<string, never, UserSession> = Effect.flatMap(UserSession, (s) => s.get).pipe(
  Effect.map((s) => s.data.username),
  Effect.catchTags({
    SessionMissing: () => Effect.succeed("-"),
    SessionInvalid: (e) => Effect.succeed(e.reason),
    SessionRefused: (e) => Effect.succeed(e.message),
    SessionUnavailable: () => Effect.succeed("?")
  })
)
export const test: Effect.Effect<boolean, SessionError.SessionUnavailable> = Effect.flatMap(
  UserSession,
  (s) => s.option
).pipe(Effect.map(Option.isSome), Effect.provide(SessionTest.layerVerified(UserSession, { username: "ada" })))

// What the layers say of themselves.
is<
  Equal<
    Layer.Services<typeof Live>,
    | SessionFrontend.SessionFrontend
    | Session.VerifierOf<UserSession>
    | SessionBackend.SessionBackend
    | SessionKeys.SessionKeys
    | Mac.Mac
    | Digest.Digest
    | SecureRandom.SecureRandom
  >
>()
is<Equal<Layer.Services<ReturnType<typeof SessionKeys.layer>>, Kdf.Kdf>>()
// @ts-expect-error a secret is Redacted
SessionKeys.layer("secret")
SessionKeys.layer([Redacted.make("a"), Redacted.make("b")])
// @ts-expect-error at least one
SessionKeys.layer([])
