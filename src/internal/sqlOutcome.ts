/**
 * What a failed SQL statement says about the write it was to make.
 *
 * @internal
 */
import { hasProperty } from "effect/Predicate"
import type { SqlError } from "effect/sql/SqlError"

/**
 * Whether the statement is certain not to have been applied. Our statements run outside of transactions, so whatever
 * the server answers with an error while it executes one, it has undone. What is left in doubt is a connection lost
 * with a statement under way, and a server that is giving up (classes 57, 58, XX).
 *
 * @internal
 */
export const outcomeOf = ({ reason }: SqlError): "notApplied" | "unknown" => {
  switch (reason._tag) {
    case "AuthenticationError":
    case "AuthorizationError":
    case "SqlSyntaxError":
    case "UniqueViolation":
    case "ConstraintError":
    case "DeadlockError":
    case "SerializationError":
    case "LockTimeoutError":
      return "notApplied"
    case "ConnectionError":
    case "StatementTimeoutError":
    case "UnknownError":
      return reason.operation === "connect" || isRefusal(reason.cause) ? "notApplied" : "unknown"
  }
}

/**
 * Whether the same statement may well succeed if it is sent again at once.
 *
 * @internal
 */
export const isTransient = ({ reason }: SqlError): boolean =>
  reason._tag === "SerializationError" || reason._tag === "DeadlockError"

/**
 * Postgres: feature not supported, bad data, invalid transaction state (25006: read only), insufficient resources,
 * program limit exceeded, object not in prerequisite state.
 */
const refusingClasses = new Set(["0A", "22", "25", "53", "54", "55"])

/** SQLite: ERROR (no such table, syntax), READONLY, FULL, TOOBIG, MISMATCH. */
const refusingCodes = new Set([1, 8, 13, 18, 20])

const isRefusal = (cause: unknown): boolean => {
  if (hasProperty(cause, "errno") && typeof cause.errno === "number") return refusingCodes.has(cause.errno & 0xff)
  if (!hasProperty(cause, "code") || typeof cause.code !== "string") return false
  return /^[0-9A-Z]{5}$/.test(cause.code) && refusingClasses.has(cause.code.slice(0, 2))
}
