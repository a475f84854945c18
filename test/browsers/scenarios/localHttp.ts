/** Development over plain http: which cookies come back, and whether the app's own page may post. */
import { assert } from "@effect/vitest"
import { SessionFrontend } from "effect-sessions"
import { execFile } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import type { Scenario, Seen, World } from "../scenario.ts"
import type { Site } from "../sites.ts"
import { ask, visit } from "../tab.ts"

export const places = ["localhost", "127.0.0.1", "app.test"] as const

export const cookies = {
  "`__Host-session; Secure`": {},
  "`session; Secure`": { name: "session" },
  "`session`": { secure: false }
} as const

export const works = "works"

/** What logs in and posts: a browser's page, or curl. */
interface Client {
  readonly logIn: (app: Site, host: string) => Promise<void>
  readonly post: (app: Site, host: string) => Promise<void>
}

const look = async (serve: World["app"], client: Client): Promise<Seen> => {
  const seen: Record<string, string> = {}
  for (const [cookie, options] of Object.entries(cookies)) {
    for (const host of places) {
      const app = await serve({ frontend: SessionFrontend.layerCookie(options) }, "http")
      await client.logIn(app, host)
      assert.strictEqual(app.last("GET", "/link")!.status, 303)
      await client.post(app, host)
      const { cookie: sent, origin, site, status } = app.last("POST", "/count")!
      const says = site !== undefined ? "`Sec-Fetch-Site`" : origin !== undefined ? "`Origin` alone" : "neither"
      seen[`${cookie} on \`http://${host}\``] =
        status === 200 ? works : `${sent === undefined ? "not sent" : "sent"}; a post is answered ${status}`
      seen[`a post on \`http://${host}\` says`] = says
    }
  }
  return seen
}

/** With `secure: false` an app works everywhere; with a cookie that is not sent, its own posts never pass. */
const check = (seen: Seen): Seen => {
  for (const host of places) {
    assert.strictEqual(seen[`\`session\` on \`http://${host}\``], works)
    for (const cookie of Object.keys(cookies)) {
      assert.match(seen[`${cookie} on \`http://${host}\``]!, /^works$|^not sent; a post is answered 40[13]$/)
    }
  }
  return seen
}

export const localHttp: Scenario = {
  key: "local",
  title: "an app is developed over http with a cookie that is not Secure, wherever it is served",
  run: async ({ app, open }) =>
    check(
      await look(app, {
        logIn: async (app, host) => {
          const page = await open()
          await visit(page, `${app.at(host)}/link`)
          await page.close()
        },
        post: async (app, host) => {
          const page = await open()
          await visit(page, `${app.at(host)}/`)
          await ask(page, "/count", { method: "POST" })
          await page.close()
        }
      })
    )
}

const run = promisify(execFile)

export const curlVersion = async (): Promise<string> => {
  const { stdout } = await run("curl", ["--version"])
  return /^curl \d+\.\d+/.exec(stdout)![0]
}

/** The same with curl and its cookie jar. */
export const localHttpOfCurl = async (serve: World["app"]): Promise<Seen> => {
  const folder = mkdtempSync(join(tmpdir(), "curl-"))
  try {
    const curl = async (app: Site, host: string, path: string, ...options: ReadonlyArray<string>) => {
      const jar = join(folder, new URL(app.at(host)).port)
      const url = `${app.at(host)}${path}`
      const resolve = `${new URL(url).host}:127.0.0.1`
      await run("curl", ["-s", "-o", "/dev/null", "-b", jar, "-c", jar, "--resolve", resolve, ...options, url])
    }
    return check(
      await look(serve, {
        logIn: (app, host) => curl(app, host, "/link"),
        post: (app, host) => curl(app, host, "/count", "-X", "POST")
      })
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
