/**
 * Why something was refused, as one word for a span or a label of a metric.
 *
 * @internal
 */
import { SessionInvalid } from "../../SessionError.ts"

/** The reason of a `SessionInvalid`, the tag of any other error: as many words as there are reasons and errors. */
export const refusedWhy = (error: { readonly _tag: string }): string =>
  error instanceof SessionInvalid ? error.reason : error._tag
