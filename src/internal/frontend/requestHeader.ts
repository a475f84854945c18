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
 * `request.headers` of such a request converts all headers, which costs more than anything else the frontend does, so one
 * header is read from Node's own. For all other requests (HTTP/2, another server, headers replaced by a middleware)
 * `request.headers` is used. A `Proxy` around a request that has other headers is not noticed: use `modify` instead.
 */
const isUntouched = (request: unknown): request is Untouched => {
  const { headersOverride, source } = request as Partial<Untouched>
  return (
    headersOverride === undefined &&
    // Not an object that inherits from a request, nor one with headers of its own.
    Object.hasOwn(request as object, "headersOverride") &&
    !Object.hasOwn(request as object, "headers") &&
    source?.httpVersionMajor === 1 &&
    typeof source.headers === "object"
  )
}

/** The value of the header with this name in lower case. */
export const requestHeader = (request: HttpServerRequest, name: string): string | undefined => {
  if (isUntouched(request)) {
    const value = request.source.headers[name]
    if (value === undefined || typeof value === "string") return value
  }
  return request.headers[name]
}
