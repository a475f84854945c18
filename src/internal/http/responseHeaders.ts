/**
 * What a response carries of the request's session: its token, `Vary`, and what caches may do (laws 5 and 6).
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import type { CreateOptions, Session } from "../../Session.ts"
import type { SessionStale } from "../../SessionError.ts"
import type { SessionFrontend, Transport } from "../../SessionFrontend.ts"
import { requestHeader } from "../frontend/requestHeader.ts"
import { LiveSession } from "../manager/liveSession.ts"
import type { FrontendPolicy } from "./binding.ts"

type Response = HttpServerResponse.HttpServerResponse

/**
 * Who puts a new token on a response: this request's own; not this handle, where the response is the `caller`'s, who
 * may have another client; or not this handle, where there is `none`, as over a socket.
 */
export type Answer = "response" | "caller" | "none"

/** Whether a request was upgraded to a WebSocket, and so has had its response. Only Node's server says so. */
export const isUpgraded = (request: HttpServerRequest): boolean =>
  (request as { readonly upgradedResponse?: unknown }).upgradedResponse !== undefined

interface Parts {
  readonly definition: { readonly key: string }
  readonly frontend: SessionFrontend["Service"]
  readonly policy: FrontendPolicy
}

/** A token on its way to the client, and when it was made. */
interface Issue {
  readonly session: Session<unknown>
  readonly cookie: CreateOptions["cookie"]
  readonly at: number
  readonly isScheduled?: boolean
}

/**
 * How long a handler may work and its response still carry a scheduled rotation's token, in milliseconds. After a long
 * upload the session may have got another one by a faster request, which this one would take from the client. The token
 * before stands as long as no client has this one.
 */
const maxHeld = 10_000

/** What one request has done with its session, as far as the response shows it. */
export class ResponseHeaders {
  readonly #request: HttpServerRequest
  readonly #binding: Parts
  readonly #answer: Answer
  /** How the request's token came. */
  via: Transport | undefined = undefined
  /** A session that was created or rotated. */
  issued: Issue | undefined = undefined
  /** Where the client is to forget its token. */
  #detached: Transport | undefined = undefined
  #wasRead = false
  #isPrivate = false
  /** A read is under way, whose answer the response may show. */
  isReading = false
  #wasUnavailable = false
  /** What `fresh` asked for in vain, unless the session has changed since. */
  #stale: SessionStale | undefined = undefined
  /** The response that has the headers, until something changes. */
  #finished: Response | undefined = undefined
  #isMade = false
  /** Whether the client keeps its token itself, and takes a new one from what the handler answers. */
  isHeld = false
  /** Whether the response went out as one that a shared cache may keep. */
  isShared = false

  constructor(request: HttpServerRequest, binding: Parts, answer: Answer) {
    this.#request = request
    this.#binding = binding
    this.#answer = answer
  }

  /** Whether they are made, or never will be. */
  get isSealed(): boolean {
    return this.#answer === "none" || this.#isMade || isUpgraded(this.#request)
  }

  /** Whether a token that no handler has asked for will reach the client. A socket's handshake is answered without us. */
  get canIssue(): boolean {
    return this.#answer === "response" && !this.isSealed && requestHeader(this.#request, "upgrade") === undefined
  }

