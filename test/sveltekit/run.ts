/**
 * `npm run test:sveltekit`: the app in `project`, which `docs/web-handlers.md` shows, installed, type-checked, built and
 * started by SvelteKit, with this repository's package in it; a user logs in by a form action, is greeted by a page, and
 * logs out. Then by its dev server: in Chromium, and while the module of the sessions is edited, in which the user stays
 * logged in.
 */
import assert from "node:assert/strict"
import { appendFileSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { launch } from "../support/browsers.ts"
import { paragraphOf, sender, step, withApp } from "../support/frameworkApp.ts"

const cookieOf = (response: Response) => response.headers.getSetCookie()[0]?.split(";")[0] ?? ""

/** Posts to an action of the page, as a browser does for a form of the page itself. */
const poster =
  (address: string, origin: string) =>
  (action: string, cookie: string, headers = {}, username = "ada") =>
    sender(address)(`/?/${action}`, cookie, {
      method: "POST",
      headers: { origin, accept: "text/html", ...headers },
      body: new URLSearchParams({ username })
    })

const visits = async (address: string): Promise<void> => {
  const send = sender(address)
  // adapter-node takes its own origin for https, unless a proxy's header says otherwise.
  const post = poster(address, address.replace("http:", "https:"))
  const greeting = (cookie?: string) => paragraphOf(send("/", cookie))

  assert.equal(await greeting(), "hello stranger")
  const stranger = await send("/whoami")
  assert.deepEqual([stranger.status, stranger.headers.get("www-authenticate")], [401, "Session"])

  const loggedIn = await post("logIn", "")
  assert.deepEqual([loggedIn.status, loggedIn.headers.get("location")], [303, "/"])
  assert.match(
    loggedIn.headers.getSetCookie().join(),
    /^__Host-session=v1\.[^;]+; Max-Age=86400; Path=\/; HttpOnly; Secure; SameSite=Lax$/
  )
  const cookie = cookieOf(loggedIn)

  assert.equal(await greeting(cookie), "hello ada")
  const page = await send("/", cookie)
  assert.deepEqual([page.headers.get("cache-control"), page.headers.get("vary")], ["no-store", "Cookie"])
  assert.equal(await (await send("/whoami", cookie)).text(), "ada")

  assert.equal((await post("logIn", "", {}, "")).status, 400)
  assert.equal((await poster(address, address)("logIn", "")).status, 403)
  assert.equal((await post("logOut", cookie, { "sec-fetch-site": "cross-site" })).status, 403)
  assert.equal(await greeting(cookie), "hello ada")

  // As `use:enhance` posts a form, by a script.
  const script = { accept: "application/json", "x-sveltekit-action": "true" }
  const again = await post("logIn", cookie, script)
  assert.deepEqual(await again.json(), { type: "redirect", status: 303, location: "/" })
  assert.equal(await greeting(cookie), "hello stranger")
  assert.equal(await greeting(cookieOf(again)), "hello ada")

  const loggedOut = await post("logOut", cookieOf(again))
  assert.match(loggedOut.headers.getSetCookie().join(), /^__Host-session=; Max-Age=0;/)
  assert.equal(await greeting(cookieOf(again)), "hello stranger")
}

const edits = async (address: string, edit: () => void): Promise<void> => {
  const cookie = cookieOf(await poster(address, address)("logIn", ""))
  const greeting = () => paragraphOf(sender(address)("/", cookie))
  assert.equal(await greeting(), "hello ada")
  edit()
  // The server sees the edit when its watcher does.
  const late = AbortSignal.timeout(30_000)
  while ((await (await sender(address)("/whoami", cookie)).text()) !== "ada, after the edit") {
    late.throwIfAborted()
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  assert.equal(await greeting(), "hello ada")
}

/** In a browser, whose scripts post the forms. */
const clicks = async (address: string): Promise<void> => {
  await using running = await launch("Chromium")
  const page = await running.browser.newPage()
  const says = (text: string) =>
    page.waitForFunction((text) => document.querySelector("p")?.textContent === text, { timeout: 30_000 }, text)
  await page.goto(address, { waitUntil: "networkidle0" })
  await says("hello stranger")
  await page.type("input", "ada")
  await page.click("button")
  await says("hello ada")
  assert.equal(await page.evaluate(() => document.cookie), "")
  await page.reload({ waitUntil: "networkidle0" })
  await says("hello ada")
  await page.click("button")
  await says("hello stranger")
}

const vite = "node_modules/vite/bin/vite.js"
const tsc = "node_modules/typescript/bin/tsc"

await withApp(join(import.meta.dirname, "project"), { HOST: "127.0.0.1", PORT: "0" }, async (app) => {
  const { folder, run, start, stop } = app
  await step("svelte-kit sync, tsc", async () => {
    await run(process.execPath, ["node_modules/@sveltejs/kit/svelte-kit.js", "sync"])
    await run(process.execPath, [tsc, "--noEmit"])
  })
  await step("vite build", () => run(process.execPath, [vite, "build"]))
  const address = await step("node build", () => start(["build"], /Listening/))
  await step("log-in, page, log-out", () => visits(address))
  await step("SIGTERM", async () => assert.equal(await stop(), 0))
  const dev = await step("vite dev", () => start([vite, "dev", "--host", "127.0.0.1", "--port", "0"], /ready/))
  await step("log-in and log-out in Chromium", () => clicks(dev))
  await step("an edit", () =>
    edits(dev, () => {
      appendFileSync(join(folder, "src/sessions.ts"), 'export const edited = ", after the edit"\n')
      const route = join(folder, "src/routes/whoami/+server.ts")
      const code = readFileSync(route, "utf8").replace("data.username", "data.username + edited")
      writeFileSync(route, `import { edited } from "../../sessions"\n${code}`)
    })
  )
})
