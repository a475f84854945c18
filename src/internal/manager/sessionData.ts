import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import type { Definition, Tagged } from "../../Session.ts"
import type { SessionRecord } from "../../SessionBackend.ts"
import { SessionDataError } from "../../SessionError.ts"
import * as DataCodec from "../dataCodec.ts"

/** @internal */
export interface Encoded<A> {
  readonly value: A
  readonly text: string
  readonly principal: string | undefined
}

/** @internal */
export interface SessionData<A> {
  readonly encode: (data: A) => Exit.Exit<Encoded<A>>
  readonly encodeFor: (record: SessionRecord, data: A) => Exit.Exit<Encoded<A>>
  readonly decode: (text: string) => Result.Result<A, string>
  readonly isSame: (record: SessionRecord, text: string) => boolean
}

const utf8 = new TextEncoder()

/** @internal */
export const make = <Self, A, R extends ReadonlyArray<Tagged>>(
  definition: Pick<Definition<Self, A, R>, "data" | "principal">
): SessionData<A> => {
  const codec = DataCodec.make(definition.data)
  const principalOf = (data: A): string | undefined => {
    const principal = definition.principal?.(data)
    if (principal === undefined) return undefined
    const isTooLong = principal.length > 85 && utf8.encode(principal).length > 256
    if (principal === "" || isTooLong || principal.includes("\0") || !principal.isWellFormed()) {
      throw new SessionDataError({ problem: "the principal must have 1 to 256 bytes of UTF-8, without NUL" })
    }
    return principal
  }
  const encode = (data: A): Exit.Exit<Encoded<A>> => {
    const encoded = codec.encode(data)
    if (Result.isFailure(encoded)) return Exit.die(encoded.failure)
    const { text, value } = encoded.success
    return Exit.succeed({ text, value, principal: principalOf(value) })
  }
  const decode = (text: string): Result.Result<A, string> => {
    const decoded = codec.decode(text)
    return decoded === undefined ? Result.fail("") : Result.succeed(decoded.value)
  }
  return {
    encode,
    encodeFor: (record, data) => {
      const encoded = encode(data)
      return Exit.isFailure(encoded) || encoded.value.principal === record.principal
        ? encoded
        : Exit.die(
            new SessionDataError({
              problem: "the principal of a session never changes; to log somebody in or out, create a new session"
            })
          )
    },
    decode,
    isSame: (record, text) => {
      if (text === record.data) return true
      const before = decode(record.data)
      if (Result.isFailure(before)) return false
      const encoded = encode(before.success)
      return Exit.isSuccess(encoded) && encoded.value.text === text
    }
  }
}
