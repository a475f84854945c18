/**
 * The token: the secret a client holds, in a cookie or a header.
 *
 * ```text
 * v1.<kid>.<id>.<secret>.<mac>
 *    8     22   43       43     characters of base64url
 * ```
 *
 * `id` is the session's public id (128 random bits, stable over rotation), `secret` 256 random bits of which the store
 * keeps only the SHA-256, `mac` HMAC-SHA-256 over all that stands before it, under a key derived for one session
 * definition. `kid` names the key and is derived from the secret it belongs to, never from a place in a list.
 *
 * **Details**
 *
 * - One canonical form: the MAC is computed over the very characters received and compared with its own one spelling,
 *   in constant time, so no other text than the one issued is ever accepted.
 * - A forged, foreign or misspelled token is told apart here, before any backend is asked.
 * - There is nothing to negotiate: no algorithm, no expiry, no data in a token. The stored record decides.
 *
 * @since 0.1.0
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import { failure } from "./internal/constant.ts"
import { redact } from "./internal/tokenText.ts"
import { timingSafeEqual } from "./internal/token/tokenCrypto.ts"
import { SessionInvalid } from "./SessionError.ts"

/**
 * A key of the ring, derived for one session definition.
 *
 * @category models
 * @since 0.1.0
 */
export interface Signer {
  /** Names the key in a token: 8 characters, derived from the secret. */
  readonly kid: string
  /** HMAC-SHA-256 of the text, base64url. */
  readonly sign: (text: string) => Effect.Effect<string>
}

/**
 * What the keys of a definition's tokens are derived for.
 *
 * @category accessors
 * @since 0.1.0
 */
export const purpose = (namespace: string): string => `effect-sessions/v1/session/${namespace}`

/**
 * What an authentic token says.
 *
 * @category models
 * @since 0.1.0
 */
export interface Claims {
  readonly id: string
  readonly secret: string
}

/**
 * Makes and checks the tokens of one session definition.
 *
 * @category models
 * @since 0.1.0
 */
export interface SessionToken {
  /** Signs a token for a session, with the ring's first key. */
  readonly issue: (claims: Claims) => Effect.Effect<Redacted.Redacted<string>>
  /**
   * Reads a token back. Fails with `Malformed` if it is not written as one, with `Signature` if it was not issued for
   * this definition under a key of the ring.
   */
  readonly check: (token: Redacted.Redacted<string>) => Effect.Effect<Claims, SessionInvalid>
}

/** Everything in a token has its place: `v1.`, kid to 11, id from 12 to 34, secret from 35 to 78, mac from 79. */
const tokenLength = 122
const signedLength = tokenLength - 44
const pattern = /^v1\.[\w-]{8}\.[\w-]{22}\.[\w-]{43}\.[\w-]{43}$/
const malformed = failure(new SessionInvalid({ reason: "Malformed" }))
const wrongSignature = failure(new SessionInvalid({ reason: "Signature" }))

const refuse = (token: string) => (pattern.test(token) ? wrongSignature : malformed)

/**
 * Creates what makes and checks tokens, from the keys of one definition: the first signs, all verify.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (ring: readonly [Signer, ...ReadonlyArray<Signer>]): SessionToken => {
  const tokens = makeText(ring)
  return {
    issue: (claims) => Effect.map(tokens.issue(claims), redact),
    check: (token) => tokens.check(Redacted.value(token))
  }
}

/**
 * The same over plain text, for the way of every request.
 *
 * @internal
 */
export const makeText = (ring: readonly [Signer, ...ReadonlyArray<Signer>]) => {
  const byKid = new Map(ring.map((signer) => [signer.kid, signer]))
  const current = ring[0]
  return {
    issue: ({ id, secret }: Claims): Effect.Effect<string> => {
      const signed = `v1.${current.kid}.${id}.${secret}`
      return Effect.mapEager(current.sign(signed), (mac) => `${signed}.${mac}`)
    },
    check: (token: string): Effect.Effect<Claims, SessionInvalid> => {
      if (token.length !== tokenLength) return malformed
      const signer = token.startsWith(current.kid, 3) ? current : byKid.get(token.slice(3, 11))
      if (signer === undefined) return refuse(token)
      return Effect.flatMapEager(signer.sign(token.slice(0, signedLength)), (mac) =>
        // What stands between is what was signed, and so has the form it was signed in.
        timingSafeEqual(mac, token.slice(signedLength + 1)) && token[signedLength] === "."
          ? Exit.succeed({ id: token.slice(12, 34), secret: token.slice(35, signedLength) })
          : refuse(token)
      )
    }
  }
}

const draw = <A>(size: number, use: (bytes: Uint8Array) => A): Effect.Effect<A, never, SecureRandom.SecureRandom> =>
  SecureRandom.SecureRandom.use((random) =>
    Effect.flatMap(random.randomBytes(size), (bytes) =>
      // A source that fails must not end in a weaker id: fail closed (ASVS 16.5.3).
      bytes.length === size
        ? Effect.succeed(use(bytes))
        : Effect.die(new Error(`SecureRandom gave ${bytes.length} bytes for ${size}`))
    )
  )

/**
 * A fresh public session id: 128 bits of `SecureRandom`, 22 characters.
 *
 * @category constructors
 * @since 0.1.0
 */
export const randomId: Effect.Effect<string, never, SecureRandom.SecureRandom> = draw(16, Base64Url.encode)

/**
 * A fresh secret: 256 bits of `SecureRandom`, 43 characters.
 *
 * @category constructors
 * @since 0.1.0
 */
export const randomSecret: Effect.Effect<string, never, SecureRandom.SecureRandom> = draw(32, Base64Url.encode)

/**
 * A fresh id and a fresh secret, of one draw: to ask the system costs more than what it gives.
 *
 * @category constructors
 * @since 0.1.0
 */
export const randomClaims: Effect.Effect<Claims, never, SecureRandom.SecureRandom> = draw(48, (bytes) => ({
  id: Base64Url.encode(bytes.subarray(0, 16)),
  secret: Base64Url.encode(bytes.subarray(16))
}))
