/** Sessions on Cloudflare Workers, in workerd itself: the example, and a Worker whose store hangs where it is told to. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as SqlTable from "../src/internal/backend/sqlTable.ts"
import { once } from "node:events"
import { request } from "node:http"
import type { SessionRecord } from "../src/SessionBackend.ts"
import * as SessionBackendTest from "../src/testing/SessionBackendTest.ts"
import { fileOf, makeFolder, write } from "./support/fences.ts"
import { record } from "./support/sqlBackend.ts"
import { vi } from "vitest"
import { browser, bundle, type Options, type Running, start } from "./workers/workerd.ts"

const running: Array<Running> = []
afterAll(() => Promise.all(running.map(({ stop }) => stop())))

const run = async (contents: string, options?: Options): Promise<Running> => {
  const workerd = await start(contents, options)
  running.push(workerd)
  return workerd
}

/** Stores records by another hand than the library's. */
const insert = async ({ db }: Running, records: ReadonlyArray<SessionRecord>) => {
  const rows = records.map(SqlTable.toRow)
  const names = Object.keys(rows[0]!)
  const sql = `INSERT INTO effect_sessions (${names.join()}) VALUES (${names.map(() => "?").join()})`
  await db.batch(rows.map((row) => db.prepare(sql).bind(...names.map((name) => row[name]))))
}

/** The deadline of a store that hangs, in milliseconds, and when an answer is to come, on a machine that does much else. */
const deadline = { millis: 1000, least: 900, most: 10_000 }

// -----------------------------------------------------------------------------
// The example
// -----------------------------------------------------------------------------

describe("examples/worker.ts", () => {
  let text: string
  let workerd: Running
  beforeAll(async () => {
    text = await bundle("examples/worker.ts")
    workerd = await run(text)
  })

  it("logs in, says who you are, and logs out for good", async () => {
    const ada = browser(workerd)
    const stranger = await ada.get("/whoami")
    assert.deepStrictEqual([stranger.status, stranger.headers.getSetCookie()], [401, []])

    const login = await ada.post("/create_session/ada")
    assert.deepStrictEqual([login.status, login.text], [200, "created session for ada"])
    const [cookie] = login.headers.getSetCookie()
    assert.match(cookie!, /^__Host-session=v1\.[\w.-]+; Max-Age=43200; Path=\/; HttpOnly; Secure; SameSite=Lax$/)

    const whoami = await ada.get("/whoami")
    assert.deepStrictEqual([whoami.status, whoami.text], [200, '{"username":"ada"}'])
    assert.strictEqual(whoami.headers.get("cache-control"), "no-store")

    const kept = new Map(ada.jar)
    assert.strictEqual((await ada.post("/delete_session")).status, 200)
    assert.strictEqual(ada.jar.size, 0)
    for (const [name, value] of kept) ada.jar.set(name, value)
    assert.strictEqual((await ada.get("/whoami")).status, 401)
  })

  it("takes a forged cookie for none, and refuses other origins", async () => {
    const ada = browser(workerd)
    await ada.post("/create_session/ada")
    const elsewhere = await ada.post("/delete_session", { headers: { "sec-fetch-site": "cross-site" } })
    assert.strictEqual(elsewhere.status, 403)
    const token = ada.jar.get("__Host-session")!
    ada.jar.set("__Host-session", token.slice(0, -2) + (token.endsWith("AA") ? "BB" : "AA"))
    assert.strictEqual((await ada.get("/whoami")).status, 401)
    ada.jar.set("__Host-session", token)
    assert.strictEqual((await ada.get("/whoami")).status, 200)
  })

  it("[R83] deletes by its cron trigger what has expired, and nothing else", async () => {
    const ada = browser(workerd)
    await ada.post("/create_session/ada")
    const old = Array.from({ length: 120 }, (_, i) => record({ id: String(i).padStart(22, "0") }))
    await insert(workerd, old)
    const count = async () => (await workerd.db.prepare("SELECT id FROM effect_sessions").all()).results.length
    const before = await count()
    assert.strictEqual(await workerd.scheduled(), "ok")
    assert.strictEqual(await count(), before - old.length)
    assert.strictEqual((await ada.get("/whoami")).status, 200)
  })

  it("[R86b] serves no request without its secret", async () => {
    const unset = await run(text, { bindings: { SESSION_SECRET: "" } })
    for (let i = 0; i < 2; i++) assert.strictEqual((await browser(unset).get("/whoami")).status, 500)
    await vi.waitFor(() => assert.include(unset.log(), "session secret"))
  })
})

