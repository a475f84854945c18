/** examples/basic.ts on the backends that are services, as a reader runs it; test/examples.test.ts has the others. */
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import * as Examples from "./support/examples.ts"
import { mysqlUrl } from "./support/mariadb.ts"
import { databaseUrl, listens, needing, newSecret, redisUrl } from "./support/processes.ts"

let examples: Examples.Examples
beforeAll(() => {
  examples = Examples.open()
}, 120_000)
afterAll(() => examples?.close())

const withRedis = needing(await listens(redisUrl, 6379), "no Redis at REDIS_URL, nor at 127.0.0.1:6379")
const withPostgres = needing(await listens(databaseUrl, 5432), "no Postgres at DATABASE_URL, nor at 127.0.0.1:5432")

const withMysql = needing(await listens(mysqlUrl, 3306), "no MySQL or MariaDB at MYSQL_URL, nor at 127.0.0.1:3306")

const suite = (describe: ReturnType<typeof needing>, backend: string, variable: string, url: string) =>
  describe(`examples/basic.ts on ${backend}`, { timeout: 120_000 }, () => {
    it("keeps sessions over a restart, and a logout for good", async () => {
      const env = { SESSION_BACKEND: backend, [variable]: url, SESSION_SECRET: newSecret() }
      const send = async (url: string, method: string, path: string, cookie = "") => {
        const response = await fetch(url + path, { method, headers: { cookie } })
        const [set] = response.headers.getSetCookie()
        return { status: response.status, body: await response.text(), cookie: set?.split(";")[0] }
      }
      const login = async (url: string, name: string) => {
        const { cookie, status } = await send(url, "POST", `/create_session/${name}`)
        assert.strictEqual(status, 200)
        assert.match(cookie ?? "", /^session=v1\./)
        return cookie
      }

      const first = await examples.serving("basic.ts", env)
      const ada = await login(first.url, "ada")
      const eve = await login(first.url, "eve")
      assert.strictEqual((await send(first.url, "POST", "/delete_session", eve)).status, 200)
      first.process.kill("SIGKILL")
      await first.exited

      const { url: second } = await examples.serving("basic.ts", env)
      assert.strictEqual((await send(second, "GET", "/whoami", eve)).status, 401)
      const whoami = await send(second, "GET", "/whoami", ada)
      assert.deepStrictEqual([whoami.status, JSON.parse(whoami.body)], [200, { username: "ada" }])
      assert.strictEqual((await send(second, "POST", "/delete_session", ada)).status, 200)
      assert.strictEqual((await send(second, "GET", "/whoami", ada)).status, 401)
    })

    it("ends the feed of examples/feed.ts when another process ends its session", async () => {
      const env = { SESSION_BACKEND: backend, [variable]: url, SESSION_SECRET: newSecret() }
      const [one, other] = await Promise.all([examples.serving("feed.ts", env), examples.serving("feed.ts", env)])
      const login = await fetch(`${one.url}/create_session/ada`, { method: "POST" })
      const headers = { cookie: login.headers.getSetCookie()[0]!.split(";")[0]! }
      const feed = await fetch(`${one.url}/feed`, { headers })
      assert.strictEqual(feed.headers.get("content-type"), "text/event-stream")
      const reader = feed.body!.getReader()
      assert.match(new TextDecoder().decode((await reader.read()).value), /^data: \d{4}-\d\d-\d\dT/)

      assert.strictEqual((await fetch(`${other.url}/delete_session`, { method: "POST", headers })).status, 200)
      // To its end: a body that is cut off rejects. MariaDB does not push to another process: its re-check finds it.
      while (!(await reader.read()).done);
      assert.strictEqual((await fetch(`${one.url}/feed`, { headers })).status, 401)
    })

    it("says so where no store answers, and does not listen", async () => {
      // Port 1 is nobody's. SQL databases have to be there at the start; Redis is waited for.
      const { output, process } = await examples.run("basic.ts", {
        SESSION_BACKEND: backend,
        [variable]: `${backend}://somebody@127.0.0.1:1/`,
        SESSION_SECRET: newSecret()
      })
      await new Promise<void>((resolve) => {
        const look = () => /ECONNREFUSED|listening/i.test(output()) && resolve()
        process.stdout!.on("data", look)
        process.once("close", () => resolve())
      })
      assert.match(output(), /ECONNREFUSED/)
      assert.notMatch(output(), /listening/i)
    })
  })

suite(withRedis, "redis", "REDIS_URL", redisUrl)
suite(withPostgres, "postgres", "DATABASE_URL", databaseUrl)
suite(withMysql, "mysql", "MYSQL_URL", mysqlUrl)
