/**
 * How a request enters an open or a guarded route.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as HttpEffect from "effect/http/HttpEffect"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import type { Definition, Fresh, Refusal, Session, Tagged, Unauthenticated, VerifiedOf } from "../../Session.ts"
import type { SessionCrossOrigin, SessionMissing, SessionStale, SessionUnavailable } from "../../SessionError.ts"
import { originProblem } from "../frontend/origins.ts"
import * as Span from "../session/span.ts"
import type { Binding } from "./binding.ts"
import { admit } from "./crossOrigin.ts"
import * as Freshness from "./freshness.ts"
import * as TracedHeaders from "./tracedHeaders.ts"
import { beginning, RequestSessionLive, sessionMissing } from "./requestSession.ts"

export type App<E, R> = Effect.Effect<HttpServerResponse, E, R>

/** The errors a guard refuses a request with. */
export type GuardError<R extends ReadonlyArray<Tagged>> =
  | Unauthenticated
  | Refusal<R>
  | SessionCrossOrigin
  | SessionUnavailable

export interface RouteOptions {
  /**
   * `false` for routes that a page asks by itself, such as one for the time left: they do not keep the session alive.
   *
   * @default true
   */
  readonly touch?: boolean | undefined
  /**
   * Origins that these routes trust besides those of `SessionFrontend.layerCookie`, such as that of an identity provider
   * whose page posts a form here. Where several middlewares of one definition meet on a route, the outermost checks.
   *
   * @default none
   */
  readonly trustedOrigins?: ReadonlyArray<string> | undefined
}

/** What a route asks of its requests, worked out once. */
export interface Route {
  readonly touch: boolean
  /** In lower case. */
  readonly trusted: ReadonlySet<string>
  readonly fresh: Fresh | undefined
}

export const routeOf = (options: (RouteOptions & { readonly fresh?: Fresh | undefined }) | undefined): Route => ({
  touch: options?.touch ?? true,
  trusted: new Set(options?.trustedOrigins?.map((origin) => origin.toLowerCase())),
  fresh: options?.fresh
})

/** What is wrong with a route's options. */
export const problemsOf = ({ fresh, trusted }: Route): ReadonlyArray<string> => [
  ...[...trusted].flatMap(originProblem),
  ...(fresh === undefined ? [] : Freshness.problemsOf(fresh))
]

/** The handle that a context has for a definition, whatever request it is of. */
export const handleIn = <Self, A, R extends ReadonlyArray<Tagged>>(
  context: Context.Context<never>,
  definition: Definition<Self, A, R>
): RequestSessionLive<Self, A, R> | undefined => {
  const handle: unknown = Context.getOrUndefined(context, definition)
  // Found under this definition's key, so it is this definition's.
  return handle instanceof RequestSessionLive ? (handle as RequestSessionLive<Self, A, R>) : undefined
}

/** What is done with the handle of a request, or of a call. */
export type Enter<Self, A, R extends ReadonlyArray<Tagged>, B, E, RB> = (
  handle: RequestSessionLive<Self, A, R>,
  fiber: Fiber.Fiber<unknown, unknown>,
  /** The cross-origin check, where no outer middleware has made it yet. */
  admitted: Effect.Effect<void, SessionCrossOrigin>
) => Effect.Effect<B, E, RB>

/** Runs an effect with the session; without one that is valid, too. */
export const entering =
  <Self, A, R extends ReadonlyArray<Tagged>, B, E, RB>(
    definition: Definition<Self, A, R>,
    effect: Effect.Effect<B, E, RB>,
    route: Route
  ): Enter<Self, A, R, B, E | SessionCrossOrigin, Exclude<RB, Self>> =>
  (handle, fiber, admitted) =>
    Effect.flatMapEager(admitted, () => {
      if (!route.touch) handle.withoutTouch()
      fiber.setContext(Context.add(fiber.context, definition, handle))
      return effect as Effect.Effect<B, E, Exclude<RB, Self>>
    })

/**
 * Runs an effect with a verified session, of a user where the definition has a principal, as fresh as the route asks; or
 * refuses.
 */
