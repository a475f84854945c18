/**
 * A token as the library passes it on: redacted, and opened whichever copy of Effect has redacted it.
 *
 * @internal
 */
import * as Redacted from "effect/Redacted"

const textKey = "~effect-sessions/SessionToken/text"

/**
 * A bundler may load Effect once for a page and once for a route (Next does), and neither opens what the other has
 * redacted. So a token has a method by which its own copy of Effect opens it. It is shown no more than the text is: the
 * prototype has it.
 */
const prototype: object = Object.create(Object.getPrototypeOf(Redacted.make("")), {
  [textKey]: {
    value(this: Redacted.Redacted<string>) {
      return Redacted.value(this)
    }
  }
})

/** A token as the library passes it on, from the frontend to the session. */
export const redact = (token: string): Redacted.Redacted<string> =>
  Object.setPrototypeOf(Redacted.make(token, { label: "SessionToken" }), prototype)

/** The text of a token, whichever copy of Effect has redacted it, if this library has made it. */
export const textOf = (token: Redacted.Redacted<string> & { readonly [textKey]?: () => string }): string => {
  if (typeof token[textKey] === "function") return token[textKey]()
  try {
    return Redacted.value(token)
  } catch (cause) {
    throw new Error(
      "a session token cannot be opened: it was wiped, or another copy of effect has redacted it. Make it with the copy that made the manager, or take it from session.token; docs/next.md says how two copies come to be",
      { cause }
    )
  }
}
