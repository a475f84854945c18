import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Config,
  ConfigProvider,
  Context,
  Duration,
  Effect,
  Exit,
  Layer,
  Option,
  Redacted,
  Result,
  Schema
} from "effect"
import { Headers, HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import {
  Session,
  SessionBackendMemory,
  SessionFrontend,
  SessionMiddleware,
  SessionTest,
  SessionVerifier
} from "effect-sessions"
import type { SessionError } from "effect-sessions"
import { TestClock } from "effect/testing"
import * as Browser from "./support/browser.ts"
import * as Client from "./support/client.ts"
import * as InstrumentedBackend from "./support/instrumentedBackend.ts"
import { ada, eve, layerCrypto, layerKeys, layerStack, UserData, UserSession } from "./support/userSession.ts"

type Frontend = SessionFrontend.SessionFrontend["Service"]
type AnyFrontend = Layer.Layer<SessionFrontend.SessionFrontend, SessionError.SessionConfigError>

const build = (layer: AnyFrontend): Effect.Effect<Frontend, SessionError.SessionConfigError> =>
  Effect.provide(SessionFrontend.SessionFrontend, layer)

const problemsOf = (layer: AnyFrontend): Effect.Effect<ReadonlyArray<string>> =>
  Effect.map(Effect.result(build(layer)), (result) => (Result.isFailure(result) ? result.failure.problems : []))

/** A request with these very header values, whatever characters they hold. */
const requestWith = (headers: Record<string, string>) =>
  HttpServerRequest.fromWeb(new Request("https://app.test/")).modify({ headers: Headers.fromRecordUnsafe(headers) })

/** What a frontend finds: its tokens and how each came, or the tag and reason of its error. */
const found = (frontend: Frontend, headers: Record<string, string>) =>
  Effect.match(frontend.extract(requestWith(headers)), {
    onFailure: (error) => (error._tag === "SessionInvalid" ? error.reason : error._tag),
    onSuccess: (credentials) => credentials.map(({ token, via }) => `${via}:${Redacted.value(token)}`)
  })

const issued = (options?: { readonly maxAge?: Duration.Duration; readonly via?: SessionFrontend.Transport }) => ({
  token: Redacted.make("TOKEN"),
  maxAge: Option.fromUndefinedOr(options?.maxAge),
  via: Option.fromUndefinedOr(options?.via)
})

const headersOf = (response: HttpServerResponse.HttpServerResponse) => HttpServerResponse.toWeb(response).headers

const cookiesOf = (response: HttpServerResponse.HttpServerResponse) => headersOf(response).getSetCookie()

const empty = HttpServerResponse.empty()

const attributesOf = (header: string) =>
  header
    .split("; ")
    .slice(1)
    .filter((attribute) => !/^(max-age|expires)=/i.test(attribute))
    .sort()

/** An app that does one thing for each of these paths. */
const Routes = Layer.mergeAll(
  HttpRouter.add(
    "POST",
    "/login",
    Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const cookie = new URL(request.url, "https://app.test").searchParams.get("cookie")
      const options = cookie === null ? undefined : { cookie: cookie as "persistent" | "browser" | "none" }
      return HttpServerResponse.text((yield* (yield* UserSession).create(ada, options)).id)
    })
  ),
  HttpRouter.add(
    "POST",
    "/rotate",
    Effect.gen(function* () {
      return HttpServerResponse.text((yield* (yield* UserSession).rotate).id)
    })
  ),
  HttpRouter.add(
    "POST",
    "/logout",
    Effect.gen(function* () {
      yield* (yield* UserSession).destroy
      return HttpServerResponse.empty()
    })
  ),
  HttpRouter.add(
    "*",
    "/whoami",
    Effect.gen(function* () {
      return HttpServerResponse.text((yield* (yield* UserSession).get).data.username ?? "-")
    })
  )
).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))

