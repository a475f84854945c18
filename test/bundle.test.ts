/** What a browser that shares the API's definition loads of this package. */
import { assert, describe, it } from "@effect/vitest"
import { build } from "esbuild"
import { join, relative } from "node:path"
import { gzipSync } from "node:zlib"

const root = join(import.meta.dirname, "..")

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

const bundle = async (code: string) => {
  const { metafile, outputFiles } = await build({
    stdin: { contents: code, resolveDir: root, loader: "ts" },
    absWorkingDir: root,
    alias: { "effect-sessions": "./src/index.ts" },
    bundle: true,
    format: "esm",
    platform: "browser",
    minify: true,
    metafile: true,
    write: false,
    outdir: "out",
    logLevel: "silent"
  })
  const [output] = Object.values(metafile.outputs)
  const inputs = Object.entries(output!.inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0)
  return {
    text: outputFiles[0]!.text,
    bytes: output!.bytes,
    gzip: gzipSync(outputFiles[0]!.contents).length,
    own: inputs.map(([file]) => relative(root, join(root, file))).filter((file) => file.startsWith("src/")),
    modules: new Set(inputs.map(([file]) => file))
  }
}

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
      "src/Session.ts",
      "src/SessionError.ts",
      "src/internal/session/models.ts",
      "src/internal/token/format.ts"
    ])
    for (const trace of serverOnly) assert.isFalse(session.text.includes(trace), trace)
    // Nor more of effect's crypto than its Schema brings to any API.
    assert.deepStrictEqual(
      [...session.modules].filter((file) => file.includes("/crypto/") && !bare.modules.has(file)),
      []
    )
    assert.isBelow(session.bytes - bare.bytes, 3_000)
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
      "src/Session.ts",
      "src/SessionError.ts",
      "src/SessionHttpApiMiddleware.ts",
      "src/internal/session/models.ts",
      "src/internal/token/format.ts"
    ])
    for (const trace of serverOnly) assert.isFalse(made.text.includes(trace), trace)
    // Nor does effect bring more along: no router, no layers of a server.
    assert.deepStrictEqual(
      [...made.modules].filter((file) => !file.startsWith("src/") && !session.modules.has(file)),
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
      "src/Session.ts",
      "src/SessionError.ts",
      "src/internal/session/models.ts",
      "src/internal/token/format.ts"
    ])
    for (const trace of [...serverOnly, "a call of RPC"]) assert.isFalse(session.text.includes(trace), trace)
    // Of effect it has what the errors need to answer by themselves in a plain router, and no server of RPC.
    assert.deepStrictEqual(
      [...session.modules].filter((file) => file.endsWith("/RpcServer.js") || file.endsWith("/HttpRouter.js")),
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
