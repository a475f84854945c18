/** The servers of the README and the guides do what these say to try: on the built package, asked by their own curl lines. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { execFileSync, spawnSync } from "node:child_process"
import { cpSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import * as Examples from "../support/examples.ts"
import { fileOf, write } from "../support/fences.ts"

const root = join(import.meta.dirname, "../..")
const secret = { SESSION_SECRET: "tS0uT1hGqWc5m8ZrYb3xKJvPe7LdA2nF9iQyXoVkDz4=" }

/** Of each document the block that ends by starting a server, and the one with the lines to try. */
const documents = ["README.md", "getting-started", "router", "http-api", "rpc", "web-handlers"].map((name) =>
  name.endsWith(".md") ? name : `docs/${name}.md`
)
const trialOf = (document: string) => {
  const found = /^```sh\n(?:.+\n)?.*\bnode (\S+)\n```\n\n(?:.+\n\n)?```sh\n([\s\S]*?)^```/m.exec(
    readFileSync(join(root, document), "utf8")
  )
  assert.isNotNull(found, document)
  return { server: fileOf("", document, found![1]!), lines: found![2]! }
}

let examples: Examples.Examples
beforeAll(() => {
  examples = Examples.open()
  for (const { code, file } of write(documents, join(examples.folder, "examples"))) {
    writeFileSync(file, code.replaceAll("port: 3000", `port: Number(process.env["PORT"])`))
  }
})
afterAll(() => examples.close())

const serving = (document: string) => examples.serving(trialOf(document).server, secret)

/** What the lines of a document print, at this address. */
const curl = (document: string, url: string): string => {
  const script = trialOf(document).lines.replaceAll("localhost:3000", new URL(url).host)
  return execFileSync("bash", ["-euc", script], { cwd: examples.folder, encoding: "utf8", stdio: "pipe" })
}

/** The answers of lines that ask curl for headers, too. */
const trial = async (document: string) => {
  const { process, url } = await serving(document)
  const answers = curl(document, url).split(/(?=HTTP\/1\.1 \d)/)
  process.kill()
  return { answers, statuses: answers.map((answer) => Number(/^HTTP\/1.1 (\d+)/.exec(answer)?.[1])) }
}

/** A client that sends this cookie. */
const sender =
  (url: string, cookie = "") =>
  (method: string, path: string, fields?: Record<string, string>) =>
    fetch(url + path, {
      method,
      headers: { cookie },
      redirect: "manual",
      ...(fields && { body: new URLSearchParams(fields) })
    })
const cookieOf = (answer: Response) => answer.headers.getSetCookie()[0]!.split(";")[0]!

describe("README.md", () => {
  it("logs in, knows who asks, and logs out", async () => {
    const { url } = await serving("README.md")
    assert.strictEqual(curl("README.md", url), "welcome\nhello ada\n")
    const cookie = cookieOf(await sender(url)("POST", "/login"))
    assert.match(cookie, /^__Host-session=/)
    const send = sender(url, cookie)
    assert.strictEqual(await (await send("GET", "/whoami")).text(), "hello ada\n")
    assert.strictEqual((await send("POST", "/logout")).status, 200)
    assert.strictEqual((await send("GET", "/whoami")).status, 401)
  })

  it("says what is missing without a secret", async () => {
    const { exited, output } = await examples.run(trialOf("README.md").server)
    assert.notStrictEqual(await exited, 0)
    assert.include(output(), "SESSION_SECRET")
  })
})

describe("docs/getting-started.md", () => {
  const guide = "docs/getting-started.md"

  it("lets in who knows the password, keeps them over a restart, and logs them out", async () => {
    const first = await serving(guide)
    assert.strictEqual(curl(guide, first.url), `the orders of ada\n{"_tag":"SessionMissing"}`)
    const logIn = (password: string) => sender(first.url)("POST", "/login", { username: "ada", password })
    assert.deepStrictEqual([(await logIn("correct")).status, (await logIn("")).status], [401, 400])
    const answer = await logIn("correct horse")
    assert.strictEqual(answer.status, 303)
    first.process.kill()
    await first.exited

    const send = sender((await serving(guide)).url, cookieOf(answer))
    const text = async (path: string) => (await send("GET", path)).text()
    assert.strictEqual(await text("/orders"), "the orders of ada\n")
    assert.strictEqual(await text("/"), "hello ada\n")
    await send("POST", "/logout")
    assert.strictEqual((await send("GET", "/orders")).status, 401)
    assert.strictEqual(await text("/"), "hello stranger\n")
  })

  it("compiles with its tsconfig.json, and without the guard it does not", { timeout: 60_000 }, () => {
    const project = join(examples.folder, "guide")
    const whole = dirname(fileOf(join(examples.folder, "examples"), guide, "routes.ts"))
    for (const name of ["whole", "open"]) cpSync(whole, join(project, name), { recursive: true })
    const routes = join(project, "open/routes.ts")
    const guard = ".pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer))"
    writeFileSync(routes, readFileSync(routes, "utf8").replace(guard, ""))
    const [, config] = /^```json\n([\s\S]*?)^```/m.exec(readFileSync(join(root, guide), "utf8"))!
    writeFileSync(join(project, "tsconfig.json"), config!)
    const tsc = [join(root, "node_modules/typescript/bin/tsc"), "--pretty", "false"]
    const { stdout } = spawnSync(process.execPath, tsc, { cwd: project, encoding: "utf8" })
    const messages = stdout.split(/\n(?=\S)/)
    const ofMain = messages.find((message) => message.startsWith("open/main.ts("))
    assert.include(ofMain, "'VerifiedOf<UserSession>' is not assignable")
    assert.deepStrictEqual(
      messages.filter((message) => !message.startsWith("open/")),
      []
    )
  })
})

describe("what to try", () => {
  it("in docs/router.md", async () => {
    const { answers, statuses } = await trial("docs/router.md")
    assert.deepStrictEqual(statuses, [204, 200, 200, 204, 401])
    assert.include(answers[2], `{"username":"ada","cart":["tea"]}`)
  })

  it("in docs/http-api.md", async () => {
    const { answers, statuses } = await trial("docs/http-api.md")
    assert.deepStrictEqual(statuses, [204, 200, 204, 401])
    assert.include(answers[3], `{"_tag":"SessionMissing"}`)
    const document = JSON.parse(/\{"openapi[\s\S]*/.exec(answers[3]!)![0])
    assert.deepStrictEqual(document.components.securitySchemes, {
      session: { type: "apiKey", name: "__Host-session", in: "cookie" }
    })
  })

  it("in docs/rpc.md", async () => {
    const { answers, statuses } = await trial("docs/rpc.md")
    assert.deepStrictEqual(statuses, [200, 200, 200, 200])
    assert.include(answers[1], `"value":"ada"`)
    assert.include(answers[3], `"SessionMissing"`)
  })

  it("in docs/web-handlers.md", async () => {
    const { answers, statuses } = await trial("docs/web-handlers.md")
    assert.deepStrictEqual(statuses, [303, 200, 303, 401])
    assert.include(answers[1], "hello ada")
  })
})
