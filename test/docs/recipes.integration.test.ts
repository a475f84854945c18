/** What the recipes promise between processes, on Redis; and what needs a browser to be believed, in Chromium. */
import { NodeCrypto } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Layer, Scope } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { SessionFrontend, SessionMiddleware, SessionVerifier } from "effect-sessions"
import { spawnSync } from "node:child_process"
import { randomBytes } from "node:crypto"
import * as Https from "node:https"
import type { Browser as Chromium, Page } from "puppeteer-core"
import { afterAll, beforeAll } from "vitest"
import { post, text, visit } from "../browsers/tab.ts"
import { has, launch, type Running } from "../support/browsers.ts"
import { makeCertificate } from "../support/certificate.ts"
import { fakeProvider, provided } from "../support/fakeProvider.ts"
import { listens, needing, redisUrl, until } from "../support/processes.ts"
import { modulesOf } from "../support/fences.ts"
import {
  answering,
  type AnyLayer,
  atOnce,
  browsersOf,
  partsOf,
  route,
  type Routes,
  tally,
  withParts
} from "../support/recipes.ts"
import { backendLayer, exampleSettings } from "../support/redis.ts"
import * as Server from "../support/server.ts"

const ways = modulesOf("docs/ways-to-log-in.md")
const recipes = modulesOf("docs/recipes.md")

const openOf = (UserSession: any): AnyLayer => SessionMiddleware.router(UserSession).layer
const logIn = (UserSession: any) =>
  Effect.flatMap(UserSession as Effect.Effect<any>, ({ create }) => answering(create({ username: "ada", cart: [] })))

needing(await listens(redisUrl, 6379), "no Redis at REDIS_URL, nor at 127.0.0.1:6379")("on Redis", () => {
  /** The same app twice, as in two processes: nothing is shared but the store. */
  const twice = (make: () => AnyLayer, UserSession: any) => {
    const prefix = `recipes-${randomBytes(6).toString("hex")}`
    const one = () =>
      browsersOf(
        withParts(make(), [partsOf(UserSession)], backendLayer(exampleSettings(redisUrl), { prefix }) as never)
      )
    return Effect.all([one(), one()])
  }

  it.live("of 50 requests at once, at two processes, one is logged in by a hand-off", () =>
    Effect.gen(function* () {
      const { UserSession } = yield* Effect.promise(() => ways("session"))
      const { HandOffs } = yield* Effect.promise(() => ways("enter"))
      const make = () =>
        Layer.merge(
          route("POST", "/login", logIn(UserSession)).pipe(Layer.provide(openOf(UserSession))),
          HandOffs as AnyLayer
        )
      const [here, there] = yield* twice(make, UserSession)
      const phone = here()
      yield* phone.send("POST", "/login")
      for (let round = 0; round < 3; round++) {
        const { token } = JSON.parse((yield* phone.send("POST", "/hand-off")).text)
        const browsers = Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? here() : there()))
        assert.deepStrictEqual(tally(yield* atOnce(50, browsers, "POST", "/enter", { form: { token } })), {
          303: 1,
          401: 49
        })
        assert.strictEqual(browsers.filter(({ cookies }) => cookies.has("__Host-session")).length, 1)
      }
    })
  )

  it.live("of 50 requests at once, at two processes, one shows a message", () =>
    Effect.gen(function* () {
      const { UserSession } = yield* Effect.promise(() => recipes("session"))
      const { redirectWith, takeFlash } = yield* Effect.promise(() => recipes("flash"))
      const page = Effect.map(takeFlash as Effect.Effect<string | undefined>, (shown) =>
        HttpServerResponse.text(shown ?? "-")
      )
      const make = () =>
        Layer.mergeAll(
          route("POST", "/login", logIn(UserSession)),
          route("POST", "/save", redirectWith("/page", "saved")),
          route("GET", "/page", page)
        ).pipe(Layer.provide(openOf(UserSession)), HttpRouter.provideRequest(NodeCrypto.layer))
      const [here, there] = yield* twice(make, UserSession)
      const [one, other] = [here(), there()]
      yield* one.send("POST", "/login")
      for (const [name, cookie] of one.cookies) other.cookies.set(name, cookie)
      for (let round = 0; round < 3; round++) {
        const location = (yield* one.send("POST", "/save")).headers.get("location")!
        const answers = yield* atOnce(50, [one, other], "GET", location)
        assert.deepStrictEqual(tally(answers), { 200: 50 })
        assert.strictEqual(answers.filter(({ text }) => text === "saved").length, 1)
      }
    })
  )
})

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0

