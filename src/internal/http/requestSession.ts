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
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Semaphore from "effect/Semaphore"
import type { Changed, Loaded, Refusal, RequestSession, Session, Tagged } from "../../Session.ts"
import { SessionMissing, SessionStale } from "../../SessionError.ts"
import type { SessionConflict, SessionInvalid, SessionUnavailable } from "../../SessionError.ts"
import type { Credential } from "../../SessionFrontend.ts"
import { failure } from "../exit.ts"
import { carriedBy } from "../frontend/carried.ts"
import { withDeadline } from "../manager/deadline.ts"
import type { Binding } from "./binding.ts"
import { chooseSession, endSessions } from "./credentials.ts"
import { makeRespondable } from "./refusal.ts"
import { ResponseHeaders } from "./responseHeaders.ts"

export const sessionMissing = new SessionMissing()
const missing = failure(sessionMissing)

/** How long a log-in that failed waits for the deletion of the session it made, in milliseconds. The deletion goes on. */
const undoTimeout = 250

type Outcome<A, R extends ReadonlyArray<Tagged>> = Exit.Exit<
  Session<A>,
  SessionMissing | SessionInvalid | Refusal<R> | SessionUnavailable
>

/** A change of a session that there is. */
type Change<B, A, R extends ReadonlyArray<Tagged>> = Effect.Effect<
  readonly [answer: B, Session<A>],
  SessionInvalid | Refusal<R> | SessionConflict | SessionUnavailable
>

const errorOf = <E>(cause: Cause.Cause<E>): E | undefined => Option.getOrUndefined(Cause.findErrorOption(cause))

const twice = <S>(session: S): readonly [S, S] => [session, session]

export class RequestSessionLive<Self, A, R extends ReadonlyArray<Tagged>> implements RequestSession<A, R> {
  // Private, all of it: printing the session must not print the request's headers, with the token in them.
  readonly #request: HttpServerRequest
  readonly #binding: Binding<Self, A, R>
  readonly #headers: ResponseHeaders
  /** What `get` answers, once it is known. */
  #state: Outcome<A, R> | undefined = undefined
  #isReading = false
  /** Done when the read that is under way has ended; there if another fiber waits for it. */
  #readEnded: Deferred.Deferred<void> | undefined = undefined
  #lock: Semaphore.Semaphore | undefined = undefined
  /** Whether the response is this request's own, and can carry a new token. */
  readonly #canRotate: boolean
  #touches = true

