/** What the compiler refuses: each row is a file beside `prelude`, which imports and names the parts of an app. */
import type { Row } from "./row.ts"

export interface Refused extends Row {
  readonly code: string
}

/** The parts that stand in each file. */
export const prelude = `import { NodeCrypto, NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Layer, Redacted, Schema } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { Session, SessionBackendMemory, SessionFrontend, SessionKeys, SessionMiddleware, SessionVerifier } from "effect-sessions"
import { createServer } from "node:http"

export const UserData = Schema.Struct({ username: Schema.String })
export class UserSession extends Session.Service<UserSession>()("app/UserSession", { data: UserData }) {}

export const LogIn = HttpRouter.add("POST", "/login", Effect.gen(function* () {
  yield* (yield* UserSession).create({ username: "ada" })
  return HttpServerResponse.empty()
}))
export const WhoAmI = HttpRouter.add("GET", "/whoami", Effect.map(UserSession.Verified, ({ data }) => HttpServerResponse.text(data.username)))
export const open = Layer.provide(SessionMiddleware.router(UserSession).layer)

export const Sessions = SessionMiddleware.layer(UserSession)
export const Frontend = SessionFrontend.layerCookie()
export const Backend = SessionBackendMemory.layer
export const Verifier = SessionVerifier.layerExists(UserSession)
export const Keys = SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))
export const Crypto = NodeCrypto.layer
export const Http = NodeHttpServer.layer(createServer, { port: 3000 })
export const run = NodeRuntime.runMain

export { Config, Effect, HttpRouter, HttpServerResponse, Layer, Redacted, Schema, Session, SessionFrontend, SessionKeys, SessionMiddleware, SessionVerifier }
`

const names =
  "Backend Config Crypto Effect Frontend Http HttpRouter HttpServerResponse Keys Layer LogIn Redacted Schema Session SessionFrontend SessionKeys SessionMiddleware SessionVerifier Sessions UserData UserSession Verifier WhoAmI open run"

export const fileOf = ({ code }: Refused): string =>
  `import { ${names.split(" ").join(", ")} } from "./prelude.ts"\n${code}\n`

const app = (routes: string, sessions: string) =>
  `HttpRouter.serve(${routes}).pipe(Layer.provide(Http)${sessions}, Layer.launch, run)`
const all =
  ", Layer.provide(Sessions), Layer.provide([Frontend, Backend, Verifier]), Layer.provide(Keys), Layer.provide(Crypto)"

/** Parts that are missing: the first layer or effect that the message names still needs them. */
export const missing: ReadonlyArray<Refused> = [
  {
    did: "no middleware on a route",
    code: app("LogIn", all),
    sees: "UserSession",
    change: "`SessionMiddleware.router(UserSession).layer`"
  },
  {
    did: "no guard on a route that asks for `UserSession.Verified`",
    code: app("WhoAmI.pipe(open)", all),
    sees: "VerifiedOf<UserSession>",
    change: "`SessionMiddleware.routerRequired(UserSession).layer`, in place of `router`"
  },
  {
    did: "no `SessionMiddleware.layer`",
    code: app("LogIn.pipe(open)", ""),
    sees: "Bound<UserSession>",
    change: "`SessionMiddleware.layer(UserSession)`"
  },
  {
    did: "no verifier",
    code: app("LogIn.pipe(open)", all.replace(", Verifier", "")),
    sees: "VerifierOf<UserSession>",
    change: "`SessionVerifier.layerExists(UserSession)`, or another verifier"
  },
  {
    did: "no frontend",
    code: app("LogIn.pipe(open)", all.replace("Frontend, ", "")),
    sees: "SessionFrontend",
    change: "`SessionFrontend.layerCookie()`, or another frontend"
  },
  {
    did: "no backend",
    code: app("LogIn.pipe(open)", all.replace("Backend, ", "")),
    sees: "SessionBackend",
    change: "`SessionBackendMemory.layer`, `SessionBackendRedis.layer` or `SessionBackendSql.layer`"
  },
  {
    did: "no keys",
    code: app("LogIn.pipe(open)", all.replace(", Layer.provide(Keys)", "")),
    sees: "SessionKeys",
    change: '`SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))`'
  },
  {
    did: "no crypto",
    code: app("LogIn.pipe(open)", all.replace(", Layer.provide(Crypto)", "")),
    sees: "Digest | Kdf | Mac | SecureRandom",
    change: "`NodeCrypto.layer`, or the Web Crypto layers of `effect/crypto`"
  },
  {
    did: "none of these three",
    code: app(
      "LogIn.pipe(open)",
      all.replace("Backend, ", "").replace(", Layer.provide(Keys), Layer.provide(Crypto)", "")
    ),
    sees: "Core",
    change: "the app's own backend, keys and crypto"
  },
  {
    did: "no manager, in a job without HTTP",
    code: `run(Effect.flatMap(UserSession.Manager, (manager) => manager.revokeAll("ada")))`,
    sees: "ManagerOf<UserSession>",
    change: "`SessionManager.layer(UserSession)`, or `SessionMiddleware.layer(UserSession)`"
  }
]