needing(has("Chromium") && hasOpenssl, "there is no chromium or no openssl on the PATH to start")("in Chromium", () => {
  const hosts = ["app.test", "login.test"]
  let running: Running
  let browser: Chromium
  let scope: Scope.Closeable
  let listen: (routes: Routes, scheme?: "http" | "https") => Promise<number>
  beforeAll(async () => {
    const certificate = makeCertificate(hosts)
    scope = await Effect.runPromise(Scope.make())
    listen = (routes, scheme = "https") =>
      Effect.runPromise(
        Effect.provideService(
          Server.listen(routes, scheme === "https" ? () => Https.createServer(certificate) : undefined),
          Scope.Scope,
          scope
        )
      )
    running = await launch("Chromium", { hosts, certificate })
    browser = running.browser
  })
  afterAll(async () => {
    await Effect.runPromise(Scope.close(scope, Exit.void))
    await running[Symbol.asyncDispose]()
  })

  const own = (UserSession: any): AnyLayer =>
    Layer.merge(
      Layer.mergeAll(
        route("GET", "/", Effect.succeed(HttpServerResponse.html("front page"))),
        route("GET", "/login/failed", Effect.succeed(HttpServerResponse.html("try again"))),
        route(
          "POST",
          "/visit",
          Effect.flatMap(UserSession as Effect.Effect<any>, ({ create }) => answering(create({ cart: ["tea"] })))
        ),
        route("POST", "/login/ada", logIn(UserSession))
      ).pipe(Layer.provide(openOf(UserSession))),
      route(
        "GET",
        "/me",
        Effect.flatMap(UserSession.Verified as Effect.Effect<any>, ({ data }) => HttpServerResponse.json(data))
      ).pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer))
    )
  const arrived = (page: Page, path: string) =>
    until(
      () =>
        page
          .evaluate((path) => location.pathname === path && document.readyState === "complete", path)
          .catch(() => false),
      `the page was at ${path}`
    )

  it("[R59] a form_post logs in, and keeps the cart; its own cookie being `Lax`, it would not", async () => {
    const [{ UserSession }, { Attempt, AttemptLive }, provider, { OAuth }] = await Promise.all(
      ["session", "attempt", "provider", "oauth"].map(ways)
    )
    const AttemptLax = SessionMiddleware.layer(Attempt).pipe(
      Layer.provide([SessionFrontend.layerCookie({ name: "__Host-log-in" }), SessionVerifier.layerExists(Attempt)])
    )
    const atProvider = fakeProvider()
    const origin = `https://login.test:${await listen(atProvider as Routes)}`
    const backChannel = `http://127.0.0.1:${await listen(atProvider as Routes, "http")}`
    for (const [attempt, end] of [
      [AttemptLive, "/me"],
      [AttemptLax, "/login/failed"]
    ] as const) {
      // Its port is not known before it listens.
      let home = ""
      const there = provided(provider, { origin, backChannel, callback: () => `${home}/login/callback` })
      const routes = Layer.merge(own(UserSession), (OAuth as AnyLayer).pipe(Layer.provide(there)))
      home = `https://app.test:${await listen(withParts(routes, [partsOf(UserSession), attempt]))}`
      const context = await browser.createBrowserContext()
      const page = await context.newPage()
      await visit(page, `${home}/`)
      await post(page, `${home}/visit`)
      await page.goto(`${home}/login?next=/me`).catch(() => undefined)
      await arrived(page, end)
      if (end === "/me") assert.deepStrictEqual(JSON.parse(await text(page)), { username: "ada", cart: ["tea"] })
      await context.close()
    }
  })

  it("the page of a hand-off logs in by a click, and leaves its token nowhere", async () => {
    const [{ UserSession }, { HandOffs }] = await Promise.all(["session", "enter"].map(ways))
    const asked: Array<string> = []
    const home = `https://app.test:${await listen(
      withParts(Layer.merge(own(UserSession), HandOffs as AnyLayer), [partsOf(UserSession)])
    )}`
    const phone = await (await browser.createBrowserContext()).newPage()
    await visit(phone, `${home}/`)
    await post(phone, `${home}/login/ada`)
    const token = await phone.evaluate(async () => (await (await fetch("/hand-off", { method: "POST" })).json()).token)
    const view = await (await browser.createBrowserContext()).newPage()
    view.on("request", (request) => asked.push(request.url(), request.headers()["referer"] ?? ""))
    await visit(view, `${home}/enter#${token}`)
    assert.strictEqual(await view.evaluate(() => location.href), `${home}/enter`)
    await view.evaluate(() => document.querySelector("button")!.click())
    await arrived(view, "/")
    await visit(view, `${home}/me`)
    assert.strictEqual(JSON.parse(await text(view)).username, "ada")
    assert.deepStrictEqual(
      asked.filter((url) => url.replace(/#.*/, "").includes(token)),
      []
    )
  })
})
