/**
 * How a call of RPC enters: with the handle of its request where the answer to that carries a token, or with one of its
 * own.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Headers from "effect/http/Headers"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import type { Tagged } from "../../Session.ts"
import { requestHeader } from "../frontend/requestHeader.ts"
import type { Binding, FrontendPolicy } from "./binding.ts"
import { admit } from "./crossOrigin.ts"
import { beginning, RequestSessionLive } from "./requestSession.ts"
import { isUpgraded } from "./responseHeaders.ts"
import { type Enter, handleIn, type Route } from "./route.ts"

type Request = HttpServerRequest.HttpServerRequest

/** What RPC tells of a call. It is the same object for all middlewares of one call. */
interface Call {
  /** Those of the HTTP request, over which those of the message are laid. */
  readonly headers: Headers.Headers
}

/** Whether this is the handshake of a socket: its calls come for as long as that is open. */
const isHandshake = (request: Request): boolean =>
  /websocket/i.test(requestHeader(request, "upgrade") ?? "") || isUpgraded(request)

/** A call that came without HTTP, from a worker or over TCP. */
const withoutHttp = (): Request =>
  HttpServerRequest.fromWeb(new globalThis.Request("http://localhost")).modify({ headers: Headers.empty })

/**
 * The request that a call is judged by: its HTTP request, with the token that the message carries in a header of the
 * frontend. A page's script can put any header into a message, so no other one counts: neither `Cookie`, which is the
 * browser's to send, nor any that tells where a request comes from.
 */
const requestOf = (request: Request, { headers: names }: FrontendPolicy, { headers }: Call): Request => {
  const given = names.flatMap((name) => {
    const value: unknown = headers[name]
    // What a message holds is unchecked.
    return typeof value === "string" && value !== requestHeader(request, name) ? [[name, value] as const] : []
  })
  return given.length === 0
    ? request
    : request.modify({ headers: Headers.setAll(request.headers, Object.fromEntries(given)) })
}

/**
 * Runs a call with its handle. Over HTTP that is the one that the route's middleware has made, as long as it can put a
 * token on the response, if the call's message carries no token of its own. Every other call gets a handle of its own, and
 * looks at its session anew: a socket outlives what was true at its handshake.
 */
export const withCall = <Self, A, R extends ReadonlyArray<Tagged>, B, E, RB>(
  binding: Binding<Self, A, R>,
  { trusted }: Route,
  call: Call,
  enter: Enter<Self, A, R, B, E, RB>
): Effect.Effect<B, E, RB> =>
  Effect.withFiber((fiber) => {
    const { context } = fiber
    const http = Context.getOrUndefined(context, HttpServerRequest.HttpServerRequest)
    const request = requestOf(http ?? withoutHttp(), binding.policy, call)
    const outer = handleIn(context, binding.definition)
    const found = outer?.hasServices(binding) === true ? outer : undefined
    const isAdmitted = http === undefined || found?.isOf(http) === true
    const isShared =
      found !== undefined &&
      (found.isOfCall(call) || (http === request && isAdmitted && !isHandshake(http) && !found.isSealed))
    return Effect.onExitPrimitive(
      isShared
        ? enter(found, fiber, Exit.void)
        : enter(
            new RequestSessionLive(request, binding, beginning(fiber.getRef(Clock.Clock)), "none", call),
            fiber,
            isAdmitted ? Exit.void : admit(http, binding, trusted)
          ),
      () => {
        fiber.setContext(context)
        return undefined
      }
    )
  })
