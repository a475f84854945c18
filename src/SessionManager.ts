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
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { failure } from "./internal/exit.ts"
import * as CompareAndSet from "./internal/manager/compareAndSet.ts"
import { expired, notFound } from "./internal/manager/compareAndSet.ts"
import * as Deadlines from "./internal/manager/deadlines.ts"
import { infoOf, LiveSession } from "./internal/manager/liveSession.ts"
import * as SessionData from "./internal/manager/sessionData.ts"
import * as Storage from "./internal/manager/storage.ts"
import * as Registry from "./internal/registry.ts"
import * as Token from "./internal/token/token.ts"
import * as TokenCrypto from "./internal/token/tokenCrypto.ts"
import type {
  Core,
  Definition,
  LayerOptions,
  ManagerOf,
  Refusal,
  Session,
  SessionInfo,
  SessionManager,
  Tagged,
  VerifierOf
} from "./Session.ts"
import { SessionBackend } from "./SessionBackend.ts"
import type { SessionRecord } from "./SessionBackend.ts"
import { SessionConfigError, SessionInvalid, SessionRefused } from "./SessionError.ts"
import type { SessionUnavailable } from "./SessionError.ts"
import { SessionKeys } from "./SessionKeys.ts"

export type {
  /**
   * The manager of a definition's sessions.
   *
   * @category models
   * @since 0.1.0
   */
  SessionManager
} from "./Session.ts"

const undecodable = failure(new SessionInvalid({ reason: "Data" }))

/** How many fresh ids `create` tries. */
const maxAttempts = 3
const maxListed = 1000
const pageSize = 250

