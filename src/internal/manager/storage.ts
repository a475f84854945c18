/**
 * The backend as the manager uses it, for one namespace: each call has a deadline, each failure is logged and becomes a
 * `SessionUnavailable`.
 *
 * @internal
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Option from "effect/Option"
import type { Operation, SessionBackend, SessionPage, SessionPatch, SessionRecord } from "../../SessionBackend.ts"
import type { UpdateResult } from "../../SessionBackend.ts"
import { SessionBackendError } from "../../SessionBackend.ts"
import { SessionUnavailable } from "../../SessionError.ts"
import { failure, isExit } from "../exit.ts"
import { withDeadline } from "./deadline.ts"
import { describeCause } from "./describeCause.ts"

/** @internal */
export const unavailable = {
  notApplied: failure(new SessionUnavailable({ outcome: "notApplied" })),
  unknown: failure(new SessionUnavailable({ outcome: "unknown" }))
}

type Stored<B> = Effect.Effect<B, SessionUnavailable>

/** @internal */
export interface Storage {
  readonly create: (record: SessionRecord) => Stored<"created" | "exists">
  /** Asked when it is called, and answered at once by a backend that can: to be called when the record is needed. */
  readonly read: (id: string) => Stored<Option.Option<SessionRecord>>
  /** `millis`: at most so long, if less is left than a call may take. */
  readonly update: (id: string, version: number, patch: SessionPatch, millis: number) => Stored<UpdateResult>
  readonly touch: (
    id: string,
    seen: Pick<SessionRecord, "lastSeenAt" | "idleExpiresAt">
  ) => Stored<"touched" | "unchanged" | "gone">
  readonly delete: (id: string, options?: { readonly principal?: string | undefined }) => Stored<boolean>
  readonly deleteByPrincipal: (principal: string, options?: { readonly except?: string | undefined }) => Stored<number>
  readonly listByPrincipal: (
    principal: string,
    options: { readonly limit: number; readonly after?: string | undefined }
  ) => Stored<SessionPage>
  /** The failure of an operation for a cause, logged. */
  readonly failed: (operation: Operation, outcome: "notApplied" | "unknown", cause: unknown) => Stored<never>
}

/** @internal */
export const make = (backend: SessionBackend["Service"], namespace: string, timeout: number): Storage => {
  const failed: Storage["failed"] = (operation, outcome, cause) =>
    Effect.flatMap(
      Effect.logWarning("session backend failed").pipe(
        Effect.annotateLogs({ namespace, operation, outcome, cause: describeCause(cause) })
      ),
      () => unavailable[outcome]
    )

  const bounded = <B>(
    operation: Operation,
    outcome: "notApplied" | "unknown",
    millis: number,
    call: Effect.Effect<B, SessionBackendError>
  ): Stored<B> =>
    Effect.catchCause(
      withDeadline(call, millis, () =>
        Exit.fail(new SessionBackendError({ operation, outcome, cause: { _tag: "TimedOut" } }))
      ),
      (cause): Stored<never> => {
        for (const reason of cause.reasons) {
          // A read changes nothing, whatever a store says of it.
          if (reason._tag === "Fail") {
            return failed(operation, outcome === "notApplied" ? outcome : reason.error.outcome, reason.error.cause)
          }
          if (reason._tag === "Die") return failed(operation, outcome, reason.defect)
        }
        // What is left is an interruption.
        return Effect.failCause(cause as Cause.Cause<never>)
      }
    )

  /** A write that is late, or that dies, may have been carried out. */
  const write = <B>(operation: Operation, call: () => Effect.Effect<B, SessionBackendError>, millis = timeout) =>
    bounded(operation, "unknown", millis, Effect.suspend(call))

  /** To delete again what is deleted changes nothing, so a quick failure is tried again within the deadline. */
  const deletion = <B>(operation: Operation, call: () => Effect.Effect<B, SessionBackendError>) =>
    Effect.uninterruptible(
      write(operation, () =>
        Effect.catch(call(), (first) =>
          // If the first may have been carried out, that is not known better after the second has failed.
          Effect.mapError(Effect.suspend(call), (second) => (first.outcome === "unknown" ? first : second))
        )
      )
    )

  return {
    failed,
    create: (record) => write("create", () => backend.create(record)),
    read: (id) => {
      let call: ReturnType<typeof backend.read>
      try {
        call = backend.read(namespace, id)
      } catch (defect) {
        call = Exit.die(defect)
      }
      return isExit(call) && Exit.isSuccess(call)
        ? // A success has no error, whatever its type says of failures.
          (call as Exit.Exit<Option.Option<SessionRecord>, never>)
        : bounded("read", "notApplied", timeout, call)
    },
    update: (id, version, patch, millis) =>
      write("update", () => backend.update(namespace, id, version, patch), Math.min(millis, timeout)),
    // Short of the others: a touch that fails costs the session some idle time, and the request should not wait for it.
    touch: (id, seen) => write("touch", () => backend.touch(namespace, id, seen), timeout / 4),
    delete: (id, options) => deletion("delete", () => backend.delete(namespace, id, options)),
    deleteByPrincipal: (principal, options) =>
      deletion("deleteByPrincipal", () => backend.deleteByPrincipal(namespace, principal, options)),
    listByPrincipal: (principal, options) =>
      bounded(
        "listByPrincipal",
        "notApplied",
        timeout,
        Effect.suspend(() => backend.listByPrincipal(namespace, principal, options))
      )
  }
}
