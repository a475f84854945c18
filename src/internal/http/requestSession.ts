/**
 * The request's session: one handle for each request and definition, whichever middlewares meet on a route (laws 1 to 4,
 * 7 and 8).
 *
 * Every member is an Effect, or a function that answers one, and does nothing until that runs.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import * as Semaphore from "effect/Semaphore"
import type {
  Changed,
  CreateOptions,
  Definition,
  Loaded,
  Refusal,
  RequestSession,
  Session,
  SessionManager,
  Tagged
} from "../../Session.ts"
import { SessionCrossOrigin, SessionMissing } from "../../SessionError.ts"
import type { SessionConflict, SessionInvalid, SessionUnavailable } from "../../SessionError.ts"
import type { Credential, SessionFrontend, Transport } from "../../SessionFrontend.ts"
import { failure } from "../exit.ts"
import { carriedBy } from "../frontend/carried.ts"
import { withDeadline } from "../manager/deadline.ts"
import { chooseSession, endSessions } from "./credentials.ts"
import { type CrossOriginProblem, crossOriginProblem } from "./crossOrigin.ts"
import { type FrontendPolicy, policyOf } from "./frontendPolicy.ts"
import { makeRespondable } from "./refusal.ts"
import * as ResponseHeaders from "./responseHeaders.ts"

/** @internal */
export const nobody = new SessionMissing()
const missing = failure(nobody)
const crossOrigin = failure(new SessionCrossOrigin())

/** How long a log-in that failed waits for the session to go that it made, in milliseconds. The deletion goes on. */
const undoTimeout = 250

type Outcome<A, R extends ReadonlyArray<Tagged>> = Exit.Exit<
  Session<A>,
  SessionMissing | SessionInvalid | Refusal<R> | SessionUnavailable
>

const errorOf = <E>(cause: Cause.Cause<E>): E | undefined => Option.getOrUndefined(Cause.findErrorOption(cause))

/** A definition with the services that serve it. */
export interface Binding<Self, A, R extends ReadonlyArray<Tagged>> {
  readonly definition: Definition<Self, A, R>
  readonly manager: SessionManager<A, R>
  readonly frontend: SessionFrontend["Service"]
  readonly policy: FrontendPolicy
}

/** @internal */
export const bind = <Self, A, R extends ReadonlyArray<Tagged>>(
  definition: Definition<Self, A, R>,
  manager: SessionManager<A, R>,
  frontend: SessionFrontend["Service"]
): Binding<Self, A, R> => ({ definition, manager, frontend, policy: policyOf(frontend) })

/** @internal */
export class RequestSessionLive<Self, A, R extends ReadonlyArray<Tagged>> implements RequestSession<A, R> {
  // Private, all of it: printing the session must not print the request's headers, with the token in them.
  readonly #request: HttpServerRequest
  readonly #definition: Definition<Self, A, R>
  readonly #manager: SessionManager<A, R>
  readonly #frontend: SessionFrontend["Service"]
  readonly #policy: FrontendPolicy
  /** What `get` answers, once it is known. */
  #state: Outcome<A, R> | undefined = undefined
  #isReading = false
  /** Done when the read that is under way has ended; there if another fiber waits for it. */
  #read: Deferred.Deferred<void> | undefined = undefined
  #lock: Semaphore.Semaphore | undefined = undefined
  /** How the accepted token came. */
  #via: Transport | undefined = undefined
  #issued: ResponseHeaders.Outgoing["issued"] = undefined
  #detach: Transport | undefined = undefined
  #wasUnavailable = false
  /** The response that has the session's headers, until something changes. */
  #finished: HttpServerResponse.HttpServerResponse | undefined = undefined
  #isSealed = false
  /** Whether the response went out as one that a shared cache may keep. */
  #isShared = false

  constructor(request: HttpServerRequest, { definition, frontend, manager, policy }: Binding<Self, A, R>) {
    this.#request = request
    this.#definition = definition
    this.#manager = manager
    this.#frontend = frontend
    this.#policy = policy
  }

  /** Whether this is the handle that a middleware with this manager and frontend would make for this request. */
  serves(request: HttpServerRequest, manager: object, frontend: object): boolean {
    return this.#request.source === request.source && this.#manager === manager && this.#frontend === frontend
  }

