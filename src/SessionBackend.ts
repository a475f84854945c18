/**
 * The storage port: where session records live.
 *
 * A `SessionBackend` stores records and knows nothing of tokens, cookies or schemas. Every operation is atomic,
 * none is an upsert, and none reads a clock: the time always arrives as an argument, from Effect's `Clock`.
 *
 * **Details**
 *
 * - A record is found by `namespace` (the session definition's identifier) and `id` (the public session id).
 * - It holds only the SHA-256 of the client's secret, so a stolen store logs nobody in.
 * - Deadlines live in the record and are checked by the manager on each read. A store's own expiry (a Redis TTL, a
 *   sweep) only collects garbage: `read` may answer an expired record, and must not refuse one.
 * - Two laws carry the library's promises: `update` and `touch` never bring a deleted record back, and `update`
 *   changes a record only at the expected version.
 *
 * A backend of your own is proved by the cases of `SessionBackendTest` in `effect-sessions/testing`.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import * as MemoryStore from "./internal/memoryStore.ts"
import { SessionConfigError } from "./SessionError.ts"

/**
 * How far the clocks of servers may differ.
 *
 * @category models
 * @since 0.1.0
 */
export const clockSlack: Duration.Duration = Duration.minutes(10)

/**
 * A session as a backend stores it. All times are milliseconds since the Unix epoch.
 *
 * @category models
 * @since 0.1.0
 */
export interface SessionRecord {
  /** The identifier of the session definition. Records of different namespaces never meet. */
  readonly namespace: string
  /** The public session id: 22 characters of base64url, stable over rotation. */
  readonly id: string
  /** SHA-256 of the client's secret: 43 characters of base64url. Changed by rotation. */
  readonly secretHash: string
  /** Starts at 1 and grows by one with each `update`. `touch` leaves it alone. */
  readonly version: number
  /** Who is logged in, 1 to 256 bytes of UTF-8 without NUL. Never changes for an id. */
  readonly principal: string | undefined
  /** The session data as JSON text, at most 64 KiB. May hold any Unicode; NUL only as the escape `\u0000`. */
  readonly data: string
  /** The version of the data's shape. */
  readonly dataVersion: number
  /** The library's own JSON, opaque to backends. */
  readonly extension: string
  readonly createdAt: number
  /** When the user last proved who they are. Never moved by `touch` or `update`. */
  readonly authenticatedAt: number
  readonly lastSeenAt: number
  /** Length of the idle period in milliseconds, kept so that a touch knows how far to push. */
  readonly idleTimeout: number
  readonly idleExpiresAt: number
  /** Never moves. */
  readonly absoluteExpiresAt: number
  /** Whether the cookie outlives the browser. */
  readonly persistent: boolean
}

/**
 * What `update` changes. Absent fields stay; `lastSeenAt` and `idleExpiresAt` only move forward (the greater of the
 * stored and the given value is kept).
 *
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
 * The outcome of a compare-and-set: `updated` and `stale` carry the record that is now stored.
 *
 * @category models
 * @since 0.1.0
 */
export type UpdateResult =
  | { readonly _tag: "updated"; readonly record: SessionRecord }
  | { readonly _tag: "stale"; readonly record: SessionRecord }
  | { readonly _tag: "gone" }

/**
 * One page of a principal's records. `next` is present when there may be more, to be given back as `after`.
 *
 * @category models
 * @since 0.1.0
 */
export interface SessionPage {
  readonly records: ReadonlyArray<SessionRecord>
  readonly next?: string | undefined
}

/**
 * The name of a backend operation, as errors and logs show it.
 *
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

/**
 * A backend operation that failed.
 *
 * **Details**
 *
 * `outcome` says what is known of a write: `"notApplied"` when the store certainly did not carry it out (it refused,
 * or was never reached), `"unknown"` when it may have, or still may (a lost reply, a timeout). In doubt it is
 * `"unknown"`. `cause` is for the operator and never leaves the process.
 *
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
 * The storage port. See the module's documentation for the laws every implementation keeps.
 *
 * @category services
 * @since 0.1.0
 */
