/**
 * A definition bound to the services that serve it, with what follows from its frontend for every request.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type * as Option from "effect/Option"
import type {
  Adopted,
  Bound,
  BoundFrontend,
  ClientInfo,
  Definition,
  ManagerOptions,
  SessionManager,
  SiteData,
  Tagged,
  Unauthenticated
} from "../../Session.ts"
import type { SessionCrossOrigin, SessionStale, SessionUnavailable } from "../../SessionError.ts"
import type { SessionFrontend } from "../../SessionFrontend.ts"
import { describeCause } from "../describeCause.ts"
import { answerOf } from "../exit.ts"
import { withDeadline } from "../manager/deadline.ts"
import { millisOf } from "../manager/deadlines.ts"
import { tellOf } from "../manager/events.ts"
import { unavailable } from "../manager/storage.ts"
import * as Registry from "../registry.ts"
import * as Span from "../session/span.ts"

/** What a frontend with a cookie says of origins. */
export interface CrossOriginPolicy {
  /** Whether the cookie travels over https alone. */
  readonly secure: boolean
  /** The origins besides the app's own, in lower case. */
  readonly trusted: ReadonlySet<string>
}

/** What follows from a frontend, worked out once. */
export interface FrontendPolicy {
  /** The request headers the response depends on. */
  readonly vary: ReadonlyArray<string>
  readonly varyText: string
  /** The headers, in lower case, that a token is read from, other than cookies. */
  readonly headers: ReadonlyArray<string>
  /** Whether a new token goes on a response: in a cookie, or in a header other than `Authorization`. */
  readonly attaches: boolean
  /** The challenges of a 401 (RFC 9110 11.6.1), one for each scheme. */
  readonly challenges: ReadonlyArray<string>
  /** What `Clear-Site-Data` says where a cookie is taken off. */
  readonly clearSiteData: string | undefined
  /** Of a frontend with a cookie; a page of another origin can use no other. */
  readonly origins: CrossOriginPolicy | undefined
  /** Whether the log has said what to change where the app's own page was refused. */
  hasHinted: boolean
  /** Whether it was looked whether the tracer records tokens. */
  hasLookedAtTracer: boolean
}

export interface HttpOptions<A, R extends ReadonlyArray<Tagged>, RX = never> extends ManagerOptions<A, R, RX> {
  /**
   * What a list of devices shows of the client that makes a session: its `user-agent`, for example. Behind a proxy the
   * address is the proxy's, unless Effect's `HttpMiddleware.xForwardedHeaders` puts the client's in its place.
   *
   * @default nothing
   */
  readonly client?: ((request: HttpServerRequest) => ClientInfo) | undefined
  /**
   * Makes a session of another library one of ours, so that moving from it logs no user out. Asked once a request, where
   * no token of ours stands and the session is asked for; what it answers is made as by `create`, and its cookie set.
   * One that dies, or takes longer than `backendTimeout`, is `SessionUnavailable`.
   *
   * Name the old session by `from`, its id, and leave it where it is. A log-in or log-out of ours ends it for this
   * definition, and asks for it first. An old session that it cannot read is `None`.
   *
   * @default nothing is adopted
   */
  readonly adopt?: ((request: HttpServerRequest) => Effect.Effect<Option.Option<Adopted<A>>, never, RX>) | undefined
  /**
   * What `Clear-Site-Data` tells the browser to forget where the cookie is taken off, or `false` for no such header. A
   * handler's own header stays.
   *
   * @default `["prefetchCache", "prerenderCache"]`: Chromium shows pages fetched ahead even after the log-out
   */
  readonly clearSiteData?: ReadonlyArray<SiteData> | false | undefined
}

export interface Binding<Self, A, R extends ReadonlyArray<Tagged>> {
  readonly definition: Definition<Self, A, R>
  readonly manager: SessionManager<A, R>
  readonly frontend: BoundFrontend<A>
  readonly policy: FrontendPolicy
}

export const bind = <Self, A, R extends ReadonlyArray<Tagged>>(
  definition: Definition<Self, A, R>,
  manager: SessionManager<A, R>,
  frontend: BoundFrontend<A>
): Binding<Self, A, R> => ({ definition, manager, frontend, policy: policyOf(frontend) })

