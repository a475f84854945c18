/**
 * The process a server runs in: `node server.ts <module> <store>`. Starts the module, tells its port to the runner over
 * IPC, and answers with the process's CPU time and memory when asked.
 */
import type { Start, Store } from "./servers/common.ts"

export interface Usage {
  /** User and system time of all threads of the process, in microseconds, as the operating system counts it. */
  readonly cpu: number
  /** Bytes that live objects take, inside and outside V8's heap. */
  readonly live: number
  /** Resident set size in bytes. */
  readonly rss: number
}

export type Question = "usage" | "collect"

if (process.send !== undefined) {
  const [name, store] = process.argv.slice(2)
  const { start } = (await import(`./servers/${name}.ts`)) as { readonly start: Start } // each file in servers/ exports it
  const port = await start(store as Store) // the runner passes a Store
  process.on("message", (question: Question) => {
    if (question === "collect") globalThis.gc?.()
    const { system, user } = process.cpuUsage()
    const { arrayBuffers, external, heapUsed, rss } = process.memoryUsage()
    const usage: Usage = { cpu: user + system, live: heapUsed + Math.max(external, arrayBuffers), rss }
    process.send!(usage)
  })
  process.on("disconnect", () => process.exit(0))
  process.send(port)
}
