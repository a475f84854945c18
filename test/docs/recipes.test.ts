/** The recipes of docs/recipes.md do what they say: their own code, over the web. */
import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Layer, Schema } from "effect"
import { HttpRouter, HttpServer, HttpServerResponse } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup, HttpApiSecurity } from "effect/http-api"
import { TestClock } from "effect/testing"
import { SessionFrontend, SessionHttpApi, SessionHttpApiMiddleware, SessionMiddleware } from "effect-sessions"
import { modulesOf } from "../support/fences.ts"
import {
  answering,
  type AnyLayer,
  assertRedirect,
  atOnce,
  type Browser,
  browserOf,
  browsersOf,
  logInOf,
  partsOf,
  route,
  sharedBackend,
  slowBackend,
  tally,
  withParts
} from "../support/recipes.ts"
import * as Client from "../support/client.ts"
import { capturing } from "../support/logs.ts"

const recipe = modulesOf("docs/recipes.md")
const { UserSession } = await recipe("session")
const { AdminSession } = await recipe("admin")

const open = SessionMiddleware.router(UserSession).layer
const guard = SessionMiddleware.routerRequired(UserSession).layer
const request: Effect.Effect<any, never, any> = UserSession

const LogIn = logInOf(UserSession)
const LogOut = route(
  "POST",
  "/logout",
  Effect.flatMap(request, ({ destroy }) => answering(destroy))
).pipe(Layer.provide(open))
const WhoAmI = route(
  "GET",
  "/whoami",
  Effect.map(UserSession.Verified as Effect.Effect<any, never, any>, ({ data }) =>
    HttpServerResponse.text(`${data.username}`)
  )
).pipe(Layer.provide(guard))

const adminParts = partsOf(AdminSession, SessionFrontend.layerCookie({ name: "__Host-admin", sameSite: "strict" }))
const AdminLogIn = Layer.merge(
  route(
    "POST",
    "/admin",
    Effect.gen(function* () {
      yield* (yield* AdminSession as Effect.Effect<any>).create({ email: "root@app.test" })
      return HttpServerResponse.empty()
    })
  ),
  route(
    "POST",
    "/admin/logout",
    Effect.flatMap(AdminSession as Effect.Effect<any>, ({ destroy }) => answering(destroy))
  )
).pipe(Layer.provide(SessionMiddleware.router(AdminSession).layer))

const loggedIn = (browser: Browser, name = "ada") => Effect.as(browser.send("POST", `/login/${name}`), browser)

describe("docs/recipes.md, a message shown once", () => {
  const app = Effect.fn(function* (backend?: Parameters<typeof withParts>[2]) {
    const { redirectWith, takeFlash } = yield* Effect.promise(() => recipe("flash"))
    const routes = Layer.mergeAll(
      LogIn,
      route("POST", "/save", redirectWith("/page", "saved")).pipe(Layer.provide(open)),
      route(
        "POST",
        "/cart",
        Effect.flatMap(request, ({ update }) =>
          Effect.as(
            update((data: any) => data),
            HttpServerResponse.empty()
          )
        )
      ).pipe(Layer.provide(open)),
      route(
        "GET",
        "/page",
        Effect.map(takeFlash as Effect.Effect<string | undefined>, (text) => HttpServerResponse.text(text ?? "-"))
      ).pipe(Layer.provide(open))
    ).pipe(HttpRouter.provideRequest(NodeCrypto.layer))
    return yield* browsersOf(withParts(routes, [partsOf(UserSession)], backend))
  })
  const save = (browser: Browser) =>
    Effect.map(browser.send("POST", "/save"), ({ headers, status }) => {
      assert.strictEqual(status, 303)
      return headers.get("location")!
    })

  it.effect("a user and a visitor see it once, on the page it is for", () =>
    Effect.gen(function* () {
      const newBrowser = yield* app()
      for (const browser of [newBrowser(), yield* loggedIn(newBrowser())]) {
        const page = yield* save(browser)
        const other = yield* save(browser)
        assert.strictEqual(yield* browser.text("/page"), "-")
        assert.strictEqual(yield* newBrowser().text(page), "-")
        assert.deepStrictEqual([yield* browser.text(page), yield* browser.text(page)], ["saved", "-"])
        assert.strictEqual(yield* browser.text(other), "saved")
      }
      const late = newBrowser()
      late.cookies.set("__Host-session", { value: "ended", attributes: "" })
      assert.strictEqual(yield* late.text(yield* save(late)), "-")
    })
  )

  it.live("of 50 requests at once one shows it, whatever else changes the session", () =>
    Effect.gen(function* () {
      const browser = yield* loggedIn((yield* app(yield* slowBackend))())
      const page = yield* save(browser)
      const [shown] = yield* Effect.all([atOnce(50, [browser], "GET", page), atOnce(10, [browser], "POST", "/save")], {
        concurrency: "unbounded"
      })
      assert.strictEqual(shown.filter(({ text }) => text === "saved").length, 1)
      assert.strictEqual(shown.filter(({ text }) => text === "-").length, 49)
    })
  )

  it.effect("five wait, and no more", () =>
    Effect.gen(function* () {
      const browser = yield* loggedIn((yield* app())())
      const pages = yield* Effect.forEach(Array.from({ length: 6 }), () => save(browser))
      assert.deepStrictEqual(yield* Effect.forEach(pages, (page) => browser.text(page)), [
        "-",
        "saved",
        "saved",
        "saved",
        "saved",
        "saved"
      ])
    })
  )
})

