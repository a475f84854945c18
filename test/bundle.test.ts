/** What a browser that shares the API's definition loads of this package, as published. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { bundlers, makeApp } from "./support/bundle.ts"
import type { App, Bundler } from "./support/bundle.ts"

const withoutSession = `
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, HttpApiMiddleware, HttpApiSecurity } from "effect/http-api"
class Denied extends Schema.TaggedError<Denied>()("Denied", {}, { httpApiStatus: 401 }) {}
class Authenticated extends HttpApiMiddleware.Service<Authenticated>()("app/Authenticated", {
  error: Denied,
  security: { session: HttpApiSecurity.apiKey({ in: "cookie", key: "__Host-session" }) }
}) {}
export const Api = HttpApi.make("api").add(
  HttpApiGroup.make("account")
    .add(HttpApiEndpoint.get("whoami", "/whoami", { success: Schema.String }))
    .middleware(Authenticated)
)
`

const withSession = `
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, HttpApiMiddleware, HttpApiSecurity } from "effect/http-api"
import { Session } from "effect-sessions"
class UserSession extends Session.Service<UserSession>()("app/UserSession", {
  data: Schema.Struct({ username: Schema.String }),
  principal: (data) => data.username
}) {}
class Authenticated extends HttpApiMiddleware.Service<Authenticated, {
  provides: Session.Provided<typeof UserSession>
}>()("app/Authenticated", {
  error: Session.errors(UserSession),
  security: { session: HttpApiSecurity.apiKey({ in: "cookie", key: "__Host-session" }) }
}) {}
export const Api = HttpApi.make("api").add(
  HttpApiGroup.make("account")
    .add(HttpApiEndpoint.get("whoami", "/whoami", { success: Schema.String }))
    .middleware(Authenticated)
)
`

const withConstructors = `
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, HttpApiSecurity } from "effect/http-api"
import { Session, SessionHttpApiMiddleware } from "effect-sessions"
class UserSession extends Session.Service<UserSession>()("app/UserSession", {
  data: Schema.Struct({ username: Schema.String }),
  principal: (data) => data.username
}) {}
class Authenticated extends SessionHttpApiMiddleware.Required<Authenticated>()("app/Authenticated", UserSession, {
  security: { session: HttpApiSecurity.apiKey({ in: "cookie", key: "__Host-session" }) },
  fresh: { within: "1 hour" }
}) {}
class Visitor extends SessionHttpApiMiddleware.Optional<Visitor>()("app/Visitor", UserSession) {}
export const Api = HttpApi.make("api").add(
  HttpApiGroup.make("account")
    .add(HttpApiEndpoint.get("whoami", "/whoami", { success: Schema.String }))
    .middleware(Authenticated),
  HttpApiGroup.make("auth").add(HttpApiEndpoint.post("login", "/login")).middleware(Visitor)
)
`

const rpcWithoutSession = `
import { Schema } from "effect"
import { Rpc, RpcGroup, RpcMiddleware } from "effect/rpc"
class Denied extends Schema.TaggedError<Denied>()("Denied", {}, { httpApiStatus: 401 }) {}
class Authenticated extends RpcMiddleware.Service<Authenticated>()("app/Authenticated", { error: Denied }) {}
export class Account extends RpcGroup.make(Rpc.make("WhoAmI", { success: Schema.String })).middleware(Authenticated) {}
`

const rpcWithSession = `
import { Schema } from "effect"
import { Rpc, RpcGroup, RpcMiddleware } from "effect/rpc"
import { Session } from "effect-sessions"
class UserSession extends Session.Service<UserSession>()("app/UserSession", {
  data: Schema.Struct({ username: Schema.String }),
  principal: (data) => data.username
}) {}
class Authenticated extends RpcMiddleware.Service<Authenticated, {
  provides: Session.Provided<typeof UserSession>
}>()("app/Authenticated", { error: Schema.Union(Session.errors(UserSession)) }) {}
export class Account extends RpcGroup.make(Rpc.make("WhoAmI", { success: Schema.String })).middleware(Authenticated) {}
`

let app: App
beforeAll(() => {
  app = makeApp()
}, 120_000)
afterAll(() => app?.dispose())

const bundle = (code: string, bundler: Bundler = "esbuild") => app.bundle(bundler, code)

/** Text of the library that is for a server alone. */
const serverOnly = [
  "openssl rand",
  "effect-sessions/v1",
  "session backend failed",
  "MemoryBackendFull",
  "sec-fetch-site",
  "the response's headers were made",
  "declares the security scheme"
]

const withDefinition = `
import { Schema } from "effect"
import { Session } from "effect-sessions"
export class UserSession extends Session.Service<UserSession>()("app/UserSession", {
  data: Schema.Struct({ username: Schema.String }),
  principal: (data) => data.username
}) {}
`

const withoutDefinition = `
import { Schema } from "effect"
export class Denied extends Schema.TaggedError<Denied>()("Denied", {}, { httpApiStatus: 401 }) {}
export const UserData = Schema.Struct({ username: Schema.String })
`

const definitionModules = new Set([
  "dist/Session.js",
  "dist/SessionError.js",
  "dist/internal/session/models.js",
  "dist/internal/token/format.js"
])

