/** The shop of examples/web on each store, without a browser: what its answers say, and what it says where it cannot start. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { once } from "node:events"
import { type AddressInfo, createServer } from "node:net"
import { mkdtempSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { vi } from "vitest"
import { mysqlUrl } from "./support/mariadb.ts"
import { databaseUrl, listens, needing, redisUrl } from "./support/processes.ts"
import { client } from "./web/client.ts"
import { adminPassword, open, type Shop, type Store } from "./web/shop.ts"

const password = "correct horse"

/** What a response has whatever it is: a page, a redirect, a failure, a file. */
const expectHeaders = (headers: Headers, what: string) => {
  const policy = headers.get("content-security-policy") ?? ""
  for (const part of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'self'"]) {
    assert.include(policy, part, what)
  }
  assert.notInclude(policy, "unsafe", what)
  assert.strictEqual(headers.get("referrer-policy"), "same-origin", what)
  assert.strictEqual(headers.get("x-content-type-options"), "nosniff", what)
}

const suite = (describe: ReturnType<typeof needing>, store: Store) =>
  describe(`examples/web on ${store}`, { timeout: 60_000 }, () => {
    let shop: Shop
    beforeAll(async () => {
      shop = await open(store)
    })
    afterAll(() => shop?.close())
    const visitor = () => client(shop.url, shop.clock)

    it("has the cart, the devices, the feed, the proof and the audit", async () => {
      const [laptop, phone, root] = [visitor(), visitor(), visitor()]
      // A user may be there from another run: the store outlives the test, the users do not.
      const name = "ada"
      await laptop.post("/cart", { tea: "oolong" })
      const { text: welcome } = await laptop.post("/signup", { name, password, remember: "on" })
      assert.include(welcome, "Welcome, ada.")
      assert.include(welcome, "1 × Oolong")
      await phone.post("/login", { name, password })
      assert.lengthOf((await phone.get("/devices")).text.match(/<small>/g)!, 2)

      const feed = await phone.send("/feed")
      assert.strictEqual(feed.headers.get("content-type"), "text/event-stream")
      const reader = feed.body!.pipeThrough(new TextDecoderStream()).getReader()
      assert.match((await reader.read()).value!, /^data: Live/)
      const began = performance.now()
      assert.include((await laptop.post("/devices/revoke-others")).text, "Other devices logged out: 1.")
      let said = ""
      for (let part = await reader.read(); !part.done; part = await reader.read()) said += part.value
      assert.match(said, /event: ended\ndata: You have been logged out/)
      // The regular look comes after 20 seconds at the earliest.
      assert.isBelow(performance.now() - began, 15_000)
      assert.strictEqual((await phone.send("/feed")).status, 401)

      shop.clock.millis += 6 * 60_000
      const confirm = await laptop.get("/account/delete")
      assert.strictEqual(confirm.path, "/confirm?next=%2Faccount%2Fdelete")
      assert.strictEqual((await laptop.post("/account/delete")).path, confirm.path)
      assert.strictEqual((await laptop.post("/confirm", { password, next: "/account/delete" })).path, "/account/delete")
      assert.include((await laptop.post("/account/delete")).text, "Your account is deleted.")
      assert.strictEqual((await phone.post("/login", { name, password })).status, 401)

      await root.post("/admin/login", { name: "admin", password: adminPassword })
      const { text: audit } = await root.get("/admin/audit")
      for (const entry of ["signed up", "ended: revoked", "ended: replaced", "account deleted", "no such user"]) {
        assert.include(audit, entry)
      }
    })

    it("refuses what comes from elsewhere, and says so on a page with all headers", async () => {
      const ada = visitor()
      for (const [path, init, status] of [
        ["/", {}, 200],
        ["/style.css", {}, 200],
        ["/page.js", {}, 200],
        ["/devices", {}, 303],
        ["/feed", {}, 401],
        ["/nothing", {}, 404],
        ["/cart", { method: "POST", body: new URLSearchParams({ tea: "coffee" }) }, 400],
        ["/cart", { method: "POST", body: new URLSearchParams({ tea: "x".repeat(20_000) }) }, 413],
        ["/login", { method: "POST", headers: { origin: "https://evil.test" } }, 403],
        ["/logout", { method: "POST", headers: { "sec-fetch-site": "same-site" } }, 403],
        ["/admin/login", { method: "POST", headers: { "sec-fetch-site": "cross-site" } }, 403],
        ["/signup", { method: "POST", body: new URLSearchParams({ name: "eve", password: "short" }) }, 400]
      ] as const) {
        const response = await ada.send(path, init)
        assert.strictEqual(response.status, status, path)
        expectHeaders(response.headers, path)
        if (status >= 400) {
          assert.strictEqual(response.headers.get("content-type"), "text/html; charset=utf-8", path)
          assert.match(await response.text(), /<h1>[A-Z].*<\/h1><p>[A-Z]/s, path)
        }
      }
    })
  })

