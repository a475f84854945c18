/** docs/security.md: its code does what it says, and so do those who have the key or the store. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, ConfigProvider, Effect, Exit, Layer, Option, Redacted } from "effect"
import { Cookies, HttpRouter, HttpServerResponse } from "effect/http"
import { SessionBackend, SessionFrontend, SessionKeys, SessionMiddleware } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import * as Token from "../../src/internal/token/token.ts"
import { layerAhead } from "../support/aheadClock.ts"
import { modulesOf } from "../support/fences.ts"
import { outcome } from "../support/outcome.ts"
import { recordOf } from "../support/records.ts"
import * as Stack from "../support/stack.ts"
import { tokensOf } from "../support/tokens.ts"
import { ada, eve, UserSession as MemberSession } from "../support/userSession.ts"

const block = modulesOf("docs/security.md")

const { UserSession } = await block("session")
const { ChangeAddress, Devices, EndSessions, endAllOf } = await block("account")
const { loggedOutThere, logInWith } = await block("federated")
const { Keys } = await block("keys")

describe("your part of chapter 7", () => {
  const minutes = 60_000

  /** A log-in with what a provider says of a user who was there so long ago. */
  const fromProvider = (hours: number): Effect.Effect<boolean, unknown, any> =>
    Effect.flatMap(Clock.currentTimeMillis, (now) =>
      logInWith({ sub: "ada", auth_time: Math.floor(now / 1000) - hours * 3600 })
    )

  /** The guide's routes in one app, at a time that the test sets, with a log-in and a new proof of it. */
  const app = async () => {
    const by = { millis: 0 }
    const session: Effect.Effect<any, never, any> = UserSession
    const post = (path: `/${string}`, run: (session: any) => Effect.Effect<any, any, any>) =>
      HttpRouter.add(
        "POST",
        path,
        Effect.map(Effect.flatMap(session, run), (answer) => HttpServerResponse.text(String(answer)))
      )
    const Open = Layer.mergeAll(
      post("/login", ({ create }) => create({ username: "ada" }, { methods: ["pwd"] })),
      post("/code", ({ reauthenticate }) => reauthenticate({ methods: ["otp"] })),
      post("/password", ({ reauthenticate }) => reauthenticate({ methods: ["pwd"] })),
      post("/from_provider", () => fromProvider(1)),
      post("/from_provider_late", () => fromProvider(8))
    ).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))
    const Closed = Layer.unwrap(
      Effect.map(UserSession.Manager as Effect.Effect<unknown, never, any>, (manager) => {
        const ending = (path: `/${string}`, end: Effect.Effect<any, any, any>) =>
          post(path, () => Effect.provideService(end, UserSession.Manager, manager))
        return Layer.mergeAll(
          ending("/disable", endAllOf("ada")),
          ending("/provider_says", loggedOutThere("ada"))
        ).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))
      })
    )
    const { dispose, handler } = HttpRouter.toWebHandler(
      Layer.mergeAll(Open, Closed, ChangeAddress, Devices, EndSessions).pipe(
        Layer.provide(SessionTest.layer(UserSession)),
        Layer.provideMerge(layerAhead(by))
      ) as unknown as Layer.Layer<never, never, HttpRouter.HttpRouter>,
      { disableLogger: true }
    )
    const browser = () => {
      let cookie = ""
      return async (method: string, path: string) => {
        const response = await handler(new Request(`https://app.test${path}`, { method, headers: { cookie } }))
        const [issued] = response.headers.getSetCookie()
        if (issued !== undefined) cookie = issued.split(";")[0]!
        return { status: response.status, text: await response.text() }
      }
    }
    return { browser, dispose, pass: (millis: number) => (by.millis += millis) }
  }
  type Browser = ReturnType<Awaited<ReturnType<typeof app>>["browser"]>
  const status = async (browser: Browser, method: string, path: string) => (await browser(method, path)).status

  it("[R53] an address is changed with both factors, each fresh, and the other sessions end", async () => {
    const { browser, dispose, pass } = await app()
    const [laptop, phone] = [browser(), browser()]
    await laptop("POST", "/login")
    await phone("POST", "/login")
    assert.strictEqual(await status(laptop, "POST", "/address"), 401)
    await laptop("POST", "/code")
    assert.strictEqual(await status(laptop, "POST", "/address"), 204)
    assert.strictEqual(await status(laptop, "GET", "/devices"), 200)
    assert.strictEqual(await status(phone, "GET", "/devices"), 401)
    pass(6 * minutes)
    await laptop("POST", "/code")
    assert.strictEqual(await status(laptop, "POST", "/address"), 401)
    await laptop("POST", "/password")
    assert.strictEqual(await status(laptop, "POST", "/address"), 204)
    await dispose()
  })

  it("[R52] [R53] sessions are shown to their user, and ended with a fresh proof, one or all", async () => {
    const { browser, dispose, pass } = await app()
    const [laptop, phone] = [browser(), browser()]
    await phone("POST", "/login")
    await laptop("POST", "/login")
    pass(6 * minutes)
    const devices = JSON.parse((await laptop("GET", "/devices")).text) as ReadonlyArray<{
      id: string
      current: boolean
    }>
    assert.deepStrictEqual(devices.map(({ current }) => current).sort(), [false, true])
    const phones = `/devices/${devices.find(({ current }) => !current)!.id}`
    assert.strictEqual(await status(laptop, "DELETE", phones), 401)
    await laptop("POST", "/password")
    assert.strictEqual(await status(laptop, "DELETE", phones), 204)
    assert.strictEqual(await status(phone, "GET", "/devices"), 401)
    assert.strictEqual(await status(laptop, "DELETE", "/devices"), 204)
    assert.strictEqual(await status(laptop, "GET", "/devices"), 401)
    await dispose()
  })

  it("[R49] an account that is disabled is out at once", async () => {
    const { browser, dispose } = await app()
    const laptop = browser()
    await laptop("POST", "/login")
    assert.strictEqual((await browser()("POST", "/disable")).text, "1")
    assert.strictEqual(await status(laptop, "GET", "/devices"), 401)
    await dispose()
  })

  it("[R43] a session of a provider's ends with the time agreed with it, or when it says so", async () => {
    const { browser, dispose, pass } = await app()
    const [laptop, late] = [browser(), browser()]
    assert.strictEqual((await late("POST", "/from_provider_late")).text, "false")
    assert.strictEqual(await status(late, "GET", "/devices"), 401)
    assert.strictEqual((await laptop("POST", "/from_provider")).text, "true")
    // They proved who they are at the provider, and not now.
    assert.strictEqual(await status(laptop, "DELETE", "/devices"), 401)
    for (let minute = 1; minute < 7 * 60; minute++) {
      pass(minutes)
      assert.strictEqual(await status(laptop, "GET", "/devices"), 200)
    }
    pass(minutes)
    assert.strictEqual(await status(laptop, "GET", "/devices"), 401)
    await laptop("POST", "/from_provider")
    await browser()("POST", "/provider_says")
    assert.strictEqual(await status(laptop, "GET", "/devices"), 401)
    await dispose()
  })
})

