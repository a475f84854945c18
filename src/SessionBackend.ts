/**
 * The storage port: the contract between a session manager and a store of session records. Every operation is atomic,
 * none is an upsert, and none reads a clock: the time is always an argument.
 *
 * **When to use**
 *
 * Use one of the backends provided (`SessionBackendMemory`, `SessionBackendRedis`, `SessionBackendSql`), or implement
 * this service over another store. `SessionBackendTest` in `effect-sessions/testing` has the cases it must pass.
 *
 * **Details**
 *
 * - The manager checks the deadlines of a record on every read. Expiry in the store (the TTL of a Redis key,
 *   `deleteExpired`) only frees space: `read` may return an expired record and must not hide one.
 * - `update` and `touch` never bring a deleted record back, and `update` changes a record only at the expected version.
 * - What has no bound is done in batches: `deleteByPrincipal` and `deleteExpired` delete at most `limit` records a call, and
 *   `more` says whether to call again. So each call keeps a deadline, and other work goes on between two of them.
 * - `lastSeenAt` and `idleExpiresAt` only move forward, with one exception: a stored `lastSeenAt` that is later than the
 *   given one by more than `clockSlack` comes from a wrong clock, and `update` and `touch` set both to the given values.
 *
 * **Gotchas**
 *
 * - `read` may look the record up when it is called, rather than when its result is run: the memory backend does. Code
 *   that wraps a backend defers the call: `Effect.suspend(() => backend.read(namespace, id))`.
 *
 * @stability unstable
 * @since 0.1.0
 */

import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"

/**
 * A session record. All times are milliseconds since the Unix epoch.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface SessionRecord {
  /** The identifier of the session definition. Each namespace has ids and principals of its own. */
  readonly namespace: string
  /** The public session id: 22 characters of base64url, unchanged by rotation. */
  readonly id: string
  /** SHA-256 of the client's secret: 43 characters of base64url, changed by rotation. */
  readonly secretHash: string
  /** Starts at 1 and grows by one with each `update`. `touch` leaves it alone. */
  readonly version: number
  /** The user who is logged in: 1 to 256 bytes of UTF-8 without NUL. Never changes for an id. */
  readonly principal: string | undefined
  /** The session data as JSON text, at most 64 KiB. Any Unicode is allowed; NUL only as the escape `\u0000`. */
  readonly data: string
  /** The version of the data's schema. */
  readonly dataVersion: number
  /** JSON text of the library itself, opaque to backends. */
  readonly extension: string
  readonly createdAt: number
  /** When the user last authenticated. Unchanged by `touch` and `update`. */
  readonly authenticatedAt: number
  readonly lastSeenAt: number
  /** The length of the idle period in milliseconds, by which a touch extends the session. */
  readonly idleTimeout: number
  readonly idleExpiresAt: number
  /** Never changes. */
  readonly absoluteExpiresAt: number
  /** Whether the cookie is kept when the browser is closed. */
  readonly persistent: boolean
}

/**
 * The changes `update` makes. Absent fields stay unchanged; the two times move as this module's documentation says.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface SessionPatch {
  readonly secretHash?: string | undefined
  readonly data?: string | undefined
  readonly dataVersion?: number | undefined
  readonly extension?: string | undefined
  readonly lastSeenAt: number
  readonly idleExpiresAt: number
}

/**
 * The result of a compare-and-set. `updated` and `stale` carry the record as it is stored now.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type UpdateResult =
  | { readonly _tag: "updated"; readonly record: SessionRecord }
  | { readonly _tag: "stale"; readonly record: SessionRecord }
  | { readonly _tag: "gone" }

/**
 * A page of a principal's records. Where there may be more, `next` is the cursor to pass as `after`.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface SessionPage {
  readonly records: ReadonlyArray<SessionRecord>
  readonly next?: string | undefined
}

/**
 * A record that was deleted.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type DeletedRecord = Pick<SessionRecord, "namespace" | "id" | "principal">

/**
 * A hint that a record may have ended, by its namespace and id.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type EndedHint = Pick<SessionRecord, "namespace" | "id">

/**
 * What one call has deleted. While `more` is true there may be more to delete, even if this call has deleted fewer than
 * its limit, or none; a loop of calls comes to an end.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface DeletedBatch {
  readonly deleted: ReadonlyArray<DeletedRecord>
  readonly more: boolean
}

/**
 * The name of a backend operation, as errors and logs show it.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type Operation =
  | "create"
  | "read"
  | "update"
  | "touch"
  | "delete"
  | "deleteByPrincipal"
  | "listByPrincipal"
  | "deleteExpired"
  | "scan"
  | "ended"

/**
 * A backend operation that failed. `outcome` is `"notApplied"` if the store certainly did not carry out the write (it
 * refused, or was not reached), `"unknown"` if it may have, or still may (a lost reply, a timeout). `cause` is for the
 * operator and never leaves the process.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export class SessionBackendError extends Data.TaggedError("SessionBackendError")<{
  readonly operation: Operation
  readonly outcome: "notApplied" | "unknown"
  readonly cause: unknown
}> {
  override get message(): string {
    return `session backend: ${this.operation} failed (${this.outcome})`
  }
}

/**
 * How far the clocks of two servers may differ: 10 minutes.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export const clockSlack: Duration.Duration = Duration.minutes(10)

/**
 * How many records one call deletes at most: 1,000.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export const maxBatch = 1000

/**
 * The storage port, with the rules in this module's documentation.
 *
 * @stability unstable
 * @category services
 * @since 0.1.0
 */
