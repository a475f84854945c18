/** Several places in order. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { SessionFrontend } from "effect-sessions"
import { build, found, problemsOf, start, tokenOf, type AnyFrontend } from "../support/httpSupport.ts"

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

  it.effect("[R25] takes off the cookies of other names with the one it sets, and never that one", () =>
    Effect.gen(function* () {
      const old = SessionFrontend.layerCookie({ name: "sid" })
      const strict = SessionFrontend.layerCookie({ sameSite: "strict" })
      for (const [members, names] of [
        [
          [cookie, old],
          ["__Host-session=v1", "sid="]
        ],
        [
          [old, bearer, header, cookie],
          ["sid=v1", "__Host-session="]
        ],
        [[cookie, strict], ["__Host-session=v1"]],
        [[cookie, bearer, header], ["__Host-session=v1"]]
      ] as const) {
        const { login } = yield* startBoth(SessionFrontend.layerFirst(members))
        const { headers, setCookie } = yield* login
        assert.deepStrictEqual(
          setCookie.map((line) => /^[^=]+=(v1)?/.exec(line)![0]),
          [...names]
        )
        assert.isFalse(headers.has("x-session"))
      }
      const { login } = yield* startBoth(SessionFrontend.layerFirst([header, cookie, old]))
      const { headers, setCookie } = yield* login
      assert.deepStrictEqual(setCookie, [])
      assert.isTrue(headers.has("x-session"))
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
