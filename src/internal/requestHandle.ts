/**
 * The request's session: one handle for each request and definition, whatever middlewares meet on a route.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Headers from "effect/http/Headers"
import * as HttpEffect from "effect/http/HttpEffect"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Mutable } from "effect/Types"
import type {
  Changed,
  CreateOptions,
  Definition,
  Loaded,
  Refusal,
  RequestSession,
  Session,
  Tagged,
  VerifiedOf
} from "../Session.ts"
import { failure } from "./constant.ts"
import { SessionCrossOrigin, SessionInvalid, SessionMissing } from "../SessionError.ts"
import type { SessionConflict, SessionUnavailable } from "../SessionError.ts"
import { carriedBy } from "../SessionFrontend.ts"
import type { Credential, SessionFrontend, Transport } from "../SessionFrontend.ts"
import type { SessionManager } from "../SessionManager.ts"
import { bounded } from "./bounded.ts"
import { crossOriginProblem } from "./http/crossOrigin.ts"
import type { CrossOriginPolicy, CrossOriginProblem } from "./http/crossOrigin.ts"
import { isKnown, matchEager } from "./eager.ts"
import { LiveSession } from "./liveSession.ts"
import { endingOf, extractText, ofCredential, redact, resolveText } from "./tokenText.ts"
import type { TextCredential } from "./tokenText.ts"

// -----------------------------------------------------------------------------
// What follows from a frontend alone, worked out once
// -----------------------------------------------------------------------------

interface Binding {
  /** The request headers the response depends on, in lower case for comparing, and as they are sent. */
  readonly vary: ReadonlyArray<string>
  readonly varyText: string
  /** `undefined` for frontends without a cookie, which no page of another origin can use. */
  readonly origins: CrossOriginPolicy | undefined
  /** Once is enough: a client that is refused again and again must not fill the log. */
  isHinted: boolean
  /** RFC 9110 11.6.1: a 401 names a challenge. */
  readonly challenge: string
}

const bindings = new WeakMap<SessionFrontend["Service"], Binding>()

const bindingOf = (frontend: SessionFrontend["Service"]): Binding => {
  const known = bindings.get(frontend)
  if (known !== undefined) return known
  const vary = new Set<string>()
  const challenges = new Set<string>()
  let cookie = false
  for (const scheme of frontend.security) {
    if (scheme._tag === "ApiKey") {
      vary.add(scheme.in === "cookie" ? "Cookie" : scheme.key)
      challenges.add("Session")
      cookie ||= scheme.in === "cookie"
    } else {
      vary.add("Authorization")
      challenges.add(scheme._tag === "Http" ? scheme.scheme : "Basic")
    }
  }
  const binding: Binding = {
    vary: [...vary].map((name) => name.toLowerCase()),
    varyText: [...vary].join(", "),
    origins: cookie
      ? {
          secure: frontend.origins?.secure ?? true,
          trusted: new Set(frontend.origins?.trusted.map((origin) => origin.toLowerCase()))
        }
      : undefined,
    isHinted: false,
    challenge: [...challenges].join(", ")
  }
  bindings.set(frontend, binding)
  return binding
}

// -----------------------------------------------------------------------------
// Refusals of the user's own, made to answer with their status in a plain router
// -----------------------------------------------------------------------------

const statusOf = (schema: Tagged): number => {
  const status = schema.ast.annotations?.["httpApiStatus"]
  return typeof status === "number" ? status : 403
}

/** `httpApiStatus` means nothing to a plain router, so the error is made respondable as it passes. */
const makeRespondable = (refused: ReadonlyArray<Tagged>, error: object): void => {
  if (HttpServerRespondable.isRespondable(error) || !Object.isExtensible(error)) return
  const schema = refused.find((schema) => Schema.is(schema)(error))
  if (schema === undefined) return
  Object.defineProperty(error, HttpServerRespondable.symbol, {
    enumerable: false,
    value: () =>
      Effect.map(Schema.encodeUnknownEffect(Schema.toCodecJson(schema))(error), (body) =>
        HttpServerResponse.jsonUnsafe(body, { status: statusOf(schema) })
      )
  })
}

