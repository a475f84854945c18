/**
 * An API with `effect/http-api`: passwords, a list of devices, an administrator beside the users, a mobile client.
 *
 * Run it with `npm run example:http-api`; it prints what to try, and has its documentation at /docs. It listens on port 3000,
 * or on `PORT`.
 */
import { NodeCrypto, NodeHttpServer } from "@effect/platform-node"
import { Config, Context, Effect, Layer, Option, Redacted, Schema } from "effect"
import { Kdf, Mac, SecureRandom } from "effect/crypto"
import { Base64 } from "effect/encoding"
import { HttpRouter } from "effect/http"
import {
  HttpApi,
  HttpApiBuilder,
  HttpApiEndpoint,
  HttpApiGroup,
  HttpApiSchema,
  HttpApiSecurity,
  HttpApiSwagger
} from "effect/http-api"
import {
  Session,
  SessionBackendMemory,
  SessionFrontend,
  SessionHttpApi,
  SessionHttpApiMiddleware,
  SessionKeys,
  SessionMiddleware,
  SessionVerifier
} from "effect-sessions"
import { createServer } from "node:http"
import { launch } from "./launch.ts"

// -----------------------------------------------------------------------------
// The API: what a server, its documentation and its clients share
// -----------------------------------------------------------------------------

// 1. Two sessions: a user's, by cookie or bearer token, and an administrator's, by a cookie of its own.
export class UserSession extends Session.Service<UserSession>()("example/UserSession", {
  data: Schema.Struct({ username: Schema.String, device: Schema.String }),
  principal: (data) => data.username
}) {}

export class AdminSession extends Session.Service<AdminSession>()("example/AdminSession", {
  data: Schema.Struct({ username: Schema.String }),
  principal: (data) => data.username
}) {}

// 2. The middlewares that provide them: to everybody, or to those whose session stands.
class Visitor extends SessionHttpApiMiddleware.Optional<Visitor>()("example/Visitor", UserSession) {}

class Authenticated extends SessionHttpApiMiddleware.Required<Authenticated>()("example/Authenticated", UserSession, {
  security: { session: HttpApiSecurity.apiKey({ in: "cookie", key: "session" }), bearer: HttpApiSecurity.bearer }
}) {}

class AdminVisitor extends SessionHttpApiMiddleware.Optional<AdminVisitor>()("example/AdminVisitor", AdminSession) {}

class Admin extends SessionHttpApiMiddleware.Required<Admin>()("example/Admin", AdminSession, {
  security: { admin: HttpApiSecurity.apiKey({ in: "cookie", key: "admin" }) }
}) {}

// 3. Endpoints.
export class WrongPassword extends Schema.TaggedError<WrongPassword>()("WrongPassword", {}, { httpApiStatus: 401 }) {}
export class NoSuchSession extends Schema.TaggedError<NoSuchSession>()("NoSuchSession", {}, { httpApiStatus: 404 }) {}

const Credentials = Schema.Struct({
  username: Schema.String,
  password: Schema.RedactedFromValue(Schema.String)
})

const Device = Schema.Struct({
  id: Session.SessionId,
  device: Schema.String,
  current: Schema.Boolean,
  createdAt: Schema.DateTimeUtcFromString,
  lastSeenAt: Schema.DateTimeUtcFromString
})

export const Api = HttpApi.make("example").add(
  HttpApiGroup.make("auth")
    .add(
      HttpApiEndpoint.post("login", "/login", {
        payload: Credentials,
        success: HttpApiSchema.NoContent,
        error: WrongPassword
      }),
      // The same session for a client without cookies: the token is in the body, to be sent as a bearer token.
      HttpApiEndpoint.post("mobileLogin", "/mobile/login", {
        payload: Credentials,
        success: Schema.Struct({ token: Schema.String }),
        error: WrongPassword
      }),
      HttpApiEndpoint.post("logout", "/logout", { success: HttpApiSchema.NoContent })
    )
    .middleware(Visitor),
  HttpApiGroup.make("account")
    .add(
      HttpApiEndpoint.get("whoami", "/whoami", { success: UserSession.data }),
      HttpApiEndpoint.get("sessions", "/sessions", { success: Schema.Array(Device) }),
      HttpApiEndpoint.delete("revoke", "/sessions/:id", {
        params: { id: Session.SessionId },
        success: HttpApiSchema.NoContent,
        error: NoSuchSession
      }),
      HttpApiEndpoint.post("revokeOthers", "/sessions/revoke-others", {
        success: Schema.Struct({ ended: Schema.Number })
      })
    )
    .middleware(Authenticated),
  HttpApiGroup.make("adminAuth")
    .add(
      HttpApiEndpoint.post("login", "/admin/login", {
        payload: Credentials,
        success: HttpApiSchema.NoContent,
        error: WrongPassword
      }),
      HttpApiEndpoint.post("logout", "/admin/logout", { success: HttpApiSchema.NoContent })
    )
    .middleware(AdminVisitor),
  HttpApiGroup.make("admin")
    .add(
      HttpApiEndpoint.get("whoami", "/admin/whoami", { success: AdminSession.data }),
      HttpApiEndpoint.delete("signOut", "/admin/users/:username/sessions", {
        params: { username: Schema.NonEmptyString },
        success: Schema.Struct({ ended: Schema.Number })
      })
    )
    .middleware(Admin)
)

