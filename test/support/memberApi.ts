/** An API with sessions in all the ways a middleware can be declared, and its server. */
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as HttpApiSecurity from "effect/http-api/HttpApiSecurity"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { Session, SessionFrontend, SessionHttpApi, SessionHttpApiMiddleware, SessionVerifier } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"

export class Suspended extends Schema.TaggedError<Suspended>()(
  "Suspended",
  { until: Schema.String },
  { httpApiStatus: 403 }
) {}
export class Unpaid extends Schema.TaggedError<Unpaid>()("Unpaid", {}, { httpApiStatus: 402 }) {}

export class MemberData extends Schema.Class<MemberData>("MemberData")({
  username: Schema.String,
  cart: Schema.Array(Schema.String)
}) {}
export const member = (username: string) => new MemberData({ username, cart: [] })

export class MemberSession extends Session.Service<MemberSession>()("test/MemberSession", {
  data: MemberData,
  refused: [Suspended, Unpaid],
  principal: (data) => (data.username === "" ? undefined : data.username)
}) {}

/** A guard with two schemes. */
export class Authenticated extends SessionHttpApiMiddleware.Required<Authenticated>()(
  "test/Authenticated",
  MemberSession,
  {
    security: {
      session: HttpApiSecurity.apiKey({ in: "cookie", key: "__Host-session" }),
      bearer: HttpApiSecurity.bearer
    }
  }
) {}

/** A guard with none. */
export class Guarded extends SessionHttpApiMiddleware.Required<Guarded>()("test/Guarded", MemberSession) {}

/** Open to all, without a scheme. */
export class Visitor extends SessionHttpApiMiddleware.Optional<Visitor>()("test/Visitor", MemberSession) {}

/** Open to all, and documented as taking a session by either scheme: written with `effect/http-api` alone. */
export class VisitorOrMember extends HttpApiMiddleware.Service<VisitorOrMember, { provides: MemberSession }>()(
  "test/VisitorOrMember",
  {
    error: Session.errors(MemberSession),
    security: {
      session: HttpApiSecurity.apiKey({ in: "cookie", key: "__Host-session" }),
      bearer: HttpApiSecurity.bearer
    }
  }
) {}

export class SoldOut extends Schema.TaggedError<SoldOut>()("SoldOut", {}, { httpApiStatus: 410 }) {}

export const Device = Schema.Struct({ id: Session.SessionId, current: Schema.Boolean })

export const Api = HttpApi.make("members").add(
  HttpApiGroup.make("auth")
    .add(
      HttpApiEndpoint.post("login", "/login", {
        payload: Schema.Struct({ username: Schema.String }),
        success: Schema.Struct({ token: Schema.String })
      }),
      HttpApiEndpoint.post("logout", "/logout", { success: HttpApiSchema.NoContent })
    )
    .middleware(Visitor),
  HttpApiGroup.make("open")
    .add(
      HttpApiEndpoint.get("peek", "/peek", { success: Schema.NullOr(Schema.String) }),
      HttpApiEndpoint.post("poke", "/poke", { success: Schema.String }),
      HttpApiEndpoint.get("untouched", "/untouched", { success: Schema.String })
    )
    .middleware(VisitorOrMember),
  HttpApiGroup.make("account")
    .add(
      HttpApiEndpoint.get("whoami", "/whoami", { success: MemberData }),
      HttpApiEndpoint.post("add", "/cart/:item", { params: { item: Schema.NonEmptyString } }),
      HttpApiEndpoint.put("put", "/cart", { payload: MemberData }),
      HttpApiEndpoint.post("rotate", "/rotate"),
      HttpApiEndpoint.get("sessions", "/sessions", { success: Schema.Array(Device) }),
      HttpApiEndpoint.delete("revoke", "/sessions/:id", {
        params: { id: Session.SessionId },
        success: Schema.Boolean
      }),
      HttpApiEndpoint.post("revokeOthers", "/revoke-others", { success: Schema.Number }),
      HttpApiEndpoint.post("revokeAll", "/revoke-all", { success: Schema.Number }),
      HttpApiEndpoint.get("public", "/public"),
      HttpApiEndpoint.get("fails", "/fails", { error: SoldOut }),
      HttpApiEndpoint.get("dies", "/dies"),
      HttpApiEndpoint.get("stale", "/stale")
    )
    .middleware(Authenticated),
  HttpApiGroup.make("plain").add(
    HttpApiEndpoint.get("plain", "/plain", { success: Schema.String }).middleware(Guarded),
    HttpApiEndpoint.get("both", "/both", { success: Schema.String }).middleware(Authenticated).middleware(Visitor)
  )
)

