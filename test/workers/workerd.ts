/** Bundles a Worker as `wrangler` does, and runs it in workerd, with a D1 database that has the published table. */
import { build } from "esbuild"
import { Miniflare } from "miniflare"
import { randomBytes } from "node:crypto"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { request } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Readable } from "node:stream"
import * as SessionBackendSql from "../../src/SessionBackendSql.ts"

const root = join(import.meta.dirname, "../..")

export const bundle = async (entry: string): Promise<string> => {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2024",
    conditions: ["workerd", "worker", "browser"],
    external: ["node:*", "cloudflare:*"]
  })
  return outputFiles[0]!.text
}

export interface Options {
  readonly compatibilityDate?: string
  readonly compatibilityFlags?: Array<string>
  readonly bindings?: Readonly<Record<string, string>>
}

export const start = async (contents: string, options: Options = {}) => {
  // In memory, where there is such a folder: the simulator of D1 waits for the disk at each statement.
  const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "effect-sessions-d1-"))
  const { compatibilityDate = "2026-07-01", compatibilityFlags = [] } = options
  const miniflare = new Miniflare({
    compatibilityDate,
    compatibilityFlags,
    modules: [{ type: "ESModule", path: "worker.mjs", contents }],
    d1Databases: ["DB"],
    d1Persist: folder,
    bindings: { SESSION_SECRET: randomBytes(32).toString("base64"), ...options.bindings },
    handleRuntimeStdio: (stdout: Readable, stderr: Readable) => {
      for (const output of [stdout, stderr]) output.setEncoding("utf8").on("data", (text: string) => (log += text))
    }
  })
  let log = ""
  const url = await miniflare.ready
  const db = await miniflare.getD1Database("DB")
  for (const statement of SessionBackendSql.ddl({ dialect: "sqlite" })) await db.prepare(statement).run()
  return {
    url,
    db,
    /** What workerd and the Worker have said. */
    log: () => log,
    /** Runs the cron trigger, as the platform does. */
    scheduled: async () => {
      // Its type comes from a package that is not installed.
      const worker = (await miniflare.getWorker()) as unknown as {
        readonly scheduled: (options: { readonly cron: string }) => Promise<{ readonly outcome: string }>
      }
      return (await worker.scheduled({ cron: "* * * * *" })).outcome
    },
    stop: async () => {
      await miniflare.dispose()
      rmSync(folder, { recursive: true, force: true })
    }
  }
}

export type Running = Awaited<ReturnType<typeof start>>

/** A browser that knows one Worker. `store` and `timeout`, in milliseconds, say which of the test Worker's apps it asks. */
export const browser = ({ url }: Pick<Running, "url">, store = "", timeout = 10_000) => {
  const jar = new Map<string, string>()
  const headers = () => ({
    cookie: [...jar].map(([name, value]) => `${name}=${value}`).join("; "),
    "x-store": store,
    "x-timeout": String(timeout),
    // workerd closes a connection that was silent for a while, which a client may use just then.
    connection: "close"
  })
  const ask = (method: string, path: string, init?: RequestInit) =>
    fetch(new URL(path, url), { ...init, method, headers: { ...headers(), ...init?.headers } })
  const send = async (method: string, path: string, init?: RequestInit) => {
    const began = performance.now()
    const response = await ask(method, path, init)
    const text = await response.text()
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)!
      if (/; Max-Age=0(;|$)/.test(line)) jar.delete(name!)
      else jar.set(name!, value!)
    }
    return { status: response.status, text, headers: response.headers, millis: performance.now() - began }
  }
  /** Sends a request, and goes away when it is told to: workerd cancels what it does for it then. */
  const leaving = (method: string, path: string, more?: Readonly<Record<string, string>>) => {
    const sent = request(new URL(path, url), { method, headers: { ...headers(), ...more } })
    const begun = new Promise<void>((resolve) => {
      sent.on("response", (response) => response.on("error", () => {}).on("data", () => resolve()))
    })
    sent.on("error", () => {}).end()
    // A connection that is only closed is one whose client may still read.
    return { begun, leave: () => sent.socket?.resetAndDestroy() }
  }
  return {
    jar,
    ask,
    leaving,
    get: (path: string, init?: RequestInit) => send("GET", path, init),
    post: (path: string, init?: RequestInit) => send("POST", path, init)
  }
}
