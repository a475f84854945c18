/** The app of docs/getting-started.md does what the guide says: run as a process, over HTTP, across a restart. */
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Examples from "../support/examples.ts"

const guide = readFileSync(join(import.meta.dirname, "../../docs/getting-started.md"), "utf8")

let examples: Examples.Examples
beforeAll(() => {
  examples = Examples.open()
  for (const [, name, code] of guide.matchAll(/^```ts\n\/\/ (\S+)\n([\s\S]*?)^```/gm)) {
    writeFileSync(join(examples.folder, "examples", name!), code!)
  }
})
afterAll(() => examples.close())

const env = { SESSION_SECRET: "Qm3vT8xW1nYk5RzJc7LpHd2GsB9fKa0EuNqVo6XiMtg=" }

it("lets in who knows the password, keeps them over a restart, and logs them out", async () => {
  const first = await examples.serving("main.ts", env)
  const logIn = (password: string) =>
    fetch(`${first.url}/login`, {
      method: "POST",
      body: new URLSearchParams({ username: "ada", password }),
      redirect: "manual"
    })
  assert.deepStrictEqual([(await logIn("correct")).status, (await logIn("")).status], [401, 400])
  const answer = await logIn("correct horse")
  assert.strictEqual(answer.status, 303)
  const headers = { cookie: answer.headers.getSetCookie()[0]!.split(";")[0]! }
  first.process.kill()
  await first.exited

  const { url } = await examples.serving("main.ts", env)
  const text = async (path: string) => (await fetch(url + path, { headers })).text()
  assert.strictEqual(await text("/orders"), "the orders of ada\n")
  assert.strictEqual(await text("/"), "hello ada\n")
  await fetch(`${url}/logout`, { method: "POST", headers, redirect: "manual" })
  assert.strictEqual((await fetch(`${url}/orders`, { headers })).status, 401)
  assert.strictEqual(await text("/"), "hello stranger\n")
})
