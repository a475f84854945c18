/** What the tests of the request's session over HTTP share: small apps, frontends, and a server that listens. */
import type { Duration } from "effect"
import { Effect, Layer, Logger, Option, Redacted, Result, Schema, Stream } from "effect"
import { Headers, HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { SessionFrontend, SessionMiddleware } from "effect-sessions"
import type { Session, SessionError } from "effect-sessions"
import * as Http from "node:http"
import * as Client from "./client.ts"
import * as WatchedBackend from "./watchedBackend.ts"
import * as Server from "./server.ts"
import type * as Stage from "./stage.ts"
import type { UserData } from "./userSession.ts"
import { ada, eve, UserSession } from "./userSession.ts"
import * as Stack from "./stack.ts"

export const empty = HttpServerResponse.empty()
export const text = HttpServerResponse.text

export const name = (session: Session.Session<(typeof UserData)["Type"]>) => session.data.username ?? "-"

export const whoami = Effect.gen(function* () {
  return text(name(yield* (yield* UserSession).get))
})

export const verified = Effect.map(UserSession.Verified, (session) => text(name(session)))

export const isLive = (stage: Effect.Success<ReturnType<typeof Stage.make>>, token: Redacted.Redacted<string>) =>
  Effect.isSuccess(stage.manager.resolve(token))

export const tagOf = (answer: Client.Answer) => (JSON.parse(answer.text) as { readonly _tag: string })._tag
export const reasonOf = (answer: Client.Answer) => (JSON.parse(answer.text) as { readonly reason: string }).reason

/** What was logged while an effect ran. */
export const logged = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const lines: Array<string> = []
    const layer = Logger.layer([Logger.make(({ logLevel, message }) => lines.push(`${logLevel} ${String(message)}`))])
    return Effect.map(Effect.provide(effect, layer), (value) => ({ value, lines }))
  })

export class Teapot extends Schema.TaggedError<Teapot>()("Teapot", {}) {}

// -----------------------------------------------------------------------------
// Frontends
// -----------------------------------------------------------------------------

export type Frontend = SessionFrontend.SessionFrontend["Service"]
export type AnyFrontend = Layer.Layer<SessionFrontend.SessionFrontend, SessionError.SessionConfigError>

export const build = (layer: AnyFrontend): Effect.Effect<Frontend, SessionError.SessionConfigError> =>
  Effect.provide(SessionFrontend.SessionFrontend, layer)

export const problemsOf = (layer: AnyFrontend): Effect.Effect<ReadonlyArray<string>> =>
  Effect.map(Effect.result(build(layer)), (result) => (Result.isFailure(result) ? result.failure.problems : []))

/** A request with these very header values, whatever characters they hold. */
const requestWith = (headers: Record<string, string>) =>
  HttpServerRequest.fromWeb(new Request("https://app.test/")).modify({ headers: Headers.fromRecordUnsafe(headers) })

/** What a frontend finds: its tokens and how each came, or the tag and reason of its error. */
export const found = (frontend: Frontend, headers: Record<string, string>) =>
  Effect.match(frontend.extract(requestWith(headers)), {
    onFailure: (error) => (error._tag === "SessionInvalid" ? error.reason : error._tag),
    onSuccess: (credentials) => credentials.map(({ token, via }) => `${via}:${Redacted.value(token)}`)
  })

export const issued = (options?: {
  readonly maxAge?: Duration.Duration
  readonly via?: SessionFrontend.Transport
}) => ({
  token: Redacted.make("TOKEN"),
  maxAge: Option.fromUndefinedOr(options?.maxAge),
  via: Option.fromUndefinedOr(options?.via)
})

export const headersOf = (response: HttpServerResponse.HttpServerResponse) => HttpServerResponse.toWeb(response).headers

export const cookiesOf = (response: HttpServerResponse.HttpServerResponse) => headersOf(response).getSetCookie()

/** An app that does one thing for each of these paths. */
export const Routes = Layer.mergeAll(
  HttpRouter.add(
    "POST",
    "/login",
    Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const cookie = new URL(request.url, "https://app.test").searchParams.get("cookie")
      const options = cookie === null ? undefined : { cookie: cookie as "persistent" | "browser" | "none" }
      return HttpServerResponse.text((yield* (yield* UserSession).create(ada, options)).id)
    })
  ),
  HttpRouter.add(
    "POST",
    "/rotate",
    Effect.gen(function* () {
      return HttpServerResponse.text((yield* (yield* UserSession).rotate).id)
    })
  ),
  HttpRouter.add(
    "POST",
    "/logout",
    Effect.gen(function* () {
      yield* (yield* UserSession).destroy
      return HttpServerResponse.empty()
    })
  ),
  HttpRouter.add(
    "*",
    "/whoami",
    Effect.gen(function* () {
      return HttpServerResponse.text((yield* (yield* UserSession).get).data.username ?? "-")
    })
  )
).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))

