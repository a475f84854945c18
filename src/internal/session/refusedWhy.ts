/**
 * Why something was refused, as one word for a span or a label of a metric.
 *
 * @internal
 */
import type { SessionInvalid } from "../../SessionError.ts"

/** The reason of a `SessionInvalid`, the tag of any other error: as many words as there are reasons and errors. */
export const refusedWhy = (error: { readonly _tag: string }): string =>
  // By its tag: another copy of this library may have made it.
  error._tag === "SessionInvalid" ? (error as SessionInvalid).reason : error._tag