export class SessionBackend extends Context.Service<
  SessionBackend,
  {
    /** Stores a new record if its namespace and id are free. Never replaces one. */
    readonly create: (record: SessionRecord) => Effect.Effect<"created" | "exists", SessionBackendError>
    /** The record, expired or not. */
    readonly read: (namespace: string, id: string) => Effect.Effect<Option.Option<SessionRecord>, SessionBackendError>
    /** Applies the patch and adds one to the version, if the record exists at `expectedVersion`. */
    readonly update: (
      namespace: string,
      id: string,
      expectedVersion: number,
      patch: SessionPatch
    ) => Effect.Effect<UpdateResult, SessionBackendError>
    /**
     * Moves `lastSeenAt` and `idleExpiresAt` forward, leaving version and data alone. `"unchanged"` when the stored
     * `lastSeenAt` is already as late.
     */
    readonly touch: (
      namespace: string,
      id: string,
      seen: { readonly lastSeenAt: number; readonly idleExpiresAt: number }
    ) => Effect.Effect<"touched" | "unchanged" | "gone", SessionBackendError>
    /** Deletes the record, with `principal` only if it belongs to them. `true` if one was deleted by this call. */
    readonly delete: (
      namespace: string,
      id: string,
      options?: { readonly principal?: string | undefined }
    ) => Effect.Effect<boolean, SessionBackendError>
    /** Deletes all records of a principal, except one id, and answers how many. */
    readonly deleteByPrincipal: (
      namespace: string,
      principal: string,
      options?: { readonly except?: string | undefined }
    ) => Effect.Effect<number, SessionBackendError>
    /**
     * A page of a principal's records, in an order of the store's own that every walk shares: a record present during
     * the whole walk is answered exactly once.
     */
    readonly listByPrincipal: (
      namespace: string,
      principal: string,
      options: { readonly limit: number; readonly after?: string | undefined }
    ) => Effect.Effect<SessionPage, SessionBackendError>
    /**
     * Deletes at most `limit` records of all namespaces whose idle or absolute deadline is at or before `before`, and
     * answers how many. A record touched in the meantime stays.
     */
    readonly deleteExpired: (options: {
      readonly before: number
      readonly limit: number
    }) => Effect.Effect<number, SessionBackendError>
  }
>()("effect-sessions/SessionBackend") {}

/**
 * The bounds of the memory backend.
 *
 * @category options
 * @since 0.1.0
 */
export interface MemoryOptions {
  /**
   * How many sessions it holds at most.
   *
   * @default 100_000
   */
  readonly maxSessions?: number | undefined
  /**
   * How many bytes they may take in all, as estimated from the length of their texts.
   *
   * @default 268_435_456 (256 MiB)
   */
  readonly maxBytes?: number | undefined
}

/**
 * Layer that keeps sessions in this process's memory.
 *
 * **When to use**
 *
 * Use for development, for tests, and for a single process whose sessions may end when it does.
 *
 * **Details**
 *
 * Bounded: when it is full, expired sessions go first, then the oldest in which nobody is logged in; when only logins
 * are left, `create` fails (503). A login is never thrown out to make room. Expired records are collected a few at a
 * time by the writes that follow; there is no timer. Records are immutable copies.
 *
 * In production (`NODE_ENV=production`) it logs a warning, since a restart ends every session and a second process
 * knows none of them.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory = (options?: MemoryOptions): Layer.Layer<SessionBackend> =>
  Layer.effect(
    SessionBackend,
    Effect.gen(function* () {
      const maxSessions = options?.maxSessions ?? 100_000
      const maxBytes = options?.maxBytes ?? 256 * 1024 * 1024
      const problems = Object.entries({ maxSessions, maxBytes }).flatMap(([name, value]) =>
        Number.isSafeInteger(value) && value >= 1
          ? []
          : [`SessionBackend.layerMemory: ${name} must be a whole number from 1 up`]
      )
      if (problems.length > 0) return yield* Effect.die(new SessionConfigError({ problems }))
      if (
        (yield* Effect.option(Config.String("NODE_ENV")).pipe(Effect.map((o) => o._tag === "Some" && o.value))) ===
        "production"
      ) {
        yield* Effect.logWarning(
          "effect-sessions: SessionBackend.layerMemory in production: a restart ends every session, and other processes know none of them"
        )
      }
      return MemoryStore.make({
        maxSessions,
        maxBytes,
        full: (operation) =>
          new SessionBackendError({
            operation,
            outcome: "notApplied",
            cause: { _tag: "MemoryBackendFull" }
          })
      })
    })
  )