describe("docs/workers.md", () => {
  const folder = makeFolder()

  it("shows a Worker that answers, and whose cron trigger sweeps", async () => {
    const document = "docs/workers.md"
    write([document], folder)
    const workerd = await run(await bundle(fileOf(folder, document, "worker.ts")))
    assert.strictEqual((await browser(workerd).get("/whoami")).status, 401)
    await insert(workerd, [record()])
    assert.strictEqual(await workerd.scheduled(), "ok")
    assert.deepStrictEqual((await workerd.db.prepare("SELECT id FROM effect_sessions").all()).results, [])
  })
})

// -----------------------------------------------------------------------------
// One request and another
// -----------------------------------------------------------------------------

interface Setting {
  readonly of: string
  readonly options?: Options
  /** `sync` is Effect's scheduler for fibers that requests share. */
  readonly stores: ReadonlyArray<"memory" | "memory-sync" | "d1" | "d1-sync">
}

const settings: ReadonlyArray<Setting> = [
  { of: "as it comes", stores: ["memory", "d1"] },
  {
    of: "with Node's modules and the signal of a request",
    options: { compatibilityFlags: ["nodejs_compat", "enable_request_signal"] },
    stores: ["d1-sync"]
  },
  { of: "of the oldest compatibility date", options: { compatibilityDate: "2024-10-14" }, stores: ["d1"] }
]

let tests: string
let plain: Running
beforeAll(async () => {
  tests = await bundle("test/workers/worker.ts")
  plain = await run(tests)
})

/** Has calls of an operation hang; the answer says how many have met that. */
const hang = async (workerd: Running, operation: string, calls: number) => {
  await browser(workerd).post(`/test/hang/${operation}/${calls}`)
  return {
    met: async (count: number) => {
      for (;;) {
        const { met } = JSON.parse((await browser(workerd).get("/test/hanging")).text)
        if (met >= count) return
      }
    }
  }
}

const loggedIn = async (workerd: Running, store: string, timeout?: number) => {
  const ada = browser(workerd, store, timeout)
  assert.strictEqual((await ada.post("/login/ada")).status, 204)
  return ada
}

const marksOf = async (ada: ReturnType<typeof browser>): Promise<ReadonlyArray<string>> =>
  JSON.parse((await ada.get("/whoami")).text).marks

