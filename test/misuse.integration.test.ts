/** What a person sees whose store cannot be opened: the table of stores in docs/errors.md, on real servers. */
import { NodeRedis } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Logger, Option, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { headOf } from "./misuse/head.ts"
import { password, reader, type Servers, stores } from "./misuse/stores.ts"
import { mysqlUrl } from "./support/mariadb.ts"
import { databaseUrl, freePort, hasRedisServer, listens, needing, OwnRedis } from "./support/processes.ts"
import { exampleSettings } from "./support/redis.ts"

const areThere = hasRedisServer() && (await listens(databaseUrl, 5432)) && (await listens(mysqlUrl, 3306))

needing(areThere, "no redis-server to start, or no Postgres or MariaDB")("a store that cannot be opened", () => {
  let servers: Servers
  let redis: OwnRedis
  const asAdmin = (statement: string) =>
    Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(statement)).pipe(
      Effect.provide(PgClient.layer({ url: Redacted.make(databaseUrl) })),
      Effect.runPromise
    )
  beforeAll(async () => {
    redis = await OwnRedis.start({ isDurable: false })
    await redis.command("CONFIG SET requirepass swordfish")
    await asAdmin(`CREATE ROLE ${reader} LOGIN`)
    servers = {
      postgres: new URL(databaseUrl),
      mysql: new URL(mysqlUrl),
      redis: new URL(redis.url),
      closed: await freePort()
    }
  })
  afterAll(async () => {
    await asAdmin(`DROP ROLE IF EXISTS ${reader}`)
    await redis.dispose()
  })

  for (const { did, layer, sees } of stores) {
    it.live(`${did}: the last cause says why, and no password is shown`, () =>
      Effect.gen(function* () {
        const lines: Array<string> = []
        const logger = Logger.map(Logger.formatLogFmt, (line) => void lines.push(line))
        const exit = yield* Effect.exit(
          Effect.scoped(Layer.build(layer(servers).pipe(Layer.provide(Logger.layer([logger])))))
        )
        const shown = Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "it is opened"
        const last = [...shown.matchAll(/\[cause\]: (.*?)(?: \{)?$/gm)].at(-1)?.[1] ?? headOf(shown)
        // Where no name server answers, a host that there is not is EAI_AGAIN.
        const said = last.replace(`:${servers.closed}`, ":CLOSED").replace("EAI_AGAIN", "ENOTFOUND")
        assert.strictEqual(said, sees)
        // The client of this package says it in the first line, too.
        if (did.startsWith("MariaDB"))
          assert.include(headOf(shown).replace(`:${servers.closed}`, ":CLOSED"), sees.slice(7))
        assert.notInclude(shown + lines.join("\n"), password)
      })
    )
  }

  it.live("with the client settings of SessionBackendRedis, an app waits for Redis and says so", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.map(Logger.formatLogFmt, (line) => void lines.push(line))
      const client = NodeRedis.layer(exampleSettings(`redis://:${password}@127.0.0.1:${servers.closed}`))
      const built = Layer.build(client.pipe(Layer.provide(Logger.layer([logger])))).pipe(
        Effect.scoped,
        Effect.timeoutOption("500 millis")
      )
      assert.isTrue(Option.isNone(yield* built))
      assert.isAbove(lines.length, 1)
      for (const line of lines) assert.include(line, `connect ECONNREFUSED 127.0.0.1:${servers.closed}`)
      assert.notInclude(lines.join("\n"), password)
    })
  )
})