describe("docs/recipes.md, an administrator as a user", () => {
  const app = Effect.gen(function* () {
    const { ActorStands, Impersonation, InPerson, logActor } = yield* Effect.promise(() => recipe("impersonate"))
    const { SignOut } = yield* Effect.promise(() => recipe("sign-out"))
    const user = SessionMiddleware.layer(UserSession, { onEvent: logActor }).pipe(
      Layer.provide([SessionFrontend.layerCookie(), ActorStands as AnyLayer])
    )
    const sudo = SessionMiddleware.routerRequired(UserSession, { fresh: { within: "5 minutes" } }).layer
    const done = HttpServerResponse.text("done")
    const list = Effect.flatMap(request, ({ list }) =>
      Effect.flatMap(list as Effect.Effect<any>, (sessions) =>
        HttpServerResponse.json(sessions.map(({ client }: any) => client.label ?? "-").sort())
      )
    )
    const routes = Layer.mergeAll(
      LogIn,
      AdminLogIn,
      WhoAmI,
      Impersonation,
      SignOut,
      route("GET", "/devices", list).pipe(Layer.provide(guard)),
      route("POST", "/delete-account", Effect.succeed(done)).pipe(Layer.provide(sudo)),
      route("POST", "/step-up", Effect.succeed(done)).pipe(Layer.provide(InPerson.layer))
    )
    const newBrowser = yield* browsersOf(withParts(routes, [Layer.provideMerge(user, adminParts)]))
    return { newBrowser }
  })
  const administrator = (newBrowser: () => Browser) =>
    Effect.tap(Effect.sync(newBrowser), (it) => it.send("POST", "/admin"))
  // At the time that TestClock begins with, nobody's proof is too old.
  const setClock = TestClock.setTime(Date.UTC(2026, 0, 1))

  it.effect("acts as the user, visibly and for a quarter of an hour, and gets back to their own session", () => {
    const lines: Array<string> = []
    return Effect.gen(function* () {
      yield* setClock
      const { newBrowser } = yield* app
      const ada = yield* loggedIn(newBrowser())
      const admin = yield* administrator(newBrowser)
      const before = admin.cookies.get("__Host-admin")!
      assert.notInclude(lines.join(), "acts as")
      assertRedirect(yield* admin.send("POST", "/users/ada/impersonate"), "/")
      assert.strictEqual(yield* admin.text("/whoami"), "ada")
      assert.notInclude(admin.cookies.get("__Host-session")!.attributes, "Max-Age")
      assert.include(lines.join(), "root@app.test acts as ada")
      assert.deepStrictEqual(JSON.parse(yield* ada.text("/devices")), ["-", "support: root@app.test"])

      assertRedirect(yield* admin.send("POST", "/impersonation/end"), "/admin")
      assert.strictEqual(yield* admin.status("GET", "/whoami"), 401)
      assert.deepStrictEqual(admin.cookies.get("__Host-admin"), before)
      assertRedirect(yield* admin.send("POST", "/users/ada/impersonate"), "/")

      for (let minutes = 0; minutes < 14; minutes += 7) {
        yield* TestClock.adjust("7 minutes")
        assert.strictEqual(yield* admin.status("GET", "/whoami"), 200)
      }
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* admin.status("GET", "/whoami"), 401)
      assert.strictEqual(yield* ada.status("GET", "/whoami"), 200)
    }).pipe(Effect.provide(capturing(lines)))
  })

  it.effect("takes an administrator, whose proof is fresh", () =>
    Effect.gen(function* () {
      yield* setClock
      const { newBrowser } = yield* app
      const eve = yield* loggedIn(newBrowser(), "eve")
      assert.strictEqual(yield* eve.status("POST", "/users/ada/impersonate"), 401)
      const admin = yield* administrator(newBrowser)
      yield* TestClock.adjust("16 minutes")
      assert.strictEqual(yield* admin.status("POST", "/users/ada/impersonate"), 401)
    })
  )

  it.effect("opens nothing that asks for the user in person, and no second one from within", () =>
    Effect.gen(function* () {
      yield* setClock
      const { newBrowser } = yield* app
      const ada = yield* loggedIn(newBrowser())
      assert.strictEqual(yield* ada.status("POST", "/delete-account"), 200)
      assert.strictEqual(yield* ada.status("POST", "/step-up"), 200)
      const admin = yield* administrator(newBrowser)
      yield* admin.send("POST", "/users/ada/impersonate")
      const refused = yield* admin.send("POST", "/delete-account")
      assert.deepStrictEqual(
        [refused.status, refused.headers.get("www-authenticate")?.split(",")[0]],
        [401, `Session error="insufficient_user_authentication"`]
      )
      assert.strictEqual(yield* admin.status("POST", "/step-up"), 403)
      assert.strictEqual(yield* admin.status("POST", "/users/bob/impersonate"), 409)
      assert.strictEqual(yield* admin.text("/whoami"), "ada")
    })
  )

  it.effect("ends with the user's other sessions, and with the administrator's own", () =>
    Effect.gen(function* () {
      yield* setClock
      const { newBrowser } = yield* app
      const ada = yield* loggedIn(newBrowser())
      const admin = yield* administrator(newBrowser)
      yield* admin.send("POST", "/users/ada/impersonate")
      assert.strictEqual((yield* ada.send("POST", "/sign-out-elsewhere")).text, "ended 1 other sessions")
      assert.strictEqual(yield* admin.status("GET", "/whoami"), 401)

      yield* admin.send("POST", "/users/ada/impersonate")
      assert.strictEqual(yield* admin.status("GET", "/whoami"), 200)
      yield* admin.send("POST", "/admin/logout")
      assert.strictEqual(yield* admin.status("GET", "/whoami"), 403)
    })
  )
})

