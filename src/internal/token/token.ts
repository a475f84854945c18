/**
 * Issues and checks tokens, which `format.ts` describes. `id` is the session's public id (128 random bits, unchanged by
 * rotation), `secret` 256 random bits of which the store keeps only the SHA-256, `mac` HMAC-SHA-256 over the text before
 * it, under a key derived for one session definition. `kid` names that key.
 *
 * A token has one canonical form: the MAC is computed over the characters received and compared as text, in constant
 * time. A token holds no algorithm, no expiry and no data: the stored record decides.
 *
 * @internal
 */
import type { SecureRandom } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Exit from "effect/Exit"
import type * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import { SessionInvalid } from "../../SessionError.ts"
import { failure } from "../exit.ts"
import { timingSafeEqual } from "./tokenCrypto.ts"
import { places, tokenLength, tokenPattern } from "./format.ts"
import { redact, textOf } from "./redacted.ts"

/** A key of the ring, derived for one session definition. */
export interface Signer {
  /** Names the key in a token: 8 characters, derived from the secret. */
  readonly kid: string
  /** HMAC-SHA-256 of the text, base64url. */
  readonly sign: (text: string) => Effect.Effect<string>
}

/** The keys of one definition: the first signs, all verify. */
export type Signers = readonly [Signer, ...ReadonlyArray<Signer>]

/** The purpose for which the keys of a definition are derived. */
export const purpose = (namespace: string): string => `effect-sessions/v1/session/${namespace}`

/** The content of an authentic token. */
export interface Claims {
  readonly id: string
  readonly secret: string
}

/** Issues and checks the tokens of one definition. */
export interface Tokens {
  readonly issue: (claims: Claims) => Effect.Effect<Redacted.Redacted<string>>
  /** Fails with `Malformed` for a text that is no token, with `Signature` if no key of this definition signed it. */
  readonly check: (token: Redacted.Redacted<string>) => Effect.Effect<Claims, SessionInvalid>
  /** The `kid` of the key that signs. */
  readonly kid: string
  /**
   * The secret of the session that is made of another library's: the same for all who ask, also while keys change. `None` if
   * the ring has that key no more.
   */
  readonly secretOf: (kid: string, id: string, from: string) => Effect.Effect<Option.Option<string>>
}

const malformed = failure(new SessionInvalid({ reason: "Malformed" }))
const wrongSignature = failure(new SessionInvalid({ reason: "Signature" }))

const refuse = (text: string) => (tokenPattern.test(text) ? wrongSignature : malformed)

export const make = (signers: Signers): Tokens => {
  const byKid = new Map(signers.map((signer) => [signer.kid, signer]))
  const [current] = signers
  return {
    issue: ({ id, secret }) => {
      const signed = `v1.${current.kid}.${id}.${secret}`
      return Effect.mapEager(current.sign(signed), (mac) => redact(`${signed}.${mac}`))
    },
    kid: current.kid,
    secretOf: (kid, id, from) => {
      const signer = byKid.get(kid)
      // No token begins like this, so that no text has a MAC of both kinds.
      return signer === undefined ? Effect.succeedNone : Effect.asSome(signer.sign(`adopted.${id}.${from}`))
    },
    check: (token) => {
      const text = textOf(token)
      if (text.length !== tokenLength) return malformed
      const signer = byKid.get(text.slice(...places.kid))
      if (signer === undefined) return refuse(text)
      return Effect.flatMapEager(signer.sign(text.slice(0, places.secret[1])), (mac) =>
        // The MAC covers the text before it; the dot in between is compared by itself.
        timingSafeEqual(mac, text.slice(places.mac[0])) && text[places.secret[1]] === "."
          ? Exit.succeed({ id: text.slice(...places.id), secret: text.slice(...places.secret) })
          : refuse(text)
      )
    }
  }
}

/** The id that a token names, if it is authentic. */
export const idOf = (tokens: Tokens, token: Redacted.Redacted<string>): Effect.Effect<string | undefined> =>
  Effect.matchEager(tokens.check(token), { onFailure: () => undefined, onSuccess: ({ id }) => id })

const draw = <A>(random: SecureRandom["Service"], size: number, use: (bytes: Uint8Array) => A): Effect.Effect<A> =>
  Effect.map(
    // Asked anew each time, whatever it does before its effect runs.
    Effect.suspend(() => random.randomBytes(size)),
    (bytes) => {
      // A source that fails must not lead to a weaker id (ASVS 16.5.3).
      if (bytes.length !== size) throw new Error(`SecureRandom gave ${bytes.length} bytes for ${size}`)
      return use(bytes)
    }
  )

/** A fresh secret: 256 bits, 43 characters. */
export const randomSecret = (random: SecureRandom["Service"]): Effect.Effect<string> =>
  draw(random, 32, Base64Url.encode)

/** A fresh id (128 bits, 22 characters) and a fresh secret, with one call to the system. */
export const randomClaims = (random: SecureRandom["Service"]): Effect.Effect<Claims> =>
  draw(random, 48, (bytes) => ({
    id: Base64Url.encode(bytes.subarray(0, 16)),
    secret: Base64Url.encode(bytes.subarray(16))
  }))
