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

export const separator = "\0"

export const timeLength = 16

/** Replaces an infinite time: about 126,000 years, which Redis and Lua still count exactly. */
const maxMillis = 4e15

export const wholeMillis = (millis: number): string => String(Math.ceil(Math.min(millis, maxMillis)))

export const timeText = (millis: number): string => {
  const text = String(millis)
  return (text.length > timeLength || text.includes("e") ? wholeMillis(millis) : text).padStart(timeLength)
}

/** Reads the parts of a record from left to right. */
class Parts {
  readonly #text: string
  #at = 0
  /** Whether each part was there, and each number was one. */
  isComplete = true

  constructor(text: string) {
    this.#text = text
  }

  upTo(mark: string): string {
    const end = this.#text.indexOf(mark, this.#at)
    if (end === -1) this.isComplete = false
    const part = this.#text.slice(this.#at, end)
    this.#at = end + 1
    return part
  }

  number(): number {
    const part = this.upTo(":")
    const number = Number(part)
    // `Number` reads 0 from an empty text and from spaces.
    if (Number.isNaN(number) || (number === 0 && part.trim() === "")) this.isComplete = false
    return number
  }

  rest(): string {
    return this.#text.slice(this.#at)
  }
}

/** Reads the fields in the order in which they are stored. */
const read = (namespace: string, id: string, parts: Parts): SessionRecord => ({
  namespace,
  id,
  lastSeenAt: parts.number(),
  idleExpiresAt: parts.number(),
  absoluteExpiresAt: parts.number(),
  version: parts.number(),
  dataVersion: parts.number(),
  secretHash: parts.upTo(":"),
  createdAt: parts.number(),
  authenticatedAt: parts.number(),
  idleTimeout: parts.number(),
  persistent: parts.upTo(":") === "1",
  principal: parts.upTo(separator) || undefined,
  extension: parts.upTo(separator),
  data: parts.rest()
})

/** The fields of the head after `end`: those `read` returns, without the first two and the last two. */
const headFields = Object.keys(read("", "", new Parts(""))).slice(2, -2) as ReadonlyArray<keyof SessionRecord>

export const headLength: number = 1 + headFields.length

/** Whether these texts can be parts of a record: with a NUL in one of them, it would be read as another record. */
export const areStorable = (...texts: ReadonlyArray<string | undefined>): boolean =>
  !texts.some((text) => text?.includes(separator))

/** The text of a record, without its `end`. */
export const toText = (record: SessionRecord): string => {
  const head = headFields.map((field, i) => {
    const value = record[field]
    // The first three are times.
    return i < 3 ? timeText(Number(value)) : String(typeof value === "boolean" ? Number(value) : (value ?? ""))
  })
  return [head.join(":"), record.extension, record.data].join(separator)
}

/**
 * Reads a record, as `update` answers it and `GET` finds it. A text that is incomplete, or has something other than a
 * number where a number belongs, is no record: it must not log anyone in.
 */
export const fromText = (
  namespace: string,
  id: string,
  text: string | null | undefined
): Option.Option<SessionRecord> => {
  if (typeof text !== "string") return Option.none()
  const parts = new Parts(text)
  parts.upTo(":")
  const record = read(namespace, id, parts)
  return parts.isComplete ? Option.some(record) : Option.none()
}

/** Reads the head of a record, whose extension and data are then empty. */
export const fromHead = (namespace: string, id: string, head: string): Option.Option<SessionRecord> =>
  fromText(namespace, id, head + separator + separator)
