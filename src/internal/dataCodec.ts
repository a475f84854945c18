/**
 * Session data to JSON text and back, within bounds.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { SessionDataError } from "../SessionError.ts"

/** Enough for any session, and small enough to read on every request. */
const maxBytes = 65_536
const maxDepth = 32

/** @internal */
export interface DataCodec<A> {
  /** Puts a value through the schema's `make` and encodes it. */
  readonly encode: (value: A) => Result.Result<{ readonly value: A; readonly text: string }, SessionDataError>
  /** Nothing, if the text does not decode. */
  readonly decode: (text: string) => { readonly value: A } | undefined
}

const isTooDeep = (json: unknown, levels: number): boolean => {
  if (typeof json !== "object" || json === null) return false
  if (levels === 0) return true
  for (const key in json) {
    if (isTooDeep((json as Record<string, unknown>)[key], levels - 1)) return true
  }
  return false
}

const utf8 = new TextEncoder()

/** Counts bytes only where the characters leave a doubt. */
const isTooLong = (text: string): boolean =>
  text.length > maxBytes || (text.length > maxBytes / 3 && utf8.encode(text).length > maxBytes)

/** @internal */
// The encoded side is JSON, whatever the schema calls it.
// oxlint-disable-next-line typescript/no-explicit-any
export const make = <A>(schema: Schema.Codec<A, any>): DataCodec<A> => {
  const codec = Schema.toCodecJson(schema)
  const encodeExit = Schema.encodeUnknownExit(codec)
  const decodeExit = Schema.decodeUnknownExit(codec)
  const refuse = (problem: string) => Result.fail(new SessionDataError({ problem }))

  return {
    encode: (given) => {
      let value: A
      let text: string | undefined
      try {
        // What `make` takes is the type's own input, which the type itself always is.
        const made = Effect.runSyncExit(schema.makeEffect(given as never))
        if (Exit.isFailure(made)) {
          // The message names the path and the rule, never the value.
          const issue = Option.getOrUndefined(Exit.findErrorOption(made))
          return refuse(issue === undefined ? "its schema fails" : new Schema.SchemaError(issue).message)
        }
        value = made.value
        const encoded = encodeExit(value)
        if (Exit.isFailure(encoded)) return refuse("the value does not encode by its schema")
        if (isTooDeep(encoded.value, maxDepth)) return refuse(`nested deeper than ${maxDepth} levels`)
        text = JSON.stringify(encoded.value)
      } catch {
        return refuse("it is no JSON")
      }
      if (text === undefined) return refuse("it is no JSON")
      if (isTooLong(text)) return refuse(`longer than ${maxBytes} bytes as JSON`)
      return Result.succeed({ value, text })
    },
    decode: (text) => {
      if (isTooLong(text)) return undefined
      let json: unknown
      try {
        json = JSON.parse(text)
      } catch {
        return undefined
      }
      if (isTooDeep(json, maxDepth)) return undefined
      const exit = decodeExit(json)
      return Exit.isSuccess(exit) ? exit : undefined
    }
  }
}
