/**
 * What a response carries of the request's session: its token, `Vary`, and what caches may do (laws 5 and 6).
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import type { CreateOptions, Session } from "../../Session.ts"
import type { SessionFrontend, Transport } from "../../SessionFrontend.ts"
import { LiveSession } from "../manager/liveSession.ts"
import type { FrontendPolicy } from "./frontendPolicy.ts"

type Response = HttpServerResponse.HttpServerResponse

/** What is known of the request's session by the time the response is made. */
export interface Outgoing {
  /** A session that was created or rotated. */
  readonly issued: { readonly session: Session<unknown>; readonly cookie: CreateOptions["cookie"] } | undefined
  /** Where the client is to forget its token. */
  readonly detach: Transport | undefined
  /** How the request's token came. */
  readonly via: Transport | undefined
  /** Whether the handler has asked for the session, and whether what it learnt depends on the client. */
  readonly wasRead: boolean
  readonly isPrivate: boolean
  readonly wasUnavailable: boolean
}

/** Puts it all on a response. Twice is the same as once. */
export const apply = (
  response: Response,
  frontend: SessionFrontend["Service"],
  policy: FrontendPolicy,
  outgoing: Outgoing
): Response => {
  const given = response.headers
  const raw = rawHeaders(response)
  let carrying = response
  const set = (name: string, value: string): void => {
    if (given[name] !== value) carrying = HttpServerResponse.setHeader(carrying, name, value)
  }
  set("vary", mergeVary(given["vary"], raw?.get("vary"), policy))
  if (response.status === 401 && outgoing.wasRead && given["www-authenticate"] === undefined) {
    set("www-authenticate", policy.challenge)
  }
  if (response.status === 503 && outgoing.wasUnavailable && given["retry-after"] === undefined) set("retry-after", "1")
  if (outgoing.isPrivate) {
    set("cache-control", "no-store")
    for (const name of Object.keys(given)) if (isForSharedCache(name)) set(name, "no-store")
    for (const name of raw?.keys() ?? []) if (isForSharedCache(name)) set(name, "no-store")
  }
  const { detach, issued, via } = outgoing
  if (issued !== undefined) return attach(carrying, frontend, issued, via)
  return detach === undefined ? carrying : frontend.detach(carrying, detach)
}

/** Whether a handler lets caches keep what depends on a session. */
export const isCacheable = (response: Response): boolean => {
  const cacheControl = response.headers["cache-control"]
  return cacheControl !== undefined && /public|max-?age|immutable/i.test(cacheControl)
}

/** Whether a handler keeps shared caches from storing the response. */
export const isUnshared = (response: Response): boolean =>
  /no-store|private/i.test(response.headers["cache-control"] ?? rawHeaders(response)?.get("cache-control") ?? "")

/** `CDN-Cache-Control` and those of single CDNs (RFC 9213), which go before `Cache-Control`, and their forerunner. */
const isForSharedCache = (name: string): boolean => name.endsWith("-cache-control") || name === "surrogate-control"

/** Headers of a web `Response` inside ours, which ours override when both are sent. */
const rawHeaders = ({ body }: Response): Headers | undefined =>
  body._tag === "Raw" && body.body instanceof globalThis.Response ? body.body.headers : undefined

const mergeVary = (own: string | undefined, raw: string | null | undefined, policy: FrontendPolicy): string => {
  const given = own && raw ? `${own}, ${raw}` : own || raw
  if (!given) return policy.varyText
  const named = new Set(
    given
      .toLowerCase()
      .split(",")
      .map((name) => name.trim())
  )
  // `*` says more than any name.
  return named.has("*") || policy.vary.every((name) => named.has(name.toLowerCase()))
    ? given
    : `${given}, ${policy.varyText}`
}

const attach = (
  response: Response,
  frontend: SessionFrontend["Service"],
  { cookie, session }: NonNullable<Outgoing["issued"]>,
  via: Transport | undefined
): Response => {
  if (cookie === "none") return response
  const record = LiveSession.record(session)
  const persistent = cookie === undefined ? (record?.persistent ?? true) : cookie === "persistent"
  const left = (record?.absoluteExpiresAt ?? session.expiresAt.epochMilliseconds) - session.lastSeenAt.epochMilliseconds
  return frontend.attach(response, {
    token: session.token,
    maxAge: persistent ? Option.some(Duration.millis(left)) : Option.none(),
    via: Option.fromUndefinedOr(via)
  })
}
