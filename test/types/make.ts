/**
 * What `make` and `layerConfig` need, fail with and infer. Compiled by `tsc -p .`, never run.
 */
import { Config, Context, Effect, Option, Schema } from "effect"
import type { Layer, Redacted, Scope } from "effect"
import type { Kdf } from "effect/crypto"
import type { HttpClient } from "effect/http"
import type { Redis } from "effect/persistence"
import type { SqlClient } from "effect/sql"
import type { SqlError } from "effect/sql/SqlError"
import {
  Session,
  SessionFrontend,
  SessionHttpApiClient,
  SessionManager,
  SessionMiddleware,
  SessionVerifier
} from "effect-sessions"
import type {
  SessionBackend,
  SessionBackendMemory,
  SessionBackendRedis,
  SessionBackendSql,
  SessionError,
  SessionKeys,
  SessionSweeper
} from "effect-sessions"
import type * as NodeSqliteClient from "effect-sessions/NodeSqliteClient"

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const is = <_ extends true>(): void => {}

type Invalid = SessionError.SessionConfigError
type Frontend = SessionFrontend.SessionFrontend["Service"]
type Backend = SessionBackend.SessionBackend["Service"]

class Suspended extends Schema.TaggedError<Suspended>()("Suspended", {}, { httpApiStatus: 403 }) {}
class UserSession extends Session.Service<UserSession>()("types/UserSession", {
  data: Schema.Struct({ username: Schema.String }),
  principal: (data) => data.username,
  refused: Suspended
}) {}
interface Data {
  readonly username: string
}
class Audit extends Context.Service<Audit, { readonly write: (line: string) => Effect.Effect<void> }>()(
  "types/Audit"
) {}
class Users extends Context.Service<Users, { readonly suspended: (name: string) => Effect.Effect<boolean> }>()(
  "types/Users"
) {}

// -----------------------------------------------------------------------------
// make
// -----------------------------------------------------------------------------

is<Equal<ReturnType<typeof SessionKeys.make>, Effect.Effect<SessionKeys.SessionKeys["Service"], Invalid, Kdf.Kdf>>>()

is<Equal<ReturnType<typeof SessionFrontend.makeCookie>, Effect.Effect<Frontend, Invalid>>>()
is<Equal<ReturnType<typeof SessionFrontend.makeHeader>, Effect.Effect<Frontend, Invalid>>>()
is<Equal<ReturnType<typeof SessionFrontend.makeBearer>, Frontend>>()
is<Equal<ReturnType<typeof SessionFrontend.makeFirst>, Frontend>>()
// @ts-expect-error one at least
SessionFrontend.makeFirst([])

is<Equal<ReturnType<typeof SessionBackendMemory.make>, Effect.Effect<Backend, Invalid>>>()
is<Equal<ReturnType<typeof SessionBackendRedis.make>, Effect.Effect<Backend, Invalid, Redis.Redis | Scope.Scope>>>()
is<
  Equal<ReturnType<typeof SessionBackendSql.make>, Effect.Effect<Backend, Invalid, SqlClient.SqlClient | Scope.Scope>>
>()
is<Equal<ReturnType<typeof SessionBackendSql.makeStorage>, ReturnType<typeof SessionBackendSql.make>>>()
is<Equal<ReturnType<typeof SessionBackendSql.migrate>, Effect.Effect<void, Invalid, SqlClient.SqlClient>>>()

is<
  Equal<
    ReturnType<typeof SessionSweeper.make>,
    Effect.Effect<void, Invalid, SessionBackend.SessionBackend | Scope.Scope>
  >
>()

const exists = SessionVerifier.makeExists(UserSession)
is<Equal<typeof exists, SessionVerifier.Verifier<Data, readonly [typeof Suspended]>>>()
const predicate = SessionVerifier.makePredicate(
  UserSession,
  ({ data }) => Effect.succeed(data.username !== "eve"),
  () => new Suspended()
)
is<Equal<typeof predicate, typeof exists>>()
const own = SessionVerifier.make(
  UserSession,
  Effect.gen(function* () {
    const users = yield* Users
    const allowed = yield* Config.String("ALLOWED")
    return (session: Session.Session<Data>) =>
      Effect.flatMap(users.suspended(session.data.username), (suspended) =>
        suspended && session.data.username !== allowed ? Effect.fail(new Suspended()) : Effect.void
      )
  })
)
is<Equal<typeof own, Effect.Effect<typeof exists, Config.ConfigError, Users>>>()
class Other extends Schema.TaggedError<Other>()("Other", {}) {}
// @ts-expect-error an error that the definition does not name
SessionVerifier.make(UserSession, () => Effect.fail(new Other()))

