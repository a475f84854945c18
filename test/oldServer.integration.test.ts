/** A server of the version before beside new ones, over a real Redis and a real Postgres. */
import { NodeCrypto } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { layer } from "@effect/vitest"
import { Context, Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { randomBytes } from "node:crypto"
import type * as Session from "../src/Session.ts"
import * as Token from "../src/internal/token/token.ts"
import { SessionBackend } from "../src/SessionBackend.ts"
import { SessionKeys } from "../src/SessionKeys.ts"
import { ahead } from "./support/aheadClock.ts"
import { silent } from "./support/logs.ts"
import { implement, sessionOf } from "./support/managerOperations.ts"
import * as OldManager from "./support/oldManager.ts"
import { scenarios, type Servers } from "./support/oldServer.ts"
import { databaseUrl, hasRedisServer, listens, needing } from "./support/processes.ts"
import { backendLayer, exampleSettings, startServer } from "./support/redis.ts"
import { answering } from "./support/remoteManager.ts"
import { backendOver } from "./support/sqlBackend.ts"
import * as Stack from "./support/stack.ts"
import { secretA } from "./support/userSession.ts"

const random = randomBytes(6).toString("hex")
const key = `test/OldServer/${random}`
const UserSession = sessionOf(key)

const servers = Effect.gen(function* () {
  const backend = yield* SessionBackend
  const parts = { backend: Layer.succeed(SessionBackend, backend), crypto: NodeCrypto.layer }
  const newServer = Effect.fnUntraced(function* (millis: number, options: Session.LayerOptions = {}) {
    const scope = yield* Effect.scope
    const layer = Stack.manager(UserSession, { ...parts, backendTimeout: "20 seconds", ...options })
    const server = Context.get(
      yield* Layer.buildWithMemoMap(layer, yield* Layer.makeMemoMap, scope),
      UserSession.Manager
    )
    return answering(implement(server), yield* ahead({ millis })(Effect.context<never>()))
  })
  const keys = yield* Effect.provide(SessionKeys, Stack.layerKeys(secretA))
  const tokens = Token.make(yield* Effect.provide(keys.signers(Token.purpose(key)), NodeCrypto.layer))
  const issue = (id: string, secret: string) => Effect.map(tokens.issue({ id, secret }), Redacted.value)
  return {
    old: answering(OldManager.make(backend, key, issue)),
    one: yield* newServer(0),
    rotating: yield* newServer(6 * 60_000, { rotateEvery: "5 minutes" })
  } satisfies Servers
})

const suite = (name: string, backend: Layer.Layer<SessionBackend, unknown>): void =>
  layer(backend, { excludeTestServices: true })(`an old server beside new ones ${name}`, (it) => {
    for (const [i, [title, scenario]] of Object.entries(scenarios).entries()) {
      it.effect(`[R68] ${title}`, () =>
        Effect.flatMap(servers, (all) => Effect.promise(() => scenario(all, `user ${i}`))).pipe(Effect.provide(silent))
      )
    }
  })

suite("in memory", Stack.layerMemory())

const withRedis = needing(hasRedisServer(), "there is no redis-server on the PATH to start")
withRedis("Redis", () => {
  const redis = Effect.map(
    Effect.promise(() => startServer()),
    ({ url }) => backendLayer(exampleSettings(url))
  )
  suite("on Redis", Layer.unwrap(redis))
})

const withPostgres = needing(await listens(databaseUrl, 5432), "no Postgres at DATABASE_URL, nor at 127.0.0.1:5432")
withPostgres("Postgres", () => {
  const client = PgClient.layer({ url: Redacted.make(databaseUrl) })
  /** The records of this run go with it. */
  const cleared = Layer.effectDiscard(
    SqlClient.SqlClient.use((sql) =>
      Effect.addFinalizer(() =>
        Effect.orDie(sql`DELETE FROM effect_sessions WHERE namespace IN (${key}, ${`${key}/fence`})`)
      )
    )
  )
  suite("on Postgres", cleared.pipe(Layer.provideMerge(backendOver(client))))
})
