/**
 * The request's session: one handle for each request and definition, whichever middlewares meet on a route (laws 1 to 4,
 * 7 and 8).
 *
 * Every member is an Effect, or a function that answers one, and does nothing until that runs. Functions come from
 * getters, so that a handler may take them out of the session without binding them.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Semaphore from "effect/Semaphore"
import type {
  Changed,
  CreateOptions,
  Loaded,
  Refusal,
  RequestSession,
  Session,
  SessionId,
  Tagged,
  Unauthenticated
} from "../../Session.ts"
import { SessionMissing } from "../../SessionError.ts"
import type { SessionConflict, SessionInvalid, SessionStale, SessionUnavailable } from "../../SessionError.ts"
import type { Credential } from "../../SessionFrontend.ts"
import { errorOf, failure } from "../exit.ts"
import { carriedBy } from "../frontend/carried.ts"
import { betweenLooks } from "../manager/ended.ts"
import * as Span from "../session/span.ts"
import { textOf } from "../token/redacted.ts"
import { type Binding, refused } from "./binding.ts"
import { chooseSession, endSessions, extractFrom, idOf } from "./credentials.ts"
import { staleness } from "./freshness.ts"
import { isAdoptable, isSameOriginOrNavigation, LogIn, type Restore } from "./logIn.ts"
import { makeRespondable } from "./refusal.ts"
import { type Answer, ResponseHeaders } from "./responseHeaders.ts"

export const sessionMissing = new SessionMissing()
const missing = failure(sessionMissing)
const refusedAsMissing = Effect.andThen(Span.refused(sessionMissing), missing)

type Outcome<A, R extends ReadonlyArray<Tagged>> = Exit.Exit<
  Session<A>,
  SessionMissing | SessionInvalid | Refusal<R> | SessionUnavailable
>

/** A change of a session that there is. */
type Change<B, R extends ReadonlyArray<Tagged>> = Effect.Effect<
  B,
  SessionInvalid | Refusal<R> | SessionConflict | SessionUnavailable
>

/** What a change answers, and the session that `get` answers from then on. */
type Kept<B, A> = readonly [answer: B, session: Session<A>]

/** Remembers when a request begins, in nanoseconds. The time of day is asked only when that is wanted: it is dear. */
export const beginning = (clock: Clock.Clock): (() => bigint) => {
  const start = clock.monotonicTimeNanosUnsafe()
  return () => clock.currentTimeNanosUnsafe() - (clock.monotonicTimeNanosUnsafe() - start)
}

/** Of a change that answers the session itself. */
const itself = <A>(session: Session<A>): Kept<Session<A>, A> => [session, session]

export class RequestSessionLive<Self, A, R extends ReadonlyArray<Tagged>> implements RequestSession<A, R> {
  // Private, all of it: printing the session must not print the request's headers, with the token in them.
  readonly #request: HttpServerRequest
  readonly #binding: Binding<Self, A, R>
  readonly #headers: ResponseHeaders
  /** What `get` answers, once it is known. */
  #state: Outcome<A, R> | undefined = undefined
  #isReading = false
  /** Done when the read that is under way has ended; there if another fiber waits for it. */
  #readEnded: Deferred.Deferred<void> | undefined
  #lock: Semaphore.Semaphore | undefined
  /** When the request began, or when it ended the principal's sessions: in nanoseconds. */
  #began: () => bigint
  #isRefused = false
  /** Whether the session of another library that the request carries has become ours, has ended, or is none. */
  #isSettled = false
  /** Whether the look at the session keeps it alive. */
  #touch = true
  /** The call of RPC that the handle was made for, which is not all that its request carries. */
  readonly #call: object | undefined

  constructor(
    request: HttpServerRequest,
    binding: Binding<Self, A, R>,
    began: () => bigint,
    answer: Answer = "response",
    call?: object
  ) {
    this.#request = request
    this.#binding = binding
    this.#headers = new ResponseHeaders(request, binding, answer)
    this.#began = began
    this.#call = call
  }

