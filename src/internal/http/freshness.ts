/**
 * Whether the user has proved lately who they are.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import type { Fresh, SessionInfo } from "../../Session.ts"
import { clockSlack } from "../../SessionBackend.ts"
import { SessionDataError, SessionStale } from "../../SessionError.ts"
import { millisOf } from "../manager/deadlines.ts"

const slack = Duration.toMillis(clockSlack)

/** What is wrong with the options of a guard, or of a handler. */
export const problemsOf = ({ within }: Fresh): ReadonlyArray<string> =>
  millisOf(within) > 0 ? [] : ["fresh: within must be a duration above zero"]

/**
 * What is missing, if anything is. A proof in the future is one of a clock that is ahead, by `clockSlack` at most. Throws
 * a `SessionDataError` on options that are not valid.
 */
export const staleness = (
  session: Pick<SessionInfo<unknown>, "authenticatedAt" | "factors">,
  fresh: Fresh,
  now: number
): SessionStale | undefined => {
  const { methods = [], within } = fresh
  const [problem] = problemsOf(fresh)
  if (problem !== undefined) throw new SessionDataError({ problem })
  const millis = millisOf(within)
  const isFresh = (at: number | undefined) => at !== undefined && now - at <= millis && at - now <= slack
  const timeOf = (method: string) => session.factors.find((factor) => factor.method === method)?.at.epochMilliseconds
  const all =
    methods.length === 0
      ? isFresh(session.authenticatedAt.epochMilliseconds)
      : methods.every((method) => isFresh(timeOf(method)))
  return all ? undefined : new SessionStale({ maxAge: Math.max(1, Math.floor(millis / 1000)), methods })
}
