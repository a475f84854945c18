/** A real server whose sessions meet every fate that spans, metrics and events tell of, and requests that bring it about. */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { type Operation, SessionBackend } from "../../src/SessionBackend.ts"
import * as Session from "../../src/Session.ts"
import type { SessionConfigError } from "../../src/SessionError.ts"
import type { SessionFrontend } from "../../src/SessionFrontend.ts"
import * as SessionMiddleware from "../../src/SessionMiddleware.ts"
import * as SessionVerifier from "../../src/SessionVerifier.ts"
import * as Client from "./client.ts"
import { listen } from "./server.ts"
import * as Stack from "./stack.ts"
import * as WatchedBackend from "./watchedBackend.ts"

export class Suspended extends Schema.TaggedError<Suspended>()("Suspended", {}, { httpApiStatus: 403 }) {}

const Data = Schema.Struct({ name: Schema.optionalKey(Schema.String), note: Schema.String })

export class Member extends Session.Service<Member>()("test/Member", {
  data: Data,
  principal: (data) => data.name,
  refused: Suspended
}) {}

export type Event = Session.SessionEvent<typeof Data.Type, (typeof Member)["refused"]>

type Options = Pick<Session.ManagerOptions<typeof Data.Type, (typeof Member)["refused"]>, "onEvent" | "spanAttributes">

const done = <E, R>(effect: Effect.Effect<unknown, E, R>) => Effect.as(effect, HttpServerResponse.empty())

/** Members log in as `/log_in/ada`, with a note of theirs in the session. */
const routesOf = (note: string) => {
  const logIn = (options?: Session.CreateOptions) =>
    Effect.gen(function* () {
      const session = yield* Member
      const { name } = yield* HttpRouter.params
      return yield* session.create({ ...(name === undefined ? {} : { name }), note }, options)
    })
  const change = Effect.flatMap(Member, ({ update }) => update((data) => ({ ...data, note: `${data.note}!` })))
  return Layer.mergeAll(
    HttpRouter.add("POST", "/log_in/:name", done(logIn())),
    HttpRouter.add("POST", "/visit", done(logIn())),
    HttpRouter.add("POST", "/log_in_long_ago/:name", done(logIn({ authenticatedAt: DateTime.makeUnsafe(0) }))),
    HttpRouter.add("POST", "/log_in_late/:name", done(logIn({ began: 1n }))),
    HttpRouter.add("POST", "/log_out", done(Effect.flatMap(Member, ({ destroy }) => destroy))),
    HttpRouter.add("POST", "/change", done(change)),
    HttpRouter.add("GET", "/perhaps", done(Effect.flatMap(Member, ({ option }) => option))),
    HttpRouter.add("GET", "/get", done(Effect.flatMap(Member, ({ get }) => get))),
    HttpRouter.add("GET", "/fresh", done(Effect.flatMap(Member, ({ fresh }) => fresh({ within: "5 minutes" })))),
    HttpRouter.add("GET", "/list", done(Effect.flatMap(Member, ({ list }) => list)))
  ).pipe(
    Layer.provide(SessionMiddleware.router(Member).layer),
    Layer.merge(
      HttpRouter.add("GET", "/me", done(Member.Verified)).pipe(
        Layer.provide(SessionMiddleware.routerRequired(Member).layer)
      )
    ),
    Layer.merge(
      HttpRouter.add("GET", "/sudo", done(Member.Verified)).pipe(
        Layer.provide(SessionMiddleware.routerRequired(Member, { fresh: { within: "5 minutes" } }).layer)
      )
    ),
    Layer.merge(
      HttpRouter.add("GET", "/page", done(Member.Verified)).pipe(
        Layer.provide(
          SessionMiddleware.routerRequired(Member, {
            onFailure: () => Effect.succeed(HttpServerResponse.redirect("/log_in"))
          }).layer
        )
      )
    )
  )
}

export interface MemberServer {
  readonly send: Client.Send
  readonly manager: Context.Service.Shape<(typeof Member)["Manager"]>
  readonly backend: WatchedBackend.WatchedBackend
  /** Of these members the verifier lets none in. */
  readonly suspended: Set<string>
}

export const start = Effect.fnUntraced(function* (
  options: Options & {
    readonly note?: string
    readonly frontend?: Layer.Layer<SessionFrontend, SessionConfigError>
    /** @default memory */
    readonly store?: Layer.Layer<SessionBackend, unknown>
  } = {}
) {
  const { note = "", frontend, store, ...told } = options
  const backend =
    store === undefined
      ? WatchedBackend.make()
      : WatchedBackend.over(Context.get(yield* Effect.orDie(Layer.build(store)), SessionBackend))
  const suspended = new Set<string>()
  const parts = Stack.http(Member, {
    ...told,
    ...(frontend === undefined ? undefined : { frontend }),
    backend: backend.layer,
    // Each look is a touch: a store that is slow to write is met by readers too.
    touchInterval: "1 millis",
    verifier: SessionVerifier.layer(Member, ({ data }) =>
      suspended.has(data.name ?? "") ? Effect.fail(new Suspended()) : Effect.void
    )
  })
  const context = yield* Effect.orDie(Layer.build(parts))
  const port = yield* listen(routesOf(note).pipe(Layer.provide(Layer.succeedContext(context))))
  const send: Client.Send = (method, path, { cookie, headers } = {}) =>
    Effect.flatMap(
      Effect.promise(() =>
        fetch(`http://127.0.0.1:${port}${path}`, {
          method,
          redirect: "manual",
          headers: { ...headers, ...(cookie === undefined ? undefined : { cookie }) }
        })
      ),
      Client.answerOf
    )
  const server: MemberServer = { send, manager: Context.get(context, Member.Manager), backend, suspended }
  return server
})

