/**
 * The process a server runs in, from outside (`startServer`) and, at the end, from inside: `node process.ts <server>
 * <store>` starts it, tells its port to the run over IPC, and answers what the run asks about the process.
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { portOf, type Start, type Store } from "./common.ts"
import type { Subject } from "./subjects.ts"

/** User and system time of all threads in microseconds; bytes of live objects, in V8's heap and outside, once collected. */
export type Question = "cpu" | "live"

/** Starts a subject in a process of its own, on one core. With BENCH_PROFILE, it leaves a CPU profile in that folder. */
export const startServer = async ({ env, server, store }: Pick<Subject, "env" | "server" | "store">, core: number) => {
  const { BENCH_PROFILE: profiles } = process.env
  const profiling = profiles === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profiles}`]
  // Without the memory reducer: V8 would take a server that waits for its turn for idle, and drop compiled code.
  const flags = ["--expose-gc", "--max-old-space-size=8192", "--no-memory-reducer", ...profiling]
  const node = [process.execPath, ...flags, import.meta.filename]
  const child = spawn("taskset", ["-c", String(core), ...node, server, store], {
    stdio: ["ignore", "ignore", "pipe", "ipc"],
    env: { ...process.env, NODE_ENV: "production", ...env }
  })
  // Shown only if the process ends by itself: express-session and others warn about their memory stores there.
  let errors = ""
  child.stderr!.setEncoding("utf8").on("data", (text: string) => (errors += text))
  /** The next message of the process; fails, with what it said last, if it ends instead. */
  const answer = () =>
    new Promise<number>((resolve, reject) => {
      const onExit = () => reject(new Error(`the server process ended (exit code ${child.exitCode})\n${errors}`))
      child.once("exit", onExit).once("message", (message) => {
        child.off("exit", onExit)
        resolve(message as number) // below, each message is one
      })
    })
  return {
    port: await answer(),
    ask: (question: Question): Promise<number> => {
      const answered = answer()
      child.send(question)
      return answered
    },
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const gone = once(child, "exit")
      child.disconnect()
      await gone
    }
  }
}

if (import.meta.main && process.send !== undefined) {
  const answers: Readonly<Record<Question, () => number>> = {
    cpu: () => {
      const { system, user } = process.cpuUsage()
      return user + system
    },
    live: () => {
      globalThis.gc?.()
      const { arrayBuffers, external, heapUsed } = process.memoryUsage()
      return heapUsed + Math.max(external, arrayBuffers)
    }
  }
  const [server, store] = process.argv.slice(2)
  const { start } = (await import(`./${server}.ts`)) as { readonly start: Start } // each server's file exports it
  const listening = await start(store as Store) // the run passes one
  // The same for all, and longer than a collection of a million sessions: the client's connections are to stay open.
  listening.keepAliveTimeout = 60_000
  process.on("message", (question: Question) => process.send!(answers[question]()))
  // However the run ends, this does too; a profile is written then.
  process.on("disconnect", () => process.exit(0))
  process.send(portOf(listening))
}