// -----------------------------------------------------------------------------
// The handle
// -----------------------------------------------------------------------------

const nobody = new SessionMissing()
const missing = failure(nobody)
const ambiguous = failure(new SessionInvalid({ reason: "Ambiguous" }))
const crossOrigin = failure(new SessionCrossOrigin())

const isMissing = (exit: Exit.Exit<unknown, { readonly _tag: string }>): boolean =>
  Exit.isFailure(exit) && Option.getOrUndefined(Cause.findErrorOption(exit.cause))?._tag === "SessionMissing"

/** Ends one session. */
type Ending = Effect.Effect<void, SessionUnavailable>

type Outcome<A, R extends ReadonlyArray<Tagged>> = Exit.Exit<
  Session<A>,
  SessionMissing | SessionInvalid | Refusal<R> | SessionUnavailable
>

/** @internal */
export class RequestHandle<Self, A, R extends ReadonlyArray<Tagged>> implements RequestSession<A, R> {
  readonly #request: HttpServerRequest
  readonly definition: Definition<Self, A, R>
  readonly #manager: SessionManager<A, R>
  readonly #frontend: SessionFrontend["Service"]
  readonly #binding: Binding
  /** What `get` answers, once it is known. */
  #state: Outcome<A, R> | undefined = undefined
  #isReading = false
  /** Rung when the reading is done; there only if somebody waits. */
  #bell: Deferred.Deferred<void> | undefined = undefined
  /** How the accepted token came. */
  #via: Transport | undefined = undefined
  /** What the response is to carry: a token to put on it, or that the client forget its own. */
  #issued: { readonly session: Session<A>; readonly cookie: CreateOptions["cookie"] } | undefined = undefined
  #detach: Transport | undefined = undefined
  #wasUnavailable = false
  #isSealed = false

  constructor(
    request: HttpServerRequest,
    definition: Definition<Self, A, R>,
    manager: SessionManager<A, R>,
    frontend: SessionFrontend["Service"]
  ) {
    this.#request = request
    this.definition = definition
    this.#manager = manager
    this.#frontend = frontend
    this.#binding = bindingOf(frontend)
  }

  /** Whether this is the handle a middleware with this manager and frontend would make for this request. */
  serves(request: HttpServerRequest, manager: object, frontend: object): boolean {
    return this.#request.source === request.source && this.#manager === manager && this.#frontend === frontend
  }

