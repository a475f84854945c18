/** What is set up wrong where the app is built: each row is a layer that does not build. */
import { NodeCrypto } from "@effect/platform-node"
import { Config, ConfigProvider, Effect, Layer, Redacted, Schema } from "effect"
import type { Redis } from "effect/persistence"
import { SqlClient } from "effect/sql"
import {
  Session,
  SessionBackendMemory,
  SessionBackendRedis,
  SessionBackendSql,
  SessionFrontend,
  SessionKeys,
  SessionManager,
  SessionMiddleware,
  SessionSweeper,
  SessionVerifier
} from "effect-sessions"
import * as NodeSqliteClient from "effect-sessions/NodeSqliteClient"
import { testKitKey } from "../../src/internal/token/publishedKeys.ts"
import * as SqlVersion1 from "../support/sqlVersion1.ts"
import { unasked } from "../support/fakeRedis.ts"
import { secretA } from "../support/userSession.ts"
import type { Row } from "./row.ts"

export interface Setting extends Row {
  /** The layer that the error names. One without is the error of another module, and `sees` is all of it. */
  readonly of?: string
  readonly layer: Layer.Layer<never, unknown>
}

class UserSession extends Session.Service<UserSession>()("app/UserSession", {
  data: Schema.Struct({ username: Schema.String }),
  principal: (data) => data.username
}) {}

class AdminSession extends Session.Service<AdminSession>()("app/AdminSession", {
  data: Schema.Struct({ email: Schema.String })
}) {}

/** The same module, copied and not renamed. */
class CopiedSession extends Session.Service<CopiedSession>()("app/UserSession", {
  data: Schema.Struct({ email: Schema.String })
}) {}

const environment = (env: Record<string, string>) =>
  Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env })))

const keys = (...secrets: readonly [string, ...ReadonlyArray<string>]) => {
  const [first, ...rest] = secrets
  return SessionKeys.layer([Redacted.make(first), ...rest.map((secret) => Redacted.make(secret))]).pipe(
    Layer.provide(NodeCrypto.layer)
  )
}
const fromEnvironment = (env: Record<string, string>) =>
  SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET")).pipe(Layer.provide(NodeCrypto.layer), environment(env))

const below = Layer.mergeAll(SessionBackendMemory.layer, keys(secretA), NodeCrypto.layer)
const parts = Layer.mergeAll(
  below,
  SessionFrontend.layerCookie(),
  SessionVerifier.layerExists(UserSession),
  SessionVerifier.layerExists(AdminSession),
  SessionVerifier.layerExists(CopiedSession)
)
const bound = (options: Session.LayerOptions) =>
  SessionMiddleware.layer(UserSession, options).pipe(Layer.provide(parts))

const sqlite = NodeSqliteClient.layer({ filename: ":memory:" })

const makeOne = "make one with: openssl rand -base64 32"
const origin =
  `must be an origin as browsers send it, such as "https://app.example.com" or "capacitor://localhost": ` +
  `scheme, host, and port unless it is the scheme's own, with no path, no user and no wildcard`
const header = "must be an HTTP token with no meaning of its own; for Authorization use layerBearer"

