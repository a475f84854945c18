/** The session most tests are about, the people who use it, and the secrets its tokens are signed with. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Session from "../../src/Session.ts"
import { SessionRefused, type SessionUnavailable } from "../../src/SessionError.ts"
import * as SessionVerifier from "../../src/SessionVerifier.ts"

export const UserData = Schema.Struct({
  username: Schema.optionalKey(Schema.String),
  words: Schema.Array(Schema.String),
  count: Schema.Int
})
export type Data = typeof UserData.Type

/** Its principal is the user's name; a session without one is anonymous. */
export class UserSession extends Session.Service<UserSession>()("test/UserSession", {
  data: UserData,
  principal: (data) => data.username
}) {}

export type Manager = (typeof UserSession.Manager)["Service"]

export const user = (username: string) => ({ username, words: [], count: 0 })
export const ada = user("ada")
export const eve = user("eve")
export const nobody: Data = { words: [], count: 0 }

export const banned: Data = { ...eve, count: 13 }

/** A verifier that refuses those who are banned, by default as definitions do that say nothing else. */
export const refusingBanned = (error: SessionRefused | SessionUnavailable = new SessionRefused({ message: "no" })) =>
  SessionVerifier.layer(UserSession, ({ data }) => (data.count === banned.count ? Effect.fail(error) : Effect.void))

/** For `modify`: adds a word, and answers it. */
export const addWord =
  (word: string) =>
  (data: Data): readonly [string, Data] => [word, { ...data, words: [...data.words, word] }]

export const secretA = "tS0uT1hGqWc5m8ZrYb3xKJvPe7LdA2nF9iQyXoVkDz4="
export const secretB = "Zk4RwN8cJ0pXy7HgTq2VbLmE5sDf1aUiO6tYx9GnQ3M="
