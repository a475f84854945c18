/**
 * One header of a request, without the others.
 *
 * @internal
 */
import type { HttpServerRequest } from "effect/http/HttpServerRequest"

/** A request of `NodeHttpServer` over HTTP/1.1 whose headers no middleware has replaced. */
interface Untouched {
  readonly headersOverride: undefined
  readonly source: {
    readonly httpVersionMajor: 1
    readonly headers: { readonly [name: string]: string | ReadonlyArray<string> | undefined }
  }
}

/**
 * Such a request turns all its headers into Effect's the first time one of them is asked for, which costs more than
 * anything else the frontend does. Node has them ready, by the same names: so the one is taken from there. A request
 * that a middleware gave other headers, one whose target names another host, one by HTTP/2, and any of another server is
 * asked in the ordinary way, and so would all be should `NodeHttpServer` change. A `Proxy` of a request that answers other
 * headers cannot be told from the request: give it others by `modify`.
 */
const isUntouched = (request: unknown): request is Untouched => {
  const { headersOverride, source } = request as Partial<Untouched>
  return (
    headersOverride === undefined &&
    // Its own, and with no headers of its own: not something made of a request.
    Object.hasOwn(request as object, "headersOverride") &&
    !Object.hasOwn(request as object, "headers") &&
    source?.httpVersionMajor === 1 &&
    typeof source.headers === "object"
  )
}

/**
 * The header of this name, in lower case: its one value, or nothing.
 *
 * @internal
 */
export const requestHeader = (request: HttpServerRequest, name: string): string | undefined => {
  if (isUntouched(request)) {
    const value = request.source.headers[name]
    if (value === undefined || typeof value === "string") return value
  }
  return request.headers[name]
}
