/**
 * The recipes of docs/moving.md do what they say: their own code, beside real apps of the libraries they move from, on one
 * Redis.
 */
import { NodeCrypto, NodeRedis } from "@effect/platform-node"
import { afterAll, assert, beforeAll, beforeEach, it } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, Layer, Redacted, Scope } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { SessionBackendRedis, SessionFrontend, SessionMiddleware, SessionVerifier } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import { createHmac, randomBytes } from "node:crypto"
import { type App, expressApp, fastifyApp, gate, ironApp, redisClient, sealData } from "./moving/apps.ts"
import { modulesOf } from "./support/fences.ts"
import { listens, needing, newSecret, redisUrl, until } from "./support/processes.ts"
import * as Server from "./support/server.ts"

const withRedis = needing(await listens(redisUrl, 6379), "no Redis at REDIS_URL, nor at 127.0.0.1:6379")

const recipe = modulesOf("docs/moving.md")

const { UserSession } = await recipe("session")
const { LogOut } = await recipe("log-out")
const { UserSessionLive, OldSessionsLive } = await recipe("live")
const Old = await recipe("old-sessions")
const Iron = await recipe("iron")

/** A prefix of this run's own: of ours, and of the old library's records. */
const run = randomBytes(6).toString("hex")
const ours = `moving-${run}`

const scope = Scope.makeUnsafe()
const client = redisClient(redisUrl)
const apps: Array<App> = []
beforeAll(() => client.connect())
afterAll(async () => {
  await Effect.runPromise(Scope.close(scope, Exit.void))
  await Promise.all(apps.map((app) => app.close()))
  for await (const keys of client.scanIterator({ MATCH: `*${run}*`, COUNT: 1000 })) {
    if (keys.length > 0) await client.del(keys)
  }
  client.destroy()
})

const started = async (app: Promise<App>): Promise<App> => {
  apps.push(await app)
  return app
}

const RedisLive = NodeRedis.layer({ url: redisUrl }).pipe(Layer.orDie)

type AnyLayer = Layer.Layer<any, any, any>

/** Our server: a definition's layer, the recipe's log-out, and some routes. */
const serve = (live: AnyLayer, logOut: AnyLayer, prefix = ours): Promise<App> => {
  const session: Effect.Effect<any, unknown, any> = UserSession
  const parts: [AnyLayer, ...Array<AnyLayer>] = [
    SessionFrontend.layerCookie(),
    SessionVerifier.layerExists(UserSession),
    SessionBackendRedis.layerWith({ prefix }),
    SessionTest.layerKeys
  ]
  const post = (path: `/${string}`, act: (session: any) => Effect.Effect<unknown>) =>
    HttpRouter.add("POST", path, Effect.as(Effect.flatMap(session, act), HttpServerResponse.empty()))
  const me = Effect.map(UserSession.Verified as Effect.Effect<any, never, any>, ({ data, factors }) =>
    HttpServerResponse.jsonUnsafe({ ...data, factors: factors.length })
  )
  const guarded = HttpRouter.add("GET", "/me", me).pipe(
    Layer.provide(SessionMiddleware.routerRequired(UserSession).layer as AnyLayer)
  )
  const open = Layer.mergeAll(
    post("/login/eve", ({ create }) => create({ username: "eve", cart: [] })),
    post("/revoke_all", ({ revokeAll }) => revokeAll)
  ).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer as AnyLayer))
  const routes = Layer.mergeAll(logOut, guarded, open).pipe(
    Layer.provide(live.pipe(Layer.provide(parts))),
    Layer.provide([RedisLive, NodeCrypto.layer])
    // Its parts are the guide's modules, whose types are checked elsewhere.
  ) as unknown as Layer.Layer<never, never, HttpRouter.HttpRouter>
  return Effect.runPromise(
    Effect.map(Scope.provide(Server.listen(routes), scope), (port) => ({ port, close: () => Promise.resolve() }))
  )
}

/** A browser: it has one jar for all ports of a host. */
const browser = (cookies: ReadonlyMap<string, string> = new Map()) => {
  const jar = new Map(cookies)
  const send = async (app: App, method: string, path: string) => {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ")
    const response = await fetch(`http://127.0.0.1:${app.port}${path}`, {
      method,
      headers: cookie === "" ? {} : { cookie }
    })
    const text = await response.text()
    for (const header of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(header)!
      const expires = /; Expires=([^;]+)/i.exec(header)?.[1]
      if (/; Max-Age=0/i.test(header) || (expires !== undefined && Date.parse(expires) <= Date.now())) jar.delete(name!)
      else jar.set(name!, value!)
    }
    return { status: response.status, text }
  }
  const me = async (app: App) => {
    const { status, text } = await send(app, "GET", "/me")
    return status === 200 ? text : status
  }
  /** Another one with the same cookies, which it then gets on its own. */
  return { jar, send, me, copy: () => browser(jar) }
}

