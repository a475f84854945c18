/**
 * The life of a session, without HTTP: create, resolve, modify, rotate, destroy, list, revoke.
 *
 * A definition's manager is the service `UserSession.Manager`. `UserSession.layerHttp` and `layerManager` provide it;
 * the middlewares are built on it, and an RPC server, a job or a command line uses it directly.
 *
 * **Details**
 *
 * - Nothing it does brings a session back that was destroyed or revoked: a change is a compare-and-set on the record's
 *   version, and a touch needs the record to be there.
 * - No update is lost: on a newer version the session is read again, checked again and `f` runs again. Updates of one
 *   session wait for each other within a process; between processes they retry with full jitter, for a second at most.
 * - Every backend call has a deadline. A backend that fails, or is late, is a `SessionUnavailable`, and never "no
 *   session". Writes are not interrupted.
 * - The cause of a failure is logged by its names and codes; no log line holds a token, a key, or session data.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Digest from "effect/crypto/Digest"
import type * as Mac from "effect/crypto/Mac"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { failure } from "./internal/constant.ts"
import { bounded } from "./internal/bounded.ts"
import { describeCause } from "./internal/describeCause.ts"
import * as DataCodec from "./internal/dataCodec.ts"
import { matchEager } from "./internal/eager.ts"
import { infoOf, LiveSession } from "./internal/liveSession.ts"
import * as Serial from "./internal/serial.ts"
import * as TokenCrypto from "./internal/tokenCrypto.ts"
import { withTexts } from "./internal/tokenText.ts"
import type {
  CreateOptions,
  Definition,
  LayerOptions,
  Refusal,
  Session,
  SessionId,
  SessionInfo,
  Tagged,
  VerifierOf
} from "./Session.ts"
import { SessionBackend, SessionBackendError } from "./SessionBackend.ts"
import type { Operation, SessionPatch, SessionRecord } from "./SessionBackend.ts"
import {
  SessionConfigError,
  SessionConflict,
  SessionDataError,
  SessionInvalid,
  SessionRefused,
  SessionUnavailable
} from "./SessionError.ts"
import * as SessionToken from "./SessionToken.ts"

/**
 * The life of a definition's sessions.
 *
 * Where a token is asked for, a session that was answered before may be given instead: the first compare-and-set then
 * uses what it already knows, and saves a read.
 *
 * @category models
 * @since 0.1.0
 */
export interface SessionManager<A, R extends ReadonlyArray<Tagged>> {
  /** Makes a session with a fresh id and secret. */
  readonly create: (data: A, options?: CreateOptions) => Effect.Effect<Session<A>, SessionUnavailable>
  /** The session a token opens, if it stands: checked, read once, verified, touched when due. */
  readonly resolve: (
    token: Redacted.Redacted<string>
  ) => Effect.Effect<Session<A>, SessionInvalid | Refusal<R> | SessionUnavailable>
  /** Changes the data by a function, which runs again on a conflict. The same reference back writes nothing. */
  readonly modify: <B>(
    token: Redacted.Redacted<string> | Session<A>,
    f: (data: A) => readonly [B, A]
  ) => Effect.Effect<readonly [B, Session<A>], SessionInvalid | Refusal<R> | SessionConflict | SessionUnavailable>
  /** Puts data in place of that of the given snapshot, or fails with `SessionConflict` if the session has changed since. */
  readonly replace: (
    session: Session<A>,
    data: A
  ) => Effect.Effect<Session<A>, SessionInvalid | Refusal<R> | SessionConflict | SessionUnavailable>
  /** Gives the session a new secret, and with it a new token. The id stays. */
  readonly rotate: (
    token: Redacted.Redacted<string> | Session<A>
  ) => Effect.Effect<Session<A>, SessionInvalid | Refusal<R> | SessionConflict | SessionUnavailable>
  /** Ends the session an authentic token belongs to, also one that was rotated since. Anything else is left alone. */
  readonly destroy: (token: Redacted.Redacted<string>) => Effect.Effect<void, SessionUnavailable>
  /** A principal's live sessions, newest first, at most 1,000. */
  readonly list: (principal: string) => Effect.Effect<ReadonlyArray<SessionInfo<A>>, SessionUnavailable>
  /** Ends a session by its id, if it is its owner's. */
  readonly revoke: (id: SessionId, owner: { readonly principal: string }) => Effect.Effect<boolean, SessionUnavailable>
  /** Ends a session by its id, whosever it is: for an administrator. */
  readonly revokeAny: (id: SessionId) => Effect.Effect<boolean, SessionUnavailable>
  /** Ends all of a principal's sessions, except one. */
  readonly revokeAll: (
    principal: string,
    options?: { readonly except?: SessionId | undefined }
  ) => Effect.Effect<number, SessionUnavailable>
}