suite(describe, "memory")
suite(describe, "sqlite")
suite(needing(await listens(redisUrl, 6379), "no Redis at REDIS_URL, nor at 127.0.0.1:6379"), "redis")
suite(needing(await listens(databaseUrl, 5432), "no Postgres at DATABASE_URL, nor at 127.0.0.1:5432"), "postgres")
suite(needing(await listens(mysqlUrl, 3306), "no MySQL or MariaDB at MYSQL_URL, nor at 127.0.0.1:3306"), "mysql")

describe("examples/web", { timeout: 60_000 }, () => {
  let shop: Shop
  beforeAll(async () => {
    shop = await open("sqlite")
  })
  afterAll(() => shop?.close())
  const visitor = () => client(shop.url, shop.clock)

  it("hashes as many passwords for a user who is not there as for one who is", async () => {
    const bob = visitor()
    await bob.post("/signup", { name: "bob", password })
    await bob.post("/logout")
    const counts: Array<number> = []
    for (const name of ["bob", "stranger"]) {
      const before = shop.hashed()
      assert.strictEqual((await bob.post("/login", { name, password: "wrong horse" })).status, 401)
      counts.push(shop.hashed() - before)
    }
    assert.deepStrictEqual(counts, [1, 1])
  })

  it("lets a name be tried 20 times in 15 minutes, and hashes nothing beyond that", async () => {
    const eve = visitor()
    await eve.post("/signup", { name: "eve", password })
    await eve.post("/logout")
    for (let n = 0; n < 20; n++) await eve.post("/login", { name: "Eve", password: `guess ${n}` })
    const before = shop.hashed()
    assert.strictEqual((await eve.post("/login", { name: "eve", password })).status, 401)
    assert.strictEqual(shop.hashed(), before)
    shop.clock.millis += 16 * 60_000
    assert.strictEqual((await eve.post("/login", { name: "eve", password })).status, 200)
  })

  it("says that it cannot look up sessions, and logs nobody out for that", async () => {
    const cy = visitor()
    await cy.post("/signup", { name: "cy", password })
    await shop.fail(true)
    for (const path of ["/", "/devices"]) {
      const { headers, status, text } = await cy.get(path)
      assert.deepStrictEqual([status, headers.get("retry-after")], [503, "1"])
      assert.include(text, "You are still logged in")
      expectHeaders(headers, path)
    }
    await shop.fail(false)
    assert.strictEqual((await cy.get("/devices")).path, "/devices")
  })

  it("takes no name with characters that are not seen", async () => {
    for (const name of ["ada\u0000", "ada\nroot", "\u202enimda", "a\u200bda", "ada\u00ad"]) {
      for (const path of ["/signup", "/login", "/admin/login"]) {
        assert.strictEqual((await visitor().post(path, { name, password })).status, 400, JSON.stringify(name) + path)
      }
    }
    assert.include((await visitor().post("/signup", { name: "Zoë O’Brien 李", password })).text, "Welcome, Zoë")
  })

  it("after a restart without its users refuses their sessions, and lets them sign up again", async () => {
    const [dee, root] = [visitor(), visitor()]
    await dee.post("/signup", { name: "dee", password })
    assert.strictEqual((await root.post("/admin/login", { name: "admin", password: adminPassword })).path, "/admin")
    const printed = vi.spyOn(console, "log")
    await shop.restart()
    assert.notInclude(JSON.stringify(printed.mock.calls), adminPassword, "[R86a] a password that it was given")
    printed.mockRestore()
    const { path, text } = await dee.get("/devices")
    assert.strictEqual(path, "/login?next=%2Fdevices")
    assert.include(text, "Your session has ended")
    // Its password may be another now.
    assert.strictEqual((await root.get("/admin")).path, "/admin/login?next=%2Fadmin")
    assert.include((await dee.post("/signup", { name: "dee", password })).text, "Welcome, dee.")
    assert.strictEqual((await dee.get("/devices")).status, 200)
  })
})

