/** Records: one of a test's own, and what the backend in context holds of a session. */
import * as Effect from "effect/Effect"
import * as SessionBackend from "../../src/SessionBackend.ts"

/** That of a visitor's session, made at the time 0, which stands for an hour and, with requests, for a day. */
export const record = (changes: Partial<SessionBackend.SessionRecord> = {}): SessionBackend.SessionRecord => ({
  namespace: "test",
  id: "i".repeat(22),
  secretHash: "h".repeat(43),
  version: 1,
  principal: undefined,
  data: "{}",
  dataVersion: 1,
  extension: "",
  createdAt: 0,
  authenticatedAt: 0,
  lastSeenAt: 0,
  idleTimeout: 3_600_000,
  idleExpiresAt: 3_600_000,
  absoluteExpiresAt: 86_400_000,
  persistent: true,
  ...changes
})

export const stored = (definition: { readonly key: string }, id: string) =>
  SessionBackend.SessionBackend.use((backend) => backend.read(definition.key, id))

export const recordOf = (definition: { readonly key: string }, id: string) =>
  Effect.flatMap(stored(definition, id), Effect.fromOption)