describe("who can do what", () => {
  it.effect("[R4] whoever has the key ends a session by its id, and opens none", () =>
    Effect.gen(function* () {
      const sessions = yield* MemberSession.Manager
      const session = yield* sessions.create(ada)
      const forged = yield* (yield* tokensOf(MemberSession)).issue({ id: session.id, secret: "s".repeat(43) })
      assert.strictEqual(yield* outcome(sessions.resolve(forged)), "SessionInvalid NotFound")
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "ok")
      yield* sessions.destroy(forged)
      assert.strictEqual(yield* outcome(sessions.resolve(session.token)), "SessionInvalid NotFound")
    }).pipe(Effect.provide(Stack.manager(MemberSession)))
  )

  it.effect("whoever writes to the store is whoever they like", () =>
    Effect.gen(function* () {
      const sessions = yield* MemberSession.Manager
      const backend = yield* SessionBackend.SessionBackend
      const own = yield* sessions.create(eve)
      const { data } = yield* recordOf(MemberSession, (yield* sessions.create(ada)).id)
      const record = yield* recordOf(MemberSession, own.id)
      yield* backend.delete(MemberSession.key, own.id)
      yield* backend.create({ ...record, principal: "ada", data })
      assert.deepStrictEqual((yield* sessions.resolve(own.token)).principal, Option.some("ada"))
    }).pipe(Effect.provide(Stack.manager(MemberSession)))
  )
})

describe("defaults", () => {
  it.effect("a session without options has NIST's times of AAL2", () =>
    Effect.gen(function* () {
      const session = yield* (yield* MemberSession.Manager).create(ada)
      const { absoluteExpiresAt, createdAt, idleExpiresAt } = yield* recordOf(MemberSession, session.id)
      assert.deepStrictEqual([idleExpiresAt - createdAt, absoluteExpiresAt - createdAt], [3_600_000, 24 * 3_600_000])
    }).pipe(Effect.provide(Stack.manager(MemberSession)))
  )

  it.effect("a cookie's name of one's own need have no prefix, and the rest stays", () =>
    Effect.gen(function* () {
      const frontend = yield* SessionFrontend.makeCookie({ name: "sid" })
      const issued = { token: Redacted.make("token"), maxAge: Option.none(), via: Option.none() }
      const { cookies } = frontend.attach(HttpServerResponse.empty(), issued)
      assert.deepStrictEqual(Cookies.toSetCookieHeaders(cookies), ["sid=token; Path=/; HttpOnly; Secure; SameSite=Lax"])
    })
  )
})

describe("key rotation", () => {
  const random = () => Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64")

  const tokensWith = (...secrets: ReadonlyArray<string>) =>
    SessionKeys.SessionKeys.use((keys) => Effect.map(keys.signers("test"), Token.make)).pipe(
      Effect.provide((Keys as Layer.Layer<SessionKeys.SessionKeys>).pipe(Layer.provideMerge(SessionTest.layerCrypto))),
      Effect.provideService(
        ConfigProvider.ConfigProvider,
        ConfigProvider.fromEnv({ env: { SESSION_SECRETS: secrets.join(",") } })
      ),
      Effect.runPromise
    )

  it("[R13] the recipe signs with the first of several secrets, and verifies with all", async () => {
    const [older, newer] = [random(), random()]
    const both = await tokensWith(newer, older)
    const issued = await Effect.runPromise(both.issue({ id: "i".repeat(22), secret: "s".repeat(43) }))
    const isGood = async (tokens: Token.Tokens) => Exit.isSuccess(await Effect.runPromiseExit(tokens.check(issued)))
    assert.deepStrictEqual(
      [await isGood(both), await isGood(await tokensWith(newer)), await isGood(await tokensWith(older))],
      [true, true, false]
    )
  })
})
