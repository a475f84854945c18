/**
 * Follows redirects with `HttpClient.followRedirects`, which decides on method and body, so that each request of a chain
 * gets the credentials of its own origin, and each response is read.
 *
 * @internal
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import { HttpClientError, InvalidUrlError } from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import * as Option from "effect/Option"

/** The origin of an http or https address. Those of other schemes would all be the same, "null". */
export const originOf = (address: string | URL): string | undefined => {
  const url = URL.canParse(address) ? new URL(address) : undefined
  return url !== undefined && /^https?:$/.test(url.protocol) ? url.origin : undefined
}

const originOfRequest = (request: Request): string | undefined =>
  Option.match(HttpClientRequest.toUrl(request), { onNone: () => undefined, onSome: originOf })

type Request = HttpClientRequest.HttpClientRequest

/** One request of a chain of redirects. */
export interface Hop {
  readonly request: Request
  readonly origin: string | undefined
  /** Fetch's redirect-taint: another origin than the first has been on the chain, and may have chosen this address. */
  readonly tainted: boolean
}

/** The last request of a chain, and its response. */
export interface Arrival extends Hop {
  readonly response: HttpClientResponse
}

type Send = (request: Request) => Effect.Effect<HttpClientResponse, HttpClientError>

/** What fetch removes from a request that is redirected to another origin. */
const ofOneOrigin = ["authorization", "cookie", "host", "proxy-authorization"]

/** Sends a request and follows its redirects. `each` sends one request of the chain. */
export const following = (
  client: HttpClient.HttpClient,
  options: {
    readonly maxRedirects: number | undefined
    /** The header of a token, if it has one of its own. */
    readonly header: string | undefined
    /** What the client's layer was built with. */
    readonly context: Context.Context<never>
  },
  each: (hop: Hop, send: Send) => Effect.Effect<HttpClientResponse, HttpClientError>
): ((first: Request) => Effect.Effect<Arrival, HttpClientError>) => {
  const secrets = options.header === undefined ? ofOneOrigin : [...ofOneOrigin, options.header]
  return (first) =>
    Effect.suspend(() => {
      const home = originOfRequest(first)
      let hop: Hop = { request: first, origin: home, tainted: false }
      const next = (request: Request) => {
        const origin = originOfRequest(request)
        if (request !== first && origin === undefined) return refused(request)
        const tainted = hop.tainted || origin !== home
        const removed = tainted ? secrets : []
        hop = { request: removed.reduce<Request>(HttpClientRequest.removeHeader, request), origin, tainted }
        const send: Send = (request) =>
          Effect.updateContext(client.postprocess(Effect.succeed(request)), (caller: Context.Context<never>) =>
            withManualRedirect(caller, options.context, removed)
          )
        return Effect.map(each(hop, send), (response) => {
          // A client that follows redirects itself may have ended at another origin.
          if (originOf(response.url) !== origin) hop = { ...hop, tainted: true }
          return response
        })
      }
      const hops = HttpClient.makeWith<HttpClientError, never, HttpClientError, never>(
        Effect.flatMap(next),
        Effect.succeed
      )
      return Effect.map(
        HttpClient.followRedirects(hops, options.maxRedirects).postprocess(Effect.succeed(first)),
        (response) => ({ ...hop, response })
      )
    })
}

/** As in fetch: some clients read `file:` and `data:`, which a server must not make them do. */
const refused = (request: Request) =>
  Effect.fail(
    new HttpClientError({
      reason: new InvalidUrlError({ request, description: "redirect to an address that is not http or https" })
    })
  )

/** Makes `fetch` hand over redirects. A `RequestInit` has headers too, from which the same are removed. */
const withManualRedirect = (
  caller: Context.Context<never>,
  built: Context.Context<never>,
  removed: ReadonlyArray<string>
): Context.Context<FetchHttpClient.RequestInit> => {
  const init = Context.getOrUndefined(Context.merge(built, caller), FetchHttpClient.RequestInit)
  const headers = new Headers(init?.headers)
  for (const name of removed) headers.delete(name)
  return Context.add(caller, FetchHttpClient.RequestInit, {
    ...init,
    headers,
    redirect: init?.redirect === "error" ? "error" : "manual"
  })
}
