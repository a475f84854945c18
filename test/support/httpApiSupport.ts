/** Requests to the members' API over a socket, with nothing kept from one to the next. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as Cookies from "effect/http/Cookies"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { SessionTest } from "effect-sessions/testing"
import { member, MemberSession, Served } from "./memberApi.ts"

type Method = "GET" | "HEAD" | "POST" | "PUT" | "DELETE"

/** One request over the socket, with nothing kept from one to the next. */
export const send = Effect.fnUntraced(function* (
  method: Method,
  path: string,
  headers: Record<string, string> = {},
  body?: unknown
) {
  const bare = HttpClientRequest.make(method)(path).pipe(HttpClientRequest.setHeaders(headers))
  const response = yield* HttpClient.execute(
    body === undefined ? bare : HttpClientRequest.bodyJsonUnsafe(bare, body)
  ).pipe(Effect.orDie)
  const text = yield* Effect.orDie(response.text)
  return {
    status: response.status,
    url: response.url,
    headers: response.headers,
    cookies: Cookies.toSetCookieHeaders(response.cookies),
    text,
    tag: text.startsWith("{") ? (JSON.parse(text)._tag as string | undefined) : undefined
  }
})

export const cookie = (token: string) => ({ cookie: `__Host-session=${token}` })
export const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

export const login = (username: string) =>
  Effect.flatMap(MemberSession.Manager, (manager) =>
    Effect.map(manager.create(member(username)), ({ id, token }) => ({ id, token: Redacted.value(token) }))
  )

/** The backend operations a request made. */
export const during = <A, E, R>(request: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const { calls } = yield* SessionTest.BackendFaults
    const before = (yield* calls).length
    const answer = yield* request
    return [answer, (yield* calls).slice(before)] as const
  })

export const live = Served.pipe(Layer.provideMerge(NodeHttpServer.layerTest))