export const guarding =
  <Self, A, R extends ReadonlyArray<Tagged>, B, E, RB, E2>(
    definition: Definition<Self, A, R>,
    effect: (handle: RequestSessionLive<Self, A, R>) => Effect.Effect<B, E, RB>,
    onFailure: (error: GuardError<R> | SessionStale, context: Context.Context<never>) => Effect.Effect<B, E2>,
    { fresh, touch }: Route
  ): Enter<Self, A, R, B, E | E2, Exclude<RB, Self | VerifiedOf<Self>>> =>
  (handle, fiber, admitted) => {
    type Inside = Effect.Effect<B, E | E2, Exclude<RB, Self | VerifiedOf<Self>>>
    const { context } = fiber
    // Whatever it answers: a redirect to the log-in page is a refusal too.
    const answer = (error: GuardError<R> | SessionStale): Inside => onFailure(error, context)
    const refuse = (error: GuardError<R> | SessionStale): Inside =>
      Effect.andThen(Span.refused(error), () => answer(error))
    // On an open route it is no refusal, so no event has told of it.
    const missing = (error: SessionMissing): Inside => Effect.andThen(handle.refused(error), () => answer(error))
    const enter = (session: Session<A>): Inside => {
      fiber.setContext(Context.add(Context.add(context, definition, handle), definition.Verified, session))
      return effect(handle) as Inside
    }
    return Effect.matchEffect(
      Effect.flatMapEager(admitted, () => {
        if (!touch) handle.withoutTouch()
        return handle.load()
      }),
      {
        onFailure: (error) => (error._tag === "SessionMissing" ? missing(error as SessionMissing) : refuse(error)),
        onSuccess: (session): Inside => {
          if (definition.principal !== undefined && Option.isNone(session.principal)) return missing(sessionMissing)
          return fresh === undefined
            ? enter(session)
            : Effect.matchEffect(handle.fresh(fresh), { onFailure: answer, onSuccess: enter })
        }
      }
    )
  }

/**
 * Runs an app with the request's handle: the one that an outer middleware has made, or a new one. The middleware that
 * makes it asks for the cross-origin check (`admitted`). It puts the session's headers on the response that the app
 * returns, and once more on what is sent: after a failure or a defect that is another response, and an outer middleware
 * may have changed it.
 *
 * The app may change the fiber's context, as `provideService` would; it is restored here.
 */
const withHandle = <Self, A, R extends ReadonlyArray<Tagged>, E, RA>(
  binding: Binding<Self, A, R>,
  { trusted }: Route,
  app: Enter<Self, A, R, HttpServerResponse, E, RA>
): App<E, RA | HttpServerRequest> =>
  Effect.withFiber((fiber) => {
    const { context } = fiber
    const request = Context.getUnsafe(context, HttpServerRequest)
    const outer = handleIn(context, binding.definition)
    if (outer?.isOf(request) === true && outer.hasServices(binding)) {
      return Effect.onExitPrimitive(app(outer, fiber, Exit.void), () => {
        fiber.setContext(context)
        return undefined
      })
    }
    // The app was called with another request, by a handler of one with a session. That handler gets the response, and
    // may pass it on to a client whose session this is not: no new token may go out with it.
    const isForCaller = outer?.isOf(request) === false
    const began = beginning(fiber.getRef(Clock.Clock))
    const handle = new RequestSessionLive(request, binding, began, isForCaller ? "caller" : "response")
    const warning = TracedHeaders.warnOnce(fiber, binding.policy, binding.definition.key)
    const answered = app(handle, fiber, admit(request, binding, trusted))
    const response = warning === undefined ? answered : Effect.andThen(warning, answered)
    return Effect.onExitPrimitive(
      isForCaller ? response : Effect.flatMap(response, (response) => handle.finish(response)),
      () => {
        fiber.setContext(context)
        if (!isForCaller) {
          HttpEffect.appendPreResponseHandlerUnsafe(context, (sent, response) =>
            sent.source === request.source ? handle.finish(response) : Exit.succeed(response)
          )
        }
        return undefined
      }
    )
  })

/** An open route. */
export const open = <Self, A, R extends ReadonlyArray<Tagged>, E, RA>(
  binding: Binding<Self, A, R>,
  app: App<E, RA>,
  route: Route
): App<E | SessionCrossOrigin, Exclude<RA, Self> | HttpServerRequest> =>
  withHandle(binding, route, entering(binding.definition, app, route))

/** A guarded route: any request without such a session goes to `onFailure`. */
export const guarded = <Self, A, R extends ReadonlyArray<Tagged>, E, RA, E2>(
  binding: Binding<Self, A, R>,
  app: App<E, RA>,
  onFailure: (error: GuardError<R> | SessionStale, request: HttpServerRequest) => App<E2, never>,
  route: Route
): App<E | E2, Exclude<RA, Self | VerifiedOf<Self>> | HttpServerRequest> =>
  withHandle(
    binding,
    route,
    guarding(
      binding.definition,
      () => app,
      (error, context) => onFailure(error, Context.getUnsafe(context, HttpServerRequest)),
      route
    )
  )
