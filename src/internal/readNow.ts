/**
 * How a store that has its records at hand answers a read on the spot: an effect would only put off what is one look
 * into a map, and everything that follows it.
 *
 * It belongs to the very function `read` of such a store. Whoever wraps that function, or puts another in its place, is
 * asked in the ordinary way.
 *
 * @internal
 */
import type * as Option from "effect/Option"
import type { SessionBackend, SessionRecord } from "../SessionBackend.ts"

type Read = SessionBackend["Service"]["read"]
type Now = (namespace: string, id: string) => Option.Option<SessionRecord>

const nows = new WeakMap<Read, Now>()

/** @internal */
export const withNow = (read: Read, now: Now): Read => {
  nows.set(read, now)
  return read
}

/** @internal */
export const nowOf = (read: Read): Now | undefined => nows.get(read)
