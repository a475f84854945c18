/** What an API's answers say of origin and caching. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { bearer, cookie, during, live, login, send } from "../support/httpApiSupport.ts"

describe("SessionHttpApi over a socket", () => {
  it.effect("[R59] unsafe requests from another origin are refused, log-in included, whatever scheme comes next", () =>
    Effect.gen(function* () {
      const { token } = yield* login("ada")
      const own = new URL((yield* send("GET", "/whoami")).url).origin
      const refusals: ReadonlyArray<Record<string, string>> = [
        { "sec-fetch-site": "cross-site" },
        { "sec-fetch-site": "same-site" },
        { "sec-fetch-site": "junk" },
        { "sec-fetch-site": "cross-site", origin: own },
        { origin: "null" },
        { origin: "https://evil.example" },
        { origin: `${own}.evil.example` },
        { origin: own.replace(/\d+$/, "1") }
      ]
      const passes: ReadonlyArray<Record<string, string>> = [
        {},
        { "sec-fetch-site": "same-origin" },
        { "sec-fetch-site": "none" },
        { origin: own }
      ]
      const routes = [
        ["POST", "/login", { username: "eve" }, 200],
        ["POST", "/poke", undefined, 200],
        ["POST", "/cart/pen", undefined, 204],
        ["PUT", "/cart", { username: "ada", cart: [] }, 204],
        ["DELETE", "/sessions/AAAAAAAAAAAAAAAAAAAAAA", undefined, 200]
      ] as const
      for (const [method, path, body, good] of routes) {
        for (const headers of refusals) {
          const [answer, calls] = yield* during(send(method, path, { ...headers, ...cookie(token) }, body))
          assert.deepStrictEqual(
            [method, path, headers, answer.status, answer.tag, answer.cookies, calls],
            [method, path, headers, 403, "SessionCrossOrigin", [], []]
          )
          // A page of another origin cannot make a browser send such a header.
          const byHeader = yield* send(method, path, { ...headers, ...bearer((yield* login("ada")).token) }, body)
          assert.deepStrictEqual([path, headers, byHeader.status], [path, headers, good])
        }
        if (path === "/login") continue
        for (const headers of passes) {
          const answer = yield* send(method, path, { ...headers, ...cookie(token) }, body)
          assert.deepStrictEqual([path, headers, answer.status], [path, headers, good])
        }
      }
      // Without any token there is nothing to exempt, and safe methods need no protection.
      assert.strictEqual((yield* send("POST", "/login", refusals[0]!, { username: "eve" })).status, 403)
      assert.strictEqual((yield* send("GET", "/whoami", { ...refusals[0], ...cookie(token) })).status, 200)
    }).pipe(Effect.provide(live))
  )

  it.effect("[R61] Vary names the frontend's headers once, on every answer", () =>
    Effect.gen(function* () {
      const { token } = yield* login("ada")
      for (const [method, path, headers, body, status] of [
        ["GET", "/whoami", cookie(token), undefined, 200],
        ["HEAD", "/whoami", cookie(token), undefined, 200],
        ["GET", "/whoami", {}, undefined, 401],
        ["GET", "/untouched", {}, undefined, 200],
        ["GET", "/untouched", cookie(token), undefined, 200],
        ["GET", "/fails", cookie(token), undefined, 410],
        ["GET", "/dies", cookie(token), undefined, 500],
        ["PUT", "/cart", cookie(token), { nonsense: true }, 400],
        ["POST", "/logout", {}, undefined, 204],
        ["POST", "/poke", { "sec-fetch-site": "cross-site" }, undefined, 403]
      ] as const) {
        const answer = yield* send(method, path, headers, body)
        assert.deepStrictEqual(
          [method, path, answer.status, answer.headers["vary"]],
          [method, path, status, "Cookie, Authorization"]
        )
      }
    }).pipe(Effect.provide(live))
  )

  it.effect("[R62] what depends on a session is not stored, whatever the handler says", () =>
    Effect.gen(function* () {
      const { token } = yield* login("ada")
      const cacheControl = (path: string, headers: Record<string, string> = cookie(token)) =>
        Effect.map(send("GET", path, headers), ({ headers }) => headers["cache-control"])
      assert.strictEqual(yield* cacheControl("/public"), "no-store")
      assert.strictEqual(yield* cacheControl("/whoami"), "no-store")
      assert.strictEqual(yield* cacheControl("/fails"), "no-store")
      assert.strictEqual(yield* cacheControl("/peek"), "no-store")
      assert.isUndefined(yield* cacheControl("/untouched"))
      assert.strictEqual((yield* send("POST", "/login", {}, { username: "ada" })).headers["cache-control"], "no-store")
    }).pipe(Effect.provide(live))
  )
})
