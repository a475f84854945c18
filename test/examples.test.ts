/**
 * The examples, as a reader runs them: `node examples/x.ts`, on the built package, over real HTTP.
 *
 * The package is built into a folder of its own together with its package.json, so that the examples find
 * `effect-sessions` as a user's code does, and neither need nor touch `dist`.
 */
import { afterAll, afterEach, assert, beforeAll, describe, it } from "@effect/vitest"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { type AddressInfo, createServer } from "node:net"
import { join } from "node:path"

const root = join(import.meta.dirname, "..")
let folder: string

beforeAll(() => {
  mkdirSync(join(root, ".tmp"), { recursive: true })
  folder = mkdtempSync(join(root, ".tmp/examples-"))
  cpSync(join(root, "package.json"), join(folder, "package.json"))
  cpSync(join(root, "examples"), join(folder, "examples"), { recursive: true })
  const tsc = spawnSync(
    process.execPath,
    [
      join(root, "node_modules/typescript/bin/tsc"),
      ...`-p src --outDir ${join(folder, "dist")}`.split(" "),
      // Types are checked elsewhere, and nobody reads the declarations.
      ..."--noCheck --declaration false --declarationMap false --sourceMap false".split(" ")
    ],
    { cwd: root, encoding: "utf8" }
  )
  assert.strictEqual(tsc.status, 0, tsc.stdout)
}, 120_000)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0)
  await once(server, "listening")
  // Listening on a port number, not on a path.
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, "close")
  return port
}

interface Running {
  readonly url: string
  readonly output: () => string
  readonly process: ChildProcess
  readonly exited: Promise<number | null>
}

const started: Array<Running> = []

afterEach(async () => {
  for (const { exited, process } of started.splice(0)) {
    process.kill("SIGKILL")
    await exited
  }
})

/** Runs an example in a process of its own, with this environment added to a clean one. */
const run = async (example: string, env: Record<string, string> = {}): Promise<Running> => {
  const port = await freePort()
  const child = spawn(process.execPath, [join("examples", example)], {
    cwd: folder,
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], NO_COLOR: "1", PORT: String(port), ...env },
    stdio: ["ignore", "pipe", "pipe"]
  })
  let output = ""
  child.stdout.on("data", (chunk) => (output += chunk))
  child.stderr.on("data", (chunk) => (output += chunk))
  const exited = once(child, "close").then(([code]) => code as number | null)
  const running = { url: `http://localhost:${port}`, output: () => output, process: child, exited }
  started.push(running)
  return running
}

/** Waits until the example listens. */
const serving = async (example: string, env?: Record<string, string>): Promise<Running> => {
  const running = await run(example, env)
  await new Promise<void>((resolve, reject) => {
    const look = () => /listening/i.test(running.output()) && resolve()
    running.process.stdout!.on("data", look)
    void running.exited.then((code) => reject(new Error(`exited with ${code}:\n${running.output()}`)))
    look()
  })
  return running
}

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

describe("examples/basic.ts", () => {
  it("logs in, says who you are, and logs out for good", async () => {
    const { url } = await serving("basic.ts")
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
    const { url } = await serving("basic.ts")
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
    const { url } = await serving("basic.ts")
    const ada = browser(url)
    const bob = browser(url)
    await Promise.all([ada.post("/create_session/ada"), bob.post("/create_session/bob")])
    await bob.post("/delete_session")
    assert.strictEqual((await ada.get("/whoami")).body, `{"username":"ada"}`)
    assert.strictEqual((await bob.get("/whoami")).status, 401)
  })

  it("prints commands to try, and they work", async () => {
    const { output, url } = await serving("basic.ts")
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
    assert.include((await serving("basic.ts")).output(), "SESSION_SECRET is not set")

    const shared = { SESSION_SECRET: secret() }
    const first = await serving("basic.ts", shared)
    const second = await serving("basic.ts", shared)
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
    const { exited, output } = await run("basic.ts", { SESSION_SECRET: weak })
    assert.notStrictEqual(await exited, 0)
    assert.include(output(), "openssl rand -base64 32")
    assert.notInclude(output(), weak)
  })

  it("stops when told to", async () => {
    const { exited, process, url } = await serving("basic.ts")
    await browser(url).post("/create_session/ada")
    process.kill("SIGTERM")
    assert.isNotNull(await exited)
  })

  it("keeps sessions over a restart, in SQLite", async () => {
    const env = {
      SESSION_BACKEND: "sqlite",
      SQLITE_FILE: join(folder, "restart.sqlite"),
      SESSION_SECRET: secret()
    }
    const first = await serving("basic.ts", env)
    const ada = browser(first.url)
    await ada.post("/create_session/ada")
    const cookie = `session=${ada.jar.get("session")}`
    first.process.kill("SIGKILL")
    await first.exited

    const second = browser((await serving("basic.ts", env)).url)
    assert.strictEqual((await second.get("/whoami", { cookie })).body, `{"username":"ada"}`)
    assert.strictEqual((await second.post("/delete_session", { cookie })).status, 200)
    assert.strictEqual((await second.get("/whoami", { cookie })).status, 401)
  })

  it("does not start with a backend it does not know", async () => {
    const { exited, output } = await run("basic.ts", { SESSION_BACKEND: "mongodb" })
    assert.notStrictEqual(await exited, 0)
    assert.include(output(), "SESSION_BACKEND")
  })
})

describe("examples/http-api.ts", () => {
  it("logs in with a password, lists devices, and keeps users and administrators apart", async () => {
    const { output, url } = await serving("http-api.ts")
    const post = async (path: string, body: object, headers: Record<string, string> = {}) =>
      fetch(url + path, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: JSON.stringify(body)
      })
    const cookieOf = (response: Response) => ({ cookie: response.headers.getSetCookie()[0]!.split(";")[0]! })
    /** The log-ins the example prints, the passwords with them. */
    const logins = output()
      .match(/\{"username".*?\}/g)!
      .map((json) => JSON.parse(json))
    const ada = logins.find(({ username }) => username === "ada")
    const root = logins.find(({ username }) => username === "root")

    assert.strictEqual((await post("/login", { ...ada, password: "wrong" })).status, 401)
    const laptop = cookieOf(await post("/login", ada))
    const { token } = (await (await post("/mobile/login", ada)).json()) as { readonly token: string }
    const client = browser(url)
    for (const credential of [laptop, { authorization: `Bearer ${token}` }]) {
      const whoami = await client.get("/whoami", credential)
      assert.deepInclude(JSON.parse(whoami.body), { username: "ada" })
    }
    const sessions = JSON.parse((await client.get("/sessions", laptop)).body) as ReadonlyArray<{ current: boolean }>
    assert.deepStrictEqual(sessions.map(({ current }) => current).sort(), [false, true])

    const admin = cookieOf(await post("/admin/login", root))
    assert.strictEqual((await client.get("/admin/whoami", admin)).status, 200)
    assert.strictEqual((await client.get("/admin/whoami", laptop)).status, 401)
    assert.strictEqual((await client.get("/whoami", { cookie: admin.cookie.replace("admin", "session") })).status, 401)

    assert.strictEqual((await client.get("/docs")).status, 200)
    const document = JSON.parse((await client.get("/openapi.json")).body)
    assert.deepStrictEqual(Object.keys(document.components.securitySchemes).sort(), ["admin", "bearer", "session"])

    assert.strictEqual((await client.post("/logout", laptop)).status, 204)
    assert.strictEqual((await client.get("/whoami", laptop)).status, 401)
  })
})