describe("docs/recipes.md, sign out everywhere, and several sessions", () => {
  const app = Effect.gen(function* () {
    const { SignOut } = yield* Effect.promise(() => recipe("sign-out"))
    const { LockOut } = yield* Effect.promise(() => recipe("lock-out"))
    const routes = Layer.mergeAll(LogIn, WhoAmI, AdminLogIn, SignOut, LockOut)
    return yield* browsersOf(withParts(routes, [partsOf(UserSession), adminParts]))
  })

  it.effect("[R49] a user ends their other sessions, and all", () =>
    Effect.gen(function* () {
      const newBrowser = yield* app
      const [laptop, tablet, bob] = [
        yield* loggedIn(newBrowser()),
        yield* loggedIn(newBrowser()),
        yield* loggedIn(newBrowser(), "bob")
      ]
      const thief = newBrowser()
      thief.cookies.set("__Host-session", laptop.cookies.get("__Host-session")!)
      assert.strictEqual((yield* laptop.send("POST", "/sign-out-elsewhere")).text, "ended 1 other sessions")
      assert.strictEqual(yield* tablet.status("GET", "/whoami"), 401)
      // The token was replaced, since a thief may hold a copy.
      assert.strictEqual(yield* thief.status("GET", "/whoami"), 401)
      assert.strictEqual(yield* laptop.status("GET", "/whoami"), 200)
      assert.strictEqual((yield* laptop.send("POST", "/sign-out-everywhere")).text, "ended 1 sessions")
      assert.strictEqual(yield* laptop.status("GET", "/whoami"), 401)
      assert.strictEqual(yield* bob.status("GET", "/whoami"), 200)
    })
  )

  it.effect("[R15] an administrator ends a user's sessions, and no user does", () =>
    Effect.gen(function* () {
      const newBrowser = yield* app
      const ada = yield* loggedIn(newBrowser())
      const pretender = newBrowser()
      pretender.cookies.set("__Host-admin", ada.cookies.get("__Host-session")!)
      for (const stranger of [newBrowser(), ada, pretender]) {
        assert.strictEqual(yield* stranger.status("DELETE", "/users/ada/sessions"), 401)
      }
      const admin = newBrowser()
      yield* admin.send("POST", "/admin")
      assert.strictEqual((yield* admin.send("DELETE", "/users/ada/sessions")).text, "ended 1 sessions")
      assert.strictEqual(yield* ada.status("GET", "/whoami"), 401)
    })
  )
})

