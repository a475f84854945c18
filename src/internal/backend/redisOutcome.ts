/**
 * Failures of Redis commands: which are retried, and what they say about the write.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import type { RedisError } from "effect/persistence/Redis"
import { type Operation, SessionBackendError } from "../../SessionBackend.ts"

/** Error replies that say "not now". */
const transient = /^(?:READONLY|LOADING|MOVED|TRYAGAIN|CLUSTERDOWN|NOSCRIPT) /

/** Error replies that refuse a command before it does anything, and the errors of node-redis for one it did not send. */
const refusal =
  /^(?:OOM|NOAUTH|MASTERDOWN|ASK|BUSY|MISCONF|NOREPLICAS) |^The (?:client is (?:offline|closed)|queue is full)$/

const messageOf = ({ cause }: RedisError): string =>
  cause instanceof Error
    ? cause.message || ("code" in cause ? String(cause.code) : cause.constructor.name)
    : typeof cause === "string"
      ? cause
      : "unknown failure"

const isTransient = (error: RedisError): boolean => transient.test(messageOf(error))

const outcomeOf = (message: string): SessionBackendError["outcome"] =>
  transient.test(message) || refusal.test(message) ? "notApplied" : "unknown"

/**
 * The `cause` is a new error with the message alone: a driver may keep the command on its own error, and so keys and
 * data, and Redis repeats the arguments of a command it does not know.
 */
export const failure = (
  operation: Operation,
  error: RedisError,
  outcome: SessionBackendError["outcome"] = outcomeOf(messageOf(error))
): SessionBackendError =>
  new SessionBackendError({
    operation,
    outcome,
    cause: new Error(messageOf(error).replace(/, with args beginning with: .*$/s, ""))
  })

/** The failure of an operation that has already written something. */
export const afterWrite = ({ cause, operation }: SessionBackendError): SessionBackendError =>
  new SessionBackendError({ operation, outcome: "unknown", cause })

/** Sends a command, and once more after 50 ms if Redis answers "not now". */
export const attempt = <A>(
  operation: Operation,
  command: Effect.Effect<A, RedisError>
): Effect.Effect<A, SessionBackendError> =>
  command.pipe(
    Effect.catchIf(isTransient, () => Effect.delay(command, "50 millis")),
    Effect.mapError((error) => failure(operation, error))
  )
