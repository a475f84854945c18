/** The recipes of docs/log-in.md do what they say: their own code, in one app on memory, over the web. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { SessionBackendMemory, SessionFrontend, SessionMiddleware } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import { modulesOf } from "../support/fences.ts"

const recipe = modulesOf("docs/log-in.md")

const { UserSession } = await recipe("session")
const { Users } = await recipe("users")
const { addToCart, startAfresh } = await recipe("cart")
const { logIn } = await recipe("log-in")
const { enterCode, enterPassword } = await recipe("second-factor")
const { stepUp, DeleteAccount } = await recipe("sudo")
const { changePassword } = await recipe("password")
const { Devices } = await recipe("devices")
const { demote } = await recipe("role")
const { Hello } = await recipe("current-user")
const { NotBefore } = await recipe("not-before")

const post = (path: string, effect: Effect.Effect<unknown, unknown, any>) =>
  HttpRouter.add("POST", path as `/${string}`, Effect.as(effect, HttpServerResponse.empty()))

/** Where the user's row says when the password changed. */
const notBefore = { at: 0 }

const UsersTest = Layer.succeed(Users, {
  checkPassword: () => Effect.void,
  checkCode: () => Effect.void,
  setPassword: () => Effect.void,
  setRole: () => Effect.void,
  notBefore: () => Effect.sync(() => notBefore.at)
})

/** All recipes' routes, over this layer of the session. */
const app = async (live: Layer.Layer<any, any, any>) => {
  const session: Effect.Effect<any, unknown, any> = UserSession
  const routes = Layer.mergeAll(
    post("/visit", addToCart("tea")),
    post("/start-afresh", startAfresh),
    post("/enter_password", enterPassword("ada", Redacted.make("password"))),
    post("/enter_code", enterCode("123456")),
    post("/login", logIn("ada", Redacted.make("password"))),
    post("/log_in_as_eve", logIn("eve", Redacted.make("password"))),
    post("/step-up", stepUp("123456")),
    post("/password", changePassword("ada", Redacted.make("password"), Redacted.make("another"))),
    Layer.unwrap(
      Effect.map(UserSession.Manager as Effect.Effect<unknown, never, any>, (manager) =>
        post("/demote", demote("ada").pipe(Effect.provideService(UserSession.Manager, manager)))
      )
    ),
    HttpRouter.add(
      "GET",
      "/me",
      Effect.flatMap(
        Effect.flatMap(session, ({ get }) => get as Effect.Effect<any>),
        ({ data, factors }) => HttpServerResponse.json({ data, methods: factors.map(({ method }: any) => method) })
      )
    )
  ).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))
  const parts: [Layer.Layer<any, any, any>, ...Array<Layer.Layer<any, any, any>>] = [
    SessionFrontend.layerCookie(),
    SessionBackendMemory.layer,
    SessionTest.layerKeys,
    SessionTest.layerCrypto,
    NotBefore.pipe(Layer.provide(UsersTest))
  ]
  const bound = live.pipe(Layer.provide(parts))
  const { handler } = HttpRouter.toWebHandler(
    Layer.mergeAll(routes, DeleteAccount, Devices, Hello).pipe(
      HttpRouter.provideRequest(UsersTest),
      Layer.provide(bound)
    ) as unknown as Layer.Layer<never, never, HttpRouter.HttpRouter>,
    { disableLogger: true }
  )
  const jar = (cookie = "") => {
    const send = async (method: string, path: string, init: RequestInit = {}) => {
      const headers = { host: "app.test", cookie, ...init.headers }
      const response = await handler(new Request(`https://app.test${path}`, { method, ...init, headers }))
      const [issued] = response.headers.getSetCookie()
      if (issued !== undefined) cookie = issued.split(";")[0]!
      const text = await response.text()
      return { status: response.status, text, challenge: response.headers.get("www-authenticate") }
    }
    return { send, me: async () => JSON.parse((await send("GET", "/me")).text), cookie: () => cookie }
  }
  return { jar }
}

const plain = () => app(SessionMiddleware.layer(UserSession))

