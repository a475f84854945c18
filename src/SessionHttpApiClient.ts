/**
 * Sessions for `HttpApiClient`, on a server, on a command line or on a phone: layers of an `HttpClient` that carries
 * the session.
 *
 * **Details**
 *
 * - In a browser none of this is needed: `fetch` carries the cookie itself, and no script may read or write it.
 * - They sit at the `HttpClient` and not at the API's middlewares, because only there it is known where a request goes:
 *   nothing is sent to another origin than it came from, or was meant for.
 * - All take what is to be done when an answer is a 401: log in and try again, forget a stored token, or tell the user.
 *
 * In tests, `SessionTest.layerClient` is a client that is logged in already, also for `HttpApiTest`, which has no
 * `HttpClient`.
 *
 * **Example** (Calling an API with a session)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { FetchHttpClient } from "effect/http"
 * import { HttpApi, HttpApiClient, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
 * import { SessionHttpApiClient } from "effect-sessions"
 *
 * const Api = HttpApi.make("api").add(
 *   HttpApiGroup.make("account").add(
 *     HttpApiEndpoint.post("login", "/login", { payload: Schema.Struct({ name: Schema.String }) }),
 *     HttpApiEndpoint.get("whoami", "/whoami", { success: Schema.String })
 *   )
 * )
 *
 * const program = Effect.gen(function*() {
 *   const client = yield* HttpApiClient.make(Api, { baseUrl: "http://localhost:3000" })
 *   yield* client.account.login({ payload: { name: "ada" } })
 *   return yield* client.account.whoami()
 * }).pipe(
 *   Effect.provide(SessionHttpApiClient.layerCookies()),
 *   Effect.provide(FetchHttpClient.layer)
 * )
 * ```
 *
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
import { CookieJar } from "./internal/cookieJar.ts"

/**
 * What a client is asked when an answer is a 401.
 *
 * @category models
 * @since 0.1.0
 */
export interface Unauthorized {
  readonly request: HttpClientRequest.HttpClientRequest
  readonly response: HttpClientResponse
  /** Carries what this client carries, but asks nothing on a 401: for logging in. */
  readonly client: HttpClient.HttpClient
  /** Sends the request again, with what the client carries by then. A second 401 is answered as it is. */
  readonly retry: Effect.Effect<HttpClientResponse, HttpClientError>
}

/**
 * What all of the layers take.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<R = never> {
  /**
   * What to do when an answer is a 401, whichever endpoint gave it, and the answer to go on with: the same one, or that
   * of a second try.
   *
   * @default the 401 itself
   */
  readonly onUnauthorized?:
    | ((unauthorized: Unauthorized) => Effect.Effect<HttpClientResponse, HttpClientError, R>)
    | undefined
}

interface Carrier<R> {
  /** The request with what is carried, made once its address is final. */
  readonly load: (
    request: HttpClientRequest.HttpClientRequest
  ) => Effect.Effect<HttpClientRequest.HttpClientRequest, never, R>
  readonly keep: (response: HttpClientResponse, request: HttpClientRequest.HttpClientRequest) => Effect.Effect<void>
}

const carrying = <R, RH>(
  carrier: Carrier<R>,
  { onUnauthorized }: Options<RH>
): Layer.Layer<HttpClient.HttpClient, never, HttpClient.HttpClient | R | RH> =>
  Layer.effect(
    HttpClient.HttpClient,
    Effect.gen(function* () {
      const client = yield* HttpClient.HttpClient
      const context = yield* Effect.context<R | RH>()
      // What the caller has in its context, a span say, goes before what the layer was built with.
      const provided = <A, E>(effect: Effect.Effect<A, E, R | RH>): Effect.Effect<A, E> =>
        Effect.updateContext(effect, (caller: Context.Context<never>) => Context.merge(context, caller))
      const send = (request: HttpClientRequest.HttpClientRequest) =>
        provided(carrier.load(request)).pipe(
          Effect.flatMap((loaded) => client.postprocess(Effect.succeed(loaded))),
          Effect.tap((response) => carrier.keep(response, request))
        )
      const carries = HttpClient.makeWith(Effect.flatMap(send), client.preprocess)
      if (onUnauthorized === undefined) return carries
      return HttpClient.makeWith(
        Effect.flatMap((request) =>
          Effect.flatMap(send(request), (response) =>
            response.status === 401
              ? provided(onUnauthorized({ request, response, client: carries, retry: send(request) }))
              : Effect.succeed(response)
          )
        ),
        client.preprocess
      )
    })
  )