  constructor(request: HttpServerRequest, binding: Binding<Self, A, R>, canRotate = true) {
    this.#request = request
    this.#binding = binding
    this.#canRotate = canRotate
    this.#headers = new ResponseHeaders(binding)
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

  /** Whether this is the handle that a middleware with these services would make for its request. */
  hasServices({ frontend, manager }: { readonly frontend: object; readonly manager: object }): boolean {
    return this.#binding.manager === manager && this.#binding.frontend === frontend
  }

  /** An open route does not keep the session alive: a first read from now on does not touch it. */
  withoutTouch(): void {
    this.#touches = false
  }

  /** stub */
  get canRotate(): boolean {
    return this.#canRotate
  }

  finish(response: HttpServerResponse): Effect.Effect<HttpServerResponse> {
    return this.#headers.finish(response)
  }

  // ---------------------------------------------------------------------------
  // Reading
  // ---------------------------------------------------------------------------

  get get(): Loaded<Session<A>, R> {
    return Effect.suspend(() => this.load())
  }

  /** What `get` does, for a fiber that runs it at once: answered once, and shared by all who ask meanwhile. */
  load(options?: { readonly touch?: boolean | undefined }): Loaded<Session<A>, R> {
    if (options?.touch === false) this.#touches = false
    if (this.#state !== undefined) return this.#state
    if (this.#isReading) {
      this.#readEnded ??= Deferred.makeUnsafe<void>()
      return Effect.andThen(Deferred.await(this.#readEnded), this.get)
    }
    if (this.#headers.isShared) return this.#tooLate("the session was first read", "read it")
    this.#headers.isReading = true
    let isOurs = false
    return Effect.onExitPrimitive(
      Effect.flatMap(this.#binding.frontend.extract(this.#request), (credentials): Loaded<Session<A>, R> => {
        // Another fiber may have been faster.
        if (this.#state !== undefined || this.#isReading) return this.load()
        isOurs = this.#isReading = true
        if (credentials.length > 1) return this.#choose(credentials)
        this.#headers.via = credentials[0].via
        return this.#resolve(credentials[0].token)
      }),
      (exit) => {
        if (isOurs || !this.#isReading) this.#learn(exit)
        return undefined
      }
    )
  }

  #choose(credentials: ReadonlyArray<Credential>): Loaded<Session<A>, R> {
    return Effect.map(
      chooseSession<A, R>(credentials, (token) => this.#resolve(token)),
      ([session, via]) => {
        this.#headers.via = via
        return session
      }
    )
  }

  #resolve(token: Redacted.Redacted<string>) {
    return this.#touches ? this.#binding.manager.resolve(token) : this.#binding.manager.resolve(token, { touch: false })
  }

  get fresh(): RequestSession<A, R>["fresh"] {
    return ({ methods = [], within }) =>
      Effect.flatMap(this.get, (session) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) => {
          const age = now - session.authenticatedAt.epochMilliseconds
          if (age <= Duration.toMillis(within) && methods.length === 0) return Effect.succeed(session)
          const error = new SessionStale({ maxAge: Duration.toSeconds(within), methods })
          this.#note(Cause.fail(error))
          return Effect.fail(error)
        })
      )
  }

  /** stub */
  get reauthenticate(): RequestSession<A, R>["reauthenticate"] {
    return () => Effect.die("stub")
  }

  /** stub */
  get describe(): RequestSession<A, R>["describe"] {
    return () => Effect.die("stub")
  }

  #learn(exit: Outcome<A, R>): void {
    this.#isReading = this.#headers.isReading = false
    // A `create` or `destroy` that was faster knows better. An interrupted read has learnt nothing; the next one reads
    // again.
    if (this.#state === undefined && !(Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause))) this.#set(exit)
    if (this.#readEnded !== undefined) Deferred.doneUnsafe(this.#readEnded, Exit.void)
    this.#readEnded = undefined
    if (Exit.isFailure(exit)) this.#note(exit.cause)
  }

  get option(): Effect.Effect<Option.Option<Session<A>>, SessionUnavailable> {
    return Effect.matchEffect(this.get, {
      onSuccess: Effect.succeedSome,
      // No other failure of `get` leaves open whether there is a session.
      onFailure: (error): Effect.Effect<Option.Option<Session<A>>, SessionUnavailable> =>
        error._tag === "SessionUnavailable" ? Effect.fail(error as SessionUnavailable) : Effect.succeedNone
    })
  }

  // ---------------------------------------------------------------------------
  // Changing: what a change answers is what `get` answers from then on
  // ---------------------------------------------------------------------------

  /** Changes of one request run one after the other, to their end, whatever becomes of the client. */
  #inTurn<B, E>(
    change: (restore: <C, E2>(effect: Effect.Effect<C, E2>) => Effect.Effect<C, E2>) => Effect.Effect<B, E>
  ) {
    return Effect.suspend(() => {
      this.#lock ??= Semaphore.makeUnsafe(1)
      return this.#lock.withPermit(
        Effect.uninterruptibleMask((restore) =>
          Effect.tapCause(
            Effect.suspend(() => change(restore)),
            (cause) => Effect.sync(() => this.#note(cause))
          )
        )
      )
    })
  }

  #change<B>(f: (session: Session<A>) => Change<B, A, R>): Changed<B, R> {
    return this.#inTurn((restore) => Effect.flatMap(restore(this.get), (session) => this.#keep(f(session))))
  }

  /** `get` answers the changed session from then on, or that it turned out to be gone. */
  #keep<B>(change: Change<B, A, R>): Changed<B, R> {
    return Effect.matchCauseEffect(change, {
      onFailure: (cause) => {
        const error = errorOf(cause)
        if (error?._tag === "SessionInvalid") this.#set(Exit.fail(error as SessionInvalid))
        return Effect.failCause(cause)
      },
      onSuccess: ([answer, session]) => {
        this.#set(Exit.succeed(session))
        return Effect.succeed(answer)
      }
    })
  }

  get update(): RequestSession<A, R>["update"] {
    return (f) =>
      this.#change((session) =>
        Effect.map(
          this.#binding.manager.modify(session, (data) => [undefined, f(data)]),
          ([, changed]) => twice(changed)
        )
      )
  }

  get modify(): RequestSession<A, R>["modify"] {
    return (f) => this.#change((session) => this.#binding.manager.modify(session, f))
  }

  get replace(): RequestSession<A, R>["replace"] {
    return (data) => this.#change((session) => Effect.map(this.#binding.manager.replace(session, data), twice))
  }

  get rotate(): RequestSession<A, R>["rotate"] {
    return this.#change((session) => this.#rotated(session))
  }