// -----------------------------------------------------------------------------
// Users and their passwords
// -----------------------------------------------------------------------------

interface User {
  readonly username: string
  readonly role: "user" | "admin"
  readonly salt: Uint8Array
  readonly hash: Uint8Array
}

/** A table in memory. Yours is a database, and limits how often a password may be tried. */
class Users extends Context.Service<
  Users,
  {
    /** The user, if this is their password and they have this role. */
    readonly check: (
      role: User["role"],
      credentials: { readonly username: string; readonly password: Redacted.Redacted<string> }
    ) => Effect.Effect<User, WrongPassword>
  }
>()("example/Users") {
  static readonly layer = Layer.effect(
    Users,
    Effect.gen(function* () {
      const kdf = yield* Kdf.Kdf
      const random = yield* SecureRandom.SecureRandom
      // PBKDF2-HMAC-SHA-256 with 600,000 rounds (OWASP). On Node 24.7 and later `Kdf.argon2id()` is the better choice.
      const hash = (password: string, salt: Uint8Array) =>
        Effect.orDie(kdf.derive(Kdf.pbkdf2Sha256, new TextEncoder().encode(password), { salt, length: 32 }))
      const make = (username: string, role: User["role"], password: string) =>
        Effect.gen(function* () {
          const salt = yield* random.randomBytes(16)
          return { username, role, salt, hash: yield* hash(password, salt) }
        })
      const users = yield* Effect.all([
        make("ada", "user", "correct horse"),
        make("bob", "user", "battery staple"),
        make("root", "admin", "tremendous secret")
      ])
      // Compared with where there is no such user, so that the time an answer takes does not tell.
      const nobody = yield* make("", "user", Base64.encode(yield* random.randomBytes(32)))
      return {
        check: (role, { password, username }) =>
          Effect.gen(function* () {
            const known = users.find((user) => user.username === username && user.role === role)
            const user = known ?? nobody
            const given = yield* hash(Redacted.value(password), user.salt)
            if (!Mac.timingSafeEqual(given, user.hash) || known === undefined) return yield* new WrongPassword()
            return user
          })
      }
    })
  )
}

// -----------------------------------------------------------------------------
// Handlers
// -----------------------------------------------------------------------------

const Auth = HttpApiBuilder.group(
  Api,
  "auth",
  Effect.fnUntraced(function* (handlers) {
    const users = yield* Users
    return handlers
      .handle(
        "login",
        Effect.fnUntraced(function* ({ payload }) {
          const { username } = yield* users.check("user", payload)
          // Always a new session, and the end of the one the request came with.
          yield* (yield* UserSession).create({ username, device: "browser" })
        })
      )
      .handle(
        "mobileLogin",
        Effect.fnUntraced(function* ({ payload }) {
          const { username } = yield* users.check("user", payload)
          const session = yield* (yield* UserSession).create({ username, device: "phone" }, { cookie: "none" })
          return { token: Redacted.value(session.token) }
        })
      )
      .handle(
        "logout",
        Effect.fnUntraced(function* () {
          yield* (yield* UserSession).destroy
        })
      )
  })
)

const Account = HttpApiBuilder.group(Api, "account", (handlers) =>
  handlers
    .handle("whoami", () => Effect.map(UserSession.Verified, ({ data }) => data))
    .handle(
      "sessions",
      Effect.fnUntraced(function* () {
        const sessions = yield* (yield* UserSession).list
        return sessions.map(({ createdAt, current, data, id, lastSeenAt }) => ({
          id,
          // Data of another version of the app may not decode; the session can be signed out all the same.
          device: data?.device ?? "unknown",
          current,
          createdAt,
          lastSeenAt
        }))
      })
    )
    .handle(
      "revoke",
      Effect.fnUntraced(function* ({ params }) {
        // Only among the user's own: another's session is not found.
        const revoked = yield* (yield* UserSession).revoke(params.id)
        if (!revoked) return yield* new NoSuchSession()
      })
    )
    .handle(
      "revokeOthers",
      Effect.fnUntraced(function* () {
        return { ended: yield* (yield* UserSession).revokeOthers }
      })
    )
)

const AdminAuth = HttpApiBuilder.group(
  Api,
  "adminAuth",
  Effect.fnUntraced(function* (handlers) {
    const users = yield* Users
    return handlers
      .handle(
        "login",
        Effect.fnUntraced(function* ({ payload }) {
          const { username } = yield* users.check("admin", payload)
          yield* (yield* AdminSession).create({ username }, { cookie: "browser" })
        })
      )
      .handle(
        "logout",
        Effect.fnUntraced(function* () {
          yield* (yield* AdminSession).destroy
        })
      )
  })
)

