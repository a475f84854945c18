/** Every call of a manager, each of which asks the backend. */
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { SessionId } from "../../src/Session.ts"
import { ada, addWord } from "./userSession.ts"
import type { Manager } from "./userSession.ts"

type Token = Redacted.Redacted<string>

const id = Schema.decodeSync(SessionId)("A".repeat(22))

export const everyCall: Record<string, (manager: Manager, token: Token) => Effect.Effect<unknown, unknown>> = {
  create: (manager) => manager.create(ada),
  resolve: (manager, token) => manager.resolve(token),
  modify: (manager, token) => manager.modify(token, addWord("x")),
  rotate: (manager, token) => manager.rotate(token),
  destroy: (manager, token) => manager.destroy(token),
  scan: (manager) => manager.scan(),
  list: (manager) => manager.list("ada"),
  revoke: (manager) => manager.revoke(id, { principal: "ada" }),
  revokeAny: (manager) => manager.revokeAny(id),
  revokeAll: (manager) => manager.revokeAll("ada")
}
