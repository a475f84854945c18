/**
 * What follows from a frontend for every request and response, worked out once.
 *
 * @internal
 */
import type { CrossOriginPolicy } from "./crossOrigin.ts"
import type { SessionFrontend } from "../../SessionFrontend.ts"

/** @internal */
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

const policies = new WeakMap<SessionFrontend["Service"], FrontendPolicy>()

/** @internal */
export const policyOf = (frontend: SessionFrontend["Service"]): FrontendPolicy => {
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