describe("docs/recipes.md, an error of one's own", () => {
  it.effect("is answered with its status and what it holds, from the next request on", () =>
    Effect.gen(function* () {
      const { MemberSession, MemberVerifier, Users } = yield* Effect.promise(() => recipe("member"))
      const suspended = new Map<string, string>()
      const users = Layer.succeed(Users, { suspendedUntil: (name: string) => Effect.sync(() => suspended.get(name)) })
      const live = SessionMiddleware.layer(MemberSession).pipe(
        Layer.provide([SessionFrontend.layerCookie(), (MemberVerifier as AnyLayer).pipe(Layer.provide(users))])
      )
      const routes = Layer.merge(
        route(
          "POST",
          "/login",
          Effect.flatMap(MemberSession as Effect.Effect<any>, ({ create }) =>
            Effect.as(create({ username: "ada" }), HttpServerResponse.empty())
          )
        ).pipe(Layer.provide(SessionMiddleware.router(MemberSession).layer)),
        route(
          "GET",
          "/whoami",
          Effect.map(MemberSession.Verified as Effect.Effect<any>, ({ data }) => HttpServerResponse.text(data.username))
        ).pipe(
          Layer.provide(
            SessionMiddleware.routerRequired(MemberSession, {
              onFailure: (error: any) =>
                error._tag === "Suspended"
                  ? Effect.succeed(HttpServerResponse.text(error.until, { status: 403 }))
                  : Effect.fail(error)
            }).layer
          )
        )
      )
      const browser = (yield* browsersOf(withParts(routes, [live])))()
      yield* browser.send("POST", "/login")
      assert.strictEqual(yield* browser.text("/whoami"), "ada")
      suspended.set("ada", "Monday")
      const refused = yield* browser.send("GET", "/whoami")
      assert.deepStrictEqual([refused.status, refused.text], [403, "Monday"])
      suspended.clear()
      assert.strictEqual(yield* browser.text("/whoami"), "ada")
    })
  )
})

