/**
 * Failures of SQL statements: which are retried, and what they say about the write.
 *
 * @internal
 */
import { hasProperty } from "effect/Predicate"
import type { SqlError } from "effect/sql/SqlError"

/**
 * Statements run outside of transactions, so a server that answers one with an error has undone it. In doubt are a
 * connection lost while a statement ran, and a server that is shutting down or broken (classes 57, 58, XX).
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

/** Whether the same statement may succeed if it is sent again at once. */
export const isTransient = ({ reason }: SqlError): boolean =>
  reason._tag === "SerializationError" || reason._tag === "DeadlockError"

/**
 * Postgres: feature not supported, bad data, invalid transaction state (25006: read only), insufficient resources,
 * program limit exceeded, object not in prerequisite state.
 */
const refusingClasses = new Set(["0A", "22", "25", "53", "54", "55"])

/** SQLite: ERROR (no such table, syntax), READONLY, FULL, TOOBIG, MISMATCH. */
const refusingCodes = new Set([1, 8, 13, 18, 20])

/**
 * MySQL, whose errors have a number and a `sqlState`: shutdown in progress, an unknown error, errors of commit and
 * rollback, a killed connection. All others are refusals.
 */
const doubtful = new Set([1053, 1105, 1180, 1181, 1927])

const isRefusal = (cause: unknown): boolean => {
  if (hasProperty(cause, "sqlState") && hasProperty(cause, "errno")) return !doubtful.has(Number(cause.errno))
  if (hasProperty(cause, "errno") && typeof cause.errno === "number") return refusingCodes.has(cause.errno & 0xff)
  if (!hasProperty(cause, "code") || typeof cause.code !== "string") return false
  return /^[0-9A-Z]{5}$/.test(cause.code) && refusingClasses.has(cause.code.slice(0, 2))
}
