/**
 * A definition bound to the services that serve it, with what follows from its frontend for every request.
 *
 * @internal
 */
import * as Context from "effect/Context"
import type { Bound, Definition, SessionManager, Tagged } from "../../Session.ts"
import type { SessionFrontend } from "../../SessionFrontend.ts"

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
  /** The challenge of a 401 (RFC 9110 11.6.1). */
  readonly challenge: string
  /** Of a frontend with a cookie; a page of another origin can use no other. */
  readonly origins: CrossOriginPolicy | undefined
  /** Whether the log has said what to change where the app's own page was refused. */
  hasHinted: boolean
}

export interface Binding<Self, A, R extends ReadonlyArray<Tagged>> {
  readonly definition: Definition<Self, A, R>
  readonly manager: SessionManager<A, R>
  readonly frontend: SessionFrontend["Service"]
  readonly policy: FrontendPolicy
}

export const bind = <Self, A, R extends ReadonlyArray<Tagged>>(
  definition: Definition<Self, A, R>,
  manager: SessionManager<A, R>,
  frontend: SessionFrontend["Service"]
): Binding<Self, A, R> => ({ definition, manager, frontend, policy: policyOf(frontend) })

/** Binds a definition to its services in a context. */
export const bindIn = <Self, A, R extends ReadonlyArray<Tagged>>(
  definition: Definition<Self, A, R>,
  context: Context.Context<Bound<Self>>
): Binding<Self, A, R> =>
  bind(definition, Context.get(context, definition.Manager), Context.get(context, definition.Frontend))

const policies = new WeakMap<SessionFrontend["Service"], FrontendPolicy>()

const policyOf = (frontend: SessionFrontend["Service"]): FrontendPolicy => {
  let policy = policies.get(frontend)
  if (policy === undefined) policies.set(frontend, (policy = derive(frontend)))
  return policy
}

const derive = (frontend: SessionFrontend["Service"]): FrontendPolicy => {
  const vary = new Set<string>()
  const challenges = new Set<string>()
  let hasCookie = false
  for (const scheme of frontend.security) {
    if (scheme._tag === "ApiKey") {
      vary.add(scheme.in === "cookie" ? "Cookie" : scheme.key)
      challenges.add("Session")
      hasCookie ||= scheme.in === "cookie"
    } else {
      vary.add("Authorization")
      challenges.add(scheme._tag === "Http" ? scheme.scheme : "Basic")
    }
  }
  return {
    vary: [...vary],
    varyText: [...vary].join(", "),
    challenge: [...challenges].join(", "),
    origins: hasCookie
      ? {
          secure: frontend.origins?.secure ?? true,
          trusted: new Set(frontend.origins?.trusted.map((origin) => origin.toLowerCase()))
        }
      : undefined,
    hasHinted: false
  }
}