const makeWith = Effect.fnUntraced(function* <Self, A, R extends ReadonlyArray<Tagged>>(
  definition: Definition<Self, A, R>,
  times: Deadlines.Times
): Effect.fn.Return<SessionManager<A, R>, never, VerifierOf<Self> | Core> {
  type Refused = Refusal<R>
  type Accepted = Effect.Effect<LiveSession<A>, SessionInvalid | Refused | SessionUnavailable>

  const namespace = definition.key
  const keys = yield* SessionKeys
  const verifier = yield* definition.Verifier
  const random = yield* SecureRandom.SecureRandom
  const sha256 = yield* TokenCrypto.sha256
  const tokens = Token.make(yield* keys.signers(Token.purpose(namespace)))
  const storage = Storage.make(yield* SessionBackend, namespace, times.backend)
  const deadlines = Deadlines.make(times)
  const data = SessionData.make(definition)
  /** The sessions that are being touched. */
  const touching = new Set<string>()

  const randomly = <B>(effect: Effect.Effect<B, never, SecureRandom.SecureRandom>): Effect.Effect<B> =>
    Effect.provideService(effect, SecureRandom.SecureRandom, random)

  const snapshot = (record: SessionRecord, value: A, token: Redacted.Redacted<string>, now: number) =>
    new LiveSession(record, value, deadlines.expiryOf(record, now), token)

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

  /** Checks deadlines, data and verifier of a record whose secret is known to be the token's. */
  const admit = (record: SessionRecord, token: Redacted.Redacted<string>, now: number): Accepted => {
    if (now >= deadlines.expiryOf(record, now)) return expired
    const decoded = data.decode(record)
    if (Result.isSuccess(decoded)) return verified(snapshot(record, decoded.success, token, now))
    return Effect.logWarning("stored session data does not decode").pipe(
      Effect.annotateLogs({ namespace, id: record.id, dataVersion: record.dataVersion, problem: decoded.failure }),
      Effect.andThen(undecodable)
    )
  }

  /** One touch at a time serves all requests of a session: each of them has read it. */
  const touched = (session: LiveSession<A>, now: number): Accepted => {
    const record = LiveSession.record(session)
    if (touching.has(record.id)) return Exit.succeed(session)
    const seen = deadlines.seenAt(record, now)
    return Effect.uninterruptible(
      Effect.suspend(() => {
        touching.add(record.id)
        return storage.touch(record.id, seen).pipe(
          // A failed touch costs the session some idle time, and the request nothing.
          Effect.catch(() => Effect.succeed("unchanged")),
          Effect.onExit(() => Effect.sync(() => touching.delete(record.id)))
        )
      })
    ).pipe(
      Effect.flatMap((result) =>
        result === "gone" ? notFound : Exit.succeed(snapshot({ ...record, ...seen }, session.data, session.token, now))
      )
    )
  }

  const load = (token: Redacted.Redacted<string>, touch: boolean): Accepted =>
    Clock.clockWith((clock) =>
      Effect.flatMapEager(tokens.check(token), ({ id, secret }) =>
        Effect.flatMapEager(sha256(secret), (hash) =>
          Effect.flatMapEager(storage.read(id), (found): Accepted => {
            if (found._tag === "None") return notFound
            const record = found.value
            if (!TokenCrypto.timingSafeEqual(hash, record.secretHash)) return notFound
            const now = clock.currentTimeMillisUnsafe()
            const session = admit(record, token, now)
            return touch && deadlines.isTouchDue(record, now)
              ? Effect.flatMap(session, (session) => touched(session, now))
              : session
          })
        )
      )
    )

  const create: SessionManager<A, R>["create"] = (given, options) =>
    Effect.uninterruptible(
      Effect.gen(function* () {
        const { principal, text, value } = yield* data.encode(given)
        // With a fresh id and secret each time: an id that is taken is another session's.
        for (let attempt = 0; attempt < maxAttempts; attempt++) {
          const claims = yield* randomly(Token.randomClaims)
          const secretHash = yield* sha256(claims.secret)
          const token = yield* tokens.issue(claims)
          const now = yield* Clock.currentTimeMillis
          const record: SessionRecord = {
            ...deadlines.startingAt(now, options),
            namespace,
            id: claims.id,
            secretHash,
            version: 1,
            principal,
            data: text,
            dataVersion: definition.dataVersion,
            extension: "",
            persistent: (options?.cookie ?? "persistent") === "persistent"
          }
          const result = yield* storage.create(record)
          if (result === "created") return snapshot(record, value, token, now)
        }
        return yield* storage.failed("create", "notApplied", { _tag: "FreshIdTaken" })
      })
    )

  const compareAndSet = CompareAndSet.make<A, Refused>({
    storage,
    deadlines,
    timeout: times.backend,
    dataVersion: definition.dataVersion,
    admit,
    decode: data.decode,
    snapshot
  })

  /** The session to change: what the caller holds already, or read now. */
  const held = (source: Redacted.Redacted<string> | Session<A>): Accepted =>
    Effect.suspend(() => {
      if (Redacted.isRedacted(source)) return load(source, false)
      return LiveSession.is(source) ? Exit.succeed(source) : load(source.token, false)
    })

  const write = ({ text, value }: SessionData.Encoded<A>, token: Redacted.Redacted<string>) => ({
    patch: { data: text, dataVersion: definition.dataVersion },
    data: value,
    token
  })

  const modify: SessionManager<A, R>["modify"] = (source, f) =>
    Effect.flatMap(held(source), (session) =>
      compareAndSet(session, (session) => {
        const record = LiveSession.record(session)
        // A copy: `f` may change it in place, and `session.data` is in the hands of the application.
        const before = Result.getOrElse(data.decode(record), () => session.data)
        const [answer, after] = f(before)
        return Effect.mapEager(data.encodeFor(record, after), (encoded) => {
          const isSame = (after === before || encoded.text === record.data) && data.isSame(record, encoded.text)
          return [answer, isSame ? undefined : write(encoded, session.token)] as const
        })
      })
    )

  const replace: SessionManager<A, R>["replace"] = (given, next) =>
    Effect.flatMap(held(given), (session) => {
      if (session.version !== given.version) return CompareAndSet.conflict
      const written = compareAndSet(
        session,
        (session) =>
          Effect.mapEager(data.encodeFor(LiveSession.record(session), next), (encoded) => [
            undefined,
            write(encoded, session.token)
          ]),
        "once"
      )
      return Effect.map(written, ([, replaced]) => replaced)
    })

  const rotate: SessionManager<A, R>["rotate"] = Effect.fnUntraced(function* (source) {
    const session = yield* held(source)
    const secret = yield* randomly(Token.randomSecret)
    const secretHash = yield* sha256(secret)
    const token = yield* tokens.issue({ id: session.id, secret })
    const [, rotated] = yield* compareAndSet(
      session,
      ({ data }) => Exit.succeed([undefined, { patch: { secretHash }, data, token }]),
      "alone"
    )
    return rotated
  })

  const list: SessionManager<A, R>["list"] = Effect.fnUntraced(function* (principal) {
    const found: Array<SessionInfo<A>> = []
    const now = yield* Clock.currentTimeMillis
    let after: string | undefined
    do {
      const page = yield* storage.listByPrincipal(principal, { limit: pageSize, after })
      for (const record of page.records) {
        if (now >= deadlines.expiryOf(record, now)) continue
        const decoded = data.decode(record)
        if (Result.isSuccess(decoded)) found.push(infoOf(record, decoded.success, deadlines.expiryOf(record, now)))
      }
      after = page.next
    } while (after !== undefined && found.length < maxListed)
    return found.sort((a, b) => b.createdAt.epochMilliseconds - a.createdAt.epochMilliseconds).slice(0, maxListed)
  })

  return {
    create,
    resolve: (token) => load(token, true),
    modify,
    replace,
    rotate,
    destroy: (token) =>
      Effect.uninterruptible(
        Effect.matchEffect(
          Effect.suspend(() => tokens.check(token)),
          {
            onFailure: () => Effect.succeed(false),
            onSuccess: ({ id }) => Effect.as(storage.delete(id), true)
          }
        )
      ),
    list,
    // A caller without types may leave the owner out, and this would be `revokeAny`.
    revoke: (id, owner) => (typeof owner.principal === "string" ? storage.delete(id, owner) : Effect.succeed(false)),
    revokeAny: (id) => storage.delete(id),
    revokeAll: (principal, options) => storage.deleteByPrincipal(principal, options)
  }
})

