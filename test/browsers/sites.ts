/**
 * What the browsers visit: an app with sessions, and pages of other sites. A server answers under every name, so the name
 * in the address says which site a page is of; it writes down what it was asked.
 */
import { NodeCrypto } from "@effect/platform-node"
import { Effect, Layer, Redacted, Scope } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { SessionMiddleware } from "effect-sessions"
import * as Http from "node:http"
import * as Https from "node:https"
import { ahead } from "../support/aheadClock.ts"
import type { Certificate } from "../support/certificate.ts"
import * as Server from "../support/server.ts"
import * as Stack from "../support/stack.ts"
import { ada, UserSession } from "../support/userSession.ts"

/** The names that stand for this machine besides `localhost`. Those of `.test` are sites apart, but for `sub.app.test`. */
export const hosts = ["app.test", "sub.app.test", "evil.test", "login.test", "a.test", "b.test"]

/** What a server was asked, and answered. */
export interface Asked {
  readonly method: string
  readonly path: string
  readonly cookie: string | undefined
  readonly site: string | undefined
  readonly origin: string | undefined
  /** `Sec-Purpose`, of what is fetched ahead. */
  readonly purpose: string | undefined
  readonly status: number
}

export interface Site {
  /** `https://app.test:1234` */
  readonly at: (host: string) => string
  /** In the order of the answers. */
  readonly asked: ReadonlyArray<Asked>
  /** The newest request of a path. */
  readonly last: (method: string, path: string) => Asked | undefined
  readonly count: (method: string, path: string) => number
}

export const secretText = "private page of ada"

/** What a page with private data does in docs/browsers.md: kept in memory by the browser, it asks the server again. */
export const asksAgain = `addEventListener("pageshow", (event) => { if (event.persisted) location.reload() })`

const page = (
  body: string,
  script = `addEventListener("pageshow", (event) => { window.isFromMemory = event.persisted })`
) =>
  HttpServerResponse.text(
    `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>page</title><p>${body}</p>` +
      `<script>${script}</script>`,
    { contentType: "text/html" }
  )

const redirect = (path: string) => HttpServerResponse.redirect(path, { status: 303 })

export interface AppOptions extends Stack.HttpParts<UserSession> {
  /** From where the route `/callback` takes posts, as of an OAuth provider with `form_post`. */
  readonly callbackFrom?: ReadonlyArray<string> | undefined
  /** How far the server's clock is ahead; may change. */
  readonly clock?: { readonly millis: number } | undefined
  readonly cors?: Parameters<typeof HttpRouter.cors>[0]
}

const logIn = Effect.gen(function* () {
  const { url } = yield* HttpServerRequest.HttpServerRequest
  yield* (yield* UserSession).create(ada)
  return redirect(url.endsWith("?guarded") ? "/guarded" : "/private")
})

/** An app as a user of the library writes it. */
const app = ({ callbackFrom = [], cors, ...parts }: Omit<AppOptions, "clock">) => {
  const Open = Layer.mergeAll(
    HttpRouter.add("GET", "/", Effect.succeed(page("front page"))),
    HttpRouter.add("GET", "/other", Effect.succeed(page("other page"))),
    HttpRouter.add("POST", "/login", logIn),
    // As a link in a mail does it.
    HttpRouter.add("GET", "/link", logIn),
    HttpRouter.add(
      "POST",
      "/logout",
      Effect.gen(function* () {
        yield* (yield* UserSession).destroy
        return redirect("/")
      })
    ),
    HttpRouter.add(
      "POST",
      "/token",
      Effect.gen(function* () {
        const { token } = yield* (yield* UserSession).create(ada)
        return yield* HttpServerResponse.json({ token: Redacted.value(token) })
      })
    )
  ).pipe(Layer.provide(SessionMiddleware.router(UserSession).layer))
  const Callback = HttpRouter.add("POST", "/callback", logIn).pipe(
    Layer.provide(SessionMiddleware.router(UserSession, { trustedOrigins: callbackFrom }).layer)
  )
  const Guarded = Layer.mergeAll(
    HttpRouter.add("GET", "/private", Effect.as(UserSession.Verified, page(secretText))),
    HttpRouter.add("GET", "/guarded", Effect.as(UserSession.Verified, page(secretText, asksAgain))),
    HttpRouter.add(
      "GET",
      "/whoami",
      Effect.map(UserSession.Verified, ({ data }) => HttpServerResponse.text(data.username ?? "-"))
    ),
    HttpRouter.add("POST", "/count", Effect.as(UserSession.Verified, HttpServerResponse.text("counted")))
  ).pipe(Layer.provide(SessionMiddleware.routerRequired(UserSession).layer))
  // As an administrator does it: the browser hears nothing of it.
  const Revoked = Layer.unwrap(
    Effect.map(UserSession.Manager, (sessions) =>
      HttpRouter.add("POST", "/revoke", Effect.as(sessions.revokeAll("ada"), HttpServerResponse.empty()))
    )
  )
  return Layer.mergeAll(
    Open,
    Callback,
    Guarded,
    Revoked,
    cors === undefined ? Layer.empty : HttpRouter.cors(cors)
  ).pipe(Layer.provide(Stack.http(UserSession, { crypto: NodeCrypto.layer, ...parts })))
}

/** Pages of any other site: what they do is put into them by a test. */
const pages = HttpRouter.add("GET", "*", Effect.succeed(page("a page of another site")))

/** Starts servers that end with a scope. */
export const serving = (scope: Scope.Scope, certificate: Certificate) => {
  const serve = async <E>(
    scheme: "http" | "https",
    routes: Parameters<typeof Server.listen<E>>[0],
    clock: { readonly millis: number } = { millis: 0 }
  ): Promise<Site> => {
    const asked: Array<Asked> = []
    const make = () =>
      (scheme === "https" ? Https.createServer(certificate) : Http.createServer()).on(
        "request",
        (request, response) => {
          const { headers, method = "", url: path = "" } = request
          response.once("finish", () =>
            asked.push({
              method,
              path,
              cookie: headers.cookie,
              site: headers["sec-fetch-site"] as string | undefined,
              origin: headers.origin,
              purpose: headers["sec-purpose"] as string | undefined,
              status: response.statusCode
            })
          )
        }
      )
    const listening = Effect.provideService(Server.listen(routes, make), Scope.Scope, scope)
    const port = await Effect.runPromise(ahead(clock)(listening))
    const those = (method: string, path: string) => asked.filter((one) => one.method === method && one.path === path)
    return {
      at: (host) => `${scheme}://${host}:${port}`,
      asked,
      last: (method, path) => those(method, path).at(-1),
      count: (method, path) => those(method, path).length
    }
  }
  return {
    app: ({ clock, ...options }: AppOptions = {}, scheme: "http" | "https" = "https") =>
      serve(scheme, app(options), clock),
    pages: (scheme: "http" | "https" = "https") => serve(scheme, pages)
  }
}