  /**
   * Unsafe requests from another origin are refused, unless they carry their token in a header and none in a cookie: no
   * page can be made to send such a header elsewhere without being asked first.
   */
  get admitted(): Effect.Effect<void, SessionCrossOrigin> {
    const { origins } = this.#binding
    const problem = origins === undefined ? undefined : crossOriginProblem(this.#request, origins)
    if (problem === undefined) return Exit.void
    return Effect.matchEffect(this.#frontend.extract(this.#request), {
      onFailure: () => this.#refuse(problem),
      onSuccess: (credentials) => (credentials.every(({ via }) => via === "header") ? Exit.void : this.#refuse(problem))
    })
  }

  #refuse({ hint }: CrossOriginProblem): Effect.Effect<never, SessionCrossOrigin> {
    if (hint === undefined || this.#binding.isHinted) return crossOrigin
    this.#binding.isHinted = true
    return Effect.andThen(
      Effect.annotateLogs(Effect.logWarning(hint), { namespace: this.definition.key }),
      () => crossOrigin
    )
  }

  /** No field: whoever prints the session must not print the request's headers, with the token in them. */
  get request(): HttpServerRequest {
    return this.#request
  }

  // ---------------------------------------------------------------------------
  // Reading
  // ---------------------------------------------------------------------------

  get get(): Loaded<Session<A>, R> {
    return Effect.withFiber((fiber) => this.load(fiber))
  }

  /** What `get` does, on the spot. Answered once for a request and shared by all who ask meanwhile, failures included. */
  load(fiber: Fiber.Fiber<unknown, unknown>): Loaded<Session<A>, R> {
    if (this.#state !== undefined) return this.#state
    if (this.#isReading) return this.#waitForReading
    const reading = this.#read(fiber.getRef(Clock.Clock))
    if (isKnown(reading)) {
      // A forged token is known at once, and so is what is at hand in memory.
      this.#learn(reading)
      return reading
    }
    let isOurs = false
    return Effect.onExitPrimitive(
      // Others may have been faster since, and whoever is interrupted before this has nothing to take back.
      Effect.suspend(() => {
        if (this.#state !== undefined || this.#isReading) return this.load(fiber)
        isOurs = this.#isReading = true
        return reading
      }),
      (exit) => {
        if (isOurs) {
          this.#isReading = false
          this.#learn(exit)
        }
        return undefined
      }
    )
  }

  #learn(exit: Outcome<A, R>): void {
    if (Exit.isFailure(exit)) this.#note(exit.cause)
    // A `create` or `destroy` that was faster knows better. Whoever was interrupted has learnt nothing; the next to
    // ask reads again.
    if (this.#state === undefined && !(Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause))) this.#state = exit
    if (this.#bell !== undefined) {
      Deferred.doneUnsafe(this.#bell, Exit.void)
      this.#bell = undefined
    }
  }

  get #waitForReading(): Loaded<Session<A>, R> {
    this.#bell ??= Deferred.makeUnsafe<void>()
    return Effect.flatMap(Deferred.await(this.#bell), () => this.get)
  }

  #read(clock: Clock.Clock): Loaded<Session<A>, R> {
    try {
      return Effect.flatMapEager(extractText(this.#frontend, this.#request), (credentials) => {
        if (credentials.length > 1) return this.#choose(credentials, clock)
        this.#via = credentials[0].via
        return this.#resolve(credentials[0], clock)
      })
    } catch (defect) {
      // A frontend or a verifier that throws is a failure like others: learnt once, and the response is private.
      return Exit.die(defect)
    }
  }

  #resolve({ text }: TextCredential, clock: Clock.Clock) {
    return resolveText(this.#manager, text, clock)
  }

  /**
   * Of several tokens one distinct session may stand. A token in a header that does not stand is not made good by a
   * cookie, and a backend that fails is not taken for a token that does not stand.
   */
  #choose(credentials: ReadonlyArray<TextCredential>, clock: Clock.Clock): Loaded<Session<A>, R> {
    return Effect.gen({ self: this }, function* () {
      const seen = new Set<string>()
      let accepted: Session<A> | undefined
      let refused: Outcome<A, R> | undefined
      let refusedHeader: Outcome<A, R> | undefined
      for (const credential of credentials) {
        const { text, via } = credential
        if (seen.has(text)) {
          if (via === "header" && accepted !== undefined) this.#via = via
          continue
        }
        seen.add(text)
        const exit: Outcome<A, R> = yield* Effect.exit(this.#resolve(credential, clock))
        if (Exit.isFailure(exit)) {
          const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
          if (error === undefined || error._tag === "SessionUnavailable") return yield* exit
          refused ??= exit
          if (via === "header") refusedHeader ??= exit
        } else if (accepted !== undefined && accepted.id !== exit.value.id) {
          return yield* ambiguous
        } else {
          accepted ??= exit.value
          if (this.#via !== "header") this.#via = via
        }
      }
      if (accepted === undefined) return yield* refused!
      return this.#via === "cookie" && refusedHeader !== undefined ? yield* refusedHeader : accepted
    })
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

  #change<B, E extends SessionInvalid | Refusal<R> | SessionConflict | SessionUnavailable>(
    f: (session: Session<A>) => Effect.Effect<readonly [B, Session<A>], E>
  ): Changed<B, R> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(restore(this.get), (session) =>
        Effect.matchCauseEffect(f(session), {
          onFailure: (cause): Changed<B, R> => {
            const error = Option.getOrUndefined(Cause.findErrorOption(cause))
            if (error?._tag === "SessionInvalid") {
              // Another change by this very request was faster: this one is made on what that one left.
              if (!this.#isStill(session)) return this.#change(f)
              // The session turned out to be gone: the next to ask is told so.
              this.#state = Exit.fail(error as SessionInvalid)
            }
            this.#note(cause)
            return Effect.failCause(cause)
          },
          onSuccess: ([answer, changed]) => {
            this.#state = Exit.succeed(changed)
            return Effect.succeed(answer)
          }
        })
      )
    )
  }

  #isStill(session: Session<A>): boolean {
    return this.#state !== undefined && Exit.isSuccess(this.#state) && this.#state.value === session
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
    return this.#whileOpen("rotate", () =>
      this.#change((session) =>
        Effect.map(this.#manager.rotate(session), (rotated) => {
          this.#issue(rotated, this.#issued?.cookie)
          return [rotated, rotated]
        })
      )
    )
  }

  get create(): RequestSession<A, R>["create"] {
    return (data, options) =>
      this.#whileOpen("create", () =>
        this.#noting(
          Effect.flatMap(this.#manager.create(data, options), (created) =>
            this.#endCarried.pipe(
              // The old session lives on, so the new one must not: a failed log-in logs nobody in. A backend that did not
              // answer before is not waited for a second time; the deletion goes on without us.
              Effect.tapError(() => bounded(Effect.ignore(this.#manager.destroy(created.token)), 250, () => Exit.void)),
              Effect.map(() => {
                this.#state = Exit.succeed(created)
                this.#issue(created, options?.cookie)
                return created
              })
            )
          )
        )
      )
  }

  get destroy(): RequestSession<A, R>["destroy"] {
    return this.#noting(
      Effect.map(this.#endCarried, (carried) => {
        if (carried || this.#issued !== undefined) this.#forget()
        this.#state = missing
      })
    )
  }

