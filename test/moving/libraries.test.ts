/** What the tables of docs/moving.md say that other libraries do, tried on these. */
// Express 5 and Fastify wait for their handlers.
/* oxlint-disable oxc/no-async-endpoint-handlers */
import fastifyCookie from "@fastify/cookie"
import fastifySession from "@fastify/session"
import { afterAll, assert, describe, it } from "@effect/vitest"
import express from "express"
import session from "express-session"
import Fastify from "fastify"
import { getIronSession, sealData, unsealData, webCookies } from "iron-session"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"

const guide = readFileSync(new URL("../../docs/moving.md", import.meta.url), "utf8")

const servers: Array<Server> = []
afterAll(() => {
  for (const server of servers) server.close().closeAllConnections()
})

const secret = "of the other library, long enough"

/** What became of a request: its body, and the whole of its cookies. */
const ask = async (url: string, cookie = "") => {
  const response = await fetch(url, { headers: { cookie } })
  const setCookie = response.headers.getSetCookie()
  return { status: response.status, body: await response.text(), setCookie, cookie: setCookie[0]?.split(";")[0] ?? "" }
}

describe("the versions", () => {
  it("that the guide names are those that were tried", () => {
    for (const name of ["express-session", "@fastify/session", "@fastify/cookie", "iron-session", "connect-redis"]) {
      const description = new URL(`../../node_modules/${name}/package.json`, import.meta.url)
      const { version } = JSON.parse(readFileSync(description, "utf8")) as { readonly version: string }
      assert.include(guide, version, name)
    }
  })
})

describe("express-session", () => {
  const start = async (options: Partial<session.SessionOptions>, handler: express.RequestHandler) => {
    const app = express()
    app.use(session({ secret, resave: false, saveUninitialized: false, ...options }))
    app.get("/", handler)
    app.use(((_error, _request, response, _next) => {
      if (!response.headersSent) response.status(500).send("error")
    }) satisfies express.ErrorRequestHandler)
    const server = createServer(app).listen(0, "127.0.0.1")
    servers.push(server)
    await once(server, "listening")
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  }

  it("sends a cookie without SameSite, Secure or an end, and each visitor one unless it is told not to", async () => {
    const url = await start({ saveUninitialized: true }, (_, response) => void response.send("ok"))
    const { setCookie } = await ask(url)
    assert.match(setCookie[0]!, /^connect\.sid=s%3A[^;]+; Path=\/; HttpOnly$/)
  })

  it("writes an unchanged session where `resave` is on, and touches it where that is off", async () => {
    for (const resave of [true, false]) {
      const calls: Array<string> = []
      const store = new session.MemoryStore()
      const { set, touch } = store
      store.set = (...args) => (calls.push("set"), set.apply(store, args))
      store.touch = (...args) => (calls.push("touch"), touch.apply(store, args))
      const url = await start({ resave, store }, (request, response) => {
        request.session.user = "ada"
        response.send("ok")
      })
      const { cookie } = await ask(url)
      calls.length = 0
      const again = await ask(url, cookie)
      assert.deepStrictEqual([calls, again.setCookie], [[resave ? "set" : "touch"], []])
    }
  })

  it("`regenerate` makes an empty session, `destroy` leaves the cookie, and of two requests the last one wins", async () => {
    const waiting: Array<() => void> = []
    const url = await start({}, (request, response) => {
      const { act, item } = request.query
      const { session } = request
      const done = () => void response.send(JSON.stringify(request.session?.cart ?? null))
      if (act === "regenerate") return void session.regenerate(done)
      if (act === "destroy") return void session.destroy(done)
      session.cart = [...(session.cart ?? []), String(item)]
      if (act !== "wait") return done()
      waiting.push(done)
      if (waiting.length === 2) for (const go of waiting) go()
    })
    const { cookie } = await ask(`${url}?item=a`)
    await Promise.all(["b", "c"].map((item) => ask(`${url}?act=wait&item=${item}`, cookie)))
    assert.strictEqual(JSON.parse((await ask(`${url}?item=d`, cookie)).body).length, 3)
    assert.strictEqual((await ask(`${url}?act=regenerate`, cookie)).body, "null")
    const other = await ask(`${url}?item=a`)
    const destroyed = await ask(`${url}?act=destroy`, other.cookie)
    assert.deepStrictEqual([destroyed.body, destroyed.setCookie], ["null", []])
  })

  it("sends no `secure` cookie over what it takes for http, and says nothing", async () => {
    const url = await start({ cookie: { secure: true } }, (request, response) => {
      request.session.user = "ada"
      response.send("ok")
    })
    const { setCookie, status } = await ask(url)
    assert.deepStrictEqual([status, setCookie], [200, []])
  })

  it("runs the handler without a session where the store has disconnected, and answers though a save has failed", async () => {
    const store = new session.MemoryStore()
    const url = await start({ store }, (request, response) => {
      if (request.session !== undefined) request.session.user = "ada"
      response.send(String(request.session?.user))
    })
    store.set = (_id, _session, callback) => callback?.(new Error("the store is down"))
    const unsaved = await ask(url)
    assert.deepStrictEqual([unsaved.status, unsaved.body, unsaved.setCookie.length], [200, "ada", 1])
    store.emit("disconnect")
    assert.strictEqual((await ask(url)).body, "undefined")
  })
})