const invalid = (reason: SessionInvalid["reason"]) => failure(new SessionInvalid({ reason }))
const notFound = invalid("NotFound")
const expired = invalid("Expired")
const undecodable = invalid("Data")
const conflict = failure(new SessionConflict())
const unavailable = {
  notApplied: failure(new SessionUnavailable({ outcome: "notApplied" })),
  unknown: failure(new SessionUnavailable({ outcome: "unknown" }))
}

/** RFC 6265bis 5.5: no browser keeps a cookie longer. */
const maxAbsolute = Duration.toMillis(Duration.days(400))
/** How long an update goes on meeting newer versions. */
const contentionLimit = 1000
const maxListed = 1000
const pageSize = 250

interface Times {
  readonly idle: number
  readonly absolute: number
  readonly touch: number | undefined
  readonly backend: number
}

const timesOf = (options: LayerOptions): Effect.Effect<Times, SessionConfigError> => {
  const problems: Array<string> = []
  const read = (name: keyof LayerOptions, fallback: Duration.Input): number => {
    const given = options[name] ?? fallback
    const millis = Option.match(Duration.fromInput(given), { onNone: () => NaN, onSome: Duration.toMillis })
    if (!(Number.isFinite(millis) && millis >= 1)) problems.push(`${name} must be a finite duration above zero`)
    return Math.floor(millis)
  }
  const idle = read("idleTimeout", "1 hour")
  const absolute = read("absoluteTimeout", "24 hours")
  const touch = options.touchInterval === undefined ? undefined : read("touchInterval", 0)
  const backend = read("backendTimeout", "1 second")
  if (idle > absolute) problems.push("idleTimeout must not be longer than absoluteTimeout")
  if (absolute > maxAbsolute) problems.push("absoluteTimeout must not be longer than 400 days (RFC 6265bis 5.5)")
  if (touch !== undefined && touch > idle) problems.push("touchInterval must not be longer than idleTimeout")
  return problems.length > 0
    ? Effect.fail(new SessionConfigError({ problems }))
    : Effect.succeed({ idle, absolute, touch, backend })
}

/** A change of the data, and the value that stands in the snapshot afterwards. */
interface Write<A> {
  readonly patch: Pick<SessionPatch, "data" | "dataVersion">
  readonly value: A
}

const utf8 = new TextEncoder()

