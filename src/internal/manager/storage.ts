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
import type { DeletedRecord, Operation, SessionBackend, SessionPatch, SessionRecord } from "../../SessionBackend.ts"
import { maxBatch, SessionBackendError } from "../../SessionBackend.ts"
import { SessionUnavailable } from "../../SessionError.ts"
import { answerOf, failure } from "../exit.ts"
import * as Span from "../session/span.ts"
import { withDeadline } from "./deadline.ts"
import { rested } from "./rest.ts"
import { describeCause } from "../describeCause.ts"

export const unavailable = {
  notApplied: failure(new SessionUnavailable({ outcome: "notApplied" })),
  unknown: failure(new SessionUnavailable({ outcome: "unknown" }))
}

type Stored<B> = Effect.Effect<B, SessionUnavailable>

export type Storage = ReturnType<typeof make>

/** Is told of a call that failed. */
export type OnFailed = (operation: Operation, outcome: "notApplied" | "unknown") => Effect.Effect<void>

/** What came of a deletion: `perhaps` it was this call that deleted the record. */
export type Deleted = "deleted" | "perhaps" | "absent"

export const make = (backend: SessionBackend["Service"], namespace: string, timeout: number, onFailed?: OnFailed) => {
  /** The failure of an operation for a cause: logged, named on the current span, and told. */
  const failed = (
    operation: Operation,
    outcome: "notApplied" | "unknown",
    cause: unknown,
    tell = onFailed
  ): Stored<never> =>
    Effect.logWarning("session backend failed").pipe(
      Effect.annotateLogs({ namespace, operation, outcome, cause: describeCause(cause) }),
      Effect.andThen(Span.failed(operation, outcome)),
      Effect.andThen(() => (tell === undefined ? Effect.void : tell(operation, outcome))),
      Effect.andThen(unavailable[outcome])
    )

  const bounded = <B>(
    operation: Operation,
    outcome: "notApplied" | "unknown",
    millis: number,
    call: Effect.Effect<B, SessionBackendError>,
    tell?: OnFailed
  ): Stored<B> =>
    Effect.catchCause(
      withDeadline(call, millis, () =>
        Exit.fail(new SessionBackendError({ operation, outcome, cause: { _tag: "TimedOut" } }))
      ),
      (cause): Stored<never> => {
        const reason = cause.reasons.find((reason) => reason._tag !== "Interrupt")
        if (reason === undefined) return Effect.failCause(cause as Cause.Cause<never>)
        if (reason._tag === "Die") return failed(operation, outcome, reason.defect, tell)
        // What only asks is never applied, whatever the store's error says.
        const { cause: why, outcome: said } = reason.error
        return failed(operation, outcome === "notApplied" ? outcome : said, why, tell)
      }
    )

  const query = <B>(operation: Operation, call: () => Effect.Effect<B, SessionBackendError>) =>
    bounded(operation, "notApplied", timeout, Effect.suspend(call))

  /** A write that is late or dies may have been applied. */
  const write = <B>(
    operation: Operation,
    call: () => Effect.Effect<B, SessionBackendError>,
    millis = timeout,
    tell?: OnFailed
  ) => bounded(operation, "unknown", millis, Effect.suspend(call), tell)

  /** Deletes are idempotent, so a quick failure is retried within the deadline. */
  const deletion = <B>(
    operation: Operation,
    call: (isAfterUnknown: boolean) => Effect.Effect<B, SessionBackendError>
  ) =>
    Effect.uninterruptible(
      write(operation, () =>
        Effect.catch(call(false), (first) => {
          const isUnknown = first.outcome === "unknown"
          // If the first may have been applied, so it may after the second has failed.
          return Effect.mapError(call(isUnknown), (second) => (isUnknown ? first : second))
        })
      )
    )

  return {
    failed,
    /** The subscription to what ends, if the backend has one. It has no deadline here. */
    ended: backend.ended,
    create: (record: SessionRecord) => write("create", () => backend.create(record)),
    /**
     * Asks the backend when it is called, not when it runs: to be called when the record is needed. `tell` is told of a
     * failure in place of the handler.
     */
    read: (id: string, tell?: OnFailed): Stored<Option.Option<SessionRecord>> => {
      const call = answerOf(() => backend.read(namespace, id))
      return Exit.isExit(call) && Exit.isSuccess(call)
        ? // A success has no error, whatever its type says of failures.
          (call as Exit.Exit<Option.Option<SessionRecord>, never>)
        : bounded("read", "notApplied", timeout, call, tell)
    },
    /** Takes at most `millis`, where less is left than a call may take. `tell` is told of a failure in place of the handler. */
    update: (id: string, version: number, patch: SessionPatch, millis: number, tell?: OnFailed) =>
      write("update", () => backend.update(namespace, id, version, patch), Math.min(millis, timeout), tell),
    touch: (id: string, seen: Pick<SessionRecord, "lastSeenAt" | "idleExpiresAt">, millis: number) =>
      write("touch", () => backend.touch(namespace, id, seen), millis),
    delete: (id: string, options?: { readonly principal: string }): Stored<Deleted> =>
      deletion("delete", (isAfterUnknown) =>
        Effect.map(backend.delete(namespace, id, options), (isDeleted) =>
          isDeleted ? "deleted" : isAfterUnknown ? "perhaps" : "absent"
        )
      ),
    /**
     * Deletes a principal's records in batches, each with a deadline of its own, and answers how many. `onDeleted` gets those
     * of each batch. Between two batches it rests, and may be interrupted: what is deleted stays deleted.
     */
    deleteByPrincipal: Effect.fnUntraced(function* (
      principal: string,
      options: { readonly except?: string | undefined } = {},
      restore?: (rest: Effect.Effect<void>) => Effect.Effect<void>,
      onDeleted?: (deleted: ReadonlyArray<DeletedRecord>) => Effect.Effect<void>
    ) {
      const batch = deletion("deleteByPrincipal", () =>
        backend.deleteByPrincipal(namespace, principal, { limit: maxBatch, except: options.except })
      )
      let count = 0
      for (;;) {
        const { deleted, more } = yield* Effect.mapErrorEager(rested(batch, restore, onDeleted), (error) =>
          count === 0 ? error : new SessionUnavailable({ outcome: "unknown" })
        )
        count += deleted.length
        if (!more) return count
      }
    }),
    listByPrincipal: (principal: string, options: Parameters<SessionBackend["Service"]["listByPrincipal"]>[2]) =>
      query("listByPrincipal", () => backend.listByPrincipal(namespace, principal, options)),
    scan: (options: { readonly limit: number; readonly after?: string | undefined }) =>
      query("scan", () => backend.scan(namespace, options))
  }
}
