/**
 * Failures of Redis commands: what each says of the server and of the write.
 *
 * @internal
 */
import type { RedisError } from "effect/persistence/Redis"
import { type Operation, SessionBackendError } from "../../SessionBackend.ts"

/** Replies that say "not now". */
const transient: ReadonlySet<string> = new Set(["READONLY", "LOADING", "MOVED", "TRYAGAIN", "CLUSTERDOWN"])

/** Replies that refuse a command before it does anything. */
const refusals: ReadonlySet<string> = new Set([
  ...transient,
  "OOM",
  "NOAUTH",
  "MASTERDOWN",
  "ASK",
  "BUSY",
  "MISCONF",
  "NOREPLICAS",
  "CROSSSLOT"
])

/** The errors of node-redis and ioredis for a command that they did not send. */
const notSent =
  /^The (?:client is (?:offline|closed)|queue is full)$|^Stream isn't writeable and enableOfflineQueue options is false$/

/** Until Redis 7, the failure of a command that a script calls comes with where. */
const place = /^ERR Error running script \(call to \w+\): (?:@user_script: ?\d+: )*-?/

const messageOf = ({ cause }: RedisError): string =>
  (cause instanceof Error ? cause.message : typeof cause === "string" ? cause : "").replace(place, "")

/**
 * What the log names: the first word of a reply, the code that a driver or the system gives, or the name of the class.
 * No one of them quotes an argument.
 */
export const codeOf = (error: RedisError): string | undefined => {
  const reply = /^-?([A-Z][A-Z0-9]{1,15})(?= |$)/.exec(messageOf(error))?.[1]
  if (reply !== undefined) return reply
  const { cause } = error
  if (!(cause instanceof Error)) return undefined
  return "code" in cause && typeof cause.code === "string" ? cause.code : cause.constructor.name
}

export const isTransient = (error: RedisError): boolean => transient.has(codeOf(error) ?? "")

/** Whether a replica has answered. */
export const isReplica = (error: RedisError): boolean => codeOf(error) === "READONLY"

/** Whether a server takes no writes at present. A script is told so by a primary only, a command alone by a replica too. */
export const takesNoWrites = (error: RedisError): boolean => /^(?:NOREPLICAS|MISCONF)$/.test(codeOf(error) ?? "")

/** What an operation that only reads has written is known. */
const onlyReads = (operation: Operation): boolean =>
  operation === "read" || operation === "listByPrincipal" || operation === "scan"

const outcomeOf = (operation: Operation, error: RedisError): SessionBackendError["outcome"] =>
  onlyReads(operation) || refusals.has(codeOf(error) ?? "") || notSent.test(messageOf(error)) ? "notApplied" : "unknown"

/**
 * A new error with the message and the code alone: a driver may keep the command on its own error, and so keys and data,
 * and Redis repeats the arguments of a command it does not know.
 */
class RedisFailure extends Error {
  readonly code: string | undefined

  constructor(error: RedisError) {
    const code = codeOf(error)
    super(messageOf(error).replace(/, with args beginning with: .*$/s, "") || (code ?? "unknown failure"))
    this.name = "RedisError"
    this.code = code
  }
}

export const failure = (
  operation: Operation,
  error: RedisError,
  outcome: SessionBackendError["outcome"] = outcomeOf(operation, error)
): SessionBackendError => new SessionBackendError({ operation, outcome, cause: new RedisFailure(error) })

/** The failure of an operation that has already written something. */
export const afterWrite = ({ cause, operation }: SessionBackendError): SessionBackendError =>
  new SessionBackendError({ operation, outcome: "unknown", cause })