describe("docs/log-in.md", () => {
  it("[R46] a guest's cart survives the log-in, and the visitor's token does not", async () => {
    const browser = (await plain()).jar()
    await browser.send("POST", "/visit")
    await browser.send("POST", "/visit")
    const visitor = browser.cookie()
    await browser.send("POST", "/login")
    assert.notStrictEqual(browser.cookie(), visitor)
    assert.deepStrictEqual(await browser.me(), { data: { username: "ada", cart: ["tea", "tea"] }, methods: ["pwd"] })
    assert.strictEqual((await (await plain()).jar(visitor).send("GET", "/hello")).status, 401)
  })

  it("a visitor whose session is over starts afresh: no 401 takes the cookie away", async () => {
    const { jar } = await plain()
    const browser = jar()
    await browser.send("POST", "/visit")
    const cookie = browser.cookie()
    await browser.send("POST", "/start-afresh")
    const later = jar(cookie)
    for (const _ of ["sent", "sent again"]) assert.strictEqual((await later.send("POST", "/visit")).status, 401)
    assert.strictEqual(later.cookie(), cookie)
    assert.strictEqual((await later.send("POST", "/start-afresh")).status, 204)
    assert.strictEqual((await later.send("POST", "/visit")).status, 204)
    assert.deepStrictEqual((await later.me()).data, { cart: ["tea"] })
  })

  it("[R53] sudo mode asks for a fresh proof, and gets it by a step up", async () => {
    const browser = (await plain()).jar()
    await browser.send("POST", "/login")
    const refused = await browser.send("POST", "/delete-account")
    assert.deepStrictEqual(
      [refused.status, refused.challenge],
      [401, `Session error="insufficient_user_authentication", max_age=300`]
    )
    await browser.send("POST", "/step-up")
    assert.strictEqual((await browser.send("POST", "/delete-account")).text, "gone: ada")
    assert.deepStrictEqual((await browser.me()).methods, ["pwd", "otp"])
  })

  it("[R49] a password change ends the other sessions, and keeps this one", async () => {
    const { jar } = await plain()
    const [laptop, phone] = [jar(), jar()]
    await laptop.send("POST", "/login")
    await phone.send("POST", "/login")
    assert.strictEqual((await laptop.send("POST", "/password")).status, 204)
    assert.strictEqual((await laptop.send("GET", "/hello")).text, "hello ada")
    assert.strictEqual((await phone.send("GET", "/hello")).status, 401)
  })

  it("[R50] a row that says when the password changed voids older sessions", async () => {
    const browser = (await plain()).jar()
    await browser.send("POST", "/login")
    notBefore.at = Date.now() + 60_000
    assert.strictEqual((await browser.send("GET", "/hello")).status, 403)
    notBefore.at = 0
    assert.strictEqual((await browser.send("GET", "/hello")).status, 200)
  })

  it("[R51] a sixth device ends the one seen least recently", async () => {
    const { UserSessionLive } = await recipe("limited")
    const { jar } = await app(UserSessionLive)
    const devices = Array.from({ length: 6 }, () => jar())
    for (const device of devices) {
      await device.send("POST", "/login")
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
    const answers = await Promise.all(devices.map((device) => device.send("GET", "/hello")))
    assert.deepStrictEqual(
      answers.map(({ status }) => status),
      [401, 200, 200, 200, 200, 200]
    )
  })

  it("devices have a user agent, and a name that the user gives", async () => {
    const { UserSessionLive } = await recipe("devices")
    const { jar } = await app(UserSessionLive)
    const [browser, eve] = [jar(), jar()]
    await browser.send("POST", "/login", { headers: { "user-agent": "test/1" } })
    await eve.send("POST", "/log_in_as_eve")
    const headers = { "content-type": "application/json" }
    await browser.send("POST", "/devices/name", { headers, body: JSON.stringify({ label: "my laptop" }) })
    const [device] = JSON.parse((await browser.send("GET", "/devices")).text)
    assert.deepStrictEqual(device.client, { label: "my laptop", userAgent: "test/1" })
    assert.deepStrictEqual([device.current, device.factors[0].method], [true, "pwd"])
    assert.strictEqual((await eve.send("DELETE", `/devices/${device.id}`)).status, 404)
    assert.strictEqual((await browser.send("DELETE", `/devices/${device.id}`)).status, 204)
    assert.strictEqual((await browser.send("GET", "/hello")).status, 401)
  })

  it("a role is taken away in all sessions", async () => {
    const { jar } = await plain()
    const [laptop, phone] = [jar(), jar()]
    await laptop.send("POST", "/login")
    await phone.send("POST", "/login")
    await laptop.send("POST", "/demote")
    assert.deepStrictEqual([(await laptop.me()).data.role, (await phone.me()).data.role], ["member", "member"])
  })

  it("tokens are made anew on a schedule, by a layer that builds", async () => {
    const { UserSessionLive } = await recipe("rotating")
    const browser = (await app(UserSessionLive)).jar()
    await browser.send("POST", "/login")
    assert.strictEqual((await browser.send("GET", "/hello")).text, "hello ada")
  })

  it("[R54] whoever has not entered the code yet passes no guard, and keeps the cart on the way", async () => {
    const browser = (await plain()).jar()
    await browser.send("POST", "/visit")
    await browser.send("POST", "/enter_password")
    assert.strictEqual((await browser.send("GET", "/hello")).status, 401)
    await browser.send("POST", "/enter_code")
    assert.strictEqual((await browser.send("GET", "/hello")).text, "hello ada")
    assert.deepStrictEqual(await browser.me(), { data: { username: "ada", cart: ["tea"] }, methods: ["pwd", "otp"] })
  })

  it("the versions of data are a class that builds", async () => {
    const { MemberSession } = await recipe("versions")
    assert.strictEqual(MemberSession.dataVersion, 2)
  })
})