const isAda = (answer: string | number) =>
  assert.deepStrictEqual(JSON.parse(String(answer)), { username: "ada", cart: ["tea"], factors: 0 })

/** What our store holds of a prefix: sessions, and claims of those that were adopted. */
const stored = async (prefix = ours): Promise<{ readonly sessions: number; readonly claims: number }> => {
  const found = { sessions: 0, claims: 0 }
  const claims = `:${Buffer.from("app/UserSession/adopted").toString("base64url")}:`
  for await (const keys of client.scanIterator({ MATCH: `${prefix}:s:*`, COUNT: 1000 })) {
    for (const key of keys) found[key.includes(claims) ? "claims" : "sessions"]++
  }
  return found
}

const forget = async (prefix = ours): Promise<void> => {
  for await (const keys of client.scanIterator({ MATCH: `${prefix}:*`, COUNT: 1000 })) {
    if (keys.length > 0) await client.del(keys)
  }
}

/** As both libraries sign. */
const signatureOf = (id: string, secret: string) =>
  createHmac("sha256", secret).update(id).digest("base64").replace(/=+$/, "")

const cookieOf = (id: string, secret: string) => encodeURIComponent(`s:${id}.${signatureOf(id, secret)}`)

const idIn = (cookie: string) => /^(?:s:)?(.*)\.[^.]*$/.exec(decodeURIComponent(cookie))![1]!

const twenty = <A>(f: () => Promise<A>) => Promise.all(Array.from({ length: 20 }, f))

