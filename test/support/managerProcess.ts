/**
 * A manager in a process of its own, over the backend of the examples: `remoteManager.ts` starts it. Each line of its input
 * is a call, `{ call, operation, args }`, and each line of its output an answer, `{ call, word, value }`.
 *
 * It imports nothing of this repository's sources, so that it runs over an older version of the library as well.
 *
 * `SESSION_BACKEND` and what goes with it as in `examples/backend.ts`; `SESSION_SECRET`; `SESSION_NAME` is the
 * definition's identifier, `LAYER_OPTIONS` its options as JSON.
 */
import { NodeCrypto, NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Exit, Layer, Option, Redacted, Schema } from "effect"
import { Session, SessionKeys, SessionManager, SessionVerifier } from "effect-sessions"
import { createInterface } from "node:readline"
import { Backend } from "../../examples/backend.ts"
import { wordOf } from "./outcome.ts"
import type { Call, Operations, RemoteOptions } from "./remoteManager.ts"

const Data = Schema.Struct({ user: Schema.optionalKey(Schema.String), items: Schema.Array(Schema.String) })
type Data = typeof Data.Type

class UserSession extends Session.Service<UserSession>()(process.env["SESSION_NAME"] ?? "test/UserSession", {
  data: Data,
  principal: (data) => data.user
}) {}

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

type Manager = (typeof UserSession.Manager)["Service"]
type Implemented = {
  readonly [K in keyof Operations]: (
    ...args: Parameters<Operations[K]>
  ) => Effect.Effect<ReturnType<Operations[K]>, unknown>
}

const implement = (manager: Manager): Implemented => ({
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

const Manager = Layer.unwrap(
  Effect.map(Config.String("LAYER_OPTIONS").pipe(Config.withDefault("{}")), (options) =>
    SessionManager.layer(UserSession, JSON.parse(options) as Session.LayerOptions)
  )
).pipe(
  Layer.provide([
    Backend,
    SessionVerifier.layerExists(UserSession),
    SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))
  ]),
  Layer.provide(NodeCrypto.layer)
)

const write = (answer: { readonly call: number; readonly word: string; readonly value?: unknown }) =>
  process.stdout.write(`${JSON.stringify(answer)}\n`)

const serve = Effect.gen(function* () {
  const operations = implement(yield* UserSession.Manager)
  const run = Effect.runForkWith(yield* Effect.context())
  const lines = createInterface({ input: process.stdin })
  lines.on("line", (line) => {
    const { args, call, operation } = JSON.parse(line) as Call
    // The caller's types have matched the arguments with the operation.
    const answer = operations[operation] as (...args: ReadonlyArray<unknown>) => Effect.Effect<unknown, unknown>
    run(Effect.suspend(() => answer(...args))).addObserver((exit) =>
      write({ call, word: wordOf(exit), value: Exit.isSuccess(exit) ? exit.value : undefined })
    )
  })
  // A test that is killed cannot end this; its end of the pipe closes all the same.
  lines.on("close", () => process.exit())
  write({ call: 0, word: "ready" })
  return yield* Effect.never
})

NodeRuntime.runMain(Effect.provide(serve, Manager))
