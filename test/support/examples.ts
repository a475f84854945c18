/**
 * Runs the examples as a reader does: `node examples/x.ts`, on the built package, in a process of its own.
 *
 * The package is built into a folder of its own together with its package.json, so that the examples find
 * `effect-sessions` as a user's code does, and neither need nor touch `dist`.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { type AddressInfo, createServer } from "node:net"
import { join } from "node:path"
import { buildInto } from "./built.ts"

const root = join(import.meta.dirname, "../..")

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0)
  await once(server, "listening")
  // Listening on a port number, not on a path.
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, "close")
  return port
}

export interface Running {
  readonly url: string
  readonly output: () => string
  readonly process: ChildProcess
  readonly exited: Promise<number | null>
}

/** A runtime, and what it is told before the name of the script. */
export type Command = readonly [program: string, ...args: ReadonlyArray<string>]

export interface Examples {
  /** Where the package was built, for files an example writes. */
  readonly folder: string
  /** Runs an example in a process of its own, with this environment added to a clean one. */
  readonly run: (
    example: string,
    env?: Record<string, string>,
    args?: ReadonlyArray<string>,
    command?: Command
  ) => Promise<Running>
  /** The same, once it listens. */
  readonly serving: (example: string, env?: Record<string, string>, command?: Command) => Promise<Running>
  /** Ends what still runs, and takes the folder away. */
  readonly close: () => Promise<void>
}

/** Builds the package. */
export const open = (): Examples => {
  mkdirSync(join(root, ".tmp"), { recursive: true })
  const folder = mkdtempSync(join(root, ".tmp/examples-"))
  buildInto(folder)
  cpSync(join(root, "examples"), join(folder, "examples"), { recursive: true })
  const started: Array<Running> = []

  const run: Examples["run"] = async (example, env = {}, args = [], [program, ...first] = [process.execPath]) => {
    const port = await freePort()
    const child = spawn(program, [...first, join("examples", example), ...args], {
      cwd: folder,
      env: { PATH: process.env["PATH"], HOME: process.env["HOME"], NO_COLOR: "1", PORT: String(port), ...env },
      stdio: ["ignore", "pipe", "pipe"]
    })
    let output = ""
    child.stdout.on("data", (chunk) => (output += chunk))
    child.stderr.on("data", (chunk) => (output += chunk))
    const exited = once(child, "close").then(([code]) => code as number | null)
    const running = { url: `http://localhost:${port}`, output: () => output, process: child, exited }
    started.push(running)
    return running
  }

  return {
    folder,
    run,
    serving: async (example, env, command) => {
      const running = await run(example, env, [], command)
      await new Promise<void>((resolve, reject) => {
        const look = () => /listening/i.test(running.output()) && resolve()
        running.process.stdout!.on("data", look)
        void running.exited.then((code) => reject(new Error(`exited with ${code}:\n${running.output()}`)))
        look()
      })
      return running
    },
    close: async () => {
      for (const { process } of started) process.kill("SIGKILL")
      await Promise.all(started.map(({ exited }) => exited))
      rmSync(folder, { recursive: true, force: true })
    }
  }
}
