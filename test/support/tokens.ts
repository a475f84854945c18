/** A definition's tokens, made and checked with the keys in context: what a thief of the keys could do. */
import * as Effect from "effect/Effect"
import * as SessionKeys from "../../src/SessionKeys.ts"
import * as SessionToken from "../../src/internal/token/token.ts"

export const tokensOf = (definition: { readonly key: string }) =>
  Effect.map(
    SessionKeys.SessionKeys.use((keys) => keys.signers(SessionToken.purpose(definition.key))),
    SessionToken.make
  )
