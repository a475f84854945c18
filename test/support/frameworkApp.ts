/** An app of another framework, installed in a folder of its own with this repository's package: for its guide. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { cpSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { buildInto } from "./built.ts"

/** Does a step, and says how long it took. */
export const step = async <A>(name: string, work: () => Promise<A>): Promise<A> => {
  const begin = performance.now()
  const answer = await work()
  console.log(`${name}: ${((performance.now() - begin) / 1000).toFixed(1)} s`)
  return answer
}

export interface FrameworkApp {
  readonly folder: string
  /** Runs a command to its end. */
  readonly run: (command: string, args: ReadonlyArray<string>) => Promise<void>
  /** Starts a script of Node's, and answers the address that its output has, once that has `ready` too. */
  readonly start: (args: ReadonlyArray<string>, ready: RegExp) => Promise<string>
  /** Stops what was started, as an orchestrator does, and answers how it ended. */
  readonly stop: () => Promise<number | null>
}

/** Copies a project, installs what it needs, uses it, and takes it away. */
export const withApp = async (
  project: string,
  environment: NodeJS.ProcessEnv,
  use: (app: FrameworkApp) => Promise<void>
): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), "framework-app-"))
  const env = {
    ...process.env,
    SESSION_SECRET: "tS0uT1hGqWc5m8ZrYb3xKJvPe7LdA2nF9iQyXoVkDz4=",
    ...environment
  }
  let server: ChildProcess | undefined

  const run: FrameworkApp["run"] = async (command, args) => {
    const child = spawn(command, args, { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] })
    let output = ""
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += String(chunk)))
    const [code] = await once(child, "exit")
    if (code !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${code}\n${output}`)
  }

  const start: FrameworkApp["start"] = (args, ready) =>
    new Promise((resolve, reject) => {
      const child = spawn(process.execPath, args, { cwd: folder, env })
      server = child
      let output = ""
      const look = (chunk: unknown) => {
        output += String(chunk)
        const [address] = /http:\/\/[\w.]+:\d+/.exec(output) ?? []
        if (address !== undefined && ready.test(output)) resolve(address)
      }
      child.stdout.on("data", look)
      child.stderr.on("data", look)
      child.on("exit", (code) => reject(new Error(`${args.join(" ")} ended with ${code}\n${output}`)))
    })

  const stop: FrameworkApp["stop"] = async () => {
    const running = server
    server = undefined
    running?.removeAllListeners("exit")
    if (running?.exitCode === null && running.kill()) await once(running, "exit")
    return running?.exitCode ?? null
  }

  try {
    cpSync(project, folder, { recursive: true })
    await step("npm ci", () => run("npm", ["ci"]))
    await step("the package", async () => buildInto(join(folder, "node_modules/effect-sessions")))
    await use({ folder, run, start, stop })
    console.log("passed")
  } finally {
    await stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Requests to an address, each with the cookie given; a redirect is not followed. */
export const sender =
  (address: string) =>
  (path: string, cookie = "", init: RequestInit = {}): Promise<Response> =>
    fetch(address + path, { redirect: "manual", ...init, headers: { cookie, ...init.headers } })

/** What the page's paragraph says. */
export const paragraphOf = async (response: Promise<Response>): Promise<string | undefined> =>
  /<p>(.*?)<\/p>/.exec(await (await response).text())?.[1]
