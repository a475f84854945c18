import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import * as Digest from "effect/crypto/Digest"
import * as Kdf from "effect/crypto/Kdf"
import * as Mac from "effect/crypto/Mac"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { createHash, createHmac } from "node:crypto"
import * as SessionKeys from "../../src/SessionKeys.ts"
import * as TokenCrypto from "../../src/internal/token/tokenCrypto.ts"
import { outcome } from "../support/outcome.ts"
import { UserSession, secretA, secretB } from "../support/userSession.ts"
import { tokensOf } from "../support/tokens.ts"
import * as Stack from "../support/stack.ts"

const namespace = { key: UserSession.key }
const claims = { id: "abcdefghijklmnopqrstuA", secret: "S".repeat(42) + "8" }

describe("the fast path", () => {
  const web = Layer.mergeAll(Mac.layerWebCrypto, Digest.layerWebCrypto, Kdf.layerWebCrypto).pipe(
    Layer.provideMerge(SecureRandom.layerWebCrypto)
  )
  const texts = [
    "",
    "a",
    "effect-sessions probe",
    "é\u{1f600}",
    "x".repeat(256),
    "x".repeat(257),
    "x".repeat(1000),
    "v1.kid.id.secret"
  ]
  const key = new Uint8Array(32).map((_, i) => i * 7)

  for (const [name, layer] of Object.entries({ node: NodeCrypto.layer, "Web Crypto": web })) {
    it.effect(`answers what the services answer, over ${name}`, () =>
      Effect.gen(function* () {
        const mac = yield* Mac.Mac
        const digest = yield* Digest.Digest
        const macKey = yield* Mac.key(Mac.hmacSha256, key)
        const hmac = yield* TokenCrypto.hmac(key)
        const sha256 = yield* TokenCrypto.sha256
        for (const text of texts) {
          const bytes = new TextEncoder().encode(text)
          assert.strictEqual(yield* hmac(text), Base64Url.encode(yield* mac.sign(macKey, bytes)))
          assert.strictEqual(yield* sha256(text), Base64Url.encode(yield* digest.digest(Digest.sha256, bytes)))
          assert.strictEqual(yield* hmac(text), createHmac("sha256", key).update(text).digest("base64url"))
          assert.strictEqual(yield* sha256(text), createHash("sha256").update(text).digest("base64url"))
        }
        // Node's answers come at once, so that a request does not wait for a fiber.
        assert.strictEqual(Exit.isExit(hmac("a".repeat(122))), name === "node")
        assert.strictEqual(Exit.isExit(sha256("a")), name === "node")
      }).pipe(Effect.provide(layer))
    )
  }

  it.effect("a service with answers of its own is the one that is used", () =>
    Effect.gen(function* () {
      const hmac = yield* TokenCrypto.hmac(key)
      const sha256 = yield* TokenCrypto.sha256
      assert.strictEqual(yield* hmac("anything"), Base64Url.encode(new Uint8Array(32).fill(1)))
      assert.strictEqual(yield* sha256("anything"), Base64Url.encode(new Uint8Array(32).fill(2)))
    }).pipe(
      Effect.provide(
        Layer.mergeAll(
          Layer.effect(
            Mac.Mac,
            Effect.map(Mac.Mac, (real) => ({ ...real, sign: () => Effect.succeed(new Uint8Array(32).fill(1)) }))
          ),
          Layer.effect(
            Digest.Digest,
            Effect.map(Digest.Digest, (real) => ({ ...real, digest: () => Effect.succeed(new Uint8Array(32).fill(2)) }))
          )
        ).pipe(Layer.provide(NodeCrypto.layer))
      )
    )
  )

  it.effect("a whole stack over Web Crypto opens what one over Node made, and the other way", () =>
    Effect.gen(function* () {
      const node = yield* tokensOf(namespace).pipe(
        Effect.provide(Layer.merge(Stack.layerKeys(secretA), NodeCrypto.layer))
      )
      const portable = yield* tokensOf(namespace).pipe(
        Effect.provide(Layer.merge(SessionKeys.layer(Redacted.make(secretA)).pipe(Layer.provide(web)), web))
      )
      const others = yield* tokensOf(namespace).pipe(
        Effect.provide(Layer.merge(Stack.layerKeys(secretB), NodeCrypto.layer))
      )
      const [a, b] = [yield* node.issue(claims), yield* portable.issue(claims)]
      assert.strictEqual(Redacted.value(a), Redacted.value(b))
      assert.deepStrictEqual(yield* portable.check(a), claims)
      assert.strictEqual(yield* outcome(others.check(a)), "SessionInvalid Signature")
    })
  )
})
