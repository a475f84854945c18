/** A script's own token, sent to an app of another origin. */
import { assert } from "@effect/vitest"
import { SessionFrontend } from "effect-sessions"
import type { Scenario } from "../scenario.ts"
import { ask, visit } from "../tab.ts"

export const tokens: Scenario = {
  key: "tokens",
  title: "a page of another origin uses a token in a header, where CORS lets it",
  run: async ({ app: serve, open, pages }) => {
    const elsewhere = await pages()
    const spa = elsewhere.at("a.test")
    const seen: Record<string, string> = {}
    const page = await open()
    await visit(page, `${spa}/`)

    const cors = {
      allowedOrigins: [spa],
      allowedHeaders: ["authorization", "x-session"],
      exposedHeaders: ["x-session"]
    }
    const app = await serve({ frontend: SessionFrontend.layerBearer(), cors })
    const home = app.at("app.test")
    const { text } = await ask(page, `${home}/token`, { method: "POST" })
    const { token } = JSON.parse(text) as { readonly token: string }
    const headers = { authorization: `Bearer ${token}` }
    assert.deepInclude(await ask(page, `${home}/whoami`, { headers }), { status: 200, text: "ada" })
    assert.deepInclude(await ask(page, `${home}/count`, { method: "POST", headers }), { status: 200, text: "counted" })
    seen["`Authorization`, origin allowed"] =
      `preflight ${app.last("OPTIONS", "/whoami")!.status}, then ${app.last("GET", "/whoami")!.status}`
    assert.strictEqual((await ask(page, `${home}/whoami`)).status, 401)
    await ask(page, `${home}/logout`, { method: "POST", headers, redirect: "manual" })
    const late = await ask(page, `${home}/whoami`, { headers })
    assert.strictEqual(late.status, 401)
    seen["the same after the log-out"] = String(late.status)

    const header = await serve({ frontend: SessionFrontend.layerHeader({ name: "x-session" }), cors })
    const there = header.at("app.test")
    const logIn = await ask(page, `${there}/token`, { method: "POST" }, "x-session")
    assert.isString(logIn.header)
    const own = { "x-session": logIn.header! }
    assert.strictEqual((await ask(page, `${there}/whoami`, { headers: own })).status, 200)
    seen["a header of its own, in `exposedHeaders`"] = "the page reads the token, and sends it"

    const hidden = await serve({
      frontend: SessionFrontend.layerHeader({ name: "x-session" }),
      cors: { allowedOrigins: [spa], allowedHeaders: ["x-session"] }
    })
    const unread = await ask(page, `${hidden.at("app.test")}/token`, { method: "POST" }, "x-session")
    assert.deepInclude(unread, { status: 200, header: null })
    seen["the same, not in `exposedHeaders`"] = "the page sees no token"

    const evil = await open()
    await visit(evil, `${elsewhere.at("evil.test")}/`)
    const before = header.count("GET", "/whoami")
    assert.strictEqual((await ask(evil, `${there}/whoami`, { headers: own })).status, 0)
    assert.strictEqual(header.count("GET", "/whoami"), before)
    seen["an origin that is not allowed"] = "the browser stops at the preflight"
    return seen
  }
}

export const tabs: Scenario = {
  key: "tabs",
  title: "a log-out in one tab holds in the next request of another",
  run: async ({ app: serve, open }) => {
    const app = await serve()
    const home = app.at("app.test")
    const [first, second] = [await open(), await open()]
    await visit(first, `${home}/`)
    await visit(second, `${home}/`)
    await ask(first, "/login", { method: "POST" })
    assert.strictEqual((await ask(second, "/whoami")).status, 200)
    await ask(first, "/logout", { method: "POST" })
    const after = await ask(second, "/whoami")
    assert.strictEqual(after.status, 401)
    assert.isUndefined(app.last("GET", "/whoami")!.cookie)
    return { "the other tab, after the log-out": `${after.status}, no cookie` }
  }
}
