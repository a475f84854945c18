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
import { isKnown } from "../eager.ts"
import { SessionDataError } from "../../SessionError.ts"

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

/**
 * What is wrong with a JSON value: nothing, a key named `__proto__` in it, or too many levels.
 *
 * Such a key is an ordinary one to `JSON.parse`, and to `Object.assign` in some handler it sets the prototype.
 */
const survey = (json: unknown, levels: number): "fine" | "proto" | "deep" => {
  if (typeof json !== "object" || json === null) return "fine"
  if (levels === 0) return "deep"
  let found: "fine" | "proto" = Object.hasOwn(json, "__proto__") ? "proto" : "fine"
  for (const key in json) {
    const below = survey((json as Record<string, unknown>)[key], levels - 1)
    if (below === "deep") return below
    if (below === "proto") found = below
  }
  return found
}

/** The same JSON without keys named `__proto__`, at any depth. */
const withoutProto = (text: string): unknown =>
  JSON.parse(text, (_, value: unknown) => {
    if (typeof value === "object" && value !== null) delete (value as Record<string, unknown>)["__proto__"]
    return value
  })

/** A path may lead through keys that are data themselves: those not written like a field are left out. */
const masked = (message: string): string =>
  message.replace(/\["(?![A-Za-z_$][\w$]{0,40}"\])(?:[^"\\]|\\.)*"\]/g, '["…"]')

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
        const making = schema.makeEffect(given as never)
        const made = isKnown(making) ? making : Effect.runSyncExit(making)
        if (Exit.isFailure(made)) {
          // The message names the path and the rule, and not the value.
          const issue = Option.getOrUndefined(Exit.findErrorOption(made))
          return refuse(issue === undefined ? "its schema fails" : masked(new Schema.SchemaError(issue).message))
        }
        value = made.value
        const encoded = encodeExit(value)
        if (Exit.isFailure(encoded)) return refuse("the value does not encode by its schema")
        const found = survey(encoded.value, maxDepth)
        if (found === "deep") return refuse(`nested deeper than ${maxDepth} levels`)
        text = JSON.stringify(encoded.value)
        if (found === "proto") {
          const clean = withoutProto(text)
          const decoded = decodeExit(clean)
          if (Exit.isFailure(decoded)) return refuse("a key is named __proto__")
          value = decoded.value
          text = JSON.stringify(clean)
        }
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
      const found = survey(json, maxDepth)
      if (found === "deep") return undefined
      if (found === "proto") json = withoutProto(text)
      const exit = decodeExit(json)
      return Exit.isSuccess(exit) ? exit : undefined
    }
  }
}