  /**
   * Unsafe requests from another origin are refused, unless they carry their token in a header and none in a cookie: no
   * page can be made to send such a header elsewhere without a preflight.
   */
  get admitted(): Effect.Effect<void, SessionCrossOrigin> {
    const { origins } = this.#policy
    const problem = origins === undefined ? undefined : crossOriginProblem(this.#request, origins)
    if (problem === undefined) return Exit.void
    return Effect.matchEffect(this.#frontend.extract(this.#request), {
      onFailure: () => this.#refuse(problem),
      onSuccess: (credentials) => (credentials.every(({ via }) => via === "header") ? Exit.void : this.#refuse(problem))
    })
  }

  /** Logs the hint once for each frontend: an attacker must not be able to fill the log. */
  #refuse({ hint }: CrossOriginProblem): Effect.Effect<never, SessionCrossOrigin> {
    if (hint === undefined || this.#policy.hasHinted) return crossOrigin
    this.#policy.hasHinted = true
    return Effect.andThen(
      Effect.annotateLogs(Effect.logWarning(hint), { namespace: this.#definition.key }),
      () => crossOrigin
    )
  }

  // ---------------------------------------------------------------------------
  // Reading
  // ---------------------------------------------------------------------------

  get get(): Loaded<Session<A>, R> {
    return Effect.suspend(() => this.load())
  }

  /** What `get` does, for a fiber that runs it at once: answered once, and shared by all who ask meanwhile. */
  load(): Loaded<Session<A>, R> {
    if (this.#state !== undefined) return this.#state
    if (this.#isReading) {
      this.#read ??= Deferred.makeUnsafe<void>()
      return Effect.andThen(Deferred.await(this.#read), this.get)
    }
    if (this.#isShared) return this.#tooLate("the session was first read", "read it")
    let isOurs = false
    return Effect.onExitPrimitive(
      Effect.flatMap(this.#frontend.extract(this.#request), (credentials): Loaded<Session<A>, R> => {
        // Another fiber may have been faster.
        if (this.#state !== undefined || this.#isReading) return this.load()
        isOurs = this.#isReading = true
        if (credentials.length > 1) return this.#choose(credentials)
        this.#via = credentials[0].via
        return this.#manager.resolve(credentials[0].token)
      }),
      (exit) => {
        if (isOurs || !this.#isReading) this.#learn(exit)
        return undefined
      }
    )
  }

  #choose(credentials: ReadonlyArray<Credential>): Loaded<Session<A>, R> {
    return Effect.map(chooseSession(credentials, this.#manager.resolve), ([session, via]) => {
      this.#via = via
      return session
    })
  }

  #learn(exit: Outcome<A, R>): void {
    this.#isReading = false
    if (Exit.isFailure(exit)) this.#note(exit.cause)
    // A `create` or `destroy` that was faster knows better. An interrupted read has learnt nothing; the next one reads
    // again.
    if (this.#state === undefined && !(Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause))) this.#set(exit)
    if (this.#read === undefined) return
    Deferred.doneUnsafe(this.#read, Exit.void)
    this.#read = undefined
  }

  get option(): Effect.Effect<Option.Option<Session<A>>, SessionUnavailable> {
    return Effect.matchEffect(this.get, {
      onSuccess: (session) => Effect.succeedSome(session),
      // Of all that `get` fails with, this alone does not mean "no session".
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

  #change<B, E extends SessionInvalid | Refusal<R> | SessionConflict | SessionUnavailable>(
    f: (session: Session<A>) => Effect.Effect<readonly [B, Session<A>], E>
  ): Changed<B, R> {
    return this.#inTurn((restore) => Effect.flatMap(restore(this.get), (session) => this.#changed(f(session))))
  }

  #changed<B, E extends SessionInvalid | Refusal<R> | SessionConflict | SessionUnavailable>(
    change: Effect.Effect<readonly [B, Session<A>], E>
  ): Effect.Effect<B, E> {
    return Effect.matchCauseEffect(change, {
      onFailure: (cause) => {
        const error = errorOf(cause)
        // The session turned out to be gone: the next to ask is told so.
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
          this.#manager.modify(session, (data) => [undefined, f(data)]),
          ([, changed]) => [changed, changed]
        )
      )
  }

  get modify(): RequestSession<A, R>["modify"] {
    return (f) => this.#change((session) => this.#manager.modify(session, f))
  }

  get replace(): RequestSession<A, R>["replace"] {
    return (data) =>
      this.#change((session) => Effect.map(this.#manager.replace(session, data), (changed) => [changed, changed]))
  }

  get rotate(): RequestSession<A, R>["rotate"] {
    return this.#change((session) => this.#rotated(session))
  }

  #rotated(session: Session<A>) {
    return this.#whileOpen(
      "rotate",
      Effect.map(this.#manager.rotate(session), (rotated) => {
        this.#issue(rotated, this.#issued?.cookie)
        return [rotated, rotated] as const
      })
    )
  }

  get create(): RequestSession<A, R>["create"] {
    return (data, options) =>
      this.#inTurn(() =>
        this.#whileOpen(
          "create",
          Effect.flatMap(this.#manager.create(data, options), (created) =>
            this.#endCarried.pipe(
              // The old session lives on, so the new one must not: a failed log-in logs nobody in.
              Effect.tapError(() =>
                withDeadline(Effect.ignore(this.#manager.destroy(created.token)), undoTimeout, () => Exit.void)
              ),
              Effect.map(() => {
                this.#set(Exit.succeed(created))
                this.#issue(created, options?.cookie)
                return created
              })
            )
          )
        )
      )
  }

  get destroy(): RequestSession<A, R>["destroy"] {
    return this.#inTurn(() =>
      Effect.map(this.#endCarried, (carried) => {
        if (carried || this.#issued !== undefined) this.#forget()
        this.#set(missing)
      })
    )
  }

  /** Ends the sessions whose tokens this request was given or carried. Answers whether it carried one of ours. */
  get #endCarried(): Effect.Effect<boolean, SessionUnavailable> {
    return Effect.flatMap(carriedBy(this.#frontend, this.#request), (carried) => {
      const own = this.#state !== undefined && Exit.isSuccess(this.#state) ? [{ token: this.#state.value.token }] : []
      return Effect.map(endSessions([...own, ...carried], this.#manager.destroy, this.#definition.key), (via) => {
        this.#via ??= via ?? carried[0]?.via
        return via !== undefined
      })
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
      Effect.map(this.#manager.list(principal), (infos) =>
        infos.map((info) => ({ ...info, current: info.id === session.id }))
      )
    )
  }

  get revoke(): RequestSession<A, R>["revoke"] {
    return (id) =>
      this.#withOwner((principal, session) =>
        Effect.map(this.#manager.revoke(id, { principal }), (revoked) => {
          if (id === session.id) this.#set(missing)
          return revoked
        })
      )
  }

  get revokeOthers(): RequestSession<A, R>["revokeOthers"] {
    return this.#withOwner((principal, session) =>
      Effect.flatMap(this.#changed(this.#rotated(session)), (rotated) =>
        this.#manager.revokeAll(principal, { except: rotated.id })
      )
    )
  }

  get revokeAll(): RequestSession<A, R>["revokeAll"] {
    return this.#withOwner((principal) =>
      Effect.map(this.#manager.revokeAll(principal), (revoked) => {
        this.#forget()
        this.#set(missing)
        return revoked
      })
    )
  }

  // ---------------------------------------------------------------------------
  // Common to the above
  // ---------------------------------------------------------------------------

  #set(state: Outcome<A, R>): void {
    this.#state = state
    this.#finished = undefined
  }

