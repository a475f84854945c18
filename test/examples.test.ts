/** examples/basic.ts, as a reader runs it: on the built package, over real HTTP. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { join } from "node:path"
import * as Examples from "./support/examples.ts"

let examples: Examples.Examples
beforeAll(() => {
  examples = Examples.open()
}, 120_000)
afterAll(() => examples.close())

/** A client that keeps cookies as a browser does: by name, until they are expired. */
const browser = (url: string) => {
  const jar = new Map<string, string>()
  const send = async (method: string, path: string, headers: Record<string, string> = {}) => {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ")
    const response = await fetch(url + path, { method, headers: cookie === "" ? headers : { cookie, ...headers } })
    const setCookie = response.headers.getSetCookie()
    for (const line of setCookie) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)!
      if (/; Max-Age=0(;|$)/.test(line)) jar.delete(name!)
      else jar.set(name!, value!)
    }
    return { status: response.status, body: await response.text(), headers: response.headers, setCookie }
  }
  return {
    jar,
    get: (path: string, headers?: Record<string, string>) => send("GET", path, headers),
    post: (path: string, headers?: Record<string, string>) => send("POST", path, headers)
  }
}

const secret = () => Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64")

// An example takes a while to start on a busy machine.
const slow = { timeout: 120_000 }

describe("examples/basic.ts", slow, () => {
  let output: () => string
  let url: string
  beforeAll(async () => {
    const running = await examples.serving("basic.ts")
    output = running.output
    url = running.url
  }, slow.timeout)

  it("logs in, says who you are, and logs out for good", async () => {
    const ada = browser(url)

    const stranger = await ada.get("/whoami")
    assert.deepStrictEqual([stranger.status, stranger.setCookie], [401, []])

    const login = await ada.post("/create_session/ada")
    assert.deepStrictEqual([login.status, login.body], [200, "created session for ada"])
    assert.strictEqual(login.setCookie.length, 1)
    assert.match(login.setCookie[0]!, /^session=v1\.[\w.-]+; Max-Age=43200; Path=\/; HttpOnly; SameSite=Lax$/)

    const whoami = await ada.get("/whoami")
    assert.deepStrictEqual([whoami.status, JSON.parse(whoami.body)], [200, { username: "ada" }])
    assert.strictEqual(whoami.headers.get("cache-control"), "no-store")
    assert.strictEqual(whoami.headers.get("vary"), "Cookie")

    const cookie = `session=${ada.jar.get("session")}`
    const logout = await ada.post("/delete_session")
    assert.deepStrictEqual([logout.status, logout.body], [200, "deleted session"])
    assert.strictEqual(ada.jar.size, 0)

    const replayed = await ada.get("/whoami", { cookie })
    assert.deepStrictEqual([replayed.status, replayed.setCookie], [401, []])
    const again = await ada.post("/delete_session", { cookie })
    assert.strictEqual(again.status, 200)
    assert.strictEqual((await ada.post("/delete_session")).status, 200)
  })

  it("takes a bad cookie for none, and refuses other origins", async () => {
    const ada = browser(url)
    await ada.post("/create_session/ada")
    const token = ada.jar.get("session")!
    const forged = token.slice(0, -2) + (token.endsWith("AA") ? "BB" : "AA")
    for (const bad of ["garbage", forged, token.slice(1), `${token}x`]) {
      const { headers, setCookie, status } = await ada.get("/whoami", { cookie: `session=${bad}` })
      assert.deepStrictEqual([status, setCookie], [401, []], bad)
      assert.strictEqual(headers.get("www-authenticate"), "Session")
    }
    assert.strictEqual((await ada.post("/delete_session", { origin: "https://evil.example" })).status, 403)
    assert.strictEqual((await ada.post("/delete_session", { "sec-fetch-site": "cross-site" })).status, 403)
    assert.strictEqual((await ada.get("/whoami")).status, 200)
    assert.strictEqual(
      (await ada.post("/delete_session", { origin: url, "sec-fetch-site": "same-origin" })).status,
      200
    )
  })

  it("keeps users apart", async () => {
    const ada = browser(url)
    const bob = browser(url)
    await Promise.all([ada.post("/create_session/ada"), bob.post("/create_session/bob")])
    await bob.post("/delete_session")
    assert.strictEqual((await ada.get("/whoami")).body, `{"username":"ada"}`)
    assert.strictEqual((await bob.get("/whoami")).status, 401)
  })

  it("prints commands to try, and they work", async () => {
    const commands = output().match(/curl .*/g) ?? []
    assert.strictEqual(commands.length, 4)
    // What curl would do, for machines without it: `-b` sends the cookies kept, `-c` keeps those that come.
    const jar = browser(url)
    const statuses: Array<number> = []
    for (const command of commands) {
      const [, options, path] = new RegExp(`^curl -i (.*?)${url}(/\\S+)$`).exec(command) ?? assert.fail(command)
      assert.match(options!, /^(-b cookies\.txt )?(-c cookies\.txt )?(-X POST )?$/)
      const client = options!.includes("-b ") || options!.includes("-c ") ? jar : browser(url)
      statuses.push((await (options!.includes("-X POST") ? client.post(path!) : client.get(path!))).status)
    }
    assert.deepStrictEqual(statuses, [200, 200, 200, 401])
  })

  it("[R86b] warns without SESSION_SECRET, and signs with it otherwise", async () => {
    assert.include(output(), "SESSION_SECRET is not set")

    const shared = { SESSION_SECRET: secret() }
    const [first, second] = await Promise.all([
      examples.serving("basic.ts", shared),
      examples.serving("basic.ts", shared)
    ])
    assert.notInclude(first.output(), "SESSION_SECRET")
    const ada = browser(first.url)
    await ada.post("/create_session/ada")
    const cookie = `session=${ada.jar.get("session")}`
    // The second process takes the signature for its own; the session is in the memory of the first.
    const { body } = await browser(second.url).get("/whoami", { cookie })
    assert.deepStrictEqual(JSON.parse(body), { _tag: "SessionInvalid", reason: "NotFound" })
  })

  it("[R86a] does not start with a weak secret, and does not print it", async () => {
    const weak = "correct horse battery staple, again and again"
    const { exited, output } = await examples.run("basic.ts", { SESSION_SECRET: weak })
    assert.notStrictEqual(await exited, 0)
    assert.include(output(), "openssl rand -base64 32")
    assert.notInclude(output(), weak)
  })

  it("stops when told to", async () => {
    const { exited, process, url } = await examples.serving("basic.ts")
    await browser(url).post("/create_session/ada")
    process.kill("SIGTERM")
    assert.isNotNull(await exited)
  })

  it("keeps sessions over a restart, in SQLite", async () => {
    const env = {
      SESSION_BACKEND: "sqlite",
      SQLITE_FILE: join(examples.folder, "restart.sqlite"),
      SESSION_SECRET: secret()
    }
    const first = await examples.serving("basic.ts", env)
    const ada = browser(first.url)
    await ada.post("/create_session/ada")
    const cookie = `session=${ada.jar.get("session")}`
    first.process.kill("SIGKILL")
    await first.exited

    const second = browser((await examples.serving("basic.ts", env)).url)
    assert.strictEqual((await second.get("/whoami", { cookie })).body, `{"username":"ada"}`)
    assert.strictEqual((await second.post("/delete_session", { cookie })).status, 200)
    assert.strictEqual((await second.get("/whoami", { cookie })).status, 401)
  })

  it("does not start with a backend it does not know", async () => {
    const { exited, output } = await examples.run("basic.ts", { SESSION_BACKEND: "mongodb" })
    assert.notStrictEqual(await exited, 0)
    assert.include(output(), "SESSION_BACKEND")
  })
})

describe("examples/rpc.ts", slow, () => {
  it("logs in over RPC, and its stream ends with the session", async () => {
    const { exited, output } = await examples.run("rpc.ts")
    assert.strictEqual(await exited, 0, output())
    const said = output()
    assert.include(said, "before the log-in: SessionMissing")
    assert.include(said, "logged in as ada")
    assert.match(said, /tick 1[\s\S]*tick 3[\s\S]*the stream ended with the session: invalid session: NotFound/)
  })
})
