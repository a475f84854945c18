/**
 * What a conformance case is, and the records it works with.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import { SessionBackend } from "../../SessionBackend.ts"
import type { SessionBackendError, SessionRecord } from "../../SessionBackend.ts"

/**
 * A case that the backend did not pass.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConformanceError extends Data.TaggedError("ConformanceError")<{
  /** What was expected, and what was found. */
  readonly message: string
}> {}

/**
 * A case that every backend must pass.
 *
 * @category models
 * @since 0.1.0
 */
export interface Case {
  readonly name: string
  readonly effect: Effect.Effect<void, ConformanceError | SessionBackendError, SessionBackend>
}

/** @internal */
export const show = (value: unknown): string => {
  const text = JSON.stringify(value) ?? String(value)
  return text.length <= 120 ? text : `${text.slice(0, 120)}… (${text.length} characters)`
}

/** @internal */
export const check = (condition: boolean, message: string): Effect.Effect<void, ConformanceError> =>
  condition ? Effect.void : Effect.fail(new ConformanceError({ message }))

/** @internal */
export const equal = <A>(found: A, expected: A, what: string): Effect.Effect<void, ConformanceError> =>
  check(found === expected, `${what}: expected ${show(expected)}, found ${show(found)}`)

/** @internal */
export interface Fixture {
  readonly backend: SessionBackend["Service"]
  readonly namespace: string
  /** A record in the namespace of the case, with a new id and a principal, valid for an hour. */
  readonly record: (changes?: Partial<SessionRecord>) => SessionRecord
  readonly create: (
    changes?: Partial<SessionRecord>
  ) => Effect.Effect<SessionRecord, ConformanceError | SessionBackendError>
}

/**
 * The principal of records that are not given another.
 *
 * @internal
 */
export const alice = "alice"

/** @internal */
export const minute = 60_000

/** @internal */
export const random = (bytes: number): string =>
  Base64Url.encode(globalThis.crypto.getRandomValues(new Uint8Array(bytes)))

/** @internal */
export const range = (length: number): ReadonlyArray<number> => Array.from({ length }, (_, i) => i)

/** @internal */
export const together = { concurrency: "unbounded" } as const

/** @internal */
export const makeCase = (
  name: string,
  body: (fixture: Fixture) => Effect.Effect<void, ConformanceError | SessionBackendError>
): Case => ({
  name,
  effect: Effect.gen(function* () {
    const backend = yield* SessionBackend
    // A day ahead, so that no sweep of this suite or an application deletes the records.
    const now = (yield* Clock.currentTimeMillis) + 24 * 60 * minute
    const namespace = `conformance/${random(16)}`
    const made: Array<SessionRecord> = []
    const record: Fixture["record"] = (changes) => {
      const record: SessionRecord = {
        namespace,
        id: random(16),
        secretHash: random(32),
        version: 1,
        principal: alice,
        data: `{"name":"Alice"}`,
        dataVersion: 1,
        extension: "{}",
        createdAt: now,
        authenticatedAt: now,
        lastSeenAt: now,
        idleTimeout: 60 * minute,
        idleExpiresAt: now + 60 * minute,
        absoluteExpiresAt: now + 12 * 60 * minute,
        persistent: true,
        ...changes
      }
      made.push(record)
      return record
    }
    const create: Fixture["create"] = (changes) => {
      const fresh = record(changes)
      return Effect.as(
        Effect.flatMap(backend.create(fresh), (verdict) => equal(verdict, "created", "create of a fresh id")),
        fresh
      )
    }
    const cleanUp = Effect.forEach(made, ({ id, namespace }) => backend.delete(namespace, id), {
      concurrency: 8,
      discard: true
    })
    yield* Effect.ensuring(
      body({ backend, namespace, record, create }),
      Effect.suspend(() => Effect.ignore(cleanUp))
    )
  })
})
