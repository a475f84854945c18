/**
 * Whether a request comes from another origin's page.
 *
 * @internal
 */
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import { requestHeader } from "../frontend/requestHeader.ts"

/** Methods that change nothing (RFC 9110 9.2.1, and QUERY), and so need no protection. */
const isSafe = (method: string): boolean =>
  method === "GET" || method === "HEAD" || method === "OPTIONS" || method === "TRACE" || method === "QUERY"

const loopback = /^(localhost|[^:]+\.localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/

/**
 * What the check goes by: whether the cookie travels over https alone, and the origins besides the app's own, in lower
 * case.
 *
 * @internal
 */
export interface CrossOriginPolicy {
  readonly secure: boolean
  readonly trusted: ReadonlySet<string>
}

/**
 * A request that is refused. `hint` says what to change, where this looks like the app's own page; it holds nothing of
 * the request.
 *
 * @internal
 */
export interface CrossOriginProblem {
  readonly hint: string | undefined
}

const otherOrigin: CrossOriginProblem = { hint: undefined }
const plainHttp: CrossOriginProblem = {
  hint: 'refused a request of the app\'s own page, which is served over plain http: no browser sends a secure cookie there. Serve it over https, or to develop set "secure: false" in SessionFrontend.layerCookie'
}

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
const problemOf = (origin: string, host: string | undefined, secure: boolean): CrossOriginProblem | undefined => {
  const [, scheme, authority] = /^(https?):\/\/([^/?#]+)$/.exec(origin) ?? []
  if (authority === undefined || host === undefined) return otherOrigin
  const ownPort = scheme === "https" ? /:443$/ : /:80$/
  if (authority.replace(ownPort, "") !== host.replace(ownPort, "")) return otherOrigin
  return scheme === "https" || !secure || loopback.test(host) ? undefined : plainHttp
}

/**
 * Why a request is refused, if it is: by Fetch Metadata, else by `Origin`. A request with neither comes from no browser
 * that would be made to send it (OWASP CSRF cheat sheet; all browsers since 2020 send at least `Origin` with an unsafe
 * method).
 *
 * @internal
 */
export const crossOriginProblem = (
  request: HttpServerRequest,
  policy: CrossOriginPolicy
): CrossOriginProblem | undefined => {
  // Pages may open WebSockets to any origin, with cookies and without a preflight (ASVS 4.4.2).
  if (isSafe(request.method) && requestHeader(request, "upgrade") === undefined) return undefined
  const origin = requestHeader(request, "origin")?.toLowerCase()
  // "null" is what every sandboxed frame sends: it is no origin to trust, whatever a frontend says.
  if (origin !== undefined && origin !== "null" && policy.trusted.has(origin)) return undefined
  const site = requestHeader(request, "sec-fetch-site")
  if (site !== undefined) return site === "same-origin" || site === "none" ? undefined : otherOrigin
  return origin === undefined ? undefined : problemOf(origin, hostOf(request), policy.secure)
}
