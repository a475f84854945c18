/**
 * `npm run test:next`: the app in `project`, which `docs/next.md` shows, installed, built and started by Next, with this
 * repository's package in it; then a user logs in, is greeted by a page, and logs out. It takes half a minute, most of
 * which is Next's compiler.
 */
import assert from "node:assert/strict"
import { join } from "node:path"
import { paragraphOf, sender, step, withApp } from "../support/frameworkApp.ts"

const visits = async (address: string): Promise<void> => {
  const send = sender(address)
  const greeting = (cookie?: string) => paragraphOf(send("/", cookie))

  assert.equal(await greeting(), "hello stranger")
  assert.equal((await send("/whoami")).status, 401)

  assert.equal((await send("/login", "", { method: "POST", body: new URLSearchParams() })).status, 400)
  const loggedIn = await send("/login", "", { method: "POST", body: new URLSearchParams({ username: "ada" }) })
  assert.equal(loggedIn.status, 303)
  const [header = ""] = loggedIn.headers.getSetCookie()
  assert.match(header, /^__Host-session=v1\.[^;]+; Max-Age=86400; Path=\/; HttpOnly; Secure; SameSite=Lax$/)
  const [cookie] = header.split(";")

  assert.equal(await greeting(cookie), "hello ada")
  const whoami = await send("/whoami", cookie)
  assert.deepEqual([whoami.status, await whoami.text()], [200, "ada"])

  const attack = await send("/logout", cookie, { method: "POST", headers: { "sec-fetch-site": "cross-site" } })
  assert.equal(attack.status, 403)
  const loggedOut = await send("/logout", cookie, { method: "POST" })
  assert.equal(loggedOut.status, 303)
  assert.match(loggedOut.headers.getSetCookie()[0] ?? "", /^__Host-session=; Max-Age=0;/)

  assert.equal(await greeting(cookie), "hello stranger")
  assert.equal((await send("/whoami", cookie)).status, 401)
}

const next = "node_modules/next/dist/bin/next"

await withApp(join(import.meta.dirname, "project"), { NEXT_TELEMETRY_DISABLED: "1" }, async ({ run, start }) => {
  await step("next build", () => run(process.execPath, [next, "build"]))
  const address = await step("next start", () => start([next, "start", "--port", "0"], /Ready/))
  await step("log-in, page, log-out", () => visits(address))
})
