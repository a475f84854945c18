/**
 * Sessions for `HttpApiClient` outside of browsers, on a server or a phone: layers of an `HttpClient` that carries the
 * session.
 *
 * **When to use**
 *
 * Use where no browser carries the cookie. In tests, `SessionTest.layerClient` is a client that is logged in already,
 * also for `HttpApiTest`, which has no `HttpClient`.
 *
 * **Details**
 *
 * - A cookie or token is sent to its own origin alone, and nothing is kept of another origin's response.
 * - The layers follow redirects themselves, also over `FetchHttpClient`, so that each request of a chain carries the
 *   credentials of its own origin, and a cookie set by a redirect is kept. Method and body change as in `fetch`.
 * - A redirect to another origin removes `Authorization`, `Cookie`, `Host` and the token's header, also if the caller
 *   set them. For the rest of that chain no bearer or header token is sent, even if it leads back to the token's origin.
 *
 * **Gotchas**
 *
 * - Not for browsers: there `fetch` carries the cookie itself, no script may read it, and a redirect that `fetch` does
 *   not follow is an opaque response with status 0.
 * - Some underlying clients follow redirects whatever these layers ask for, with credentials by their own rules: React
 *   Native's `fetch`, undici with a redirect interceptor, `HttpClient.followRedirects` below these layers. A response
 *   from another origin is still not kept.
 * - These layers set `redirect` in `FetchHttpClient.RequestInit`. They keep the other settings of a `RequestInit` that
 *   is provided to them or to the program, but not of one that is provided to `FetchHttpClient.layer` alone.
 *
 * **Example** (Giving the program of an API's client a session)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { FetchHttpClient } from "effect/http"
 * import { SessionHttpApiClient } from "effect-sessions"
 *
 * // `HttpApiClient.make(Api, { baseUrl })` takes its client from here, and so logs in and stays logged in.
 * export const ClientLive = SessionHttpApiClient.layerCookies().pipe(Layer.provide(FetchHttpClient.layer))
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 */

import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import type { HttpClientError } from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { CookieJar } from "./internal/client/cookieJar.ts"
import * as Redirects from "./internal/client/redirects.ts"

/**
 * What `onUnauthorized` is given when a response is a 401.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Unauthorized {
  /** The request that was answered with a 401. After redirects it is the last one. */
  readonly request: HttpClientRequest.HttpClientRequest
  readonly response: HttpClientResponse
  /** Carries what this client carries, without `onUnauthorized`: for logging in. */
  readonly client: HttpClient.HttpClient
  /** Sends the request again, with what the client carries by then. A second 401 is its response. */
  readonly retry: Effect.Effect<HttpClientResponse, HttpClientError>
}

/**
 * The options of all layers.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface Options<R = never> {
  /**
   * What to do on a 401: log in and try again, forget a stored token, or tell the user. It returns the response to go
   * on with. It is not called for the 401 of an origin whose session this client does not carry, nor after redirects
   * that another origin took part in.
   *
   * @default the 401 itself
   */
  readonly onUnauthorized?:
    | ((unauthorized: Unauthorized) => Effect.Effect<HttpClientResponse, HttpClientError, R>)
    | undefined
  /**
   * How many redirects of a request are followed. The next one is its response.
   *
   * @default 10
   */
  readonly maxRedirects?: number | undefined
}

type Request = HttpClientRequest.HttpClientRequest

interface Carrier<R> {
  /** Whether a request is given credentials, and its response may change them. */
  readonly goes: (hop: Redirects.Hop) => boolean
  /** The token's header, if it has one of its own. */
  readonly header?: string
  readonly load: (request: Request) => Effect.Effect<Request, never, R>
  readonly keep: (response: HttpClientResponse) => Effect.Effect<void>
}

const carrying = <R, RH>(
  make: Effect.Effect<Carrier<R>>,
  { maxRedirects, onUnauthorized }: Options<RH>
): Effect.Effect<HttpClient.HttpClient, never, HttpClient.HttpClient | R | RH> =>
  Effect.gen(function* () {
    const client = yield* HttpClient.HttpClient
    const context = yield* Effect.context<R | RH>()
    const carrier = yield* make
    // The caller's own services, such as its span, take precedence over those the layer was built with.
    const provided = <A, E>(effect: Effect.Effect<A, E, R | RH>): Effect.Effect<A, E> =>
      Effect.updateContext(effect, (caller: Context.Context<never>) => Context.merge(context, caller))
    const follow = Redirects.following(client, { maxRedirects, header: carrier.header, context }, (hop, send) =>
      carrier.goes(hop)
        ? provided(carrier.load(hop.request)).pipe(
            Effect.flatMap(send),
            Effect.tap((response) =>
              Redirects.originOf(response.url) === hop.origin ? carrier.keep(response) : Effect.void
            )
          )
        : send(hop.request)
    )
    const answer = (request: Request) => Effect.map(follow(request), ({ response }) => response)
    const carries = HttpClient.makeWith(Effect.flatMap(answer), client.preprocess)
    if (onUnauthorized === undefined) return carries
    const asking = (request: Request) =>
      Effect.flatMap(follow(request), ({ response, ...hop }) =>
        response.status === 401 && !hop.tainted && carrier.goes(hop)
          ? provided(onUnauthorized({ request: hop.request, response, client: carries, retry: answer(hop.request) }))
          : Effect.succeed(response)
      )
    return HttpClient.makeWith(Effect.flatMap(asking), client.preprocess)
  })