withRedis("docs/moving.md, from express-session", () => {
  const secret = newSecret()
  const prefix = `sess-${run}:`
  let old: App
  let app: App
  const loggedIn = async (at = old) => {
    const ada = browser()
    await ada.send(at, "POST", "/login/ada")
    return ada
  }
  beforeAll(async () => {
    const secrets = [newSecret(), secret].map((text) => Redacted.make(text))
    const OldSessions = Old.layer({ cookie: "connect.sid", mark: "s:", prefix, secrets })
    old = await started(expressApp(client, { secret, prefix }))
    const provideOld = (layer: AnyLayer) => layer.pipe(Layer.provide(OldSessions))
    app = await serve(provideOld(UserSessionLive), provideOld(LogOut))
  })
  beforeEach(() => forget())

  it("who is logged in at the old app is so at ours, side by side, and a log-out at ours ends both", async () => {
    const ada = await loggedIn()
    isAda(await ada.me(app))
    assert.deepStrictEqual([...ada.jar.keys()], ["connect.sid", "__Host-session"])
    assert.strictEqual(await ada.me(old), "ada")
    const thief = ada.copy()
    assert.strictEqual((await ada.send(app, "POST", "/logout")).status, 204)
    assert.deepStrictEqual([...ada.jar.keys()], [])
    for (const each of [ada, thief]) assert.deepStrictEqual([await each.me(app), await each.me(old)], [401, 401])
    // One who logs out before anything was adopted, too.
    const early = await loggedIn()
    const kept = early.copy()
    await early.send(app, "POST", "/logout")
    for (const each of [early, kept]) assert.deepStrictEqual([await each.me(app), await each.me(old)], [401, 401])
  })

  it("it does so with the settings of the guide: the cookie, the mark, the prefix, the secret from the environment", async () => {
    const plain = await started(expressApp(client, { secret, prefix: "sess:" }))
    const environment = ConfigProvider.layer(ConfigProvider.fromUnknown({ OLD_SECRET: secret }))
    const provideOld = (layer: AnyLayer) =>
      layer.pipe(Layer.provide((OldSessionsLive as AnyLayer).pipe(Layer.provide(environment))))
    const guide = await serve(provideOld(UserSessionLive), provideOld(LogOut), `${ours}-guide`)
    const ada = await loggedIn(plain)
    isAda(await ada.me(guide))
    await ada.send(guide, "POST", "/logout")
    assert.deepStrictEqual([await ada.me(guide), await ada.me(plain)], [401, 401])
  })

  it("20 requests at once, and more whose answers are lost, leave one session", async () => {
    const ada = await loggedIn()
    const tabs = await twenty(async () => {
      const tab = ada.copy()
      isAda(await tab.me(app))
      return tab.jar.get("__Host-session")
    })
    assert.strictEqual(new Set(tabs).size, 1)
    assert.deepStrictEqual(await stored(), { sessions: 1, claims: 1 })
    // Its own jar has none of those answers.
    isAda(await ada.me(app))
    assert.strictEqual(ada.jar.get("__Host-session"), tabs[0])
    assert.deepStrictEqual(await stored(), { sessions: 1, claims: 1 })
    for await (const keys of client.scanIterator({ MATCH: `${ours}:s:*`, COUNT: 1000 })) {
      for (const key of keys) assert.isBelow((await client.memoryUsage(key)) ?? 0, 1024, key)
    }
  })

  it("20 requests at once and a log-out in the middle of them leave none that stands", async () => {
    const ada = await loggedIn()
    const tabs = Array.from({ length: 20 }, () => ada.copy())
    await Promise.all(tabs.map((tab, i) => (i === 10 ? tab.send(app, "POST", "/logout") : tab.me(app))))
    const all = [ada, ...tabs]
    const after = await Promise.all(all.map(async (tab) => [await tab.me(app), await tab.me(old)]))
    assert.deepStrictEqual(
      after,
      all.map(() => [401, 401])
    )
    assert.strictEqual((await stored()).sessions, 0)
  })

  it("a cookie that is forged, or cut, or carries another's signature adopts nothing", async () => {
    const [ada, eve] = [await loggedIn(), browser()]
    await eve.send(old, "POST", "/login/eve")
    const [id, others] = [ada, eve].map(({ jar }) => idIn(jar.get("connect.sid")!)) as [string, string]
    const forged = {
      "another secret": cookieOf(id, newSecret()),
      "another's signature": encodeURIComponent(`s:${id}.${signatureOf(others, secret)}`),
      "no signature": encodeURIComponent(`s:${id}`),
      "an empty signature": encodeURIComponent(`s:${id}.`),
      "a signature cut": cookieOf(id, secret).slice(0, -2),
      "no mark": cookieOf(id, secret).replace("s%3A", ""),
      "another mark": cookieOf(id, secret).replace("s%3A", "j%3A"),
      "no id": cookieOf("", secret),
      "an id that no record has": cookieOf("none", secret),
      "bad encoding": `${cookieOf(id, secret)}%`
    }
    for (const [what, cookie] of Object.entries(forged)) {
      const browsing = browser(new Map([["connect.sid", cookie]]))
      assert.deepStrictEqual([await browsing.me(app), await browsing.me(old)], [401, 401], what)
    }
    assert.deepStrictEqual(await stored(), { sessions: 0, claims: 0 })
    // They were right but for that.
    isAda(await browser(new Map([["connect.sid", cookieOf(id, secret)]])).me(app))
  })

  it("each secret that the old app accepts will do", async () => {
    const rotated = await started(expressApp(client, { secret: [newSecret(), secret], prefix }))
    const ada = await loggedIn()
    assert.strictEqual(await ada.me(rotated), "ada")
    isAda(await ada.me(app))
  })

  it("a record that has expired adopts nothing; one that was only touched since its `expires` does", async () => {
    const brief = await started(expressApp(client, { secret, prefix, cookie: { maxAge: 1000 } }))
    const ada = await loggedIn(brief)
    const key = prefix + idIn(ada.jar.get("connect.sid")!)
    await until(async () => (await client.exists(key)) === 0, "the record expires")
    assert.deepStrictEqual([await ada.me(app), await ada.me(brief)], [401, 401])
    const touched = await started(expressApp(client, { secret, prefix, cookie: { maxAge: 2000 } }))
    const bea = await loggedIn(touched)
    const record = prefix + idIn(bea.jar.get("connect.sid")!)
    const { expires } = JSON.parse((await client.get(record))!).cookie
    await until(async () => {
      assert.strictEqual(await bea.me(touched), "ada")
      return Date.now() > Date.parse(expires)
    }, "it would have ended")
    assert.strictEqual(JSON.parse((await client.get(record))!).cookie.expires, expires)
    isAda(await bea.me(app))
  })

  it("a visitor's record, or one with data that are not known, adopts nothing, until it has a user", async () => {
    const visitor = browser()
    await visitor.send(old, "POST", "/visit")
    assert.isDefined(visitor.jar.get("connect.sid"))
    assert.strictEqual(await visitor.me(app), 401)
    const ada = await loggedIn()
    const key = prefix + idIn(ada.jar.get("connect.sid")!)
    const record = (await client.get(key))!
    const { cookie } = JSON.parse(record)
    for (const text of [
      "",
      "{",
      "null",
      "[]",
      JSON.stringify({ cookie, user: { id: 1 } }),
      JSON.stringify({ user: "ada", cart: 1 })
    ]) {
      await client.set(key, text)
      assert.strictEqual(await ada.me(app), 401, text)
    }
    assert.deepStrictEqual(await stored(), { sessions: 0, claims: 0 })
    await client.set(key, JSON.stringify({ ...JSON.parse(record), more: [1] }))
    isAda(await ada.me(app))
    await visitor.send(old, "POST", "/login/ada")
    isAda(await visitor.me(app))
  })

  it("a log-out at the old app adopts nothing after it, and does not reach what was adopted before", async () => {
    const [early, late] = [await loggedIn(), await loggedIn()]
    const kept = late.copy()
    isAda(await early.me(app))
    for (const each of [early, late]) await each.send(old, "POST", "/logout")
    for (const each of [late, kept]) assert.deepStrictEqual([await each.me(app), await each.me(old)], [401, 401])
    assert.strictEqual(await early.me(old), 401)
    isAda(await early.me(app))
  })

  it("a request of the old app that is under way during the log-out brings its session back there, and not at ours", async () => {
    const ada = await loggedIn()
    isAda(await ada.me(app))
    const kept = ada.copy()
    let go = () => {}
    gate.wait = new Promise((resolve) => (go = resolve))
    const slow = ada.copy().send(old, "POST", "/slow")
    // The old app has read the session once the request after it is answered.
    await kept.me(old)
    await ada.send(app, "POST", "/logout")
    go()
    await slow
    assert.deepStrictEqual([await kept.me(old), await ada.copy().me(app)], ["ada", 401])
    kept.jar.delete("__Host-session")
    assert.strictEqual(await kept.me(app), 401)
  })

  it("a new log-in at the old app is adopted anew, and one of another user at ours ends the old one for us", async () => {
    const ada = await loggedIn()
    isAda(await ada.me(app))
    await ada.send(app, "POST", "/logout")
    await ada.send(old, "POST", "/login/ada")
    isAda(await ada.me(app))
    const shared = await loggedIn()
    const kept = shared.copy()
    assert.strictEqual((await shared.send(app, "POST", "/login/eve")).status, 204)
    assert.match(String(await shared.me(app)), /eve/)
    assert.strictEqual(await kept.me(app), 401)
  })

  it("the end of all sessions reaches those that were adopted, and not those that were not yet", async () => {
    const [laptop, phone, tablet] = [await loggedIn(), await loggedIn(), await loggedIn()]
    for (const each of [laptop, phone]) isAda(await each.me(app))
    assert.strictEqual((await laptop.send(app, "POST", "/revoke_all")).status, 204)
    assert.deepStrictEqual([await laptop.me(app), await phone.me(app)], [401, 401])
    isAda(await tablet.me(app))
  })
})

