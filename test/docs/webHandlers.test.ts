/** The code of docs/web-handlers.md does what the guide says: in Hono, with routes of Effect in it, and in Express. */
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Effect, Exit, type ManagedRuntime, Scope } from "effect"
import { SessionError } from "effect-sessions"
import { once } from "node:events"
import { globSync, readFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { modulesOf } from "../support/fences.ts"

const root = join(import.meta.dirname, "../..")
const project = join(root, "test/sveltekit/project")

process.env["SESSION_SECRET"] = "tS0uT1hGqWc5m8ZrYb3xKJvPe7LdA2nF9iQyXoVkDz4="

const file = modulesOf("docs/web-handlers.md")

const sessions = await file("sessions")
const { runtime } = sessions as { readonly runtime: ManagedRuntime.ManagedRuntime<never, never> }
// A handler of the app's that sets a cookie and a header itself.
;(await file("hono")).app.post("/own", async (c: any) => {
  c.header("set-cookie", "theme=dark; Path=/")
  c.header("vary", "Accept")
  await runtime.runPromise(c.var.session.create({ username: "ada" }))
  return c.text("mine")
})
const { whole } = await file("mounted")
const { makeApp } = await file("express")
const { dispose } = await file("routes")
afterAll(async () => {
  await dispose()
  await runtime.dispose()
})

const form = (fields: Record<string, string>): RequestInit => ({ method: "POST", body: new URLSearchParams(fields) })

/** One client of an app: what it carries is given with each request. */
const sender =
  (fetch: (request: Request) => Response | Promise<Response>, origin = "https://app.test") =>
  async (path: string, init: RequestInit = {}, headers: Record<string, string> = {}) => {
    const request = new Request(origin + path, { redirect: "manual", ...init, headers })
    const response = await fetch(request)
    return { status: response.status, text: await response.text(), headers: response.headers }
  }

const cookieOf = ({ headers }: { readonly headers: Headers }) => ({
  cookie: headers.getSetCookie().join("; ").split(";")[0]!
})

describe("docs/web-handlers.md", () => {
  const send = sender((request) => whole.fetch(request))
  const logIn = async () => cookieOf(await send("/login", form({ username: "ada" })))

  it("Hono logs in and out, and knows who asks", async () => {
    assert.strictEqual((await send("/")).text, "hello stranger")
    const loggedIn = await send("/login", form({ username: "ada" }))
    assert.deepStrictEqual([loggedIn.status, loggedIn.headers.get("location")], [303, "/"])
    assert.match(
      loggedIn.headers.get("set-cookie") ?? "",
      /^__Host-session=v1\.[^;]+; Max-Age=86400; Path=\/; HttpOnly; Secure; SameSite=Lax$/
    )
    const cookie = cookieOf(loggedIn)
    const home = await send("/", {}, cookie)
    assert.strictEqual(home.text, "hello ada")
    assert.strictEqual(home.headers.get("cache-control"), "no-store")
    assert.strictEqual(home.headers.get("vary"), "Cookie")
    assert.strictEqual((await send("/whoami", {}, cookie)).text, "ada")

    const loggedOut = await send("/logout", { method: "POST" }, cookie)
    assert.match(loggedOut.headers.get("set-cookie") ?? "", /^__Host-session=; Max-Age=0;/)
    assert.strictEqual((await send("/", {}, cookie)).text, "hello stranger")
  })

  it("Hono answers a stranger 401 with a challenge, and another site's page 403", async () => {
    const stranger = await send("/whoami")
    assert.deepStrictEqual([stranger.status, stranger.headers.get("www-authenticate")], [401, "Session"])
    const cookie = await logIn()
    const attack = await send("/logout", { method: "POST" }, { ...cookie, "sec-fetch-site": "cross-site" })
    assert.strictEqual(attack.status, 403)
    assert.strictEqual((await send("/whoami", {}, cookie)).text, "ada")
  })

  it("Hono answers a bad form 400, a store that is away 503, and anything else 500", async () => {
    assert.strictEqual((await send("/login", form({ username: "" }))).status, 400)
    const unavailable = new SessionError.SessionUnavailable({ outcome: "unknown" })
    assert.deepStrictEqual(
      [await sessions.statusOf(unavailable), await sessions.statusOf(new Error("other"))],
      [503, 500]
    )
  })

  it("the headers of a handler of Hono stay", async () => {
    const { headers, text } = await send("/own", { method: "POST" })
    assert.strictEqual(text, "mine")
    assert.deepStrictEqual(
      headers.getSetCookie().map((header) => header.split("=")[0]),
      ["theme", "__Host-session"]
    )
    assert.strictEqual(headers.get("vary"), "Accept, Cookie")
  })

  it("routes of Effect in Hono know the session of Hono's own log-in", async () => {
    const [laptop, phone] = [await logIn(), await logIn()]
    assert.strictEqual((await send("/account", {}, phone)).text, "ada")
    const ended = await send("/account/sign-out-elsewhere", { method: "POST" }, laptop)
    assert.match(ended.text, /^ended [1-9]\d* other sessions$/)
    assert.strictEqual((await send("/account", {}, phone)).status, 401)
    assert.strictEqual((await send("/whoami", {}, phone)).status, 401)
    assert.strictEqual((await send("/whoami", {}, cookieOf(ended))).text, "ada")
  })
  it("routes of Effect in Express know the session, and Express knows who asks", async () => {
    const scope = Scope.makeUnsafe()
    const app = await Effect.runPromise(Scope.provide(makeApp as Effect.Effect<any, never, Scope.Scope>, scope))
    const server = createServer(app).listen(0, "127.0.0.1")
    await once(server, "listening")
    const ask = sender(fetch, `http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    const cookie = await logIn()
    assert.deepStrictEqual([(await ask("/")).text, (await ask("/account")).status], ["hello stranger", 401])
    assert.deepStrictEqual(
      [(await ask("/", {}, cookie)).text, (await ask("/account", {}, cookie)).text],
      ["hello ada", "ada"]
    )
    const ended = await ask("/account/sign-out-elsewhere", { method: "POST" }, cookie)
    assert.strictEqual(ended.status, 200)
    assert.strictEqual((await ask("/account", {}, cookieOf(ended))).text, "ada")
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    await Effect.runPromise(Scope.close(scope, Exit.void))
  })
})

describe("docs/web-handlers.md, SvelteKit", () => {
  const guide = readFileSync(join(root, "docs/web-handlers.md"), "utf8")
  const shown = [...guide.matchAll(/^```(?:tsx|svelte)\n(?:\/\/|<!--) (\S+)(?: -->)?\n([\s\S]*?)^```/gm)].map(
    ([, file, code]) => [file!, code!] as const
  )

  it("shows the files of the app that npm run test:sveltekit builds, and its sessions.ts", () => {
    const files = globSync("src/**/*.{ts,svelte}", { cwd: project }).filter((file) => file !== "src/sessions.ts")
    assert.deepStrictEqual(shown.map(([file]) => file).toSorted(), files.toSorted())
    for (const [file, code] of shown) assert.strictEqual(code, readFileSync(join(project, file), "utf8"), file)
    const sessions = /^```ts\n\/\/ sessions\.ts\n([\s\S]*?)^```/m.exec(guide)?.[1]
    assert.strictEqual(sessions, readFileSync(join(project, "src/sessions.ts"), "utf8"))
  })
})