describe("docs/recipes.md, another name for the cookie", () => {
  /** Servers of each deploy on one store, and a browser that may ask any of them. */
  const deploys = (options: Parameters<typeof SessionMiddleware.layer>[1] = {}) =>
    Effect.gen(function* () {
      const { Reading, Renamed, Writing } = yield* Effect.promise(() => recipe("renamed"))
      const backend = sharedBackend()
      const serve = (frontend: AnyLayer) =>
        Client.serve(
          withParts(Layer.mergeAll(LogIn, LogOut, WhoAmI), [partsOf(UserSession, frontend, options)], backend)
        )
      const servers = {
        old: yield* serve(SessionFrontend.layerCookie({ name: "sid" })),
        reading: yield* serve(Reading),
        writing: yield* serve(Writing),
        renamed: yield* serve(Renamed)
      }
      const browser = (cookies: Browser["cookies"] = new Map()) => {
        const at = (server: keyof typeof servers): Browser => {
          const one = browserOf(servers[server])
          return {
            ...one,
            send: (...args) =>
              Effect.suspend(() => {
                one.cookies.clear()
                for (const [name, cookie] of cookies) one.cookies.set(name, cookie)
                return Effect.tap(one.send(...args), () =>
                  Effect.sync(() => {
                    cookies.clear()
                    for (const [name, cookie] of one.cookies) cookies.set(name, cookie)
                  })
                )
              })
          }
        }
        const status = (server: keyof typeof servers, method: string, path: string) =>
          Effect.map(at(server).send(method, path), (answer) => answer.status)
        return { status, names: () => [...cookies.keys()].sort(), cookies }
      }
      return browser
    })

  it.effect("servers of two deploys after each other know a user whoever has logged them in", () =>
    Effect.gen(function* () {
      const newBrowser = yield* deploys()
      const steps = [
        ["old", "reading"],
        ["reading", "writing"]
      ] as const
      for (const [before, after] of steps) {
        for (const [first, second] of [
          [before, after],
          [after, before]
        ] as const) {
          const browser = newBrowser()
          yield* browser.status(first, "POST", "/login/ada")
          assert.strictEqual(yield* browser.status(second, "GET", "/whoami"), 200, `${first}, then ${second}`)
          // Logged in again at the other, with the cookie of the first.
          yield* browser.status(second, "POST", "/login/ada")
          assert.strictEqual(yield* browser.status(first, "GET", "/whoami"), 200, `${second}, then ${first}`)
          const stolen = newBrowser(new Map(browser.cookies))
          yield* browser.status(second, "POST", "/logout")
          assert.deepStrictEqual(browser.names(), [])
          assert.strictEqual(yield* stolen.status(first, "GET", "/whoami"), 401)
        }
      }
      const browser = newBrowser()
      yield* browser.status("writing", "POST", "/login/ada")
      assert.strictEqual(yield* browser.status("renamed", "GET", "/whoami"), 200)
      const late = newBrowser()
      yield* late.status("reading", "POST", "/login/ada")
      assert.strictEqual(yield* late.status("renamed", "GET", "/whoami"), 401)
    })
  )

  it.effect("an HttpApi that declares one of the names takes both, and after the last step only the new one", () =>
    Effect.gen(function* () {
      const { Renamed, Writing } = yield* Effect.promise(() => recipe("renamed"))
      const served = (key: string, frontend: AnyLayer) => {
        const Required: any = SessionHttpApiMiddleware.Required()("app/Required", UserSession, {
          security: { session: HttpApiSecurity.apiKey({ in: "cookie", key }) }
        })
        const Api = HttpApi.make("api").add(
          HttpApiGroup.make("account").add(
            HttpApiEndpoint.get("whoami", "/api/whoami", { success: Schema.String }).middleware(Required)
          )
        )
        const Served = HttpApiBuilder.layer(Api).pipe(
          Layer.provide(
            HttpApiBuilder.group(Api, "account", (handlers) => handlers.handle("whoami", () => Effect.succeed("in")))
          ),
          Layer.provide(SessionHttpApi.layer(Required, UserSession)),
          Layer.provide(HttpServer.layerServices)
        ) as AnyLayer
        return browsersOf(withParts(Layer.merge(LogIn, Served), [partsOf(UserSession, frontend)]))
      }
      for (const [key, frontend, old] of [
        ["sid", Writing, 200],
        ["__Host-session", Writing, 200],
        ["__Host-session", Renamed, 401]
      ] as const) {
        const newBrowser = yield* served(key, frontend)
        const browser = yield* loggedIn(newBrowser())
        assert.strictEqual(yield* browser.status("GET", "/api/whoami"), 200)
        const before = newBrowser()
        before.cookies.set("sid", browser.cookies.get("__Host-session")!)
        assert.strictEqual(yield* before.status("GET", "/api/whoami"), old)
      }
      const refused = yield* Effect.flip(Effect.sandbox(served("sid", Renamed)))
      assert.include(Cause.pretty(refused), "sid")
    })
  )

  it.effect("a session of before goes on under the old name, and a log-in takes that off", () =>
    Effect.gen(function* () {
      const browser = (yield* deploys())()
      yield* browser.status("old", "POST", "/login/ada")
      assert.strictEqual(yield* browser.status("writing", "GET", "/whoami"), 200)
      assert.deepStrictEqual(browser.names(), ["sid"])
      yield* browser.status("writing", "POST", "/login/ada")
      assert.deepStrictEqual(browser.names(), ["__Host-session"])
    })
  )

  it.effect("[R55] a new token on a schedule takes the old name off, and is no stolen copy", () =>
    Effect.gen(function* () {
      const browser = (yield* deploys({ rotateEvery: "10 minutes", absoluteTimeout: "12 hours" }))()
      yield* browser.status("old", "POST", "/login/ada")
      for (let i = 0; i < 5; i++) {
        yield* TestClock.adjust("11 minutes")
        assert.strictEqual(yield* browser.status("writing", "GET", "/whoami"), 200)
        assert.deepStrictEqual(browser.names(), ["__Host-session"])
      }
    })
  )
})

