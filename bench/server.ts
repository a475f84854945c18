/**
 * The process a server runs in: `node server.ts <module> <store>`. Starts the module, tells its port to the runner over
 * IPC, and answers what the runner asks about the process: CPU time, memory, a profile.
 */
import { selfTimes, type SelfTime } from "./profiling.ts"
import type { Start, Store } from "./servers/common.ts"

export interface Usage {
  /** User and system time of all threads of the process, in microseconds, as the operating system counts it. */
  readonly cpu: number
}

export interface Memory {
  /** Bytes that live objects take, inside and outside V8's heap. */
  readonly live: number
  /** Resident set size in bytes. */
  readonly rss: number
}

/** What the runner may ask, and what it is answered. */
export interface Answers {
  readonly usage: Usage
  /** Memory after a collection. */
  readonly collect: Memory
  readonly startProfile: "started"
  /** Summed up here, as a profile itself is megabytes. */
  readonly stopProfile: ReadonlyArray<SelfTime>
}

export type Question = keyof Answers

if (process.send !== undefined) {
  const { Session } = await import("node:inspector/promises")
  const profiler = new Session()
  const answers: { readonly [Q in Question]: () => Answers[Q] | Promise<Answers[Q]> } = {
    usage: () => {
      const { system, user } = process.cpuUsage()
      return { cpu: user + system }
    },
    collect: () => {
      globalThis.gc?.()
      const { arrayBuffers, external, heapUsed, rss } = process.memoryUsage()
      return { live: heapUsed + Math.max(external, arrayBuffers), rss }
    },
    startProfile: async () => {
      profiler.connect()
      await profiler.post("Profiler.enable")
      await profiler.post("Profiler.setSamplingInterval", { interval: 500 })
      await profiler.post("Profiler.start")
      return "started" as const
    },
    stopProfile: async () => {
      const { profile } = await profiler.post("Profiler.stop")
      profiler.disconnect()
      return selfTimes(profile)
    }
  }
  const [name, store] = process.argv.slice(2)
  const { start } = (await import(`./servers/${name}.ts`)) as { readonly start: Start } // each file in servers/ exports it
  const port = await start(store as Store) // the runner passes a Store
  process.on("message", async (question: Question) => process.send!(await answers[question]()))
  process.on("disconnect", () => process.exit(0))
  process.send(port)
}
