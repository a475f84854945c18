/**
 * Runs an example. What is set up wrong is told in one piece that says what to change; `NodeRuntime.runMain` alone would
 * show the stack of each cause. An error of any other kind is shown as it would.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Cause, Config, Effect, Layer } from "effect"

/** Drivers say why in the cause of their error, or in the cause of that. None of them shows a password. */
const messagesOf = (error: unknown): ReadonlyArray<string> =>
  error instanceof Error ? [error.message, ...messagesOf(error.cause)] : []

const reasonOf = (error: unknown): string =>
  messagesOf(error)
    .filter((message, i, all) => !all.slice(0, i).some((earlier) => earlier.includes(message)))
    .join(": ")

const portAdvice = (cause: unknown): string => {
  const { code, port } = (cause ?? {}) as { readonly code?: string; readonly port?: number }
  return code === "EADDRINUSE"
    ? `port ${port} is taken: set PORT to another, such as ${Number(port) + 1}`
    : `the server cannot listen: ${reasonOf(cause)}`
}

const adviceOf = (error: unknown): string | undefined => {
  // An error of Effect's that is not an `Error` too.
  if (error instanceof Config.ConfigError) {
    return `a variable of the environment cannot be read: ${reasonOf(error.cause).replaceAll(/\n\s*/g, " ")}`
  }
  if (!(error instanceof Error)) return undefined
  // Drivers throw it; its stack shows where, and not which variable.
  if ("code" in error && error.code === "ERR_INVALID_URL") {
    return "the address of the store is no URL: it begins with redis://, postgres:// or mysql://"
  }
  switch ("_tag" in error && error._tag) {
    case "ServeError":
      return portAdvice(error.cause)
    case "SessionConfigError":
      return error.message
    case "SqlError":
    case "RedisError":
      return `the store of the sessions cannot be opened: ${reasonOf(error)}`
    default:
      return undefined
  }
}

/** `NodeRuntime.runMain`, with advice. */
export const runMain = <A, E>(main: Effect.Effect<A, E>): void =>
  main.pipe(
    Effect.tapCause((cause) =>
      Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logError(adviceOf(Cause.squash(cause)) ?? cause)
    ),
    NodeRuntime.runMain({ disableErrorReporting: true })
  )

export const launch = <E>(server: Layer.Layer<never, E>): void => runMain(Layer.launch(server))
