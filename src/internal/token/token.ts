/**
 * The token: the secret a client holds, in a cookie or a header. `format.ts` has how it is written.
 *
 * `id` is the session's public id (128 random bits, stable over rotation), `secret` 256 random bits of which the store
 * keeps only the SHA-256, `mac` HMAC-SHA-256 over all that stands before it, under a key derived for one session
 * definition. `kid` names the key and is derived from the secret it belongs to, never from a place in a list.
 *
 * - One canonical form: the MAC is computed over the characters received and compared with its own one spelling, in
 *   constant time. No other text than the one issued is accepted.
 * - A forged, foreign or misspelled token is refused here, before a backend is asked.
 * - There is nothing to negotiate: no algorithm, no expiry, no data in a token. The stored record decides.
 *
 * @internal
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import { SessionInvalid } from "../../SessionError.ts"
import { failure } from "../exit.ts"
import { timingSafeEqual } from "./tokenCrypto.ts"
import { places, redact, tokenLength, tokenPattern } from "./format.ts"

/** A key of the ring, derived for one session definition. */
export interface Signer {
  /** Names the key in a token: 8 characters, derived from the secret. */
  readonly kid: string
  /** HMAC-SHA-256 of the text, base64url. */
  readonly sign: (text: string) => Effect.Effect<string>
}

/** The keys of one definition: the first signs, all verify. */
export type Signers = readonly [Signer, ...ReadonlyArray<Signer>]

/** What the keys of a definition's tokens are derived for. */
export const purpose = (namespace: string): string => `effect-sessions/v1/session/${namespace}`

/** What an authentic token says. */
export interface Claims {
  readonly id: string
  readonly secret: string
}

/** Issues and checks the tokens of one definition. */
export interface Tokens {
  /** Signs a token for a session, with the ring's first key. */
  readonly issue: (claims: Claims) => Effect.Effect<Redacted.Redacted<string>>
  /**
   * Reads a token. Fails with `Malformed` if it is not written as one, with `Signature` if it was not issued for this
   * definition under a key of the ring.
   */
  readonly check: (token: Redacted.Redacted<string>) => Effect.Effect<Claims, SessionInvalid>
}

const malformed = failure(new SessionInvalid({ reason: "Malformed" }))
const wrongSignature = failure(new SessionInvalid({ reason: "Signature" }))

const refuse = (text: string) => (tokenPattern.test(text) ? wrongSignature : malformed)

/** @internal */
export const make = (signers: Signers): Tokens => {
  const byKid = new Map(signers.map((signer) => [signer.kid, signer]))
  const [current] = signers
  return {
    issue: ({ id, secret }) => {
      const signed = `v1.${current.kid}.${id}.${secret}`
      return Effect.mapEager(current.sign(signed), (mac) => redact(`${signed}.${mac}`))
    },
    check: (token) => {
      const text = Redacted.value(token)
      if (text.length !== tokenLength) return malformed
      const signer = byKid.get(text.slice(...places.kid))
      if (signer === undefined) return refuse(text)
      return Effect.flatMapEager(signer.sign(text.slice(0, places.secret[1])), (mac) =>
        // The MAC covers what stands before it, dots included; the one dot it does not cover is compared by itself.
        timingSafeEqual(mac, text.slice(places.mac[0])) && text[places.secret[1]] === "."
          ? Exit.succeed({ id: text.slice(...places.id), secret: text.slice(...places.secret) })
          : refuse(text)
      )
    }
  }
}

const draw = <A>(size: number, use: (bytes: Uint8Array) => A): Effect.Effect<A, never, SecureRandom.SecureRandom> =>
  SecureRandom.SecureRandom.use((random) =>
    Effect.flatMapEager(random.randomBytes(size), (bytes) =>
      // A source that fails must not end in a weaker id: fail closed (ASVS 16.5.3).
      bytes.length === size
        ? Exit.succeed(use(bytes))
        : Effect.die(new Error(`SecureRandom gave ${bytes.length} bytes for ${size}`))
    )
  )

/** A fresh secret: 256 bits, 43 characters. */
export const randomSecret: Effect.Effect<string, never, SecureRandom.SecureRandom> = draw(32, Base64Url.encode)

/** A fresh id (128 bits, 22 characters) and a fresh secret, of one draw: each draw is a call to the system. */
export const randomClaims: Effect.Effect<Claims, never, SecureRandom.SecureRandom> = draw(48, (bytes) => ({
  id: Base64Url.encode(bytes.subarray(0, 16)),
  secret: Base64Url.encode(bytes.subarray(16))
}))
