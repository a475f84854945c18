/**
 * What `remoteManager.ts` can ask for, as a manager does it. It imports nothing of this repository's sources, so that it
 * runs over an older version of the library as well.
 */
import { Effect, Option, Redacted, Schema } from "effect"
import { Session } from "effect-sessions"
import type { Implemented, RemoteOptions } from "./remoteManager.ts"

const Data = Schema.Struct({ user: Schema.optionalKey(Schema.String), items: Schema.Array(Schema.String) })
type Data = typeof Data.Type

export const sessionOf = (key: string) => {
  class UserSession extends Session.Service<UserSession>()(key, { data: Data, principal: (data) => data.user }) {}
  return UserSession
}

const tokenOf = (text: string) => Redacted.make(text)

// Times are text on the wire: nanoseconds are too many for a number.
const optionsOf = ({ began, ...rest }: RemoteOptions = {}) => ({
  ...rest,
  ...(began === undefined ? {} : { began: BigInt(began) })
})

const infoOf = <A extends Data | undefined>(info: Session.SessionInfo<A>) => ({
  id: info.id,
  data: info.data,
  version: info.version,
  // An older version knows neither.
  methods: (info.factors ?? []).map(({ method }) => method),
  label: info.client?.label
})

const shown = (session: Session.Session<Data>) => ({ ...infoOf(session), token: Redacted.value(session.token) })

const addItem =
  (item: string) =>
  (data: Data): Data => ({ ...data, items: [...data.items, item] })

const loggedIn = (user: string) => (before: Option.Option<Data>) => ({
  user,
  items: Option.match(before, { onNone: () => [], onSome: ({ items }) => items })
})

type Manager = Session.SessionManager<Data, ReadonlyArray<Session.Tagged>>

export const implement = (manager: Manager): Implemented => ({
  create: (data, options) => Effect.map(manager.create(data, optionsOf(options)), shown),
  logIn: (token, user, options) =>
    Effect.map(manager.createFrom(tokenOf(token), loggedIn(user), optionsOf(options)), shown),
  resolve: (token, options) => Effect.map(manager.resolve(tokenOf(token), options), shown),
  addItem: (token, item) =>
    Effect.map(
      manager.modify(tokenOf(token), (data) => [undefined, addItem(item)(data)]),
      ([, session]) => shown(session)
    ),
  addItemToAll: (user, item) => manager.modifyAll(user, addItem(item)),
  describe: (token, label) => Effect.map(manager.describe(tokenOf(token), { label }), shown),
  reauthenticate: (token, methods) => Effect.map(manager.reauthenticate(tokenOf(token), { methods }), shown),
  rotate: (token) => Effect.map(manager.rotate(tokenOf(token)), shown),
  list: (user) => Effect.map(manager.list(user), (found) => found.map(infoOf)),
  revoke: (id, user) => manager.revoke(Schema.decodeUnknownSync(Session.SessionId)(id), { principal: user }),
  revokeAll: (user, options) =>
    manager.revokeAll(user, options === undefined ? undefined : { before: BigInt(options.before) }),
  destroy: (token) => manager.destroy(tokenOf(token))
})
