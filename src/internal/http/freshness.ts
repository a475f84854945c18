/**
 * Whether the user has proved lately who they are.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { Fresh, SessionInfo } from "../../Session.ts"
import { clockSlack } from "../../SessionBackend.ts"
import { SessionDataError, SessionStale } from "../../SessionError.ts"

const slack = Duration.toMillis(clockSlack)

/** The time in milliseconds. Throws a `SessionDataError` on one that is not above zero. */
const millisOf = (within: Fresh["within"]): number => {
  const millis = Option.match(Duration.fromInput(within), { onNone: () => NaN, onSome: Duration.toMillis })
  if (!(millis > 0)) throw new SessionDataError({ problem: "fresh: within must be a duration above zero" })
  return millis
}

/** What is missing, if anything is. A proof in the future is one of a clock that is ahead, by `clockSlack` at most. */
export const staleness = (
  session: Pick<SessionInfo<unknown>, "authenticatedAt" | "factors">,
  { methods = [], within }: Fresh,
  now: number
): SessionStale | undefined => {
  const millis = millisOf(within)
  const isFresh = (at: number | undefined) => at !== undefined && now - at <= millis && at - now <= slack
  const timeOf = (method: string) => session.factors.find((factor) => factor.method === method)?.at.epochMilliseconds
  const all =
    methods.length === 0
      ? isFresh(session.authenticatedAt.epochMilliseconds)
      : methods.every((method) => isFresh(timeOf(method)))
  return all ? undefined : new SessionStale({ maxAge: Math.max(1, Math.floor(millis / 1000)), methods })
}
