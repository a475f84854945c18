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
 * Compares an `Origin` with the request's own `Host`. The scheme seen here says nothing behind a proxy, so it follows
 * from the cookie: one that is `Secure` came over https, or from this very machine.
 */
const isOwn = (origin: string, host: string | undefined, secure: boolean): boolean => {
  const parts = /^(https?):\/\/([^/?#]+)$/.exec(origin)
  if (parts === null || host === undefined) return false
  const [, scheme, authority] = parts
  const ownPort = scheme === "https" ? /:443$/ : /:80$/
  const own = host.toLowerCase()
  return (
    authority!.replace(ownPort, "") === own.replace(ownPort, "") &&
    (scheme === "https" || !secure || loopback.test(own))
  )
}

/**
 * By Fetch Metadata, else by `Origin`. A request with neither comes from no browser that would be made to send it
 * (OWASP CSRF cheat sheet; all browsers since 2020 send at least `Origin` with an unsafe method).
 *
 * @internal
 */
export const isCrossOrigin = (
  request: HttpServerRequest,
  policy: { readonly secure: boolean; readonly trusted: ReadonlySet<string> }
): boolean => {
  // Pages may open WebSockets to any origin, with cookies and without a preflight (ASVS 4.4.2).
  if (isSafe(request.method) && requestHeader(request, "upgrade") === undefined) return false
  const origin = requestHeader(request, "origin")?.toLowerCase()
  if (origin !== undefined && policy.trusted.has(origin)) return false
  const site = requestHeader(request, "sec-fetch-site")
  if (site !== undefined) return site !== "same-origin" && site !== "none"
  if (origin === undefined) return false
  return !isOwn(origin, requestHeader(request, "host") ?? requestHeader(request, ":authority"), policy.secure)
}
