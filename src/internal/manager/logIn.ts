/**
 * Making sessions: alone, or in place of another.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type { CreateOptions, Refusal, Session, SessionManager, Tagged } from "../../Session.ts"
import type { SessionRecord } from "../../SessionBackend.ts"
import type { SessionInvalid, SessionConflict, SessionUnavailable } from "../../SessionError.ts"
import { errorOf } from "../exit.ts"
import * as Token from "../token/token.ts"
import type { Claim } from "./adoption.ts"
import * as CompareAndSet from "./compareAndSet.ts"
import { undo } from "./deadline.ts"
import * as Extension from "./extension.ts"
import * as Fence from "./fence.ts"
import { LiveSession, withoutToken } from "./liveSession.ts"
import { isInvalid, type Looks, noTouch, notFound } from "./look.ts"
import { maxListed, pageSize, type Parts } from "./parts.ts"
import type * as SessionData from "./sessionData.ts"

/** When the user proved who they are, where another library does not say when: too long ago for any route that asks. */
export const unproved = DateTime.makeUnsafe(0)

/** How many fresh ids `create` tries. */
const maxAttempts = 3

/** How often, and how long, it is tried to take a seal off again. */
const unsealing = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("5 seconds")]).pipe(
  Schedule.upTo({ duration: "15 minutes" })
)

/** How long a request waits between two looks for what another is adopting, in milliseconds. */
const roundTime = 50

const noIds = Effect.succeed<ReadonlyArray<string | undefined>>([])
const noRecords: ReadonlyArray<SessionRecord> = []
const noFactors: ReadonlyArray<Extension.FactorTime> = []

/** The options of a new session, and the proofs of the one it replaces. */
interface NewSession extends CreateOptions {
  readonly factors?: ReadonlyArray<Extension.FactorTime>
  /** @default made for it */
  readonly claims?: Token.Claims
}

/** The token of a session, and what the store keeps of it. */
interface NewToken {
  readonly id: string
  readonly secretHash: string
  readonly token: Redacted.Redacted<string>
}