const Administration = HttpApiBuilder.group(
  Api,
  "admin",
  Effect.fnUntraced(function* (handlers) {
    // Sessions of others are reached through the manager, without a request of theirs.
    const manager = yield* UserSession.Manager
    return handlers
      .handle("whoami", () => Effect.map(AdminSession.Verified, ({ data }) => data))
      .handle(
        "signOut",
        Effect.fnUntraced(function* ({ params }) {
          const { username } = (yield* AdminSession.Verified).data
          const ended = yield* manager.revokeAll(params.username)
          yield* Effect.log(`${username} signed ${params.username} out of ${ended} sessions`)
          return { ended }
        })
      )
  })
)

export const Routes = Layer.mergeAll(
  HttpApiBuilder.layer(Api, { openapiPath: "/openapi.json" }),
  HttpApiSwagger.layer(Api, { path: "/docs" })
).pipe(
  Layer.provide([Auth, Account, AdminAuth, Administration]),
  Layer.provide(Users.layer),
  Layer.provide([
    SessionHttpApi.layerOptional(Visitor, UserSession),
    SessionHttpApi.layer(Authenticated, UserSession),
    SessionHttpApi.layerOptional(AdminVisitor, AdminSession),
    SessionHttpApi.layer(Admin, AdminSession)
  ])
)

// -----------------------------------------------------------------------------
// The stack: one backend and one key ring under both sessions
// -----------------------------------------------------------------------------

// This example speaks plain http on localhost. Browsers and curl send a Secure cookie there, Safari and some tools do not
// (docs/proxies.md). Behind https leave out `secure: false` and the names, and declare "__Host-session" above.
const UserSessionLive = SessionMiddleware.layer(UserSession, {
  idleTimeout: "30 minutes",
  absoluteTimeout: "12 hours"
}).pipe(
  Layer.provide([
    SessionFrontend.layerFirst([
      SessionFrontend.layerCookie({ name: "session", secure: false }),
      SessionFrontend.layerBearer()
    ]),
    SessionVerifier.layerExists(UserSession)
  ])
)

const AdminSessionLive = SessionMiddleware.layer(AdminSession, {
  idleTimeout: "10 minutes",
  absoluteTimeout: "1 hour"
}).pipe(
  Layer.provide([
    SessionFrontend.layerCookie({ name: "admin", path: "/admin", sameSite: "strict", secure: false }),
    SessionVerifier.layerExists(AdminSession)
  ])
)

/** The secret that signs tokens: from the environment, or one for this run alone. */
const Keys = Layer.unwrap(
  Effect.gen(function* () {
    const secret = yield* Config.option(Config.Redacted("SESSION_SECRET"))
    if (Option.isSome(secret)) return SessionKeys.layer(secret.value)
    yield* Effect.logWarning(
      "SESSION_SECRET is not set: signing with a generated secret, sessions end with this process"
    )
    const bytes = yield* SecureRandom.SecureRandom.use((random) => random.randomBytes(32))
    return SessionKeys.layer(Redacted.make(Base64.encode(bytes)))
  })
)

export const Sessions = Layer.mergeAll(UserSessionLive, AdminSessionLive).pipe(
  Layer.provide([SessionBackendMemory.layer, Keys])
)

const Server = Layer.unwrap(
  Effect.gen(function* () {
    const port = yield* Config.Port("PORT").pipe(Config.withDefault(3000))
    const url = `http://localhost:${port}`
    const post = "-H 'content-type: application/json' -d"
    yield* Effect.log(
      [
        `documentation: ${url}/docs`,
        "try:",
        `  curl -i -c ada.txt ${post} '{"username":"ada","password":"correct horse"}' ${url}/login`,
        `  curl -i -b ada.txt ${url}/whoami`,
        `  curl -i ${post} '{"username":"ada","password":"correct horse"}' ${url}/mobile/login`,
        `  curl -i -H 'authorization: Bearer TOKEN' ${url}/whoami`,
        `  curl -i -b ada.txt ${url}/sessions`,
        `  curl -i -b ada.txt -X DELETE ${url}/sessions/ID`,
        `  curl -i -b ada.txt -c ada.txt -X POST ${url}/sessions/revoke-others`,
        `  curl -i -c root.txt ${post} '{"username":"root","password":"tremendous secret"}' ${url}/admin/login`,
        `  curl -i -b root.txt -X DELETE ${url}/admin/users/ada/sessions`,
        `  curl -i -b ada.txt -c ada.txt -X POST ${url}/logout`
      ].join("\n")
    )
    return HttpRouter.serve(Routes).pipe(
      Layer.provide(NodeHttpServer.layer(createServer, { port })),
      // Provided last and so built first: the server does not listen before sessions are ready.
      Layer.provide(Sessions),
      Layer.provide(NodeCrypto.layer)
    )
  })
)

if (import.meta.main) launch(Server)
