/**
 * How a definition's own `refused` errors answer in a plain router.
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
 * Makes an error an `HttpServerRespondable` that answers with the status and the encoding of its schema: a plain router
 * does not read `httpApiStatus`. Leaves an error alone that is one already, or is not extensible.
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
