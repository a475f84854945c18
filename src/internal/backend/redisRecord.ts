/**
 * A session record as one Redis string: its head, its extension and its data, separated by NUL, which JSON text never
 * contains.
 *
 * The head is one line, whose parts are separated by colons:
 *
 * ```text
 * end:lastSeenAt:idleExpiresAt:absoluteExpiresAt
 *   :version:dataVersion:secretHash:createdAt:authenticatedAt:idleTimeout:persistent:principal
 * ```
 *
 * `end` is the time, by the clock of Redis, at which Redis removes the record at the latest; the `create` script adds it.
 * The times in the first four parts have a fixed width of 16 characters, so that a touch overwrites two of them and
 * leaves the rest alone. The principal is last, because it may contain colons; it is empty if there is none.
 *
 * @internal
 */
import * as Option from "effect/Option"
import type { SessionRecord } from "../../SessionBackend.ts"

/** @internal */
export const separator = "\0"

/** @internal */
export const timeLength = 16

/** About 126,000 years, which Redis and Lua still count exactly: stands for an infinite time. */
const maxMillis = 4e15

/** @internal */
export const wholeMillis = (millis: number): string => String(Math.ceil(Math.min(millis, maxMillis)))

/** @internal */
export const timeText = (millis: number): string => {
  const text = String(millis)
  return (text.length > timeLength || text.includes("e") ? wholeMillis(millis) : text).padStart(timeLength)
}

interface Part<A> {
  readonly write: (value: A) => string
  readonly read: (text: string) => A
}

/** Reads `NaN` from a text that is not a number: `Number` alone reads 0 from spaces. */
const numberFrom = (text: string): number => {
  const number = Number(text)
  return number === 0 && text.trim() === "" ? NaN : number
}
const number: Part<number> = { write: String, read: numberFrom }
const time: Part<number> = { write: timeText, read: numberFrom }

/** The parts of the head after `end`, in order. */
const head = {
  lastSeenAt: time,
  idleExpiresAt: time,
  absoluteExpiresAt: time,
  version: number,
  dataVersion: number,
  secretHash: { write: String, read: String },
  createdAt: number,
  authenticatedAt: number,
  idleTimeout: number,
  persistent: { write: (persistent) => (persistent ? "1" : "0"), read: (text) => text === "1" },
  principal: { write: (principal) => principal ?? "", read: (text) => (text === "" ? undefined : text) }
} satisfies {
  readonly [K in Exclude<keyof SessionRecord, "namespace" | "id" | "extension" | "data">]: Part<SessionRecord[K]>
}

// `satisfies` has checked each part against the type of its field; from here on they are used alike.
const headParts = Object.entries(head) as ReadonlyArray<readonly [keyof typeof head, Part<unknown>]>

/** @internal */
export const headLength: number = 1 + headParts.length

/**
 * Whether these texts can be parts of a record: with a NUL in one of them, it would be read as another record.
 *
 * @internal
 */
export const areStorable = (...texts: ReadonlyArray<string | undefined>): boolean =>
  !texts.some((text) => text?.includes(separator))

/**
 * The text of a record, without its `end`.
 *
 * @internal
 */
export const toText = (record: SessionRecord): string => {
  const parts = headParts.map(([field, part]) => part.write(record[field]))
  return [parts.join(":"), record.extension, record.data].join(separator)
}

/** Splits a head into its parts. All that follows the last but one is the principal, colons included. */
const splitHead = (head: string): ReadonlyArray<string> | undefined => {
  const parts = head.split(":")
  if (parts.length < headLength) return undefined
  return parts.length === headLength
    ? parts
    : [...parts.slice(0, headLength - 1), parts.slice(headLength - 1).join(":")]
}

/** @internal */
export const endAndPrincipal = (head: string): { readonly end: string; readonly principal: string | undefined } => {
  const parts = splitHead(head) ?? []
  return { end: parts[0] ?? "", principal: parts.at(-1) || undefined }
}

/**
 * Reads a record, as `update` answers it and `GET` finds it. A text that is incomplete, or has something other than a
 * number where a number belongs, is no record: it must not log anyone in.
 *
 * @internal
 */
export const fromText = (namespace: string, id: string, text: string | null): Option.Option<SessionRecord> => {
  if (text === null) return Option.none()
  const headEnd = text.indexOf(separator)
  const extensionEnd = text.indexOf(separator, headEnd + 1)
  if (headEnd === -1 || extensionEnd === -1) return Option.none()
  const parts = splitHead(text.slice(0, headEnd))
  if (parts === undefined) return Option.none()
  const record: Record<string, unknown> = {
    namespace,
    id,
    extension: text.slice(headEnd + 1, extensionEnd),
    data: text.slice(extensionEnd + 1)
  }
  for (let i = 0; i < headParts.length; i++) {
    const [field, part] = headParts[i]!
    const value = part.read(parts[i + 1]!)
    if (Number.isNaN(value)) return Option.none()
    record[field] = value
  }
  // The four fields above and those of `head` are all there are, which `satisfies` has checked.
  return Option.some(record as unknown as SessionRecord)
}
