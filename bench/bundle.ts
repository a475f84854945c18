/**
 * What a session library adds to a bundle, minified and gzipped: `npm run bundle`. Each entry is bundled with sessions
 * and without, and the difference counts. Fails if a backend that the app does not use got into ours. `--modules` lists
 * the modules that make up ours.
 */
import { build, type Metafile } from "esbuild"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { gzipSync } from "node:zlib"
import { environment, resultPath, saveResult, versionsOf } from "./environment.ts"
import type { BundleResult, Size } from "./results.ts"

const { values: flags } = parseArgs({ options: { modules: { type: "boolean", default: false } } })
const here = fileURLToPath(new URL(".", import.meta.url))

const effectBase = `
import { Effect, Layer, Schema } from "effect"
import { HttpRouter, HttpServer, HttpServerResponse } from "effect/http"
const UserData = Schema.Struct({ username: Schema.String })
const json = HttpServerResponse.schemaJson(UserData)
const Name = HttpRouter.schemaPathParams(Schema.Struct({ name: Schema.String }))
const Bare = HttpRouter.add("GET", "/bare/:name", Effect.flatMap(Name, ({ name }) => json({ username: name })))
`
const effectServe = (app: string): string =>
  `export default HttpRouter.toWebHandler(${app}.pipe(Layer.provide(HttpServer.layerServices))).handler`

const entries: ReadonlyArray<{
  readonly name: string
  readonly packages: ReadonlyArray<string>
  readonly without: string
  readonly with: string
}> = [
  {
    name: "effect-sessions",
    packages: ["effect"],
    without: `${effectBase}${effectServe("Bare")}`,
    with: `${effectBase}
import { Config } from "effect"
import { Digest, Kdf, Mac, SecureRandom } from "effect/crypto"
import { Session, SessionBackendMemory, SessionFrontend, SessionKeys, SessionMiddleware, SessionVerifier } from "../dist/index.js"
class UserSession extends Session.Service()("app/UserSession", { data: UserData, principal: (data) => data.username }) {}
const Open = Layer.mergeAll(
  HttpRouter.add("POST", "/create_session/:name", Effect.gen(function*() {
    const { name } = yield* Name
    yield* (yield* UserSession).create({ username: name })
    return HttpServerResponse.empty()
  })),
  HttpRouter.add("POST", "/delete_session", Effect.gen(function*() {
    yield* (yield* UserSession).destroy
    return HttpServerResponse.empty()
  }))
).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))
const Guarded = HttpRouter.add("GET", "/whoami", Effect.flatMap(UserSession.Verified, ({ data }) => json(data))).pipe(
  Layer.provide(SessionMiddleware.routerRequired(UserSession).layer)
)
const Live = SessionMiddleware.layer(UserSession).pipe(
  Layer.provide([SessionFrontend.layerCookie(), SessionBackendMemory.layer, SessionVerifier.layerExists(UserSession)]),
  Layer.provide(SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))),
  Layer.provide([Mac.layerWebCrypto, Digest.layerWebCrypto, Kdf.layerWebCrypto, SecureRandom.layerWebCrypto])
)
${effectServe("Layer.mergeAll(Bare, Open, Guarded).pipe(Layer.provide(Live))")}`
  },
  {
    name: "hono-sessions",
    packages: ["hono", "hono-sessions"],
    without: `
import { Hono } from "hono"
const app = new Hono()
app.get("/bare/:name", (c) => c.json({ username: c.req.param("name") }))
export default app`,
    with: `
import { Hono } from "hono"
import { MemoryStore, sessionMiddleware } from "hono-sessions"
const app = new Hono()
app.get("/bare/:name", (c) => c.json({ username: c.req.param("name") }))
app.use("*", sessionMiddleware({ store: new MemoryStore(), encryptionKey: process.env.SESSION_SECRET }))
app.post("/create_session/:name", (c) => {
  c.get("session").set("user", { username: c.req.param("name") })
  return c.body(null)
})
app.post("/delete_session", (c) => {
  c.get("session").deleteSession()
  return c.body(null)
})
app.get("/whoami", (c) => c.json(c.get("session").get("user")))
export default app`
  },
  {
    name: "iron-session",
    packages: ["iron-session"],
    without: `export default (request, response) => response.end("{}")`,
    with: `
import { getIronSession } from "iron-session"
export default async (request, response) => {
  const session = await getIronSession(request, response, { password: process.env.SESSION_SECRET, cookieName: "session" })
  if (request.url === "/create_session") {
    session.user = { username: "ada" }
    await session.save()
  }
  if (request.url === "/delete_session") session.destroy()
  response.end(JSON.stringify(session.user))
}`
  }
]

/** Our modules that the app above does not ask for, and the parts of Effect that only they need. */
const unused =
  /dist\/(SessionBackendRedis|SessionBackendSql|NodeSqliteClient|SessionHttpApi|testing\/.*|internal\/(redis|sql).*)\.js$|effect\/dist\/(sql|persistence|testing)\//

const bundle = async (contents: string): Promise<{ readonly size: Size; readonly metafile: Metafile }> => {
  const { metafile, outputFiles } = await build({
    stdin: { contents, resolveDir: here, loader: "js" },
    bundle: true,
    minify: true,
    format: "esm",
    platform: "node",
    target: "es2022",
    metafile: true,
    write: false,
    logLevel: "error"
  })
  const { contents: code } = outputFiles[0]!
  return { size: { minified: code.length, gzipped: gzipSync(code, { level: 9 }).length }, metafile }
}

/** The modules of which code is in the bundle, and how much. */
const modulesOf = (metafile: Metafile): ReadonlyMap<string, number> =>
  new Map(
    Object.values(metafile.outputs).flatMap(({ inputs }) =>
      Object.entries(inputs).flatMap(([path, { bytesInOutput }]) => (bytesInOutput > 0 ? [[path, bytesInOutput]] : []))
    )
  )

const results: Array<BundleResult["entries"][number]> = []
for (const entry of entries) {
  const [before, after] = await Promise.all([bundle(entry.without), bundle(entry.with)])
  if (entry.name === "effect-sessions") {
    const earlier = modulesOf(before.metafile)
    const added = [...modulesOf(after.metafile)]
      .map(([path, bytes]) => ({ path, bytes: bytes - (earlier.get(path) ?? 0) }))
      .filter(({ bytes }) => bytes > 0)
      .sort((a, b) => b.bytes - a.bytes)
    if (flags.modules) for (const { bytes, path } of added) console.log(`${String(bytes).padStart(7)}  ${path}`)
    const intruders = added.filter(({ path }) => unused.test(path) && !earlier.has(path))
    if (intruders.length > 0) {
      console.error(`code the app does not use is in the bundle:\n${intruders.map(({ path }) => path).join("\n")}`)
      process.exitCode = 1
    }
  }
  results.push({
    name: entry.name,
    versions: versionsOf(entry.packages),
    without: before.size,
    with: after.size,
    added: {
      minified: after.size.minified - before.size.minified,
      gzipped: after.size.gzipped - before.size.gzipped
    }
  })
}

const kib = (bytes: number): string => `${(bytes / 1024).toFixed(1)} KiB`.padStart(11)
console.log("added to a bundle         minified    gzipped   (whole, gzipped)")
for (const { added, name, with: whole } of results) {
  console.log(`${name.padEnd(21)}${kib(added.minified)}${kib(added.gzipped)}${kib(whole.gzipped)}`)
}
const result: BundleResult = { environment: environment(), entries: results }
saveResult(resultPath("bundle"), result)