  /**
   * Ends every session whose token this request carried, or was given. Answers whether it carried one of ours; a forged
   * one is as good as none.
   */
  get #endCarried(): Effect.Effect<boolean, SessionUnavailable> {
    return Effect.flatMapEager(carriedBy(this.#frontend, this.#request), (credentials) => {
      const endings = new Map<string, Ending>()
      return Effect.flatMapEager(this.#collectEndings(credentials, endings), () => {
        const carried = endings.size > 0
        if (this.#state !== undefined && Exit.isSuccess(this.#state)) {
          const text = LiveSession.text(this.#state.value)
          if (!endings.has(text)) endings.set(text, this.#manager.destroy(redact(text)))
        }
        return endings.size === 0
          ? Exit.succeed(false)
          : Effect.as(Effect.all(endings.values(), { concurrency: "unbounded", discard: true }), carried)
      })
    })
  }

  /** Into `endings`, how to end the session of each token that is ours; `via` becomes how the first of them came. */
  #collectEndings(credentials: ReadonlyArray<Credential>, endings: Map<string, Ending>): Effect.Effect<void> {
    const [first] = credentials
    if (first === undefined) return Exit.void
    let via: Transport | undefined
    const collect = (credential: Credential): Effect.Effect<void> => {
      const { text } = ofCredential(credential)
      return Effect.mapEager(endingOf(this.#manager, text), (ending) => {
        if (ending === undefined) return
        via ??= credential.via
        endings.set(text, ending)
      })
    }
    return Effect.mapEager(
      credentials.length === 1 ? collect(first) : Effect.forEach(credentials, collect, { discard: true }),
      () => {
        this.#via ??= via ?? first.via
      }
    )
  }

  // ---------------------------------------------------------------------------
  // The principal's sessions
  // ---------------------------------------------------------------------------

  #withOwner<B, E>(
    f: (principal: string, session: Session<A>) => Effect.Effect<B, E>
  ): Effect.Effect<B, E | SessionMissing | SessionInvalid | Refusal<R> | SessionUnavailable> {
    return this.#noting(
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
          if (id === session.id) this.#state = missing
          return revoked
        })
      )
  }

  get revokeOthers(): RequestSession<A, R>["revokeOthers"] {
    return this.#withOwner((principal) =>
      Effect.flatMap(this.rotate, (rotated) => this.#manager.revokeAll(principal, { except: rotated.id }))
    )
  }

  get revokeAll(): RequestSession<A, R>["revokeAll"] {
    return this.#withOwner((principal) =>
      Effect.map(this.#manager.revokeAll(principal), (revoked) => {
        this.#forget()
        this.#state = missing
        return revoked
      })
    )
  }

  // ---------------------------------------------------------------------------
  // Common to the above
  // ---------------------------------------------------------------------------

  /** Runs a write to its end whatever becomes of the client, and keeps in mind how it failed. */
  #noting<B, E>(effect: Effect.Effect<B, E>): Effect.Effect<B, E> {
    return Effect.uninterruptible(Effect.tapCause(effect, (cause) => Effect.sync(() => this.#note(cause))))
  }

  #note(cause: Cause.Cause<unknown>): void {
    const error = Option.getOrUndefined(Cause.findErrorOption(cause))
    if (typeof error !== "object" || error === null || !("_tag" in error)) return
    if (error._tag === "SessionUnavailable") this.#wasUnavailable = true
    else makeRespondable(this.definition.refused, error)
  }

  #issue(session: Session<A>, cookie: CreateOptions["cookie"]): void {
    this.#issued = { session, cookie }
    this.#detach = undefined
  }

  #forget(): void {
    this.#issued = undefined
    this.#detach = this.#via ?? "cookie"
  }

  #whileOpen<B, E>(operation: string, effect: () => Effect.Effect<B, E>): Effect.Effect<B, E> {
    return Effect.suspend(() =>
      // A request upgraded to a WebSocket has had its response. Only Node's server says so, on its own request.
      this.#isSealed || (this.#request as { readonly upgradedResponse?: unknown }).upgradedResponse !== undefined
        ? Effect.die(
            new Error(
              `${this.definition.key}: ${operation} after the response's headers were made; call it before the body streams`
            )
          )
        : effect()
    )
  }

  // ---------------------------------------------------------------------------
  // The response
  // ---------------------------------------------------------------------------

  /** The pre-response handler. Total: one that fails would leave the request without an answer. */
  respond(
    request: HttpServerRequest,
    response: HttpServerResponse.HttpServerResponse
  ): Effect.Effect<HttpServerResponse.HttpServerResponse> {
    // An app called with another request in the midst of this one is answered to its caller, not to this client.
    if (request.source !== this.#request.source) return Effect.succeed(response)
    this.#isSealed = true
    try {
      return this.#finish(response)
    } catch {
      return this.#afterLogging(
        Effect.logError(`${this.definition.key}: the frontend failed to put the session on the response`),
        HttpServerResponse.empty({ status: 500, headers: { "cache-control": "no-store" } })
      )
    }
  }

  /** The response, whatever becomes of the log line. */
  #afterLogging(log: Effect.Effect<void>, response: HttpServerResponse.HttpServerResponse) {
    return Effect.catchCause(Effect.as(log, response), () => Effect.succeed(response))
  }

  #finish(given: HttpServerResponse.HttpServerResponse): Effect.Effect<HttpServerResponse.HttpServerResponse> {
    const binding = this.#binding
    const headers = copyOf(given.headers)
    const vary = mergeVary(given.headers["vary"], binding)
    if (vary !== undefined) headers["vary"] = vary
    if (given.status === 401 && this.#state !== undefined && given.headers["www-authenticate"] === undefined) {
      headers["www-authenticate"] = binding.challenge
    }
    if (given.status === 503 && this.#wasUnavailable && given.headers["retry-after"] === undefined) {
      headers["retry-after"] = "1"
    }
    const isPrivate =
      this.#issued !== undefined || this.#detach !== undefined || (this.#state !== undefined && !isMissing(this.#state))
    const cacheControl = given.headers["cache-control"]
    if (isPrivate) headers["cache-control"] = "no-store"
    let response = withHeaders(given, headers)
    if (this.#issued !== undefined) response = this.#attach(response, this.#issued)
    else if (this.#detach !== undefined) response = this.#frontend.detach(response, this.#detach)
    return isPrivate && cacheControl !== undefined && /public|max-?age|immutable/i.test(cacheControl)
      ? this.#afterLogging(
          Effect.logWarning(
            `${this.definition.key}: Cache-Control was replaced by no-store, since the response depends on a session`
          ),
          response
        )
      : Effect.succeed(response)
  }

  #attach(
    response: HttpServerResponse.HttpServerResponse,
    { cookie, session }: { readonly session: Session<A>; readonly cookie: CreateOptions["cookie"] }
  ): HttpServerResponse.HttpServerResponse {
    if (cookie === "none") return response
    const record = LiveSession.record(session)
    const persistent = cookie === undefined ? (record?.persistent ?? true) : cookie === "persistent"
    const left =
      (record?.absoluteExpiresAt ?? session.expiresAt.epochMilliseconds) - session.lastSeenAt.epochMilliseconds
    return this.#frontend.attach(response, {
      token: session.token,
      maxAge: persistent ? Option.some(Duration.millis(left)) : Option.none(),
      via: Option.fromUndefinedOr(this.#via)
    })
  }
}