describe.for(settings)("workerd, $of", ({ options, stores }) => {
  let workerd: Running
  beforeAll(async () => {
    workerd = options === undefined ? plain : await run(tests, options)
  })

  describe.for(stores)("%s", (store) => {
    it("keeps its cookie apart from others", async () => {
      const ada = await loggedIn(workerd, store)
      assert.deepStrictEqual([...ada.jar.keys()].toSorted(), ["__Host-session", "theme"])
      ada.jar.set("session", "other")
      assert.strictEqual((await ada.get("/whoami")).status, 200)
      await ada.post("/logout")
      assert.deepStrictEqual([...ada.jar.keys()].toSorted(), ["session", "theme"])
      assert.strictEqual((await ada.get("/whoami")).status, 401)
    })

    it("[R70] keeps all of twelve updates at once", async () => {
      const ada = await loggedIn(workerd, store)
      const marks = Array.from({ length: 12 }, (_, i) => `mark${i}`)
      const answers = await Promise.all(marks.map((mark) => ada.post(`/mark/${mark}`)))
      assert.deepStrictEqual(
        answers.map(({ status }) => status),
        marks.map(() => 204)
      )
      assert.sameMembers([...(await marksOf(ada))], marks)
    })

    it("[R79] answers 503 where the store hangs: alone, after another request, beside others, and several at once", async () => {
      const ada = await loggedIn(workerd, store, deadline.millis)
      const isUnavailable = ({ millis, status, text }: { millis: number; status: number; text: string }) => {
        assert.deepStrictEqual([status, JSON.parse(text)._tag], [503, "SessionUnavailable"])
        assert.isAtLeast(millis, deadline.least)
        assert.isAtMost(millis, deadline.most)
      }
      const alone = await hang(workerd, "read", 1)
      isUnavailable(await ada.get("/whoami"))
      await alone.met(1)

      assert.strictEqual((await ada.get("/whoami")).status, 200)
      const several = await hang(workerd, "read", 3)
      const late = [ada.get("/whoami"), ada.get("/whoami"), ada.get("/whoami")]
      await several.met(3)
      assert.strictEqual((await ada.get("/public")).status, 200)
      assert.strictEqual((await ada.get("/whoami")).status, 200)
      for (const answer of late) isUnavailable(await answer)
    })

    it("[R75] a client that goes away in its update does not lock the session", async () => {
      const ada = await loggedIn(workerd, store, deadline.millis)
      const { met } = await hang(workerd, "update", 1)
      const gone = ada.leaving("POST", "/mark/gone")
      await met(1)
      gone.leave()
      // The turn of the one who has left never ends. Who waits for its own gives it up, and with it the key; unless workerd
      // was so slow to notice that the call of the store had its deadline first.
      const { millis, status } = await ada.post("/mark/second")
      assert.include([503, 204], status)
      assert.isAtMost(millis, deadline.most)
      assert.strictEqual((await ada.post("/mark/third")).status, 204)
      assert.deepStrictEqual(await marksOf(ada), status === 503 ? ["third"] : ["second", "third"])
    })

    it("[R75] with waitUntil, what was begun comes to its end though the client goes away", async () => {
      const ada = await loggedIn(workerd, store)
      const { met } = await hang(workerd, "slow-update", 1)
      const gone = ada.leaving("POST", "/mark/gone", { "x-wait": "yes" })
      await met(1)
      gone.leave()
      await vi.waitFor(async () => assert.deepStrictEqual(await marksOf(ada), ["gone"]), { timeout: 10_000 })
    })

    it("[R85c] tells onEvent, which has I/O of its own, of what happens", async () => {
      const told = async () =>
        (JSON.parse((await browser(workerd).get("/test/told")).text) as Array<[string, string]>)
          .filter(([from]) => from === store)
          .map(([, event]) => event)
      const before = (await told()).length
      const ada = await loggedIn(workerd, store)
      await ada.post("/mark/one")
      await ada.post("/logout")
      assert.deepStrictEqual((await told()).slice(before), ["Created", "Changed", "Ended"])
    })

    it("guards an HttpApi", async () => {
      const ada = await loggedIn(workerd, store)
      const { status, text } = await ada.get("/api/whoami")
      assert.deepStrictEqual([status, text], [200, '"ada"'])
      assert.strictEqual((await browser(workerd, store).get("/api/whoami")).status, 401)
    })
  })

  describe.for(["memory-sync", "d1-sync"] as const)("%s", (store) => {
    it("guards RPC, with several calls at once", async () => {
      const call = (ada: ReturnType<typeof browser>) =>
        ada.post("/rpc", {
          body: JSON.stringify({ _tag: "Request", id: "1", tag: "WhoAmI", payload: null, headers: [] }),
          headers: { "content-type": "application/json" }
        })
      const ada = await loggedIn(workerd, store)
      for (const { text } of await Promise.all([call(ada), call(ada), call(ada)])) {
        assert.deepStrictEqual(JSON.parse(text)[0].exit, { _tag: "Success", value: "ada" })
      }
      const [{ exit }] = JSON.parse((await call(browser(workerd, store))).text)
      assert.strictEqual(exit._tag, "Failure")
    })
  })

  describe.for([
    // Pushed. A look would come after 20 seconds at the earliest.
    ["memory-sync", 10_000],
    // Looked for, every 25 seconds, which take a hundredth of that here.
    ["d1-fast", 25_000]
  ] as const)("%s", ([store, most]) => {
    it("[R88c] ends streams with their session, though the first who waited has gone", async () => {
      const ada = await loggedIn(workerd, store, 600_000)
      const first = ada.leaving("GET", "/feed")
      await first.begun
      const feeds = await Promise.all([ada.ask("GET", "/feed"), ada.ask("GET", "/feed")])
      first.leave()
      assert.strictEqual((await ada.post("/logout")).status, 204)
      const began = performance.now()
      for (const feed of feeds) assert.strictEqual(await feed.text(), "begun\nNotFound")
      assert.isAtMost(performance.now() - began, most)
    })
  })

  it("a request that goes away while it builds the layers takes no other with it", async () => {
    const { met } = await hang(workerd, "sql", 1)
    const gone = browser(workerd, "d1-sweeper").leaving("GET", "/public")
    await met(1)
    const second = browser(workerd, "d1-sweeper").get("/public")
    gone.leave()
    assert.strictEqual((await second).status, 200)
  })
})

