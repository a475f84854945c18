/**
 * The two computations a token needs, as text to text: HMAC-SHA-256 under a key, and SHA-256.
 *
 * Both come from the `Mac` and `Digest` services. If these answer at once, and agree with `node:crypto` on a probe, the
 * same values are computed with its one-shot `hash`, which costs a fraction of an `Hmac` object.
 *
 * @internal
 */
import * as Digest from "effect/crypto/Digest"
import * as Mac from "effect/crypto/Mac"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Exit from "effect/Exit"
import { nodeCrypto } from "./nodeCrypto.ts"
import type { NodeCrypto } from "./nodeCrypto.ts"

/** Returns an `Exit` if the result was computed at once, so that `flatMapEager` needs no fiber. */
export type TextFunction = (text: string) => Effect.Effect<string>

const utf8 = new TextEncoder()
const probe = "effect-sessions probe"

/** `fast` returns `undefined` for a text it does not support. */
const preferFast = (service: TextFunction, fast: (text: string) => string | undefined): TextFunction => {
  const exit = Effect.runSyncExit(service(probe))
  if (!Exit.isSuccess(exit) || exit.value !== fast(probe)) return service
  return (text) => {
    const answer = fast(text)
    return answer === undefined ? service(text) : Exit.succeed(answer)
  }
}

const blockSize = 64
const hashSize = 32
/** Longer than any token. */
const maxText = 256

/** RFC 2104 with SHA-256, for keys no longer than a block. The pads are written once, at the start of two buffers. */
const oneShotHmac = (node: NodeCrypto, key: Uint8Array): ((text: string) => string | undefined) => {
  // A character of UTF-16 takes three bytes of UTF-8 at most.
  const inner = new Uint8Array(blockSize + 3 * maxText).fill(0x36, 0, blockSize)
  const outer = new Uint8Array(blockSize + hashSize).fill(0x5c, 0, blockSize)
  key.forEach((byte, i) => {
    inner[i] = byte ^ 0x36
    outer[i] = byte ^ 0x5c
  })
  const message = inner.subarray(blockSize)
  // The texts of a definition have one length, and making a view costs a fifth of its hash.
  let padded = inner
  return (text) => {
    if (text.length > maxText) return undefined
    const { written } = utf8.encodeInto(text, message)
    if (padded.length !== blockSize + written) padded = inner.subarray(0, blockSize + written)
    const hashed = node.hash("sha256", padded, "latin1")
    for (let i = 0; i < hashSize; i++) outer[blockSize + i] = hashed.charCodeAt(i)
    return node.hash("sha256", outer, "base64url")
  }
}

/** HMAC-SHA-256 under `key`, base64url. */
export const hmac = Effect.fnUntraced(function* (keyBytes: Uint8Array): Effect.fn.Return<TextFunction, never, Mac.Mac> {
  const mac = yield* Mac.Mac
  const key = yield* Effect.orDie(Mac.key(Mac.hmacSha256, keyBytes))
  const service: TextFunction = (text) => Effect.map(Effect.orDie(mac.sign(key, utf8.encode(text))), Base64Url.encode)
  const node = nodeCrypto()
  return node === undefined ? service : preferFast(service, oneShotHmac(node, keyBytes))
})

/** SHA-256, base64url. */
export const sha256: Effect.Effect<TextFunction, never, Digest.Digest> = Effect.gen(function* () {
  const digest = yield* Digest.Digest
  const service: TextFunction = (text) => Effect.map(digest.digest(Digest.sha256, utf8.encode(text)), Base64Url.encode)
  const node = nodeCrypto()
  return node === undefined ? service : preferFast(service, (text) => node.hash("sha256", text, "base64url"))
})

/** Whether two texts are equal, in time that depends on their length alone. */
export const timingSafeEqual = (a: string, b: string): boolean => {
  if (a.length !== b.length) return false
  let difference = 0
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i)
  return difference === 0
}