  /** Whether a new token reaches the client without a response of ours: the handler answers it. */
  #isAnswered(cookie: CreateOptions["cookie"]): boolean {
    return this.#answer === "none" && (cookie === "none" || this.isHeld || !this.#binding.policy.attaches)
  }

  /** Runs what gives the client a token, if it will reach the client. */
  before<B, E>(
    operation: string,
    cookie: CreateOptions["cookie"],
    issue: () => Effect.Effect<B, E>
  ): Effect.Effect<B, E> {
    return Effect.suspend(() =>
      this.isSealed && !this.#isAnswered(cookie) ? this.tooLate(`${operation} was called`, "call it") : issue()
    )
  }

  tooLate(what: string, advice: string): Effect.Effect<never> {
    const { key } = this.#binding.definition
    return Effect.die(
      new Error(
        this.#answer === "none"
          ? `${key}: ${what} in a call of RPC whose answer carries no token. Over HTTP, give the route SessionMiddleware.router; over a socket, log in by a request of HTTP, or create with { cookie: "none" } and let the handler answer session.token`
          : `${key}: ${what} after the response's headers were made; ${advice} before the body streams`
      )
    )
  }

  /** The handler has asked for the session; `isPrivate` if what it learnt depends on the client. */
  read(isPrivate: boolean): void {
    this.#wasRead = true
    this.#isPrivate = isPrivate
    this.#finished = undefined
  }

  unavailable(): void {
    this.#wasUnavailable = true
    this.#finished = undefined
  }

  stale(error: SessionStale): void {
    this.#stale = error
    this.#finished = undefined
  }

  issue(session: Session<unknown>, cookie: CreateOptions["cookie"]): void {
    this.#issue({ session, cookie, at: session.lastSeenAt.epochMilliseconds })
  }

  /** No handler has asked for this token, and the look that made it may not have been a touch. */
  issueScheduled(session: Session<unknown>, at: number): void {
    this.#issue({ session, cookie: undefined, at, isScheduled: true })
  }

  #issue(issued: Issue): void {
    this.issued = issued
    this.#detached = this.#stale = undefined
    this.#finished = undefined
  }

  detach(): void {
    this.issued = this.#stale = undefined
    this.#detached = this.via ?? "cookie"
    this.#finished = undefined
  }

  /** Puts the headers on a response, which is then on its way. Total: an error would leave the request unanswered. */
  finish(response: Response): Effect.Effect<Response> {
    const { issued } = this
    if (issued?.isScheduled !== true) return this.#finish(response)
    return Effect.flatMap(Clock.currentTimeMillis, (now) => {
      if (now - issued.at > maxHeld && this.issued === issued) this.issued = undefined
      return this.#finish(response)
    })
  }

  #finish(response: Response): Effect.Effect<Response> {
    this.#isMade = true
    if (response === this.#finished) return Exit.succeed(response)
    const isPrivate = this.#isPrivate || this.isReading || this.issued !== undefined || this.#detached !== undefined
    this.isShared = !isPrivate && response.status !== 101 && !isUnshared(response)
    const { key } = this.#binding.definition
    try {
      this.#finished = this.#apply(response, isPrivate)
    } catch {
      this.#finished = HttpServerResponse.empty({ status: 500, headers: { "cache-control": "no-store" } })
      return afterLogging(
        Effect.logError(`${key}: the frontend failed to put the session on the response`),
        this.#finished
      )
    }
    return isPrivate && isCacheable(response)
      ? afterLogging(
          Effect.logWarning(`${key}: Cache-Control was replaced by no-store, since the response depends on a session`),
          this.#finished
        )
      : Exit.succeed(this.#finished)
  }

  /** Twice is the same as once. */
  #apply(response: Response, isPrivate: boolean): Response {
    const { frontend, policy } = this.#binding
    const { headers, status } = response
    const raw = rawHeaders(response)
    let applied = set(response, "vary", mergeVary(headers["vary"], raw?.get("vary"), policy))
    if (status === 401 && this.#wasRead && !has(response, "www-authenticate")) {
      applied = set(applied, "www-authenticate", challengeOf(policy, this.#stale))
    }
    if (status === 503 && this.#wasUnavailable && headers["retry-after"] === undefined) {
      applied = set(applied, "retry-after", "1")
    }
    if (isPrivate) {
      applied = set(applied, "cache-control", "no-store")
      for (const name of Object.keys(headers)) applied = keepFromSharedCaches(applied, name)
      for (const name of raw?.keys() ?? []) applied = keepFromSharedCaches(applied, name)
    }
    if (this.issued !== undefined) return attach(applied, frontend, this.issued, this.via)
    if (this.#detached === undefined) return applied
    if (this.#detached === "cookie" && policy.clearSiteData !== undefined && !has(response, "clear-site-data")) {
      applied = set(applied, "clear-site-data", policy.clearSiteData)
    }
    return frontend.detach(applied, this.#detached)
  }
}

/** RFC 9470 3: what a session must be proved again by, where it stands and that is all it lacks. */
const challengeOf = ({ challenges }: FrontendPolicy, stale: SessionStale | undefined): string => {
  if (stale === undefined) return challenges.join(", ")
  const { maxAge } = stale
  const parameters = `error="insufficient_user_authentication"` + (Number.isFinite(maxAge) ? `, max_age=${maxAge}` : "")
  return challenges.map((scheme) => `${scheme} ${parameters}`).join(", ")
}

const has = (response: Response, name: string): boolean =>
  response.headers[name] !== undefined || rawHeaders(response)?.has(name) === true

const set = (response: Response, name: string, value: string): Response =>
  response.headers[name] === value ? response : HttpServerResponse.setHeader(response, name, value)

/** The response, whatever becomes of the log line. */
const afterLogging = (log: Effect.Effect<void>, response: Response): Effect.Effect<Response> =>
  Effect.catchCause(Effect.as(log, response), () => Effect.succeed(response))

/** Whether a handler lets caches keep what depends on a session. */
const isCacheable = ({ headers }: Response): boolean => {
  const cacheControl = headers["cache-control"]
  return cacheControl !== undefined && /public|max-?age|immutable/i.test(cacheControl)
}

/** `private` with a field name keeps out that field alone (RFC 9111 5.2.2.7). */
const keepsOut = (value: string): boolean => /(^|,)\s*(no-store|private)\s*(,|$)/i.test(value)

/** Whether a handler keeps all shared caches from storing the response. */
const isUnshared = (response: Response): boolean => {
  const given = { ...Object.fromEntries(rawHeaders(response) ?? []), ...response.headers }
  return (
    keepsOut(given["cache-control"] ?? "") &&
    Object.entries(given).every(([name, value]) => !isForSharedCache(name) || keepsOut(value))
  )
}

/** `CDN-Cache-Control` and those of single CDNs (RFC 9213), and what others have in its place. */
const isForSharedCache = (name: string): boolean =>
  name.endsWith("-cache-control") ||
  name === "surrogate-control" ||
  name === "edge-control" ||
  name === "x-accel-expires"

const keepFromSharedCaches = (response: Response, name: string): Response =>
  isForSharedCache(name) ? set(response, name, name === "x-accel-expires" ? "0" : "no-store") : response

/** Headers of a web `Response` inside ours, which ours override when both are sent. */
const rawHeaders = ({ body }: Response): Headers | undefined =>
  body._tag === "Raw" && body.body instanceof globalThis.Response ? body.body.headers : undefined

const mergeVary = (own: string | undefined, raw: string | null | undefined, policy: FrontendPolicy): string => {
  const given = own && raw ? `${own}, ${raw}` : own || raw
  if (!given) return policy.varyText
  const names = new Set(
    given
      .toLowerCase()
      .split(",")
      .map((name) => name.trim())
  )
  // `*` says more than any name.
  return names.has("*") || policy.vary.every((name) => names.has(name.toLowerCase()))
    ? given
    : `${given}, ${policy.varyText}`
}

const attach = (
  response: Response,
  frontend: SessionFrontend["Service"],
  { at, cookie, session }: Issue,
  via: Transport | undefined
): Response => {
  if (cookie === "none") return response
  const record = LiveSession.is(session) ? LiveSession.record(session) : undefined
  const persistent = cookie === undefined ? (record?.persistent ?? true) : cookie === "persistent"
  const left = (record?.absoluteExpiresAt ?? session.expiresAt.epochMilliseconds) - at
  return frontend.attach(response, {
    token: session.token,
    maxAge: persistent ? Option.some(Duration.millis(left)) : Option.none(),
    via: Option.fromUndefinedOr(via)
  })
}