describe("@fastify/session", () => {
  const start = async (options: Partial<fastifySession.FastifySessionOptions>) => {
    const app = Fastify()
    await app.register(fastifyCookie)
    await app.register(fastifySession, { secret, ...options })
    app.get<{ Querystring: { readonly act?: string } }>("/", async (request) => {
      const { act } = request.query
      if (act === "set") request.session.user = "ada"
      if (act === "keep") await request.session.regenerate(["user"])
      if (act === "destroy") await request.session.destroy()
      return request.session?.user ?? "none"
    })
    await app.listen({ port: 0, host: "127.0.0.1" })
    servers.push(app.server)
    return `http://127.0.0.1:${(app.server.address() as AddressInfo).port}/`
  }

  it("writes the session and sets the cookie with each response, and gives each visitor one", async () => {
    const store = new fastifySession.MemoryStore()
    let writes = 0
    const set = store.set.bind(store)
    store.set = (...args) => (writes++, set(...args))
    const url = await start({ cookie: { secure: false }, store })
    const { cookie, setCookie } = await ask(url)
    assert.match(setCookie[0]!, /^sessionId=[^;]+; Path=\/; HttpOnly$/)
    const again = await ask(url, cookie)
    assert.deepStrictEqual([writes, again.setCookie.length], [2, 1])
  })

  it("`regenerate` keeps the fields named, and `destroy` leaves the cookie", async () => {
    const url = await start({ cookie: { secure: false } })
    const { cookie } = await ask(`${url}?act=set`)
    const kept = await ask(`${url}?act=keep`, cookie)
    assert.deepStrictEqual([kept.body, kept.cookie === cookie], ["ada", false])
    assert.deepStrictEqual((await ask(`${url}?act=destroy`, kept.cookie)).setCookie, [])
    assert.strictEqual((await ask(url, kept.cookie)).body, "none")
  })

  it("saves nothing over what Fastify takes for http, unless `secure` is off", async () => {
    const { setCookie, status } = await ask(`${await start({})}?act=set`)
    assert.deepStrictEqual([status, setCookie], [200, []])
  })

  it("refuses a short secret", async () => {
    const failed = await start({ secret: "short" }).catch((error: Error) => error.message)
    assert.match(failed, /length 32/)
  })
})

describe("iron-session", () => {
  const options = { cookieName: "app_session", password: secret }
  const open = async (cookie = "", more: object = {}) => {
    const headers = new Headers()
    const request = new Request("https://app.test/", { headers: { cookie } })
    const session = await getIronSession<{ user?: string; text?: string }>(webCookies(request, headers), {
      ...options,
      ...more
    })
    return { session, cookies: () => headers.getSetCookie() }
  }

  it("sets a cookie for 14 days less a minute, and a new one with each `save`", async () => {
    const { cookies, session } = await open()
    session.user = "ada"
    await session.save()
    await session.save()
    const [one, two] = cookies()
    assert.match(one!, /; Max-Age=1209540; Path=\/; HttpOnly; Secure; SameSite=Lax$/)
    assert.notStrictEqual(one, two)
    const none = await open("", { cookieOptions: { maxAge: undefined } })
    await none.session.save()
    assert.notInclude(none.cookies()[0]!, "Max-Age")
  })

  it("takes no more than a cookie holds, or four", async () => {
    const { session } = await open()
    session.text = "x".repeat(4096)
    const tooBig = await session.save().catch((error: Error) => error.message)
    assert.match(String(tooBig), /too big/)
    const chunked = await open("", { chunk: true })
    chunked.session.text = session.text
    await chunked.session.save()
    assert.isAbove(chunked.cookies().length, 1)
    chunked.session.text = "x".repeat(20_000)
    assert.match(String(await chunked.session.save().catch((error: Error) => error.message)), /maximum is 4/)
  })

  it("opens with every password, seals with the highest, and takes what does not open for an empty session", async () => {
    const [old, next] = ["old".padEnd(32, "-"), "new".padEnd(32, "-")]
    const both = { 1: old, 2: next }
    assert.deepStrictEqual(await unsealData(await sealData({ a: 1 }, { password: { 1: old } }), { password: both }), {
      a: 1
    })
    assert.deepStrictEqual(await unsealData(await sealData({ a: 1 }, { password: both }), { password: { 2: next } }), {
      a: 1
    })
    assert.deepStrictEqual(Object.keys((await open("app_session=x")).session), [])
  })
})
