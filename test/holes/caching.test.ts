/**
 * No shared cache keeps what depends on a session: not when the session is first read while the body streams, not by a
 * header of a CDN's own, not when the response is a web `Response` with headers of its own.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Stream } from "effect"
import { HttpServerResponse } from "effect/http"
import { text } from "../support/httpSupport.ts"
import * as Stage from "../support/stage.ts"
import { ada, UserSession } from "../support/userSession.ts"

type Handle = (typeof UserSession)["Service"]

describe("a session first read while the body streams", () => {
  /** A response whose body is what reading the session in it came to. */
  const streaming = (
    session: Handle,
    read: (session: Handle) => Effect.Effect<unknown, unknown>,
    seen: Array<Exit.Exit<unknown, unknown>>,
    headers: Record<string, string> = {}
  ) =>
    HttpServerResponse.stream(
      Stream.fromEffect(
        Effect.map(Effect.exit(read(session)), (exit) => {
          seen.push(exit)
          return new TextEncoder().encode(exit._tag)
        })
      ),
      { headers }
    )
  const reads: Record<string, (session: Handle) => Effect.Effect<unknown, unknown>> = {
    get: (session) => session.get,
    option: (session) => session.option,
    list: (session) => session.list,
    update: (session) => session.update((data) => ({ ...data, count: 1 })),
    replace: (session) => session.replace({ ...ada, count: 1 }),
    revokeAll: (session) => session.revokeAll
  }

  it.effect("[R62] is a defect that says so, where a cache may keep the response", () =>
    Effect.gen(function* () {
      for (const headers of [{}, { "cache-control": "public, max-age=60" }]) {
        for (const [name, read] of Object.entries(reads)) {
          const stage = yield* Stage.make()
          const session = yield* stage.login(ada)
          const seen: Array<Exit.Exit<unknown, unknown>> = []
          const send = yield* stage.open(Effect.map(UserSession, (session) => streaming(session, read, seen, headers)))
          const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(session) })
          assert.deepStrictEqual([answer.status, answer.text, seen.map(Exit.hasDies)], [200, "Failure", [true]], name)
          assert.match(String(seen[0]), /before the body streams/, name)
          assert.deepStrictEqual(stage.backend.operations, [], name)
        }
      }
    })
  )

  it.effect("[R62] is fine where the response is not stored, and where the session was read before", () =>
    Effect.gen(function* () {
      for (const [name, read] of Object.entries(reads)) {
        const stage = yield* Stage.make()
        const handlers = [
          (seen: Array<Exit.Exit<unknown, unknown>>) =>
            stage.open(
              Effect.map(UserSession, (session) => streaming(session, read, seen, { "cache-control": "no-store" }))
            ),
          (seen: Array<Exit.Exit<unknown, unknown>>) =>
            stage.open(
              Effect.flatMap(UserSession, (session) => Effect.as(session.get, streaming(session, read, seen)))
            ),
          (seen: Array<Exit.Exit<unknown, unknown>>) =>
            stage.guarded(Effect.map(UserSession, (session) => streaming(session, read, seen)))
        ]
        for (const handler of handlers) {
          const seen: Array<Exit.Exit<unknown, unknown>> = []
          const cookie = Stage.cookieOf(yield* stage.login(ada))
          const answer = yield* (yield* handler(seen))("POST", "/", { cookie })
          assert.deepStrictEqual([answer.text, answer.headers.get("cache-control")], ["Success", "no-store"], name)
        }
      }
    })
  )
})

const ofCdns = [
  "cdn-cache-control",
  "surrogate-control",
  "cloudflare-cdn-cache-control",
  "vercel-cdn-cache-control"
] as const

const read = Effect.flatMap(UserSession, ({ get }) => get)
const logIn = Effect.flatMap(UserSession, ({ create }) => create(ada))
const logOut = Effect.flatMap(UserSession, ({ destroy }) => destroy)

describe("the headers of CDNs", () => {
  const headers = Object.fromEntries(ofCdns.map((name) => [name, "public, max-age=3600"]))
  const responses: Record<string, () => HttpServerResponse.HttpServerResponse> = {
    "by Effect": () => text("x", { headers }),
    "by a web Response": () => HttpServerResponse.raw(new Response("x", { headers })),
    "from a web Response": () => HttpServerResponse.fromWeb(new Response("x", { headers }))
  }

  it.effect("[R62] say no more than Cache-Control on a private response, and stand on others", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      for (const [how, respond] of Object.entries(responses)) {
        for (const effect of [read, logIn, logOut]) {
          const send = yield* stage.open(Effect.map(effect, respond))
          const answer = yield* send("POST", "/", { cookie: Stage.cookieOf(yield* stage.login(ada)) })
          assert.deepStrictEqual([answer.status, answer.headers.get("cache-control")], [200, "no-store"], how)
          for (const name of ofCdns) assert.include([null, "no-store"], answer.headers.get(name), `${how}: ${name}`)
        }
        const untouched = yield* stage.open(Effect.map(UserSession, respond))
        const answer = yield* untouched("GET", "/", { cookie: Stage.cookieOf(yield* stage.login(ada)) })
        for (const name of ofCdns) assert.strictEqual(answer.headers.get(name), headers[name], `${how}: ${name}`)
      }
    })
  )
})

describe("a web Response with headers of its own", () => {
  it.effect("[R61] keeps what its Vary names, and gets what the session's does", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const cookie = Stage.cookieOf(yield* stage.login(ada))
      const made = { raw: HttpServerResponse.raw, fromWeb: HttpServerResponse.fromWeb }
      for (const [how, make] of Object.entries(made)) {
        for (const [own, expected] of [
          ["Accept-Language", "Accept-Language, Cookie"],
          ["Accept-Language, cookie", "Accept-Language, cookie"],
          ["*", "*"],
          [undefined, "Cookie"]
        ] as const) {
          for (const effect of [Effect.asVoid(read), Effect.asVoid(UserSession)]) {
            const send = yield* stage.open(
              Effect.map(effect, () => make(new Response("x", own === undefined ? {} : { headers: { vary: own } })))
            )
            const answer = yield* send("GET", "/", { cookie })
            assert.deepStrictEqual([answer.text, answer.headers.get("vary")], ["x", expected], `${how} ${own}`)
          }
        }
      }
    })
  )

  it.effect("[R62] its Cache-Control does not stand on a private response", () =>
    Effect.gen(function* () {
      const stage = yield* Stage.make()
      const cookie = Stage.cookieOf(yield* stage.login(ada))
      const web = () => new Response("x", { headers: { "cache-control": "public, max-age=60" } })
      for (const make of [HttpServerResponse.raw, HttpServerResponse.fromWeb]) {
        const send = yield* stage.open(Effect.map(read, () => make(web())))
        assert.strictEqual((yield* send("GET", "/", { cookie })).headers.get("cache-control"), "no-store")
        const untouched = yield* stage.open(Effect.map(UserSession, () => make(web())))
        assert.strictEqual(
          (yield* untouched("GET", "/", { cookie })).headers.get("cache-control"),
          "public, max-age=60"
        )
      }
    })
  )
})