export const settings: ReadonlyArray<Setting> = [
  // The secret
  {
    did: "`SESSION_SECRET` is not set",
    layer: fromEnvironment({}),
    of: "SessionKeys",
    sees: `the session secret is not configured: set SESSION_SECRET; ${makeOne}`,
    change: "put what the command prints into `SESSION_SECRET`, the same for all servers"
  },
  {
    did: "`SESSION_SECRET=` is empty",
    layer: fromEnvironment({ SESSION_SECRET: "" }),
    of: "SessionKeys",
    sees: `the session secret is not configured: set SESSION_SECRET; ${makeOne}`
  },
  {
    did: "`SESSION_SECRET=hunter2`, a short one",
    layer: fromEnvironment({ SESSION_SECRET: "hunter2" }),
    of: "SessionKeys",
    sees: `the session secret has 7 bytes; at least 32 are needed; ${makeOne}`
  },
  {
    did: "a placeholder that was not replaced",
    layer: keys("please-change-me-before-you-deploy-this"),
    of: "SessionKeys",
    sees: `the session secret contains a placeholder word; ${makeOne}`
  },
  {
    did: "words that a person made up",
    layer: keys("my dog likes long walks in the old park"),
    of: "SessionKeys",
    sees: `the session secret has about 116 bits of entropy; at least 128 are needed; ${makeOne}`
  },
  {
    did: "a UUID",
    layer: keys("6fa459ea-ee8a-4ca4-894e-db77e160355e"),
    of: "SessionKeys",
    sees: `the session secret contains a UUID, which is an identifier and no key (ASVS 11.5.1); ${makeOne}`
  },
  {
    did: "the key of the test kit",
    layer: keys(testKitKey),
    of: "SessionKeys",
    sees: `the session secret is published, in the test kit or a document of this library; ${makeOne}`
  },
  {
    did: "two secrets, the second a copy of the first",
    layer: keys(secretA, secretA),
    of: "SessionKeys",
    sees: "session secret 2 of 2 repeats an earlier one",
    change: "give the old one and a new one"
  },
  // Timeouts
  {
    did: "`idleTimeout` above `absoluteTimeout`, which is 24 hours unless you set it",
    layer: bound({ idleTimeout: "7 days" }),
    of: "app/UserSession",
    sees: "idleTimeout must not be longer than absoluteTimeout: 7d, 1d",
    change: "set `absoluteTimeout` too"
  },
  {
    did: "`absoluteTimeout` above its ceiling",
    layer: bound({ absoluteTimeout: "730 days" }),
    of: "app/UserSession",
    sees: "absoluteTimeout must not be longer than 400 days (RFC 6265bis 5.5): 730d",
    change: "no browser keeps a cookie for longer"
  },
  {
    did: "a timeout with a typing error, in JavaScript",
    layer: bound({ idleTimeout: "30 minuets" as "30 minutes" }),
    of: "app/UserSession",
    sees: `idleTimeout must be a finite duration above zero, such as "30 minutes", not "30 minuets"`
  },
  {
    did: "`idleTimeout: 0`, for never",
    layer: bound({ idleTimeout: 0 }),
    of: "app/UserSession",
    sees: `idleTimeout must be a finite duration above zero, such as "30 minutes", not 0`,
    change: "a session always ends; the longest is 400 days"
  },
  {
    did: "`Number(process.env.IDLE)`, and `IDLE` is not set",
    layer: bound({ idleTimeout: Number(undefined) }),
    of: "app/UserSession",
    sees: `idleTimeout must be a finite duration above zero, such as "30 minutes", not NaN`,
    change: "read it with `SessionMiddleware.layerConfig` and `Config.Duration`"
  },
  {
    did: "`IDLE=soon`, read with `Config.Duration`",
    layer: SessionMiddleware.layerConfig(UserSession, { idleTimeout: Config.Duration("IDLE") }).pipe(
      Layer.provide(parts),
      environment({ IDLE: "soon" })
    ),
    sees: `ConfigError: SchemaError(Expected a valid Duration string\n  at ["IDLE"])`,
    change: "set `IDLE` to a number and a unit, `30 minutes`"
  },
  {
    did: "`maxPerPrincipal: 0`, for any number",
    layer: bound({ maxPerPrincipal: 0 }),
    of: "app/UserSession",
    sees: "maxPerPrincipal must be a whole number from 1 to 1000, or false for no limit"
  },
  // The cookie
  {
    did: "`__Host-` and a `domain`",
    layer: SessionFrontend.layerCookie({ name: "__Host-session", domain: "example.com" }),
    of: "SessionFrontend.layerCookie",
    sees: `cookie "__Host-session": the prefix allows no domain; with one use __Secure-`
  },
  {
    did: "`__Host-` and `secure: false`",
    layer: SessionFrontend.layerCookie({ name: "__Host-session", secure: false }),
    of: "SessionFrontend.layerCookie",
    sees: `cookie "__Host-session": the prefix demands secure; without it choose a plain name`
  },
  {
    did: '`sameSite: "none"` and `secure: false`',
    layer: SessionFrontend.layerCookie({ sameSite: "none", secure: false }),
    of: "SessionFrontend.layerCookie",
    sees: `cookie "session": sameSite "none" demands secure`
  },
  {
    did: "a name with a blank",
    layer: SessionFrontend.layerCookie({ name: "my session" }),
    of: "SessionFrontend.layerCookie",
    sees: `cookie name "my session" must be one or more of the characters of an HTTP token`,
    change: "letters, digits, `-` and `_`"
  },
  ...["https://app.example.com/", "*"].map((trusted) => ({
    did: `\`trustedOrigins: ["${trusted}"]\``,
    layer: SessionFrontend.layerCookie({ trustedOrigins: [trusted] }),
    of: "SessionFrontend.layerCookie",
    sees: `trusted origin "${trusted}" ${origin}`
  })),
  {
    did: '`layerHeader({ name: "authorization" })`',
    layer: SessionFrontend.layerHeader({ name: "authorization" }),
    of: "SessionFrontend.layerHeader",
    sees: `header name "authorization" ${header}`
  },
  {
    did: "a header's name with a colon",
    layer: SessionFrontend.layerHeader({ name: "x-session:" }),
    of: "SessionFrontend.layerHeader",
    sees: `header name "x-session:" ${header}`
  },
  // Definitions
  {
    did: "two definitions with the default cookie",
    layer: Layer.mergeAll(SessionMiddleware.layer(UserSession), SessionMiddleware.layer(AdminSession)).pipe(
      Layer.provide(parts)
    ),
    of: "app/AdminSession",
    sees:
      `the cookie "__Host-session" serves app/UserSession already; ` +
      "give app/AdminSession another: SessionFrontend.layerCookie({ name })"
  },
  {
    did: "two definitions with one identifier",
    layer: Layer.mergeAll(SessionManager.layer(UserSession), SessionManager.layer(CopiedSession)).pipe(
      Layer.provide(parts)
    ),
    of: "app/UserSession",
    sees:
      `two session definitions have the identifier "app/UserSession": give each its own, in Session.Service()("…"). ` +
      "If they are one, whose module was loaded twice, keep its runtime on globalThis, or dispose of the first"
  },
  {
    did: "two layers of one definition, with other options",
    layer: Layer.mergeAll(
      SessionMiddleware.layer(UserSession, { idleTimeout: "1 hour" }),
      SessionManager.layer(UserSession, { idleTimeout: "30 minutes" })
    ).pipe(Layer.provide(parts)),
    of: "app/UserSession",
    sees:
      "two managers of app/UserSession differ: idleTimeout is 1h in one and 30m in the other. " +
      "Give their layers the same options and keys, or use one layer for both"
  },
  // Stores
  {
    did: "no table, with `layerStorage`",
    layer: SessionBackendSql.layerStorage().pipe(Layer.provide(sqlite)),
    of: "SessionBackendSql.layerStorage",
    sees: 'there is no table effect_sessions: make it (layerMigrations, or the statements of ddl({ dialect: "sqlite" }))'
  },
  {
    did: "the table of an older version, with `layerStorage`",
    layer: SessionBackendSql.layerStorage().pipe(
      Layer.provide(
        Layer.effectDiscard(Effect.flatMap(SqlClient.SqlClient, (sql) => SqlVersion1.create(sql, "effect_sessions")))
      ),
      Layer.provide(sqlite)
    ),
    of: "SessionBackendSql.layerStorage",
    sees:
      "table effect_sessions is of version 1: run migration 0002_sweep_at " +
      '(layerMigrations, or the statements of ddl({ dialect: "sqlite", from: 1 }))'
  },
  {
    did: '`table: "public.sessions"`',
    layer: SessionBackendSql.layerWith({ table: "public.sessions" }).pipe(Layer.provide(sqlite)),
    of: "SessionBackendSql",
    sees:
      "table must be 1 to 48 letters, digits and underscores, and not begin with a digit; " +
      "a schema is chosen by the search_path"
  },
  {
    did: '`prefix: "{shop}"` in Redis',
    layer: SessionBackendRedis.layerWith({ prefix: "{shop}" }).pipe(Layer.provide(unasked as Layer.Layer<Redis.Redis>)),
    of: "SessionBackendRedis.layerWith",
    sees: "prefix: no braces, Redis Cluster reads them as a hash tag"
  },
  {
    did: "an SQLite file in a folder that is not there",
    layer: NodeSqliteClient.layer({ filename: "/no/such/folder/sessions.sqlite" }),
    sees:
      "effect/sql/SqlError: NodeSqliteClient: cannot open /no/such/folder/sessions.sqlite: " +
      "unable to open database file; its folder has to exist, and be writable"
  },
  {
    did: "`SessionSweeper.layer({ batch: 0 })`",
    layer: SessionSweeper.layer({ batch: 0 }).pipe(Layer.provide(SessionBackendMemory.layer)),
    of: "SessionSweeper.layer",
    sees: "batch must be a whole number from 1 to 1000"
  }
]

/** Layers beside each other, and what is said of them together. */
export const several: Setting = {
  did: "two layers of one `Layer.provide`",
  layer: Layer.mergeAll(SessionFrontend.layerCookie({ sameSite: "none", secure: false }), fromEnvironment({})),
  sees:
    "SessionConfigError: session configuration of SessionFrontend.layerCookie, SessionKeys:\n" +
    `  - cookie "session": sameSite "none" demands secure\n` +
    `  - the session secret is not configured: set SESSION_SECRET; ${makeOne}`
}
