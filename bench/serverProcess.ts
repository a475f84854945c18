import { spawn, type ChildProcess } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import type { Answers, Question } from "./server.ts"
import type { Subject } from "./subjects.ts"

export interface ServerProcess {
  readonly port: number
  readonly ask: <Q extends Question>(question: Q) => Promise<Answers[Q]>
  readonly stop: () => Promise<void>
}

const script = fileURLToPath(new URL("./server.ts", import.meta.url))

/** The next message of the process; fails, with what it said last, if it ends instead. */
const message = <A>(child: ChildProcess, errors: ReadonlyArray<string>): Promise<A> =>
  new Promise((resolve, reject) => {
    const onMessage = (answer: unknown) => {
      child.off("exit", onExit)
      resolve(answer as A) // server.ts sends the port first, then an answer to each question
    }
    const onExit = () => {
      child.off("message", onMessage)
      reject(new Error(`the server process ended (exit code ${child.exitCode})\n${errors.join("")}`))
    }
    child.once("message", onMessage)
    child.once("exit", onExit)
  })

/** Starts a subject in a process of its own, on one core. */
export const startServer = async (
  subject: Subject,
  options: { readonly core: number; readonly env?: Record<string, string> | undefined }
): Promise<ServerProcess> => {
  const child = spawn(
    "taskset",
    [
      "-c",
      String(options.core),
      process.execPath,
      "--expose-gc",
      "--max-old-space-size=8192",
      script,
      subject.server,
      subject.store
    ],
    {
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      env: { ...process.env, NODE_ENV: "production", ...subject.env, ...options.env }
    }
  )
  // Shown only if the process ends by itself: express-session and others warn about their memory stores there.
  const errors: Array<string> = []
  child.stderr!.setEncoding("utf8").on("data", (text: string) => errors.push(text))
  const port = await message<number>(child, errors)
  return {
    port,
    ask: <Q extends Question>(question: Q) => {
      const answer = message<Answers[Q]>(child, errors)
      child.send(question)
      return answer
    },
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const gone = once(child, "exit")
      child.kill()
      await gone
    }
  }
}