const start = Effect.fnUntraced(function* (options?: Parameters<typeof layerStack>[1]) {
  const backend = yield* InstrumentedBackend.make()
  const send = yield* Client.serve(Routes.pipe(Layer.provide(layerStack(backend, options))))
  return { backend, send }
})

const tokenOf = (cookie: string) => cookie.slice(cookie.indexOf("=") + 1)

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

  it.effect("[R19] picks a name whose prefix its attributes allow", () =>
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
        UserSession.layerHttp({ absoluteTimeout }).pipe(
          Layer.provide([
            SessionFrontend.layerCookie(),
            SessionBackendMemory.layer,
            SessionVerifier.layerExists(UserSession),
            layerKeys(),
            layerCrypto
          ]),
          Layer.build,
          Effect.scoped,
          Effect.result
        )
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

  it.effect("[R37] no cookie, an empty one and an empty header are the same: nothing to look up", () =>
    Effect.gen(function* () {
      const { backend, send } = yield* start({
        frontend: SessionFrontend.layerFirst([
          SessionFrontend.layerCookie(),
          SessionFrontend.layerHeader({ name: "x-session" })
        ])
      })
      for (const options of [
        {},
        { cookie: "__Host-session=" },
        { cookie: "__Host-session=; a=b" },
        { headers: { "x-session": "" } },
        { cookie: "__Host-session=", headers: { "x-session": "" } }
      ]) {
        const answer = yield* send("GET", "/whoami", options)
        assert.deepStrictEqual([answer.status, answer.text], [401, `{"_tag":"SessionMissing"}`])
      }
      assert.deepStrictEqual(backend.calls, [])
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

  it.effect("[R29] of several cookies one distinct session may stand, whatever their order", () =>
    Effect.gen(function* () {
      const { send } = yield* start()
      const login = Effect.map(send("POST", "/login"), ({ cookie }) => tokenOf(cookie))
      const [a, b] = [yield* login, yield* login]
      // Signed, and gone: what an attacker's own log-out leaves.
      const dead = yield* login
      yield* send("POST", "/logout", { cookie: `__Host-session=${dead}` })
      const rows: ReadonlyArray<readonly [tokens: ReadonlyArray<string>, answer: string]> = [
        [[a], "ada"],
        [[a, a], "ada"],
        [[a, a, a, a], "ada"],
        [["junk", a], "ada"],
        [[a, "junk"], "ada"],
        [[dead, a], "ada"],
        [[a, dead, "junk", dead], "ada"],
        [["junk", "junk", "junk", a], "ada"],
        [[a, b], "Ambiguous"],
        [[b, a], "Ambiguous"],
        [["junk", a, dead, b], "Ambiguous"],
        [["junk", dead], "Malformed"],
        [[dead, "junk"], "NotFound"],
        [["junk", "junk", "junk", "junk", a], "Ambiguous"],
        [[a, a, a, a, a], "Ambiguous"]
      ]
      for (const [tokens, expected] of rows) {
        const cookie = tokens.map((token) => `__Host-session=${token}`).join("; ")
        const answer = yield* send("GET", "/whoami", { cookie })
        assert.strictEqual(
          answer.status === 200 ? answer.text : (JSON.parse(answer.text) as { reason: string }).reason,
          expected,
          rows.findIndex(([row]) => row === tokens).toString()
        )
        assert.deepStrictEqual(answer.setCookie, [])
      }
    })
  )
})

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

describe("SessionFrontend.layerHeader and layerBearer", () => {
  it.effect("[R40] bearer: the scheme in any case, one space, one token", () =>
    Effect.gen(function* () {
      const frontend = yield* build(SessionFrontend.layerBearer())
      const rows: ReadonlyArray<readonly [string, unknown]> = [
        ["Bearer x", ["header:x"]],
        ["bearer x", ["header:x"]],
        ["BEARER x", ["header:x"]],
        ["Basic eA==", "SessionMissing"],
        ["", "SessionMissing"],
        ["Bearerx", "SessionMissing"],
        // What is not one token is passed on whole, to be told that it is malformed.
        ["Bearer  x", ["header:Bearer  x"]],
        ["Bearer x y", ["header:Bearer x y"]],
        ["Bearer x, Bearer y", ["header:Bearer x, Bearer y"]],
        ["Bearer", "SessionMissing"],
        ["Bearer x\u00a0", ["header:Bearer x\u00a0"]]
      ]
      for (const [authorization, expected] of rows) {
        assert.deepStrictEqual(yield* found(frontend, { authorization }), expected, authorization)
      }
      assert.strictEqual(yield* found(frontend, {}), "SessionMissing")
      const huge = yield* found(frontend, { authorization: `Bearer ${"x".repeat(100_000)}` })
      assert.strictEqual(huge[0]?.length, 100_007)
    })
  )

  it.effect("bearer attaches nothing, a header frontend echoes its header", () =>
    Effect.gen(function* () {
      const bearer = yield* build(SessionFrontend.layerBearer())
      assert.strictEqual(bearer.attach(empty, issued()), empty)
      assert.strictEqual(bearer.detach(empty, "header"), empty)
      const header = yield* build(SessionFrontend.layerHeader({ name: "X-Session" }))
      assert.deepStrictEqual(yield* found(header, { "x-session": "t" }), ["header:t"])
      assert.strictEqual(headersOf(header.attach(empty, issued())).get("x-session"), "TOKEN")
      assert.strictEqual(header.attach(empty, issued({ via: "cookie" })), empty)
      assert.deepStrictEqual(cookiesOf(header.attach(empty, issued())), [])
    })
  )

  it.effect("[R31] a header's name is a token, and none with a meaning of its own", () =>
    Effect.gen(function* () {
      for (const name of ["", "a b", "x\r\ny", "x:y", "é", "Cookie", "set-cookie", "Authorization", "HOST"]) {
        assert.match((yield* problemsOf(SessionFrontend.layerHeader({ name }))).join(), /must be an HTTP token/, name)
      }
    })
  )
})

describe("SessionFrontend.layerFirst", () => {
  const cookie = SessionFrontend.layerCookie()
  const bearer = SessionFrontend.layerBearer()
  const header = SessionFrontend.layerHeader({ name: "x-session" })

  const startBoth = Effect.fnUntraced(function* (frontend: AnyFrontend) {
    const { backend, send } = yield* start({ frontend })
    const login = Effect.map(send("POST", "/login"), (answer) => answer)
    return { backend, send, login }
  })

  it.effect("looks in its places in order, at most four tokens in all", () =>
    Effect.gen(function* () {
      const frontend = yield* build(SessionFrontend.layerFirst([header, cookie, bearer]))
      const name = "__Host-session"
      const request = { "x-session": "h", cookie: `${name}=c1; ${name}=c2`, authorization: "Bearer b" }
      assert.deepStrictEqual(yield* found(frontend, request), ["header:h", "cookie:c1", "cookie:c2", "header:b"])
      assert.strictEqual(yield* found(frontend, { ...request, cookie: `${request.cookie}; ${name}=c3` }), "Ambiguous")
      assert.strictEqual(yield* found(frontend, {}), "SessionMissing")
      const other = yield* build(SessionFrontend.layerFirst([cookie, header]))
      assert.deepStrictEqual(yield* found(other, request), ["cookie:c1", "cookie:c2", "header:h"])
      assert.strictEqual(yield* found(other, { "x-session": "h", cookie: `${name}=x; `.repeat(5) }), "Ambiguous")
      assert.deepStrictEqual(
        frontend.security.map((scheme) => scheme._tag),
        ["ApiKey", "ApiKey", "Http"]
      )
    })
  )

  it.effect("[R35] a bad token in a header never falls back to the cookie, whichever comes first", () =>
    Effect.gen(function* () {
      for (const members of [
        [cookie, bearer],
        [bearer, cookie]
      ] as const) {
        const { login, send } = yield* startBoth(SessionFrontend.layerFirst(members))
        const good = (yield* login).cookie
        const dead = (yield* login).cookie
        yield* send("POST", "/logout", { cookie: dead })
        for (const [token, reason] of [
          ["junk", "Malformed"],
          [`${tokenOf(good)}x`, "Malformed"],
          [tokenOf(good).slice(0, -1) + (good.endsWith("A") ? "B" : "A"), "Signature"],
          [tokenOf(dead), "NotFound"]
        ] as const) {
          const answer = yield* send("GET", "/whoami", { cookie: good, headers: { authorization: `Bearer ${token}` } })
          assert.deepStrictEqual([answer.status, JSON.parse(answer.text)], [401, { _tag: "SessionInvalid", reason }])
        }
        // Another party's scheme is no token of ours, and an empty one is none at all.
        const none = yield* send("GET", "/whoami", { cookie: good, headers: { authorization: "Bearer " } })
        assert.deepStrictEqual([none.status, none.text], [200, "ada"])
        const basic = yield* send("GET", "/whoami", { cookie: good, headers: { authorization: "Basic eA==" } })
        assert.deepStrictEqual([basic.status, basic.text], [200, "ada"])
      }
    })
  )

  it.effect("[R35] two live sessions are Ambiguous, one session twice is fine, garbage beside it is ignored", () =>
    Effect.gen(function* () {
      const { login, send } = yield* startBoth(SessionFrontend.layerFirst([cookie, bearer]))
      const [a, b] = [(yield* login).cookie, (yield* login).cookie]
      const whoami = (cookie: string, token: string) =>
        send("GET", "/whoami", { cookie, headers: { authorization: `Bearer ${token}` } })
      const both = yield* whoami(a, tokenOf(b))
      assert.deepStrictEqual(
        [both.status, JSON.parse(both.text)],
        [401, { _tag: "SessionInvalid", reason: "Ambiguous" }]
      )
      assert.strictEqual((yield* whoami(a, tokenOf(a))).status, 200)
      assert.strictEqual((yield* whoami("__Host-session=junk", tokenOf(a))).status, 200)
    })
  )

  it.effect("what came in a header is answered in the header, what came in a cookie with a cookie", () =>
    Effect.gen(function* () {
      const { login, send } = yield* startBoth(SessionFrontend.layerFirst([cookie, header]))
      const first = yield* login
      const token = tokenOf(first.cookie)
      const byHeader = yield* send("POST", "/rotate", { headers: { "x-session": token } })
      const rotated = byHeader.headers.get("x-session")!
      assert.deepStrictEqual(byHeader.setCookie, [])
      assert.match(rotated, /^v1\./)
      const byCookie = yield* send("POST", "/rotate", { cookie: `__Host-session=${rotated}` })
      assert.isNull(byCookie.headers.get("x-session"))
      assert.strictEqual(byCookie.setCookie.length, 1)
      // In both places: the header is the one it answers to.
      const last = tokenOf(byCookie.cookie)
      const both = yield* send("POST", "/rotate", { cookie: byCookie.cookie, headers: { "x-session": last } })
      assert.deepStrictEqual(both.setCookie, [])
      assert.match(both.headers.get("x-session")!, /^v1\./)
      const out = yield* send("POST", "/logout", { headers: { "x-session": both.headers.get("x-session")! } })
      assert.deepStrictEqual(out.setCookie, [])
    })
  )

  it.effect("bearer attaches nothing, so a client that came by it gets no cookie either", () =>
    Effect.gen(function* () {
      const { login, send } = yield* startBoth(SessionFrontend.layerFirst([cookie, bearer]))
      const authorization = `Bearer ${tokenOf((yield* login).cookie)}`
      for (const path of ["/rotate", "/login"]) {
        const answer = yield* send("POST", path, { headers: { authorization } })
        assert.deepStrictEqual([answer.setCookie, answer.headers.get("authorization")], [[], null], path)
      }
    })
  )

  it.effect("a fresh log-in goes to the first that puts something on a response", () =>
    Effect.gen(function* () {
      for (const [members, where] of [
        [[bearer, header, cookie], "header"],
        [[bearer, cookie, header], "cookie"],
        [[cookie, header], "cookie"]
      ] as const) {
        const { login } = yield* startBoth(SessionFrontend.layerFirst(members))
        const answer = yield* login
        assert.strictEqual(answer.setCookie.length, where === "cookie" ? 1 : 0)
        assert.strictEqual(answer.headers.has("x-session"), where === "header")
      }
    })
  )

  it.effect("builds its members with what the application has built already", () =>
    Effect.gen(function* () {
      let built = 0
      class Shared extends Context.Service<Shared, { readonly name: string }>()("test/Shared") {}
      const shared = Layer.sync(Shared, () => {
        built++
        return { name: "x-session" }
      })
      const member = Layer.unwrap(Effect.map(Shared, ({ name }) => SessionFrontend.layerHeader({ name }))).pipe(
        Layer.provide(shared)
      )
      const both = Layer.merge(SessionFrontend.layerFirst([member, cookie, member]), shared)
      yield* Effect.provide(SessionFrontend.SessionFrontend, both)
      assert.strictEqual(built, 1)
    })
  )

  it.effect("fails with the problems of a member", () =>
    Effect.gen(function* () {
      const wrong = SessionFrontend.layerFirst([bearer, SessionFrontend.layerCookie({ name: "a b" })])
      assert.match((yield* problemsOf(wrong)).join(), /HTTP token/)
    })
  )
})

describe("two definitions in one application", () => {
  class AdminSession extends Session.Service<AdminSession>()("test/AdminSession", {
    data: UserData,
    principal: (data) => data.username
  }) {}

  const layerAdmin = (backend: InstrumentedBackend.InstrumentedBackend, frontend: AnyFrontend) =>
    AdminSession.layerHttp().pipe(
      Layer.provide([frontend, backend.layer, SessionVerifier.layerExists(AdminSession), layerKeys(), layerCrypto])
    )

  const Both = Layer.mergeAll(
    HttpRouter.add(
      "POST",
      "/both",
      Effect.gen(function* () {
        yield* (yield* UserSession).create(ada)
        yield* (yield* AdminSession).create(eve)
        return HttpServerResponse.empty()
      })
    ),
    HttpRouter.add(
      "GET",
      "/admin",
      Effect.gen(function* () {
        return HttpServerResponse.text((yield* (yield* AdminSession).get).data.username ?? "-")
      })
    ),
    HttpRouter.add(
      "GET",
      "/user",
      Effect.gen(function* () {
        return HttpServerResponse.text((yield* (yield* UserSession).get).data.username ?? "-")
      })
    ),
    HttpRouter.add(
      "POST",
      "/leave",
      Effect.gen(function* () {
        yield* (yield* AdminSession).destroy
        return HttpServerResponse.empty()
      })
    )
  ).pipe(Layer.provide(SessionMiddleware.router(UserSession).combine(SessionMiddleware.router(AdminSession)).layer))

  it.effect("[R15] each has its own cookie, and the other's token has no valid signature here", () =>
    Effect.gen(function* () {
      const backend = yield* InstrumentedBackend.make()
      const send = yield* Client.serve(
        Both.pipe(
          Layer.provide([
            layerStack(backend),
            Layer.orDie(layerAdmin(backend, SessionFrontend.layerCookie({ name: "__Host-admin" })))
          ])
        )
      )
      const browser = Browser.make(send)
      const login = yield* browser.visit("POST", "/both")
      assert.deepStrictEqual(login.setCookie.map((header) => header.split("=")[0]).sort(), [
        "__Host-admin",
        "__Host-session"
      ])
      assert.strictEqual((yield* browser.visit("GET", "/user")).text, "ada")
      assert.strictEqual((yield* browser.visit("GET", "/admin")).text, "eve")
      const [user, admin] = ["__Host-session", "__Host-admin"].map((name) =>
        tokenOf(login.setCookie.find((header) => header.startsWith(name))!.split(";")[0]!)
      )
      backend.calls.length = 0
      for (const [path, cookie] of [
        ["/admin", `__Host-admin=${user}`],
        ["/user", `__Host-session=${admin}`]
      ] as const) {
        const answer = yield* send("GET", path, { cookie })
        assert.deepStrictEqual(JSON.parse(answer.text), { _tag: "SessionInvalid", reason: "Signature" })
      }
      assert.deepStrictEqual(backend.calls, [])
      yield* browser.visit("POST", "/leave")
      assert.strictEqual((yield* browser.visit("GET", "/user")).status, 200)
      assert.strictEqual((yield* browser.visit("GET", "/admin")).status, 401)
    })
  )

  it.effect("[R87b] two on one cookie name do not build", () =>
    Effect.gen(function* () {
      const backend = yield* InstrumentedBackend.make()
      for (const frontend of [
        SessionFrontend.layerCookie(),
        SessionFrontend.layerFirst([SessionFrontend.layerBearer(), SessionFrontend.layerCookie()])
      ]) {
        const exit = yield* Layer.build(Layer.merge(layerStack(backend), layerAdmin(backend, frontend))).pipe(
          Effect.scoped,
          Effect.exit
        )
        const error = Option.getOrUndefined(Exit.findErrorOption(exit))
        const all = Exit.isFailure(exit) ? [...exit.cause.reasons] : []
        const message = String(error ?? all.map((reason) => (reason._tag === "Die" ? reason.defect : undefined))[0])
        assert.match(message, /the cookie "__Host-session" serves test\/\w+Session already/)
      }
      // In two applications they may, and in one that has let go of the first.
      const application = () => Layer.makeMemoMapUnsafe()
      const build = (layer: Layer.Layer<never, unknown>, memoMap: Layer.MemoMap) =>
        Effect.flatMap(Effect.scope, (scope) => Layer.buildWithMemoMap(layer, memoMap, scope))
      const user = Layer.effectDiscard(Effect.void).pipe(Layer.provide(layerStack(backend)))
      const admin = Layer.effectDiscard(Effect.void).pipe(
        Layer.provide(layerAdmin(backend, SessionFrontend.layerCookie()))
      )
      yield* build(user, application())
      yield* build(admin, application())
      const one = application()
      for (const layer of [user, admin, user]) yield* Effect.scoped(build(layer, one))
      yield* build(user, one)
      // Built a second time, and let go of once: it is still there.
      yield* Effect.scoped(build(Layer.effectDiscard(Effect.void).pipe(Layer.provide(layerStack(backend))), one))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(build(admin, one))))
    })
  )

  it.effect("[R87b] two with one identifier do not build: a copied one would let each other's users in", () =>
    Effect.gen(function* () {
      const data = Schema.Struct({ username: Schema.String })
      class First extends Session.Service<First>()("test/Copied", { data }) {}
      class Second extends Session.Service<Second>()("test/Copied", { data }) {}
      const admin = SessionTest.layer(Second, { frontend: SessionFrontend.layerCookie({ name: "__Host-admin" }) })
      const exit = yield* Effect.exit(Effect.scoped(Layer.build(Layer.merge(SessionTest.layer(First), admin))))
      // The test layers turn a configuration error into a defect.
      assert.match(String(Exit.isFailure(exit) && Cause.squash(exit.cause)), /identifier "test\/Copied"/)
      // The same definition twice is fine.
      yield* Effect.scoped(Layer.build(Layer.merge(SessionTest.layer(First), SessionTest.layer(First))))
    })
  )
})