  #rotated(session: Session<A>): Change<Session<A>, A, R> {
    return this.#beforeHeaders(
      "rotate",
      Effect.map(this.#binding.manager.rotate(session), (rotated) => {
        this.#headers.issue(rotated, this.#headers.issued?.cookie)
        return twice(rotated)
      })
    )
  }

  get create(): RequestSession<A, R>["create"] {
    return (data, options) =>
      this.#inTurn(() =>
        this.#beforeHeaders(
          "create",
          Effect.flatMap(this.#binding.manager.create(data, options), (created) =>
            Effect.andThen(
              this.#endCarried,
              // The response may have gone meanwhile, without the token.
              this.#beforeHeaders(
                "create",
                Effect.sync(() => {
                  this.#set(Exit.succeed(created))
                  this.#headers.issue(created, options?.cookie)
                  return created
                })
              )
            ).pipe(
              // The old session may live on, so the new one must not: a failed log-in logs nobody in.
              Effect.tapCause(() =>
                withDeadline(Effect.ignore(this.#binding.manager.destroy(created.token)), undoTimeout, () => Exit.void)
              )
            )
          )
        )
      )
  }

  get destroy(): RequestSession<A, R>["destroy"] {
    return this.#inTurn(() => {
      const wasIssued = this.#headers.issued !== undefined
      return Effect.map(this.#endCarried, (carried) => {
        if (carried || wasIssued) this.#headers.detach()
        this.#set(missing)
      })
    })
  }

  /**
   * Ends the session this request has, then those whose tokens it carries besides. Answers whether it carried a token of
   * ours.
   */
  get #endCarried(): Effect.Effect<boolean, SessionUnavailable> {
    return Effect.gen({ self: this }, function* () {
      const { definition, frontend, manager } = this.#binding
      let carried = yield* carriedBy(frontend, this.#request)
      let own: Credential | undefined
      if (this.#state !== undefined && Exit.isSuccess(this.#state)) {
        const { token } = this.#state.value
        yield* manager.destroy(token)
        this.#headers.issued = undefined
        this.#set(missing)
        const isOwn = (credential: Credential) => Redacted.value(credential.token) === Redacted.value(token)
        own = carried.find(isOwn)
        carried = carried.filter((credential) => !isOwn(credential))
      }
      const via = yield* endSessions(carried, manager.destroy, definition.key)
      this.#headers.via ??= own?.via ?? via ?? carried[0]?.via
      return own !== undefined || via !== undefined
    })
  }

  // ---------------------------------------------------------------------------
  // The principal's sessions
  // ---------------------------------------------------------------------------

  #withOwner<B, E>(
    f: (principal: string, session: Session<A>) => Effect.Effect<B, E>
  ): Effect.Effect<B, E | SessionMissing | SessionInvalid | Refusal<R> | SessionUnavailable> {
    return this.#inTurn(() =>
      Effect.flatMap(this.get, (session): Effect.Effect<B, E | SessionMissing> =>
        Option.isSome(session.principal) ? f(session.principal.value, session) : missing
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
        Effect.map(this.#binding.manager.revoke(id, { principal }), (revoked) => {
          if (id === session.id) this.#set(missing)
          return revoked
        })
      )
  }

  get revokeOthers(): RequestSession<A, R>["revokeOthers"] {
    return this.#withOwner((principal, session) =>
      Effect.flatMap(this.#keep(this.#rotated(session)), (rotated) =>
        this.#binding.manager.revokeAll(principal, { except: rotated.id })
      )
    )
  }

  get revokeAll(): RequestSession<A, R>["revokeAll"] {
    const { manager } = this.#binding
    return this.#withOwner((principal, session) =>
      Effect.gen({ self: this }, function* () {
        // This session is the last to go: with it the request could not be sent again if the store fails on the way.
        const others = yield* manager.revokeAll(principal, { except: session.id })
        const rest = yield* manager.revokeAll(principal)
        this.#headers.detach()
        this.#set(missing)
        return others + rest
      })
    )
  }

  // ---------------------------------------------------------------------------
  // Common to the above
  // ---------------------------------------------------------------------------

  #set(state: Outcome<A, R>): void {
    this.#state = state
    this.#headers.read(!(Exit.isFailure(state) && errorOf(state.cause)?._tag === "SessionMissing"))
  }

  /** Tells the response how an operation failed. */
  #note(cause: Cause.Cause<unknown>): void {
    const error = errorOf(cause)
    if (Predicate.isTagged(error, "SessionUnavailable")) this.#headers.unavailable()
    else if (Predicate.isTagged(error, "SessionStale")) this.#headers.stale(error as SessionStale)
    else if (Predicate.isObject(error)) makeRespondable(this.#binding.definition.refused, error)
  }

  #beforeHeaders<B, E>(operation: string, effect: Effect.Effect<B, E>): Effect.Effect<B, E> {
    return Effect.suspend(() =>
      // A request upgraded to a WebSocket has had its response. Only Node's server says so, on its own request.
      this.#headers.isSealed ||
      (this.#request as { readonly upgradedResponse?: unknown }).upgradedResponse !== undefined
        ? this.#tooLate(`${operation} was called`, "call it")
        : effect
    )
  }

  #tooLate(what: string, advice: string): Effect.Effect<never> {
    const { key } = this.#binding.definition
    return Effect.die(
      new Error(`${key}: ${what} after the response's headers were made; ${advice} before the body streams`)
    )
  }
}