/**
 * Makes the manager of a definition, from keys, a backend and its verifier.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function* <Self, A, R extends ReadonlyArray<Tagged>>(
  definition: Definition<Self, A, R>,
  options: LayerOptions,
  signers: (
    purpose: string
  ) => Effect.Effect<readonly [SessionToken.Signer, ...ReadonlyArray<SessionToken.Signer>], never, Mac.Mac>
): Effect.fn.Return<
  SessionManager<A, R>,
  SessionConfigError,
  VerifierOf<Self> | SessionBackend | Mac.Mac | Digest.Digest | SecureRandom.SecureRandom
> {
  type Refused = Refusal<R>

  const times = yield* timesOf(options)
  const namespace = definition.key
  const backend = yield* SessionBackend
  const verifier = yield* definition.Verifier
  const random = yield* SecureRandom.SecureRandom
  const sha256 = yield* TokenCrypto.sha256
  const tokens = SessionToken.makeText(yield* signers(SessionToken.purpose(namespace)))
  const codec = DataCodec.make(definition.data)
  const oneAtATime = Serial.make()
  /** The sessions a touch is on its way for. */
  const touching = new Set<string>()

  const randomly = <B>(effect: Effect.Effect<B, never, SecureRandom.SecureRandom>): Effect.Effect<B> =>
    Effect.provideService(effect, SecureRandom.SecureRandom, random)

  // ---------------------------------------------------------------------------
  // Backend calls: bounded, logged, mapped
  // ---------------------------------------------------------------------------

  const failed = (operation: Operation, outcome: "notApplied" | "unknown", cause: unknown) =>
    Effect.flatMap(
      Effect.logWarning("session backend failed").pipe(
        Effect.annotateLogs({ namespace, operation, outcome, cause: describeCause(cause) })
      ),
      () => unavailable[outcome]
    )

  /** A write that may have been carried out is `unknown`; a read never changes anything. */
  const failureOf = (operation: Operation, outcome: "notApplied" | "unknown") => ({
    late: () => Exit.fail(new SessionBackendError({ operation, outcome, cause: { _tag: "TimedOut" } })),
    onFailure: (cause: Cause.Cause<SessionBackendError>): Effect.Effect<never, SessionUnavailable> => {
      for (const reason of cause.reasons) {
        if (reason._tag === "Fail") return failed(operation, reason.error.outcome, reason.error.cause)
        if (reason._tag === "Die") return failed(operation, outcome, reason.defect)
      }
      return Effect.failCause(cause) as Effect.Effect<never>
    }
  })
  const failing = {
    create: failureOf("create", "unknown"),
    read: failureOf("read", "notApplied"),
    update: failureOf("update", "unknown"),
    touch: failureOf("touch", "unknown"),
    delete: failureOf("delete", "unknown"),
    deleteByPrincipal: failureOf("deleteByPrincipal", "unknown"),
    listByPrincipal: failureOf("listByPrincipal", "notApplied")
  }

  const shortly = times.backend / 4

  /** An operation of several calls, or one that has waited for its turn, takes little longer in all than one call. */
  const remaining = (arrived: number, now: number): number =>
    Math.min(times.backend, Math.max(shortly / 2, times.backend + shortly - (now - arrived)))

  /** `onSuccess` goes on with the answer; what fails in there is its own. */
  const callThen = <B, C, E>(
    operation: keyof typeof failing,
    ask: () => Effect.Effect<B, SessionBackendError>,
    millis: number,
    onSuccess: (answer: B) => Effect.Effect<C, E>
  ): Effect.Effect<C, E | SessionUnavailable> => {
    const { late, onFailure } = failing[operation]
    let effect: Effect.Effect<B, SessionBackendError>
    try {
      effect = ask()
    } catch (defect) {
      return onFailure(Cause.die(defect))
    }
    return Effect.matchCauseEffect(Exit.isExit(effect) ? effect : bounded(effect, millis, late), {
      onSuccess,
      onFailure
    })
  }

  const call = <B>(
    operation: keyof typeof failing,
    ask: () => Effect.Effect<B, SessionBackendError>,
    millis: number = times.backend
  ): Effect.Effect<B, SessionUnavailable> => callThen(operation, ask, millis, Effect.succeed<B>)

  /** Deleting is the same done twice, so a quick failure is tried again within the deadline. */
  const callDelete = <B>(operation: keyof typeof failing, ask: () => Effect.Effect<B, SessionBackendError>) =>
    Effect.uninterruptible(
      Effect.suspend(() =>
        call(operation, () =>
          Effect.catch(ask(), (first) =>
            // What is not known of the first stays unknown, however the second fails.
            Effect.mapError(ask(), (second) => (first.outcome === "unknown" ? first : second))
          )
        )
      )
    )

  // ---------------------------------------------------------------------------
  // Deadlines: the earlier of what the record holds and what is configured today
  // ---------------------------------------------------------------------------

  const idleOf = (record: SessionRecord): number => Math.min(record.idleTimeout, times.idle)
  const absoluteOf = (record: SessionRecord): number =>
    Math.min(record.absoluteExpiresAt, record.createdAt + times.absolute)
  const expiryOf = (record: SessionRecord): number =>
    Math.min(record.idleExpiresAt, record.lastSeenAt + idleOf(record), absoluteOf(record))
  const seen = (record: SessionRecord, now: number) => ({
    lastSeenAt: now,
    idleExpiresAt: Math.min(now + idleOf(record), absoluteOf(record))
  })
  const isTouchDue = (record: SessionRecord, now: number): boolean => {
    const idle = idleOf(record)
    // The interval asked for goes with the layer's idle timeout; a session with a shorter one would end between two.
    const interval =
      times.touch !== undefined && idle === times.idle ? times.touch : Math.min(times.touch ?? 60_000, idle / 10)
    return now - record.lastSeenAt >= interval
  }

  // ---------------------------------------------------------------------------
  // From a record to an accepted session
  // ---------------------------------------------------------------------------

  const snapshot = (record: SessionRecord, data: A, token: string): LiveSession<A> =>
    new LiveSession(record, data, expiryOf(record), token)

  const refuses: Effect.Effect<never, Refused> = Effect.suspend(() => {
    const why = "the verifier answered a value: succeed with nothing to let a session through, fail to refuse it"
    // Only a definition that refuses with `SessionRefused` has that error in `R`.
    return definition.refused.some((refused) => refused === (SessionRefused as unknown))
      ? Effect.flatMap(Effect.logError(why), () => Effect.fail(new SessionRefused({ message: "refused" }) as Refused))
      : Effect.die(new Error(`${namespace}: ${why}`))
  })

  const verified = (session: LiveSession<A>): Effect.Effect<LiveSession<A>, Refused | SessionUnavailable> =>
    Effect.flatMapEager(verifier.verify(session), (answer: unknown) =>
      answer === undefined ? Exit.succeed(session) : refuses
    )

  const reportUndecodable = (record: SessionRecord) =>
    Effect.flatMap(
      Effect.logWarning("stored session data does not decode").pipe(
        Effect.annotateLogs({ namespace, dataVersion: record.dataVersion })
      ),
      () => undecodable
    )

  /** Deadlines, data and verifier: what is checked of a record whose secret is known to be the token's. */
  const admit = (
    record: SessionRecord,
    token: string,
    now: number
  ): Effect.Effect<LiveSession<A>, SessionInvalid | Refused | SessionUnavailable> => {
    if (now >= expiryOf(record)) return expired
    const decoded = codec.decode(record.data)
    if (decoded === undefined) return reportUndecodable(record)
    return verified(snapshot(record, decoded.value, token))
  }

  const touched = (
    session: LiveSession<A>,
    record: SessionRecord,
    now: number
  ): Effect.Effect<LiveSession<A>, SessionInvalid> => {
    // One touch at a time says for all requests of a session that it was seen: each of them has read it.
    if (touching.has(record.id)) return Exit.succeed(session)
    const at = seen(record, now)
    // A touch that fails costs the session some of its idle time, and the request nothing: it was read and is good.
    return Effect.uninterruptible(
      Effect.suspend(() => {
        touching.add(record.id)
        return Effect.onExit(
          Effect.catch(
            call("touch", () => backend.touch(namespace, record.id, at), shortly),
            () => Effect.succeed("unchanged")
          ),
          () => Effect.sync(() => touching.delete(record.id))
        )
      })
    ).pipe(
      Effect.flatMap((result) =>
        result === "gone"
          ? notFound
          : Exit.succeed(snapshot({ ...record, ...at }, session.data, LiveSession.text(session)))
      )
    )
  }

  const load = (
    token: string,
    touch: boolean,
    clock: Clock.Clock
  ): Effect.Effect<LiveSession<A>, SessionInvalid | Refused | SessionUnavailable> =>
    Effect.flatMapEager(tokens.check(token), ({ id, secret }) =>
      Effect.flatMapEager(sha256(secret), (hash) => {
        const open = (
          found: Option.Option<SessionRecord>
        ): Effect.Effect<LiveSession<A>, SessionInvalid | Refused | SessionUnavailable> => {
          if (found._tag === "None") return notFound
          const record = found.value
          if (!TokenCrypto.timingSafeEqual(hash, record.secretHash)) return notFound
          const now = clock.currentTimeMillisUnsafe()
          const session = admit(record, token, now)
          return touch && isTouchDue(record, now)
            ? Effect.flatMap(session, (session) => touched(session, record, now))
            : session
        }
        return callThen("read", () => backend.read(namespace, id), times.backend, open)
      })
    )

  const resolve = (token: Redacted.Redacted<string>, touch: boolean) =>
    Effect.withFiber((fiber) => load(Redacted.value(token), touch, fiber.getRef(Clock.Clock)))

  /** A session to change, with its record: what the caller holds already, or read now. */
  const start = (source: Redacted.Redacted<string> | Session<A>) =>
    Effect.suspend(() => {
      const session: Effect.Effect<Session<A>, SessionInvalid | Refused | SessionUnavailable> = "token" in source
        ? LiveSession.record(source) === undefined
          ? resolve(source.token, false)
          : Exit.succeed(source)
        : resolve(source, false)
      return Effect.mapEager(session, (session) => ({ session, record: LiveSession.record(session)! }))
    })

  // ---------------------------------------------------------------------------
  // Data
  // ---------------------------------------------------------------------------

  const principalOf = (data: A): string | undefined => {
    const principal = definition.principal?.(data)
    if (principal === undefined) return undefined
    // A character of UTF-16 takes three bytes of UTF-8 at most.
    const isTooLong = principal.length > 85 && utf8.encode(principal).length > 256
    if (principal === "" || isTooLong || principal.includes("\0") || !principal.isWellFormed()) {
      throw new SessionDataError({ problem: "the principal must have 1 to 256 bytes of UTF-8, without NUL" })
    }
    return principal
  }

  /** On the spot, and so only within an effect: the schema and `principal` are the user's own, and may throw. */
  const encode = (
    data: A
  ): Exit.Exit<{ readonly value: A; readonly text: string; readonly principal: string | undefined }> => {
    const encoded = codec.encode(data)
    if (Result.isFailure(encoded)) return Exit.die(encoded.failure)
    const { text, value } = encoded.success
    return Exit.succeed({ text, value, principal: principalOf(value) })
  }

  const encodeFor = (record: SessionRecord, data: A) => {
    const encoded = encode(data)
    return Exit.isFailure(encoded) || encoded.value.principal === record.principal
      ? encoded
      : Exit.die(
          new SessionDataError({
            problem: "the principal of a session never changes; to log somebody in or out, create a new session"
          })
        )
  }

  // ---------------------------------------------------------------------------
  // Writes
  // ---------------------------------------------------------------------------

  const duration = (name: string, given: Duration.Input | undefined, most: number): number => {
    if (given === undefined) return most
    const millis = Option.match(Duration.fromInput(given), { onNone: () => NaN, onSome: Duration.toMillis })
    if (!(millis >= 1)) throw new SessionDataError({ problem: `${name} must be a duration above zero` })
    return Math.min(Math.floor(millis), most)
  }

  const create: SessionManager<A, R>["create"] = (data, options) =>
    Effect.uninterruptible(
      Clock.clockWith((clock) =>
        Effect.flatMapEager(encode(data), ({ principal, text, value }) => {
          const idleTimeout = duration("idleTimeout", options?.idleTimeout, times.idle)
          const absoluteTimeout = duration("absoluteTimeout", options?.absoluteTimeout, times.absolute)
          /** With a fresh id and secret each time: an id that is taken is left to its owner. */
          const attempt = (left: number): Effect.Effect<Session<A>, SessionUnavailable> =>
            Effect.flatMap(randomly(SessionToken.randomClaims), (claims) =>
              Effect.flatMapEager(sha256(claims.secret), (secretHash) =>
                Effect.flatMapEager(tokens.issue(claims), (token) => {
                  const now = clock.currentTimeMillisUnsafe()
                  const record: SessionRecord = {
                    namespace,
                    id: claims.id,
                    secretHash,
                    version: 1,
                    principal,
                    data: text,
                    dataVersion: definition.dataVersion,
                    extension: "",
                    createdAt: now,
                    authenticatedAt: now,
                    lastSeenAt: now,
                    idleTimeout,
                    idleExpiresAt: now + Math.min(idleTimeout, absoluteTimeout),
                    absoluteExpiresAt: now + absoluteTimeout,
                    persistent: (options?.cookie ?? "persistent") === "persistent"
                  }
                  return callThen(
                    "create",
                    () => backend.create(record),
                    times.backend,
                    (result) =>
                      result === "created"
                        ? Exit.succeed(snapshot(record, value, token))
                        : left > 1
                          ? attempt(left - 1)
                          : failed("create", "notApplied", { _tag: "FreshIdTaken" })
                  )
                })
              )
            )
          return attempt(3)
        })
      )
    )

  /** Full jitter: anything up to 100 milliseconds, growing with the rounds. */
  const pause = (round: number): Effect.Effect<void> =>
    Effect.interruptible(
      Effect.flatMap(Random.next, (fraction) => Effect.sleep(Math.floor(fraction * Math.min(100, 5 * 2 ** round))))
    )

  /** A newer version met on the way is checked like any other. Nothing has been written yet, so this may be interrupted. */
  const again = (record: SessionRecord, before: Session<A>) =>
    Effect.interruptible(Effect.flatMap(Clock.currentTimeMillis, (now) => admit(record, LiveSession.text(before), now)))

  /**
   * A compare-and-set, retried while others are faster. `next` answers the patch for the session as it is now, or
   * nothing if there is nothing to write.
   */
  const change = <B>(
    source: Redacted.Redacted<string> | Session<A>,
    next: (session: Session<A>, record: SessionRecord) => Effect.Effect<readonly [B, Write<A> | undefined]>
  ): Effect.Effect<readonly [B, Session<A>], SessionInvalid | Refused | SessionConflict | SessionUnavailable> =>
    Effect.flatMap(start(source), (held) =>
      Clock.clockWith((clock) => {
        const arrived = clock.currentTimeMillisUnsafe()
        type Changed = Effect.Effect<
          readonly [B, Session<A>],
          SessionInvalid | Refused | SessionConflict | SessionUnavailable
        >
        const attempt = (record: SessionRecord, session: Session<A>, began: number, round: number): Changed => {
          const now = clock.currentTimeMillisUnsafe()
          if (now >= expiryOf(record)) return expired
          return Effect.flatMapEager(next(session, record), ([answer, write]): Changed => {
            if (write === undefined) return Exit.succeed([answer, session])
            if (record.dataVersion > definition.dataVersion) return conflict
            return callThen(
              "update",
              () => backend.update(namespace, record.id, record.version, { ...write.patch, ...seen(record, now) }),
              remaining(arrived, now),
              (result): Changed => {
                if (result._tag === "gone") return notFound
                if (result._tag === "updated") {
                  return Exit.succeed([answer, snapshot(result.record, write.value, LiveSession.text(session))])
                }
                if (result.record.secretHash !== record.secretHash) return notFound
                if (round > 0 && now - began >= contentionLimit) return conflict
                return Effect.flatMap(round > 0 ? pause(round) : Effect.void, () =>
                  Effect.flatMap(again(result.record, session), (session) =>
                    attempt(result.record, session, began, round + 1)
                  )
                )
              }
            )
          })
        }
        const first = Effect.suspend(() => attempt(held.record, held.session, clock.currentTimeMillisUnsafe(), 0))
        return oneAtATime(held.record.id, times.backend, first, unavailable.notApplied)
      })
    )

  const modify: SessionManager<A, R>["modify"] = <B>(
    source: Redacted.Redacted<string> | Session<A>,
    f: (data: A) => readonly [B, A]
  ) =>
    change(source, (session, record) => {
      const [answer, data] = f(session.data)
      return data === session.data
        ? Exit.succeed([answer, undefined] as const)
        : Effect.mapEager(
            encodeFor(record, data),
            ({ text, value }) =>
              [answer, { patch: { data: text, dataVersion: definition.dataVersion }, value }] as const
          )
    })

  const replace: SessionManager<A, R>["replace"] = Effect.fnUntraced(function* (given, data) {
    const { record } = yield* start(given)
    const { text, value } = yield* encodeFor(record, data)
    const now = yield* Clock.currentTimeMillis
    if (now >= expiryOf(record)) return yield* expired
    if (record.dataVersion > definition.dataVersion) return yield* conflict
    const patch = { data: text, dataVersion: definition.dataVersion, ...seen(record, now) }
    const result = yield* call("update", () => backend.update(namespace, record.id, given.version, patch))
    if (result._tag === "gone") return yield* notFound
    if (result._tag === "updated") return snapshot(result.record, value, LiveSession.text(given))
    return yield* result.record.secretHash === record.secretHash ? conflict : notFound
  }, Effect.uninterruptible)

  const rotate: SessionManager<A, R>["rotate"] = (source) =>
    Effect.flatMap(Effect.all([start(source), Clock.currentTimeMillis]), ([{ record: held, session }, arrived]) =>
      oneAtATime(
        held.id,
        times.backend,
        Effect.gen(function* () {
          const secret = yield* randomly(SessionToken.randomSecret)
          const secretHash = yield* sha256(secret)
          const token = yield* tokens.issue({ id: held.id, secret })
          const began = yield* Clock.currentTimeMillis
          let record = held
          let data = session.data
          for (let round = 0; ; round++) {
            const now = yield* Clock.currentTimeMillis
            if (now >= expiryOf(record)) return yield* expired
            const { id, version } = record
            const at = seen(record, now)
            const set = () => backend.update(namespace, id, version, { secretHash, ...at })
            const result = yield* Effect.catchIf(
              call("update", set, remaining(arrived, now)),
              (error) => error.outcome === "unknown",
              // The same again: if the first one was carried out after all, the answer shows our own hash.
              // If that fails, whatever it says of itself, the first may have been carried out.
              () =>
                Effect.flatMap(Clock.currentTimeMillis, (now) =>
                  Effect.catch(call("update", set, remaining(arrived, now)), () => unavailable.unknown)
                )
            )
            if (result._tag === "gone") return yield* notFound
            if (result.record.secretHash === secretHash) {
              // Where somebody wrote since the first try was carried out, the data at hand are no longer the newest.
              return result.record.version === record.version + 1
                ? snapshot(result.record, data, token)
                : yield* admit(result.record, token, now)
            }
            if (result.record.secretHash !== record.secretHash) return yield* notFound
            if (round > 0) {
              if (now - began >= contentionLimit) return yield* conflict
              yield* pause(round)
            }
            record = result.record
            data = (yield* again(record, session)).data
          }
        }),
        unavailable.notApplied
      )
    )

  const remove = (id: string, options?: { readonly principal?: string | undefined }) =>
    callDelete("delete", () => backend.delete(namespace, id, options))

  /** How to end the session of a token, if the token was issued here. */
  const ending = (token: string): Effect.Effect<Effect.Effect<void, SessionUnavailable> | undefined> =>
    matchEager(
      tokens.check(token),
      () => Exit.succeed(undefined),
      ({ id }) => Exit.succeed(Effect.asVoid(remove(id)))
    )

  const list: SessionManager<A, R>["list"] = Effect.fnUntraced(function* (principal) {
    const found: Array<SessionInfo<A>> = []
    const now = yield* Clock.currentTimeMillis
    let after: string | undefined
    do {
      const page = yield* call("listByPrincipal", () =>
        backend.listByPrincipal(namespace, principal, { limit: pageSize, after })
      )
      for (const record of page.records) {
        if (now >= expiryOf(record)) continue
        const decoded = codec.decode(record.data)
        if (decoded !== undefined) found.push(infoOf(snapshot(record, decoded.value, "")))
      }
      after = page.next
    } while (after !== undefined && found.length < maxListed)
    return found.sort((a, b) => b.createdAt.epochMilliseconds - a.createdAt.epochMilliseconds).slice(0, maxListed)
  })

  const manager: SessionManager<A, R> = {
    create,
    resolve: (token) => resolve(token, true),
    modify,
    replace,
    rotate,
    destroy: (token) =>
      // Not a token of ours: there is nothing to end.
      Effect.suspend(() => Effect.flatMapEager(ending(Redacted.value(token)), (ending) => ending ?? Exit.void)),
    list,
    // Without an owner this would be `revokeAny`, and types do not bind every caller.
    revoke: (id, owner) => (typeof owner.principal === "string" ? remove(id, owner) : Effect.succeed(false)),
    revokeAny: (id) => remove(id),
    revokeAll: (principal, options) =>
      callDelete("deleteByPrincipal", () => backend.deleteByPrincipal(namespace, principal, options))
  }
  return withTexts(manager, {
    resolve: (text, clock) => load(text, true, clock),
    ending
  })
})