  /** For a route that does not keep the session alive: a first look from now on does not touch it. */
  withoutTouch(): void {
    this.#touch = false
  }

  /** Whether a request is this one: a middleware may have rewritten it, but neither its method nor its credentials. */
  isOf(request: HttpServerRequest): boolean {
    const own = this.#request
    return (
      own === request ||
      (own.source === request.source &&
        own.method === request.method &&
        this.#binding.policy.vary.every((name) => {
          const header = name.toLowerCase()
          return own.headers[header] === request.headers[header]
        }))
    )
  }

  /** Whether this is the handle of a call of RPC. */
  isOfCall(call: object): boolean {
    return this.#call === call
  }

  /** Whether this is the handle that a middleware with these services would make for its request. */
  hasServices({ frontend, manager }: { readonly frontend: object; readonly manager: object }): boolean {
    return this.#binding.manager === manager && this.#binding.frontend === frontend
  }

  /** Says of a refusal that the manager does not know of: on the current span, and to the handler of one a request. */
  refused(error: Parameters<typeof refused>[1]): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.#isRefused) return Span.refused(error)
      this.#isRefused = true
      return refused(this.#binding.frontend, error)
    })
  }

  get #onRefused(): ((error: SessionInvalid) => Effect.Effect<void>) | undefined {
    return this.#binding.frontend.onRefused && ((error) => this.refused(error))
  }

  finish(response: HttpServerResponse): Effect.Effect<HttpServerResponse> {
    return this.#headers.finish(response)
  }

  // ---------------------------------------------------------------------------
  // Reading
  // ---------------------------------------------------------------------------

  get get(): Loaded<Session<A>, R> {
    return Effect.tapError(this.#asked, Span.refused)
  }

  get #asked(): Loaded<Session<A>, R> {
    return Effect.suspend(() => this.load(this.#began))
  }

  /** What `get` does, for a fiber that runs it at once: answered once, and shared by all who ask meanwhile. */
  load(arrived?: () => bigint): Loaded<Session<A>, R> {
    if (this.#state !== undefined) return this.#state
    if (this.#isReading) {
      this.#readEnded ??= Deferred.makeUnsafe<void>()
      return Effect.andThen(Deferred.await(this.#readEnded), this.#asked)
    }
    if (this.#headers.isShared) return this.#headers.tooLate("the session was first read", "read it")
    this.#headers.isReading = true
    let isOurs = false
    const { frontend } = this.#binding
    const { adopt } = frontend
    const extracted = extractFrom(frontend, this.#request, this.#onRefused)
    const looked = Effect.flatMap(extracted, (credentials): Loaded<Session<A>, R> => {
      // Another fiber may have been faster.
      if (this.#state !== undefined || this.#isReading) return this.load()
      isOurs = this.#isReading = true
      return this.#resolve(credentials, arrived)
    })
    return Effect.onExitPrimitive(
      adopt === undefined
        ? looked
        : Effect.catch(looked, (error): Loaded<Session<A>, R> => {
            if (this.#state !== undefined || (this.#isReading && !isOurs)) return this.load()
            isOurs = this.#isReading = true
            return isAdoptable(error) && this.#headers.canIssue && isSameOriginOrNavigation(this.#request)
              ? this.#settling(this.#logIn().adopt(adopt, error))
              : Effect.fail(error)
          }),
      (exit) => {
        if (isOurs || !this.#isReading) this.#learn(exit)
        return undefined
      }
    )
  }

  #resolve(
    credentials: readonly [Credential, ...ReadonlyArray<Credential>],
    began: (() => bigint) | undefined
  ): Loaded<Session<A>, R> {
    const arrived = began?.()
    const { manager } = this.#binding
    const touch = this.#touch
    if (credentials.length > 1) {
      return Effect.map(
        chooseSession(credentials, (token) => manager.resolve(token, { touch, arrived }), this.#onRefused),
        ([session, via]) => {
          this.#headers.via = via
          return session
        }
      )
    }
    const [{ isReplaceable = true, token, via }] = credentials
    this.#headers.via = via
    this.#headers.isHeld = !isReplaceable
    const rotate = isReplaceable && this.#headers.canIssue
    return Effect.flatMapEager(manager.resolve(token, { touch, rotate, arrived }), (session) =>
      // The token is passed on as it is, unless it was replaced.
      rotate && token !== session.token
        ? Effect.map(Clock.currentTimeMillis, (now) => {
            // A `create` or `destroy` that was faster has ended this one.
            if (this.#state === undefined) this.#headers.issueScheduled(session, now)
            return session
          })
        : Exit.succeed(session)
    )
  }

  #learn(exit: Outcome<A, R>): void {
    this.#isReading = this.#headers.isReading = false
    // A `create` or `destroy` that was faster knows better. An interrupted read has learnt nothing; the next one reads
    // again.
    if (this.#state === undefined && !(Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause))) this.#set(exit)
    if (Exit.isFailure(exit)) this.#note(exit.cause)
    const ended = this.#readEnded
    // Cleared first: those who wait run at once, and may wait again.
    this.#readEnded = undefined
    if (ended !== undefined) Deferred.doneUnsafe(ended, Exit.void)
  }

  get option(): Effect.Effect<Option.Option<Session<A>>, SessionUnavailable> {
    return Effect.matchEffect(this.#asked, {
      onSuccess: Effect.succeedSome,
      // No other failure of `get` leaves open whether there is a session.
      onFailure: (error): Effect.Effect<Option.Option<Session<A>>, SessionUnavailable> =>
        error._tag === "SessionUnavailable" ? Effect.fail(error as SessionUnavailable) : Effect.succeedNone
    })
  }

  get fresh(): RequestSession<A, R>["fresh"] {
    return (wanted) =>
      Effect.flatMap(this.get, (session) =>
        Effect.flatMap(Clock.currentTimeMillis, (now): Effect.Effect<Session<A>, SessionMissing | SessionStale> => {
          if (this.#isAnonymous(session)) return refusedAsMissing
          const problem = staleness(session, wanted, now)
          if (problem === undefined) return Effect.succeed(session)
          this.#headers.stale(problem)
          return Effect.andThen(this.refused(problem), Effect.fail(problem))
        })
      )
  }

  get ended(): RequestSession<A, R>["ended"] {
    return Effect.suspend(() => this.#endOf(this.get))
  }

  /** Waits for the end of the session that is read. A store that fails says nothing of it: it is asked again. */
  #endOf(read: Loaded<Session<A>, R>): RequestSession<A, R>["ended"] {
    return Effect.matchEffect(read, {
      onSuccess: (session) => this.#binding.manager.ended(session),
      onFailure: (error): RequestSession<A, R>["ended"] =>
        error._tag === "SessionUnavailable"
          ? Effect.flatMap(betweenLooks, () => this.#endOf(this.#readAgain()))
          : Effect.succeed(error as Unauthenticated | Refusal<R>)
    })
  }

  /** What `get` would answer had it not asked the store while that failed: its own answer stays. */
  #readAgain(): Loaded<Session<A>, R> {
    const state = this.#state
    if (state !== undefined && !(Exit.isFailure(state) && errorOf(state.cause)?._tag === "SessionUnavailable")) {
      return state
    }
    const { frontend, manager } = this.#binding
    return Effect.flatMap(frontend.extract(this.#request), (credentials) =>
      Effect.map(
        chooseSession(credentials, (token) => manager.resolve(token, { touch: false, arrived: this.#began() })),
        ([session]) => session
      )
    )
  }

  // ---------------------------------------------------------------------------
  // Changing: what a change answers is what `get` answers from then on
  // ---------------------------------------------------------------------------

  /** Changes of one request run one after the other, to their end, whatever becomes of the client. */
  #inTurn<B, E>(change: (restore: Restore) => Effect.Effect<B, E>): Effect.Effect<B, E> {
    return Effect.suspend(() => {
      this.#lock ??= Semaphore.makeUnsafe(1)
      return this.#lock.withPermit(
        Effect.uninterruptibleMask((restore) =>
          Effect.onExitPrimitive(change(restore), (exit) => {
            if (Exit.isFailure(exit)) this.#note(exit.cause)
            return undefined
          })
        )
      )
    })
  }

  #change<B, C>(f: (session: Session<A>) => Change<B, R>, keptOf: (result: B) => Kept<C, A>): Changed<C, R> {
    return this.#inTurn((restore) => Effect.flatMap(restore(this.get), (session) => this.#keep(f(session), keptOf)))
  }

  /** `get` answers the changed session from then on, or that it turned out to be gone. */
  #keep<B, C>(change: Change<B, R>, keptOf: (result: B) => Kept<C, A>): Changed<C, R> {
    return Effect.matchCauseEffect(change, {
      onFailure: (cause) => {
        const error = errorOf(cause)
        if (error?._tag === "SessionInvalid") this.#lost(error as SessionInvalid)
        return Effect.failCause(cause)
      },
      onSuccess: (result) => {
        const [answer, session] = keptOf(result)
        this.#set(Exit.succeed(session))
        return Effect.succeed(answer)
      }
    })
  }

  get update(): RequestSession<A, R>["update"] {
    return (f) =>
      this.#change(
        (session) => this.#binding.manager.modify(session, (data) => [undefined, f(data)]),
        ([, changed]) => itself(changed)
      )
  }

  get modify(): RequestSession<A, R>["modify"] {
    return (f) => this.#change((session) => this.#binding.manager.modify(session, f), identity)
  }

  get replace(): RequestSession<A, R>["replace"] {
    return (data) => this.#change((session) => this.#binding.manager.replace(session, data), itself)
  }

  get rotate(): RequestSession<A, R>["rotate"] {
    return this.#change((session) => this.#rotated(session), itself)
  }

  #rotated(session: Session<A>): Change<Session<A>, R> {
    return this.#headers.before("rotate", this.#headers.issued?.cookie, () =>
      Effect.flatMap(this.#binding.manager.rotate(session), (rotated) => {
        const cookie = this.#headers.issued?.cookie
        // The response may have gone meanwhile, without the token.
        return this.#headers.before("rotate", cookie, () => {
          this.#headers.issue(rotated, cookie)
          return Exit.succeed(rotated)
        })
      })
    )
  }

  get describe(): RequestSession<A, R>["describe"] {
    return (client) => this.#change((session) => this.#binding.manager.describe(session, client), itself)
  }

  get create(): RequestSession<A, R>["create"] {
    const create = (
      data: A | ((before: Option.Option<A>) => A),
      options?: CreateOptions
    ): Effect.Effect<Session<A>, SessionInvalid | SessionConflict | SessionUnavailable> =>
      this.#inTurn((restore) =>
        this.#headers.before("create", options?.cookie, () => this.#logIn().create(data, options, restore))
      )
    // One function stands for both overloads, of which only the one with a function may meet a conflict.
    return create as RequestSession<A, R>["create"]
  }

  get reauthenticate(): RequestSession<A, R>["reauthenticate"] {
    return (options) =>
      this.#change(
        (session) =>
          this.#headers.before("reauthenticate", this.#headers.issued?.cookie, () =>
            this.#logIn().reauthenticate(session, options)
          ),
        itself
      )
  }

  #logIn() {
    return new LogIn<Self, A, R>({
      request: this.#request,
      binding: this.#binding,
      headers: this.#headers,
      began: this.#began(),
      option: () => this.option,
      answer: () => this.#state,
      current: () => this.#current,
      set: (created) => this.#set(Exit.succeed(created)),
      lost: (error) => this.#lost(error),
      endCarried: (carried, replaced) => this.#endCarried("replaced", carried, replaced)
    })
  }

  get destroy(): RequestSession<A, R>["destroy"] {
    return this.#inTurn(() => {
      const wasIssued = this.#headers.issued !== undefined
      return Effect.flatMap(carriedBy(this.#binding.frontend, this.#request), (carried) =>
        Effect.map(this.#endCarried("logout", carried), (isOurs) => {
          if (isOurs || wasIssued) this.#headers.detach()
        })
      )
    })
  }

  /**
   * Ends the session this request has, but for one that another is to replace, then those whose tokens it carries besides:
   * `get` finds none from then on. Answers whether it carried a token of ours.
   */
  #endCarried(
    why: "logout" | "replaced",
    carried: ReadonlyArray<Credential>,
    replaced?: Session<A>
  ): Effect.Effect<boolean, SessionUnavailable> {
    return Effect.suspend(() => {
      const { definition, manager } = this.#binding
      const destroy = (token: Credential["token"]) => manager.destroy(token, { why })
      const endOwn = ({ token }: Session<A>) =>
        Effect.map(destroy(token), () => {
          this.#headers.issued = undefined
          this.#set(missing)
        })
      // The store of another library may be down: what is ours ends all the same.
      return Effect.flatMapEager(Effect.exit(this.#disown(replaced)), (disowned) => {
        const current = replaced ?? this.#current
        const isOwn = ({ token }: Credential) => current !== undefined && textOf(token) === textOf(current.token)
        const own = carried.find(isOwn)
        // A token that it had before a rotation would end the one that is to be replaced.
        const others = carried.filter((credential) => !isOwn(credential) && idOf(credential) !== replaced?.id)
        const endOthers = () =>
          Effect.flatMapEager(endSessions(others, destroy, definition.key), (via) => {
            this.#headers.via ??= own?.via ?? via ?? others[0]?.via
            const isOurs = Effect.mapEager(disowned, () => own !== undefined || via !== undefined)
            if (replaced !== undefined) return isOurs
            // A read that was under way may have made another library's session ours meanwhile; from here on none does.
            const late = this.#current
            if (late !== undefined) return Effect.flatMap(endOwn(late), () => isOurs)
            if (Exit.isSuccess(disowned)) this.#set(missing)
            return isOurs
          })
        return current === undefined || replaced !== undefined
          ? endOthers()
          : Effect.flatMap(endOwn(current), endOthers)
      })
    })
  }

  #settling(adopting: Loaded<Session<A>, R>): Loaded<Session<A>, R> {
    return Effect.onExitPrimitive(adopting, (exit) => {
      const tag = Exit.isSuccess(exit) ? undefined : errorOf(exit.cause)?._tag
      // One that could not be made may be made yet, and one that is refused is there.
      this.#isSettled = Exit.isSuccess(exit) || tag === "SessionMissing" || tag === "SessionInvalid"
      return undefined
    })
  }

  /** Ends another library's session that the request carries, so that its cookie brings no user back after a log-out. */
  #disown(replaced: Session<A> | undefined): Effect.Effect<unknown, SessionUnavailable> {
    const { frontend, manager } = this.#binding
    if (this.#isSettled || frontend.adopt === undefined) return Effect.void
    const disowning = Effect.flatMap(frontend.adopt(this.#request), (adopted) =>
      Option.isSome(adopted) && adopted.value.from !== undefined
        ? manager.disown(adopted.value.from, { except: replaced?.id })
        : Effect.void
    )
    return Effect.tap(disowning, () => Effect.sync(() => (this.#isSettled = true)))
  }

  // ---------------------------------------------------------------------------
  // The principal's sessions
  // ---------------------------------------------------------------------------

  #withOwner<B, E>(
    f: (principal: string, session: Session<A>) => Effect.Effect<B, E>
  ): Effect.Effect<B, E | SessionMissing | SessionInvalid | Refusal<R> | SessionUnavailable> {
    const { key, principal } = this.#binding.definition
    if (principal === undefined) {
      return Effect.die(new Error(`${key}: no session belongs to a user; give the definition a \`principal\``))
    }
    return this.#inTurn(() =>
      Effect.flatMap(this.get, (session): Effect.Effect<B, E | SessionMissing> =>
        Option.isSome(session.principal) ? f(session.principal.value, session) : refusedAsMissing
      )
    )
  }

  get list(): RequestSession<A, R>["list"] {
    return this.#withOwner((principal, session) =>
      Effect.map(this.#binding.manager.list(principal), (infos) =>
        infos.map((info) => ({ ...info, current: info.id === session.id }))
      )
    )
  }

  get revoke(): RequestSession<A, R>["revoke"] {
    return (id) =>
      this.#withOwner((principal, session) =>
        Effect.flatMap(this.#binding.manager.revoke(id, { principal }), (revoked) => {
          if (id !== session.id) return Effect.succeed(revoked)
          // The cookie stays (law 6), but no token of this session is set any more.
          this.#headers.issued = undefined
          this.#set(missing)
          return Effect.as(this.#disown(undefined), revoked)
        })
      )
  }

  get revokeOthers(): RequestSession<A, R>["revokeOthers"] {
    return this.#withOwner((principal, session) =>
      Effect.flatMap(this.#keep(this.#rotated(session), itself), (rotated) => this.#revoked(principal, rotated.id))
    )
  }

  get revokeAll(): RequestSession<A, R>["revokeAll"] {
    const { manager } = this.#binding
    return this.#withOwner((principal, session) =>
      Effect.gen({ self: this }, function* () {
        // As in a log-out: this browser's old cookie must not bring the user back.
        const disowned = yield* Effect.exit(this.#disown(undefined))
        // This session is the last to go: with it the request could not be sent again if the store fails on the way.
        const others = yield* this.#revoked(principal, session.id)
        const rest = yield* manager.revokeAll(principal, { before: this.#began() })
        this.#headers.detach()
        this.#set(missing)
        yield* disowned
        return others + rest
      })
    )
  }

  /** Ends all but one. What this request makes from then on began after that. */
  #revoked(principal: string, except: SessionId): Effect.Effect<number, SessionUnavailable> {
    return Effect.flatMap(Clock.currentTimeNanos, (before) =>
      Effect.tap(this.#binding.manager.revokeAll(principal, { except, before }), () =>
        Effect.sync(() => {
          this.#began = () => before
        })
      )
    )
  }

  // ---------------------------------------------------------------------------
  // Common to the above
  // ---------------------------------------------------------------------------

  /** Whether the session is a visitor's, where the definition knows users. */
  #isAnonymous(session: Session<A>): boolean {
    return this.#binding.definition.principal !== undefined && Option.isNone(session.principal)
  }

  get #current(): Session<A> | undefined {
    return this.#state !== undefined && Exit.isSuccess(this.#state) ? this.#state.value : undefined
  }

  /** The session turned out to be gone. A log-in that was superseded has left it as it was. */
  #lost(error: SessionInvalid): void {
    if (error.reason !== "Superseded") this.#set(Exit.fail(error))
  }

  #set(state: Outcome<A, R>): void {
    this.#state = state
    this.#headers.read(!(Exit.isFailure(state) && errorOf(state.cause)?._tag === "SessionMissing"))
  }

  /** Tells the response how an operation failed. */
  #note(cause: Cause.Cause<unknown>): void {
    const error = errorOf(cause)
    if (Predicate.isTagged(error, "SessionUnavailable")) this.#headers.unavailable()
    else if (Predicate.isObject(error)) makeRespondable(this.#binding.definition.refused, error)
  }

  /** Whether the response's headers are made, or never will be. */
  get isSealed(): boolean {
    return this.#headers.isSealed
  }
}
