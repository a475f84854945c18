/** Back and forward after a log-out. */
import { assert } from "@effect/vitest"
import type { Page } from "puppeteer-core"
import { until } from "../../support/processes.ts"
import type { Scenario } from "../scenario.ts"
import { secretText, type Site } from "../sites.ts"
import { ask, follow, go, isFromMemory, post, text, visit } from "../tab.ts"

/** Goes back or forward to a page, and says where that came from. */
const step = async (page: Page, app: Site, steps: number, path: string): Promise<string> => {
  const before = app.count("GET", path)
  await go(page, steps)
  const from =
    app.count("GET", path) > before
      ? `asks the server: ${app.last("GET", path)!.status}`
      : (await isFromMemory(page))
        ? "from memory"
        : "from the cache"
  return (await text(page)).includes(secretText) ? `the private page, ${from}` : from
}

export const backAfterLogOut: Scenario = {
  key: "history",
  title: "[R57] back and forward after a log-out ask the server again",
  run: async ({ app: serve, open }) => {
    const app = await serve()
    const home = app.at("app.test")
    const page = await open()
    const seen: Record<string, string> = {}
    /** What must not be shown. */
    const hidden = (what: string, where: string) => {
      assert.notInclude(where, "private page", what)
      seen[what] = where
    }
    const logIn = async () => {
      await visit(page, `${home}/`)
      assert.strictEqual((await ask(page, "/login", { method: "POST" })).status, 200)
      await follow(page, `${home}/private`)
      assert.include(await text(page), secretText)
    }
    const logOutHere = async (page: Page) =>
      assert.strictEqual((await ask(page, "/logout", { method: "POST" })).status, 200)

    await logIn()
    await follow(page, `${home}/other`)
    seen["back to a private page, logged in"] = await step(page, app, -1, "/private")
    assert.include(seen["back to a private page, logged in"], "private page")
    await post(page, `${home}/logout`)
    hidden("back, after the private page's log-out form", await step(page, app, -1, "/private"))

    await logIn()
    await go(page, -1)
    await logOutHere(page)
    hidden("forward, after a log-out by the page before", await step(page, app, 1, "/private"))

    await logIn()
    await follow(page, `${home}/other`)
    const other = await open()
    await visit(other, `${home}/`)
    await logOutHere(other)
    await page.bringToFront()
    hidden("back, after a log-out in another tab", await step(page, app, -1, "/private"))

    // What a browser may keep in memory whatever the library sends: it is written down as it is seen.
    const backToFirst = async (leave: () => Promise<unknown>) => {
      await visit(page, `${home}/`)
      await post(page, `${home}/login`)
      await leave()
      await post(page, `${home}/logout`)
      return step(page, app, -1, "/private")
    }
    seen["back to the page that the log-in redirected to"] = await backToFirst(async () => {})
    seen["the same, after its script has asked for what is private"] = await backToFirst(() => ask(page, "/whoami"))
    await logIn()
    await follow(page, `${home}/other`)
    await ask(page, "/revoke", { method: "POST" })
    seen["back, after an administrator has ended the session"] = await step(page, app, -1, "/private")

    // And the pages that may, with the script of docs/browsers.md in them.
    const asksAgain = async () => {
      const before = app.count("GET", "/guarded")
      await go(page, -1)
      await until(async () => app.count("GET", "/guarded") > before, "the server was asked", 10_000)
      assert.strictEqual(app.last("GET", "/guarded")!.status, 401)
      await until(async () => !(await text(page).catch(() => secretText)).includes(secretText), "the page was gone")
    }
    await visit(page, `${home}/`)
    await post(page, `${home}/login?guarded`)
    await post(page, `${home}/logout`)
    await asksAgain()
    await logIn()
    await follow(page, `${home}/guarded`)
    await follow(page, `${home}/other`)
    await ask(page, "/revoke", { method: "POST" })
    await asksAgain()
    seen["such pages with the script below"] = "ask the server: 401"
    return seen
  }
}
