/**
 * Whether a request comes from another origin's page.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { Tagged } from "../../Session.ts"
import { SessionCrossOrigin } from "../../SessionError.ts"
import { failure } from "../exit.ts"
import { requestHeader } from "../frontend/requestHeader.ts"
import { type Binding, type CrossOriginPolicy, refused } from "./binding.ts"

/** Methods that change nothing (RFC 9110 9.2.1, and QUERY), and so need no protection. */
const isSafe = (method: string): boolean =>
  method === "GET" || method === "HEAD" || method === "OPTIONS" || method === "TRACE" || method === "QUERY"

const loopback = /^(localhost|[^:]+\.localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/

/** Why a request is refused. `plainHttp`: this looks like the app's own page, served over http. */
type Problem = "otherOrigin" | "plainHttp"

const plainHttpHint =
  'refused a request of the app\'s own page, which is served over plain http: no browser sends a secure cookie there. Serve it over https, or to develop set "secure: false" in SessionFrontend.layerCookie'

const crossOriginError = new SessionCrossOrigin()
const crossOrigin = failure(crossOriginError)

/**
 * The host the request was sent to. `Host` decides where there is one; a request without, as a framework makes it in
 * process, names its host in its URL. Forwarded headers are not read: any client can send them.
 */
const hostOf = (request: HttpServerRequest): string | undefined => {
  const host = requestHeader(request, "host") ?? requestHeader(request, ":authority")
  if (host !== undefined) return host.toLowerCase()
  const { originalUrl } = request
  return /^https?:/i.test(originalUrl) && URL.canParse(originalUrl) ? new URL(originalUrl).host : undefined
}

/**
 * Compares an `Origin` with the request's own host. The scheme seen here says nothing behind a proxy, so it follows from
 * the cookie: one that is `Secure` came over https, or from this very machine.
 */
const compare = (origin: string, host: string | undefined, secure: boolean): Problem | undefined => {
  const [, scheme, authority] = /^(https?):\/\/([^/?#]+)$/.exec(origin) ?? []
  if (authority === undefined || host === undefined) return "otherOrigin"
  const ownPort = scheme === "https" ? /:443$/ : /:80$/
  if (authority.replace(ownPort, "") !== host.replace(ownPort, "")) return "otherOrigin"
  return scheme === "https" || !secure || loopback.test(host) ? undefined : "plainHttp"
}

/**
 * Goes by Fetch Metadata, else by `Origin`. A request with neither comes from no browser that would be made to send it
 * (OWASP CSRF cheat sheet; all browsers since 2020 send at least `Origin` with an unsafe method).
 */
const problemOf = (
  request: HttpServerRequest,
  policy: CrossOriginPolicy,
  trustedHere: ReadonlySet<string>
): Problem | undefined => {
  // Pages may open WebSockets to any origin, with cookies and without a preflight (ASVS 4.4.2).
  if (isSafe(request.method) && requestHeader(request, "upgrade") === undefined) return undefined
  const origin = requestHeader(request, "origin")?.toLowerCase()
  // Every sandboxed frame sends "null": it is no origin to trust, whatever a frontend says.
  if (origin !== undefined && origin !== "null" && (policy.trusted.has(origin) || trustedHere.has(origin))) {
    return undefined
  }
  const site = requestHeader(request, "sec-fetch-site")
  if (site !== undefined) return site === "same-origin" || site === "none" ? undefined : "otherOrigin"
  return origin === undefined ? undefined : compare(origin, hostOf(request), policy.secure)
}

/**
 * Refuses an unsafe request of another origin, unless it carries its token in a header and none in a cookie: no page can
 * be made to send such a header elsewhere without a preflight. `trustedHere`: the origins that the route trusts besides,
 * in lower case.
 */
export const admit = <Self, A, R extends ReadonlyArray<Tagged>>(
  request: HttpServerRequest,
  { definition, frontend, policy }: Binding<Self, A, R>,
  trustedHere: ReadonlySet<string>
): Effect.Effect<void, SessionCrossOrigin> => {
  const problem = policy.origins === undefined ? undefined : problemOf(request, policy.origins, trustedHere)
  if (problem === undefined) return Exit.void
  const refusal = Effect.andThen(refused(frontend, crossOriginError), crossOrigin)
  const refuse = Effect.suspend(() => {
    // Once for each frontend: an attacker must not be able to fill the log.
    if (problem === "otherOrigin" || policy.hasHinted) return refusal
    policy.hasHinted = true
    return Effect.andThen(
      Effect.annotateLogs(Effect.logWarning(plainHttpHint), { namespace: definition.key }),
      () => refusal
    )
  })
  return Effect.matchEffect(frontend.extract(request), {
    onFailure: () => refuse,
    onSuccess: (credentials) => (credentials.every(({ via }) => via === "header") ? Exit.void : refuse)
  })
}
