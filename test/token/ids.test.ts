import { NodeCrypto } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import { readdirSync, readFileSync } from "node:fs"
import * as SessionToken from "../../src/internal/token/token.ts"

describe("ids and secrets", () => {
  it.effect(
    "[R1] 10^5 of each: all distinct, of one length and alphabet, every bit as often set as not",
    () =>
      Effect.gen(function* () {
        const random = yield* SecureRandom.SecureRandom
        const count = 100_000
        for (const [make, size, length] of [
          [SessionToken.randomSecret(random), 32, 43],
          [Effect.map(SessionToken.randomClaims(random), ({ id }) => id), 16, 22],
          [Effect.map(SessionToken.randomClaims(random), ({ secret }) => secret), 32, 43]
        ] as const) {
          const seen = new Set<string>()
          const ones = new Uint32Array(size * 8)
          for (let i = 0; i < count; i++) {
            const text = yield* make
            if (!/^[A-Za-z0-9_-]+$/.test(text) || text.length !== length) assert.fail(text)
            seen.add(text)
            const bytes = Buffer.from(text, "base64url")
            for (let bit = 0; bit < ones.length; bit++) ones[bit]! += (bytes[bit >> 3]! >> (bit & 7)) & 1
          }
          assert.strictEqual(seen.size, count)
          // Five sigma of a fair coin thrown `count` times.
          const tolerance = 5 * Math.sqrt(count / 4)
          for (const [bit, set] of ones.entries()) assert.closeTo(set, count / 2, tolerance, `bit ${bit}`)
        }
      }).pipe(Effect.provide(NodeCrypto.layer)),
    120_000
  )

  it.effect("[R1] the id and the secret of one draw share no byte of it", () =>
    Effect.gen(function* () {
      const counting = SecureRandom.make((size) => Uint8Array.from({ length: size }, (_, i) => i))
      const { id, secret } = yield* SessionToken.randomClaims(counting)
      const bytes = Uint8Array.from({ length: 48 }, (_, i) => i)
      assert.deepStrictEqual(Buffer.from(id, "base64url"), Buffer.from(bytes.subarray(0, 16)))
      assert.deepStrictEqual(Buffer.from(secret, "base64url"), Buffer.from(bytes.subarray(16)))
    })
  )

  it.effect("[R1] each id is drawn anew, from a source that draws before its effect runs, too", () =>
    Effect.gen(function* () {
      let draws = 0
      const source = SecureRandom.make((size) => new Uint8Array(size))
      const claims = SessionToken.randomClaims({
        ...source,
        randomBytes: (size) => Effect.succeed(new Uint8Array(size).fill(++draws))
      })
      const [first, second] = [yield* claims, yield* claims]
      assert.notStrictEqual(first.id, second.id)
      assert.notStrictEqual(first.secret, second.secret)
    })
  )

  const sources = readdirSync(new URL("../../src", import.meta.url), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => [name, readFileSync(new URL(`../../src/${name}`, import.meta.url), "utf8")] as const)
  /** Code without comments and texts. */
  const codeOf = (source: string) => source.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/(?<!:)\/\/.*$/gm, "")

  it("[R1] no source asks for a UUID, Math.random, or a clock or generator that is not Effect's", () => {
    const forbidden =
      /\brandomUUID\b|\bMath\s*\.\s*random\b|\bDate\s*\.\s*now\b|\bnew\s+Date\b|\buuid\w*\b|\bulid\b|performance\s*\.\s*now|getRandomValues/i
    assert.isAbove(sources.length, 20)
    for (const [name, source] of sources) {
      // The conformance suite, which is no part of a running application, draws ids without a service; the other refuses
      // UUIDs as keys.
      if (!["testing/conformance/fixture.ts", "internal/token/secretStrength.ts"].includes(name))
        assert.notMatch(codeOf(source), forbidden, name)
    }
    assert.match(codeOf("const x = Math.random() // y"), forbidden)
  })

  it("[R11] no source compares a token's MAC or a client's secret with an operator", () => {
    const operator = /\b(mac|secret|parts\[4\]!?)\s*[!=]==(?!\s*undefined)|[!=]==\s*(mac|secret|token)\b/
    for (const [name, source] of sources) assert.notMatch(codeOf(source), operator, name)
    assert.match("if (mac === parts[4])", operator)
  })
})
