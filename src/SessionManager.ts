/**
 * Sessions without HTTP: create, resolve, modify, rotate, destroy, list, revoke.
 *
 * A definition's manager is the service `UserSession.Manager`. `layer` provides it, and so does
 * `SessionMiddleware.layer`; an RPC server, a job or a command line uses it directly.
 *
 * **Details**
 *
 * - A session that was destroyed or revoked never comes back: a change is a compare-and-set on the record's version, and
 *   a touch needs the record to be there.
 * - No update is lost: on a newer version the session is checked again and `f` runs again. Changes of one session wait
 *   for each other within a process, and those that wait are written together, so that `version` may grow by one for
 *   several. Between processes they retry with full jitter, for a second at most.
 * - Every backend call has a deadline. A backend that fails or is late is a `SessionUnavailable`, never "no session".
 *   Writes are not interrupted.
 * - The cause of a failure is logged by its names and codes. No log line holds a token, a key or session data.
 * - What happens to sessions is told to `onEvent`, an option of the layer: the one place for an audit log or a metric.
 *
 * **Example** (Ending a user's sessions from a job)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Session } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String }),
 *   principal: (data) => data.username
 * }) {}
 *
 * const suspend = (username: string) =>
 *   Effect.flatMap(UserSession.Manager, (manager) => manager.revokeAll(username))
 * ```
 *
 * **Example** (An audit log)
 *
 * ```ts
 * import { Effect, Option, Schema } from "effect"
 * import { Session, SessionManager } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String }),
 *   principal: (data) => data.username
 * }) {}
 *
 * const ManagerLive = SessionManager.layer(UserSession, {
 *   onEvent: (event) =>
 *     event._tag === "Ended"
 *       ? Effect.log(`session ${event.id} of ${Option.getOrElse(event.principal, () => "a visitor")}: ${event.why}`)
 *       : Effect.void
 * })
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 */

import * as Clock from "effect/Clock"
import type * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Result from "effect/Result"
import * as Adoption from "./internal/manager/adoption.ts"
import * as CompareAndSet from "./internal/manager/compareAndSet.ts"
import * as Ended from "./internal/manager/ended.ts"
import * as Events from "./internal/manager/events.ts"
import * as Extension from "./internal/manager/extension.ts"
import * as Fence from "./internal/manager/fence.ts"
import { infoOf, LiveSession, noToken, withoutToken } from "./internal/manager/liveSession.ts"
import * as LogIn from "./internal/manager/logIn.ts"
import * as Look from "./internal/manager/look.ts"
import * as Parts from "./internal/manager/parts.ts"
import { type Settings, settingsOf } from "./internal/manager/parts.ts"
import type * as SessionData from "./internal/manager/sessionData.ts"
import { unavailable } from "./internal/manager/storage.ts"
import * as Registry from "./internal/registry.ts"
import { configured } from "./internal/session/configured.ts"
import * as Span from "./internal/session/span.ts"
import * as Token from "./internal/token/token.ts"
import type {
  ConfigOptions,
  Core,
  Definition,
  ManagerOf,
  ManagerOptions,
  Refusal,
  SessionEvent,
  SessionInfo,
  SessionManager,
  Tagged,
  VerifierOf
} from "./Session.ts"
import { maxBatch, type SessionRecord } from "./SessionBackend.ts"
import { SessionConfigError, SessionRefused } from "./SessionError.ts"
import type { SessionInvalid, SessionUnavailable } from "./SessionError.ts"
import { SessionKeys } from "./SessionKeys.ts"

export type {
  /**
   * The manager of a definition's sessions.
   *
   * @stability unstable
   * @category models
   * @since 0.1.0
   */
  SessionManager
} from "./Session.ts"

/** What tells the handler, where the options have one. */
const eventsOf = <Self, A, R extends ReadonlyArray<Tagged>, RX>(
  { key }: Definition<Self, A, R>,
  { onEvent }: ManagerOptions<A, R, RX>,
  { times: { backend } }: Settings
): Effect.Effect<Events.Events<SessionEvent<A, R>> | undefined, never, RX> =>
  Effect.map(
    Effect.context<RX>(),
    (context) => onEvent && Events.make(Events.tellOf(onEvent, context, key, backend), key, backend)
  )