/** What else it says. */
export const refused: ReadonlyArray<Refused> = [
  {
    did: "`Layer.provide(SessionMiddleware.router(UserSession))`, without `.layer`",
    code: app("LogIn.pipe(Layer.provide(SessionMiddleware.router(UserSession)))", all),
    sees: "No overload matches this call.\n  The last overload gave the following error.\n    Argument of type 'Middleware<UserSession, SessionCrossOrigin, Bound<UserSession>>' is not assignable to parameter of type '[Any, ...Any[]]'.",
    change: "a middleware is no layer, and has one: `SessionMiddleware.router(UserSession).layer`"
  },
  {
    did: "`class UserSession extends Session.Service()(…)`, without its own name",
    code: `export class Other extends Session.Service()("app/Other", { data: UserData }) {}`,
    sees: "Type '\"Missing `Self` generic - use `class Self extends Session.Service<Self>()(...)`\"' is not a constructor function type."
  },
  {
    did: "`UserSession` used as if it were the session",
    code: `export const handler = UserSession.create({ username: "ada" })`,
    sees: "Property 'create' does not exist on type 'typeof UserSession'.",
    change: "`const session = yield* UserSession`, then `yield* session.create(…)`"
  },
  {
    did: "`session.data`, where nothing is read yet",
    code: `export const handler = Effect.map(UserSession, (session) => session.data)`,
    sees: "Property 'data' does not exist on type 'RequestSession<{ readonly username: string; }, readonly [typeof SessionRefused]>'.",
    change: "`const { data } = yield* session.get`, or behind a guard `yield* UserSession.Verified`"
  },
  {
    did: "a secret as plain text",
    code: `export const Mine = SessionKeys.layer("a secret")`,
    sees: "Argument of type 'string' is not assignable to parameter of type 'Redacted<string> | readonly [Redacted<string>, ...Redacted<string>[]]'.",
    change: '`SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))`; a secret in the code is in its repository'
  },
  {
    did: '`idleTimeout: "30 minuets"`',
    code: `export const Mine = SessionMiddleware.layer(UserSession, { idleTimeout: "30 minuets" })`,
    sees: "Type '\"30 minuets\"' is not assignable to type 'Input | undefined'.",
    change: 'a number and a unit of `Duration`: `"30 minutes"`'
  },
  {
    did: "`idleTimeOut`",
    code: `export const Mine = SessionMiddleware.layer(UserSession, { idleTimeOut: "1 hour" })`,
    sees: "Object literal may only specify known properties, but 'idleTimeOut' does not exist in type 'HttpOptions<NoInfer<{ readonly username: string; }>, NoInfer<readonly [typeof SessionRefused]>, never>'. Did you mean to write 'idleTimeout'?"
  },
  {
    did: '`sameSite: "None"`',
    code: `export const Mine = SessionFrontend.layerCookie({ sameSite: "None" })`,
    sees: `Type '"None"' is not assignable to type '"lax" | "none" | "strict" | undefined'. Did you mean '"none"'?`
  },
  {
    did: "a name of another library, or of an older version",
    code: `import { SessionStore } from "effect-sessions"\nexport const Mine = SessionStore.layer`,
    sees: `Module '"effect-sessions"' has no exported member 'SessionStore'.`,
    change: "stores are the modules `SessionBackend…`; renamed things are in the [changelog](../CHANGELOG.md)"
  },
  {
    did: "an import of what is internal",
    code: `import { failure } from "effect-sessions/internal/exit"\nexport const mine = failure`,
    sees: "Cannot find module 'effect-sessions/internal/exit' or its corresponding type declarations.",
    change: "use what the package exports; say in an issue what is missing"
  },
  {
    did: "the url of a store as plain text",
    code: `import * as NodeMysqlClient from "effect-sessions/NodeMysqlClient"\nexport const url = "mysql://root@127.0.0.1:3306/test"\nexport const mine = NodeMysqlClient.layer({ url })`,
    sees: "Type 'string' is not assignable to type 'Redacted<string>'.",
    change: '`NodeMysqlClient.layerConfig({ url: Config.Redacted("MYSQL_URL") })`'
  }
]