/**
 * Makes the manager of a definition, from keys, a backend and its verifier.
 *
 * Fails with a `SessionConfigError` on timeouts that contradict each other, and on a data version that is no whole number
 * from 1.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <Self, A, R extends ReadonlyArray<Tagged>>(
  definition: Definition<Self, A, R>,
  options: LayerOptions = {}
): Effect.Effect<SessionManager<A, R>, SessionConfigError, VerifierOf<Self> | Core> => {
  const { problems: ofTimes, times } = Deadlines.timesOf(options)
  const problems = [...ofTimes, ...SessionData.problemsOf(definition)]
  return problems.length > 0 ? Effect.fail(new SessionConfigError({ problems })) : makeWith(definition, times)
}

/**
 * Layer of a definition's manager, for an RPC server, a job or a command line. With HTTP use `SessionMiddleware.layer`,
 * which provides it too.
 *
 * Fails with a `SessionConfigError` on timeouts that contradict each other, on a data version that is no whole number from
 * 1, and where another definition of the application has the same identifier.
 *
 * **Example** (A manager over Postgres)
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
 * @category layers
 * @since 0.1.0
 */
export const layer = <Self, A, R extends ReadonlyArray<Tagged>>(
  definition: Definition<Self, A, R>,
  options: LayerOptions = {}
): Layer.Layer<ManagerOf<Self>, SessionConfigError, VerifierOf<Self> | Core> =>
  Layer.effect(
    definition.Manager,
    Effect.gen(function* () {
      const registry = yield* Registry.Registry
      const { Frontend, Manager, Verified, Verifier, key } = definition
      const taken = yield* registry.claim(
        definition,
        [definition, Frontend, Manager, Verified, Verifier].map((part) => [
          `identifier ${part.key}`,
          (other) =>
            `two session definitions have the identifier "${other}": give each its own, in Session.Service()("…")`
        ])
      )
      const { problems, times } = Deadlines.timesOf(options)
      yield* registry.check(key, [...new Set(taken), ...problems, ...SessionData.problemsOf(definition)])
      return yield* makeWith(definition, times)
    })
  ).pipe(Layer.provide(Registry.layer))