export class SessionBackend extends Context.Service<
  SessionBackend,
  {
    /** Stores a new record if its namespace and id are free. Never replaces one. */
    readonly create: (record: SessionRecord) => Effect.Effect<"created" | "exists", SessionBackendError>
    /** Returns the record, expired or not, as it is at the time of the call or later. */
    readonly read: (namespace: string, id: string) => Effect.Effect<Option.Option<SessionRecord>, SessionBackendError>
    /** Applies the patch and adds one to the version if the record is at `expectedVersion`. */
    readonly update: (
      namespace: string,
      id: string,
      expectedVersion: number,
      patch: SessionPatch
    ) => Effect.Effect<UpdateResult, SessionBackendError>
    /**
     * Moves `lastSeenAt` and `idleExpiresAt` and leaves version and data alone. `"unchanged"` if the stored `lastSeenAt`
     * is as late or later, by `clockSlack` at most.
     */
    readonly touch: (
      namespace: string,
      id: string,
      seen: { readonly lastSeenAt: number; readonly idleExpiresAt: number }
    ) => Effect.Effect<"touched" | "unchanged" | "gone", SessionBackendError>
    /** Deletes the record, with `principal` only if it is theirs. `true` if this call deleted one. */
    readonly delete: (
      namespace: string,
      id: string,
      options?: { readonly principal?: string | undefined }
    ) => Effect.Effect<boolean, SessionBackendError>
    /**
     * Deletes at most `limit` of a principal's records, 1 to `maxBatch`, those with the latest `createdAt` first, except
     * one id. Once a call has answered `more: false`, none of the records from before that call is left.
     */
    readonly deleteByPrincipal: (
      namespace: string,
      principal: string,
      options: { readonly limit: number; readonly except?: string | undefined }
    ) => Effect.Effect<DeletedBatch, SessionBackendError>
    /**
     * Returns a page of a principal's records, those with the latest `createdAt` first: a record that is there during
     * the whole walk is returned exactly once. A page may hold fewer records than `limit`, even none, and have a `next`.
     *
     * `moreThan`, of a first page, says that the records are wanted only if the principal has more than that. If not, the
     * answer may be an empty page without `next`: a backend with an index need not read the records.
     */
    readonly listByPrincipal: (
      namespace: string,
      principal: string,
      options: {
        readonly limit: number
        readonly after?: string | undefined
        readonly moreThan?: number | undefined
      }
    ) => Effect.Effect<SessionPage, SessionBackendError>
    /**
     * Deletes at most `limit` records, 1 to `maxBatch`, of all namespaces, whose idle or absolute deadline was
     * `clockSlack` or more before `now`: a server whose clock is ahead by less ends no live session. A record touched in
     * the meantime stays. One whose deadline was less than half an hour before `now` may be left for later.
     */
    readonly deleteExpired: (options: {
      readonly now: number
      readonly limit: number
    }) => Effect.Effect<DeletedBatch, SessionBackendError>
    /**
     * Returns a page of all records of a namespace, expired or not, in an order of the store's own: a record that is there
     * during the whole walk is returned at least once. A page may hold fewer records than `limit`, even none, and have a
     * `next`.
     */
    readonly scan: (
      namespace: string,
      options: { readonly limit: number; readonly after?: string | undefined }
    ) => Effect.Effect<SessionPage, SessionBackendError>
    /**
     * Subscribes to records that are deleted or given another secret, in any process and of all namespaces; what
     * `deleteExpired` deletes may be left out. Once it has answered, each of them is a hint in the queue. Hints may come
     * late, twice, or not at all, and a queue that is not emptied may lose some: the subscriber looks at the record, and
     * looks at intervals besides. The queue fails when the subscription is lost; one that the store's client renews by
     * itself has missed what came meanwhile. It fails if it cannot subscribe within a few seconds: try again later.
     *
     * A store that carries no messages may tell of what this process ends alone. A backend that cannot do so has none.
     */
    readonly ended?:
      | Effect.Effect<Queue.Dequeue<EndedHint, SessionBackendError>, SessionBackendError, Scope.Scope>
      | undefined
  }
>()("effect-sessions/SessionBackend") {}
