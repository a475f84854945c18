/** Requests that pages of other sites make. */
import { assert } from "@effect/vitest"
import { SessionFrontend } from "effect-sessions"
import type { Scenario } from "../scenario.ts"
import { type Asked, secretText } from "../sites.ts"
import { ask, follow, post, text, visit } from "../tab.ts"

/** What a request said of where it came from, and what came of it. */
const told = ({ cookie, origin, site, status }: Asked) =>
  `${status}; ${cookie === undefined ? "no cookie" : "cookie sent"}, ` +
  (site === undefined ? `no \`Sec-Fetch-Site\`, ${origin === undefined ? "no `Origin`" : "`Origin`"}` : `\`${site}\``)

export const crossSite: Scenario = {
  key: "cross-site",
  title: "[R59] another site's page neither acts as the user nor logs one in, and a link from it finds the user",
  run: async ({ app: serve, open, pages }) => {
    const elsewhere = await pages()
    const provider = elsewhere.at("login.test")
    const sub = elsewhere.at("sub.app.test")
    const app = await serve({ callbackFrom: [provider] })
    const trusting = await serve({ frontend: SessionFrontend.layerCookie({ trustedOrigins: [sub] }) })
    const home = app.at("app.test")
    const page = await open()
    const seen: Record<string, string> = {}
    const whoami = async () => {
      const own = await open()
      await visit(own, `${home}/`)
      const { status } = await ask(own, "/whoami")
      await own.close()
      return status
    }

    await visit(page, `${elsewhere.at("evil.test")}/`)
    await post(page, `${home}/login`)
    seen["log-in by another site's form"] = told(app.last("POST", "/login")!)
    assert.strictEqual(app.last("POST", "/login")!.status, 403)
    assert.strictEqual(await whoami(), 401)

    await visit(page, `${provider}/`)
    await post(page, `${home}/callback`)
    seen["an OAuth provider's form, whose origin the route trusts"] = told(app.last("POST", "/callback")!)
    assert.strictEqual(app.last("POST", "/callback")!.status, 303)
    // The redirect is part of a navigation that another site began: a `Lax` cookie goes with it.
    assert.include(await text(page), secretText)
    await visit(page, `${elsewhere.at("evil.test")}/`)
    await post(page, `${home}/callback`)
    assert.strictEqual(app.last("POST", "/callback")!.status, 403)

    await visit(page, `${elsewhere.at("evil.test")}/`)
    await post(page, `${home}/logout`)
    seen["log-out by another site's form"] = told(app.last("POST", "/logout")!)
    assert.strictEqual(app.last("POST", "/logout")!.status, 403)
    assert.isUndefined(app.last("POST", "/logout")!.cookie)

    await visit(page, `${sub}/`)
    await post(page, `${home}/logout`)
    seen["log-out by a form of another host of the same site"] = told(app.last("POST", "/logout")!)
    assert.strictEqual(app.last("POST", "/logout")!.status, 403)
    assert.isDefined(app.last("POST", "/logout")!.cookie)

    await visit(page, `${elsewhere.at("evil.test")}/`)
    const blind = await ask(page, `${home}/count`, { method: "POST", credentials: "include", mode: "no-cors" })
    assert.strictEqual(blind.status, 0)
    seen["`fetch` with `credentials` of another site"] = told(app.last("POST", "/count")!)
    assert.strictEqual(app.last("POST", "/count")!.status, 403)
    assert.strictEqual(await whoami(), 200)

    await visit(page, `${elsewhere.at("evil.test")}/`)
    await follow(page, `${home}/private`)
    assert.include(await text(page), secretText)
    seen["a link of another site to a private page"] = told(app.last("GET", "/private")!)

    // The cookie is the host's, whatever the port, and its token the first app's: a log-in makes it the second's.
    const trustingHome = trusting.at("app.test")
    await visit(page, `${trustingHome}/`)
    await post(page, `${trustingHome}/login`)
    await visit(page, `${sub}/`)
    await post(page, `${trustingHome}/logout`)
    seen["the same form, whose origin the frontend trusts"] = told(trusting.last("POST", "/logout")!)
    assert.strictEqual(trusting.last("POST", "/logout")!.status, 303)
    assert.strictEqual((await ask(page, "/whoami")).status, 401)

    const plain = await serve({ frontend: SessionFrontend.layerCookie({ secure: false }) }, "http")
    await visit(page, `${(await pages("http")).at("evil.test")}/`)
    await post(page, `${plain.at("app.test")}/login`)
    seen["log-in by another site's form, both over http"] = told(plain.last("POST", "/login")!)
    assert.strictEqual(plain.last("POST", "/login")!.status, 403)
    return seen
  }
}
