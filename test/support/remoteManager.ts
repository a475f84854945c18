/** Managers in processes of their own, called from a test. `managerProcess.ts` is what runs there. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { createInterface } from "node:readline"
import { join } from "node:path"
import { wordOf } from "./outcome.ts"
import { ended, start } from "./processes.ts"

export interface RemoteData {
  readonly user?: string
  readonly items: ReadonlyArray<string>
}

export interface RemoteInfo {
  readonly id: string
  readonly data?: RemoteData | undefined
  readonly version: number
  readonly methods: ReadonlyArray<string>
  readonly label?: string | undefined
}

export interface RemoteSession extends RemoteInfo {
  readonly data: RemoteData
  readonly token: string
}

export interface RemoteOptions {
  /** Nanoseconds, as text. */
  readonly began?: string
  readonly methods?: ReadonlyArray<string>
  readonly client?: { readonly label: string }
}

/** What a process can be asked for, under the names of the manager's own, but for those that take a function there. */
export interface Operations {
  create(data: RemoteData, options?: RemoteOptions): RemoteSession
  /** `createFrom`, which keeps the items. */
  logIn(token: string, user: string, options?: RemoteOptions): RemoteSession
  resolve(token: string, options?: { readonly rotate?: boolean; readonly touch?: boolean }): RemoteSession
  /** `modify`. */
  addItem(token: string, item: string): RemoteSession
  /** `modifyAll`. */
  addItemToAll(user: string, item: string): number
  describe(token: string, label: string): RemoteSession
  reauthenticate(token: string, methods: ReadonlyArray<string>): RemoteSession
  rotate(token: string): RemoteSession
  list(user: string): ReadonlyArray<RemoteInfo>
  revoke(id: string, user: string): boolean
  revokeAll(user: string, options?: { readonly before: string }): number
  destroy(token: string): boolean
}

export interface Call {
  readonly call: number
  readonly operation: keyof Operations
  readonly args: ReadonlyArray<unknown>
}

export interface Answer<A> {
  /** `ok`, or as `wordOf` says. */
  readonly word: string
  readonly value?: A
}

/** The operations, some or all of them, as effects. */
export type Implemented<K extends keyof Operations = keyof Operations> = {
  readonly [P in K]: (...args: Parameters<Operations[P]>) => Effect.Effect<ReturnType<Operations[P]>, unknown>
}

/** The same, asked for from outside. */
export type Answering<K extends keyof Operations = keyof Operations> = {
  readonly [P in K]: (...args: Parameters<Operations[P]>) => Promise<Answer<ReturnType<Operations[P]>>>
}

export type RemoteManager = Answering & { readonly output: () => string; readonly stop: () => Promise<void> }

/** Runs operations in this process. One that an older version does not know dies. */
export const answering = <K extends keyof Operations>(
  implemented: Implemented<K>,
  context: Context.Context<never> = Context.empty()
): Answering<K> => {
  type Run = (...args: ReadonlyArray<unknown>) => Effect.Effect<unknown, unknown>
  const answer =
    (run: Run) =>
    async (...args: ReadonlyArray<unknown>): Promise<Answer<unknown>> => {
      const exit = await Effect.runPromiseExitWith(context)(Effect.suspend(() => run(...args)))
      return { word: wordOf(exit), ...(Exit.isSuccess(exit) ? { value: exit.value } : {}) }
    }
  // The arguments and answers of each are those of its implementation.
  const answers = Object.entries(implemented as unknown as Record<string, Run>).map(([name, run]) => [
    name,
    answer(run)
  ])
  return Object.fromEntries(answers) as Answering<K>
}

export const operations = [
  "create",
  "logIn",
  "resolve",
  "addItem",
  "addItemToAll",
  "describe",
  "reauthenticate",
  "rotate",
  "list",
  "revoke",
  "revokeAll",
  "destroy"
] as const satisfies ReadonlyArray<keyof Operations>

const script = join(import.meta.dirname, "managerProcess.ts")

export const startManager = async (env: Record<string, string>): Promise<RemoteManager> => {
  const child = start(process.execPath, ["--import", join(import.meta.dirname, "resolveSource.ts"), script], {
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], NO_COLOR: "1", ...env },
    isHeard: true
  })
  const waiting = new Map<number, (answer: Answer<unknown>) => void>()
  let calls = 0
  let output = ""
  child.stderr!.on("data", (chunk) => (output += chunk))
  createInterface({ input: child.stdout! }).on("line", (line) => {
    // The rest is the log.
    if (!line.startsWith('{"call":')) return void (output += `${line}\n`)
    const { call, ...answer } = JSON.parse(line) as Answer<unknown> & { readonly call: number }
    waiting.get(call)?.(answer)
    waiting.delete(call)
  })
  const answered = (call: number) => new Promise<Answer<unknown>>((resolve) => waiting.set(call, resolve))
  child.once("exit", () => {
    for (const answer of waiting.values()) answer({ word: `the process has ended:\n${output}` })
  })
  const ready = await answered(0)
  if (ready.word !== "ready") throw new Error(ready.word)
  const send = (operation: keyof Operations, args: ReadonlyArray<unknown>) => {
    const answer = answered(++calls)
    child.stdin!.write(`${JSON.stringify({ call: calls, operation, args } satisfies Call)}\n`)
    return answer
  }
  const remote = operations.map((operation) => [operation, (...args: ReadonlyArray<unknown>) => send(operation, args)])
  return {
    // The names are those of `Operations`, whose types the process checks on its side.
    ...(Object.fromEntries(remote) as Answering),
    output: () => output,
    stop: async () => {
      child.stdin!.end()
      await ended(child)
    }
  }
}
