/** examples/admin.ts, as a reader runs it: beside a server, on the sessions that it makes. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import * as Examples from "../support/examples.ts"
import { newSecret } from "../support/processes.ts"

const slow = { timeout: 120_000 }

describe("examples/admin.ts", slow, () => {
  let examples: Examples.Examples
  let env: Record<string, string>
  let url: string
  beforeAll(async () => {
    examples = Examples.open()
    env = {
      SESSION_BACKEND: "sqlite",
      SQLITE_FILE: join(examples.folder, "admin.sqlite"),
      SESSION_SECRET: newSecret()
    }
    url = (await examples.serving("basic.ts", env)).url
  }, slow.timeout)
  afterAll(() => examples?.close())

  const logIn = async (name: string): Promise<string> => {
    const response = await fetch(`${url}/create_session/${encodeURIComponent(name)}`, { method: "POST" })
    return response.headers.getSetCookie()[0]!.split(";")[0]!
  }
  const whoami = async (cookie: string) => (await fetch(`${url}/whoami`, { headers: { cookie } })).status

  /** Without the secret: an administrator need not know it. */
  const admin = async (args: ReadonlyArray<string>, overrides: Record<string, string> = {}) => {
    const { SESSION_SECRET: _, ...rest } = { ...env, ...overrides }
    const { exited, process } = await examples.run("admin.ts", rest, ["sessions", ...args])
    const out = { stdout: "", stderr: "" }
    process.stdout!.on("data", (chunk) => (out.stdout += chunk))
    process.stderr!.on("data", (chunk) => (out.stderr += chunk))
    return { exitCode: await exited, ...out }
  }

  it("lists, counts and ends the sessions of a server", slow, async () => {
    const cookies = {
      ada: [await logIn("ada"), await logIn("ada")],
      nasty: await logIn("\u001b[31mred"),
      bob: await logIn("bob")
    }

    const listed = await admin(["list", "--json"])
    assert.deepStrictEqual([listed.exitCode, listed.stderr], [0, ""])
    const sessions = listed.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { id: string; principal: string })
    assert.sameMembers(
      sessions.map(({ principal }) => principal),
      ["ada", "ada", "bob", "\u001b[31mred"]
    )
    for (const args of [["list"], ["list", "--json"], ["show", sessions[0]!.id], ["count"]]) {
      const { exitCode, stdout } = await admin(args)
      assert.strictEqual(exitCode, 0)
      assert.notInclude(stdout, "\u001b")
    }
    assert.strictEqual((await admin(["count"])).stdout, "4\n")
    assert.strictEqual((await admin(["count", "--principal", "ada", "--json"])).stdout, `{"count":2}\n`)

    assert.strictEqual(await whoami(cookies.ada[0]!), 200)
    assert.strictEqual((await admin(["revoke", "--principal", "ada"])).stdout, "2 sessions of ada ended\n")
    assert.deepStrictEqual([await whoami(cookies.ada[0]!), await whoami(cookies.ada[1]!)], [401, 401])

    const bob = sessions.find(({ principal }) => principal === "bob")!
    assert.strictEqual(await whoami(cookies.bob), 200)
    assert.strictEqual((await admin(["revoke", "--", bob.id])).exitCode, 0)
    assert.strictEqual(await whoami(cookies.bob), 401)
    assert.strictEqual((await admin(["revoke", "--", bob.id])).exitCode, 2)

    assert.strictEqual((await admin(["revoke", "--all"])).exitCode, 1)
    assert.strictEqual(await whoami(cookies.nasty), 200)
    assert.strictEqual((await admin(["revoke", "--all", "--yes", "--json"])).stdout, `{"revoked":1}\n`)
    assert.strictEqual(await whoami(cookies.nasty), 401)
    // Who logs in again has a session.
    assert.strictEqual(await whoami(await logIn("ada")), 200)
  })

  it("ends quietly when whoever reads has gone", slow, async () => {
    for (let i = 0; i < 300; i++) await logIn(`user${i}`)
    const { stderr, stdout } = spawnSync(
      "sh",
      ["-c", `{ "${process.execPath}" examples/admin.ts sessions list --json; echo "exit $?" >&2; } | head -n 1`],
      { cwd: examples.folder, encoding: "utf8", env: { PATH: process.env["PATH"], ...env } }
    )
    assert.lengthOf(stdout.trim().split("\n"), 1)
    assert.strictEqual(stderr, "exit 0\n")
  })

  it("a store that is away is one line and exit code 1, and --help does not ask for it", slow, async () => {
    const away = { SESSION_BACKEND: "redis", REDIS_URL: "redis://user:tr0ub4dor@127.0.0.1:1" }
    const { exitCode, stderr, stdout } = await admin(["count"], away)
    assert.deepStrictEqual([exitCode, stdout], [1, ""])
    assert.strictEqual(stderr, "\nERROR\n  the store of the sessions cannot be opened\n")
    const help = await admin(["--help"], away)
    assert.deepStrictEqual([help.exitCode, help.stderr], [0, ""])
    assert.include(help.stdout, "sessions")
  })
})
