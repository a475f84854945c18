/** Requests to an application in this process, through the same web handler a server would use. */
import { Effect } from "effect"
import type { Context, Layer, Scope } from "effect"
import { HttpEffect, HttpRouter } from "effect/http"
import type { HttpServerError, HttpServerRequest, HttpServerResponse } from "effect/http"

export interface RequestOptions {
  readonly cookie?: string | undefined
  readonly headers?: Record<string, string> | undefined
  readonly body?: string | undefined
  readonly signal?: AbortSignal | undefined
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly setCookie: ReadonlyArray<string>
  readonly text: string
  /** The name and value of the first `Set-Cookie`, as a browser sends it back. */
  readonly cookie: string
}

export type Send = (method: string, url: string, options?: RequestOptions) => Effect.Effect<Answer>

export const answerOf = (response: Response): Effect.Effect<Answer> =>
  Effect.map(
    Effect.promise(() => response.text()),
    (text) => {
      const setCookie = response.headers.getSetCookie()
      return {
        status: response.status,
        headers: response.headers,
        setCookie,
        text,
        cookie: (setCookie[0] ?? "").split(";")[0]!
      }
    }
  )

const toRequest = (method: string, url: string, { body, cookie, headers, signal }: RequestOptions = {}): Request =>
  new Request(new URL(url, "https://app.test"), {
    method,
    headers: { ...headers, ...(cookie === undefined || cookie === "" ? undefined : { cookie }) },
    ...(body === undefined ? undefined : { body }),
    ...(signal === undefined ? undefined : { signal })
  })

/** An application as a web handler. It runs with the services of the test, its clock among them. */
export const webHandler = <E>(
  app: Effect.Effect<HttpServerResponse.HttpServerResponse, E, HttpServerRequest.HttpServerRequest | Scope.Scope>
): Effect.Effect<(request: Request) => Promise<Response>> =>
  Effect.contextWith((context: Context.Context<never>) =>
    Effect.succeed(HttpEffect.toWebHandlerWith<never, HttpServerRequest.HttpServerRequest | Scope.Scope>(context)(app))
  )

export const sender =
  (handler: (request: Request) => Promise<Response>): Send =>
  (method, url, options) =>
    Effect.flatMap(
      Effect.promise(() => handler(toRequest(method, url, options))),
      answerOf
    )

/** Routes, as one effect of a request. */
export const appOf = <E>(
  routes: Layer.Layer<never, E, HttpRouter.HttpRouter | HttpRouter.Request<"Error", unknown>>
): Effect.Effect<
  Effect.Effect<HttpServerResponse.HttpServerResponse, unknown, HttpServerRequest.HttpServerRequest | Scope.Scope>,
  never,
  Scope.Scope
> =>
  // What is left of `R` are the routes' own errors, which become responses.
  Effect.orDie(HttpRouter.toHttpEffect(routes)) as Effect.Effect<
    Effect.Effect<
      HttpServerResponse.HttpServerResponse,
      HttpServerError.HttpServerError,
      HttpServerRequest.HttpServerRequest | Scope.Scope
    >,
    never,
    Scope.Scope
  >

export const serve = <E>(
  routes: Layer.Layer<never, E, HttpRouter.HttpRouter | HttpRouter.Request<"Error", unknown>>
): Effect.Effect<Send, never, Scope.Scope> => Effect.map(Effect.flatMap(appOf(routes), webHandler), sender)
