/** What the backend in context holds of a session. */
import * as Effect from "effect/Effect"
import * as SessionBackend from "../../src/SessionBackend.ts"

export const stored = (definition: { readonly key: string }, id: string) =>
  SessionBackend.SessionBackend.use((backend) => backend.read(definition.key, id))

export const recordOf = (definition: { readonly key: string }, id: string) =>
  Effect.flatMap(stored(definition, id), Effect.fromOption)