/**
 * Layer that deletes expired records from the backend now and then, for as long as the application runs.
 *
 * **When to use**
 *
 * Use with SQL backends, in one process or in all of them. Memory and Redis collect expired sessions by themselves.
 *
 * **Details**
 *
 * Each round deletes batch after batch until one is not full. A round that fails is logged, and the next one goes on.
 * The pause between rounds is jittered, so that many processes do not sweep at once.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSweeper = (options?: {
  /** @default 5 minutes */
  readonly interval?: Duration.Input | undefined
  /** How many records one statement deletes at most. @default 1000 */
  readonly batch?: number | undefined
}): Layer.Layer<never, never, SessionBackend> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const backend = yield* SessionBackend
      const limit = options?.batch ?? 1000
      const round = Effect.gen(function* () {
        let deleted: number
        do {
          const before = yield* Clock.currentTimeMillis
          deleted = yield* bounded(backend.deleteExpired({ before, limit }), 30_000, () =>
            Exit.fail(
              new SessionBackendError({ operation: "deleteExpired", outcome: "unknown", cause: { _tag: "TimedOut" } })
            )
          )
        } while (deleted >= limit)
      }).pipe(
        Effect.catchCause((cause) =>
          Effect.logWarning("sweeping expired sessions failed").pipe(
            Effect.annotateLogs({ cause: describeCause(Cause.squash(cause)) })
          )
        )
      )
      yield* round.pipe(
        Effect.repeat(Schedule.jittered(Schedule.spaced(options?.interval ?? "5 minutes"))),
        Effect.forkScoped
      )
    })
  )
