/** What the tests of recipes share: routes as an app, and browsers that keep cookies. */
import { NodeCrypto } from "@effect/platform-node"
import { assert } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { SessionBackend } from "../../src/SessionBackend.ts"
import * as SessionFrontend from "../../src/SessionFrontend.ts"
import * as SessionMiddleware from "../../src/SessionMiddleware.ts"
import * as SessionVerifier from "../../src/SessionVerifier.ts"
import * as SessionTest from "../../src/testing/SessionTest.ts"
import * as Client from "./client.ts"
import * as Stack from "./stack.ts"
import { secretA } from "./userSession.ts"

export type AnyLayer = Layer.Layer<any, any, any>
type Parts = readonly [AnyLayer, ...ReadonlyArray<AnyLayer>]
export type Routes = Layer.Layer<never, never, HttpRouter.HttpRouter>

export const route = (
  method: "GET" | "POST",
  path: `/${string}`,
  // What a recipe's handler needs and fails with is its own affair.
  handler: Effect.Effect<any, any, any>
): AnyLayer =>
  HttpRouter.add(method, path, handler as Effect.Effect<HttpServerResponse.HttpServerResponse>) as unknown as AnyLayer

/** An answer that browsers show, once this is done. */
export const answering = (effect: Effect.Effect<unknown, any, any>) =>
  Effect.as(effect, HttpServerResponse.text("done"))

/** The layers of a document's session. */
export const partsOf = (
  definition: any,
  frontend: AnyLayer = SessionFrontend.layerCookie(),
  options: Parameters<typeof SessionMiddleware.layer>[1] = {}
): AnyLayer =>
  SessionMiddleware.layer(definition, options).pipe(Layer.provide([frontend, SessionVerifier.layerExists(definition)]))

/** `POST /login/<name>`, without a password. */
export const logInOf = (definition: any): AnyLayer =>
  route(
    "POST",
    "/login/:name",
    Effect.gen(function* () {
      const { name } = yield* HttpRouter.params
      return yield* answering((yield* definition as Effect.Effect<any>).create({ username: name }))
    })
  ).pipe(Layer.provide(SessionMiddleware.router(definition).layer))

/** Routes over the layers of their sessions, on a store, by default one of their own. */
export const withParts = (
  routes: AnyLayer,
  parts: Parts,
  backend: Layer.Layer<SessionBackend> = Stack.layerMemory()
): Routes =>
  routes.pipe(
    Layer.provide([...parts]),
    Layer.provide([backend, Stack.layerKeys(secretA), NodeCrypto.layer])
  ) as unknown as Routes

/** A store that several apps of a test share. */
export const sharedBackend = () => Layer.succeed(SessionBackend, Stack.memory())

/** A store whose calls take a while, so that requests at once are in each other's way. For tests in real time. */
export const slowBackend = Effect.gen(function* () {
  const context = yield* Layer.build(SessionTest.layerBackend)
  yield* Context.get(context, SessionTest.BackendFaults).inject({ delay: "3 millis" })
  return Layer.succeedContext(context)
})

export interface FormOptions extends Client.RequestOptions {
  readonly form?: Record<string, string> | undefined
  /** The origin of another site, whose page sends the request: no cookie goes with it but those of `SameSite=None`. */
  readonly from?: string | undefined
}

/** A browser, as far as cookies go. */
export interface Browser {
  readonly send: (method: string, path: string, options?: FormOptions) => Effect.Effect<Client.Answer>
  readonly status: (method: string, path: string, options?: FormOptions) => Effect.Effect<number>
  readonly text: (path: string) => Effect.Effect<string>
  /** By name. */
  readonly cookies: Map<string, { readonly value: string; readonly attributes: string }>
}

export const browserOf = (sender: Client.Send): Browser => {
  const cookies: Browser["cookies"] = new Map()
  const send: Browser["send"] = (method, path, { form, from, headers, ...options } = {}) =>
    Effect.suspend(() => {
      const sent = [...cookies].filter(([, { attributes }]) => from === undefined || /SameSite=None/i.test(attributes))
      return Effect.tap(
        sender(method, path, {
          cookie: sent.map(([name, { value }]) => `${name}=${value}`).join("; "),
          ...options,
          headers: {
            host: "app.test",
            ...(from === undefined ? undefined : { origin: from, "sec-fetch-site": "cross-site" }),
            ...(form === undefined ? undefined : { "content-type": "application/x-www-form-urlencoded" }),
            ...headers
          },
          ...(form === undefined ? undefined : { body: new URLSearchParams(form).toString() })
        }),
        ({ setCookie }) =>
          Effect.sync(() => {
            for (const line of setCookie) {
              const [, name, value, attributes] = /^([^=]+)=([^;]*);?(.*)$/.exec(line)!
              if (value === "" || /Max-Age=0\b/i.test(attributes!)) cookies.delete(name!)
              else cookies.set(name!, { value: value!, attributes: attributes! })
            }
          })
      )
    })
  return {
    send,
    cookies,
    status: (method, path, options) => Effect.map(send(method, path, options), ({ status }) => status),
    text: (path) => Effect.map(send("GET", path), ({ text }) => text)
  }
}

/** Serves routes in this process, and gives new browsers. */
export const browsersOf = (routes: Routes) => Effect.map(Client.serve(routes), (send) => (): Browser => browserOf(send))

/** Sends the same request many times at once, each with the cookies that the browser has now. */
export const atOnce = (
  times: number,
  browsers: ReadonlyArray<Browser>,
  method: string,
  path: string,
  options?: FormOptions
) =>
  Effect.forEach(
    Array.from({ length: times }, (_, i) => browsers[i % browsers.length]!),
    (browser) => browser.send(method, path, options),
    { concurrency: "unbounded" }
  )

/** How often each status was answered. */
export const tally = (answers: ReadonlyArray<Client.Answer>): Record<number, number> => {
  const counts: Record<number, number> = {}
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1
  return counts
}

/** A redirect to this address. */
export const assertRedirect = ({ headers, status }: Client.Answer, location: string): void =>
  assert.deepStrictEqual([status, headers.get("location")], [303, location])
