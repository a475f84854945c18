/** The recipes of docs/ways-to-log-in.md do what they say: their own code, over the web. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { HttpServerResponse } from "effect/http"
import { TestClock } from "effect/testing"
import { SessionMiddleware } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import { ahead } from "../support/aheadClock.ts"
import { authTime, fakeProvider, provided } from "../support/fakeProvider.ts"
import * as Client from "../support/client.ts"
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
  slowBackend,
  tally,
  withParts
} from "../support/recipes.ts"
import * as Server from "../support/server.ts"

const recipe = modulesOf("docs/ways-to-log-in.md")
const { UserSession } = await recipe("session")

const open = SessionMiddleware.router(UserSession).layer
const request: Effect.Effect<any, never, any> = UserSession

const Me = route(
  "GET",
  "/me",
  Effect.flatMap(UserSession.Verified as Effect.Effect<any>, ({ authenticatedAt, data }) =>
    HttpServerResponse.json({ ...data, at: authenticatedAt.epochMilliseconds })
  )
).pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer))

const Own = Layer.mergeAll(
  Me,
  logInOf(UserSession),
  route(
    "POST",
    "/visit",
    Effect.flatMap(request, ({ create }) => answering(create({ cart: ["tea"] })))
  ).pipe(Layer.provide(open)),
  route(
    "POST",
    "/sign-out-everywhere",
    Effect.flatMap(request, ({ revokeAll }) => answering(revokeAll))
  ).pipe(Layer.provide(open))
)

describe("docs/ways-to-log-in.md, remember me", () => {
  it.effect("a cookie for 30 days, or one of the browser's for a session of an idle hour", () =>
    Effect.gen(function* () {
      const { logIn, options } = yield* Effect.promise(() => recipe("remember"))
      const routes = Layer.mergeAll(
        Own,
        route("POST", "/remember", answering(logIn("ada", true))).pipe(Layer.provide(open)),
        route("POST", "/forget", answering(logIn("ada", false))).pipe(Layer.provide(open))
      )
      const newBrowser = yield* browsersOf(withParts(routes, [partsOf(UserSession, undefined, options)]))
      const [own, shared] = [newBrowser(), newBrowser()]
      yield* own.send("POST", "/remember")
      yield* shared.send("POST", "/forget")
      assert.include(own.cookies.get("__Host-session")!.attributes, `Max-Age=${30 * 24 * 3600};`)
      assert.notInclude(shared.cookies.get("__Host-session")!.attributes, "Max-Age")
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual([yield* own.status("GET", "/me"), yield* shared.status("GET", "/me")], [200, 401])
      yield* TestClock.adjust("29 days")
      assert.strictEqual(yield* own.status("GET", "/me"), 200)
    })
  )
})

describe("docs/ways-to-log-in.md, a limit that refuses", () => {
  const app = Effect.fn(function* (backend?: Parameters<typeof withParts>[2]) {
    const { logInWithinLimit } = yield* Effect.promise(() => recipe("refusing"))
    const Limited = Layer.unwrap(
      Effect.map(UserSession.Manager as Effect.Effect<any>, (manager) =>
        route("POST", "/limited", logInWithinLimit("ada").pipe(Effect.provideService(UserSession.Manager, manager)))
      )
    ).pipe(Layer.provide(open))
    return yield* browsersOf(withParts(Layer.merge(Own, Limited), [partsOf(UserSession)], backend))
  })
  const standing = (browsers: ReadonlyArray<Browser>) =>
    Effect.map(
      Effect.forEach(browsers, (browser) => browser.status("GET", "/me")),
      (statuses) => statuses.filter((status) => status === 200).length
    )

  it.effect("[R51] five log in, and a sixth once one of them has gone", () =>
    Effect.gen(function* () {
      const newBrowser = yield* app()
      const browsers = Array.from({ length: 6 }, newBrowser)
      yield* browsers[5]!.send("POST", "/visit")
      const visitor = browsers[5]!.cookies.get("__Host-session")
      const answers = yield* Effect.forEach(browsers, (browser) => browser.send("POST", "/limited"))
      assert.deepStrictEqual(tally(answers), { 303: 5, 409: 1 })
      // Who is refused still has the cart.
      assert.strictEqual(browsers[5]!.cookies.get("__Host-session"), visitor)
      // Who is logged in already takes no place more.
      assert.strictEqual(yield* browsers[4]!.status("POST", "/limited"), 303)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* browsers[5]!.status("POST", "/limited"), 303)
    })
  )

  it.live("[R51] of 20 at once no more than five stay, and they are those that were told so", () =>
    Effect.gen(function* () {
      const newBrowser = yield* app(yield* slowBackend)
      const browsers = Array.from({ length: 20 }, newBrowser)
      const answers = yield* atOnce(20, browsers, "POST", "/limited")
      const stay = answers.filter(({ status }) => status === 303).length
      assert.isAtMost(stay, 5)
      assert.strictEqual(yield* standing(browsers), stay)
    })
  )
})

describe("docs/ways-to-log-in.md, the redirect to the login page", () => {
  const app = Effect.gen(function* () {
    const { Home, LogIn } = yield* Effect.promise(() => recipe("home"))
    return yield* browsersOf(withParts(Layer.merge(Home, LogIn), [partsOf(UserSession)]))
  })

  it.effect("sends a stranger there and back, and others home", () =>
    Effect.gen(function* () {
      const browser = (yield* app)()
      const stranger = yield* browser.send("GET", "/?tab=1")
      const location = stranger.headers.get("location")!
      assert.deepStrictEqual([stranger.status, location], [302, "/login?next=%2F%3Ftab%3D1"])
      const next = new URL(location, "https://app.test").searchParams.get("next")!
      assertRedirect(yield* browser.send("POST", "/login", { form: { name: "ada", next } }), "/?tab=1")
      assert.strictEqual(yield* browser.text("/?tab=1"), "hello ada")
    })
  )

  it.effect("sends nobody to another site", () =>
    Effect.gen(function* () {
      const browser = (yield* app)()
      const hostile = [
        "https://evil.test/",
        "//evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "/\t/evil.test",
        "/.//evil.test",
        "/a/..//evil.test",
        "https:evil.test",
        "x:https://evil.test",
        "javascript:alert(1)",
        "http://["
      ]
      for (const next of hostile) {
        const { headers } = yield* browser.send("POST", "/login", { form: { name: "ada", next } })
        const location = headers.get("location")!
        // As the browser reads it.
        assert.strictEqual(new URL(location, "https://app.test").origin, "https://app.test", `${next} -> ${location}`)
      }
      const own = ["/", "/a?b=c#d", "/a/%2F/b"]
      const { ownPath } = yield* Effect.promise(() => recipe("next"))
      assert.deepStrictEqual(own.map(ownPath), own)
    })
  )
})

describe("docs/ways-to-log-in.md, an identity provider", () => {
  const assertFailed = (answer: Client.Answer) => assertRedirect(answer, "/login/failed")

  /** The provider and the app, each at an address of its own. */
  const app = Effect.fn(function* (backend?: Parameters<typeof withParts>[2]) {
    const [{ AttemptLive }, provider, { OAuth }] = yield* Effect.promise(() =>
      Promise.all(["attempt", "provider", "oauth"].map(recipe))
    )
    const providers = `http://127.0.0.1:${yield* Server.listen(fakeProvider())}`
    const there = provided(provider, { origin: providers, backChannel: providers, callback: () => "/login/callback" })
    const routes = Layer.merge(Own, (OAuth as AnyLayer).pipe(Layer.provide(there)))
    const clock = { millis: 0 }
    const port = yield* ahead(clock)(Server.listen(withParts(routes, [partsOf(UserSession), AttemptLive], backend)))
    const send: Client.Send = (method, path, { cookie, headers, ...init } = {}) =>
      Effect.flatMap(
        Effect.promise(() =>
          fetch(`http://127.0.0.1:${port}${path}`, {
            ...init,
            method,
            redirect: "manual",
            headers: { ...headers, ...(cookie ? { cookie } : undefined) }
          } as RequestInit)
        ),
        Client.answerOf
      )
    /** Begins a log-in, and answers the form that the provider's page then posts. */
    const begin = (browser: Browser, next = "/me") =>
      Effect.gen(function* () {
        const { headers, status } = yield* browser.send("GET", `/login?next=${encodeURIComponent(next)}`)
        const location = headers.get("location")!
        assert.strictEqual(status, 303)
        assert.isTrue(location.startsWith(`${providers}/authorize?`))
        const page = yield* Effect.promise(() => fetch(location).then((response) => response.text()))
        return Object.fromEntries(
          [...page.matchAll(/name="(\w+)" value="([^"]+)"/g)].map(([, name, value]) => [name!, value!])
        )
      })
    const callback = (browser: Browser, form: Record<string, string>, from = providers) =>
      browser.send("POST", "/login/callback", { from, form })
    return { newBrowser: () => browserOf(send), begin, callback, clock }
  })

  it.live("[R59] logs in, keeps the visitor's cart and not their session, and goes where they wanted to", () =>
    Effect.gen(function* () {
      const { begin, callback, newBrowser } = yield* app()
      const browser = newBrowser()
      yield* browser.send("POST", "/visit")
      const visitor = newBrowser()
      visitor.cookies.set("__Host-session", browser.cookies.get("__Host-session")!)
      const form = yield* begin(browser, "/me?a=b")
      assert.match(browser.cookies.get("__Host-log-in")!.attributes, /HttpOnly; Secure; SameSite=None/i)
      assertRedirect(yield* callback(browser, form), "/login/done")
      assert.strictEqual(yield* browser.status("GET", "/me"), 401)
      assertRedirect(yield* browser.send("GET", "/login/done"), "/me?a=b")
      assert.deepStrictEqual(JSON.parse(yield* browser.text("/me")), {
        username: "ada",
        cart: ["tea"],
        at: authTime * 1000
      })
      assert.deepStrictEqual([...browser.cookies.keys()], ["__Host-session"])
      assert.strictEqual(yield* visitor.status("GET", "/me"), 401)
      assert.notStrictEqual(browser.cookies.get("__Host-session"), visitor.cookies.get("__Host-session"))
      // What planted the visitor's cookie opens nothing.
      assert.strictEqual(yield* visitor.status("POST", "/sign-out-everywhere"), 401)
      assert.strictEqual(yield* browser.status("GET", "/me"), 200)
    })
  )

  it.live("[R59] takes a callback from its provider's page alone, in the browser that set out, and once", () =>
    Effect.gen(function* () {
      const { begin, callback, newBrowser } = yield* app(yield* slowBackend)
      const browser = newBrowser()
      const form = yield* begin(browser)
      assert.strictEqual((yield* callback(browser, form, "https://evil.test")).status, 403)
      assertFailed(yield* callback(browser, { ...form, state: "another" }))
      // An attacker's own code and state, in a browser that has not set out, and in one that has.
      assertFailed(yield* callback(newBrowser(), form))
      const victim = newBrowser()
      yield* begin(victim)
      assertFailed(yield* callback(victim, form))
      assertFailed(yield* victim.send("GET", "/login/done"))
      // Another's code, with one's own state: the verifier and the nonce are another's.
      const other = yield* begin(newBrowser())
      assertFailed(yield* callback(browser, { ...form, code: other["code"]! }))
      assertFailed(yield* callback(browser, { state: form["state"]!, error: "access_denied" }))

      assertRedirect(yield* callback(browser, form), "/login/done")
      assertFailed(yield* callback(browser, form))
      const answers = yield* atOnce(20, [browser], "GET", "/login/done")
      assert.strictEqual(answers.filter(({ headers }) => headers.get("location") === "/me").length, 1)
      assert.strictEqual(answers.filter(({ headers }) => headers.get("location") === "/login/failed").length, 19)
      assertFailed(yield* browser.send("GET", "/login/done"))
    })
  )

  it.live(
    "[R73] fails where the user's sessions were ended meanwhile, for the first of two, and after ten minutes",
    () =>
      Effect.gen(function* () {
        const { begin, callback, clock, newBrowser } = yield* app()
        const [browser, phone] = [newBrowser(), newBrowser()]
        yield* phone.send("POST", "/login/ada")
        const form = yield* begin(browser)
        yield* callback(browser, form)
        yield* phone.send("POST", "/sign-out-everywhere")
        assertFailed(yield* browser.send("GET", "/login/done"))
        assert.strictEqual(yield* browser.status("GET", "/me"), 401)

        const [first, second] = [yield* begin(browser), yield* begin(browser, "//evil.test")]
        assertFailed(yield* callback(browser, first))
        yield* callback(browser, second)
        assertRedirect(yield* browser.send("GET", "/login/done"), "/")

        const late = yield* begin(browser)
        clock.millis = 600_000
        assertFailed(yield* callback(browser, late))
      })
  )
})

