/** The shop of examples/web in this process, on a port of its own and a store by name; the clock is the test's. */
import { NodeCrypto, NodeHttpServer } from "@effect/platform-node"
import { ConfigProvider, Context, Effect, Exit, Layer, Redacted, References, Scope } from "effect"
import { Kdf } from "effect/crypto"
import { HttpServer } from "effect/http"
import { SessionKeys } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { backend } from "../../examples/backend.ts"
import { App } from "../../examples/web/main.ts"
import { ahead } from "../support/aheadClock.ts"
import { mysqlUrl } from "../support/mariadb.ts"
import { databaseUrl, newSecret, redisUrl } from "../support/processes.ts"

export const adminPassword = "tremendous tea"

export type Store = "memory" | "sqlite" | "redis" | "postgres" | "mysql"

export interface Shop {
  readonly url: string
  /** How far the server's clock is ahead. */
  readonly clock: { millis: number }
  /** How often a password was hashed. */
  readonly hashed: () => number
  /** Lets the store of the sessions fail, or makes it well again. */
  readonly fail: (does: boolean) => Promise<void>
  /** As after a restart: its users are others, its sessions those that were there. */
  readonly restart: () => Promise<void>
  readonly close: () => Promise<void>
}

export const open = async (store: Store): Promise<Shop> => {
  const folder = mkdtempSync(join(tmpdir(), "shop-"))
  const clock = { millis: 0 }
  const secret = Redacted.make(newSecret())
  let hashed = 0
  const environment = {
    ADMIN_PASSWORD: adminPassword,
    DATABASE_URL: databaseUrl,
    MYSQL_URL: mysqlUrl,
    REDIS_URL: redisUrl,
    SESSION_BACKEND: store,
    SQLITE_FILE: join(folder, "sessions.sqlite")
  }

  /** Dozens of passwords are hashed: with one round in 600 of what a thief of the table would have to do for each guess. */
  const QuickKdf = Layer.effect(
    Kdf.Kdf,
    Effect.map(Kdf.Kdf, ({ derive }) => ({
      derive: (algorithm, ...rest) => {
        if (algorithm._tag !== "Pbkdf2") return derive(algorithm, ...rest)
        hashed++
        return derive(Kdf.pbkdf2({ ...algorithm, iterations: 1000 }), ...rest)
      }
    }))
  )

  const start = async (port: number) => {
    const scope = await Effect.runPromise(Scope.make())
    const server = App.pipe(
      Layer.provide(QuickKdf),
      Layer.provideMerge(SessionTest.layerFaults.pipe(Layer.provide(backend("memory")))),
      Layer.provide(SessionKeys.layer(secret)),
      Layer.provide(NodeCrypto.layer),
      Layer.provideMerge(NodeHttpServer.layer(createServer, { port, host: "127.0.0.1", gracefulShutdownTimeout: 0 })),
      Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(environment)))
    )
    const context = await Effect.runPromise(
      ahead(clock)(Layer.buildWithScope(server, scope)).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
    )
    const { address } = Context.get(context, HttpServer.HttpServer)
    if (address._tag !== "InetAddressV4") throw new Error(`listening on ${address._tag}`)
    return {
      port: address.port,
      faults: Context.get(context, SessionTest.BackendFaults),
      stop: () => Effect.runPromise(Scope.close(scope, Exit.void))
    }
  }

  let running = await start(0)
  const { port } = running
  return {
    url: `http://localhost:${port}`,
    clock,
    hashed: () => hashed,
    fail: (does) => {
      const { heal, inject } = running.faults
      return Effect.runPromise(does ? inject({ operation: "read", outcome: "notApplied" }) : heal)
    },
    restart: async () => {
      await running.stop()
      running = await start(port)
    },
    close: async () => {
      await running.stop()
      rmSync(folder, { recursive: true, force: true })
    }
  }
}
