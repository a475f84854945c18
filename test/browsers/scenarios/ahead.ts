/** Pages fetched ahead. */
import { assert } from "@effect/vitest"
import { setTimeout as pause } from "node:timers/promises"
import type { Page } from "puppeteer-core"
import type { Scenario, World } from "../scenario.ts"
import { secretText, type Site } from "../sites.ts"
import { ask, fetchAhead, follow, text, visit } from "../tab.ts"

const ways = {
  link: "`<link rel=prefetch>`",
  prefetch: "speculation rules, `prefetch`",
  prerender: "speculation rules, `prerender`"
} as const

type Way = keyof typeof ways
const everyWay = Object.keys(ways) as ReadonlyArray<Way>

/** Whether the browser asks, within a time in which a browser that does has asked long ago. */
const asksAhead = async (page: Page, app: Site, how: Way, path: string): Promise<boolean> => {
  const isAsked = () => app.asked.some((one) => one.path === path && one.purpose !== undefined)
  await fetchAhead(page, how, path)
  for (let waited = 0; waited < 2000 && !isAsked(); waited += 50) await pause(50)
  return isAsked()
}

/** A page that is logged in. */
const start = async (app: Site, open: World["open"]): Promise<Page> => {
  const page = await open()
  await visit(page, `${app.at("app.test")}/`)
  assert.strictEqual((await ask(page, "/login", { method: "POST" })).status, 200)
  return page
}

const ahead = async (how: Way, { app: serve, open }: World): Promise<Record<string, string>> => {
  const app = await serve()
  const home = app.at("app.test")
  const page = await start(app, open)
  const way = ways[how]

  if (!(await asksAhead(page, app, how, "/private?1"))) return { [way]: "fetches nothing ahead" }
  assert.strictEqual(app.last("GET", "/private?1")!.status, 200)
  await follow(page, `${home}/private?1`)
  assert.include(await text(page), secretText)
  const isUsed = app.count("GET", "/private?1") === 1

  await visit(page, `${home}/`)
  assert.isTrue(await asksAhead(page, app, how, "/private?2"))
  assert.strictEqual(app.last("GET", "/private?2")!.status, 200)
  assert.strictEqual((await ask(page, "/logout", { method: "POST" })).status, 200)
  await follow(page, `${home}/private?2`)
  assert.notInclude(await text(page), secretText)
  assert.strictEqual(app.last("GET", "/private?2")!.status, 401)
  return {
    [way]: `fetches ahead, and ${isUsed ? "shows what it has" : "asks again when the link is followed"}`,
    [`${way}, then a log-out`]: "asks the server: 401"
  }
}

export const fetchedAhead: Scenario = {
  key: "ahead",
  title: "[R57] a page fetched ahead is not shown after the log-out, and fetching ahead ends no session",
  run: async (world) => {
    const seen: Record<string, string> = {}
    for (const how of everyWay) Object.assign(seen, await ahead(how, world))

    const app = await world.app()
    const page = await start(app, world.open)
    for (const how of everyWay) await asksAhead(page, app, how, "/logout")
    assert.isAbove(app.count("GET", "/logout"), 0)
    assert.strictEqual(app.last("GET", "/logout")!.status, 404)
    assert.strictEqual((await ask(page, "/whoami")).status, 200)
    seen["a log-out's address, fetched ahead"] = "the session stands: log-out is a POST"

    const clock = { millis: 0 }
    const rotating = await world.app({ rotateEvery: "10 minutes", rotationGrace: "30 seconds", clock })
    const other = await start(rotating, world.open)
    const first = rotating.last("GET", "/private")!.cookie
    clock.millis += 600_000
    for (const how of everyWay) await asksAhead(other, rotating, how, `/private?${how}`)
    clock.millis += 30_001
    assert.strictEqual((await ask(other, "/whoami")).status, 200)
    const second = rotating.last("GET", "/whoami")!.cookie
    assert.notStrictEqual(second, first)
    clock.millis += 30_001
    assert.strictEqual((await ask(other, "/whoami")).status, 200)
    assert.strictEqual(rotating.last("GET", "/whoami")!.cookie, second)
    seen["a scheduled rotation by what was fetched ahead"] = "the new token arrives, and the session stands"
    return seen
  }
}
