/** What a process prints that does not start: each row is a program, run by `node`. */
import { spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { Row } from "./row.ts"

export interface Program extends Row {
  /** A program in a user's folder, or one of the examples here. */
  readonly run: { readonly code: string } | { readonly example: string }
  /** `TAKEN` is a port on which another server listens. */
  readonly env?: Readonly<Record<string, string>>
}

/** The file of a newcomer: on the port of `PORT`, read as one does without `Config`. */
const app = `import { NodeCrypto, NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Layer, Schema } from "effect"
import { HttpRouter } from "effect/http"
import { Session, SessionBackendMemory, SessionFrontend, SessionKeys, SessionMiddleware, SessionVerifier } from "effect-sessions"
import { createServer } from "node:http"

class UserSession extends Session.Service<UserSession>()("app/UserSession", {
  data: Schema.Struct({ username: Schema.String })
}) {}

const Sessions = SessionMiddleware.layer(UserSession).pipe(
  Layer.provide([SessionFrontend.layerCookie(), SessionBackendMemory.layer, SessionVerifier.layerExists(UserSession)]),
  Layer.provide(SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))),
  Layer.provide(NodeCrypto.layer)
)

HttpRouter.serve(HttpRouter.layer).pipe(
  Layer.provide(NodeHttpServer.layer(createServer, { port: Number(process.env.PORT ?? 3000) })),
  Layer.provide(Sessions),
  Layer.launch,
  NodeRuntime.runMain
)
`

/** `launch.ts` of docs/errors.md. */
const launch = /^\/\/ launch\.ts\n[^]*?(?=^```)/m.exec(
  readFileSync(join(import.meta.dirname, "../../docs/errors.md"), "utf8")
)![0]

const secret = { SESSION_SECRET: "tS0uT1hGqWc5m8ZrYb3xKJvPe7LdA2nF9iQyXoVkDz4=" }

export const programs: ReadonlyArray<Program> = [
  {
    did: "`SESSION_SECRET` is not set, in a program of `NodeRuntime.runMain`",
    run: { code: app },
    sees:
      "SessionConfigError: session configuration of SessionKeys:\n" +
      "  - the session secret is not configured: set SESSION_SECRET; make one with: openssl rand -base64 32",
    change: "as above; the process ends with 1, and has not listened"
  },
  {
    did: "another program has the port",
    run: { code: app },
    env: { ...secret, PORT: "TAKEN" },
    sees: "ServeError:\n  [cause]: Error: listen EADDRINUSE: address already in use :::TAKEN",
    change: "end the other program, or take another port"
  },
  {
    did: "the same, with `launch.ts` below",
    run: {
      code: `${launch}${app}`.replace("  NodeRuntime.runMain\n)", "  runMain\n)").replace(", NodeRuntime }", " }")
    },
    env: { ...secret, PORT: "TAKEN" },
    sees: "listen EADDRINUSE: address already in use :::TAKEN",
    change: "as above"
  },
  {
    did: "`PORT=99999`, read with `Number`",
    run: { code: app },
    env: { ...secret, PORT: "99999" },
    sees: "RangeError: options.port should be >= 0 and < 65536. Received type number (99999).",
    change: 'read it with `Config.Port("PORT")`, as the examples do'
  },
  {
    did: "another program has the port of an example",
    run: { example: "basic.ts" },
    env: { PORT: "TAKEN" },
    sees: "port TAKEN is taken: set PORT to another, such as NEXT",
    change: "the examples listen on `PORT`, or on 3000"
  },
  {
    did: "`PORT=abc` for an example",
    run: { example: "basic.ts" },
    env: { PORT: "abc" },
    sees: 'a variable of the environment cannot be read: Expected a string representing a finite number at ["PORT"]',
    change: "a number from 1 to 65535"
  },
  {
    did: "a store that an example cannot open",
    run: { example: "feed.ts" },
    env: { SESSION_BACKEND: "sqlite", SQLITE_FILE: "/no/such/folder/sessions.sqlite" },
    sees:
      "the store of the sessions cannot be opened: NodeSqliteClient: cannot open /no/such/folder/sessions.sqlite: " +
      "unable to open database file; its folder has to exist, and be writable"
  },
  {
    did: "`REDIS_URL=127.0.0.1:6379` for an example",
    run: { example: "basic.ts" },
    env: { SESSION_BACKEND: "redis", REDIS_URL: "127.0.0.1:6379" },
    sees: "the address of the store is no URL: it begins with redis://, postgres:// or mysql://"
  },
  {
    did: "a store's driver that is not installed",
    run: { code: `import * as NodeMysqlClient from "effect-sessions/NodeMysqlClient"\nconsole.log(NodeMysqlClient)\n` },
    sees:
      "Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'mysql2' imported from " +
      "FOLDER/node_modules/effect-sessions/dist/NodeMysqlClient.js",
    change:
      "`npm install mysql2`; for `IoRedis` it is `ioredis`, for `NodeRedisCluster` and `NodeRedisSentinel` `redis`"
  },
  {
    did: "an import of what is internal",
    run: { code: `import { failure } from "effect-sessions/internal/exit"\nconsole.log(failure)\n` },
    sees:
      "Error [ERR_PACKAGE_PATH_NOT_EXPORTED]: Package subpath './internal/exit' is not defined by \"exports\" in " +
      "FOLDER/node_modules/effect-sessions/package.json imported from FOLDER/app.ts",
    change: "use what the package exports; say in an issue what is missing"
  }
]

const root = join(import.meta.dirname, "../..")

/** Runs a program to its end. Its output is without times and stacks; what differs from run to run has a name. */
export const run = (
  { env = {}, run }: Program,
  folder: string,
  file: string,
  taken: number
): Promise<{ readonly code: number | null; readonly output: string }> =>
  new Promise((resolve) => {
    const [cwd, args] =
      "code" in run
        ? [folder, [file]]
        : [root, ["--import", "./test/support/resolveSource.ts", join("examples", run.example)]]
    const variables = Object.entries(env).map(([name, value]) => [name, value === "TAKEN" ? String(taken) : value])
    const child = spawn(process.execPath, args, {
      cwd,
      env: { PATH: process.env["PATH"], HOME: process.env["HOME"], NO_COLOR: "1", ...Object.fromEntries(variables) },
      stdio: ["ignore", "pipe", "pipe"]
    })
    let output = ""
    child.stdout.on("data", (chunk) => (output += chunk))
    child.stderr.on("data", (chunk) => (output += chunk))
    child.on("close", (code) => {
      const named = output
        // A machine without IPv6 listens there.
        .replaceAll("0.0.0.0:", ":::")
        .replaceAll(folder, "FOLDER")
        .replaceAll(file, "app.ts")
        .replaceAll(String(taken), "TAKEN")
        .replaceAll(String(taken + 1), "NEXT")
      resolve({ code, output: named.replace(/(?:\n\s+at [^["\n][^\n]*?)+( \{)?(?=\n|$)/g, "$1") })
    })
  })