/** Another library's store is a backend too: one that fails or is late is never "no session". */
const asBackend = <B>(adopting: Effect.Effect<B>, millis: number): Effect.Effect<B, SessionUnavailable> =>
  Effect.catchCause(
    withDeadline<B, { readonly _tag: "TimedOut" }>(adopting, millis, () => Exit.fail({ _tag: "TimedOut" })),
    (cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.failCause(cause as Cause.Cause<never>)
        : Effect.logWarning("adopt failed").pipe(
            Effect.annotateLogs({ cause: describeCause(Cause.squash(cause)) }),
            Effect.andThen(unavailable.notApplied)
          )
  )

/** A frontend with the options of its layer. Member by member: it may be an instance of a class. */
export const bound = <A, R extends ReadonlyArray<Tagged>, RX>(
  frontend: SessionFrontend["Service"],
  { adopt, backendTimeout = "1 second", clearSiteData, client, onEvent }: HttpOptions<A, R, RX>,
  context: Context.Context<RX>,
  namespace: string
): BoundFrontend<A> => {
  const { carried } = frontend
  const millis = millisOf(backendTimeout)
  const tell = onEvent && tellOf(onEvent, context, namespace, millis)
  return {
    security: frontend.security,
    extract: (request) => answerOf(() => frontend.extract(request)),
    attach: (response, issued) => frontend.attach(response, issued),
    detach: (response, via) => frontend.detach(response, via),
    carried: carried && ((request) => answerOf(() => carried.call(frontend, request))),
    origins: frontend.origins,
    client,
    adopt:
      adopt &&
      ((request) =>
        asBackend(
          Effect.updateContext(
            Effect.suspend(() => adopt(request)),
            (caller: Context.Context<never>) => Context.merge(context, caller)
          ),
          millis
        )),
    onRefused: tell && ((error) => tell({ _tag: "Refused", error })),
    clearSiteData
  }
}

/** Binds a definition to its services in a context. */
export const bindIn = <Self, A, R extends ReadonlyArray<Tagged>>(
  definition: Definition<Self, A, R>,
  context: Context.Context<Bound<Self>>
): Binding<Self, A, R> =>
  bind(definition, Context.get(context, definition.Manager), Context.get(context, definition.Frontend))

type AnyFrontend = BoundFrontend<unknown>

const policies = new WeakMap<AnyFrontend, FrontendPolicy>()

const policyOf = (frontend: AnyFrontend): FrontendPolicy => {
  let policy = policies.get(frontend)
  if (policy === undefined) policies.set(frontend, (policy = derive(frontend)))
  return policy
}

/** Chromium 156 shows a page that it has fetched ahead even after the log-out. More is for the application to say. */
const clearedByDefault: ReadonlyArray<SiteData> = ["prefetchCache", "prerenderCache"]

const derive = (frontend: AnyFrontend): FrontendPolicy => {
  const vary = new Set<string>()
  const challenges = new Set<string>()
  let hasCookie = false
  let attaches = false
  for (const scheme of frontend.security) {
    if (scheme._tag === "ApiKey") {
      vary.add(scheme.in === "cookie" ? "Cookie" : scheme.key)
      challenges.add("Session")
      hasCookie ||= scheme.in === "cookie"
      attaches = true
    } else {
      vary.add("Authorization")
      challenges.add(scheme._tag === "Http" ? scheme.scheme : "Basic")
    }
  }
  const clear = frontend.clearSiteData ?? clearedByDefault
  return {
    vary: [...vary],
    varyText: [...vary].join(", "),
    headers: [...vary].filter((name) => name !== "Cookie").map((name) => name.toLowerCase()),
    attaches,
    challenges: [...challenges],
    clearSiteData:
      hasCookie && clear !== false && clear.length > 0 ? clear.map((name) => `"${name}"`).join(", ") : undefined,
    // What is adopted came in another library's cookie.
    origins:
      hasCookie || frontend.adopt !== undefined
        ? {
            secure: frontend.origins?.secure ?? true,
            trusted: new Set(frontend.origins?.trusted.map((origin) => origin.toLowerCase()))
          }
        : undefined,
    hasHinted: false,
    hasLookedAtTracer: false
  }
}

/** Says of a refusal that no manager knows of: on the current span, and to the handler where there is one. */
export const refused = (
  { onRefused }: Pick<BoundFrontend<unknown>, "onRefused">,
  error: Unauthenticated | SessionStale | SessionCrossOrigin
): Effect.Effect<void> =>
  onRefused === undefined ? Span.refused(error) : Effect.andThen(Span.refused(error), onRefused(error))

/** The options that all layers of a cookie share. */
export const sharedOf = <A, R extends ReadonlyArray<Tagged>, RX>({
  adopt,
  clearSiteData = clearedByDefault,
  client
}: HttpOptions<A, R, RX>): Readonly<Record<string, Registry.Setting>> => ({
  client: Registry.functionSetting(client),
  adopt: Registry.functionSetting(adopt),
  clearSiteData: [clearSiteData || [], JSON.stringify(clearSiteData)]
})

/** A type would be enough, were these names not written into a header. */
const siteData: ReadonlySet<string> = new Set<SiteData>([
  "cache",
  "clientHints",
  "cookies",
  "executionContexts",
  "prefetchCache",
  "prerenderCache",
  "storage",
  "*"
])

export const siteDataProblems = ({
  clearSiteData
}: Pick<HttpOptions<unknown, []>, "clearSiteData">): ReadonlyArray<string> =>
  (clearSiteData || []).flatMap((name) =>
    siteData.has(name)
      ? []
      : [`clearSiteData ${JSON.stringify(String(name).slice(0, 64))} must be one of ${[...siteData].join(", ")}`]
  )