export const make = <A, R extends ReadonlyArray<Tagged>>(
  parts: Parts<A>,
  { held, load, opened, withoutVerifier }: Looks<A, Refusal<R>>,
  compareAndSet: CompareAndSet.CompareAndSet<A, Refusal<R>>
): Pick<SessionManager<A, R>, "adopt" | "create" | "createFrom" | "disown" | "reauthenticate"> => {
  const {
    adoption,
    copyOf,
    data,
    dataVersion,
    deadlines,
    end,
    events,
    fence,
    isLive,
    maxPerPrincipal,
    namespace,
    random
  } = parts
  const { sha256, snapshot, storage, times, tokens } = parts
  type Stored = Effect.Effect<LiveSession<A>, SessionUnavailable>
  const freshClaims = Token.randomClaims(random)
  let hasWarnedOfCut = false

  /** Takes back a session of which no client has had the token. */
  const takeBack = (id: string) => undo(storage.delete(id))

  /** The record of a new session. */
  const recordOf = (
    { principal, text }: SessionData.Encoded<A>,
    { id, secretHash }: NewToken,
    now: number,
    { factors = noFactors, ...options }: NewSession
  ): SessionRecord => {
    const authenticatedAt = options.authenticatedAt?.epochMilliseconds ?? now
    const passed = Extension.withMethods(factors, options.methods ?? [], authenticatedAt)
    return {
      ...deadlines.startingAt(now, options),
      authenticatedAt,
      namespace,
      id,
      secretHash,
      version: 1,
      principal,
      data: text,
      dataVersion,
      extension: Extension.format({
        factors: passed.length === 0 ? undefined : passed,
        client: options.client === undefined ? undefined : Extension.describedAs({}, options.client)
      }),
      persistent: (options.cookie ?? "persistent") === "persistent"
    }
  }

  const issue = (claims: Token.Claims): Effect.Effect<NewToken> =>
    Effect.flatMapEager(sha256(claims.secret), (secretHash) =>
      Effect.mapEager(tokens.issue(claims), (token) => ({ id: claims.id, secretHash, token }))
    )

  /** Stores a new session, with a fresh id and secret each time: an id that is taken is another session's. */
  const insert = (given: A, options: NewSession): Stored => {
    const claims = options.claims === undefined ? freshClaims : Effect.succeed(options.claims)
    const attempt = (encoded: SessionData.Encoded<A>, left: number): Stored =>
      Effect.flatMap(claims, (claims) =>
        Effect.flatMapEager(issue(claims), (issued) =>
          Clock.clockWith((clock) => store(encoded, issued, clock.currentTimeMillisUnsafe(), left))
        )
      )
    const store = (encoded: SessionData.Encoded<A>, issued: NewToken, now: number, left: number): Stored => {
      const record = recordOf(encoded, issued, now, options)
      return Effect.matchEffect(storage.create(record), {
        onFailure: (error) => {
          const failed = Effect.fail(error)
          // It may be there all the same, where it would count as the user's latest.
          return error.outcome === "unknown" ? Effect.andThen(takeBack(record.id), failed) : failed
        },
        onSuccess: (result) => {
          if (result === "created") return Effect.succeed(snapshot(record, encoded.value, issued.token, now))
          return left > 1
            ? attempt(encoded, left - 1)
            : storage.failed("create", "notApplied", { _tag: "FreshIdTaken" })
        }
      })
    }
    return Effect.flatMapEager(data.encode(given), (encoded) => attempt(encoded, maxAttempts))
  }

  /**
   * The principal's sessions of which `maxPerPrincipal` others were seen later, but for the one just made. The log-in that lists
   * last sees all of those made at once, so that too many of them remain for a moment at most, and never too few.
   */
  const overLimit = Effect.fnUntraced(function* (
    principal: string,
    own: string,
    replaced: ReadonlySet<string>,
    now: number
  ) {
    if (maxPerPrincipal === false) return []
    const live: Array<SessionRecord> = []
    let walked = 0
    let after: string | undefined
    do {
      // One more than are allowed: nearly everybody has fewer, so that the first page is the last one.
      const limit = walked === 0 ? Math.min(maxPerPrincipal + 1, pageSize) : pageSize
      const moreThan = after === undefined ? maxPerPrincipal : undefined
      const page = yield* storage.listByPrincipal(principal, { limit, after, moreThan })
      for (const record of page.records) {
        if (isLive(record, now) && !replaced.has(record.id)) live.push(record)
      }
      // A page may be empty and have a next one.
      walked += Math.max(1, page.records.length)
      after = page.next
      // One more than the highest limit.
    } while (after !== undefined && walked <= maxListed)
    return live
      .sort((a, b) => b.lastSeenAt - a.lastSeenAt || (a.id < b.id ? 1 : -1))
      .slice(maxPerPrincipal)
      .filter(({ id }) => id !== own)
  })

  /** Makes a session, unless the log-in began before the fence, and answers those that are over the limit by it. */
  const made = (given: A, options: NewSession, began: number, replaced: ReadonlySet<string>) =>
    Effect.flatMap(insert(given, options), (session) => {
      const principal = Option.getOrUndefined(session.principal)
      if (principal === undefined) return Effect.succeed({ session, over: noRecords })
      const over = Clock.clockWith((clock) => {
        const fenced = fence.check(principal, began, clock)
        const listed = overLimit(principal, session.id, replaced, clock.currentTimeMillisUnsafe())
        // A list that fails ends nothing: the next log-in sees to the limit.
        const limited = Effect.orElseSucceed(listed, () => noRecords)
        // A fence that is at hand is not waited for, and needs no fiber beside the list's. Narrowed, it would lose its error.
        const isAtHand: boolean = Exit.isExit(fenced)
        return isAtHand
          ? Effect.flatMapEager(fenced, () => limited)
          : Effect.map(Effect.all([fenced, limited], { concurrency: "unbounded" }), ([, over]) => over)
      })
      return Effect.tapCause(
        Effect.map(over, (over) => ({ session, over })),
        () => takeBack(session.id)
      )
    })

  /** If it fails, the next log-in ends them. */
  const endOver = (over: ReadonlyArray<SessionRecord>) => (over.length === 0 ? Effect.void : endEach(over))

  const endEach = Effect.fnUntraced(function* (over: ReadonlyArray<SessionRecord>) {
    const ended: Array<SessionRecord> = []
    const end = (record: SessionRecord) =>
      Effect.map(storage.delete(record.id), (deleted) => {
        if (deleted !== "absent") ended.push(record)
      })
    yield* Effect.ignore(Effect.forEach(over, end, { concurrency: 8, discard: true }))
    if (events !== undefined) yield* events.ended(ended, "limit")
  })

  /** Is told when nothing can stop the log-in any more. */
  const created = (session: LiveSession<A>): Effect.Effect<void> =>
    events === undefined ? Effect.void : events.tell({ _tag: "Created", session: withoutToken(session) })

  const warnOfCut = (options: CreateOptions): Effect.Effect<void> => {
    if (hasWarnedOfCut || !deadlines.isCut(options)) return Effect.void
    hasWarnedOfCut = true
    return Effect.annotateLogs(
      Effect.logWarning("a timeout given to create is longer than the layer's, and was cut to it; raise the layer's"),
      { namespace }
    )
  }

  /** Makes a session beside those of the tokens, which the caller ends next. */
  const createBeside = (
    replaces: ReadonlyArray<Redacted.Redacted<string>>,
    given: A,
    options: NewSession,
    began: number
  ) =>
    Effect.flatMapEager(
      replaces.length === 0 ? noIds : Effect.forEach(replaces, (token) => Token.idOf(tokens, token)),
      (ids) =>
        Effect.flatMap(made(given, options, began, new Set(ids.filter(Predicate.isString))), ({ over, session }) =>
          warnOfCut(options).pipe(
            Effect.flatMapEager(() => created(session)),
            Effect.flatMapEager(() => endOver(over)),
            Effect.mapEager(() => session)
          )
        )
    )

  const create: SessionManager<A, R>["create"] = (given, options = {}) =>
    Effect.uninterruptible(
      Effect.suspend(() =>
        Effect.flatMapEager(Fence.timeOf(options.began), (began) =>
          createBeside(options.replaces ?? [], given, options, began)
        )
      )
    )

  /**
   * Takes a seal off again: the session stands as it did before. Where the store is down it goes on trying, and the caller
   * does not wait for that: until it succeeds, no token opens the session.
   */
  const unseal = ({ extension, id, secretHash }: SessionRecord, hash: string) => {
    const read = Effect.suspend(() => storage.read(id))
    const once = Effect.flatMap(read, (found) => {
      // Ended meanwhile, or not sealed after all.
      if (Option.isNone(found) || found.value.secretHash !== hash) return Effect.void
      const { idleExpiresAt, lastSeenAt, version } = found.value
      return Effect.asVoid(
        storage.update(id, version, { secretHash, extension, idleExpiresAt, lastSeenAt }, times.backend)
      )
    })
    return undo(Effect.uninterruptible(Effect.retry(Effect.retry(once, { times: 1 }), unsealing)))
  }

  /**
   * Makes a session in place of another. First the old one is sealed: no token opens it, so that no update of it can be
   * answered from then on. If no session is made, the seal is taken off again.
   */
  const createInPlaceOf = Effect.fnUntraced(function* (
    before: LiveSession<A>,
    next: (sealed: LiveSession<A>) => readonly [data: A, NewSession],
    began: number
  ) {
    const hash = yield* Token.randomSecret(random)
    let open = LiveSession.record(before)
    const takeSealOff = Effect.suspend(() => unseal(open, hash))
    const sealing = compareAndSet(
      before,
      (session) =>
        Effect.flatMap(Clock.currentTimeMillis, (at) => {
          open = LiveSession.record(session)
          if (open.dataVersion > dataVersion) return CompareAndSet.conflict
          const extension = Extension.format({ ...Extension.parse(open), seal: { of: hash, at } })
          return Effect.succeed([
            undefined,
            { patch: { secretHash: hash, extension }, data: session.data, token: session.token }
          ])
        }),
      { admit: withoutVerifier, company: "alone" }
      // No verifier is asked, so none refuses.
    ) as Effect.Effect<readonly [undefined, LiveSession<A>], SessionInvalid | SessionConflict | SessionUnavailable>
    const [, sealed] = yield* Effect.tapError(sealing, (error) =>
      error._tag === "SessionUnavailable" && error.outcome === "unknown" ? takeSealOff : Effect.void
    )
    const { id } = sealed
    const { over, session } = yield* Effect.suspend(() => {
      const [value, options] = next(sealed)
      return made(value, options, began, new Set([id]))
    }).pipe(Effect.tapCause(() => takeSealOff))
    yield* created(session)
    // Nothing opens it any more, so a record that is left behind does no harm.
    const deleted = yield* Effect.orElseSucceed(storage.delete(id), () => "perhaps" as const)
    if (events !== undefined && deleted !== "absent") yield* events.ended([LiveSession.record(sealed)], "replaced")
    yield* endOver(over)
    return session
  })

  /**
   * What stands in place of a token for a log-in. A record that was sealed just now is another log-in's; one that was
   * sealed long ago was left by a crash, which must not lock a user out.
   */
  const standing = Effect.fnUntraced(function* (token: Redacted.Redacted<string>) {
    const claims = yield* Effect.option(tokens.check(token))
    if (Option.isNone(claims)) return Option.none<LiveSession<A>>()
    // One read: between two of them the seal may be taken off.
    const found = yield* storage.read(claims.value.id)
    if (Option.isNone(found)) return Option.none<LiveSession<A>>()
    const now = yield* Clock.currentTimeMillis
    if (Extension.isSealedNow(found.value, now)) return yield* notFound
    const hash = yield* sha256(claims.value.secret)
    return yield* Effect.matchEffect(opened(found.value, hash, token, now, noTouch), {
      onSuccess: Effect.succeedSome,
      onFailure: (error) =>
        error._tag === "SessionUnavailable"
          ? Effect.fail(error as SessionUnavailable)
          : Effect.succeed(Option.none<LiveSession<A>>())
    })
  })

  const tokenOf = (source: Redacted.Redacted<string> | Session<A>) =>
    Redacted.isRedacted(source) ? source : source.token

  const createFrom: SessionManager<A, R>["createFrom"] = (source, f, options = {}) =>
    Effect.uninterruptible(
      Effect.gen(function* () {
        const began = yield* Fence.timeOf(options.began)
        const before = yield* Redacted.isRedacted(source) || !LiveSession.is(source)
          ? standing(tokenOf(source))
          : Effect.succeedSome(source)
        if (Option.isNone(before)) {
          // A session that the verifier refuses is live, and what replaces it must end no other.
          return yield* createBeside([tokenOf(source)], f(Option.none()), options, began)
        }
        yield* warnOfCut(options)
        return yield* createInPlaceOf(before.value, (sealed) => [f(Option.some(copyOf(sealed))), options], began)
      })
    )

  const reauthenticate: SessionManager<A, R>["reauthenticate"] = (source, options = {}) =>
    Effect.uninterruptible(
      Effect.gen(function* () {
        const began = yield* Fence.timeOf(options.began)
        return yield* createInPlaceOf(
          yield* held(source),
          (sealed) => {
            const record = LiveSession.record(sealed)
            const extension = Extension.parse(record)
            return [
              sealed.data,
              {
                methods: options.methods,
                factors: Extension.factorsOf(extension),
                client: Extension.clientOf(extension),
                idleTimeout: record.idleTimeout,
                absoluteTimeout: record.absoluteExpiresAt - record.createdAt,
                cookie: record.persistent ? "persistent" : "browser"
              }
            ]
          },
          began
        )
      })
    )

  /** Claim and session take a call of the store each. */
  const patience = 2 * times.backend

  /** Two old sessions of one name would be one user's. */
  const named = <B, E>(from: string, effect: Effect.Effect<B, E>): Effect.Effect<B, E> =>
    from === ""
      ? Effect.die(new Error(`${namespace}: \`from\` is empty, and so names no session of the other library`))
      : Effect.uninterruptible(effect)

  /** Makes the session of an old one that is claimed. */
  const adopted = Effect.fnUntraced(function* (
    from: string,
    claim: Claim,
    secret: string,
    given: A,
    options: CreateOptions,
    began: number
  ) {
    const { id } = claim
    const authenticatedAt = options.authenticatedAt ?? unproved
    yield* createBeside([], given, { ...options, authenticatedAt, claims: { id, secret } }, began).pipe(
      Effect.tapCause((cause) =>
        Predicate.isTagged(errorOf(cause), "SessionInvalid")
          ? // A user's sessions that have ended meanwhile stay so.
            Effect.ignore(adoption.say(from, claim, { state: "made" }))
          : adoption.release(from, id)
      )
    )
    const takeBack = undo(end(id, "undone"))
    const said = yield* Effect.tapError(adoption.say(from, claim, { state: "made" }), () =>
      Effect.andThen(takeBack, adoption.release(from, id))
    )
    // A log-out was faster.
    if (Option.isNone(said)) yield* Effect.andThen(takeBack, notFound)
  })

  const adopt: SessionManager<A, R>["adopt"] = (from, given, options = {}) =>
    named(
      from,
      Effect.gen(function* () {
        const began = yield* Fence.timeOf(options.began)
        const start = yield* Clock.currentTimeMillis
        // What cannot be stored claims nothing.
        const { principal } = yield* data.encode(given)
        for (;;) {
          const claimed = yield* adoption.claim(from, "making")
          const { at, id, isNew, kid, state } = claimed
          const secret = yield* tokens.secretOf(kid, id, from)
          if (Option.isNone(secret)) return yield* notFound
          if (isNew) yield* adopted(from, claimed, secret.value, given, options, began)
          const exit = yield* Effect.exit(load(yield* tokens.issue({ id, secret: secret.value }), noTouch))
          const now = yield* Clock.currentTimeMillis
          // The claim's time may be another server's.
          if (isNew || state === "made" || !isInvalid(exit, "NotFound") || now - Math.min(start, at) >= patience) {
            const session = yield* exit
            // The old session has another user now.
            return Option.getOrUndefined(session.principal) === principal ? session : yield* notFound
          }
          yield* Effect.sleep(roundTime)
        }
      })
    )

  const disown: SessionManager<A, R>["disown"] = (from, { except } = {}) =>
    named(
      from,
      Effect.gen(function* () {
        for (;;) {
          const claimed = yield* adoption.claim(from, "made")
          const { id, isNew, state } = claimed
          if (isNew || id === except) return false
          if (state === "made") return yield* end(id, "logout")
          // From here on the request that is making it takes it back...
          const taken = yield* adoption.say(from, claimed, { state: "made" })
          if (Option.isNone(taken)) continue
          const isEnded = yield* end(id, "logout")
          // ... and until it has, nobody finds it.
          yield* adoption.say(from, taken.value, { id: yield* adoption.freshId })
          return isEnded
        }
      })
    )

  return { adopt, create, createFrom, disown, reauthenticate }
}
