/** The application of docs/operating.md that takes its options from the environment: the guide's own code, over Postgres. */
import { PgClient } from "@effect/sql-pg"
import { afterAll, assert, it } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, Layer, Redacted } from "effect"
import { HttpRouter } from "effect/http"
import { SqlClient } from "effect/sql"
import type { Config } from "effect"
import type { SessionError } from "effect-sessions"
import { modulesOf } from "../support/fences.ts"
import { databaseUrl, needing } from "../support/processes.ts"
import { secretA, secretB } from "../support/userSession.ts"

const guide = await modulesOf("docs/operating.md")("configured")

const table = `sessions_${globalThis.crypto.randomUUID().slice(0, 8)}`
const environment = {
  DATABASE_URL: databaseUrl,
  SESSION_TABLE: table,
  SESSION_SECRETS: `${secretB},${secretA}`,
  SESSION_IDLE_TIMEOUT: "10 minutes",
  SESSION_ABSOLUTE_TIMEOUT: "2 hours",
  SESSION_COOKIE_SECURE: "false",
  SESSION_TRUSTED_ORIGINS: "https://shop.test,https://pay.test"
}

const configured = (env: Record<string, string>) =>
  (guide.UserSessionLive as Layer.Layer<never, SessionError.SessionConfigError | Config.ConfigError>).pipe(
    Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env })))
  )

const onPostgres = <A, E>(use: (sql: SqlClient.SqlClient) => Effect.Effect<A, E>) =>
  Effect.flatMap(SqlClient.SqlClient, use).pipe(
    Effect.provide(PgClient.layer({ url: Redacted.make(databaseUrl), connectTimeout: "5 seconds" }), { local: true })
  )
const reachable = Exit.isSuccess(await Effect.runPromiseExit(onPostgres((sql) => sql`SELECT 1`)))

needing(reachable, "no Postgres at DATABASE_URL, nor at localhost:5432 as user postgres")("the configured app", () => {
  afterAll(() =>
    Effect.runPromise(
      onPostgres((sql) => sql`DROP TABLE IF EXISTS ${sql(table)}, ${sql(`${table}_migrations`)}`.pipe(Effect.asVoid))
    )
  )

  it("has the cookie, the timeouts, the origins and the table of its environment", async () => {
    const { dispose, handler } = HttpRouter.toWebHandler(
      (guide.Routes as Layer.Layer<never, never, HttpRouter.HttpRouter>).pipe(Layer.provide(configured(environment))),
      { disableLogger: true }
    )
    const send = (method: string, path: string, headers: Record<string, string> = {}) =>
      handler(new Request(`https://app.test${path}`, { method, headers }))
    const login = await send("POST", "/login", { origin: "https://pay.test", "sec-fetch-site": "cross-site" })
    assert.strictEqual(login.status, 204)
    const [cookie, ...attributes] = login.headers.getSetCookie()[0]!.split("; ")
    assert.match(cookie!, /^session=v1\./)
    assert.deepStrictEqual(attributes.toSorted(), ["HttpOnly", "Max-Age=7200", "Path=/", "SameSite=Lax"])
    assert.strictEqual(await (await send("GET", "/whoami", { cookie: cookie! })).text(), "ada")
    const strange = await send("POST", "/login", { origin: "https://evil.test", "sec-fetch-site": "cross-site" })
    assert.strictEqual(strange.status, 403)
    const rows = await Effect.runPromise(
      onPostgres((sql) => sql`SELECT idle_timeout AS idle FROM ${sql(table)} WHERE namespace = ${"app/UserSession"}`)
    )
    assert.deepStrictEqual(
      rows.map(({ idle }) => Number(idle)),
      [10 * 60_000]
    )
    await dispose()
  })

  it("names the variable that does not read, and all options that are wrong at once", async () => {
    const fails = (env: Record<string, string>) =>
      Effect.runPromise(Effect.flip(Effect.scoped(Layer.build(configured({ ...environment, ...env })))))
    const unreadable = await fails({ SESSION_IDLE_TIMEOUT: "soon" })
    assert.strictEqual(unreadable._tag, "ConfigError")
    assert.include(unreadable.message, "SESSION_IDLE_TIMEOUT")
    const wrong = await fails({ SESSION_SECRETS: "weak", SESSION_TRUSTED_ORIGINS: "shop.test" })
    assert.strictEqual(wrong._tag, "SessionConfigError")
    assert.match(wrong.message, /secret has 4 bytes/)
    assert.match(wrong.message, /"shop\.test".* must be an origin/)
  })
})