describe("the places a token may come from", () => {
  it.effect("[R34] never the URL, the body, the path or the referrer", () =>
    Effect.gen(function* () {
      const { backend, send } = yield* start()
      const token = tokenOf((yield* send("POST", "/login")).cookie)
      backend.calls.length = 0
      const pair = `__Host-session=${token}`
      const rows: ReadonlyArray<readonly [string, string, Client.RequestOptions]> = [
        ["GET", `/whoami?${pair}`, {}],
        ["GET", `/whoami?token=${token}`, {}],
        ["GET", `/whoami?session=${token}#${pair}`, {}],
        ["GET", "/whoami", { headers: { referer: `https://app.test/?${pair}` } }],
        ["GET", "/whoami", { headers: { authorization: `Bearer ${token}` } }],
        ["GET", "/whoami", { headers: { "x-session": token, "set-cookie": pair, cookie2: pair } }],
        ["POST", "/whoami", { body: pair, headers: { "content-type": "application/x-www-form-urlencoded" } }],
        ["POST", "/whoami", { body: JSON.stringify({ "__Host-session": token }) }]
      ]
      for (const [method, path, options] of rows) {
        const answer = yield* send(method, path, options)
        assert.deepStrictEqual([answer.status, answer.text], [401, `{"_tag":"SessionMissing"}`], `${method} ${path}`)
      }
      const path = yield* send("GET", `/whoami;${pair}/whoami`)
      assert.notStrictEqual(path.status, 200)
      assert.deepStrictEqual(backend.calls, [])
    })
  )

  it.effect("[R33] a session is found beside cookies named after members of Object.prototype", () =>
    Effect.gen(function* () {
      const { send } = yield* start()
      const { cookie } = yield* send("POST", "/login")
      const hostile = "__proto__=x; constructor=x; hasOwnProperty=x"
      for (const header of [`${hostile}; ${cookie}`, `${cookie}; ${hostile}`]) {
        assert.strictEqual((yield* send("GET", "/whoami", { cookie: header })).text, "ada")
      }
      for (const name of ["__proto__", "constructor", "hasOwnProperty"]) {
        const own = yield* start({ frontend: SessionFrontend.layerCookie({ name }) })
        const login = yield* own.send("POST", "/login")
        assert.strictEqual((yield* own.send("GET", "/whoami", { cookie: login.cookie })).text, "ada", name)
        assert.strictEqual((yield* own.send("GET", "/whoami")).status, 401, name)
      }
      assert.isUndefined(({} as Record<string, unknown>)["x"])
    })
  )

  it.effect("[R30] several Cookie headers are one, and a comma separates nothing", () =>
    Effect.gen(function* () {
      const backend = yield* InstrumentedBackend.make()
      const app = yield* Client.appOf(Routes.pipe(Layer.provide(layerStack(backend))))
      const handler = yield* Client.webHandler(app)
      const send = Client.sender(handler)
      const { cookie } = yield* send("POST", "/login")
      const headers = new globalThis.Headers()
      for (const line of ["a=b", cookie, "c=d"]) headers.append("cookie", line)
      const answer = yield* Effect.promise(() => handler(new Request("https://app.test/whoami", { headers })))
      assert.strictEqual(answer.status, 200)
      assert.strictEqual((yield* send("GET", "/whoami", { cookie: `a=b, ${cookie}` })).status, 401)
      assert.strictEqual((yield* send("GET", "/whoami", { cookie: `a=b,${cookie}` })).status, 401)
    })
  )
})

describe("what the frontend's schema says", () => {
  it.effect("a definition's own frontend is what its layer was given", () =>
    Effect.gen(function* () {
      const backend = yield* InstrumentedBackend.make()
      const context = yield* Layer.build(
        layerStack(backend, { frontend: SessionFrontend.layerHeader({ name: "x-session" }) })
      )
      const frontend = Context.get(context, UserSession.Frontend)
      assert.deepStrictEqual(yield* found(frontend, { "x-session": "t", cookie: "__Host-session=c" }), ["header:t"])
    })
  )
})