/** A copy that may be completed. */
const copyOf = (headers: Headers.Headers): Mutable<Headers.Headers> =>
  Object.assign(Object.create(Object.getPrototypeOf(headers)), headers)

/**
 * As `setHeaders`, which makes three copies of the headers, and derives those of the body again. Field by field, in the
 * order in which Effect sets them, so that both are objects of one shape to the engine.
 */
const withHeaders = (
  response: HttpServerResponse.HttpServerResponse,
  headers: Headers.Headers
): HttpServerResponse.HttpServerResponse => {
  const copy: Mutable<HttpServerResponse.HttpServerResponse> = Object.create(Object.getPrototypeOf(response))
  copy.status = response.status
  copy.statusText = response.statusText
  copy.cookies = response.cookies
  copy.body = response.body
  copy.headers = headers
  return copy
}

/** What `Vary` becomes, or nothing if it says enough already. */
const mergeVary = (given: string | undefined, binding: Binding): string | undefined => {
  if (given === undefined || given === "") return binding.varyText
  if (given.trim() === "*") return undefined
  const named = new Set(
    given
      .toLowerCase()
      .split(",")
      .map((name) => name.trim())
  )
  return binding.vary.every((name) => named.has(name)) ? undefined : `${given}, ${binding.varyText}`
}

