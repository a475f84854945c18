/**
 * Redirects followed by hand, so that each request of the way is loaded, and each response read, by its own origin.
 * Which redirects are followed, with what method and body, is up to `HttpClient.followRedirects`.
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

/** The origin of an http or https address. No other has one: theirs would all be the same, "null". */
export const originOf = (address: string | URL): string | undefined => {
  const url = URL.canParse(address) ? new URL(address) : undefined
  return url !== undefined && /^https?:$/.test(url.protocol) ? url.origin : undefined
}

const originOfRequest = (request: HttpClientRequest.HttpClientRequest): string | undefined =>
  Option.match(HttpClientRequest.toUrl(request), { onNone: () => undefined, onSome: originOf })

/** One request of the way. */
export interface Hop {
  readonly request: HttpClientRequest.HttpClientRequest
  readonly origin: string | undefined
  /** Whether the way has led over another origin than the first, which may have chosen this address. */
  readonly strayed: boolean
}

/** The response at the end of the way, and the request that it answers. */
export interface Arrival extends Hop {
  readonly response: HttpClientResponse
}

type Send = (request: HttpClientRequest.HttpClientRequest) => Effect.Effect<HttpClientResponse, HttpClientError>

/** What `fetch` takes off a request that is redirected to another origin. */
const ofOneOrigin = ["authorization", "cookie", "host", "proxy-authorization"]

/** Sends a request, each of the way by `each`, and follows the redirects. */
export const following =
  (
    client: HttpClient.HttpClient,
    options: {
      readonly maxRedirects: number | undefined
      /** The header of a token, if it is not one of the usual. */
      readonly header: string | undefined
      /** What the client's layer was built with. */
      readonly context: Context.Context<never>
    },
    each: (hop: Hop, send: Send) => Effect.Effect<HttpClientResponse, HttpClientError>
  ) =>
  (first: HttpClientRequest.HttpClientRequest): Effect.Effect<Arrival, HttpClientError> =>
    Effect.suspend(() => {
      const home = originOfRequest(first)
      const foreign = options.header === undefined ? ofOneOrigin : [...ofOneOrigin, options.header]
      let hop: Hop = { request: first, origin: home, strayed: false }
      const next = (request: HttpClientRequest.HttpClientRequest) => {
        const origin = originOfRequest(request)
        // Some clients read `file:` and `data:`, which a server has no business to choose.
        if (request !== first && origin === undefined) {
          const description = "redirect to an address that is not http or https"
          return Effect.fail(new HttpClientError({ reason: new InvalidUrlError({ request, description }) }))
        }
        const strayed = hop.strayed || origin !== home
        const removed = strayed ? foreign : []
        hop = {
          request: removed.reduce((r, name) => HttpClientRequest.removeHeader(r, name), request),
          origin,
          strayed
        }
        const send: Send = (request) =>
          Effect.updateContext(client.postprocess(Effect.succeed(request)), (caller: Context.Context<never>) =>
            handOver(caller, options.context, removed)
          )
        return Effect.map(each(hop, send), (response) => {
          // A client that follows redirects itself may have ended elsewhere.
          if (originOf(response.url) !== origin) hop = { ...hop, strayed: true }
          return response
        })
      }
      return Effect.map(
        HttpClient.followRedirects(
          HttpClient.makeWith<HttpClientError, never, HttpClientError, never>(Effect.flatMap(next), Effect.succeed),
          options.maxRedirects
        ).postprocess(Effect.succeed(first)),
        (response) => ({ ...hop, response })
      )
    })

/** Tells `fetch` to hand redirects over. The headers that a `RequestInit` adds to each request are removed as well. */
const handOver = (
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
