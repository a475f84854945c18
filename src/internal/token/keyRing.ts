/**
 * Derives keys from secrets. `SessionKeys` refuses weak and published secrets; nothing is checked here, because the test
 * kit uses a published one.
 *
 * @internal
 */
import * as Kdf from "effect/crypto/Kdf"
import type * as Mac from "effect/crypto/Mac"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import type { Signers } from "./token.ts"
import * as TokenCrypto from "./tokenCrypto.ts"

const utf8 = new TextEncoder()

const derive = (secret: Uint8Array, purpose: string, length: number) =>
  Kdf.Kdf.use((kdf) => {
    const options = { salt: utf8.encode("effect-sessions"), info: utf8.encode(purpose), length }
    // HKDF fails only on arguments that are out of range.
    return Effect.orDie(kdf.derive(Kdf.hkdfSha256, secret, options))
  })

/** The ring of one secret or several, of which the first signs. The caller refuses an empty list. */
export const make = Effect.fnUntraced(function* (
  secrets: ReadonlyArray<string>
): Effect.fn.Return<(purpose: string) => Effect.Effect<Signers, never, Mac.Mac>, never, Kdf.Kdf> {
  const kdf = yield* Kdf.Kdf
  const ring = yield* Effect.forEach(secrets, (secret) => {
    const bytes = utf8.encode(secret)
    return Effect.map(derive(bytes, "effect-sessions/v1/kid", 6), (kid) => ({ kid: Base64Url.encode(kid), bytes }))
  })
  const [first, ...rest] = ring
  return (purpose) => {
    const signer = ({ bytes, kid }: (typeof ring)[number]) =>
      derive(bytes, purpose, 32).pipe(
        Effect.provideService(Kdf.Kdf, kdf),
        Effect.flatMap(TokenCrypto.hmac),
        Effect.map((sign) => ({ kid, sign }))
      )
    return Effect.all([signer(first!), ...rest.map(signer)])
  }
})
