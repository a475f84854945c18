/**
 * What a conformance case expects of the answers of a backend.
 *
 * @internal
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type { SessionRecord, UpdateResult } from "../../SessionBackend.ts"

/**
 * The failure of a case that the backend did not pass.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export class ConformanceError extends Data.TaggedError("ConformanceError")<{
  /** What was expected, and what was found. */
  readonly message: string
}> {}

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
export const ids = (records: ReadonlyArray<Pick<SessionRecord, "id">>): ReadonlyArray<string> =>
  records.map(({ id }) => id)

/** @internal */
export const sameIds = (
  found: ReadonlyArray<Pick<SessionRecord, "id">>,
  expected: ReadonlyArray<Pick<SessionRecord, "id">>,
  what: string
) => equal(ids(found).toSorted().join(" "), ids(expected).toSorted().join(" "), what)

/** @internal */
export const sameRecord = (found: SessionRecord, expected: SessionRecord, what: string) => {
  // A record has no keys but those of its type, which `Object.keys` does not know.
  const keys = Object.keys(expected) as ReadonlyArray<keyof SessionRecord>
  return Effect.forEach(keys, (key) => equal(found[key], expected[key], `${what}: ${key}`), { discard: true })
}

/** @internal */
export const expectResult = (
  result: UpdateResult,
  expected: "updated" | "stale",
  record: SessionRecord,
  what: string
): Effect.Effect<void, ConformanceError> =>
  result._tag !== "gone" && result._tag === expected
    ? sameRecord(result.record, record, what)
    : equal<string>(result._tag, expected, what)