// -----------------------------------------------------------------------------
// D1
// -----------------------------------------------------------------------------

describe("what workerd makes of a request", () => {
  it("[R30] several Cookie lines come joined by a comma, which separates no cookies", async () => {
    const ada = await loggedIn(plain, "memory")
    const session = `__Host-session=${ada.jar.get("__Host-session")}`
    const status = async (...cookies: ReadonlyArray<string>) => {
      const lines = cookies.flatMap((cookie) => ["Cookie", cookie])
      const headers = [
        ...lines,
        "x-store",
        "memory",
        "x-timeout",
        "10000",
        "Host",
        plain.url.host,
        "Connection",
        "close"
      ]
      const [response] = await once(request(new URL("/whoami", plain.url), { headers }).end(), "response")
      response.resume()
      return response.statusCode
    }
    assert.strictEqual(await status(`theme=dark; ${session}`), 200)
    assert.deepStrictEqual([await status("theme=dark", session), await status(session, "theme=dark")], [401, 401])
  })
})

describe("D1", () => {
  it("[R88c] a look at a session that is lost with the request that made it holds up no other", async () => {
    const ada = await loggedIn(plain, "d1-fast", 60_000)
    const first = ada.leaving("GET", "/feed")
    await first.begun
    const { met } = await hang(plain, "read", 1)
    await met(1)
    const second = await ada.ask("GET", "/feed")
    first.leave()
    assert.strictEqual((await ada.post("/logout")).status, 204)
    assert.strictEqual(await second.text(), "begun\nNotFound")
  })

  it("a sweeper's timer ends with the request that built its layer", async () => {
    assert.strictEqual((await browser(plain, "d1-sweeper").get("/public")).status, 200)
    const old = record({ id: "s".repeat(22) })
    await insert(plain, [old])
    // Ten of its intervals.
    await new Promise((resolve) => setTimeout(resolve, 1000))
    assert.strictEqual((await browser(plain, "d1-sweeper").get("/public")).status, 200)
    const { results } = await plain.db.prepare("SELECT id FROM effect_sessions WHERE id = ?").bind(old.id).all()
    assert.lengthOf(results, 1)
  })

  const cases = [...SessionBackendTest.cases, ...SessionBackendTest.collectingCases]
  let results: ReadonlyArray<{ readonly name: string; readonly failure?: string }>
  beforeAll(async () => {
    results = JSON.parse((await browser(plain).get("/test/cases")).text)
    assert.lengthOf(results, cases.length)
  }, 120_000)
  cases.forEach(({ name }, i) => it(name, () => assert.deepStrictEqual(results[i], { name })))
})