withRedis("docs/moving.md, from @fastify/session", () => {
  const secret = newSecret()
  const prefix = `fastify-${run}:`
  let old: App
  let app: App
  beforeAll(async () => {
    old = await started(fastifyApp(client, { secret, prefix }))
    const layer = Old.layer({ cookie: "sessionId", mark: "", prefix, secrets: [Redacted.make(secret)] })
    const provideOld = (to: AnyLayer) => to.pipe(Layer.provide(layer))
    app = await serve(provideOld(UserSessionLive), provideOld(LogOut))
  })
  beforeEach(() => forget())

  it("who is logged in at the old app is so at ours, 20 times at once, and a log-out at ours ends both", async () => {
    const ada = browser()
    await ada.send(old, "POST", "/login/ada")
    const tabs = await twenty(async () => {
      const tab = ada.copy()
      isAda(await tab.me(app))
      return tab.jar.get("__Host-session")
    })
    assert.deepStrictEqual([new Set(tabs).size, await stored()], [1, { sessions: 1, claims: 1 }])
    isAda(await ada.me(app))
    assert.strictEqual(await ada.me(old), "ada")
    const kept = ada.copy()
    await ada.send(app, "POST", "/logout")
    for (const each of [ada, kept]) assert.deepStrictEqual([await each.me(app), await each.me(old)], [401, 401])
    kept.jar.delete("__Host-session")
    assert.strictEqual(await kept.me(app), 401)
  })

  it("a cookie that is forged adopts nothing, and is that of express-session but for the mark", async () => {
    const ada = browser()
    await ada.send(old, "POST", "/login/ada")
    const id = idIn(ada.jar.get("sessionId")!)
    assert.strictEqual(decodeURIComponent(ada.jar.get("sessionId")!), `${id}.${signatureOf(id, secret)}`)
    const forged = browser(new Map([["sessionId", encodeURIComponent(`${id}.${signatureOf(id, newSecret())}`)]]))
    assert.deepStrictEqual([await forged.me(app), await forged.me(old)], [401, 401])
    assert.deepStrictEqual(await stored(), { sessions: 0, claims: 0 })
  })
})