// -----------------------------------------------------------------------------
// As a reader starts it
// -----------------------------------------------------------------------------

const root = join(import.meta.dirname, "..")

/** Starts the example in a process of its own, with this environment added to a clean one, until it ends. */
const starting = (environment: Record<string, string>) => {
  const env = { PATH: process.env["PATH"], HOME: process.env["HOME"], SQLITE_FILE: ":memory:", ...environment }
  const main = [join("examples", "web", "main.ts")]
  const child = execFile(process.execPath, ["--import", "./test/support/resolveSource.ts", ...main], { cwd: root, env })
  let output = ""
  child.stdout!.on("data", (chunk) => (output += chunk))
  child.stderr!.on("data", (chunk) => (output += chunk))
  const exited = once(child, "close").then(([code]) => ({ code: code as number | null, output }))
  return { child, exited, output: () => output }
}

describe("examples/web, started", { concurrent: true, timeout: 60_000 }, () => {
  it("says what to open and the administrator's password, which opens the administration", async () => {
    const free = createServer().listen(0)
    await once(free, "listening")
    const { port } = free.address() as AddressInfo
    free.close()
    await once(free, "close")
    const folder = mkdtempSync(join(tmpdir(), "shop-"))
    const files = { SQLITE_FILE: join(folder, "sessions.sqlite"), SHOP_DATABASE: join(folder, "shop.sqlite") }
    const { child, exited, output } = starting({ PORT: String(port), ...files })
    try {
      await new Promise<void>((resolve) => {
        child.stdout!.on("data", () => output().includes("open http") && resolve())
        child.once("close", () => resolve())
      })
      const [, url] = /^open (http:\/\/localhost:\d+), /m.exec(output()) ?? assert.fail(output())
      const [, secret] =
        /^the administrator is "admin", the password (\S{20})$/m.exec(output()) ?? assert.fail(output())
      const answer = await client(url!, { millis: 0 }).post("/admin/login", { name: "admin", password: secret! })
      assert.deepStrictEqual([answer.status, answer.path], [200, "/admin"])
      for (const file of Object.values(files)) assert.strictEqual(statSync(file).mode & 0o077, 0, "for its user's eyes")
    } finally {
      child.kill()
      await exited
      rmSync(folder, { recursive: true, force: true })
    }
  })

  for (const [what, environment, line] of [
    ["a taken port", {}, / port \d+ is taken: set PORT to another, such as \d+$/m],
    [
      "a Postgres that is away",
      { SESSION_BACKEND: "postgres", DATABASE_URL: "postgres://nobody@127.0.0.1:1/" },
      / the store of the sessions cannot be opened: .*connect ECONNREFUSED 127\.0\.0\.1:1$/m
    ],
    ["a weak secret", { SESSION_SECRET: "correct horse" }, /^ *- the session secret .*openssl rand -base64 32$/m]
  ] as const) {
    it(`says so in one piece where there is ${what}, and ends`, async () => {
      const taken = createServer().listen(0)
      await once(taken, "listening")
      const { port } = taken.address() as AddressInfo
      const { code, output } = await starting({ PORT: String(port), ADMIN_PASSWORD: adminPassword, ...environment })
        .exited
      taken.close()
      assert.match(output, line)
      assert.strictEqual(output.match(/ERROR/g)?.length, 1, output)
      assert.notMatch(output, /^\s+at /m, "no stack")
      assert.notMatch(output, /correct horse|tremendous/, "[R86a] no secret that it was given")
      assert.strictEqual(code, 1)
    })
  }
})