const makeWith = Effect.fnUntraced(function* <Self, A, R extends ReadonlyArray<Tagged>>(
  definition: Definition<Self, A, R>,
  settings: Settings,
  events: Events.Events<SessionEvent<A, R>> | undefined
): Effect.fn.Return<SessionManager<A, R>, never, VerifierOf<Self> | Core | Scope.Scope> {
  type Refused = Refusal<R>
  type Accepted = Effect.Effect<LiveSession<A>, SessionInvalid | Refused | SessionUnavailable>

  const parts = yield* Parts.make(definition, settings, events)
  const { copyOf, data, dataVersion, deadlines, end, fence, isLive, namespace, random } = parts
  const { sha256, storage, tokens } = parts
  const verifier = yield* definition.Verifier

  const refusedByValue: Effect.Effect<never, Refused> = Effect.suspend(() => {
    const why = "the verifier answered a value: succeed with nothing to let a session through, fail to refuse it"
    // Only a definition that refuses with `SessionRefused` has that error in `R`.
    return definition.refused.some((refused) => refused === (SessionRefused as unknown))
      ? Effect.andThen(Effect.logError(why), Effect.fail(new SessionRefused({ message: "refused" }) as Refused))
      : Effect.die(new Error(`${namespace}: ${why}`))
  })

  const verified = (session: LiveSession<A>): Accepted =>
    Effect.flatMapEager(verifier.verify(session), (answer: unknown) =>
      answer === undefined ? Exit.succeed(session) : refusedByValue
    )

  const look = Look.make<A, Refused>(parts, verified)
  const { admit, held, load, readable, withoutVerifier } = look
  const compareAndSet = CompareAndSet.make<A, Refused>(parts)

  /** The terms of a change by a request: the session is checked like any other. */
  const asRequest = (company: CompareAndSet.Company) => ({
    admit: (record: SessionRecord, { token }: LiveSession<A>, now: number) => admit(record, token, now),
    company
  })
  const together = asRequest("together")
  const alone = asRequest("alone")
  const once = asRequest("once")

  const logIn = LogIn.make<A, R>(parts, look, compareAndSet)
  const ended = yield* Ended.make<A, R>(parts, look)

  /** Says of a token, or a session, why it is refused: on the current span always, to the handler where there is one. */
  const telling = <B, E extends { readonly _tag: string }>(effect: Effect.Effect<B, E>): Effect.Effect<B, E> =>
    Effect.tapError(effect, (error) => {
      if (error._tag === "SessionUnavailable" || error._tag === "SessionConflict") return Effect.void
      if (events === undefined) return Span.refused(error)
      // No member that tells fails with anything else.
      return Effect.andThen(
        Span.refused(error),
        events.tell({ _tag: "Refused", error: error as unknown as SessionInvalid | Refused })
      )
    })
  const accepting = Span.accepting(parts.spanAttributes)

  // -------------------------------------------------------------------------------------------------------------------
  // Changing
  // -------------------------------------------------------------------------------------------------------------------

  const write = ({ text, value }: SessionData.Encoded<A>, token: Redacted.Redacted<string>) => ({
    patch: { data: text, dataVersion },
    data: value,
    token
  })

  const changeOf =
    <B>(f: (data: A) => readonly [B, A]): CompareAndSet.Change<A, B, never> =>
    (session) => {
      const record = LiveSession.record(session)
      const before = copyOf(session)
      const [answer, after] = f(before)
      return Effect.mapEager(data.encodeFor(record, after), (encoded) => {
        const isSame = (after === before || encoded.text === record.data) && data.isSame(record, encoded.text)
        return [answer, isSame ? undefined : write(encoded, session.token)] as const
      })
    }

  const modify: SessionManager<A, R>["modify"] = (source, f) =>
    Effect.flatMapEager(held(source), (session) => compareAndSet(session, changeOf(f), together))

  const modifyAll: SessionManager<A, R>["modifyAll"] = Effect.fnUntraced(function* (principal, f) {
    const change = changeOf((data) => [undefined, f(data)])
    let count = 0
    let isContended = false
    const changed = Effect.fnUntraced(function* (record: SessionRecord) {
      const now = yield* Clock.currentTimeMillis
      if (!isLive(record, now)) return
      const written = yield* Effect.flatMap(readable(record, noToken, now), (session) =>
        compareAndSet(session, change, { admit: withoutVerifier, byId: true })
      ).pipe(Effect.result)
      if (Result.isSuccess(written)) count++
      else if (written.failure._tag === "SessionConflict") isContended = true
      // A session that has ended meanwhile, or does not decode, has nothing to change.
      else if (written.failure._tag === "SessionUnavailable")
        return yield* Effect.fail(written.failure as SessionUnavailable)
    })
    let after: string | undefined
    do {
      const page = yield* storage.listByPrincipal(principal, { limit: Parts.pageSize, after })
      yield* Effect.forEach(page.records, changed, { concurrency: 8, discard: true })
      after = page.next
    } while (after !== undefined)
    return isContended ? yield* CompareAndSet.conflict : count
  })

  const describe: SessionManager<A, R>["describe"] = (source, client) =>
    Effect.flatMapEager(held(source), (session) =>
      Effect.map(
        compareAndSet(
          session,
          (session) => {
            const { data, token } = session
            const extension = Extension.parse(LiveSession.record(session))
            const described = Extension.describedAs(Extension.clientOf(extension), client)
            const patch = { extension: Extension.format({ ...extension, client: described }) }
            return Exit.succeed([undefined, { patch, data, token }])
          },
          alone
        ),
        ([, described]) => described
      )
    )

  const replace: SessionManager<A, R>["replace"] = (given, next) =>
    Effect.flatMapEager(held(given), (session) => {
      if (session.version !== given.version) return CompareAndSet.conflict
      const written = compareAndSet(
        session,
        (session) =>
          Effect.mapEager(data.encodeFor(LiveSession.record(session), next), (encoded) => [
            undefined,
            write(encoded, session.token)
          ]),
        once
      )
      return Effect.map(written, ([, replaced]) => replaced)
    })

  const rotate: SessionManager<A, R>["rotate"] = Effect.fnUntraced(function* (source) {
    const session = yield* held(source)
    const secret = yield* Token.randomSecret(random)
    const secretHash = yield* sha256(secret)
    const token = yield* tokens.issue({ id: session.id, secret })
    const rotating = compareAndSet(
      session,
      ({ data }) => Exit.succeed([undefined, { patch: { secretHash }, data, token }]),
      alone
    )
    const told =
      events === undefined
        ? rotating
        : Effect.uninterruptible(
            Effect.tap(rotating, ([, rotated]) => events.tell({ _tag: "Rotated", session: withoutToken(rotated) }))
          )
    const [, rotated] = yield* told
    return rotated
  })

  // -------------------------------------------------------------------------------------------------------------------
  // Showing and ending
  // -------------------------------------------------------------------------------------------------------------------

  /** What may be shown of a record, if it is a session. */
  const shown = (record: SessionRecord, now: number): SessionInfo<A | undefined> | undefined =>
    isLive(record, now)
      ? infoOf<A | undefined>(
          record,
          Result.getOrElse(data.decode(record), () => undefined),
          deadlines.shown(record, now)
        )
      : undefined

  const list: SessionManager<A, R>["list"] = Effect.fnUntraced(function* (principal) {
    const found: Array<SessionInfo<A | undefined>> = []
    const now = yield* Clock.currentTimeMillis
    let after: string | undefined
    do {
      const page = yield* storage.listByPrincipal(principal, { limit: Parts.pageSize, after })
      for (const record of page.records) {
        const info = shown(record, now)
        if (info !== undefined) found.push(info)
      }
      after = page.next
    } while (after !== undefined && found.length < Parts.maxListed)
    return found.sort((a, b) => b.createdAt.epochMilliseconds - a.createdAt.epochMilliseconds).slice(0, Parts.maxListed)
  })

  const scan: SessionManager<A, R>["scan"] = Effect.fnUntraced(function* ({ after, limit = Parts.pageSize } = {}) {
    if (!(Number.isInteger(limit) && limit >= 1 && limit <= maxBatch)) {
      return yield* Effect.die(new RangeError(`scan: limit must be a whole number from 1 to ${maxBatch}`))
    }
    const now = yield* Clock.currentTimeMillis
    const { next, records } = yield* storage.scan({ limit, after })
    const sessions = records.flatMap((record) => shown(record, now) ?? [])
    return next === undefined ? { sessions } : { sessions, next }
  })

  return {
    create: (given, options) => logIn.create(given, options).pipe(telling, accepting),
    adopt: (from, given, options) => logIn.adopt(from, given, options).pipe(telling, accepting),
    disown: logIn.disown,
    createFrom: (source, f, options) => logIn.createFrom(source, f, options).pipe(telling, accepting),
    reauthenticate: (source, options) => logIn.reauthenticate(source, options).pipe(telling, accepting),
    resolve: (token, { arrived, rotate = false, touch = true } = {}) =>
      accepting(
        load(
          token,
          { touch, rotate, arrived: arrived === undefined ? undefined : Number(arrived / 1_000_000n) },
          telling
        )
      ),
    get: (id) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) =>
        Effect.map(storage.read(id), (found) =>
          Option.flatMap(found, (record) => Option.fromUndefinedOr(shown(record, now)))
        )
      ),
    describe: (source, client) => telling(describe(source, client)),
    modify: (source, f) => telling(modify(source, f)),
    modifyAll,
    replace: (given, next) => telling(replace(given, next)),
    rotate: (source) => telling(rotate(source)),
    destroy: (token, { why = "logout" } = {}) =>
      Effect.uninterruptible(
        Effect.suspend(() =>
          Effect.flatMapEager(Token.idOf(tokens, token), (id) =>
            id === undefined ? Effect.succeed(false) : Effect.as(end(id, why), true)
          )
        )
      ),
    ended,
    scan,
    list,
    // A caller without types may leave the owner out, and this would be `revokeAny`.
    revoke: (id, { principal }) =>
      typeof principal === "string" ? end(id, "revoked", { principal }) : Effect.succeed(false),
    revokeAny: (id) => end(id, "revoked"),
    revokeAll: (principal, options = {}) =>
      // Once the fence is raised deleting begins, whatever becomes of the caller.
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const before = yield* Fence.timeOf(options.before)
          const raised = yield* Effect.exit(fence.raise(principal, before))
          const count = yield* storage.deleteByPrincipal(principal, options, restore, events?.endedInBatches("revoked"))
          // What was deleted stays so, but a log-in under way may have come through.
          if (Exit.isFailure(raised)) return yield* unavailable.unknown
          return count
        })
      )
  }
})

