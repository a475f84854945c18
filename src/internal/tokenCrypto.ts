/**
 * The two computations a token needs, as text to text: HMAC-SHA-256 under a key, and SHA-256.
 *
 * Both come from the `Mac` and `Digest` services. Where those are Node's (they answer at once, and agree with
 * `node:crypto` on a probe), the same values are computed with a prepared key object and one-shot hashing, at a fraction
 * of the cost. A service that is slow, asynchronous or a mock with answers of its own is used as it is.
 *
 * @internal
 */
import * as Digest from "effect/crypto/Digest"
import * as Mac from "effect/crypto/Mac"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Exit from "effect/Exit"
import { nodeCrypto } from "./nodeCrypto.ts"

/**
 * An answer that is an `Exit` when it was computed at once, so that `flatMapEager` goes on without the fiber runtime.
 *
 * @internal
 */
export type TextFunction = (text: string) => Effect.Effect<string>

const utf8 = new TextEncoder()
const probe = "effect-sessions probe"

const preferFast = (service: TextFunction, fast: (text: string) => string): TextFunction => {
  const exit = Effect.runSyncExit(service(probe))
  return Exit.isSuccess(exit) && exit.value === fast(probe) ? (text) => Exit.succeed(fast(text)) : service
}

/**
 * HMAC-SHA-256 under `key`, base64url.
 *
 * @internal
 */
export const hmac = Effect.fnUntraced(function* (keyBytes: Uint8Array): Effect.fn.Return<TextFunction, never, Mac.Mac> {
  const mac = yield* Mac.Mac
  const key = yield* Effect.orDie(Mac.key(Mac.hmacSha256, keyBytes))
  const service: TextFunction = (text) => Effect.map(Effect.orDie(mac.sign(key, utf8.encode(text))), Base64Url.encode)
  const node = nodeCrypto()
  if (node === undefined) return service
  const prepared = node.createSecretKey(keyBytes)
  return preferFast(service, (text) => node.createHmac("sha256", prepared).update(text).digest("base64url"))
})

/**
 * SHA-256, base64url.
 *
 * @internal
 */
export const sha256: Effect.Effect<TextFunction, never, Digest.Digest> = Effect.gen(function* () {
  const digest = yield* Digest.Digest
  const service: TextFunction = (text) => Effect.map(digest.digest(Digest.sha256, utf8.encode(text)), Base64Url.encode)
  const node = nodeCrypto()
  if (node === undefined) return service
  return preferFast(service, (text) => node.hash("sha256", text, "base64url"))
})

/**
 * Whether two texts are equal, in time that depends on their length alone.
 *
 * @internal
 */
export const timingSafeEqual = (a: string, b: string): boolean => {
  if (a.length !== b.length) return false
  let difference = 0
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i)
  return difference === 0
}