// -----------------------------------------------------------------------------
// Entering a route
// -----------------------------------------------------------------------------

/** The definition's own class is this key too; a `Definition` does not say so in its type. */
const keyOf = <Self, A, R extends ReadonlyArray<Tagged>>(
  definition: Definition<Self, A, R>
): Context.Service<Self, RequestSession<A, R>> => {
  let key = keys.get(definition.key)
  if (key === undefined) {
    key = Context.Service<never, never>(definition.key)
    keys.set(definition.key, key)
  }
  // One key string is one key, whatever its type parameters.
  return key as unknown as Context.Service<Self, RequestSession<A, R>>
}
const keys = new Map<string, Context.Service<never, never>>()

type App<E, R> = Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>

/** What is done on the spot may throw, as what is done later may: a defect, which has the session's headers too. */
const orDefect = <E, R>(app: () => App<E, R>): App<E, R> => {
  try {
    return app()
  } catch (defect) {
    return Exit.die(defect)
  }
}

/**
 * Runs an app with the request's handle: the one an outer middleware has made, or a new one, whose headers are then set
 * when the app has exited, in whatever way. The app may change the fiber's context, as `provideService` would; it is
 * restored here. `admitted` is what the cross-origin check says of the request, which the outermost middleware asks.
 */
const withHandle = <Self, A, R extends ReadonlyArray<Tagged>, E, RA>(
  definition: Definition<Self, A, R>,
  manager: SessionManager<A, R>,
  frontend: SessionFrontend["Service"],
  app: (
    handle: RequestHandle<Self, A, R>,
    fiber: Fiber.Fiber<unknown, unknown>,
    admitted: Effect.Effect<void, SessionCrossOrigin>
  ) => App<E, RA>
): App<E, RA | HttpServerRequest> => {
  const key = keyOf(definition)
  return Effect.withFiber((fiber) => {
    const context = fiber.context
    const request = Context.getUnsafe(context, HttpServerRequest)
    const outer: unknown = Context.getOrUndefined(context, key)
    // A request is the same one as long as what the server received is, however often it was rewritten on the way.
    if (outer instanceof RequestHandle && outer.serves(request, manager, frontend)) {
      // Found under this definition's key, so it is this definition's.
      const handle = outer as RequestHandle<Self, A, R>
      return Effect.onExitPrimitive(
        orDefect(() => app(handle, fiber, Exit.void)),
        () => {
          fiber.setContext(context)
          return undefined
        }
      )
    }
    const handle = new RequestHandle(request, definition, manager, frontend)
    return Effect.onExitPrimitive(
      orDefect(() => app(handle, fiber, handle.admitted)),
      () => {
        fiber.setContext(context)
        HttpEffect.appendPreResponseHandlerUnsafe(context, (request, response) => handle.respond(request, response))
        return undefined
      }
    )
  })
}