/** What another request does to the session while `stale` is at work. */
export const rival: { act: (token: Redacted.Redacted<string>) => Effect.Effect<void> } = { act: () => Effect.void }

/** How often a guarded handler was entered. */
export const entered = { count: 0 }

const Auth = HttpApiBuilder.group(Api, "auth", (handlers) =>
  handlers
    .handle(
      "login",
      Effect.fnUntraced(function* ({ payload }) {
        const { token } = yield* (yield* MemberSession).create(member(payload.username))
        return { token: Redacted.value(token) }
      })
    )
    .handle(
      "logout",
      Effect.fnUntraced(function* () {
        yield* (yield* MemberSession).destroy
      })
    )
)

const Open = HttpApiBuilder.group(Api, "open", (handlers) =>
  handlers
    .handle(
      "peek",
      Effect.fnUntraced(function* () {
        const session = yield* (yield* MemberSession).option
        return Option.getOrNull(Option.map(session, ({ data }) => data.username))
      })
    )
    .handle("poke", () => Effect.succeed("poked"))
    .handle("untouched", () => Effect.succeed("untouched"))
)

const Account = HttpApiBuilder.group(Api, "account", (handlers) =>
  handlers
    .handle(
      "whoami",
      Effect.fnUntraced(function* () {
        entered.count++
        return (yield* MemberSession.Verified).data
      })
    )
    .handle(
      "add",
      Effect.fnUntraced(function* ({ params }) {
        const session = yield* MemberSession
        yield* session.update((data) => new MemberData({ ...data, cart: [...data.cart, params.item] }))
      })
    )
    .handle(
      "put",
      Effect.fnUntraced(function* ({ payload }) {
        yield* (yield* MemberSession).replace(payload)
      })
    )
    .handle(
      "rotate",
      Effect.fnUntraced(function* () {
        yield* (yield* MemberSession).rotate
      })
    )
    .handle(
      "sessions",
      Effect.fnUntraced(function* () {
        return yield* (yield* MemberSession).list
      })
    )
    .handle(
      "revoke",
      Effect.fnUntraced(function* ({ params }) {
        return yield* (yield* MemberSession).revoke(params.id)
      })
    )
    .handle(
      "revokeOthers",
      Effect.fnUntraced(function* () {
        return yield* (yield* MemberSession).revokeOthers
      })
    )
    .handle(
      "revokeAll",
      Effect.fnUntraced(function* () {
        return yield* (yield* MemberSession).revokeAll
      })
    )
    .handle("public", () =>
      Effect.succeed(HttpServerResponse.empty({ headers: { "cache-control": "public, max-age=3600" } }))
    )
    .handle("fails", () => Effect.fail(new SoldOut()))
    .handle("dies", () => Effect.die("boom"))
    .handle(
      "stale",
      Effect.fnUntraced(function* () {
        const session = yield* MemberSession
        const { data, token } = yield* session.get
        yield* rival.act(token)
        yield* session.replace(new MemberData({ ...data, cart: ["mine"] }))
      })
    )
)

const Plain = HttpApiBuilder.group(Api, "plain", (handlers) =>
  handlers
    .handle("plain", () => Effect.map(MemberSession.Verified, ({ data }) => data.username))
    .handle("both", () => Effect.map(MemberSession.Verified, ({ data }) => data.username))
)

export const Handlers = Layer.mergeAll(Auth, Open, Account, Plain)

export const Middlewares = Layer.mergeAll(
  SessionHttpApi.layer(Authenticated, MemberSession),
  SessionHttpApi.layer(Guarded, MemberSession),
  SessionHttpApi.layerOptional(Visitor, MemberSession),
  SessionHttpApi.layerOptional(VisitorOrMember, MemberSession)
)

/** Who the verifier refuses, and with what. */
export const refused = new Map<string, Suspended | Unpaid>()

export const Stack = SessionTest.layer(MemberSession, {
  frontend: SessionFrontend.layerFirst([SessionFrontend.layerCookie(), SessionFrontend.layerBearer()]),
  backend: SessionTest.layerBackend,
  verifier: SessionVerifier.layer(MemberSession, (session) => {
    const refusal = refused.get(session.data.username)
    return refusal === undefined ? Effect.void : Effect.fail(refusal)
  })
})

/** The API on a real socket; what tests need of its inside is left in sight. */
export const Served = HttpRouter.serve(
  HttpApiBuilder.layer(Api).pipe(Layer.provide(Handlers), Layer.provide(Middlewares)),
  { disableLogger: true, disableListenLog: true }
).pipe(Layer.provideMerge(Stack), Layer.provideMerge(SessionTest.layerBackend))
