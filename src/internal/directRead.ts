/**
 * How the library's own stores answer a read without an effect: on the spot, where the records are at hand and an effect
 * would only put off a look into a map and everything that follows it; or later, to a function, where reads are
 * collected and an effect for each would need a fiber of its own.
 *
 * It belongs to the very function `read` of such a store. Whoever wraps that function, or puts another in its place, is
 * asked in the ordinary way.
 *
 * @internal
 */
import type * as Exit from "effect/Exit"
import type * as Option from "effect/Option"
import type { SessionBackend, SessionBackendError, SessionRecord } from "../SessionBackend.ts"

type Read = SessionBackend["Service"]["read"]

/** @internal */
export type Now = (namespace: string, id: string) => Option.Option<SessionRecord>

/**
 * Answers with how to say that nobody listens any more.
 *
 * @internal
 */
export type Later = (
  namespace: string,
  id: string,
  answer: (exit: Exit.Exit<Option.Option<SessionRecord>, SessionBackendError>) => void
) => () => void

const nows = new WeakMap<Read, Now>()
const laters = new WeakMap<Read, Later>()

/** @internal */
export const withNow = (read: Read, now: Now): Read => {
  nows.set(read, now)
  return read
}

/** @internal */
export const nowOf = (read: Read): Now | undefined => nows.get(read)

/** @internal */
export const withLater = (read: Read, later: Later): Read => {
  laters.set(read, later)
  return read
}

/** @internal */
export const laterOf = (read: Read): Later | undefined => laters.get(read)