/**
 * An open route.
 *
 * @internal
 */
export const open = <Self, A, R extends ReadonlyArray<Tagged>, E, RA>(
  definition: Definition<Self, A, R>,
  manager: SessionManager<A, R>,
  frontend: SessionFrontend["Service"],
  app: App<E, RA>
): App<E | SessionCrossOrigin, Exclude<RA, Self> | HttpServerRequest> => {
  const key = keyOf(definition)
  return withHandle(definition, manager, frontend, (handle, fiber, admitted) =>
    Effect.flatMapEager(admitted, () => {
      fiber.setContext(Context.add(fiber.context, key, handle))
      return app as App<E, Exclude<RA, Self>>
    })
  )
}

/**
 * A guarded route: only a session that stands is let through, and where the definition says who is logged in, only if
 * somebody is. A request that is not goes to `onFailure`.
 *
 * @internal
 */
export const guarded = <Self, A, R extends ReadonlyArray<Tagged>, E, RA, E2>(
  definition: Definition<Self, A, R>,
  manager: SessionManager<A, R>,
  frontend: SessionFrontend["Service"],
  app: App<E, RA>,
  onFailure: (
    error: SessionMissing | SessionInvalid | Refusal<R> | SessionCrossOrigin | SessionUnavailable,
    request: HttpServerRequest
  ) => App<E2, never>
): App<E | E2, Exclude<RA, Self | VerifiedOf<Self>> | HttpServerRequest> => {
  const key = keyOf(definition)
  type Inside = App<E | E2, Exclude<RA, Self | VerifiedOf<Self>>>
  return withHandle(definition, manager, frontend, (handle, fiber, admitted): Inside =>
    matchEager(
      Effect.flatMapEager(admitted, () => handle.load(fiber)),
      (error) => onFailure(error, handle.request),
      (session): Inside => {
        if (definition.principal !== undefined && Option.isNone(session.principal)) {
          return onFailure(nobody, handle.request)
        }
        fiber.setContext(Context.add(Context.add(fiber.context, key, handle), definition.Verified, session))
        return app as App<E, Exclude<RA, Self | VerifiedOf<Self>>>
      }
    )
  )
}