const needy = { onUnauthorized: ({ retry }: SessionHttpApiClient.Unauthorized) => Effect.andThen(Users, retry) }
const token: Effect.Effect<Option.Option<Redacted.Redacted<string>>, never, Audit> = Effect.as(Audit, Option.none())
const clients = {
  cookies: SessionHttpApiClient.makeCookies(needy),
  bearer: SessionHttpApiClient.makeBearer({ ...needy, baseUrl: "https://api.test", token }),
  header: SessionHttpApiClient.makeHeader({ baseUrl: "https://api.test", name: "x-session" })
}
is<
  Equal<
    typeof clients,
    {
      cookies: Effect.Effect<HttpClient.HttpClient, never, HttpClient.HttpClient | Users>
      bearer: Effect.Effect<HttpClient.HttpClient, never, HttpClient.HttpClient | Users | Audit>
      header: Effect.Effect<HttpClient.HttpClient, never, HttpClient.HttpClient>
    }
  >
>()

// -----------------------------------------------------------------------------
// layerConfig
// -----------------------------------------------------------------------------

type Misconfigured = Invalid | Config.ConfigError

is<
  Equal<
    ReturnType<typeof SessionFrontend.layerHeaderConfig>,
    Layer.Layer<SessionFrontend.SessionFrontend, Misconfigured>
  >
>()
is<
  Equal<ReturnType<typeof SessionBackendMemory.layerConfig>, Layer.Layer<SessionBackend.SessionBackend, Misconfigured>>
>()
is<
  Equal<
    ReturnType<typeof SessionBackendRedis.layerConfig>,
    Layer.Layer<SessionBackend.SessionBackend, Misconfigured, Redis.Redis>
  >
>()
is<
  Equal<
    ReturnType<typeof SessionBackendSql.layerConfig>,
    Layer.Layer<SessionBackend.SessionBackend, Misconfigured, SqlClient.SqlClient>
  >
>()
is<Equal<ReturnType<typeof SessionBackendSql.layerStorageConfig>, ReturnType<typeof SessionBackendSql.layerConfig>>>()
is<
  Equal<
    ReturnType<typeof SessionBackendSql.layerMigrationsConfig>,
    Layer.Layer<never, Misconfigured, SqlClient.SqlClient>
  >
>()
is<
  Equal<ReturnType<typeof SessionSweeper.layerConfig>, Layer.Layer<never, Misconfigured, SessionBackend.SessionBackend>>
>()
is<
  Equal<
    ReturnType<typeof NodeSqliteClient.layerConfig>,
    Layer.Layer<SqlClient.SqlClient, Config.ConfigError | SqlError>
  >
>()

// Functions are given as they are, and what they need is needed by the layer.
const duration = Config.Duration("T")
const manager = SessionManager.layerConfig(UserSession, {
  idleTimeout: duration,
  rotateEvery: duration,
  maxPerPrincipal: Config.Int("N").pipe(Config.withDefault(false)),
  spanAttributes: Config.succeed(["user.id"]),
  onEvent: (event) =>
    Effect.flatMap(Audit, (audit) => {
      is<Equal<typeof event, Session.SessionEvent<Data, readonly [typeof Suspended]>>>()
      return audit.write(event._tag)
    })
})
is<
  Equal<
    typeof manager,
    Layer.Layer<Session.ManagerOf<UserSession>, Misconfigured, Session.VerifierOf<UserSession> | Session.Core | Audit>
  >
>()

const middleware = SessionMiddleware.layerConfig(UserSession, {
  clearSiteData: Config.succeed(false),
  client: (request) => ({ userAgent: request.headers["user-agent"] }),
  onEvent: () => Effect.asVoid(Audit),
  adopt: () => Effect.as(Audit, Option.some({ data: { username: "ada" } }))
})
is<
  Equal<
    typeof middleware,
    Layer.Layer<
      Session.Bound<UserSession>,
      Misconfigured,
      SessionFrontend.SessionFrontend | Session.VerifierOf<UserSession> | Session.Core | Audit
    >
  >
>()
const quiet = SessionMiddleware.layerConfig(UserSession, { idleTimeout: duration })
is<
  Equal<
    typeof quiet,
    Layer.Layer<
      Session.Bound<UserSession>,
      Misconfigured,
      SessionFrontend.SessionFrontend | Session.VerifierOf<UserSession> | Session.Core
    >
  >
>()
// @ts-expect-error a value is a `Config`
SessionMiddleware.layerConfig(UserSession, { idleTimeout: "30 minutes" })
// @ts-expect-error of the option's own type
SessionMiddleware.layerConfig(UserSession, { maxPerPrincipal: Config.String("N") })
// @ts-expect-error a function is none
SessionMiddleware.layerConfig(UserSession, { client: Config.succeed(() => ({})) })
// @ts-expect-error no such option
SessionMiddleware.layerConfig(UserSession, { idle: duration })
// @ts-expect-error data of another definition
SessionMiddleware.layerConfig(UserSession, { adopt: () => Effect.succeedSome({ data: { email: "" } }) })
