/** Law 11, second half, in what an application's OpenTelemetry exports: nothing secret, over stores with spans of their own. */
import { NodeRedis } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Headers from "effect/http/Headers"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import * as NodeSqliteClient from "../../src/NodeSqliteClient.ts"
import type { SessionBackend } from "../../src/SessionBackend.ts"
import * as SessionBackendRedis from "../../src/SessionBackendRedis.ts"
import * as SessionFrontend from "../../src/SessionFrontend.ts"
import * as SessionMetrics from "../../src/SessionMetrics.ts"
import { canary, Evidence } from "../support/evidence.ts"
import { capturing } from "../support/logs.ts"
import * as MemberServer from "../support/memberServer.ts"
import * as OpenTelemetry from "../support/openTelemetry.ts"
import { databaseUrl, listens, needing, redisUrl } from "../support/processes.ts"
import { backendOver } from "../support/sqlBackend.ts"
import * as Stack from "../support/stack.ts"
import { secretA } from "../support/userSession.ts"

/** Drivers quote statements, keys and rows. */
const driverError = (args: ReadonlyArray<unknown>) =>
  Object.assign(new Error(`failed: ${JSON.stringify(args)}`), {
    code: "23505",
    detail: JSON.stringify(args),
    cause: new Error(JSON.stringify(args))
  })

/** A tracer that is told to record all headers. */
const allHeaders = Layer.succeed(HttpMiddleware.TracerHeaderFilter, () => true)

const random = globalThis.crypto.randomUUID().slice(0, 8)

const postgres = PgClient.layer({
  url: Redacted.make(databaseUrl),
  connectTimeout: "5 seconds",
  startupParameters: { search_path: `effect_sessions_${random}` }
})
/** With a schema that is gone after the test. */
const postgresOfItsOwn = Layer.effectDiscard(
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.acquireRelease(sql`CREATE SCHEMA ${sql(`effect_sessions_${random}`)}`, () =>
      Effect.orDie(sql`DROP SCHEMA ${sql(`effect_sessions_${random}`)} CASCADE`)
    )
  )
).pipe(Layer.provideMerge(postgres))

const redis = SessionBackendRedis.layerWith({ prefix: `test-${random}` }).pipe(
  Layer.provide(NodeRedis.layer({ url: redisUrl }))
)

const suite = (store: Layer.Layer<SessionBackend, unknown>, spans: RegExp) => {
  it.live("[R85a] is in no span, metric, log line or event, whatever becomes of a session", () => {
    const exported = OpenTelemetry.make()
    const lines: Array<string> = []
    const evidence = new Evidence()
    const events = new Evidence()
    return Effect.gen(function* () {
      const server = yield* MemberServer.start({
        store,
        note: canary,
        spanAttributes: ["session.id", "user.id"],
        onEvent: (event) =>
          Effect.andThen(
            SessionMetrics.record(event),
            Effect.sync(() => events.show(`event ${event._tag}`, event))
          )
      })
      const { all, cookies } = MemberServer.fates(server, driverError)
      for (const [name, fate] of all) {
        yield* fate
        for (const { attributes, events, links, name: title, resource, status } of exported.spans()) {
          evidence.show(`span of ${name}`, { title, attributes, events, links, status, resource: resource.attributes })
        }
      }
      assert.match(evidence.said.map(([, text]) => text).join("\n"), spans)
      evidence.show("metrics", yield* exported.counters)
      for (const line of lines) evidence.say("log", line)
      const secrets = [evidence, events]
      const records = server.backend.calls.flatMap(({ args, operation }) => (operation === "create" ? args : []))
      for (const found of secrets) {
        found.hide("key secret", secretA)
        for (const cookie of cookies) {
          found.hide("cookie", cookie)
          const [, , , secret, mac] = cookie.slice(cookie.indexOf("=") + 1).split(".")
          found.hide("token", cookie.slice(cookie.indexOf("=") + 1))
          found.hide("client's secret", secret!)
          found.hide("mac", mac!)
        }
        for (const { secretHash } of records as ReadonlyArray<{ readonly secretHash: string }>) {
          // That of a fence is no secret's.
          if (!/^A+$/.test(secretHash)) found.hide("stored hash", secretHash)
        }
      }
      // An event shows the session, with its data, to the application whose they are.
      evidence.hide("session data", canary)
      assert.deepStrictEqual([...new Set([...evidence.hits, ...events.hits])], [])
      // The search has had what it was to search.
      assert.strictEqual(cookies.length, 6)
      assert.isAtLeast(records.length, 7)
      assert.isAtLeast(lines.length, 5)
      const texts = evidence.said.map(([, text]) => text).join("\n")
      for (const heard of ["session.refused", "session backend failed", "<redacted>", "user.id", "sessions_created"]) {
        assert.include(texts, heard)
      }
      const told = events.said.map(([where]) => where).join("\n")
      for (const tag of ["Created", "Changed", "Ended", "Refused", "Failed"]) assert.include(told, `event ${tag}`)
    }).pipe(Effect.provide([exported.layer, capturing(lines), allHeaders]))
  })
}

describe("nothing secret, on memory,", () => suite(Stack.layerMemory(), /GET/))
describe("nothing secret, on SQLite,", () =>
  suite(backendOver(NodeSqliteClient.layer({ filename: ":memory:" })), /db\.query\.text/))
needing(await listens(databaseUrl, 5432), "no Postgres at DATABASE_URL, nor at localhost:5432")(
  "nothing secret, on Postgres,",
  () => suite(backendOver(postgresOfItsOwn), /db\.query\.text/)
)
needing(await listens(redisUrl, 6379), "no Redis at REDIS_URL, nor at 127.0.0.1:6379")(
  "nothing secret, on Redis,",
  () => suite(redis, /GET/)
)

describe("a token in a header of its own", () => {
  const withHeader = (redacted: Layer.Layer<never>, lines: Array<string> = []) => {
    const exported = OpenTelemetry.make()
    return Effect.gen(function* () {
      const server = yield* MemberServer.start({ frontend: SessionFrontend.layerHeader({ name: "X-Session" }) })
      const answer = yield* server.send("POST", "/log_in/ada")
      const token = answer.headers.get("x-session")!
      assert.strictEqual((yield* server.send("GET", "/me", { headers: { "x-session": token } })).status, 204)
      return { token, attributes: JSON.stringify(exported.spans().map(({ attributes }) => attributes)) }
    }).pipe(Effect.provide([exported.layer, capturing(lines), allHeaders, redacted]))
  }

  it.live("is not recorded without a warning", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const { attributes, token } = yield* withHeader(Layer.empty, lines)
      // Effect's tracer was told to record all headers, and does.
      assert.include(attributes, token)
      // Once for two requests, in each of two formats.
      const warnings = lines.filter((line) => line.includes("the tracer records tokens"))
      assert.strictEqual(warnings.length, 2)
      for (const warning of warnings) assert.match(warning, /add .*x-session.* to Headers\.CurrentRedactedNames/)
      assert.notInclude(lines.join("\n"), token)
    })
  )

  it.live("[R85a] is not recorded once its name is among the redacted ones", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const { attributes, token } = yield* withHeader(
        Layer.effect(
          Headers.CurrentRedactedNames,
          Effect.map(Headers.CurrentRedactedNames, (names) => [...names, "x-session"])
        ),
        lines
      )
      assert.deepStrictEqual(lines, [])
      assert.notInclude(attributes, token)
      assert.include(attributes, `"http.request.header.x-session":"<redacted>"`)
      assert.include(attributes, `"http.response.header.x-session":"<redacted>"`)
    })
  )
})