export const start = Effect.fnUntraced(function* (options?: Stack.HttpParts<UserSession>) {
  const backend = WatchedBackend.make()
  const send = yield* Client.serve(
    Routes.pipe(Layer.provide(Stack.http(UserSession, { ...options, backend: backend.layer })))
  )
  return { backend, send }
})

export const tokenOf = (cookie: string) => cookie.slice(cookie.indexOf("=") + 1)

// -----------------------------------------------------------------------------
// A server that listens
// -----------------------------------------------------------------------------

const ServerRoutes = Layer.mergeAll(
  HttpRouter.add(
    "POST",
    "/login",
    Effect.flatMap(UserSession, (s) => Effect.as(s.create(ada), empty))
  ),
  HttpRouter.add(
    "POST",
    "/login/eve",
    Effect.flatMap(UserSession, (s) => Effect.as(s.create(eve), empty))
  ),
  HttpRouter.add(
    "POST",
    "/logout",
    Effect.flatMap(UserSession, (s) => Effect.as(s.destroy, empty))
  ),
  HttpRouter.add(
    "POST",
    "/count",
    Effect.flatMap(UserSession, (s) =>
      Effect.as(
        s.update((data) => ({ ...data, count: data.count + 1 })),
        empty
      )
    )
  ),
  HttpRouter.add(
    "GET",
    "/stream",
    Effect.gen(function* () {
      const session = yield* UserSession
      const late = Effect.map(Effect.exit(session.create(ada)), (exit) => new TextEncoder().encode(exit._tag))
      return HttpServerResponse.stream(Stream.fromEffect(late))
    })
  ),
  HttpRouter.add(
    "GET",
    "/open",
    Effect.flatMap(UserSession, (s) => Effect.as(s.option, empty))
  )
).pipe(
  Layer.provide(SessionMiddleware.router(UserSession).layer),
  Layer.merge(
    HttpRouter.add(
      "GET",
      "/whoami",
      Effect.map(UserSession.Verified, ({ data }) => HttpServerResponse.text(data.username!))
    ).pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer))
  )
)

/** A server with these routes; requests reach it over TCP. */
export const startServer = Effect.fnUntraced(function* (
  options?: Stack.HttpParts<UserSession>,
  make?: Parameters<typeof Server.listen>[1]
) {
  const backend = WatchedBackend.make()
  const port = yield* Server.listen(
    ServerRoutes.pipe(Layer.provide(Stack.http(UserSession, { ...options, backend: backend.layer }))),
    make
  )
  const send: Client.Send = (method, url, { body, cookie, headers, signal } = {}) =>
    Effect.callback<Client.Answer>((resume) => {
      const { pathname, search } = new URL(url, "http://localhost")
      const request = Http.request(
        {
          port,
          host: "127.0.0.1",
          method,
          path: pathname + search,
          agent: false,
          headers: { ...headers, ...(cookie === undefined || cookie === "" ? undefined : { cookie }) },
          ...(signal === undefined ? undefined : { signal })
        },
        (response) => {
          const chunks: Array<Buffer> = []
          response.on("data", (chunk: Buffer) => chunks.push(chunk))
          response.on("end", () => {
            const setCookie = response.headers["set-cookie"] ?? []
            resume(
              Effect.succeed({
                status: response.statusCode!,
                headers: new globalThis.Headers(
                  Object.entries(response.headersDistinct).flatMap(([name, values]) =>
                    (values ?? []).map((value): [string, string] => [name, value])
                  )
                ),
                setCookie,
                text: Buffer.concat(chunks).toString(),
                cookie: (setCookie[0] ?? "").split(";")[0]!
              })
            )
          })
        }
      )
      request.on("error", (error) => resume(Effect.die(error)))
      request.end(body)
    })
  return { backend, port, send }
})

/** A request with these bytes as its `Cookie` header, one line for each. */
export const rawGet = (port: number, path: string, cookies: ReadonlyArray<Buffer>) =>
  Effect.map(
    Server.raw(
      port,
      Buffer.concat([
        Buffer.from(`GET ${path} HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n`),
        ...cookies.flatMap((line) => [Buffer.from("Cookie: "), line, Buffer.from("\r\n")]),
        Buffer.from("\r\n")
      ])
    ),
    (text) => {
      const [head, ...body] = text.split("\r\n\r\n")
      return { status: Number(head!.split(" ")[1]), head: head!, body: body.join("\r\n\r\n") }
    }
  )