describe("docs/recipes.md, another identifier", () => {
  it.effect(
    "takes over a session of the old one, which requests at once share, with its proof and what is left of its time",
    () =>
      Effect.gen(function* () {
        const { OldSession, UserSessionLive } = yield* Effect.promise(() => recipe("identifier"))
        const began = Date.UTC(2026, 0, 1)
        yield* TestClock.setTime(began)
        const backend = sharedBackend()
        const OldLogIn = route(
          "POST",
          "/login",
          Effect.flatMap(OldSession as Effect.Effect<any>, ({ create }) =>
            Effect.as(create({ username: "ada" }, { cookie: "browser" }), HttpServerResponse.empty())
          )
        ).pipe(Layer.provide(SessionMiddleware.router(OldSession).layer))
        const Times = route(
          "GET",
          "/times",
          Effect.flatMap(UserSession.Verified as Effect.Effect<any>, (session) =>
            HttpServerResponse.json([
              session.authenticatedAt.epochMilliseconds,
              session.absoluteExpiresAt.epochMilliseconds,
              Duration.toMillis(session.idleTimeout)
            ])
          )
        ).pipe(Layer.provide(guard))
        const before = browserOf(yield* Client.serve(withParts(OldLogIn, [partsOf(OldSession)], backend)))
        const live = (UserSessionLive as AnyLayer).pipe(Layer.provide(SessionFrontend.layerCookie()))
        const newBrowser = yield* browsersOf(withParts(Layer.mergeAll(WhoAmI, LogOut, Times), [live], backend))
        yield* before.send("POST", "/login")
        const cookie = before.cookies.get("__Host-session")!
        yield* TestClock.adjust("30 minutes")

        const devices = Array.from({ length: 5 }, newBrowser)
        for (const device of devices) device.cookies.set("__Host-session", cookie)
        const answers = yield* atOnce(5, devices, "GET", "/whoami")
        assert.deepStrictEqual(tally(answers), { 200: 5 })
        const device = devices[0]!
        const issued = new Set(devices.map(({ cookies }) => cookies.get("__Host-session")!.value))
        assert.strictEqual(issued.size, 1)
        assert.isFalse(issued.has(cookie.value))
        // The answer was lost: it comes again.
        const again = newBrowser()
        again.cookies.set("__Host-session", cookie)
        assert.strictEqual(yield* again.status("GET", "/whoami"), 200)
        assert.isTrue(issued.has(again.cookies.get("__Host-session")!.value))
        assert.notInclude(device.cookies.get("__Host-session")!.attributes, "Max-Age")
        const hour = 3_600_000
        assert.deepStrictEqual(JSON.parse(yield* device.text("/times")), [began, began + 24 * hour, hour])

        yield* device.send("POST", "/logout")
        device.cookies.set("__Host-session", cookie)
        assert.strictEqual(yield* device.status("GET", "/whoami"), 401)
      })
  )
})
