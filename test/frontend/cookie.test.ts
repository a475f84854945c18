/** The cookie: its name, its attributes, its life. */
import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Duration, Effect, Layer, Result } from "effect"
import { SessionFrontend } from "effect-sessions"
import { TestClock } from "effect/testing"
import * as Browser from "../support/browser.ts"
import { build, cookiesOf, empty, issued, problemsOf, start } from "../support/httpSupport.ts"
import { UserSession } from "../support/userSession.ts"
import * as Stack from "../support/stack.ts"

const attributesOf = (header: string) =>
  header
    .split("; ")
    .slice(1)
    .filter((attribute) => !/^(max-age|expires)=/i.test(attribute))
    .sort()

/** Every combination of attributes that is accepted. */
const configurations: ReadonlyArray<SessionFrontend.CookieOptions> = [undefined, "/app"].flatMap((path) =>
  [undefined, "example.com"].flatMap((domain) =>
    ([undefined, "strict", "none"] as const).flatMap((sameSite) =>
      [undefined, true].flatMap((partitioned) =>
        [undefined, false]
          .filter((secure) => secure !== false || (sameSite !== "none" && partitioned !== true))
          .map((secure) => ({ path, domain, sameSite, partitioned, secure }))
      )
    )
  )
)

describe("SessionFrontend.layerCookie", () => {
  it.effect("[R19] is __Host-session; Path=/; Secure; HttpOnly; SameSite=Lax without configuration", () =>
    Effect.gen(function* () {
      const frontend = yield* build(SessionFrontend.layerCookie())
      assert.deepStrictEqual(cookiesOf(frontend.attach(empty, issued())), [
        "__Host-session=TOKEN; Path=/; HttpOnly; Secure; SameSite=Lax"
      ])
      const { send } = yield* start()
      const { setCookie } = yield* send("POST", "/login")
      assert.strictEqual(setCookie.length, 1)
      assert.match(
        setCookie[0]!,
        /^__Host-session=v1\.[\w-]{8}\.[\w-]{22}\.[\w-]{43}\.[\w-]{43}; Max-Age=86400; Path=\/; HttpOnly; Secure; SameSite=Lax$/
      )
    })
  )

  it.effect("[R19] [R41] picks a name whose prefix its attributes allow", () =>
    Effect.gen(function* () {
      const nameOf = (options: SessionFrontend.CookieOptions) =>
        Effect.map(build(SessionFrontend.layerCookie(options)), ({ security: [scheme] }) =>
          scheme?._tag === "ApiKey" && scheme.in === "cookie" ? scheme.key : undefined
        )
      assert.strictEqual(yield* nameOf({}), "__Host-session")
      assert.strictEqual(yield* nameOf({ domain: "example.com" }), "__Secure-session")
      assert.strictEqual(yield* nameOf({ path: "/app" }), "__Secure-session")
      assert.strictEqual(yield* nameOf({ secure: false }), "session")
    })
  )

  it.effect("[R20] holds every prefix to its rules, whatever its case", () =>
    Effect.gen(function* () {
      const rows: ReadonlyArray<readonly [SessionFrontend.CookieOptions, rule: RegExp | undefined]> = [
        [{ name: "__Host-x" }, undefined],
        [{ name: "__Host-Http-x" }, undefined],
        [{ name: "__Http-x", path: "/a", domain: "example.com" }, undefined],
        [{ name: "__Secure-x", path: "/a", domain: "example.com" }, undefined],
        [{ name: "__Host-x", domain: "example.com" }, /allows no domain/],
        [{ name: "__host-x", domain: "example.com" }, /allows no domain/],
        [{ name: "__HOST-x", path: "/a" }, /demands path "\/"/],
        [{ name: "__Host-x", secure: false }, /demands secure/],
        [{ name: "__Host-Http-x", domain: "example.com" }, /allows no domain/],
        [{ name: "__hOsT-hTtP-x", path: "/a" }, /demands path "\/"/],
        [{ name: "__Host-Http-x", secure: false }, /demands secure/],
        [{ name: "__Http-x", secure: false }, /demands secure/],
        [{ name: "__HTTP-x", secure: false }, /demands secure/],
        [{ name: "__Secure-x", secure: false }, /demands secure/],
        [{ name: "__secure-x", secure: false }, /demands secure/],
        [{ sameSite: "none", name: "x", secure: false }, /sameSite "none" demands secure/],
        [{ partitioned: true, name: "x", secure: false }, /partitioned demands secure/]
      ]
      for (const [options, rule] of rows) {
        const problems = yield* problemsOf(SessionFrontend.layerCookie(options))
        if (rule === undefined) assert.deepStrictEqual(problems, [], JSON.stringify(options))
        else {
          assert.strictEqual(problems.length, 1, JSON.stringify(options))
          assert.match(problems[0]!, rule)
        }
      }
      // All problems at once.
      const all = { name: "__Host-x", domain: "a b", path: "x", secure: false, sameSite: "none" } as const
      assert.strictEqual((yield* problemsOf(SessionFrontend.layerCookie(all))).length, 6)
    })
  )

  it.effect("[R20] a browser keeps and deletes the cookie of every configuration that is accepted", () =>
    Effect.gen(function* () {
      for (const options of configurations) {
        const { send } = yield* start({ frontend: SessionFrontend.layerCookie(options) })
        const browser = Browser.make(send, "https://app.example.com")
        yield* browser.visit("POST", "/login")
        const at = (path: string) => Effect.map(browser.visit("GET", path), ({ status }) => status)
        // The cookie's own path is below the app's here, so it is asked for by the jar alone.
        const url = new URL(options.path ?? "/", "https://app.example.com")
        assert.notStrictEqual(browser.jar.header(url, 0), "", JSON.stringify(options))
        if (options.path === undefined) assert.strictEqual(yield* at("/whoami"), 200, JSON.stringify(options))
        assert.deepStrictEqual(browser.jar.scriptable, [])
        yield* send("POST", "/logout", { cookie: browser.jar.header(url, 0) }).pipe(
          Effect.map(({ setCookie }) => setCookie.forEach((header) => browser.jar.store(url, header, 0)))
        )
        assert.strictEqual(browser.jar.header(url, 0), "", JSON.stringify(options))
      }
    })
  )

  it.effect("[R21] name and token together have at most 4096 bytes, an attribute 1024", () =>
    Effect.gen(function* () {
      const { send } = yield* start({ frontend: SessionFrontend.layerCookie({ name: "n".repeat(4096 - 122) }) })
      const { cookie, setCookie } = yield* send("POST", "/login")
      assert.strictEqual(cookie.length, 4096 + "=".length)
      assert.strictEqual(setCookie.length, 1)
      const long = yield* problemsOf(SessionFrontend.layerCookie({ name: "n".repeat(4096 - 121) }))
      assert.match(long.join(), /too long: name and token have 4096 bytes/)
      const path = (length: number) => ({ path: `/${"p".repeat(length - 1)}` })
      assert.deepStrictEqual(yield* problemsOf(SessionFrontend.layerCookie(path(1024))), [])
      assert.match((yield* problemsOf(SessionFrontend.layerCookie(path(1025)))).join(), /at most 1024/)
      const domain = (length: number) => ({ domain: `${"d.".repeat(length / 2 - 1)}de` })
      assert.deepStrictEqual(yield* problemsOf(SessionFrontend.layerCookie(domain(252))), [])
      assert.match((yield* problemsOf(SessionFrontend.layerCookie(domain(254)))).join(), /domain must be a host name/)
    })
  )

  it.effect("[R22] refuses lifetimes no browser keeps", () =>
    Effect.gen(function* () {
      const build = (absoluteTimeout: Duration.Input) =>
        Stack.http(UserSession, { absoluteTimeout }).pipe(Layer.build, Effect.scoped, Effect.result)
      assert.isTrue(Result.isSuccess(yield* build("400 days")))
      const day = 86_400_000
      for (const wrong of [400 * day + 1000, Infinity, 2 ** 53, -1, NaN, 0, Duration.infinity]) {
        const result = yield* build(wrong)
        assert.isTrue(Result.isFailure(result) && result.failure._tag === "SessionConfigError", String(wrong))
      }
      const { send } = yield* start({ absoluteTimeout: "400 days", idleTimeout: "400 days" })
      assert.match((yield* send("POST", "/login")).setCookie[0]!, /Max-Age=34560000;/)
    })
  )

  it.effect("[R23] Max-Age is what is left to the absolute deadline, and at least a second", () =>
    Effect.gen(function* () {
      const { send } = yield* start({ absoluteTimeout: "10 hours", idleTimeout: "10 hours" })
      const login = yield* send("POST", "/login")
      assert.match(login.setCookie[0]!, /Max-Age=36000;/)
      yield* TestClock.adjust("9 hours")
      const rotated = yield* send("POST", "/rotate", { cookie: login.cookie })
      assert.match(rotated.setCookie[0]!, /Max-Age=3600;/)
      yield* TestClock.adjust(3_599_500)
      // Max-Age=0 would be a deletion.
      const late = yield* send("POST", "/rotate", { cookie: rotated.cookie })
      assert.match(late.setCookie[0]!, /Max-Age=1;/)
      yield* TestClock.adjust(500)
      assert.strictEqual((yield* send("GET", "/whoami", { cookie: late.cookie })).status, 401)
    })
  )

  it.effect("[R23] asked for, it is a cookie of the browser's session, and stays one when the token is rotated", () =>
    Effect.gen(function* () {
      const { send } = yield* start()
      const login = yield* send("POST", "/login?cookie=browser")
      const rotated = yield* send("POST", "/rotate", { cookie: login.cookie })
      for (const { setCookie } of [login, rotated]) assert.notMatch(setCookie[0]!, /max-age|expires/i)
      const browser = Browser.make(send)
      yield* browser.visit("POST", "/login?cookie=browser")
      browser.jar.close()
      assert.strictEqual((yield* browser.visit("GET", "/whoami")).status, 401)
      yield* browser.visit("POST", "/login")
      browser.jar.close()
      assert.strictEqual((yield* browser.visit("GET", "/whoami")).status, 200)
      assert.deepStrictEqual((yield* send("POST", "/login?cookie=none")).setCookie, [])
    })
  )

  it.effect("[R24] deletion repeats the attributes of the original, whatever they are", () =>
    Effect.gen(function* () {
      for (const options of configurations) {
        const frontend = yield* build(SessionFrontend.layerCookie(options))
        const [set] = cookiesOf(frontend.attach(empty, issued({ maxAge: Duration.hours(1) })))
        const [deleted, ...more] = cookiesOf(frontend.detach(empty, "cookie"))
        assert.deepStrictEqual(more, [])
        assert.deepStrictEqual(attributesOf(deleted!), attributesOf(set!))
        assert.strictEqual(deleted!.split("=")[0], set!.split("=")[0])
        assert.match(deleted!, /^[^=]+=;.*Max-Age=0;/)
        assert.include(attributesOf(set!), "HttpOnly")
        assert.strictEqual(attributesOf(set!).includes("Partitioned"), options.partitioned === true)
      }
    })
  )

  it.effect(
    "[R19] what a program without types gives for true or false is refused, and never taken for one of them",
    () =>
      Effect.gen(function* () {
        for (const attribute of ["secure", "partitioned"] as const) {
          for (const value of ["", "false", 0, null]) {
            const options = { [attribute]: value } as SessionFrontend.CookieOptions
            const problems = yield* problemsOf(SessionFrontend.layerCookie(options))
            assert.include(problems.join(), `${attribute} must be true or false`)
          }
        }
      })
  )

  it.effect("[R31] name, path and domain are what HTTP allows, and nothing that ends an attribute", () =>
    Effect.gen(function* () {
      const hostile = ["sid; Domain=evil", "a\r\nb", "a\0b", "é", "", "a b", "a=b", "a,b", 'a"b', "a\u00a0b", "a\u2028"]
      for (const name of hostile) {
        assert.match((yield* problemsOf(SessionFrontend.layerCookie({ name }))).join(), /HTTP token/, name)
      }
      for (const path of ["/a; Domain=evil", "/a\r\n", "/\0", "/é", "", "a", "/a\u2028"]) {
        assert.match((yield* problemsOf(SessionFrontend.layerCookie({ path }))).join(), /path must begin with/, path)
      }
      for (const domain of ["evil.com; Path=/", "a\r\nb", "a\0", "é.com", "", ".com", "a..b", "-a.com", "a b", "a/b"]) {
        assert.match((yield* problemsOf(SessionFrontend.layerCookie({ domain }))).join(), /domain must be/, domain)
      }
      for (const origin of [
        "app.test",
        "https://app.test/",
        "https://app.test/x",
        "*",
        "null",
        "ftp://x",
        "https://*.x/"
      ]) {
        const problems = yield* problemsOf(SessionFrontend.layerCookie({ trustedOrigins: [origin] }))
        assert.match(problems.join(), /must be an origin/, origin)
      }
    })
  )

  it.effect("takes its options from configuration, and reports what contradicts itself", () =>
    Effect.gen(function* () {
      const frontend = (env: Record<string, string>) =>
        SessionFrontend.SessionFrontend.pipe(
          Effect.provide(
            SessionFrontend.layerCookieConfig({
              name: Config.String("NAME").pipe(Config.withDefault("sid")),
              secure: Config.Boolean("SECURE").pipe(Config.withDefault(true))
            })
          ),
          Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env }))),
          Effect.result
        )
      const good = yield* frontend({ NAME: "__Secure-sid" })
      assert.isTrue(Result.isSuccess(good))
      assert.deepStrictEqual(Result.isSuccess(good) ? cookiesOf(good.success.attach(empty, issued())) : [], [
        "__Secure-sid=TOKEN; Path=/; HttpOnly; Secure; SameSite=Lax"
      ])
      const contradiction = yield* frontend({ NAME: "__Secure-sid", SECURE: "false" })
      assert.strictEqual(Result.isFailure(contradiction) && contradiction.failure._tag, "SessionConfigError")
      const unreadable = yield* frontend({ SECURE: "perhaps" })
      assert.strictEqual(Result.isFailure(unreadable) && unreadable.failure._tag, "ConfigError")
    })
  )

  it.effect("[R38] Secure does not depend on the scheme a request claims to have come by", () =>
    Effect.gen(function* () {
      const { send } = yield* start()
      const forged: ReadonlyArray<Record<string, string>> = [
        {},
        { "x-forwarded-proto": "http" },
        { "x-forwarded-proto": "https" },
        { forwarded: "proto=http" },
        { "x-forwarded-host": "evil.test", "x-forwarded-proto": "http", "x-forwarded-port": "80" }
      ]
      for (const scheme of ["http", "https"]) {
        for (const headers of forged) {
          const { setCookie } = yield* send("POST", `${scheme}://app.test/login`, { headers })
          assert.deepStrictEqual(attributesOf(setCookie[0]!), ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"])
        }
      }
    })
  )
})
