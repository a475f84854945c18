/** The examples on a runtime, on the built package, over real HTTP. */
import { cpSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Examples, Running } from "../support/examples.ts"
import type { Runtime } from "./runtimes.ts"

const stores = ["memory", "sqlite"]
const storesWithServers = ["redis", "postgres", "mysql"]

/** What is written on the way, and is no sign of anything. */
const isExpected = (line: string): boolean =>
  /SESSION_SECRET is not set/.test(line) ||
  // Of Node 22.
  /SQLite is an experimental feature|--trace-warnings/.test(line)

const warningsOf = ({ output }: Running): ReadonlyArray<string> =>
  output()
    .split("\n")
    .filter((line) => /warn|error|deprecat/i.test(line) && !isExpected(line))

/** What is different from what it has to be. */
type Problems = Array<string>

const check = (problems: Problems, what: string, found: unknown, expected: unknown) => {
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    problems.push(`${what}: ${JSON.stringify(found)} instead of ${JSON.stringify(expected)}`)
  }
}

const send = async (url: string, method = "GET", cookie = "") => {
  const response = await fetch(url, {
    method,
    headers: cookie === "" ? {} : { cookie },
    signal: AbortSignal.timeout(20_000)
  })
  const text = await response.text()
  const set = response.headers.getSetCookie()[0] ?? ""
  return { status: response.status, text, set, cookie: set.split(";")[0]! }
}

/** Log-in, whoami, log-out, and the old cookie again. */
const logInAndOut = async (url: string): Promise<Problems> => {
  const problems: Problems = []
  check(problems, "whoami of a stranger", (await send(`${url}/whoami`)).status, 401)
  const { cookie, status } = await send(`${url}/create_session/ada`, "POST")
  check(problems, "log-in", status, 200)
  const whoami = await send(`${url}/whoami`, "GET", cookie)
  check(problems, "whoami", [whoami.status, whoami.text], [200, `{"username":"ada"}`])
  const logOut = await send(`${url}/delete_session`, "POST", cookie)
  check(problems, "the cookie is taken off", logOut.set.startsWith("session=; Max-Age=0; "), true)
  check(problems, "whoami after log-out", (await send(`${url}/whoami`, "GET", cookie)).status, 401)
  return problems
}

/** A feed goes on until its session is ended by another request. */
const feedEnds = async (url: string): Promise<Problems> => {
  const problems: Problems = []
  const { cookie } = await send(`${url}/create_session/ada`, "POST")
  // Far longer than it takes: an end that is not pushed is found after 25 seconds.
  const feed = await fetch(`${url}/feed`, { headers: { cookie }, signal: AbortSignal.timeout(20_000) })
  check(problems, "feed", feed.status, 200)
  const reader = feed.body!.getReader()
  const first = await reader.read()
  check(
    problems,
    "an event",
    Buffer.from(first.value ?? [])
      .toString()
      .startsWith("data: "),
    true
  )
  await send(`${url}/delete_session`, "POST", cookie)
  try {
    while (!(await reader.read()).done);
  } catch (error) {
    problems.push(`the feed has not ended: ${String(error)}`)
  }
  return problems
}

/** Runs them, and answers how many did as they have to, and what others did instead. */
export const runExamples = async (examples: Examples, runtime: Runtime, hasServers: boolean) => {
  const command = [runtime.command, ...runtime.args] as const
  const problems: Array<string> = []
  let passed = 0
  let failed = 0
  const run = async (what: string, use: (url: string) => Promise<Problems>, start: () => Promise<Running>) => {
    const found: Problems = []
    try {
      const running = await start()
      found.push(...(await use(running.url)))
      running.process.kill("SIGTERM")
      const late = setTimeout(() => {
        found.push("goes on after SIGTERM")
        running.process.kill("SIGKILL")
      }, 20_000)
      await running.exited
      clearTimeout(late)
      found.push(...warningsOf(running))
    } catch (error) {
      found.push(String(error))
    }
    if (found.length === 0) passed++
    else failed++
    for (const problem of found) problems.push(`${what}: ${problem}`)
  }

  for (const store of [...stores, ...(hasServers ? storesWithServers : [])]) {
    const env = { SESSION_BACKEND: store, SQLITE_FILE: join(examples.folder, `${runtime.name}.sqlite`), ...urls() }
    await run(`basic.ts with ${store}`, logInAndOut, () => examples.serving("basic.ts", env, command))
  }
  await run("feed.ts", feedEnds, () => examples.serving("feed.ts", {}, command))
  if (runtime.name === "deno") {
    const few = [
      runtime.command,
      "run",
      "--no-prompt",
      "--allow-net=localhost",
      "--allow-read",
      "--allow-env=PORT"
    ] as const
    await run("few permissions", logInAndOut, () => examples.serving("fewPermissions.ts", {}, few))
  }
  return { passed, failed, problems }
}

/** Where the servers are, if the environment says so. */
const urls = (): Record<string, string> =>
  Object.fromEntries(
    ["REDIS_URL", "DATABASE_URL", "MYSQL_URL"].flatMap((name) => {
      const value = process.env[name]
      return value === undefined ? [] : [[name, value]]
    })
  )

/** Adds to the built package what a runtime needs beside it. */
export const prepare = ({ folder }: Examples): void => {
  // Bun goes by the `paths` of the next tsconfig.json above, which lead to the source.
  writeFileSync(join(folder, "tsconfig.json"), "{}")
  cpSync(join(import.meta.dirname, "fewPermissions.ts"), join(folder, "examples/fewPermissions.ts"))
}