/**
 * Layer of an `HttpClient` with a cookie jar of its own: it keeps what responses set and sends it back, each cookie to
 * the origin it came from, by its name, path and expiry, until it expires or is deleted.
 *
 * **Details**
 *
 * Each call makes a jar, so each is a user of its own. It lives in memory. `localhost` counts as secure, as it does for
 * browsers: a `Secure` cookie is sent there over plain http.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerCookies = <R = never>(
  options: Options<R> = {}
): Layer.Layer<HttpClient.HttpClient, never, HttpClient.HttpClient | R> =>
  Layer.unwrap(
    Effect.sync(() => {
      const jar = new CookieJar()
      return carrying<never, R>(
        {
          load: (request) =>
            Effect.map(Clock.currentTimeMillis, (now) => {
              const header = jar.header(HttpClientRequest.toUrl(request).pipe(href), now, request.headers["cookie"])
              return header === undefined ? request : HttpClientRequest.setHeader(request, "cookie", header)
            }),
          keep: (response) =>
            Effect.map(Clock.currentTimeMillis, (now) => jar.keep(response.url, response.cookies, now))
        },
        options
      )
    })
  )

const href = Option.match({ onNone: () => "", onSome: (url: URL) => url.href })

const isFor = (request: HttpClientRequest.HttpClientRequest, origin: string): boolean =>
  Option.exists(HttpClientRequest.toUrl(request), (url) => url.origin === origin)

/** The origin of the address a token is meant for; a token goes nowhere if there is none. */
const originOf = (baseUrl: string | URL): string => (URL.canParse(baseUrl) ? new URL(baseUrl).origin : "")

/**
 * Layer of an `HttpClient` that sends `Authorization: Bearer <token>`, to one origin alone.
 *
 * `token` is asked before every request: it may read a `Ref`, or the phone's key store. Nothing there, nothing sent.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerBearer = <RT = never, RH = never>(
  options: Options<RH> & {
    /** Where the API is. */
    readonly baseUrl: string | URL
    readonly token: Effect.Effect<Option.Option<Redacted.Redacted<string>>, never, RT>
  }
): Layer.Layer<HttpClient.HttpClient, never, HttpClient.HttpClient | RT | RH> => {
  const origin = originOf(options.baseUrl)
  return carrying<RT, RH>(
    {
      load: (request) =>
        isFor(request, origin)
          ? Effect.map(
              options.token,
              Option.match({
                onNone: () => request,
                onSome: (token) => HttpClientRequest.bearerToken(request, token)
              })
            )
          : Effect.succeed(request),
      keep: () => Effect.void
    },
    options
  )
}

/**
 * Layer of an `HttpClient` for a server with `SessionFrontend.layerHeader`: it keeps the token the server sends in that
 * header, also a new one, and sends it back, to one origin alone.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerHeader = <R = never>(
  options: Options<R> & {
    /** Where the API is. */
    readonly baseUrl: string | URL
    /** The header's name. */
    readonly name: string
    /** A token from before. */
    readonly token?: Redacted.Redacted<string> | undefined
  }
): Layer.Layer<HttpClient.HttpClient, never, HttpClient.HttpClient | R> =>
  Layer.unwrap(
    Effect.sync(() => {
      const origin = originOf(options.baseUrl)
      const name = options.name.toLowerCase()
      let { token } = options
      return carrying<never, R>(
        {
          load: (request) =>
            Effect.sync(() =>
              token !== undefined && isFor(request, origin)
                ? HttpClientRequest.setHeader(request, name, Redacted.value(token))
                : request
            ),
          keep: (response, request) =>
            Effect.sync(() => {
              const given = response.headers[name]
              if (given !== undefined && isFor(request, origin)) token = Redacted.make(given, { label: "SessionToken" })
            })
        },
        options
      )
    })
  )
