/** docs/router.md: its tables have the members there are, and its routes do what it says. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { SessionBackendMemory, SessionFrontend, SessionMiddleware, SessionVerifier } from "effect-sessions"
import { SessionTest } from "effect-sessions/testing"
import { TestClock } from "effect/testing"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as Client from "../support/client.ts"
import { modulesOf } from "../support/fences.ts"

const root = join(import.meta.dirname, "../..")
const file = modulesOf("docs/router.md")

const guide = readFileSync(join(root, "docs/router.md"), "utf8")

/** The rows of the table of an interface's members, and their first cells' names. */
const tableOf = (of: string) => {
  const table = new RegExp(`<!-- members of ${of},[^\\n]*\\n([\\s\\S]*?)<!-- end -->`).exec(guide)![1]!
  return [...table.matchAll(/^\| (`.*?`) \|(.*)\|$/gm)].flatMap(([, names, rest]) =>
    [...names!.matchAll(/`(\w+)/g)].map(([, name]) => ({ name: name!, rest: rest! }))
  )
}

/** What the source says of each member of an interface: its type, without comments. */
const membersOf = (source: string, of: string): ReadonlyMap<string, string> => {
  const body = new RegExp(`export interface ${of}<[^{]*\\{\\n([\\s\\S]*?)\\n\\}`).exec(
    readFileSync(join(root, source), "utf8")
  )![1]!
  const plain = body.replace(/\/\*\*[\s\S]*?\*\//g, "")
  return new Map(
    plain
      .split(/^ {2}readonly /m)
      .slice(1)
      .map((text) => [/^\w+/.exec(text)![0], text.trim()])
  )
}

describe("docs/router.md", async () => {
  it("has every member of the request's session, with how it fails", () => {
    const members = membersOf("src/internal/session/requestSession.ts", "RequestSession")
    const rows = tableOf("RequestSession")
    assert.deepStrictEqual([...new Set(rows.map(({ name }) => name))].toSorted(), [...members.keys()].toSorted())
    for (const { name, rest } of rows) {
      const type = members.get(name)!
      if (name === "create") continue // two forms, of which each has errors of its own
      assert.strictEqual(
        /Loaded<|Unauthenticated \| Refusal<R> \| SessionStale/.test(type),
        /as a read/.test(rest),
        name
      )
      assert.strictEqual(/Changed</.test(type), /as a change/.test(rest), name)
    }
  })

  it("has every member of the manager", () => {
    const members = membersOf("src/internal/session/manager.ts", "SessionManager")
    assert.deepStrictEqual(
      tableOf("SessionManager")
        .map(({ name }) => name)
        .toSorted(),
      [...members.keys()].toSorted()
    )
  })

  const { UserSession } = await file("session")
  const { AdminSession, WhoIsThere } = await file("admin")
  const [{ Routes }, { TimeLeft }, { app }, { suspend }] = await Promise.all(
    ["routes", "time-left", "app", "job"].map(file)
  )

  const live = (session: any, cookie: string, options = {}): Layer.Layer<any, any, any> =>
    SessionMiddleware.layer(session, options).pipe(
      Layer.provide([SessionFrontend.layerCookie({ name: cookie }), SessionVerifier.layerExists(session)])
    )
  const sessions: Layer.Layer<any> = Layer.merge(
    live(UserSession, "__Host-session", { idleTimeout: "30 minutes", absoluteTimeout: "12 hours" }),
    live(AdminSession, "__Host-admin")
  ).pipe(Layer.provide([SessionBackendMemory.layer, SessionTest.layerKeys, SessionTest.layerCrypto]) as any)

  /** All of the page's routes, with one that makes an administrator's session and one that runs the job. */
  const start = Client.serve(
    Layer.mergeAll(
      Routes,
      TimeLeft,
      WhoIsThere,
      HttpRouter.add(
        "POST",
        "/admin",
        Effect.flatMap(AdminSession as Effect.Effect<any>, (admin) =>
          Effect.as(admin.create({ email: "root@app.test" }), HttpServerResponse.empty())
        )
      ).pipe(Layer.provide(SessionMiddleware.router(AdminSession).layer)),
      Layer.unwrap(
        Effect.map(Effect.context<never>(), (context) => {
          const run = (effect: Effect.Effect<any>) => Effect.provideContext(effect, context)
          return Layer.merge(
            HttpRouter.add("GET", "/hello", (request) =>
              run(Effect.provideService(app, HttpServerRequest.HttpServerRequest, request))
            ),
            HttpRouter.add("POST", "/suspend", Effect.as(run(suspend("ada")), HttpServerResponse.empty()))
          )
        })
      )
    ).pipe(Layer.provide(sessions)) as unknown as Layer.Layer<never, never, HttpRouter.HttpRouter>
  )

  const logIn = (send: Client.Send) =>
    send("POST", "/login", { headers: { "content-type": "application/json" }, body: `{"username":"ada"}` })

  it.effect("its app logs in, keeps a cart, and logs out; a bad form is a 400", () =>
    Effect.gen(function* () {
      const send = yield* start
      assert.strictEqual((yield* send("GET", "/whoami")).status, 401)
      const bad = { headers: { "content-type": "application/json" }, body: `{"username":""}` }
      assert.strictEqual((yield* send("POST", "/login", bad)).status, 400)
      const { cookie } = yield* logIn(send)
      yield* send("POST", "/cart/tea", { cookie })
      assert.strictEqual((yield* send("POST", "/cart/milk", { cookie })).status, 200)
      assert.strictEqual((yield* send("GET", "/whoami", { cookie })).text, `{"username":"ada","cart":["tea","milk"]}`)
      assert.strictEqual((yield* send("GET", "/hello", { cookie })).text, "hello ada")
      assert.strictEqual((yield* send("POST", "/logout", { cookie })).status, 204)
      assert.strictEqual((yield* send("GET", "/whoami", { cookie })).status, 401)
    })
  )

  it.effect("a route that polls keeps no session alive", () =>
    Effect.gen(function* () {
      const send = yield* start
      const { cookie } = yield* logIn(send)
      for (let minutes = 0; minutes < 30; minutes += 10) {
        assert.strictEqual((yield* send("GET", "/time-left", { cookie })).text, String(30 * 60_000))
        yield* TestClock.adjust("10 minutes")
      }
      assert.strictEqual((yield* send("GET", "/time-left", { cookie })).status, 401)
    })
  )

  it.effect("two definitions on a route: an administrator's session, and perhaps a user's", () =>
    Effect.gen(function* () {
      const send = yield* start
      const ada = (yield* logIn(send)).cookie
      const admin = (yield* send("POST", "/admin")).cookie
      assert.match(admin, /^__Host-admin=/)
      const ask = (cookie: string) =>
        Effect.map(send("GET", "/who-is-there", { cookie }), ({ status, text }) => [status, text])
      assert.deepStrictEqual(yield* ask(admin), [200, "root@app.test, no user"])
      assert.deepStrictEqual(yield* ask(`${admin}; ${ada}`), [200, "root@app.test, ada"])
      assert.strictEqual((yield* ask(ada))[0], 401)
    })
  )

  it.effect("a job ends a user's sessions", () =>
    Effect.gen(function* () {
      const send = yield* start
      const { cookie } = yield* logIn(send)
      assert.strictEqual((yield* send("POST", "/suspend")).status, 204)
      assert.strictEqual((yield* send("GET", "/whoami", { cookie })).status, 401)
    })
  )
})
