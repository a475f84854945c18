/** A shared cache in front of the application: what is answered to one user must never be served to another. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Option, Schema } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { Session, SessionMiddleware } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"

class UserSession extends Session.Service<UserSession>()("test/SharedCache", {
  data: Schema.Struct({ username: Schema.String }),
  principal: (data) => data.username
}) {}

/** A handler that asks for its answer to be cached, as careless ones do. */
const greeting = (name: string) =>
  HttpServerResponse.text(name, { headers: { "cache-control": "public, max-age=600, s-maxage=600" } })

const Routes = Layer.mergeAll(
  HttpRouter.add(
    "GET",
    "/page/:n",
    Effect.gen(function* () {
      const session = yield* (yield* UserSession).option
      return greeting(Option.match(session, { onNone: () => "stranger", onSome: ({ data }) => data.username }))
    })
  ),
  // A GET that sets a cookie: a cache that stored it would hand out the session itself.
  HttpRouter.add(
    "GET",
    "/renew",
    Effect.gen(function* () {
      const session = yield* UserSession
      const renewed = yield* Effect.option(session.rotate)
      return greeting(Option.match(renewed, { onNone: () => "stranger", onSome: ({ data }) => data.username }))
    })
  ),
  HttpRouter.add(
    "POST",
    "/login/:name",
    Effect.gen(function* () {
      const { name } = yield* HttpRouter.schemaPathParams(Schema.Struct({ name: Schema.String }))
      yield* (yield* UserSession).create({ username: name })
      return HttpServerResponse.empty()
    })
  ),
  HttpRouter.add(
    "POST",
    "/logout",
    Effect.gen(function* () {
      yield* (yield* UserSession).destroy
      return HttpServerResponse.empty()
    })
  )
).pipe(
  Layer.provide(SessionMiddleware.router(UserSession).layer),
  Layer.merge(
    HttpRouter.add(
      "GET",
      "/guarded",
      Effect.map(UserSession.Verified, ({ data }) => greeting(data.username))
    ).pipe(
      Layer.provide(
        SessionMiddleware.routerRequired(UserSession, { onFailure: () => Effect.succeed(greeting("stranger")) }).layer
      )
    )
  )
)

type Handler = (request: Request) => Promise<Response>

/** What a cache keeps of an exchange, with the request's headers that `Vary` names. */
interface Stored {
  readonly body: string
  readonly status: number
  readonly headers: Headers
  readonly vary: ReadonlyArray<readonly [string, string | null]>
}

/**
 * A shared cache that keeps all it may (RFC 9111, sections 3 and 4). Many that are in use go by the URL alone, whatever
 * `Vary` says: `heedsVary: false` is one of those.
 */
const makeCache = (origin: Handler, options: { readonly heedsVary: boolean }) => {
  const kept = new Map<string, Array<Stored>>()
  const counts = { hits: 0 }
  const handler: Handler = async (request) => {
    const { pathname } = new URL(request.url)
    if (request.method === "GET") {
      const found = kept
        .get(pathname)
        ?.find(({ vary }) => !options.heedsVary || vary.every(([name, value]) => request.headers.get(name) === value))
      if (found !== undefined) {
        counts.hits++
        return new Response(found.body, { status: found.status, headers: found.headers })
      }
    }
    const response = await origin(request)
    if (request.method !== "GET") return response
    const directives = (response.headers.get("cache-control") ?? "").split(",").map((one) => one.trim().toLowerCase())
    const names = (response.headers.get("vary") ?? "").split(",").flatMap((name) => name.trim() || [])
    const mayBeStored =
      response.status === 200 &&
      !directives.some((one) => one === "no-store" || /^private|^no-cache/.test(one)) &&
      !names.includes("*")
    const body = await response.text()
    if (mayBeStored) {
      const vary = names.map((name) => [name, request.headers.get(name)] as const)
      const stored = { body, status: response.status, headers: new Headers(response.headers), vary }
      kept.set(pathname, [...(kept.get(pathname) ?? []), stored])
    }
    return new Response(body, { status: response.status, headers: response.headers })
  }
  return { handler, counts, clear: () => kept.clear() }
}

/** A browser of one user: it keeps the one cookie, and knows whether it is logged in. */
const makeUser = (name: string, send: Handler) => {
  let cookie = ""
  let isLoggedIn = false
  const request = async (method: string, path: string) => {
    const response = await send(
      new Request(`https://app.test${path}`, { method, headers: cookie === "" ? {} : { cookie } })
    )
    for (const set of response.headers.getSetCookie()) {
      cookie = /max-age=0|expires=thu, 01 jan 1970/i.test(set) ? "" : set.split(";")[0]!
    }
    return response.text()
  }
  return {
    name,
    get expected() {
      return isLoggedIn ? name : "stranger"
    },
    ask: (path: string) => request("GET", path),
    logInOrOut: async () => {
      await request("POST", isLoggedIn ? "/logout" : `/login/${name}`)
      isLoggedIn = !isLoggedIn
    }
  }
}

/** Two users and a visitor send 10^4 requests in an order that is the same in every run. */
const run = async (options: { readonly heedsVary: boolean }) => {
  const { dispose, handler } = HttpRouter.toWebHandler(
    // The library warns of each answer that it keeps from being cached: thousands here.
    Routes.pipe(Layer.provide(SessionTest.layer(UserSession)), Layer.provideMerge(Logger.layer([]))),
    { disableLogger: true }
  )
  const cache = makeCache((request) => handler(request), options)
  const users = ["ada", "eve"].map((name) => makeUser(name, cache.handler))
  const visitor = makeUser("nobody", cache.handler)
  const paths = ["/page/1", "/page/2", "/page/3", "/guarded", "/renew"]
  const answers: Array<{ readonly to: string; readonly expected: string; readonly body: string }> = []
  let seed = 20_260_101
  const draw = (n: number) => (seed = (seed * 48_271) % 2_147_483_647) % n
  for (let i = 0; i < 10_000; i++) {
    // What strangers were told does not stay for ever, or nothing else would be asked of the application.
    if (i % 50 === 0) cache.clear()
    const user = [...users, visitor][draw(3)]!
    if (user !== visitor && draw(10) === 0) await user.logInOrOut()
    const body = await user.ask(paths[draw(paths.length)]!)
    answers.push({ to: user.name, expected: user.expected, body })
  }
  await dispose()
  return { answers, hits: cache.counts.hits }
}

describe("a shared cache in front of the application", () => {
  it("[R63] serves each of 10^4 requests what the application would answer it", { timeout: 60_000 }, async () => {
    const { answers, hits } = await run({ heedsVary: true })
    assert.deepStrictEqual(
      answers.filter(({ body, expected }) => body !== expected),
      []
    )
    assert.isAbove(hits, 100, "strangers are served from the cache, so it is one")
    for (const name of ["ada", "eve", "stranger"])
      assert.isAbove(answers.filter(({ body }) => body === name).length, 500)
  })

  it("[R63] has no user's answer to give to another, even if it does not heed Vary", { timeout: 60_000 }, async () => {
    const { answers, hits } = await run({ heedsVary: false })
    assert.deepStrictEqual(
      answers.filter(({ body, to }) => body !== "stranger" && body !== to),
      []
    )
    assert.isAbove(hits, 1000)
    for (const name of ["ada", "eve"]) assert.isAbove(answers.filter(({ body }) => body === name).length, 100)
  })
})
