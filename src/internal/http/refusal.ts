/**
 * The errors of a verifier of the application's own, in a plain router.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Schema from "effect/Schema"
import type { Tagged } from "../../Session.ts"

const statusOf = (schema: Tagged): number => {
  const status = schema.ast.annotations?.["httpApiStatus"]
  return typeof status === "number" ? status : 403
}

/**
 * Lets an error answer with the status and the encoding of its schema: to a plain router `httpApiStatus` means nothing.
 * An error that answers by itself, or that cannot be extended, is left as it is.
 *
 * @internal
 */
export const makeRespondable = (refused: ReadonlyArray<Tagged>, error: object): void => {
  if (HttpServerRespondable.isRespondable(error) || !Object.isExtensible(error)) return
  const schema = refused.find((schema) => Schema.is(schema)(error))
  if (schema === undefined) return
  Object.defineProperty(error, HttpServerRespondable.symbol, {
    enumerable: false,
    value: () =>
      Effect.map(Schema.encodeUnknownEffect(Schema.toCodecJson(schema))(error), (body) =>
        HttpServerResponse.jsonUnsafe(body, { status: statusOf(schema) })
      )
  })
}
