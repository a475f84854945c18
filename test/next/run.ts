/**
 * `npm run test:next`: the app in `project`, which `docs/next.md` shows, installed, built and started by Next, with this
 * repository's package in it; then a user logs in, is greeted by a page, and logs out. It takes half a minute, most of
 * which is Next's compiler.
 */
import assert from "node:assert/strict"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { cpSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { buildInto } from "../support/built.ts"

const folder = mkdtempSync(join(tmpdir(), "next-app-"))
const env = {
  ...process.env,
  NEXT_TELEMETRY_DISABLED: "1",
  SESSION_SECRET: "tS0uT1hGqWc5m8ZrYb3xKJvPe7LdA2nF9iQyXoVkDz4="
}
let server: ChildProcess | undefined

const step = async <A>(name: string, work: () => Promise<A>): Promise<A> => {
  const begin = performance.now()
  const answer = await work()
  console.log(`${name}: ${((performance.now() - begin) / 1000).toFixed(1)} s`)
  return answer
}

const run = async (command: string, args: ReadonlyArray<string>, cwd: string): Promise<void> => {
  const child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] })
  let output = ""
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += String(chunk)))
  const [code] = await once(child, "exit")
  if (code !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${code}\n${output}`)
}

const next = join(folder, "node_modules/next/dist/bin/next")

const start = (): Promise<string> =>
  new Promise((resolve, reject) => {
    server = spawn(process.execPath, [next, "start", "--port", "0"], { cwd: folder, env })
    let output = ""
    const look = (chunk: unknown) => {
      output += String(chunk)
      const [address] = /http:\/\/localhost:\d+/.exec(output) ?? []
      if (address !== undefined && output.includes("Ready")) resolve(address)
    }
    server.stdout?.on("data", look)
    server.stderr?.on("data", look)
    server.on("exit", (code) => reject(new Error(`next start ended with ${code}\n${output}`)))
  })

const visits = async (address: string): Promise<void> => {
  const send = (path: string, cookie = "", init: RequestInit = {}) =>
    fetch(address + path, { redirect: "manual", ...init, headers: { cookie, ...init.headers } })
  const greeting = async (cookie?: string) => /<p>(.*?)<\/p>/.exec(await (await send("/", cookie)).text())?.[1]

  assert.equal(await greeting(), "hello stranger")
  assert.equal((await send("/whoami")).status, 401)

  const loggedIn = await send("/log-in", "", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ username: "ada" })
  })
  assert.equal(loggedIn.status, 303)
  const [header = ""] = loggedIn.headers.getSetCookie()
  assert.match(header, /^__Host-session=v1\.[^;]+; Max-Age=86400; Path=\/; HttpOnly; Secure; SameSite=Lax$/)
  const [cookie] = header.split(";")

  assert.equal(await greeting(cookie), "hello ada")
  const whoami = await send("/whoami", cookie)
  assert.deepEqual([whoami.status, await whoami.text()], [200, "ada"])

  const attack = await send("/log-out", cookie, { method: "POST", headers: { "sec-fetch-site": "cross-site" } })
  assert.equal(attack.status, 403)
  const loggedOut = await send("/log-out", cookie, { method: "POST" })
  assert.equal(loggedOut.status, 303)
  assert.match(loggedOut.headers.getSetCookie()[0] ?? "", /^__Host-session=; Max-Age=0;/)

  assert.equal(await greeting(cookie), "hello stranger")
  assert.equal((await send("/whoami", cookie)).status, 401)
}

try {
  cpSync(join(import.meta.dirname, "project"), folder, { recursive: true })
  await step("npm ci", () => run("npm", ["ci"], folder))
  await step("the package", async () => buildInto(join(folder, "node_modules/effect-sessions")))
  await step("next build", () => run(process.execPath, [next, "build"], folder))
  const address = await step("next start", start)
  await step("log-in, page, log-out", () => visits(address))
  console.log("passed")
} finally {
  server?.removeAllListeners("exit")
  if (server?.exitCode === null && server.kill()) await once(server, "exit")
  rmSync(folder, { recursive: true, force: true })
}
