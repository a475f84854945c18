/** Runs a command of `effect/cli` in this process, on a terminal or not, and answers what it printed. */
import { NodeServices } from "@effect/platform-node"
import * as Cause from "effect/Cause"
import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Runtime from "effect/Runtime"
import * as Sink from "effect/Sink"
import * as Stdio from "effect/Stdio"
import * as Terminal from "effect/Terminal"
import * as TestConsole from "effect/testing/TestConsole"

export interface Ran {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

export const run = <Name extends string, E, R>(
  command: Command.Command<Name, {}, {}, E, R>,
  args: ReadonlyArray<string>,
  /** How wide the terminal is, and what is typed there. */
  terminal?: { readonly columns: number; readonly typed?: string }
) =>
  Effect.gen(function* () {
    const out = { stdout: "", stderr: "" }
    const into = (name: keyof typeof out) => () =>
      Sink.forEach((text: string | Uint8Array) =>
        Effect.sync(() => {
          out[name] += typeof text === "string" ? text : Buffer.from(text).toString()
        })
      )
    const isTerminal = Effect.succeed(terminal !== undefined)
    const console = yield* TestConsole.make
    const services = Layer.mergeAll(
      Stdio.layerTest({
        stdinIsTerminal: isTerminal,
        stdoutIsTerminal: isTerminal,
        stderrIsTerminal: isTerminal,
        stdout: into("stdout"),
        stderr: into("stderr")
      }),
      Layer.succeed(
        Terminal.Terminal,
        Terminal.make({
          columns: Effect.succeed(terminal?.columns ?? 0),
          rows: Effect.succeed(24),
          size: Effect.die("not used"),
          readLine: Effect.die("not used"),
          readInput: Effect.gen(function* () {
            const keys = yield* Queue.make<Terminal.UserInput, Cause.Done>()
            for (const input of terminal?.typed ?? "") {
              const key = { name: input === "\r" ? "return" : input, ctrl: false, meta: false, shift: false }
              Queue.offerUnsafe(keys, { input: Option.some(input), key })
            }
            Queue.endUnsafe(keys)
            return keys
          }),
          display: (text) =>
            Effect.sync(() => {
              out.stdout += text
            })
        })
      )
    )
    const exit = yield* Effect.exit(Command.runWith(command, { version: "1" })(args)).pipe(
      Effect.provide(services),
      Effect.provide(NodeServices.layer),
      Effect.provideService(Console.Console, console)
    )
    const printed = (lines: ReadonlyArray<unknown>) => lines.map((line) => `${String(line)}\n`).join("")
    const ran: Ran = {
      exitCode: Exit.isSuccess(exit)
        ? 0
        : Cause.hasInterruptsOnly(exit.cause)
          ? 130
          : Runtime.getErrorExitCode(Cause.squash(exit.cause)),
      stdout: out.stdout + printed(yield* console.logLines),
      stderr: out.stderr + printed(yield* console.errorLines)
    }
    return ran
  })