  /** Keeps in mind how an operation failed, for the response. */
  #note(cause: Cause.Cause<unknown>): void {
    const error = errorOf(cause)
    if (typeof error !== "object" || error === null || !("_tag" in error)) return
    if (error._tag === "SessionUnavailable") {
      this.#wasUnavailable = true
      this.#finished = undefined
    } else makeRespondable(this.#definition.refused, error)
  }

  #issue(session: Session<A>, cookie: CreateOptions["cookie"]): void {
    this.#issued = { session, cookie }
    this.#detach = undefined
    this.#finished = undefined
  }

  #forget(): void {
    this.#issued = undefined
    this.#detach = this.#via ?? "cookie"
    this.#finished = undefined
  }

  #whileOpen<B, E>(operation: string, effect: Effect.Effect<B, E>): Effect.Effect<B, E> {
    return Effect.suspend(() =>
      // A request upgraded to a WebSocket has had its response. Only Node's server says so, on its own request.
      this.#isSealed || (this.#request as { readonly upgradedResponse?: unknown }).upgradedResponse !== undefined
        ? this.#tooLate(`${operation} was called`, "call it")
        : effect
    )
  }

  #tooLate(what: string, advice: string): Effect.Effect<never> {
    return Effect.die(
      new Error(
        `${this.#definition.key}: ${what} after the response's headers were made; ${advice} before the body streams`
      )
    )
  }

  // ---------------------------------------------------------------------------
  // The response
  // ---------------------------------------------------------------------------

  get #isPrivate(): boolean {
    return (
      this.#issued !== undefined ||
      this.#detach !== undefined ||
      (this.#state !== undefined &&
        !(Exit.isFailure(this.#state) && errorOf(this.#state.cause)?._tag === "SessionMissing"))
    )
  }

  /**
   * Puts the session's headers on a response, which is then on its way. Total: an error in here would leave the request
   * without an answer.
   */
  finish(response: HttpServerResponse.HttpServerResponse): Effect.Effect<HttpServerResponse.HttpServerResponse> {
    this.#isSealed = true
    if (response === this.#finished) return Exit.succeed(response)
    const isPrivate = this.#isPrivate
    this.#isShared = !isPrivate && response.status !== 101 && !ResponseHeaders.isUnshared(response)
    try {
      this.#finished = ResponseHeaders.apply(response, this.#frontend, this.#policy, {
        issued: this.#issued,
        detach: this.#detach,
        via: this.#via,
        wasRead: this.#state !== undefined,
        isPrivate,
        wasUnavailable: this.#wasUnavailable
      })
    } catch {
      this.#finished = HttpServerResponse.empty({ status: 500, headers: { "cache-control": "no-store" } })
      return afterLogging(
        Effect.logError(`${this.#definition.key}: the frontend failed to put the session on the response`),
        this.#finished
      )
    }
    return isPrivate && ResponseHeaders.isCacheable(response)
      ? afterLogging(
          Effect.logWarning(
            `${this.#definition.key}: Cache-Control was replaced by no-store, since the response depends on a session`
          ),
          this.#finished
        )
      : Exit.succeed(this.#finished)
  }
}

/** The response, whatever becomes of the log line. */
const afterLogging = (log: Effect.Effect<void>, response: HttpServerResponse.HttpServerResponse) =>
  Effect.catchCause(Effect.as(log, response), () => Effect.succeed(response))