describe("docs/ways-to-log-in.md, a token that logs in once", () => {
  const app = (backend?: Parameters<typeof withParts>[2]) =>
    Effect.gen(function* () {
      const { HandOffs } = yield* Effect.promise(() => recipe("enter"))
      const Sudo = route("POST", "/sudo", Effect.succeed(HttpServerResponse.text("done"))).pipe(
        Layer.provide(SessionMiddleware.routerRequired(UserSession, { fresh: { within: "5 minutes" } }).layer)
      )
      return yield* browsersOf(withParts(Layer.mergeAll(Own, Sudo, HandOffs), [partsOf(UserSession)], backend))
    })
  const handOff = (newBrowser: () => Browser) =>
    Effect.gen(function* () {
      const phone = newBrowser()
      yield* phone.send("POST", "/login/ada")
      const { text } = yield* phone.send("POST", "/hand-off")
      return { phone, token: JSON.parse(text).token as string }
    })
  const enter = (browser: Browser, token: string) => browser.send("POST", "/enter", { form: { token } })

  it.live("of 50 requests at once one is logged in, and none later", () =>
    Effect.gen(function* () {
      const newBrowser = yield* app(yield* slowBackend)
      const { token } = yield* handOff(newBrowser)
      const browsers = Array.from({ length: 50 }, newBrowser)
      assert.deepStrictEqual(tally(yield* atOnce(50, browsers, "POST", "/enter", { form: { token } })), {
        303: 1,
        401: 49
      })
      assert.strictEqual(browsers.filter(({ cookies }) => cookies.has("__Host-session")).length, 1)
      assert.strictEqual((yield* enter(newBrowser(), token)).status, 401)
    })
  )

  it.effect("is no session's token, nor is a session's token one, and it lives for a minute", () =>
    Effect.gen(function* () {
      const newBrowser = yield* app()
      const { phone, token } = yield* handOff(newBrowser)
      const stranger = newBrowser()
      stranger.cookies.set("__Host-session", { value: token, attributes: "" })
      assert.strictEqual(yield* stranger.status("GET", "/me"), 401)
      assert.strictEqual(yield* newBrowser().status("POST", "/hand-off"), 401)
      const session = phone.cookies.get("__Host-session")!.value
      assert.strictEqual((yield* enter(newBrowser(), session)).status, 401)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* enter(newBrowser(), token)).status, 401)
      assert.include(yield* newBrowser().text("/enter"), "location.hash")
    })
  )

  it.effect("is for its purpose alone", () =>
    Effect.gen(function* () {
      const { HandOffLive, handOff, redeem } = yield* Effect.promise(() => recipe("hand-off"))
      const program = Effect.gen(function* () {
        const token = yield* handOff("ada", "mail")
        assert.strictEqual(
          (yield* Effect.flip(redeem(token, "web view") as Effect.Effect<unknown, any>)).reason,
          "NotFound"
        )
        return yield* redeem(token, "mail")
      }).pipe(
        Effect.provide(
          (HandOffLive as AnyLayer).pipe(
            Layer.provide([SessionTest.layerBackend, SessionTest.layerKeys, SessionTest.layerCrypto])
          )
        )
      ) as Effect.Effect<any>
      assert.strictEqual((yield* program).username, "ada")
    })
  )

  it.effect("[R53] opens no sudo mode, and [R73] ends with the user's sessions", () =>
    Effect.gen(function* () {
      const newBrowser = yield* app()
      yield* TestClock.setTime(Date.UTC(2026, 0, 1))
      const { phone, token } = yield* handOff(newBrowser)
      assert.strictEqual(yield* phone.status("POST", "/sudo"), 200)
      yield* TestClock.adjust("6 minutes")
      assert.strictEqual(yield* phone.status("POST", "/sudo"), 401)
      const later = JSON.parse((yield* phone.send("POST", "/hand-off")).text).token
      const view = newBrowser()
      assertRedirect(yield* enter(view, later), "/")
      assert.deepStrictEqual([yield* view.status("GET", "/me"), yield* view.status("POST", "/sudo")], [200, 401])

      const last = JSON.parse((yield* phone.send("POST", "/hand-off")).text).token
      yield* TestClock.adjust("1 second")
      yield* phone.send("POST", "/sign-out-everywhere")
      const late = newBrowser()
      assert.strictEqual((yield* enter(late, last)).status, 401)
      assert.isFalse(late.cookies.has("__Host-session"))
      assert.strictEqual((yield* enter(newBrowser(), token)).status, 401)
    })
  )

  it.effect("[R80] logs in once at most where the store's replies are lost", () =>
    Effect.gen(function* () {
      const faults = yield* SessionTest.BackendFaults
      const newBrowser = yield* app(SessionTest.layerBackend)
      const { token } = yield* handOff(newBrowser)
      yield* faults.inject({ operation: "delete", outcome: "unknown" })
      const first = yield* enter(newBrowser(), token)
      assert.include([401, 503], first.status)
      yield* faults.heal
      assert.strictEqual((yield* enter(newBrowser(), token)).status, 401)
    }).pipe(Effect.provide(SessionTest.layerBackend))
  )
})

describe("docs/ways-to-log-in.md, a mobile client", () => {
  it.effect("is handed a token, and no cookie", () =>
    Effect.gen(function* () {
      const { Frontend, Token } = yield* Effect.promise(() => recipe("token"))
      const newBrowser = yield* browsersOf(withParts(Layer.merge(Own, Token), [partsOf(UserSession, Frontend)]))
      const answer = yield* newBrowser().send("POST", "/token")
      assert.deepStrictEqual(answer.setCookie, [])
      const authorization = `Bearer ${JSON.parse(answer.text).token}`
      const headers = { authorization }
      assert.strictEqual(JSON.parse((yield* newBrowser().send("GET", "/me", { headers })).text).username, "ada")
      const from = "https://evil.test"
      assert.strictEqual(yield* newBrowser().status("POST", "/sign-out-everywhere", { headers, from }), 200)
      assert.strictEqual(yield* newBrowser().status("GET", "/me", { headers }), 401)
    })
  )
})