/** A store one of whose operations fails while an effect runs. */
const failing = <A>(
  { backend }: MemberServer,
  operation: Operation,
  outcome: "notApplied" | "unknown",
  cause: (args: ReadonlyArray<unknown>) => unknown,
  effect: Effect.Effect<A>
) =>
  Effect.suspend(() => {
    backend.wire = (called, run, args) =>
      called === operation ? WatchedBackend.failure(operation, outcome, cause(args)) : run
    return Effect.ensuring(
      effect,
      Effect.sync(() => {
        backend.wire = (_, run) => run
      })
    )
  })

const idOf = (cookie: string): string => cookie.split(".")[2]!

/** Each fate in turn: what it is called, and the request that meets it. Answers the cookies that were given out. */
export const fates = (
  server: MemberServer,
  cause: (args: ReadonlyArray<unknown>) => unknown = () => new Error("down")
) => {
  const { backend, send, suspended } = server
  const cookies: Array<string> = []
  const logIn = (path: string, cookie?: string) =>
    Effect.map(send("POST", path, cookie === undefined ? {} : { cookie }), (answer) => {
      cookies.push(answer.cookie)
      return answer.cookie
    })
  const forged = (cookie: string) =>
    cookie.replace(/\.([^.])([^.]*)$/, (_, first, rest) => `.${first === "A" ? "B" : "A"}${rest}`)
  const stored = (
    cookie: string,
    patch: { readonly data?: string; readonly lastSeenAt: number; readonly idleExpiresAt: number }
  ) => Effect.orDie(backend.service.update(Member.key, idOf(cookie), 1, patch))
  const all: ReadonlyArray<readonly [string, Effect.Effect<unknown>]> = [
    ["a log-in", logIn("/log_in/ada")],
    ["an accepted request", Effect.suspend(() => send("GET", "/me", { cookie: cookies[0]! }))],
    ["a change", Effect.suspend(() => send("POST", "/change", { cookie: cookies[0]! }))],
    ["no token, at a guard", send("GET", "/me")],
    ["no token, where the handler asks for the session", send("GET", "/get")],
    ["no token, where the handler does without", send("GET", "/perhaps")],
    ["no token, at a guard that redirects", send("GET", "/page")],
    ["Malformed", send("GET", "/me", { cookie: "__Host-session=x" })],
    ["Signature", Effect.suspend(() => send("GET", "/me", { cookie: forged(cookies[0]!) }))],
    [
      "a planted token beside the real one",
      Effect.suspend(() => send("GET", "/me", { cookie: `${forged(cookies[0]!)}; ${cookies[0]}` }))
    ],
    ["a log-in of another", logIn("/log_in/eve")],
    ["Ambiguous", Effect.suspend(() => send("GET", "/me", { cookie: `${cookies[0]}; ${cookies[1]}` }))],
    [
      "Suspended",
      Effect.suspend(() => {
        suspended.add("eve")
        return send("GET", "/me", { cookie: cookies[1]! })
      })
    ],
    ["a log-out", Effect.suspend(() => send("POST", "/log_out", { cookie: cookies[0]! }))],
    ["NotFound", Effect.suspend(() => send("GET", "/me", { cookie: cookies[0]! }))],
    ["a log-in that proves nothing", logIn("/log_in_long_ago/ada")],
    ["SessionStale", Effect.suspend(() => send("GET", "/sudo", { cookie: cookies[2]! }))],
    ["SessionStale, for a handler", Effect.suspend(() => send("GET", "/fresh", { cookie: cookies[2]! }))],
    ["Superseded", send("POST", "/log_in_late/ada")],
    ["SessionCrossOrigin", send("POST", "/log_in/ada", { headers: { origin: "https://evil.test" } })],
    ["a visitor's session", logIn("/visit")],
    ["a visitor, at a guard", Effect.suspend(() => send("GET", "/me", { cookie: cookies[3]! }))],
    ["a visitor, of whom a handler asks a proof", Effect.suspend(() => send("GET", "/fresh", { cookie: cookies[3]! }))],
    ["a visitor, who has no list", Effect.suspend(() => send("GET", "/list", { cookie: cookies[3]! }))],
    ["a log-in in a visitor's place", Effect.suspend(() => logIn("/log_in/bob", cookies[3]!))],
    [
      "Expired",
      Effect.suspend(() =>
        Effect.andThen(
          stored(cookies[4]!, { lastSeenAt: 1, idleExpiresAt: 1 }),
          send("GET", "/me", { cookie: cookies[4]! })
        )
      )
    ],
    [
      "Data",
      Effect.suspend(() =>
        Effect.andThen(
          stored(cookies[2]!, { data: "{}", lastSeenAt: Date.now(), idleExpiresAt: Date.now() + 60_000 }),
          send("GET", "/me", { cookie: cookies[2]! })
        )
      )
    ],
    ["a log-in again", logIn("/log_in/zoe")],
    [
      "a read that fails",
      Effect.suspend(() => failing(server, "read", "notApplied", cause, send("GET", "/me", { cookie: cookies[5]! })))
    ],
    [
      "a touch that fails",
      Effect.suspend(() => failing(server, "touch", "unknown", cause, send("GET", "/me", { cookie: cookies[5]! })))
    ],
    [
      "a change that fails",
      Effect.suspend(() =>
        failing(server, "update", "unknown", cause, send("POST", "/change", { cookie: cookies[5]! }))
      )
    ],
    [
      "a log-in that fails",
      Effect.suspend(() => failing(server, "create", "notApplied", cause, send("POST", "/log_in/max")))
    ]
  ]
  return { all, cookies }
}