/**
 * Makes the manager of a definition, from keys, a backend and its verifier. No sweeper finds its `onEvent`: that takes a
 * layer.
 *
 * Fails with a `SessionConfigError` on options, an identifier or a data version that are not valid.
 *
 * @stability unstable
 * @category constructors
 * @since 0.1.0
 */
export const make = <Self, A, R extends ReadonlyArray<Tagged>, RX = never>(
  definition: Definition<Self, A, R>,
  options: ManagerOptions<NoInfer<A>, NoInfer<R>, RX> = {}
): Effect.Effect<SessionManager<A, R>, SessionConfigError, VerifierOf<Self> | Core | Scope.Scope | RX> => {
  const { problems, settings } = settingsOf(definition, options)
  return problems.length > 0
    ? Effect.fail(new SessionConfigError({ problems }))
    : Effect.flatMap(eventsOf(definition, options, settings), (events) => makeWith(definition, settings, events))
}

/**
 * Layer of a definition's manager, for an RPC server, a job or a command line. With HTTP use `SessionMiddleware.layer`,
 * which provides it too.
 *
 * Fails as `make` does, where another definition of the application has the same identifier, and where another manager of
 * this definition has other options or other keys.
 *
 * **Details**
 *
 * An application is what is built with one memo map. Of two managers of a definition in it, one would end the sessions
 * that the other lets live, so their options must be equal: times by their length, `onEvent` by identity. Of their
 * backends and verifiers nothing is known: two services may stand for one store. Use one layer for both, or parts that
 * are constants.
 *
 * What `Layer.fresh` builds is an application of its own, for one tenant of many; `make` builds a manager that no
 * application knows of.
 *
 * A dev server loads a module again while the layers that it made before are still open. So a layer that is made once
 * others of its identifier are built takes their place, and the log says so: dispose of the old runtime, or its
 * connections stay open. With `NODE_ENV=production` it is refused.
 *
 * **Example** (A manager without HTTP)
 *
 * ```ts
 * import { NodeCrypto } from "@effect/platform-node"
 * import { Config, Layer, Schema } from "effect"
 * import { Session, SessionBackendMemory, SessionKeys, SessionManager, SessionVerifier } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String })
 * }) {}
 *
 * const ManagerLive = SessionManager.layer(UserSession, { idleTimeout: "30 minutes" }).pipe(
 *   Layer.provide([SessionBackendMemory.layer, SessionVerifier.layerExists(UserSession)]),
 *   Layer.provide(SessionKeys.layerConfig(Config.Redacted("SESSION_SECRET"))),
 *   Layer.provide(NodeCrypto.layer)
 * )
 * ```
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layer = <Self, A, R extends ReadonlyArray<Tagged>, RX = never>(
  definition: Definition<Self, A, R>,
  options: ManagerOptions<NoInfer<A>, NoInfer<R>, RX> = {}
): Layer.Layer<ManagerOf<Self>, SessionConfigError, VerifierOf<Self> | Core | RX> => {
  const { problems, settings, shared } = settingsOf(definition, options)
  const live = Layer.effect(
    definition.Manager,
    Effect.gen(function* () {
      const registry = yield* Registry.Registry
      const { Frontend, Manager, Verified, Verifier, key } = definition
      const differ = (differences: string) =>
        `two managers of ${key} differ: ${differences}. Give their layers the same options and keys, or use one layer for both`
      const taken = yield* registry.claim(
        definition,
        [
          ...[definition, Frontend, Manager, Verified, Verifier].map((part) => part.key),
          Fence.namespaceOf(key),
          Adoption.namespaceOf(key)
        ].map((name) => ({
          name: `identifier ${name}`,
          taken: Registry.twins,
          settings: shared,
          differ
        }))
      )
      yield* registry.check(key, [...new Set(taken), ...problems])
      // Deriving keys takes a while, in which the layers beside this one would have failed.
      const { signers } = yield* SessionKeys
      const kids = (yield* signers(Token.purpose(key))).map(({ kid }) => kid)
      const keys = { name: `keys ${key}`, settings: { keys: [kids, "a list of secrets"] }, differ } as const
      yield* registry.check(key, yield* registry.claim(definition, [keys]))
      const events = yield* eventsOf(definition, options, settings)
      if (events !== undefined) yield* registry.onSweep(key, () => events.endedInBatches("expired"))
      return yield* makeWith(definition, settings, events)
    })
    // `Layer.effect` takes `Scope` out of the requirements, which the compiler cannot do for an abstract `RX`.
  ).pipe(Layer.provide(Registry.layer)) as Layer.Layer<
    ManagerOf<Self>,
    SessionConfigError,
    VerifierOf<Self> | Core | RX
  >
  return Registry.numbered(live)
}

/**
 * Layer of a definition's manager, with options from configuration: `layer`. `onEvent`, a function, is given as it is.
 *
 * **Example** (Timeouts from the environment)
 *
 * ```ts
 * import { Config, Effect, Schema } from "effect"
 * import { Session, SessionManager } from "effect-sessions"
 *
 * class UserSession extends Session.Service<UserSession>()("app/UserSession", {
 *   data: Schema.Struct({ username: Schema.String })
 * }) {}
 *
 * const ManagerLive = SessionManager.layerConfig(UserSession, {
 *   idleTimeout: Config.Duration("SESSION_IDLE_TIMEOUT").pipe(Config.withDefault("30 minutes")),
 *   onEvent: (event) => Effect.logDebug(event._tag)
 * })
 * ```
 *
 * @stability experimental
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = <Self, A, R extends ReadonlyArray<Tagged>, RX = never>(
  definition: Definition<Self, A, R>,
  options: ConfigOptions<ManagerOptions<NoInfer<A>, NoInfer<R>, RX>>
): Layer.Layer<ManagerOf<Self>, SessionConfigError | Config.ConfigError, VerifierOf<Self> | Core | RX> => {
  const read = configured<ManagerOptions<A, R, RX>>(options)
  const live = Layer.unwrap(Effect.map(read, (options) => layer<Self, A, R, RX>(definition, options)))
  return Registry.numbered(live)
}
