/** The session most tests are about, the people who use it, and the secrets its tokens are signed with. */
import * as Schema from "effect/Schema"
import * as Session from "../../src/Session.ts"

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

/** For `modify`: adds a word, and answers it. */
export const addWord =
  (word: string) =>
  (data: Data): readonly [string, Data] => [word, { ...data, words: [...data.words, word] }]

export const secretA = "tS0uT1hGqWc5m8ZrYb3xKJvPe7LdA2nF9iQyXoVkDz4="
export const secretB = "Zk4RwN8cJ0pXy7HgTq2VbLmE5sDf1aUiO6tYx9GnQ3M="