describe("the bundle of a definition alone", () => {
  for (const bundler of bundlers) {
    it(`of ${bundler} has nothing of a server in it`, async () => {
      const bare = await bundle(withoutDefinition, bundler)
      const definition = await bundle(withDefinition, bundler)
      console.log(
        `${bundler}: a schema and an error ${bare.bytes} bytes, a definition ${definition.bytes}, ` +
          `${definition.gzip} gzipped; ${definition.own.join(", ")}`
      )
      assert.include(definition.own, "dist/Session.js")
      assert.deepStrictEqual(
        definition.own.filter((file) => !definitionModules.has(file)),
        []
      )
      for (const trace of serverOnly) assert.isFalse(definition.text.includes(trace), trace)
      assert.isBelow(definition.bytes - bare.bytes, 30_000)
      // A server's bundle has the traces.
      const server = await bundle(`export { SessionBackendRedis, SessionMiddleware } from "effect-sessions"`, bundler)
      assert.include(server.text, "sec-fetch-site")
      assert.include(server.own, "dist/SessionManager.js")
    }, 120_000)
  }
})

describe("the bundle of an API definition alone", () => {
  it("has a definition's few modules in it: no backend, no keys, no manager, no frontend", async () => {
    const bare = await bundle(withoutSession)
    const session = await bundle(withSession)
    console.log(
      `API without a session: ${bare.bytes} bytes, ${bare.gzip} gzipped; ` +
        `with one: ${session.bytes} bytes, ${session.gzip} gzipped; ` +
        `difference ${session.bytes - bare.bytes}, ${session.gzip - bare.gzip} gzipped`
    )
    assert.deepStrictEqual(session.own.toSorted(), [
      "dist/Session.js",
      "dist/SessionError.js",
      "dist/internal/session/models.js",
      "dist/internal/token/format.js"
    ])
    for (const trace of serverOnly) assert.isFalse(session.text.includes(trace), trace)
    // Nor more of effect's crypto than its Schema brings to any API.
    assert.deepStrictEqual(
      session.others.filter((file) => file.includes("/crypto/") && !bare.others.includes(file)),
      []
    )
    assert.isBelow(session.bytes - bare.bytes, 4_000)
  }, 60_000)

  it("stays as small with middlewares made by SessionHttpApi: of its layers there is nothing", async () => {
    const bare = await bundle(withoutSession)
    const session = await bundle(withSession)
    const made = await bundle(withConstructors)
    console.log(
      `with Required and Optional: ${made.bytes} bytes, ${made.gzip} gzipped; ` +
        `difference ${made.bytes - bare.bytes}, ${made.gzip - bare.gzip} gzipped`
    )
    assert.deepStrictEqual(made.own.toSorted(), [
      "dist/Session.js",
      "dist/SessionError.js",
      "dist/SessionHttpApiMiddleware.js",
      "dist/internal/session/models.js",
      "dist/internal/token/format.js"
    ])
    for (const trace of serverOnly) assert.isFalse(made.text.includes(trace), trace)
    // Nor does effect bring more along: no router, no layers of a server.
    assert.deepStrictEqual(
      made.others.filter((file) => !session.others.includes(file)),
      []
    )
    assert.isBelow(made.bytes - bare.bytes, 4_000)
    // The traces are in a bundle that does implement a middleware.
    const server = await bundle(`import { SessionHttpApi } from "effect-sessions"
${withConstructors}
export const Live = SessionHttpApi.layer(Authenticated, UserSession)`)
    assert.deepStrictEqual(
      ["sec-fetch-site", "the response's headers were made", "declares the security scheme"].filter(
        (trace) => !server.text.includes(trace)
      ),
      []
    )
  }, 60_000)

  it("of a group of RPCs is as small: the middleware's class and the definition", async () => {
    const bare = await bundle(rpcWithoutSession)
    const session = await bundle(rpcWithSession)
    console.log(
      `RPC without a session: ${bare.bytes} bytes, ${bare.gzip} gzipped; ` +
        `with one: ${session.bytes} bytes, ${session.gzip} gzipped; ` +
        `difference ${session.bytes - bare.bytes}, ${session.gzip - bare.gzip} gzipped`
    )
    assert.deepStrictEqual(session.own.toSorted(), [
      "dist/Session.js",
      "dist/SessionError.js",
      "dist/internal/session/models.js",
      "dist/internal/token/format.js"
    ])
    for (const trace of [...serverOnly, "a call of RPC"]) assert.isFalse(session.text.includes(trace), trace)
    // Of effect it has what the errors need to answer by themselves in a plain router, and no server of RPC.
    assert.deepStrictEqual(
      session.others.filter((file) => file.endsWith("/RpcServer.js") || file.endsWith("/HttpRouter.js")),
      []
    )
    // The traces are in a bundle that does implement the middleware.
    const server = await bundle(`import { SessionRpc } from "effect-sessions"
${rpcWithSession}
export const Live = SessionRpc.layer(Authenticated, UserSession)`)
    assert.deepStrictEqual(
      ["sec-fetch-site", "the response's headers were made", "a call of RPC"].filter(
        (trace) => !server.text.includes(trace)
      ),
      []
    )
  }, 60_000)
})