withRedis("docs/moving.md, from iron-session", () => {
  const password = { 1: newSecret(), 2: newSecret() }
  const ttl = 14 * 24 * 60 * 60
  const options = { cookieName: "app_session", password, ttl, chunk: true }
  let old: App
  let app: App
  beforeAll(async () => {
    old = await started(ironApp(options))
    const redacted = Object.fromEntries(Object.entries(password).map(([id, text]) => [id, Redacted.make(text)]))
    app = await serve(Iron.userSessionLive({ password: redacted, ttl }), Iron.LogOut)
  })
  beforeEach(() => forget())
  const loggedIn = async () => {
    const ada = browser()
    await ada.send(old, "POST", "/login/ada")
    return ada
  }

  it("who is logged in at the old app is so at ours, 20 times at once, and logs out at both", async () => {
    const ada = await loggedIn()
    const tabs = await twenty(async () => {
      const tab = ada.copy()
      isAda(await tab.me(app))
      return tab.jar.get("__Host-session")
    })
    assert.deepStrictEqual([new Set(tabs).size, await stored()], [1, { sessions: 1, claims: 1 }])
    isAda(await ada.me(app))
    assert.strictEqual(await ada.me(old), "ada")
    const kept = ada.copy()
    await ada.send(app, "POST", "/logout")
    assert.deepStrictEqual([await ada.me(app), await ada.me(old), ada.jar.size], [401, 401, 0])
    // A copy opens the old app still, as after its own log-out, and ours no more, under any name.
    assert.strictEqual(await kept.me(old), "ada")
    kept.jar.delete("__Host-session")
    const seal = kept.jar.get("app_session")!.split("~")[0]!
    for (const end of ["~2", "~9", "~", "", "=~2", "%3D~2", "%20~2"]) {
      kept.jar.set("app_session", seal + end)
      assert.deepStrictEqual([await kept.me(app), await kept.me(old)], [401, "ada"], end)
    }
  })

  it("a seal of each password does, in one cookie or several; a forged one, or one that has expired, does not", async () => {
    const data = { user: "ada", cart: ["tea"] }
    const sealed = (seal: string) => browser(new Map([["app_session", seal]]))
    isAda(await sealed(await sealData(data, { password: { 1: password[1] } })).me(app))
    const forged = await sealData(data, { password: { 1: newSecret() } })
    const expired = await sealData(data, { password, ttl: -3600 })
    const unknown = await sealData({ user: 1 }, { password })
    for (const seal of [forged, expired, unknown, "x", "~2"]) assert.strictEqual(await sealed(seal).me(app), 401, seal)
    assert.deepStrictEqual([await sealed(forged).me(old), await sealed(expired).me(old)], [401, 401])
    const ada = await loggedIn()
    await ada.send(old, "POST", "/fill")
    assert.deepStrictEqual([...ada.jar.keys()], ["app_session.0", "app_session.1"])
    assert.strictEqual(JSON.parse(String(await ada.me(app))).cart.length, 400)
  })

  it("the old log-out ends nothing but the cookie, and each seal of one log-in is a session", async () => {
    const ada = await loggedIn()
    const kept = ada.copy()
    await ada.send(old, "POST", "/logout")
    assert.strictEqual(ada.jar.size, 0)
    assert.strictEqual(await kept.me(old), "ada")
    isAda(await kept.me(app))
    const again = browser()
    again.jar.set("app_session", await sealData({ user: "ada", cart: ["tea"] }, { password }))
    isAda(await again.me(app))
    assert.strictEqual((await stored()).sessions, 2)
  })
})