/**
 * Makes an `HttpClient` with a cookie jar of its own, as `layerCookies` does: for `HttpApiClient.makeWith`.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const makeCookies = <R = never>(
  options: Options<R> = {}
): Effect.Effect<HttpClient.HttpClient, never, HttpClient.HttpClient | R> =>
  carrying<never, R>(
    Effect.sync(() => {
      const jar = new CookieJar()
      return {
        goes: () => true,
        load: (request) =>
          Effect.map(Clock.currentTimeMillis, (now) => {
            const url = Option.getOrUndefined(HttpClientRequest.toUrl(request))
            const header = jar.header(url?.href ?? "", now, request.headers["cookie"])
            return header === undefined ? request : HttpClientRequest.setHeader(request, "cookie", header)
          }),
        keep: (response) => Effect.map(Clock.currentTimeMillis, (now) => jar.keep(response.url, response.cookies, now))
      }
    }),
    options
  )

/**
 * Layer of an `HttpClient` with a cookie jar of its own: it keeps the cookies that responses and redirects set, and
 * sends each back to the origin it came from, by its path, until it expires or is deleted.
 *
 * **Details**
 *
 * - Each layer that is built has a jar in memory, for one user.
 * - A cookie is accepted as in browsers (RFC 6265bis 5.7), with the rules of the prefixes `__Host-` and `__Secure-`.
 *   But `Domain` does not widen its scope, and `SameSite` does not narrow it.
 * - A loopback address such as `localhost` is as secure as https: a `Secure` cookie is sent there over plain http.
 * - The jar keeps 50 cookies of at most 4096 bytes for each of the 60 origins used last.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerCookies = <R = never>(
  options?: Options<R>
): Layer.Layer<HttpClient.HttpClient, never, HttpClient.HttpClient | R> =>
  Layer.effect(HttpClient.HttpClient, makeCookies(options))

/** A token goes to the origin of this address, but not where another origin redirects to it. */
const onlyTo = (baseUrl: string | URL): Effect.Effect<Carrier<never>["goes"]> => {
  const home = Redirects.originOf(baseUrl)
  return home === undefined
    ? Effect.die(new TypeError("SessionHttpApiClient: baseUrl must be an absolute http or https address"))
    : Effect.succeed(({ origin, tainted }) => origin === home && !tainted)
}

/**
 * The options of a client with a bearer token.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface BearerOptions<RT = never, RH = never> extends Options<RH> {
  /** Where the API is. Its origin (scheme, host and port) counts; a layer without one dies when it is built. */
  readonly baseUrl: string | URL
  /** Runs before every request: it may read a `Ref`, or the phone's key store. With `None` no token is sent. */
  readonly token: Effect.Effect<Option.Option<Redacted.Redacted<string>>, never, RT>
}

/**
 * Makes an `HttpClient` that sends `Authorization: Bearer <token>`, to one origin alone, as `layerBearer` does.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const makeBearer = <RT = never, RH = never>(
  options: BearerOptions<RT, RH>
): Effect.Effect<HttpClient.HttpClient, never, HttpClient.HttpClient | RT | RH> =>
  carrying<RT, RH>(
    Effect.map(onlyTo(options.baseUrl), (goes) => ({
      goes,
      load: (request) =>
        Effect.map(options.token, (token) =>
          Option.isNone(token) ? request : HttpClientRequest.bearerToken(request, token.value)
        ),
      keep: () => Effect.void
    })),
    options
  )

/**
 * Layer of an `HttpClient` that sends `Authorization: Bearer <token>`, to one origin alone.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerBearer = <RT = never, RH = never>(
  options: BearerOptions<RT, RH>
): Layer.Layer<HttpClient.HttpClient, never, HttpClient.HttpClient | RT | RH> =>
  Layer.effect(HttpClient.HttpClient, makeBearer(options))

/**
 * The options of a client whose token has a header of its own.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface HeaderOptions<R = never> extends Options<R> {
  /** Where the API is. Its origin (scheme, host and port) counts; a layer without one dies when it is built. */
  readonly baseUrl: string | URL
  /** The header's name. */
  readonly name: string
  /** A token from before. */
  readonly token?: Redacted.Redacted<string> | undefined
}

/**
 * Makes an `HttpClient` for a server with `SessionFrontend.layerHeader`, as `layerHeader` does.
 *
 * @stability experimental
 * @category constructors
 * @since 0.1.0
 */
export const makeHeader = <R = never>(
  options: HeaderOptions<R>
): Effect.Effect<HttpClient.HttpClient, never, HttpClient.HttpClient | R> =>
  carrying<never, R>(
    Effect.map(onlyTo(options.baseUrl), (goes) => {
      const header = options.name.toLowerCase()
      let { token } = options
      return {
        goes,
        header,
        load: (request) =>
          Effect.sync(() =>
            token === undefined ? request : HttpClientRequest.setHeader(request, header, Redacted.value(token))
          ),
        keep: (response) =>
          Effect.sync(() => {
            const given = response.headers[header]
            if (given !== undefined) token = Redacted.make(given, { label: "SessionToken" })
          })
      }
    }),
    options
  )

/**
 * Layer of an `HttpClient` for a server with `SessionFrontend.layerHeader`: it keeps the token the server sends in that
 * header, also a new one, and sends it back, to one origin alone.
 *
 * @stability unstable
 * @category layers
 * @since 0.1.0
 */
export const layerHeader = <R = never>(
  options: HeaderOptions<R>
): Layer.Layer<HttpClient.HttpClient, never, HttpClient.HttpClient | R> =>
  Layer.effect(HttpClient.HttpClient, makeHeader(options))
